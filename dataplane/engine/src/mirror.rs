//! Copies of packets for span ports (pf.conf(5) `dup-to`).
//!
//! Overview: a rule, or the state that it made, names a port that gets a copy of each packet: of the frame as it arrived at
//! the IN hook, or as it leaves behind the OUT hook. A copy meets the `out` rules of its target, of which `block`, `dup-to`
//! and `log` hold, so that copies of copies are possible; it never meets a state. Which ports a packet was copied to is kept
//! with it, so that no state and no rule makes it appear twice on one, nor run in circles. Packets that go the short way are
//! copied by a [plan], which was made of what became of one before them.
//! Life cycle: copies are gathered while a burst is decided, and fetched by the shell behind it, before it touches the
//! frames: a copy of a packet that went the short way consists of its frame's own bytes. Ownership: the shard's worker.
//! Bounds: [`TARGETS_MAX`] copies of a packet; [`BYTES_MAX`] bytes in a burst. Memory is taken when the first ruleset with
//! `dup-to` arrives.

mod plan;

use core::net::IpAddr;

use ruleset::{Action, Direction, Reason};

use crate::Counters;
use crate::crossings::Verdict;
use crate::eval::{Counted, Question, Role, Root, RuleTotals, Walked};
use crate::fate::Created;
use crate::fib::InterfaceId;
use crate::frame::Frame;
use crate::hook::Passage;
use crate::normalize::{Cut, cut_up};
use crate::packet::Transport;
use crate::rewrite::PLAIN_HEAD;
use crate::shard::{BURST, Shard, View};
use crate::state::{Adjacency, Family};
pub(crate) use plan::PlanId;
use plan::Plans;
use plan::{Step, Trail};

/// The most copies of one packet.
const TARGETS_MAX: usize = 8;
/// The most copies of the packets of one burst.
pub const COPIES_MAX: usize = TARGETS_MAX * BURST;
/// The most bytes of their own that they have: two copies each of the longest frames.
const BYTES_MAX: usize = 2 * BURST * 9728;

/// A next hop whose Ethernet address is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// The interface that the original leaves by.
    pub interface: InterfaceId,
    /// Its next hop.
    pub next_hop: IpAddr,
}

/// Where a packet is copied: behind which hook, on the wire of which interface, and whether it waits for its Ethernet
/// header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub behind: Direction,
    pub of: InterfaceId,
    pub unresolved: Option<Unresolved>,
}

impl Origin {
    /// Behind this hook of an interface, complete.
    pub const fn complete(behind: Direction, of: InterfaceId) -> Self {
        Self { behind, of, unresolved: None }
    }
}

/// A copy that waits for the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCopy<'a> {
    /// The port that it is for.
    pub to: InterfaceId,
    /// The interface that the packet was copied on.
    pub of: InterfaceId,
    /// What its original waits for before it has its Ethernet header; the copy is to have the same.
    pub unresolved: Option<Unresolved>,
    /// What the frame begins with; it may be empty.
    pub head: &'a [u8],
    /// What follows; it may be empty.
    pub rest: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Gathered {
    to: InterfaceId,
    of: InterfaceId,
    /// Where its own bytes end, which it begins with; they begin where those of the copy before end.
    end: u32,
    /// The frame in the burst that has the bytes behind its own, or [`NO_FRAME`].
    rest: u8,
    /// It waits for its Ethernet header.
    waits: bool,
    /// It is of a datagram that came in fragments, and goes in such.
    cut: Option<Cut>,
}

/// All bytes of a copy are its own.
const NO_FRAME: u8 = u8::MAX;

const _: () = assert!(BURST <= NO_FRAME as usize, "no frame has this number");

/// The copies of a burst.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    gathered: Vec<Gathered>,
    /// What those wait for that do, in their order.
    unresolved: Vec<Unresolved>,
    bytes: Vec<u8>,
    /// Of the packet that was copied last on the long way.
    trail: Trail,
    plans: Plans,
}

impl Mirror {
    /// Takes memory if rules of this root make copies.
    pub fn adopt(&mut self, root: &Root) {
        if root.copies() && self.bytes.capacity() == 0 {
            self.gathered.reserve_exact(COPIES_MAX);
            self.unresolved.reserve_exact(COPIES_MAX);
            self.bytes.reserve_exact(BYTES_MAX + COPIES_MAX * PLAIN_HEAD);
            self.plans.reserve();
        }
    }

    /// Forgets what was not fetched: a new burst begins.
    #[inline]
    pub fn begin(&mut self) {
        if !self.gathered.is_empty() {
            self.gathered.clear();
            self.unresolved.clear();
            self.bytes.clear();
        }
    }

    /// The number of the plan by which packets are copied that follow the one that was copied last; `None` if they must
    /// meet the rules themselves.
    pub fn plan(&mut self) -> Option<PlanId> {
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

    /// Copies a frame; false if there is no room.
    fn add(&mut self, to: InterfaceId, origin: &Origin, frame: &[u8], cut: Option<Cut>) -> bool {
        if self.bytes.len() + frame.len() > BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(frame);
        let end = self.bytes.len() as u32;
        self.unresolved.extend(origin.unresolved);
        let waits = origin.unresolved.is_some();
        self.gathered.push(Gathered { to, of: origin.of, end, rest: NO_FRAME, waits, cut });
        true
    }

    /// Copies a packet that goes the short way by its plan, as it would be copied on the long one. `frame` is as it
    /// arrived, with this number in the burst; if it `CHANGES`, it is about to be rewritten, within its first [`PLAIN_HEAD`]
    /// bytes. `length` is that of the IP datagram.
    #[inline(never)]
    pub fn follow<const CHANGES: bool>(
        &mut self,
        adjacency: &Adjacency,
        frame: &[u8],
        number: usize,
        length: u16,
    ) {
        for step in self.plans.follow(adjacency.plan, length) {
            if step.blocked {
                continue;
            }
            let arrived = step.behind == Direction::In;
            if CHANGES && arrived {
                keep_head(&mut self.bytes, frame);
            }
            let of = if arrived { adjacency.arrival } else { adjacency.out };
            let (end, rest) = (self.bytes.len() as u32, number as u8);
            self.gathered.push(Gathered { to: step.to, of, end, rest, waits: false, cut: None });
        }
    }

    /// Gives out all copies in their order; `frames` are those of the burst.
    #[inline]
    pub fn drain<F: Frame>(
        &mut self,
        frames: &[F],
        counters: &mut Counters,
        mut each: impl FnMut(FrameCopy<'_>, &mut Counters),
    ) {
        let (mut start, mut unresolved) = (0, self.unresolved.drain(..));
        for Gathered { to, of, end, rest, waits, cut } in self.gathered.drain(..) {
            let head = self.bytes.get(start..end as usize).unwrap_or_default();
            let rest = frames.get(usize::from(rest)).and_then(|frame| frame.bytes().get(head.len()..));
            let unresolved = if waits { unresolved.next() } else { None };
            start = end as usize;
            if let Some(cut) = cut {
                let piece = |head: &[u8], rest: &[u8]| {
                    each(FrameCopy { to, of, unresolved, head, rest }, counters);
                };
                let pieces = cut_up(head, cut, piece).unwrap_or_default();
                counters.create(Created::Copy, pieces.saturating_sub(1));
                continue;
            }
            each(FrameCopy { to, of, unresolved, head, rest: rest.unwrap_or_default() }, counters);
        }
        self.bytes.clear();
    }
}

/// Keeps what is about to be rewritten of a frame. By itself: most copies are made behind the OUT hook.
#[inline(never)]
fn keep_head(bytes: &mut Vec<u8>, frame: &[u8]) {
    let head = frame.first_chunk::<PLAIN_HEAD>();
    bytes.extend_from_slice(head.map_or(&[], |head| head));
}

impl Shard {
    /// Copies a packet to the port that the hook which it has just passed wants it copied to, and on from there. `frame` is
    /// the packet as it is on that hook's wire, but for the Ethernet header where the next hop is not known.
    #[cold]
    #[inline(never)]
    pub(crate) fn mirror(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        origin: Origin,
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
            if !self.mirror.trail.takes(target) {
                return;
            }
            self.counters.create(Created::Copy, 1);
            let Judged { walked, blocked, next, lasting } =
                self.judge_copy(view, root, passage, target, frame);
            self.mirror.trail.add(Step { to: target, behind: origin.behind, walked, blocked }, lasting);
            if blocked {
                return self.counters.drop_packet(target, Reason::Match);
            }
            let cut = self.normalizer.came_as();
            if !self.mirror.add(target, &origin, frame, cut) {
                self.mirror.trail.lead_nowhere();
                return self.counters.drop_packet(target, Reason::NoBuffer);
            }
            wanted = next;
        }
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
            return Judged { walked: None, blocked: false, next: None, lasting: true };
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
        let dropped = matches!(decision.action, Action::Block(_)).then_some(Reason::Match);
        let verdict = if dropped.is_some() { Verdict::Blocked } else { Verdict::Passed };
        let (family, bytes) = (Family::of(passage.packet.tuple.af), passage.packet.length().into());
        self.counters.cross(target, family, direction, verdict, Counted { packets: 1, bytes });
        if decision.logs() {
            self.log.record_decision(view, (direction, target), &decision, passage.packet, frame);
        }
        Judged {
            walked: Some(Walked::of(&decision)),
            blocked: dropped.is_some(),
            next: decision.slot.copy_to,
            lasting: lasting && !decision.logs(),
        }
    }

    /// How many copies the burst has left to be fetched.
    #[inline]
    pub const fn copies(&self) -> usize {
        self.mirror.gathered.len()
    }

    /// Gives the copies that the burst has left to `each`, in their order, with the counters for what it has to drop.
    /// `frames` are those of the burst, as [`process`](Self::process) has left them. What is not fetched before the next
    /// burst is lost.
    #[inline]
    pub fn take_copies<F: Frame>(&mut self, frames: &[F], each: impl FnMut(FrameCopy<'_>, &mut Counters)) {
        let Self { mirror, counters, .. } = self;
        mirror.drain(frames, counters, each);
    }
}

/// What the rules of a port say to a copy.
struct Judged {
    walked: Option<Walked>,
    blocked: bool,
    /// Where it is copied to from there.
    next: Option<InterfaceId>,
    /// They say the same to every packet of this sender of the connection that may go the short way.
    lasting: bool,
}
