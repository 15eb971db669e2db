//! Packets that wait for a neighbour: in order, bounded, never lost and never kept for ever.

use std::net::IpAddr;

use engine::{InterfaceId, Tick};
use worker::hold::{HELD_MAX, Hold, Key, NEIGHBORS_MAX, PATIENCE, PER_NEIGHBOR_MAX};

fn key(number: u32) -> Key {
    Key { interface: InterfaceId(1), next_hop: IpAddr::from(number.to_be_bytes()) }
}

const START: Tick = Tick::from_secs(100);

#[test]
fn what_waits_leaves_in_order_when_its_neighbour_is_known() {
    let mut hold = Hold::new();
    for packet in 0..6 {
        hold.keep(key(packet % 2), START, packet).unwrap();
    }
    let mut left = Vec::new();
    hold.release(|key_| (*key_ == key(1)).then_some("mac"), |_, mac, packet| left.push((mac, packet)));
    assert_eq!(left, [("mac", 1), ("mac", 3), ("mac", 5)]);
    assert_eq!(hold.len(), 3);
    hold.release(
        |_| Some("other"),
        |key_, _, packet| {
            assert_eq!(key_, key(0));
            left.push(("other", packet));
        },
    );
    assert_eq!(left[3..], [("other", 0), ("other", 2), ("other", 4)]);
    assert!(hold.is_empty());
}

#[test]
fn one_neighbour_cannot_take_all_the_room() {
    let mut hold = Hold::new();
    for packet in 0..PER_NEIGHBOR_MAX {
        hold.keep(key(1), START, packet).unwrap();
    }
    assert_eq!(hold.keep(key(1), START, 77), Err(77));
    assert_eq!(hold.len(), PER_NEIGHBOR_MAX);
    hold.keep(key(2), START, 78).unwrap();
}

#[test]
fn neighbours_and_packets_are_bounded() {
    let mut hold = Hold::new();
    for number in 0..NEIGHBORS_MAX as u32 {
        hold.keep(key(number), START, number).unwrap();
    }
    assert_eq!(hold.keep(key(9999), START, 1), Err(1), "a next hop too many");
    let mut kept = NEIGHBORS_MAX;
    while hold.keep(key(kept as u32 % NEIGHBORS_MAX as u32), START, 0).is_ok() {
        kept += 1;
    }
    assert_eq!((kept, hold.len()), (HELD_MAX, HELD_MAX));
}

#[test]
fn patience_ends_for_the_first_one_first() {
    let mut hold = Hold::new();
    hold.keep(key(1), START, "first").unwrap();
    hold.keep(key(2), START + Tick::from_secs(1), "second").unwrap();
    // A later packet does not renew the patience.
    hold.keep(key(1), START + Tick::from_secs(2), "third").unwrap();
    let mut dropped = Vec::new();
    let mut at = |hold: &mut Hold<_>, now| {
        hold.give_up(now, |_, packet| dropped.push(packet));
        dropped.clone()
    };
    let end = START + PATIENCE;
    assert!(at(&mut hold, end - Tick(1)).is_empty());
    assert_eq!(at(&mut hold, end), ["first", "third"]);
    assert_eq!(at(&mut hold, end), ["first", "third"]);
    assert_eq!(at(&mut hold, end + Tick::from_secs(1)), ["first", "third", "second"]);
    assert!(hold.is_empty());
}

#[test]
fn everything_is_given_back_at_the_end_and_the_room_with_it() {
    let mut hold = Hold::new();
    for round in 0..3 {
        for number in 0..NEIGHBORS_MAX as u32 {
            hold.keep(key(number), START, number).unwrap_or_else(|_| panic!("no room in round {round}"));
        }
        let mut dropped = 0;
        hold.clear(|_, _| dropped += 1);
        assert_eq!((dropped, hold.len()), (NEIGHBORS_MAX, 0));
    }
}
