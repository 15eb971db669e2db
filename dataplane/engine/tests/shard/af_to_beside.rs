//! Packets that become packets of the other family (`af-to`) and what else is done to them: fragments, several workers,
//! scrubbing, other sequence numbers.

use std::collections::BTreeSet;

use crate::firewall::fragment;
use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, pass};
use crate::firewall::team::Team;
use crate::firewall::{EM0, EM1, EM2, Firewall, SMALL_MTU, arrival, mac};
use engine::{Fate, InterfaceId};
use ruleset::{Reason, Rule, Scrub};

/// What packets get here that may be fragmented.
const IDENT: &str = "ident 59091";

/// Whoever is behind `em0` reaches IPv4 by the well-known prefix, from port 50001 of 10.1.0.1.
fn nat64() -> Firewall {
    Firewall::with(vec![pass().incoming().on("em0").to("64:ff9b::/96").af_to(
        "10.1.0.1",
        (50_001, 50_001),
        None,
    )])
}

/// 10.0.9.1 is a server of IPv6 behind `em1`, which knows its clients as 2001:db8:1::9, port 50001.
fn nat46() -> Firewall {
    Firewall::with(vec![pass().incoming().on("em0").to("10.0.9.1").af_to(
        "2001:db8:1::9",
        (50_001, 50_001),
        Some("2001:db8:1::2"),
    )])
}

/// The frames that are left of some that arrive, all by one interface: datagrams come in pieces.
fn left(firewall: &mut Firewall, interface: &str, frames: Vec<Vec<u8>>, by: InterfaceId) -> Vec<Vec<u8>> {
    let mut left = Vec::new();
    for mut frame in frames {
        let fate = firewall.decide(arrival(interface), &mut frame);
        let pieces = firewall.pieces();
        assert!(fate == Fate::Kept || fate == Fate::Transmit(by), "{fate:?}");
        assert!(pieces.iter().all(|(fate, _)| *fate == Fate::Transmit(by)), "{pieces:?}");
        left.extend((fate != Fate::Kept).then_some(frame));
        left.extend(pieces.into_iter().map(|(_, frame)| frame));
    }
    left
}

/// The datagram of fragments, which all have this identification, and are no longer than they may be.
fn whole(fragments: &[Vec<u8>], ident: u32, longest: usize) -> String {
    for frame in fragments {
        let (_, fragment) = fragment::read(frame);
        assert_eq!(fragment.map(|fragment| fragment.ident), Some(ident));
        assert!(frame.len() - fragment::L2 <= longest, "{} octets", frame.len() - fragment::L2);
    }
    render(&fragment::join(fragments))
}

#[test]
fn what_comes_in_fragments_of_one_family_leaves_in_fragments_of_the_other() {
    let mut firewall = nat64();
    let sent =
        Packet::parse("2001:db8::2.5000 > 64:ff9b::10.1.0.2.53 udp len 3000").frame(mac(EM0, 2), mac(EM0, 1));
    let fragments = fragment::cut6(&sent, 0x1234_5678, &fragment::every(1232, 3008));
    assert_eq!(fragments.len(), 3);
    let leaving = left(&mut firewall, "em0", fragments, EM1);
    assert_eq!(whole(&leaving, 0x5678, 1500), "10.1.0.1.50001 > 10.1.0.2.53 udp ttl 63");
    let answer = Packet::parse("10.1.0.2.53 > 10.1.0.1.50001 udp len 4000").frame(mac(EM1, 2), mac(EM1, 1));
    let fragments = fragment::cut4(&answer, 0xabcd, &fragment::every(1480, 4008));
    let leaving = left(&mut firewall, "em1", fragments, EM0);
    assert_eq!(leaving.len(), 4);
    assert_eq!(whole(&leaving, 0xabcd, 1280), "64:ff9b::a01:2.53 > 2001:db8::2.5000 udp ttl 63");
}

/// RFC 7915 §4: nobody on an IPv6 path cuts what is too long for it, so that the firewall does, to what every link takes.
#[test]
fn ipv4_packets_that_may_be_fragmented_are_cut_for_any_ipv6_path() {
    let mut firewall = nat46();
    let sent = |text: &str| vec![Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1))];
    let mut length = |text: &str| left(&mut firewall, "em0", sent(text), EM1);
    let cut = length("10.0.0.2.5 > 10.0.9.1.53 udp len 1400 ident 77");
    assert_eq!(cut.len(), 2);
    assert_eq!(whole(&cut, 77, 1280), "2001:db8:1::9.50001 > 2001:db8:1::2.53 udp ttl 63");
    // 1280 octets over IPv6, and who finds out himself what fits.
    for text in ["10.0.0.2.5 > 10.0.9.1.53 udp len 1232", "10.0.0.2.5 > 10.0.9.1.53 udp len 1400 df"] {
        let whole = length(text);
        assert_eq!((whole.len(), fragment::read(&whole[0]).1), (1, None), "{text}");
    }
}

/// Of IPv6 packets up to 1280 octets nobody hears that they are too long: they are cut where the IPv4 link takes less.
#[test]
fn short_ipv6_packets_are_cut_for_a_link_that_takes_less() {
    let mut firewall = Firewall::with(vec![pass().incoming().on("em0").to("64:ff9b::/96").af_to(
        "10.2.0.1",
        (50_001, 50_001),
        None,
    )]);
    let sent =
        Packet::parse("2001:db8::2.5000 > 64:ff9b::10.2.0.2.53 udp len 1232").frame(mac(EM0, 2), mac(EM0, 1));
    let leaving = left(&mut firewall, "em0", vec![sent], EM2);
    assert_eq!(leaving.len(), 3);
    assert_eq!(whole(&leaving, 59091, SMALL_MTU.into()), "10.2.0.1.50001 > 10.2.0.2.53 udp ttl 63");
}

#[test]
fn fragments_that_are_not_put_together_do_not_cross() {
    let mut firewall = Firewall::bare();
    let mut rules =
        crate::firewall::rules::ruleset(vec![pass().incoming().any_flags().to("64:ff9b::/96").af_to(
            "10.1.0.1",
            (50_001, 50_001),
            None,
        )]);
    rules.options.reassemble.enabled = false;
    firewall.load(rules);
    let sent =
        Packet::parse("2001:db8::2.5000 > 64:ff9b::10.1.0.2.53 udp len 3000").frame(mac(EM0, 2), mac(EM0, 1));
    for mut frame in fragment::cut6(&sent, 1, &fragment::every(1232, 3008)) {
        assert_eq!(firewall.decide(arrival("em0"), &mut frame), Fate::Drop(Reason::Translate));
    }
}

/// The answers are the worker's that has the connection, whichever receives them.
#[test]
fn the_ports_of_several_workers_are_those_whose_answers_are_theirs() {
    let rules = [pass().incoming().on("em0").to("64:ff9b::/96").af_to("10.1.0.1", (50_001, 50_032), None)];
    let mut team = Team::of(2, 256, &rules);
    let mut ports = BTreeSet::new();
    for port in 1..=32 {
        let sent = format!("2001:db8::2.{port} > 64:ff9b::10.1.0.2.53 udp");
        let (out, text) = team.forward(port % 2, "em0", &sent).expect("a port is left for each");
        let source = text.split_once(" > ").expect("an arrow").0;
        let own: u16 = source.strip_prefix("10.1.0.1.").and_then(|own| own.parse().ok()).expect("a port");
        assert!(out == EM1 && ports.insert(own), "{text}");
        for at in 0..2 {
            let (out, text) =
                team.forward(at, "em1", &format!("10.1.0.2.53 > 10.1.0.1.{own} udp")).expect("an answer");
            assert_eq!((out, text), (EM0, format!("64:ff9b::a01:2.53 > 2001:db8::2.{port} udp ttl 63")));
        }
    }
    assert_eq!(team.forward(0, "em0", "2001:db8::2.99 > 64:ff9b::10.1.0.2.53 udp"), None, "none is left");
}

/// What scrubbing asks for holds over there: what it changes is what an IPv4 header has as well as one of IPv6.
#[test]
fn scrubbing_and_modulation_go_together_with_it() {
    let rule = pass().incoming().on("em0").to("64:ff9b::/96").af_to("10.1.0.1", (50_001, 50_001), None);
    let scrub = Scrub { min_ttl: 40, max_mss: 1300, no_df: true, ..Scrub::default() };
    let rule = Rule { scrub, set_tos: Some(0x10), ..rule };
    let mut firewall = Firewall::with(vec![rule.clone()]);
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp S seq 1 mss 1440 ttl 9 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1 mss 1300 ttl 40 tos 16 {IDENT}
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 5 ack 2 mss 1460 ttl 9 df -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp SA seq 5 ack 2 mss 1300 ttl 40 tos 16
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp A seq 2 ack 6 len 1300 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 2 ack 6 len 1300 tos 16 df
        "
    ));
    // Hops to live never become fewer.
    let scrub = Scrub { reassemble_tcp: true, ..Scrub::default() };
    let mut firewall = Firewall::with(vec![Rule { scrub, set_tos: None, ..rule.clone() }]);
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1 {IDENT}
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 5 ack 2 ttl 50 -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp SA seq 5 ack 2 ttl 50
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp A seq 2 ack 6 ttl 9 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 2 ack 6 {IDENT}
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 6 ack 2 len 9 ttl 9 -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp A seq 6 ack 2 len 9 ttl 50
        "
    ));
    let scrub = Scrub::default();
    let mut firewall = Firewall::with(vec![Rule { scrub, set_tos: None, ..rule.modulate() }]);
    let syn = firewall.pass_on("em0", "2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp S seq 1000");
    let seq: u32 = syn
        .split_once(" seq ")
        .expect("a number")
        .1
        .split(' ')
        .next()
        .expect("it")
        .parse()
        .expect("a number");
    assert_ne!(seq, 1000);
    let answer = format!("10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 5 ack {}", seq.wrapping_add(1));
    let told = firewall.pass_on("em1", &answer);
    assert!(told.contains(" ack 1001 "), "{told}");
    let reset =
        format!("10.1.0.254 > 10.1.0.1 icmp 3/1 about (10.1.0.1.50001 > 10.1.0.2.80 tcp S seq {seq})");
    let mut frame = Packet::parse(&reset).frame(mac(EM1, 2), mac(EM1, 1));
    assert_eq!(firewall.decide(arrival("em1"), &mut frame), Fate::Transmit(EM0));
    assert_eq!(frame[14 + 40 + 8 + 40 + 4..][..4], 1000_u32.to_be_bytes(), "the quote is its own");
}
