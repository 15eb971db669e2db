//! Fragments at several workers: those of a datagram meet at one, and the datagram goes to the owner of its flow.

use wire::{Proto, ipv4};

use crate::bed::{Bed, LAN, STATES, WAN, datagram};

/// The datagram of a flow with 3000 bytes more, in fragments.
fn fragments(interface: engine::InterfaceId, flow: u16, ident: u16) -> Vec<Vec<u8>> {
    let small = datagram(interface, flow, 0);
    let packet = ipv4::Packet::parse(&small[14..]).unwrap();
    let (src, dst) = (packet.header().src(), packet.header().dst());
    let mut data = packet.payload().to_vec();
    data.extend((0..3000).map(|at| (at % 251) as u8));
    let length = data.len() as u16;
    data[4..6].copy_from_slice(&length.to_be_bytes());
    let cut = data.chunks(1200).enumerate().map(|(number, chunk)| {
        let header = ipv4::Repr {
            ident,
            fragment_offset: (number * 1200) as u16,
            more_fragments: (number + 1) * 1200 < data.len(),
            ..ipv4::Repr::new(src, dst, Proto::UDP, chunk.len())
        };
        let mut frame = small[..34].to_vec();
        header.emit(&mut frame[14..]).unwrap();
        frame.extend(chunk);
        frame
    });
    cut.collect()
}

/// C6: whichever queues they arrive at.
#[test]
fn c06_fragments_at_different_workers_become_one_datagram() {
    const FLOWS: u16 = 32;
    let mut bed = Bed::passing(STATES);
    for flow in 0..FLOWS {
        // The flow has its states, at one of the workers.
        bed.put(WAN, 0, &datagram(WAN, flow, 0));
    }
    bed.poll();
    bed.poll();
    assert_eq!(bed.get(LAN).len(), usize::from(FLOWS));
    for flow in 0..FLOWS {
        for (number, fragment) in fragments(WAN, flow, 100 + flow).iter().enumerate() {
            bed.put(WAN, (number + usize::from(flow)) % 2, fragment);
        }
        for _ in 0..4 {
            bed.poll();
        }
    }
    let left = bed.get(LAN);
    assert_eq!(left.len(), usize::from(FLOWS) * 3, "3010 bytes in frames of 1500");
    for flow in 0..FLOWS {
        let of_flow = |frame: &&Vec<u8>| u16::from_be_bytes([frame[18], frame[19]]) == 100 + flow;
        let data: Vec<u8> = left.iter().filter(of_flow).flat_map(|frame| frame[34..].to_vec()).collect();
        let sent: Vec<u8> =
            fragments(WAN, flow, 100 + flow).iter().flat_map(|frame| frame[34..].to_vec()).collect();
        assert_eq!(data, sent, "flow {flow}");
    }
    let sum = bed.sum();
    assert_eq!((sum.worker.states, sum.worker.fragments), (u64::from(2 * FLOWS), 0));
    assert_eq!(bed.end(), 0);
}
