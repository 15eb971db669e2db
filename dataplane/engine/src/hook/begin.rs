//! The short way of a packet that begins a connection: most pass both hooks by plain rules, and nothing else is to be done, or
//! nothing but to give them [another source or another destination](super::begin_turned).
//!
//! Overview: everything is asked before anything is changed: whether anybody knows the key, the rules of both hooks, the route
//! between them. If all answers are as they mostly are, both states are made at once, one record with two faces; if not, the
//! packet goes [the long way](Shard::decide_ip) from its beginning. What both ways make and count is the same (test
//! `shard_beginnings`).
//! Ownership: the shard. Bounds: two walks of the rules, a route, an insertion into the index.

use ruleset::Direction;

use super::create::open;
use crate::counters::Counters;
use crate::crossings::Verdict;
use crate::eval::{Counted, Occasion, PlainPass, Question, Role, Root, Tag};
use crate::events::StateChange;
use crate::fate::Fate;
use crate::fib::{InterfaceId, Way};
use crate::frame::Frame;
use crate::packet::{Packet, Transport};
use crate::parse::has_partial_checksum;
use crate::quick::Quick;
use crate::rewrite;
use crate::routing::{gate_forwarding, is_group, is_martian, link_of};
use crate::scrub::USUAL_PRIORITY;
use crate::shard::{Shard, View};
use crate::state::{NewRecord, RecordId, Sketch};
use crate::track;

/// A packet from the wire that begins a connection, which was read quickly and whose key nobody knows.
#[derive(Debug)]
pub(crate) struct First<'a> {
    pub arrival: InterfaceId,
    pub packet: &'a mut Packet,
    pub quick: &'a Quick,
}

/// What is to be done with a packet that the IN hook lets pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan<'a> {
    pub entered: PlainPass<'a>,
    pub out: InterfaceId,
    /// Destination and source of the frame.
    pub link: [u8; 12],
}

impl Shard {
    /// Makes both states of a connection that a packet begins, and forwards it. `None`, and nothing is changed, if it must go
    /// the long way.
    #[inline(always)]
    pub(crate) fn begin_plainly<F: Frame>(
        &mut self,
        view: &View<'_>,
        first: &mut First<'_>,
        frame: &mut F,
    ) -> Option<Fate> {
        let root = view.root.filter(|root| root.is_plain())?;
        if !self.is_at_home(first.quick.hash) || !is_ordinary(first.packet) {
            return None;
        }
        if root.turns_ends() {
            return self.begin_turning(view, root, first, frame);
        }
        let mut question = question(view, first);
        let entered = root.passes_plainly(&question)?;
        let plan = plan(view, root, first, entered)?;
        (question.direction, question.interface) = (Direction::Out, plan.out);
        let left = root.passes_plainly(&question)?;
        // Tracked in two ways, they are two records.
        if plan.entered.slot.sloppy != left.slot.sloppy {
            return None;
        }
        let classes =
            (face(&plan.entered, Direction::In, first.arrival), face(&left, Direction::Out, plan.out));
        let record = self.make_both(view, first, classes)?;
        self.note_begun(view, root, first, frame, (&plan, &left), record);
        rewrite::forward_plain(frame.bytes_mut(), first.quick.key.family(), &plan.link);
        Some(Fate::Transmit(plan.out))
    }

    /// Makes the record of a connection, whose faces at the IN and the OUT hook are these; it has counted nothing.
    #[inline(always)]
    pub(super) fn make_both(
        &mut self,
        view: &View<'_>,
        first: &First<'_>,
        (entered, left): (Sketch<'_>, Sketch<'_>),
    ) -> Option<RecordId> {
        let First { ref packet, quick, .. } = *first;
        let (from, to, timeout) = open(packet);
        let new = NewRecord {
            key: quick.key,
            wide: &quick.wide,
            hash: quick.hash,
            sender: quick.sender,
            side: quick.sender,
            class: entered,
            other: Some(left),
            peers: (from, to),
            timeout,
            now: view.sixteenths(),
            twin: None,
            alone: true,
        };
        self.connections.insert(&new, view.state_limit()).ok()
    }

    /// Counts a packet that has made the record of its connection, in a frame as it arrived.
    #[inline(always)]
    pub(super) fn note_begun<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        first: &First<'_>,
        frame: &F,
        (plan, left): (&Plan<'_>, &PlainPass<'_>),
        record: RecordId,
    ) {
        let First { arrival, ref packet, quick } = *first;
        self.connections.count_first(record, quick.sender, quick.length.into());
        self.tell_both(view, record, StateChange::Made);
        if has_partial_checksum(frame.bytes(), packet) {
            self.counters.meet_partial_checksum(arrival);
        }
        self.rule_totals.count_begun(root, [&plan.entered, left]);
        let Counters { searches, inserts, .. } = &mut self.counters;
        (*searches, *inserts) = (*searches + 2, *inserts + 2);
        let (family, counted) = (quick.key.family(), Counted { packets: 1, bytes: quick.length.into() });
        self.counters.cross(arrival, family, Direction::In, Verdict::Passed, counted);
        self.counters.cross(plan.out, family, Direction::Out, Verdict::Passed, counted);
    }
}

/// True if nothing that comes before the rules has anything to say about a packet.
#[inline]
fn is_ordinary(packet: &Packet) -> bool {
    let is_sound = match packet.transport {
        Transport::Tcp(segment) => track::sanity(segment.flags) == Ok(segment.flags) && !segment.strays,
        Transport::Udp => true,
        _ => false,
    };
    is_sound && packet.tuple.src != packet.tuple.dst && !is_martian(packet) && gate_forwarding(packet).is_ok()
}

/// What is asked of the rules at the IN hook.
#[inline(always)]
pub(super) const fn question<'a>(view: &View<'a>, first: &'a First<'_>) -> Question<'a> {
    Question {
        packet: first.packet,
        direction: Direction::In,
        interface: first.arrival,
        tag: Tag(0),
        received_on: Some(first.arrival),
        priority: USUAL_PRIORITY,
        shape: None,
        fib: view.fib,
        role: Role::Original,
        occasion: Occasion::Imagined,
    }
}

/// What becomes of a packet that has `entered`, if the forwarding base says what it mostly says.
#[inline(always)]
pub(super) fn plan<'r>(
    view: &View<'_>,
    root: &Root,
    first: &First<'_>,
    entered: PlainPass<'r>,
) -> Option<Plan<'r>> {
    let First { ref packet, quick, .. } = *first;
    let (af, dst) = (packet.tuple.af, packet.tuple.dst);
    let Way::Forward { hop, mac: Some(mac) } = view.fib.way(af, dst, quick.hash.0) else { return None };
    let link = link_of(view, hop.interface).ok()?;
    let mtu = hop.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
    if quick.length > mtu || root.skips(hop.interface) || is_group(af, dst) {
        return None;
    }
    Some(Plan { entered, out: hop.interface, link: rewrite::link(mac, link.mac) })
}

#[inline(always)]
pub(super) fn face<'a>(passed: &PlainPass<'a>, direction: Direction, interface: InterfaceId) -> Sketch<'a> {
    Sketch {
        rule: passed.slot,
        interface: passed.if_bound.then_some(interface),
        direction,
        tag: Tag::default(),
        gateway: None,
        terms: None,
    }
}
