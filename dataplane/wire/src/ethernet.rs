//! Ethernet II frames with up to two VLAN tags (802.1Q, 802.1ad).
//!
//! # Bounds
//! Two tags at most are taken off. A third stays as the EtherType of the payload, so that it is never misread as IP.

use crate::field::{self, header};
use crate::{Error, EtherType, Mac};

/// Octets of an untagged header.
pub const HEADER_LEN: usize = 14;

/// Where tags stand: behind both addresses.
pub const TAGS_AT: usize = 12;

/// Octets of one tag.
pub const TAG_LEN: usize = 4;

header! {
    /// The first 14 octets of a frame.
    pub Header[HEADER_LEN];
    /// Destination.
    pub dst, set_dst: Mac = 0;
    /// Source.
    pub src, set_src: Mac = 6;
    /// EtherType, or the identifier of the first tag, or a length if below 0x600 (802.3).
    pub ether_type, set_ether_type: EtherType = 12;
}

/// A VLAN tag: its identifier (TPID) and control information (TCI).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// 0x8100 or 0x88a8.
    pub tpid: EtherType,
    /// Priority (3 bits), drop eligible (1 bit), VLAN identifier (12 bits).
    pub tci: u16,
}

impl Tag {
    /// A customer tag with priority 0.
    pub const fn vlan(vid: u16) -> Self {
        Self { tpid: EtherType::VLAN, tci: vid & 0x0fff }
    }

    /// The VLAN identifier, 0 to 4095; 0 is a priority tag, which names no VLAN.
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The priority code point, 0 to 7.
    pub const fn priority(self) -> u8 {
        (self.tci >> 13) as u8
    }
}

/// The tags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tags {
    /// Untagged.
    #[default]
    None,
    /// One tag.
    One(Tag),
    /// Two tags, the outer one first on the wire.
    Two {
        /// Next to the addresses.
        outer: Tag,
        /// Next to the payload.
        inner: Tag,
    },
}

impl Tags {
    /// Octets of all tags.
    pub const fn len(self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => TAG_LEN,
            Self::Two { .. } => TAG_LEN * 2,
        }
    }

    /// True for an untagged frame.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None)
    }
}

/// A frame taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    header: Header<&'a [u8; HEADER_LEN]>,
    tags: Tags,
    ether_type: EtherType,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Takes a frame apart; `Short` if it ends inside the header or a tag.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, payload) = bytes.split_first_chunk().ok_or(Error::Short)?;
        let header = Header(head);
        let ether_type = header.ether_type();
        if !ether_type.is_tag() {
            return Ok(Self { header, tags: Tags::None, ether_type, payload });
        }
        Self::parse_tagged(header, payload)
    }

    fn parse_tagged(header: Header<&'a [u8; HEADER_LEN]>, bytes: &'a [u8]) -> Result<Self, Error> {
        let (outer, ether_type, payload) = take_tag(header.ether_type(), bytes)?;
        if !ether_type.is_tag() {
            return Ok(Self { header, tags: Tags::One(outer), ether_type, payload });
        }
        let (inner, ether_type, payload) = take_tag(ether_type, payload)?;
        Ok(Self { header, tags: Tags::Two { outer, inner }, ether_type, payload })
    }

    /// The first 14 octets.
    #[inline]
    pub const fn header(&self) -> Header<&'a [u8; HEADER_LEN]> {
        self.header
    }

    /// The tags.
    #[inline]
    pub const fn tags(&self) -> Tags {
        self.tags
    }

    /// The EtherType of the payload, behind all tags.
    #[inline]
    pub const fn ether_type(&self) -> EtherType {
        self.ether_type
    }

    /// Octets in front of the payload: 14, 18 or 22.
    #[inline]
    pub const fn l2_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.tags.len())
    }

    /// What follows the header and tags, padding included.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// A tag of identifier `tpid`, the EtherType behind it, and the rest.
fn take_tag(tpid: EtherType, bytes: &[u8]) -> Result<(Tag, EtherType, &[u8]), Error> {
    let ([t0, t1, e0, e1], rest) = bytes.split_first_chunk().ok_or(Error::Short)?;
    let tag = Tag { tpid, tci: u16::from_be_bytes([*t0, *t1]) };
    Ok((tag, EtherType(u16::from_be_bytes([*e0, *e1])), rest))
}

/// The header of a frame as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// Tags.
    pub tags: Tags,
    /// EtherType of the payload.
    pub ether_type: EtherType,
}

impl Repr {
    /// The values of a frame's header.
    pub fn of(frame: &Frame<'_>) -> Self {
        let header = frame.header();
        Self { dst: header.dst(), src: header.src(), tags: frame.tags(), ether_type: frame.ether_type() }
    }

    /// Octets that [`Self::emit`] writes.
    pub const fn len(&self) -> usize {
        HEADER_LEN.saturating_add(self.tags.len())
    }

    /// Always false: a header has octets.
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Writes header and tags at the start of `out`; `Short` if they do not fit.
    pub fn emit(&self, out: &mut [u8]) -> Result<(), Error> {
        let types_at = HEADER_LEN.saturating_sub(2);
        let mut header = Header::at_mut(out, 0)?;
        header.set_dst(self.dst);
        header.set_src(self.src);
        let types: &mut [u8] = out.get_mut(types_at..).ok_or(Error::Short)?;
        match self.tags {
            Tags::None => put_types(types, &[self.ether_type.0]),
            Tags::One(tag) => put_types(types, &[tag.tpid.0, tag.tci, self.ether_type.0]),
            Tags::Two { outer, inner } => {
                put_types(types, &[outer.tpid.0, outer.tci, inner.tpid.0, inner.tci, self.ether_type.0])
            }
        }
    }
}

fn put_types(out: &mut [u8], types: &[u16]) -> Result<(), Error> {
    for (index, value) in types.iter().enumerate() {
        *field::chunk_mut(out, index.saturating_mul(2))? = value.to_be_bytes();
    }
    Ok(())
}
