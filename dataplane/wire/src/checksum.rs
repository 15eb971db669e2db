//! The Internet checksum: sums, incremental updates, pseudo headers and verification.
//!
//! # Overview
//! The checksum of RFC 1071 is the complement of a one's complement sum of 16-bit words. One's complement addition puts
//! the carry that leaves at the top back in at the bottom. It is therefore addition modulo 65535, and 256 · 256 = 65536
//! is 1 modulo 65535: to exchange the two octets of a word is to multiply it by 256, and multiplying twice changes
//! nothing. Exchange the octets of every word, and the sum has its octets exchanged, no more: the carry goes round a
//! ring, and a ring has no first octet.
//!
//! So nothing in this module swaps bytes. Words are loaded from memory as the processor likes them, added, folded, and
//! the result is stored as it would have been loaded. On a little-endian processor the integer in between is not the
//! number that the RFC prints, and nobody may look at it: [`Checksum`] is two octets of the packet, [`Sum`] and [`Delta`]
//! are opaque. The same argument allows words of any multiple of 16 bits, since 2³² and 2⁶⁴ are also 1 modulo 65535:
//! the loop below adds 32-bit words in 64-bit accumulators and folds once, at the end. And it says what happens to
//! data that starts at an odd octet of the packet: its sum has the octets exchanged ([`Delta::at_odd`]).
//!
//! Modulo 65535 there are two zeros, 0x0000 and 0xffff. Addition never makes the first from anything but zeros, which
//! is why UDP could take 0x0000 for "no checksum", and why the incremental update is exact: it follows RFC 1624 eqn 3,
//! HC' = ~(~HC + ~m + m'), and not the older formula, which mixes up the two.
//!
//! # Bounds
//! A sum is exact for up to 2³² words of 32 bits, far more than a packet has. The incremental update equals a
//! recomputation unless the covered data, pseudo header included, becomes all zeros: then it yields 0x0000 where 0xffff
//! is right. Only an ICMPv4 echo reply can be all zeros; [`crate::icmp4::rewrite_ident`] looks after it.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Af, Error, Proto};

/// A checksum field: two octets as they stand in the packet, never an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checksum(pub [u8; 2]);

impl Checksum {
    /// All zeros: in UDP over IPv4, "no checksum" (RFC 768); elsewhere the value while computing.
    pub const ZERO: Self = Self([0, 0]);

    /// All ones: what UDP sends when the computed checksum is zero (RFC 768).
    pub const ONES: Self = Self([0xff, 0xff]);

    /// This checksum after the covered data changed by `delta` (RFC 1624 eqn 3).
    #[inline]
    #[must_use]
    pub const fn adjusted(self, delta: Delta) -> Self {
        // ~(~HC + d) is HC - d, and what is borrowed at the top comes from the bottom.
        let (difference, borrow) = u16::from_ne_bytes(self.0).overflowing_sub(delta.0);
        Self(difference.wrapping_sub(borrow as u16).to_ne_bytes())
    }

    /// As [`Self::adjusted`], by the rules of UDP: no checksum stays none, and a computed zero is sent as ones.
    #[inline]
    #[must_use]
    pub const fn adjusted_udp(self, delta: Delta) -> Self {
        if matches!(self, Self::ZERO) { self } else { self.adjusted(delta).for_udp() }
    }

    /// The checksum that UDP sends for a computed one (RFC 768): zero becomes ones.
    #[inline]
    #[must_use]
    pub const fn for_udp(self) -> Self {
        if matches!(self, Self::ZERO) { Self::ONES } else { self }
    }
}

/// One's complement addition of 16-bit words.
#[inline]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    // Cannot overflow: with a carry, `sum` is at most 0xfffe.
    sum.wrapping_add(carry as u16)
}

/// Folds a sum of wider words into 16 bits.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 32).wrapping_add(sum & 0xffff_ffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    let sum = (sum >> 16).wrapping_add(sum & 0xffff);
    sum as u16
}

/// How the sum of covered data changed: ~m + m' of RFC 1624. Computed once per rewrite, or once per connection, and
/// applied to every checksum that covers the changed octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta(u16);

impl Delta {
    /// No change.
    pub const NONE: Self = Self(0);

    /// The change from `old` to `new`, which start at an even octet of the covered data and have equal lengths.
    #[inline]
    #[must_use]
    pub fn of(old: &[u8], new: &[u8]) -> Self {
        Self(add(!fold(words(old)), fold(words(new))))
    }

    /// The change of one word that starts at an even octet of the covered data.
    #[inline]
    #[must_use]
    pub const fn of_word(old: [u8; 2], new: [u8; 2]) -> Self {
        Self(add(!u16::from_ne_bytes(old), u16::from_ne_bytes(new)))
    }

    /// As [`of`](Self::of), of four octets, without a loop.
    #[inline(always)]
    #[must_use]
    pub const fn of_octets(old: [u8; 4], new: [u8; 4]) -> Self {
        let (sum, carry) = (!u32::from_ne_bytes(old)).overflowing_add(u32::from_ne_bytes(new));
        let sum = sum.wrapping_add(carry as u32);
        Self(add((sum >> 16) as u16, sum as u16))
    }

    /// The change as it is kept with a connection.
    #[inline]
    #[must_use]
    pub const fn to_ne_bytes(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }

    /// The change that was [kept](Self::to_ne_bytes).
    #[inline]
    #[must_use]
    pub const fn from_ne_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_ne_bytes(bytes))
    }

    /// Both changes.
    #[inline]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(add(self.0, other.0))
    }

    /// The change back.
    #[inline]
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self(!self.0)
    }

    /// The same change of octets that start at an odd octet of the covered data.
    #[inline]
    #[must_use]
    pub const fn at_odd(self) -> Self {
        Self(self.0.swap_bytes())
    }
}

/// A running one's complement sum over consecutive slices of any lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    folded: u16,
    /// True if an odd number of octets was added: the next slice then starts in the low half of a word.
    odd: bool,
}

impl Sum {
    /// Nothing added.
    pub const ZERO: Self = Self { folded: 0, odd: false };

    /// This sum with `bytes` added behind what it covers.
    #[inline]
    #[must_use]
    pub fn plus(self, bytes: &[u8]) -> Self {
        let word = fold(words(bytes));
        let word = if self.odd { word.swap_bytes() } else { word };
        Self { folded: add(self.folded, word), odd: self.odd ^ (bytes.len() & 1 == 1) }
    }

    /// The checksum of the data: the complement of the sum.
    #[inline]
    #[must_use]
    pub const fn checksum(self) -> Checksum {
        Checksum((!self.folded).to_ne_bytes())
    }

    /// `Ok` if the data, its checksum field included, sums to all ones.
    #[inline]
    pub const fn verify(self) -> Result<(), Error> {
        if self.folded == 0xffff { Ok(()) } else { Err(Error::Checksum) }
    }
}

/// The unfolded sum of `bytes`, an odd last octet padded with zero (RFC 1071 §4.1).
#[inline]
fn words(bytes: &[u8]) -> u64 {
    // Two halves per 64-bit load, in separate accumulators: no carry is lost, and the loop vectorises.
    let (chunks, tail) = bytes.as_chunks::<8>();
    let (mut low, mut high) = (0_u64, 0_u64);
    for chunk in chunks {
        let word = u64::from_ne_bytes(*chunk);
        low = low.wrapping_add(word & 0xffff_ffff);
        high = high.wrapping_add(word >> 32);
    }
    low.wrapping_add(high).wrapping_add(tail_words(tail))
}

/// The sum of the last 0 to 7 octets.
#[inline]
fn tail_words(tail: &[u8]) -> u64 {
    let (pairs, last) = tail.as_chunks::<2>();
    let even: u64 = pairs.iter().map(|pair| u64::from(u16::from_ne_bytes(*pair))).sum();
    let odd = last.first().map_or(0, |octet| u64::from(u16::from_ne_bytes([*octet, 0])));
    even.wrapping_add(odd)
}

/// The two addresses that a pseudo header (RFC 9293 §3.1, RFC 8200 §8.1) covers, as they are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    /// Source and destination of an IPv4 packet.
    V4(Ipv4Addr, Ipv4Addr),
    /// Source and destination of an IPv6 packet.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Pseudo {
    /// The pseudo header for two addresses; `None` if their families differ.
    pub const fn of(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4(src, dst)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6(src, dst)),
            _ => None,
        }
    }

    /// The address family.
    pub const fn af(&self) -> Af {
        match self {
            Self::V4(..) => Af::Inet,
            Self::V6(..) => Af::Inet6,
        }
    }

    /// The sum of the pseudo header for an upper-layer packet of `len` octets. IPv4 has 16 bits for the length.
    #[inline]
    #[must_use]
    pub fn sum(&self, proto: Proto, len: usize) -> Sum {
        let addresses = match self {
            Self::V4(src, dst) => {
                let [src, dst] = [src, dst].map(|address| u64::from(u32::from_ne_bytes(address.octets())));
                src.wrapping_add(dst)
            }
            Self::V6(src, dst) => words(&src.octets()).wrapping_add(words(&dst.octets())),
        };
        // IPv4's 16-bit zero-protocol and length words and IPv6's 32-bit ones have equal sums.
        let rest = u64::from((len as u32).to_be()).wrapping_add(u64::from(u16::from_ne_bytes([0, proto.0])));
        Sum { folded: fold(addresses.wrapping_add(rest)), odd: false }
    }
}

/// Checks an IPv4 header, options included.
#[inline]
pub fn verify_ipv4(header: &[u8]) -> Result<(), Error> {
    Sum::ZERO.plus(header).verify()
}

/// Checks a whole TCP segment.
#[inline]
pub fn verify_tcp(pseudo: &Pseudo, segment: &[u8]) -> Result<(), Error> {
    pseudo.sum(Proto::TCP, segment.len()).plus(segment).verify()
}

/// Checks a whole UDP datagram, cut to its UDP length. Without a checksum it is good over IPv4, and `ZeroChecksum` over
/// IPv6 (RFC 8200 §8.1).
#[inline]
pub fn verify_udp(pseudo: &Pseudo, datagram: &[u8]) -> Result<(), Error> {
    if crate::udp::Header::at(datagram, 0)?.checksum() == Checksum::ZERO {
        return match pseudo.af() {
            Af::Inet => Ok(()),
            Af::Inet6 => Err(Error::ZeroChecksum),
        };
    }
    pseudo.sum(Proto::UDP, datagram.len()).plus(datagram).verify()
}

/// True if `field`, the checksum of a TCP segment or UDP datagram, is no checksum but the sum of the pseudo header alone: what a
/// host leaves for its network card to complete, and a virtual link hands over as it is. One in 65536 good packets, whose
/// other words happen to cancel out, looks the same; verifying tells them apart.
#[inline]
pub fn is_partial(pseudo: &Pseudo, proto: Proto, len: usize, field: Checksum) -> bool {
    field != Checksum::ZERO && pseudo.sum(proto, len).folded.to_ne_bytes() == field.0
}

/// Checks a whole ICMPv4 message, which has no pseudo header.
#[inline]
pub fn verify_icmp4(message: &[u8]) -> Result<(), Error> {
    Sum::ZERO.plus(message).verify()
}

/// Checks a whole ICMPv6 message.
#[inline]
pub fn verify_icmp6(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> Result<(), Error> {
    Pseudo::V6(src, dst).sum(Proto::ICMP6, message.len()).plus(message).verify()
}
