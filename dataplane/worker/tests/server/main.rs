//! The socket: a ruleset that is committed, one that is refused, and clients that misbehave.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have threads")]

mod drops;
mod events;
mod log;
mod options;
mod trace;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use api::codec::{self, Limit as Length};
use api::{
    Candidate, Client, Counts, Error, Filtering, Hello, InterfaceInfo, Request, RequestBody, Response,
    ResponseBody, RuleUsage,
};
use engine::fib::{Interface, Role};
use engine::{
    Arrival, BURST, Counted, Crossings, Entropy, Fate, Fib, InterfaceId, Shard, ShardConfig, Source,
    StatePool, Tick, View, WorkerId, Zone,
};
use ruleset::{
    Action, Direction, Flow, Limit, Moment, Reason, Rule, Ruleset, StateMode, StateSelector, Table,
    TableContents, TableEdit, TableEntry, TupleEnd,
};
use wire::Mac;
use worker::claim;
use worker::control::desk::{Desk, Facts};
use worker::control::journal::Journal;
use worker::control::rules::{PATIENCE, Rules};
use worker::control::server::{Bound, CLIENTS_MAX, Server};
use worker::keeper::Board;
use worker::mail::{Mail, mail};
use worker::netlink::service::Published;
use worker::telemetry::{self, Reader, Sheet, Writer};

const MAX_STATES: u32 = 200_000;

fn interface(name: &str) -> Interface {
    Interface {
        name: name.into(),
        groups: vec![],
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: vec![],
        zone: Zone::default(),
        up: true,
        role: Role::Routed,
    }
}

/// A server, and a thread in the worker's place that takes rules and lists states, but has no packets.
struct Bench {
    socket: PathBuf,
    server: Option<Server>,
    worker: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    frozen: Arc<AtomicBool>,
    /// Epoch of the rules that the worker has.
    epoch: Arc<AtomicU32>,
    /// Bursts that are still to arrive on wan0.
    bursts: Arc<AtomicU32>,
}

/// What the hooks of an interface did: each cell another number.
fn crossings() -> Crossings {
    Crossings::of(std::array::from_fn(|cell| {
        let packets = cell as u64 + 1;
        Counted { packets, bytes: 100 * packets }
    }))
}

impl Bench {
    fn new(name: &str) -> Self {
        let socket = std::env::temp_dir().join(format!("worker-server-{}-{name}.sock", std::process::id()));
        let counters = claim::beside(&socket, "counters");
        let names = vec!["wan0".to_owned(), "lan0".to_owned()];
        let segment = telemetry::create(&counters, 1, &names).unwrap();
        let mut writer = Writer::new(&segment, 0).unwrap();
        let fib = Arc::new(Fib::new(1, vec![interface("wan0"), interface("lan0")], [], []));
        let (mut mails, office) = mail(fib.clone(), 1, 1024);
        let Mail { roots: mut rules, mut scribe, mut log, .. } = mails.remove(0);
        let stop = Arc::new(AtomicBool::new(false));
        let frozen = Arc::new(AtomicBool::new(false));
        let epoch = Arc::new(AtomicU32::new(0));
        let bursts = Arc::new(AtomicU32::new(0));
        let states = StatePool::new(MAX_STATES, 1);
        let worker = {
            let (fib, stop, frozen) = (fib.clone(), stop.clone(), frozen.clone());
            let (epoch, bursts, pool) = (epoch.clone(), bursts.clone(), states.clone());
            let config =
                ShardConfig { worker: WorkerId(0), workers: 1, max_states: 1024, interfaces: 2, key: [1, 2] };
            let mut shard = Shard::sharing(config, pool);
            let mut sheet = Sheet::new(2);
            let mut received = 0;
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if frozen.load(Ordering::Relaxed) {
                        thread::sleep(Duration::from_millis(1));
                        continue;
                    }
                    rules.refresh();
                    let root: &Option<Arc<engine::Root>> = rules.get();
                    epoch.store(root.as_ref().map_or(0, |root| root.epoch()), Ordering::Relaxed);
                    let view = View { now: Tick(1), root: root.as_deref(), fib: &fib };
                    scribe.write(&mut shard, &view);
                    if bursts.load(Ordering::Relaxed) > 0 {
                        receive_burst(&mut shard, &view, received);
                        received += 1;
                        bursts.fetch_sub(1, Ordering::Relaxed);
                    }
                    log.carry(&mut shard);
                    sheet.worker.log_lost = shard.log_lost();
                    sheet.worker.events_lost = shard.events_lost();
                    sheet.worker.polls += 1;
                    sheet.interfaces[0].rx_packets = 5;
                    sheet.drops[0] = [0; ruleset::REASON_COUNT];
                    sheet.drops[0][Reason::NoRules as usize] = 5;
                    sheet.crossings[0] = crossings();
                    writer.copy(&sheet);
                    thread::sleep(Duration::from_micros(100));
                }
            })
        };
        let facts = Facts {
            start: Instant::now(),
            devices: vec!["net_null0".into(), "net_null1".into()],
            cpus: vec![0],
            states: states.clone(),
            now: Box::new(|| Tick(0)),
            pools: vec![],
            links: Board::default(),
        };
        let reader = Reader::open(&counters, 2).unwrap();
        // What it counts from the start on is past for everybody who asks.
        while reader.sheet(0).is_none_or(|sheet| sheet.worker.polls == 0) {
            thread::yield_now();
        }
        let published = Arc::new(Published::new(fib));
        let journal = Journal::start(office.logs, published.clone(), || Tick(1)).unwrap();
        let desk = Desk::new(
            Rules::new(office.roots, states, PATIENCE),
            office.lister,
            reader,
            published,
            journal,
            facts,
        );
        let server = Server::start(Bound::bind(&socket).unwrap(), desk).unwrap();
        Self { socket, server: Some(server), worker: Some(worker), stop, frozen, epoch, bursts }
    }

    fn client(&self) -> Client {
        Client::connect(&self.socket).unwrap()
    }

    /// A connection that has shaken hands, for what no honest client sends.
    fn raw(&self) -> UnixStream {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        codec::write(&mut stream, &Hello::OURS, Length::HELLO).unwrap();
        assert_eq!(codec::read::<Hello>(&mut stream, Length::HELLO).unwrap(), Hello::OURS);
        stream
    }

    fn freeze_worker(&self) {
        self.frozen.store(true, Ordering::Relaxed);
        // A round that had begun is over by then.
        thread::sleep(Duration::from_millis(50));
    }

    fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let ended = worker.join();
            assert!(ended.is_ok() || thread::panicking());
        }
        let _ = std::fs::remove_file(claim::beside(&self.socket, "counters"));
    }
}

/// A burst of UDP datagrams of one flow on wan0, for the rules and the log alone: there is no route. A thousand bursts are of as
/// many flows.
fn receive_burst(shard: &mut Shard, view: &View<'_>, number: u16) {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 28, 0, 1, 0x40, 0, 64, 17];
    let [high, low] = (12_345 + number % 1000).to_be_bytes();
    frame.extend([0x26, 0xce, 10, 0, 0, 1, 10, 0, 0, 2, high, low, 0, 53, 0, 8, 0, 0]);
    let mut frames = vec![frame; BURST];
    let mut fates = [Fate::Drop(Reason::NoRules); BURST];
    let arrival = Arrival { interface: InterfaceId(0), source: Source::Wire };
    shard.process(view, &mut NoEntropy, arrival, &mut frames, &mut fates);
    let dropped =
        |fate: &Fate| matches!(fate, Fate::Drop(Reason::Match | Reason::NoRoute | Reason::Translate));
    assert!(fates.iter().all(dropped), "{fates:?}");
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn next_u64(&mut self) -> u64 {
        4
    }
}

fn rules(count: usize) -> Ruleset {
    let rule = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
    Ruleset { rules: vec![rule; count], ..Ruleset::default() }
}

fn candidate(ruleset: Ruleset) -> Candidate {
    Candidate { ruleset, contents: Vec::new() }
}

#[test]
fn a_committed_ruleset_is_the_workers_and_can_be_read_back() {
    let bench = Bench::new("commit");
    let mut client = bench.client();
    assert_eq!((client.rules().unwrap(), client.usage().unwrap()), (None, None));
    assert_eq!(client.status().unwrap().generation, 0);
    assert_eq!(client.commit(&rules(1)).unwrap(), 1);
    assert_eq!(client.commit(&rules(2)).unwrap(), 2);
    thread::sleep(Duration::from_millis(5));
    assert_eq!(bench.epoch(), 2);
    let live = client.rules().unwrap().unwrap();
    assert_eq!((live.generation, live.ruleset), (2, rules(2)));
    let usage = client.usage().unwrap().unwrap();
    assert_eq!((usage.generation, usage.rules), (2, vec![RuleUsage::default(); 2]));
    assert_eq!(client.status().unwrap().generation, 2);
}

#[test]
fn a_refused_ruleset_changes_nothing() {
    let bench = Bench::new("refuse");
    let mut client = bench.client();
    client.commit(&rules(3)).unwrap();
    let mut invalid = rules(1);
    invalid.rules[0].label = Some(String::new());
    let mut greedy = rules(1);
    greedy.options.limits.set(Limit::States, MAX_STATES + 1);
    for (ruleset, why) in [(invalid, "rule @0"), (greedy, "set limit states 200001 is more than the 200000")]
    {
        let refused = client.commit(&ruleset).unwrap_err();
        assert!(matches!(&refused, Error::Refused(text) if text.contains(why)), "{refused}");
        let live = client.rules().unwrap().unwrap();
        assert_eq!((live.generation, live.ruleset), (1, rules(3)));
        assert_eq!(bench.epoch(), 1);
    }
    let mut most = rules(1);
    most.options.limits.set(Limit::States, MAX_STATES);
    assert_eq!(client.commit(&most).unwrap(), 2);
}

#[test]
fn what_is_known_can_be_asked() {
    let bench = Bench::new("ask");
    let mut client = bench.client();
    let deadline = Instant::now() + Duration::from_secs(10);
    while client.status().unwrap().workers[0].polls == 0 {
        assert!(Instant::now() < deadline, "the worker does not count");
        thread::sleep(Duration::from_millis(20));
    }
    let status = client.status().unwrap();
    assert_eq!((status.states, status.states_limit), (0, MAX_STATES.into()));
    let names: Vec<_> =
        status.interfaces.iter().map(|known| (known.name.as_str(), known.device.as_str())).collect();
    assert_eq!(names, [("wan0", "net_null0"), ("lan0", "net_null1")]);
    assert_eq!(status.interfaces[0].rx_packets, 5);
    assert_eq!(status.interfaces[0].mac, "02:00:00:00:00:01");
    assert!(status.workers[0].conservation.holds() && status.workers[0].polls > 0);
    let drops = client.drops().unwrap();
    let counted: Vec<_> = drops
        .iter()
        .flat_map(|of| of.reasons.iter().map(move |count| (of.interface.as_str(), count)))
        .filter(|(_, count)| count.packets > 0)
        .map(|(interface, count)| (interface, count.reason, count.packets))
        .collect();
    assert_eq!(counted, [("wan0", Reason::NoRules, 5)]);
    assert_eq!(drops[1].reasons.len(), ruleset::REASON_COUNT);
    assert_eq!(client.states(|_| panic!("there is none")).unwrap(), 0);
    client.commit(&rules(1)).unwrap();
    assert_eq!(client.states(|_| panic!("there is none")).unwrap(), 0);
}

/// Tables, filtering, counters and states change while the ruleset keeps its number.
#[test]
fn what_is_live_can_be_changed_without_a_ruleset() {
    let bench = Bench::new("change");
    let mut client = bench.client();
    let entry = |text: &str| TableEntry::new(false, text.parse().unwrap());
    let edit = |name: &str, text: &str| TableEdit {
        name: name.into(),
        add: vec![entry(text)],
        ..TableEdit::default()
    };
    let refused = client.edit_tables(vec![edit("bad", "10.0.0.1/32")]).unwrap_err().to_string();
    assert!(refused.contains("no ruleset is live"), "{refused}");
    assert!(client.switch(Filtering::Off).unwrap_err().to_string().contains("no ruleset is live"));
    let table = Table { name: "bad".into(), entries: Some(vec![entry("10.0.0.9/32")]), ..Table::default() };
    let ruleset = Ruleset { tables: vec![table], ..rules(1) };
    let given = TableContents { name: "bad".into(), entries: vec![entry("10.0.0.0/8")] };
    assert_eq!(client.commit_with(&ruleset, vec![given]).unwrap(), 1);
    client.edit_tables(vec![edit("bad", "10.0.0.1/32")]).unwrap();
    let refused = client.edit_tables(vec![edit("bad", "10.0.0.2/32"), edit("absent", "10.0.0.2/32")]);
    assert!(refused.unwrap_err().to_string().contains("table <absent> is not defined"));
    assert_eq!(client.address_counts("bad").unwrap(), [], "without `counters`");
    assert!(client.address_counts("absent").unwrap_err().to_string().contains("not defined"));
    let mut held = Vec::new();
    client.entries("bad", |entry| held.push(entry.net.to_string())).unwrap();
    held.sort();
    assert_eq!(held, ["10.0.0.0/8", "10.0.0.1/32"]);
    assert!(client.entries("absent", |_| panic!("it holds nothing")).is_err());
    let live = client.rules().unwrap().unwrap();
    assert_eq!((live.generation, live.ruleset), (1, ruleset));

    assert!(!client.switch(Filtering::On).unwrap());
    assert!(client.switch(Filtering::Off).unwrap() && !client.switch(Filtering::Off).unwrap());
    assert_eq!(client.status().unwrap().filtering, Filtering::Off);
    assert_eq!(client.commit(&rules(2)).unwrap(), 2, "a ruleset switches nothing on");
    assert_eq!(client.info().unwrap().filtering, Filtering::Off);
    assert!(client.switch(Filtering::On).unwrap());
    assert_eq!(client.kill(&StateSelector::default()).unwrap(), 0);

    let counted = |client: &mut Client| client.info().unwrap().drops[Reason::NoRules as usize].packets;
    let deadline = Instant::now() + Duration::from_secs(20);
    while counted(&mut client) != 5 {
        assert!(Instant::now() < deadline, "the worker does not count");
        thread::sleep(Duration::from_millis(20));
    }
    client.clear(Counts::Info).unwrap();
    client.clear(Counts::Rules(vec![String::new(), "absent".into()])).unwrap();
    assert_eq!(counted(&mut client), 0);
    // Each interface has counters of its own, which only a request that names it sets to zero.
    let carried = |client: &mut Client| {
        let of = |interface: InterfaceInfo| (interface.name, interface.received.packets, interface.dropped);
        client.info().unwrap().interfaces.into_iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(carried(&mut client), [("wan0".into(), 5, 5), ("lan0".into(), 0, 0)]);
    client.clear(Counts::Interface("lan0".into())).unwrap();
    assert_eq!(carried(&mut client)[0], ("wan0".into(), 5, 5));
    let interfaces = client.info().unwrap().interfaces;
    let [wan0, lan0] = &interfaces[..] else { panic!("two interfaces") };
    let counted = |traffic: api::Traffic| (traffic.packets, traffic.bytes);
    let told = [wan0.hooks.in4, wan0.hooks.out4, wan0.hooks.in6, wan0.hooks.out6];
    let told: Vec<_> = told.iter().flat_map(|hook| [counted(hook.passed), counted(hook.blocked)]).collect();
    assert_eq!(told, (1..9).map(|number| (number, 100 * number)).collect::<Vec<_>>());
    assert_eq!(lan0.hooks, api::Hooks::default());
    assert_eq!(client.info().unwrap().logged, None);
    let mut logging = rules(2);
    logging.options.log_interface = Some("wan0".into());
    client.commit(&logging).unwrap();
    assert_eq!(client.info().unwrap().logged, Some(api::Logged { name: "wan0".into(), hooks: wan0.hooks }));
    logging.options.log_interface = Some("dmz".into());
    client.commit(&logging).unwrap();
    let nothing = api::Logged { name: "dmz".into(), ..api::Logged::default() };
    assert_eq!(client.info().unwrap().logged, Some(nothing));
    let refused = client.clear(Counts::Interface("dmz0".into())).unwrap_err().to_string();
    assert!(refused.contains("no interface dmz0"), "{refused}");
    client.clear(Counts::Interface("wan0".into())).unwrap();
    assert_eq!(carried(&mut client), [("wan0".into(), 0, 0), ("lan0".into(), 0, 0)]);
    assert_eq!(client.info().unwrap().interfaces[0].hooks, api::Hooks::default());
    assert_eq!(client.status().unwrap().interfaces[0].rx_packets, 5, "what only rises is as it was");
    let drops = client.drops().unwrap();
    assert_eq!(drops[0].reasons[Reason::NoRules as usize].packets, 5, "what only rises is as it was");
}

/// A candidate is asked, and nothing of it is live.
#[test]
fn a_candidate_is_judged_without_being_live() {
    let bench = Bench::new("judge");
    let mut client = bench.client();
    client.commit(&rules(1)).unwrap();
    let end = |address: &str, port| TupleEnd { address: address.parse().unwrap(), port: wire::Port(port) };
    let flow = |to: &str| Flow {
        proto: wire::Proto::TCP,
        source: end("10.0.0.2", 40000),
        destination: end(to, 22),
        direction: Direction::In,
        interface: Some("lan0".into()),
        moment: Moment::First,
    };
    let candidate = || Candidate { ruleset: log::block_log(), contents: Vec::new() };
    let judged = client.judge(candidate(), vec![flow("10.0.0.1")]).unwrap();
    let (live, candidates) = (judged[0].live.as_ref().unwrap(), judged[0].candidate.as_ref().unwrap());
    assert_eq!((live.passes, live.keeps_state, live.rule), (true, true, Some(0)));
    assert_eq!((candidates.passes, candidates.rule, candidates.interface.as_str()), (false, Some(0), "lan0"));
    for flows in [vec![flow("fd00::1")], vec![flow("10.0.0.1"); 1025]] {
        assert!(client.judge(candidate(), flows).unwrap_err().to_string().contains("at most 1024"));
    }
    let mut invalid = candidate();
    invalid.ruleset.rules[0].label = Some(String::new());
    assert!(client.judge(invalid.clone(), vec![flow("10.0.0.1")]).is_err());
    assert!(client.review(invalid).is_err());
    let reviewed = client.review(candidate()).unwrap();
    assert_eq!((reviewed.examined, reviewed.blocked, reviewed.complete), (0, 0, true));
    assert_eq!(client.rules().unwrap().unwrap().ruleset, rules(1));
}

#[test]
fn a_worker_that_does_not_come_back_keeps_its_rules() {
    let bench = Bench::new("stall");
    let mut client = bench.client();
    client.commit(&rules(1)).unwrap();
    bench.freeze_worker();
    let refused = client.commit(&rules(2)).unwrap_err().to_string();
    assert!(refused.contains("worker 0 did not come for the ruleset within 5s"), "{refused}");
    assert_eq!(client.rules().unwrap().unwrap().generation, 1);
    let refused = client.states(|_| panic!("nobody lists them")).unwrap_err().to_string();
    assert!(refused.contains("the worker does not answer"), "{refused}");
    let refused = client.usage().unwrap_err().to_string();
    assert!(refused.contains("the worker does not answer"), "{refused}");
    // What it did not take was withdrawn: it never gets it, and takes the next one.
    bench.frozen.store(false, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(bench.epoch(), 1);
    assert_eq!(client.commit(&rules(3)).unwrap(), 2);
    assert_eq!(client.states(|_| panic!("there is none")).unwrap(), 0);
}

#[test]
fn another_version_is_told_ours_and_hung_up_on() {
    let bench = Bench::new("version");
    let mut stream = UnixStream::connect(&bench.socket).unwrap();
    codec::write(&mut stream, &Hello { version: 99, ..Hello::OURS }, Length::HELLO).unwrap();
    assert_eq!(codec::read::<Hello>(&mut stream, Length::HELLO).unwrap(), Hello::OURS);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert_eq!(bench.client().status().unwrap().generation, 0);
}

#[test]
fn garbage_is_refused_with_a_reason_and_harms_nobody_else() {
    let bench = Bench::new("garbage");
    let mut honest = bench.client();
    let frames: [(&[u8], &str); 4] = [
        (&[0xff; 4], "a message of 4294967295 bytes, but at most"),
        (&[5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff], "not a message of this protocol"),
        (&[0, 0, 0, 0], "not a message of this protocol"),
        (&[3, 0, 0, 0, 1, 1, 0], "not a message of this protocol"),
    ];
    for (bytes, why) in frames {
        let mut stream = bench.raw();
        stream.write_all(bytes).unwrap();
        let Response { id, body } = codec::read(&mut stream, Length::RESPONSE).unwrap();
        assert_eq!(id, Response::CONNECTION);
        assert!(matches!(&body, ResponseBody::Refused(text) if text.contains(why)), "{body:?}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "then it hangs up");
        honest.status().unwrap();
    }
    let mut stream = UnixStream::connect(&bench.socket).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "without a hello there is no answer");
    honest.status().unwrap();
}

/// Memory of this process, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A few changes of a frame, each a byte of any kind, a bit, a cut or a piece twice.
fn change(frame: &mut Vec<u8>, mut random: impl FnMut() -> usize) {
    for _ in 0..=random() % 4 {
        let at = random() % frame.len().max(1);
        match random() % 4 {
            0 => frame[at] = random() as u8,
            1 => frame[at] ^= 1 << (random() % 8),
            2 => frame.truncate(at.max(5)),
            _ => frame.extend_from_within(at..(at + 16).min(frame.len())),
        }
    }
}

#[test]
fn h02_changed_requests_are_answered_or_hung_up_on_in_bounded_memory() {
    let bench = Bench::new("changed");
    let bodies = [
        RequestBody::Commit(Box::new(candidate(rules(20)))),
        RequestBody::Commit(Box::new(candidate(log::block_log()))),
        RequestBody::Status,
        RequestBody::States,
        RequestBody::Rules,
        RequestBody::Logs,
    ];
    let framed = |(id, body)| {
        let mut bytes = Vec::new();
        codec::write(&mut bytes, &Request { id, body }, Length::REQUEST).unwrap();
        bytes
    };
    let honest: Vec<Vec<u8>> = (1..).zip(bodies).map(framed).collect();
    let rounds = if std::env::var_os("TURNPIKE_LONG").is_some() { 200_000 } else { 1_000 };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut before = 0;
    for round in 0..rounds {
        let mut frame = honest[random() % honest.len()].clone();
        change(&mut frame, &mut random);
        // Half of them with a length that fits, so that the change is in the message.
        if random() % 2 == 0 {
            let length = frame.len() as u32 - 4;
            frame[..4].copy_from_slice(&length.to_le_bytes());
        }
        let mut stream = bench.raw();
        // It may have hung up on what came first.
        let _ = stream.write_all(&frame).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let _ = Read::by_ref(&mut stream).take(1 << 20).read_to_end(&mut answer);
        if round == rounds / 10 {
            before = resident_kib();
        }
    }
    assert!(resident_kib() < before + 64 * 1024, "{before} KiB, then {} KiB", resident_kib());
    bench.client().status().unwrap();
}

/// A frame that is cut off anywhere ends its connection and nothing else.
#[test]
fn cut_off_commits_change_nothing() {
    let bench = Bench::new("cut");
    let mut frame = Vec::new();
    let commit = Request {
        id: 1,
        body: RequestBody::Commit(Box::new(Candidate { ruleset: rules(2), contents: Vec::new() })),
    };
    codec::write(&mut frame, &commit, Length::REQUEST).unwrap();
    for end in (0..frame.len()).step_by(7) {
        let mut stream = bench.raw();
        stream.write_all(&frame[..end]).unwrap();
    }
    assert_eq!(bench.client().rules().unwrap(), None);
}

#[test]
fn a_client_too_many_is_told_and_room_comes_back() {
    let bench = Bench::new("many");
    let mut clients: Vec<Client> = (0..CLIENTS_MAX).map(|_| bench.client()).collect();
    let refused = Client::connect(&bench.socket).unwrap_err();
    assert!(matches!(refused, Error::Refused(_) | Error::Connect { .. }), "{refused}");
    for client in &mut clients {
        client.status().unwrap();
    }
    drop(clients);
    let deadline = Instant::now() + Duration::from_secs(10);
    while Client::connect(&bench.socket).is_err() {
        assert!(Instant::now() < deadline, "no room came back");
        thread::sleep(Duration::from_millis(20));
    }
}

/// One who asks and does not read holds up nobody, and is gone when the server ends.
#[test]
fn a_slow_reader_waits_alone() {
    let bench = Bench::new("slow");
    let mut client = bench.client();
    client.commit(&rules(20_000)).unwrap();
    let mut slow = bench.raw();
    for id in 1..=4 {
        codec::write(&mut slow, &Request { id, body: RequestBody::Rules }, Length::REQUEST).unwrap();
    }
    for _ in 0..20 {
        client.status().unwrap();
    }
    assert_eq!(client.commit(&rules(1)).unwrap(), 2);
    // All the while it was waited for, and nobody with it.
    let first: Response = codec::read(&mut slow, Length::RESPONSE).unwrap();
    assert!(matches!(first.body, ResponseBody::Rules(_)), "{:?}", first.id);
}

#[test]
fn the_end_of_the_server_is_the_end_of_its_clients_and_of_its_socket() {
    let mut bench = Bench::new("end");
    let mut stream = bench.raw();
    let server = bench.server.take().unwrap();
    let socket = bench.socket.clone();
    server.stop();
    assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    assert!(!socket.exists());
    assert!(matches!(Client::connect(&socket), Err(Error::Connect { .. })));
}
