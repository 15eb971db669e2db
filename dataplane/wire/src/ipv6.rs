//! IPv6 packets (RFC 8200) and their chain of extension headers.
//!
//! # Bounds
//! The walk ends after [`EXTENSIONS_MAX`] headers; options inside them are read once each, so it costs no more than the
//! octets of the packet. No recursion.

mod extension;

use core::borrow::{Borrow, BorrowMut};
use core::net::Ipv6Addr;

pub use extension::{
    Chain, EXTENSIONS_MAX, Extension, FRAGMENT_HEADER_LEN, FragmentHeader, FragmentPlace, Option6,
    OptionKind, Options, OptionsIter,
};

use crate::checksum::Delta;
use crate::field::header;
use crate::{Error, Proto};

/// Octets of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Where it names what follows.
pub const NEXT_HEADER_AT: usize = 6;

header! {
    /// The 40 octets of the fixed header.
    pub Header[HEADER_LEN];
    first_word, set_first_word: u32 = 0;
    /// Octets behind the fixed header, extension headers included.
    pub payload_len, set_payload_len: u16 = 4;
    /// Protocol of the first extension header, or of the upper layer.
    pub next_header, set_next_header: Proto = NEXT_HEADER_AT;
    /// Hop limit.
    pub hop_limit, set_hop_limit: u8 = 7;
    /// Source address.
    pub src, set_src: Ipv6Addr = 8;
    /// Destination address.
    pub dst, set_dst: Ipv6Addr = 24;
}

impl<B: Borrow<[u8; HEADER_LEN]>> Header<B> {
    /// The IP version, 0 to 15.
    #[inline]
    pub fn version(&self) -> u8 {
        (self.first_word() >> 28) as u8
    }

    /// The traffic class: DSCP (6 bits) and ECN (2 bits).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.first_word() >> 20) as u8
    }

    /// The flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.first_word() & 0x000f_ffff
    }
}

impl<B: BorrowMut<[u8; HEADER_LEN]>> Header<B> {
    /// Stores the traffic class; no checksum covers it.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        self.set_first_word(self.first_word() & 0xf00f_ffff | u32::from(class) << 20);
    }

    /// Stores the source address. Returns the change, for the upper-layer checksum, whose pseudo header covers it.
    #[inline]
    pub fn rewrite_src(&mut self, src: Ipv6Addr) -> Delta {
        let delta = Delta::of(&self.src().octets(), &src.octets());
        self.set_src(src);
        delta
    }

    /// Stores the destination address; see [`Self::rewrite_src`].
    #[inline]
    pub fn rewrite_dst(&mut self, dst: Ipv6Addr) -> Delta {
        let delta = Delta::of(&self.dst().octets(), &dst.octets());
        self.set_dst(dst);
        delta
    }
}

/// A packet taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: Header<&'a [u8; HEADER_LEN]>,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Takes a packet apart. Octets behind the payload length (Ethernet padding) are left out of the payload.
    ///
    /// `Short` below 40 octets, `Version`, `Truncated` if the payload length exceeds the bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let packet = Self::parse_quoted(bytes)?;
        let payload_len = usize::from(packet.header.payload_len());
        let payload = packet.payload.get(..payload_len).ok_or(Error::Truncated)?;
        Ok(Self { payload, ..packet })
    }

    /// As [`Self::parse`] for a packet quoted by an ICMPv6 error, which may be cut anywhere behind its header: the
    /// payload length is not looked at, and the payload is all that is there.
    #[inline]
    pub fn parse_quoted(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, payload) = bytes.split_first_chunk().ok_or(Error::Short)?;
        let header: Header<&'a [u8; HEADER_LEN]> = Header(head);
        if header.version() != 6 {
            return Err(Error::Version);
        }
        Ok(Self { header, payload })
    }

    /// The fixed header.
    #[inline]
    pub const fn header(&self) -> Header<&'a [u8; HEADER_LEN]> {
        self.header
    }

    /// Everything behind the fixed header: extension headers and upper layer.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Walks the extension headers; see [`Chain::walk`] for the errors.
    #[inline]
    pub fn chain(&self) -> Result<Chain, Error> {
        Chain::walk(self.header.next_header(), self.payload)
    }

    /// The upper-layer packet that a walk found, or this fragment's part of it.
    #[inline]
    pub fn upper(&self, chain: &Chain) -> &'a [u8] {
        chain.offset.checked_sub(HEADER_LEN).and_then(|start| self.payload.get(start..)).unwrap_or_default()
    }
}

/// The fixed header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Protocol of what follows.
    pub next_header: Proto,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Octets behind the fixed header.
    pub payload_len: usize,
}

impl Repr {
    /// A packet with hop limit 64.
    pub const fn new(src: Ipv6Addr, dst: Ipv6Addr, next_header: Proto, payload_len: usize) -> Self {
        Self { src, dst, next_header, hop_limit: 64, traffic_class: 0, flow_label: 0, payload_len }
    }

    /// The values of a packet's header.
    pub fn of(packet: &Packet<'_>) -> Self {
        let header = packet.header();
        Self {
            src: header.src(),
            dst: header.dst(),
            next_header: header.next_header(),
            hop_limit: header.hop_limit(),
            traffic_class: header.traffic_class(),
            flow_label: header.flow_label(),
            payload_len: packet.payload().len(),
        }
    }

    /// Writes the fixed header at the start of `out`, in front of the payload.
    ///
    /// `Short` if it does not fit `out`; `TooLong` if the payload length or the flow label does not fit its field.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), Error> {
        let payload_len = u16::try_from(self.payload_len).map_err(|_| Error::TooLong)?;
        if self.flow_label > 0x000f_ffff {
            return Err(Error::TooLong);
        }
        let mut header = Header::at_mut(out, 0)?;
        header.set_first_word(6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label);
        header.set_payload_len(payload_len);
        header.set_next_header(self.next_header);
        header.set_hop_limit(self.hop_limit);
        header.set_src(self.src);
        header.set_dst(self.dst);
        Ok(())
    }
}
