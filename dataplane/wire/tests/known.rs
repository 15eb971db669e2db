//! Headers written out by hand from the RFCs' diagrams, octet by octet: what the getters must say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ethernet::{Frame, Tag, Tags};
use wire::icmp6::nd::{Nd, NdOption};
use wire::quote::{Quote, TcpStart, Transport};
use wire::tcp::{SackBlock, Segment, TcpOption, Timestamps, WindowScale};
use wire::{
    Af, Error, EtherType, Fragment, IpOptions, Mac, Port, Proto, Seq, TcpFlags, arp, icmp4, icmp6, ipv4,
    ipv6, udp,
};

#[test]
fn ethernet() {
    let dst_src = b"\x02\x00\x00\x00\x00\x0a\x02\x00\x00\x00\x00\x0b";
    let frame = [dst_src, &b"\x08\x00DATA"[..]].concat();
    let frame = Frame::parse(&frame).unwrap();
    assert_eq!(frame.header().dst(), Mac([2, 0, 0, 0, 0, 10]));
    assert_eq!(frame.header().src(), Mac([2, 0, 0, 0, 0, 11]));
    assert_eq!((frame.ether_type(), frame.l2_len(), frame.payload()), (EtherType::IPV4, 14, &b"DATA"[..]));
    assert_eq!(frame.tags(), Tags::None);

    let frame = [dst_src, &b"\x81\x00\xa0\x64\x86\xddDATA"[..]].concat();
    let frame = Frame::parse(&frame).unwrap();
    let Tags::One(tag) = frame.tags() else { panic!("one tag") };
    assert_eq!((tag.vid(), tag.priority()), (100, 5));
    assert_eq!((frame.ether_type(), frame.l2_len(), frame.payload()), (EtherType::IPV6, 18, &b"DATA"[..]));

    let frame = [dst_src, &b"\x88\xa8\x00\xc8\x81\x00\x0f\xff\x08\x06DATA"[..]].concat();
    let frame = Frame::parse(&frame).unwrap();
    let outer = Tag { tpid: EtherType::QINQ, tci: 200 };
    assert_eq!(frame.tags(), Tags::Two { outer, inner: Tag::vlan(4095) });
    assert_eq!((frame.ether_type(), frame.l2_len(), frame.payload()), (EtherType::ARP, 22, &b"DATA"[..]));
}

/// reliability C10: a third tag, an unknown type and a length are never taken for IP.
#[test]
fn ethernet_that_is_not_ip() {
    let third = b"............\x81\x00\x00\x01\x81\x00\x00\x02\x81\x00\x00\x03\x08\x00";
    assert_eq!(Frame::parse(third).unwrap().ether_type(), EtherType::VLAN);
    assert_eq!(Frame::parse(b"............\xaa\xaa\x45").unwrap().ether_type(), EtherType(0xaaaa));
    assert_eq!(Frame::parse(b"............\x00\x26\x45").unwrap().ether_type(), EtherType(0x26));
}

#[test]
fn arp_request() {
    let packet = b"\0\x01\x08\0\x06\x04\0\x01\x02\0\0\0\0\x0b\xc0\0\x02\x01\0\0\0\0\0\0\xc0\0\x02\x02padding";
    let repr = arp::Repr::parse(packet).unwrap();
    assert_eq!(repr.operation, arp::Operation::REQUEST);
    assert_eq!((repr.sender_mac, repr.sender), (Mac([2, 0, 0, 0, 0, 11]), Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!((repr.target_mac, repr.target), (Mac([0; 6]), Ipv4Addr::new(192, 0, 2, 2)));
    assert_eq!(arp::Header::at(packet, 0).unwrap().protocol(), EtherType::IPV4);
}

#[test]
fn ipv4_with_options() {
    // IHL 7, TOS 0x10, length 32, DF, offset 0, TTL 64, UDP; router alert, record route of length 3, end.
    let packet = b"\x47\x10\0\x20\xab\xcd\x40\0\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02\x94\x04\0\0\x07\x03\x04\0DATApadding";
    let parsed = ipv4::Packet::parse(packet).unwrap();
    let header = parsed.header();
    assert_eq!((header.version(), header.header_len(), header.tos(), header.total_len()), (4, 28, 0x10, 32));
    assert_eq!((header.ident(), header.ttl(), header.proto()), (0xabcd, 64, Proto::UDP));
    assert_eq!(header.src(), Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(header.dst(), Ipv4Addr::new(198, 51, 100, 2));
    assert!(header.dont_fragment());
    assert!(!header.is_fragment());
    assert_eq!(header.fragment(), None);
    assert_eq!(parsed.payload(), b"DATA");
    let options: Vec<_> = parsed.options().iter().map(Result::unwrap).collect();
    assert_eq!(options[0], ipv4::IpOption { kind: ipv4::OptionKind::ROUTER_ALERT, data: &[0, 0] });
    assert_eq!(options[1], ipv4::IpOption { kind: ipv4::OptionKind::RECORD_ROUTE, data: &[4] });
    assert_eq!(parsed.options().seen(), Ok(IpOptions::ROUTER_ALERT.union(IpOptions::OTHER)));
    assert_eq!(parsed.verify_checksum(), Err(Error::Checksum));
}

#[test]
fn ipv4_fragment() {
    let packet = b"\x45\0\0\x18\x12\x34\x20\xb9\x40\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x02DATA";
    let header = ipv4::Header::at(packet, 0).unwrap();
    assert_eq!(header.fragment(), Some(Fragment { ident: 0x1234, offset: 1480, more: true }));
    assert!(header.is_fragment() && !header.dont_fragment());
}

#[test]
fn ipv6_with_a_chain() {
    // Class 0xb8, flow 0x12345, payload 36, hop-by-hop, hop limit 63.
    let mut packet = b"\x6b\x81\x23\x45\0\x24\0\x3f".to_vec();
    packet.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(b"\x3c\0\x05\x02\0\0\x01\0"); // hop-by-hop, router alert; then destination options
    packet.extend(b"\x2c\0\x1e\x01\x07\0\0\0"); // unknown option; then fragment
    packet.extend(b"\x33\0\0\x01\xde\xad\xbe\xef"); // first fragment; then AH
    packet.extend(b"\x06\x01\0\0\0\0\0\x01\0\0\0\x02"); // AH of 12 octets; then TCP
    let parsed = ipv6::Packet::parse(&packet).unwrap();
    let header = parsed.header();
    assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, 0xb8, 0x1_2345));
    assert_eq!((header.payload_len(), header.hop_limit()), (36, 63));
    assert_eq!(header.src().to_string(), "2001:db8::1");
    assert_eq!(header.dst().to_string(), "2001:db8::2");
    let chain = parsed.chain().unwrap();
    assert_eq!((chain.upper, chain.offset), (Proto::TCP, 76));
    let fragment = Fragment { ident: 0xdead_beef, offset: 0, more: true };
    let place =
        ipv6::FragmentPlace { fragment, offset: 56, previous_next_header_at: 48, next_header: Proto::AH };
    assert_eq!(chain.fragment, Some(place));
    for found in [
        IpOptions::HOP_BY_HOP,
        IpOptions::DST_OPTS,
        IpOptions::AUTH,
        IpOptions::ROUTER_ALERT,
        IpOptions::OTHER,
    ] {
        assert!(chain.seen.contains(found), "{found:?}");
    }
    assert!(!chain.seen.contains(IpOptions::ROUTING));
    assert_eq!(parsed.upper(&chain), b"");
}

#[test]
fn tcp_with_options() {
    let segment = b"\x01\xbb\xc0\0\x01\x02\x03\x04\x05\x06\x07\x08\xb1\x52\xfa\xf0\xab\xcd\0\x09\
        \x02\x04\x05\xb4\x04\x02\x01\x03\x03\x0f\x05\x0a\0\0\0\x01\0\0\0\x02\x00...data";
    let parsed = Segment::parse(segment).unwrap();
    let header = parsed.header();
    assert_eq!((header.src_port(), header.dst_port()), (Port(443), Port(49152)));
    assert_eq!((header.seq(), header.ack()), (Seq(0x0102_0304), Seq(0x0506_0708)));
    assert_eq!((header.header_len(), header.reserved()), (44, 1));
    assert_eq!(header.flags(), TcpFlags::ACK.union(TcpFlags::SYN).union(TcpFlags::ECE));
    assert_eq!((header.window(), header.checksum().0, header.urgent()), (64240, [0xab, 0xcd], 9));
    assert_eq!(parsed.payload(), b"data");
    assert_eq!(parsed.sequence_len(), 5);
    let mut options = parsed.options().iter();
    assert_eq!(options.next(), Some(Ok(TcpOption::Mss(1460))));
    assert_eq!(options.next(), Some(Ok(TcpOption::SackPermitted)));
    assert_eq!(options.next(), Some(Ok(TcpOption::WindowScale(WindowScale(15)))));
    assert_eq!(options.offset(), 7);
    let Some(Ok(TcpOption::Sack(blocks))) = options.next() else { panic!("SACK") };
    assert_eq!((blocks.len(), blocks.is_empty()), (1, false));
    assert_eq!(blocks.iter().next(), Some(SackBlock { left: Seq(1), right: Seq(2) }));
    assert_eq!(options.next(), None);
    assert_eq!(parsed.options().window_scale().map(WindowScale::shift), Some(14));
    assert_eq!(parsed.options().mss(), Some(1460));
    assert_eq!(parsed.options().timestamps(), None);
}

#[test]
fn tcp_options_before_a_malformed_one_are_read() {
    let options = wire::tcp::Options::new(b"\x08\x0a\0\0\0\x01\0\0\0\x02\x03\x03\x07\x02\x01\x05");
    assert_eq!(options.timestamps(), Some(Timestamps { value: 1, echo: 2 }));
    assert_eq!(options.window_scale(), Some(WindowScale(7)));
    assert_eq!(options.mss(), None);
    let results: Vec<_> = options.iter().collect();
    assert_eq!((results.len(), results.last()), (3, Some(&Err(Error::OptionLength))));
}

#[test]
fn window_scales_are_limited_to_14() {
    for raw in 0..=u8::MAX {
        assert_eq!(WindowScale(raw).shift(), raw.min(14));
        assert_eq!(WindowScale(raw).0, raw);
    }
}

#[test]
fn udp_datagram() {
    let datagram = udp::Datagram::parse(b"\0\x35\x9c\x40\0\x0b\x12\x34abcBEHIND").unwrap();
    let header = datagram.header();
    assert_eq!((header.src_port(), header.dst_port()), (Port(53), Port(40000)));
    assert_eq!((header.length(), header.checksum().0), (11, [0x12, 0x34]));
    assert_eq!((datagram.payload(), datagram.octets().len()), (&b"abc"[..], 11));
}

#[test]
fn icmp_messages() {
    let echo = icmp4::Message::parse(b"\x08\0\xab\xcd\x12\x34\0\x07body").unwrap();
    let header = echo.header();
    assert_eq!((header.kind(), header.code()), (icmp4::Type::ECHO_REQUEST, 0));
    assert_eq!((header.ident(), header.sequence(), echo.body()), (0x1234, 7, &b"body"[..]));
    assert_eq!((echo.class(), echo.quoted()), (icmp4::Class::Request, None));
    let error = icmp4::Message::parse(b"\x03\x04\0\0\0\0\x05\x14quote").unwrap();
    assert_eq!((error.header().mtu(), error.quoted()), (1300, Some(&b"quote"[..])));
    let redirect = icmp4::Message::parse(b"\x05\x01\0\0\xc0\0\x02\x09").unwrap();
    assert_eq!(redirect.header().gateway(), Ipv4Addr::new(192, 0, 2, 9));
    assert_eq!(icmp4::Message::parse(b"\x0c\0\0\0\x09\0\0\0").unwrap().header().pointer(), 9);

    let too_big = icmp6::Message::parse(b"\x02\0\0\0\0\0\x05\0quote").unwrap();
    assert_eq!((too_big.header().mtu(), too_big.quoted()), (1280, Some(&b"quote"[..])));
    assert_eq!(icmp6::Message::parse(b"\x04\x01\0\0\0\0\0\x06").unwrap().header().pointer(), 6);
}

#[test]
fn icmp_types_have_their_class_and_counterpart() {
    use icmp4::{Class, Type};
    for octet in 0..=u8::MAX {
        let kind = Type(octet);
        let query = matches!(kind.class(), Class::Request | Class::Reply);
        assert_eq!(kind.counterpart().is_some(), query, "{kind:?}");
        if let Some(other) = kind.counterpart() {
            assert_eq!(other.counterpart(), Some(kind));
            assert_ne!(other.class(), kind.class());
        }
        let kind = icmp6::Type(octet);
        assert_eq!(kind.class() == Class::Error, octet < 128);
        assert_eq!(kind.is_nd(), (133..=137).contains(&octet));
        assert_eq!(kind.is_mld(), matches!(octet, 130..=132 | 143));
    }
}

#[test]
fn neighbor_advertisement() {
    let target: Ipv6Addr = "fe80::1".parse().unwrap();
    let message =
        [b"\x88\0\0\0\xe0\0\0\0", &target.octets()[..], b"\x02\x01\x02\0\0\0\0\x0a\x05\x01\0\0\0\0\x05\xdc"]
            .concat();
    let message = icmp6::Message::parse(&message).unwrap();
    let Ok(Some(Nd::NeighborAdvert { flags: 0xe0, target: parsed, options })) = Nd::parse(&message) else {
        panic!("not an advertisement")
    };
    assert_eq!(parsed, target);
    let options: Vec<_> = options.iter().collect();
    assert_eq!(options, [Ok(NdOption::TargetLinkLayer(Mac([2, 0, 0, 0, 0, 10]))), Ok(NdOption::Mtu(1500))]);
}

#[test]
fn listener_query() {
    let group: Ipv6Addr = "ff02::fb".parse().unwrap();
    let message = [b"\x82\0\0\0\x27\x10\0\0", &group.octets()[..]].concat();
    let listener = icmp6::mld::Listener::at(&message, 0).unwrap();
    assert_eq!((listener.max_response(), listener.group()), (10_000, group));
}

#[test]
fn quotes_are_read_and_rewritten_within_eight_octets() {
    // The total length, 1500, speaks of the packet and not of the quote.
    let mut quote =
        b"\x45\0\x05\xdc\0\0\x40\0\x01\x06\0\0\xc6\x33\x64\x02\xc0\0\x02\x01\x01\xbb\xc0\0\x11\x22\x33\x44"
            .to_vec();
    let parsed = Quote::parse(Af::Inet, &quote).unwrap();
    assert_eq!(parsed.src, IpAddr::from([198, 51, 100, 2]));
    assert_eq!(parsed.dst, IpAddr::from([192, 0, 2, 1]));
    assert_eq!(
        (parsed.proto, parsed.ttl, parsed.fragment, parsed.transport_offset),
        (Proto::TCP, 1, None, 20)
    );
    let tcp = |src_port| Transport::Tcp { src_port, dst_port: Port(49152), seq: Seq(0x1122_3344) };
    assert_eq!(parsed.transport, tcp(Port(443)));
    TcpStart::at_mut(&mut quote, parsed.transport_offset).unwrap().set_src_port(Port(8443));
    assert_eq!(Quote::parse(Af::Inet, &quote).unwrap().transport, tcp(Port(8443)));
    assert_eq!(Quote::parse(Af::Inet, &quote[..27]), Err(Error::Short));
    assert_eq!(Quote::parse(Af::Inet6, &quote), Err(Error::Short));
}

#[test]
fn quotes_behind_extension_headers() {
    let mut quote = b"\x60\0\0\0\x05\xa8\x3c\x07".to_vec();
    quote.extend("2001:db8:1::2".parse::<Ipv6Addr>().unwrap().octets());
    quote.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    quote.extend(b"\x11\0\x01\x04\0\0\0\0"); // destination options, padding; then UDP
    quote.extend(b"\0\x35\x9c\x40\0\x64\xab\xcd");
    let parsed = Quote::parse(Af::Inet6, &quote).unwrap();
    assert_eq!(parsed.src.to_string(), "2001:db8:1::2");
    assert_eq!(parsed.dst.to_string(), "2001:db8::1");
    assert_eq!(
        (parsed.proto, parsed.ttl, parsed.fragment, parsed.transport_offset),
        (Proto::UDP, 7, None, 48)
    );
    assert_eq!(parsed.transport, Transport::Udp { src_port: Port(53), dst_port: Port(40000) });
    assert_eq!(Quote::parse(Af::Inet6, &quote[..55]), Err(Error::Short));
}

#[test]
fn quotes_of_later_fragments_have_no_ports() {
    let quote =
        b"\x45\0\0\x28\0\x07\0\x02\x01\x11\0\0\xc6\x33\x64\x02\xc0\0\x02\x01\x01\xbb\xc0\0\x11\x22\x33\x44";
    let parsed = Quote::parse(Af::Inet, quote).unwrap();
    assert_eq!(parsed.fragment, Some(Fragment { ident: 7, offset: 16, more: false }));
    assert_eq!(parsed.transport, Transport::LaterFragment);
}

#[test]
fn tcp_flags_and_sequence_numbers() {
    assert_eq!(TcpFlags(0xff).to_string(), "FSRPAUEW");
    assert!(Seq(0xffff_ffff).before(Seq(0)) && !Seq(0).before(Seq(0xffff_ffff)));
    assert!(Seq(5).at_or_before(Seq(5)) && !Seq(5).before(Seq(5)));
    assert_eq!((Seq(0xffff_ffff).plus(2), Seq(1).minus(2)), (Seq(1), Seq(0xffff_ffff)));
    assert_eq!(Seq(0).since(Seq(0xffff_ffff)), 1);
    assert!(EtherType::VLAN.is_tag() && EtherType::QINQ.is_tag() && !EtherType::IPV4.is_tag());
}
