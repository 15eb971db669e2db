//! What RFC 4787, 5382, 5508 and 7857 ask of translators, where no other test shows it. The page turnpike-nat(7) has all of it.

use crate::firewall::packet::{Packet, seal};
use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{EM0, Firewall, arrival, mac};
use engine::Fate;
use ruleset::{Pool, Reason, Rule, Timeout};
use wire::Port;
use wire::checksum::Sum;

/// What leaves by `em1` comes from 10.1.0.1, from these ports.
fn masquerading(ports: (u16, u16)) -> Vec<Rule> {
    vec![
        block(),
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", ports),
        pass().incoming().on("em0"),
        pass().outgoing(),
    ]
}

/// The same under `set optimization rfc-nat`.
fn under_rfc_nat(rules: Vec<Rule>) -> Firewall {
    let mut firewall = Firewall::with(Vec::new());
    let mut rules = ruleset(rules);
    rules.options.endpoint_independent = true;
    rules.options.timeouts.set(Timeout::TcpClosed, 240);
    firewall.load(rules);
    firewall
}

/// RFC 4787 REQ-3b.
#[test]
fn a_port_without_a_range_is_high() {
    let mut rules = masquerading((1, 1));
    rules[1].nat.as_mut().unwrap().ports = None;
    let mut firewall = Firewall::with(rules);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let (first, last) = Pool::NAT_PORTS;
    assert!(first.0 >= 1024);
    for port in [1024, 40_000, 65_535] {
        let sent = firewall.pass_on("em0", &format!("10.0.0.2.{port} > 10.1.0.2.53 udp"));
        let source = sent.split_whitespace().nth(2).and_then(|source| source.rsplit_once('.'));
        let chosen = Port(source.expect("a port").1.parse().expect("a number"));
        assert!((first..=last).contains(&chosen), "{sent}");
    }
}

/// D8, RFC 4787 REQ-10, RFC 5382 REQ-6: what applications say of addresses and ports is theirs.
#[test]
fn d08_no_payload_opens_a_port() {
    for rfc_nat in [false, true] {
        let rules = masquerading((50_001, 50_001));
        let mut firewall = if rfc_nat { under_rfc_nat(rules) } else { Firewall::with(rules) };
        firewall.tell(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1000
            em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 2000 ack 1001 -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 2000 ack 1001
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 2001 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 1001 ack 2001
            ",
        );
        for (said, port) in [
            ("REGISTER sip:10.1.0.2;transport=tcp SIP/2.0\r\nContact: <sip:a@10.0.0.2:4444>\r\n\r\n", 4444),
            ("PORT 10,0,0,2,17,92\r\n", 4444),
            ("EPRT |1|10.0.0.2|4444|\r\n", 4444),
            ("\x03\x00\x00\x40\x08\x02\x00\x01\x05 10.0.0.2:1720 H.323 SETUP", 1720),
        ] {
            let text = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 2001 len {}", said.len());
            let mut frame = Packet::parse(&text).frame(mac(EM0, 2), mac(EM0, 1));
            let at = frame.len() - said.len();
            frame[at..].copy_from_slice(said.as_bytes());
            seal(&mut frame);
            assert!(matches!(firewall.decide(arrival("em0"), &mut frame), Fate::Transmit(_)));
            assert!(frame.ends_with(said.as_bytes()), "nothing of it is rewritten");
            for proto in ["tcp S seq 5", "udp len 4"] {
                firewall.tell(&format!("em1: 10.1.0.2.9 > 10.1.0.1.{port} {proto} -> match"));
            }
        }
        assert_eq!(firewall.shard.states(), 2);
    }
}

/// RFC 5382 REQ-2a, REQ-4: a SYN that comes first is not answered, and does not spoil the connection that it is of.
#[test]
fn both_ends_may_open_at_once_behind_an_address() {
    Firewall::with(masquerading((50_001, 50_001))).tell(
        "
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp S seq 9 -> match
        wait 1
        em0: 10.0.0.2.4000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp S seq 9 -> out em0 as 10.1.0.2.80 > 10.0.0.2.4000 tcp S seq 9
        em0: 10.0.0.2.4000 > 10.1.0.2.80 tcp SA seq 1 ack 10 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp SA seq 1 ack 10
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 9 ack 2 -> out em0 as 10.1.0.2.80 > 10.0.0.2.4000 tcp SA seq 9 ack 2
        em0: 10.0.0.2.4000 > 10.1.0.2.80 tcp A seq 2 ack 10 len 7 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 2 ack 10 len 7
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 10 ack 9 len 7 -> out em0 as 10.1.0.2.80 > 10.0.0.2.4000 tcp A seq 10 ack 9 len 7
        ",
    );
}

/// D3, RFC 7857 §2.2: what comes behind a RST is still translated, until nothing has come for as long as a connection that ends
/// is kept.
#[test]
fn d03_a_reset_leaves_the_mapping_for_the_transitory_time() {
    let open = "
        em0: 10.0.0.2.4000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 9 ack 2 -> out em0 as 10.1.0.2.80 > 10.0.0.2.4000 tcp SA seq 9 ack 2
        em0: 10.0.0.2.4000 > 10.1.0.2.80 tcp A seq 2 ack 10 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp A seq 2 ack 10
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp R seq 500 -> state-mismatch
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp R seq 10 -> out em0 as 10.1.0.2.80 > 10.0.0.2.4000 tcp R seq 10
        ";
    let behind = "em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp A seq 10 ack 2 len 5 -> out em0 as 10.1.0.2.80 > 10.0.0.2.4000 tcp A seq 10 ack 2 len 5";
    let mut firewall = under_rfc_nat(masquerading((50_001, 50_001)));
    firewall.tell(open).wait(239).tell(behind).wait(239).tell(behind);
    firewall.wait(241);
    assert_eq!((firewall.sweep(), firewall.shard.states()), (2, 0), "nothing came for that long");
    let mut firewall = Firewall::with(masquerading((50_001, 50_001)));
    firewall.tell(open).wait(89).tell(behind);
    firewall.wait(91);
    assert_eq!(firewall.sweep(), 2);
}

/// RFC 5508 REQ-3: an error that is damaged is still so behind translation, and its receiver drops it.
#[test]
fn errors_with_a_wrong_checksum_keep_one() {
    // Behind Ethernet's and IP's header.
    const ICMP: usize = 14 + 20;
    let mut firewall = Firewall::with(masquerading((50_001, 50_001)));
    firewall.tell("em0: 10.0.0.2.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp");
    let arrival = arrival("em1");
    let mut error = Packet::parse("10.1.0.2 > 10.1.0.1 icmp 3/3 about (10.1.0.1.50001 > 10.1.0.2.53 udp)")
        .frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
    for (flaw, verdict) in [(0, Ok(())), (1, Err(wire::Error::Checksum))] {
        error[ICMP + 2] ^= flaw;
        let mut frame = error.clone();
        assert_eq!(firewall.decide(arrival, &mut frame), Fate::Transmit(EM0));
        assert_eq!(Sum::ZERO.plus(&frame[ICMP..]).verify(), verdict);
    }
}

/// RFC 5508 REQ-8: who finds nothing left is told that it is prohibited, under `rfc-nat`.
#[test]
fn endpoint_independent_exhaustion_is_told_of() {
    let mut firewall = under_rfc_nat(masquerading((50_001, 50_001)));
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp
        em0: 10.0.0.2.5000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq 1
        ",
    );
    for text in ["10.0.0.3.5000 > 10.1.0.2.53 udp", "10.0.0.3.5000 > 10.1.0.2.80 tcp S seq 1"] {
        let told = firewall.send("em0", text);
        assert!(told.starts_with("translate: 10.1.0.2 > 10.0.0.3 icmp 3/13 about (10.0.0.3 > "), "{told}");
    }
    assert_eq!(firewall.dropped(Reason::Translate), 2);
    let mut firewall = Firewall::with(masquerading((50_001, 50_001)));
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp
        em0: 10.0.0.3.5000 > 10.1.0.2.53 udp -> translate
        ",
    );
}

/// RFC 5508 REQ-11.
#[test]
fn icmp_messages_that_are_no_queries_make_no_state() {
    let mut firewall = Firewall::with(masquerading((50_001, 50_001)));
    firewall.tell("em0: 10.0.0.2 > 10.1.0.2 icmp 5/0 -> out em1 as 10.1.0.1 > 10.1.0.2 icmp 5/0");
    assert_eq!(firewall.shard.states(), 0);
    firewall.tell("em1: 10.1.0.2 > 10.1.0.1 icmp 5/0 -> match");
}

/// RFC 7857 §7: what is refused keeps no mapping.
#[test]
fn endpoint_independent_mappings_are_not_refreshed_by_what_is_refused() {
    let mut rules = masquerading((50_001, 50_001));
    rules.push(block().incoming().on("em1").from("198.51.100.0/24").quick());
    rules.push(block().outgoing().on("em0").from("10.1.0.254"));
    let mut firewall = under_rfc_nat(rules);
    firewall.tell("em0: 10.0.0.2.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp");
    firewall.wait(50);
    firewall.tell("em1: 198.51.100.7.9 > 10.1.0.1.50001 udp -> match");
    firewall.wait(11);
    firewall.sweep();
    assert_eq!(firewall.shard.states(), 0);
    firewall.tell(
        "
        em1: 10.1.0.2.9 > 10.1.0.1.50001 udp -> match
        em0: 10.0.0.3.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp
        ",
    );
}
