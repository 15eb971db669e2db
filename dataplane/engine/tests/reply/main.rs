//! From a blocked frame to its answer.

mod amplification;
mod icmp;
mod refusals;
mod tcp;

use engine::reply::{Endpoints, NoReply, Problem, icmp_error, rst};
use engine::{Frame, NoRoom, Packet, Parsed, RxChecksum, Zone, parse};
use wire::corpus::build::{PSEUDO4, PSEUDO6};
use wire::corpus::build::{ethernet, header4, ipv4, ipv6, tcp as build_tcp};
use wire::ethernet::{Tag, Tags};
use wire::{Af, EtherType, Port, Proto, Seq, TcpFlags};

/// Every way to tag a frame.
const TAGS: [Tags; 3] = [
    Tags::None,
    Tags::One(Tag { tpid: EtherType::VLAN, tci: 0xa064 }),
    Tags::Two {
        outer: Tag { tpid: EtherType::QINQ, tci: 7 },
        inner: Tag { tpid: EtherType::VLAN, tci: 100 },
    },
];

const FAMILIES: [Af; 2] = [Af::Inet, Af::Inet6];

/// A segment to be blocked: from port 49152 to 443, sequence number just in front of the wrap.
const SEGMENT: wire::tcp::Repr = wire::tcp::Repr {
    src_port: Port(49_152),
    dst_port: Port(443),
    seq: Seq(0xffff_fffe),
    ack: Seq(0x0102_0304),
    reserved: 0,
    flags: TcpFlags::ACK,
    window: 29_200,
    urgent: 0,
    options: wire::tcp::OptionsBuf::EMPTY,
};

/// A frame with a packet of the family, between the addresses of the corpus.
fn framed(af: Af, tags: Tags, proto: Proto, payload: &[u8]) -> Vec<u8> {
    match af {
        Af::Inet => ethernet(tags, EtherType::IPV4, &ipv4(&header4(proto), payload)),
        Af::Inet6 => ethernet(tags, EtherType::IPV6, &ipv6(&[], proto, payload)),
    }
}

fn segment(af: Af, tags: Tags, header: &wire::tcp::Repr, data: &[u8]) -> Vec<u8> {
    let pseudo = if af == Af::Inet { &PSEUDO4 } else { &PSEUDO6 };
    framed(af, tags, Proto::TCP, &build_tcp(pseudo, header, data))
}

/// The packet in a frame.
fn packet(frame: &[u8]) -> Packet {
    match parse(frame, Zone(0), RxChecksum::Unknown) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("no packet: {other:?}"),
    }
}

/// Port unreachable, in the packet's family.
fn unreachable(af: Af) -> Problem {
    Problem::Unreachable { code: if af == Af::Inet { 3 } else { 4 } }
}

/// Both answers to a frame that has only one checksum status and two known end points.
fn answers(frame: &[u8]) -> [Result<Vec<u8>, NoReply>; 2] {
    let packet = packet(frame);
    let (mut reset, mut error) = (frame.to_vec(), frame.to_vec());
    [
        rst(&mut reset, &packet, Endpoints::Stations, 0).map(|()| reset),
        icmp_error(&mut error, &packet, Endpoints::Stations, None, unreachable(packet.tuple.af))
            .map(|()| error),
    ]
}

/// Whether a buffer has room around its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Room {
    Enough,
    None,
}

/// A frame in a buffer of a NIC, which said something of its checksums.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Buffer {
    octets: Vec<u8>,
    room: Room,
    ip: RxChecksum,
    l4: RxChecksum,
}

impl Buffer {
    /// With room, and nothing said of checksums.
    fn of(frame: &[u8]) -> Self {
        Self { octets: frame.to_vec(), room: Room::Enough, ip: RxChecksum::Unknown, l4: RxChecksum::Unknown }
    }

    fn grow(&mut self, how: impl FnOnce(&mut Vec<u8>) -> Result<(), NoRoom>) -> Result<(), NoRoom> {
        if self.room == Room::None { Err(NoRoom) } else { how(&mut self.octets) }
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.octets
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.octets
    }
    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.grow(|octets| octets.prepend(count))
    }
    fn trim_front(&mut self, count: usize) {
        self.octets.trim_front(count);
    }
    fn truncate(&mut self, length: usize) {
        self.octets.truncate(length);
    }
    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        self.grow(|octets| Frame::append(octets, count))
    }
    fn ip_checksum(&self) -> RxChecksum {
        self.ip
    }
    fn l4_checksum(&self) -> RxChecksum {
        self.l4
    }
}
