//! A frame taken apart as far as this crate goes, everything checked on the way.

use crate::checksum::{self, Pseudo};
use crate::icmp6::nd::Nd;
use crate::quote::Quote;
use crate::{
    Af, Error, EtherType, Fragment, IpOptions, Proto, arp, ethernet, icmp4, icmp6, ipv4, ipv6, tcp, udp,
};

/// A frame taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dissected<'a> {
    /// The link layer.
    pub frame: ethernet::Frame<'a>,
    /// What it carries.
    pub network: Network<'a>,
}

/// The network layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// ARP.
    Arp(arp::Repr),
    /// IPv4.
    Ipv4(ipv4::Packet<'a>, IpOptions, Upper<'a>),
    /// IPv6.
    Ipv6(ipv6::Packet<'a>, ipv6::Chain, Upper<'a>),
    /// Anything else.
    Other(&'a [u8]),
}

/// The upper layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upper<'a> {
    /// A part of a packet.
    Fragment(Fragment, &'a [u8]),
    /// TCP.
    Tcp(tcp::Segment<'a>),
    /// UDP.
    Udp(udp::Datagram<'a>),
    /// ICMP over IPv4, with what an error quotes.
    Icmp4(icmp4::Message<'a>, Option<Quote>),
    /// ICMPv6 over IPv6, with what an error quotes.
    Icmp6(icmp6::Message<'a>, Option<Quote>),
    /// Neighbour discovery.
    Nd(Nd<'a>),
    /// Anything else.
    Other(Proto, &'a [u8]),
}

/// Takes a frame apart, looks at every option, and verifies every checksum.
pub fn dissect(bytes: &[u8]) -> Result<Dissected<'_>, Error> {
    let frame = ethernet::Frame::parse(bytes)?;
    let network = match frame.ether_type() {
        EtherType::ARP => Network::Arp(arp::Repr::parse(frame.payload())?),
        EtherType::IPV4 => dissect_ipv4(frame.payload())?,
        EtherType::IPV6 => dissect_ipv6(frame.payload())?,
        _ => Network::Other(frame.payload()),
    };
    Ok(Dissected { frame, network })
}

fn dissect_ipv4(bytes: &[u8]) -> Result<Network<'_>, Error> {
    let packet = ipv4::Packet::parse(bytes)?;
    packet.verify_checksum()?;
    let options = packet.options().seen()?;
    let header = packet.header();
    let upper = match header.fragment() {
        Some(fragment) => Upper::Fragment(fragment, packet.payload()),
        None => dissect_upper(&Pseudo::V4(header.src(), header.dst()), header.proto(), packet.payload())?,
    };
    Ok(Network::Ipv4(packet, options, upper))
}

fn dissect_ipv6(bytes: &[u8]) -> Result<Network<'_>, Error> {
    let packet = ipv6::Packet::parse(bytes)?;
    let chain = packet.chain()?;
    let header = packet.header();
    let payload = packet.upper(&chain);
    let upper = match chain.fragment {
        Some(place) if !place.fragment.is_atomic() => Upper::Fragment(place.fragment, payload),
        _ => dissect_upper(&Pseudo::V6(header.src(), header.dst()), chain.upper, payload)?,
    };
    Ok(Network::Ipv6(packet, chain, upper))
}

fn dissect_upper<'a>(pseudo: &Pseudo, proto: Proto, bytes: &'a [u8]) -> Result<Upper<'a>, Error> {
    match (proto, *pseudo) {
        (Proto::TCP, _) => {
            let segment = tcp::Segment::parse(bytes)?;
            checksum::verify_tcp(pseudo, bytes)?;
            segment.options().iter().try_for_each(|option| option.map(|_| ()))?;
            Ok(Upper::Tcp(segment))
        }
        (Proto::UDP, _) => {
            let datagram = udp::Datagram::parse(bytes)?;
            checksum::verify_udp(pseudo, datagram.octets())?;
            Ok(Upper::Udp(datagram))
        }
        (Proto::ICMP, Pseudo::V4(..)) => {
            let message = icmp4::Message::parse(bytes)?;
            checksum::verify_icmp4(bytes)?;
            let quote = message.quoted().map(|quoted| Quote::parse(Af::Inet, quoted)).transpose()?;
            Ok(Upper::Icmp4(message, quote))
        }
        (Proto::ICMP6, Pseudo::V6(src, dst)) => {
            let message = icmp6::Message::parse(bytes)?;
            checksum::verify_icmp6(src, dst, bytes)?;
            dissect_icmp6(message)
        }
        _ => Ok(Upper::Other(proto, bytes)),
    }
}

fn dissect_icmp6(message: icmp6::Message<'_>) -> Result<Upper<'_>, Error> {
    if let Some(nd) = Nd::parse(&message)? {
        nd.options().iter().try_for_each(|option| option.map(|_| ()))?;
        return Ok(Upper::Nd(nd));
    }
    if message.header().kind().is_mld() && message.header().kind() != icmp6::Type::MLD2_REPORT {
        icmp6::mld::Listener::at(message.octets(), 0)?;
    }
    let quote = message.quoted().map(|quoted| Quote::parse(Af::Inet6, quoted)).transpose()?;
    Ok(Upper::Icmp6(message, quote))
}
