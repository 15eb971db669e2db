//! Checksums against the RFCs' numbers, against a plain implementation, and incremental against recomputed.

mod support;

use std::net::{Ipv4Addr, Ipv6Addr};

use support::Random;
use wire::checksum::{Delta, Pseudo, Sum, verify_ipv4, verify_tcp, verify_udp};
use wire::corpus::build;
use wire::{Checksum, Error, Port, Proto, Seq, TcpFlags, icmp4, icmp6, ipv4, ipv6, tcp, udp};

/// RFC 1071 §4.1 written down: 16-bit words in network order, one at a time.
fn plain(bytes: &[u8]) -> [u8; 2] {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Random cases per property; a thousand times as many under `deploy/test --long`.
fn cases() -> u64 {
    if std::env::var_os("TURNPIKE_LONG").is_some() { 100_000_000 } else { 100_000 }
}

#[test]
fn sum_of_rfc_1071() {
    // RFC 1071 §3: these octets sum to ddf2.
    let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
    assert_eq!(Sum::ZERO.plus(&bytes).checksum(), Checksum([0x22, 0x0d]));
}

#[test]
fn update_of_rfc_1624() {
    // RFC 1624 §4: the word 5555 becomes 3285 under the checksum dd2f, which becomes 0000 and not ffff.
    let delta = Delta::of(&[0x55, 0x55], &[0x32, 0x85]);
    assert_eq!(Checksum([0xdd, 0x2f]).adjusted(delta), Checksum([0, 0]));
    assert_eq!(Checksum([0, 0]).adjusted(delta.reversed()), Checksum([0xdd, 0x2f]));
}

#[test]
fn a_header_seen_on_the_wire() {
    let mut header = *b"\x45\x00\x00\x73\x00\x00\x40\x00\x40\x11\xb8\x61\xc0\xa8\x00\x01\xc0\xa8\x00\xc7";
    assert_eq!(verify_ipv4(&header), Ok(()));
    header[8] -= 1;
    assert_eq!(verify_ipv4(&header), Err(Error::Checksum));
    ipv4::fill_checksum(&mut header, 0).unwrap();
    assert_eq!(&header[10..12], b"\xb9\x61");
}

#[test]
fn sums_equal_the_plain_sum_at_every_length_and_split() {
    let mut random = Random(3);
    let mut bytes = [0; 200];
    random.fill(&mut bytes);
    for start in 0..8 {
        for end in start..bytes.len() {
            let data = &bytes[start..end];
            let split = random.below(data.len() + 1);
            let (left, right) = data.split_at(split);
            assert_eq!(Sum::ZERO.plus(data).checksum().0, plain(data), "{start}..{end}");
            assert_eq!(
                Sum::ZERO.plus(left).plus(right).checksum().0,
                plain(data),
                "{start}..{end} at {split}"
            );
        }
    }
    // The carries that a long run of ones makes.
    let ones = vec![0xff; 65_535];
    assert_eq!(Sum::ZERO.plus(&ones).checksum().0, plain(&ones));
}

#[test]
fn pseudo_headers_equal_the_plain_sum() {
    let (src4, dst4) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 2));
    let octets = [&src4.octets()[..], &dst4.octets(), &[0, 6, 0x12, 0x34]].concat();
    assert_eq!(Pseudo::V4(src4, dst4).sum(Proto::TCP, 0x1234).checksum().0, plain(&octets));
    let (src6, dst6) = (build::SRC6, build::DST6);
    let octets = [&src6.octets()[..], &dst6.octets(), &[0, 1, 0x12, 0x34, 0, 0, 0, 17]].concat();
    assert_eq!(Pseudo::V6(src6, dst6).sum(Proto::UDP, 0x1_1234).checksum().0, plain(&octets));
    assert_eq!(Pseudo::of(src4.into(), dst6.into()), None);
    assert_eq!(Pseudo::of(src6.into(), dst6.into()), Some(Pseudo::V6(src6, dst6)));
}

/// A change of random octets at a random offset, even or odd, in a random packet.
#[test]
fn incremental_updates_equal_recomputation() {
    let mut random = Random(0x1624);
    let mut bytes = [0_u8; 128];
    for case in 0..cases() {
        let len = 2 + random.below(bytes.len() - 2);
        let data = &mut bytes[..len];
        random.fill(data);
        if case % 4 == 0 {
            // Carries and zeros are where the arithmetic goes wrong.
            data.iter_mut().for_each(|octet| *octet = if *octet & 1 == 0 { 0 } else { 0xff });
        }
        let before = Sum::ZERO.plus(data).checksum();
        let at = random.below(len);
        let count = 1 + random.below((len - at).min(16));
        let old = data[at..at + count].to_vec();
        random.fill(&mut data[at..at + count]);
        let delta = Delta::of(&old, &data[at..at + count]);
        if let (Ok(old), Ok(new)) = (old.as_slice().try_into(), data[at..at + count].try_into()) {
            assert_eq!(before.adjusted(Delta::of_octets(old, new)), before.adjusted(delta), "case {case}");
        }
        let after = before.adjusted(if at.is_multiple_of(2) { delta } else { delta.at_odd() });
        if data.iter().any(|octet| *octet != 0) {
            assert_eq!(after, Sum::ZERO.plus(data).checksum(), "case {case}: {data:x?}");
        }
    }
}

/// What a translation does to a packet, step by step, against a packet built with the new values.
#[test]
fn rewriting_a_segment_equals_building_it_anew() {
    let mut random = Random(0xd7);
    for case in 0..cases() {
        let word = |random: &mut Random| random.next() as u32;
        let header = |random: &mut Random| tcp::Repr {
            src_port: Port(random.next() as u16),
            dst_port: Port(random.next() as u16),
            seq: Seq(word(random)),
            ack: Seq(word(random)),
            reserved: random.next() as u8 & 0x0f,
            flags: TcpFlags(random.next() as u8),
            window: random.next() as u16,
            urgent: random.next() as u16,
            options: tcp::OptionsBuf::EMPTY,
        };
        let old = header(&mut random);
        // Rewriting the flags clears the reserved bits, but for AE.
        let new = tcp::Repr { reserved: old.reserved & 1, ..header(&mut random) };
        let data = &random.next().to_be_bytes()[..random.below(9)];
        let mut addresses = || (Ipv4Addr::from(word(&mut random)), Ipv4Addr::from(word(&mut random)));
        let ((old_src, old_dst), (src, dst)) = (addresses(), addresses());
        let ip = |src, dst| ipv4::Repr { src, dst, ..build::header4(Proto::TCP) };

        let mut packet =
            build::ipv4(&ip(old_src, old_dst), &build::tcp(&Pseudo::V4(old_src, old_dst), &old, data));
        let mut network = ipv4::Header::at_mut(&mut packet, 0).unwrap();
        let delta = network.rewrite_src(src).and(network.rewrite_dst(dst));
        let mut transport = tcp::Header::at_mut(&mut packet, ipv4::HEADER_LEN).unwrap();
        transport.adjust(delta);
        transport.rewrite_src_port(new.src_port);
        transport.rewrite_dst_port(new.dst_port);
        transport.rewrite_seq(new.seq);
        transport.rewrite_ack(new.ack);
        transport.rewrite_flags(new.flags);
        transport.rewrite_window(new.window);
        transport.rewrite_urgent(new.urgent);

        assert_eq!(
            packet,
            build::ipv4(&ip(src, dst), &build::tcp(&Pseudo::V4(src, dst), &new, data)),
            "case {case}"
        );
    }
}

#[test]
fn rewriting_an_ipv4_header_keeps_its_checksum() {
    let header = ipv4::Repr { dont_fragment: true, ..build::header4(Proto::UDP) };
    let mut packet = build::ipv4(&header, &[]);
    let mut view = ipv4::Header::at_mut(&mut packet, 0).unwrap();
    view.rewrite_ttl(7);
    view.rewrite_tos(0xb8);
    view.rewrite_ident(0);
    view.clear_dont_fragment();
    let expected = ipv4::Repr { ttl: 7, tos: 0xb8, ident: 0, dont_fragment: false, ..header };
    assert_eq!(packet, build::ipv4(&expected, &[]));
}

#[test]
fn udp_zero_rules_hold_in_random_updates() {
    let mut random = Random(768);
    let mut ones = 0;
    for _ in 0..cases() {
        let ports = |random: &mut Random| (Port(random.next() as u16), Port(random.next() as u16));
        let (old, new) = (ports(&mut random), ports(&mut random));
        let header = |(src_port, dst_port)| udp::Repr { src_port, dst_port, ..Default::default() };
        let data = (random.next() as u16).to_be_bytes();
        let mut datagram = build::udp(&build::PSEUDO6, &header(old), &data);
        let mut view = udp::Header::at_mut(&mut datagram, 0).unwrap();
        view.rewrite_src_port(new.0);
        view.rewrite_dst_port(new.1);
        assert_ne!(view.checksum(), Checksum::ZERO, "a computed zero was sent as none");
        ones += u32::from(view.checksum() == Checksum::ONES);
        assert_eq!(datagram, build::udp(&build::PSEUDO6, &header(new), &data));
    }
    // One in 65536 on average: in the long run the case must have come up.
    assert!(ones > 0 || cases() < 1_000_000);
}

#[test]
fn udp_computed_zero_is_sent_as_ones() {
    let header = udp::Repr { src_port: Port(9), dst_port: Port(7), cover: udp::Cover::Checksum };
    for pseudo in [build::PSEUDO4, build::PSEUDO6] {
        let Checksum(balance) =
            udp::Header::at(&build::udp(&pseudo, &header, &[0, 0]), 0).unwrap().checksum();
        let mut datagram = build::udp(&pseudo, &header, &balance);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
        assert_eq!(verify_udp(&pseudo, &datagram), Ok(()));
        // The same by an update: away from it, and back.
        let mut view = udp::Header::at_mut(&mut datagram, 0).unwrap();
        view.rewrite_src_port(Port(10));
        assert_ne!(view.checksum(), Checksum::ONES);
        view.rewrite_src_port(Port(9));
        assert_eq!(view.checksum(), Checksum::ONES);
    }
}

#[test]
fn udp_without_checksum_stays_without() {
    let header = udp::Repr { src_port: Port(9), dst_port: Port(7), cover: udp::Cover::None };
    let mut datagram = build::udp(&build::PSEUDO4, &header, b"data");
    let mut view = udp::Header::at_mut(&mut datagram, 0).unwrap();
    view.rewrite_src_port(Port(1000));
    view.rewrite_dst_port(Port(2000));
    view.adjust(Delta::of(&[1, 2, 3, 4], &[5, 6, 7, 8]));
    assert_eq!(view.checksum(), Checksum::ZERO);
    assert_eq!(verify_udp(&build::PSEUDO4, &datagram), Ok(()));
    assert_eq!(verify_udp(&build::PSEUDO6, &datagram), Err(Error::ZeroChecksum));
}

#[test]
fn emitting_udp_without_checksum_over_ipv6_is_refused_and_writes_nothing() {
    let header = udp::Repr { cover: udp::Cover::None, ..Default::default() };
    let mut out = [0xee; 12];
    assert_eq!(header.emit(&build::PSEUDO6, &mut out), Err(Error::ZeroChecksum));
    assert_eq!(out, [0xee; 12]);
}

/// The one packet that an incremental update cannot get right: an echo reply that becomes all zeros.
#[test]
fn an_echo_reply_of_zeros_gets_its_checksum() {
    let reply = |ident| build::icmp4(&icmp4::Repr::query(icmp4::Type::ECHO_REPLY, ident, 0), &[0; 16]);
    let mut message = reply(0x1234);
    icmp4::rewrite_ident(&mut message, 0).unwrap();
    assert_eq!(message, reply(0));
    assert_eq!(wire::checksum::verify_icmp4(&message), Ok(()));
    icmp4::rewrite_ident(&mut message, 0x1234).unwrap();
    assert_eq!(message, reply(0x1234));
}

#[test]
fn rewriting_echo_identifiers_equals_building_them() {
    let mut random = Random(8);
    for _ in 0..10_000 {
        let (old, new, sequence) = (random.next() as u16, random.next() as u16, random.next() as u16);
        let echo4 =
            |ident| build::icmp4(&icmp4::Repr::query(icmp4::Type::ECHO_REQUEST, ident, sequence), b"odd");
        let mut message = echo4(old);
        icmp4::rewrite_ident(&mut message, new).unwrap();
        assert_eq!(message, echo4(new));
        let echo6 =
            |ident| build::icmp6(&icmp6::Repr::echo(icmp6::Type::ECHO_REQUEST, ident, sequence), b"odd");
        let mut message = echo6(old);
        icmp6::Header::at_mut(&mut message, 0).unwrap().rewrite_ident(new);
        assert_eq!(message, echo6(new));
    }
    assert_eq!(icmp4::rewrite_ident(&mut [0; 7], 1), Err(Error::Short));
}

#[test]
fn rewriting_ipv6_addresses_carries_the_upper_checksum() {
    let header = tcp::Repr { src_port: Port(1), dst_port: Port(2), ..Default::default() };
    let mut packet = build::ipv6(&[], Proto::TCP, &build::tcp(&build::PSEUDO6, &header, b"data"));
    let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::new(0xfd00, 0, 0, 0xffff, 0, 0, 0, 1));
    let mut network = ipv6::Header::at_mut(&mut packet, 0).unwrap();
    let delta = network.rewrite_src(src).and(network.rewrite_dst(dst));
    tcp::Header::at_mut(&mut packet, ipv6::HEADER_LEN).unwrap().adjust(delta);
    assert_eq!(packet[ipv6::HEADER_LEN..], build::tcp(&Pseudo::V6(src, dst), &header, b"data"));
}

#[test]
fn rewriting_options_at_odd_octets_keeps_the_checksum() {
    let mut options = tcp::OptionsBuf::EMPTY;
    options.push_nop().unwrap();
    options.push(&tcp::TcpOption::Mss(1460)).unwrap();
    let header = tcp::Repr { options, flags: TcpFlags::SYN, ..Default::default() };
    let mut segment = build::tcp(&build::PSEUDO4, &header, b"data");
    let mut iter = tcp::Segment::parse(&segment).unwrap().options().iter();
    assert_eq!(iter.next(), Some(Ok(tcp::TcpOption::Mss(1460))));
    let at = tcp::HEADER_LEN + iter.offset() + 2;
    assert_eq!(at % 2, 1);
    tcp::rewrite_octets(&mut segment, at, &1220_u16.to_be_bytes()).unwrap();
    assert_eq!(verify_tcp(&build::PSEUDO4, &segment), Ok(()));
    assert_eq!(tcp::Segment::parse(&segment).unwrap().options().mss(), Some(1220));

    let before = segment.clone();
    assert_eq!(tcp::rewrite_octets(&mut segment, 18, &[0, 0]), Err(Error::Short));
    let end = segment.len();
    assert_eq!(tcp::rewrite_octets(&mut segment, end - 1, &[0, 0]), Err(Error::Short));
    assert_eq!(tcp::rewrite_octets(&mut segment, usize::MAX, &[0, 0]), Err(Error::Short));
    assert_eq!(segment, before);
}
