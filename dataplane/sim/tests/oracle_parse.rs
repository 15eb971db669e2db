//! From bytes to the oracle's packet.

mod oracle_support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use oracle_support::{CLIENT, SERVER};
use sim::oracle::{
    Checksum, Icmp, IpOptions, Packet, Part, Quoted, QuotedPart, QuotedTransport, Tcp, Transport, Unparsed,
};
use wire::checksum::Pseudo;
use wire::tcp::{OptionsBuf, TcpOption, WindowScale};
use wire::{Error, Port, Proto, Seq, TcpFlags};

/// An IPv4 packet of these words of fragment field and options, header checksum left 0: nobody here looks at it.
fn v4(proto: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (CLIENT, SERVER) else {
        unreachable!("both are IPv4 addresses")
    };
    let header = 20 + options.len();
    let mut bytes = vec![0x40 | (header / 4) as u8, 0];
    bytes.extend(((header + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, proto, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(options);
    bytes.extend(payload);
    bytes
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend(address(2).octets());
    bytes.extend(address(3).octets());
    bytes.extend(payload);
    bytes
}

fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

const UDP: [u8; 8] = [0x14, 0xe9, 0, 53, 0, 8, 0, 0];

fn udp() -> Transport {
    Transport::Udp { source_port: Port(5353), destination_port: Port(53) }
}

fn segment() -> Vec<u8> {
    let mut options = OptionsBuf::EMPTY;
    options.push(&TcpOption::WindowScale(WindowScale(7))).unwrap();
    let repr = wire::tcp::Repr {
        src_port: Port(40_000),
        dst_port: Port(80),
        seq: Seq(1000),
        ack: Seq(77),
        reserved: 0,
        flags: TcpFlags::SYN,
        window: 512,
        urgent: 0,
        options,
    };
    let mut bytes = vec![0; 24 + 5];
    let pseudo = Pseudo::of(CLIENT, SERVER).unwrap();
    repr.emit(&pseudo, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_segment_with_what_tracking_needs() {
    let bytes = v4(6, 0, &[], &segment());
    let expected = Tcp {
        source_port: Port(40_000),
        destination_port: Port(80),
        flags: TcpFlags::SYN,
        seq: Seq(1000),
        ack: Seq(77),
        window: 512,
        payload: 5,
        wscale: Some(7),
        stamps: None,
        checksum: Checksum::Good,
    };
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.transport, Transport::Tcp(expected));
    assert_eq!((packet.source, packet.destination, packet.ttl, packet.length), (CLIENT, SERVER, 64, 49));
    assert_eq!((packet.options, packet.part), (IpOptions::Absent, Part::Whole));
    let mut wrong = bytes.clone();
    wrong[20 + 4] ^= 1;
    let Transport::Tcp(tcp) = Packet::parse(&wrong).unwrap().transport else { panic!("it is TCP") };
    assert_eq!(tcp.checksum, Checksum::Bad);
    // Padding of the link does not count.
    let mut padded = bytes;
    padded.extend([0; 9]);
    assert_eq!(Packet::parse(&padded).unwrap(), packet);
}

#[test]
fn every_truncation_is_refused() {
    let whole = v4(6, 0, &[], &segment());
    for length in 0..whole.len() {
        assert!(Packet::parse(&whole[..length]).is_err(), "{length} octets");
    }
    assert_eq!(Packet::parse(&[]), Err(Unparsed(Error::Short)));
    assert_eq!(Packet::parse(&[0x50; 60]), Err(Unparsed(Error::Version)));
}

#[test]
fn options_that_need_leave_and_those_that_do_not() {
    let alert = [0x94, 4, 0, 0];
    let other = [7, 4, 4, 0];
    let parse = |proto, options: &[u8]| Packet::parse(&v4(proto, 0, options, &UDP)).unwrap().options;
    assert_eq!(parse(17, &[]), IpOptions::Absent);
    assert_eq!(parse(17, &other), IpOptions::Present);
    assert_eq!(parse(17, &alert), IpOptions::Present);
    assert_eq!(parse(2, &alert), IpOptions::Absent, "IGMP carries it by right");
    assert_eq!(parse(2, &other), IpOptions::Present);
    // IPv6: hop-by-hop with padding, then destination options, in front of UDP.
    let behind = |next: u8, content: [u8; 6], upper: &[u8]| [&[next, 0], &content[..], upper].concat();
    let padding = [1, 4, 0, 0, 0, 0];
    let parse = |bytes: Vec<u8>| Packet::parse(&bytes).unwrap().options;
    assert_eq!(parse(v6(17, &UDP)), IpOptions::Absent);
    assert_eq!(parse(v6(0, &behind(17, padding, &UDP))), IpOptions::Present);
    assert_eq!(parse(v6(60, &behind(17, padding, &UDP))), IpOptions::Present);
    let report = [143, 0, 0, 0, 0, 0, 0, 0];
    let alert = [5, 2, 0, 0, 1, 0];
    assert_eq!(parse(v6(0, &behind(58, alert, &report))), IpOptions::Absent, "MLD carries it by right");
    assert_eq!(parse(v6(0, &behind(58, padding, &report))), IpOptions::Present);
}

#[test]
fn of_a_fragment_only_the_ip_header_is_read() {
    for fragment in [0x2000, 0x0001, 0x2003] {
        let packet = Packet::parse(&v4(17, fragment, &[], &[1])).unwrap();
        assert_eq!((packet.part, packet.transport), (Part::Fragment, Transport::Other(Proto::UDP)));
    }
    let packet = Packet::parse(&v4(17, 0x4000, &[], &UDP)).unwrap();
    assert_eq!((packet.part, packet.transport), (Part::Whole, udp()));
    let header = [17, 0, 0, 1, 0, 0, 0, 9];
    let packet = Packet::parse(&v6(44, &[&header[..], &UDP].concat())).unwrap();
    assert_eq!((packet.part, packet.length), (Part::Fragment, 56));
}

#[test]
fn icmp_with_what_it_is_about() {
    let icmp = |bytes: Vec<u8>| match Packet::parse(&bytes).unwrap().transport {
        Transport::Icmp(icmp) | Transport::Icmp6(icmp) => icmp,
        other => panic!("{other:?} is not ICMP"),
    };
    let echo = [8, 0, 0, 0, 0x12, 0x34, 0, 1];
    assert_eq!(icmp(v4(1, 0, &[], &echo)), Icmp { kind: 8, id: 0x1234, ..Icmp::default() });
    let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
    solicitation.extend(address(9).octets());
    assert_eq!(icmp(v6(58, &solicitation)).target, Some(address(9)));

    let error = |quoted: &[u8]| icmp(v4(1, 0, &[], &[&[3, 1, 0, 0, 0, 0, 0, 0], quoted].concat())).quoted;
    let about = |transport, part| Some(Quoted { source: CLIENT, destination: SERVER, part, transport });
    let known = QuotedTransport::Udp { source_port: Port(5353), destination_port: Port(53) };
    assert_eq!(error(&v4(17, 0, &[], &UDP)), about(known, QuotedPart::First));
    let segment = &segment()[..8];
    let known =
        QuotedTransport::Tcp { source_port: Port(40_000), destination_port: Port(80), seq: Seq(1000) };
    assert_eq!(error(&v4(6, 0, &[], segment)), about(known, QuotedPart::First), "eight octets are enough");
    assert_eq!(error(&v4(6, 0, &[], &segment[..7])), None);
    assert_eq!(
        error(&v4(1, 0, &[], &echo)),
        about(QuotedTransport::Icmp { kind: 8, id: 0x1234 }, QuotedPart::First)
    );
    let later = QuotedTransport::Other(Proto::UDP);
    assert_eq!(error(&v4(17, 5, &[], &UDP)), about(later, QuotedPart::Later));
    assert_eq!(error(&[]), None);
    assert_eq!(error(&[Ipv4Addr::LOCALHOST.octets(), [0; 4]].concat()), None);
}
