//! Traces: what becomes of single packets, stage by stage, for whoever asks (`tpctl trace`).
//!
//! Overview: a shard that is given a [`TraceFilter`] takes packets that fit it the long way, in their place among the others,
//! and the packet path leaves a note at each stage: which state it met, which rules it was compared with, what decided,
//! where it was routed. It is the same path, and the same evaluation of rules, that every packet takes.
//! Life cycle: from [`Shard::trace`] until as many packets were traced as it says. Ownership: the shard's worker.
//! Bounds: without a filter a branch for each burst; [`RECORDS_MAX`] records, and [`VISITS_MAX`] rules at each hook.

use std::collections::VecDeque;
use std::net::IpAddr;

use ruleset::{Action, Direction, Reason};
use wire::{Af, Port, Proto};

use crate::bridge::zone_of_frame;
use crate::burst::Preview;
use crate::eval::Root;
use crate::fate::{Arrival, Fate};
use crate::fib::{Interface, InterfaceAddress, InterfaceId};
use crate::frame::Frame;
use crate::hook::{Hook, Passage, Passed, Stop};
use crate::packet::{Packet, Tuple};
use crate::parse::{Parsed, parse};
use crate::refuse::rule_of;
use crate::shard::{Shard, View};
use crate::tick::Tick;
use crate::witness::RuleAt;

/// The most traces that wait for the shell; what finds no room is not traced.
pub const RECORDS_MAX: usize = 32;

/// The most rules that are told of a hook; how many more there were is.
pub const VISITS_MAX: usize = 32;

/// Which packets are traced: those that fit all of it, as they arrive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceFilter(pub Vec<TraceTerm>);

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceTerm {
    /// It must not hold.
    pub not: bool,
    /// The ends that it is about: one of them must fit.
    pub ends: Ends,
    /// What it asks.
    pub asks: Asks,
}

/// Ends of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ends {
    /// Either.
    #[default]
    Any,
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// What a condition asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// The protocol.
    Proto(Proto),
    /// The family.
    Family(Af),
    /// An end in this network.
    Net(IpAddr, u8),
    /// An end at this port.
    Port(Port),
    /// Where it arrives.
    Interface(InterfaceId),
}

impl TraceFilter {
    fn accepts(&self, arrival: Arrival, tuple: &Tuple) -> bool {
        self.0.iter().all(|term| term.holds(arrival, tuple) != term.not)
    }
}

impl TraceTerm {
    fn holds(&self, arrival: Arrival, tuple: &Tuple) -> bool {
        let either = |source: bool, destination: bool| match self.ends {
            Ends::Any => source || destination,
            Ends::Source => source,
            Ends::Destination => destination,
        };
        match self.asks {
            Asks::Proto(proto) => tuple.proto == proto,
            Asks::Family(af) => tuple.af == af,
            Asks::Interface(interface) => arrival.interface == interface,
            Asks::Port(port) => either(tuple.sport == port, tuple.dport == port),
            Asks::Net(address, prefix) => {
                let net = InterfaceAddress::new(address, prefix);
                Af::of(&address) == tuple.af
                    && either(net.is_near(tuple.src, prefix), net.is_near(tuple.dst, prefix))
            }
        }
    }
}

/// What became of a packet, stage by stage.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// When it was decided.
    pub tick: Tick,
    /// Of the root that it was decided with; 0 without one.
    pub epoch: u32,
    /// Where it arrived.
    pub arrival: Arrival,
    /// As it arrived.
    pub packet: Packet,
    hooks: [Option<HookTrace>; 2],
    /// Why it was dropped, if it was; its fate is then that of its answer, if there is one.
    pub dropped: Option<Reason>,
    /// What became of it.
    pub fate: Fate,
}

impl Traced {
    /// The hooks that it came to, in their order.
    pub fn hooks(&self) -> impl Iterator<Item = &HookTrace> {
        self.hooks.iter().flatten()
    }
}

/// What happened at a hook.
#[derive(Clone, Copy, Debug)]
pub struct HookTrace {
    /// In or out.
    pub direction: Direction,
    /// The interface.
    pub interface: InterfaceId,
    /// What the packet met.
    pub met: Meeting,
    /// Its tuple behind the hook, if that is another than in front of it.
    pub became: Option<Tuple>,
}

/// What a packet met at a hook.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "traces are few, and none is allocated on the packet path")]
pub enum Meeting {
    /// The interface is not filtered.
    Skipped,
    /// A state, made by this rule, if the live ruleset has it.
    State(Option<RuleAt>),
    /// No state, and the rules.
    Rules(Asked),
    /// Neither: it was refused, or handed to another worker, before.
    Nothing,
}

/// The rules that a packet was compared with.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    visits: [Visit; VISITS_MAX],
    count: u8,
    /// The rules were asked at all.
    walked: bool,
    /// Rules that there is no room to tell of.
    pub more: u32,
    /// The rule that decided; none if no rule matched.
    pub decided: Option<RuleAt>,
    /// What it decided.
    pub action: Action,
    /// A state was made.
    pub made: bool,
}

/// A rule that a packet was compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// The rule, by its number in [`Ruleset::rules`](ruleset::Ruleset::rules).
    pub rule: u32,
    /// It matched.
    pub matched: bool,
}

impl Asked {
    const NOBODY: Self = Self {
        visits: [Visit { rule: 0, matched: false }; VISITS_MAX],
        count: 0,
        walked: false,
        more: 0,
        decided: None,
        action: Action::Pass,
        made: false,
    };

    /// The rules, in the order in which they were asked.
    pub fn visits(&self) -> &[Visit] {
        &self.visits[..usize::from(self.count)]
    }

    /// The rules are about to be asked.
    pub(crate) const fn begin(&mut self) {
        self.walked = true;
    }

    pub(crate) fn visit(&mut self, rule: u32, matched: bool) {
        match self.visits.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = Visit { rule, matched };
                self.count += 1;
            }
            None => self.more += 1,
        }
    }
}

/// What a shard traces.
#[derive(Debug)]
pub(crate) struct Tracer {
    filter: TraceFilter,
    left: u32,
    /// A packet that is being traced is on its way.
    active: bool,
    /// At the hook where it is.
    pub asked: Asked,
    hooks: [Option<HookTrace>; 2],
    dropped: Option<Reason>,
    records: VecDeque<Traced>,
}

impl Tracer {
    pub fn new() -> Self {
        Self {
            filter: TraceFilter::default(),
            left: 0,
            active: false,
            asked: Asked::NOBODY,
            hooks: [None; 2],
            dropped: None,
            records: VecDeque::with_capacity(RECORDS_MAX),
        }
    }

    /// Whether anything is traced.
    #[inline]
    pub const fn is_on(&self) -> bool {
        self.left > 0
    }

    /// Whether the packet on its way is.
    #[inline]
    pub const fn is_active(&self) -> bool {
        self.active
    }

    /// The packet was dropped.
    #[inline]
    pub fn drop_packet(&mut self, reason: Reason) {
        if self.active {
            self.dropped = Some(reason);
        }
    }

    fn wants(&self, arrival: Arrival, packet: &Packet) -> bool {
        self.records.len() < RECORDS_MAX && self.filter.accepts(arrival, &packet.tuple)
    }
}

impl Shard {
    /// Traces the next packets that fit, at most `count`; none ends what was begun.
    pub fn trace(&mut self, filter: TraceFilter, count: u32) {
        self.tracer.filter = filter;
        self.tracer.left = count;
        self.tracer.records.clear();
    }

    /// The next packet that was traced.
    #[inline]
    pub fn take_trace(&mut self) -> Option<Traced> {
        self.tracer.records.pop_front()
    }

    /// Whether a frame is to be traced.
    #[cold]
    pub(crate) fn is_traced<F: Frame>(&self, own: &Interface, arrival: Arrival, frame: &F) -> bool {
        self.packet_of(own, frame).is_some_and(|packet| self.tracer.wants(arrival, &packet))
    }

    fn packet_of<F: Frame>(&self, own: &Interface, frame: &F) -> Option<Packet> {
        match parse(frame.bytes(), zone_of_frame(own, frame.bytes()), frame.ip_checksum()) {
            Ok(Parsed::Ip(packet)) => Some(packet),
            Ok(Parsed::NonIp(_)) | Err(_) => None,
        }
    }

    /// Decides a frame, and traces it if it fits.
    #[cold]
    pub(crate) fn decide_traced<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &mut F,
        known: Option<Preview>,
    ) -> Fate {
        let own = view.fib.interface(arrival.interface);
        let packet = own.and_then(|own| self.packet_of(own, frame));
        let Some(packet) = packet.filter(|packet| self.tracer.wants(arrival, packet)) else {
            return self.decide_frame(view, arrival, frame, known);
        };
        self.tracer.active = true;
        (self.tracer.hooks, self.tracer.dropped) = ([None; 2], None);
        let fate = self.decide_frame(view, arrival, frame, known);
        let tracer = &mut self.tracer;
        tracer.active = false;
        tracer.left -= 1;
        let (hooks, dropped) = (tracer.hooks, tracer.dropped);
        let epoch = view.root.map_or(0, Root::epoch);
        tracer.records.push_back(Traced { tick: view.now, epoch, arrival, packet, hooks, dropped, fate });
        fate
    }

    /// Takes a packet through one hook.
    pub(crate) fn hook(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Passed, Stop> {
        match self.tracer.is_active() {
            false => self.pass_hook(view, passage, hook),
            true => self.hook_traced(view, passage, hook),
        }
    }

    /// Takes a packet that is traced through one hook.
    #[cold]
    pub(crate) fn hook_traced(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Passed, Stop> {
        let before = passage.packet.tuple;
        let met = self.pass_hook(view, passage, hook);
        let mut asked = core::mem::replace(&mut self.tracer.asked, Asked::NOBODY);
        let meeting = match &met {
            Ok(Passed::Made(_)) => {
                asked.made = true;
                Meeting::Rules(asked)
            }
            Ok(Passed::Shared) if asked.walked => {
                asked.made = true;
                Meeting::Rules(asked)
            }
            Ok(Passed::State(_) | Passed::Shared) => Meeting::State(self.maker(view, passage, hook, &met)),
            Ok(Passed::Stateless) if !asked.walked => Meeting::Skipped,
            Err(_) if !asked.walked => match self.witness.blame.rule {
                Some(rule) => Meeting::State(Some(rule)),
                None => Meeting::Nothing,
            },
            _ => Meeting::Rules(asked),
        };
        let after = passage.packet.tuple;
        let became = (before != after).then_some(after);
        let trace = HookTrace { direction: hook.direction, interface: hook.interface, met: meeting, became };
        if let Some(place) = self.tracer.hooks.iter_mut().find(|place| place.is_none()) {
            *place = Some(trace);
        }
        met
    }

    /// The rule that made the state which a packet met.
    fn maker(
        &self,
        view: &View<'_>,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        met: &Result<Passed, Stop>,
    ) -> Option<RuleAt> {
        let passed = met.as_ref().ok()?;
        let record = passed.record().or_else(|| hook.first.and_then(Passed::record))?;
        let class = self.connections.face(record, self.side_met(passage, hook, record))?;
        rule_of(view, class)
    }
}
