//! ICMP: queries with states of their own, errors about other flows; and the states of UDP by name.

mod oracle_support;

use oracle_support::{
    CLIENT, CLIENT_PORT, HANDSHAKE, ROUTER, SERVER, SERVER_PORT, Story, block, dropped, icmp, icmp_error,
    inbound, oracle, outbound, packet, pass, pass_any_flags, pf, proto, rules, seconds, sloppy, udp, v6,
};
use ruleset::{BlockReply, Reason, Rule};
use sim::oracle::{Deviations, Icmp, Oracle, Packet, QuotedPart, QuotedTransport, Transport, Verdict};
use wire::{Port, Proto, Seq};

const UNREACHABLE: u8 = 3;

/// What the client sent of its connection, as an error quotes it.
const fn quoted_tcp(seq: u32) -> QuotedTransport {
    QuotedTransport::Tcp { source_port: CLIENT_PORT, destination_port: SERVER_PORT, seq: Seq(seq) }
}

const fn quoted_udp(source_port: u16) -> QuotedTransport {
    QuotedTransport::Udp { source_port: Port(source_port), destination_port: Port(53) }
}

/// States keep what they are, but no new ones are made.
fn close(oracle: &mut Oracle) {
    oracle.load(rules(vec![block(BlockReply::Drop)])).unwrap();
}

#[test]
fn an_echo_is_answered_once_asked() {
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 8, 7), 0), Verdict::Pass);
    close(&mut oracle);
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 0, 7), 0), Verdict::Pass);
    // Another identifier, another type, the other direction: no state.
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 0, 6), 0), dropped(Reason::Match));
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 14, 7), 0), dropped(Reason::Match));
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 8, 7), 0), dropped(Reason::Match));
    let text = oracle.print_states(0);
    assert!(text.starts_with("all icmp 10.1.0.2:8 <- 10.0.0.2:7       0:0\n"), "{text}");
}

#[test]
fn a_reply_makes_no_state_and_matches_no_rule_that_keeps_one() {
    let mut oracle = pf(vec![block(BlockReply::Drop), pass_any_flags()]);
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 0, 7), 0), dropped(Reason::Match));
    assert!(oracle.states().is_empty());
    // Without state it may pass, and a sloppy rule takes it.
    let mut oracle = pf(vec![block(BlockReply::Drop), Rule::default()]);
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 0, 7), 0), Verdict::Pass);
    assert!(oracle.states().is_empty());
    let mut oracle = pf(vec![block(BlockReply::Drop), sloppy()]);
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 0, 7), 0), Verdict::Pass);
    assert_eq!(oracle.states().len(), 2);
}

#[test]
fn a_query_that_goes_the_wrong_way_is_refused() {
    // The identifier equals the type, so that the reversed query has the key of the state.
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 8, 8), 0), Verdict::Pass);
    let before = oracle.states().to_vec();
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 8, 8), 0), dropped(Reason::StateMismatch));
    assert_eq!(oracle.states(), before);
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 0, 8), 0), Verdict::Pass);
}

#[test]
fn other_query_types_and_icmpv6() {
    for (query, reply) in [(13, 14), (15, 16), (17, 18), (33, 34), (35, 36), (10, 9)] {
        let mut oracle = pf(vec![pass_any_flags()]);
        assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, query, 7), 0), Verdict::Pass);
        close(&mut oracle);
        assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, reply, 7), 0), Verdict::Pass, "{query}");
        assert_eq!(
            inbound(&mut oracle, &icmp(SERVER, CLIENT, query, 7), 0),
            dropped(Reason::Match),
            "{query}"
        );
    }
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &icmp(v6(2), v6(3), 128, 7), 0), Verdict::Pass);
    close(&mut oracle);
    assert_eq!(inbound(&mut oracle, &icmp(v6(3), v6(2), 129, 7), 0), Verdict::Pass);
    assert_eq!(inbound(&mut oracle, &icmp(v6(3), v6(2), 129, 6), 0), dropped(Reason::Match));
}

#[test]
fn a_type_of_no_pair_makes_a_state_of_one_direction() {
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 40, 7), 0), Verdict::Pass);
    close(&mut oracle);
    assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 40, 9), 0), Verdict::Pass, "it has no identifier");
    assert_eq!(inbound(&mut oracle, &icmp(SERVER, CLIENT, 40, 7), 0), dropped(Reason::Match));
}

#[test]
fn icmp_of_the_other_family_is_refused() {
    let mut oracle = pf(vec![pass_any_flags()]);
    let message = || Icmp { kind: 128, ..Icmp::default() };
    let mut odd = packet(CLIENT, SERVER, Transport::Icmp6(message()));
    assert_eq!(outbound(&mut oracle, &odd, 0), dropped(Reason::Normalize));
    odd = packet(v6(2), v6(3), Transport::Icmp(message()));
    assert_eq!(outbound(&mut oracle, &odd, 0), dropped(Reason::Normalize));
    assert!(oracle.states().is_empty());
}

#[test]
fn neighbour_discovery_is_keyed_by_its_target() {
    let mut oracle = pf(vec![pass_any_flags()]);
    let message = |source, destination, kind| {
        let std::net::IpAddr::V6(target) = v6(3) else { unreachable!("v6 makes IPv6 addresses") };
        let icmp = Icmp { kind, target: Some(target), ..Icmp::default() };
        // From this link (RFC 4861 §6.1, §7.1, §8.1).
        Packet { ttl: 255, ..packet(source, destination, Transport::Icmp6(icmp)) }
    };
    let group = "ff02::1:ff00:3".parse().unwrap();
    assert_eq!(outbound(&mut oracle, &message(v6(2), group, 135), 0), Verdict::Pass);
    close(&mut oracle);
    // The answer comes from the target, not from the group; from an address of its own, even.
    assert_eq!(inbound(&mut oracle, &message(v6(99), v6(2), 136), 0), Verdict::Pass);
    assert_eq!(inbound(&mut oracle, &message(v6(3), v6(77), 136), 0), dropped(Reason::Match));
}

#[test]
fn a_reply_to_a_query_of_all_nodes_comes_from_any_of_them() {
    let mut oracle = pf(vec![pass_any_flags()]);
    let all = "ff02::1".parse().unwrap();
    assert_eq!(outbound(&mut oracle, &icmp(v6(2), all, 128, 7), 0), Verdict::Pass);
    close(&mut oracle);
    assert_eq!(inbound(&mut oracle, &icmp(v6(3), v6(2), 129, 7), 0), Verdict::Pass);
    assert_eq!(inbound(&mut oracle, &icmp(v6(3), v6(2), 129, 8), 0), dropped(Reason::Match));
}

#[test]
fn an_error_about_a_connection_passes_and_changes_only_the_counters() {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    close(&mut story.oracle);
    let before = story.oracle.states().to_vec();
    let error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, quoted_tcp(1001));
    assert_eq!(inbound(&mut story.oracle, &error, seconds(5)), Verdict::Pass);
    for (now, then) in story.oracle.states().iter().zip(&before) {
        assert_eq!((now.source, now.destination), (then.source, then.destination));
        assert_eq!((now.class, now.last_seen), (then.class, then.last_seen), "never refreshed");
        assert_eq!(now.packets[1], then.packets[1] + 1, "counted in the direction that it goes");
        assert_eq!(now.packets[0], then.packets[0]);
    }
    // About the server's segments, towards the server.
    let quoted =
        QuotedTransport::Tcp { source_port: SERVER_PORT, destination_port: CLIENT_PORT, seq: Seq(5001) };
    let error = icmp_error(CLIENT, SERVER, CLIENT, UNREACHABLE, quoted);
    assert_eq!(outbound(&mut story.oracle, &error, seconds(5)), Verdict::Pass);
}

#[test]
fn an_error_must_quote_a_sequence_number_of_the_window() {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE);
    // From what the client sent (1000) less the server's window, to the highest that it may send (2001).
    for (seq, expected) in [
        (0, Verdict::Pass),
        (2001, Verdict::Pass),
        (u32::MAX, dropped(Reason::StateMismatch)),
        (2002, dropped(Reason::StateMismatch)),
    ] {
        let before = story.oracle.states().to_vec();
        let error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, quoted_tcp(seq));
        assert_eq!(inbound(&mut story.oracle, &error, 0), expected, "{seq}");
        assert_eq!(story.oracle.states() == before, expected != Verdict::Pass, "{seq}");
    }
    // With scaling the server's window of 64 is 4 units of 16.
    let mut story = Story::new(vec![pass()]);
    story.tell(
        "
        c S  1000 0    w=65535 ws=2 -> pass SYN_SENT:CLOSED
        s SA 5000 1001 w=64 ws=4    -> pass ESTABLISHED:SYN_SENT
        ",
    );
    for (seq, expected) in [(936, Verdict::Pass), (935, dropped(Reason::StateMismatch))] {
        let error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, quoted_tcp(seq));
        assert_eq!(inbound(&mut story.oracle, &error, 0), expected, "{seq}");
    }
    // A sloppy state does not ask.
    let mut story = Story::new(vec![sloppy()]);
    story.tell(HANDSHAKE);
    let error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, quoted_tcp(77_000_000));
    assert_eq!(inbound(&mut story.oracle, &error, 0), Verdict::Pass);
}

#[test]
fn an_error_about_no_flow_is_for_the_rules_and_makes_no_state() {
    let error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, quoted_udp(9));
    let mut oracle = pf(vec![block(BlockReply::Return(ruleset::IcmpReply::default()))]);
    assert_eq!(inbound(&mut oracle, &error, 0), dropped(Reason::Match), "an error is never answered");
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(inbound(&mut oracle, &error, 0), Verdict::Pass);
    assert!(oracle.states().is_empty());
}

#[test]
fn errors_about_datagrams_queries_and_other_protocols() {
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 53), 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 8, 7), 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &packet(CLIENT, SERVER, proto(47)), 0), Verdict::Pass);
    close(&mut oracle);
    let about = |transport| icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, transport);
    for known in
        [quoted_udp(5353), QuotedTransport::Icmp { kind: 8, id: 7 }, QuotedTransport::Other(Proto::GRE)]
    {
        assert_eq!(inbound(&mut oracle, &about(known), 0), Verdict::Pass, "{known:?}");
    }
    for unknown in [
        quoted_udp(5354),
        QuotedTransport::Icmp { kind: 8, id: 8 },
        QuotedTransport::Icmp { kind: 13, id: 7 },
        QuotedTransport::Icmp { kind: 0, id: 7 },
        QuotedTransport::Other(Proto::ESP),
        quoted_tcp(1),
    ] {
        assert_eq!(inbound(&mut oracle, &about(unknown), 0), dropped(Reason::Match), "{unknown:?}");
    }
}

#[test]
fn a_quoted_query_must_go_the_way_of_its_state() {
    let mut oracle = pf(vec![pass_any_flags()]);
    assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 8, 8), 0), Verdict::Pass);
    // The client cannot have sent the reply to its own query.
    let error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, QuotedTransport::Icmp { kind: 0, id: 8 });
    assert_eq!(inbound(&mut oracle, &error, 0), dropped(Reason::StateMismatch));
}

#[test]
fn a_quotation_that_its_receiver_did_not_send_is_no_proof_of_a_flow() {
    let quoted = |part, source| {
        let mut error = icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, quoted_udp(5353));
        if let Transport::Icmp(Icmp { quoted: Some(quoted), .. }) = &mut error.transport {
            quoted.part = part;
            quoted.source = source;
        }
        error
    };
    let mut empty = quoted(QuotedPart::First, CLIENT);
    if let Transport::Icmp(icmp) = &mut empty.transport {
        icmp.quoted = None;
    }
    let other_family =
        icmp_error(ROUTER, CLIENT, SERVER, UNREACHABLE, QuotedTransport::Icmp6 { kind: 128, id: 7 });
    let bad = [
        (quoted(QuotedPart::First, ROUTER), Reason::IcmpMismatch),
        (quoted(QuotedPart::Later, CLIENT), Reason::Fragment),
        (empty, Reason::Short),
        (other_family, Reason::Normalize),
    ];
    for (error, reason) in bad {
        for (deviations, expected) in [(Deviations::NONE, Verdict::Pass), (Deviations::ALL, dropped(reason))]
        {
            let mut oracle = oracle(rules(vec![pass_any_flags()]), deviations);
            assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 53), 0), Verdict::Pass);
            let before = oracle.states().to_vec();
            assert_eq!(inbound(&mut oracle, &error, 0), expected, "pf asks its rules, which pass it here");
            assert_eq!(oracle.states(), before, "in either case no state is touched");
        }
    }
}

#[test]
fn udp_states_by_name() {
    let mut oracle = pf(vec![pass_any_flags()]);
    let (there, here) = (udp(CLIENT, 5353, SERVER, 53), udp(SERVER, 53, CLIENT, 5353));
    let line = |oracle: &Oracle| oracle.print_states(0).lines().next().unwrap().to_owned();
    assert_eq!(outbound(&mut oracle, &there, 0), Verdict::Pass);
    assert_eq!(line(&oracle), "all udp 10.1.0.2:53 <- 10.0.0.2:5353       NO_TRAFFIC:SINGLE");
    assert_eq!(inbound(&mut oracle, &here, 0), Verdict::Pass);
    assert_eq!(line(&oracle), "all udp 10.1.0.2:53 <- 10.0.0.2:5353       SINGLE:MULTIPLE");
    assert_eq!(outbound(&mut oracle, &there, 0), Verdict::Pass);
    assert_eq!(line(&oracle), "all udp 10.1.0.2:53 <- 10.0.0.2:5353       MULTIPLE:MULTIPLE");
    // A datagram to port 0 is too short for pf, whoever sends it.
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 0), 0), dropped(Reason::Short));
    assert_eq!(oracle.states().len(), 2);
}
