//! The network that simulations play in: three interfaces with a network of each family behind them, a router behind the
//! second one, and everything else unreachable. The engine's forwarding base and the oracle's world are built from the
//! same table.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::fib::{
    Bridge, Interface, InterfaceAddress, Neighbor, NextHop, NonIpPolicy, Role, Route, RouteEntry,
};
use engine::{Fib, InterfaceId, Zone};
use ipnet::IpNet;
use wire::{Af, Mac};

use crate::oracle;

/// How many interfaces there are.
pub const INTERFACES: u16 = 3;

/// The largest IP datagram on every link.
pub const MTU: u16 = 1500;

/// The last octet of the router behind the second interface.
const ROUTER: u8 = 254;

/// The stations of each network, by their last octet.
const STATIONS: core::ops::RangeInclusive<u8> = 2..=9;

const NAMES: [(&str, &str); INTERFACES as usize] = [("em0", "lan"), ("em1", "egress"), ("em2", "egress")];

/// Which way the network behind the router is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routes {
    /// By the second interface.
    #[default]
    Usual,
    /// By the third one, where a router stands as well.
    Detour,
    /// By the third one: the others are a transparent pair without addresses, and the stations that were behind them are
    /// behind the third one, too.
    Bridged,
}

impl Routes {
    const fn to_remote(self) -> InterfaceId {
        match self {
            Self::Usual => InterfaceId(1),
            Self::Detour | Self::Bridged => InterfaceId(2),
        }
    }

    /// The transparent pair, if there is one.
    const fn pair(self) -> Option<[InterfaceId; 2]> {
        match self {
            Self::Usual | Self::Detour => None,
            Self::Bridged => Some([InterfaceId(0), InterfaceId(1)]),
        }
    }

    /// The interface that leads to the network of this number.
    fn to_network(self, id: InterfaceId) -> InterfaceId {
        if self.peer(id).is_some() { InterfaceId(2) } else { id }
    }

    /// The other interface of a pair.
    fn peer(self, id: InterfaceId) -> Option<InterfaceId> {
        let pair = self.pair().filter(|pair| pair.contains(&id))?;
        pair.into_iter().find(|other| *other != id)
    }
}

/// Every interface.
pub fn interfaces() -> impl Iterator<Item = InterfaceId> {
    (0..INTERFACES).map(InterfaceId)
}

/// The address of a station, of the firewall itself (1) or of the router (254), in the network behind an interface.
pub fn address(af: Af, interface: InterfaceId, station: u8) -> IpAddr {
    match af {
        Af::Inet => Ipv4Addr::new(10, interface.0 as u8, 0, station).into(),
        Af::Inet6 => Ipv6Addr::new(0x2001, 0xdb8, interface.0, 0, 0, 0, 0, station.into()).into(),
    }
}

/// A host in a network that is reached through the router behind the second interface.
pub fn remote(af: Af, host: u8) -> IpAddr {
    match af {
        Af::Inet => Ipv4Addr::new(198, 51, 100, host).into(),
        Af::Inet6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, host.into()).into(),
    }
}

/// A host that no route leads to.
pub fn unreachable(af: Af) -> IpAddr {
    match af {
        Af::Inet => Ipv4Addr::new(203, 0, 113, 9).into(),
        Af::Inet6 => Ipv6Addr::new(0x2001, 0xdb8, 0xdead, 0, 0, 0, 0, 9).into(),
    }
}

/// The Ethernet address of the firewall (1), a station, or the router, behind an interface.
pub const fn mac(interface: InterfaceId, station: u8) -> Mac {
    Mac([2, 0, 0, 0, interface.0 as u8, station])
}

/// The interface that a packet from this address arrives on, if it is not forged.
pub fn home_of(address: IpAddr) -> Option<InterfaceId> {
    let number = match address {
        IpAddr::V4(address) => match address.octets() {
            [10, number, 0, _] => u16::from(number),
            [198, 51, 100, _] => 1,
            _ => return None,
        },
        IpAddr::V6(address) => match address.segments() {
            [0x2001, 0xdb8, 0xffff, ..] => 1,
            [0x2001, 0xdb8, number, ..] => number,
            _ => return None,
        },
    };
    (number < INTERFACES).then_some(InterfaceId(number))
}

/// The forwarding base.
pub fn fib() -> Fib {
    fib_with(&[])
}

/// The forwarding base with these routes; `epoch` tells it from others.
pub fn fib_of(routes: Routes, epoch: u32) -> Fib {
    let interfaces = interfaces().map(|id| interface(id, routes)).collect();
    Fib::new(epoch, interfaces, entries(routes), neighbors(routes))
}

/// The forwarding base with these networks behind the first interface, too.
///
/// # Panics
/// If one of them is no network.
pub fn fib_with(more: &[&str]) -> Fib {
    let on_link = |text: &&str| {
        let net: IpNet = text.parse().expect("a network");
        let route = Route::Forward(vec![NextHop { interface: InterfaceId(0), gateway: None, mtu: None }]);
        RouteEntry { prefix: net.addr(), length: net.prefix_len(), route }
    };
    let routes = entries(Routes::Usual).into_iter().chain(more.iter().map(on_link));
    let interfaces = interfaces().map(|id| interface(id, Routes::Usual)).collect();
    Fib::new(1, interfaces, routes, neighbors(Routes::Usual))
}

/// The forwarding base with these routes and two span ports more, `span0` and `span1`.
pub fn fib_with_spans(routes: Routes, epoch: u32) -> Fib {
    let span = |number: u16| Interface {
        name: format!("span{number}"),
        groups: Vec::new(),
        mac: mac(InterfaceId(INTERFACES + number), 1),
        mtu: MTU,
        addresses: Vec::new(),
        zone: Zone(0),
        up: true,
        role: Role::Span,
    };
    let all = interfaces().map(|id| interface(id, routes)).chain((0..2).map(span)).collect();
    Fib::new(epoch, all, entries(routes), neighbors(routes))
}

/// The addresses of an interface: in a pair it has none.
fn addresses(id: InterfaceId, routes: Routes) -> Vec<IpNet> {
    let families = if routes.peer(id).is_some() { &[][..] } else { &[Af::Inet, Af::Inet6] };
    families.iter().map(|af| IpNet::new_assert(address(*af, id, 1), prefix_len(*af))).collect()
}

fn interface(id: InterfaceId, routes: Routes) -> Interface {
    let (name, group) = NAMES[usize::from(id.0)];
    let own = |net: IpNet| InterfaceAddress::new(net.addr(), net.prefix_len());
    let bridged = |peer| Role::Bridged(Bridge { peer, non_ip: NonIpPolicy::Pass });
    Interface {
        name: name.into(),
        groups: vec![group.into()],
        mac: mac(id, 1),
        mtu: MTU,
        addresses: addresses(id, routes).into_iter().map(own).collect(),
        zone: Zone(0),
        up: true,
        role: routes.peer(id).map_or(Role::Routed, bridged),
    }
}

const fn prefix_len(af: Af) -> u8 {
    match af {
        Af::Inet => 24,
        Af::Inet6 => 64,
    }
}

/// Prefix, interface, gateway.
fn paths(routes: Routes) -> Vec<(IpNet, InterfaceId, Option<IpAddr>)> {
    let net = |address, af| IpNet::new_assert(address, prefix_len(af)).trunc();
    let mut paths = Vec::new();
    for af in [Af::Inet, Af::Inet6] {
        paths.extend(interfaces().map(|id| (net(address(af, id, 0), af), routes.to_network(id), None)));
        let out = routes.to_remote();
        paths.push((net(remote(af, 0), af), out, Some(address(af, out, ROUTER))));
    }
    paths
}

fn entries(routes: Routes) -> Vec<RouteEntry> {
    let route = |interface, gateway| Route::Forward(vec![NextHop { interface, gateway, mtu: None }]);
    paths(routes)
        .into_iter()
        .map(|(net, interface, gateway)| RouteEntry {
            prefix: net.addr(),
            length: net.prefix_len(),
            route: route(interface, gateway),
        })
        .collect()
}

fn neighbors(routes: Routes) -> Vec<Neighbor> {
    let mut neighbors = Vec::new();
    for network in interfaces() {
        let interface = routes.to_network(network);
        // Where the firewall has no address, a station may have that one.
        let first = (interface != network).then_some(1);
        for af in [Af::Inet, Af::Inet6] {
            for station in STATIONS.chain([ROUTER]).chain(first) {
                let (address, mac) = (address(af, network, station), mac(interface, station));
                neighbors.push(Neighbor { interface, address, mac });
            }
        }
    }
    neighbors
}

/// The same network as the oracle sees it.
pub fn world(routes: Routes) -> oracle::World {
    let interface = |id: InterfaceId| {
        let (name, group) = NAMES[usize::from(id.0)];
        oracle::Interface {
            name: name.into(),
            groups: vec![group.into()],
            kind: oracle::InterfaceKind::Port,
            addresses: addresses(id, routes),
        }
    };
    let theirs = |id: InterfaceId| oracle::InterfaceId(id.0.into());
    oracle::World {
        interfaces: interfaces().map(interface).collect(),
        routes: paths(routes).into_iter().map(|(net, id, _)| (net, theirs(id))).collect(),
        pairs: routes.pair().map(|pair| pair.map(theirs)).into_iter().collect(),
    }
}
