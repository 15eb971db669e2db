//! RST and challenge ACK: the numbers of RFC 9293 §3.10.7.1, and that nothing of the blocked packet is left.

use engine::reply::{Endpoints, ack, rst, rst_with};
use wire::corpus::build::{DST4, DST6, SRC4, SRC6};
use wire::corpus::{Network, Upper, dissect};
use wire::ethernet::Tags;
use wire::ipv6::Extension;
use wire::{Seq, TcpFlags};

use crate::{Buffer, FAMILIES, Room, SEGMENT, TAGS, packet, segment};

/// Takes an answer apart, checks all that answers have in common (checksums too), and returns its TCP header.
fn header_of(blocked: &[u8], answer: &[u8], ttl: u8) -> wire::tcp::Repr {
    let (before, after) = (dissect(blocked).unwrap(), dissect(answer).unwrap());
    assert_eq!(after.frame.tags(), before.frame.tags());
    assert_eq!(after.frame.header().src(), before.frame.header().dst());
    assert_eq!(after.frame.header().dst(), before.frame.header().src());
    let segment = match after.network {
        Network::Ipv4(ip, _, Upper::Tcp(segment)) => {
            let header = ip.header();
            assert_eq!((header.src(), header.dst()), (DST4, SRC4));
            assert_eq!((header.ttl(), header.ident(), header.tos(), header.header_len()), (ttl, 0, 0, 20));
            assert!(header.dont_fragment());
            assert_eq!(usize::from(header.total_len()), after.frame.payload().len(), "no padding");
            segment
        }
        Network::Ipv6(ip, chain, Upper::Tcp(segment)) => {
            let header = ip.header();
            assert_eq!((header.src(), header.dst()), (DST6, SRC6));
            assert_eq!((header.hop_limit(), header.flow_label(), chain.offset), (ttl, 0, 40));
            assert_eq!(usize::from(header.payload_len()) + 40, after.frame.payload().len(), "no padding");
            segment
        }
        other => panic!("{other:?}"),
    };
    assert!(segment.payload().is_empty() && segment.options().is_empty());
    let header = wire::tcp::Repr::of(&segment);
    assert_eq!((header.src_port, header.dst_port), (SEGMENT.dst_port, SEGMENT.src_port));
    assert_eq!((header.reserved, header.urgent), (0, 0));
    header
}

/// Flags and octets of a blocked segment; flags, SEQ and ACK of the RST, with SEG.SEQ = 2³² − 2 and SEG.ACK = 0x01020304.
#[test]
fn forms() {
    let (syn, fin, psh, ack) = (TcpFlags::SYN, TcpFlags::FIN, TcpFlags::PSH, TcpFlags::ACK);
    let reset = TcpFlags::RST;
    let both = TcpFlags::RST.union(TcpFlags::ACK);
    let zero = Seq(0);
    let table: [(TcpFlags, &[u8], TcpFlags, Seq, Seq); 11] = [
        (syn, b"", both, zero, Seq(0xffff_ffff)),
        (syn, b"fast open", both, zero, Seq(8)),
        (syn.union(fin), b"", both, zero, Seq(0)),
        (TcpFlags(0), b"", both, zero, Seq(0xffff_fffe)),
        (psh, b"data", both, zero, Seq(2)),
        (fin, b"", both, zero, Seq(0xffff_ffff)),
        (ack, b"", reset, SEGMENT.ack, zero),
        (syn.union(ack), b"", reset, SEGMENT.ack, zero),
        (fin.union(ack), b"", reset, SEGMENT.ack, zero),
        (psh.union(ack), b"GET / HTTP/1.1\r\n\r\n", reset, SEGMENT.ack, zero),
        (psh.union(ack), b"o", reset, SEGMENT.ack, zero),
    ];
    for (flags, data, expected, seq, acknowledged) in table {
        for (af, tags) in FAMILIES.into_iter().flat_map(|af| TAGS.map(|tags| (af, tags))) {
            let blocked = segment(af, tags, &wire::tcp::Repr { flags, ..SEGMENT }, data);
            let mut answer = blocked.clone();
            rst(&mut answer, &packet(&blocked), Endpoints::Stations, 0).unwrap();
            let header = header_of(&blocked, &answer, 64);
            let case = format!("{flags} with {} octets, {af:?}, {tags:?}", data.len());
            assert_eq!((header.flags, header.seq, header.ack), (expected, seq, acknowledged), "{case}");
            assert_eq!(header.window, 0, "{case}");
            assert!(answer.len() <= blocked.len(), "{case}");
        }
    }
}

/// pf.conf(5) `return-rst (ttl n)`.
#[test]
fn ttl_of_the_rule() {
    for (asked, expected) in [(0, 64), (1, 1), (255, 255)] {
        for af in FAMILIES {
            let blocked = segment(af, Tags::None, &SEGMENT, b"");
            let packet = packet(&blocked);
            let (mut answer, mut with) = (blocked.clone(), blocked.clone());
            rst(&mut answer, &packet, Endpoints::Stations, asked).unwrap();
            rst_with(&mut with, &packet, Endpoints::Stations, Seq(3), asked).unwrap();
            header_of(&blocked, &answer, expected);
            header_of(&blocked, &with, expected);
        }
    }
}

#[test]
fn in_the_name_of_the_peer() {
    for (af, tags) in FAMILIES.into_iter().flat_map(|af| TAGS.map(|tags| (af, tags))) {
        let blocked = segment(af, tags, &wire::tcp::Repr { flags: TcpFlags::SYN, ..SEGMENT }, b"data");
        let packet = packet(&blocked);
        let (mut reset, mut challenge) = (blocked.clone(), blocked.clone());
        rst_with(&mut reset, &packet, Endpoints::Stations, Seq(77), 0).unwrap();
        ack(&mut challenge, &packet, Endpoints::Stations, Seq(5), Seq(u32::MAX), 1234).unwrap();
        let header = header_of(&blocked, &reset, 64);
        assert_eq!((header.flags, header.seq, header.ack), (TcpFlags::RST, Seq(77), Seq(0)));
        assert_eq!(header.window, 0);
        let header = header_of(&blocked, &challenge, 64);
        assert_eq!((header.flags, header.seq, header.ack), (TcpFlags::ACK, Seq(5), Seq(u32::MAX)));
        assert_eq!(header.window, 1234);
    }
}

/// Options of IP and TCP, extension headers, padding, urgent pointer and type of service do not come back.
#[test]
fn nothing_is_reflected() {
    let mut options = wire::tcp::OptionsBuf::EMPTY;
    options.push(&wire::tcp::TcpOption::Mss(1460)).unwrap();
    let header = wire::tcp::Repr { options, urgent: 9, reserved: 3, ..SEGMENT };
    let mut ip_options = wire::ipv4::OptionsBuf::EMPTY;
    ip_options.push(wire::ipv4::OptionKind::RECORD_ROUTE, &[4, 0, 0, 0, 0]).unwrap();
    let ip = wire::ipv4::Repr {
        options: ip_options,
        tos: 0xff,
        ttl: 3,
        ..wire::corpus::build::header4(wire::Proto::TCP)
    };
    let upper = wire::corpus::build::tcp(&wire::corpus::build::PSEUDO4, &header, b"data");
    let mut four = wire::corpus::build::frame4(&ip, &upper);
    four.extend([0x55; 6]);
    let upper = wire::corpus::build::tcp(&wire::corpus::build::PSEUDO6, &header, b"data");
    let mut six = wire::corpus::build::frame6(&[Extension::DstOpts(&[0; 6])], wire::Proto::TCP, &upper);
    six.extend([0x55; 6]);
    for blocked in [four, six] {
        let mut answer = blocked.clone();
        rst(&mut answer, &packet(&blocked), Endpoints::Stations, 0).unwrap();
        let header = header_of(&blocked, &answer, 64);
        assert_eq!((header.flags, header.seq), (TcpFlags::RST, SEGMENT.ack));
    }
}

/// The answer is a packet that would not be answered in turn: two firewalls fall silent.
#[test]
fn answers_are_not_answered() {
    for af in FAMILIES {
        let mut frame = segment(af, Tags::None, &wire::tcp::Repr { flags: TcpFlags::SYN, ..SEGMENT }, b"");
        let first = packet(&frame);
        rst(&mut frame, &first, Endpoints::Stations, 0).unwrap();
        let before = frame.clone();
        let again = rst(&mut frame, &packet(&before), Endpoints::Stations, 0);
        assert_eq!(again, Err(engine::reply::NoReply::Reset));
        assert_eq!(frame, before);
    }
}

#[test]
fn no_room_is_needed() {
    for af in FAMILIES {
        let blocked = segment(af, Tags::None, &SEGMENT, b"");
        let mut buffer = Buffer { room: Room::None, ..Buffer::of(&blocked) };
        rst(&mut buffer, &packet(&blocked), Endpoints::Stations, 0).unwrap();
        header_of(&blocked, &buffer.octets, 64);
    }
}
