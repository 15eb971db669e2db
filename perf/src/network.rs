//! The network around the firewall that is measured: clients and servers, each side behind a router, and a span port.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::fib::{Interface, InterfaceAddress, Neighbor, NextHop, Role, Route, RouteEntry};
use engine::{Fib, InterfaceId, Tick, Zone};
use ruleset::Ruleset;
use wire::Mac;

/// One of the two interfaces.
#[derive(Clone, Copy, Debug)]
pub struct SideOf {
    /// Its number.
    pub interface: InterfaceId,
    /// The firewall's Ethernet address there.
    pub own_mac: Mac,
    /// The router's behind which the end hosts are.
    pub peer_mac: Mac,
}

/// Where clients are.
pub const CLIENT_SIDE: SideOf = side(0);
/// Where servers are.
pub const SERVER_SIDE: SideOf = side(1);

const fn side(number: u8) -> SideOf {
    SideOf {
        interface: InterfaceId(number as u16),
        own_mac: Mac([2, 0, 0, 0, number, 1]),
        peer_mac: Mac([2, 0, 0, 0, number, 2]),
    }
}

/// The port that takes copies, `span0`.
pub const SPAN: InterfaceId = InterfaceId(2);

/// The time between two bursts: near what they take at line rate.
pub const BURST_TIME: Tick = Tick(4_000);

/// A ruleset of these rules (pf.conf) with room for `states` as pf counts them.
///
/// # Errors
/// What is wrong with the rules.
pub fn ruleset(rules: &str, states: u32) -> anyhow::Result<Ruleset> {
    // Every state is in use: without this, time-outs shrink as they should when a table fills.
    let text =
        format!("set limit states {states}\nset timeout {{ adaptive.start 0, adaptive.end 0 }}\n{rules}");
    pfconf::compile(&text, &pfconf::Interfaces::default())
        .map_err(|findings| anyhow::anyhow!("the benchmark's rules: {findings}"))
}

/// Routes to both sides, each by way of one router whose address is resolved, and a span port.
pub fn fib() -> Fib {
    let routers = [CLIENT_SIDE, SERVER_SIDE];
    let routes = routers.iter().flat_map(|side| {
        networks(side.interface).into_iter().map(|(prefix, length, gateway)| RouteEntry {
            prefix,
            length,
            route: Route::Forward(vec![NextHop {
                interface: side.interface,
                gateway: Some(gateway),
                mtu: None,
            }]),
        })
    });
    let neighbors = routers.iter().flat_map(|side| {
        networks(side.interface).into_iter().map(|(_, _, address)| Neighbor {
            interface: side.interface,
            address,
            mac: side.peer_mac,
        })
    });
    let span = Interface {
        name: "span0".to_owned(),
        mac: Mac::default(),
        addresses: Vec::new(),
        role: Role::Span,
        ..interface(&CLIENT_SIDE)
    };
    let interfaces = routers.iter().map(interface).chain([span]).collect();
    Fib::new(1, interfaces, routes, neighbors)
}

/// Prefix, length and router of what is behind an interface.
fn networks(interface: InterfaceId) -> Vec<(IpAddr, u8, IpAddr)> {
    let number = interface.0 as u8;
    let router4: IpAddr = Ipv4Addr::new(172, 16, number, 2).into();
    let router6: IpAddr = Ipv6Addr::new(0x2001, 0xdb8, 0xf, number.into(), 0, 0, 0, 2).into();
    let net4 = |a, b, length| (Ipv4Addr::new(a, b, 0, 0).into(), length, router4);
    let net6 = |number| (Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 0).into(), 48, router6);
    if interface == CLIENT_SIDE.interface {
        vec![net4(10, 0, 8), net4(200, 0, 8), net6(2), net6(0xc)]
    } else {
        vec![net4(192, 168, 16), net6(5)]
    }
}

fn interface(side: &SideOf) -> Interface {
    let number = side.interface.0 as u8;
    let own = |address, prefix| InterfaceAddress::new(address, prefix);
    Interface {
        name: format!("em{number}"),
        groups: Vec::new(),
        mac: side.own_mac,
        mtu: 1500,
        addresses: vec![
            own(Ipv4Addr::new(172, 16, number, 1).into(), 24),
            own(Ipv6Addr::new(0x2001, 0xdb8, 0xf, number.into(), 0, 0, 0, 1).into(), 64),
        ],
        zone: Zone(0),
        up: true,
        role: Role::Routed,
    }
}
