//! A worker between ports that are rings in this process: what goes in, what comes out, and that every mbuf comes back.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

mod bed;
mod exhaustion;
mod forms;
mod fragments;
mod links;
mod listings;
mod mirror;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bed::{
    Bed, CLIENT, CLIENT_MAC, KNOWN, LAN, LAN_HOST, LAN_MAC, LAN_WIRE, SERVER, SERVER_MAC, WAN, WAN_HOST,
    WAN_MAC, WAN_WIRE, arp, eal, fib, request, udp,
};
use dpdk::Burst;
use engine::{DropPlace, InterfaceId, Seen, Source, Tick};
use ruleset::{Action, Direction, LogOptions, Reason, Rule, StateMode};
use worker::control::journal::Journal;
use worker::hold::{PATIENCE, PER_NEIGHBOR_MAX};
use worker::netlink::service::{Ask, Published};

#[test]
fn f08_nothing_is_forwarded_before_there_are_rules() {
    let mut bed = Bed::new(KNOWN);
    for _ in 0..10 {
        bed.put(WAN_WIRE, &request());
        bed.put(LAN_HOST, &udp((LAN_MAC, SERVER_MAC), [10, 2, 0, 1], SERVER, 20));
    }
    bed.poll();
    for side in [WAN_WIRE, WAN_HOST, LAN_WIRE, LAN_HOST] {
        assert!(bed.get(side).is_empty());
    }
    assert_eq!((bed.dropped(InterfaceId(0), Reason::NoRules), bed.dropped(LAN, Reason::NoRules)), (10, 10));
    bed.pass();
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1, "with rules the same packet passes");
    bed.end();
}

#[test]
fn a_packet_leaves_with_the_next_links_addresses_and_one_hop_less() {
    let mut bed = Bed::passing(KNOWN);
    bed.put(WAN_WIRE, &request());
    bed.poll();
    let [frame] = &bed.get(LAN_WIRE)[..] else { panic!("one frame") };
    assert_eq!((&frame[..6], &frame[6..12]), (&SERVER_MAC.0[..], &LAN_MAC.0[..]));
    assert_eq!(frame[22], 63, "TTL");
    let words = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "header checksum");
    assert_eq!(frame[34..], request()[34..]);
    let answer = udp((SERVER_MAC, LAN_MAC), SERVER, CLIENT, 20);
    bed.put(LAN_WIRE, &answer);
    bed.poll();
    assert_eq!(bed.get(WAN_WIRE).len(), 1);
    let sheet = bed.end();
    assert_eq!((sheet.interfaces[0].rx_packets, sheet.interfaces[0].tx_packets), (1, 1));
    assert_eq!(sheet.interfaces[0].rx_bytes, request().len() as u64);
}

/// From a rule with `log` to an entry with its time and names; the packet's own way is not changed by it.
#[test]
fn a_logged_packet_reaches_a_reader_with_its_time_and_names() {
    let mut bed = Bed::new(KNOWN);
    let log = LogOptions { enabled: true, ..LogOptions::default() };
    bed.commit(Rule { action: Action::Pass, state: StateMode::Keep, log, ..Rule::default() });
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1);
    let seen = bed.now;
    let second_later = move || seen + Tick::from_secs(1);
    let rings = std::mem::take(&mut bed.office.logs);
    let kernel = Arc::new(Published::new(fib(1, KNOWN)));
    let before = SystemTime::now();
    let journal = Journal::start(rings, kernel, second_later).unwrap();
    let reader = journal.subscribe().unwrap();
    let mut entries = Vec::new();
    while entries.len() < 2 {
        entries.extend_from_slice(&reader.next(Duration::from_secs(10)).expect("an entry for each hook"));
    }
    let [into, out] = &entries[..] else { panic!("one entry for each hook: {entries:?}") };
    for (entry, interface, direction) in [(into, "wan0", Direction::In), (out, "lan0", Direction::Out)] {
        assert_eq!((entry.interface.as_str(), entry.direction), (interface, direction));
        assert_eq!((entry.passed, entry.reason, entry.rule), (true, 0, Some(0)));
        assert_eq!((entry.source, entry.destination), (CLIENT.into(), SERVER.into()));
        assert_eq!((entry.source_port, entry.destination_port), (12345, 53));
        assert_eq!((entry.length, entry.bytes.len()), (48, 48));
        let time = UNIX_EPOCH + Duration::new(entry.seconds, entry.nanoseconds);
        let second_before = [before, SystemTime::now()].map(|moment| moment - Duration::from_secs(1));
        assert!((second_before[0]..=second_before[1]).contains(&time), "{time:?}");
    }
    assert_eq!(into.bytes, request()[14..]);
    drop(journal);
    assert_eq!(bed.end().worker.log_lost, 0);
}

#[test]
fn what_the_log_has_no_room_for_is_counted_and_forwarded() {
    const PACKETS: u64 = 4 * 1024;
    let mut bed = Bed::new(KNOWN);
    let log = LogOptions { enabled: true, all: true, ..LogOptions::default() };
    bed.commit(Rule { action: Action::Pass, state: StateMode::None, log, ..Rule::default() });
    let mut forwarded = 0;
    for _ in 0..PACKETS / 32 {
        for _ in 0..32 {
            bed.put(WAN_WIRE, &request());
        }
        bed.poll();
        forwarded += bed.get(LAN_WIRE).len() as u64;
    }
    let kept = std::iter::from_fn(|| bed.office.logs[0].next()).count();
    assert_eq!((forwarded, kept), (PACKETS, worker::log::RING));
    // Each packet met two hooks; the shard keeps what it can of the rest, and the ring is free again.
    let lost = bed.sheet().worker.log_lost;
    assert!((1..=2 * PACKETS - kept as u64).contains(&lost), "{lost} lost");
    bed.poll();
    assert!(bed.office.logs[0].next().is_some());
    bed.end();
}

#[test]
fn what_is_for_the_host_reaches_it_and_what_it_sends_reaches_the_wire() {
    let mut bed = Bed::passing(KNOWN);
    let to_host = udp((CLIENT_MAC, WAN_MAC), CLIENT, WAN, 20);
    bed.put(WAN_WIRE, &to_host);
    bed.put(WAN_WIRE, &arp());
    bed.put(LAN_HOST, &arp());
    bed.poll();
    assert_eq!(bed.get(WAN_HOST), [to_host, arp()]);
    assert_eq!(bed.get(LAN_WIRE), [arp()]);
    let sheet = bed.end();
    assert_eq!((sheet.interfaces[0].punted_packets, sheet.interfaces[1].host_in_packets), (2, 1));
}

#[test]
fn a_packet_for_an_unknown_neighbour_waits_until_it_is_known() {
    let mut bed = Bed::passing(&[]);
    for _ in 0..3 {
        bed.put(WAN_WIRE, &request());
    }
    bed.poll();
    assert!(bed.get(LAN_WIRE).is_empty());
    assert_eq!(bed.sheet().worker.held, 3);
    assert_eq!(bed.office.asks.try_recv(), Ok(Ask { interface: LAN, address: IpAddr::from(SERVER) }));
    assert!(bed.office.fibs.offer(fib(2, KNOWN)));
    bed.poll();
    let frames = bed.get(LAN_WIRE);
    assert_eq!(frames.len(), 3);
    assert_eq!((&frames[0][..6], &frames[0][6..12]), (&SERVER_MAC.0[..], &LAN_MAC.0[..]));
    assert_eq!(bed.sheet().worker.held, 0);
    bed.end();
}

#[test]
fn a_packet_for_a_neighbour_that_never_answers_is_dropped_and_answered() {
    let mut bed = Bed::passing(&[]);
    bed.put(WAN_WIRE, &request());
    bed.poll();
    bed.now = bed.now + PATIENCE;
    bed.poll();
    assert_eq!((bed.dropped(LAN, Reason::NoNeighbor), bed.sheet().worker.held), (1, 0));
    assert!(bed.get(LAN_WIRE).is_empty());
    // Its sender is told, where the packet came from: host unreachable, from the address there.
    bed.poll();
    let told = bed.get(WAN_WIRE);
    assert_eq!((told.len(), bed.sheet().created[engine::Created::Icmp as usize]), (1, 1));
    assert_eq!((&told[0][..6], &told[0][6..12]), (&CLIENT_MAC.0[..], &WAN_MAC.0[..]));
    assert_eq!((&told[0][26..30], &told[0][30..34], &told[0][34..36]), (&WAN[..], &CLIENT[..], &[3, 1][..]));
    bed.end();
}

#[test]
fn packets_for_unknown_neighbours_are_bounded() {
    let mut bed = Bed::passing(&[]);
    for _ in 0..PER_NEIGHBOR_MAX + 5 {
        bed.put(WAN_WIRE, &request());
    }
    bed.poll();
    assert_eq!(bed.dropped(LAN, Reason::NoNeighbor), 5);
    assert_eq!(bed.sheet().worker.held, PER_NEIGHBOR_MAX as u64);
    // The end gives back what still waits, and counts it.
    let sheet = bed.end();
    assert_eq!(sheet.drops[1][Reason::NoNeighbor as usize], 5 + PER_NEIGHBOR_MAX as u64);
}

#[test]
fn g03_what_a_full_queue_does_not_take_is_freed_once_and_counted() {
    let mut bed = Bed::with_tx_ring(KNOWN, 16);
    bed.pass();
    for _ in 0..50 {
        bed.put(WAN_WIRE, &request());
        bed.put(WAN_WIRE, &udp((CLIENT_MAC, WAN_MAC), CLIENT, WAN, 20));
    }
    bed.poll();
    bed.poll();
    assert_eq!((bed.dropped(LAN, Reason::TxFull), bed.dropped(InterfaceId(0), Reason::HostFull)), (34, 34));
    let mut examples: Vec<_> = (0..8).map(|_| bed.example()).collect();
    examples.sort_by_key(|example| example.reason);
    assert_eq!(bed.example_count(), 0, "four of each reason");
    for (example, place) in
        [(examples[0], (LAN, Source::Wire)), (examples[7], (InterfaceId(0), Source::Host))]
    {
        assert_eq!((example.counted_on, example.place), (place.0, DropPlace::Leaving(place.1)));
        assert!(matches!(example.seen, Seen::Packet(_)), "{example:?}");
    }
    assert_eq!((bed.get(LAN_WIRE).len(), bed.get(WAN_HOST).len()), (16, 16));
    // It goes on as soon as there is room.
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1);
    let sheet = bed.end();
    assert_eq!((sheet.interfaces[1].tx_packets, sheet.interfaces[0].punted_packets), (17, 16));
}

#[test]
fn g11_a_frame_that_the_device_cannot_send_whole_is_dropped() {
    let mut bed = Bed::passing(KNOWN);
    let of_length = |bytes: usize| {
        let mut frame = arp();
        frame.resize(bytes, 0);
        frame
    };
    bed.put(LAN_HOST, &of_length(1522));
    bed.put(LAN_HOST, &of_length(1523));
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).iter().map(Vec::len).collect::<Vec<_>>(), [1522]);
    assert_eq!(bed.dropped(LAN, Reason::TooBig), 1);
    bed.end();
}

#[test]
fn g02_an_empty_pool_stops_nothing_for_good() {
    let mut bed = Bed::passing(KNOWN);
    let mut taken = Burst::new();
    let mut kept = Vec::new();
    bed.put(WAN_WIRE, &request());
    while bed.pool.alloc_burst(&mut taken, 1) {
        kept.push(std::mem::take(&mut taken));
    }
    assert_eq!(bed.pool.available(), 0);
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1, "what is under way needs no buffer");
    drop(kept);
    bed.put(WAN_WIRE, &request());
    bed.poll();
    assert_eq!(bed.get(LAN_WIRE).len(), 1);
    bed.end();
}

/// Frames of any length and content, on every side: every one has its one fate, and every mbuf comes back.
#[test]
fn g01_whatever_comes_is_accounted_for() {
    let mut bed = Bed::passing(KNOWN);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut put = 0;
    for round in 0..2000 {
        for side in [WAN_WIRE, WAN_HOST, LAN_WIRE, LAN_HOST] {
            for _ in 0..random() % 20 {
                let mut frame = if random() % 2 == 0 { request() } else { arp() };
                for _ in 0..random() % 4 {
                    let at = random() as usize % frame.len();
                    frame[at] = random() as u8;
                }
                frame.truncate((random() % 80) as usize + 1);
                bed.put(side, &frame);
                put += 1;
            }
        }
        bed.poll();
        for side in [WAN_WIRE, WAN_HOST, LAN_WIRE, LAN_HOST] {
            // Sometimes nobody takes what comes out.
            if round % 5 != 0 {
                drop(bed.get(side));
            }
        }
        let sum = bed.sheet().conservation();
        assert!(sum.holds(), "in round {round}: {sum:?}");
        assert_eq!(sum.rx + sum.host_in, put);
    }
    bed.end();
}
