//! A parsed packet: everything that later stages need to know of its headers, in host order.

use wire::{Af, Port, Proto, Seq, ipv4, ipv6};

use crate::Address;
use crate::track::Segment;

/// A routing domain; part of every key, so that zones can share addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(pub u16);

/// What identifies the packets of one connection in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The family of both addresses.
    pub af: Af,
    /// The transport protocol.
    pub proto: Proto,
    /// The routing domain.
    pub zone: Zone,
    /// The sender.
    pub src: Address,
    /// The receiver.
    pub dst: Address,
    /// The sender's port. ICMP queries: the identifier in a request, the request's type in a reply (as pf's keys).
    /// Other ICMP messages: 0.
    pub sport: Port,
    /// The receiver's port. ICMP queries: the request's type in a request, the identifier in a reply. ICMP errors: 0.
    /// Other ICMP messages: their type, so that a state of one matches in its own direction only.
    pub dport: Port,
}

impl Tuple {
    /// The tuple of the packets that go the other way.
    #[must_use]
    pub const fn reverse(self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, ..self }
    }
}

/// The packet that an ICMP error quotes: its own sender and receiver, and what its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its tuple, from its own sender's view.
    pub tuple: Tuple,
    /// TCP: its sequence number.
    pub seq: Seq,
}

/// What a packet carries behind its IP headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Segment),
    /// A UDP datagram.
    Udp,
    /// An ICMP or ICMPv6 query or reply that belongs to a query: echo, timestamp, information, address mask.
    IcmpQuery {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// An ICMP or ICMPv6 error with the packet that it is about.
    IcmpError {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
        /// The packet that it quotes.
        quoted: Quoted,
    },
    /// Any other ICMP or ICMPv6 message: neighbour discovery, multicast listeners, redirects.
    IcmpOther {
        /// ICMP type.
        kind: u8,
        /// ICMP code.
        code: u8,
    },
    /// A fragment, of which only the first one carries a transport header.
    Fragment,
    /// Any other protocol: ports are 0, but for SCTP, which has its own.
    Other,
}

/// A parsed packet. Offsets are in bytes from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Addresses, ports, protocol. `proto` is the upper-layer protocol behind all extension headers.
    pub tuple: Tuple,
    /// Where the IP header starts: the length of the Ethernet header and its tags.
    pub l3: u16,
    /// Where the transport header starts.
    pub l4: u16,
    /// Where the IP datagram ends; padding may follow.
    pub end: u32,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// IPv4: the datagram may not be fragmented. IPv6: always.
    pub dont_fragment: bool,
    /// IPv4 options, or IPv6 hop-by-hop, routing or destination options headers.
    pub options: bool,
    /// The frame was sent to an Ethernet group address (broadcast or multicast).
    pub group_frame: bool,
    /// What it carries.
    pub transport: Transport,
}

/// Octets of an IP header of a family, without options and extension headers.
pub(crate) const fn ip_header_len(af: Af) -> usize {
    match af {
        Af::Inet => ipv4::HEADER_LEN,
        Af::Inet6 => ipv6::HEADER_LEN,
    }
}

impl Packet {
    /// A packet of which there is no frame, with what rules look at: no options, to one station, with 64 hops to live.
    pub(crate) const fn without_frame(tuple: Tuple, transport: Transport) -> Self {
        Self {
            tuple,
            l3: 0,
            l4: 0,
            end: 0,
            ttl: 64,
            tos: 0,
            dont_fragment: true,
            options: false,
            group_frame: false,
            transport,
        }
    }

    /// Bytes of the IP datagram, headers included: what pf counts.
    #[inline]
    pub const fn length(&self) -> u32 {
        self.end - self.l3 as u32
    }
}
