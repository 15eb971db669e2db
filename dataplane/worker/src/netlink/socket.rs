//! The two netlink sockets: one that is told of changes, one that asks.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
};
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::constants::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt;

use super::event::{Event, Link, event};

/// Room for what the kernel tells before it is read, in bytes: some 50,000 route changes.
const RECEIVE_BUFFER: usize = 16 << 20;

/// The kernel's messages are at most 32 KiB when the reader offers that much.
pub(super) const MESSAGE_BYTES: usize = 64 << 10;

/// Times that a dump is begun again because the tables changed under it, before what it gave is taken as it is: the
/// events that tell the changes follow anyway.
const DUMP_ATTEMPTS: u32 = 5;

/// Multicast groups of rtnetlink(7): links, neighbours, IPv4 addresses and routes, IPv6 addresses and routes.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];

/// The group of shared next hops (`ip nexthop`), which kernels before 5.3 do not have.
const NEXT_HOPS: u32 = 32;

/// Message types RTM_NEWNEXTHOP and RTM_DELNEXTHOP.
const NEXT_HOP_TYPES: [u16; 2] = [104, 105];

/// What the kernel tells.
#[derive(Debug)]
pub enum Told {
    /// Something changed.
    Event(Event),
    /// The socket overflowed: some changes were not told.
    Overrun,
}

/// The socket that is told of changes.
pub struct Monitor {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Subscribes to every change, from now on.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Without the privilege the system's limit holds, and overruns come sooner.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)?;
        }
        socket.bind_auto()?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        if let Err(error) = socket.add_membership(NEXT_HOPS) {
            tracing::debug!(%error, "this kernel has no shared next hops");
        }
        Ok(Self { socket, buffer: Vec::with_capacity(MESSAGE_BYTES) })
    }

    /// Waits for changes and gives each to `take`.
    ///
    /// # Errors
    /// Those of the socket, overruns excepted, which are told.
    pub fn wait(&mut self, take: &mut dyn FnMut(Told)) -> io::Result<()> {
        match receive(&self.socket, &mut self.buffer) {
            Ok(()) => {
                if tells_of_next_hops(&self.buffer) {
                    take(Told::Event(Event::NextHopChanged));
                }
                each_message(&self.buffer, &mut |header, payload| {
                    if let NetlinkPayload::InnerMessage(message) = payload
                        && let Some(event) = event(&header, message)
                    {
                        take(Told::Event(event));
                    }
                });
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.drain()?;
                take(Told::Overrun);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Reads and forgets everything that waits. After an overrun the kernel loses further messages in silence until its
    /// queue was empty once: what is learnt again before that would miss them.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A socket by which the kernel is asked.
pub(super) fn connected(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// Receives one datagram, however often a signal interrupts: drivers of virtual devices use SIGIO.
pub(super) fn receive(socket: &Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    loop {
        buffer.clear();
        match socket.recv(buffer, 0) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Length and type of the message at the beginning of a datagram.
pub(super) fn head(bytes: &[u8]) -> Option<(usize, u16)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (kind, _) = rest.split_first_chunk::<2>()?;
    Some((u32::from_ne_bytes(*length) as usize, u16::from_ne_bytes(*kind)))
}

/// A datagram of these has nothing else in it.
fn tells_of_next_hops(bytes: &[u8]) -> bool {
    head(bytes).is_some_and(|(_, kind)| NEXT_HOP_TYPES.contains(&kind))
}

/// Gives each message of a datagram to `take`; what cannot be decoded is logged and left out.
fn each_message(mut bytes: &[u8], take: &mut dyn FnMut(NetlinkHeader, NetlinkPayload<Message>)) {
    while let Some((length, kind)) = head(bytes).filter(|_| bytes.len() >= 16) {
        if NEXT_HOP_TYPES.contains(&kind) {
            return;
        }
        if length < 16 || length > bytes.len() {
            tracing::warn!(length, "a netlink datagram with a message that does not fit in it");
            return;
        }
        match NetlinkMessage::<Message>::deserialize(&bytes[..length]) {
            Ok(message) => take(message.header, message.payload),
            Err(error) => tracing::warn!(%error, "a netlink message that cannot be decoded"),
        }
        bytes = &bytes[length.next_multiple_of(4).min(bytes.len())..];
    }
}

/// The tables that can be dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Links.
    Links,
    /// Addresses of both families.
    Addresses,
    /// Routes of both families.
    Routes,
    /// Neighbours of both families.
    Neighbors,
}

impl Table {
    fn requests(self) -> Vec<Message> {
        let families = [AddressFamily::Inet, AddressFamily::Inet6];
        match self {
            Self::Links => vec![Message::GetLink(LinkMessage::default())],
            Self::Addresses => vec![Message::GetAddress(AddressMessage::default())],
            Self::Routes => families
                .map(|family| {
                    let mut message = RouteMessage::default();
                    message.header.address_family = family;
                    Message::GetRoute(message)
                })
                .into(),
            Self::Neighbors => families
                .map(|family| {
                    let mut message = NeighbourMessage::default();
                    message.header.family = family;
                    Message::GetNeighbour(message)
                })
                .into(),
        }
    }
}

/// Whether something was made or was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Made now.
    Now,
    /// There before.
    Before,
}

/// The socket that asks.
pub struct Requester {
    socket: Socket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl Requester {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn open() -> io::Result<Self> {
        let socket = connected(NETLINK_ROUTE)?;
        Ok(Self { socket, buffer: Vec::with_capacity(MESSAGE_BYTES), sequence: 0 })
    }

    /// Dumps a table as the events that would have built it.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn dump(&mut self, table: Table) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        for request in table.requests() {
            let begin = events.len();
            for attempt in 1..=DUMP_ATTEMPTS {
                events.truncate(begin);
                let whole = self.dump_once(&request, &mut events)?;
                if whole || attempt == DUMP_ATTEMPTS {
                    break;
                }
            }
        }
        Ok(events)
    }

    /// True if nothing changed during the dump.
    fn dump_once(&mut self, request: &Message, events: &mut Vec<Event>) -> io::Result<bool> {
        let mut whole = true;
        self.converse(request.clone(), NLM_F_DUMP, &mut |header, message| {
            whole &= header.flags & NLM_F_DUMP_INTR == 0;
            events.extend(event(header, message));
        })?;
        Ok(whole)
    }

    /// A link by its name, if there is one.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        let mut found = None;
        let asked = self.converse(Message::GetLink(message), NLM_F_ACK, &mut |header, message| {
            if let Some(Event::Link(link)) = event(header, message) {
                found = Some(link);
            }
        });
        match asked {
            Ok(()) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives a TAP carrier, or takes it away.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn set_carrier(&mut self, name: &str, carrier: bool) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::Carrier(carrier.into()));
        self.command(Message::SetLink(message), 0)
    }

    /// Sets a link's MTU in bytes, and sets it up.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn set_up(&mut self, link: u32, mtu: u16) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.change(message, link, mtu)
    }

    /// Sets a link's MTU in bytes.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn set_mtu(&mut self, link: u32, mtu: u16) -> io::Result<()> {
        self.change(LinkMessage::default(), link, mtu)
    }

    fn change(&mut self, mut message: LinkMessage, link: u32, mtu: u16) -> io::Result<()> {
        message.header.index = link;
        message.attributes.push(LinkAttribute::Mtu(mtu.into()));
        self.command(Message::SetLink(message), 0)
    }

    /// Takes away the XDP program of a link, if it has one.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn detach_xdp(&mut self, link: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = link;
        message.attributes.push(LinkAttribute::Xdp(vec![LinkXdp::Fd(-1)]));
        self.command(Message::SetLink(message), 0)
    }

    /// Has the kernel find a neighbour's Ethernet address, or confirm the one that it has.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn resolve(&mut self, link: u32, address: IpAddr) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = family(&address);
        message.header.ifindex = link;
        message.header.flags = NeighbourFlags::Use;
        message.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(address) => NeighbourAddress::Inet(address),
            IpAddr::V6(address) => NeighbourAddress::Inet6(address),
        }));
        self.command(Message::NewNeighbour(message), NLM_F_CREATE)
    }

    /// Has the kernel drop whatever it would route from the link of this name, before it looks into the main table. The
    /// link need not exist.
    ///
    /// # Errors
    /// Those of the socket and of the kernel.
    pub fn forbid_forwarding(
        &mut self,
        link: &str,
        family: AddressFamily,
        priority: u32,
    ) -> io::Result<Made> {
        let mut message = RuleMessage::default();
        message.header.family = family;
        message.header.action = RuleAction::Blackhole;
        message.attributes.push(RuleAttribute::Iifname(link.into()));
        message.attributes.push(RuleAttribute::Priority(priority));
        match self.command(Message::NewRule(message), NLM_F_CREATE | NLM_F_EXCL) {
            Ok(()) => Ok(Made::Now),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Made::Before),
            Err(error) => Err(error),
        }
    }

    fn command(&mut self, request: Message, flags: u16) -> io::Result<()> {
        self.converse(request, NLM_F_ACK | flags, &mut |_, _| {})
    }

    /// Sends a request and reads the answers to it, to the last.
    fn converse(
        &mut self,
        request: Message,
        flags: u16,
        take: &mut dyn FnMut(&NetlinkHeader, Message),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(request, flags)?;
        loop {
            receive(&self.socket, &mut self.buffer)?;
            let mut end = None;
            each_message(&self.buffer, &mut |header, payload| {
                if header.sequence_number != sequence || end.is_some() {
                    return;
                }
                match payload {
                    NetlinkPayload::InnerMessage(message) => take(&header, message),
                    NetlinkPayload::Done(_) => end = Some(Ok(())),
                    // Code 0 acknowledges.
                    NetlinkPayload::Error(error) => {
                        end = Some(if error.code.is_none() { Ok(()) } else { Err(error.to_io()) });
                    }
                    _ => {}
                }
            });
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn send(&mut self, request: Message, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }
}

fn family(address: &IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
