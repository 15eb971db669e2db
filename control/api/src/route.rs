//! What forwarding knows of routes and neighbours, as it is shown.

use std::net::IpAddr;

use ruleset::RoutingTable;
use serde::{Deserialize, Serialize};

/// A route, as packets are forwarded by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteView {
    /// The table that it is in.
    #[serde(default)]
    pub table: RoutingTable,
    /// Its prefix, as `192.0.2.0/24`.
    pub destination: String,
    /// What it says of the prefix.
    pub kind: RouteKind,
    /// Where it leads, if it forwards.
    pub next_hops: Vec<NextHopView>,
}

/// What a route says of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// It is the firewall's own host.
    Host,
    /// It is every station of a link.
    Broadcast,
    /// It lies behind a next hop.
    Forward,
    /// It is nowhere, silently.
    Blackhole,
    /// It is nowhere, and senders are told that it is unreachable.
    Unreachable,
    /// It is nowhere, and senders are told that it is prohibited.
    Prohibit,
}

impl RouteKind {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Broadcast => "broadcast",
            Self::Forward => "forward",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        }
    }
}

/// A next hop of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHopView {
    /// The interface that packets leave by.
    pub interface: String,
    /// The gateway; none if destinations are on the link. Of the route to one address, that address if it is on the link.
    pub via: Option<IpAddr>,
    /// Its Ethernet address, colon separated, if it is known.
    pub mac: Option<String>,
    /// Its share of the flows, compared with those of the others.
    pub weight: u16,
    /// The route's own MTU, in bytes, if it has one.
    pub mtu: Option<u16>,
}

/// The route of a table to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTo {
    /// The address.
    pub address: IpAddr,
    /// The table.
    #[serde(default)]
    pub table: RoutingTable,
    /// The most specific route that holds it, if there is one.
    pub route: Option<RouteView>,
}

/// A neighbour whose Ethernet address is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighborView {
    /// The interface that it is on.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
    /// Its Ethernet address, colon separated.
    pub mac: String,
}
