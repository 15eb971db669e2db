//! The short way of a packet that begins a connection: most pass both hooks by plain rules, and nothing else is to be done.
//!
//! Overview: everything is asked before anything is changed: whether anybody knows the key, the rules of both hooks, the route
//! between them. If all answers are as they mostly are, both states are made at once, one record with two faces; if not, the
//! packet goes [the long way](Shard::decide_ip) from its beginning. What both ways make and count is the same (test
//! `shard_beginnings`).
//! Ownership: the shard. Bounds: two walks of the rules, a route, an insertion into the index.

use ruleset::Direction;

use super::create::open;
use crate::counters::Counters;
use crate::crossings::Run;
use crate::eval::{Occasion, PlainPass, Question, Role, Root, Tag};
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
use crate::state::{NewRecord, Sketch};
use crate::track;

/// What is to be done with a packet that both hooks let pass.
struct Plan<'a> {
    entered: PlainPass<'a>,
    left: PlainPass<'a>,
    out: InterfaceId,
    /// Destination and source of the frame.
    link: [u8; 12],
}

impl Shard {
    /// Makes both states of a connection that a packet from the wire begins, which was read quickly and whose key nobody knows,
    /// and forwards it. `None`, and nothing is changed, if it must go the long way.
    #[inline]
    pub(crate) fn begin_plainly<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: InterfaceId,
        frame: &mut F,
        packet: &Packet,
        quick: &Quick,
    ) -> Option<Fate> {
        let root = view.root.filter(|root| root.is_plain())?;
        if !self.is_at_home(quick.hash) || !is_ordinary(packet) {
            return None;
        }
        let plan = plan(view, root, arrival, packet, quick)?;
        self.make_both(view, arrival, packet, quick, &plan)?;
        if has_partial_checksum(frame.bytes(), packet) {
            self.counters.meet_partial_checksum(arrival);
        }
        for passed in [&plan.entered, &plan.left] {
            self.rule_totals.count_walk(root, passed.ended_at);
            self.rule_totals.count_made(Some(passed.rule));
        }
        let Counters { searches, inserts, .. } = &mut self.counters;
        (*searches, *inserts) = (*searches + 2, *inserts + 2);
        let mut run = Run::new(arrival, plan.out);
        run.add(quick.key.family(), quick.length);
        run.count(&mut self.counters);
        rewrite::forward_plain(frame.bytes_mut(), quick.key.family(), &plan.link);
        Some(Fate::Transmit(plan.out))
    }

    #[inline]
    fn make_both(
        &mut self,
        view: &View<'_>,
        arrival: InterfaceId,
        packet: &Packet,
        quick: &Quick,
        plan: &Plan<'_>,
    ) -> Option<()> {
        let (from, to, timeout) = open(packet);
        let new = NewRecord {
            key: quick.key,
            wide: &quick.wide,
            hash: quick.hash,
            sender: quick.sender,
            side: quick.sender,
            class: face(&plan.entered, Direction::In, arrival),
            other: Some(face(&plan.left, Direction::Out, plan.out)),
            peers: (from, to),
            timeout,
            now: view.sixteenths(),
            twin: None,
            alone: true,
        };
        let record = self.connections.insert(&new, view.state_limit()).ok()?;
        self.connections.count(record, quick.sender, quick.length.into());
        self.tell_both(view, record, StateChange::Made);
        Some(())
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

/// What the rules of both hooks and the forwarding base say, if it is what they mostly say.
#[inline]
fn plan<'r>(
    view: &View<'_>,
    root: &'r Root,
    arrival: InterfaceId,
    packet: &Packet,
    quick: &Quick,
) -> Option<Plan<'r>> {
    let ask = |direction, interface| {
        root.passes_plainly(&Question {
            packet,
            direction,
            interface,
            tag: Tag::default(),
            received_on: Some(arrival),
            priority: USUAL_PRIORITY,
            shape: None,
            fib: view.fib,
            role: Role::Original,
            occasion: Occasion::Imagined,
        })
    };
    let entered = ask(Direction::In, arrival)?;
    let (af, dst) = (packet.tuple.af, packet.tuple.dst);
    let Way::Forward { hop, mac: Some(mac) } = view.fib.way(af, dst, quick.hash.0) else { return None };
    let link = link_of(view, hop.interface).ok()?;
    let mtu = hop.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
    if quick.length > mtu || root.skips(hop.interface) || is_group(af, dst) {
        return None;
    }
    let left = ask(Direction::Out, hop.interface)?;
    // Tracked in two ways, they are two records.
    let same = entered.slot.sloppy == left.slot.sloppy;
    same.then(|| Plan { entered, left, out: hop.interface, link: rewrite::link(mac, link.mac) })
}

fn face<'a>(passed: &PlainPass<'a>, direction: Direction, interface: InterfaceId) -> Sketch<'a> {
    Sketch {
        rule: passed.slot,
        interface: passed.if_bound.then_some(interface),
        direction,
        tag: Tag::default(),
        gateway: None,
        terms: None,
    }
}
