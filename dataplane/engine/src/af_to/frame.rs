//! A frame of one family made one of the other (RFC 7915 §4.1, §4.5, §5.1, §5.5).
//!
//! Overview: the upper layer stays where it is, with other ports and a checksum that is carried along; in front of it, the
//! headers of one family give way to the header of the other, and the Ethernet header moves. An ICMP error is
//! [another message](super::message) instead. Bounds: 20 bytes more in front of the frame, 40 for an error; no more at its
//! end.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::checksum::{Delta, Sum};
use wire::{Af, Checksum, EtherType, icmp4, ipv4, ipv6, tcp, udp};

use super::message::Message;
use super::pseudo_header;
use crate::eval::is_request;
use crate::frame::{Frame, NoRoom};
use crate::packet::{Packet, Transport, Tuple, ip_header_len};
use crate::parse::pseudo;
use crate::translate::renumber;

/// Octets of an EtherType.
const ETHER_TYPE_LEN: usize = 2;

/// Makes the frame that holds `old` one that holds `new`, which has a tuple of the other family; an ICMP error with this
/// message. `ident` is for what may be fragmented over IPv4.
///
/// # Errors
/// [`NoRoom`]; the frame is as it was then.
pub(super) fn cross(
    frame: &mut impl Frame,
    old: &Packet,
    new: &Packet,
    ident: u16,
    message: Option<&Message>,
) -> Result<(), NoRoom> {
    let l3 = usize::from(old.l3);
    let (before, after) = (old.end as usize, new.end as usize);
    if let Some(missing) = after.checked_sub(before) {
        frame.prepend(missing)?;
        frame.truncate(after);
        frame.bytes_mut().copy_within(missing..missing + l3, 0);
    } else {
        frame.truncate(before);
        frame.bytes_mut().copy_within(..l3, before - after);
        frame.trim_front(before - after);
    }
    // What was parsed is there: no error is possible.
    let _ = write(frame.bytes_mut(), old, new, ident, message);
    Ok(())
}

/// Writes what differs into a frame that was made as long as it is to be.
fn write(
    frame: &mut [u8],
    old: &Packet,
    new: &Packet,
    ident: u16,
    message: Option<&Message>,
) -> Result<(), wire::Error> {
    let (link, ip) = frame.split_at_mut_checked(new.l3.into()).ok_or(wire::Error::Short)?;
    let ether_type = match new.tuple.af {
        Af::Inet => EtherType::IPV4,
        Af::Inet6 => EtherType::IPV6,
    };
    if let Some(place) = link.last_chunk_mut::<ETHER_TYPE_LEN>() {
        *place = ether_type.0.to_be_bytes();
    }
    let (head, upper) = ip.split_at_mut_checked(ip_header_len(new.tuple.af)).ok_or(wire::Error::Short)?;
    match message {
        Some(message) => upper.copy_from_slice(message.octets()),
        None => write_upper(upper, old, new)?,
    }
    write_header(head, old, new, ident, upper.len())
}

fn write_header(
    head: &mut [u8],
    old: &Packet,
    new: &Packet,
    ident: u16,
    payload_len: usize,
) -> Result<(), wire::Error> {
    let tuple = &new.tuple;
    // As it arrived: what scrubbing changes of it, scrubbing writes.
    let (ttl, tos) = (old.ttl, old.tos);
    match tuple.af {
        Af::Inet => {
            let [src, dst] = [tuple.src, tuple.dst].map(|address| Ipv4Addr::from_bits(address.v4()));
            let plain = ipv4::Repr::new(src, dst, tuple.proto, payload_len);
            let dont_fragment = new.dont_fragment;
            // RFC 6864 §4.1: of what cannot be fragmented, nobody looks at it.
            let ident = if dont_fragment { 0 } else { ident };
            ipv4::Repr { ttl, tos, ident, dont_fragment, ..plain }.emit(head)
        }
        Af::Inet6 => {
            let [src, dst] = [tuple.src, tuple.dst].map(|address| Ipv6Addr::from_bits(address.0));
            let plain = ipv6::Repr::new(src, dst, tuple.proto, payload_len);
            ipv6::Repr { hop_limit: ttl, traffic_class: tos, ..plain }.emit(head)
        }
    }
}

fn write_upper(upper: &mut [u8], old: &Packet, new: &Packet) -> Result<(), wire::Error> {
    let of = |packet: &Packet| pseudo_header(&packet.tuple, upper.len() as u32);
    let addresses = Delta::of(&of(old), &of(new));
    match (old.transport, new.transport) {
        (Transport::Tcp(from), Transport::Tcp(to)) => {
            let ports = set_ports(upper, new)?;
            tcp::Header::at_mut(upper, 0)?.adjust(addresses.and(ports));
            if from != to {
                renumber(upper, &from, &to)?;
            }
        }
        (Transport::Udp, _) => {
            let ports = set_ports(upper, new)?;
            let mut header = udp::Header::at_mut(upper, 0)?;
            if header.checksum() == Checksum::ZERO && new.tuple.af == Af::Inet6 {
                return sum_datagram(upper, new);
            }
            header.adjust(addresses.and(ports));
        }
        (Transport::IcmpQuery { .. }, Transport::IcmpQuery { kind, code }) => {
            let Tuple { af, sport, dport, .. } = new.tuple;
            let ident = if is_request(af, kind) { sport } else { dport };
            write_query(upper, [kind, code], ident.0, addresses)?;
        }
        _ => {}
    }
    Ok(())
}

fn write_query(
    message: &mut [u8],
    kind_and_code: [u8; 2],
    ident: u16,
    addresses: Delta,
) -> Result<(), wire::Error> {
    let mut header = icmp4::Header::at_mut(message, 0)?;
    let old = [header.kind().0, header.code()];
    let kinds = Delta::of_word(old, kind_and_code);
    let idents = Delta::of_word(header.ident().to_be_bytes(), ident.to_be_bytes());
    let [kind, code] = kind_and_code;
    header.set_kind(icmp4::Type(kind));
    header.set_code(code);
    header.set_ident(ident);
    let checksum = header.checksum().adjusted(addresses.and(kinds).and(idents));
    header.set_checksum(checksum);
    // A reply with all else zero sums up to what one update cannot tell from zero (RFC 1624 §4).
    if checksum == Checksum::ZERO {
        let sum = Sum::ZERO.plus(message).checksum();
        if sum == Checksum::ONES {
            icmp4::Header::at_mut(message, 0)?.set_checksum(sum);
        }
    }
    Ok(())
}

/// Stores both ports, and returns what changed.
fn set_ports(upper: &mut [u8], new: &Packet) -> Result<Delta, wire::Error> {
    let ports = upper.first_chunk_mut::<4>().ok_or(wire::Error::Short)?;
    let ([a, b], [c, d]) = (new.tuple.sport.0.to_be_bytes(), new.tuple.dport.0.to_be_bytes());
    let old = core::mem::replace(ports, [a, b, c, d]);
    Ok(Delta::of(&old, ports))
}

/// RFC 7915 §4.5: over IPv6, a datagram has a checksum.
fn sum_datagram(upper: &mut [u8], new: &Packet) -> Result<(), wire::Error> {
    let length = usize::from(udp::Header::at(upper, 0)?.length());
    let datagram = upper.get(..length).ok_or(wire::Error::Short)?;
    let sum = pseudo(&new.tuple).sum(new.tuple.proto, length).plus(datagram);
    udp::Header::at_mut(upper, 0)?.set_checksum(sum.checksum().for_udp());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use proptest::prelude::*;
    use wire::corpus;

    use super::*;
    use crate::af_to::{crossed, may_cross, proto_in};
    use crate::parse::verify_transport;
    use crate::{Address, Parsed, RxChecksum, Zone, parse};

    fn parsed(frame: &[u8]) -> Packet {
        match parse(frame, Zone(0), RxChecksum::Unknown) {
            Ok(Parsed::Ip(packet)) => packet,
            other => panic!("{other:?}"),
        }
    }

    /// A tuple of the other family, with these ends; of an echo, one port is its type.
    fn over(old: &Packet, ends: [u128; 2], [sport, dport]: [u16; 2]) -> Tuple {
        let (af, tuple) = (old.tuple.af.other(), old.tuple);
        let [src, dst] = ends.map(|end| Address(if af == Af::Inet { end & 0xffff_ffff } else { end }));
        let kind = if af == Af::Inet { 8 } else { 128 };
        let ports = match old.transport {
            Transport::Tcp(_) | Transport::Udp => [sport, dport],
            Transport::IcmpQuery { .. } => [sport, kind],
            _ => [tuple.sport.0, tuple.dport.0],
        };
        let [sport, dport] = ports.map(wire::Port);
        Tuple { af, proto: proto_in(af, tuple.proto), src, dst, sport, dport, ..tuple }
    }

    fn check(frame: &[u8], ends: [u128; 2], ports: [u16; 2]) -> Result<(), TestCaseError> {
        let Ok(Parsed::Ip(old)) = parse(frame, Zone(0), RxChecksum::Unknown) else { return Ok(()) };
        if !may_cross(&old) {
            return Ok(());
        }
        let new = crossed(&old, over(&old, ends, ports));
        let mut there = frame.to_vec();
        cross(&mut there, &old, &new, 7, None).unwrap();
        let found = parsed(&there);
        prop_assert_eq!(found.tuple, new.tuple);
        prop_assert_eq!(found.transport, new.transport);
        prop_assert_eq!((found.l4, found.end, found.ttl, found.tos), (new.l4, new.end, old.ttl, old.tos));
        // Right or wrong as it was.
        prop_assert_eq!(verify_transport(&there, &found), verify_transport(frame, &old));
        let back = crossed(&found, old.tuple);
        let mut again = there.clone();
        cross(&mut again, &found, &back, 7, None).unwrap();
        let again_found = parsed(&again);
        prop_assert_eq!(again_found.tuple, old.tuple);
        let upper = |frame: &[u8], packet: &Packet| frame[packet.l4.into()..packet.end as usize].to_vec();
        let (before, after) = (upper(frame, &old), upper(&again, &again_found));
        // A datagram without a checksum has one on the way back.
        let summed = matches!(old.transport, Transport::Udp) && before[6..8] == [0, 0];
        let from = if summed { 8 } else { 0 };
        prop_assert_eq!(&before[from..], &after[from..]);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// D7. Every packet of the corpus has right checksums in the other family, and is itself again on the way back.
        #[test]
        fn d07_checksums_are_carried_across_families(ends: [u128; 2], ports in [1_u16.., 1_u16..]) {
            for (_, frame) in corpus::packets() {
                check(&frame, ends, ports)?;
            }
        }
    }

    #[test]
    fn a_frame_without_room_stays_as_it_is() {
        /// One that cannot grow.
        struct Tight(Vec<u8>);
        impl Frame for Tight {
            fn bytes(&self) -> &[u8] {
                &self.0
            }
            fn bytes_mut(&mut self) -> &mut [u8] {
                &mut self.0
            }
            fn prepend(&mut self, _: usize) -> Result<(), NoRoom> {
                Err(NoRoom)
            }
            fn trim_front(&mut self, count: usize) {
                self.0.drain(..count);
            }
            fn truncate(&mut self, length: usize) {
                self.0.truncate(length);
            }
            fn append(&mut self, _: usize) -> Result<(), NoRoom> {
                Err(NoRoom)
            }
        }
        let (mut up, mut down) = (0, 0);
        for (_, frame) in corpus::packets() {
            let Ok(Parsed::Ip(old)) = parse(&frame, Zone(0), RxChecksum::Unknown) else { continue };
            if !may_cross(&old) {
                continue;
            }
            let new = crossed(&old, over(&old, [5, 6], [7, 8]));
            let mut tight = Tight(frame.clone());
            let crossing = cross(&mut tight, &old, &new, 7, None);
            if new.end > old.end {
                up += 1;
                assert_eq!((crossing, tight.0), (Err(NoRoom), frame));
            } else {
                down += 1;
                assert_eq!(crossing, Ok(()));
            }
        }
        assert!(up > 0 && down > 0);
    }
}
