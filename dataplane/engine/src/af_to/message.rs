//! ICMP errors in the terms of the other family (RFC 7915 §4.2, §4.3, §5.2, §5.3).
//!
//! Overview: type and code have their counterparts, or the message says nothing over there. MTUs and pointers are those of
//! the packet as its sender sent it, and so is the packet that is quoted, whose checksums are carried along as right or
//! wrong as they were. What extensions say of a link of this family (RFC 4884) is left out.
//! Ownership: a packet's. Bounds: a message of [`LONGEST`] octets.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use core::net::{Ipv4Addr, Ipv6Addr};

use wire::checksum::Delta;
use wire::quote::{self, Quote};
use wire::{Af, Checksum, icmp4, icmp6, ipv4, ipv6};

use super::{DF_ABOVE, pseudo_header};
use crate::eval::is_request;
use crate::packet::{Packet, Quoted, Transport, Tuple, ip_header_len};

/// The longest message, and so the longest error over IPv6 (RFC 4443 §2.4).
const LONGEST: usize = 1280 - ipv6::HEADER_LEN;
/// The longest over IPv4 (RFC 1812 §4.3.2.3).
const LONGEST4: usize = 576 - ipv4::HEADER_LEN;
const HEADER_LEN: usize = icmp4::HEADER_LEN;
const _: () = assert!(HEADER_LEN == icmp6::HEADER_LEN, "both families have the quote in the same place");

/// What routers send that do not know better (RFC 1191 §7.1).
const PLATEAUS: [u32; 11] = [65_535, 32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// The least MTU of IPv6.
const MTU6_MIN: u32 = 1280;

/// How much longer a packet is over IPv6.
const LONGER: u32 = (ipv6::HEADER_LEN - ipv4::HEADER_LEN) as u32;

/// The MTUs of the links that an error comes by and leaves by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mtus {
    pub coming: u32,
    pub leaving: u32,
}

/// An ICMP message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    octets: [u8; LONGEST],
    len: usize,
}

impl Message {
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    pub fn length(&self) -> u32 {
        self.len as u32
    }

    /// The error `old` in the terms of `new`, which is the same with tuples of the other family. `None` if it has none, or
    /// is not what it says that it is.
    pub fn of(frame: &[u8], old: &Packet, new: &Packet, mtus: Mtus) -> Option<Self> {
        let Transport::IcmpError { quoted, .. } = new.transport else { return None };
        let upper = frame.get(old.l4.into()..old.end as usize)?;
        let message = icmp4::Message::parse(upper).ok()?;
        let header = message.header();
        let body = message.body().get(..original_len(old.tuple.af, &header, message.body().len()))?;
        let whole = Whole::of(old.tuple.af, body)?;
        let (kind, code, rest) = match old.tuple.af {
            Af::Inet => to_icmp6(&header, mtus, whole.length)?,
            Af::Inet6 => to_icmp4(&icmp6::Message::parse(upper).ok()?.header(), mtus)?,
        };
        let mut told = Self { octets: [0; LONGEST], len: 0 };
        let most = if new.tuple.af == Af::Inet { LONGEST4 } else { LONGEST };
        let quote = told.octets.get_mut(HEADER_LEN..most)?;
        told.len = HEADER_LEN + whole.write(body, &quoted, quote)?;
        told.emit(kind, code, rest, &new.tuple).ok()?;
        Some(told)
    }

    fn emit(&mut self, kind: u8, code: u8, rest: [u8; 4], tuple: &Tuple) -> Result<(), wire::Error> {
        let message = self.octets.get_mut(..self.len).ok_or(wire::Error::Short)?;
        match tuple.af {
            Af::Inet => icmp4::Repr { kind: icmp4::Type(kind), code, rest }.emit(message),
            Af::Inet6 => {
                let [src, dst] = [tuple.src, tuple.dst].map(|address| Ipv6Addr::from_bits(address.0));
                icmp6::Repr { kind: icmp6::Type(kind), code, rest }.emit(src, dst, message)
            }
        }
    }
}

/// How much of an error's body is the packet that it quotes: all of it, but for extensions behind (RFC 4884 §4).
fn original_len(af: Af, header: &icmp4::Header<&[u8; HEADER_LEN]>, body: usize) -> usize {
    let kind = header.kind();
    let [first, second, ..] = header.rest();
    let said = match af {
        Af::Inet if matches!(kind.0, 3 | 11 | 12) => usize::from(second) * 4,
        Af::Inet6 if matches!(kind.0, 1 | 3) => usize::from(first) * 8,
        _ => 0,
    };
    if said == 0 { body } else { body.min(said) }
}

/// The packet that an error quotes, as long as it was.
struct Whole {
    quote: Quote,
    /// Octets behind the header.
    payload_len: usize,
    /// Octets of header and payload, over the family that it is quoted in.
    length: u32,
    tos: u8,
    ident: u16,
    dont_fragment: bool,
}

impl Whole {
    fn of(af: Af, body: &[u8]) -> Option<Self> {
        let quote = Quote::parse(af, body).ok()?;
        let fragment = quote.fragment;
        match af {
            Af::Inet => {
                let header = ipv4::Header::at(body, 0).ok()?;
                let payload_len = usize::from(header.total_len()).checked_sub(header.header_len())?;
                Some(Self {
                    quote,
                    payload_len,
                    length: header.total_len().into(),
                    tos: header.tos(),
                    ident: header.ident(),
                    dont_fragment: header.dont_fragment(),
                })
            }
            Af::Inet6 => {
                let header = ipv6::Header::at(body, 0).ok()?;
                let length = ipv6::HEADER_LEN + usize::from(header.payload_len());
                let payload_len = length.checked_sub(quote.transport_offset)?;
                Some(Self {
                    quote,
                    payload_len,
                    length: length as u32,
                    tos: header.traffic_class(),
                    // RFC 7915 §5.1.1: the lower half.
                    ident: fragment.map_or(0, |fragment| fragment.ident as u16),
                    dont_fragment: fragment.is_none() && payload_len + ipv4::HEADER_LEN > DF_ABOVE,
                })
            }
        }
    }

    /// Writes it as the packet `new` of the other family, as far as there is room. Returns how many octets it takes.
    fn write(&self, body: &[u8], new: &Quoted, out: &mut [u8]) -> Option<usize> {
        let Self { quote, payload_len, tos, ident, dont_fragment, .. } = *self;
        let tuple = &new.tuple;
        let (head, rest) = out.split_at_mut_checked(ip_header_len(tuple.af))?;
        match tuple.af {
            Af::Inet => {
                let [src, dst] = [tuple.src, tuple.dst].map(|address| Ipv4Addr::from_bits(address.v4()));
                let plain = ipv4::Repr::new(src, dst, tuple.proto, payload_len);
                let more_fragments = quote.fragment.is_some_and(|fragment| fragment.more);
                ipv4::Repr { ttl: quote.ttl, tos, ident, dont_fragment, more_fragments, ..plain }
                    .emit(head)
                    .ok()?;
            }
            Af::Inet6 => {
                let [src, dst] = [tuple.src, tuple.dst].map(|address| Ipv6Addr::from_bits(address.0));
                let plain = ipv6::Repr::new(src, dst, tuple.proto, payload_len);
                ipv6::Repr { hop_limit: quote.ttl, traffic_class: tos, ..plain }.emit(head).ok()?;
            }
        }
        let upper = body.get(quote.transport_offset..)?;
        let len = upper.len().min(rest.len());
        let rest = rest.get_mut(..len)?;
        rest.copy_from_slice(upper.get(..len)?);
        self.change(new, rest);
        Some(head.len() + len)
    }

    /// Has the start of the upper layer say what it says in the other family.
    fn change(&self, new: &Quoted, upper: &mut [u8]) {
        let tuple = &new.tuple;
        let pseudo = self.pseudo_change(tuple);
        let [sport, dport] = [tuple.sport, tuple.dport].map(|port| port.0.to_be_bytes());
        match self.quote.transport {
            quote::Transport::Tcp { .. } => {
                let ports = put(upper, 0, &sport).and(put(upper, 2, &dport));
                let delta = pseudo.and(ports).and(put(upper, 4, &new.seq.0.to_be_bytes()));
                adjust(upper, 16, |checksum| checksum.adjusted(delta));
            }
            quote::Transport::Udp { .. } => {
                let delta = pseudo.and(put(upper, 0, &sport)).and(put(upper, 2, &dport));
                adjust(upper, 6, |checksum| checksum.adjusted_udp(delta));
            }
            quote::Transport::Icmp4 { kind: icmp4::Type(kind), code, .. }
            | quote::Transport::Icmp6 { kind: icmp6::Type(kind), code, .. } => {
                let Some(kind) = super::query_kind(tuple.af, kind) else { return };
                let ident = if is_request(tuple.af, kind) { sport } else { dport };
                let delta = pseudo.and(put(upper, 0, &[kind, code])).and(put(upper, 4, &ident));
                adjust(upper, 2, |checksum| checksum.adjusted(delta));
            }
            quote::Transport::LaterFragment | quote::Transport::Other => {}
        }
    }

    /// How what checksums cover of the addresses changes. Those of ICMP over IPv4 cover nothing of them.
    fn pseudo_change(&self, new: &Tuple) -> Delta {
        let [src, dst] = [self.quote.src, self.quote.dst].map(Into::into);
        let (af, proto) = (Af::of(&self.quote.src), self.quote.proto);
        let old = Tuple { af, proto, src, dst, ..*new };
        let of = |tuple: &Tuple| pseudo_header(tuple, self.payload_len as u32);
        Delta::of(&of(&old), &of(new))
    }
}

/// Stores octets at an even place, and returns what changed; nothing where the packet ends before them.
fn put(upper: &mut [u8], at: usize, new: &[u8]) -> Delta {
    let Some(place) = upper.get_mut(at..at + new.len()) else { return Delta::NONE };
    let delta = Delta::of(place, new);
    place.copy_from_slice(new);
    delta
}

fn adjust(upper: &mut [u8], at: usize, change: impl FnOnce(Checksum) -> Checksum) {
    if let Some(place) = upper.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *place = change(Checksum(*place)).0;
    }
}

/// RFC 7915 §4.2: type, code, and the rest of the header. `length` is that of the packet which the error is about.
fn to_icmp6(header: &icmp4::Header<&[u8; HEADER_LEN]>, mtus: Mtus, length: u32) -> Option<(u8, u8, [u8; 4])> {
    use icmp4::unreachable as from;
    use icmp6::{Type, unreachable as to};
    let unreachable = |code| Some((Type::UNREACHABLE.0, code, [0; 4]));
    match (header.kind(), header.code()) {
        (icmp4::Type::UNREACHABLE, code) => match code {
            from::NET | from::HOST | from::SOURCE_ROUTE..=from::ISOLATED => unreachable(to::NO_ROUTE),
            from::NET_TOS | from::HOST_TOS => unreachable(to::NO_ROUTE),
            from::PROTOCOL => Some((
                Type::PARAMETER_PROBLEM.0,
                icmp6::parameter_problem::NEXT_HEADER,
                (ipv6::NEXT_HEADER_AT as u32).to_be_bytes(),
            )),
            from::PORT => unreachable(to::PORT),
            from::FRAGMENTATION_NEEDED => {
                let mtu = mtu6(header.mtu().into(), mtus, length);
                Some((Type::PACKET_TOO_BIG.0, 0, mtu.to_be_bytes()))
            }
            from::NET_PROHIBITED | from::HOST_PROHIBITED | from::FILTERED | from::PRECEDENCE_CUTOFF => {
                unreachable(to::PROHIBITED)
            }
            _ => None,
        },
        (icmp4::Type::TIME_EXCEEDED, code) => Some((Type::TIME_EXCEEDED.0, code, [0; 4])),
        (icmp4::Type::PARAMETER_PROBLEM, 0 | 2) => {
            let pointer = pointer6(header.pointer())?;
            Some((Type::PARAMETER_PROBLEM.0, icmp6::parameter_problem::FIELD, pointer.to_be_bytes()))
        }
        _ => None,
    }
}

/// RFC 7915 §5.2: likewise.
fn to_icmp4(header: &icmp6::Header<&[u8; HEADER_LEN]>, mtus: Mtus) -> Option<(u8, u8, [u8; 4])> {
    use icmp4::{Type, unreachable as to};
    use icmp6::unreachable as from;
    let unreachable = |code| Some((Type::UNREACHABLE.0, code, [0; 4]));
    match (header.kind(), header.code()) {
        (icmp6::Type::UNREACHABLE, from::NO_ROUTE | from::BEYOND_SCOPE | from::ADDRESS) => {
            unreachable(to::HOST)
        }
        (icmp6::Type::UNREACHABLE, from::PROHIBITED) => unreachable(to::HOST_PROHIBITED),
        (icmp6::Type::UNREACHABLE, from::PORT) => unreachable(to::PORT),
        (icmp6::Type::PACKET_TOO_BIG, _) => {
            let [high, low] = mtu4(header.mtu(), mtus).to_be_bytes();
            Some((Type::UNREACHABLE.0, to::FRAGMENTATION_NEEDED, [0, 0, high, low]))
        }
        (icmp6::Type::TIME_EXCEEDED, code) => Some((Type::TIME_EXCEEDED.0, code, [0; 4])),
        (icmp6::Type::PARAMETER_PROBLEM, icmp6::parameter_problem::FIELD) => {
            let pointer = pointer4(header.pointer())?;
            Some((Type::PARAMETER_PROBLEM.0, 0, [pointer, 0, 0, 0]))
        }
        (icmp6::Type::PARAMETER_PROBLEM, icmp6::parameter_problem::NEXT_HEADER) => unreachable(to::PROTOCOL),
        _ => None,
    }
}

/// Where a field of the IPv4 header stands in the IPv6 header (RFC 7915, figure 3).
const fn pointer6(pointer: u8) -> Option<u32> {
    Some(match pointer {
        0 | 1 => pointer as u32,
        2 | 3 => 4,
        8 => 7,
        9 => 6,
        12..=15 => 8,
        16..=19 => 24,
        _ => return None,
    })
}

/// The way back (RFC 7915, figure 6).
const fn pointer4(pointer: u32) -> Option<u8> {
    Some(match pointer {
        0 | 1 => pointer as u8,
        4 | 5 => 2,
        6 => 9,
        7 => 8,
        8..=23 => 12,
        24..=39 => 16,
        _ => return None,
    })
}

/// What the sender of an IPv6 packet is told where an IPv4 router names an MTU; 0 is none.
fn mtu6(named: u32, mtus: Mtus, length: u32) -> u32 {
    let guessed = || PLATEAUS.into_iter().find(|plateau| *plateau < length).unwrap_or(0);
    let named = if named == 0 { guessed() } else { named };
    (named + LONGER).min(mtus.leaving).min(mtus.coming + LONGER).max(MTU6_MIN)
}

/// What the sender of an IPv4 packet is told where an IPv6 router names an MTU.
fn mtu4(named: u32, mtus: Mtus) -> u16 {
    let mtu = named.saturating_sub(LONGER).min(mtus.leaving).min(mtus.coming.saturating_sub(LONGER));
    u16::try_from(mtu).unwrap_or(u16::MAX)
}
