//! Fragments: their buffers go back at once, and what leaves of datagrams has buffers of its own.

use engine::{InterfaceId, Tick};
use ruleset::Reason;
use wire::ipv4;

use crate::bed::{
    Bed, CLIENT, CLIENT_MAC, KNOWN, LAN_WIRE, MBUFS, Plan, SERVER, WAN_MAC, WAN_WIRE, request, udp,
};

/// A datagram with so many bytes, cut into fragments of 1480 bytes of data.
fn fragments(ident: u16, payload: usize) -> Vec<Vec<u8>> {
    let whole = udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, payload);
    let data = &whole[34..];
    let cut = data.chunks(1480).enumerate().map(|(number, chunk)| {
        let header = ipv4::Repr {
            ident,
            fragment_offset: (number * 1480) as u16,
            more_fragments: (number + 1) * 1480 < data.len(),
            ..ipv4::Repr::new(CLIENT.into(), SERVER.into(), wire::Proto::UDP, chunk.len())
        };
        let mut frame = whole[..34].to_vec();
        header.emit(&mut frame[14..]).unwrap();
        frame.extend(chunk);
        frame
    });
    cut.collect()
}

#[test]
fn datagrams_are_put_together_and_leave_in_buffers_of_their_own() {
    let mut bed = Bed::passing(KNOWN);
    for ident in 0..20 {
        let mut cut = fragments(ident, 8000);
        cut.reverse();
        for fragment in &cut {
            bed.put(WAN_WIRE, fragment);
        }
        bed.poll();
        let left = bed.get(LAN_WIRE);
        assert_eq!(left.len(), 6);
        let data: Vec<u8> = left.iter().flat_map(|frame| frame[34..].to_vec()).collect();
        assert_eq!(data, udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, 8000)[34..]);
    }
    // Its last fragment does not come before the end.
    for fragment in &fragments(99, 8000)[1..] {
        bed.put(WAN_WIRE, fragment);
    }
    bed.poll();
    assert_eq!((bed.sheet().worker.held, bed.sheet().worker.fragments), (5, 5));
    assert_eq!(bed.pool.in_use(), 0, "what waits needs no buffer");
    let sheet = bed.end();
    assert_eq!((sheet.worker.joined, sheet.worker.fragment_inserts), (100, 21));
    assert_eq!(sheet.drops[0][Reason::Fragment as usize], 5);
}

#[test]
fn datagrams_of_the_longest_kind_pass_by_the_burst() {
    let mut bed = Bed::passing(KNOWN);
    let mut left = 0;
    for round in 0..8 {
        let cut: Vec<Vec<Vec<u8>>> = (0..4).map(|ident| fragments(round * 4 + ident, 65_507)).collect();
        // All but their last ones, and then those in one burst.
        for number in 0..44 {
            cut.iter().for_each(|fragments| bed.put(WAN_WIRE, &fragments[number]));
            bed.poll();
        }
        cut.iter().for_each(|fragments| bed.put(WAN_WIRE, &fragments[44]));
        bed.poll();
        left += bed.get(LAN_WIRE).len();
    }
    assert_eq!(left, 8 * 4 * 45);
    bed.end();
}

/// C3: a flood of first fragments costs nobody else anything, and there is an end to what is kept of it.
#[test]
fn c03_a_flood_of_first_fragments_leaves_other_traffic_alone() {
    let mut bed = Bed::passing(KNOWN);
    let (mut sent, mut passed) = (0, 0);
    for ident in 0..20_000 {
        bed.put(WAN_WIRE, &fragments(ident, 3000)[0]);
        if ident % 32 == 0 {
            bed.put(WAN_WIRE, &request());
            sent += 1;
            bed.poll();
            passed += bed.get(LAN_WIRE).len();
        }
    }
    bed.poll();
    assert_eq!((passed, sent), (625, 625));
    let counts = bed.sheet().worker;
    assert!(counts.fragmented <= 1 << 13 && counts.fragments == counts.fragmented, "{counts:?}");
    assert_eq!(counts.fragments + bed.dropped(InterfaceId(0), Reason::Memory), 20_000);
    // Those that are left are given up in their time, a few in each poll.
    bed.now = bed.now + Tick::from_secs(61);
    let mut polls = 0;
    while bed.worker.poll(bed.now) == worker::idle::Work::None && polls < 600 {
        polls += 1;
    }
    bed.poll();
    assert_eq!(bed.sheet().worker.fragments, 0);
    bed.end();
}

#[test]
fn pieces_without_a_buffer_are_dropped_and_counted() {
    let mut bed = Bed::of(&Plan { mtu: [1500, 576], ..Plan::default() });
    bed.pass();
    let cut = fragments(1, 8000);
    for fragment in &cut[1..] {
        bed.put(WAN_WIRE, fragment);
    }
    bed.poll();
    bed.put(WAN_WIRE, &cut[0]);
    let taken: Vec<_> = std::iter::from_fn(|| bed.pool.alloc()).collect();
    assert_eq!(taken.len() as u32, MBUFS - 1);
    bed.poll();
    drop(taken);
    assert_eq!(bed.get(LAN_WIRE).len(), 1, "the last fragment has left its buffer");
    assert_eq!(bed.dropped(InterfaceId(0), Reason::NoBuffer), 14, "8008 bytes in pieces of 552");
    bed.end();
}
