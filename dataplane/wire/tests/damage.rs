//! Cut and damaged packets: refused, or a shorter valid packet; never a panic, never a look behind the end.

mod support;

use support::Random;
use wire::corpus::build::SRC_MAC;
use wire::corpus::{Dissected, Network, Upper, dissect, malformed, packets};
use wire::icmp6::nd::Nd;
use wire::{Checksum, Proto};

/// Octets that the frame must have for all that it declares: what is behind is padding.
fn declared_len(dissected: &Dissected<'_>) -> usize {
    let l2_len = dissected.frame.l2_len();
    l2_len
        + match dissected.network {
            Network::Arp(_) => wire::arp::PACKET_LEN,
            Network::Ipv4(packet, ..) => usize::from(packet.header().total_len()),
            Network::Ipv6(packet, ..) => wire::ipv6::HEADER_LEN + usize::from(packet.header().payload_len()),
            Network::Other(_) => 0,
        }
}

/// Every slice that a dissection holds lies inside `bytes`.
fn assert_inside(bytes: &[u8], dissected: &Dissected<'_>, name: &str) {
    let inside = |slice: &[u8]| {
        let (outer, inner) = (bytes.as_ptr_range(), slice.as_ptr_range());
        // An empty default slice points nowhere, and has nothing outside.
        assert!(
            slice.is_empty() || (inner.start >= outer.start && inner.end <= outer.end),
            "{name}: looks outside"
        );
    };
    inside(dissected.frame.payload());
    let upper = match dissected.network {
        Network::Arp(_) => return,
        Network::Other(payload) => return inside(payload),
        Network::Ipv4(packet, _, upper) => {
            inside(packet.options().octets());
            inside(packet.payload());
            upper
        }
        Network::Ipv6(packet, _, upper) => {
            inside(packet.payload());
            upper
        }
    };
    match upper {
        Upper::Fragment(_, payload) | Upper::Other(_, payload) => inside(payload),
        Upper::Tcp(segment) => {
            inside(segment.options().octets());
            inside(segment.payload());
        }
        Upper::Udp(datagram) => inside(datagram.payload()),
        Upper::Icmp4(message, _) => inside(message.body()),
        Upper::Icmp6(message, _) => inside(message.body()),
        Upper::Nd(message) => inside(message.options().octets()),
    }
}

#[test]
fn every_truncation_is_refused_or_cuts_only_padding() {
    for (name, packet) in packets() {
        let whole = dissect(&packet).expect(name);
        let declared = declared_len(&whole);
        for len in 0..packet.len() {
            let cut = &packet[..len];
            match dissect(cut) {
                Ok(shorter) => {
                    assert!(len >= declared, "{name}: accepted with {len} of {declared} octets");
                    assert_inside(cut, &shorter, name);
                    if !matches!(whole.network, Network::Other(_)) {
                        assert_eq!(shorter.network, whole.network, "{name}: padding changed the packet");
                    }
                }
                Err(_) => assert!(len < declared, "{name}: refused without its padding"),
            }
        }
    }
}

#[test]
fn truncated_defects_stay_refused() {
    for (name, packet, _) in malformed() {
        for len in 0..packet.len() {
            // What is cut off may be the defect itself, but then a length field is broken.
            assert!(dissect(&packet[..len]).is_err(), "{name}: accepted with {len} octets");
        }
    }
}

/// What a damaged octet must lead to.
enum Expected {
    Refused,
    /// No checksum covers it: any result, short of a panic.
    Anything,
}

/// Whether a checksum of the whole packet covers octet `at`, and changing it cannot also switch the check off.
fn expected(dissected: &Dissected<'_>, at: usize) -> Expected {
    let Some(at) = at.checked_sub(dissected.frame.l2_len()) else { return Expected::Anything };
    let (upper, upper_at, addresses) = match &dissected.network {
        Network::Ipv4(packet, _, _) if at < packet.header().header_len() => return Expected::Refused,
        Network::Ipv4(packet, _, upper) => (upper, packet.header().header_len(), 0..0),
        Network::Ipv6(_, chain, upper) => (upper, chain.offset, 8..40),
        _ => return Expected::Anything,
    };
    if at < upper_at && !addresses.contains(&at) {
        return Expected::Anything;
    }
    let at = at.checked_sub(upper_at);
    match upper {
        Upper::Tcp(_) | Upper::Icmp4(..) | Upper::Icmp6(..) | Upper::Nd(_) => Expected::Refused,
        // The length decides what the sum covers, the checksum may become "none".
        Upper::Udp(datagram) => match at {
            _ if datagram.header().checksum() == Checksum::ZERO => Expected::Anything,
            Some(4..8) => Expected::Anything,
            Some(at) if at >= datagram.octets().len() => Expected::Anything,
            _ => Expected::Refused,
        },
        Upper::Fragment(..) | Upper::Other(..) => Expected::Anything,
    }
}

#[test]
fn every_damaged_octet_under_a_checksum_is_refused() {
    let mut refused = 0_u64;
    for (name, packet) in packets() {
        let whole = dissect(&packet).expect(name);
        let declared = declared_len(&whole);
        for at in 0..packet.len() {
            let expected = if at < declared { expected(&whole, at) } else { Expected::Anything };
            for value in (0..=u8::MAX).filter(|value| *value != packet[at]) {
                let mut damaged = packet.clone();
                damaged[at] = value;
                match (dissect(&damaged), &expected) {
                    (Ok(dissected), Expected::Anything) => assert_inside(&damaged, &dissected, name),
                    (Ok(_), Expected::Refused) => panic!("{name}: octet {at} = {value:#x} accepted"),
                    (Err(_), _) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 100_000, "only {refused} refusals: the corpus has shrunk");
}

#[test]
fn packets_damaged_in_many_places_never_panic() {
    let mut random = Random(0x5eed);
    let corpus = packets();
    for _ in 0..200_000 {
        let (name, packet) = &corpus[random.below(corpus.len())];
        let mut damaged = packet.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(damaged.len());
            damaged[at] = random.next() as u8;
        }
        damaged.truncate(random.below(damaged.len() + 1).max(damaged.len() / 2));
        if let Ok(dissected) = dissect(&damaged) {
            assert_inside(&damaged, &dissected, name);
        }
    }
}

/// Noise behind a valid Ethernet header, with the IP version right, so that it gets deep.
#[test]
fn noise_never_panics() {
    let mut random = Random(0xbad);
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut bytes = vec![0; random.below(200)];
        random.fill(&mut bytes);
        if let Some(header) = bytes.first_chunk_mut::<15>() {
            header[..6].copy_from_slice(&SRC_MAC.0);
            header[12..].copy_from_slice(if random.below(2) == 0 {
                &[8, 0, 0x45]
            } else {
                &[0x86, 0xdd, 0x60]
            });
        }
        if let Ok(dissected) = dissect(&bytes) {
            assert_inside(&bytes, &dissected, "noise");
            accepted += 1;
        }
        parse_everything(&bytes);
    }
    assert!(accepted < 20_000, "{accepted} pieces of noise accepted");
}

/// Gives the same bytes to every parser, whatever they are, and looks at all that comes out.
fn parse_everything(bytes: &[u8]) {
    let _ = wire::arp::Repr::parse(bytes);
    let _ = wire::ipv4::Packet::parse_quoted(bytes).map(|packet| packet.options().seen());
    let _ = wire::tcp::Segment::parse(bytes).map(|segment| segment.options().iter().count());
    let _ = wire::tcp::Options::new(bytes).iter().count();
    let _ = wire::ipv4::Options::new(bytes).iter().count();
    let _ = wire::ipv6::Options::new(bytes).iter().count();
    let _ = wire::udp::Datagram::parse(bytes);
    for first in 0..=u8::MAX {
        if let Ok(chain) = wire::ipv6::Chain::walk(Proto(first), bytes) {
            assert!(chain.offset <= wire::ipv6::HEADER_LEN + bytes.len());
        }
    }
    if let Ok(message) = wire::icmp6::Message::parse(bytes) {
        let _ = Nd::parse(&message).map(|nd| nd.map(|nd| nd.options().iter().count()));
    }
    let _ = wire::icmp6::nd::Options::new(bytes).iter().count();
    let _ = wire::quote::Quote::parse(wire::Af::Inet, bytes);
    let _ = wire::quote::Quote::parse(wire::Af::Inet6, bytes);
}

/// Iterators end after at most as many items as there are octets, and after the first error.
#[test]
fn iterators_are_bounded_and_end_with_their_error() {
    let mut random = Random(1);
    for _ in 0..100_000 {
        let mut bytes = vec![0; random.below(64)];
        random.fill(&mut bytes);
        let tcp: Vec<_> = wire::tcp::Options::new(&bytes).iter().map(|option| option.is_ok()).collect();
        let ipv4: Vec<_> = wire::ipv4::Options::new(&bytes).iter().map(|option| option.is_ok()).collect();
        let ipv6: Vec<_> = wire::ipv6::Options::new(&bytes).iter().map(|option| option.is_ok()).collect();
        let nd: Vec<_> = wire::icmp6::nd::Options::new(&bytes).iter().map(|option| option.is_ok()).collect();
        for results in [tcp, ipv4, ipv6, nd] {
            assert!(results.len() <= bytes.len());
            let error = results.iter().position(|ok| !ok);
            assert!(error.is_none_or(|at| at + 1 == results.len()), "goes on behind an error: {bytes:x?}");
        }
    }
}
