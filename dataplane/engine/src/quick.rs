//! Reading the plainest and most frequent packets: TCP and UDP without options, extension headers, tags or fragments.
//!
//! Overview: [`Quick::read`] takes from a frame what the lookup of its connection needs, and what a packet of an established
//! connection needs besides. It refuses nothing: what it does not know is [`Kind::Other`], and [`parse`](crate::parse)
//! decides. Where it speaks, it says the same as `parse` (test `quick_reads_what_parse_reads`).
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wire::{EtherType, Mac, Port, Proto, TcpFlags, ethernet, ipv4, ipv6, tcp, udp};

use crate::state::{Hashing, Key, KeyHash, Narrow, Side};
use crate::track::Plain;
use crate::{Address, RxChecksum, Tuple, Zone};

/// How much is known of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing.
    #[default]
    Other,
    /// Its connection: the state's lines can be fetched, but the packet goes the long way.
    Keyed,
    /// A segment without SYN, FIN and RST, or a datagram, that may be forwarded if its connection is established.
    Plain,
}

/// A packet, as far as it was read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quick {
    pub kind: Kind,
    pub sender: Side,
    /// Bytes of the IP datagram.
    pub length: u16,
    /// The key, but for the addresses of IPv6, which are read again where they are compared.
    pub key: Narrow,
    /// IPv4: to be computed for the whole burst at once.
    pub hash: KeyHash,
    /// TCP.
    pub segment: Plain,
}

/// What holds for every packet of a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    /// The Ethernet address of the interface.
    pub own: Mac,
    /// The routing domain of the interface.
    pub zone: Zone,
}

impl Quick {
    /// Reads a frame that was received from the wire.
    #[inline(always)]
    pub fn read(frame: &[u8], checksum: RxChecksum, door: &Door, hashing: &Hashing) -> Self {
        read(frame, checksum, door, hashing).unwrap_or_default()
    }
}

/// The addresses of an IPv6 frame that was read as such, by side.
#[inline]
pub(crate) fn wide_addresses(frame: &[u8], sender: Side) -> Option<[Address; 2]> {
    let header = ipv6::Header::at(frame, ethernet::HEADER_LEN).ok()?;
    let (src, dst) = (header.src().into(), header.dst().into());
    Some(match sender {
        Side::Low => [src, dst],
        Side::High => [dst, src],
    })
}

/// An IP header without options.
struct Ip<'a> {
    proto: Proto,
    ttl: u8,
    length: u16,
    payload: &'a [u8],
}

/// What a transport header says.
struct Upper {
    sport: Port,
    dport: Port,
    plain: bool,
    segment: Plain,
}

#[inline(always)]
fn read(frame: &[u8], checksum: RxChecksum, door: &Door, hashing: &Hashing) -> Option<Quick> {
    let link = ethernet::Header::at(frame, 0).ok()?;
    // A group frame is never to this address.
    if link.dst() != door.own || door.own.is_group() {
        return None;
    }
    let bytes = frame.get(ethernet::HEADER_LEN..)?;
    match link.ether_type() {
        EtherType::IPV4 => {
            let (ip, [src, dst]) = read_ipv4(bytes, checksum)?;
            let upper = read_upper(&ip)?;
            let (key, sender) = Narrow::inet(ip.proto, door.zone, [src, dst], [upper.sport, upper.dport]);
            Some(quick(&ip, &upper, key, sender, KeyHash::default()))
        }
        EtherType::IPV6 => {
            let (ip, [src, dst]) = read_ipv6(bytes)?;
            let upper = read_upper(&ip)?;
            let Upper { sport, dport, .. } = upper;
            let tuple =
                Tuple { af: wire::Af::Inet6, proto: ip.proto, zone: door.zone, src, dst, sport, dport };
            let (key, sender) = Key::of(&tuple);
            Some(quick(&ip, &upper, Narrow::of(&key), sender, hashing.hash(&key)))
        }
        _ => None,
    }
}

#[inline(always)]
fn quick(ip: &Ip<'_>, upper: &Upper, key: Narrow, sender: Side, hash: KeyHash) -> Quick {
    // Without a hop to live the packet is not forwarded, and its sender is told.
    let kind = if upper.plain && ip.ttl > 1 { Kind::Plain } else { Kind::Keyed };
    Quick { kind, sender, length: ip.length, key, hash, segment: upper.segment }
}

#[inline(always)]
fn read_upper(ip: &Ip<'_>) -> Option<Upper> {
    match ip.proto {
        Proto::TCP => read_tcp(ip.payload),
        Proto::UDP => read_udp(ip.payload),
        _ => None,
    }
}

#[inline(always)]
fn read_ipv4(bytes: &[u8], checksum: RxChecksum) -> Option<(Ip<'_>, [u32; 2])> {
    let header = ipv4::Header::at(bytes, 0).ok()?;
    if header.version() != 4 || header.header_len() != ipv4::HEADER_LEN || header.is_fragment() {
        return None;
    }
    let payload = bytes.get(ipv4::HEADER_LEN..usize::from(header.total_len()))?;
    let sound = match checksum {
        RxChecksum::Good => true,
        RxChecksum::Bad => false,
        RxChecksum::Unknown => wire::checksum::verify_ipv4(header.octets()).is_ok(),
    };
    let ip = Ip { proto: header.proto(), ttl: header.ttl(), length: header.total_len(), payload };
    sound.then(|| (ip, [header.src().to_bits(), header.dst().to_bits()]))
}

#[inline(always)]
fn read_ipv6(bytes: &[u8]) -> Option<(Ip<'_>, [Address; 2])> {
    let header = ipv6::Header::at(bytes, 0).ok()?;
    if header.version() != 6 {
        return None;
    }
    let length = header.payload_len().checked_add(ipv6::HEADER_LEN as u16)?;
    let payload = bytes.get(ipv6::HEADER_LEN..usize::from(length))?;
    // Every extension header has a number that is neither TCP's nor UDP's.
    let ip = Ip { proto: header.next_header(), ttl: header.hop_limit(), length, payload };
    Some((ip, [header.src().into(), header.dst().into()]))
}

#[inline(always)]
fn read_tcp(octets: &[u8]) -> Option<Upper> {
    const DECISIVE: TcpFlags = TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST).union(TcpFlags::ACK);
    let header = tcp::Header::at(octets, 0).ok()?;
    let header_len = header.header_len();
    if header_len < tcp::HEADER_LEN || header.dst_port() == Port(0) {
        return None;
    }
    let len = octets.len().checked_sub(header_len)? as u32;
    Some(Upper {
        sport: header.src_port(),
        dport: header.dst_port(),
        plain: header.flags().masked(DECISIVE) == TcpFlags::ACK,
        segment: Plain { seq: header.seq(), ack: header.ack(), window: header.window(), len },
    })
}

#[inline(always)]
fn read_udp(octets: &[u8]) -> Option<Upper> {
    let header = udp::Header::at(octets, 0).ok()?;
    let length = usize::from(header.length());
    let fits = length >= udp::HEADER_LEN && length <= octets.len() && header.dst_port() != Port(0);
    fits.then(|| Upper {
        sport: header.src_port(),
        dport: header.dst_port(),
        plain: true,
        segment: Plain::default(),
    })
}
