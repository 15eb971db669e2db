//! The forwarding base, as it is shown.

use std::net::IpAddr;

use api::{NeighborView, NextHopView, RouteKind, RouteTo, RouteView};
use engine::fib::{NextHop, Route};
use engine::{Address, Fib, InterfaceId};
use ruleset::RoutingTable;
use wire::Af;

use super::desk::colons;

/// Every route, in the order of tables and prefixes.
pub fn routes(fib: &Fib) -> impl Iterator<Item = RouteView> {
    fib.routes().map(|(table, prefix, length, route)| view(fib, (table, prefix, length), route, None))
}

/// The route of a table to an address.
pub fn route_to(fib: &Fib, table: RoutingTable, address: IpAddr) -> RouteTo {
    let table = table.canonical();
    let found = fib.route_to(table, Af::of(&address), Address::from(address));
    let route = found.map(|(prefix, length, route)| view(fib, (table, prefix, length), route, Some(address)));
    RouteTo { address, table, route }
}

/// Every neighbour.
pub fn neighbors(fib: &Fib) -> impl Iterator<Item = NeighborView> {
    fib.neighbors().into_iter().map(|neighbor| NeighborView {
        interface: name(fib, neighbor.interface),
        address: neighbor.address,
        mac: colons(neighbor.mac),
    })
}

fn name(fib: &Fib, interface: InterfaceId) -> String {
    fib.interface(interface).map_or_else(String::new, |interface| interface.name.clone())
}

fn view(
    fib: &Fib,
    (table, prefix, length): (RoutingTable, IpAddr, u8),
    route: &Route,
    towards: Option<IpAddr>,
) -> RouteView {
    let kind = match route {
        Route::Host => RouteKind::Host,
        Route::Broadcast => RouteKind::Broadcast,
        Route::Forward(_) => RouteKind::Forward,
        Route::Blackhole => RouteKind::Blackhole,
        Route::Unreachable => RouteKind::Unreachable,
        Route::Prohibit => RouteKind::Prohibit,
    };
    let next_hops = match route {
        Route::Forward(shares) => next_hops(fib, shares, towards),
        _ => Vec::new(),
    };
    RouteView { table, destination: format!("{prefix}/{length}"), kind, next_hops }
}

/// The next hops, each with its shares, which are next to each other.
fn next_hops(fib: &Fib, shares: &[NextHop], towards: Option<IpAddr>) -> Vec<NextHopView> {
    let hop = |same: &[NextHop]| {
        let NextHop { interface, gateway, mtu } = same[0];
        let via = gateway.or(towards);
        NextHopView {
            interface: name(fib, interface),
            via,
            mac: via.and_then(|via| fib.neighbor(interface, &via)).map(colons),
            weight: same.len() as u16,
            mtu,
        }
    };
    shares.chunk_by(|a, b| a == b).map(hop).collect()
}
