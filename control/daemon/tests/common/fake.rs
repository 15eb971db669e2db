//! A dataplane made of threads: it speaks the protocol, keeps what is committed, and can be told to misbehave.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use api::EventBatch;
use api::codec::{self, Limit};
use api::pflog::LogEntry;
use api::{
    AddressCounts, BURST_BOUNDS, Candidate, Conservation, CreatedCount, DeviceStatus, Distribution,
    DropReport, EndpointMapping, Filtering, Hello, InterfaceDrops, InterfaceStatus, Judged,
    LATENCY_BOUNDS_NS, LiveRules, LiveUsage, MappingCount, NextHopView, PoolStatus, Process, ReasonCount,
    Request, RequestBody, Response, ResponseBody, Reviewed, RouteKind, RouteTo, RouteView, RuleUsage, Status,
    Traffic, WorkerStatus,
};
use ruleset::{
    Action, AddressPattern, Direction, Flow, NodeKind, PeerState, PeerView, Reason, RoutingTable, Rule,
    Ruleset, Ruling, SourceView, StateView, TableEdit, TableEntry, TupleEnd,
};
use wire::{Port, Proto};

/// How it answers a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// As it should.
    #[default]
    Good,
    /// With a refusal.
    Refuse(String),
    /// It hangs up before the rules are live.
    HangUpBefore,
    /// It hangs up after.
    HangUpAfter,
    /// With bytes that mean nothing.
    Garbage,
}

#[derive(Debug, Default)]
pub struct State {
    pub generation: u64,
    pub live: Option<Ruleset>,
    /// Every ruleset that became live.
    pub commits: Vec<Ruleset>,
    pub manner: Manner,
    pub hello: Option<Hello>,
    pub states: u32,
    /// Its worker does not come back.
    pub stalled: bool,
    /// What is logged, until a reader has it.
    pub logs: Vec<LogEntry>,
    /// What happens to states, until somebody listens.
    pub events: Vec<EventBatch>,
    /// Listings break off after so many.
    pub break_after: Option<u32>,
    pub filtering: Filtering,
    /// What the live ruleset's tables hold.
    pub tables: BTreeMap<String, Vec<TableEntry>>,
    /// Every change of tables.
    pub edits: Vec<TableEdit>,
    /// Sources that it has put into tables by itself.
    pub overloads: u64,
}

/// Two source nodes; the packets of their states are known to who asks for them.
pub fn source_nodes(traffic: bool) -> Vec<SourceView> {
    let node = |source: [u8; 4], kind, target: Option<[u8; 4]>| SourceView {
        source: source.into(),
        kind,
        target: target.map(Into::into),
        states: 2,
        connections: 1,
        rate_tenths: 15,
        rate_s: 10,
        age_s: 61,
        expires_in_s: 0,
        packets: if traffic { 7 } else { 0 },
        bytes: if traffic { 700 } else { 0 },
        rule: Some(3),
    };
    vec![
        node([10, 0, 0, 2], NodeKind::Filter, None),
        node([10, 0, 0, 3], NodeKind::Nat, Some([192, 0, 2, 1])),
    ]
}

impl State {
    /// Takes over a commit's tables, as the dataplane does.
    fn fill(&mut self, candidate: Candidate) {
        let before = std::mem::take(&mut self.tables);
        for table in candidate.ruleset.tables {
            let given = candidate.contents.iter().find(|given| given.name == table.name);
            let entries = given.map(|given| given.entries.clone()).or(table.entries);
            let entries = entries.or_else(|| before.get(&table.name).cloned()).unwrap_or_default();
            self.tables.insert(table.name, entries);
        }
    }

    fn edit(&mut self, edits: Vec<TableEdit>) -> Result<(), String> {
        if let Manner::Refuse(why) = &self.manner {
            return Err(why.clone());
        }
        for TableEdit { name, clear, remove, add, zero: _ } in &edits {
            let held = self.tables.get_mut(name).ok_or(format!("table <{name}> is not defined"))?;
            held.retain(|entry| {
                !clear && !remove.contains(&entry.net) && add.iter().all(|added| added.net != entry.net)
            });
            held.extend(add);
        }
        self.edits.extend(edits);
        Ok(())
    }
}

/// What each address of a table with `counters` has been through.
pub const COUNTED: [[Traffic; 2]; 2] = [
    [Traffic { packets: 1, bytes: 40 }, Traffic { packets: 2, bytes: 80 }],
    [Traffic { packets: 3, bytes: 120 }, Traffic { packets: 4, bytes: 160 }],
];

/// The last rule decides that is for any source or for a table which has it, which is enough for what is tested here.
fn walk(ruleset: &Ruleset, flow: &Flow, held: impl Fn(&str) -> Vec<TableEntry>) -> Option<Ruling> {
    let matches = |rule: &Rule| match &rule.from.address.pattern {
        // It decides nothing.
        _ if rule.call.is_some() => false,
        AddressPattern::Table(name) => {
            let held = held(name);
            let within = held.iter().filter(|entry| entry.net.contains(&flow.source.address));
            within.max_by_key(|entry| entry.net.prefix_len()).is_some_and(|entry| !entry.negated)
        }
        _ => true,
    };
    let number = (0..ruleset.rules.len()).rev().find(|number| matches(&ruleset.rules[*number]))?;
    let passes = ruleset.rules[number].action == Action::Pass;
    let interface = flow.interface.clone().unwrap_or_else(|| "lan0".into());
    Some(Ruling { passes, keeps_state: passes, rule: Some(number as u32), interface })
}

fn judge_live(state: &State, flow: &Flow) -> Option<Ruling> {
    let held = |name: &str| state.tables.get(name).cloned().unwrap_or_default();
    walk(state.live.as_ref()?, flow, held)
}

fn judge(state: &State, candidate: &Candidate, flow: &Flow) -> Judged {
    let held = |name: &str| {
        let given = candidate.contents.iter().find(|given| given.name == name);
        given.map(|given| &given.entries).or(state.tables.get(name)).cloned().unwrap_or_default()
    };
    Judged { live: judge_live(state, flow), candidate: walk(&candidate.ruleset, flow, held) }
}

/// Nobody is asked while filtering is off.
fn judge_enabled(state: &State, flow: &Flow) -> Judged {
    let candidate = judge_live(state, flow);
    let live = candidate.clone().filter(|_| state.filtering == Filtering::On);
    Judged { live, candidate }
}

fn review(state: &State, candidate: &Candidate) -> Reviewed {
    let number = candidate.ruleset.rules.iter().rposition(|rule| rule.action != Action::Pass);
    let ruling = |rule: usize| Ruling {
        passes: false,
        keeps_state: false,
        rule: Some(rule as u32),
        interface: "lan0".into(),
    };
    let examples = number.map(|rule| (state_view(0), ruling(rule))).into_iter().collect::<Vec<_>>();
    let blocked = if examples.is_empty() { 0 } else { state.states.into() };
    Reviewed { examined: state.states.into(), blocked, complete: true, examples }
}

/// The dataplane; gone with all its connections when dropped.
pub struct Fake {
    path: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
    connections: Mutex<Vec<UnixStream>>,
    /// Requests for the status.
    asked: AtomicU64,
}

impl Fake {
    pub fn start(path: &Path) -> Self {
        Self::start_as(path, State::default())
    }

    pub fn start_as(path: &Path, state: State) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        super::open_to_all(path);
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            stop: AtomicBool::new(false),
            connections: Mutex::default(),
            asked: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            while !accepting.stop.load(Ordering::SeqCst) {
                let Ok((stream, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(5));
                    continue;
                };
                stream.set_nonblocking(false).unwrap();
                accepting.connections.lock().unwrap().push(stream.try_clone().unwrap());
                let serving = Arc::clone(&accepting);
                thread::spawn(move || serve(stream, &serving));
            }
        });
        Self { path: path.to_owned(), shared }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    pub fn set_manner(&self, manner: Manner) {
        self.state().manner = manner;
    }

    pub fn commits(&self) -> usize {
        self.state().commits.len()
    }

    pub fn live(&self) -> Option<Ruleset> {
        self.state().live.clone()
    }

    pub fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = std::fs::remove_file(&self.path);
        // Closed while the lock is held, so that nobody is accepted behind it.
        for stream in self.shared.connections.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn serve(mut stream: UnixStream, shared: &Shared) {
    let Ok(hello) = codec::read::<Hello>(&mut stream, Limit::HELLO) else { return };
    assert_eq!(hello, Hello::OURS);
    let ours = shared.state.lock().unwrap().hello.unwrap_or(Hello::OURS);
    if codec::write(&mut stream, &ours, Limit::HELLO).is_err() {
        return;
    }
    while let Ok(Request { id, body }) = codec::read(&mut stream, Limit::REQUEST) {
        if answer(&mut stream, shared, id, body).is_none() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// `None` to hang up.
fn answer(stream: &mut UnixStream, shared: &Shared, id: u32, body: RequestBody) -> Option<()> {
    let mut send = |body| codec::write(stream, &Response { id, body }, Limit::RESPONSE).ok();
    let mut state = shared.state.lock().unwrap();
    match body {
        RequestBody::Commit(candidate) => match state.manner.clone() {
            Manner::Refuse(why) => send(ResponseBody::Refused(why)),
            Manner::HangUpBefore => None,
            Manner::Garbage => {
                use std::io::Write;
                let _ = stream.write_all(&[5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]);
                None
            }
            manner => {
                state.generation += 1;
                state.live = Some(candidate.ruleset.clone());
                state.commits.push(candidate.ruleset.clone());
                state.fill(*candidate);
                let generation = state.generation;
                if manner == Manner::HangUpAfter {
                    None
                } else {
                    send(ResponseBody::Committed { generation })
                }
            }
        },
        RequestBody::Status => {
            shared.asked.fetch_add(1, Ordering::SeqCst);
            send(ResponseBody::Status(Box::new(status(&state))))
        }
        RequestBody::Drops => send(ResponseBody::Drops(drops())),
        RequestBody::DropReport(query) => send(ResponseBody::DropReport(Box::new(DropReport {
            covered_s: query.since_s.unwrap_or(60),
            interfaces: drops(),
            generation: state.generation,
            ..DropReport::default()
        }))),
        RequestBody::Trace(_) => send(ResponseBody::Done),
        RequestBody::Rules => {
            let generation = state.generation;
            let rules = state.live.clone().map(|ruleset| Box::new(LiveRules { generation, ruleset }));
            send(ResponseBody::Rules(rules))
        }
        RequestBody::Mappings => {
            let at = |address: [u8; 4], proto, connections| MappingCount {
                address: address.into(),
                proto,
                connections,
                block: None,
                refused: 0,
            };
            send(ResponseBody::Mappings(vec![
                at([192, 0, 2, 1], 6, 1),
                at([192, 0, 2, 2], 6, 40),
                at([192, 0, 2, 2], 17, 2),
            ]))
        }
        RequestBody::EndpointMappings => {
            send(ResponseBody::EndpointMappings(vec![EndpointMapping {
                proto: 17,
                inside: ([10, 0, 0, 2], 4000).into(),
                outside: ([192, 0, 2, 1], 50_001).into(),
                states: 3,
            }]))?;
            send(ResponseBody::Done)
        }
        RequestBody::Usage => {
            let usage = |number: usize| RuleUsage {
                evaluations: 100 + number as u64,
                incoming: Traffic { packets: 10 + number as u64, bytes: 600 },
                outgoing: Traffic { packets: 0, bytes: 400 },
                states: 2,
                made: 3,
                spent: false,
            };
            let generation = state.generation;
            let usage = state.live.as_ref().map(|live| LiveUsage {
                generation,
                inserter: Process { uid: 0, pid: 1 },
                rules: (0..live.rules.len()).map(usage).collect(),
            });
            send(ResponseBody::Usage(usage))
        }
        RequestBody::Logs => {
            drop(state);
            stream_logs(shared, |entries| send(ResponseBody::Logs(entries)))
        }
        RequestBody::Events(_) => {
            drop(state);
            while !shared.stop.load(Ordering::SeqCst) {
                let events = std::mem::take(&mut shared.state.lock().unwrap().events);
                let first = [EventBatch::default()];
                first.into_iter().chain(events).try_for_each(|batch| send(ResponseBody::Events(batch)))?;
                thread::sleep(Duration::from_millis(20));
            }
            None
        }
        RequestBody::Routes => {
            // In slices, as the dataplane does.
            routes().into_iter().try_for_each(|route| send(ResponseBody::Routes(vec![route])))?;
            send(ResponseBody::Done)
        }
        RequestBody::Neighbors => send(ResponseBody::Done),
        RequestBody::Sources { traffic } => {
            source_nodes(traffic).into_iter().try_for_each(|node| send(ResponseBody::Sources(vec![node])))?;
            send(ResponseBody::Done)
        }
        RequestBody::ForgetSources(selector) => {
            let fits = |node: &SourceView| selector.source.is_none_or(|net| net.contains(&node.source));
            let count = source_nodes(false).iter().filter(|node| fits(node)).count();
            send(ResponseBody::Killed(count as u64))
        }
        RequestBody::RouteTo { address, table } => {
            let in_table = routes().into_iter().find(|route| route.table == table);
            let route = in_table.filter(|_| address.is_ipv4());
            send(ResponseBody::RouteTo(Box::new(RouteTo { address, table, route })))
        }
        RequestBody::Tables(edits) => match state.edit(edits) {
            Ok(()) => send(ResponseBody::Done),
            Err(why) => send(ResponseBody::Refused(why)),
        },
        RequestBody::Entries(table) => match state.tables.get(&table) {
            Some(held) => {
                send(ResponseBody::Entries(held.to_vec()))?;
                send(ResponseBody::Done)
            }
            None => send(ResponseBody::Refused(format!("table <{table}> is not defined"))),
        },
        RequestBody::AddressCounts(table) => {
            let counts = |entry: &TableEntry| AddressCounts { net: entry.net, counted: COUNTED };
            let counted =
                state.live.as_ref().and_then(|live| live.table(&table)).is_some_and(|table| table.counters);
            let held = state.tables.get(&table).filter(|_| counted);
            send(ResponseBody::AddressCounts(held.into_iter().flatten().map(counts).collect()))?;
            send(ResponseBody::Done)
        }
        RequestBody::Kill(_) => send(ResponseBody::Killed(2)),
        RequestBody::Switch(filtering) => {
            let changed = std::mem::replace(&mut state.filtering, filtering) != filtering;
            send(ResponseBody::Switched { changed })
        }
        RequestBody::LogLevel(_) | RequestBody::Clear(_) => send(ResponseBody::Done),
        RequestBody::Info => send(ResponseBody::Info(Box::default())),
        RequestBody::Judge(candidate, flows) => {
            send(ResponseBody::Judged(flows.iter().map(|flow| judge(&state, &candidate, flow)).collect()))
        }
        RequestBody::JudgeEnabled(flows) => {
            send(ResponseBody::Judged(flows.iter().map(|flow| judge_enabled(&state, flow)).collect()))
        }
        RequestBody::Review(candidate) => send(ResponseBody::Reviewed(Box::new(review(&state, &candidate)))),
        RequestBody::States => {
            let (count, break_after) = (state.states, state.break_after);
            drop(state);
            for begin in (0..count).step_by(256) {
                if break_after.is_some_and(|most| begin >= most) {
                    return None;
                }
                let slice = (begin..count.min(begin + 256)).map(state_view).collect();
                send(ResponseBody::States(slice))?;
            }
            send(ResponseBody::Done)
        }
    }
}

/// What is logged, as it comes, and often nothing, as a sign of life.
fn stream_logs(shared: &Shared, mut send: impl FnMut(Vec<LogEntry>) -> Option<()>) -> Option<()> {
    while !shared.stop.load(Ordering::SeqCst) {
        let entries = std::mem::take(&mut shared.state.lock().unwrap().logs);
        if send(entries.clone()).is_none() {
            // Whoever is gone has not read them: the next one does.
            shared.state.lock().unwrap().logs.splice(0..0, entries);
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// State number `n`: from 10.0.x.y to 192.0.2.1:443.
pub fn state_view(n: u32) -> StateView {
    let peer = |address: Ipv4Addr, port| PeerView {
        end: TupleEnd { address: IpAddr::V4(address), port: Port(port) },
        untranslated: None,
        state: PeerState::Established,
        seqlo: n,
        seqhi: n.wrapping_add(1000),
        seqdiff: 0,
        wscale: None,
        packets: 3,
        bytes: 180,
    };
    let [_, _, high, low] = n.to_be_bytes();
    StateView {
        interface: "all".into(),
        proto: if n.is_multiple_of(2) { Proto::TCP } else { Proto::UDP },
        direction: Direction::In,
        route: None,
        rtable: RoutingTable::MAIN,
        source: peer(Ipv4Addr::new(10, 0, high, low), 1024),
        destination: peer(Ipv4Addr::new(192, 0, 2, 1), 443),
        age_s: 1,
        expires_in_s: 60,
        rule: Some(0),
        anchor: None,
        sloppy: false,
        source_track: false,
        sticky: false,
        id: n.into(),
        creator: 0,
    }
}

fn status(state: &State) -> Status {
    let interface = |name: &str, address: &str| InterfaceStatus {
        name: name.into(),
        device: format!("net_tap_{name}"),
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        up: true,
        addresses: vec![address.into(), "fe80::1/64".into()],
        rx_packets: 1000,
        rx_bytes: 64_000,
        handed_off_packets: 250,
        hardware: DeviceStatus { link_up: true, link_mbps: 10_000, rx_missed: 4, ..DeviceStatus::default() },
        ..InterfaceStatus::default()
    };
    // One value under each bound, and two above all.
    let distribution =
        |bounds: &[u64], sum| Distribution { counts: bounds.iter().map(|_| 1).chain([2]).collect(), sum };
    let created = |kind: &str, packets| CreatedCount { kind: kind.into(), packets };
    let conservation = Conservation { rx: 1000, drops: 1000, ..Conservation::default() };
    Status {
        version: "0.0.0".into(),
        generation: state.generation,
        uptime_s: 5,
        filtering: state.filtering,
        states: state.states.into(),
        states_limit: 100_000,
        searches: 7,
        inserts: 5,
        removals: 3,
        fragments: api::FragmentStatus::default(),
        sources: api::SourceStatus::default(),
        sources_limit: 10_000,
        limits: vec![api::LimitCount { limit: ruleset::LimitHit::SrcConnRate, count: 4 }],
        overloads: state.overloads,
        log_lost: 0,
        events_lost: 0,
        netlink_overruns: 0,
        interfaces: vec![interface("wan0", "192.0.2.254/24"), interface("lan0", "10.0.0.1/8")],
        workers: vec![WorkerStatus {
            busy_ns: 1_500_000_000,
            stalls: 2,
            stalled: state.stalled,
            created: vec![created("rst", 8), created("icmp", 9)],
            conservation,
            withheld: 7,
            placed: 6,
            aliases: 5,
            bursts: distribution(&BURST_BOUNDS, 300),
            latency_ns: distribution(&LATENCY_BOUNDS_NS, 2_000_000_000),
            ..WorkerStatus::default()
        }],
        pools: vec![PoolStatus { name: "rx".into(), size: 8192, in_use: 512 }],
    }
}

pub fn routes() -> Vec<RouteView> {
    let route = |table, destination: &str, gateway| RouteView {
        table: RoutingTable(table),
        destination: destination.into(),
        kind: RouteKind::Forward,
        next_hops: vec![NextHopView {
            interface: "wan0".into(),
            via: Some(IpAddr::V4(gateway)),
            mac: None,
            weight: 1,
            mtu: None,
        }],
    };
    vec![
        route(0, "0.0.0.0/0", Ipv4Addr::new(192, 0, 2, 1)),
        route(0, "198.51.100.0/24", Ipv4Addr::new(192, 0, 2, 2)),
        route(2, "0.0.0.0/0", Ipv4Addr::new(192, 0, 2, 3)),
    ]
}

fn drops() -> Vec<InterfaceDrops> {
    let reasons =
        || Reason::ALL.into_iter().map(|reason| ReasonCount { reason, packets: reason as u64 }).collect();
    ["wan0", "lan0"].map(|name| InterfaceDrops { interface: name.into(), reasons: reasons() }).into()
}
