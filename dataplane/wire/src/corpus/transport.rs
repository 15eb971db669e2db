//! TCP with every option, UDP with every form of checksum.

use alloc::vec;
use alloc::vec::Vec;

use super::build::{PSEUDO4, PSEUDO6, frame4, frame6, header4, tcp, udp};
use super::{Named, alloc};
use crate::checksum::Pseudo;
use crate::tcp::{self, OptionsBuf, SackBlock, TcpOption, Timestamps, WindowScale};
use crate::udp::{self, Cover};
use crate::{Checksum, Port, Proto, Seq, TcpFlags};

pub fn packets() -> Vec<Named> {
    [tcp_packets(), tcp_option_packets(), udp_packets()].concat()
}

const ACK: TcpFlags = TcpFlags::ACK;

fn header(flags: TcpFlags) -> tcp::Repr {
    tcp::Repr {
        src_port: Port(49_152),
        dst_port: Port(443),
        seq: Seq(0xffff_fff0),
        ack: if flags.contains(ACK) { Seq(0x0102_0304) } else { Seq(0) },
        flags,
        window: 29_200,
        ..Default::default()
    }
}

fn over4(header: &tcp::Repr, data: &[u8]) -> Vec<u8> {
    frame4(&header4(Proto::TCP), &tcp(&PSEUDO4, header, data))
}

fn over6(header: &tcp::Repr, data: &[u8]) -> Vec<u8> {
    frame6(&[], Proto::TCP, &tcp(&PSEUDO6, header, data))
}

fn tcp_packets() -> Vec<Named> {
    let ecn = TcpFlags::SYN.union(TcpFlags::ECE).union(TcpFlags::CWR);
    vec![
        ("tcp, syn", over4(&header(TcpFlags::SYN), &[])),
        ("tcp, syn|ack", over4(&header(TcpFlags::SYN.union(ACK)), &[])),
        ("tcp, ack", over4(&header(ACK), &[])),
        ("tcp, data", over4(&header(ACK.union(TcpFlags::PSH)), b"GET / HTTP/1.1\r\n\r\n")),
        ("tcp, odd data", over6(&header(ACK.union(TcpFlags::PSH)), b"odd")),
        ("tcp, zero window", over4(&tcp::Repr { window: 0, ..header(ACK) }, &[])),
        ("tcp, fin|ack", over4(&header(TcpFlags::FIN.union(ACK)), &[])),
        ("tcp, rst", over6(&header(TcpFlags::RST), &[])),
        ("tcp, rst|ack", over4(&header(TcpFlags::RST.union(ACK)), &[])),
        ("tcp, urgent", over4(&tcp::Repr { urgent: 1, ..header(ACK.union(TcpFlags::URG)) }, b"!")),
        ("tcp, ecn syn", over4(&header(ecn), &[])),
        ("tcp, accurate ecn syn", over6(&tcp::Repr { reserved: 1, ..header(ecn) }, &[])),
        ("tcp, no flags", over4(&header(TcpFlags(0)), &[])),
        ("tcp, all flags", over4(&header(TcpFlags(0xff)), &[])),
        ("tcp, port 0", over4(&tcp::Repr { src_port: Port(0), dst_port: Port(0), ..header(ACK) }, &[])),
    ]
}

fn options(list: &[TcpOption<'_>]) -> OptionsBuf {
    let mut area = OptionsBuf::EMPTY;
    for option in list {
        area.push(option).expect("the options fit");
    }
    area
}

/// Two octets of padding, timestamps, then SACK blocks, as Linux lays them out.
fn stamps_and_sack(blocks: u32) -> OptionsBuf {
    let mut area = OptionsBuf::EMPTY;
    area.push_nop().and_then(|()| area.push_nop()).expect("the padding fits");
    area.push(&TcpOption::Timestamps(Timestamps { value: 7, echo: 6 })).expect("the timestamps fit");
    area.push_nop().and_then(|()| area.push_nop()).expect("the padding fits");
    let blocks: Vec<_> = (0..blocks)
        .map(|index| Seq(0xffff_ff00).plus(index.wrapping_mul(1000)))
        .map(|left| SackBlock { left, right: left.plus(500) })
        .collect();
    area.push_sack(&blocks).expect("the blocks fit");
    area
}

fn tcp_option_packets() -> Vec<Named> {
    let syn = |options| over4(&tcp::Repr { options, ..header(TcpFlags::SYN) }, &[]);
    let ack = |options| over6(&tcp::Repr { options, ..header(ACK) }, b"data");
    let scale = |shift| TcpOption::WindowScale(WindowScale(shift));
    let stamps = TcpOption::Timestamps(Timestamps { value: 0x0102_0304, echo: 0 });
    let mut padding = OptionsBuf::EMPTY;
    padding.push_nop().expect("the padding fits");
    vec![
        ("tcp, mss", syn(options(&[TcpOption::Mss(1460)]))),
        ("tcp, window scale 7", syn(options(&[scale(7)]))),
        ("tcp, window scale 15", syn(options(&[scale(15)]))),
        ("tcp, sack permitted", syn(options(&[TcpOption::SackPermitted]))),
        ("tcp, timestamps", syn(options(&[stamps]))),
        ("tcp, usual syn", syn(options(&[TcpOption::Mss(1460), TcpOption::SackPermitted, stamps, scale(7)]))),
        ("tcp, no sack block", ack(stamps_and_sack(0))),
        ("tcp, one sack block", ack(stamps_and_sack(1))),
        ("tcp, three sack blocks", ack(stamps_and_sack(3))),
        ("tcp, md5 signature", ack(options(&[TcpOption::Md5(&[0x5a; 16])]))),
        ("tcp, fast open cookie", syn(options(&[TcpOption::Unknown { kind: 34, data: &[1; 8] }]))),
        ("tcp, 40 octets of options", syn(options(&[TcpOption::Unknown { kind: 254, data: &[3; 38] }]))),
        ("tcp, padding alone", syn(padding)),
    ]
}

fn udp_packets() -> Vec<Named> {
    let with = udp::Repr { src_port: Port(123), dst_port: Port(123), cover: Cover::Checksum };
    let without = udp::Repr { cover: Cover::None, ..with };
    let over4 = |header: &udp::Repr, data: &[u8]| frame4(&header4(Proto::UDP), &udp(&PSEUDO4, header, data));
    let over6 = |data: &[u8]| frame6(&[], Proto::UDP, &udp(&PSEUDO6, &with, data));
    let mut trailing = udp(&PSEUDO4, &with, b"data");
    trailing.extend(b"behind the length");
    vec![
        ("udp, checksum", over4(&with, b"data")),
        ("udp, no checksum", over4(&without, b"data")),
        ("udp, no data", over4(&with, &[])),
        ("udp, odd data", over4(&with, b"odd")),
        ("udp, octets behind the length", frame4(&header4(Proto::UDP), &trailing)),
        ("udp, computed checksum zero over ipv4", over4(&with, &balance(&PSEUDO4, &with))),
        ("udp, computed checksum zero over ipv6", over6(&balance(&PSEUDO6, &with))),
        ("udp, over ipv6", over6(b"data")),
    ]
}

/// Two octets of data with which the computed checksum is zero, and all ones is sent.
fn balance(pseudo: &Pseudo, header: &udp::Repr) -> [u8; 2] {
    let Checksum(data) = udp::Header::at(&udp(pseudo, header, &[0, 0]), 0).expect("a header").checksum();
    data
}
