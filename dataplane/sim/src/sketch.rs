//! Packets written down before they are bytes: what generators draw, what stories say, and what a failure prints.

use core::fmt;
use core::net::IpAddr;

use wire::checksum::Pseudo;
use wire::corpus::build;
use wire::ethernet::{self, Tags};
use wire::ipv4::OptionKind;
use wire::ipv6::Extension;
use wire::tcp::{self, SackBlock, TcpOption, Timestamps, WindowScale};
use wire::{EtherType, Mac, Port, Proto, Seq, TcpFlags, icmp4, icmp6, ipv4, ipv6, udp};

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A TCP segment.
    Tcp(Segment),
    /// A UDP datagram: ports, octets of payload.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Octets of payload.
        len: u16,
    },
    /// An ICMP or ICMPv6 message without a quote; which of the two, the addresses tell.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier.
        ident: u16,
    },
    /// An ICMP or ICMPv6 error.
    IcmpError {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// The packet that it is about, cut to what is quoted.
        about: Box<Sketch>,
    },
    /// Another protocol.
    Other {
        /// Its number.
        proto: u8,
        /// Octets of payload.
        len: u16,
    },
}

impl Body {
    /// What answers this, if it is a datagram or a query; itself else.
    #[must_use]
    pub fn answer(self) -> Self {
        match self {
            Self::Udp { sport, dport, len } => Self::Udp { sport: dport, dport: sport, len },
            Self::Icmp { kind: 8, code, ident } => Self::Icmp { kind: 0, code, ident },
            Self::Icmp { kind: kind @ (13 | 15 | 17 | 128), code, ident } => {
                Self::Icmp { kind: kind + 1, code, ident }
            }
            other => other,
        }
    }
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// Window, as on the wire.
    pub window: u16,
    /// The window scale option, as on the wire.
    pub wscale: Option<u8>,
    /// Timestamps: the sender's own, and the one that it echoes.
    pub stamps: Option<[u32; 2]>,
    /// The edges of a block that is acknowledged by itself.
    pub sack: Option<[Seq; 2]>,
    /// Octets of payload.
    pub len: u16,
}

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Damage {
    /// Nothing.
    #[default]
    None,
    /// The transport checksum.
    Checksum,
    /// It is a later fragment of something.
    Fragment,
}

/// A packet, before it is bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub tos: u8,
    /// With an IPv4 option, or an IPv6 destination options header.
    pub options: bool,
    /// What is wrong with it.
    pub damage: Damage,
    /// What it carries.
    pub body: Body,
}

/// Octets of a quoted datagram behind its IP header that an error carries.
const QUOTED: usize = 8;

/// Makes the checksum of a segment wrong, by as much as it stays wrong by whatever else is changed: nothing else can be, as
/// flags and the urgent pointer may be cleared on the way.
fn spoil_tcp(segment: &mut [u8]) {
    const CHECKSUM: core::ops::Range<usize> = 16..18;
    if let Some([high, low]) = segment.get_mut(CHECKSUM) {
        let (sum, carry) = u16::from_be_bytes([*high, *low]).overflowing_add(0x55);
        [*high, *low] = sum.wrapping_add(carry.into()).to_be_bytes();
    }
}

impl Sketch {
    /// A sound packet with the usual time to live.
    pub const fn new(src: IpAddr, dst: IpAddr, body: Body) -> Self {
        Self { src, dst, ttl: 64, tos: 0, options: false, damage: Damage::None, body }
    }

    /// The Ethernet frame.
    ///
    /// # Panics
    /// If the addresses are of different families, or the payload is longer than a datagram can be.
    pub fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let ether_type = if self.src.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let header = ethernet::Repr { dst: to, src: from, tags: Tags::None, ether_type };
        let mut frame = room(header.len(), &self.datagram());
        header.emit(&mut frame).expect("the room is there");
        frame
    }

    /// The IP datagram.
    ///
    /// # Panics
    /// As [`Sketch::frame`].
    pub fn datagram(&self) -> Vec<u8> {
        let payload = self.payload();
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = ipv4::Repr::new(src, dst, self.proto(), payload.len());
                (header.ttl, header.tos) = (self.ttl, self.tos);
                if self.damage == Damage::Fragment {
                    header.fragment_offset = 8;
                }
                if self.options {
                    header.options.push(OptionKind(7), &[4, 0, 0, 0, 0]).expect("an option that fits");
                }
                build::ipv4(&header, &payload)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let (next, chain) = self.extended(payload);
                let header = ipv6::Repr {
                    hop_limit: self.ttl,
                    traffic_class: self.tos,
                    ..ipv6::Repr::new(src, dst, next, chain.len())
                };
                let mut out = room(ipv6::HEADER_LEN, &chain);
                header.emit(&mut out).expect("a header that can be sent");
                out
            }
            _ => panic!("{self} has addresses of two families"),
        }
    }

    /// The extension headers in front of an IPv6 payload.
    fn extended(&self, payload: Vec<u8>) -> (Proto, Vec<u8>) {
        const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
        let mut extensions = Vec::new();
        if self.damage == Damage::Fragment {
            extensions.push(Extension::Fragment(wire::Fragment { ident: 7, offset: 8, more: false }));
        }
        if self.options {
            extensions.push(Extension::DstOpts(&PADDING));
        }
        extensions.iter().rev().fold((self.proto(), payload), |(next, chain), extension| {
            let mut chain = room(extension.len(), &chain);
            extension.emit(next, &mut chain).expect("an extension header that can be sent");
            (extension.proto(), chain)
        })
    }

    /// The protocol number.
    pub const fn proto(&self) -> Proto {
        match &self.body {
            Body::Tcp(_) => Proto::TCP,
            Body::Udp { .. } => Proto::UDP,
            Body::Icmp { .. } | Body::IcmpError { .. } => match self.src {
                IpAddr::V4(_) => Proto::ICMP,
                IpAddr::V6(_) => Proto::ICMP6,
            },
            Body::Other { proto, .. } => Proto(*proto),
        }
    }

    fn payload(&self) -> Vec<u8> {
        let pseudo = Pseudo::of(self.src, self.dst).expect("addresses of one family");
        let mut payload = match &self.body {
            Body::Tcp(segment) => segment.emit(&pseudo),
            Body::Udp { sport, dport, len } => {
                let header =
                    udp::Repr { src_port: Port(*sport), dst_port: Port(*dport), cover: udp::Cover::Checksum };
                build::udp(&pseudo, &header, &vec![0; usize::from(*len)])
            }
            Body::Icmp { kind, code, ident } => {
                let [a, b] = ident.to_be_bytes();
                self.icmp(*kind, *code, [a, b, 0, 1], &[0; 8])
            }
            Body::IcmpError { kind, code, about } => self.icmp(*kind, *code, [0; 4], &about.quote()),
            Body::Other { len, .. } => vec![0; usize::from(*len)],
        };
        if self.damage == Damage::Checksum {
            match &self.body {
                Body::Tcp(_) => spoil_tcp(&mut payload),
                // The last octet is covered by the checksum of every protocol that has one.
                _ => {
                    if let Some(octet) = payload.last_mut() {
                        *octet ^= 0x55;
                    }
                }
            }
        }
        payload
    }

    fn icmp(&self, kind: u8, code: u8, rest: [u8; 4], body: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) else {
            return build::icmp4(&icmp4::Repr { kind: icmp4::Type(kind), code, rest }, body);
        };
        let mut out = room(icmp6::HEADER_LEN, body);
        let header = icmp6::Repr { kind: icmp6::Type(kind), code, rest };
        header.emit(src, dst, &mut out).expect("the room is there");
        out
    }

    /// As much of the datagram as an error quotes.
    fn quote(&self) -> Vec<u8> {
        let mut datagram = self.datagram();
        let header = datagram.len() - self.payload().len();
        datagram.truncate(header + QUOTED);
        datagram
    }
}

impl Segment {
    fn emit(&self, pseudo: &Pseudo) -> Vec<u8> {
        let mut header = tcp::Repr {
            src_port: Port(self.sport),
            dst_port: Port(self.dport),
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            ..tcp::Repr::default()
        };
        if let Some(shift) = self.wscale {
            header.options.push(&TcpOption::WindowScale(WindowScale(shift))).expect("an option that fits");
        }
        if let Some([value, echo]) = self.stamps {
            let stamps = TcpOption::Timestamps(Timestamps { value, echo });
            header.options.push(&stamps).expect("an option that fits");
        }
        if let Some([left, right]) = self.sack {
            header.options.push_sack(&[SackBlock { left, right }]).expect("an option that fits");
        }
        build::tcp(pseudo, &header, &vec![0; usize::from(self.len)])
    }
}

/// `header_len` zeros, then `payload`.
fn room(header_len: usize, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0; header_len];
    out.extend_from_slice(payload);
    out
}

impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, .. } = self;
        match &self.body {
            Body::Tcp(s) => {
                write!(
                    f,
                    "{src}.{} > {dst}.{} tcp {} seq {} ack {}",
                    s.sport, s.dport, s.flags, s.seq, s.ack
                )?;
                write!(f, " win {} len {}", s.window, s.len)?;
                if let Some(shift) = s.wscale {
                    write!(f, " ws {shift}")?;
                }
                if let Some([value, echo]) = s.stamps {
                    write!(f, " ts {value} {echo}")?;
                }
                if let Some([left, right]) = s.sack {
                    write!(f, " sack {left} {right}")?;
                }
            }
            Body::Udp { sport, dport, len } => write!(f, "{src}.{sport} > {dst}.{dport} udp len {len}")?,
            Body::Icmp { kind, code, ident } => {
                write!(f, "{src} > {dst} icmp {kind}/{code} id {ident}")?;
            }
            Body::IcmpError { kind, code, about } => {
                write!(f, "{src} > {dst} icmp {kind}/{code} about ({about})")?;
            }
            Body::Other { proto, len } => write!(f, "{src} > {dst} proto {proto} len {len}")?,
        }
        if self.ttl != 64 {
            write!(f, " ttl {}", self.ttl)?;
        }
        if self.tos != 0 {
            write!(f, " tos {:#x}", self.tos)?;
        }
        if self.options {
            f.write_str(" options")?;
        }
        match self.damage {
            Damage::None => Ok(()),
            Damage::Checksum => f.write_str(" bad-checksum"),
            Damage::Fragment => f.write_str(" fragment"),
        }
    }
}
