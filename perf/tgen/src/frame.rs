//! Frames: written from templates, and taken apart.
//!
//! Overview: a [`Template`] is a frame with everything that all packets of its kind share, and the sums over that; writing
//! one copies it and fills in addresses, ports, TCP's fields and the mark, with the checksums that follow.

use anyhow::{Result, anyhow};
use dpdk::{Mbuf, NoRoom};
use wire::checksum::{Pseudo, Sum};
use wire::{Checksum, EtherType, Mac, Proto, TcpFlags, ethernet, ipv4, ipv6, tcp, udp};

use crate::flow::Tuple;
use crate::mark::{self, Mark};
use crate::profile::Family;

/// The window of every segment, and its scale, announced in SYN segments.
pub const WINDOW: u16 = u16::MAX;
/// As [`WINDOW`].
pub const WINDOW_SHIFT: u8 = 7;
/// Octets of a segment's data at most, without IP and TCP options, over IPv6 as well.
pub const SEGMENT_MAX: usize = 1440;

/// The window scale option (RFC 7323 §2.2) behind a no-operation.
const SYN_OPTIONS: [u8; 4] = [1, 3, 3, WINDOW_SHIFT];
/// The shortest frame without its check sequence.
const SHORTEST: usize = 60;

/// Where the headers of packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    family: Family,
    tcp: bool,
}

impl Layout {
    /// Of UDP.
    pub const fn udp(family: Family) -> Self {
        Self { family, tcp: false }
    }

    /// Of TCP.
    pub const fn tcp(family: Family) -> Self {
        Self { family, tcp: true }
    }

    const fn transport(self) -> usize {
        ethernet::HEADER_LEN
            + match self.family {
                Family::Ipv4 => ipv4::HEADER_LEN,
                Family::Ipv6 => ipv6::HEADER_LEN,
            }
    }

    /// Octets in front of the data, without options.
    pub const fn headers(self) -> usize {
        self.transport() + if self.tcp { tcp::HEADER_LEN } else { udp::HEADER_LEN }
    }

    /// Octets of data in one segment at most.
    pub const fn segment_max(self) -> usize {
        SEGMENT_MAX
    }

    const fn addresses(self) -> core::ops::Range<usize> {
        match self.family {
            Family::Ipv4 => 26..34,
            Family::Ipv6 => 22..54,
        }
    }

    const fn protocol(self) -> Proto {
        if self.tcp { Proto::TCP } else { Proto::UDP }
    }
}

/// The fields of a segment that change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: TcpFlags,
}

/// A frame with what all of its kind share.
#[derive(Clone, Debug)]
pub struct Template {
    layout: Layout,
    data: usize,
    frame: Vec<u8>,
    /// Over the IPv4 header.
    header: Sum,
    /// Over pseudo header, transport header and data.
    transport: Sum,
}

impl Template {
    /// A frame with so many octets of data, of zeros.
    ///
    /// # Errors
    /// It would be longer than a packet can be.
    pub fn new(layout: Layout, data: usize, from: Mac, to: Mac) -> Result<Self> {
        Self::build(layout, &[], data, from, to)
    }

    /// A frame of a segment with SYN, which announces a window scale.
    ///
    /// # Errors
    /// None.
    pub fn syn(layout: Layout, from: Mac, to: Mac) -> Result<Self> {
        Self::build(layout, &SYN_OPTIONS, 0, from, to)
    }

    fn build(layout: Layout, options: &[u8], data: usize, from: Mac, to: Mac) -> Result<Self> {
        let (l4, headers) = (layout.transport(), layout.headers());
        let length = headers + options.len() + data;
        let mut frame = vec![0; length.max(SHORTEST)];
        let wrong = |error: wire::Error| anyhow!("a frame of {length} bytes: {error}");
        let ether_type = match layout.family {
            Family::Ipv4 => EtherType::IPV4,
            Family::Ipv6 => EtherType::IPV6,
        };
        let link = ethernet::Repr { dst: to, src: from, tags: ethernet::Tags::None, ether_type };
        link.emit(&mut frame).map_err(wrong)?;
        let ip = &mut frame[ethernet::HEADER_LEN..];
        let mut header = Sum::ZERO;
        match layout.family {
            Family::Ipv4 => {
                let any = core::net::Ipv4Addr::UNSPECIFIED;
                ipv4::Repr::new(any, any, layout.protocol(), length - l4).emit(ip).map_err(wrong)?;
                ipv4::Header::at_mut(ip, 0).map_err(wrong)?.set_checksum(Checksum::ZERO);
                header = header.plus(&ip[..ipv4::HEADER_LEN]);
            }
            Family::Ipv6 => {
                let any = core::net::Ipv6Addr::UNSPECIFIED;
                ipv6::Repr::new(any, any, layout.protocol(), length - l4).emit(ip).map_err(wrong)?;
            }
        }
        let transport = &mut frame[l4..length];
        if layout.tcp {
            transport[12] = ((tcp::HEADER_LEN + options.len()) as u8) << 2;
            tcp::Header::at_mut(transport, 0).map_err(wrong)?.set_window(WINDOW);
            transport[tcp::HEADER_LEN..][..options.len()].copy_from_slice(options);
        } else {
            udp::Header::at_mut(transport, 0).map_err(wrong)?.set_length((length - l4) as u16);
        }
        let zero = core::net::Ipv4Addr::UNSPECIFIED;
        // Addresses are added for each packet; with those of zeros both families sum alike.
        let sum = Pseudo::V4(zero, zero).sum(layout.protocol(), length - l4).plus(transport);
        Ok(Self { layout, data, frame, header, transport: sum })
    }

    /// Octets of its data.
    pub const fn data(&self) -> usize {
        self.data
    }

    /// Writes a packet into an empty buffer. `tcp` is for segments; data, if any, begins with `mark`.
    ///
    /// # Errors
    /// The buffer is too small.
    ///
    /// # Panics
    /// If the template has no room for a mark that is given.
    #[inline]
    pub fn write(
        &self,
        mbuf: &mut Mbuf,
        tuple: &Tuple,
        tcp: Option<Tcp>,
        mark: Option<&Mark>,
    ) -> Result<(), NoRoom> {
        mbuf.extend_from_slice(&self.frame)?;
        let frame = mbuf.data_mut();
        let addresses = self.layout.addresses();
        let both = &tuple.addresses[..addresses.len()];
        frame[addresses].copy_from_slice(both);
        if self.layout.family == Family::Ipv4 {
            let sum = self.header.plus(both).checksum();
            frame[24..26].copy_from_slice(&sum.0);
        }
        let transport = &mut frame[self.layout.transport()..];
        let mut sum = self.transport.plus(both).plus(&tuple.ports);
        transport[..4].copy_from_slice(&tuple.ports);
        if let Some(tcp) = tcp {
            transport[4..8].copy_from_slice(&tcp.seq.to_be_bytes());
            transport[8..12].copy_from_slice(&tcp.ack.to_be_bytes());
            transport[13] = tcp.flags.0;
            sum = sum.plus(&transport[4..12]).plus(&[0, tcp.flags.0]);
        }
        if let Some(mark) = mark {
            let octets = mark.octets();
            let at = self.layout.headers() - self.layout.transport();
            transport[at..at + mark::LEN].copy_from_slice(&octets);
            sum = sum.plus(&octets);
        }
        if self.layout.tcp {
            transport[16..18].copy_from_slice(&sum.checksum().0);
        } else {
            transport[6..8].copy_from_slice(&sum.checksum().for_udp().0);
        }
        Ok(())
    }
}

/// A packet that came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its addresses and ports.
    pub tuple: Tuple,
    /// Of a segment.
    pub tcp: Option<Tcp>,
    /// Its data.
    pub data: &'a [u8],
}

/// Why a frame is no packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It is of another kind: neighbours, routers, ICMP.
    Other,
    /// It is cut, or a checksum is wrong.
    Damaged,
}

/// Takes a frame apart, whose packet is to have this layout.
///
/// # Errors
/// It has not.
#[inline]
pub fn read(layout: Layout, frame: &[u8]) -> Result<Received<'_>, Stranger> {
    let frame = ethernet::Frame::parse(frame).map_err(|_| Stranger::Other)?;
    let mut addresses = [0; 32];
    let damaged = |_| Stranger::Damaged;
    let (pseudo, protocol, payload) = match (layout.family, frame.ether_type()) {
        (Family::Ipv4, EtherType::IPV4) => {
            let packet = ipv4::Packet::parse(frame.payload()).map_err(damaged)?;
            packet.verify_checksum().map_err(damaged)?;
            let header = packet.header();
            addresses[..4].copy_from_slice(&header.src().octets());
            addresses[4..8].copy_from_slice(&header.dst().octets());
            (Pseudo::V4(header.src(), header.dst()), header.proto(), packet.payload())
        }
        (Family::Ipv6, EtherType::IPV6) => {
            let packet = ipv6::Packet::parse(frame.payload()).map_err(damaged)?;
            let header = packet.header();
            addresses[..16].copy_from_slice(&header.src().octets());
            addresses[16..].copy_from_slice(&header.dst().octets());
            (Pseudo::V6(header.src(), header.dst()), header.next_header(), packet.payload())
        }
        _ => return Err(Stranger::Other),
    };
    if protocol != layout.protocol() {
        return Err(Stranger::Other);
    }
    let (tcp, data) = if layout.tcp {
        wire::checksum::verify_tcp(&pseudo, payload).map_err(damaged)?;
        let segment = tcp::Segment::parse(payload).map_err(damaged)?;
        let header = segment.header();
        let tcp = Tcp { seq: header.seq().0, ack: header.ack().0, flags: header.flags() };
        (Some(tcp), segment.payload())
    } else {
        let datagram = udp::Datagram::parse(payload).map_err(damaged)?;
        wire::checksum::verify_udp(&pseudo, datagram.octets()).map_err(damaged)?;
        (None, datagram.payload())
    };
    let ports = *payload.first_chunk().ok_or(Stranger::Damaged)?;
    Ok(Received { tuple: Tuple { addresses, ports }, tcp, data })
}
