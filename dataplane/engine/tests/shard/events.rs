//! Events of states: whoever listens knows at any time which states there are and how far each has come, and why it went.

use std::collections::BTreeMap;

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, matching, pass, ruleset};
use crate::firewall::team::{Team, syn};
use crate::firewall::{EM0, Firewall, mac};
use engine::events::{RECORDS_MAX, StateChange, StateEvent};
use engine::{Selection, WorkerId};
use ruleset::{Removal, StateSelector, Timeout};
use wire::{Af, Proto};

const SYN: &str = "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1";
const ANSWER: &str = "em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0";
const REST: &str = "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1";

/// What happened, sorted by state.
fn events(firewall: &mut Firewall) -> Vec<StateEvent> {
    let mut events: Vec<_> = std::iter::from_fn(|| firewall.shard.take_event()).collect();
    events.sort_by_key(|event| event.state.id);
    events
}

/// What happened, each with pf's line of the state.
fn told(firewall: &mut Firewall) -> Vec<String> {
    let events = events(firewall);
    let line = |event: &StateEvent| {
        format!("{:?} {}", event.change, event.state.view(firewall.root.as_ref(), &firewall.fib))
    };
    events.iter().map(line).collect()
}

fn removals(firewall: &mut Firewall) -> Vec<Removal> {
    let removal = |event: StateEvent| match event.change {
        StateChange::Removed(why) => Some(why),
        _ => None,
    };
    events(firewall).into_iter().filter_map(removal).collect()
}

fn listening(rules: Vec<ruleset::Rule>) -> Firewall {
    let mut firewall = Firewall::with(rules);
    firewall.shard.listen(true);
    firewall
}

#[test]
fn a_connection_is_told_from_its_beginning_to_its_end() {
    let mut firewall = listening(vec![pass()]);
    firewall.tell(SYN);
    assert_eq!(
        told(&mut firewall),
        [
            "Made all tcp 10.1.0.2:80 <- 10.0.0.2:40000       CLOSED:SYN_SENT",
            "Made all tcp 10.0.0.2:40000 -> 10.1.0.2:80       SYN_SENT:CLOSED",
        ]
    );
    firewall.tell(ANSWER).tell(REST);
    let changed = told(&mut firewall);
    assert_eq!(changed.len(), 4, "{changed:?}");
    assert!(changed.iter().all(|line| line.starts_with("Changed all tcp ")), "{changed:?}");
    assert!(changed[1].ends_with("ESTABLISHED:ESTABLISHED"), "{changed:?}");
    // Packets that change nothing are told of no more.
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 len 10 -> out em1");
    assert_eq!(told(&mut firewall), [""; 0]);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1011 -> out em1");
    assert!(told(&mut firewall)[0].ends_with("TIME_WAIT:TIME_WAIT"));
    firewall.wait(100);
    assert_eq!(firewall.sweep(), 2);
    let ended = events(&mut firewall);
    assert_eq!(ended.len(), 2);
    for event in &ended {
        assert_eq!(event.change, StateChange::Removed(Removal::Closed));
        assert_eq!((event.tick, event.state.age.as_secs()), (firewall.now, 100));
        assert_eq!(event.state.counted, [(4, 4 * 40 + 10), (1, 40)]);
        let view = event.state.view(firewall.root.as_ref(), &firewall.fib);
        assert_eq!((view.expires_in_s, view.rule), (0, Some(0)));
    }
}

#[test]
fn each_end_says_why() {
    let mut firewall = listening(vec![pass()]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1").wait(1000).sweep();
    assert_eq!(removals(&mut firewall), [Removal::Expired; 2]);
    // Found to have expired by the next packet, before the sweep came by.
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1").wait(1000);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(removals(&mut firewall), [Removal::Expired; 2]);
    assert_eq!(firewall.kill("10.0.0.2"), 2);
    assert_eq!(removals(&mut firewall), [Removal::Killed; 2]);
    firewall.tell(SYN);
    let all = Selection::new(&StateSelector::default(), &firewall.fib);
    assert_eq!(firewall.shard.kill(&mut 0, usize::MAX, &all), 2);
    assert_eq!(removals(&mut firewall), [Removal::Flushed; 2]);
    firewall.tell(SYN).tell(ANSWER).tell(REST);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1001 -> out em1");
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 9 -> out em1");
    assert_eq!(removals(&mut firewall), [Removal::Replaced; 2]);
}

#[test]
fn translation_is_told_on_the_state_that_it_happens_at() {
    let nat =
        matching().outgoing().nat_to("10.1.0.1", (50_000, 50_000)).change(|rule| rule.af = Some(Af::Inet));
    let mut firewall = listening(vec![nat, pass()]);
    let _ = firewall.turn(
        "em0",
        "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000",
        "10.1.0.1.50000 > 10.1.0.2.80 tcp S seq 1000",
    );
    assert_eq!(
        told(&mut firewall),
        [
            "Made all tcp 10.1.0.2:80 <- 10.0.0.2:40000       CLOSED:SYN_SENT",
            "Made all tcp 10.1.0.1:50000 (10.0.0.2:40000) -> 10.1.0.2:80       SYN_SENT:CLOSED",
        ]
    );
}

#[test]
fn nothing_is_told_while_nobody_listens() {
    let mut firewall = Firewall::with(vec![pass()]);
    firewall.tell(SYN).tell(ANSWER);
    assert_eq!(told(&mut firewall), [""; 0]);
    firewall.shard.listen(true);
    firewall.tell(REST);
    firewall.shard.listen(false);
    firewall.kill("10.0.0.2");
    assert_eq!((told(&mut firewall).len(), firewall.shard.events_lost()), (0, 0));
}

#[test]
fn what_finds_no_room_is_lost_and_counted() {
    let mut firewall = Firewall::of(WorkerId(0), 1, 8192);
    firewall.load(ruleset(vec![pass()]));
    firewall.shard.listen(true);
    let flows = RECORDS_MAX as u16;
    for port in 0..flows {
        let mut frame = Packet::parse(&format!("10.0.0.2.{} > 10.1.0.2.53 udp", 1000 + port))
            .frame(mac(EM0, 2), mac(EM0, 1));
        let _ = firewall.decide(crate::firewall::arrival("em0"), &mut frame);
    }
    assert_eq!(firewall.shard.states(), 2 * u32::from(flows));
    assert_eq!(firewall.shard.events_lost(), RECORDS_MAX as u64, "two of each");
    assert_eq!(events(&mut firewall).len(), RECORDS_MAX);
    firewall.tell(SYN);
    assert_eq!((events(&mut firewall).len(), firewall.shard.events_lost()), (2, RECORDS_MAX as u64));
}

/// What a listener knows, by id, after each of many packets, is what a listing shows.
#[test]
fn a_listener_knows_every_state_at_any_time() {
    let short = pass().any_flags().outgoing().timeout(Timeout::UdpFirst, 5);
    let nat = matching().outgoing().proto(Proto::TCP).nat_to("10.1.0.1", (50_000, 50_003));
    let mut firewall = listening(vec![
        nat.change(|rule| rule.af = Some(Af::Inet)),
        pass().any_flags().incoming(),
        pass().any_flags().outgoing().on("em1").if_bound(),
        short,
    ]);
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for step in 0..4000 {
        let (client, server) = (40_000 + next(12), ["80", "53"][next(2) as usize]);
        let ends = match next(3) {
            0 => format!("10.1.0.2.{server} > 10.0.0.2.{client}"),
            _ => format!("10.0.0.2.{client} > 10.1.0.2.{server}"),
        };
        let from = if ends.starts_with("10.0") { "em0" } else { ["em1", "em2"][next(2) as usize] };
        let what = ["udp", "tcp S seq 9", "tcp SA seq 5000 ack 10", "tcp A seq 10 ack 5001", "tcp R seq 10"];
        let arrival = crate::firewall::arrival(from);
        let mut frame = Packet::parse(&format!("{ends} {}", what[next(5) as usize]))
            .frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
        let _ = firewall.decide(arrival, &mut frame);
        match next(40) {
            0 => _ = firewall.wait(next(20)).sweep(),
            1 => _ = firewall.wait(next(90)),
            2 => {
                firewall.fib = [crate::firewall::fib(), crate::firewall::rerouted()][next(2) as usize].clone()
            }
            3 if step % 7 == 0 => _ = firewall.kill("10.0.0.2"),
            _ => {}
        }
        for event in std::iter::from_fn(|| firewall.shard.take_event()) {
            let line = event.state.view(firewall.root.as_ref(), &firewall.fib).to_string();
            match event.change {
                StateChange::Made => assert_eq!(known.insert(event.state.id, line), None),
                StateChange::Changed => assert!(known.insert(event.state.id, line).is_some()),
                StateChange::Removed(_) => assert!(known.remove(&event.state.id).is_some()),
            }
        }
        let mut lines: Vec<String> = known.values().cloned().collect();
        lines.sort();
        assert_eq!(lines, firewall.lines(), "after {step} packets");
    }
    assert!(firewall.shard.counters().removals > 100, "too little happened");
}

/// What a worker makes for a connection that it has no port for, and undoes, is told as an end, too.
#[test]
fn what_several_workers_tell_adds_up() {
    let nat = matching().outgoing().nat_to("10.1.0.1", (50_000, 50_005));
    let rules = [nat.change(|rule| rule.af = Some(Af::Inet)), pass()];
    let mut team = Team::of(2, 4096, &rules);
    team.0.iter_mut().for_each(|one| one.shard.listen(true));
    for port in Team::ports_of(0, 2).take(8) {
        let _ = team.send(0, "em0", &syn(port));
    }
    let mut undone = 0;
    for (one, states) in team.states().into_iter().enumerate() {
        let events = events(&mut team.0[one]);
        let made = events.iter().filter(|event| event.change == StateChange::Made).count();
        let gone = events.iter().filter(|event| matches!(event.change, StateChange::Removed(_))).count();
        assert_eq!(made - gone, states as usize, "worker {one}");
        undone += gone;
    }
    assert!(undone > 0, "none was passed on");
}
