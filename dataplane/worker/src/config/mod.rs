//! turnpike.toml: what it may say, and what it said.
//!
//! Overview: [`Config::read`] turns a file into a [`Config`] or into the first [`Fault`] found, with its place and what
//! to do about it. Life cycle: read once at the start. Bounds: [`PORTS_MAX`] ports, [`DEVICES_MAX`] devices for them and
//! for the host interfaces of all ports and VLANs, [`WORKERS_MAX`] workers.

mod bridge;
mod decode;
mod fault;
mod schema;
mod span;

use std::net::IpAddr;
use std::path::Path;

use engine::fib::NonIpPolicy;
pub use fault::Fault;
pub use schema::{Key, SECTIONS, Section};

/// The most ports: interfaces are numbered with 16 bits, and a poll visits each.
pub const PORTS_MAX: usize = 256;

/// The most DPDK devices: each port is one, and each interface has one towards the host.
pub const DEVICES_MAX: usize = dpdk::port::PORTS_MAX;

/// The most workers.
pub const WORKERS_MAX: usize = 64;

/// Smallest and largest MTU in bytes: IPv6 needs 1280 (RFC 8200 §5); the rest is what NICs offer.
pub const MTU_RANGE: (u16, u16) = (1280, 9600);

/// VLAN numbers: 0 marks a priority, 4095 is reserved (IEEE 802.1Q).
pub const VLAN_RANGE: (u16, u16) = (1, 4094);

/// Longest interface name in bytes: the kernel's IFNAMSIZ without its NUL.
pub const NAME_BYTES: usize = 15;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[dataplane]`.
    pub dataplane: Dataplane,
    /// `[[port]]`, in the file's order; never empty.
    pub ports: Vec<Port>,
    /// `[[bridge]]`: every port of mode bridge is in one.
    pub bridges: Vec<Bridge>,
}

/// `[dataplane]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// CPUs that workers are pinned to, one worker each; the last CPU that the process may use if `None`.
    pub lcores: Option<Vec<u16>>,
    /// Memory for packet buffers and devices, in MiB.
    pub memory_mib: u32,
    /// Whether that memory comes from hugepages.
    pub hugepages: Hugepages,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Connections that memory is taken for at the start; each counts as two states.
    pub max_connections: u32,
    /// Whom the process becomes when root starts it; the package's user, or nobody, if `None`.
    pub user: Option<String>,
}

/// `hugepages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// If enough are free, else ordinary memory with a warning.
    Auto,
    /// Or the start fails.
    Require,
    /// Never.
    Off,
}

/// `idle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Poll on: the CPU is always busy, the latency the least.
    Poll,
    /// Sleep after some polls in vain, longer each time, up to half a millisecond.
    Adaptive,
    /// Wait after some polls in vain until a device signals a packet.
    Interrupt,
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It has a host interface, and the kernel's addresses and routes.
    Routed,
    /// It is one of a transparent pair, and the kernel knows nothing of it.
    Bridge,
    /// It takes copies of frames (`dup-to`); nothing is received from it, and the kernel knows nothing of it.
    Span,
}

/// `[[bridge]]`: a transparent pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// Its name, and that of the interface group of its ports.
    pub name: String,
    /// Its ports, by number.
    pub ports: [usize; 2],
    /// What becomes of frames without IP.
    pub non_ip: NonIpPolicy,
}

/// `[[port]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The operator's name for it, and its host interface's if it has one.
    pub name: String,
    /// The DPDK device.
    pub device: dpdk::Device,
    /// What it is for.
    pub mode: Mode,
    /// Largest IP datagram, in bytes.
    pub mtu: u16,
    /// Workers with a receive queue; as many as the device has queues for if `None`.
    pub queues: Option<u16>,
    /// Its VLANs, each an interface of its own.
    pub vlans: Vec<u16>,
    /// How copies leave by it, if it is a span port.
    pub span: Span,
}

/// How copies leave by a port of mode `span`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// One copy of so many is made.
    pub sample: u32,
    /// The most bytes of a frame that are copied; all of them if `None`.
    pub snap_bytes: Option<u16>,
    /// The VLAN whose tag is put around copies.
    pub tag: Option<u16>,
    /// To whom they are carried, if not by the port's device.
    pub tunnel: Option<Tunnel>,
}

impl Default for Span {
    /// Every frame as it is.
    fn default() -> Self {
        Self { sample: 1, snap_bytes: None, tag: None, tunnel: None }
    }
}

/// How copies are carried to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// What is between IP and the frame.
    pub carrier: Carrier,
    /// Where they go.
    pub collector: IpAddr,
    /// Where they come from; the address of the interface that they leave by if `None`.
    pub source: Option<IpAddr>,
}

/// The headers in front of a frame that is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// GRE as a bridge (`gretap`).
    Gre,
    /// ERSPAN type II, of a session for each worker, of which this is the first one's.
    Erspan {
        /// 10 bits.
        session: u16,
    },
}

/// An interface of the firewall: a port, or a VLAN of one. Interfaces have numbers in the order of
/// [`Config::interfaces`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface<'a> {
    /// Its name, as rules use it, and its host interface's: the port's, or `port.vlan`.
    pub name: String,
    /// Its port.
    pub port: &'a Port,
    /// Its VLAN; `None` for the port itself, whose frames have no tag.
    pub vlan: Option<u16>,
}

impl Port {
    /// Whether the kernel has an interface of its name, through which it takes part.
    pub fn is_hosted(&self) -> bool {
        self.mode == Mode::Routed
    }

    /// The kernel's own network device behind it, which sees the same frames; `None` if the kernel has no part in it.
    pub fn kernel_netdev(&self) -> Option<&str> {
        let shared =
            ["net_af_packet", "net_af_xdp"].iter().any(|driver| self.device.name().starts_with(driver));
        shared.then(|| self.argument("iface")).flatten()
    }

    /// Its interfaces: itself, then its VLANs in the file's order.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface<'_>> {
        let own = Interface { name: self.name.clone(), port: self, vlan: None };
        let vlans = self.vlans.iter().map(|vlan| Interface {
            name: format!("{}.{vlan}", self.name),
            port: self,
            vlan: Some(*vlan),
        });
        std::iter::once(own).chain(vlans)
    }

    /// Those of them that the kernel has too.
    pub fn host_interfaces(&self) -> impl Iterator<Item = Interface<'_>> {
        self.interfaces().filter(|interface| interface.port.is_hosted())
    }

    /// The kernel's network device whose MTU is the port's: the one behind it, or the other end of a TAP.
    pub fn kernel_link(&self) -> Option<&str> {
        let tap = || self.device.name().starts_with("net_tap").then(|| self.argument("iface")).flatten();
        self.kernel_netdev().or_else(tap)
    }

    /// Whether the driver makes queues in pairs and fills every receive queue that there is, so that each needs a worker.
    fn has_pairs(&self) -> bool {
        ["net_af_packet", "net_af_xdp", "net_tap"].iter().any(|driver| self.device.name().starts_with(driver))
    }

    /// Whether it is `net_af_xdp`, which takes from a queue of the kernel's device what arrives there.
    pub fn is_af_xdp(&self) -> bool {
        self.device.name().starts_with("net_af_xdp")
    }

    /// How many devices it is made of: `net_af_xdp` has one for each worker, as it refuses a second queue where the kernel's
    /// device counts receive and transmit queues apart (veth).
    pub fn device_count(&self, workers: u16) -> u16 {
        if self.is_af_xdp() { workers } else { 1 }
    }

    /// The devices that it is made of, by worker if there are several: each has a queue of the kernel's device then.
    ///
    /// # Errors
    /// Those of names that are too long.
    pub fn devices(&self, workers: u16) -> dpdk::Result<Vec<dpdk::Device>> {
        let (name, args) = (self.device.name(), self.device.args());
        match self.device_count(workers) {
            1 => Ok(vec![self.device.clone()]),
            several => (0..several)
                .map(|queue| format!("{name}_queue{queue},{args},start_queue={queue},queue_count=1").parse())
                .collect(),
        }
    }

    /// The value of a driver argument.
    pub fn argument(&self, key: &str) -> Option<&str> {
        self.device
            .args()
            .split(',')
            .find_map(|pair| pair.split_once('=').filter(|(name, _)| *name == key))
            .map(|(_, value)| value)
    }
}

impl Dataplane {
    /// How many workers there will be.
    pub const fn workers(&self) -> u16 {
        match &self.lcores {
            Some(lcores) => lcores.len() as u16,
            None => 1,
        }
    }
}

impl Config {
    /// The pair that a port belongs to, and the other port of it.
    pub fn bridge_of(&self, port: usize) -> Option<(&Bridge, usize)> {
        self.bridges.iter().find_map(|bridge| match bridge.ports {
            [one, peer] | [peer, one] if one == port => Some((bridge, peer)),
            _ => None,
        })
    }

    /// Every interface, by number: each port's own, then its VLANs'.
    pub fn interfaces(&self) -> impl Iterator<Item = Interface<'_>> {
        self.ports.iter().flat_map(Port::interfaces)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first [`Fault`] in the file, or that it cannot be read.
    pub fn read(path: &Path) -> Result<Self, Fault> {
        let text = std::fs::read_to_string(path).map_err(|error| Fault::unreadable(path, &error))?;
        Self::parse(path, &text)
    }

    /// Reads a file's text; `path` is for the faults.
    ///
    /// # Errors
    /// The first [`Fault`] in the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Fault> {
        decode::document(text).map_err(|misfit| misfit.locate(path, text))
    }
}
