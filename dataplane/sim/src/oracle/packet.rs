//! A packet as the filter sees it: addresses and the header fields that pf looks at, nothing else.
//!
//! Overview: the oracle never touches bytes; [`Packet::parse`](super::Packet::parse) makes this value from a frame's IP
//! packet, and tests write it down directly. Everything is in host order.

use core::net::{IpAddr, Ipv6Addr};

use wire::tcp::Timestamps;
use wire::{Af, Port, Proto, Seq, TcpFlags};

/// Whether a packet carries IPv4 options, or IPv6 headers that pf counts as options (hop-by-hop, routing, destination).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IpOptions {
    /// None, or only those that need no `allow-opts`.
    #[default]
    Absent,
    /// Present: refused without `allow-opts`.
    Present,
}

/// Whether a packet is all of its datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// The whole datagram.
    #[default]
    Whole,
    /// A fragment of it.
    Fragment,
    /// A fragment that begins within the TCP header (RFC 3128).
    WithinHeader,
}

/// Whether the transport checksum is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Right.
    #[default]
    Good,
    /// Wrong.
    Bad,
}

/// A TCP header, and the length behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source_port: Port,
    /// Destination port.
    pub destination_port: Port,
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number.
    pub seq: Seq,
    /// The acknowledgment field, whether or not ACK is set.
    pub ack: Seq,
    /// The window field, unscaled.
    pub window: u16,
    /// Octets of payload.
    pub payload: u32,
    /// The window scale option, as sent.
    pub wscale: Option<u8>,
    /// The timestamps option.
    pub stamps: Option<Timestamps>,
    /// Whether the checksum is right.
    pub checksum: Checksum,
}

impl Tcp {
    /// Sequence space that the segment takes: payload, SYN and FIN (RFC 9293 §3.4, SEG.LEN).
    pub const fn length(&self) -> u32 {
        self.payload + self.flags.contains(TcpFlags::SYN) as u32 + self.flags.contains(TcpFlags::FIN) as u32
    }
}

/// An ICMP or ICMPv6 header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The identifier, of types that have one.
    pub id: u16,
    /// The target of neighbour discovery, or the group of multicast listener discovery.
    pub target: Option<Ipv6Addr>,
    /// The packet that an error quotes; `None` if it is too short to be understood.
    pub quoted: Option<Quoted>,
}

/// What an ICMP error quotes: an IP header and the first eight octets behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Whether it was a fragment other than the first.
    pub part: QuotedPart,
    /// Its transport header.
    pub transport: QuotedTransport,
}

/// Which part of its datagram a quoted packet was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotedPart {
    /// The whole, or the first fragment: the transport header is there.
    #[default]
    First,
    /// A later fragment: what follows the IP header is payload.
    Later,
}

/// The first eight octets of a quoted transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedTransport {
    /// TCP: ports and sequence number, no more.
    Tcp {
        /// Source port.
        source_port: Port,
        /// Destination port.
        destination_port: Port,
        /// Sequence number.
        seq: Seq,
    },
    /// UDP.
    Udp {
        /// Source port.
        source_port: Port,
        /// Destination port.
        destination_port: Port,
    },
    /// ICMP.
    Icmp {
        /// Type.
        kind: u8,
        /// Identifier.
        id: u16,
    },
    /// ICMPv6.
    Icmp6 {
        /// Type.
        kind: u8,
        /// Identifier.
        id: u16,
    },
    /// Another protocol.
    Other(Proto),
}

/// What is behind the IP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp {
        /// Source port.
        source_port: Port,
        /// Destination port.
        destination_port: Port,
    },
    /// ICMP (protocol 1), in whichever family.
    Icmp(Icmp),
    /// ICMPv6 (protocol 58), in whichever family.
    Icmp6(Icmp),
    /// Another protocol.
    Other(Proto),
}

impl Transport {
    /// Its protocol number.
    pub const fn proto(&self) -> Proto {
        match self {
            Self::Tcp(_) => Proto::TCP,
            Self::Udp { .. } => Proto::UDP,
            Self::Icmp(_) => Proto::ICMP,
            Self::Icmp6(_) => Proto::ICMP6,
            Self::Other(proto) => *proto,
        }
    }
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// The octet of IPv4's type of service; of IPv6's traffic class what `pd->tos` keeps (0xfc).
    pub tos: u8,
    /// Octets from the IP header on, as the header states them.
    pub length: u32,
    /// Options.
    pub options: IpOptions,
    /// Fragmentation. Of a fragment nothing behind the IP header is looked at.
    pub part: Part,
    /// The rest.
    pub transport: Transport,
}

impl Packet {
    /// Its family.
    pub const fn af(&self) -> Af {
        Af::of(&self.source)
    }

    /// Its ICMP header, of either version.
    pub const fn icmp(&self) -> Option<&Icmp> {
        match &self.transport {
            Transport::Icmp(icmp) | Transport::Icmp6(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// The source and destination ports of TCP and UDP.
    pub const fn ports(&self) -> Option<(Port, Port)> {
        match &self.transport {
            Transport::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Transport::Udp { source_port, destination_port } => Some((*source_port, *destination_port)),
            _ => None,
        }
    }
}
