//! What begins with a worker that has too much to do.

use engine::{Arrival, Fate, Shard, ShardConfig, Source, Tick, View, WorkerId};
use ruleset::Reason;

use crate::bed::{Bed, KEY, LAN, STATES, WAN, WORKERS, datagram, fib, flow, mark, pass};

/// Flows from number `first` on whose home is the first worker.
fn at_home(first: u16) -> impl Iterator<Item = u16> {
    let config =
        ShardConfig { worker: WorkerId(0), workers: WORKERS as u16, max_states: 8, interfaces: 2, key: KEY };
    let (mut shard, root, fib) = (Shard::new(config), pass(8), fib());
    (first..).filter(move |flow| {
        let mut frame = [datagram(WAN, *flow, 0)];
        let mut fate = [Fate::Drop(Reason::NoRules)];
        let view = View { now: Tick(0), root: Some(&root), fib: &fib };
        let arrival = Arrival { interface: WAN, source: Source::Wire };
        let mut random = worker::random::Random::new().expect("the system has some");
        shard.process(&view, &mut random, arrival, &mut frame, &mut fate);
        !matches!(fate[0], Fate::HandOff(_))
    })
}

/// Frames of one flow that fill the first worker's queue for a poll, and more.
const FILL: u16 = 96;

/// More than one worker can take, of a flow that is at home, and nothing for the other one.
fn overload(bed: &mut Bed, flow: u16) {
    for _ in 0..8 {
        (0..FILL).for_each(|number| bed.put(WAN, 0, &datagram(WAN, flow, number)));
        bed.poll();
    }
    while bed.sheet(0).interfaces[0].rx_packets < u64::from(8 * FILL) {
        bed.poll();
    }
    bed.get(LAN);
}

fn fill(bed: &mut Bed, flow: u16) {
    (0..FILL).for_each(|number| bed.put(WAN, 0, &datagram(WAN, flow, number)));
}

fn sent(bed: &Bed, worker: usize) -> [u64; 2] {
    [0, 1].map(|interface| bed.sheet(worker).interfaces[interface].tx_packets)
}

#[test]
fn what_begins_with_a_worker_under_load_is_placed_with_the_other_and_comes_home_when_it_ends() {
    const FLOWS: usize = 64;
    let mut bed = Bed::passing(STATES);
    let mut homely = at_home(0);
    let old = homely.next().expect("a flow");
    overload(&mut bed, old);
    assert_eq!(bed.sheet(0).worker.states, 2, "nothing began while it was not overloaded");
    // All begin at the first worker's queue, while it has enough to do.
    let new: Vec<u16> = homely.by_ref().take(FLOWS).collect();
    fill(&mut bed, old);
    fill(&mut bed, old);
    bed.poll();
    for number in 0..3 {
        fill(&mut bed, old);
        new.iter().for_each(|flow| bed.put(WAN, 0, &datagram(WAN, *flow, number)));
    }
    (0..12).for_each(|_| bed.poll());
    let counts = [0, 1].map(|worker| bed.sheet(worker).worker);
    assert_eq!((counts[0].placed, counts[0].aliases), (FLOWS as u64, FLOWS as u64), "{counts:?}");
    assert_eq!((counts[0].states, counts[1].states), (2, 2 * FLOWS as u64));
    let frames = bed.get(LAN);
    for number in &new {
        let marks: Vec<u16> =
            frames.iter().filter(|frame| flow(frame) == *number).map(|frame| mark(frame)).collect();
        assert_eq!(marks, [0, 1, 2], "flow {number}");
    }
    // Both directions are the other worker's, whichever queue receives them.
    let before = sent(&bed, 1);
    for (at, flow) in new.iter().enumerate() {
        bed.put(LAN, at % 2, &datagram(LAN, *flow, 3));
    }
    (0..2).for_each(|_| bed.poll());
    assert_eq!(bed.get(WAN).len(), FLOWS);
    assert_eq!(sent(&bed, 1), [before[0] + FLOWS as u64, before[1]]);
    // It has time again: what begins stays.
    (0..8).for_each(|_| bed.poll());
    let next = homely.next().expect("a flow");
    bed.put(WAN, 0, &datagram(WAN, next, 0));
    bed.poll();
    assert_eq!((bed.sheet(0).worker.states, bed.sheet(0).worker.placed), (4, FLOWS as u64));
    // Expiry takes states and aliases, and the records are free.
    for _ in 0..8 {
        bed.now = bed.now + Tick::from_secs(3600);
        bed.poll();
    }
    let counts = [0, 1].map(|worker| bed.sheet(worker).worker);
    assert_eq!(counts.map(|counts| (counts.states, counts.aliases)), [(0, 0); 2]);
    bed.put(WAN, 1, &datagram(WAN, new[0], 0));
    bed.poll();
    assert_eq!([0, 1].map(|worker| bed.sheet(worker).worker.states), [2, 0], "it is at home");
    let handed = bed.sheet(0).interfaces[0].handed_off_packets;
    assert_eq!(handed, 3 * FLOWS as u64, "of what the first worker received on this side");
    bed.get(LAN);
    assert_eq!(bed.end(), 0);
}

/// However the workers' polls follow one another, with flows that come and go, at home and placed.
#[test]
fn d09_order_is_kept_while_flows_are_placed() {
    const STEPS: u16 = 300;
    let mut bed = Bed::passing(STATES);
    let filler = at_home(0).next().expect("a flow");
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut sent = vec![[0_u16; 2]; usize::from(STEPS) * 4 + 200];
    let mut seen = sent.clone();
    let (mut put, mut got) = (0, 0);
    for step in 0..STEPS {
        // For some time the first worker has enough to do, and then not.
        if step % 60 < 30 {
            fill(&mut bed, filler);
            put += usize::from(FILL);
        }
        for _ in 0..draw(40) {
            let (queue, flow) = (draw(2) as u16, 100 + step * 4 + draw(24) as u16);
            let number = &mut sent[usize::from(flow)][usize::from(queue)];
            *number += 1;
            bed.put(WAN, usize::from(queue), &datagram(WAN, flow, queue << 15 | *number));
            put += 1;
        }
        for _ in 0..4 {
            bed.poll_one(draw(2) as usize);
        }
        got += check(&mut bed, filler, &mut seen);
    }
    while got < put {
        bed.poll();
        got += check(&mut bed, filler, &mut seen);
    }
    assert_eq!(seen, sent);
    let sum = bed.sum();
    assert!((50..u64::from(STEPS) * 4).contains(&sum.worker.placed), "{:?}", sum.worker);
    assert_eq!(sum.drops.iter().flatten().sum::<u64>(), 0, "nothing was dropped");
    for _ in 0..8 {
        bed.now = bed.now + Tick::from_secs(3600);
        bed.poll();
    }
    assert_eq!((bed.sum().worker.states, bed.sum().worker.aliases), (0, 0));
    assert_eq!(bed.end(), 0);
}

/// The frames that left are in their order, by queue and flow. Returns how many.
fn check(bed: &mut Bed, filler: u16, seen: &mut [[u16; 2]]) -> usize {
    let frames = bed.get(LAN);
    for frame in frames.iter().filter(|frame| flow(frame) != filler) {
        let (queue, number) = (usize::from(mark(frame) >> 15), mark(frame) & 0x7fff);
        let last = &mut seen[usize::from(flow(frame))][queue];
        assert_eq!(number, *last + 1, "flow {} of queue {queue}", flow(frame));
        *last = number;
    }
    frames.len()
}
