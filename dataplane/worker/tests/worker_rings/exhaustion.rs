//! No buffers, and no room in a queue.

use std::iter;

use dpdk::{Mbuf, Mempool, PoolConfig};
use engine::{Created, InterfaceId};
use ruleset::{Action, BlockReply, IcmpReply, Reason, Rule};

use crate::{Bed, CLIENT, CLIENT_MAC, KNOWN, LAN, LAN_WIRE, SERVER, WAN_MAC, WAN_WIRE, eal, request, udp};

/// The sum over 16-bit words, folded (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (folded + (folded >> 16)) as u16
}

/// The first segment of a connection from the client to the server, in a frame with right checksums.
fn syn() -> Vec<u8> {
    const TCP: usize = 34;
    let mut frame = udp((CLIENT_MAC, WAN_MAC), CLIENT, SERVER, 12);
    frame[23] = 6;
    frame[24..26].fill(0);
    frame[TCP..].copy_from_slice(&[0x30, 0x39, 0, 80, 0, 0, 0, 9, 0, 0, 0, 0, 0x50, 2, 16, 0, 0, 0, 0, 0]);
    let pseudo = [&CLIENT[..], &SERVER[..], &[0, 6, 0, 20], &frame[TCP..]].concat();
    let checksums = [(24, !sum(&frame[14..TCP])), (TCP + 16, !sum(&pseudo))];
    for (at, checksum) in checksums {
        frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }
    frame
}

/// Answers are made out of the packets that they answer: neither a RST nor an ICMP error needs a buffer.
#[test]
fn g02_answers_need_no_buffer() {
    let mut bed = Bed::new(KNOWN);
    let reply = BlockReply::Return(IcmpReply::default());
    bed.commit(Rule { action: Action::Block(reply), ..Rule::default() });
    bed.put(WAN_WIRE, &request());
    bed.put(WAN_WIRE, &syn());
    let mut kept = Vec::new();
    kept.extend(iter::from_fn(|| bed.pool.alloc()));
    assert_eq!(bed.pool.available(), 0);
    bed.poll();
    let answers = bed.get(WAN_WIRE);
    let protocols: Vec<u8> = answers.iter().map(|frame| frame[23]).collect();
    assert_eq!(protocols, [1, 6], "an ICMP error and a RST");
    let sheet = bed.sheet();
    assert_eq!((sheet.created[Created::Icmp as usize], sheet.created[Created::Rst as usize]), (1, 1));
    drop(kept);
    bed.end();
}

/// What came in pieces is copied into one buffer. Every k-th copy finds the pool empty, for each k: that packet is dropped
/// and counted, and no other.
#[test]
fn g02_a_packet_in_pieces_that_finds_no_buffer_is_dropped() {
    let small = PoolConfig { frame_bytes: 40, ..PoolConfig::new("pieces", 63) };
    let small = Mempool::new(&eal(), &small).unwrap();
    let mut bed = Bed::passing(KNOWN);
    let (mut refused, mut passed) = (0, 0);
    for k in 1..=100 {
        for number in 1..=k + 3 {
            let mut whole = bed.pool.alloc().unwrap();
            whole.extend_from_slice(&request()).unwrap();
            let pieces = whole.copy(&small).expect("the small pool has enough");
            assert!(!pieces.is_contiguous());
            drop(whole);
            bed.put_mbuf(WAN_WIRE, pieces);
            let fails = number % k == 0;
            let kept: Vec<Mbuf> = if fails { iter::from_fn(|| bed.pool.alloc()).collect() } else { vec![] };
            bed.poll();
            drop(kept);
            let frames = bed.get(LAN_WIRE);
            refused += u64::from(fails);
            passed += frames.len() as u64;
            assert_eq!(frames.len(), usize::from(!fails), "packet {number}, every {k}th refused");
            assert!(frames.iter().all(|frame| frame[34..] == request()[34..]));
        }
    }
    assert_eq!((bed.dropped(InterfaceId(0), Reason::NoBuffer), small.in_use()), (refused, 0));
    assert_eq!(bed.end().interfaces[1].tx_packets, passed);
}

/// A queue takes from none to all of a burst: the rest is freed once and counted, and not tried again.
#[test]
fn g03_a_queue_may_take_any_part_of_a_burst() {
    const SENT: u64 = 24;
    for room in 1..=25 {
        let mut bed = Bed::with_tx_ring(KNOWN, room);
        bed.pass();
        let taken = SENT.min(room.into());
        for (free, total) in [(taken, taken), (u64::from(room) - taken, u64::from(room).min(2 * SENT))] {
            let before = bed.dropped(LAN, Reason::TxFull);
            (0..SENT).for_each(|_| bed.put(WAN_WIRE, &request()));
            bed.poll();
            assert_eq!(bed.dropped(LAN, Reason::TxFull) - before, SENT - free, "with room for {free}");
            assert_eq!(u64::from(bed.pool.in_use()), total, "with room for {free}");
        }
        assert_eq!(bed.get(LAN_WIRE).len() as u64, u64::from(room).min(2 * SENT));
        bed.end();
    }
}
