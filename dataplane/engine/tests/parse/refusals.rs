//! What is refused, and that the same packet without its defect is not.

use engine::{NonIp, Parsed, RxChecksum, Zone, parse};
use ruleset::Reason;
use wire::corpus::build::{
    DST4, DST6, PSEUDO4, PSEUDO6, SRC4, ethernet, frame4, frame6, header4, icmp4, ipv4,
};
use wire::corpus::build::{icmp6, ipv6, tcp, udp};
use wire::ethernet::{Tag, Tags};
use wire::ipv4::{OptionKind, OptionsBuf};
use wire::ipv6::Extension;
use wire::{EtherType, Fragment, Port, Proto};

use crate::{packet, parsed, refused};

const SEGMENT: wire::tcp::Repr = wire::tcp::Repr {
    src_port: Port(1024),
    dst_port: Port(80),
    seq: wire::Seq(1),
    ack: wire::Seq(0),
    reserved: 0,
    flags: wire::TcpFlags::SYN,
    window: 1,
    urgent: 0,
    options: wire::tcp::OptionsBuf::EMPTY,
};

fn segment(header: &wire::tcp::Repr) -> Vec<u8> {
    frame4(&header4(Proto::TCP), &tcp(&PSEUDO4, header, b"data"))
}

fn datagram(sport: u16, dport: u16) -> Vec<u8> {
    let header = wire::udp::Repr { src_port: Port(sport), dst_port: Port(dport), ..Default::default() };
    frame4(&header4(Proto::UDP), &udp(&PSEUDO4, &header, b"data"))
}

#[test]
fn data_offset_behind_the_end() {
    let mut frame = segment(&SEGMENT);
    packet(&frame);
    // 15 words in 24 octets: the payload's length must not become negative.
    frame[14 + 20 + 12] = 0xf0;
    assert_eq!(refused(&frame), Reason::BadOffset);
    frame[14 + 20 + 12] = 0x40;
    assert_eq!(refused(&frame), Reason::Short);
}

#[test]
fn destination_port_0() {
    packet(&segment(&SEGMENT));
    assert_eq!(refused(&segment(&wire::tcp::Repr { dst_port: Port(0), ..SEGMENT })), Reason::Short);
    packet(&datagram(0, 53));
    assert_eq!(refused(&datagram(53, 0)), Reason::Short);
}

#[test]
fn header_checksum_by_what_the_nic_said() {
    let good = datagram(1, 2);
    let mut bad = good.clone();
    bad[14 + 8] ^= 1; // the TTL
    let outcome = |frame: &[u8], said| parse(frame, Zone(0), said).map(|_| ());
    use RxChecksum::{Bad, Good, Unknown};
    let table = [
        (&good, Unknown, Ok(())),
        (&good, Good, Ok(())),
        (&good, Bad, Err(Reason::ProtoCksum)),
        (&bad, Unknown, Err(Reason::ProtoCksum)),
        (&bad, Good, Ok(())),
        (&bad, Bad, Err(Reason::ProtoCksum)),
    ];
    for (frame, said, expected) in table {
        assert_eq!(outcome(frame, said), expected, "{said:?}");
    }
    // IPv6 has no header checksum: what a NIC says of one means nothing.
    let six = frame6(&[], Proto(253), &[]);
    assert_eq!(outcome(&six, Bad), Ok(()));
}

#[test]
fn at_most_two_tags() {
    let inside = ipv4(&header4(Proto(253)), &[]);
    let two = Tags::Two { outer: Tag { tpid: EtherType::QINQ, tci: 9 }, inner: Tag::vlan(8) };
    let framed = |ether_type| ethernet(two, ether_type, &inside);
    assert_eq!(packet(&framed(EtherType::IPV4)).l3, 22);
    let other = NonIp { ether_type: EtherType::VLAN, l3: 22, group_frame: false };
    assert!(matches!(parsed(&framed(EtherType::VLAN)), Ok(Parsed::NonIp(found)) if found == other));
}

#[test]
fn group_frames_are_told() {
    let mut frame = datagram(1, 2);
    assert!(!packet(&frame).group_frame);
    frame[0] |= 1;
    assert!(packet(&frame).group_frame);
    let mut arp = ethernet(Tags::None, EtherType::ARP, &[]);
    arp[..6].fill(0xff);
    assert!(matches!(parsed(&arp), Ok(Parsed::NonIp(NonIp { group_frame: true, .. }))));
}

#[test]
fn version_of_the_other_family() {
    let four = ethernet(Tags::None, EtherType::IPV4, &ipv6(&[], Proto(253), &[]));
    let six = ethernet(Tags::None, EtherType::IPV6, &ipv4(&header4(Proto(253)), &[0; 40]));
    assert_eq!([refused(&four), refused(&six)], [Reason::Normalize; 2]);
}

#[test]
fn extension_headers() {
    let routing = |kind| [Extension::Routing { kind, segments_left: 0, data: &[0; 4] }];
    let hop = Extension::HopByHop(&[1, 4, 0, 0, 0, 0]);
    let dst = Extension::DstOpts(&[1, 4, 0, 0, 0, 0]);
    let framed = |extensions: &[Extension<'_>]| frame6(extensions, Proto(253), &[]);
    assert!(packet(&framed(&routing(2))).options);
    assert_eq!(refused(&framed(&routing(0))), Reason::IpOption, "RFC 5095");
    assert!(packet(&framed(&[hop, dst])).options);
    assert_eq!(refused(&framed(&[dst, hop])), Reason::IpOption);
    let most = wire::ipv6::EXTENSIONS_MAX;
    assert!(packet(&framed(&vec![dst; most])).options);
    assert_eq!(refused(&framed(&vec![dst; most + 1])), Reason::IpOption);
    assert!(!packet(&framed(&[])).options);
    let auth = Extension::Auth(&[0; 10]);
    assert!(!packet(&framed(&[auth])).options, "allow-opts is not about authentication headers");
}

#[test]
fn two_fragment_headers() {
    let part = |offset, more| Extension::Fragment(Fragment { ident: 1, offset, more });
    let atomic = frame6(&[part(0, false)], Proto(253), &[0; 16]);
    assert_eq!(packet(&atomic).transport, engine::Transport::Other);
    let nested = frame6(&[part(0, false), part(8, false)], Proto(253), &[0; 16]);
    assert_eq!(refused(&nested), Reason::Fragment, "CVE-2023-4809");
}

#[test]
fn malformed_ipv4_options() {
    let with = |octets: &[u8]| {
        let options = OptionsBuf::of(wire::ipv4::Options::new(octets));
        frame4(&wire::ipv4::Repr { options, ..header4(Proto(253)) }, &[])
    };
    for octets in [[148, 4, 0, 0], [7, 3, 4, 0], [0, 0, 0, 0], [1, 1, 1, 1]] {
        assert!(packet(&with(&octets)).options, "{octets:?}");
    }
    for octets in [[148, 0, 0, 0], [148, 1, 0, 0], [148, 5, 0, 0], [1, 1, 1, 148]] {
        assert_eq!(refused(&with(&octets)), Reason::IpOption, "{octets:?}");
    }
}

/// pf.conf(5) `allow-opts`: a router alert is allowed where the protocol demands one, and nowhere else.
#[test]
fn router_alert() {
    let mut alert = OptionsBuf::EMPTY;
    alert.push(OptionKind::ROUTER_ALERT, &[0, 0]).unwrap();
    let mut two = alert;
    two.push(OptionKind(30), &[]).unwrap();
    let group = "224.0.0.251".parse().unwrap();
    let igmp = |ttl, dst, options| {
        let header = wire::ipv4::Repr { ttl, dst, options, ..header4(Proto::IGMP) };
        packet(&frame4(&header, &[0x16, 0, 0, 0, 224, 0, 0, 251])).options
    };
    assert!(!igmp(1, group, alert));
    assert!(!igmp(1, group, OptionsBuf::EMPTY));
    assert!(igmp(2, group, alert), "not from a neighbour");
    assert!(igmp(1, DST4, alert), "not to a group");
    assert!(igmp(1, group, two), "another option beside");
    let udp = wire::ipv4::Repr { ttl: 1, dst: group, options: alert, ..header4(Proto(253)) };
    assert!(packet(&frame4(&udp, &[])).options, "not IGMP");
}

#[test]
fn router_alert_of_listeners() {
    let alert = Extension::HopByHop(&[5, 2, 0, 0, 1, 0]);
    let padding = Extension::HopByHop(&[1, 4, 0, 0, 0, 0]);
    let options = |extension, kind, hop_limit, src: &str| {
        let message = icmp6(&wire::icmp6::Repr::plain(kind, 0), &[0; 16]);
        let mut frame = frame6(&[extension], Proto::ICMP6, &message);
        let mut header = wire::ipv6::Header::at_mut(&mut frame, 14).unwrap();
        header.set_hop_limit(hop_limit);
        header.set_src(src.parse().unwrap());
        packet(&frame).options
    };
    use wire::icmp6::Type;
    assert!(!options(alert, Type::MLD_REPORT, 1, "fe80::1"));
    assert!(options(alert, Type::MLD_REPORT, 2, "fe80::1"), "not from a neighbour");
    assert!(options(alert, Type::MLD_REPORT, 1, "2001:db8::1"), "not link-local");
    assert!(options(padding, Type::MLD_REPORT, 1, "fe80::1"), "nothing but padding");
    assert!(options(alert, Type::ECHO_REQUEST, 1, "fe80::1"), "not for listeners");
}

/// An ICMP error about a fragment names no connection, unless the fragment is a first one.
#[test]
fn quoted_fragments() {
    let exceeded = wire::icmp4::Repr::error(wire::icmp4::Type::TIME_EXCEEDED, 0);
    let about = |fragment_offset, more_fragments| {
        let quoted =
            wire::ipv4::Repr { src: DST4, dst: SRC4, fragment_offset, more_fragments, ..header4(Proto::TCP) };
        frame4(&header4(Proto::ICMP), &icmp4(&exceeded, &ipv4(&quoted, &[1; 8])))
    };
    packet(&about(0, true));
    assert_eq!(refused(&about(8, true)), Reason::Fragment);
    assert_eq!(refused(&about(8, false)), Reason::Fragment);

    let exceeded = wire::icmp6::Repr::plain(wire::icmp6::Type::TIME_EXCEEDED, 0);
    let about = |offset, more| {
        let part = Extension::Fragment(Fragment { ident: 1, offset, more });
        frame6(&[], Proto::ICMP6, &icmp6(&exceeded, &ipv6(&[part], Proto::TCP, &[1; 8])))
    };
    packet(&about(0, true));
    assert_eq!(refused(&about(8, false)), Reason::Fragment);
}

#[test]
fn upper_layer_checksums() {
    let verified = |frame: &[u8]| engine::parse::verify_transport(frame, &packet(frame));
    let pair6 = wire::udp::Repr { src_port: Port(1), dst_port: Port(2), ..Default::default() };
    let mut covered6 = frame6(&[], Proto::UDP, &udp(&PSEUDO6, &pair6, b"data"));
    let ping6 = wire::icmp6::Repr::echo(wire::icmp6::Type::ECHO_REQUEST, 1, 1);
    let ping4 = wire::icmp4::Repr::query(wire::icmp4::Type::ECHO_REQUEST, 1, 1);
    let frames = [
        segment(&SEGMENT),
        datagram(1, 2),
        covered6.clone(),
        frame6(&[], Proto::ICMP6, &icmp6(&ping6, b"data")),
        frame4(&header4(Proto::ICMP), &icmp4(&ping4, b"data")),
    ];
    for mut frame in frames {
        assert_eq!(verified(&frame), Ok(()));
        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(verified(&frame), Err(Reason::ProtoCksum));
    }
    // RFC 6935: no checksum, hence no wrong one.
    covered6[14 + 40 + 6..][..2].fill(0);
    assert_eq!(verified(&covered6), Ok(()));
    assert_eq!(packet(&covered6).tuple.dst, DST6.into());
}
