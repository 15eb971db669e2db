//! The packet that an ICMP error quotes.
//!
//! # Overview
//! Of the packet that caused it, an ICMP error is sure to quote the IP header and the first 8 octets behind it (RFC 792);
//! newer routers quote more (RFC 1812 §4.3.2.3, RFC 4443 §2.4). So nothing is read here behind those 8: ports and the
//! sequence number of TCP, but neither its flags nor its checksum. Length fields speak of the packet as it was, not of
//! the quote, and are not compared with it; nor is any checksum, since routers on the way have changed the header.

use core::net::IpAddr;

use crate::field::header;
use crate::{Af, Error, Fragment, Port, Proto, Seq, icmp4, icmp6, ipv4, ipv6, udp};

/// Octets of the upper layer that a quote is sure to hold.
pub const TRANSPORT_LEN: usize = 8;

header! {
    /// The 8 octets of a TCP header that a quote is sure to hold.
    pub TcpStart[TRANSPORT_LEN];
    /// Source port.
    pub src_port, set_src_port: Port = 0;
    /// Destination port.
    pub dst_port, set_dst_port: Port = 2;
    /// Sequence number.
    pub seq, set_seq: Seq = 4;
}

/// The start of the upper layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        src_port: Port,
        /// Destination port.
        dst_port: Port,
        /// Sequence number.
        seq: Seq,
    },
    /// UDP.
    Udp {
        /// Source port.
        src_port: Port,
        /// Destination port.
        dst_port: Port,
    },
    /// ICMP in an IPv4 packet; the last two only mean something in queries.
    Icmp4 {
        /// Type.
        kind: icmp4::Type,
        /// Code.
        code: u8,
        /// Identifier.
        ident: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// ICMPv6 in an IPv6 packet; the last two only mean something in echoes.
    Icmp6 {
        /// Type.
        kind: icmp6::Type,
        /// Code.
        code: u8,
        /// Identifier.
        ident: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// A fragment that is not the first: no upper-layer header in it.
    LaterFragment,
    /// Another protocol, ICMP of the other family included.
    Other,
}

impl Transport {
    /// Reads the start of `bytes`; `Short` if a protocol known here has fewer than 8 octets there.
    fn parse(af: Af, proto: Proto, bytes: &[u8]) -> Result<Self, Error> {
        Ok(match (af, proto) {
            (_, Proto::TCP) => {
                let tcp = TcpStart::at(bytes, 0)?;
                Self::Tcp { src_port: tcp.src_port(), dst_port: tcp.dst_port(), seq: tcp.seq() }
            }
            (_, Proto::UDP) => {
                let udp = udp::Header::at(bytes, 0)?;
                Self::Udp { src_port: udp.src_port(), dst_port: udp.dst_port() }
            }
            (Af::Inet, Proto::ICMP) => {
                let icmp = icmp4::Header::at(bytes, 0)?;
                let (ident, sequence) = (icmp.ident(), icmp.sequence());
                Self::Icmp4 { kind: icmp.kind(), code: icmp.code(), ident, sequence }
            }
            (Af::Inet6, Proto::ICMP6) => {
                let icmp = icmp6::Header::at(bytes, 0)?;
                let (ident, sequence) = (icmp.ident(), icmp.sequence());
                Self::Icmp6 { kind: icmp.kind(), code: icmp.code(), ident, sequence }
            }
            _ => Self::Other,
        })
    }
}

/// A quoted packet, as far as it can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Source of the quoted packet.
    pub src: IpAddr,
    /// Destination of the quoted packet, of the same family.
    pub dst: IpAddr,
    /// Upper-layer protocol.
    pub proto: Proto,
    /// TTL or hop limit when it was quoted.
    pub ttl: u8,
    /// Fragment fields, if it was a fragment.
    pub fragment: Option<Fragment>,
    /// Where the upper layer starts, in octets from the start of the quote.
    pub transport_offset: usize,
    /// The start of the upper layer.
    pub transport: Transport,
}

impl Quote {
    /// Reads the packet quoted in `bytes`, of the family of the error. The errors are those of
    /// [`ipv4::Packet::parse_quoted`], or of [`ipv6::Packet::parse_quoted`] and [`ipv6::Chain::walk`], and `Short` if
    /// the upper layer has fewer octets than promised.
    pub fn parse(af: Af, bytes: &[u8]) -> Result<Self, Error> {
        match af {
            Af::Inet => Self::parse_v4(bytes),
            Af::Inet6 => Self::parse_v6(bytes),
        }
    }

    fn parse_v4(bytes: &[u8]) -> Result<Self, Error> {
        let packet = ipv4::Packet::parse_quoted(bytes)?;
        let header = packet.header();
        Self {
            src: header.src().into(),
            dst: header.dst().into(),
            proto: header.proto(),
            ttl: header.ttl(),
            fragment: header.fragment(),
            transport_offset: header.header_len(),
            transport: Transport::Other,
        }
        .with_transport(Af::Inet, packet.payload())
    }

    fn parse_v6(bytes: &[u8]) -> Result<Self, Error> {
        let packet = ipv6::Packet::parse_quoted(bytes)?;
        let header = packet.header();
        let chain = packet.chain()?;
        Self {
            src: header.src().into(),
            dst: header.dst().into(),
            proto: chain.upper,
            ttl: header.hop_limit(),
            fragment: chain.fragment.map(|place| place.fragment),
            transport_offset: chain.offset,
            transport: Transport::Other,
        }
        .with_transport(Af::Inet6, packet.upper(&chain))
    }

    fn with_transport(self, af: Af, bytes: &[u8]) -> Result<Self, Error> {
        let transport = match self.fragment {
            Some(fragment) if !fragment.is_first() => Transport::LaterFragment,
            _ => Transport::parse(af, self.proto, bytes)?,
        };
        Ok(Self { transport, ..self })
    }
}
