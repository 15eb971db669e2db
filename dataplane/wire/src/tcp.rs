//! TCP segments (RFC 9293).
//!
//! # Bounds
//! Options are at most 40 octets, so their iteration ends after at most 40 steps.

mod option;

use core::borrow::{Borrow, BorrowMut};

pub use option::{
    Options, OptionsBuf, OptionsIter, SackBlock, SackBlocks, TcpOption, Timestamps, WSCALE_MAX, WindowScale,
};

use crate::checksum::{Delta, Pseudo};
use crate::field::header;
use crate::{Checksum, Error, Port, Proto, Seq, TcpFlags};

/// Octets of the header without options.
pub const HEADER_LEN: usize = 20;

/// Octets of options at most.
pub const OPTIONS_LEN_MAX: usize = 40;

header! {
    /// The first 20 octets.
    pub Header[HEADER_LEN];
    /// Source port.
    pub src_port, set_src_port, rewrite_src_port: Port = 0;
    /// Destination port.
    pub dst_port, set_dst_port, rewrite_dst_port: Port = 2;
    /// Sequence number.
    pub seq, set_seq, rewrite_seq: Seq = 4;
    /// Acknowledgment number.
    pub ack, set_ack, rewrite_ack: Seq = 8;
    offset_and_reserved, set_offset_and_reserved: u8 = 12;
    /// Control bits.
    pub flags, set_flags: TcpFlags = 13;
    /// Window, not scaled.
    pub window, set_window, rewrite_window: u16 = 14;
    /// Checksum over pseudo header and segment.
    pub checksum, set_checksum: Checksum = 16;
    /// Urgent pointer.
    pub urgent, set_urgent, rewrite_urgent: u16 = 18;
}

impl<B: Borrow<[u8; HEADER_LEN]>> Header<B> {
    /// Octets of the header with options as the data offset says: 0 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.offset_and_reserved() >> 4) << 2
    }

    /// The four bits between data offset and control bits, 0 to 15; the lowest is AE of AccECN.
    #[inline]
    pub fn reserved(&self) -> u8 {
        self.offset_and_reserved() & 0x0f
    }

    /// True if bits are set that mean nothing: reserved ones (AE is in use), or an urgent pointer without URG
    /// (RFC 9293 §3.1).
    #[inline]
    pub fn has_strays(&self) -> bool {
        let urgent = self.urgent() != 0 && !self.flags().contains(TcpFlags::URG);
        self.offset_and_reserved() & UNUSED != 0 || urgent
    }
}

/// The reserved bits that nobody uses, beside the data offset: without AE of AccECN (RFC 9768).
pub const UNUSED: u8 = 0x0e;

impl<B: BorrowMut<[u8; HEADER_LEN]>> Header<B> {
    /// Applies a change of covered octets, or of the pseudo header, to the checksum.
    #[inline]
    pub fn adjust(&mut self, delta: Delta) {
        self.set_checksum(self.checksum().adjusted(delta));
    }

    /// Stores the control bits, clears what means nothing beside them, and carries the checksum along.
    #[inline]
    pub fn rewrite_flags(&mut self, flags: TcpFlags) {
        if !flags.contains(TcpFlags::URG) {
            self.rewrite_urgent(0);
        }
        let offset = self.offset_and_reserved() & !UNUSED;
        let delta = Delta::of(&[self.offset_and_reserved(), self.flags().0], &[offset, flags.0]);
        self.set_offset_and_reserved(offset);
        self.set_flags(flags);
        self.adjust(delta);
    }
}

/// A segment taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    header: Header<&'a [u8; HEADER_LEN]>,
    options: Options<'a>,
    payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Takes apart a segment that fills `bytes`: `Short` below 20 octets, `HeaderLength` for a data offset below 5,
    /// `BadOffset` for one behind the end. Options, flags and checksum are not looked at.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (head, rest) = bytes.split_first_chunk().ok_or(Error::Short)?;
        let header: Header<&'a [u8; HEADER_LEN]> = Header(head);
        let options_len = header.header_len().checked_sub(HEADER_LEN).ok_or(Error::HeaderLength)?;
        let (options, payload) = rest.split_at_checked(options_len).ok_or(Error::BadOffset)?;
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

    /// The data.
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Sequence numbers that the segment takes: its data, and one each for SYN and FIN (RFC 9293 §3.4).
    #[inline]
    pub fn sequence_len(&self) -> u32 {
        let flags = self.header.flags();
        (self.payload.len() as u32)
            .saturating_add(u32::from(flags.contains(TcpFlags::SYN)))
            .saturating_add(u32::from(flags.contains(TcpFlags::FIN)))
    }
}

/// Overwrites the octets from `at` on of a whole segment with `new`, and carries the checksum along: for options, which
/// may start at an odd octet.
///
/// `Short`, and nothing changed, if they do not fit between the fixed header and the end.
pub fn rewrite_octets(segment: &mut [u8], at: usize, new: &[u8]) -> Result<(), Error> {
    if at < HEADER_LEN {
        return Err(Error::Short);
    }
    let old = segment.get_mut(at..).and_then(|rest| rest.get_mut(..new.len())).ok_or(Error::Short)?;
    let delta = Delta::of(old, new);
    old.copy_from_slice(new);
    Header::at_mut(segment, 0)?.adjust(if at & 1 == 0 { delta } else { delta.at_odd() });
    Ok(())
}

/// A TCP header as a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repr {
    /// Source port.
    pub src_port: Port,
    /// Destination port.
    pub dst_port: Port,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgment number.
    pub ack: Seq,
    /// The four reserved bits, 0 to 15.
    pub reserved: u8,
    /// Control bits.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options.
    pub options: OptionsBuf,
}

impl Repr {
    /// The values of a segment's header.
    pub fn of(segment: &Segment<'_>) -> Self {
        let header = segment.header();
        Self {
            src_port: header.src_port(),
            dst_port: header.dst_port(),
            seq: header.seq(),
            ack: header.ack(),
            reserved: header.reserved(),
            flags: header.flags(),
            window: header.window(),
            urgent: header.urgent(),
            options: OptionsBuf::of(segment.options()),
        }
    }

    /// Octets of the header with options.
    pub const fn header_len(&self) -> usize {
        HEADER_LEN.saturating_add(self.options.octets().len())
    }

    /// Writes the header at the start of `segment`, whose data must already stand behind it, and the checksum over all
    /// of `segment`. `Short` if the header does not fit; `TooLong` if the reserved bits do not fit theirs.
    pub fn emit(&self, pseudo: &Pseudo, segment: &mut [u8]) -> Result<(), Error> {
        let header_len = self.header_len();
        if self.reserved > 0x0f {
            return Err(Error::TooLong);
        }
        let (head, rest) = segment.split_first_chunk_mut().ok_or(Error::Short)?;
        let options = self.options.octets();
        rest.get_mut(..options.len()).ok_or(Error::Short)?.copy_from_slice(options);
        let mut header: Header<&mut [u8; HEADER_LEN]> = Header(head);
        header.set_src_port(self.src_port);
        header.set_dst_port(self.dst_port);
        header.set_seq(self.seq);
        header.set_ack(self.ack);
        header.set_offset_and_reserved(((header_len << 2) as u8) | self.reserved);
        header.set_flags(self.flags);
        header.set_window(self.window);
        header.set_checksum(Checksum::ZERO);
        header.set_urgent(self.urgent);
        let sum = pseudo.sum(Proto::TCP, segment.len()).plus(segment).checksum();
        Header::at_mut(segment, 0)?.set_checksum(sum);
        Ok(())
    }
}
