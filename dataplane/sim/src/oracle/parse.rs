//! From bytes to the oracle's packet, through `wire`.

use core::net::{IpAddr, Ipv6Addr};

use wire::checksum::{Pseudo, verify_tcp};
use wire::quote::{self, Quote};
use wire::{Af, Error, Proto, icmp4, icmp6, ipv4, ipv6, tcp, udp};

use super::icmp::is_error;
use super::packet::{
    Checksum, Icmp, IpOptions, Packet, Part, Quoted, QuotedPart, QuotedTransport, Tcp, Transport,
};

/// Why bytes are no packet for the filter: `pf_setup_pdesc` drops them before any state or rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsed(pub Error);

impl From<Error> for Unparsed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// What the two families have in common.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    tos: u8,
    length: u32,
    proto: Proto,
    seen: wire::IpOptions,
    part: Part,
    upper: &'a [u8],
}

impl Packet {
    /// Reads an IP packet, version 4 or 6, from its first octet; octets behind its stated length are padding.
    ///
    /// # Errors
    /// What `wire` finds wrong with its headers. Of a fragment only the IP headers are read.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unparsed> {
        let ip = match bytes.first().map(|octet| octet >> 4) {
            Some(4) => Ip::v4(bytes)?,
            Some(6) => Ip::v6(bytes)?,
            Some(_) => return Err(Error::Version.into()),
            None => return Err(Error::Short.into()),
        };
        let transport = match ip.part {
            Part::Whole => ip.transport()?,
            Part::Fragment | Part::WithinHeader => Transport::Other(ip.proto),
        };
        let options = allowed(ip.seen, &transport);
        let Ip { source, destination, ttl, tos, length, part, .. } = ip;
        Ok(Self { source, destination, ttl, tos, length, options, part, transport })
    }
}

fn part(fragment: Option<wire::Fragment>, proto: Proto) -> Part {
    match fragment {
        None => Part::Whole,
        Some(fragment) if fragment.offset == 8 && proto == Proto::TCP => Part::WithinHeader,
        Some(_) => Part::Fragment,
    }
}

impl<'a> Ip<'a> {
    fn v4(bytes: &'a [u8]) -> Result<Self, Error> {
        let packet = ipv4::Packet::parse(bytes)?;
        let header = packet.header();
        Ok(Self {
            source: header.src().into(),
            destination: header.dst().into(),
            ttl: header.ttl(),
            tos: header.tos(),
            length: u32::from(header.total_len()),
            proto: header.proto(),
            seen: packet.options().seen()?,
            part: part(header.fragment(), header.proto()),
            upper: packet.payload(),
        })
    }

    fn v6(bytes: &'a [u8]) -> Result<Self, Error> {
        let packet = ipv6::Packet::parse(bytes)?;
        let (header, chain) = (packet.header(), packet.chain()?);
        Ok(Self {
            source: header.src().into(),
            destination: header.dst().into(),
            ttl: header.hop_limit(),
            tos: header.traffic_class() & 0xfc,
            length: u32::from(header.payload_len()) + ipv6::HEADER_LEN as u32,
            proto: chain.upper,
            seen: chain.seen,
            part: part(chain.fragment.map(|place| place.fragment), chain.upper),
            upper: packet.upper(&chain),
        })
    }

    fn transport(&self) -> Result<Transport, Error> {
        Ok(match self.proto {
            Proto::TCP => Transport::Tcp(self.tcp()?),
            Proto::UDP => {
                let datagram = udp::Datagram::parse(self.upper)?;
                let (source_port, destination_port) =
                    (datagram.header().src_port(), datagram.header().dst_port());
                Transport::Udp { source_port, destination_port }
            }
            Proto::ICMP => {
                let message = icmp4::Message::parse(self.upper)?;
                let header = message.header();
                let icmp = Icmp {
                    kind: header.kind().0,
                    code: header.code(),
                    id: header.ident(),
                    ..Icmp::default()
                };
                Transport::Icmp(self.with_body(icmp, message.body()))
            }
            Proto::ICMP6 => {
                let message = icmp6::Message::parse(self.upper)?;
                let header = message.header();
                let icmp = Icmp {
                    kind: header.kind().0,
                    code: header.code(),
                    id: header.ident(),
                    ..Icmp::default()
                };
                Transport::Icmp6(self.with_body(icmp, message.body()))
            }
            other => Transport::Other(other),
        })
    }

    fn tcp(&self) -> Result<Tcp, Error> {
        let segment = tcp::Segment::parse(self.upper)?;
        let header = segment.header();
        let pseudo = Pseudo::of(self.source, self.destination);
        let good = pseudo.is_some_and(|pseudo| verify_tcp(&pseudo, self.upper).is_ok());
        Ok(Tcp {
            source_port: header.src_port(),
            destination_port: header.dst_port(),
            flags: header.flags(),
            seq: header.seq(),
            ack: header.ack(),
            window: header.window(),
            payload: segment.payload().len() as u32,
            wscale: segment.options().window_scale().map(|scale| scale.0),
            stamps: segment.options().iter().map_while(Result::ok).find_map(|option| match option {
                tcp::TcpOption::Timestamps(stamps) => Some(stamps),
                _ => None,
            }),
            checksum: if good { Checksum::Good } else { Checksum::Bad },
        })
    }

    /// Adds what is behind an ICMP header: an error's quotation, or a discovery message's address.
    fn with_body(&self, icmp: Icmp, body: &[u8]) -> Icmp {
        let af = Af::of(&self.source);
        if is_error(af, icmp.kind) {
            return Icmp { quoted: Quote::parse(af, body).ok().map(Quoted::from), ..icmp };
        }
        let address = body.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
        let discovers = af == Af::Inet6 && matches!(icmp.kind, 130..=132 | 135 | 136);
        Icmp { target: address.filter(|_| discovers), ..icmp }
    }
}

impl From<Quote> for Quoted {
    fn from(quote: Quote) -> Self {
        let transport = match quote.transport {
            quote::Transport::Tcp { src_port, dst_port, seq } => {
                QuotedTransport::Tcp { source_port: src_port, destination_port: dst_port, seq }
            }
            quote::Transport::Udp { src_port, dst_port } => {
                QuotedTransport::Udp { source_port: src_port, destination_port: dst_port }
            }
            quote::Transport::Icmp4 { kind, ident, .. } => QuotedTransport::Icmp { kind: kind.0, id: ident },
            quote::Transport::Icmp6 { kind, ident, .. } => QuotedTransport::Icmp6 { kind: kind.0, id: ident },
            quote::Transport::LaterFragment | quote::Transport::Other => QuotedTransport::Other(quote.proto),
        };
        let part = match quote.transport {
            quote::Transport::LaterFragment => QuotedPart::Later,
            _ => QuotedPart::First,
        };
        Self { source: quote.src, destination: quote.dst, part, transport }
    }
}

/// pf.conf(5) `allow-opts`: every IPv4 option and every hop-by-hop, routing or destination header needs it, but for
/// the router alert of IGMP and MLD (pf.md 1). An authentication header is no option.
fn allowed(seen: wire::IpOptions, transport: &Transport) -> IpOptions {
    let listens = match transport {
        Transport::Other(proto) => *proto == Proto::IGMP,
        Transport::Icmp6(icmp) => matches!(icmp.kind, 130..=132 | 143),
        _ => false,
    };
    let alert = wire::IpOptions::ROUTER_ALERT.union(wire::IpOptions::HOP_BY_HOP);
    let harmless = if listens && seen.contains(wire::IpOptions::ROUTER_ALERT) { alert.0 } else { 0 };
    let counted = seen.0 & !(harmless | wire::IpOptions::AUTH.0);
    if counted == 0 { IpOptions::Absent } else { IpOptions::Present }
}
