//! Checksums that a sender left for its network card to complete, and that a virtual link brought as they were.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{block, block_return, pass};
use crate::firewall::{EM0, Firewall, mac};
use engine::{Arrival, Fate, Source};
use ruleset::Reason;

const ETHERNET: usize = 14;

/// The one's complement sum of RFC 1071, plainly.
fn sum(octets: &[u8]) -> u16 {
    let words = octets.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Where the checksum of a TCP or UDP packet without options stands, and the sum of its pseudo header.
fn field_and_pseudo(frame: &[u8]) -> (usize, u16) {
    let ip = &frame[ETHERNET..];
    let (addresses, proto, l4) =
        if ip[0] >> 4 == 4 { (&ip[12..20], ip[9], 20) } else { (&ip[8..40], ip[6], 40) };
    let length = (ip.len() - l4) as u16;
    let pseudo = [addresses, &[0, proto], &length.to_be_bytes()].concat();
    (ETHERNET + l4 + if proto == 6 { 16 } else { 6 }, sum(&pseudo))
}

fn frame(text: &str) -> Vec<u8> {
    Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1))
}

/// As a host with checksum offload sends it.
fn uncompleted(text: &str) -> Vec<u8> {
    let mut frame = frame(text);
    let (at, pseudo) = field_and_pseudo(&frame);
    frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    frame
}

fn send(firewall: &mut Firewall, mut frame: Vec<u8>) -> Fate {
    firewall.decide(Arrival { interface: EM0, source: Source::Wire }, &mut frame)
}

fn counted(firewall: &Firewall) -> Vec<u64> {
    firewall.shard.counters().partial_checksums().to_vec()
}

#[test]
fn packets_that_make_states_are_counted_and_others_are_not() {
    let mut firewall = Firewall::with(vec![pass()]);
    let first = [
        "10.0.0.2.1000 > 10.1.0.2.80 tcp S seq 1000",
        "10.0.0.2.1000 > 10.1.0.2.53 udp len 9",
        "2001:db8::2.1000 > 2001:db8:1::2.80 tcp S seq 1000",
        "2001:db8::2.1000 > 2001:db8:1::2.53 udp len 8",
    ];
    for (number, text) in (1..).zip(first) {
        assert!(matches!(send(&mut firewall, uncompleted(text)), Fate::Transmit(_)), "{text}: it is no drop");
        assert_eq!(counted(&firewall), [number, 0, 0], "{text}");
    }
    // What a state lets pass is not looked at.
    for text in first.into_iter().filter(|text| text.contains("udp")) {
        assert!(matches!(send(&mut firewall, uncompleted(text)), Fate::Transmit(_)));
    }
    assert_eq!(counted(&firewall), [4, 0, 0]);
}

#[test]
fn packets_that_are_refused_are_counted() {
    let mut firewall = Firewall::with(vec![block()]);
    assert_eq!(
        send(&mut firewall, uncompleted("10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1")),
        Fate::Drop(Reason::Match)
    );
    let mut answering = Firewall::with(vec![block_return()]);
    let unanswered = send(&mut answering, uncompleted("10.0.0.2.1 > 10.1.0.2.53 udp len 3"));
    assert_eq!(unanswered, Fate::Drop(Reason::ProtoCksum));
    assert_eq!((counted(&firewall), counted(&answering)), (vec![1, 0, 0], vec![1, 0, 0]));
}

#[test]
fn complete_wrong_and_absent_checksums_are_something_else() {
    for rules in [vec![pass()], vec![block()]] {
        let mut firewall = Firewall::with(rules);
        for text in [
            "10.0.0.2.1000 > 10.1.0.2.80 tcp S seq 1000",
            "10.0.0.2.1001 > 10.1.0.2.80 tcp S seq 1000 bad-sum",
            "2001:db8::2.1000 > 2001:db8:1::2.53 udp len 8",
            "10.0.0.2 > 10.1.0.2 icmp 8/0 id 1",
            "10.0.0.2 > 10.1.0.2 proto 47 len 40",
        ] {
            let _ = send(&mut firewall, frame(text));
        }
        let mut absent = frame("10.0.0.2.1002 > 10.1.0.2.53 udp len 9");
        let (at, _) = field_and_pseudo(&absent);
        absent[at..at + 2].fill(0);
        let _ = send(&mut firewall, absent);
        assert_eq!(counted(&firewall), [0, 0, 0]);
    }
}

/// A complete checksum is sometimes the same number: the rest of the packet cancels out.
#[test]
fn a_complete_checksum_that_looks_alike_is_not_counted() {
    let mut alike = frame("10.0.0.2.1000 > 10.1.0.2.53 udp len 2");
    let (at, pseudo) = field_and_pseudo(&alike);
    alike[at..at + 2].copy_from_slice(&[0, 0]);
    // The data makes the sum of all words but the checksum what the checksum's complement has to be.
    let rest = sum(&[&alike[ETHERNET + 20..], &pseudo.to_be_bytes()].concat());
    let data = sum(&[(!pseudo).to_be_bytes(), (!rest).to_be_bytes()].concat());
    alike[at + 2..at + 4].copy_from_slice(&data.to_be_bytes());
    alike[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
    assert_eq!(sum(&[&alike[ETHERNET + 20..], &pseudo.to_be_bytes()].concat()), 0xffff, "it is complete");
    let mut firewall = Firewall::with(vec![pass()]);
    assert!(matches!(send(&mut firewall, alike), Fate::Transmit(_)));
    assert_eq!(counted(&firewall), [0, 0, 0]);
}
