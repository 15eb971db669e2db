//! A host: a real TCP/IP stack (smoltcp) behind one link, and what runs on it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;

use engine::{InterfaceId, Tick};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use wire::checksum::Pseudo;
use wire::corpus::build;
use wire::ethernet::{self, Tags};
use wire::{Af, EtherType, Mac, Proto, ipv4, ipv6, tcp};

use crate::rng::Rng;
use crate::topology;

/// A program on a host. It is called whenever the host has had packets or time has passed.
pub trait Application {
    /// Does what it can do now.
    fn run(&mut self, sockets: &mut SocketSet<'static>, context: &mut Interface, now: Tick);

    /// When it wants to run again without a packet, if ever.
    fn wakes(&self) -> Option<Tick> {
        None
    }

    /// True when it has done all that it is here for.
    fn has_finished(&self, sockets: &SocketSet<'static>) -> bool;

    /// What went wrong, if something did.
    fn failure(&self) -> Option<String> {
        None
    }

    /// How far it is, for failing tests.
    fn describe(&self, sockets: &SocketSet<'static>) -> String;
}

/// The queues between the stack and the link.
#[derive(Debug, Default)]
struct Device {
    received: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
}

/// A host.
pub struct Host {
    interface: InterfaceId,
    station: u8,
    device: Device,
    stack: Interface,
    sockets: SocketSet<'static>,
    applications: Vec<Box<dyn Application>>,
    timestamps: bool,
}

thread_local! {
    /// The clock of the host that runs, in milliseconds: the stack asks for it by a function that knows nothing.
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

fn instant(now: Tick) -> Instant {
    Instant::from_micros((now.0 / 1000) as i64)
}

/// The first moment at which the stack's clock shows `instant`.
fn tick(instant: Instant) -> Tick {
    Tick(instant.total_micros() as u64 * 1000)
}

impl Host {
    /// The station of this number in the network behind an interface, with addresses of both families.
    ///
    /// # Panics
    /// If the stack refuses its addresses.
    pub fn new(interface: InterfaceId, station: u8, rng: &mut Rng) -> Self {
        let mut device = Device::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = rng.next();
        let mut stack = Interface::new(config, &mut device, instant(Tick(0)));
        stack.update_ip_addrs(|addresses| {
            for (af, prefix) in [(Af::Inet, 24), (Af::Inet6, 64)] {
                let own = topology::address(af, interface, station);
                addresses.push(IpCidr::new(own.into(), prefix)).expect("room for two addresses");
            }
        });
        for af in [Af::Inet, Af::Inet6] {
            match topology::address(af, interface, 1) {
                IpAddr::V4(router) => stack.routes_mut().add_default_ipv4_route(router).map(|_| ()),
                IpAddr::V6(router) => stack.routes_mut().add_default_ipv6_route(router).map(|_| ()),
            }
            .expect("room for two routes");
        }
        let sockets = SocketSet::new(Vec::new());
        Self { interface, station, device, stack, sockets, applications: Vec::new(), timestamps: false }
    }

    /// The firewall's interface that it is behind.
    pub const fn interface(&self) -> InterfaceId {
        self.interface
    }

    /// Its own address of a family.
    pub fn address(&self, af: Af) -> IpAddr {
        topology::address(af, self.interface, self.station)
    }

    /// Its Ethernet address.
    pub const fn mac(&self) -> Mac {
        topology::mac(self.interface, self.station)
    }

    /// Has connections that are made from now on offer timestamps (RFC 7323).
    pub const fn use_timestamps(&mut self) {
        self.timestamps = true;
    }

    /// What timestamps are taken from, if connections have some.
    pub(crate) fn clock(&self) -> Option<fn() -> u32> {
        self.timestamps.then_some(|| CLOCK.get())
    }

    /// Adds a socket.
    pub fn open<S: smoltcp::socket::AnySocket<'static>>(&mut self, socket: S) -> SocketHandle {
        self.sockets.add(socket)
    }

    /// Its sockets.
    pub const fn sockets(&mut self) -> &mut SocketSet<'static> {
        &mut self.sockets
    }

    /// Starts a program.
    pub fn start(&mut self, application: impl Application + 'static) {
        self.applications.push(Box::new(application));
    }

    /// A frame arrives.
    pub fn receive(&mut self, frame: &[u8]) {
        if let Ok(frame) = ethernet::Frame::parse(frame) {
            self.device.received.push_back(frame.payload().to_vec());
        }
    }

    /// Lets stack and programs run; returns the frames that they send.
    pub fn run(&mut self, now: Tick) -> Vec<Vec<u8>> {
        // No two hosts have been up for as long; some clocks wrap before a minute has passed.
        CLOCK.set(((now.0 / 1_000_000) as u32).wrapping_sub(u32::from(self.station) * 10_000));
        // Programs react to packets, and packets to programs: until nothing more comes of it.
        loop {
            let before = self.device.sent.len();
            self.stack.poll(instant(now), &mut self.device, &mut self.sockets);
            for application in &mut self.applications {
                application.run(&mut self.sockets, &mut self.stack, now);
            }
            self.stack.poll(instant(now), &mut self.device, &mut self.sockets);
            if self.device.sent.len() == before && self.device.received.is_empty() {
                break;
            }
        }
        let (from, to) = (self.mac(), topology::mac(self.interface, 1));
        self.device.sent.drain(..).map(|packet| framed(from, to, &without_garbage(packet))).collect()
    }

    /// When it wants to run again without a packet, if ever.
    pub fn wakes(&mut self, now: Tick) -> Option<Tick> {
        let stack = self.stack.poll_at(instant(now), &self.sockets).map(tick);
        self.applications.iter().map(|application| application.wakes()).chain([stack]).flatten().min()
    }

    /// True when every program has finished.
    pub fn has_finished(&self) -> bool {
        self.applications.iter().all(|application| application.has_finished(&self.sockets))
    }

    /// How far its programs are, one a line.
    pub fn describe(&self) -> String {
        let own = self.address(Af::Inet);
        let programs = self.applications.iter();
        programs.map(|program| format!("{own} {}\n", program.describe(&self.sockets))).collect()
    }

    /// What went wrong on it, if something did.
    pub fn failure(&self) -> Option<String> {
        self.applications.iter().find_map(|application| application.failure())
    }
}

/// The stack puts an octet of garbage into its keep-alives, and sends them while data is outstanding, which it must not (RFC 1122
/// §4.2.3.6): with a whole window under way that octet lies outside of it, and pf refuses it. Without it they are what they
/// should be. No [text](crate::program::text) has such an octet.
fn without_garbage(packet: Vec<u8>) -> Vec<u8> {
    let stripped = |pseudo: Pseudo, octets: &[u8]| {
        let segment = tcp::Segment::parse(octets).ok().filter(|segment| segment.payload() == [0])?;
        Some(build::tcp(&pseudo, &tcp::Repr::of(&segment), &[]))
    };
    let sent = if packet.first().is_some_and(|octet| octet >> 4 == 6) {
        ipv6::Packet::parse(&packet).ok().and_then(|ip| {
            let header = ip.header();
            let is_tcp = header.next_header() == Proto::TCP;
            let tcp =
                is_tcp.then(|| stripped(Pseudo::V6(header.src(), header.dst()), ip.payload())).flatten()?;
            let mut sent = packet[..ipv6::HEADER_LEN].to_vec();
            sent[4..6].copy_from_slice(&(tcp.len() as u16).to_be_bytes());
            sent.extend(tcp);
            Some(sent)
        })
    } else {
        ipv4::Packet::parse(&packet).ok().and_then(|ip| {
            let header = ip.header();
            let is_tcp = header.proto() == Proto::TCP;
            let tcp =
                is_tcp.then(|| stripped(Pseudo::V4(header.src(), header.dst()), ip.payload())).flatten()?;
            Some(build::ipv4(&ipv4::Repr::of(&ip), &tcp))
        })
    };
    sent.unwrap_or(packet)
}

fn framed(from: Mac, to: Mac, packet: &[u8]) -> Vec<u8> {
    let ether_type =
        if packet.first().is_some_and(|octet| octet >> 4 == 6) { EtherType::IPV6 } else { EtherType::IPV4 };
    let header = ethernet::Repr { dst: to, src: from, tags: Tags::None, ether_type };
    let mut frame = vec![0; header.len()];
    frame.extend(packet);
    header.emit(&mut frame).expect("the room is there");
    frame
}

impl phy::Device for Device {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, Sent<'_>)> {
        let packet = self.received.pop_front()?;
        Some((Received(packet), Sent(&mut self.sent)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = topology::MTU.into();
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sent<'a>(&'a mut Vec<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = vec![0; length];
        let written = write(&mut packet);
        self.0.push(packet);
        written
    }
}
