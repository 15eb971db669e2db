//! Which hosts and ports a rule applies to (pf.conf(5) `from`, `to`, `port`).

use core::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wire::Port;

/// What an address is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressPattern {
    /// `any`.
    #[default]
    Any,
    /// A host (full prefix length) or a network.
    Net(IpNet),
    /// An address under a mask that is not a prefix, `10.0.0.1/255.0.0.255`: matches if `(address & mask) == (net & mask)`.
    Masked {
        /// The address, in the mask's family.
        net: IpAddr,
        /// The mask.
        mask: IpAddr,
    },
    /// `first - last`, inclusive, of one family.
    Range(IpAddr, IpAddr),
    /// `<name>`.
    Table(String),
    /// `no-route`: an address that the routing table does not reach.
    NoRoute,
    /// `urpf-failed`: a source whose reverse path is another interface.
    UrpfFailed,
    /// `(interface[:modifier])`: the interface's addresses at the time of the packet.
    Interface {
        /// The interface or group.
        name: String,
        /// `:network`, `:broadcast` or `:peer`, else its own addresses.
        part: InterfacePart,
        /// `:0`: no aliases.
        no_alias: bool,
        /// `/n` behind the name: a prefix length in place of the address's own.
        prefix: Option<u8>,
    },
}

/// Which of an interface's addresses `(interface:…)` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum InterfacePart {
    /// Its own addresses.
    #[default]
    Own,
    /// `:network`.
    Network,
    /// `:broadcast`.
    Broadcast,
    /// `:peer`.
    Peer,
}

/// `[!] address`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddressMatch {
    /// `!`: matches what the pattern does not.
    pub negated: bool,
    /// What is compared with.
    pub pattern: AddressPattern,
}

/// `port`: TCP and UDP only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PortMatch {
    /// No `port` given.
    #[default]
    Any,
    /// `= p`.
    Equal(Port),
    /// `!= p`.
    NotEqual(Port),
    /// `< p`.
    Less(Port),
    /// `<= p`.
    LessOrEqual(Port),
    /// `> p`.
    Greater(Port),
    /// `>= p`.
    GreaterOrEqual(Port),
    /// `a:b`, both included.
    Range(Port, Port),
    /// `a >< b`, both excluded.
    Inside(Port, Port),
    /// `a <> b`: lower than a or higher than b.
    Outside(Port, Port),
}

impl PortMatch {
    /// True if `port` is accepted.
    #[inline]
    pub fn accepts(self, port: Port) -> bool {
        match self {
            Self::Any => true,
            Self::Equal(p) => port == p,
            Self::NotEqual(p) => port != p,
            Self::Less(p) => port < p,
            Self::LessOrEqual(p) => port <= p,
            Self::Greater(p) => port > p,
            Self::GreaterOrEqual(p) => port >= p,
            Self::Range(a, b) => a <= port && port <= b,
            Self::Inside(a, b) => a < port && port < b,
            Self::Outside(a, b) => port < a || port > b,
        }
    }
}

/// One end of a packet, as `from` or `to` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// The host.
    pub address: AddressMatch,
    /// Its port.
    pub port: PortMatch,
}
