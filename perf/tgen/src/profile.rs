//! Definitions: which traffic between whom. They drive this generator, and the profiles for TRex and pktgen.
//!
//! Bounds: [`FLOWS_MAX`] flows, frames of 64 to 1518 bytes with the check sequence, [`FRAMES_MAX`] shares of them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;

use crate::flow::Role;
use crate::frame::Layout;
use crate::mark;

/// The most flows: their states are kept.
pub const FLOWS_MAX: u32 = 1 << 27;

/// The most shares that a mix of frame sizes may add up to.
pub const FRAMES_MAX: u32 = 1_000;

/// The first port of clients; others follow, one for each further flow of a client.
pub const CLIENT_PORT_MIN: u16 = 1024;

/// The check sequence of a frame, in bytes: counted in sizes, and made by the port.
pub const CHECK_SEQUENCE: u16 = 4;

/// What a frame takes on a wire beside itself, in bytes: preamble and gap.
pub const WIRE_OVERHEAD: u16 = 20;

const SHORTEST: u16 = 64;
const LONGEST: u16 = 1518;

/// The profiles that come with the program, by name.
pub const BUILT_IN: [(&str, &str); 8] = [
    ("udp-64", include_str!("../../profiles/udp-64.toml")),
    ("udp-1518", include_str!("../../profiles/udp-1518.toml")),
    ("udp6-84", include_str!("../../profiles/udp6-84.toml")),
    ("imix", include_str!("../../profiles/imix.toml")),
    ("many-flows", include_str!("../../profiles/many-flows.toml")),
    ("tcp-established", include_str!("../../profiles/tcp-established.toml")),
    ("new-connections", include_str!("../../profiles/new-connections.toml")),
    ("http-like", include_str!("../../profiles/http-like.toml")),
];

const NETWORK: &str = include_str!("../../profiles/network.toml");

/// The address family of a profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    #[default]
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Who sends of its own accord.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Senders {
    /// Clients and servers alike.
    #[default]
    Both,
    /// Clients alone.
    Clients,
    /// Servers alone.
    Servers,
}

impl Senders {
    /// True if an end sends.
    pub const fn include(self, role: Role) -> bool {
        matches!(
            (self, role),
            (Self::Both, _) | (Self::Clients, Role::Client) | (Self::Servers, Role::Server)
        )
    }
}

/// A part of a mix of frame sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Bytes of the frame with its check sequence.
    pub bytes: u16,
    /// How many of such frames, against the other shares.
    pub share: u16,
}

/// Frames of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The mix of sizes.
    pub frames: Vec<Share>,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Bytes from the client, at most one segment.
    pub request_bytes: u16,
    /// Bytes from the server, then.
    pub response_bytes: u32,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Datagrams, whatever becomes of them.
    Udp(Stream),
    /// Segments of connections that stay open.
    Established(Stream),
    /// Connections that are opened, used and closed.
    Connections(Exchange),
}

/// A definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The file's name without its ending.
    pub name: String,
    /// In a few words.
    pub about: String,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Flows, or connections that can be open at once.
    pub flows: u32,
    /// Addresses of clients.
    pub clients: u32,
    /// Addresses of servers.
    pub servers: u32,
    /// The port of all servers.
    pub server_port: u16,
    /// Who sends.
    pub senders: Senders,
    /// What.
    pub kind: Kind,
}

/// A profile as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    #[serde(default)]
    family: Family,
    flows: u32,
    clients: u32,
    servers: u32,
    server_port: u16,
    #[serde(default)]
    senders: Senders,
    udp: Option<Stream>,
    established: Option<Stream>,
    connections: Option<Exchange>,
}

/// The addresses of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SidePlan {
    /// The device under test.
    pub gateway: Ipv4Addr,
    /// The tester's port.
    pub address: Ipv4Addr,
    /// Hosts behind it; the first address is left out.
    pub hosts: Ipv4Net,
    /// The device under test.
    pub gateway6: Ipv6Addr,
    /// The tester's port.
    pub address6: Ipv6Addr,
    /// Hosts behind it; the first address is left out.
    pub hosts6: Ipv6Net,
}

/// The addresses of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where clients are.
    pub client: SidePlan,
    /// Where servers are.
    pub server: SidePlan,
}

impl Network {
    /// The plan that comes with the program.
    ///
    /// # Panics
    /// Never: a test reads it.
    pub fn built_in() -> Self {
        Self::parse(NETWORK).expect("the built-in plan is a plan")
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Self> {
        Ok(toml::from_str(text)?)
    }
}

impl SidePlan {
    /// Hosts of a family, at most 2^32.
    pub fn hosts_of(&self, family: Family) -> u64 {
        let bits = match family {
            Family::Ipv4 => self.hosts.max_prefix_len() - self.hosts.prefix_len(),
            Family::Ipv6 => self.hosts6.max_prefix_len() - self.hosts6.prefix_len(),
        };
        (1 << bits.min(32)) - 1
    }
}

impl Profile {
    /// The profile of a name, or in a file.
    ///
    /// # Errors
    /// There is none, or what is wrong with it.
    pub fn find(name: &str) -> Result<Self> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).with_context(|| {
            let names = BUILT_IN.map(|(name, _)| name).join(", ");
            format!("{name} is neither a profile's name ({names}) nor a file")
        })?;
        let stem = path.file_stem().map_or_else(|| name.into(), |stem| stem.to_string_lossy().into_owned());
        Self::parse(&stem, &text).with_context(|| path.display().to_string())
    }

    /// Reads a definition.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let file: File = toml::from_str(text)?;
        let kind = match (file.udp, file.established, file.connections) {
            (Some(stream), None, None) => Kind::Udp(stream),
            (None, Some(stream), None) => Kind::Established(stream),
            (None, None, Some(exchange)) => Kind::Connections(exchange),
            _ => bail!("one of [udp], [established] and [connections] is needed, and no more"),
        };
        let profile = Self {
            name: name.to_owned(),
            about: file.about,
            family: file.family,
            flows: file.flows,
            clients: file.clients,
            servers: file.servers,
            server_port: file.server_port,
            senders: file.senders,
            kind,
        };
        profile.check()?;
        Ok(profile)
    }

    fn check(&self) -> Result<()> {
        let ports = u32::from(u16::MAX - CLIENT_PORT_MIN) + 1;
        ensure!((1..=FLOWS_MAX).contains(&self.flows), "flows = {}: 1 to {FLOWS_MAX}", self.flows);
        ensure!(self.servers >= 1, "servers = 0: one at least");
        ensure!(
            self.clients >= 1 && self.flows.div_ceil(self.clients) <= ports,
            "clients = {}: {} flows need {} at least, as each has {ports} ports",
            self.clients,
            self.flows,
            self.flows.div_ceil(ports)
        );
        match &self.kind {
            Kind::Udp(stream) | Kind::Established(stream) => self.check_stream(stream),
            Kind::Connections(exchange) => {
                let most = self.layout().segment_max();
                let request = usize::from(exchange.request_bytes);
                ensure!(request <= most, "request_bytes = {request}: one segment has {most} at most");
                ensure!(self.senders == Senders::Both, "senders: both ends of a connection send");
                Ok(())
            }
        }
    }

    fn check_stream(&self, stream: &Stream) -> Result<()> {
        let shares: u32 = stream.frames.iter().map(|frame| u32::from(frame.share)).sum();
        ensure!((1..=FRAMES_MAX).contains(&shares), "frames: shares add up to {shares}; 1 to {FRAMES_MAX}");
        let shortest = SHORTEST.max((self.layout().headers() + mark::LEN) as u16 + CHECK_SEQUENCE);
        for Share { bytes, .. } in &stream.frames {
            ensure!(
                (shortest..=LONGEST).contains(bytes),
                "frames of {bytes} bytes: {shortest} to {LONGEST} with headers, a time stamp and the check sequence"
            );
        }
        Ok(())
    }

    /// Checks that a plan has hosts enough.
    ///
    /// # Errors
    /// It has not.
    pub fn fits(&self, network: &Network) -> Result<()> {
        for (what, wanted, plan) in
            [("clients", self.clients, &network.client), ("servers", self.servers, &network.server)]
        {
            let hosts = plan.hosts_of(self.family);
            ensure!(
                u64::from(wanted) <= hosts,
                "{what} = {wanted}: the network plan has {hosts} hosts there"
            );
        }
        Ok(())
    }

    /// Where headers are.
    pub const fn layout(&self) -> Layout {
        match self.kind {
            Kind::Udp(_) => Layout::udp(self.family),
            Kind::Established(_) | Kind::Connections(_) => Layout::tcp(self.family),
        }
    }

    /// Sizes of frames with the check sequence, in the order of sending; empty for connections.
    pub fn sizes(&self) -> Vec<u16> {
        let (Kind::Udp(stream) | Kind::Established(stream)) = &self.kind else { return Vec::new() };
        stream.frames.iter().flat_map(|frame| std::iter::repeat_n(frame.bytes, frame.share.into())).collect()
    }

    /// Bits on the wire for a packet, on average; 0 for connections.
    pub fn wire_bits(&self) -> f64 {
        let sizes = self.sizes();
        let bytes: u64 = sizes.iter().map(|bytes| u64::from(bytes + WIRE_OVERHEAD)).sum();
        8.0 * bytes as f64 / sizes.len().max(1) as f64
    }

    /// What a rate counts.
    pub const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Udp(_) | Kind::Established(_) => "packets/s each way",
            Kind::Connections(_) => "connections/s",
        }
    }
}
