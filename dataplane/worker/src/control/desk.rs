//! Answers requests out of what the dataplane knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use api::pflog::LogEntry;
use api::{
    Candidate, CreatedCount, DeviceStatus, EndpointMapping, FragmentStatus, InterfaceDrops, InterfacePlace,
    InterfaceStatus, LinkStatus, LiveRules, LiveUsage, MappingCount, PoolStatus, Process, ReasonCount,
    ResponseBody, RuleUsage, Status, Traffic, WorkerStatus,
};
use dpdk::Mempool;
use engine::fib::Role;
use engine::{Counted, Created, Fib, Mapping, Root, StatePool, Tick};
use ruleset::{Limit, Reason, Ruleset, StateView};
use wire::Mac;

use super::history::History;
use super::journal::Journal;
use super::ledger::{Ledger, Totals};
use super::readers;
use super::rules::{Live, Rules, Showcase};
use super::sources::{counted, limit_counts, source_status};
use crate::dump::{Lister, Mapped, Stalled};
use crate::keeper::Board;
use crate::netlink::service::Published;
use crate::telemetry::{DeviceCounts, Minutes, ProgressCounts, Reader, Sheet};
use crate::verbosity;

/// How long a worker may take for a slice of the states.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of the dataplane, for all clients.
pub struct Desk {
    pub(super) rules: Mutex<Rules>,
    /// What is live: to be seen also while a commit waits for workers.
    pub(super) showcase: Showcase,
    pub(super) lister: Mutex<Lister>,
    telemetry: Mutex<Reader>,
    pub(super) kernel: Arc<Published>,
    pub(super) journal: Journal,
    pub(super) facts: Facts,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) history: Mutex<History>,
    /// Held by the client that traces.
    pub(super) tracing: Mutex<()>,
    /// How many listen to states.
    pub(super) listeners: Mutex<usize>,
}

/// What does not change.
pub struct Facts {
    /// When the dataplane started.
    pub start: Instant,
    /// The device of each interface.
    pub devices: Vec<String>,
    /// The CPU of each worker.
    pub cpus: Vec<u16>,
    /// The states of all workers, and their sources.
    pub states: StatePool,
    /// The workers' clock.
    pub now: Box<dyn Fn() -> Tick + Send + Sync>,
    /// The pools.
    pub pools: Vec<Mempool>,
    /// Where the links are told of.
    pub links: Board,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of this lock panics")
}

impl Desk {
    /// A desk that knows all this.
    pub fn new(
        rules: Rules,
        lister: Lister,
        telemetry: Reader,
        kernel: Arc<Published>,
        journal: Journal,
        facts: Facts,
    ) -> Self {
        let ledger = Mutex::new(Ledger::new(facts.start, facts.devices.len()));
        Self {
            showcase: rules.showcase(),
            ledger,
            history: Mutex::default(),
            tracing: Mutex::default(),
            listeners: Mutex::default(),
            rules: Mutex::new(rules),
            lister: Mutex::new(lister),
            telemetry: Mutex::new(telemetry),
            kernel,
            journal,
            facts,
        }
    }

    /// Makes a ruleset the live one.
    pub fn commit(&self, candidate: &Candidate, inserter: Process) -> ResponseBody {
        let (fib, user) = (self.kernel.fib(), inserter.uid);
        let options = &candidate.ruleset.options;
        let kept = if options.keep_counters { self.kept_for(&candidate.ruleset) } else { Vec::new() };
        match lock(&self.rules).commit(candidate, fib.interfaces(), inserter) {
            Ok(generation) => {
                let rules = candidate.ruleset.rules.len();
                tracing::info!(generation, rules, user, "a new ruleset is live");
                if let Some(live) = self.showcase.live() {
                    lock(&self.ledger).keep_rules(live.root.epoch(), kept);
                }
                if let Some(level) = options.debug
                    && let Err(why) = verbosity::set(level)
                {
                    tracing::warn!("set debug {}: {why}", level.name());
                }
                self.watch_gateways();
                ResponseBody::Committed { generation }
            }
            Err(refusal) => {
                tracing::warn!(%refusal, user, "a ruleset was refused; the one before is live");
                ResponseBody::Refused(refusal.to_string())
            }
        }
    }

    /// What the rules of a ruleset have done that are live already; nothing if the workers do not tell.
    fn kept_for(&self, ruleset: &Ruleset) -> Vec<RuleUsage> {
        let Some(live) = self.showcase.live() else { return Vec::new() };
        let usage = match self.counted_by(&live.root) {
            Ok(usage) => lock(&self.ledger).rules_since_cleared(live.root.epoch(), usage),
            Err(Stalled) => {
                tracing::warn!(
                    "set keepcounters: a worker does not tell what it has counted; counters begin anew"
                );
                return Vec::new();
            }
        };
        let rules = live.root.ruleset().rules.iter().map(|rule| rule.identity);
        let known: BTreeMap<u64, RuleUsage> = rules.zip(usage).collect();
        ruleset.rules.iter().map(|rule| known.get(&rule.identity).copied().unwrap_or_default()).collect()
    }

    /// Has the gateways looked after that the live rules name.
    pub(super) fn watch_gateways(&self) {
        if let Some(live) = self.showcase.live() {
            self.kernel.watch(live.root.gateways(&self.kernel.fib()));
        }
    }

    /// The live ruleset.
    pub fn rules(&self) -> ResponseBody {
        ResponseBody::Rules(self.showcase.live().map(|Live { generation, root, .. }| {
            Box::new(LiveRules { generation, ruleset: root.ruleset().clone() })
        }))
    }

    /// The states from a place on, and the place to go on from; `u32::MAX` at the end.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn states(&self, cursor: u32) -> Result<(Vec<StateView>, u32), Stalled> {
        lock(&self.lister).states(cursor, PATIENCE)
    }

    /// What each rule of the live ruleset has done.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn usage(&self) -> Result<ResponseBody, Stalled> {
        let Some(live) = self.showcase.live() else { return Ok(ResponseBody::Usage(None)) };
        let usage = self.counted_by(&live.root)?;
        let rules = lock(&self.ledger).rules_since_cleared(live.root.epoch(), usage);
        Ok(ResponseBody::Usage(Some(LiveUsage {
            generation: live.generation,
            inserter: live.inserter,
            rules,
        })))
    }

    /// How many connections are translated to each address.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn mappings(&self) -> Result<ResponseBody, Stalled> {
        let mappings = lock(&self.lister).mappings(PATIENCE)?;
        let shown = |(Mapping { address, proto, block }, Mapped { connections, refused })| MappingCount {
            address,
            proto: proto.0,
            connections,
            block,
            refused,
        };
        Ok(ResponseBody::Mappings(mappings.into_iter().map(shown).collect()))
    }

    /// The endpoints inside that have one endpoint outside.
    pub fn endpoint_mappings(&self) -> impl Iterator<Item = EndpointMapping> {
        self.facts.states.endpoint_mappings().into_iter().map(|of| EndpointMapping {
            proto: of.proto.0,
            inside: (of.inside.0, of.inside.1.0).into(),
            outside: (of.outside.0, of.outside.1.0).into(),
            states: of.states,
        })
    }

    /// What each rule of a ruleset has ever done.
    pub(super) fn counted_by(&self, root: &Arc<Root>) -> Result<Vec<RuleUsage>, Stalled> {
        let counted = lock(&self.lister).usage(root, PATIENCE)?;
        let counted_as = |Counted { packets, bytes }: Counted| Traffic { packets, bytes };
        let shown = |usage: engine::RuleUsage| {
            let [incoming, outgoing] = usage.counted.map(counted_as);
            let engine::RuleUsage { evaluations, states, made, spent, .. } = usage;
            RuleUsage { evaluations, incoming, outgoing, states, made, spent }
        };
        Ok(counted.into_iter().map(shown).collect())
    }

    /// What is logged from now on; `None` if the log has too many readers.
    pub fn logs(&self) -> Option<readers::Reader<LogEntry>> {
        self.journal.subscribe()
    }

    /// What was dropped.
    pub fn drops(&self) -> ResponseBody {
        let fib = self.kernel.fib();
        let Some(sheet) = self.sheets().map(|sheets| Sheet::sum(&sheets)) else { return busy() };
        let drops = fib.interfaces().iter().zip(&sheet.drops).map(|(interface, drops)| InterfaceDrops {
            interface: interface.name.clone(),
            reasons: Reason::ALL
                .into_iter()
                .zip(drops)
                .map(|(reason, packets)| ReasonCount { reason, packets: *packets })
                .collect(),
        });
        ResponseBody::Drops(drops.collect())
    }

    /// The forwarding base.
    pub fn fib(&self) -> Arc<Fib> {
        self.kernel.fib()
    }

    /// How the dataplane is.
    pub fn status(&self) -> ResponseBody {
        let (generation, states_limit) = match self.showcase.live() {
            Some(live) => (live.generation, live.root.ruleset().options.limits.get(Limit::States)),
            None => (0, self.facts.states.most()),
        };
        let filtering = self.filtering();
        let (Some(sheets), Some(minutes)) = (self.sheets(), lock(&self.telemetry).minutes()) else {
            return busy();
        };
        let sheet = Sheet::sum(&sheets);
        let nodes = self.facts.states.source_counts();
        let sources_limit = match self.showcase.live() {
            Some(live) => live.root.ruleset().options.limits.get(Limit::SrcNodes),
            None => self.facts.states.source_nodes_max(),
        };
        let pool = |pool: &Mempool| PoolStatus {
            name: pool.name().into(),
            size: pool.size(),
            in_use: pool.in_use(),
        };
        ResponseBody::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            generation,
            uptime_s: self.facts.start.elapsed().as_secs(),
            filtering,
            states: sheet.worker.states,
            states_limit: states_limit.into(),
            searches: sheet.worker.searches,
            inserts: sheet.worker.inserts,
            removals: sheet.worker.removals,
            fragments: fragment_status(&sheet, Totals::of(&sheet, &nodes).fragments),
            sources: source_status(nodes.current, counted(&nodes)),
            sources_limit: sources_limit.into(),
            limits: limit_counts(sheet.limits),
            overloads: lock(&self.ledger).overloads,
            log_lost: sheet.worker.log_lost + self.journal.lost(),
            events_lost: sheet.worker.events_lost + self.journal.events_lost(),
            netlink_overruns: self.kernel.overruns(),
            interfaces: self.interfaces(&self.kernel.fib(), &sheet, &minutes),
            workers: self.workers(&sheets, &minutes),
            pools: self.facts.pools.iter().map(pool).collect(),
        }))
    }

    /// The link of each interface.
    pub(super) fn links(&self) -> impl Iterator<Item = LinkStatus> {
        self.facts.links.links().into_iter().chain(std::iter::repeat_with(LinkStatus::default))
    }

    pub(super) fn sheets(&self) -> Option<Vec<Sheet>> {
        lock(&self.telemetry).sheets(self.facts.cpus.len())
    }

    fn workers(&self, sheets: &[Sheet], minutes: &Minutes) -> Vec<WorkerStatus> {
        let known = (0..).zip(&self.facts.cpus).zip(sheets).zip(&minutes.workers);
        known.map(|(((worker, cpu), sheet), progress)| worker_status(worker, *cpu, sheet, progress)).collect()
    }

    fn interfaces(&self, fib: &Fib, sheet: &Sheet, minutes: &Minutes) -> Vec<InterfaceStatus> {
        let carried = sheet.interfaces.iter().zip(&minutes.devices);
        let known = fib.interfaces().iter().zip(&self.facts.devices).zip(carried);
        let known = known.zip(self.links());
        let status = known.map(|(((interface, device), (counts, hardware)), link)| InterfaceStatus {
            link,
            name: interface.name.clone(),
            device: device.clone(),
            mac: colons(interface.mac),
            mtu: interface.mtu,
            up: interface.up,
            addresses: interface
                .addresses
                .iter()
                .map(|own| format!("{}/{}", own.address, own.prefix))
                .collect(),
            place: match interface.role {
                Role::Routed => InterfacePlace::Routed,
                Role::Bridged(bridge) => InterfacePlace::BridgedTo(
                    fib.interface(bridge.peer).map(|peer| peer.name.clone()).unwrap_or_default(),
                ),
                Role::Span => InterfacePlace::Span,
            },
            rx_packets: counts.rx_packets,
            rx_bytes: counts.rx_bytes,
            tx_packets: counts.tx_packets,
            tx_bytes: counts.tx_bytes,
            host_in_packets: counts.host_in_packets,
            host_in_bytes: counts.host_in_bytes,
            punted_packets: counts.punted_packets,
            punted_bytes: counts.punted_bytes,
            partial_checksums: counts.partial_checksums,
            handed_off_packets: counts.handed_off_packets,
            hardware: device_status(hardware),
        });
        status.collect()
    }
}

/// What is known of fragments: what waits now, and what was counted.
pub(super) fn fragment_status(sheet: &Sheet, [searches, inserts, removals]: [u64; 3]) -> FragmentStatus {
    let (waiting, datagrams) = (sheet.worker.fragments, sheet.worker.fragmented);
    FragmentStatus { waiting, datagrams, searches, inserts, removals }
}

fn device_status(counts: &DeviceCounts) -> DeviceStatus {
    DeviceStatus {
        link_up: counts.link_up != 0,
        link_mbps: counts.link_mbps.try_into().unwrap_or(u32::MAX),
        rx_missed: counts.rx_missed,
        rx_errors: counts.rx_errors,
        rx_no_buffer: counts.rx_no_buffer,
        tx_errors: counts.tx_errors,
    }
}

fn worker_status(worker: u16, cpu: u16, sheet: &Sheet, progress: &ProgressCounts) -> WorkerStatus {
    let created = Created::ALL.iter().zip(sheet.created);
    WorkerStatus {
        worker,
        cpu,
        busy_ns: sheet.worker.busy_ns,
        idle_ns: sheet.worker.idle_ns,
        polls: sheet.worker.polls,
        stalls: progress.stalls,
        stalled: progress.stalled != 0,
        created: created.map(|(kind, packets)| CreatedCount { kind: kind.name().into(), packets }).collect(),
        conservation: sheet.conservation(),
        withheld: sheet.worker.withheld,
        placed: sheet.worker.placed,
        aliases: sheet.worker.aliases,
        bursts: sheet.bursts.told(),
        latency_ns: sheet.latency.told(),
    }
}

pub(super) fn busy() -> ResponseBody {
    ResponseBody::Refused("the worker's counters could not be read between two copies; ask again".into())
}

/// An Ethernet address as people write it.
pub fn colons(mac: Mac) -> String {
    mac.0.map(|octet| format!("{octet:02x}")).join(":")
}
