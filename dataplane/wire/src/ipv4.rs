//! IPv4 packets (RFC 791), options included.
//!
//! # Bounds
//! Options are at most 40 octets, so their iteration ends after at most 40 steps.

mod option;

use core::borrow::{Borrow, BorrowMut};
use core::net::Ipv4Addr;

pub use option::{IpOption, OptionKind, Options, OptionsBuf, OptionsIter};

use crate::checksum::{self, Delta, Sum};
use crate::field::{self, header};
use crate::{Checksum, Error, Fragment, Proto};

/// Octets of the header without options.
pub const HEADER_LEN: usize = 20;

/// Octets of options at most.
pub const OPTIONS_LEN_MAX: usize = 40;

/// `flags_and_offset`: do not fragment.
const DF: u16 = 0x4000;
/// `flags_and_offset`: more fragments.
const MF: u16 = 0x2000;
/// `flags_and_offset`: the offset, in units of 8 octets.
const OFFSET_MASK: u16 = 0x1fff;

header! {
    /// The first 20 octets.
    pub Header[HEADER_LEN];
    version_and_ihl, set_version_and_ihl: u8 = 0;
    /// Type of service: DSCP (6 bits) and ECN (2 bits).
    pub tos, set_tos, rewrite_tos: u8 = 1;
    /// Octets of header and payload together.
    pub total_len, set_total_len: u16 = 2;
    /// Identification of the packet that a fragment belongs to.
    pub ident, set_ident, rewrite_ident: u16 = 4;
    flags_and_offset, set_flags_and_offset, rewrite_flags_and_offset: u16 = 6;
    /// Time to live.
    pub ttl, set_ttl, rewrite_ttl: u8 = 8;
    /// Upper-layer protocol.
    pub proto, set_proto: Proto = 9;
    /// Checksum of the header and its options.
    pub checksum, set_checksum: Checksum = 10;
    /// Source address.
    pub src, set_src: Ipv4Addr = 12;
    /// Destination address.
    pub dst, set_dst: Ipv4Addr = 16;
}

impl<B: Borrow<[u8; HEADER_LEN]>> Header<B> {
    /// The IP version, 0 to 15.
    #[inline]
    pub fn version(&self) -> u8 {
        self.version_and_ihl() >> 4
    }

    /// Octets of the header with its options as the IHL field says: 0 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_and_ihl() & 0x0f) << 2
    }

    /// True if the packet must not be fragmented.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_and_offset() & DF != 0
    }

    /// True if this is a fragment: an offset or more fragments.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_and_offset() & (MF | OFFSET_MASK) != 0
    }

    /// The fragment fields, if this is a fragment.
    #[inline]
    pub fn fragment(&self) -> Option<Fragment> {
        let word = self.flags_and_offset();
        self.is_fragment().then(|| Fragment {
            ident: u32::from(self.ident()),
            offset: (word & OFFSET_MASK) << 3,
            more: word & MF != 0,
        })
    }
}

impl<B: BorrowMut<[u8; HEADER_LEN]>> Header<B> {
    /// Clears "do not fragment" (pf.conf(5) `no-df`) and carries the header checksum along.
    #[inline]
    pub fn clear_dont_fragment(&mut self) {
        self.rewrite_flags_and_offset(self.flags_and_offset() & !DF);
    }

    /// Stores the source address and carries the header checksum along. Returns the change, for the upper-layer
    /// checksum, whose pseudo header covers the address.
    #[inline]
    pub fn rewrite_src(&mut self, src: Ipv4Addr) -> Delta {
        let delta = Delta::of(&self.src().octets(), &src.octets());
        self.set_src(src);
        self.adjust(delta);
        delta
    }

    /// Stores the destination address; see [`Self::rewrite_src`].
    #[inline]
    pub fn rewrite_dst(&mut self, dst: Ipv4Addr) -> Delta {
        let delta = Delta::of(&self.dst().octets(), &dst.octets());
        self.set_dst(dst);
        self.adjust(delta);
        delta
    }

    /// Applies a change of covered octets to the header checksum.
    #[inline]
    pub fn adjust(&mut self, delta: Delta) {
        self.set_checksum(self.checksum().adjusted(delta));
    }
}

/// A packet taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Header<&'a [u8; HEADER_LEN]>,
    options: Options<'a>,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a packet apart. Octets behind the total length (Ethernet padding) are left out of the payload.
    ///
    /// In this order: `Short` below 20 octets, `Version`, `HeaderLength` (IHL below 5), `Short` (options cut),
    /// `TotalLength` (below the header), `Truncated` (above the bytes). Options and checksum are not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let packet = Self::parse_quoted(bytes)?;
        let total_len = usize::from(packet.header.total_len());
        let payload_len = total_len.checked_sub(packet.header.header_len()).ok_or(Error::TotalLength)?;
        let payload = packet.payload.get(..payload_len).ok_or(Error::Truncated)?;
        Ok(Self { payload, ..packet })
    }

    /// As [`Self::parse`] for a packet quoted by an ICMP error, which may be cut anywhere behind its header: the total
    /// length is not looked at, and the payload is all that is there.
    #[inline]
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, rest) = bytes.split_first_chunk().ok_or(Error::Short)?;
        let header: Header<&'a [u8; HEADER_LEN]> = Header(head);
        if header.version() != 4 {
            return Err(Error::Version);
        }
        let options_len = header.header_len().checked_sub(HEADER_LEN).ok_or(Error::HeaderLength)?;
        let (options, payload) = rest.split_at_checked(options_len).ok_or(Error::Short)?;
        Ok(Self { header, options: Options::new(options), payload })
    }

    /// The first 20 octets.
    #[inline]
    pub const fn header(&self) -> Header<&'a [u8; HEADER_LEN]> {
        self.header
    }

    /// The options.
    #[inline]
    pub const fn options(&self) -> Options<'a> {
        self.options
    }

    /// The upper-layer packet, or this fragment's part of it.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// `Checksum` if the header's sum is wrong.
    #[inline]
    pub fn verify_checksum(&self) -> Result<(), Error> {
        Sum::ZERO.plus(self.header.octets()).plus(self.options.octets()).verify()
    }
}

/// An IPv4 header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Upper-layer protocol.
    pub proto: Proto,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub ident: u16,
    /// Do not fragment.
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Offset of this fragment in octets, a multiple of 8.
    pub fragment_offset: u16,
    /// Options.
    pub options: OptionsBuf,
    /// Octets behind the header.
    pub payload_len: usize,
}

impl Repr {
    /// An unfragmented packet without options, TTL 64.
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, proto: Proto, payload_len: usize) -> Self {
        Self {
            src,
            dst,
            proto,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            options: OptionsBuf::EMPTY,
            payload_len,
        }
    }

    /// The values of a packet's header.
    pub fn of(packet: &Packet<'_>) -> Self {
        let header = packet.header();
        let word = header.flags_and_offset();
        Self {
            src: header.src(),
            dst: header.dst(),
            proto: header.proto(),
            ttl: header.ttl(),
            tos: header.tos(),
            ident: header.ident(),
            dont_fragment: word & DF != 0,
            more_fragments: word & MF != 0,
            fragment_offset: (word & OFFSET_MASK) << 3,
            options: OptionsBuf::of(packet.options()),
            payload_len: packet.payload().len(),
        }
    }

    /// Octets of the header with options.
    pub const fn header_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.options.octets().len())
    }

    /// Writes the header with its checksum at the start of `out`, in front of the payload.
    ///
    /// `Short` if the header does not fit `out`; `TooLong` if the payload does not fit the total length field, or the
    /// fragment offset is not a multiple of 8.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), Error> {
        let header_len = self.header_len();
        let total_len = self.payload_len.saturating_add(header_len);
        let total_len = u16::try_from(total_len).map_err(|_| Error::TooLong)?;
        if self.fragment_offset & 7 != 0 {
            return Err(Error::TooLong);
        }
        let out = out.get_mut(..header_len).ok_or(Error::Short)?;
        let (head, options) = out.split_first_chunk_mut().ok_or(Error::Short)?;
        options.copy_from_slice(self.options.octets());
        let mut header: Header<&mut [u8; HEADER_LEN]> = Header(head);
        header.set_version_and_ihl(0x40 | (header_len >> 2) as u8);
        header.set_tos(self.tos);
        header.set_total_len(total_len);
        header.set_ident(self.ident);
        let df = if self.dont_fragment { DF } else { 0 };
        let mf = if self.more_fragments { MF } else { 0 };
        header.set_flags_and_offset(df | mf | self.fragment_offset >> 3);
        header.set_ttl(self.ttl);
        header.set_proto(self.proto);
        header.set_checksum(Checksum::ZERO);
        header.set_src(self.src);
        header.set_dst(self.dst);
        let sum = Sum::ZERO.plus(out).checksum();
        Header::at_mut(out, 0)?.set_checksum(sum);
        Ok(())
    }
}

/// Computes and stores the checksum of the header that starts at `offset` of `bytes`, options included.
///
/// `Short` if it does not fit, `HeaderLength` if its IHL is below 5; nothing is stored then.
pub fn fill_checksum(bytes: &mut [u8], offset: usize) -> Result<(), Error> {
    let header_len = Header::at(bytes, offset)?.header_len();
    if header_len < HEADER_LEN {
        return Err(Error::HeaderLength);
    }
    let header = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..header_len)).ok_or(Error::Short)?;
    *field::chunk_mut(header, 10)? = Checksum::ZERO.0;
    let sum = Sum::ZERO.plus(header).checksum();
    *field::chunk_mut(header, 10)? = sum.0;
    debug_assert!(checksum::verify_ipv4(header).is_ok());
    Ok(())
}
