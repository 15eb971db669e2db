//! Copies of packets for span ports and for hosts (pf.conf(5) `dup-to`).
//!
//! Overview: a rule, or the state that it made, names a port that gets a copy of each packet: of the frame as it arrived at
//! the IN hook, or as it leaves behind the OUT hook; or a [host], to which a copy is routed. A copy meets the `out` rules of
//! the interface that it leaves by, of which `block`, `dup-to` and `log` hold, so that copies of copies are possible; it never
//! meets a state. By which interfaces copies of a packet left is kept with it, so that no state and no rule makes it appear
//! twice on one, nor run in circles. Packets that go the short way are copied by a [plan], which was made of what became of one
//! before them.
//! Life cycle: copies are gathered while a burst is decided, and fetched by the shell behind it, before it touches the
//! frames: a copy of a packet that went the short way consists of its frame's own bytes. Ownership: the shard's worker.
//! Bounds: [`TARGETS_MAX`] copies of a packet; [`BYTES_MAX`] bytes in a burst. Memory is taken when the first ruleset with
//! `dup-to` arrives.

mod host;
mod plan;
mod waiting;

use core::net::IpAddr;
use core::ops::Range;

use ruleset::{Action, Direction, Reason, RoutingKind};

use crate::Counters;
use crate::crossings::{Run, Verdict};
use crate::eval::{Counted, Decision, Question, Role, Root, RuleTotals, Walked};
use crate::fate::{Created, Source};
use crate::fib::InterfaceId;
use crate::frame::Frame;
use crate::hook::Passage;
use crate::loss::Losses;
use crate::normalize::Cut;
use crate::packet::{Packet, Transport, Tuple};
use crate::pool::{Asked, Pool, Target};
use crate::quick::Quick;
use crate::shard::{BURST, Shard, View};
use crate::state::Family;
use crate::tick::Tick;
use crate::witness::{Blame, DropPlace, Seen};
pub(crate) use plan::PlanId;
use plan::{Form, Plans, Step, Trail};
pub use waiting::Copies;
pub(crate) use waiting::{Noted, NotedBurst};
use waiting::{Own, Repeated, Waiting};

/// The most copies of one packet.
const TARGETS_MAX: usize = 8;
/// The most copies of the packets of one burst.
pub const COPIES_MAX: usize = TARGETS_MAX * BURST;
/// The most bytes of their own that they have: two copies each of the longest frames.
const BYTES_MAX: usize = 2 * BURST * 9728;

/// Where a packet is copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopyTo {
    /// A span port.
    Span(InterfaceId),
    /// A host, by the way to it.
    Host(Target),
}

/// A next hop whose Ethernet address is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The interface that leads to it.
    pub interface: InterfaceId,
    /// Its address.
    pub next_hop: IpAddr,
}

/// What a packet is copied as: behind which hook, on the wire of which interface, and whether it waits for its Ethernet
/// header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    behind: Direction,
    of: InterfaceId,
    unresolved: Option<Unresolved>,
    /// It is a copy for a host itself.
    sent: Option<Sent>,
}

/// A copy that has been routed to a host.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Where it is among the mirror's bytes.
    start: usize,
    end: usize,
    /// Destination and source of its Ethernet header.
    link: [u8; 12],
    cut: Option<Cut>,
}

impl Origin {
    /// As it arrived at this interface.
    pub const fn arrived(of: InterfaceId) -> Self {
        Self { behind: Direction::In, of, unresolved: None, sent: None }
    }

    /// As it leaves by this interface.
    pub const fn left(of: InterfaceId, unresolved: Option<Unresolved>) -> Self {
        Self { behind: Direction::Out, of, unresolved, sent: None }
    }

    /// True if a copy of it is the packet before it was routed.
    const fn is_unrouted(&self) -> bool {
        self.sent.is_none() && matches!(self.behind, Direction::In)
    }
}

/// The copies of a burst.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    gathered: Vec<Waiting>,
    /// How many copies those are.
    count: usize,
    /// What those wait for that do, in their order.
    unresolved: Vec<Unresolved>,
    bytes: Vec<u8>,
    /// Of the packets that went the short way.
    noted: Option<Box<NotedBurst>>,
    /// Of the packet that was copied last on the long way.
    trail: Trail,
    plans: Plans,
}

/// A place among the copies of a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    gathered: usize,
    count: usize,
    unresolved: usize,
    bytes: usize,
}

impl Mirror {
    /// Takes memory if rules of this root make copies.
    pub fn adopt(&mut self, root: &Root) {
        if root.copies() && self.bytes.capacity() == 0 {
            self.gathered.reserve_exact(COPIES_MAX);
            self.unresolved.reserve_exact(COPIES_MAX);
            self.bytes.reserve_exact(BYTES_MAX);
            self.noted = Some(Box::default());
            self.plans.reserve();
        }
    }

    /// Forgets what was not fetched: a new burst begins.
    #[inline]
    pub fn begin(&mut self) {
        if !self.gathered.is_empty() {
            self.gathered.clear();
            self.count = 0;
            self.unresolved.clear();
            self.bytes.clear();
        }
    }

    /// The number of the plan by which packets are copied that follow the one that was copied last, and the largest IP datagram
    /// that may; `None` if they must meet the rules themselves.
    pub fn plan(&mut self) -> Option<(PlanId, u16)> {
        self.plans.number(&self.trail)
    }

    /// True if packets that go the short way may have plans.
    #[inline]
    pub const fn has_plans(&self) -> bool {
        !self.plans.is_empty()
    }

    /// The adjacencies of another epoch begin: no number of a plan means anything any more.
    pub fn forget_plans(&mut self) {
        self.plans.clear();
    }

    /// Counts what was copied by plans in this burst.
    #[inline]
    pub fn settle(&mut self, counters: &mut Counters, totals: &mut RuleTotals) {
        self.plans.settle(counters, totals);
    }

    /// Writes a frame behind those before it: this one, or a copy that is there already. Returns where; `None` if there is no
    /// room.
    fn write(&mut self, frame: &[u8], sent: Option<&Sent>) -> Option<usize> {
        let start = self.bytes.len();
        let length = sent.map_or(frame.len(), |sent| sent.end - sent.start);
        if start + length > BYTES_MAX {
            return None;
        }
        match sent {
            Some(sent) => self.bytes.extend_from_within(sent.start..sent.end),
            None => self.bytes.extend_from_slice(frame),
        }
        Some(start)
    }

    /// Has a copy wait for the shell that was [written](Self::write).
    fn gather(
        &mut self,
        to: InterfaceId,
        of: Option<InterfaceId>,
        unresolved: Option<Unresolved>,
        cut: Option<Cut>,
    ) {
        let end = self.bytes.len() as u32;
        self.unresolved.extend(unresolved);
        self.gathered.push(Waiting::Own(Own { to, of, end, waits: unresolved.is_some(), cut }));
        self.count += 1;
    }

    /// A place for what is [repeated](Self::repeat) of the packets of a burst that go the short way, to be given back there.
    #[inline]
    pub fn take_noted(&mut self) -> Box<NotedBurst> {
        self.noted.take().unwrap_or_default()
    }

    /// Copies packets that have gone the short way by their plans, as they would be copied on the long one: those of a run that
    /// begins with number `first` of the burst, of which `packets` tells the lengths. What the frames were before they were
    /// rewritten was `noted`, if they `CHANGE`.
    #[inline(never)]
    pub fn repeat<const CHANGE: bool>(
        &mut self,
        noted: Box<NotedBurst>,
        packets: &[Quick],
        first: usize,
        run: &Run,
    ) {
        let mut begin = first;
        for (plan, count) in noted.plans(first, run.packets()) {
            let numbers = begin..begin + count;
            if plan != PlanId::NONE {
                let lengths = packets[numbers.clone()].iter().map(|quick| u32::from(quick.length));
                self.follow::<CHANGE>(plan, &numbers, lengths.fold(0, u32::wrapping_add), run);
            }
            begin = numbers.end;
        }
        self.noted = Some(noted);
    }

    /// Copies the packets of these numbers, which are of so many bytes, by their plan.
    #[inline]
    fn follow<const CHANGE: bool>(&mut self, plan: PlanId, numbers: &Range<usize>, bytes: u32, run: &Run) {
        let (steps, family) = self.plans.follow(plan, numbers.len() as u32, bytes);
        for step in steps.iter().filter(|step| step.lost.is_none()) {
            let (of, form) = match step.form {
                Form::Arrived if CHANGE => (Some(run.from()), Form::Arrived),
                Form::Arrived => (Some(run.from()), Form::Left),
                Form::Left => (Some(run.to()), Form::Left),
                Form::Sent { by, .. } => {
                    debug_assert!(CHANGE, "what crosses a pair is sent to hosts on the long way");
                    (by, step.form)
                }
            };
            let (begin, end) = (numbers.start as u8, numbers.end as u8);
            self.gathered.push(Waiting::Repeated(Repeated { to: step.to, of, form, family, begin, end }));
            self.count += numbers.len();
        }
    }

    /// What the burst has been copied so far.
    #[inline]
    pub const fn mark(&self) -> Mark {
        let Self { gathered, count, unresolved, bytes, .. } = self;
        Mark { gathered: gathered.len(), count: *count, unresolved: unresolved.len(), bytes: bytes.len() }
    }

    /// Forgets what was copied since; how many copies those were.
    pub fn take_back(&mut self, mark: Mark) -> u64 {
        let count = self.count - mark.count;
        self.gathered.truncate(mark.gathered);
        self.count = mark.count;
        self.unresolved.truncate(mark.unresolved);
        self.bytes.truncate(mark.bytes);
        count as u64
    }
}

impl Shard {
    /// Copies a packet to where the hook which it has just passed wants it copied to, and on from there. `frame` is
    /// the packet as it is on that hook's wire, but for the Ethernet header where the next hop is not known.
    #[cold]
    #[inline(never)]
    pub(crate) fn mirror(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        mut origin: Origin,
        frame: &[u8],
    ) {
        let Some(root) = view.root else { return };
        if !std::mem::replace(&mut passage.copied, true) {
            // An ICMP error is none of the packets that it quotes.
            let lasting = matches!(passage.packet.transport, Transport::Tcp(_) | Transport::Udp);
            self.mirror.trail.begin(lasting, Family::of(passage.packet.tuple.af));
        }
        let mut wanted = passage.copy_to.take();
        while let Some(target) = wanted {
            wanted = match target {
                CopyTo::Span(port) => self.copy_to_span(view, root, passage, frame, &origin, port),
                CopyTo::Host(host) => self.copy_to_host(view, root, passage, frame, &mut origin, &host),
            };
        }
    }

    /// Copies a packet to a span port, and returns where it is copied to from there.
    fn copy_to_span(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &Passage<'_>,
        frame: &[u8],
        origin: &Origin,
        port: InterfaceId,
    ) -> Option<CopyTo> {
        if !self.mirror.trail.takes(port) {
            return None;
        }
        self.counters.create(Created::Copy, 1);
        let Judged { walked, blocked, next, lasting } = self.judge_copy(view, root, passage, port, frame);
        let Origin { of, unresolved, sent, .. } = *origin;
        let lost = match (blocked.is_some(), unresolved) {
            (true, _) => Some(Reason::Match),
            // What waits on the long way is lost on the short one.
            (false, Some(_)) => Some(Reason::NoNeighbor),
            (false, None) => None,
        };
        self.mirror.trail.add(Step { to: port, form: Form::of(origin), walked, lost }, lasting);
        if let Some(blame) = blocked {
            self.lose_copy(view, passage, port, (Reason::Match, blame));
            return None;
        }
        let cut = sent.map_or_else(|| self.normalizer.came_as(), |sent| sent.cut);
        if self.mirror.write(frame, sent.as_ref()).is_none() {
            self.mirror.trail.lead_nowhere();
            self.lose_copy(view, passage, port, (Reason::NoBuffer, Blame::default()));
            return None;
        }
        self.mirror.gather(port, Some(of), unresolved, cut);
        next
    }

    /// What the rules of the target say to a copy.
    fn judge_copy(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &Passage<'_>,
        target: InterfaceId,
        frame: &[u8],
    ) -> Judged {
        if root.skips(target) {
            return Judged { walked: None, blocked: None, next: None, lasting: true };
        }
        let direction = Direction::Out;
        let question = Question {
            packet: passage.packet,
            direction,
            interface: target,
            tag: passage.tag,
            received_on: passage.received_on,
            priority: passage.priority,
            shape: root.shape(frame, passage.packet),
            fib: view.fib,
            role: Role::Copy,
            occasion: self.occasion(view, root),
        };
        let (decision, lasting) = root.decide_for_all(&question);
        self.rule_totals.count_walk(root, decision.ended_at);
        self.rule_totals.count_packet(&decision, Direction::Out, passage.packet.length());
        let blocked = matches!(decision.action, Action::Block(_)).then(|| Blame {
            hook: Some((direction, target)),
            rule: decision.rule_at(root),
            misfit: None,
        });
        let verdict = if blocked.is_some() { Verdict::Blocked } else { Verdict::Passed };
        let (family, bytes) = (Family::of(passage.packet.tuple.af), passage.packet.length().into());
        self.counters.cross(target, family, direction, verdict, Counted { packets: 1, bytes });
        if decision.logs() {
            self.log.record_decision(view, (direction, target), &decision, passage.packet, frame);
        }
        let next = self.copied_to(view, root, &decision, passage.packet);
        let pool = decision.gateways.filter(|_| decision.slot.routes == Some(RoutingKind::Dup));
        let is_fixed = pool.is_none_or(Pool::is_one_host);
        Judged {
            walked: Some(Walked::of(&decision)),
            blocked,
            next,
            lasting: lasting && is_fixed && !decision.logs(),
        }
    }

    /// Counts a copy that does not leave by `to`.
    fn lose_copy(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        to: InterfaceId,
        (reason, blame): (Reason, Blame),
    ) {
        self.counters.drop_packet(to, reason);
        if self.witness.wants(view.now, reason) {
            let place = (DropPlace::Leaving(Source::Wire), to);
            self.witness.record(view.now, reason, place, Seen::Packet(*passage.packet), blame);
        } else {
            self.witness.pass_over(reason);
        }
    }

    /// Where a rule wants a packet copied to that it passes without a state.
    pub(crate) fn copied_to(
        &mut self,
        view: &View<'_>,
        root: &Root,
        decision: &Decision<'_>,
        packet: &Packet,
    ) -> Option<CopyTo> {
        if let Some(port) = decision.slot.copy_to {
            return Some(CopyTo::Span(port));
        }
        let pool = decision.gateways.filter(|_| decision.slot.routes == Some(RoutingKind::Dup))?;
        let Tuple { af, src: source, .. } = packet.tuple;
        let asked = Asked { af, source, old: source, random: self.draw() };
        let is_alive = |host: &Target| view.fib.is_alive(af, host);
        pool.pick(&asked, root.known(view.fib), is_alive, &|_| 0).map(CopyTo::Host)
    }

    /// How many copies the burst has left to be fetched.
    #[inline]
    pub const fn copies(&self) -> usize {
        self.mirror.count
    }

    /// Gives the copies that the burst has left to `each`, those together that leave by one way, with where it counts what it has
    /// to drop; of one interface in the order of their originals. `frames` are those of the burst, as
    /// [`process`](Self::process) has left them. What is not fetched before the next burst is lost.
    #[inline]
    pub fn take_copies<F: Frame>(
        &mut self,
        now: Tick,
        frames: &[F],
        each: impl FnMut(Copies<'_, F>, &mut Losses<'_>),
    ) {
        let Self { mirror, counters, witness, .. } = self;
        mirror.drain(frames, Losses::new(counters, witness, now), each);
    }
}

/// What the rules of a port say to a copy.
struct Judged {
    walked: Option<Walked>,
    /// What has blocked it, if something has.
    blocked: Option<Blame>,
    /// Where it is copied to from there.
    next: Option<CopyTo>,
    /// They say the same to every packet of this sender of the connection that may go the short way.
    lasting: bool,
}
