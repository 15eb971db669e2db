//! Copies that are sampled, cut, tagged, or carried to a collector: by which way, in which envelope, and at nobody's cost.

use std::net::IpAddr;

use dpdk::Mbuf;
use engine::{Created, InterfaceId};
use ruleset::Reason;
use wire::{Mac, checksum, ethernet, ipv4};
use worker::config::{Carrier, Span, Tunnel};
use worker::copy::Buffers;

use crate::bed::{Plan, RING};
use crate::mirror::{SPAN, bed, plan};
use crate::{Bed, CLIENT, CLIENT_MAC, KNOWN, LAN_WIRE, SERVER, WAN_MAC, WAN_WIRE, request, udp};

const COLLECTOR: [u8; 4] = [10, 1, 0, 9];
const COLLECTOR_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);
/// Where the envelope of an IPv4 collector ends in front of GRE.
const GRE_AT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

fn formed(form: Span) -> Plan {
    let mut neighbors = KNOWN.to_vec();
    neighbors.push((InterfaceId(0), COLLECTOR, COLLECTOR_MAC));
    Plan { form, neighbors, ..plan(RING) }
}

fn carried(carrier: Carrier) -> Span {
    let tunnel = Tunnel { carrier, collector: IpAddr::from(COLLECTOR), source: None };
    Span { tunnel: Some(tunnel), ..Span::default() }
}

/// Sends a datagram from wan0 to lan0; returns the original, as lan0 sent it, and what went back onto wan0.
fn across(bed: &mut Bed, payload: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, payload));
    bed.poll();
    let mut sent = bed.get(LAN_WIRE);
    assert_eq!(sent.len(), 1, "the original");
    (sent.remove(0), bed.get(WAN_WIRE))
}

#[test]
fn one_copy_of_so_many_is_made_and_the_others_are_counted() {
    let mut bed = bed(formed(Span { sample: 10, ..Span::default() }), "lan0");
    let mut copies = 0;
    let mut distances = std::collections::BTreeSet::new();
    let mut since = 0;
    for _ in 0..5_000 {
        let (sent, _) = across(&mut bed, 20);
        since += 1;
        for copy in bed.get_span() {
            assert_eq!(copy, sent);
            distances.insert(since);
            (copies, since) = (copies + 1, 0);
        }
    }
    // Distances are even from 1 to 19: the count has a deviation of 12.
    assert!((425..=575).contains(&copies), "{copies} copies of 5000");
    assert!(distances.len() > 15, "{distances:?}");
    assert_eq!(bed.dropped(SPAN, Reason::Sample), 5_000 - copies);
    assert_eq!(bed.end().created[Created::Copy as usize], 5_000);
}

#[test]
fn of_what_is_sampled_only_the_copies_take_buffers() {
    let bed = bed(formed(Span { sample: 10, ..Span::default() }), "lan0");
    let before = bed.pool.in_use();
    let taken = || bed.pool.in_use() - before;
    let mut buffers = Buffers::new(&bed.pool, 64);
    (0..60).for_each(|_| buffers.forgo());
    assert_eq!(taken(), 0, "left out");
    let sampled = buffers.fill_alone(&request(), &[], None).expect("a buffer");
    assert_eq!((taken(), sampled.data()), (1, &request()[..]));
    let other = buffers.fill(&request(), &[], Some(7)).expect("a buffer");
    assert_eq!(taken(), 5, "those for the four of another port are taken together");
    drop((sampled, other, buffers));
    assert_eq!(taken(), 0);
    bed.end();
}

#[test]
fn copies_are_cut_and_tagged() {
    let form = Span { snap_bytes: Some(100), tag: Some(7), ..Span::default() };
    let mut bed = bed(formed(form), "lan0");
    for payload in [20, 1400] {
        let (sent, _) = across(&mut bed, payload);
        let copies = bed.get_span();
        let of_it = &sent[..sent.len().min(100)];
        assert_eq!(copies, [[&of_it[..12], &[0x81, 0, 0, 7], &of_it[12..]].concat()]);
    }
    bed.end();
}

#[test]
fn a_copy_is_carried_to_its_collector_by_gre() {
    let mut bed = bed(formed(carried(Carrier::Gre)), "lan0");
    let (sent, envelopes) = across(&mut bed, 300);
    let [envelope] = &envelopes[..] else { panic!("{} envelopes", envelopes.len()) };
    assert_eq!(envelope[..6], COLLECTOR_MAC.0);
    assert_eq!(envelope[6..12], WAN_MAC.0);
    let packet = ipv4::Packet::parse(&envelope[ethernet::HEADER_LEN..]).expect("an IPv4 packet");
    checksum::verify_ipv4(&envelope[ethernet::HEADER_LEN..GRE_AT]).expect("its checksum");
    let header = packet.header();
    assert_eq!((header.src().octets(), header.dst().octets()), ([10, 1, 0, 1], COLLECTOR));
    assert!(header.dont_fragment());
    assert_eq!(packet.payload()[..4], [0, 0, 0x65, 0x58]);
    assert_eq!(packet.payload()[4..], sent);
    assert!(bed.get_span().is_empty());
    bed.end();
}

#[test]
fn erspan_tells_the_session_the_order_and_what_was_cut() {
    let form = Span { snap_bytes: Some(128), ..carried(Carrier::Erspan { session: 0x155 }) };
    let mut bed = bed(formed(form), "lan0");
    for (sequence, payload) in [(0, 20), (1, 1000), (2, 20)] {
        let (sent, envelopes) = across(&mut bed, payload);
        let gre = &envelopes[0][GRE_AT..];
        let cut: u8 = if sent.len() > 128 { 0b100 } else { 0 };
        let header = [0x10, 0, 0x88, 0xbe, 0, 0, 0, sequence, 0x10, 0, cut | 1, 0x55, 0, 0, 0, 0];
        assert_eq!(gre[..16], header, "copy {sequence}");
        assert_eq!(gre[16..], sent[..sent.len().min(128)]);
    }
    bed.end();
}

#[test]
fn erspan_tells_the_vlan() {
    let mut plan = formed(carried(Carrier::Erspan { session: 1 }));
    plan.vlans = vec![7];
    plan.neighbors.push((InterfaceId(2), [10, 2, 7, 2], CLIENT_MAC));
    let mut bed = bed(plan, "lan0.7");
    bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, [10, 2, 7, 2], 20));
    bed.poll();
    let (sent, envelopes) = (bed.get(LAN_WIRE), bed.get(WAN_WIRE));
    assert_eq!(envelopes[0][GRE_AT + 8..GRE_AT + 12], [0x10, 7, 0b1_1000, 1]);
    assert_eq!(envelopes[0][GRE_AT + 16..], sent[0]);
    bed.end();
}

/// Envelopes wait for the collector's address, and end without a word to anybody: nobody sent them.
#[test]
fn an_envelope_waits_for_its_collector() {
    let without = Plan { form: carried(Carrier::Gre), ..plan(RING) };
    let mut bed = bed(without, "lan0");
    assert!(across(&mut bed, 20).1.is_empty());
    assert_eq!(bed.sheet().worker.held, 1);
    assert!(bed.office.fibs.offer(formed(Span::default()).fib(2)));
    bed.poll();
    let envelopes = bed.get(WAN_WIRE);
    assert_eq!((envelopes.len(), &envelopes[0][..6]), (1, &COLLECTOR_MAC.0[..]));
    assert!(bed.office.fibs.offer(plan(RING).fib(3)));
    across(&mut bed, 20);
    for _ in 0..400 {
        bed.poll();
    }
    assert_eq!((bed.get(WAN_WIRE).len(), bed.get(LAN_WIRE).len(), bed.sheet().worker.held), (0, 0, 0));
    assert_eq!(bed.dropped(SPAN, Reason::NoNeighbor), 1);
    bed.end();
}

/// The original and its copy wait for different stations.
#[test]
fn a_copy_gets_its_envelope_once_its_original_has_its_header() {
    let mut plan = formed(carried(Carrier::Gre));
    let all = plan.fib(2);
    plan.neighbors.remove(1);
    let mut bed = bed(plan, "lan0");
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!((bed.get(WAN_WIRE).len(), bed.sheet().worker.held), (0, 2));
    assert!(bed.office.fibs.offer(all));
    bed.poll();
    let (sent, envelopes) = (bed.get(LAN_WIRE), bed.get(WAN_WIRE));
    assert_eq!((sent.len(), envelopes.len()), (1, 1));
    assert_eq!(envelopes[0][GRE_AT + 4..], sent[0]);
    bed.end();
}

#[test]
fn what_no_envelope_can_carry_is_counted_and_the_original_goes_on() {
    let mut long = bed(formed(carried(Carrier::Gre)), "lan0");
    assert!(across(&mut long, 1472).1.is_empty());
    assert_eq!(long.dropped(SPAN, Reason::TooBig), 1);
    long.end();
    let cut = Span { snap_bytes: Some(1462), ..carried(Carrier::Gre) };
    let mut cut = bed(formed(cut), "lan0");
    let envelopes = across(&mut cut, 1472).1;
    assert_eq!(envelopes[0].len(), 1500, "IP, GRE and 1462 octets in 1486, and an Ethernet header");
    cut.end();
    let tunnel = Tunnel { carrier: Carrier::Gre, collector: [192, 0, 2, 1].into(), source: None };
    let mut lost = bed(formed(Span { tunnel: Some(tunnel), ..Span::default() }), "lan0");
    assert!(across(&mut lost, 20).1.is_empty());
    assert_eq!(lost.dropped(SPAN, Reason::NoRoute), 1);
    lost.end();
}

#[test]
fn without_a_buffer_nothing_is_sent_and_nothing_is_lost_but_the_copy() {
    let mut bed = bed(formed(carried(Carrier::Gre)), "lan0");
    bed.put(WAN_WIRE, &request());
    let kept: Vec<Mbuf> = std::iter::from_fn(|| bed.pool.alloc()).collect();
    bed.poll();
    assert_eq!((bed.get(LAN_WIRE).len(), bed.get(WAN_WIRE).len()), (1, 0));
    assert_eq!(bed.dropped(SPAN, Reason::NoBuffer), 1);
    drop(kept);
    bed.end();
}
