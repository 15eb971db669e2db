//! The sequence numbers of a segment, rewritten.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use wire::tcp::{self, Options, TcpOption};

use crate::track::Segment;

/// Gives a segment the numbers of `new` where it has those of `old`, its SACK blocks as much more or less as what it
/// acknowledges. Its checksum is carried along.
pub(crate) fn renumber(segment: &mut [u8], old: &Segment, new: &Segment) -> Result<(), wire::Error> {
    let mut header = tcp::Header::at_mut(segment, 0)?;
    header.rewrite_seq(new.seq);
    if old.ack == new.ack {
        return Ok(());
    }
    header.rewrite_ack(new.ack);
    let header_len = header.header_len();
    if header_len > tcp::HEADER_LEN {
        move_sack(segment, header_len, new.ack.0.wrapping_sub(old.ack.0))
    } else {
        Ok(())
    }
}

/// Moves the edges of all SACK blocks (RFC 2018 §3).
fn move_sack(segment: &mut [u8], header_len: usize, by: u32) -> Result<(), wire::Error> {
    let area = segment.get(tcp::HEADER_LEN..header_len).ok_or(wire::Error::Short)?;
    let mut moved = [0; tcp::OPTIONS_LEN_MAX];
    let moved = moved.get_mut(..area.len()).ok_or(wire::Error::Short)?;
    moved.copy_from_slice(area);
    let mut options = Options::new(area).iter();
    while let Some(Ok(option)) = options.next() {
        let TcpOption::Sack(blocks) = option else { continue };
        let edges = moved.get_mut(options.offset() + 2..).unwrap_or_default();
        for edge in edges.as_chunks_mut::<4>().0.iter_mut().take(2 * blocks.len()) {
            *edge = u32::from_be_bytes(*edge).wrapping_add(by).to_be_bytes();
        }
    }
    tcp::rewrite_octets(segment, tcp::HEADER_LEN, moved)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;
    use wire::checksum::Pseudo;
    use wire::tcp::{OptionsBuf, Repr, SackBlock, Timestamps};
    use wire::{Seq, TcpFlags};

    use super::*;

    const PSEUDO: Pseudo = Pseudo::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));

    fn emitted(seq: u32, ack: u32, blocks: &[[u32; 2]], nops: usize) -> Vec<u8> {
        let mut options = OptionsBuf::EMPTY;
        (0..nops).for_each(|_| options.push_nop().unwrap());
        if nops.is_multiple_of(2) {
            options.push(&TcpOption::Timestamps(Timestamps { value: 7, echo: 8 })).unwrap();
        }
        let blocks: Vec<SackBlock> =
            blocks.iter().map(|[left, right]| SackBlock { left: Seq(*left), right: Seq(*right) }).collect();
        options.push_sack(&blocks).unwrap();
        let repr = Repr { seq: Seq(seq), ack: Seq(ack), flags: TcpFlags::ACK, options, ..Repr::default() };
        let mut segment = vec![0; repr.header_len() + 3];
        segment[repr.header_len()..].copy_from_slice(&[1, 2, 3]);
        repr.emit(&PSEUDO, &mut segment).unwrap();
        segment
    }

    proptest! {
        /// A19. Sequence number, acknowledgment and SACK blocks are moved as if the segment were made anew, checksum included,
        /// wherever the blocks stand.
        #[test]
        fn a19_numbers_and_sack_blocks_move_together(
            seq: u32, ack: u32, own: u32, other: u32,
            blocks in prop::collection::vec(any::<[u32; 2]>(), 0..=2),
            nops in 0_usize..4,
        ) {
            let mut segment = emitted(seq, ack, &blocks, nops);
            let old = Segment { seq: Seq(seq), ack: Seq(ack), flags: TcpFlags::ACK, ..Segment::default() };
            let new = Segment { seq: old.seq.plus(own), ack: old.ack.plus(other), ..old };
            renumber(&mut segment, &old, &new).unwrap();
            let moved: Vec<[u32; 2]> =
                blocks.iter().map(|block| block.map(|edge| edge.wrapping_add(other))).collect();
            let expected = emitted(new.seq.0, new.ack.0, &moved, nops);
            prop_assert_eq!(&segment[..16], &expected[..16]);
            prop_assert_eq!(&segment[18..], &expected[18..]);
            prop_assert!(wire::checksum::verify_tcp(&PSEUDO, &segment).is_ok());
        }
    }

    #[test]
    fn an_option_cut_off_is_left_alone() {
        let mut options = OptionsBuf::EMPTY;
        options.push(&TcpOption::Unknown { kind: 5, data: &[1, 2, 3, 4, 5] }).unwrap();
        let repr = Repr { ack: Seq(9), flags: TcpFlags::ACK, options, ..Repr::default() };
        let mut segment = vec![0; repr.header_len()];
        repr.emit(&PSEUDO, &mut segment).unwrap();
        let before = segment.clone();
        let old = Segment { ack: Seq(9), flags: TcpFlags::ACK, ..Segment::default() };
        renumber(&mut segment, &old, &Segment { ack: Seq(10), ..old }).unwrap();
        assert_eq!(segment[20..], before[20..]);
        assert!(wire::checksum::verify_tcp(&PSEUDO, &segment).is_ok());
    }
}
