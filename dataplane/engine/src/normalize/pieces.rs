//! Datagrams cut up into fragments.
//!
//! Overview: a [`Cut`] says how. An IPv4 datagram is cut for an MTU; of its options those go into each fragment that say so
//! (RFC 791 §3.1). An IPv6 datagram becomes fragments as long as those that it came in, with their identification
//! (RFC 8200 §4.5). What is cut may be a fragment itself. Bounds: headers of [`HEAD_MAX`] bytes are put in front of slices of
//! the datagram; nothing else is copied.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wire::ipv6::{Extension, FRAGMENT_HEADER_LEN};
use wire::{Fragment, Proto, ethernet, ipv4, ipv6};

/// The longest headers of a fragment, Ethernet's included.
pub(super) const HEAD_MAX: usize = 1024;
/// What the data of fragments is a multiple of, but for that of the last one.
const UNIT: usize = 8;
/// The bit of an IPv4 option that goes into every fragment.
const COPIED: u8 = 0x80;

/// How a datagram is cut up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// IPv4: into fragments of at most `mtu` bytes.
    Inet { mtu: u32 },
    /// IPv6.
    Inet6(Cut6),
}

/// How an IPv6 datagram is cut up. Places are in bytes from its header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut6 {
    pub ident: u32,
    /// Bytes of data in a fragment.
    pub data_max: u16,
    /// Where the fragment header goes.
    pub at: u16,
    /// Where the octet is that names it.
    pub next_header_at: u16,
}

/// Cuts a frame up, and gives each piece to `each`: its headers, and its data. Returns how many; `None`, and there are none, if it
/// cannot be cut so.
pub(crate) fn cut_up(frame: &[u8], cut: Cut, mut each: impl FnMut(&[u8], &[u8])) -> Option<u64> {
    let l3 = ethernet::Frame::parse(frame).ok()?.l2_len();
    match cut {
        Cut::Inet { mtu } => cut_inet(frame, l3, mtu as usize, &mut each),
        Cut::Inet6(cut) => cut_inet6(frame, l3, &cut, &mut each),
    }
}

/// Bytes of data in each piece but the last one.
const fn step(room: usize) -> Option<usize> {
    match room / UNIT * UNIT {
        0 => None,
        step => Some(step),
    }
}

fn cut_inet(frame: &[u8], l3: usize, mtu: usize, each: &mut impl FnMut(&[u8], &[u8])) -> Option<u64> {
    let packet = ipv4::Packet::parse(frame.get(l3..)?).ok()?;
    let whole = ipv4::Repr::of(&packet);
    let mut copied = ipv4::OptionsBuf::EMPTY;
    for option in packet.options().iter().flatten().filter(|option| option.kind.0 & COPIED != 0) {
        copied.push(option.kind, option.data).ok()?;
    }
    let later = ipv4::Repr { options: copied, ..whole };
    let (mut head, mut rest, mut count) = ([0; HEAD_MAX], packet.payload(), 0);
    head.get_mut(..l3)?.copy_from_slice(frame.get(..l3)?);
    let mut offset = whole.fragment_offset;
    // A fragment that nobody has put together may end beyond every datagram: its pieces would begin there, too.
    if usize::from(offset) + rest.len() > usize::from(u16::MAX) {
        return None;
    }
    while !rest.is_empty() {
        let header = if count == 0 { &whole } else { &later };
        let (data, behind) = rest.split_at(step(mtu.checked_sub(header.header_len())?)?.min(rest.len()));
        let more_fragments = whole.more_fragments || !behind.is_empty();
        let piece =
            ipv4::Repr { fragment_offset: offset, more_fragments, payload_len: data.len(), ..*header };
        piece.emit(head.get_mut(l3..)?).ok()?;
        each(head.get(..l3 + piece.header_len())?, data);
        (offset, rest, count) = (offset + data.len() as u16, behind, count + 1);
    }
    Some(count)
}

fn cut_inet6(frame: &[u8], l3: usize, cut: &Cut6, each: &mut impl FnMut(&[u8], &[u8])) -> Option<u64> {
    let end = l3 + ipv6::HEADER_LEN + usize::from(ipv6::Header::at(frame, l3).ok()?.payload_len());
    let unfragmented = l3 + usize::from(cut.at);
    let (mut head, mut count) = ([0; HEAD_MAX], 0);
    let head = head.get_mut(..unfragmented + FRAGMENT_HEADER_LEN)?;
    head.get_mut(..unfragmented)?.copy_from_slice(frame.get(..unfragmented)?);
    let names = head.get_mut(l3 + usize::from(cut.next_header_at))?;
    let next_header = core::mem::replace(names, Proto::FRAGMENT.0);
    let step = step(cut.data_max.into())?;
    let mut rest = frame.get(unfragmented..end)?;
    let mut offset = 0;
    while !rest.is_empty() {
        let (data, behind) = rest.split_at(step.min(rest.len()));
        let payload_len = usize::from(cut.at) - ipv6::HEADER_LEN + FRAGMENT_HEADER_LEN + data.len();
        ipv6::Header::at_mut(head, l3).ok()?.set_payload_len(u16::try_from(payload_len).ok()?);
        let fragment = Fragment { ident: cut.ident, offset, more: !behind.is_empty() };
        Extension::Fragment(fragment).emit(Proto(next_header), head.get_mut(unfragmented..)?).ok()?;
        each(head, data);
        (offset, rest, count) = (offset + data.len() as u16, behind, count + 1);
    }
    Some(count)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use wire::corpus::build::{frame4, header4};

    use super::*;

    fn pieces(fragment_offset: u16, len: usize) -> Option<Vec<(u16, bool)>> {
        let header = ipv4::Repr { fragment_offset, more_fragments: true, ..header4(Proto::UDP) };
        let frame = frame4(&header, &vec![7; len]);
        let mut found = Vec::new();
        let count = cut_up(&frame, Cut::Inet { mtu: 576 }, |head, data| {
            let bytes = [head, data].concat();
            let piece = ipv4::Repr::of(&ipv4::Packet::parse(&bytes[ethernet::HEADER_LEN..]).unwrap());
            found.push((piece.fragment_offset, piece.more_fragments));
        })?;
        assert_eq!(count, found.len() as u64);
        Some(found)
    }

    #[test]
    fn a_fragment_is_cut_where_it_stands_unless_it_ends_beyond_every_datagram() {
        assert_eq!(pieces(1600, 1100), Some(vec![(1600, true), (2152, true)]));
        assert_eq!(pieces(65_528 - 1096, 1096), Some(vec![(64_432, true), (64_984, true)]));
        for offset in [65_528 - 1088, 65_528] {
            assert_eq!(pieces(offset, 1104), None);
        }
    }
}
