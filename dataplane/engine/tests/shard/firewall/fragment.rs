//! Datagrams in fragments, made and read without the engine's help.

use wire::ipv6::Extension;
use wire::{Fragment, Proto, ethernet, ipv4, ipv6};

/// Bytes of an Ethernet header without tags.
pub const L2: usize = ethernet::HEADER_LEN;

/// An IPv4 frame cut at these places of its data, which are multiples of 8, with this identification.
pub fn cut4(frame: &[u8], ident: u16, places: &[usize]) -> Vec<Vec<u8>> {
    let packet = ipv4::Packet::parse(&frame[L2..]).expect("an IPv4 packet");
    let (whole, data) = (ipv4::Repr::of(&packet), packet.payload());
    pieces(data.len(), places)
        .map(|(start, end)| {
            let header = ipv4::Repr {
                ident,
                fragment_offset: start as u16,
                more_fragments: end < data.len(),
                payload_len: end - start,
                ..whole
            };
            frame4(&frame[..L2], &header, &data[start..end])
        })
        .collect()
}

/// A frame with this IPv4 header.
pub fn frame4(link: &[u8], header: &ipv4::Repr, data: &[u8]) -> Vec<u8> {
    let mut out = link.to_vec();
    out.resize(link.len() + header.header_len(), 0);
    header.emit(&mut out[link.len()..]).expect("a header");
    out.extend(data);
    out
}

/// An IPv6 frame without extension headers cut likewise.
pub fn cut6(frame: &[u8], ident: u32, places: &[usize]) -> Vec<Vec<u8>> {
    let packet = ipv6::Packet::parse(&frame[L2..]).expect("an IPv6 packet");
    let data = packet.payload();
    pieces(data.len(), places)
        .map(|(start, end)| {
            let fragment = Fragment { ident, offset: start as u16, more: end < data.len() };
            piece6(&frame[..L2 + ipv6::HEADER_LEN], fragment, &data[start..end])
        })
        .collect()
}

/// An IPv6 fragment: `head` ends with the fixed header, which names the protocol of the data.
pub fn piece6(head: &[u8], fragment: Fragment, data: &[u8]) -> Vec<u8> {
    let mut out = head.to_vec();
    let next = core::mem::replace(&mut out[L2 + 6], Proto::FRAGMENT.0);
    let length = (ipv6::FRAGMENT_HEADER_LEN + data.len()) as u16;
    out[L2 + 4..L2 + 6].copy_from_slice(&length.to_be_bytes());
    let at = out.len();
    out.resize(at + ipv6::FRAGMENT_HEADER_LEN, 0);
    Extension::Fragment(fragment).emit(Proto(next), &mut out[at..]).expect("a fragment header");
    out.extend(data);
    out
}

fn pieces(length: usize, places: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let starts = [0].into_iter().chain(places.iter().copied());
    starts.zip(places.iter().copied().chain([length]))
}

/// The places of pieces of one size.
pub fn every(size: usize, length: usize) -> Vec<usize> {
    (1..length.div_ceil(size)).map(|number| number * size).collect()
}

/// Where a fragment of either version has its data, and what it says of itself; `None` for a whole datagram.
pub fn read(frame: &[u8]) -> (usize, Option<Fragment>) {
    if frame[L2] >> 4 == 4 {
        let header = ipv4::Packet::parse(&frame[L2..]).expect("an IPv4 packet").header();
        return (L2 + header.header_len(), header.fragment());
    }
    let chain = ipv6::Packet::parse(&frame[L2..]).expect("an IPv6 packet").chain().expect("headers");
    match chain.fragment {
        Some(place) => (L2 + place.offset + ipv6::FRAGMENT_HEADER_LEN, Some(place.fragment)),
        None => (L2 + chain.offset, None),
    }
}

/// The datagram that fragments are of, which come in their order and leave nothing out; its identification cleared. Whole
/// datagrams come back as they are.
pub fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    let Some(first) = frames.first() else { panic!("nothing") };
    let (at, Some(_)) = read(first) else {
        assert_eq!(frames.len(), 1, "one whole datagram");
        return first.clone();
    };
    let mut data = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let (at, fragment) = read(frame);
        let fragment = fragment.expect("fragments only");
        assert_eq!(usize::from(fragment.offset), data.len(), "fragment {number} follows the one before");
        assert_eq!(fragment.more, number + 1 < frames.len(), "only the last one ends it");
        data.extend(&frame[at..]);
    }
    if first[L2] >> 4 == 4 {
        let whole = ipv4::Repr::of(&ipv4::Packet::parse(&first[L2..]).expect("an IPv4 packet"));
        let whole = ipv4::Repr { ident: 0, more_fragments: false, payload_len: data.len(), ..whole };
        return frame4(&first[..L2], &whole, &data);
    }
    let mut out = first[..at - ipv6::FRAGMENT_HEADER_LEN].to_vec();
    out[L2 + 6] = first[at - ipv6::FRAGMENT_HEADER_LEN];
    let length = (out.len() - L2 - ipv6::HEADER_LEN + data.len()) as u16;
    out[L2 + 4..L2 + 6].copy_from_slice(&length.to_be_bytes());
    out.extend(data);
    out
}
