//! Examples of packets that were dropped, until the shell fetches them: which packet, at which hook, by which rule, and
//! what of its state it did not fit.
//!
//! Overview: whoever refuses a packet says what it knows beyond the reason ([`Blame`]), and whoever counts the drop leaves
//! a record ([`Witness::note`]). Records are a sample: of each reason [`PER_PERIOD`] in a [`PERIOD`]; the next one of the
//! reason tells how many drops there were between them. What passes costs nothing.
//! Life cycle: written by the packet path, taken by the shell between bursts. Ownership: the shard's worker.
//! Bounds: [`RECORDS_MAX`] records; what finds no room is among the drops between.

use std::collections::VecDeque;

use ruleset::{Direction, REASON_COUNT, Reason};
use wire::{Af, Port};

use crate::Address;
use crate::fate::{Arrival, Source};
use crate::fib::InterfaceId;
use crate::packet::Packet;
use crate::tick::Tick;
use crate::track::{BadTimestamp, Peer, QuotedOutside, Segment};

/// The most records that wait for the shell.
pub const RECORDS_MAX: usize = 64;

/// As many drops of one reason leave a record in a [`PERIOD`].
pub const PER_PERIOD: u8 = 4;

/// A quarter of a second, about.
pub const PERIOD: Tick = Tick(1 << 28);

/// How much is kept of a frame that could not be read.
pub const HEAD_BYTES: usize = 64;

/// A packet that was dropped.
#[derive(Clone, Copy, Debug)]
pub struct DropRecord {
    /// When.
    pub tick: Tick,
    /// Why.
    pub reason: Reason,
    /// How far it had come.
    pub place: DropPlace,
    /// The interface whose counter has it.
    pub counted_on: InterfaceId,
    /// The hook that refused it, if one did.
    pub hook: Option<(Direction, InterfaceId)>,
    /// The rule that refused it, that found nothing to translate it to, or that made the state which it did not fit.
    pub rule: Option<RuleAt>,
    /// What it did not fit.
    pub misfit: Option<(Met, Misfit)>,
    /// The packet.
    pub seen: Seen,
    /// Drops of the same reason since the record before, this one not among them.
    pub between: u64,
}

/// How far a packet had come that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropPlace {
    /// It had arrived there, and was on its way through the firewall.
    Arrived(Arrival),
    /// It was to leave, onto the wire or to the host, by the interface whose counter has it. Where it arrived is not known any
    /// more.
    Leaving(Source),
}

/// A rule, by its number in [`Ruleset::rules`](ruleset::Ruleset::rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleAt {
    /// Of the root that it is the number in.
    pub epoch: u32,
    /// The number.
    pub number: u32,
}

/// As much as is known of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    /// All that its headers say, as it arrived.
    Packet(Packet),
    /// It could not be read, or is not IP: how its frame begins.
    Frame(Head),
}

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Bytes of the whole frame.
    pub length: u32,
    captured: u8,
    bytes: [u8; HEAD_BYTES],
}

impl Head {
    pub(crate) fn of(frame: &[u8]) -> Self {
        let captured = frame.len().min(HEAD_BYTES);
        let mut bytes = [0; HEAD_BYTES];
        bytes[..captured].copy_from_slice(&frame[..captured]);
        Self { length: frame.len() as u32, captured: captured as u8, bytes }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.captured)]
    }
}

/// The state that a packet met and did not fit, as it was then. Of each pair, what belongs to the sender of the packet that
/// made the state is first.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// The hook of the packet that made it.
    pub direction: Direction,
    /// True if the packet goes the same way as the one that made it.
    pub forward: bool,
    /// The families in front of the hook and behind it.
    pub families: [Af; 2],
    /// Both ends in front of the hook.
    pub before: [(Address, Port); 2],
    /// Both ends behind it.
    pub behind: [(Address, Port); 2],
    /// What was known of both ends.
    pub peers: [Peer; 2],
    /// Packets seen from each.
    pub packets: [u64; 2],
}

/// What a packet has against its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A segment outside of the window: [`track::measure`](crate::track::measure) says how far.
    Window(Segment),
    /// An ICMP error about a segment that is not under way.
    Quoted(QuotedOutside),
    /// A timestamp that its sender cannot have sent.
    Timestamp(BadTimestamp),
    /// An ICMP query where a reply was due, or the reverse.
    Query,
}

impl Misfit {
    /// The reason that the packet is dropped for.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Window(_) | Self::Quoted(_) | Self::Query => Reason::StateMismatch,
            Self::Timestamp(_) => Reason::BadTimestamp,
        }
    }
}

/// What is known of why a packet is being refused, beyond the reason.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blame {
    pub hook: Option<(Direction, InterfaceId)>,
    pub rule: Option<RuleAt>,
    pub misfit: Option<(Met, Misfit)>,
}

/// The records of a shard, and what is being refused.
#[derive(Debug)]
pub(crate) struct Witness {
    /// Of the packet that is being refused; nothing between two packets.
    pub blame: Blame,
    records: VecDeque<DropRecord>,
    period: u64,
    /// Records of this period, by reason.
    kept: [u8; REASON_COUNT],
    /// Drops since the last record, by reason.
    between: [u64; REASON_COUNT],
}

impl Witness {
    pub fn new() -> Self {
        Self {
            blame: Blame::default(),
            records: VecDeque::with_capacity(RECORDS_MAX),
            period: 0,
            kept: [0; REASON_COUNT],
            between: [0; REASON_COUNT],
        }
    }

    /// Whether a drop of this reason would leave a record now.
    pub fn wants(&mut self, now: Tick, reason: Reason) -> bool {
        let period = now.0 / PERIOD.0;
        if self.period != period {
            self.period = period;
            self.kept = [0; REASON_COUNT];
        }
        self.kept[reason as usize] < PER_PERIOD && self.records.len() < RECORDS_MAX
    }

    /// Takes note of a drop of a packet that arrived and is being counted, with what there is to blame.
    #[cold]
    #[inline(never)]
    pub fn note(
        &mut self,
        now: Tick,
        reason: Reason,
        (arrival, counted_on): (Arrival, InterfaceId),
        seen: Seen,
    ) {
        let blame = core::mem::take(&mut self.blame);
        if self.wants(now, reason) {
            self.record(now, reason, (DropPlace::Arrived(arrival), counted_on), seen, blame);
        } else {
            self.pass_over(reason);
        }
    }

    /// Leaves a record of a drop that [is wanted](Self::wants).
    pub fn record(
        &mut self,
        tick: Tick,
        reason: Reason,
        (place, counted_on): (DropPlace, InterfaceId),
        seen: Seen,
        Blame { hook, rule, misfit }: Blame,
    ) {
        self.kept[reason as usize] += 1;
        let between = core::mem::take(&mut self.between[reason as usize]);
        let record = DropRecord { tick, reason, place, counted_on, hook, rule, misfit, seen, between };
        self.records.push_back(record);
    }

    /// Takes note of a drop that leaves no record.
    pub const fn pass_over(&mut self, reason: Reason) {
        self.between[reason as usize] += 1;
    }

    /// As [`Self::note`], of a frame that could not be read.
    #[cold]
    #[inline(never)]
    pub fn note_frame(&mut self, now: Tick, reason: Reason, arrival: Arrival, frame: &[u8]) {
        self.note(now, reason, (arrival, arrival.interface), Seen::Frame(Head::of(frame)));
    }

    pub fn take(&mut self) -> Option<DropRecord> {
        self.records.pop_front()
    }
}
