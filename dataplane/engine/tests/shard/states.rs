//! Whole packets through a shard: what becomes of states.

use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{Firewall, rerouted};
use engine::{Selection, Tick};
use ruleset::{Limit, PeerState, Reason, StateSelector, Timeout};

const HANDSHAKE: &str = "
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000           -> out em1
    em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001  -> out em1
";

fn connected() -> Firewall {
    let mut firewall = Firewall::with(vec![block(), pass()]);
    firewall.tell(HANDSHAKE);
    firewall
}

#[test]
fn a_packet_that_dies_between_the_hooks_leaves_its_state_alone() {
    let mut firewall = connected();
    let before = firewall.dump();
    // A RST, a FIN and data that the server never hears of must not change what is known of the connection.
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001 ttl 1 -> ttl
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1001 ack 5001 win 8192 ttl 1 -> ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.1.0.2 proto 6) ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 win 8192 len 99 ttl 1 -> ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0 about (10.0.0.2 > 10.1.0.2 proto 6) ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 win 8192 len 9 options -> ip-option
        ",
    );
    assert_eq!(firewall.dump(), before);
    // The same packets, long-lived, are heard.
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 99 -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1100                  -> out em1
        ",
    );
    assert_ne!(firewall.dump(), before);
    assert!(firewall.states().iter().all(|state| state.source.state == PeerState::TimeWait));
}

#[test]
fn a_state_whose_packet_is_blocked_on_the_way_out_stays() {
    let mut firewall = Firewall::with(vec![pass(), block().outgoing()]);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> match");
    assert_eq!(firewall.lines(), ["all tcp 10.1.0.2:80 <- 10.0.0.2:40000       CLOSED:SYN_SENT"]);
    assert_eq!(firewall.states()[0].source.packets, 1);
    // The next one meets that state, and dies at the same place: it changes nothing.
    let before = firewall.dump();
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> match");
    assert_eq!(firewall.dump(), before);
}

#[test]
fn segments_outside_the_window_are_refused_and_change_nothing() {
    let mut firewall = connected();
    let before = firewall.dump();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 900000 ack 5001 len 10 -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 900000                  -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 4999                    -> state-mismatch
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 900000         -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp - seq 1001                    -> normalize
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp SR seq 1001                   -> normalize
        ",
    );
    assert_eq!(firewall.dump(), before);
    assert_eq!(firewall.dropped(Reason::StateMismatch), 4);
}

#[test]
fn a_syn_on_a_live_connection_is_asked_whether_it_means_it() {
    let mut firewall = connected();
    let before = firewall.dump();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 777777 -> challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1000 win 0 ttl 64
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 777777 -> challenge: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1000 ack 5001 win 0 ttl 64
        ",
    );
    assert_eq!(firewall.dump(), before);
}

#[test]
fn a_handshake_out_of_step_is_reset_and_may_begin_again() {
    let mut firewall = Firewall::with(vec![block(), pass()]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 900001 -> state-mismatch: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 900001 ack 0 win 0 ttl 64
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 7000 ack 1001   -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 7001    -> out em1
        ",
    );
    assert_eq!(firewall.states()[0].source.state, PeerState::Established);
    assert_eq!(firewall.shard.states(), 2);
}

#[test]
fn a_syn_on_a_finished_connection_begins_a_new_one() {
    let mut firewall = connected();
    let old = firewall.states()[0].id;
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001 -> out em1");
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 9 -> out em1");
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 10.1.0.2:80       SYN_SENT:CLOSED",
            "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       CLOSED:SYN_SENT",
        ]
    );
    let state = &firewall.states()[0];
    assert_ne!(state.id, old);
    assert_eq!((state.source.seqlo, state.source.packets), (9, 1));
    let counters = firewall.shard.counters();
    assert_eq!((counters.inserts, counters.removals), (4, 2));
    // The rules are asked again: where they have changed, the old connection is gone and no new one is there.
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 10 -> out em1");
    firewall.load(ruleset(vec![block()]));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 11 -> match");
    assert_eq!(firewall.lines(), ["all tcp 10.0.0.2:40000 -> 10.1.0.2:80       TIME_WAIT:TIME_WAIT"]);
}

#[test]
fn floating_states_take_packets_of_any_interface_and_bound_ones_of_their_own() {
    let open = "em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1";
    let answer = |expected| format!("em2: 10.1.0.2.53 > 10.0.0.2.1 udp -> {expected}");

    let mut floating = Firewall::with(vec![block(), pass().outgoing(), pass().incoming().on("em0")]);
    floating.tell(open).tell(&answer("out em0"));
    assert_eq!(floating.shard.states(), 2);

    let bound = || vec![block(), pass().outgoing().if_bound(), pass().incoming().on("em0").if_bound()];
    let mut firewall = Firewall::with(bound());
    firewall.tell(open);
    let before = firewall.dump();
    firewall.tell(&answer("match"));
    assert_eq!(firewall.dump(), before);
    assert_eq!(
        firewall.lines(),
        [
            "em0 udp 10.1.0.2:53 <- 10.0.0.2:1       NO_TRAFFIC:SINGLE",
            "em1 udp 10.0.0.2:1 -> 10.1.0.2:53       SINGLE:NO_TRAFFIC",
        ]
    );
    firewall.tell("em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0");
    // The route changes: the second hook makes a state of its own, and from now on the two go separate ways.
    firewall.fib = rerouted();
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em2");
    assert_eq!(
        firewall.lines(),
        [
            "em0 udp 10.1.0.2:53 <- 10.0.0.2:1       MULTIPLE:MULTIPLE",
            "em1 udp 10.0.0.2:1 -> 10.1.0.2:53       MULTIPLE:SINGLE",
            "em2 udp 10.0.0.2:1 -> 10.1.0.2:53       SINGLE:NO_TRAFFIC",
        ]
    );
    let packets: Vec<[u64; 2]> =
        firewall.states().iter().map(|state| [state.source.packets, state.destination.packets]).collect();
    assert_eq!(packets, [[2, 1], [1, 1], [1, 0]], "each counts what it has seen");
}

#[test]
fn a_state_with_an_equal_key_refuses_another() {
    // A bound state hides one that floats. When the bound one has made room, the floating one stands in the way.
    let mut firewall =
        Firewall::with(vec![pass().any_flags(), pass().any_flags().outgoing().on("em1").if_bound()]);
    firewall.tell(
        "
        em1 host: 10.1.0.1.22 > 198.51.100.7.1001 tcp S seq 1     -> sent em1
        em2: 198.51.100.7.1001 > 10.1.0.1.22 tcp A seq 9 ack 2    -> host em2
        em1 host: 10.1.0.1.22 > 198.51.100.7.1001 tcp R seq 2     -> sent em1
        em1: 198.51.100.7.1001 > 10.1.0.1.22 tcp S seq 50         -> state-insert
        ",
    );
    let floating = ["all tcp 10.1.0.1:22 <- 198.51.100.7:1001       CLOSED:SYN_SENT"];
    assert_eq!(firewall.lines(), floating);
    assert_eq!(firewall.states()[0].source.seqlo, 9, "it is the old one");
    // Once that one has ended too, the next connection has its place.
    firewall.tell(
        "
        em1: 198.51.100.7.1001 > 10.1.0.1.22 tcp R seq 9  -> host em1
        em1: 198.51.100.7.1001 > 10.1.0.1.22 tcp S seq 50 -> host em1
        ",
    );
    assert_eq!(firewall.lines(), floating);
    assert_eq!(firewall.states()[0].source.seqlo, 50);
}

#[test]
fn a_state_behind_an_older_one_of_its_connection_is_met_by_nobody() {
    let mut firewall =
        Firewall::with(vec![pass().any_flags(), pass().any_flags().outgoing().on("em1").if_bound()]);
    firewall.tell(HANDSHAKE).tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001 -> out em1");
    firewall.load(ruleset(vec![pass(), pass().outgoing().on("em0").no_state()]));
    firewall.tell(
        "
        em2: 10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 9000  -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 50000 -> out em1
        ",
    );
    // The client's SYN was the last packet of what was bound to em1, and makes a state behind the one that the server's made on
    // em2: packets that follow it meet that one.
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 10.1.0.2:80       SYN_SENT:CLOSED",
            "all tcp 10.0.0.2:40000 <- 10.1.0.2:80       CLOSED:SYN_SENT",
            "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       CLOSED:SYN_SENT",
        ]
    );
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 50000           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 9001 ack 50001  -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 50001 ack 9001  -> out em1
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 10.1.0.2:80       SYN_SENT:CLOSED",
            "all tcp 10.0.0.2:40000 <- 10.1.0.2:80       ESTABLISHED:ESTABLISHED",
            "all tcp 10.1.0.2:80 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
        ]
    );
    let mut counted: Vec<u64> =
        firewall.states().iter().map(|state| state.source.packets + state.destination.packets).collect();
    counted.sort_unstable();
    assert_eq!(counted, [1, 4, 4], "it has its first packet");
}

#[test]
fn a_face_that_expired_before_the_other_is_made_again_as_its_twin() {
    let short = pass().any_flags().outgoing().timeout(Timeout::UdpFirst, 5);
    let mut firewall = Firewall::with(vec![pass().any_flags().incoming(), short]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    let states = firewall.states();
    assert_eq!([states[0].expires_in_s, states[1].expires_in_s], [60, 5]);
    firewall.tell(
        "
        wait 5
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        ",
    );
    let states = firewall.states();
    let seen: Vec<(u32, u64)> = states.iter().map(|state| (state.age_s, state.source.packets)).collect();
    assert_eq!(seen, [(5, 2), (0, 1)], "the one in front goes on, the one behind is new");
    // An answer goes on to meet both.
    firewall.tell("em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0");
    assert!(firewall.states().iter().all(|state| state.destination.packets == 1));
    assert_eq!(firewall.shard.states(), 2);
}

#[test]
fn sloppy_and_strict_faces_are_tracked_apart() {
    let mut firewall = Firewall::with(vec![pass().incoming().sloppy(), pass().outgoing()]);
    firewall.tell(HANDSHAKE);
    let before = firewall.dump();
    assert!(before.contains("sloppy"));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 900000 ack 5001 len 10 -> state-mismatch");
    assert_eq!(firewall.dump(), before, "the sloppy one had nothing against it, but it did not get through");
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10 -> out em1");
    let states = firewall.states();
    assert_eq!(states[0].source.packets, 3);
    assert_eq!(states[1].source.packets, 3);
}

#[test]
fn the_limit_on_states_refuses_new_ones_and_keeps_the_old() {
    let mut rules = ruleset(vec![pass().any_flags()]);
    rules.options.limits.set(Limit::States, 3);
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> memory
        em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> memory
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
        ",
    );
    assert_eq!(firewall.shard.states(), 3, "one of the two states of the second connection was made");
    let counters = firewall.shard.counters();
    assert_eq!((counters.inserts, counters.dropped(Reason::Memory)), (3, 2));
    firewall.wait(61);
    assert_eq!(firewall.sweep(), 3);
    firewall.tell("em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> out em1");
}

#[test]
fn time_outs_shrink_as_the_table_fills() {
    let mut rules = ruleset(vec![pass().any_flags()]);
    rules.options.timeouts.set(Timeout::AdaptiveStart, 4);
    rules.options.timeouts.set(Timeout::AdaptiveEnd, 12);
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    let times = |firewall: &Firewall| -> Vec<u32> {
        let mut times: Vec<u32> = firewall.states().iter().map(|state| state.expires_in_s).collect();
        times.dedup();
        times
    };
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(times(&firewall), [60]);
    firewall.tell("em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(times(&firewall), [60], "at the start nothing has shrunk yet");
    firewall.tell("em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(times(&firewall), [45], "six states: three quarters");
    firewall.tell("em0: 10.0.0.2.4 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(times(&firewall), [30], "eight states: half");
    assert_eq!(firewall.wait(29).sweep(), 0);
    // With each state that goes the others live longer, so that the sweep stops where the table is small enough.
    let gone = firewall.wait(1).sweep();
    assert!(gone > 0 && firewall.shard.states() > 0, "{gone} went");
    assert!(firewall.states().iter().all(|state| state.expires_in_s > 0));
}

#[test]
fn states_expire_when_their_time_is_over_and_not_before() {
    let mut firewall =
        Firewall::with(vec![block(), pass().any_flags().on("em0"), pass().any_flags().outgoing()]);
    let open = "em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1";
    let answer = |expected| format!("em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> {expected}");
    firewall.tell(open);
    firewall.wait(59).tell(&answer("out em0"));
    // udp.single from now on: 30 s.
    firewall.wait(29).tell(&answer("out em0"));
    firewall.wait(30).tell(&answer("match"));
    assert_eq!(firewall.shard.states(), 1, "the one that was met is gone, the other waits for the sweep");
    assert_eq!(firewall.sweep(), 1);
    assert_eq!(firewall.shard.counters().removals, 2);
    firewall.tell(open);
    assert_eq!(firewall.shard.states(), 2);
}

/// A firewall that passes everything, with a connection and a flow of datagrams that the server has answered.
fn busy_at(now: Tick) -> Firewall {
    let mut firewall = Firewall::with(vec![block(), pass().any_flags()]);
    firewall.now = now;
    firewall.tell(HANDSHAKE);
    firewall.tell(DATAGRAMS);
    firewall
}

const DATAGRAMS: &str = "
    em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
    em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
";
const SEGMENTS: &str = "
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1
    em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 -> out em0
";

/// The times of states are kept in 32 bits, which begin anew after 8 years.
#[test]
fn f10_states_live_and_expire_as_ever_when_their_clock_wraps() {
    const WRAP_S: u64 = (1 << 32) / 16;
    let mut firewall = busy_at(Tick::from_secs(WRAP_S - 300));
    firewall.wait(29).tell(DATAGRAMS);
    firewall.tell("em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> out em1");
    // udp.first is 60 s, udp.multiple as well.
    assert_eq!(firewall.wait(59).sweep(), 0);
    assert_eq!(firewall.wait(1).sweep(), 4);
    assert_eq!(firewall.wait(206).sweep(), 0, "five seconds before the wrap");
    firewall.tell(SEGMENTS).tell(DATAGRAMS);
    assert_eq!(firewall.wait(10).sweep(), 0, "five seconds behind it");
    assert!(firewall.states().iter().all(|state| state.age_s <= 306 && state.expires_in_s > 0));
    firewall.tell(SEGMENTS).tell(DATAGRAMS);
    assert_eq!(firewall.shard.states(), 4);
    assert_eq!(firewall.wait(59).sweep(), 0);
    assert_eq!(firewall.wait(1).sweep(), 2);
    // tcp.established: a day.
    assert_eq!(firewall.wait(86_400 - 61).sweep(), 0);
    assert_eq!(firewall.wait(1).sweep(), 2);
}

#[test]
fn f10_a_clock_that_jumps_or_runs_at_a_wrong_rate_ends_no_connection() {
    let mut firewall = busy_at(Tick::from_secs(5000));
    for jump_s in [-10, 10, -10, -10, 10, 10] {
        let nanos = firewall.now.0.checked_add_signed(jump_s * 1_000_000_000).expect("after the start");
        firewall.now = Tick(nanos);
        assert_eq!(firewall.sweep(), 0, "a jump by {jump_s} s");
        firewall.tell(SEGMENTS).tell(DATAGRAMS);
        assert_eq!(firewall.shard.states(), 4, "a jump by {jump_s} s");
    }
    // 1000 ppm too fast, over an hour: what is seen every 59 s lives.
    for _ in 0..61 {
        firewall.now = firewall.now + Tick::from_millis(59_059);
        assert_eq!(firewall.sweep(), 0);
        firewall.tell(DATAGRAMS);
    }
    assert_eq!(firewall.shard.states(), 4);
}

#[test]
fn states_survive_a_reload_and_their_rule_may_not() {
    let mut firewall = connected();
    let before = firewall.lines();
    firewall.load(ruleset(vec![block().change(|rule| rule.identity = 99)]));
    assert_eq!(firewall.lines(), before);
    assert!(firewall.states().iter().all(|state| state.rule.is_none()));
    assert_eq!(firewall.dump().matches(", rule -\n").count(), 2);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10 -> out em1
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1001                  -> match
        ",
    );
    // The same rule, somewhere else in new rules, has them back.
    firewall.load(ruleset(vec![block().change(|rule| rule.identity = 99), block().quick(), pass()]));
    firewall.load(ruleset(vec![
        block().change(|rule| rule.identity = 99),
        block().change(|rule| rule.identity = 98).on("em9"),
        pass().change(|rule| rule.identity = 2),
    ]));
    assert!(firewall.states().iter().all(|state| state.rule == Some(2)));
}

/// Removes what fits, seven records at a time.
fn kill(firewall: &mut Firewall, selector: &StateSelector) -> u64 {
    let selection = Selection::new(selector, &firewall.fib);
    let (mut cursor, mut killed) = (0, 0);
    while cursor != u32::MAX {
        killed += firewall.shard.kill(&mut cursor, 7, &selection);
    }
    killed
}

#[test]
fn selected_states_are_killed_and_no_others() {
    let labelled = pass().change(|rule| rule.label = Some("web".into())).to_port(80).proto(wire::Proto::TCP);
    let mut firewall = Firewall::with(vec![block(), pass(), labelled]);
    firewall.tell(HANDSHAKE).tell(
        "
        em0: 10.0.0.3.40000 > 10.1.0.2.22 tcp S seq 1  -> out em1
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp      -> out em1
        ",
    );
    let all = || StateSelector::default();
    let net = |text: &str| Some(text.parse().expect("a network"));
    let misses = [
        StateSelector { source: net("10.1.0.0/24"), ..all() },
        StateSelector { source: net("10.0.0.2/32"), destination: net("10.1.0.3/32"), ..all() },
        StateSelector { label: Some("we".into()), ..all() },
        StateSelector { interface: Some("em0".into()), ..all() },
        StateSelector { interface: Some("absent".into()), ..all() },
        StateSelector { id: Some(4711), ..all() },
        StateSelector { source: net("10.0.0.2/32"), source_port: Some(wire::Port(1)), ..all() },
        StateSelector { proto: Some(wire::Proto::ICMP), ..all() },
    ];
    let before = firewall.dump();
    for selector in misses {
        assert_eq!(kill(&mut firewall, &selector), 0, "{selector:?}");
        assert_eq!(firewall.dump(), before);
    }
    let id = firewall.states()[5].id;
    let hits = [
        (1, StateSelector { id: Some(id), ..all() }),
        (2, StateSelector { label: Some("web".into()), interface: Some("all".into()), ..all() }),
        (2, StateSelector { source: net("10.0.0.0/24"), destination: net("10.1.0.2/32"), ..all() }),
        (1, all()),
        (0, all()),
    ];
    for (count, selector) in hits {
        let removed = firewall.shard.counters().removals;
        let left = firewall.states().len() as u64 - count;
        assert_eq!(kill(&mut firewall, &selector), count, "{selector:?}");
        assert_eq!(firewall.shard.counters().removals, removed + count);
        assert_eq!((firewall.states().len() as u64, u64::from(firewall.shard.states())), (left, left));
    }
    // What was killed is not known any more, and its place serves again.
    firewall
        .tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> match")
        .tell(&HANDSHAKE.replace("40000", "40001"));
    assert_eq!(firewall.states().len(), 2);
}
