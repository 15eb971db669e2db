//! Packets that become packets of the other family (`af-to`): connections of all kinds, both ways, and what is said of them.

use std::net::Ipv6Addr;

use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, block_return, pass};
use crate::firewall::{EM0, EM1, Firewall, arrival, interfaces, mac, neighbors, routes};
use engine::{Fate, Fib, Mapping};
use ruleset::{Reason, Rule};
use wire::corpus::build;
use wire::{Af, Mac, Port, Proto, icmp4, icmp6};

/// What packets get here that may be fragmented.
const IDENT: &str = "ident 59091";

/// Whoever is behind `em0` reaches IPv4 by the well-known prefix, from port 50001 of 10.1.0.1. No other rule lets anything pass.
fn nat64() -> Firewall {
    Firewall::with(vec![
        block(),
        pass().incoming().on("em0").to("64:ff9b::/96").af_to("10.1.0.1", (50_001, 50_001), None),
    ])
}

/// 10.0.9.1 is a server of IPv6 behind `em1`, which knows its clients as 2001:db8:1::9, port 50001.
fn nat46() -> Firewall {
    Firewall::with(vec![
        block(),
        pass().incoming().on("em0").to("10.0.9.1").af_to(
            "2001:db8:1::9",
            (50_001, 50_001),
            Some("2001:db8:1::2"),
        ),
    ])
}

#[test]
fn nat64_a_connection_is_one_state_from_its_first_segment_to_its_last() {
    let mut firewall = nat64();
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp S seq 1000 mss 1440 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1000 mss 1440 {IDENT}
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 2000 ack 1001 df -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp SA seq 2000 ack 1001
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp A seq 1001 ack 2001 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 1001 ack 2001 {IDENT}
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp A seq 1001 ack 2001 len 1300 tos 184 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 1001 ack 2001 len 1300 tos 184 df
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 2001 ack 2301 len 700 ttl 9 tos 3 -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp A seq 2001 ack 2301 len 700 ttl 9 tos 3
        "
    ));
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.1.0.1:50001 (2001:db8::2[40000]) -> 10.1.0.2:80 (64:ff9b::a01:2[80])       ESTABLISHED:ESTABLISHED"
        ]
    );
    let [state] = firewall.states().try_into().expect("one state");
    // As they came: 60 + 4 and 60, twice, with 1300, and what the server sent.
    assert_eq!((state.source.packets, state.source.bytes), (3, 64 + 60 + 1360));
    assert_eq!((state.destination.packets, state.destination.bytes), (2, 40 + 740));
    assert!(firewall.shard.take_drop().is_none());
    // Whoever is none of it, stays outside.
    firewall.tell(&format!(
        "
        em1: 10.1.0.2.80 > 10.1.0.1.50002 tcp A seq 2701 ack 2301 -> match
        em1: 10.1.0.2.81 > 10.1.0.1.50001 tcp A seq 2701 ack 2301 -> match
        em1: 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp A seq 2701 ack 2301 -> match
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 900000 ack 2301 len 1 -> state-mismatch
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp FA seq 2301 ack 2701 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp FA seq 2301 ack 2701 {IDENT}
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp FA seq 2701 ack 2302 df -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp FA seq 2701 ack 2302
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp A seq 2302 ack 2702 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 2302 ack 2702 {IDENT}
        wait 91
        "
    ));
    assert_eq!((firewall.sweep(), firewall.shard.states()), (1, 0));
    firewall.tell("em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 2702 ack 2302 -> match");
}

/// The example of a packet that does not fit its state tells both families of that.
/// `tpctl nat` had the IPv4 address for one of IPv6.
#[test]
fn what_a_connection_of_the_other_family_is_behind_is_told_in_that_family() {
    let mut firewall = nat64();
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}
        em0: 2001:db8::3.40000 > 64:ff9b::10.1.0.2.53 udp -> translate
        "
    ));
    let sent = firewall.pass_on("em0", "2001:db8::2 > 64:ff9b::10.1.0.2 icmp 128/0 id 7");
    assert!(sent.starts_with("out em1: 10.1.0.1 > 10.1.0.2 icmp 8/0 id "), "{sent}");
    let of = |proto| Mapping { address: "10.1.0.1".parse().expect("an address"), proto, block: None };
    let (root, mut cursor, mut found) = (firewall.root.as_ref(), 0, Vec::new());
    while !firewall.shard.mappings(root, &mut cursor, 1, |of| found.push(of)) {}
    found.sort_unstable();
    assert_eq!(found, [of(Proto::ICMP), of(Proto::UDP)]);
    assert_eq!(firewall.shard.shortages().collect::<Vec<_>>(), [(of(Proto::UDP), 1)]);
}

#[test]
fn an_example_of_a_misfit_has_both_families() {
    let mut firewall = nat64();
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp S seq 1000 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1000 {IDENT}
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 2000 ack 1001 -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp SA seq 2000 ack 1001
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 900000 ack 1001 len 1 -> state-mismatch
        "
    ));
    let drop = firewall.shard.take_drop().expect("an example");
    let (met, _) = drop.misfit.expect("what it did not fit");
    assert_eq!((met.families, met.forward), ([Af::Inet6, Af::Inet], false));
    let ends =
        |ends: [(engine::Address, Port); 2], af| ends.map(|(address, _)| address.to_ip(af).to_string());
    assert_eq!(ends(met.before, Af::Inet6), ["2001:db8::2", "64:ff9b::a01:2"]);
    assert_eq!(ends(met.behind, Af::Inet), ["10.1.0.1", "10.1.0.2"]);
}

#[test]
fn nat46_a_connection_is_one_state_likewise() {
    let mut firewall = nat46();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.0.9.1.80 tcp S seq 1 df -> out em1 as 2001:db8:1::9.50001 > 2001:db8:1::2.80 tcp S seq 1
        em1: 2001:db8:1::2.80 > 2001:db8:1::9.50001 tcp SA seq 5 ack 2 -> out em0 as 10.0.9.1.80 > 10.0.0.2.40000 tcp SA seq 5 ack 2 ident 59091
        em0: 10.0.0.2.40000 > 10.0.9.1.80 tcp A seq 2 ack 6 len 100 df -> out em1 as 2001:db8:1::9.50001 > 2001:db8:1::2.80 tcp A seq 2 ack 6 len 100
        em1: 2001:db8:1::2.80 > 2001:db8:1::9.50001 tcp A seq 6 ack 102 len 1400 -> out em0 as 10.0.9.1.80 > 10.0.0.2.40000 tcp A seq 6 ack 102 len 1400 df
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 2001:db8:1::9[50001] (10.0.0.2:40000) -> 2001:db8:1::2[80] (10.0.9.1:80)       ESTABLISHED:ESTABLISHED"
        ]
    );
    assert_eq!(firewall.kill("10.0.0.2"), 1);
    firewall.tell("em1: 2001:db8:1::2.80 > 2001:db8:1::9.50001 tcp A seq 1406 ack 102 -> match");
}

#[test]
fn datagrams_queries_and_other_protocols_cross() {
    let mut firewall = nat64();
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.5000 > 64:ff9b::10.1.0.2.53 udp len 30 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp len 30 {IDENT}
        em1: 10.1.0.2.53 > 10.1.0.1.50001 udp len 301 -> out em0 as 64:ff9b::a01:2.53 > 2001:db8::2.5000 udp len 301
        em0: 2001:db8::2 > 64:ff9b::10.1.0.2 proto 47 len 20 -> out em1 as 10.1.0.1 > 10.1.0.2 proto 47 len 20 {IDENT}
        em1: 10.1.0.2 > 10.1.0.1 proto 47 len 20 -> out em0 as 64:ff9b::a01:2 > 2001:db8::2 proto 47 len 20
        em0: 2001:db8::2.5001 > 64:ff9b::10.1.0.2.53 udp len 30 -> translate
        "
    ));
    assert!(firewall.lines().contains(
        &"all udp 10.1.0.1:50001 (2001:db8::2[5000]) -> 10.1.0.2:53 (64:ff9b::a01:2[53])       MULTIPLE:SINGLE"
            .to_owned()
    ), "{:#?}", firewall.lines());
    let sent = firewall.pass_on("em0", "2001:db8::2 > 64:ff9b::10.1.0.2 icmp 128/0 id 7");
    let (head, id) = sent.strip_suffix(" ttl 63").and_then(|sent| sent.split_once(" id ")).expect("an echo");
    assert_eq!(head, "out em1: 10.1.0.1 > 10.1.0.2 icmp 8/0");
    firewall.tell(&format!(
        "
        em1: 10.1.0.2 > 10.1.0.1 icmp 0/0 id {id} -> out em0 as 64:ff9b::a01:2 > 2001:db8::2 icmp 129/0 id 7
        em1: 10.1.0.2 > 10.1.0.1 icmp 8/0 id {id} -> match
        em1: 10.1.0.2 > 10.1.0.1 icmp 0/0 id 7 -> match
        "
    ));
    let mut firewall = nat46();
    let sent = firewall.pass_on("em0", "10.0.0.2 > 10.0.9.1 icmp 8/0 id 0");
    let (head, id) = sent.strip_suffix(" ttl 63").and_then(|sent| sent.split_once(" id ")).expect("an echo");
    assert_eq!(head, "out em1: 2001:db8:1::9 > 2001:db8:1::2 icmp 128/0");
    firewall.tell(&format!(
        "em1: 2001:db8:1::2 > 2001:db8:1::9 icmp 129/0 id {id} -> out em0 as 10.0.9.1 > 10.0.0.2 icmp 0/0 id 0 {IDENT}"
    ));
}

/// D7. Over IPv6 a datagram has a checksum; over IPv4 it need not.
#[test]
fn d07_a_datagram_without_a_checksum_gets_one() {
    let mut firewall = nat46();
    let mut frame = Packet::parse("10.0.0.2.5000 > 10.0.9.1.53 udp len 33").frame(mac(EM0, 2), mac(EM0, 1));
    frame[14 + 20 + 6..14 + 20 + 8].fill(0);
    assert_eq!(firewall.decide(arrival("em0"), &mut frame), Fate::Transmit(EM1));
    let expected = Packet::parse("2001:db8:1::9.50001 > 2001:db8:1::2.53 udp len 33").with_ttl(63);
    assert_eq!(frame, expected.frame(mac(EM1, 1), mac(EM1, 2)));
}

/// RFC 6052 §2.4: whatever the prefix, its IPv4 address is found, and answers come from where the question went.
#[test]
fn every_prefix_of_rfc_6052_leads_to_its_ipv4_address() {
    for (prefix, address) in [
        ("2001:db9::/32", "2001:db9:a01:2::"),
        ("2001:db9:100::/40", "2001:db9:10a:100:2::"),
        ("2001:db9:122::/48", "2001:db9:122:a01:0:200::"),
        ("2001:db9:122:300::/56", "2001:db9:122:30a:1:2::"),
        ("2001:db9:122:344::/64", "2001:db9:122:344:a:100:200::"),
        ("2001:db9:122:344::/96", "2001:db9:122:344::a01:2"),
    ] {
        let mut firewall = Firewall::with(vec![pass().incoming().on("em0").to(prefix).af_to(
            "10.1.0.1",
            (50_001, 50_001),
            None,
        )]);
        let shown: Ipv6Addr = address.parse().expect("an address");
        firewall.tell(&format!(
            "
            em0: 2001:db8::2.5 > {address}.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}
            em1: 10.1.0.2.53 > 10.1.0.1.50001 udp -> out em0 as {address}.53 > 2001:db8::2.5 udp
            em1: 10.1.0.254 > 10.1.0.1 icmp 11/0 about (10.1.0.1.50001 > 10.1.0.2.53 udp) -> out em0 as {router} > 2001:db8::2 icmp 3/0 about (2001:db8::2.5 > {shown}.53 udp)
            ",
            router = router(prefix),
        ));
    }
}

/// Where 10.1.0.254 is behind a prefix of the test above.
fn router(prefix: &str) -> &'static str {
    match prefix.split_once('/').expect("a length").1 {
        "32" => "2001:db9:a01:fe::",
        "40" => "2001:db9:10a:100:fe::",
        "48" => "2001:db9:122:a01:0:fe00::",
        "56" => "2001:db9:122:30a:1:fe::",
        "64" => "2001:db9:122:344:a:100:fe00::",
        _ => "2001:db9:122:344::a01:fe",
    }
}

#[test]
fn destinations_are_those_of_the_rule_where_it_says_so() {
    let to = |rule: Rule, destination: Option<&str>| {
        let from = if rule.to.address.pattern == Rule::default().to.address.pattern {
            "2001:db8:1::9"
        } else {
            "10.1.0.1"
        };
        Firewall::with(vec![rule.incoming().on("em0").af_to(from, (50_001, 50_001), destination)])
    };
    let asked = || pass().to("64:ff9b::/96");
    to(asked(), Some("0.0.0.0/0")).tell(&format!(
        "em0: 2001:db8::2.5 > 64:ff9b::10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}"
    ));
    to(asked(), Some("10.1.0.0/24")).tell(&format!(
        "em0: 2001:db8::2.5 > 64:ff9b::192.0.9.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}"
    ));
    to(asked(), Some("10.1.0.2")).tell(&format!(
        "em0: 2001:db8::2.5 > 64:ff9b::1.2.3.4.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}"
    ));
    // Under the source's own prefix, and under others.
    let held = |firewall: &mut Firewall| firewall.send("em0", "10.0.0.2.5 > 198.51.100.7.53 udp df");
    assert_eq!(held(&mut to(pass(), None)), "held em1 for 2001:db8:1::c633:6407");
    assert_eq!(held(&mut to(pass(), Some("2001:db8:1::/64"))), "held em1 for 2001:db8:1:0:c6:3364:700:0");
    assert_eq!(held(&mut to(pass(), Some("2001:db8:1::/120"))), "held em1 for 2001:db8:1::7");
}

#[test]
fn errors_of_the_far_side_are_told_in_the_terms_of_the_near_one() {
    let mut firewall = nat64();
    firewall.tell(&format!(
        "em0: 2001:db8::2.5000 > 64:ff9b::10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}"
    ));
    for (error, expected) in [
        ("3/0", "1/0"),
        ("3/1", "1/0"),
        ("3/2", "4/1"),
        ("3/3", "1/4"),
        ("3/5", "1/0"),
        ("3/9", "1/1"),
        ("3/12", "1/0"),
        ("3/13", "1/1"),
        ("3/15", "1/1"),
        ("11/0", "3/0"),
        ("11/1", "3/1"),
        ("12/0", "4/0"),
    ] {
        let sent = format!("10.1.0.2 > 10.1.0.1 icmp {error} about (10.1.0.1.50001 > 10.1.0.2.53 udp)");
        let told = firewall.pass_on("em1", &sent);
        let about = "about (2001:db8::2 > 64:ff9b::a01:2 proto 17)";
        assert_eq!(told, format!("out em0: 64:ff9b::a01:2 > 2001:db8::2 icmp {expected} {about} ttl 63"));
    }
    for error in ["3/14", "4/0", "12/1"] {
        let sent = format!("10.1.0.2 > 10.1.0.1 icmp {error} about (10.1.0.1.50001 > 10.1.0.2.53 udp)");
        assert_eq!(firewall.send("em1", &sent), "translate", "{error} means nothing over IPv6");
    }
    firewall.tell(
        "
        em1: 10.1.0.254 > 10.1.0.1 icmp 3/3 about (10.1.0.1.50001 > 10.1.0.2.53 udp) bad-sum -> proto-cksum
        em1: 10.1.0.254 > 10.1.0.1 icmp 3/3 about (10.1.0.1.50002 > 10.1.0.2.53 udp) -> match
        em1: 10.1.0.254 > 10.1.0.7 icmp 3/3 about (10.1.0.1.50001 > 10.1.0.2.53 udp) -> icmp-mismatch
        ",
    );
    let [state] = firewall.states().try_into().expect("one state");
    assert_eq!(state.destination.packets, 12, "errors count, and refresh nothing");
}

#[test]
fn errors_of_the_near_side_are_told_in_the_terms_of_the_far_one() {
    let mut firewall = nat64();
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.5000 > 64:ff9b::10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp {IDENT}
        em1: 10.1.0.2.53 > 10.1.0.1.50001 udp len 30 -> out em0 as 64:ff9b::a01:2.53 > 2001:db8::2.5000 udp len 30
        "
    ));
    // From whoever is on the way; over there, everything behind is one address.
    for (from, error, expected) in [
        ("2001:db8::2", "1/0", "3/1"),
        ("2001:db8::3", "1/1", "3/10"),
        ("2001:db8::2", "1/2", "3/1"),
        ("2001:db8::2", "1/3", "3/1"),
        ("2001:db8::2", "1/4", "3/3"),
        ("2001:db8::77", "3/0", "11/0"),
        ("2001:db8::2", "4/0", "12/0"),
        ("2001:db8::2", "4/1", "3/2"),
    ] {
        let sent = format!(
            "{from} > 64:ff9b::10.1.0.2 icmp {error} about (64:ff9b::10.1.0.2.53 > 2001:db8::2.5000 udp)"
        );
        let about = "about (10.1.0.2 > 10.1.0.1 proto 17)";
        let told = firewall.pass_on("em0", &sent);
        assert_eq!(told, format!("out em1: 10.1.0.1 > 10.1.0.2 icmp {expected} {about} ttl 63"));
    }
    for error in ["1/5", "4/2"] {
        let sent = format!(
            "2001:db8::2 > 64:ff9b::10.1.0.2 icmp {error} about (64:ff9b::10.1.0.2.53 > 2001:db8::2.5000 udp)"
        );
        assert_eq!(firewall.send("em0", &sent), "translate", "{error} means nothing over IPv4");
    }
    // About an echo, whose type is another one too.
    let sent = firewall.pass_on("em0", "2001:db8::2 > 64:ff9b::10.1.0.2 icmp 128/0 id 7");
    let id = sent.strip_suffix(" ttl 63").and_then(|sent| sent.rsplit_once(' ')).expect("an identifier").1;
    firewall.tell(&format!(
        "em1: 10.1.0.2 > 10.1.0.1 icmp 3/1 about (10.1.0.1 > 10.1.0.2 icmp 8/0 id {id}) -> out em0 as 64:ff9b::a01:2 > 2001:db8::2 icmp 1/0 about (2001:db8::2 > 64:ff9b::a01:2 icmp 128/0 id 7)"
    ));
}

/// The MTU that an error names, translated: of `kind`, about a segment of the connection of [`nat64`] or [`nat46`].
fn told_mtu(
    firewall: &mut Firewall,
    interface: &str,
    [from, to]: [&str; 2],
    rest: [u8; 4],
    about: &str,
) -> u32 {
    let about = Packet::parse(about).frame(Mac::default(), Mac::default());
    let body = &about[14..];
    let arrival = arrival(interface);
    let (src, dst) = (from.parse().expect("an address"), to.parse().expect("an address"));
    let mut frame = match (src, dst) {
        (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) => {
            let kind = icmp4::Type::UNREACHABLE;
            let header = icmp4::Repr { kind, code: icmp4::unreachable::FRAGMENTATION_NEEDED, rest };
            let message = build::icmp4(&header, body);
            let header = wire::ipv4::Repr::new(src, dst, Proto::ICMP, message.len());
            build::frame4(&header, &message)
        }
        (std::net::IpAddr::V6(src), std::net::IpAddr::V6(dst)) => {
            let header = icmp6::Repr { kind: icmp6::Type::PACKET_TOO_BIG, code: 0, rest };
            let mut message = [&[0; icmp6::HEADER_LEN], body].concat();
            header.emit(src, dst, &mut message).expect("a message");
            let header = wire::ipv6::Repr::new(src, dst, Proto::ICMP6, message.len());
            let mut frame = [&about[..14], &[0; 40], &message].concat();
            frame[12..14].copy_from_slice(&[0x86, 0xdd]);
            header.emit(&mut frame[14..]).expect("a header");
            frame
        }
        _ => panic!("two families"),
    };
    frame[..6].copy_from_slice(&mac(arrival.interface, 1).0);
    frame[6..12].copy_from_slice(&mac(arrival.interface, 2).0);
    let fate = firewall.decide(arrival, &mut frame);
    assert!(matches!(fate, Fate::Transmit(_)), "{fate:?}");
    let shown = render(&frame);
    let at = if frame[14] >> 4 == 4 { 14 + 20 } else { 14 + 40 };
    assert!(shown.contains("icmp 3/4") || shown.contains("icmp 2/0"), "{shown}");
    u32::from_be_bytes(*frame[at + 4..].first_chunk().expect("the MTU"))
}

/// RFC 7915 §4.2, §5.2: an MTU is told as what fits the link when the packet has become one of the other family.
#[test]
fn an_mtu_is_told_as_what_fits_on_the_other_side() {
    let mut firewall = nat64();
    firewall.tell(
        "
        em0: 2001:db8::2.40000 > 64:ff9b::10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1 ident 59091
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 9 ack 2 -> out em0 as 64:ff9b::a01:2.80 > 2001:db8::2.40000 tcp SA seq 9 ack 2
        ",
    );
    let mut named = |mtu: u16| {
        let [high, low] = mtu.to_be_bytes();
        let about = "10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 2 ack 10 len 1400";
        told_mtu(&mut firewall, "em1", ["10.1.0.254", "10.1.0.1"], [0, 0, high, low], about)
    };
    // 0: from a router that does not say, whose likely MTU is the next plateau below 1440.
    assert_eq!([1400, 1300, 1000, 9000, 0].map(&mut named), [1420, 1320, 1280, 1500, 1280]);
    let mut named = |mtu: u32| {
        let about = "64:ff9b::10.1.0.2.80 > 2001:db8::2.40000 tcp A seq 10 ack 2 len 1400";
        let ends = ["2001:db8::77", "64:ff9b::a01:2"];
        told_mtu(&mut firewall, "em0", ends, mtu.to_be_bytes(), about)
    };
    assert_eq!([1400, 1280, 9000].map(&mut named), [1380, 1260, 1480]);
}

/// What the firewall itself has to say is said in the family in which it was spoken to, from its address there.
#[test]
fn its_own_answers_are_of_the_family_that_asked() {
    let to_everywhere = |rules: Vec<Rule>| Firewall::with(rules);
    let mut firewall = to_everywhere(vec![
        block_return(),
        pass().incoming().on("em0").to("64:ff9b::/96").af_to("10.1.0.1", (50_001, 50_009), None),
        pass().incoming().on("em0").to("10.0.9.0/24").af_to(
            "2001:db8:1::9",
            (50_001, 50_009),
            Some("2001:db8:1::/96"),
        ),
    ]);
    let about = "about (2001:db8::2 > 64:ff9b::";
    firewall.tell(&format!(
        "
        em0: 2001:db8::2.1 > 64:ff9b::10.1.0.2.53 udp len 30 ttl 1 -> ttl: 2001:db8::1 > 2001:db8::2 icmp 3/0 {about}a01:2 proto 17) ttl 64
        em0: 2001:db8::2.1 > 64:ff9b::8.8.8.8.53 udp len 30 -> no-route: 2001:db8::1 > 2001:db8::2 icmp 1/0 {about}808:808 proto 17) ttl 64
        em0: 2001:db8::2.1 > 64:ff9b::203.0.113.9.53 udp len 30 -> no-route: 2001:db8::1 > 2001:db8::2 icmp 1/1 {about}cb00:7109 proto 17) ttl 64
        em0: 2001:db8::2.1 > 64:ff9b::10.1.0.1.53 udp len 30 -> translate
        em0: 2001:db8::2.1 > 64:ff9b::127.0.0.1.53 udp len 30 -> translate
        em0: 2001:db8::2.1 > 64:ff9b::224.0.0.5.53 udp len 30 -> translate
        em0: 2001:db8::2.1 > 64:ff9b::10.2.0.2.53 udp len 1300 -> too-big: 2001:db8::1 > 2001:db8::2 icmp 2/0 {about}a02:2 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.0.9.7.53 udp len 30 ttl 1 -> ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.0.9.7 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.0.9.7.53 udp len 1460 df -> too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4 about (10.0.0.2 > 10.0.9.7 proto 17) ttl 64
        "
    ));
    let told = firewall.wait_in_vain("em0", "2001:db8::2.1 > 64:ff9b::10.1.0.77.53 udp len 30");
    assert_eq!(told, Some(format!("2001:db8::1 > 2001:db8::2 icmp 1/3 {about}a01:4d proto 17) ttl 64")));
    let told = firewall.wait_in_vain("em0", "10.0.0.2.1 > 10.0.9.8.53 udp len 30");
    assert_eq!(
        told.as_deref(),
        Some("10.0.0.1 > 10.0.0.2 icmp 3/1 about (10.0.0.2 > 10.0.9.8 proto 17) ttl 64")
    );
}

/// Of a packet that is too big, the sender hears the size that it may have in its own family.
#[test]
fn too_big_names_what_fits_in_the_senders_family() {
    let mtu = |rule: Rule, packet: &str| {
        let mut interfaces = interfaces();
        interfaces[1].mtu = 1400;
        let mut firewall = Firewall::bare();
        firewall.fib = Fib::new(1, interfaces, routes(), neighbors());
        firewall.load(crate::firewall::rules::ruleset(vec![rule]));
        let mut frame = Packet::parse(packet).frame(mac(EM0, 2), mac(EM0, 1));
        assert_eq!(firewall.decide(arrival("em0"), &mut frame), Fate::Transmit(EM0), "{packet}");
        assert_eq!(firewall.dropped(Reason::TooBig), 1);
        let at = if frame[14] >> 4 == 4 { 14 + 20 } else { 14 + 40 };
        u32::from_be_bytes(*frame[at + 4..].first_chunk().expect("the MTU"))
    };
    let rule = pass().incoming().to("64:ff9b::/96").af_to("10.1.0.1", (50_001, 50_009), None);
    assert_eq!(mtu(rule, "2001:db8::2.1 > 64:ff9b::10.1.0.2.53 udp len 1373"), 1420);
    let rule =
        pass().incoming().to("10.0.9.1").af_to("2001:db8:1::9", (50_001, 50_009), Some("2001:db8:1::2"));
    assert_eq!(mtu(rule, "10.0.0.2.1 > 10.0.9.1.53 udp len 1353 df"), 1380);
}

#[test]
fn what_means_something_else_over_there_does_not_cross() {
    let mut firewall = Firewall::with(vec![
        block(),
        pass().incoming().on("em0").to("64:ff9b::/96").any_flags().allow_opts().af_to(
            "10.1.0.1",
            (50_001, 50_001),
            None,
        ),
        pass().incoming().on("em0").to("10.0.9.1").any_flags().af_to(
            "2001:db8:1::9",
            (50_001, 50_009),
            Some("2001:db8:1::2"),
        ),
    ]);
    firewall.tell(
        "
        em0: 2001:db8::2 > 64:ff9b::10.1.0.2 proto 1 len 20 -> translate
        em0: 2001:db8::2 > 64:ff9b::10.1.0.2 icmp 129/0 id 7 -> match
        em0: 2001:db8::2 > 64:ff9b::10.1.0.2 icmp 130/0 id 7 -> translate
        em0: 10.0.0.2 > 10.0.9.1 proto 58 len 20 -> translate
        em0: 10.0.0.2 > 10.0.9.1 proto 44 len 20 -> translate
        em0: 10.0.0.2 > 10.0.9.1 icmp 13/0 id 7 -> translate
        ",
    );
    assert_eq!(firewall.shard.states(), 0);
    // Options stay behind.
    firewall.tell(&format!(
        "em0: 2001:db8::2.5 > 64:ff9b::10.1.0.2.53 udp len 9 options -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp len 9 {IDENT}"
    ));
}
