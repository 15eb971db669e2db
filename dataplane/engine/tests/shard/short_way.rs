//! Established connections, whose packets take the short way: what may end it must end it at once.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{block, pass, ruleset};
use crate::firewall::{EM0, Firewall, fib, mac, rerouted};
use engine::{Arrival, Fate, Source, Tick};
use ruleset::Reason;

/// Established, and so far that both directions have gone the short way.
fn established() -> Firewall {
    let mut firewall = Firewall::with(vec![block(), pass()]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 8192             -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 8192   -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 win 8192    -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 win 8192 len 10 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1011 win 8192    -> out em0
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack 1011 win 8192 len 20 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5021 win 8192    -> out em1
        ",
    );
    firewall
}

const NEXT: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5021 win 8192";

#[test]
fn every_packet_is_counted_for_the_state_and_the_rule() {
    let firewall = established();
    let states = firewall.states();
    let sent = |state: &ruleset::StateView| (state.source.packets, state.source.bytes);
    let back = |state: &ruleset::StateView| (state.destination.packets, state.destination.bytes);
    assert_eq!(states.iter().map(sent).collect::<Vec<_>>(), [(4, 170), (4, 170)]);
    assert_eq!(states.iter().map(back).collect::<Vec<_>>(), [(3, 140), (3, 140)]);
    let usage = firewall.shard.rule_usage(firewall.root.as_ref().unwrap());
    let counted = usage[1].counted.map(|counted| (counted.packets, counted.bytes));
    assert_eq!((counted, usage[1].states), ([(7, 310), (7, 310)], 2));
    assert_eq!(firewall.shard.counters().searches, 8);
}

#[test]
fn another_forwarding_base_holds_for_the_next_packet() {
    let mut firewall = established();
    firewall.fib = rerouted();
    firewall.tell(&format!("em0: {NEXT} -> out em2"));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1011 ack 5021 win 8192 len 561 df -> too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4 about (10.0.0.2 > 10.1.0.2 proto 6) ttl 64");
    firewall.fib = engine::Fib::new(3, crate::firewall::interfaces(), [], []);
    assert!(firewall.send("em0", NEXT).starts_with("no-route"));
    firewall.fib = fib();
    firewall.tell(&format!("em0: {NEXT} -> out em1"));
}

#[test]
fn an_interface_that_is_skipped_by_new_rules_is_skipped_at_once() {
    let mut firewall = established();
    let mut rules = ruleset(vec![block()]);
    rules.options.skip = vec!["em0".into(), "em1".into()];
    firewall.load(rules);
    let before = firewall.states()[0].source.packets;
    // Out of every window, and no state is asked.
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 999999 ack 1 -> out em1");
    assert_eq!(firewall.states()[0].source.packets, before);
}

#[test]
fn what_does_not_fit_the_window_is_refused_and_changes_nothing() {
    let mut firewall = established();
    let (before, lines) = (firewall.states(), firewall.lines());
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 999999 ack 5021 win 8192 len 1     -> state-mismatch
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 99999999 win 8192         -> state-mismatch
        em2: 10.0.0.3.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5021 win 8192             -> match
        ",
    );
    let after = firewall.states();
    assert_eq!(lines, firewall.lines());
    assert_eq!(before[0].source, after[0].source);
    assert_eq!(before[0].destination, after[0].destination);
}

#[test]
fn the_end_of_a_connection_is_seen() {
    let mut firewall = established();
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp FA seq 1011 ack 5021 win 8192 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5021 ack 1012 win 8192  -> out em0
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp FA seq 5021 ack 1012 win 8192 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1012 ack 5022 win 8192  -> out em1
        ",
    );
    assert!(firewall.lines()[0].ends_with("FIN_WAIT_2:FIN_WAIT_2"), "{:?}", firewall.lines());
}

#[test]
fn a_state_that_has_timed_out_lets_nothing_pass() {
    let mut firewall = established();
    firewall.wait(86_399).tell(&format!("em0: {NEXT} -> out em1"));
    // That restarted the timer.
    firewall.wait(86_399).tell(&format!("em0: {NEXT} -> out em1"));
    firewall.wait(86_400).tell(&format!("em0: {NEXT} -> match"));
    assert_eq!(firewall.shard.states(), 1, "the face at the other hook is met by nobody");
}

#[test]
fn time_outs_of_new_rules_hold_for_the_next_packet() {
    let mut firewall = established();
    let mut rules = ruleset(vec![block(), pass()]);
    rules.options.timeouts.set(ruleset::Timeout::TcpEstablished, 10);
    firewall.load(rules);
    firewall.wait(9).tell(&format!("em0: {NEXT} -> out em1"));
    firewall.wait(10).tell(&format!("em0: {NEXT} -> match"));
}

#[test]
fn no_hop_left_and_wrong_stations_are_refused() {
    let mut firewall = established();
    let told = firewall.send("em0", &format!("{NEXT} ttl 1"));
    assert!(told.starts_with("ttl: 10.0.0.1 > 10.0.0.2 icmp 11/0"), "{told}");
    let mut frame = Packet::parse(NEXT).frame(mac(EM0, 2), mac(EM0, 9));
    let fate = firewall.decide(Arrival { interface: EM0, source: Source::Wire }, &mut frame);
    assert_eq!(fate, Fate::Drop(Reason::NotOurs));
}

#[test]
fn what_the_host_sends_does_not_take_it() {
    let mut firewall = established();
    let before = firewall.states()[0].source.packets;
    firewall.now = firewall.now + Tick::from_millis(1);
    firewall.tell("em1 host: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5021 win 8192 -> sent em1");
    let packets: Vec<u64> = firewall.states().iter().map(|state| state.source.packets).collect();
    assert_eq!(packets, [before, before + 1], "only the state at the OUT hook has seen it");
    firewall.tell(&format!("em0: {NEXT} -> out em1"));
    let packets: Vec<u64> = firewall.states().iter().map(|state| state.source.packets).collect();
    assert_eq!(packets, [before + 1, before + 2]);
}
