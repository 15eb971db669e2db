//! `parse(emit(x)) == x`: for the whole corpus, and for random values.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wire::corpus::{Network, Upper, build, dissect, packets};
use wire::ethernet::{Tag, Tags};
use wire::icmp6::nd::{Nd, NdOption, Options as NdOptions};
use wire::tcp::{OptionsBuf, SackBlock, TcpOption, Timestamps, WindowScale};
use wire::{
    Error, EtherType, Fragment, Mac, Port, Proto, Seq, TcpFlags, arp, ethernet, icmp4, icmp6, ipv4, ipv6,
    tcp, udp,
};

/// Every packet of the corpus, taken apart and built again from its values, is the same octets.
#[test]
fn every_packet_is_rebuilt_octet_by_octet() {
    for (name, packet) in packets() {
        let dissected = dissect(&packet).expect(name);
        let mut rebuilt = packet.clone();
        let (l2, l3) = rebuilt.split_at_mut(dissected.frame.l2_len());
        l2.fill(0xee);
        ethernet::Repr::of(&dissected.frame).emit(l2).expect(name);
        match dissected.network {
            Network::Arp(repr) => repr.emit(l3).expect(name),
            Network::Other(_) => {}
            Network::Ipv4(header, _, upper) => {
                let pseudo = wire::checksum::Pseudo::V4(header.header().src(), header.header().dst());
                let repr = ipv4::Repr::of(&header);
                let (head, payload) = l3.split_at_mut(repr.header_len());
                head.fill(0xee);
                repr.emit(head).expect(name);
                rebuild_upper(&pseudo, &upper, &mut payload[..header.payload().len()], name);
            }
            Network::Ipv6(header, chain, upper) => {
                let (src, dst) = (header.header().src(), header.header().dst());
                let repr = ipv6::Repr::of(&header);
                let len = header.payload().len();
                l3[..ipv6::HEADER_LEN].fill(0xee);
                repr.emit(l3).expect(name);
                let payload = &mut l3[chain.offset..ipv6::HEADER_LEN + len];
                rebuild_upper(&wire::checksum::Pseudo::V6(src, dst), &upper, payload, name);
            }
        }
        assert_eq!(rebuilt, packet, "{name}");
    }
}

fn rebuild_upper(pseudo: &wire::checksum::Pseudo, upper: &Upper<'_>, out: &mut [u8], name: &str) {
    match upper {
        Upper::Tcp(segment) => {
            let repr = tcp::Repr::of(segment);
            out[..repr.header_len()].fill(0xee);
            repr.emit(pseudo, out)
        }
        Upper::Udp(datagram) => {
            out[..udp::HEADER_LEN].fill(0xee);
            let len = datagram.octets().len();
            udp::Repr::of(datagram).emit(pseudo, &mut out[..len])
        }
        Upper::Icmp4(message, _) => {
            out[..icmp4::HEADER_LEN].fill(0xee);
            icmp4::Repr::of(message).emit(out)
        }
        Upper::Icmp6(message, _) => {
            out[..icmp6::HEADER_LEN].fill(0xee);
            let wire::checksum::Pseudo::V6(src, dst) = *pseudo else { panic!("{name}: family") };
            icmp6::Repr::of(message).emit(src, dst, out)
        }
        Upper::Nd(nd) => {
            out.fill(0xee);
            let wire::checksum::Pseudo::V6(src, dst) = *pseudo else { panic!("{name}: family") };
            nd.emit(src, dst, out)
        }
        Upper::Fragment(..) | Upper::Other(..) => Ok(()),
    }
    .expect(name);
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn addr4() -> impl Strategy<Value = Ipv4Addr> {
    any::<[u8; 4]>().prop_map(Ipv4Addr::from)
}

fn addr6() -> impl Strategy<Value = Ipv6Addr> {
    any::<[u8; 16]>().prop_map(Ipv6Addr::from)
}

fn tag() -> impl Strategy<Value = Tag> {
    (prop_oneof![Just(EtherType::VLAN), Just(EtherType::QINQ)], any::<u16>())
        .prop_map(|(tpid, tci)| Tag { tpid, tci })
}

fn tags() -> impl Strategy<Value = Tags> {
    prop_oneof![
        Just(Tags::None),
        tag().prop_map(Tags::One),
        (tag(), tag()).prop_map(|(outer, inner)| Tags::Two { outer, inner }),
    ]
}

/// A valid option area: whole options, no trailing padding that a re-emission would have to guess.
fn tcp_options() -> impl Strategy<Value = OptionsBuf> {
    let option = prop_oneof![
        Just(None),
        any::<u16>().prop_map(|mss| Some((2, mss.to_be_bytes().to_vec()))),
        any::<u8>().prop_map(|scale| Some((3, vec![scale]))),
        Just(Some((4, vec![]))),
        prop::collection::vec(any::<[u8; 8]>(), 0..4).prop_map(|blocks| Some((5, blocks.concat()))),
        any::<[u8; 8]>().prop_map(|stamps| Some((8, stamps.to_vec()))),
        any::<[u8; 16]>().prop_map(|digest| Some((19, digest.to_vec()))),
        (20..=255_u8, prop::collection::vec(any::<u8>(), 0..12)).prop_map(Some),
    ];
    prop::collection::vec(option, 0..5).prop_map(|list| {
        let mut area = OptionsBuf::EMPTY;
        for option in list {
            // What no longer fits is left out.
            let _ = match option {
                None => area.push_nop(),
                Some((kind, data)) => area.push(&TcpOption::Unknown { kind, data: &data }),
            };
        }
        area
    })
}

fn tcp_header() -> impl Strategy<Value = tcp::Repr> {
    let ports = (any::<u16>(), any::<u16>());
    (ports, any::<u32>(), any::<u32>(), 0..16_u8, any::<u8>(), any::<u16>(), any::<u16>(), tcp_options())
        .prop_map(|((src, dst), seq, ack, reserved, flags, window, urgent, options)| tcp::Repr {
            src_port: Port(src),
            dst_port: Port(dst),
            seq: Seq(seq),
            ack: Seq(ack),
            reserved,
            flags: TcpFlags(flags),
            window,
            urgent,
            options,
        })
}

fn ipv4_header() -> impl Strategy<Value = ipv4::Repr> {
    let options = prop::collection::vec(any::<u8>(), 0..=10).prop_map(|words| {
        let octets: Vec<u8> = words.iter().flat_map(|octet| [*octet; 4]).collect();
        ipv4::OptionsBuf::of(ipv4::Options::new(&octets))
    });
    let small = (any::<u8>(), any::<u8>(), any::<u8>(), any::<u16>());
    (addr4(), addr4(), small, any::<(bool, bool)>(), 0..8192_u16, options, 0..200_usize).prop_map(
        |(src, dst, (proto, ttl, tos, ident), (df, mf), units, options, payload_len)| ipv4::Repr {
            src,
            dst,
            proto: Proto(proto),
            ttl,
            tos,
            ident,
            dont_fragment: df,
            more_fragments: mf,
            fragment_offset: units * 8,
            options,
            payload_len,
        },
    )
}

proptest! {
    #[test]
    fn ethernet_headers(dst in mac(), src in mac(), tags in tags(), kind in any::<u16>(), payload in any::<[u8; 5]>()) {
        prop_assume!(!EtherType(kind).is_tag());
        let repr = ethernet::Repr { dst, src, tags, ether_type: EtherType(kind) };
        let mut out = vec![0xee; repr.len()];
        repr.emit(&mut out).unwrap();
        out.extend(payload);
        let frame = ethernet::Frame::parse(&out).unwrap();
        prop_assert_eq!(ethernet::Repr::of(&frame), repr);
        prop_assert_eq!(frame.payload(), &payload[..]);
        prop_assert_eq!(frame.l2_len(), repr.len());
    }

    #[test]
    fn arp_packets(operation in any::<u16>(), macs in (mac(), mac()), sender in addr4(), target in addr4()) {
        let operation = arp::Operation(operation);
        let repr = arp::Repr { operation, sender_mac: macs.0, sender, target_mac: macs.1, target };
        let mut out = [0xee; arp::PACKET_LEN];
        repr.emit(&mut out).unwrap();
        prop_assert_eq!(arp::Repr::parse(&out), Ok(repr));
    }

    #[test]
    fn ipv4_headers(repr in ipv4_header()) {
        let mut out = vec![0xee; repr.header_len() + repr.payload_len];
        repr.emit(&mut out).unwrap();
        let packet = ipv4::Packet::parse(&out).unwrap();
        prop_assert_eq!(ipv4::Repr::of(&packet), repr);
        prop_assert_eq!(packet.verify_checksum(), Ok(()));
        prop_assert!(packet.payload().iter().all(|octet| *octet == 0xee), "the payload was touched");
        let fragment = Fragment {
            ident: u32::from(repr.ident),
            offset: repr.fragment_offset,
            more: repr.more_fragments,
        };
        let expected = (fragment.more || fragment.offset > 0).then_some(fragment);
        prop_assert_eq!(packet.header().fragment(), expected);
    }

    #[test]
    fn ipv6_headers(src in addr6(), dst in addr6(), next in any::<u8>(), hop_limit in any::<u8>(),
                    traffic_class in any::<u8>(), flow_label in 0..0x10_0000_u32, payload_len in 0..200_usize) {
        let repr = ipv6::Repr { src, dst, next_header: Proto(next), hop_limit, traffic_class, flow_label, payload_len };
        let mut out = vec![0xee; ipv6::HEADER_LEN + payload_len];
        repr.emit(&mut out).unwrap();
        prop_assert_eq!(ipv6::Repr::of(&ipv6::Packet::parse(&out).unwrap()), repr);
        let mut view = ipv6::Header::at_mut(&mut out, 0).unwrap();
        view.set_traffic_class(!traffic_class);
        let expected = ipv6::Repr { traffic_class: !traffic_class, ..repr };
        prop_assert_eq!(ipv6::Repr::of(&ipv6::Packet::parse(&out).unwrap()), expected);
    }

    #[test]
    fn fragment_headers(ident in any::<u32>(), units in 0..8192_u16, more in any::<bool>(), next in 61..=255_u8) {
        let fragment = Fragment { ident, offset: units * 8, more };
        let packet = build::ipv6(&[ipv6::Extension::Fragment(fragment)], Proto(next), &[1, 2, 3]);
        let packet = ipv6::Packet::parse(&packet).unwrap();
        let chain = packet.chain().unwrap();
        let place = chain.fragment.unwrap();
        prop_assert_eq!(place.fragment, fragment);
        prop_assert_eq!((place.offset, place.previous_next_header_at, place.next_header), (40, 6, Proto(next)));
        prop_assert_eq!((chain.upper, chain.offset), (Proto(next), 48));
        prop_assert_eq!(packet.upper(&chain), &[1, 2, 3][..]);
    }

    #[test]
    fn tcp_headers(repr in tcp_header(), data in prop::collection::vec(any::<u8>(), 0..20)) {
        let segment = build::tcp(&build::PSEUDO6, &repr, &data);
        let parsed = tcp::Segment::parse(&segment).unwrap();
        prop_assert_eq!(tcp::Repr::of(&parsed), repr);
        prop_assert_eq!(parsed.payload(), &data[..]);
        prop_assert_eq!(wire::checksum::verify_tcp(&build::PSEUDO6, &segment), Ok(()));
        // Options read and written one by one are the same options.
        let mut again = OptionsBuf::EMPTY;
        for option in parsed.options().iter() {
            again.push(&option.unwrap()).unwrap();
        }
        let values: Vec<_> = parsed.options().iter().map(Result::unwrap).collect();
        let again: Vec<_> = tcp::Options::new(again.octets()).iter().map(Result::unwrap).collect();
        prop_assert_eq!(values, again);
    }

    #[test]
    fn udp_headers(src in any::<u16>(), dst in any::<u16>(), data in prop::collection::vec(any::<u8>(), 0..20)) {
        for cover in [udp::Cover::Checksum, udp::Cover::None] {
            let repr = udp::Repr { src_port: Port(src), dst_port: Port(dst), cover };
            let datagram = build::udp(&build::PSEUDO4, &repr, &data);
            let parsed = udp::Datagram::parse(&datagram).unwrap();
            prop_assert_eq!(udp::Repr::of(&parsed), repr);
            prop_assert_eq!(parsed.payload(), &data[..]);
        }
    }

    #[test]
    fn icmp_headers(kind in any::<u8>(), code in any::<u8>(), rest in any::<[u8; 4]>(),
                    body in prop::collection::vec(any::<u8>(), 0..20)) {
        let repr = icmp4::Repr { kind: icmp4::Type(kind), code, rest };
        let message = build::icmp4(&repr, &body);
        let parsed = icmp4::Message::parse(&message).unwrap();
        prop_assert_eq!((icmp4::Repr::of(&parsed), parsed.body()), (repr, &body[..]));
        let repr = icmp6::Repr { kind: icmp6::Type(kind), code, rest };
        let message = build::icmp6(&repr, &body);
        let parsed = icmp6::Message::parse(&message).unwrap();
        prop_assert_eq!((icmp6::Repr::of(&parsed), parsed.body()), (repr, &body[..]));
        prop_assert_eq!(parsed.quoted(), (kind < 128).then_some(&body[..]));
    }

    #[test]
    fn neighbor_messages(target in addr6(), destination in addr6(), mac in mac(), octets in any::<[u8; 3]>(),
                         numbers in any::<(u16, u32, u32)>(), quote in prop::collection::vec(any::<[u8; 8]>(), 0..5)) {
        let [hop_limit, flags, len] = octets;
        let (lifetime_s, reachable_ms, retransmit_ms) = numbers;
        let quote = quote.concat();
        let list = [
            NdOption::SourceLinkLayer(mac),
            NdOption::TargetLinkLayer(mac),
            NdOption::Prefix { len, flags, valid_s: reachable_ms, preferred_s: retransmit_ms, prefix: target },
            NdOption::Redirected(&quote),
            NdOption::Mtu(reachable_ms),
            NdOption::Unknown { kind: 200, data: &[flags; 14] },
        ];
        let mut area = Vec::new();
        for option in &list {
            let mut out = vec![0xee; option.len()];
            option.emit(&mut out).unwrap();
            area.extend(out);
        }
        let options = NdOptions::new(&area);
        prop_assert_eq!(options.iter().collect::<Result<Vec<_>, _>>(), Ok(list.to_vec()));
        for nd in [
            Nd::RouterSolicit { options },
            Nd::RouterAdvert { hop_limit, flags, lifetime_s, reachable_ms, retransmit_ms, options },
            Nd::NeighborSolicit { target, options },
            Nd::NeighborAdvert { flags, target, options },
            Nd::Redirect { target, destination, options },
        ] {
            let mut out = vec![0xee; nd.len()];
            nd.emit(build::SRC6, build::DST6, &mut out).unwrap();
            prop_assert_eq!(wire::checksum::verify_icmp6(build::SRC6, build::DST6, &out), Ok(()));
            prop_assert_eq!(Nd::parse(&icmp6::Message::parse(&out).unwrap()), Ok(Some(nd)));
        }
    }

    /// A buffer one octet too small is refused, whatever is to be written.
    #[test]
    fn buffers_too_small_are_refused(tcp in tcp_header(), ipv4 in ipv4_header()) {
        let mut out = vec![0; tcp.header_len() - 1];
        prop_assert_eq!(tcp.emit(&build::PSEUDO4, &mut out), Err(Error::Short));
        let mut out = vec![0; ipv4.header_len() - 1];
        prop_assert_eq!(ipv4.emit(&mut out), Err(Error::Short));
        prop_assert!(out.iter().all(|octet| *octet == 0), "a refused header was written in part");
    }
}

#[test]
fn values_that_fit_no_field_are_refused() {
    let ipv4 = build::header4(Proto::UDP);
    let mut out = [0; 64];
    let too_long = ipv4::Repr { payload_len: 65_516, ..ipv4 };
    assert_eq!(too_long.emit(&mut out), Err(Error::TooLong));
    assert_eq!(out, [0; 64], "a refused header was written in part");
    assert_eq!(ipv4::Repr { payload_len: 65_515, ..ipv4 }.emit(&mut out), Ok(()));
    assert_eq!(ipv4::Repr { fragment_offset: 9, ..ipv4 }.emit(&mut out), Err(Error::TooLong));
    let ipv6 = ipv6::Repr::new(build::SRC6, build::DST6, Proto::UDP, 65_536);
    assert_eq!(ipv6.emit(&mut out), Err(Error::TooLong));
    let ipv6 = ipv6::Repr { payload_len: 0, flow_label: 0x10_0000, ..ipv6 };
    assert_eq!(ipv6.emit(&mut out), Err(Error::TooLong));
    let tcp = tcp::Repr { reserved: 16, ..Default::default() };
    assert_eq!(tcp.emit(&build::PSEUDO4, &mut out), Err(Error::TooLong));
    assert_eq!(udp::Repr::default().emit(&build::PSEUDO4, &mut vec![0; 65_536]), Err(Error::TooLong));
    assert_eq!(ipv6::Extension::DstOpts(&[0; 7]).emit(Proto::UDP, &mut out), Err(Error::TooLong));
    assert_eq!(ipv6::Extension::Auth(&[0; 2]).emit(Proto::UDP, &mut out), Err(Error::TooLong));
    assert_eq!(NdOption::Unknown { kind: 9, data: &[0; 7] }.emit(&mut out), Err(Error::TooLong));
}

#[test]
fn options_that_do_not_fit_leave_the_area_as_it_was() {
    let mut area = OptionsBuf::EMPTY;
    for _ in 0..4 {
        area.push(&TcpOption::Timestamps(Timestamps { value: 1, echo: 2 })).unwrap();
    }
    assert_eq!(area.octets().len(), 40);
    let before = area;
    assert_eq!(area.push_nop(), Err(Error::TooLong));
    assert_eq!(area.push(&TcpOption::WindowScale(WindowScale(1))), Err(Error::TooLong));
    assert_eq!(area.push_sack(&[SackBlock { left: Seq(1), right: Seq(2) }]), Err(Error::TooLong));
    assert_eq!(area, before);
    assert_eq!(area.push_sack(&[SackBlock { left: Seq(1), right: Seq(2) }; 6]), Err(Error::TooLong));
    let mut area = ipv4::OptionsBuf::EMPTY;
    assert_eq!(area.push(ipv4::OptionKind::RECORD_ROUTE, &[0; 39]), Err(Error::TooLong));
    assert_eq!(area, ipv4::OptionsBuf::EMPTY);
    assert_eq!(area.push(ipv4::OptionKind::RECORD_ROUTE, &[0; 38]), Ok(()));
}
