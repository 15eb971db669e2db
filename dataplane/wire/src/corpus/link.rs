//! Frames by their link layer, and ARP.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::build::{DST_MAC, DST4, PSEUDO4, SRC_MAC, SRC4, ethernet, header4, ipv4, udp};
use super::{Named, alloc};
use crate::arp::{self, Operation};
use crate::ethernet::{Tag, Tags};
use crate::{EtherType, Mac, Port, Proto, udp};

/// Octets of the shortest frame on a wire, without its check sequence.
const FRAME_LEN_MIN: usize = 60;

pub fn packets() -> Vec<Named> {
    let customer = Tag::vlan(100);
    let service = Tag { tpid: EtherType::QINQ, tci: 200 };
    let priority = Tag { tpid: EtherType::VLAN, tci: 5 << 13 };
    let packet = datagram();
    let tagged = |tags| ethernet(tags, EtherType::IPV4, &packet);
    let mut padded = tagged(Tags::None);
    padded.resize(FRAME_LEN_MIN, 0x55);
    vec![
        ("ethernet, untagged", tagged(Tags::None)),
        ("ethernet, padded", padded),
        ("ethernet, vlan tag", tagged(Tags::One(customer))),
        ("ethernet, priority tag", tagged(Tags::One(priority))),
        ("ethernet, service tag alone", tagged(Tags::One(service))),
        ("ethernet, qinq", tagged(Tags::Two { outer: service, inner: customer })),
        ("ethernet, two customer tags", tagged(Tags::Two { outer: customer, inner: priority })),
        (
            "ethernet, three tags",
            ethernet(Tags::Two { outer: service, inner: customer }, EtherType::VLAN, &packet),
        ),
        ("ethernet, 802.3 length", ethernet(Tags::None, EtherType(0x0026), &[0x42; 0x26])),
        ("ethernet, unknown type", ethernet(Tags::None, EtherType(0xaaaa), &packet)),
        ("ethernet, no payload", ethernet(Tags::None, EtherType(0x88cc), &[])),
        ("arp, request", arp(Operation::REQUEST, SRC4, Mac::default(), DST4)),
        ("arp, reply", arp(Operation::REPLY, SRC4, DST_MAC, DST4)),
        ("arp, gratuitous", arp(Operation::REQUEST, SRC4, Mac::default(), SRC4)),
        ("arp, probe", arp(Operation::REQUEST, Ipv4Addr::UNSPECIFIED, Mac::default(), DST4)),
    ]
}

fn datagram() -> Vec<u8> {
    let header = udp::Repr { src_port: Port(5353), dst_port: Port(53), ..Default::default() };
    ipv4(&header4(Proto::UDP), &udp(&PSEUDO4, &header, b"abc"))
}

fn arp(operation: Operation, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut out = vec![0; arp::PACKET_LEN];
    let packet = arp::Repr { operation, sender_mac: SRC_MAC, sender, target_mac, target };
    packet.emit(&mut out).expect("the room is there");
    ethernet(Tags::None, EtherType::ARP, &out)
}
