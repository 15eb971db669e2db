//! From the octets of a frame to the [`Packet`] that every later stage works on.
//!
//! Overview: `wire` reads the headers; this module says what they mean to a firewall: which upper layer counts behind
//! extension headers, which two numbers name a connection, whether a datagram is whole, and which drop reason each defect
//! has. Nothing of the frame is changed, and nothing is kept of it. Bounds: one pass, at most
//! [`wire::ipv6::EXTENSIONS_MAX`] extension headers, twice for an error with its quote; no recursion.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod transport;

use core::net::{Ipv4Addr, Ipv6Addr};

use ruleset::Reason;
use wire::checksum::{Pseudo, is_partial, verify_icmp4, verify_icmp6, verify_tcp, verify_udp};
use wire::{Af, EtherType, IpOptions, Proto, TcpFlags, ethernet, icmp6, ipv4, ipv6, tcp, udp};

use crate::{Address, Packet, RxChecksum, Transport, Tuple, Zone};
use transport::Upper;
pub(crate) use transport::window_scale;

/// A frame that carries no IP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonIp {
    /// What it carries, behind at most two tags: ARP, a third tag, or the length of an 802.3 frame.
    pub ether_type: EtherType,
    /// Where that starts, in bytes from the start of the frame.
    pub l3: u16,
    /// The frame was sent to an Ethernet group address (broadcast or multicast).
    pub group_frame: bool,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub enum Parsed {
    /// An IP datagram, or a fragment of one.
    Ip(Packet),
    /// Something that no rule judges; the caller decides.
    NonIp(NonIp),
}

/// Reads a frame that arrived in `zone`. `ip_checksum` is what the NIC said of the IPv4 header's checksum; if it said
/// nothing, it is verified here. Checksums of upper layers are not looked at: see [`verify_transport`].
///
/// # Errors
/// The reason to drop the frame for: see [`reason`]; and `fragment` for an ICMP error about a fragment that is not a
/// first one, whose connection nobody can tell.
#[inline]
pub fn parse(frame: &[u8], zone: Zone, ip_checksum: RxChecksum) -> Result<Parsed, Reason> {
    let ethernet = ethernet::Frame::parse(frame).map_err(reason)?;
    let l3 = ethernet.l2_len();
    let group_frame = ethernet.header().dst().is_group();
    let link = Link { zone, l3, group_frame };
    match ethernet.ether_type() {
        EtherType::IPV4 => link.ipv4(ethernet.payload(), ip_checksum).map(Parsed::Ip),
        EtherType::IPV6 => link.ipv6(ethernet.payload()).map(Parsed::Ip),
        ether_type => Ok(Parsed::NonIp(NonIp { ether_type, l3: offset(l3)?, group_frame })),
    }
}

/// The drop reason of each defect that `wire` can find: pf's, as `pf_setup_pdesc` and the walks over headers and options
/// give it.
///
/// Deviation: pf counts a data offset behind the segment's end as `short`; here it is `bad-offset`, which pf has for a
/// header that points outside the packet (test `parse`, `refusals::data_offset_behind_the_end`).
pub const fn reason(error: wire::Error) -> Reason {
    use wire::Error as E;
    match error {
        E::Short | E::Truncated | E::TotalLength | E::HeaderLength => Reason::Short,
        E::BadOffset => Reason::BadOffset,
        E::OptionLength | E::HopByHopOrder | E::ExtensionCount | E::RoutingHeader | E::Jumbo => {
            Reason::IpOption
        }
        E::NestedFragment => Reason::Fragment,
        E::Checksum | E::ZeroChecksum => Reason::ProtoCksum,
        E::Version | E::ArpFormat | E::TooLong => Reason::Normalize,
    }
}

/// Verifies, in software, the checksum of the TCP segment, UDP datagram or ICMP message that `packet` describes. A
/// datagram without a checksum has none that could be wrong: RFC 6935 allows it over IPv6 for tunnels too. Fragments
/// and other protocols cannot be verified and pass.
///
/// # Errors
/// `proto-cksum`; `short` if the packet is not that of this frame.
pub fn verify_transport(frame: &[u8], packet: &Packet) -> Result<(), Reason> {
    let octets = frame.get(usize::from(packet.l4)..packet.end as usize).ok_or(Reason::Short)?;
    let pseudo = pseudo(&packet.tuple);
    let verified = match packet.transport {
        Transport::Tcp(_) => verify_tcp(&pseudo, octets),
        Transport::Udp => {
            let datagram = udp::Datagram::parse(octets).map_err(reason)?;
            match verify_udp(&pseudo, datagram.octets()) {
                Err(wire::Error::ZeroChecksum) => Ok(()),
                verified => verified,
            }
        }
        Transport::IcmpQuery { .. } | Transport::IcmpError { .. } | Transport::IcmpOther { .. } => {
            match pseudo {
                Pseudo::V4(..) => verify_icmp4(octets),
                Pseudo::V6(src, dst) => verify_icmp6(src, dst, octets),
            }
        }
        Transport::Fragment | Transport::Other => Ok(()),
    };
    verified.map_err(reason)
}

/// True if the checksum of the TCP segment or UDP datagram that `packet` describes was left for a network card to complete,
/// and none did. The addresses are the frame's own, whatever those of `packet` were made.
pub(crate) fn has_partial_checksum(frame: &[u8], packet: &Packet) -> bool {
    let (l3, l4, end) = (usize::from(packet.l3), usize::from(packet.l4), packet.end as usize);
    let Some(octets) = frame.get(l4..end) else { return false };
    let field = match packet.transport {
        Transport::Tcp(_) => tcp::Header::at(octets, 0).map(|header| header.checksum()),
        Transport::Udp => udp::Header::at(octets, 0).map(|header| header.checksum()),
        _ => return false,
    };
    let pseudo = match packet.tuple.af {
        Af::Inet => ipv4::Header::at(frame, l3).map(|ip| Pseudo::V4(ip.src(), ip.dst())),
        Af::Inet6 => ipv6::Header::at(frame, l3).map(|ip| Pseudo::V6(ip.src(), ip.dst())),
    };
    let (Ok(field), Ok(pseudo)) = (field, pseudo) else { return false };
    is_partial(&pseudo, packet.tuple.proto, octets.len(), field) && verify_transport(frame, packet).is_err()
}

/// True if `packet` is a TCP segment with a wrong checksum that would end its connection if its receiver took it.
///
/// Deviation: pf leaves checksums to the receiver. But what the receiver drops must not end a connection here
/// (test `a17_what_a_host_discards_changes_nothing`). Data is not looked at, for its price; it moves no more than the numbers of
/// its sender, within the window that was opened for it.
#[inline]
pub(crate) fn ends_damaged(frame: &[u8], packet: &Packet) -> bool {
    const END: TcpFlags = TcpFlags::FIN.union(TcpFlags::RST);
    matches!(packet.transport, Transport::Tcp(segment) if segment.flags.intersects(END))
        && verify_transport(frame, packet) == Err(Reason::ProtoCksum)
        && !has_partial_checksum(frame, packet)
}

/// The pseudo header that the checksum of an upper layer covers.
pub(crate) fn pseudo(tuple: &Tuple) -> Pseudo {
    let Tuple { src, dst, .. } = *tuple;
    match tuple.af {
        Af::Inet => Pseudo::V4(Ipv4Addr::from_bits(src.v4()), Ipv4Addr::from_bits(dst.v4())),
        Af::Inet6 => Pseudo::V6(Ipv6Addr::from_bits(src.0), Ipv6Addr::from_bits(dst.0)),
    }
}

/// What the Ethernet header and the arrival say, for the packet inside.
struct Link {
    zone: Zone,
    l3: usize,
    group_frame: bool,
}

/// What an IP header of either family says.
struct Ip<'a> {
    af: Af,
    proto: Proto,
    src: Address,
    dst: Address,
    /// Octets from the IP header to `payload`.
    header_len: usize,
    /// The upper layer, or a fragment's part of it.
    payload: &'a [u8],
    fragment: bool,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    seen: IpOptions,
    /// An option area or an extension header that `allow-opts` is about, even if nothing but padding is in it.
    options: bool,
}

impl Link {
    fn ipv4(&self, bytes: &[u8], checksum: RxChecksum) -> Result<Packet, Reason> {
        let ip = ipv4::Packet::parse(bytes).map_err(reason)?;
        match checksum {
            RxChecksum::Good => {}
            RxChecksum::Bad => return Err(Reason::ProtoCksum),
            RxChecksum::Unknown => ip.verify_checksum().map_err(reason)?,
        }
        let header = ip.header();
        let seen = ip.options().seen().map_err(reason)?;
        // RFC 7126 §4.3, 4.4: who sends it does not say where it goes, whatever `allow-opts` says. No router of OpenBSD
        // forwards it either (sysctl net.inet.ip.sourceroute).
        if seen.contains(IpOptions::SOURCE_ROUTE) {
            return Err(Reason::IpOption);
        }
        self.packet(&Ip {
            af: Af::Inet,
            proto: header.proto(),
            src: header.src().into(),
            dst: header.dst().into(),
            header_len: header.header_len(),
            payload: ip.payload(),
            fragment: header.is_fragment(),
            ttl: header.ttl(),
            tos: header.tos(),
            dont_fragment: header.dont_fragment(),
            seen,
            options: !ip.options().is_empty(),
        })
    }

    fn ipv6(&self, bytes: &[u8]) -> Result<Packet, Reason> {
        let ip = ipv6::Packet::parse(bytes).map_err(reason)?;
        let header = ip.header();
        let chain = ip.chain().map_err(reason)?;
        // RFC 6946: an atomic fragment is a whole packet.
        let fragment = chain.fragment.is_some_and(|place| !place.fragment.is_atomic());
        self.packet(&Ip {
            af: Af::Inet6,
            proto: chain.upper,
            src: header.src().into(),
            dst: header.dst().into(),
            header_len: chain.offset,
            payload: ip.upper(&chain),
            fragment,
            ttl: header.hop_limit(),
            tos: header.traffic_class(),
            dont_fragment: true,
            seen: chain.seen,
            options: chain.seen.0 & FILTERED_HEADERS.0 != 0,
        })
    }

    fn packet(&self, ip: &Ip<'_>) -> Result<Packet, Reason> {
        let Ip { af, proto, src, dst, .. } = *ip;
        let upper = if ip.fragment {
            Upper::of(Transport::Fragment)
        } else {
            Upper::parse(af, proto, self.zone, ip.payload)?
        };
        let Upper { transport, sport, dport } = upper;
        let l4 = self.l3 + ip.header_len;
        Ok(Packet {
            tuple: Tuple { af, proto, zone: self.zone, src, dst, sport, dport },
            l3: offset(self.l3)?,
            l4: offset(l4)?,
            end: u32::try_from(l4 + ip.payload.len()).map_err(|_| Reason::Normalize)?,
            ttl: ip.ttl,
            tos: ip.tos,
            dont_fragment: ip.dont_fragment,
            options: ip.options && !router_alert_by_right(ip, &transport),
            group_frame: self.group_frame,
            transport,
        })
    }
}

/// pf.conf(5) `allow-opts`: the IPv6 headers that it is about.
const FILTERED_HEADERS: IpOptions =
    IpOptions::HOP_BY_HOP.union(IpOptions::DST_OPTS).union(IpOptions::ROUTING);

/// A router alert and nothing else, in a message that must carry one: IGMP (RFC 2236 §2) and multicast listener
/// discovery (RFC 2710 §3), from a neighbour as their TTL of 1 shows.
fn router_alert_by_right(ip: &Ip<'_>, transport: &Transport) -> bool {
    if ip.ttl != 1 {
        return false;
    }
    match (ip.af, transport) {
        (Af::Inet, _) => {
            ip.proto == Proto::IGMP
                && ip.seen == IpOptions::ROUTER_ALERT
                && Ipv4Addr::from_bits(ip.dst.v4()).is_multicast()
        }
        (Af::Inet6, Transport::IcmpOther { kind, .. }) => {
            icmp6::Type(*kind).is_mld()
                && ip.seen == IpOptions::HOP_BY_HOP.union(IpOptions::ROUTER_ALERT)
                && Ipv6Addr::from_bits(ip.src.0).is_unicast_link_local()
        }
        (Af::Inet6, _) => false,
    }
}

/// An offset into the headers of a frame. No link has frames of more than 65535 bytes, so nothing honest is refused here.
fn offset(bytes: usize) -> Result<u16, Reason> {
    u16::try_from(bytes).map_err(|_| Reason::Normalize)
}
