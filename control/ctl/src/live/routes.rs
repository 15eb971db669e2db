//! What packets are forwarded by: routes and neighbours.

use std::io::{self, Write};

use api::{NeighborView, NextHopView, RouteKind, RouteTo, RouteView};
use ruleset::RoutingTable;

/// Writes a line a route, and one more for each further next hop.
pub fn write_routes(out: &mut dyn Write, routes: &[RouteView]) -> io::Result<()> {
    routes.iter().try_for_each(|route| write_route(out, route))
}

fn write_route(out: &mut dyn Write, route: &RouteView) -> io::Result<()> {
    let mut name = route.destination.as_str();
    let table = match route.table {
        RoutingTable::MAIN => String::new(),
        table => format!(" table {table}"),
    };
    if route.kind != RouteKind::Forward {
        return writeln!(out, "{name:<20} {}{table}", route.kind.name());
    }
    for hop in &route.next_hops {
        writeln!(out, "{name:<20} {}{table}", words(hop, route.next_hops.len()))?;
        name = "";
    }
    Ok(())
}

/// A next hop, as ip(8) writes one.
fn words(hop: &NextHopView, hops: usize) -> String {
    let mut words = Vec::new();
    if let Some(via) = hop.via {
        words.push(format!("via {via}"));
    }
    words.push(format!("dev {}", hop.interface));
    if let Some(mac) = &hop.mac {
        words.push(format!("lladdr {mac}"));
    }
    if hops > 1 {
        words.push(format!("weight {}", hop.weight));
    }
    if let Some(mtu) = hop.mtu {
        words.push(format!("mtu {mtu}"));
    }
    words.join(" ")
}

/// Writes the route to an address.
pub fn write_route_to(out: &mut dyn Write, found: &RouteTo) -> io::Result<()> {
    match &found.route {
        Some(route) => write_route(out, route),
        None => writeln!(out, "{} has no route: its senders are told that it is unreachable", found.address),
    }
}

/// Writes a line a neighbour.
pub fn write_neighbors(out: &mut dyn Write, neighbors: &[NeighborView]) -> io::Result<()> {
    neighbors.iter().try_for_each(|neighbor| {
        let NeighborView { interface, address, mac } = neighbor;
        writeln!(out, "{address} dev {interface} lladdr {mac}")
    })
}
