//! The forwarding base: interfaces, routes and neighbours as one immutable snapshot.
//!
//! Overview: the shell learns addresses, routes and neighbours from the kernel and builds a [`Fib`] of them; a burst is
//! forwarded with one snapshot. Life cycle: built by a service thread, replaced as a whole; `epoch` tells two apart, so
//! that what a connection has cached of it is known to be stale. Ownership: nobody mutates a snapshot.
//! Bounds: interfaces and next hops are numbered with 16 bits.

mod choose;
mod listened;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytemuck::Zeroable;
use hashbrown::{HashMap, HashSet};
use ruleset::{Lpm, RoutingTable};
use wire::{Af, Mac};

use crate::pool::Target;
use crate::{Address, Zone};
use choose::choose;
pub(crate) use listened::Listened;
pub use listened::Listener;

/// An interface, by its number: its index in [`Fib::interfaces`], the same for the whole life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Zeroable)]
pub struct InterfaceId(pub u16);

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address itself.
    pub address: IpAddr,
    /// Length of its network's prefix, in bits.
    pub prefix: u8,
    /// The other end of the link, where the address has one (`ip address add ADDRESS peer PEER`).
    pub peer: Option<IpAddr>,
}

impl InterfaceAddress {
    /// An address in a network with a prefix of so many bits.
    pub const fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix, peer: None }
    }

    /// True if an address of the same family has so many leading bits in common with it.
    pub fn is_near(&self, address: Address, bits: u8) -> bool {
        share_bits(Af::of(&self.address), address, self.address.into(), bits)
    }

    /// Its network's broadcast address; none in IPv6, nor in a /31 or /32 (RFC 3021).
    pub fn broadcast(&self) -> Option<Address> {
        if Af::of(&self.address) == Af::Inet6 || self.prefix >= 31 {
            return None;
        }
        let host_bits = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        Some(Address(u128::from(Address::from(self.address).v4() | host_bits)))
    }

    /// True for fe80::/10.
    pub const fn is_link_local(&self) -> bool {
        matches!(self.address, IpAddr::V6(address) if address.is_unicast_link_local())
    }
}

/// True if two addresses of a family have so many leading bits in common.
pub(crate) fn share_bits(af: Af, a: Address, b: Address, bits: u8) -> bool {
    let behind = u32::from(af.bits().saturating_sub(bits));
    (a.0 ^ b.0).checked_shr(behind).unwrap_or(0) == 0
}

/// An interface of the firewall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, as rules use it.
    pub name: String,
    /// The groups that it belongs to.
    pub groups: Vec<String>,
    /// The Ethernet address that it answers to.
    pub mac: Mac,
    /// The largest IP datagram that it sends, in bytes.
    pub mtu: u16,
    /// Its addresses, primary ones first.
    pub addresses: Vec<InterfaceAddress>,
    /// The routing domain that it belongs to.
    pub zone: Zone,
    /// True if frames can be sent on it.
    pub up: bool,
    /// What it is there for.
    pub role: Role,
}

/// What an interface is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// A part of a network: it has addresses, and packets are routed by it.
    #[default]
    Routed,
    /// It takes copies of frames, and nothing comes from it.
    Span,
    /// One of a transparent pair: what it receives leaves by the other one, routed by nobody.
    Bridged(Bridge),
}

/// An interface's part in a transparent pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The other interface.
    pub peer: InterfaceId,
    /// What becomes of frames without IP.
    pub non_ip: NonIpPolicy,
}

/// What a pair does with frames that no rule judges. ARP and reverse ARP pass in any case: without them no IPv4 would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonIpPolicy {
    /// They pass.
    #[default]
    Pass,
    /// They are dropped (`blocknonip` of OpenBSD's ifconfig(8)).
    Block,
}

impl Interface {
    /// True if this is its name, or that of a group that it is in.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.groups.iter().any(|group| group == name)
    }

    /// Its part in a transparent pair, if it is in one.
    pub const fn bridge(&self) -> Option<&Bridge> {
        match &self.role {
            Role::Bridged(bridge) => Some(bridge),
            Role::Routed | Role::Span => None,
        }
    }

    /// Its first address of a family that is not link-local, else any: what its own ICMP errors are sent from.
    pub fn source_address(&self, af: Af) -> Option<Address> {
        let of_family =
            || self.addresses.iter().map(|own| own.address).filter(|address| Af::of(address) == af);
        of_family().find(|address| !is_link_local(address)).or_else(|| of_family().next()).map(Address::from)
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// Where packets for a prefix go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The interface that they leave by.
    pub interface: InterfaceId,
    /// The gateway; `None` if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The largest IP datagram that the route takes, in bytes, if it says so; the interface's MTU bounds it.
    pub mtu: Option<u16>,
}

/// What a route says of its prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The host itself.
    Host,
    /// Every station of a link, the host among them.
    Broadcast,
    /// One of these next hops, chosen by the flow's hash; one that takes a larger share is repeated. Never empty.
    Forward(Vec<NextHop>),
    /// Nowhere, silently.
    Blackhole,
    /// Nowhere; the sender is told that the destination is unreachable.
    Unreachable,
    /// Nowhere; the sender is told that it is prohibited.
    Prohibit,
}

/// A route, as the shell learns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteEntry {
    /// The prefix's address.
    pub prefix: IpAddr,
    /// Its length in bits.
    pub length: u8,
    /// Where it leads.
    pub route: Route,
}

/// A neighbour whose Ethernet address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The interface that it is on.
    pub interface: InterfaceId,
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// What the forwarding base says of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// The host itself.
    Host,
    /// Out of an interface.
    Forward {
        /// The interface.
        interface: InterfaceId,
        /// The next hop's address: the gateway, or the destination itself.
        next_hop: IpAddr,
        /// The next hop's Ethernet address, if it is known.
        mac: Option<Mac>,
        /// The route's own MTU.
        mtu: Option<u16>,
    },
    /// Dropped silently.
    Blackhole,
    /// No route, or one that says unreachable.
    Unreachable,
    /// A route that says prohibited.
    Prohibit,
}

/// A [`Path`], as the forwarding base has it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Host,
    Forward { hop: NextHop, mac: Option<Mac> },
    Blackhole,
    Unreachable,
    Prohibit,
}

impl NextHop {
    /// Whom a packet for `destination` is sent to: the gateway, or the destination itself.
    pub(crate) fn station(&self, af: Af, destination: Address) -> IpAddr {
        self.gateway.unwrap_or_else(|| destination.to_ip(af))
    }
}

/// A neighbour in the form that is looked up.
fn station(interface: InterfaceId, address: &IpAddr) -> (InterfaceId, Af, Address) {
    (interface, Af::of(address), Address::from(*address))
}

/// Interfaces, routes and neighbours. A copy shares the routes.
#[derive(Clone, Debug)]
pub struct Fib {
    epoch: u32,
    interfaces: Vec<Interface>,
    /// The main table.
    routes: Arc<Tries>,
    /// Tables that rules may name beside it.
    others: BTreeMap<RoutingTable, Arc<Tries>>,
    neighbors: HashMap<(InterfaceId, Af, Address), Mac>,
    silent: HashSet<(InterfaceId, Af, Address)>,
    /// By interface and family.
    only: Vec<[Option<Address>; 2]>,
    /// The ports that programs of the host listen on.
    listened: Option<Arc<Listened>>,
}

/// A routing table: routes by family.
type Tries = [Lpm<Held>; 2];

const fn no_routes() -> Tries {
    [Lpm::new(Af::Inet), Lpm::new(Af::Inet6)]
}

/// A route as it is looked up.
#[derive(Clone, Debug)]
struct Held {
    route: Route,
    /// The Ethernet address of its only gateway, if that is known.
    mac: Option<Mac>,
}

impl Held {
    const fn of(route: Route) -> Self {
        Self { route, mac: None }
    }
}

fn only_address(interface: &Interface, af: Af) -> Option<Address> {
    let mut own = interface.addresses.iter().filter(|own| Af::of(&own.address) == af);
    let only = own.next().filter(|only| !only.is_link_local())?;
    own.next().is_none().then(|| only.address.into())
}

const fn family_index(af: Af) -> usize {
    match af {
        Af::Inet => 0,
        Af::Inet6 => 1,
    }
}

impl Fib {
    /// A snapshot of what the shell knows, with the routes of the main table. The interfaces' own addresses and their IPv4
    /// broadcast addresses become routes to the host without being listed. Routes and neighbours of unknown interfaces are left
    /// out.
    pub fn new(
        epoch: u32,
        interfaces: Vec<Interface>,
        routes: impl IntoIterator<Item = RouteEntry>,
        neighbors: impl IntoIterator<Item = Neighbor>,
    ) -> Self {
        let mut fib = Self {
            epoch,
            interfaces,
            routes: no_routes().into(),
            others: BTreeMap::new(),
            neighbors: HashMap::new(),
            silent: HashSet::new(),
            only: Vec::new(),
            listened: None,
        };
        let only = |interface| [Af::Inet, Af::Inet6].map(|af| only_address(interface, af));
        fib.only = fib.interfaces.iter().map(only).collect();
        let interfaces = fib.interfaces.len();
        for neighbor in
            neighbors.into_iter().filter(|neighbor| usize::from(neighbor.interface.0) < interfaces)
        {
            fib.neighbors.insert(station(neighbor.interface, &neighbor.address), neighbor.mac);
        }
        for entry in routes {
            fib.add_route(RoutingTable::MAIN, entry);
        }
        fib.add_host_routes();
        fib
    }

    /// The same, where these gateways do not answer: rules that have others leave them out.
    #[must_use]
    pub fn with_silent(mut self, gateways: impl IntoIterator<Item = (InterfaceId, IpAddr)>) -> Self {
        self.silent.extend(gateways.into_iter().map(|(interface, address)| station(interface, &address)));
        self
    }

    /// The same, with routes of other tables. A table without any leads nowhere but to the host itself.
    #[must_use]
    pub fn with_tables(mut self, routes: impl IntoIterator<Item = (RoutingTable, RouteEntry)>) -> Self {
        for (table, entry) in routes {
            self.add_route(table.canonical(), entry);
        }
        self
    }

    fn add_route(&mut self, table: RoutingTable, mut entry: RouteEntry) {
        if let Route::Forward(hops) = &mut entry.route {
            let known = self.interfaces.len();
            hops.retain(|hop| usize::from(hop.interface.0) < known);
            if hops.is_empty() {
                return;
            }
        }
        let mac = match &entry.route {
            Route::Forward(hops) => match hops[..] {
                [NextHop { interface, gateway: Some(gateway), .. }] => self.neighbor(interface, &gateway),
                _ => None,
            },
            _ => None,
        };
        let tries = match table {
            RoutingTable::MAIN => &mut self.routes,
            other => self.others.entry(other).or_insert_with(|| no_routes().into()),
        };
        let trie = &mut Arc::make_mut(tries)[family_index(Af::of(&entry.prefix))];
        trie.insert(Address::from(entry.prefix).0, entry.length, Held { route: entry.route, mac });
    }

    fn add_host_routes(&mut self) {
        let tries = Arc::make_mut(&mut self.routes);
        for interface in &self.interfaces {
            for own in &interface.addresses {
                let af = Af::of(&own.address);
                let trie = &mut tries[family_index(af)];
                let address = Address::from(own.address);
                trie.insert(address.0, af.bits(), Held::of(Route::Host));
                // A /31 or /32 has no broadcast address (RFC 3021).
                if af == Af::Inet && own.prefix < 31 {
                    let host_bits = u32::MAX.checked_shr(u32::from(own.prefix)).unwrap_or(0);
                    trie.insert(u128::from(address.v4() | host_bits), 32, Held::of(Route::Broadcast));
                }
            }
        }
    }

    /// Tells two snapshots apart.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Every interface, by number.
    pub fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// The interface of this number.
    #[inline]
    pub fn interface(&self, id: InterfaceId) -> Option<&Interface> {
        self.interfaces.get(usize::from(id.0))
    }

    /// The address of a family that an interface has, if that is one and no other: one that leads beyond its link.
    #[inline]
    pub(crate) fn only_address(&self, id: InterfaceId, af: Af) -> Option<Address> {
        self.only.get(usize::from(id.0))?[family_index(af)]
    }

    /// The path to a destination by the main table; `hash` chooses among equal next hops, so that a flow keeps to one, also when others
    /// come or go.
    #[inline]
    pub fn lookup(&self, af: Af, destination: Address, hash: u64) -> Path {
        self.lookup_in(RoutingTable::MAIN, af, destination, hash)
    }

    /// As [`lookup`](Self::lookup), by any table.
    pub fn lookup_in(&self, table: RoutingTable, af: Af, destination: Address, hash: u64) -> Path {
        match self.way_in(table, af, destination, hash) {
            Way::Host => Path::Host,
            Way::Forward { hop, mac } => Path::Forward {
                interface: hop.interface,
                next_hop: hop.station(af, destination),
                mac,
                mtu: hop.mtu,
            },
            Way::Blackhole => Path::Blackhole,
            Way::Prohibit => Path::Prohibit,
            Way::Unreachable => Path::Unreachable,
        }
    }

    /// As [`lookup`](Self::lookup), where hardly anything is copied.
    pub(crate) fn way(&self, af: Af, destination: Address, hash: u64) -> Way {
        self.along(self.routes[family_index(af)].lookup(destination.0), af, destination, hash)
    }

    /// As [`way`](Self::way), by any table.
    pub(crate) fn way_in(&self, table: RoutingTable, af: Af, destination: Address, hash: u64) -> Way {
        self.along(self.find(table, af, destination).map(|(.., held)| held), af, destination, hash)
    }

    /// What a table has for a destination. The firewall's own addresses are the host's whatever it says, as in the kernel,
    /// which looks into its table of them before any other.
    fn find(&self, table: RoutingTable, af: Af, destination: Address) -> Option<(u128, u8, &Held)> {
        let at = family_index(af);
        if table.canonical() == RoutingTable::MAIN {
            return self.routes[at].lookup_prefix(destination.0);
        }
        let own = self.routes[at].get(destination.0, af.bits());
        let own = own.filter(|held| matches!(held.route, Route::Host | Route::Broadcast));
        match own {
            Some(held) => Some((destination.0, af.bits(), held)),
            None => self.others.get(&table)?[at].lookup_prefix(destination.0),
        }
    }

    #[inline]
    fn along(&self, held: Option<&Held>, af: Af, destination: Address, hash: u64) -> Way {
        let Some(Held { route, mac }) = held else { return Way::Unreachable };
        match route {
            Route::Host | Route::Broadcast => Way::Host,
            Route::Forward(hops) => {
                let hop = *choose(hops, hash);
                let mac = mac.or_else(|| match &hop.gateway {
                    Some(gateway) => self.neighbor(hop.interface, gateway),
                    None => self.neighbors.get(&(hop.interface, af, destination)).copied(),
                });
                Way::Forward { hop, mac }
            }
            Route::Blackhole => Way::Blackhole,
            Route::Prohibit => Way::Prohibit,
            Route::Unreachable => Way::Unreachable,
        }
    }

    /// The way to a gateway: on the interface that it is said to be on, else where packets for it go.
    pub(crate) fn way_to(&self, af: Af, gateway: &Target, hash: u64) -> Way {
        let address = gateway.address;
        match gateway.via {
            Some(_) if self.is_own(af, address) => Way::Host,
            Some(interface) => {
                let mac = self.neighbors.get(&(interface, af, address)).copied();
                let hop = NextHop { interface, gateway: Some(address.to_ip(af)), mtu: None };
                Way::Forward { hop, mac }
            }
            None => match self.way(af, address, hash) {
                Way::Forward { hop, mac } => {
                    let hop = NextHop { gateway: Some(hop.station(af, address)), ..hop };
                    Way::Forward { hop, mac }
                }
                other => other,
            },
        }
    }

    /// True if it is known that a gateway does not answer.
    pub fn is_silent(&self, interface: InterfaceId, address: &IpAddr) -> bool {
        self.silent.contains(&station(interface, address))
    }

    /// The neighbour by which packets for a gateway go; `None` if there is none.
    pub(crate) fn neighbor_to(&self, af: Af, gateway: &Target) -> Option<(InterfaceId, IpAddr)> {
        let Way::Forward { hop, .. } = self.way_to(af, gateway, 0) else { return None };
        Some((hop.interface, hop.gateway?))
    }

    /// True unless it is known that packets for a gateway get nowhere: it does not answer, its link is down, or there is none.
    pub(crate) fn is_alive(&self, af: Af, gateway: &Target) -> bool {
        let Some((interface, address)) = self.neighbor_to(af, gateway) else { return false };
        !self.is_silent(interface, &address) && self.interface(interface).is_some_and(|link| link.up)
    }

    /// The most specific route of a table to a destination, with its prefix and length.
    pub fn route_to(
        &self,
        table: RoutingTable,
        af: Af,
        destination: Address,
    ) -> Option<(IpAddr, u8, &Route)> {
        let (prefix, length, held) = self.find(table, af, destination)?;
        Some((Address(prefix).to_ip(af), length, &held.route))
    }

    /// True if packets for this address would leave by the interface, where a table routes them, or it is in one of the
    /// interface's own networks. So is every link-local address of IPv6, which has no other way back (pf's `pf_routable`).
    pub(crate) fn leads_by(
        &self,
        table: RoutingTable,
        af: Af,
        address: Address,
        interface: InterfaceId,
    ) -> bool {
        if af == Af::Inet6 && is_link_local(&address.to_ip(af)) {
            return true;
        }
        match self.find(table, af, address).map(|(.., held)| &held.route) {
            Some(Route::Forward(hops)) => hops.iter().any(|hop| hop.interface == interface),
            Some(Route::Host | Route::Broadcast) => self.interface(interface).is_some_and(|own| {
                let of_family = own.addresses.iter().filter(|own| Af::of(&own.address) == af);
                of_family.into_iter().any(|own| own.is_near(address, own.prefix))
            }),
            Some(Route::Blackhole | Route::Unreachable | Route::Prohibit) | None => false,
        }
    }

    /// Every route with its table, its prefix and length: the main table first, and of each IPv4 first, in the order of the
    /// prefixes.
    pub fn routes(&self) -> impl Iterator<Item = (RoutingTable, IpAddr, u8, &Route)> {
        let main = core::iter::once((RoutingTable::MAIN, &self.routes));
        let others = self.others.iter().map(|(table, tries)| (*table, tries));
        main.chain(others).flat_map(|(table, tries)| {
            [Af::Inet, Af::Inet6].into_iter().flat_map(move |af| {
                let entries = tries[family_index(af)].entries().into_iter();
                entries.map(move |(prefix, length, held)| {
                    (table, Address(prefix).to_ip(af), length, &held.route)
                })
            })
        })
    }

    /// Every neighbour, in the order of interfaces and addresses.
    pub fn neighbors(&self) -> Vec<Neighbor> {
        let mut neighbors: Vec<Neighbor> = (&self.neighbors)
            .into_iter()
            .map(|(&(interface, af, address), &mac)| Neighbor { interface, address: address.to_ip(af), mac })
            .collect();
        neighbors.sort_by_key(|neighbor| (neighbor.interface, neighbor.address));
        neighbors
    }

    /// The Ethernet address of a neighbour, if it is known.
    #[inline]
    pub fn neighbor(&self, interface: InterfaceId, address: &IpAddr) -> Option<Mac> {
        self.neighbors.get(&station(interface, address)).copied()
    }

    /// The route of this very address.
    fn held(&self, af: Af, address: Address) -> Option<&Route> {
        self.routes[family_index(af)].get(address.0, af.bits()).map(|held| &held.route)
    }

    /// True if the address is one of the firewall's own.
    pub fn is_own(&self, af: Af, address: Address) -> bool {
        matches!(self.held(af, address), Some(Route::Host))
    }

    /// True if the address is the broadcast address of one of the firewall's networks.
    pub fn is_broadcast(&self, af: Af, address: Address) -> bool {
        matches!(self.held(af, address), Some(Route::Broadcast))
    }
}
