//! What forwarding changes of a frame: its Ethernet addresses and its time to live.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use ruleset::Reason;
use wire::checksum::Delta;
use wire::ethernet::Tags;
use wire::{Af, Mac, TcpFlags, ethernet, ipv4, ipv6, tcp};

use crate::parse::reason;
use crate::state::Family;
use crate::{Frame, Packet};

/// Sets the Ethernet addresses of the frame, from `source` to `destination`; tags stay. A frame too short for an
/// Ethernet header stays as it is.
#[inline]
pub fn set_link(frame: &mut impl Frame, source: Mac, destination: Mac) {
    if let Ok(mut header) = ethernet::Header::at_mut(frame.bytes_mut(), 0) {
        header.set_src(source);
        header.set_dst(destination);
    }
}

/// Takes the tag out of a frame that has only a priority tag, which names no VLAN (IEEE 802.1Q), and keeps the priority. A frame that ends inside
/// its tags stays as it is.
///
/// # Errors
/// `vlan` if the frame is of a VLAN: frames of known VLANs come to the engine without their tag.
#[inline]
pub(crate) fn untag(frame: &mut impl Frame) -> Result<(), Reason> {
    match ethernet::Frame::parse(frame.bytes()).map(|parsed| parsed.tags()) {
        Err(_) | Ok(Tags::None) => Ok(()),
        Ok(Tags::One(tag)) if tag.vid() == 0 => {
            frame.set_priority_code(tag.priority());
            frame.bytes_mut().copy_within(..ethernet::TAGS_AT, ethernet::TAG_LEN);
            frame.trim_front(ethernet::TAG_LEN);
            Ok(())
        }
        Ok(Tags::One(_) | Tags::Two { .. }) => Err(Reason::Vlan),
    }
}

/// Takes one off the time to live, or hop limit, of the packet, and carries the IPv4 header's checksum along
/// (RFC 1624 eqn 3).
///
/// # Errors
/// `ttl` if none would be left: the packet may not be forwarded (RFC 1812 §5.3.1). The frame is untouched then.
#[inline]
pub fn decrement_ttl(frame: &mut impl Frame, packet: &Packet) -> Result<(), Reason> {
    let l3 = usize::from(packet.l3);
    match packet.tuple.af {
        Af::Inet => {
            let mut header = ipv4::Header::at_mut(frame.bytes_mut(), l3).map_err(reason)?;
            let ttl = header.ttl();
            header.rewrite_ttl(one_less(ttl)?);
        }
        Af::Inet6 => {
            let mut header = ipv6::Header::at_mut(frame.bytes_mut(), l3).map_err(reason)?;
            let hop_limit = header.hop_limit();
            header.set_hop_limit(one_less(hop_limit)?);
        }
    }
    Ok(())
}

/// Destination and source as a frame begins with them.
#[inline]
pub(crate) const fn link(destination: Mac, source: Mac) -> [u8; 12] {
    let (Mac([a, b, c, d, e, f]), Mac([g, h, i, j, k, l])) = (destination, source);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// What a hop less to live changes in an IPv4 header, the same for every time to live (RFC 1624 eqn 3).
pub(crate) const HOP: Delta = Delta::of_word([1, 0], [0, 0]);

/// The bytes in which [`forward_plain`] changes a frame. The IPv6 header is longer: what is enough for IPv4 holds its hop
/// limit too.
pub(crate) const PLAIN_HEAD: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// Forwards a packet of this family that stands behind an untagged Ethernet header and has more than one hop to live: what
/// [`decrement_ttl`] and [`set_link`] do, without a choice in it. `link` is destination and source.
#[inline(always)]
pub(crate) fn forward_plain(frame: &mut [u8], family: Family, link: &[u8; 12]) {
    const HOP_LIMIT_AT: usize = ethernet::HEADER_LEN + 7;
    let Some(head) = frame.first_chunk_mut::<PLAIN_HEAD>() else { return };
    if let Some(addresses) = head.first_chunk_mut() {
        *addresses = *link;
    }
    if family == Family::Inet {
        if let Ok(mut header) = ipv4::Header::at_mut(head, ethernet::HEADER_LEN) {
            header.set_ttl(header.ttl().wrapping_sub(1));
            header.adjust(HOP);
        }
    } else {
        head[HOP_LIMIT_AT] = head[HOP_LIMIT_AT].wrapping_sub(1);
    }
}

#[inline]
const fn one_less(ttl: u8) -> Result<u8, Reason> {
    match ttl {
        0 | 1 => Err(Reason::Ttl),
        more => Ok(more - 1),
    }
}

/// Gives a TCP segment other control bits, clears what means nothing beside them, and carries its checksum along: pf's repair
/// of SYN+FIN, of reserved bits, and of an urgent pointer without URG.
pub fn set_tcp_flags(frame: &mut impl Frame, packet: &Packet, flags: TcpFlags) {
    if let Ok(mut header) = tcp::Header::at_mut(frame.bytes_mut(), usize::from(packet.l4)) {
        header.rewrite_flags(flags);
    }
}
