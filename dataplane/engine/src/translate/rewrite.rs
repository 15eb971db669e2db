//! What translation changes of a frame: addresses, ports or identifiers, sequence numbers, and every checksum that covers them,
//! by the change (RFC 1624) and never anew.
//!
//! Overview: [`rewrite`] is given the packet as it arrived and as it leaves. An ICMP error is changed together with the
//! packet that it quotes, so that its receiver knows its own (RFC 5508 §4.2): a checksum in the quote stays as right or wrong
//! as it was.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::checksum::Delta;
use wire::quote::{self, Quote};
use wire::{Af, Checksum, Port, Proto, ethernet, icmp4, icmp6, ipv4, ipv6, tcp, udp};

use super::renumber;
use crate::quick::Kind;
use crate::rewrite::HOP;
use crate::state::{Change, Which, WideChange};
use crate::{Address, Packet, Quoted, Transport, Tuple};

/// Rewrites a frame with the packet `old` so that it is `new`, which differs from it in addresses, ports and sequence numbers
/// alone, its own and those of the packet that it quotes. A frame that does not hold `old` stays wrong.
pub fn rewrite(frame: &mut [u8], old: &Packet, new: &Packet) {
    // What was parsed is there: no error is possible.
    let _ = try_rewrite(frame, old, new);
}

/// Forwards a TCP segment or a UDP datagram of IPv4 that stands behind an untagged Ethernet header and an IP header without
/// options, and rewrites it: what [`forward_plain`](crate::rewrite::forward_plain) and [`rewrite`] do, at fixed places. `link`
/// is destination and source. A frame that is too short for its headers stays as it is.
#[inline(always)]
pub(crate) fn forward_translated(frame: &mut [u8], kind: Kind, change: &Change, link: &[u8; 12]) {
    let Some(head) = frame.first_chunk_mut::<{ UPPER4 + tcp::HEADER_LEN }>() else { return };
    put::<0, _, _>(head, *link);
    let (address, port) = (change.address, change.port);
    let addresses = Delta::of_octets(exchange::<ENDS4, _, _>(head, change.end, address), address);
    let both = addresses.and(Delta::of_word(exchange::<UPPER4, _, _>(head, change.end, port), port));
    if let Ok(mut header) = ipv4::Header::at_mut(head, ethernet::HEADER_LEN) {
        header.set_ttl(header.ttl().wrapping_sub(1));
        // One behind the other: the sum of both takes more to make.
        header.adjust(addresses);
        header.adjust(HOP);
    }
    adjust_upper(head, UPPER4, kind, both);
}

/// As [`forward_translated`], of IPv6.
#[inline(always)]
pub(crate) fn forward_translated6(frame: &mut [u8], kind: Kind, change: &WideChange<'_>, link: &[u8; 12]) {
    let Some(head) = frame.first_chunk_mut::<{ UPPER6 + tcp::HEADER_LEN }>() else { return };
    put::<0, _, _>(head, *link);
    let _ = exchange::<ENDS6, _, _>(head, change.end, change.address.0.to_be_bytes());
    let _ = exchange::<UPPER6, _, _>(head, change.end, change.port);
    if let Ok(mut header) = ipv6::Header::at_mut(head, ethernet::HEADER_LEN) {
        header.set_hop_limit(header.hop_limit().wrapping_sub(1));
    }
    adjust_upper(head, UPPER6, kind, change.delta);
}

/// As [`forward_translated6`], of a packet of which one end is given another address and another port; what that adds to
/// checksums is told from what stands there.
#[inline]
pub(crate) fn replace_end6(
    frame: &mut [u8],
    kind: Kind,
    end: Which,
    (address, port): (&Address, Port),
    link: &[u8; 12],
) {
    let Some(head) = frame.first_chunk::<{ UPPER6 + tcp::HEADER_LEN }>() else { return };
    let ends = head.split_at(ENDS6).1.as_chunks::<16>().0;
    let ports = head.split_at(UPPER6).1.as_chunks::<2>().0;
    let (Some(old), Some(old_port)) = (ends.get(end as usize), ports.get(end as usize)) else { return };
    let port = port.0.to_be_bytes();
    let delta = Delta::of(old, &address.0.to_be_bytes()).and(Delta::of_word(*old_port, port));
    let change = WideChange { end, address, port, delta };
    forward_translated6(frame, kind, &change, link);
}

/// Where the addresses stand in a frame, and the upper layer.
const ENDS4: usize = ethernet::HEADER_LEN + 12;
const UPPER4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
const ENDS6: usize = ethernet::HEADER_LEN + 8;
const UPPER6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

/// Stores octets at a fixed place.
#[inline(always)]
fn put<const AT: usize, const N: usize, const LEN: usize>(head: &mut [u8; LEN], octets: [u8; N]) {
    const { assert!(AT + N <= LEN, "beyond the end") };
    if let Some(place) = head.split_at_mut(AT).1.first_chunk_mut() {
        *place = octets;
    }
}

/// Stores octets in one of the two places of ends, which begin at a fixed one, and returns what was there.
#[inline(always)]
fn exchange<const AT: usize, const N: usize, const LEN: usize>(
    head: &mut [u8; LEN],
    end: Which,
    octets: [u8; N],
) -> [u8; N] {
    const { assert!(AT + 2 * N <= LEN, "beyond the end") };
    let ends = head.split_at_mut(AT).1.as_chunks_mut::<N>().0;
    // Nothing else is possible, by the assertion above.
    let Some([source, destination]) = ends.first_chunk_mut() else { return octets };
    // By a place and not by a branch: which end a packet's sender is, is as good as random.
    let place = if end == Which::Source { source } else { destination };
    core::mem::replace(place, octets)
}

#[inline(always)]
fn adjust_upper<const LEN: usize>(head: &mut [u8; LEN], at: usize, kind: Kind, delta: Delta) {
    if kind == Kind::Segment {
        if let Ok(mut header) = tcp::Header::at_mut(head, at) {
            header.adjust(delta);
        }
    } else if let Ok(mut header) = udp::Header::at_mut(head, at) {
        header.adjust(delta);
    }
}

fn try_rewrite(frame: &mut [u8], old: &Packet, new: &Packet) -> Result<(), wire::Error> {
    let addresses = set_addresses(frame, old.l3.into(), new.tuple.af, &new.tuple)?;
    let end = (old.end as usize).min(frame.len());
    let upper = frame.get_mut(old.l4.into()..end).ok_or(wire::Error::Short)?;
    match (old.transport, new.transport) {
        (Transport::Tcp(from), Transport::Tcp(to)) => {
            let ports = set_ports(upper, &new.tuple)?;
            tcp::Header::at_mut(upper, 0)?.adjust(addresses.and(ports));
            if from != to {
                renumber(upper, &from, &to)?;
            }
        }
        (Transport::Udp, _) => {
            let ports = set_ports(upper, &new.tuple)?;
            udp::Header::at_mut(upper, 0)?.adjust(addresses.and(ports));
        }
        (Transport::IcmpQuery { .. }, _) => {
            let ident = changed_ident(&old.tuple, &new.tuple);
            match new.tuple.af {
                Af::Inet => {
                    if let Some(ident) = ident {
                        icmp4::rewrite_ident(upper, ident.0)?;
                    }
                }
                Af::Inet6 => {
                    let mut header = icmp6::Header::at_mut(upper, 0)?;
                    header.adjust(addresses);
                    if let Some(ident) = ident {
                        header.rewrite_ident(ident.0);
                    }
                }
            }
        }
        (Transport::IcmpError { quoted: from, .. }, Transport::IcmpError { quoted: to, .. }) => {
            let inner = rewrite_quote(upper, &from, &to)?;
            match new.tuple.af {
                Af::Inet => {
                    let mut header = icmp4::Header::at_mut(upper, 0)?;
                    header.set_checksum(header.checksum().adjusted(inner));
                }
                Af::Inet6 => icmp6::Header::at_mut(upper, 0)?.adjust(inner.and(addresses)),
            }
        }
        // Only ICMPv6 covers the pseudo header.
        (Transport::IcmpOther { .. }, _) if new.tuple.af == Af::Inet6 => {
            icmp6::Header::at_mut(upper, 0)?.adjust(addresses);
        }
        _ => {}
    }
    Ok(())
}

/// The identifier of a query or its reply, if it is another one: the type stands in the place of the other port.
fn changed_ident(old: &Tuple, new: &Tuple) -> Option<Port> {
    if old.sport != new.sport {
        return Some(new.sport);
    }
    (old.dport != new.dport).then_some(new.dport)
}

/// Stores both addresses in the IP header at `at`, and returns what changed for those who cover them.
#[inline]
fn set_addresses(frame: &mut [u8], at: usize, af: Af, tuple: &Tuple) -> Result<Delta, wire::Error> {
    match af {
        Af::Inet => {
            let mut header = ipv4::Header::at_mut(frame, at)?;
            let src = header.rewrite_src(Ipv4Addr::from_bits(tuple.src.v4()));
            Ok(src.and(header.rewrite_dst(Ipv4Addr::from_bits(tuple.dst.v4()))))
        }
        Af::Inet6 => {
            let mut header = ipv6::Header::at_mut(frame, at)?;
            let src = header.rewrite_src(Ipv6Addr::from_bits(tuple.src.0));
            Ok(src.and(header.rewrite_dst(Ipv6Addr::from_bits(tuple.dst.0))))
        }
    }
}

/// Stores both ports of TCP or UDP, and returns what changed.
#[inline]
fn set_ports(upper: &mut [u8], tuple: &Tuple) -> Result<Delta, wire::Error> {
    let ports = upper.first_chunk_mut::<4>().ok_or(wire::Error::Short)?;
    let ([a, b], [c, d]) = (tuple.sport.0.to_be_bytes(), tuple.dport.0.to_be_bytes());
    let old = core::mem::replace(ports, [a, b, c, d]);
    Ok(Delta::of(&old, ports))
}

/// A message with changes in it, and what they amount to for its checksum.
struct Patched<'a> {
    message: &'a mut [u8],
    delta: Delta,
}

impl Patched<'_> {
    /// Stores octets; no effect where the message ends before them.
    fn put(&mut self, at: usize, new: &[u8]) -> Delta {
        let Some(place) = self.message.get_mut(at..at.saturating_add(new.len())) else { return Delta::NONE };
        let delta = Delta::of(place, new);
        place.copy_from_slice(new);
        self.delta = self.delta.and(if at & 1 == 0 { delta } else { delta.at_odd() });
        delta
    }

    /// Carries a checksum along, if the message has it.
    fn adjust(&mut self, at: usize, change: impl FnOnce(Checksum) -> Checksum) {
        let Some(old) = self.message.get(at..).and_then(<[u8]>::first_chunk::<2>) else { return };
        let new = change(Checksum(*old));
        self.put(at, &new.0);
    }
}

/// Where the quoted packet stands in an ICMP error.
const QUOTE_AT: usize = icmp4::HEADER_LEN;
const _: () = assert!(QUOTE_AT == icmp6::HEADER_LEN, "both families have the quote in the same place");

/// Rewrites the packet that an ICMP error quotes, and returns what changed for the error's checksum.
fn rewrite_quote(message: &mut [u8], old: &Quoted, new: &Quoted) -> Result<Delta, wire::Error> {
    let seq = (old.seq != new.seq).then(|| new.seq.0.to_be_bytes());
    let (old, new) = (&old.tuple, &new.tuple);
    let quote = Quote::parse(old.af, message.get(QUOTE_AT..).ok_or(wire::Error::Short)?)?;
    let upper = QUOTE_AT + quote.transport_offset;
    let mut patched = Patched { message, delta: Delta::NONE };
    let addresses = match new.af {
        Af::Inet => {
            let octets = |address: Address| address.v4().to_be_bytes();
            let src = patched.put(QUOTE_AT + 12, &octets(new.src));
            let delta = src.and(patched.put(QUOTE_AT + 16, &octets(new.dst)));
            patched.adjust(QUOTE_AT + 10, |checksum| checksum.adjusted(delta));
            delta
        }
        Af::Inet6 => {
            let src = patched.put(QUOTE_AT + 8, &new.src.0.to_be_bytes());
            src.and(patched.put(QUOTE_AT + 24, &new.dst.0.to_be_bytes()))
        }
    };
    let [sport, dport] = [new.sport, new.dport].map(|port| port.0.to_be_bytes());
    match (quote.transport, new.proto) {
        (quote::Transport::Tcp { .. }, _) => {
            let mut delta = addresses.and(patched.put(upper, &sport)).and(patched.put(upper + 2, &dport));
            if let Some(seq) = seq {
                delta = delta.and(patched.put(upper + 4, &seq));
            }
            patched.adjust(upper + 16, |checksum| checksum.adjusted(delta));
        }
        (quote::Transport::Udp { .. }, _) => {
            let delta = addresses.and(patched.put(upper, &sport)).and(patched.put(upper + 2, &dport));
            patched.adjust(upper + 6, |checksum| checksum.adjusted_udp(delta));
        }
        (quote::Transport::Icmp4 { .. } | quote::Transport::Icmp6 { .. }, proto) => {
            let ident = changed_ident(old, new).map(|ident| patched.put(upper + 4, &ident.0.to_be_bytes()));
            let covered = if proto == Proto::ICMP6 { addresses } else { Delta::NONE };
            let delta = covered.and(ident.unwrap_or(Delta::NONE));
            patched.adjust(upper + 2, |checksum| checksum.adjusted(delta));
        }
        (quote::Transport::LaterFragment | quote::Transport::Other, _) => {}
    }
    Ok(patched.delta)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use proptest::prelude::*;
    use wire::corpus;
    use wire::corpus::build::{frame4, header4};

    use super::*;
    use crate::parse::verify_transport;
    use crate::{Parsed, RxChecksum, Zone, parse};

    fn parsed(frame: &[u8]) -> Option<Packet> {
        match parse(frame, Zone(0), RxChecksum::Unknown) {
            Ok(Parsed::Ip(packet)) => Some(packet),
            _ => None,
        }
    }

    /// What stands for both ends of a packet.
    #[derive(Clone, Copy, Debug)]
    struct Ends {
        addresses: [u128; 2],
        ports: [u16; 2],
    }

    prop_compose! {
        fn ends()(addresses in any::<[u128; 2]>(), ports in [1_u16.., 1_u16..]) -> Ends {
            Ends { addresses, ports }
        }
    }

    impl Ends {
        fn of(self, like: Tuple) -> Tuple {
            let [src, dst] = self.addresses.map(|address| match like.af {
                Af::Inet => Address(address & 0xffff_ffff),
                Af::Inet6 => Address(address),
            });
            Tuple { src, dst, ..like }
        }

        /// The packet as it is between these ends; of a query, one port is the type.
        fn translate(self, old: &Packet) -> Packet {
            let mut new = *old;
            let [sport, dport] = self.ports.map(Port);
            let ported = |tuple: Tuple, is_request: bool| match tuple.proto {
                Proto::TCP | Proto::UDP => Tuple { sport, dport, ..tuple },
                Proto::ICMP | Proto::ICMP6 if is_request => Tuple { sport, ..tuple },
                _ => tuple,
            };
            match old.transport {
                Transport::IcmpError { kind, code, mut quoted } => {
                    // Requests have their type behind the identifier.
                    let is_request = matches!(quoted.tuple.dport.0, 8 | 128);
                    quoted.tuple = ported(self.of(quoted.tuple), is_request);
                    new.tuple = Tuple { src: quoted.tuple.dst, dst: quoted.tuple.src, ..old.tuple };
                    new.transport = Transport::IcmpError { kind, code, quoted };
                }
                Transport::IcmpQuery { kind, .. } => {
                    new.tuple = ported(self.of(old.tuple), matches!(kind, 8 | 128));
                }
                Transport::Fragment => {}
                _ => new.tuple = ported(self.of(old.tuple), false),
            }
            new
        }
    }

    fn check(frame: &[u8], ends: Ends) -> Result<(), TestCaseError> {
        let Some(old) = parsed(frame) else { return Ok(()) };
        let new = ends.translate(&old);
        let mut changed = frame.to_vec();
        rewrite(&mut changed, &old, &new);
        let found = parsed(&changed).ok_or_else(|| TestCaseError::fail("the IP header is damaged"))?;
        prop_assert_eq!(found.tuple, new.tuple);
        prop_assert_eq!(found.transport, new.transport);
        prop_assert_eq!(verify_transport(&changed, &found), verify_transport(frame, &old));
        if let (Ok(now), Ok(before)) = (corpus::dissect(&changed), corpus::dissect(frame)) {
            prop_assert_eq!(core::mem::discriminant(&now.network), core::mem::discriminant(&before.network));
        }
        rewrite(&mut changed, &found, &old);
        prop_assert_eq!(&changed[..], frame, "and back");
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// D7. Every packet of the corpus between other ends has right checksums, and is itself again on the way back.
        #[test]
        fn d07_checksums_are_carried_along_as_if_they_were_summed_anew(ends in ends()) {
            for (_, frame) in corpus::packets() {
                check(&frame, ends)?;
            }
        }
    }

    #[test]
    fn d07_a_datagram_without_a_checksum_stays_without() {
        let mut frame = frame4(&header4(Proto::UDP), &[0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        let old = parsed(&frame).unwrap();
        let new = Packet { tuple: Tuple { src: Address(0x0a01_0001), sport: Port(9), ..old.tuple }, ..old };
        rewrite(&mut frame, &old, &new);
        assert_eq!(parsed(&frame).unwrap().tuple, new.tuple);
        assert_eq!(frame[40..42], [0, 0]);
    }
}
