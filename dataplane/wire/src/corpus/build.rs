//! Packets from values and payloads, layer by layer.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::alloc;
use crate::checksum::Pseudo;
use crate::ethernet::{self, Tags};
use crate::ipv6::{self, Extension};
use crate::{EtherType, Mac, Proto, icmp4, icmp6, ipv4, tcp, udp};

/// The Ethernet address that all frames come from.
pub const SRC_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
/// The Ethernet address that all frames go to.
pub const DST_MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x02]);
/// The IPv4 address that all packets come from.
pub const SRC4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The IPv4 address that all packets go to.
pub const DST4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
/// The IPv6 address that all packets come from.
pub const SRC6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The IPv6 address that all packets go to.
pub const DST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2);
/// The pseudo header of the IPv4 packets.
pub const PSEUDO4: Pseudo = Pseudo::V4(SRC4, DST4);
/// The pseudo header of the IPv6 packets.
pub const PSEUDO6: Pseudo = Pseudo::V6(SRC6, DST6);

/// `header_len` zeros, then `payload`.
fn room(header_len: usize, payload: &[u8]) -> Vec<u8> {
    [&vec![0; header_len], payload].concat()
}

/// A frame from [`SRC_MAC`] to [`DST_MAC`].
pub fn ethernet(tags: Tags, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = ethernet::Repr { dst: DST_MAC, src: SRC_MAC, tags, ether_type };
    let mut out = room(header.len(), payload);
    header.emit(&mut out).expect("the room is there");
    out
}

/// An untagged frame that holds an IPv4 packet.
pub fn frame4(header: &ipv4::Repr, payload: &[u8]) -> Vec<u8> {
    ethernet(Tags::None, EtherType::IPV4, &ipv4(header, payload))
}

/// An untagged frame that holds an IPv6 packet.
pub fn frame6(extensions: &[Extension<'_>], upper: Proto, payload: &[u8]) -> Vec<u8> {
    ethernet(Tags::None, EtherType::IPV6, &ipv6(extensions, upper, payload))
}

/// The IPv4 header that packets have unless said otherwise: from [`SRC4`] to [`DST4`].
pub fn header4(proto: Proto) -> ipv4::Repr {
    ipv4::Repr { ident: 0x1234, ..ipv4::Repr::new(SRC4, DST4, proto, 0) }
}

/// An IPv4 packet; the payload length of `header` is set.
pub fn ipv4(header: &ipv4::Repr, payload: &[u8]) -> Vec<u8> {
    let header = ipv4::Repr { payload_len: payload.len(), ..*header };
    let mut out = room(header.header_len(), payload);
    header.emit(&mut out).expect("an IPv4 header that can be sent");
    out
}

/// An IPv6 packet with a chain of extension headers.
pub fn ipv6(extensions: &[Extension<'_>], upper: Proto, payload: &[u8]) -> Vec<u8> {
    let mut next = upper;
    let mut chain = payload.to_vec();
    for extension in extensions.iter().rev() {
        chain = room(extension.len(), &chain);
        extension.emit(next, &mut chain).expect("an extension header that can be sent");
        next = extension.proto();
    }
    let header = ipv6::Repr { flow_label: 0x1_2345, ..ipv6::Repr::new(SRC6, DST6, next, chain.len()) };
    let mut out = room(ipv6::HEADER_LEN, &chain);
    header.emit(&mut out).expect("an IPv6 header that can be sent");
    out
}

/// A TCP segment.
pub fn tcp(pseudo: &Pseudo, header: &tcp::Repr, data: &[u8]) -> Vec<u8> {
    let mut out = room(header.header_len(), data);
    header.emit(pseudo, &mut out).expect("a TCP header that can be sent");
    out
}

/// A UDP datagram.
pub fn udp(pseudo: &Pseudo, header: &udp::Repr, data: &[u8]) -> Vec<u8> {
    let mut out = room(udp::HEADER_LEN, data);
    header.emit(pseudo, &mut out).expect("a UDP header that can be sent");
    out
}

/// An ICMP message.
pub fn icmp4(header: &icmp4::Repr, body: &[u8]) -> Vec<u8> {
    let mut out = room(icmp4::HEADER_LEN, body);
    header.emit(&mut out).expect("the room is there");
    out
}

/// An ICMPv6 message from [`SRC6`] to [`DST6`].
pub fn icmp6(header: &icmp6::Repr, body: &[u8]) -> Vec<u8> {
    let mut out = room(icmp6::HEADER_LEN, body);
    header.emit(SRC6, DST6, &mut out).expect("the room is there");
    out
}
