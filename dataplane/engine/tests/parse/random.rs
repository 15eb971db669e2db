//! Octets that nobody meant: nothing panics, and what is accepted is inside the frame.

use engine::{Parsed, RxChecksum, Transport, Zone, parse};
use proptest::prelude::*;
use wire::corpus::packets;

fn check(frame: &[u8], checksum: RxChecksum) {
    let Ok(Parsed::Ip(packet)) = parse(frame, Zone(0), checksum) else { return };
    assert!(
        packet.l3 < packet.l4 && u32::from(packet.l4) <= packet.end && packet.end as usize <= frame.len()
    );
    assert!(packet.length() >= 20);
    if let Transport::Tcp(segment) = packet.transport {
        // No data offset makes the payload longer than the packet.
        assert!(segment.len + 20 <= packet.end - u32::from(packet.l4));
        assert!(segment.wscale.is_none_or(|shift| shift <= 14));
    }
    let _ = engine::parse::verify_transport(frame, &packet);
}

/// A frame of the corpus, cut to any length whose IP length field says so too: upper layers end early, not frames.
fn cut_with_its_lengths(frame: &mut Vec<u8>, length: usize) {
    let Ok(Parsed::Ip(packet)) = parse(frame, Zone(0), RxChecksum::Unknown) else { return };
    let l3 = usize::from(packet.l3);
    let header_len = if packet.tuple.af == wire::Af::Inet { 20 } else { 40 };
    let ip_len = (length % packet.length() as usize).max(header_len);
    frame.truncate(l3 + ip_len);
    match packet.tuple.af {
        wire::Af::Inet => frame[l3 + 2..l3 + 4].copy_from_slice(&(ip_len as u16).to_be_bytes()),
        wire::Af::Inet6 => frame[l3 + 4..l3 + 6].copy_from_slice(&(ip_len as u16 - 40).to_be_bytes()),
    }
}

#[test]
fn every_cut_with_its_lengths() {
    for (_, frame) in packets() {
        for length in 0..frame.len() {
            let mut cut = frame.clone();
            cut_with_its_lengths(&mut cut, length);
            check(&cut, RxChecksum::Good);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_octets(frame in proptest::collection::vec(any::<u8>(), 0..200), v6: bool) {
        let mut frame = frame;
        if frame.len() > 14 {
            frame[12..15].copy_from_slice(if v6 { &[0x86, 0xdd, 0x60] } else { &[0x08, 0x00, 0x45] });
        }
        check(&frame, RxChecksum::Good);
    }

    #[test]
    fn corpus_with_octets_changed(
        which: prop::sample::Index,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in 0_usize..200,
        cut: bool,
    ) {
        let corpus = packets();
        let mut frame = which.get(&corpus).1.clone();
        for (at, octet) in changes {
            let at = at.index(frame.len());
            frame[at] = octet;
        }
        if cut {
            cut_with_its_lengths(&mut frame, length);
        }
        check(&frame, RxChecksum::Good);
        check(&frame, RxChecksum::Unknown);
    }
}
