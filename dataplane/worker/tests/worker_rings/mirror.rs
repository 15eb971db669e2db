//! Copies on a span port: of the bytes on the wire, once each, and at nobody's cost.

use std::iter;
use std::net::IpAddr;

use dpdk::Mbuf;
use engine::{Created, DropPlace, InterfaceId, Seen, Source, Tick};
use ruleset::{
    Action, AddressPattern, Direction, Gateway, InterfaceMatch, InterfacePattern, Reason, Routing,
    RoutingKind, Rule, StateMode,
};

use wire::Af;
use worker::netlink::service::Ask;

use crate::bed::{Plan, RING};
use crate::{
    Bed, CLIENT, CLIENT_MAC, KNOWN, LAN, LAN_MAC, LAN_WIRE, SERVER, SERVER_MAC, WAN_MAC, WAN_WIRE, request,
    udp,
};

pub const SPAN: InterfaceId = InterfaceId(2);

/// `dup-to @NAME`.
fn copied_to(name: &str) -> Routing {
    let gateway = Gateway { address: AddressPattern::Any, interface: Some(name.into()), weight: None };
    Routing { kind: RoutingKind::Dup, gateways: vec![gateway], choice: None, sticky: false }
}

/// `pass; pass out on NAME dup-to @span0`.
fn copying(name: &str) -> Vec<Rule> {
    let pass = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
    let pattern = InterfacePattern::Name(name.into());
    let out = Rule {
        direction: Some(Direction::Out),
        interface: Some(InterfaceMatch { negated: false, pattern }),
        routing: Some(copied_to("span0")),
        ..pass.clone()
    };
    vec![pass, out]
}

pub fn bed(plan: Plan, copied: &str) -> Bed {
    let mut bed = Bed::of(&plan);
    bed.commit_all(copying(copied));
    bed
}

pub fn plan(span_ring: u32) -> Plan {
    Plan { span: Some(span_ring), ..Plan::default() }
}

fn answer(payload: usize) -> Vec<u8> {
    let mut frame = udp((SERVER_MAC, LAN_MAC), SERVER, CLIENT, payload);
    // The ports of a request, the other way round.
    frame[34..38].rotate_left(2);
    frame
}

/// Both directions of a state, frames of all sizes: each copy is the frame that lan0 sent or received, byte for byte.
#[test]
fn g04_copies_are_what_was_on_the_wire_and_every_mbuf_comes_back() {
    let frames: u64 = if std::env::var_os("TURNPIKE_LONG").is_some() { 1_000_000 } else { 20_000 };
    let mut bed = bed(plan(RING), "lan0");
    let mut mirrored = 0;
    for round in 0..frames / 40 {
        let payload = |n: u64| ((round * 20 + n) * 7 % 1400) as usize;
        let answers: Vec<Vec<u8>> = (0..20).map(|n| answer(payload(n))).collect();
        for n in 0..20 {
            bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, payload(n)));
        }
        bed.poll();
        let sent = bed.get(LAN_WIRE);
        let copies = bed.get_span();
        assert!(sent.len() == 20 && copies == sent, "round {round}: what lan0 sends");
        answers.iter().for_each(|frame| bed.put(LAN_WIRE, frame));
        bed.poll();
        assert_eq!(bed.get(WAN_WIRE).len(), 20, "round {round}: the originals");
        assert!(bed.get_span() == answers, "round {round}: what lan0 receives");
        mirrored += 40;
    }
    let sheet = bed.end();
    assert_eq!(sheet.created[Created::Copy as usize], mirrored);
    assert_eq!(sheet.interfaces[usize::from(SPAN.0)].tx_packets, mirrored);
    assert_eq!(sheet.drops.iter().flatten().sum::<u64>(), 0);
}

#[test]
fn g04_a_span_port_that_takes_nothing_costs_the_original_nothing() {
    // Nobody takes out what the ring holds.
    let mut bed = bed(plan(8), "lan0");
    for _ in 0..100 {
        bed.put(WAN_WIRE, &request());
        bed.put(WAN_WIRE, &request());
        bed.poll();
        assert_eq!(bed.get(LAN_WIRE).len(), 2);
    }
    assert_eq!(bed.dropped(SPAN, Reason::TxFull), 200 - 8);
    let example = bed.example();
    assert_eq!((example.counted_on, example.reason), (SPAN, Reason::TxFull));
    assert_eq!(example.place, DropPlace::Leaving(Source::Wire));
    let Seen::Packet(packet) = example.seen else { panic!("{example:?}") };
    assert_eq!(packet.tuple.dport, wire::Port(53), "the copy can be told by its headers");
    assert_eq!(bed.get_span().len(), 8);
    bed.end();
}

#[test]
fn g04_a_copy_that_finds_no_buffer_is_dropped_and_the_original_goes_on() {
    let mut bed = bed(plan(RING), "lan0");
    bed.put(WAN_WIRE, &request());
    let kept: Vec<Mbuf> = iter::from_fn(|| bed.pool.alloc()).collect();
    bed.poll();
    assert_eq!((bed.get(LAN_WIRE).len(), bed.get_span().len()), (1, 0));
    assert_eq!(bed.dropped(SPAN, Reason::NoBuffer), 1);
    assert_eq!((bed.example().counted_on, bed.example_count()), (SPAN, 0));
    drop(kept);
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!((bed.get(LAN_WIRE).len(), bed.get_span().len()), (1, 1), "with buffers it is copied");
    bed.end();
}

#[test]
fn g04_a_copy_of_a_packet_that_waits_for_its_neighbour_waits_with_it() {
    let without = Plan { neighbors: KNOWN[..1].to_vec(), ..plan(RING) };
    let mut bed = bed(without, "lan0");
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!((bed.get(LAN_WIRE).len(), bed.get_span().len(), bed.sheet().worker.held), (0, 0, 2));
    assert!(bed.office.fibs.offer(plan(RING).fib(2)));
    bed.poll();
    let (sent, copies) = (bed.get(LAN_WIRE), bed.get_span());
    assert!(sent.len() == 1 && sent == copies, "with the neighbour's address: {copies:02x?}");

    bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, [10, 2, 0, 99], 20));
    bed.poll();
    assert_eq!(bed.sheet().worker.held, 2);
    let sheet = bed.end();
    assert_eq!(sheet.drops[usize::from(LAN.0)][Reason::NoNeighbor as usize], 1, "one nobody answers for");
    assert_eq!(sheet.drops[usize::from(SPAN.0)][Reason::NoNeighbor as usize], 1, "and its copy");
}

#[test]
fn g04_a_copy_of_a_vlans_frame_has_its_tag() {
    let mut neighbors = KNOWN.to_vec();
    neighbors.push((InterfaceId(2), [10, 2, 7, 2], SERVER_MAC));
    let mut bed = bed(Plan { vlans: vec![7], neighbors, ..plan(RING) }, "lan0.7");
    bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, [10, 2, 7, 2], 20));
    bed.poll();
    let (sent, copies) = (bed.get(LAN_WIRE), bed.get_span());
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0][12..16], [0x81, 0, 0, 7]);
    assert_eq!(copies, sent);
    bed.end();
}

/// A probe in a VLAN of lan0.
const SEVEN: InterfaceId = InterfaceId(2);
const PROBE: [u8; 4] = [10, 2, 7, 2];

/// `pass; pass out on lan0 dup-to 10.2.7.2@lan0.7`.
fn copying_to_host() -> Vec<Rule> {
    let mut rules = copying("lan0");
    let host = format!("{}/32", IpAddr::from(PROBE)).parse().expect("a host");
    let gateway =
        Gateway { address: AddressPattern::Net(host), interface: Some("lan0.7".into()), weight: None };
    rules[1].af = Some(Af::Inet);
    rules[1].routing = Some(Routing { gateways: vec![gateway], ..copied_to("lan0.7") });
    rules
}

/// What a router sends of a frame to a station of VLAN 7.
fn routed(mut frame: Vec<u8>, to: wire::Mac) -> Vec<u8> {
    frame[..6].copy_from_slice(&to.0);
    frame.splice(12..12, [0x81, 0, 0, 7]);
    frame
}

#[test]
fn a_copy_for_a_host_leaves_by_the_way_there_with_its_tag_and_may_wait_for_its_address() {
    let plan = Plan { vlans: vec![7], ..Plan::default() };
    let mut bed = Bed::of(&plan);
    bed.commit_all(copying_to_host());
    bed.put(WAN_WIRE, &request());
    bed.poll();
    let original = bed.get(LAN_WIRE);
    assert_eq!((original.len(), bed.sheet().worker.held), (1, 1), "the copy waits, the original does not");
    assert_eq!(bed.office.asks.try_recv(), Ok(Ask { interface: SEVEN, address: IpAddr::from(PROBE) }));
    let mut neighbors = KNOWN.to_vec();
    neighbors.push((SEVEN, PROBE, CLIENT_MAC));
    assert!(bed.office.fibs.offer(Plan { neighbors, ..plan }.fib(2)));
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE), [routed(original[0].clone(), CLIENT_MAC)]);
    for _ in 0..3 {
        bed.put(WAN_WIRE, &request());
        bed.poll();
        assert_eq!(bed.get(LAN_WIRE), [original[0].clone(), routed(original[0].clone(), CLIENT_MAC)]);
    }
    let sheet = bed.end();
    assert_eq!(sheet.created[Created::Copy as usize], 4);
    assert_eq!(sheet.interfaces[usize::from(SEVEN.0)].tx_packets, 4);
    assert_eq!(sheet.drops.iter().flatten().sum::<u64>(), 0);
}

#[test]
fn a_copy_that_waits_in_vain_is_counted_where_it_would_have_left() {
    let mut bed = Bed::of(&Plan { vlans: vec![7], ..Plan::default() });
    bed.commit_all(copying_to_host());
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1);
    bed.now = bed.now + Tick::from_secs(4);
    bed.poll();
    assert_eq!(bed.get(WAN_WIRE).len(), 0, "nobody is told");
    let sheet = bed.end();
    assert_eq!(sheet.drops[usize::from(SEVEN.0)][Reason::NoNeighbor as usize], 1);
}
