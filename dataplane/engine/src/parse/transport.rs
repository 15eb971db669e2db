//! The upper layer: which two numbers name its connection, and what tracking needs of it.

use ruleset::Reason;
use wire::quote::{self, Quote};
use wire::tcp::TcpOption;
use wire::{Af, Port, Proto, TcpFlags, icmp4, icmp6, tcp, udp};

use super::reason;
use crate::track::Segment;
use crate::{Quoted, Transport, Tuple, Zone};

/// Octets of the header that all SCTP packets share (RFC 9260 §3.1). Its ports stand where those of UDP do.
const SCTP_HEADER_LEN: usize = 12;

/// An upper layer as it goes into a [`crate::Packet`].
pub(super) struct Upper {
    pub(super) transport: Transport,
    pub(super) sport: Port,
    pub(super) dport: Port,
}

impl Upper {
    /// One without ports.
    pub(super) const fn of(transport: Transport) -> Self {
        Self { transport, sport: Port(0), dport: Port(0) }
    }

    const fn with(transport: Transport, [sport, dport]: [Port; 2]) -> Self {
        Self { transport, sport, dport }
    }

    /// Reads the upper layer of a datagram that is no fragment. ICMP in a packet of the other family is no ICMP: nothing
    /// but its protocol is looked at (CVE-2009-0687).
    #[inline]
    pub(super) fn parse(af: Af, proto: Proto, zone: Zone, octets: &[u8]) -> Result<Self, Reason> {
        match (proto, af) {
            (Proto::TCP, _) => tcp(octets),
            (Proto::UDP, _) => udp(octets),
            (Proto::ICMP, Af::Inet) => icmp4(zone, octets),
            (Proto::ICMP6, Af::Inet6) => icmp6(zone, octets),
            (Proto::SCTP, _) => Ok(Self::with(Transport::Other, sctp_ports(octets, SCTP_HEADER_LEN)?)),
            _ => Ok(Self::of(Transport::Other)),
        }
    }
}

#[inline]
fn tcp(octets: &[u8]) -> Result<Upper, Reason> {
    let segment = tcp::Segment::parse(octets).map_err(reason)?;
    let header = segment.header();
    let flags = header.flags();
    let transport = Transport::Tcp(Segment {
        flags,
        seq: header.seq(),
        ack: header.ack(),
        window: header.window(),
        len: segment.payload().len() as u32,
        // RFC 7323 §2.1: elsewhere than on a SYN the option means nothing.
        wscale: if flags.contains(TcpFlags::SYN) { window_scale(segment.options()) } else { None },
        strays: header.has_strays(),
    });
    Ok(Upper::with(transport, [header.src_port(), destination(header.dst_port())?]))
}

/// The shift that the receiver of these options goes by: the last one, and of a malformed area what stands in front of
/// the fault. pf and the hosts are as tolerant.
#[inline]
pub(crate) fn window_scale(options: tcp::Options<'_>) -> Option<u8> {
    let shift = |option| if let TcpOption::WindowScale(scale) = option { Some(scale.shift()) } else { None };
    options.iter().map_while(Result::ok).filter_map(shift).last()
}

#[inline]
fn udp(octets: &[u8]) -> Result<Upper, Reason> {
    let header = udp::Datagram::parse(octets).map_err(reason)?.header();
    Ok(Upper::with(Transport::Udp, [header.src_port(), destination(header.dst_port())?]))
}

/// pf drops what is sent to port 0 of TCP or UDP as `short`.
#[inline]
fn destination(port: Port) -> Result<Port, Reason> {
    if port == Port(0) { Err(Reason::Short) } else { Ok(port) }
}

/// The ports of an SCTP packet of which at least `least` octets must be there.
fn sctp_ports(octets: &[u8], least: usize) -> Result<[Port; 2], Reason> {
    let header = udp::Header::at(octets, 0).map_err(reason)?;
    if octets.len() < least { Err(Reason::Short) } else { Ok([header.src_port(), header.dst_port()]) }
}

fn icmp4(zone: Zone, octets: &[u8]) -> Result<Upper, Reason> {
    let message = icmp4::Message::parse(octets).map_err(reason)?;
    let header = message.header();
    let (kind, code) = (header.kind().0, header.code());
    let transport = match header.kind().class() {
        icmp4::Class::Request | icmp4::Class::Reply => Transport::IcmpQuery { kind, code },
        // A redirect quotes too, but it is about a route, not about the connection.
        icmp4::Class::Error if header.kind() != icmp4::Type::REDIRECT => {
            let quoted = quoted(Af::Inet, zone, message.body())?;
            return Ok(Upper::of(Transport::IcmpError { kind, code, quoted }));
        }
        icmp4::Class::Error | icmp4::Class::Other => Transport::IcmpOther { kind, code },
    };
    Ok(Upper::with(transport, icmp4_ports(header.kind(), header.ident())))
}

fn icmp6(zone: Zone, octets: &[u8]) -> Result<Upper, Reason> {
    let message = icmp6::Message::parse(octets).map_err(reason)?;
    let header = message.header();
    let (kind, code) = (header.kind().0, header.code());
    let transport = match header.kind() {
        icmp6::Type::ECHO_REQUEST | icmp6::Type::ECHO_REPLY => Transport::IcmpQuery { kind, code },
        icmp6::Type::UNREACHABLE
        | icmp6::Type::PACKET_TOO_BIG
        | icmp6::Type::TIME_EXCEEDED
        | icmp6::Type::PARAMETER_PROBLEM => {
            let quoted = quoted(Af::Inet6, zone, message.body())?;
            return Ok(Upper::of(Transport::IcmpError { kind, code, quoted }));
        }
        // Unknown errors too: nobody knows what they quote.
        _ => Transport::IcmpOther { kind, code },
    };
    Ok(Upper::with(transport, icmp6_ports(header.kind(), header.ident())))
}

/// The two numbers that pf keeps in the place of ports; see [`Tuple`].
fn icmp4_ports(kind: icmp4::Type, ident: u16) -> [Port; 2] {
    match (kind.class(), kind.counterpart()) {
        (icmp4::Class::Request, _) => [Port(ident), Port(kind.0.into())],
        (icmp4::Class::Reply, Some(request)) => [Port(request.0.into()), Port(ident)],
        _ => [Port(0), Port(kind.0.into())],
    }
}

/// As [`icmp4_ports`].
fn icmp6_ports(kind: icmp6::Type, ident: u16) -> [Port; 2] {
    let request = Port(icmp6::Type::ECHO_REQUEST.0.into());
    match kind {
        icmp6::Type::ECHO_REQUEST => [Port(ident), request],
        icmp6::Type::ECHO_REPLY => [request, Port(ident)],
        _ => [Port(0), Port(kind.0.into())],
    }
}

/// The packet that an ICMP error is about.
fn quoted(af: Af, zone: Zone, octets: &[u8]) -> Result<Quoted, Reason> {
    let quote = Quote::parse(af, octets).map_err(reason)?;
    let mut seq = wire::Seq(0);
    let [sport, dport] = match quote.transport {
        quote::Transport::Tcp { src_port, dst_port, seq: quoted } => {
            seq = quoted;
            [src_port, dst_port]
        }
        quote::Transport::Udp { src_port, dst_port } => [src_port, dst_port],
        quote::Transport::Icmp4 { kind, ident, .. } => icmp4_ports(kind, ident),
        quote::Transport::Icmp6 { kind, ident, .. } => icmp6_ports(kind, ident),
        quote::Transport::LaterFragment => return Err(Reason::Fragment),
        quote::Transport::Other if quote.proto == Proto::SCTP => {
            let octets = octets.get(quote.transport_offset..).unwrap_or_default();
            sctp_ports(octets, quote::TRANSPORT_LEN)?
        }
        quote::Transport::Other => [Port(0); 2],
    };
    let tuple =
        Tuple { af, proto: quote.proto, zone, src: quote.src.into(), dst: quote.dst.into(), sport, dport };
    Ok(Quoted { tuple, seq })
}
