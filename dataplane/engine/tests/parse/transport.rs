//! What names a connection: ports, identifiers, quotes.

use engine::{Transport, Tuple, Zone};
use wire::corpus::build::{DST4, DST6, PSEUDO4, SRC4, SRC6, frame4, frame6, header4, icmp4, icmp6};
use wire::corpus::build::{ipv4, ipv6, tcp, udp};
use wire::tcp::{OptionsBuf, TcpOption, WindowScale};
use wire::{Af, Port, Proto, Seq, TcpFlags};

use crate::packet;

/// The tuple of a packet in the corpus's direction.
fn forward(af: Af, proto: Proto, sport: u16, dport: u16) -> Tuple {
    let (src, dst) = match af {
        Af::Inet => (SRC4.into(), DST4.into()),
        Af::Inet6 => (SRC6.into(), DST6.into()),
    };
    Tuple { af, proto, zone: Zone(7), src, dst, sport: Port(sport), dport: Port(dport) }
}

#[test]
fn icmp_queries_have_identifier_and_request_type_for_ports() {
    for (request, reply) in [(8, 0), (13, 14), (15, 16), (17, 18)] {
        let query = |kind| {
            let header = wire::icmp4::Repr::query(wire::icmp4::Type(kind), 0x77, 3);
            packet(&frame4(&header4(Proto::ICMP), &icmp4(&header, &[0; 12])))
        };
        assert_eq!(query(request).tuple, forward(Af::Inet, Proto::ICMP, 0x77, request.into()));
        assert_eq!(query(reply).tuple, forward(Af::Inet, Proto::ICMP, request.into(), 0x77));
        assert_eq!(query(reply).transport, Transport::IcmpQuery { kind: reply, code: 0 });
    }
    for (kind, sport, dport) in [(128, 0x77, 128), (129, 128, 0x77)] {
        let header = wire::icmp6::Repr::echo(wire::icmp6::Type(kind), 0x77, 3);
        let echo = packet(&frame6(&[], Proto::ICMP6, &icmp6(&header, b"")));
        assert_eq!(echo.tuple, forward(Af::Inet6, Proto::ICMP6, sport, dport));
        assert_eq!(echo.transport, Transport::IcmpQuery { kind, code: 0 });
    }
}

/// A state of such a message matches in its own direction only: the reverse of its tuple is no packet's.
#[test]
fn other_icmp_messages_have_their_type() {
    for kind in [5, 9, 10, 99] {
        let header = wire::icmp4::Repr::error(wire::icmp4::Type(kind), 1);
        let other = packet(&frame4(&header4(Proto::ICMP), &icmp4(&header, &[0; 28])));
        assert_eq!(other.tuple, forward(Af::Inet, Proto::ICMP, 0, kind.into()));
        assert_eq!(other.transport, Transport::IcmpOther { kind, code: 1 });
    }
    for kind in [0, 5, 127, 130, 135, 137, 139, 200] {
        let header = wire::icmp6::Repr::plain(wire::icmp6::Type(kind), 1);
        let other = packet(&frame6(&[], Proto::ICMP6, &icmp6(&header, &[0; 28])));
        assert_eq!(other.tuple, forward(Af::Inet6, Proto::ICMP6, 0, kind.into()));
        assert_eq!(other.transport, Transport::IcmpOther { kind, code: 1 });
    }
}

#[test]
fn icmp_of_the_other_family_is_no_icmp() {
    let ping = [8, 0, 0, 0, 0, 1, 0, 1];
    let four = packet(&frame4(&header4(Proto::ICMP6), &ping));
    let six = packet(&frame6(&[], Proto::ICMP, &ping));
    assert_eq!(four.tuple, forward(Af::Inet, Proto::ICMP6, 0, 0));
    assert_eq!(six.tuple, forward(Af::Inet6, Proto::ICMP, 0, 0));
    assert_eq!([four.transport, six.transport], [Transport::Other; 2]);
}

#[test]
fn sctp_has_ports() {
    let header = [0x12, 0x34, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0];
    let sctp = packet(&frame4(&header4(Proto::SCTP), &header));
    assert_eq!(sctp.tuple, forward(Af::Inet, Proto::SCTP, 0x1234, 80));
    assert_eq!(sctp.transport, Transport::Other);
    assert_eq!(crate::refused(&frame4(&header4(Proto::SCTP), &header[..11])), ruleset::Reason::Short);
}

/// Of each protocol, what an error quotes is the tuple of the packet itself, from its sender's view.
#[test]
fn quotes_are_the_tuples_of_what_they_quote() {
    let segment = wire::tcp::Repr { src_port: Port(1), dst_port: Port(2), seq: Seq(9), ..Default::default() };
    let datagram = wire::udp::Repr { src_port: Port(3), dst_port: Port(4), ..Default::default() };
    let ping4 = wire::icmp4::Repr::query(wire::icmp4::Type::ECHO_REQUEST, 5, 6);
    let ping6 = wire::icmp6::Repr::echo(wire::icmp6::Type::ECHO_REPLY, 5, 6);
    let quoted = [
        ipv4(&header4(Proto::TCP), &tcp(&PSEUDO4, &segment, b"")),
        ipv4(&header4(Proto::UDP), &udp(&PSEUDO4, &datagram, b"")),
        ipv4(&header4(Proto::ICMP), &icmp4(&ping4, b"")),
        ipv4(&header4(Proto::SCTP), &[0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]),
        ipv4(&header4(Proto(253)), b""),
    ];
    for inner in quoted {
        let direct =
            packet(&wire::corpus::build::ethernet(Default::default(), wire::EtherType::IPV4, &inner));
        let error = wire::icmp4::Repr::fragmentation_needed(1300);
        // 8 octets of the upper layer are enough.
        let quote = &inner[..inner.len().min(28)];
        let about = packet(&frame4(&header4(Proto::ICMP), &icmp4(&error, quote)));
        let Transport::IcmpError { kind: 3, code: 4, quoted } = about.transport else {
            panic!("{:?}", about.transport)
        };
        assert_eq!(quoted.tuple, direct.tuple);
        assert_eq!(quoted.seq, if direct.tuple.proto == Proto::TCP { Seq(9) } else { Seq(0) });
        assert_eq!(about.tuple, forward(Af::Inet, Proto::ICMP, 0, 0));
    }
    let inner = ipv6(&[], Proto::ICMP6, &icmp6(&ping6, b""));
    let error = wire::icmp6::Repr::packet_too_big(1280);
    let about = packet(&frame6(&[], Proto::ICMP6, &icmp6(&error, &inner)));
    let Transport::IcmpError { kind: 2, code: 0, quoted } = about.transport else {
        panic!("{:?}", about.transport)
    };
    assert_eq!(quoted.tuple, forward(Af::Inet6, Proto::ICMP6, 128, 5));
}

/// The shift in a SYN whose option area holds these octets.
fn wscale(flags: TcpFlags, options: OptionsBuf) -> Option<u8> {
    let header =
        wire::tcp::Repr { src_port: Port(1), dst_port: Port(2), flags, options, ..Default::default() };
    match packet(&frame4(&header4(Proto::TCP), &tcp(&PSEUDO4, &header, b""))).transport {
        Transport::Tcp(segment) => segment.wscale,
        other => panic!("{other:?}"),
    }
}

#[test]
fn window_scale() {
    let with = |shifts: &[u8]| {
        let mut options = OptionsBuf::EMPTY;
        for shift in shifts {
            options.push(&TcpOption::WindowScale(WindowScale(*shift))).unwrap();
        }
        options
    };
    assert_eq!(wscale(TcpFlags::SYN, with(&[])), None);
    assert_eq!(wscale(TcpFlags::SYN, with(&[0])), Some(0));
    assert_eq!(wscale(TcpFlags::SYN, with(&[14])), Some(14));
    assert_eq!(wscale(TcpFlags::SYN, with(&[15])), Some(14), "RFC 7323 §2.3");
    assert_eq!(wscale(TcpFlags::SYN, with(&[255])), Some(14));
    assert_eq!(wscale(TcpFlags::SYN.union(TcpFlags::ACK), with(&[7])), Some(7));
    assert_eq!(wscale(TcpFlags::ACK, with(&[7])), None, "RFC 7323 §2.1: in a SYN only");
    assert_eq!(wscale(TcpFlags::SYN, with(&[3, 9])), Some(9), "the hosts go by the last one");
}

#[test]
fn window_scale_in_malformed_options() {
    let raw = |octets: &[u8]| OptionsBuf::of(wire::tcp::Options::new(octets));
    assert_eq!(wscale(TcpFlags::SYN, raw(&[3, 3, 5, 8, 0, 0, 0, 0])), Some(5), "in front of the fault");
    assert_eq!(wscale(TcpFlags::SYN, raw(&[8, 0, 3, 3, 5, 0, 0, 0])), None, "behind the fault");
    assert_eq!(wscale(TcpFlags::SYN, raw(&[0, 3, 3, 5])), None, "behind the end of the list");
}
