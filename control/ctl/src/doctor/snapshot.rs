//! What the doctor looks at: the firewall at one moment, and its counters a little earlier.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::{DropExample, DropReport, NeighborView, PacketView, RouteKind, RouteView, SeenPacket, Status};
use ipnet::IpNet;
use ruleset::{Direction, RoutingTable, Rule, RulePlace, Ruleset, StateView, TupleEnd};
use wire::{Port, Proto};

use crate::rulebook::{RuleName, Rulebook};

/// The firewall at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The live rules.
    pub rules: Option<Ruleset>,
    /// How it was a little earlier.
    pub before: Status,
    /// How it is.
    pub status: Status,
    /// The time between.
    pub apart: Duration,
    /// What was dropped in the last minutes.
    pub drops: DropReport,
    /// Its states, or as many as are looked at.
    pub states: Vec<StateView>,
    pub routes: Vec<RouteView>,
    pub neighbors: Vec<NeighborView>,
}

/// A connection as it is between the hooks: protocol, sender of the first packet, receiver.
pub type Inner = (Proto, End, End);

/// An address and a port.
pub type End = (IpAddr, Port);

/// The address and the port of an end.
pub const fn pair(end: TupleEnd) -> End {
    (end.address, end.port)
}

/// A snapshot, with what is looked up in it often.
pub struct Chart<'a> {
    pub snapshot: &'a Snapshot,
    /// States by connection.
    pub connections: BTreeMap<Inner, Vec<&'a StateView>>,
    book: Option<Rulebook<'a>>,
}

/// How a packet gets to an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// The firewall's own host has it.
    Host,
    /// By this interface, over this router if there is one.
    By { interface: String, via: Option<IpAddr> },
    /// There is no way.
    None,
}

/// A connection's ends between the hooks.
pub fn inner(state: &StateView) -> Inner {
    let end = |peer: &ruleset::PeerView| match state.direction {
        Direction::In => pair(peer.end),
        Direction::Out => pair(peer.untranslated.unwrap_or(peer.end)),
    };
    (state.proto, end(&state.source), end(&state.destination))
}

/// The same connection, seen from its other end.
pub fn reversed((proto, source, destination): Inner) -> Inner {
    (proto, destination, source)
}

impl<'a> Chart<'a> {
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut connections: BTreeMap<Inner, Vec<&StateView>> = BTreeMap::new();
        for state in &snapshot.states {
            connections.entry(inner(state)).or_default().push(state);
        }
        Self { snapshot, connections, book: snapshot.rules.as_ref().map(Rulebook::new) }
    }

    /// The rule that made a state.
    pub fn maker(&self, state: &StateView) -> Option<RuleName> {
        self.book.as_ref()?.name(self.place_of_maker(state)?)
    }

    /// The same, as it is in the ruleset.
    pub fn rule_of(&self, state: &StateView) -> Option<&'a Rule> {
        let place = self.place_of_maker(state)?;
        self.snapshot.rules.as_ref()?.rules.get(place as usize)
    }

    fn place_of_maker(&self, state: &StateView) -> Option<u32> {
        self.book.as_ref()?.find(RulePlace { anchor: state.anchor, rule: state.rule? })
    }

    /// The rule of an example.
    pub fn blamed(&self, example: &DropExample) -> Option<RuleName> {
        self.book.as_ref()?.name(example.rule?)
    }

    /// The routing table by which the packet of an example was to be routed, as far as the rule says that is blamed for it.
    pub fn table_by(&self, example: &DropExample) -> RoutingTable {
        let rules = self.snapshot.rules.as_ref().map(|ruleset| &ruleset.rules);
        let rule = example.rule.and_then(|place| rules?.get(place as usize));
        rule.and_then(|rule| rule.rtable).map(RoutingTable::canonical).unwrap_or_default()
    }

    /// True if a routing table has a route.
    pub fn has_routes(&self, table: RoutingTable) -> bool {
        self.snapshot.routes.iter().any(|route| route.table == table)
    }

    /// A rule, by its place in the list of the ruleset's rules.
    pub fn rule_at(&self, place: u32) -> Option<RuleName> {
        self.book.as_ref()?.name(place)
    }

    /// Examples of packets of which it is known where they arrived, with what their headers say. What was lost as it left has
    /// passed all that may be at fault before.
    pub fn dropped(&self) -> impl Iterator<Item = (&'a DropExample, &'a PacketView)> {
        let known = self.snapshot.drops.examples.iter().filter(|example| example.arrival.is_some());
        known.filter_map(|example| match &example.packet {
            SeenPacket::Packet(packet) => Some((example, packet)),
            SeenPacket::Frame { .. } => None,
        })
    }

    /// The way to an address by the main routing table.
    pub fn way_to(&self, address: IpAddr) -> Way {
        self.way_in(RoutingTable::MAIN, address)
    }

    /// The way to an address by a routing table.
    pub fn way_in(&self, table: RoutingTable, address: IpAddr) -> Way {
        if table != RoutingTable::MAIN && self.is_own(address) {
            return Way::Host;
        }
        let holds =
            |route: &&RouteView| route.table == table && net(route).is_some_and(|net| net.contains(&address));
        let length = |route: &&RouteView| net(route).map_or(0, |net| net.prefix_len());
        let Some(route) = self.snapshot.routes.iter().filter(holds).max_by_key(length) else {
            return Way::None;
        };
        match (route.kind, route.next_hops.first()) {
            (RouteKind::Host | RouteKind::Broadcast, _) => Way::Host,
            (RouteKind::Forward, Some(hop)) => Way::By { interface: hop.interface.clone(), via: hop.via },
            _ => Way::None,
        }
    }

    /// The routing table that packets of a connection were routed by which went the way of its first one.
    pub fn table_of(&self, state: &StateView) -> RoutingTable {
        let states = self.connections.get(&inner(state)).into_iter().flatten();
        let mut entered = states.filter(|state| state.direction == Direction::In);
        entered.next().map(|state| state.rtable).unwrap_or_default()
    }

    /// True if the firewall has this address itself.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own_networks().any(|(_, net)| net.addr() == address)
    }

    /// The interface whose network holds an address.
    pub fn link_of(&self, address: IpAddr) -> Option<&'a str> {
        self.own_networks().find(|(_, net)| net.contains(&address)).map(|(name, _)| name)
    }

    fn own_networks(&self) -> impl Iterator<Item = (&'a str, IpNet)> {
        self.snapshot.status.interfaces.iter().flat_map(|interface| {
            let nets = interface.addresses.iter().filter_map(|address| address.parse().ok());
            nets.map(|net| (interface.name.as_str(), net))
        })
    }
}

fn net(route: &RouteView) -> Option<IpNet> {
    route.destination.parse().ok()
}
