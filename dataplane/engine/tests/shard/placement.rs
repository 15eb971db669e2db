//! Flows that their home places at another worker.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, pass};
use crate::firewall::team::{FROM_INSIDE, Team, syn};
use crate::firewall::{EM0, EM1, mac};
use engine::{DropPlace, Errand, Fate, HANDOFFS_MAX, WorkerId};
use ruleset::{Reason, StateMode};
use wire::Proto;

fn pair() -> Team {
    Team::of(2, 4096, &[block(), pass()])
}

fn answer(port: u16) -> String {
    format!("10.1.0.2.80 > 10.0.0.2.{port} tcp SA seq 9 ack 2")
}

fn data(port: u16) -> String {
    format!("10.0.0.2.{port} > 10.1.0.2.80 tcp A seq 2 ack 10 len 5")
}

const OUT: Fate = Fate::Transmit(EM1);
const BACK: Fate = Fate::Transmit(EM0);

#[test]
fn what_begins_at_a_home_in_need_is_another_workers_in_both_directions() {
    let mut team = pair();
    let mut ports = Team::ports_of(0, 2);
    let (old, new) = (ports.next().expect("a port"), ports.next().expect("a port"));
    assert_eq!(team.send(0, "em0", &syn(old)), (vec![0], OUT));
    team.relieve(0, Some(1));
    assert_eq!(team.send(0, "em0", &syn(new)), (vec![0, 1], OUT));
    assert_eq!((team.states(), team.aliases()), (vec![2, 2], vec![1, 0]));
    assert_eq!(team.0[0].shard.counters().placed, 1);
    // What it had it keeps; where the other worker receives, it is asked nothing.
    assert_eq!(team.send(1, "em1", &answer(old)), (vec![1, 0], BACK));
    assert_eq!(team.send(1, "em1", &answer(new)), (vec![1], BACK));
    assert_eq!(team.send(0, "em1", &answer(new)), (vec![0, 1], BACK));
    // The short ways, of the alias and of the record.
    assert_eq!(team.send(0, "em0", &data(new)), (vec![0, 1], OUT));
    assert_eq!(team.send(1, "em0", &data(new)), (vec![1], OUT));
    team.relieve(0, None);
    assert_eq!(team.send(0, "em0", &data(new)), (vec![0, 1], OUT), "what is placed stays");
    let next = ports.next().expect("a port");
    assert_eq!(team.send(0, "em0", &syn(next)), (vec![0], OUT));
    let handed: Vec<u64> = team.0.iter().map(|one| one.shard.counters().handed_off).collect();
    assert_eq!((handed, team.aliases()), (vec![4, 1], vec![1, 0]));
}

/// What the stages of a burst would hand to its home is not handed back by whom it was placed with.
#[test]
fn a_connection_that_was_never_seen_is_placed_by_any_of_its_segments() {
    let any = pass().change(|rule| rule.flags = None);
    let mut team = Team::of(2, 4096, &[block(), any]);
    let port = Team::ports_of(0, 2).next().expect("a port");
    team.relieve(0, Some(1));
    assert_eq!(team.send(0, "em0", &data(port)), (vec![0, 1], OUT));
    assert_eq!((team.states(), team.aliases()), (vec![0, 2], vec![1, 0]));
}

#[test]
fn ipv6_and_other_protocols_are_placed_alike() {
    let mut team = pair();
    let mut placed = 0;
    for number in 1..=20 {
        for (there, back) in [
            (
                format!("2001:db8::2.{number} > 2001:db8:1::2.53 udp"),
                format!("2001:db8:1::2.53 > 2001:db8::2.{number} udp"),
            ),
            (
                format!("10.0.0.2 > 10.1.0.2 icmp 8/0 id {number}"),
                format!("10.1.0.2 > 10.0.0.2 icmp 0/0 id {number}"),
            ),
        ] {
            team.relieve(0, Some(1));
            let (way, fate) = team.send(0, "em0", &there);
            assert_eq!((way.len(), fate), (2, OUT), "{there}: placed, or at home there");
            placed += 1;
            assert_eq!(team.send(0, "em1", &back), (vec![0, 1], BACK), "{back}");
        }
    }
    assert_eq!(team.states(), [0, 2 * placed]);
    assert!((1..placed).contains(&team.aliases()[0]));
    team.wait(86_400);
    team.0[1].sweep();
    assert_eq!(team.release() as u64, team.0[0].shard.counters().placed);
    assert_eq!(team.aliases(), [0, 0]);
}

#[test]
fn the_last_of_a_flow_ends_its_alias_and_frees_its_record() {
    let mut team = pair();
    let port = Team::ports_of(0, 2).next().expect("a port");
    team.relieve(0, Some(1));
    for _ in 0..3 {
        assert_eq!(team.send(0, "em0", &syn(port)), (vec![0, 1], OUT));
        assert_eq!((team.states(), team.aliases()), (vec![0, 2], vec![1, 0]));
        team.wait(86_400);
        assert_eq!(team.0[1].sweep(), 2);
        assert_eq!(team.aliases(), [1, 0], "the home does not know it yet");
        assert_eq!((team.release(), team.aliases()), (1, vec![0, 0]));
        assert_eq!(team.0[1].shard.records(), 1, "the record is used again");
    }
    team.relieve(0, None);
    assert_eq!(team.send(1, "em0", &syn(port)), (vec![1, 0], OUT), "it is at home");
}

/// Until the home knows it, a record that is gone is not used again, and is neither swept, shown nor removed a second time.
#[test]
fn a_record_waits_for_its_release() {
    let mut team = pair();
    let mut ports = Team::ports_of(0, 2);
    team.relieve(0, Some(1));
    for port in ports.by_ref().take(3) {
        assert_eq!(team.send(0, "em0", &syn(port)), (vec![0, 1], OUT));
    }
    team.wait(86_400);
    assert_eq!(team.0[1].sweep(), 6);
    assert_eq!((team.0[1].sweep(), team.0[1].states().len()), (0, 0));
    let port = ports.next().expect("a port");
    assert_eq!(team.carry(0, "em0", &syn(port), false), (vec![0, 1], OUT));
    assert_eq!(team.0[1].shard.records(), 4);
    assert_eq!((team.release(), team.aliases()), (3, vec![1, 0]));
}

#[test]
fn a_flow_that_makes_no_state_is_at_home_again() {
    let stateless = pass().proto(Proto::ICMP).change(|rule| rule.state = StateMode::None);
    let mut team = Team::of(2, 4096, &[block(), stateless]);
    team.relieve(0, Some(1));
    let mut placed = 0;
    for number in 1..=50 {
        let blocked = format!("10.0.0.2.{number} > 10.1.0.2.80 tcp S seq 1");
        let (way, fate) = team.carry(0, "em0", &blocked, false);
        assert_eq!((way, fate), (vec![0, 1], Fate::Drop(Reason::Match)));
        let echo = format!("10.0.0.2 > 10.1.0.2 icmp 8/0 id {number}");
        assert_eq!(team.carry(0, "em0", &echo, false), (vec![0, 1], OUT));
        placed = team.0[0].shard.counters().placed;
        assert_eq!(u64::from(team.aliases()[0]), placed);
    }
    assert!((1..100).contains(&placed), "of 100 some are at home there: {placed}");
    assert_eq!((team.release() as u64, team.aliases()), (placed, vec![0, 0]));
    assert_eq!(team.states(), [0, 0]);
}

#[test]
fn a_worker_takes_over_no_more_than_it_can_decline() {
    let mut team = Team::of(2, 4096, &[block()]);
    team.relieve(0, Some(1));
    let mut sent = 0;
    let mut ports = Team::ports_of(0, 2);
    while team.0[1].shard.may_take_over() {
        sent += 1;
        let port = ports.next().expect("a port");
        assert_eq!(team.carry(0, "em0", &syn(port), false).0, [0, 1]);
    }
    assert!(sent > 500, "{sent} were declined");
    assert_eq!((team.release(), team.aliases()), (sent, vec![0, 0]));
    assert!(team.0[1].shard.may_take_over());
}

/// Others of its packets may be on their way from there to the home, and would come behind those that follow.
#[test]
fn a_flow_is_not_placed_where_its_first_packet_came_from() {
    let mut team = Team::of(3, 4096, &[block(), pass()]);
    team.relieve(0, Some(1));
    let mut ports = Team::ports_of(0, 3);
    let mut port = || ports.next().expect("a port");
    assert_eq!(team.send(1, "em0", &syn(port())), (vec![1, 0], OUT));
    assert_eq!(team.send(2, "em0", &syn(port())), (vec![2, 0, 1], OUT));
    assert_eq!(team.send(0, "em0", &syn(port())), (vec![0, 1], OUT));
    assert_eq!((team.states(), team.aliases()), (vec![2, 4, 0], vec![2, 0, 0]));
}

/// A state that is made again, because its face is gone, is made where the other one is.
#[test]
fn who_has_some_of_a_flow_makes_the_rest_of_it() {
    let mut team = pair();
    team.relieve(0, Some(1));
    let datagram = (1..).map(|port| format!("10.0.0.2.{port} > 10.1.0.2.80 udp")).find(|datagram| {
        assert_eq!(team.send(0, "em0", datagram).1, OUT);
        team.aliases()[0] == 1
    });
    let datagram = datagram.expect("some are at home here");
    let placed: Vec<u64> = team.0[1].states().iter().rev().take(2).map(|state| state.id).collect();
    for id in placed {
        assert_eq!(team.0[1].kill_id(id), 1);
        assert_eq!(team.release(), 0, "the other state is there");
        let (states, aliases) = (team.states()[1], team.aliases());
        assert_eq!(team.send(0, "em0", &datagram), (vec![0, 1], OUT));
        assert_eq!((team.states()[1], team.aliases()), (states + 1, aliases));
    }
    while let Some(state) = team.0[1].states().last() {
        assert_eq!(team.0[1].kill_id(state.id), 1);
    }
    assert_eq!((team.release(), team.aliases()), (1, vec![0, 0]));
}

#[test]
fn a_connection_that_begins_again_begins_at_home() {
    let mut team = pair();
    let port = Team::ports_of(0, 2).next().expect("a port");
    team.relieve(0, Some(1));
    for (interface, text) in [
        ("em0", syn(port)),
        ("em1", answer(port)),
        ("em0", format!("10.0.0.2.{port} > 10.1.0.2.80 tcp FA seq 2 ack 10")),
        ("em1", format!("10.1.0.2.80 > 10.0.0.2.{port} tcp FA seq 10 ack 3")),
        ("em0", format!("10.0.0.2.{port} > 10.1.0.2.80 tcp A seq 3 ack 11")),
    ] {
        assert_eq!(team.send(0, interface, &text).0, [0, 1], "{text}");
    }
    assert_eq!(team.aliases(), [1, 0]);
    let again = format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 100000");
    let (way, fate) = team.send(0, "em0", &again);
    assert_eq!(fate, OUT);
    assert!(way.len() <= usize::from(HANDOFFS_MAX) + 1, "{way:?}");
    assert_eq!(team.states().iter().sum::<u32>(), 2, "the old states made room: {way:?}");
}

/// A home that does not hear of a release gets its packets back, until they have been handed around enough.
#[test]
fn a_packet_that_nobody_owns_is_dropped_for_its_reason() {
    let mut team = pair();
    let port = Team::ports_of(0, 2).next().expect("a port");
    team.relieve(0, Some(1));
    assert_eq!(team.send(0, "em0", &syn(port)), (vec![0, 1], OUT));
    team.wait(86_400);
    assert_eq!(team.0[1].sweep(), 2);
    for text in [syn(port), data(port)] {
        let (way, fate) = team.carry(0, "em0", &text, false);
        assert_eq!((way, fate), (vec![0, 1, 0, 1], Fate::Drop(Reason::HandoffLimit)), "{text}");
    }
    let dropped: Vec<u64> = team.0.iter().map(|one| one.dropped(Reason::HandoffLimit)).collect();
    assert_eq!(dropped, [0, 2]);
    assert_eq!(team.release(), 1);
    team.relieve(0, None);
    assert_eq!(team.send(0, "em0", &syn(port)), (vec![0], OUT));
}

#[test]
fn a_packet_that_could_not_be_handed_over_leaves_its_flow_at_home() {
    let mut team = pair();
    let port = Team::ports_of(0, 2).next().expect("a port");
    team.relieve(0, Some(1));
    let mut frame = Packet::parse(&syn(port)).frame(mac(EM0, 2), mac(EM0, 1));
    let home = &mut team.0[0];
    assert_eq!(home.decide(FROM_INSIDE, &mut frame), Fate::Place(WorkerId(1)));
    assert_eq!(home.decide(FROM_INSIDE, &mut frame), Fate::HandOff(WorkerId(1)));
    assert_eq!((home.shard.aliases(), home.shard.counters().handed_off), (1, 2));
    home.withdraw(FROM_INSIDE, &frame, Errand::Begin);
    home.withdraw(FROM_INSIDE, &frame, Errand::Follow);
    let counters = home.shard.counters();
    assert_eq!((home.shard.aliases(), counters.handed_off, counters.placed), (0, 0, 0));
    assert_eq!(home.dropped(Reason::HandoffFull), 2);
    let example = home.shard.take_drop().expect("an example");
    assert_eq!((example.reason, example.place), (Reason::HandoffFull, DropPlace::Arrived(FROM_INSIDE)));
    team.relieve(0, None);
    assert_eq!(team.send(0, "em0", &syn(port)), (vec![0], OUT));
}

#[test]
fn a_home_without_room_for_aliases_keeps_its_flows() {
    const ROOM: u32 = 8;
    let mut team = Team::of(2, ROOM, &[block(), pass()]);
    team.relieve(0, Some(1));
    let mut placed = 0;
    // Nobody takes them over: only the home is asked.
    for port in Team::ports_of(0, 2).take(64) {
        let mut frame = Packet::parse(&syn(port)).frame(mac(EM0, 2), mac(EM0, 1));
        match team.0[0].decide(FROM_INSIDE, &mut frame) {
            Fate::Place(_) => placed += 1,
            fate => assert!(fate == OUT || fate == Fate::Drop(Reason::Memory), "{fate:?}"),
        }
    }
    assert_eq!((placed, team.aliases()[0]), (ROOM, ROOM));
    assert!(team.states()[0] > 0, "what could not be placed began at home");
}
