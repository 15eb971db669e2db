//! Whole packets through a shard: ICMP queries, and errors about other packets.

use crate::firewall::Firewall;
use crate::firewall::rules::{Written, block, pass};
use ruleset::Reason;

/// What the inside may begin, and nothing else.
fn outbound_only() -> Firewall {
    Firewall::with(vec![block(), pass().any_flags().incoming().on("em0"), pass().any_flags().outgoing()])
}

#[test]
fn a_query_and_its_replies_share_a_state() {
    let mut firewall = outbound_only();
    firewall.tell(
        "
        em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 7 -> out em1
        em1: 10.1.0.2 > 10.0.0.2 icmp 0/0 id 7 -> out em0
        em1: 10.1.0.2 > 10.0.0.2 icmp 0/0 id 8 -> match
        em1: 10.1.0.2 > 10.0.0.2 icmp 8/0 id 7 -> match
        em1: 10.1.0.2 > 10.0.0.2 icmp 14/0 id 7 -> match
        em1: 10.1.0.3 > 10.0.0.2 icmp 0/0 id 7 -> match
        ",
    );
    assert_eq!(
        firewall.lines(),
        ["all icmp 10.0.0.2:7 -> 10.1.0.2:8       0:0", "all icmp 10.1.0.2:8 <- 10.0.0.2:7       0:0",]
    );
    assert!(firewall.states().iter().all(|state| state.expires_in_s == 10), "icmp.error");
    firewall.tell(
        "
        wait 9
        em1: 10.1.0.2 > 10.0.0.2 icmp 0/0 id 7 -> out em0
        wait 10
        em1: 10.1.0.2 > 10.0.0.2 icmp 0/0 id 7 -> match
        ",
    );
}

#[test]
fn ipv6_echoes_do_as_well() {
    let mut firewall = outbound_only();
    firewall.tell(
        "
        em0: 2001:db8::2 > 2001:db8:1::2 icmp 128/0 id 7 -> out em1
        em1: 2001:db8:1::2 > 2001:db8::2 icmp 129/0 id 7 -> out em0
        em1: 2001:db8:1::2 > 2001:db8::2 icmp 129/0 id 9 -> match
        em1: 2001:db8:1::2 > 2001:db8::2 icmp 128/0 id 7 -> match
        ",
    );
    assert_eq!(firewall.lines()[0], "all ipv6-icmp 2001:db8:1::2[128] <- 2001:db8::2[7]       0:0");
}

#[test]
fn a_query_does_not_pass_as_the_reply_to_itself() {
    // Where the identifier is the number of the type, both directions have the same key.
    let mut firewall = outbound_only();
    firewall.tell("em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 8 -> out em1");
    let before = firewall.dump();
    firewall.tell(
        "
        em1: 10.1.0.2 > 10.0.0.2 icmp 8/0 id 8 -> state-mismatch
        em0: 10.0.0.2 > 10.1.0.2 icmp 0/0 id 8 -> state-mismatch
        ",
    );
    assert_eq!(firewall.dump(), before);
    firewall.tell("em1: 10.1.0.2 > 10.0.0.2 icmp 0/0 id 8 -> out em0");
}

#[test]
fn a_reply_never_makes_a_state() {
    let mut firewall = Firewall::with(vec![pass().any_flags()]);
    firewall.tell(
        "
        em0: 10.0.0.2 > 10.1.0.2 icmp 0/0 id 7 -> out em1
        em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 7 -> out em1
        ",
    );
    assert_eq!(firewall.shard.states(), 2, "those of the query");
    Firewall::with(vec![block(), pass().any_flags()]).tell(
        "
        em0: 10.0.0.2 > 10.1.0.2 icmp 0/0 id 7 -> match
        em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 7 -> out em1
        ",
    );
}

#[test]
fn an_error_about_a_datagram_finds_its_flow_and_refreshes_nothing() {
    let mut firewall = outbound_only();
    firewall.tell("em0: 10.0.0.2.5000 > 198.51.100.7.53 udp len 20 -> out em1");
    firewall.tell(
        "
        wait 20
        em1: 198.51.100.7 > 10.0.0.2 icmp 3/3 about (10.0.0.2.5000 > 198.51.100.7.53 udp len 20)  -> out em0
        em1: 10.1.0.254 > 10.0.0.2 icmp 11/0 about (10.0.0.2.5000 > 198.51.100.7.53 udp len 20)   -> out em0
        em1: 10.1.0.254 > 10.0.0.2 icmp 11/0 about (10.0.0.2.5001 > 198.51.100.7.53 udp len 20)   -> match
        em1: 10.1.0.254 > 10.0.0.2 icmp 11/0 about (10.0.0.2.5000 > 198.51.100.8.53 udp len 20)   -> match
        em1: 10.1.0.254 > 10.0.0.3 icmp 11/0 about (10.0.0.2.5000 > 198.51.100.7.53 udp len 20)   -> icmp-mismatch
        em1: 10.1.0.254 > 10.0.0.2 icmp 11/0 about (198.51.100.7.53 > 10.0.0.2.5000 udp len 20)   -> icmp-mismatch
        em1: 10.1.0.254 > 10.0.0.2 icmp 5/0 id 0                                                  -> match
        ",
    );
    let states = firewall.states();
    assert!(states.iter().all(|state| state.expires_in_s == 40), "{}", firewall.dump());
    assert!(states.iter().all(|state| state.destination.packets == 2), "both errors were counted");
    assert_eq!(firewall.dropped(Reason::IcmpMismatch), 2);
}

#[test]
fn an_error_about_tcp_must_quote_what_is_in_flight() {
    let mut firewall = outbound_only();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp S seq 1000           -> out em1
        em1: 198.51.100.7.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 1000 -> out em0
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp A seq 1001 ack 5001  -> out em1
        em0: 10.0.0.2.40000 > 198.51.100.7.80 tcp PA seq 1001 ack 5001 len 900 -> out em1
        ",
    );
    let about = |seq: u32| {
        format!(
            "em1: 10.1.0.254 > 10.0.0.2 icmp 3/4 about (10.0.0.2.40000 > 198.51.100.7.80 tcp PA seq {seq})"
        )
    };
    let before = firewall.dump();
    // The server allowed up to 2001, and 1000 octets back from 1901 are still in question.
    for seq in [900, 2002, 500_000] {
        firewall.tell(&format!("{} -> state-mismatch", about(seq)));
    }
    assert_eq!(firewall.dump(), before, "a forged error leaves nothing behind");
    for seq in [901, 1001, 2001] {
        firewall.tell(&format!("{} -> out em0", about(seq)));
    }
    assert_eq!(firewall.states()[0].destination.packets, 4, "one segment and three errors");
    // About what the other end sent, in the other direction.
    firewall.tell(
        "
        em0: 10.0.0.2 > 198.51.100.7 icmp 3/1 about (198.51.100.7.80 > 10.0.0.2.40000 tcp A seq 5001) -> out em1
        em0: 10.0.0.2 > 198.51.100.7 icmp 3/1 about (198.51.100.7.80 > 10.0.0.2.40000 tcp A seq 99999) -> state-mismatch
        ",
    );
}

#[test]
fn an_error_without_a_state_meets_the_rules_and_makes_none() {
    let mut firewall = Firewall::with(vec![pass().any_flags()]);
    firewall.tell("em1: 10.1.0.254 > 10.0.0.2 icmp 11/0 about (10.0.0.2.1 > 10.1.0.2.2 udp) -> out em0");
    assert_eq!(firewall.dump(), "");
}
