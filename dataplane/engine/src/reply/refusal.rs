//! What is never answered: an answer to it would hit a bystander, many stations at once, or another answer.

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::{Af, TcpFlags, ethernet, icmp4, icmp6, ipv4, ipv6};

use crate::parse::verify_transport;
use crate::{Address, Frame, Packet, RxChecksum, Transport};

/// What the forwarding base knows of the two addresses of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// Both are addresses of single stations. Also what the host itself sends, from its own address.
    Stations,
    /// The source is one of our own addresses, although a link brought the packet.
    OwnSource,
    /// One of them is the broadcast address of a network.
    Broadcast,
}

/// Why a packet is not answered. It is dropped in silence then, for the reason that it was blocked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoReply {
    /// A TCP answer was asked for, and it is not a whole TCP segment.
    NotTcp,
    /// A SCTP answer was asked for, and it is not a whole SCTP packet.
    NotSctp,
    /// A TCP segment with RST (RFC 9293 §3.10.7.1), or SCTP that ends an association (RFC 9260 §8.4).
    Reset,
    /// An ICMP error, a redirect, or an ICMP message that may be an error (RFC 1122 §3.2.2, RFC 4443 §2.4 e).
    IcmpError,
    /// A fragment other than the first (RFC 1122 §3.2.2).
    Fragment,
    /// The frame was sent to a group of stations, or says that a group sent it.
    Group,
    /// The destination is no address of a station: multicast, broadcast, loopback, unspecified or reserved.
    Destination,
    /// The source is none, or the same as the destination: an answer would go astray.
    Source,
    /// [`Endpoints::OwnSource`].
    OwnSource,
    /// [`Endpoints::Broadcast`].
    Broadcast,
    /// A checksum of the IPv4 header, TCP, UDP or ICMP is wrong. What the sender never sent is not answered.
    Checksum,
    /// The answer would be more than twice as long.
    Short,
    /// The buffer has no room in front of the frame.
    NoRoom,
    /// The [`Packet`] does not describe this frame.
    Inconsistent,
}

/// `Ok` if `packet`, which is in `frame`, may be answered.
///
/// The exceptions of RFC 4443 §2.4 e.3 for packets to groups are not made: nothing sent to a group is forwarded.
pub(super) fn check(frame: &impl Frame, packet: &Packet, endpoints: Endpoints) -> Result<(), NoReply> {
    match endpoints {
        Endpoints::Stations => {}
        Endpoints::OwnSource => return Err(NoReply::OwnSource),
        Endpoints::Broadcast => return Err(NoReply::Broadcast),
    }
    addresses(packet)?;
    transport(packet)?;
    let ip = ip_header(frame.bytes(), packet)?;
    if ip.later_fragment {
        return Err(NoReply::Fragment);
    }
    checksum(frame.ip_checksum(), || ip.checksum)?;
    checksum(frame.l4_checksum(), || verify_transport(frame.bytes(), packet).is_ok())
}

fn addresses(packet: &Packet) -> Result<(), NoReply> {
    let tuple = &packet.tuple;
    if packet.group_frame {
        return Err(NoReply::Group);
    }
    if !is_station(tuple.af, tuple.dst) {
        return Err(NoReply::Destination);
    }
    if !is_station(tuple.af, tuple.src) || tuple.src == tuple.dst {
        return Err(NoReply::Source);
    }
    Ok(())
}

/// False for addresses that no single station on a network can have (RFC 1122 §3.2.1.3, RFC 1112 §4, RFC 4291 §2.4).
fn is_station(af: Af, address: Address) -> bool {
    match af {
        Af::Inet => !matches!(Ipv4Addr::from_bits(address.v4()).octets(), [0 | 127 | 224.., ..]),
        Af::Inet6 => {
            let address = Ipv6Addr::from_bits(address.0);
            !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
        }
    }
}

/// pf answers ICMP only if it is informational.
fn transport(packet: &Packet) -> Result<(), NoReply> {
    match packet.transport {
        Transport::Tcp(segment) if segment.flags.contains(TcpFlags::RST) => Err(NoReply::Reset),
        Transport::IcmpError { .. } => Err(NoReply::IcmpError),
        Transport::IcmpOther { kind, .. } if !is_informational(packet.tuple.af, kind) => {
            Err(NoReply::IcmpError)
        }
        Transport::Tcp(_)
        | Transport::Udp
        | Transport::IcmpQuery { .. }
        | Transport::IcmpOther { .. }
        | Transport::Fragment
        | Transport::Other => Ok(()),
    }
}

/// True for an ICMP type that is known to be neither an error nor a redirect.
fn is_informational(af: Af, kind: u8) -> bool {
    match af {
        Af::Inet => {
            matches!(icmp4::Type(kind), icmp4::Type::ROUTER_ADVERT | icmp4::Type::ROUTER_SOLICIT)
        }
        Af::Inet6 => {
            icmp6::Type(kind).class() != icmp6::Class::Error && icmp6::Type(kind) != icmp6::Type::REDIRECT
        }
    }
}

/// What the IP header says once more, because the [`Packet`] does not keep it.
struct IpHeader {
    later_fragment: bool,
    /// Its checksum is right, or it has none.
    checksum: bool,
}

fn ip_header(bytes: &[u8], packet: &Packet) -> Result<IpHeader, NoReply> {
    let ethernet = ethernet::Frame::parse(bytes).map_err(|_| NoReply::Inconsistent)?;
    if ethernet.header().src().is_group() {
        return Err(NoReply::Group);
    }
    let (l3, l4) = (usize::from(packet.l3), usize::from(packet.l4));
    if ethernet.l2_len() != l3 || l4 < l3 || bytes.len() < packet.end as usize {
        return Err(NoReply::Inconsistent);
    }
    match packet.tuple.af {
        Af::Inet => {
            let ip = ipv4::Packet::parse(ethernet.payload()).map_err(|_| NoReply::Inconsistent)?;
            let later_fragment = ip.header().fragment().is_some_and(|fragment| !fragment.is_first());
            Ok(IpHeader { later_fragment, checksum: ip.verify_checksum().is_ok() })
        }
        Af::Inet6 => {
            let ip = ipv6::Packet::parse(ethernet.payload()).map_err(|_| NoReply::Inconsistent)?;
            let place = ip.chain().map_err(|_| NoReply::Inconsistent)?.fragment;
            let later_fragment = place.is_some_and(|place| !place.fragment.is_first());
            Ok(IpHeader { later_fragment, checksum: true })
        }
    }
}

/// Refuses a wrong checksum: the NIC's word, or the sum itself where the NIC said nothing.
fn checksum(said: RxChecksum, right: impl FnOnce() -> bool) -> Result<(), NoReply> {
    let right = match said {
        RxChecksum::Good => true,
        RxChecksum::Bad => false,
        RxChecksum::Unknown => right(),
    };
    if right { Ok(()) } else { Err(NoReply::Checksum) }
}
