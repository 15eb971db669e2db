//! Packets of many connections, without memory of its own: whatever a packet says follows from its connection's number
//! and a clock, so that the source costs no cache lines.
//!
//! TCP's sequence numbers advance with the clock at both ends, slowly enough that a connection which was not heard of for
//! sixty times its turn still fits its window.

use core::net::{Ipv4Addr, Ipv6Addr};

use dpdk::{Burst, Mbuf};
use wire::{Checksum, EtherType, Proto, TcpFlags, ethernet, ipv4, ipv6, tcp};

use crate::bed::Bed;
use crate::flows::{Choice, Flows};
use crate::network::{CLIENT_SIDE, SERVER_SIDE, SideOf};

/// What connections are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv4.
    Udp4,
    /// TCP over IPv6.
    Tcp6,
}

impl Traffic {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Tcp4, Self::Udp4, Self::Tcp6];

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp4 => "tcp4",
            Self::Udp4 => "udp4",
            Self::Tcp6 => "tcp6",
        }
    }

    const fn transport(self) -> Proto {
        match self {
            Self::Tcp4 | Self::Tcp6 => Proto::TCP,
            Self::Udp4 => Proto::UDP,
        }
    }

    const fn transport_at(self) -> usize {
        match self {
            Self::Tcp4 | Self::Udp4 => ethernet::HEADER_LEN + ipv4::HEADER_LEN,
            Self::Tcp6 => ethernet::HEADER_LEN + ipv6::HEADER_LEN,
        }
    }

    const fn frame_len(self) -> usize {
        match self {
            // 64 bytes with the check sequence, the shortest that Ethernet has.
            Self::Tcp4 | Self::Udp4 => 60,
            Self::Tcp6 => 80,
        }
    }
}

/// The end that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The end that opened the connection.
    Client,
    /// The other.
    Server,
}

impl Sender {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Where in its life a TCP connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The client's first packet.
    Open,
    /// The server's answer.
    Answer,
    /// Anything after.
    Data,
}

const SERVER_PORT: u16 = 443;
const WINDOW_SHIFT: u8 = 7;
/// pf accepts an acknowledgment of up to 67,035 octets that it has not seen; a connection whose turn comes 60 times too
/// late is to stay below.
const OCTETS_PER_ROUND: u64 = 66_000 / 60;

/// How long frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// All as short as they can be.
    Least,
    /// The "simple IMIX": of twelve frames seven of 64, four of 594 and one of 1518 bytes, check sequences included.
    Imix,
}

/// What follows the headers, for frames that have 60 bytes without it to have 60, 590 and 1514.
const PAYLOADS: [usize; 3] = [0, 530, 1454];
/// The payloads of twelve frames.
const IMIX: [usize; 12] = [0, 1, 0, 0, 1, 0, 2, 0, 1, 0, 0, 1];

/// A source of connections.
#[derive(Clone, Debug)]
pub struct Source {
    traffic: Traffic,
    flows: Flows,
    sizes: Sizes,
    /// Which frame of the mix is next.
    turn: usize,
    /// Octets that every end has sent, times 2^32.
    clock: u64,
    per_packet: u64,
    /// By sender, the bits that the destination's address has besides, over IPv4.
    beyond: [u32; 2],
    /// By sender, then by payload.
    templates: [[Template; PAYLOADS.len()]; 2],
}

/// What is the same in the frames of all connections.
#[derive(Clone, Debug)]
struct Template {
    headers: Vec<u8>,
    /// The one's complement sum of the IPv4 header, without its addresses.
    sum: u32,
    /// Zeros that follow.
    payload: usize,
}

impl Source {
    /// A source whose connections are numbered from 0.
    pub fn new(traffic: Traffic, connections: u64) -> Self {
        let templates = [Sender::Client, Sender::Server]
            .map(|sender| PAYLOADS.map(|payload| Template::new(traffic, sender, payload)));
        let flows = Flows::new(connections);
        let per_packet = octets_per_packet(&flows);
        Self { traffic, flows, sizes: Sizes::Least, turn: 0, clock: 0, per_packet, beyond: [0; 2], templates }
    }

    /// The same over IPv4 for a firewall with the rules [`TRANSLATING`]: servers know clients by other addresses.
    pub fn translated(self) -> Self {
        Self { beyond: [0, 0x0100_0000], ..self }
    }

    /// Spreads packets over connections in another way from now on.
    pub fn set_choice(&mut self, choice: Choice) {
        self.flows.set_choice(choice);
        self.per_packet = octets_per_packet(&self.flows);
    }

    /// Makes frames of other lengths from now on.
    pub const fn set_sizes(&mut self, sizes: Sizes) {
        self.sizes = sizes;
    }

    /// How many connections.
    pub const fn connections(&self) -> u64 {
        self.flows.count()
    }

    /// What they are made of.
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Receives a full burst of data packets from one side, each of a connection chosen at random. By itself, so that it is the
    /// same code and costs the same whatever is done to the packets then.
    #[inline(never)]
    pub fn receive(&mut self, bed: &Bed, burst: &mut Burst, sender: Sender) {
        bed.receive(burst, |mbuf| self.write_any(mbuf, sender));
    }

    /// Writes a data packet of a connection chosen at random.
    #[inline(always)]
    pub fn write_any(&mut self, buffer: &mut impl Buffer, sender: Sender) {
        let connection = self.flows.draw();
        self.write_data(buffer, connection, sender);
    }

    /// Writes a data packet of one connection.
    #[inline(always)]
    pub fn write_data(&mut self, buffer: &mut impl Buffer, connection: u64, sender: Sender) {
        self.clock = self.clock.wrapping_add(self.per_packet);
        match self.sizes {
            Sizes::Least => self.write_frame::<false>(buffer, connection, (sender, Step::Data), 0),
            Sizes::Imix => {
                self.turn = if self.turn + 1 < IMIX.len() { self.turn + 1 } else { 0 };
                self.write_frame::<true>(buffer, connection, (sender, Step::Data), IMIX[self.turn]);
            }
        }
    }

    /// Writes the shortest packet of one connection.
    ///
    /// # Panics
    /// If the buffer has no room for 80 bytes.
    #[inline(always)]
    pub fn write(&self, buffer: &mut impl Buffer, connection: u64, sender: Sender, step: Step) {
        self.write_frame::<false>(buffer, connection, (sender, step), 0);
    }

    /// Writes a frame, with a payload if there may be one.
    #[inline(always)]
    fn write_frame<const MIXED: bool>(
        &self,
        buffer: &mut impl Buffer,
        connection: u64,
        (sender, step): (Sender, Step),
        payload: usize,
    ) {
        let template = &self.templates[sender as usize][payload];
        match self.traffic {
            Traffic::Tcp4 | Traffic::Udp4 => {
                let frame: &mut [u8; 60] = put::<MIXED, _>(buffer, template);
                let [source, destination] = ends4(connection, sender);
                let destination = destination | self.beyond[sender as usize];
                frame[26..30].copy_from_slice(&source.to_be_bytes());
                frame[30..34].copy_from_slice(&destination.to_be_bytes());
                let sum = checksum(template.sum, source, destination);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
                self.write_transport(&mut frame[34..], connection, sender, step);
            }
            Traffic::Tcp6 => {
                let frame: &mut [u8; 80] = put::<MIXED, _>(buffer, template);
                let [source, destination] = ends6(connection, sender);
                frame[22..38].copy_from_slice(&source.to_be_bytes());
                frame[38..54].copy_from_slice(&destination.to_be_bytes());
                self.write_transport(&mut frame[54..], connection, sender, step);
            }
        }
    }

    /// The number of the connection that a frame of its client is of, as long as there are fewer than 2^24.
    pub fn connection_of(&self, frame: &[u8]) -> u64 {
        // The lower octets of the client's address.
        let at = if self.traffic == Traffic::Tcp6 { 35 } else { 27 };
        frame[at..at + 3].iter().fold(0, |number, octet| number << 8 | u64::from(*octet))
    }

    #[inline(always)]
    fn write_transport(&self, bytes: &mut [u8], connection: u64, sender: Sender, step: Step) {
        let client = connection as u16 | 1024;
        let ports = match sender {
            Sender::Client => [client, SERVER_PORT],
            Sender::Server => [SERVER_PORT, client],
        };
        bytes[0..2].copy_from_slice(&ports[0].to_be_bytes());
        bytes[2..4].copy_from_slice(&ports[1].to_be_bytes());
        if self.traffic.transport() == Proto::UDP {
            return;
        }
        let [client, server] = initial_sequences(connection);
        let (own, other) = match sender {
            Sender::Client => (client, server),
            Sender::Server => (server, client),
        };
        let sent = (self.clock >> 32) as u32 + 1;
        let (seq, ack, flags, offset) = match step {
            Step::Open => (own, 0, TcpFlags::SYN, 6),
            Step::Answer => (own, other.wrapping_add(1), TcpFlags::SYN.union(TcpFlags::ACK), 6),
            Step::Data => (own.wrapping_add(sent), other.wrapping_add(sent), TcpFlags::ACK, 5),
        };
        bytes[4..8].copy_from_slice(&seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&ack.to_be_bytes());
        bytes[12] = offset << 4;
        bytes[13] = flags.0;
        if step != Step::Data {
            // RFC 7323 §2.2, behind a no-operation.
            bytes[20..24].copy_from_slice(&[1, 3, 3, WINDOW_SHIFT]);
        }
    }
}

/// How much each end sends with each packet of any connection, times 2^32.
fn octets_per_packet(flows: &Flows) -> u64 {
    (OCTETS_PER_ROUND << 32) / flows.longest_turn() / flows.count().max(1)
}

/// Where a frame is written.
pub trait Buffer {
    /// Puts headers into it, and `payload` octets of anything behind them; it is empty before.
    fn fill<const N: usize>(&mut self, headers: &[u8; N], payload: usize) -> &mut [u8; N];
}

impl Buffer for Mbuf {
    #[inline(always)]
    fn fill<const N: usize>(&mut self, headers: &[u8; N], payload: usize) -> &mut [u8; N] {
        self.extend_from_slice(headers).expect("an empty mbuf has room");
        if payload > 0 {
            self.append(payload).expect("an mbuf has room for a whole frame");
        }
        self.data_mut().first_chunk_mut().expect("as long as what was put in")
    }
}

#[inline(always)]
fn put<'a, const MIXED: bool, const N: usize>(
    buffer: &'a mut impl Buffer,
    template: &Template,
) -> &'a mut [u8; N] {
    let headers: &[u8; N] = template.headers.first_chunk().expect("as long as its traffic's headers");
    buffer.fill(headers, if MIXED { template.payload } else { 0 })
}

/// Rules that give each client another address, in 11/8 or 201/8.
pub const TRANSLATING: &str = "block\npass in\n\
    pass out on em1 inet from 10.0.0.0/8 nat-to 11.0.0.0/8 bitmask static-port\n\
    pass out on em1 inet from 200.0.0.0/8 nat-to 201.0.0.0/8 bitmask static-port\n";

/// Client and server addresses in the order of sending: 10/8 or 200/8, as good as random, so that neither end is always
/// the one with the lower address, and 192.168/16.
#[inline(always)]
fn ends4(connection: u64, sender: Sender) -> [u32; 2] {
    let network = either(connection, 0x0a00_0000, 0xc800_0000);
    let client = network | (connection as u32 & 0x00ff_ffff);
    let server = 0xc0a8_0001 + (connection >> 16) as u32 * 7;
    match sender {
        Sender::Client => [client, server],
        Sender::Server => [server, client],
    }
}

/// As [`ends4`], in 2001:db8:2::/48 or 2001:db8:c::/48, and 2001:db8:5::/48.
#[inline(always)]
fn ends6(connection: u64, sender: Sender) -> [u128; 2] {
    let [client, server] = ends4(connection, Sender::Client);
    let network = either(connection, 0x2001_0db8_0002, 0x2001_0db8_000c);
    let client = network << 80 | client as u128;
    let server = 0x2001_0db8_0005 << 80 | server as u128;
    match sender {
        Sender::Client => [client, server],
        Sender::Server => [server, client],
    }
}

/// One of two, as good as random, without a branch: that would be foreseen in half of the cases.
#[inline(always)]
fn either<T>(connection: u64, one: T, other: T) -> T {
    core::hint::select_unpredictable(initial_sequences(connection)[0] & 1 == 0, one, other)
}

#[inline(always)]
const fn initial_sequences(connection: u64) -> [u32; 2] {
    let mixed = connection.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    [(mixed >> 32) as u32, mixed as u32]
}

/// A header checksum, from the sum of what does not change.
#[inline(always)]
fn checksum(sum: u32, source: u32, destination: u32) -> u16 {
    let words = |address: u32| (address >> 16) + (address & 0xffff);
    let sum = sum + words(source) + words(destination);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !(sum as u16)
}

impl Template {
    fn new(traffic: Traffic, sender: Sender, payload: usize) -> Self {
        let side = match sender {
            Sender::Client => CLIENT_SIDE,
            Sender::Server => SERVER_SIDE,
        };
        let mut headers = vec![0; traffic.frame_len()];
        write_headers(&mut headers, traffic, side, payload).expect("a frame has room for its headers");
        let network = &headers[ethernet::HEADER_LEN..][..ipv4::HEADER_LEN];
        let word = |word: &[u8]| u32::from(u16::from_be_bytes([word[0], word[1]]));
        let sum = network.chunks_exact(2).map(word).sum();
        Self { headers, sum, payload }
    }
}

/// The headers of a frame that the router of this side sends, with `payload` octets behind the frame.
fn write_headers(
    frame: &mut [u8],
    traffic: Traffic,
    side: SideOf,
    payload: usize,
) -> Result<(), wire::Error> {
    let l4 = traffic.transport_at();
    let length = frame.len() + payload - l4;
    let mut link = ethernet::Header::at_mut(frame, 0)?;
    link.set_dst(side.own_mac);
    link.set_src(side.peer_mac);
    if traffic == Traffic::Tcp6 {
        link.set_ether_type(EtherType::IPV6);
        let any = Ipv6Addr::UNSPECIFIED;
        ipv6::Repr::new(any, any, traffic.transport(), length).emit(&mut frame[ethernet::HEADER_LEN..])?;
    } else {
        link.set_ether_type(EtherType::IPV4);
        let any = Ipv4Addr::UNSPECIFIED;
        ipv4::Repr::new(any, any, traffic.transport(), length).emit(&mut frame[ethernet::HEADER_LEN..])?;
        // The checksum is computed anew for each packet, from a sum without one.
        ipv4::Header::at_mut(frame, ethernet::HEADER_LEN)?.set_checksum(Checksum::ZERO);
    }
    match traffic.transport() {
        Proto::UDP => frame[l4 + 4..l4 + 6].copy_from_slice(&(length as u16).to_be_bytes()),
        _ => tcp::Header::at_mut(frame, l4)?.set_window(u16::MAX),
    }
    Ok(())
}
