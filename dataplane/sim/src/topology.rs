//! The network that simulations play in: three interfaces with a network of each family behind them, a router behind the
//! second one, and everything else unreachable. The engine's forwarding base and the oracle's world are built from the
//! same table.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
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
}

impl Routes {
    const fn to_remote(self) -> InterfaceId {
        match self {
            Self::Usual => InterfaceId(1),
            Self::Detour => InterfaceId(2),
        }
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
    Fib::new(epoch, interfaces().map(interface).collect(), entries(routes), neighbors())
}

/// The forwarding base with these networks behind the first interface, too.
///
/// # Panics
/// If one of them is no network.
pub fn fib_with(more: &[&str]) -> Fib {
    let on_link = |text: &&str| {
        let net: IpNet = text.parse().expect("a network");
        let route = Route::Forward(vec![NextHop { interface: InterfaceId(0), gateway: None }]);
        RouteEntry { prefix: net.addr(), length: net.prefix_len(), route }
    };
    let routes = entries(Routes::Usual).into_iter().chain(more.iter().map(on_link));
    Fib::new(1, interfaces().map(interface).collect(), routes, neighbors())
}

fn interface(id: InterfaceId) -> Interface {
    let (name, group) = NAMES[usize::from(id.0)];
    let own = |af, prefix| InterfaceAddress { address: address(af, id, 1), prefix };
    Interface {
        name: name.into(),
        groups: vec![group.into()],
        mac: mac(id, 1),
        mtu: MTU,
        addresses: vec![own(Af::Inet, 24), own(Af::Inet6, 64)],
        zone: Zone(0),
        up: true,
        role: Role::Routed,
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
        paths.extend(interfaces().map(|id| (net(address(af, id, 0), af), id, None)));
        let out = routes.to_remote();
        paths.push((net(remote(af, 0), af), out, Some(address(af, out, ROUTER))));
    }
    paths
}

fn entries(routes: Routes) -> Vec<RouteEntry> {
    let route = |interface, gateway| Route::Forward(vec![NextHop { interface, gateway }]);
    paths(routes)
        .into_iter()
        .map(|(net, interface, gateway)| RouteEntry {
            prefix: net.addr(),
            length: net.prefix_len(),
            route: route(interface, gateway),
        })
        .collect()
}

fn neighbors() -> Vec<Neighbor> {
    let mut neighbors = Vec::new();
    for interface in interfaces() {
        for af in [Af::Inet, Af::Inet6] {
            for station in STATIONS.chain([ROUTER]) {
                let (address, mac) = (address(af, interface, station), mac(interface, station));
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
        let own = |af| IpNet::new_assert(address(af, id, 1), prefix_len(af));
        oracle::Interface {
            name: name.into(),
            groups: vec![group.into()],
            kind: oracle::InterfaceKind::Port,
            addresses: vec![own(Af::Inet), own(Af::Inet6)],
        }
    };
    oracle::World {
        interfaces: interfaces().map(interface).collect(),
        routes: paths(routes)
            .into_iter()
            .map(|(net, id, _)| (net, oracle::InterfaceId(id.0.into())))
            .collect(),
    }
}
