//! The kernel's messages, reduced to what forwarding needs. Pure.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_MULTIPART, NLM_F_REPLACE, NetlinkHeader};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteNextHopFlags, RouteType, RouteVia,
};
use ruleset::RoutingTable;
use wire::Mac;

/// The number of the kernel's table of its own addresses (`RT_TABLE_LOCAL`).
const TABLE_LOCAL: u32 = 255;

/// Something that the kernel told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A link appeared or changed.
    Link(Link),
    /// A link is gone.
    LinkGone {
        /// Its index.
        index: u32,
    },
    /// An address of a link was added, or changed.
    Address(OwnAddress),
    /// An address of a link is gone.
    AddressGone(OwnAddress),
    /// A route was added.
    Route {
        /// How it stands to others of the same key.
        manner: Manner,
        /// The route.
        route: KernelRoute,
    },
    /// A route, or some of its next hops, is gone.
    RouteGone(KernelRoute),
    /// A neighbour changed.
    Neighbor(KernelNeighbor),
    /// A neighbour is gone.
    NeighborGone {
        /// The link's index.
        link: u32,
        /// Its address.
        address: IpAddr,
    },
    /// A next hop that routes share by its number (`ip nexthop`) changed or is gone.
    NextHopChanged,
}

/// How a new route stands to those of the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// In front of them.
    First,
    /// Behind them (`ip route append`).
    Append,
    /// In place of the first (`ip route replace`).
    Replace,
}

/// A network device of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, if it has one.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Set up by the operator, and with carrier.
    pub up: bool,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// The link's index.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Its prefix length in bits; the whole address if it names a peer.
    pub prefix: u8,
    /// The other end of the link, if it names one.
    pub peer: Option<IpAddr>,
    /// Not the first of its network.
    pub secondary: bool,
}

/// What tells routes apart, in the order of their tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    /// The table that it is in.
    pub table: RoutingTable,
    /// The prefix's address.
    pub prefix: IpAddr,
    /// Its length in bits.
    pub length: u8,
    /// Its metric: of several, the least counts.
    pub metric: u32,
}

/// A route of a table that rules can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelRoute {
    /// What tells it from others.
    pub key: RouteKey,
    /// Where it leads.
    pub target: Target,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// To one of these.
    Hops(Vec<Hop>),
    /// Nowhere, silently.
    Blackhole,
    /// Nowhere.
    Unreachable,
    /// Nowhere, on purpose.
    Prohibit,
}

impl Target {
    /// The same, with its next hops in one order.
    pub fn sorted(&self) -> Self {
        let mut target = self.clone();
        if let Self::Hops(hops) = &mut target {
            hops.sort_by_key(|hop| (hop.link, hop.gateway));
        }
        target
    }
}

/// A next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The link's index.
    pub link: u32,
    /// The gateway, unless the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// Its share, from 1.
    pub weight: u16,
    /// False if it is dead, or if it wants an encapsulation, which the dataplane does not do.
    pub usable: bool,
    /// False if its link has no carrier.
    pub carrier: bool,
    /// The route's MTU in bytes, if it has one (`ip route … mtu`).
    pub mtu: Option<u16>,
}

impl Hop {
    /// True if both are the same place, whatever their shares and states.
    pub fn same_place(&self, other: &Self) -> bool {
        (self.link, self.gateway) == (other.link, other.gateway)
    }
}

/// A neighbour, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelNeighbor {
    /// The link's index.
    pub link: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address, while that may be used.
    pub mac: Option<Mac>,
    /// Its Ethernet address was not confirmed for a while.
    pub stale: bool,
    /// It did not answer when the kernel looked for it.
    pub silent: bool,
}

/// What a message means, if it means anything to forwarding.
pub fn event(header: &NetlinkHeader, message: Message) -> Option<Event> {
    match message {
        Message::NewLink(message) => link(message).map(Event::Link),
        Message::DelLink(message) => Some(Event::LinkGone { index: message.header.index }),
        Message::NewAddress(message) => address(&message).map(Event::Address),
        Message::DelAddress(message) => address(&message).map(Event::AddressGone),
        Message::NewRoute(message) => {
            let manner = match header.flags {
                // A dump lists routes in their order.
                flags if flags & (NLM_F_APPEND | NLM_F_MULTIPART) != 0 => Manner::Append,
                flags if flags & NLM_F_REPLACE != 0 => Manner::Replace,
                _ => Manner::First,
            };
            route(message).map(|route| Event::Route { manner, route })
        }
        Message::DelRoute(message) => route(message).map(Event::RouteGone),
        Message::NewNeighbour(message) => neighbor(message).map(Event::Neighbor),
        Message::DelNeighbour(message) => {
            neighbor(message).map(|known| Event::NeighborGone { link: known.link, address: known.address })
        }
        _ => None,
    }
}

fn link(message: LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up | LinkFlags::Running),
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(address) => link.mac = ethernet(&address),
            _ => {}
        }
    }
    // Messages of other families (bridge ports, wireless) carry no name and are about something else.
    (!link.name.is_empty()).then_some(link)
}

fn ethernet(address: &[u8]) -> Option<Mac> {
    <[u8; 6]>::try_from(address).ok().map(Mac)
}

fn address(message: &AddressMessage) -> Option<OwnAddress> {
    let mut address = None;
    let mut local = None;
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(found) => address = Some(*found),
            AddressAttribute::Local(found) => local = Some(*found),
            AddressAttribute::Flags(found) => flags = *found,
            _ => {}
        }
    }
    // An address that another station has too is not ours.
    if flags.contains(AddressFlags::Dadfailed) {
        return None;
    }
    let own = local.or(address)?;
    // With a peer, the prefix is the peer's (`ip address add A peer B/n`).
    let peer = address.filter(|peer| *peer != own);
    let prefix = if peer.is_some() { bits(&own) } else { message.header.prefix_len };
    let secondary = flags.contains(AddressFlags::Secondary);
    Some(OwnAddress { link: message.header.index, address: own, prefix, peer, secondary })
}

fn bits(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn route(message: RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    // Cached results, policy by type of service and by source are not routes of a destination.
    if header.flags.contains(RouteFlags::Cloned) || header.tos != 0 || header.source_prefix_length != 0 {
        return None;
    }
    let mut table = u32::from(header.table);
    let mut key = RouteKey {
        table: RoutingTable::MAIN,
        prefix: unspecified(header)?,
        length: header.destination_prefix_length,
        metric: 0,
    };
    let mut single = HopParts { flags: header.flags.bits() as u8, ..HopParts::default() };
    let mut several: Option<Vec<Hop>> = None;
    let mut mtu = None;
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Table(found) => table = found,
            RouteAttribute::Destination(found) => key.prefix = ip(&found)?,
            RouteAttribute::Priority(found) => key.metric = found,
            RouteAttribute::MultiPath(hops) => {
                several = Some(hops.into_iter().filter_map(multipath_hop).collect())
            }
            RouteAttribute::Metrics(metrics) => mtu = route_mtu(&metrics, &key.prefix),
            attribute => single.take(&attribute),
        }
    }
    // The kernel's own table has what is the host's, which addresses tell.
    if table == TABLE_LOCAL {
        return None;
    }
    key.table = RoutingTable::of_kernel(table)?;
    let target = match header.kind {
        RouteType::Unicast => {
            let mut hops = several.unwrap_or_else(|| single.hop(1).into_iter().collect());
            hops.iter_mut().for_each(|hop| hop.mtu = mtu);
            Target::Hops(hops)
        }
        RouteType::BlackHole => Target::Blackhole,
        RouteType::Unreachable => Target::Unreachable,
        RouteType::Prohibit => Target::Prohibit,
        _ => return None,
    };
    Some(KernelRoute { key, target })
}

fn unspecified(header: &RouteHeader) -> Option<IpAddr> {
    use netlink_packet_route::AddressFamily;
    match header.address_family {
        AddressFamily::Inet => Some(IpAddr::from([0_u8; 4])),
        AddressFamily::Inet6 => Some(IpAddr::from([0_u8; 16])),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// A next hop while its attributes are read.
#[derive(Default)]
struct HopParts {
    link: Option<u32>,
    gateway: Option<IpAddr>,
    encapsulated: bool,
    flags: u8,
}

impl HopParts {
    fn take(&mut self, attribute: &RouteAttribute) {
        match attribute {
            RouteAttribute::Oif(index) => self.link = Some(*index),
            RouteAttribute::Gateway(address) => self.gateway = ip(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => self.gateway = Some(IpAddr::V4(*address)),
            RouteAttribute::Via(RouteVia::Inet6(address)) => self.gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => self.encapsulated = true,
            _ => {}
        }
    }

    fn hop(self, weight: u16) -> Option<Hop> {
        let flags = RouteNextHopFlags::from_bits_retain(self.flags);
        let usable = !flags.contains(RouteNextHopFlags::Dead) && !self.encapsulated;
        let carrier = !flags.contains(RouteNextHopFlags::Linkdown);
        Some(Hop { link: self.link?, gateway: self.gateway, weight, usable, carrier, mtu: None })
    }
}

/// The MTU among a route's metrics; no less than what every link of the family takes (RFC 791 §3.2, RFC 8200 §5).
fn route_mtu(metrics: &[RouteMetric], prefix: &IpAddr) -> Option<u16> {
    let least = if prefix.is_ipv4() { 68 } else { 1280 };
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu @ 1..) => Some(u16::try_from(*mtu).unwrap_or(u16::MAX).max(least)),
        _ => None,
    })
}

fn multipath_hop(message: RouteNextHop) -> Option<Hop> {
    let mut parts =
        HopParts { link: Some(message.interface_index), flags: message.flags.bits(), ..HopParts::default() };
    message.attributes.iter().for_each(|attribute| parts.take(attribute));
    // rtnh_hops is the weight less one.
    parts.hop(u16::from(message.hops) + 1)
}

fn neighbor(message: NeighbourMessage) -> Option<KernelNeighbor> {
    if message.header.flags.contains(NeighbourFlags::Proxy) {
        return None;
    }
    let mut address = None;
    let mut mac = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(found)) => {
                address = Some(IpAddr::V4(*found))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(found)) => {
                address = Some(IpAddr::V6(*found))
            }
            NeighbourAttribute::LinkLayerAddress(found) => mac = ethernet(found),
            _ => {}
        }
    }
    let usable = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    Some(KernelNeighbor {
        link: message.header.ifindex,
        address: address?,
        mac: mac.filter(|_| usable),
        stale: message.header.state == NeighbourState::Stale,
        silent: message.header.state == NeighbourState::Failed,
    })
}
