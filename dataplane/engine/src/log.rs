//! What `log` rules record, until the shell fetches it (pf.conf(5) `log`).
//!
//! Overview: a bounded ring of the first bytes of packets and of what was decided on them. Life cycle: records are written
//! by the hooks and taken by the shell between bursts. Ownership: the shard's worker.
//! Bounds: [`RECORDS_MAX`] records of [`SNAP_BYTES`] bytes; what finds the ring full is lost, and counted.

use std::collections::VecDeque;

use ruleset::{Action, Direction, Reason, RulePlace};

use crate::eval::Decision;
use crate::fib::InterfaceId;
use crate::packet::{Packet, Tuple};
use crate::shard::View;
use crate::tick::Tick;

/// The most records that wait for the shell.
pub const RECORDS_MAX: usize = 1024;

/// How much of a packet is kept, from its IP header on: what pflogd(8) keeps by default.
pub const SNAP_BYTES: usize = 160;

/// One logged packet.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord {
    /// When it was seen.
    pub tick: Tick,
    /// The interface of the hook.
    pub interface: InterfaceId,
    /// The hook.
    pub direction: Direction,
    /// Whether it was let through; else why not.
    pub dropped: Option<Reason>,
    /// The rule, as pfctl numbers it in the live ruleset; `None` where no rule matched.
    pub rule: Option<RulePlace>,
    /// The last name in the path of the rule's anchor.
    anchor: AnchorName,
    /// Addresses, ports, protocol.
    pub tuple: Tuple,
    /// Bytes of the IP datagram.
    pub length: u32,
    captured: u8,
    bytes: [u8; SNAP_BYTES],
}

impl LogRecord {
    /// The last name in the path of the rule's anchor, at most 15 bytes of it; empty in the main ruleset.
    pub fn anchor(&self) -> &[u8] {
        self.anchor.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The first bytes of the IP datagram, as they were on arrival.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.captured)]
    }
}

/// What is said of a packet that is logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub tick: Tick,
    pub interface: InterfaceId,
    pub direction: Direction,
    pub dropped: Option<Reason>,
    pub rule: Option<RulePlace>,
    pub anchor: AnchorName,
}

impl Entry {
    /// What a rule of the live ruleset, by number, said at a hook.
    pub fn new(
        view: &View<'_>,
        (direction, interface): (Direction, InterfaceId),
        rule: Option<u32>,
        dropped: Option<Reason>,
    ) -> Self {
        let named = view.root.zip(rule);
        Self {
            tick: view.now,
            interface,
            direction,
            dropped,
            rule: named.and_then(|(root, rule)| root.place(rule)),
            anchor: named.map_or_else(AnchorName::default, |(root, rule)| AnchorName::of(root.path(rule))),
        }
    }
}

/// As much of an anchor's name as pf's records have room for, and zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AnchorName([u8; 15]);

impl AnchorName {
    pub fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or_default().as_bytes();
        Self(core::array::from_fn(|at| name.get(at).copied().unwrap_or(0)))
    }
}

/// The ring.
#[derive(Debug)]
pub(crate) struct Log {
    records: VecDeque<LogRecord>,
    pub lost: u64,
}

impl Log {
    pub fn new() -> Self {
        Self { records: VecDeque::with_capacity(RECORDS_MAX), lost: 0 }
    }

    /// Records a packet of `frame`, or counts it as lost.
    #[cold]
    pub fn record(&mut self, entry: Entry, packet: &Packet, frame: &[u8]) {
        if self.records.len() >= RECORDS_MAX {
            self.lost += 1;
            return;
        }
        let end = frame.len().min(packet.end as usize);
        let datagram = frame.get(usize::from(packet.l3)..end).unwrap_or_default();
        let captured = datagram.len().min(SNAP_BYTES);
        let mut bytes = [0; SNAP_BYTES];
        bytes[..captured].copy_from_slice(&datagram[..captured]);
        let Entry { tick, interface, direction, dropped, rule, anchor } = entry;
        self.records.push_back(LogRecord {
            tick,
            interface,
            direction,
            dropped,
            rule,
            anchor,
            tuple: packet.tuple,
            length: packet.length(),
            captured: captured as u8,
            bytes,
        });
    }

    /// Records what the rules decided on a packet at a hook: once for each `match` rule that logs it, then for the deciding
    /// rule.
    #[cold]
    pub fn record_decision(
        &mut self,
        view: &View<'_>,
        hook: (Direction, InterfaceId),
        decision: &Decision<'_>,
        packet: &Packet,
        frame: &[u8],
    ) {
        let dropped = matches!(decision.action, Action::Block(_)).then_some(Reason::Match);
        let decides = |rule: u32| decision.rule == Some(rule);
        for rule in decision.noted.rules().filter(|rule| !decides(*rule)) {
            self.record(Entry::new(view, hook, Some(rule), None), packet, frame);
        }
        if decision.log || decision.noted.rules().any(decides) {
            self.record(Entry::new(view, hook, decision.rule, dropped), packet, frame);
        }
        self.lost += decision.noted.lost();
    }

    pub fn take(&mut self) -> Option<LogRecord> {
        self.records.pop_front()
    }
}
