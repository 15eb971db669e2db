//! SCTP: what is read of a packet, and the ABORT that is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use wire::sctp::{Abort, ChunkType, Packet};
use wire::{Error, Port};

#[test]
fn the_checksum_is_the_one_that_is_known() {
    // RFC 3720 appendix B.4: 32 octets of zeros.
    let mut octets = [0; 32];
    octets[8..12].copy_from_slice(&0x8a91_36aa_u32.to_le_bytes());
    assert_eq!(Packet::parse(&octets).expect("whole").verify_checksum(), Ok(()));
    octets[8] ^= 1;
    assert_eq!(Packet::parse(&octets).expect("whole").verify_checksum(), Err(Error::Checksum));
}

#[test]
fn an_init_tells_its_tag_and_an_abort_is_read_again() {
    let mut init = [0; 32];
    init[12..20].copy_from_slice(&[1, 0, 0, 20, 0x11, 0x22, 0x33, 0x44]);
    let packet = Packet::parse(&init).expect("an INIT");
    assert_eq!((packet.tag(), packet.initiate_tag()), (0, Some(0x1122_3344)));
    let mut answer = [0; Abort::LEN];
    let abort = Abort { src_port: Port(80), dst_port: Port(0x8044), tag: 0x1122_3344, reflected: true };
    abort.emit(&mut answer).expect("room");
    let packet = Packet::parse(&answer).expect("an ABORT");
    assert_eq!(packet.verify_checksum(), Ok(()));
    assert_eq!((packet.tag(), packet.initiate_tag()), (0x1122_3344, None));
    assert!(packet.chunks().eq([ChunkType::ABORT]));
    assert_eq!((&answer[..4], &answer[12..]), (&[0, 80, 0x80, 0x44][..], &[6, 1, 0, 4][..]));
    assert!(Packet::parse(&answer[..15]).is_err() && abort.emit(&mut answer[..15]).is_err());
}

#[test]
fn chunks_are_visited_once_whatever_their_length_says() {
    let mut octets = [0; 28];
    for length in 0..=u16::MAX {
        octets[14..16].copy_from_slice(&length.to_be_bytes());
        assert!(Packet::parse(&octets).expect("whole").chunks().count() <= 4);
    }
}
