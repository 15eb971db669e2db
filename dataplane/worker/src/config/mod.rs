//! turnpike.toml: what it may say, and what it said.
//!
//! Overview: [`Config::read`] turns a file into a [`Config`] or into the first [`Fault`] found, with its place and what
//! to do about it. Life cycle: read once at the start. Bounds: [`PORTS_MAX`] ports, [`WORKERS_MAX`] workers.

mod decode;
mod fault;
mod schema;

use std::path::Path;

pub use fault::Fault;
pub use schema::{Key, SECTIONS, Section};

/// The most ports: interfaces are numbered with 16 bits, and a poll visits each.
pub const PORTS_MAX: usize = 256;

/// The most workers.
pub const WORKERS_MAX: usize = 64;

/// Smallest and largest MTU in bytes: IPv6 needs 1280 (RFC 8200 §5); the rest is what NICs offer.
pub const MTU_RANGE: (u16, u16) = (1280, 9600);

/// Longest interface name in bytes: the kernel's IFNAMSIZ without its NUL.
pub const NAME_BYTES: usize = 15;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[dataplane]`.
    pub dataplane: Dataplane,
    /// `[[port]]`, in the file's order; never empty.
    pub ports: Vec<Port>,
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
}

/// `[[port]]`, a routed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The operator's name for it, and its host interface's.
    pub name: String,
    /// The DPDK device.
    pub device: dpdk::Device,
    /// Largest IP datagram, in bytes.
    pub mtu: u16,
    /// Workers with a receive queue; as many as the device has queues for if `None`.
    pub queues: Option<u16>,
}

impl Port {
    /// The kernel's own network device behind it, which sees the same frames; `None` if the kernel has no part in it.
    pub fn kernel_netdev(&self) -> Option<&str> {
        let shared =
            ["net_af_packet", "net_af_xdp"].iter().any(|driver| self.device.name().starts_with(driver));
        shared.then(|| self.argument("iface")).flatten()
    }

    /// Whether the driver makes queues in pairs and fills every receive queue that there is, so that each needs a worker.
    fn has_pairs(&self) -> bool {
        ["net_af_packet", "net_tap"].iter().any(|driver| self.device.name().starts_with(driver))
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
    pub fn workers(&self) -> u16 {
        self.lcores.as_ref().map_or(1, |lcores| lcores.len() as u16)
    }
}

impl Config {
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
