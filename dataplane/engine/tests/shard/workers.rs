//! Several workers: who owns a flow, and what the others do with its packets.

use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, mac, packet::Packet};
use engine::{Arrival, Fate, Source, WorkerId};
use ruleset::Reason;

const WORKERS: u16 = 4;

fn workers() -> Vec<Firewall> {
    let firewall = |number| {
        let mut firewall = Firewall::of(WorkerId(number), WORKERS, 4096);
        firewall.load(ruleset(vec![block(), pass()]));
        firewall
    };
    (0..WORKERS).map(firewall).collect()
}

fn syn(port: u16) -> Vec<u8> {
    Packet::parse(&format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1")).frame(mac(EM0, 2), mac(EM0, 1))
}

fn answer(port: u16) -> Vec<u8> {
    Packet::parse(&format!("10.1.0.2.80 > 10.0.0.2.{port} tcp SA seq 9 ack 2"))
        .frame(mac(EM1, 2), mac(EM1, 1))
}

const FROM_INSIDE: Arrival = Arrival { interface: EM0, source: Source::Wire };
const FROM_OUTSIDE: Arrival = Arrival { interface: EM1, source: Source::Wire };

#[test]
fn every_worker_knows_the_one_that_owns_a_flow_in_both_directions() {
    let mut workers = workers();
    let mut flows = [0; WORKERS as usize];
    for port in 1..=400 {
        let fates: Vec<Fate> =
            workers.iter_mut().map(|one| one.decide(FROM_INSIDE, &mut syn(port))).collect();
        let home = fates.iter().position(|fate| *fate == Fate::Transmit(EM1)).expect("somebody takes it");
        for (number, fate) in fates.iter().enumerate().filter(|(number, _)| *number != home) {
            assert_eq!(*fate, Fate::HandOff(WorkerId(home as u16)), "worker {number}, port {port}");
        }
        flows[home] += 1;
        // The answer is the same worker's, wherever it arrives.
        for (number, one) in workers.iter_mut().enumerate() {
            let mut frame = answer(port);
            let fate = one.decide(FROM_OUTSIDE, &mut frame);
            if number == home {
                assert_eq!(fate, Fate::Transmit(EM0), "port {port}");
            } else {
                assert_eq!(fate, Fate::HandOff(WorkerId(home as u16)), "port {port}");
                assert_eq!(frame, answer(port), "what is another's is not touched");
            }
        }
    }
    assert!(flows.iter().all(|count| (60..=140).contains(count)), "an even share: {flows:?}");
    for (one, count) in workers.iter().zip(flows) {
        assert_eq!(one.shard.states(), 2 * count, "states are where the flows are");
        assert_eq!(one.shard.counters().handed_off, 2 * u64::from(400 - count));
        assert_eq!(one.shard.counters().dropped_in_all(), 0);
    }
}

/// What the owner would judge, whoever receives it, is not judged twice: a segment goes to the owner as it came, whatever
/// the owner will say to it. An interface that is skipped needs no owner.
#[test]
fn segments_of_anothers_connection_go_to_it_as_they_came() {
    let mut workers = workers();
    let data = |port: u16| {
        Packet::parse(&format!("10.0.0.2.{port} > 10.1.0.2.80 tcp A seq 2 ack 10 len 5"))
            .frame(mac(EM0, 2), mac(EM0, 1))
    };
    for port in 1..=50 {
        let home =
            workers.iter_mut().position(|one| one.decide(FROM_INSIDE, &mut syn(port)) == Fate::Transmit(EM1));
        let home = home.expect("somebody takes it");
        let _ = workers[home].decide(FROM_OUTSIDE, &mut answer(port));
        for (number, one) in workers.iter_mut().enumerate() {
            let (before, mut frame) = (one.shard.counters().clone(), data(port));
            let fate = one.decide(FROM_INSIDE, &mut frame);
            if number == home {
                assert_eq!(fate, Fate::Transmit(EM1), "port {port}");
                continue;
            }
            assert_eq!((fate, frame), (Fate::HandOff(WorkerId(home as u16)), data(port)), "port {port}");
            let after = one.shard.counters();
            assert_eq!(after.handed_off, before.handed_off + 1);
            assert_eq!((after.searches, after.inserts), (before.searches + 1, before.inserts));
        }
    }
    let mut skipping = ruleset(vec![block()]);
    skipping.options.skip = vec!["em0".into(), "em1".into()];
    for one in &mut workers {
        one.load(skipping.clone());
        for port in 1..=50 {
            assert_eq!(one.decide(FROM_INSIDE, &mut data(port)), Fate::Transmit(EM1));
        }
    }
}

/// Plain Toeplitz hashes that are symmetric send flows whose 16-bit words have one XOR to one queue, whatever the key. Who
/// owns a flow does not follow from that.
#[test]
fn e04_flows_that_a_symmetric_toeplitz_hash_cannot_tell_apart_are_spread_evenly() {
    const FLOWS: u32 = 100_000;
    const FOLD: u16 = 0x5a5a;
    let mut firewall = Firewall::of(WorkerId(0), WORKERS, 4096);
    firewall.load(ruleset(vec![block(), pass()]));
    let mut flows = [0_u32; WORKERS as usize];
    for number in 0..FLOWS {
        let [_, b, c, d] = (number + 256).to_be_bytes();
        let port = FOLD ^ u16::from_be_bytes([0, b]) ^ u16::from_be_bytes([c, d]);
        let text = format!("10.{}.{c}.{d}.{port} > 10.1.0.2.80 tcp S seq 1", b + 16);
        let mut frame = Packet::parse(&text).frame(mac(EM0, 2), mac(EM0, 1));
        match firewall.decide(FROM_INSIDE, &mut frame) {
            Fate::HandOff(worker) => flows[usize::from(worker.0)] += 1,
            fate => {
                assert_ne!(fate, Fate::Drop(Reason::Match));
                flows[0] += 1;
            }
        }
    }
    let mean = FLOWS / u32::from(WORKERS);
    assert!(flows.iter().all(|count| count * 4 <= mean * 5), "more than 1.25 times the mean: {flows:?}");
}

#[test]
fn the_states_of_different_workers_have_different_ids() {
    let mut workers = workers();
    for port in 1..=50 {
        for one in &mut workers {
            let _ = one.decide(FROM_INSIDE, &mut syn(port));
        }
    }
    let mut ids: Vec<u64> = workers.iter().flat_map(|one| one.states()).map(|state| state.id).collect();
    assert_eq!(ids.len(), 100);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
}

/// D9. Whoever receives the answer to a translated packet, it is the worker's that translated it.
#[test]
fn d09_answers_to_translated_packets_come_home() {
    let mut workers = workers();
    for one in &mut workers {
        one.load(ruleset(vec![
            block(),
            matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (50_001, 65_535)),
            pass(),
        ]));
    }
    for port in 1..=100 {
        let home = workers.iter_mut().position(|one| {
            let mut frame = syn(port);
            one.decide(FROM_INSIDE, &mut frame) == Fate::Transmit(EM1)
        });
        let home = home.expect("somebody takes it");
        let states = workers[home].lines();
        let state =
            states.iter().find(|line| line.contains(&format!("(10.0.0.2:{port})"))).expect("its state");
        let public: u16 = state.split([':', ' ']).nth(3).and_then(|word| word.parse().ok()).expect("a port");
        let answer = Packet::parse(&format!("10.1.0.2.80 > 10.1.0.1.{public} tcp SA seq 9 ack 2"))
            .frame(mac(EM1, 2), mac(EM1, 1));
        for (number, one) in workers.iter_mut().enumerate() {
            let fate = one.decide(FROM_OUTSIDE, &mut answer.clone());
            let expected =
                if number == home { Fate::Transmit(EM0) } else { Fate::HandOff(WorkerId(home as u16)) };
            assert_eq!(fate, expected, "worker {number}, port {port}: {state}");
        }
    }
}
