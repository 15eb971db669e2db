//! What workers hand to each other.

use engine::{Arrival, DropPlace, Seen, Source};
use ruleset::Reason;
use wire::Proto;
use worker::handoff;

use crate::bed::{Bed, LAN, STATES, WAN, WORKERS, datagram, flow, mark};

#[test]
fn d09_a_reply_at_another_workers_queue_finds_its_flow_and_order_is_kept() {
    const FLOWS: u16 = 64;
    let mut bed = Bed::passing(STATES);
    for number in 0..3 {
        // Requests of a flow all arrive at one queue, replies at the other.
        for flow in 0..FLOWS {
            bed.put(WAN, usize::from(flow % 2), &datagram(WAN, flow, number));
        }
        for flow in (0..FLOWS).filter(|_| number > 0) {
            bed.put(LAN, usize::from((flow + 1) % 2), &datagram(LAN, flow, number));
        }
        if number != 1 {
            bed.poll();
        }
    }
    for (interface, first) in [(LAN, 0), (WAN, 1)] {
        let frames = bed.get(interface);
        assert_eq!(frames.len(), usize::from(FLOWS * (3 - first)));
        for number in 0..FLOWS {
            let marks: Vec<u16> =
                frames.iter().filter(|frame| flow(frame) == number).map(|frame| mark(frame)).collect();
            assert_eq!(marks, (first..3).collect::<Vec<_>>(), "flow {number} out of {interface:?}");
        }
    }
    let sum = bed.sum();
    assert_eq!((sum.worker.states, sum.worker.inserts), (u64::from(2 * FLOWS), u64::from(2 * FLOWS)));
    for worker in 0..WORKERS {
        let counts = bed.sheet(worker).worker;
        assert!(counts.states > 0 && counts.handoff_in > 0 && counts.handoff_out > 0, "{counts:?}");
    }
    assert_eq!(bed.end(), 0, "nothing was on its way");
}

#[test]
fn a_full_ring_drops_and_counts_what_it_has_no_room_for() {
    const EACH: u64 = 1600;
    let mut bed = Bed::passing(STATES);
    // The second worker does not come back; the first receives for both.
    for sent in 0..EACH {
        bed.put(WAN, 0, &datagram(WAN, (sent % 64) as u16, 0));
        if sent % 32 == 31 {
            bed.poll_one(0);
        }
    }
    bed.poll_one(0);
    let first = bed.sheet(0);
    let full = first.drops[0][Reason::HandoffFull as usize];
    let own = bed.get(LAN).len() as u64;
    assert_eq!(first.worker.handoff_out, u64::from(handoff::RING));
    assert_eq!((first.interfaces[0].rx_packets, full > 0), (EACH, true));
    assert_eq!(own + full + u64::from(handoff::RING), EACH);
    let example = bed.office.logs[0].next_drop().expect("an example");
    let arrival = Arrival { interface: WAN, source: Source::Wire };
    assert_eq!((example.reason, example.place), (Reason::HandoffFull, DropPlace::Arrived(arrival)));
    assert!(matches!(example.seen, Seen::Packet(packet) if packet.tuple.proto == Proto::UDP));
    // It comes back and takes all that waits.
    bed.poll_one(1);
    assert_eq!(bed.get(LAN).len() as u32, handoff::RING);
    assert_eq!(bed.end(), 0);
}

#[test]
fn what_is_between_workers_at_the_end_is_known_and_freed() {
    let mut bed = Bed::passing(STATES);
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll_one(0);
    let own = bed.get(LAN).len() as u64;
    assert!((1..64).contains(&own), "{own} of 64 flows are the first worker's");
    assert_eq!(bed.end(), 64 - own);
}

#[test]
fn the_limit_on_states_holds_for_both_together() {
    let mut bed = Bed::passing(20);
    for flow in 0..64 {
        bed.put(WAN, usize::from(flow % 2), &datagram(WAN, flow, 0));
        bed.poll();
    }
    let sum = bed.sum();
    // A forwarded flow has two states.
    assert_eq!(sum.worker.states, 20);
    let refused = sum.drops[0][Reason::Memory as usize];
    assert_eq!(bed.get(LAN).len() as u64 + refused, 64);
    assert!(bed.sheet(0).worker.states > 0 && bed.sheet(1).worker.states > 0);
    assert_eq!(bed.end(), 0);
}

/// Whatever the workers' polls do to each other: the packets of a flow that one queue received leave in their order.
#[test]
fn d09_order_is_kept_for_each_queue_and_flow_however_workers_come_back() {
    const FLOWS: u16 = 16;
    let mut bed = Bed::passing(STATES);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    // By queue and flow.
    let mut sent = [[0_u16; FLOWS as usize]; WORKERS];
    let mut seen = [[0_u16; FLOWS as usize]; WORKERS];
    for _ in 0..2000 {
        for _ in 0..draw(40) {
            let (queue, flow) = (draw(2) as u16, draw(u64::from(FLOWS)) as u16);
            let number = &mut sent[usize::from(queue)][usize::from(flow)];
            *number += 1;
            bed.put(WAN, usize::from(queue), &datagram(WAN, flow, queue << 15 | *number));
        }
        // Each comes back often enough for the rings to hold what waits.
        for _ in 0..4 {
            bed.poll_one(draw(2) as usize);
        }
        for frame in bed.get(LAN) {
            let (queue, number) = (usize::from(mark(&frame) >> 15), mark(&frame) & 0x7fff);
            let last = &mut seen[queue][usize::from(flow(&frame))];
            assert!(number > *last, "packet {number} of flow {} behind {last}", flow(&frame));
            *last = number;
        }
    }
    let sum = bed.sum();
    assert!(sum.worker.handoff_in > 10_000, "{:?}", sum.worker);
    assert_eq!(sum.drops.iter().flatten().sum::<u64>(), 0, "nothing found a ring full");
    bed.end();
}
