//! When states end: every class of time-out, adaptive scaling, granularity, purge.

mod oracle_support;

use oracle_support::{
    CLIENT, HANDSHAKE, SERVER, Story, icmp, inbound, oracle, outbound, packet, pass, pass_any_flags, pf,
    proto, rules, seconds, syn, udp, world,
};
use ruleset::{Limit, Reason, Ruleset, Timeout};
use sim::oracle::{Deviations, Oracle, Packet, Verdict};

/// Seconds until the first state ends.
fn left(oracle: &Oracle, now: u64) -> u64 {
    (oracle.deadline(&oracle.states()[0]) - now) / seconds(1)
}

#[test]
fn tcp_time_outs_follow_the_states() {
    let mut story = Story::new(vec![pass()]);
    let mut step = |line: &str, class: Timeout, expected: u64| {
        story.tell(line);
        assert_eq!(story.first().class, class, "after {line}");
        assert_eq!(left(&story.oracle, story.now), expected, "after {line}");
    };
    step("c S 1000 0 -> pass SYN_SENT:CLOSED", Timeout::TcpFirst, 120);
    step("c S 1000 0 -> pass SYN_SENT:CLOSED", Timeout::TcpOpening, 30);
    step("s SA 5000 1001 -> pass ESTABLISHED:SYN_SENT", Timeout::TcpOpening, 30);
    step("c A 1001 5001 -> pass ESTABLISHED:ESTABLISHED", Timeout::TcpEstablished, 86400);
    step("c FA 1001 5001 -> pass CLOSING:ESTABLISHED", Timeout::TcpClosing, 900);
    step("s A 5001 1002 -> pass FIN_WAIT_2:ESTABLISHED", Timeout::TcpClosing, 900);
    step("s FA 5001 1002 -> pass FIN_WAIT_2:CLOSING", Timeout::TcpFinwait, 45);
    step("c A 1002 5002 -> pass FIN_WAIT_2:FIN_WAIT_2", Timeout::TcpClosed, 90);
}

#[test]
fn a_state_serves_until_its_last_nanosecond_and_not_one_longer() {
    for (wait, expected) in
        [(seconds(86400) - 1, Verdict::Pass), (seconds(86400), Verdict::drop(Reason::Match))]
    {
        let mut story = Story::new(vec![pass()]);
        story.tell(HANDSHAKE);
        let block = oracle_support::block(ruleset::BlockReply::Drop);
        story.oracle.load(rules(vec![block])).unwrap();
        let data = packet(
            CLIENT,
            SERVER,
            sim::oracle::Transport::Tcp(oracle_support::tcp(wire::TcpFlags::ACK, 1001, 5001)),
        );
        assert_eq!(outbound(&mut story.oracle, &data, wait), expected);
        let states = if expected == Verdict::Pass { 2 } else { 1 };
        assert_eq!(story.oracle.states().len(), states, "the expired state that was hit is gone");
    }
}

#[test]
fn only_what_fits_refreshes() {
    let mut story = Story::new(vec![pass()]);
    story.tell(HANDSHAKE).tell("+100s\nc PA 900000 5001 len=10 -> state-mismatch ESTABLISHED:ESTABLISHED");
    assert_eq!(left(&story.oracle, story.now), 86300);
    story.tell("c PA 1001 5001 len=10 -> pass ESTABLISHED:ESTABLISHED");
    assert_eq!(left(&story.oracle, story.now), 86400);
}

/// The packets of an exchange, and the class and seconds after each.
fn exchange(there: &Packet, here: &Packet, expected: [(Timeout, u64); 4]) {
    let mut oracle = pf(vec![pass_any_flags()]);
    for (step, (class, count)) in expected.into_iter().enumerate() {
        let verdict =
            if step % 2 == 0 { outbound(&mut oracle, there, 0) } else { inbound(&mut oracle, here, 0) };
        assert_eq!(verdict, Verdict::Pass);
        assert_eq!(oracle.states()[0].class, class, "step {step}");
        assert_eq!(left(&oracle, 0), count, "step {step}");
    }
    assert_eq!(oracle.states().len(), 2);
}

#[test]
fn udp_icmp_and_other_time_outs() {
    exchange(
        &udp(CLIENT, 5353, SERVER, 53),
        &udp(SERVER, 53, CLIENT, 5353),
        [
            (Timeout::UdpFirst, 60),
            (Timeout::UdpSingle, 30),
            (Timeout::UdpMultiple, 60),
            (Timeout::UdpMultiple, 60),
        ],
    );
    exchange(
        &packet(CLIENT, SERVER, proto(47)),
        &packet(SERVER, CLIENT, proto(47)),
        [
            (Timeout::OtherFirst, 60),
            (Timeout::OtherSingle, 30),
            (Timeout::OtherMultiple, 60),
            (Timeout::OtherMultiple, 60),
        ],
    );
    exchange(
        &icmp(CLIENT, SERVER, 8, 77),
        &icmp(SERVER, CLIENT, 0, 77),
        [
            (Timeout::IcmpFirst, 20),
            (Timeout::IcmpError, 10),
            (Timeout::IcmpError, 10),
            (Timeout::IcmpError, 10),
        ],
    );
}

#[test]
fn a_one_sided_udp_flow_stays_single() {
    let mut oracle = pf(vec![pass_any_flags()]);
    for _ in 0..3 {
        assert_eq!(outbound(&mut oracle, &udp(CLIENT, 5353, SERVER, 53), 0), Verdict::Pass);
    }
    assert_eq!(oracle.states()[0].class, Timeout::UdpSingle);
    assert_eq!(oracle.states()[0].source.state, ruleset::PeerState::Single);
}

#[test]
fn a_rules_time_outs_hold_for_its_states_only() {
    let mut short = pass();
    short.direction = Some(ruleset::Direction::In);
    short.state_options.timeouts = vec![(Timeout::TcpFirst, 7)];
    let mut oracle = pf(vec![short, oracle_support::pass_out()]);
    assert_eq!(outbound(&mut oracle, &syn(), 0), Verdict::Pass);
    assert_eq!(oracle.purge(seconds(7) - 1), 0);
    assert_eq!(oracle.purge(seconds(7)), 1, "the faces of a connection end separately");
    assert_eq!(oracle.purge(seconds(119)), 0);
    assert_eq!(oracle.purge(seconds(120)), 1);
    assert!(oracle.states().is_empty());
}

fn with(change: impl FnOnce(&mut Ruleset)) -> Oracle {
    let mut ruleset = rules(vec![pass_any_flags()]);
    change(&mut ruleset);
    oracle(ruleset, Deviations::NONE)
}

#[test]
fn adaptive_time_outs_shrink_linearly_with_the_number_of_states() {
    let mut oracle = with(|ruleset| {
        ruleset.options.timeouts.set(Timeout::AdaptiveStart, 4);
        ruleset.options.timeouts.set(Timeout::AdaptiveEnd, 10);
    });
    let mut add = |port, expected| {
        assert_eq!(outbound(&mut oracle, &udp(CLIENT, port, SERVER, 53), 0), Verdict::Pass);
        assert_eq!(
            oracle.deadline(&oracle.states()[0]) / seconds(1),
            expected,
            "{} states",
            oracle.states().len()
        );
    };
    add(1, 60);
    add(2, 60); // 4 states: not above the start
    add(3, 40); // 60 * (10 - 6) / (10 - 4)
    add(4, 20);
    add(5, 0); // 10 states: everything is over
    assert_eq!(oracle.purge(0), 10);
}

#[test]
fn a_rules_own_adaptive_values_count_its_own_states() {
    let mut rule = pass_any_flags();
    rule.proto = Some(wire::Proto::UDP);
    rule.state_options.timeouts = vec![(Timeout::AdaptiveStart, 2), (Timeout::AdaptiveEnd, 6)];
    let mut oracle = pf(vec![pass_any_flags(), rule]);
    for id in 0..10 {
        assert_eq!(outbound(&mut oracle, &icmp(CLIENT, SERVER, 8, id), 0), Verdict::Pass);
    }
    for port in 1..=2 {
        assert_eq!(outbound(&mut oracle, &udp(CLIENT, port, SERVER, 53), 0), Verdict::Pass);
    }
    let deadline = |proto| {
        let state = oracle.states().iter().find(|state| state.wire.proto == proto).unwrap();
        oracle.deadline(state) / seconds(1)
    };
    assert_eq!(deadline(wire::Proto::UDP), 30, "60 * (6 - 4) / (6 - 2)");
    assert_eq!(deadline(wire::Proto::ICMP), 20);
}

#[test]
fn last_seen_is_rounded_down_to_the_granularity() {
    let sixteenth = seconds(1) / 16;
    let rules = rules(vec![pass()]);
    let mut oracle = Oracle::new(rules, world(), Deviations::NONE, sixteenth).unwrap();
    assert_eq!(outbound(&mut oracle, &syn(), 3 * sixteenth + 5), Verdict::Pass);
    assert_eq!(oracle.states()[0].last_seen, 3 * sixteenth);
    assert_eq!(oracle.states()[0].created, 3 * sixteenth + 5);
    assert_eq!(oracle.purge(seconds(120) + 3 * sixteenth - 1), 0);
    assert_eq!(oracle.purge(seconds(120) + 3 * sixteenth), 2);
}

#[test]
fn set_limit_states_counts_both_states_of_a_connection() {
    let mut oracle = with(|ruleset| ruleset.options.limits.set(Limit::States, 3));
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 1, SERVER, 53), 0), Verdict::Pass);
    // The second connection gets its first state, and dies for want of the second.
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 2, SERVER, 53), 0), Verdict::drop(Reason::Memory));
    assert_eq!(oracle.states().len(), 3);
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 3, SERVER, 53), 0), Verdict::drop(Reason::Memory));
    assert_eq!(oracle.states().len(), 3);
    // Those that exist go on, and room comes with expiry.
    assert_eq!(inbound(&mut oracle, &udp(SERVER, 53, CLIENT, 1), 0), Verdict::Pass);
    assert_eq!(oracle.purge(seconds(60)), 3);
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 3, SERVER, 53), seconds(60)), Verdict::Pass);
}

#[test]
fn max_limits_the_states_of_one_rule() {
    let mut limited = pass_any_flags();
    limited.direction = Some(ruleset::Direction::In);
    limited.state_options.max = 1;
    let mut oracle = pf(vec![pass_any_flags(), limited]);
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 1, SERVER, 53), 0), Verdict::Pass);
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 2, SERVER, 53), 0), Verdict::drop(Reason::StateLimit));
    assert_eq!(oracle.states().len(), 2);
    let first = oracle.states().iter().map(|state| state.id).min().unwrap();
    assert!(oracle.remove(first).is_some());
    assert!(oracle.remove(first).is_none());
    assert_eq!(outbound(&mut oracle, &udp(CLIENT, 2, SERVER, 53), 0), Verdict::Pass);
}
