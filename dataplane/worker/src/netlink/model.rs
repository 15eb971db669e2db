//! The kernel's tables as the events tell them, and the forwarding base that follows from them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use engine::Zone;
use engine::fib::{
    Bridge, Fib, Interface, InterfaceAddress, InterfaceId, Neighbor, NextHop, Role, Route, RouteEntry,
};
use ruleset::RoutingTable;
use wire::Mac;

use super::event::{Event, Hop, KernelNeighbor, KernelRoute, Link, Manner, OwnAddress, RouteKey, Target};

/// Next hops are repeated by their weight as long as this many suffice; beyond it they share evenly.
const HOPS_MAX: usize = 64;

/// An interface of the dataplane, by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// Its name, and its host interface's if it has one.
    pub name: String,
    /// The Ethernet address that the host interface was made with.
    pub mac: Mac,
    /// The largest IP datagram that the port takes, in bytes.
    pub mtu: u16,
    /// What it is there for; of one that is not routed the kernel knows nothing.
    pub place: Place,
}

/// What an interface is there for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Addresses and routes.
    #[default]
    Routed,
    /// A transparent pair.
    Bridged(BridgeSpec),
    /// Copies of frames.
    Span,
}

/// An interface's part in a transparent pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeSpec {
    /// The pair's name, which is a group of its interfaces.
    pub name: String,
    /// What the engine knows of it.
    pub bridge: Bridge,
}

/// Whether a change can have changed routes without the kernel's telling so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Effect {
    /// Nothing that forwarding depends on has changed.
    Nothing,
    /// The model is complete.
    Changed,
    /// The kernel may have removed or revived routes in silence: IPv4 routes over a link that went down or came up, or
    /// with a preferred source that is gone. They must be dumped again.
    RoutesDoubtful,
}

/// The kernel's tables.
#[derive(Debug)]
pub struct Model {
    interfaces: Vec<InterfaceSpec>,
    links: BTreeMap<u32, Link>,
    addresses: Vec<OwnAddress>,
    /// Routes of one key in the order of their preference.
    routes: BTreeMap<RouteKey, Vec<Target>>,
    neighbors: BTreeMap<(u32, IpAddr), KernelNeighbor>,
    /// Gateways of routes that have others as well.
    alternatives: BTreeSet<(u32, IpAddr)>,
    /// Gateways that rules name.
    watched: BTreeSet<(u32, IpAddr)>,
    /// Those of them that did not answer the kernel, until they do: they get nothing while another one is left.
    silent: BTreeSet<(u32, IpAddr)>,
}

impl Model {
    /// A model in which nothing is known yet of these interfaces, numbered in their order.
    pub fn new(interfaces: Vec<InterfaceSpec>) -> Self {
        Self {
            interfaces,
            links: BTreeMap::new(),
            addresses: Vec::new(),
            routes: BTreeMap::new(),
            neighbors: BTreeMap::new(),
            alternatives: BTreeSet::new(),
            watched: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    /// A model of the same interfaces in which nothing is known.
    pub fn unlearnt(&self) -> Self {
        Self::new(self.interfaces.clone())
    }

    /// Forgets everything that was learnt, before everything is dumped again.
    pub fn forget(&mut self) {
        let watched = std::mem::take(&mut self.watched);
        *self = Self { watched, ..Self::new(std::mem::take(&mut self.interfaces)) };
    }

    /// Forgets the routes, before they are dumped again.
    pub fn forget_routes(&mut self) {
        self.routes.clear();
    }

    /// The number of the interface whose host interface is this link.
    pub fn interface_of(&self, link: u32) -> Option<InterfaceId> {
        let name = &self.links.get(&link)?.name;
        let is_host = |spec: &InterfaceSpec| spec.place == Place::Routed && spec.name == *name;
        let index = self.interfaces.iter().position(is_host)?;
        Some(InterfaceId(index as u16))
    }

    /// The index of an interface's link, if the kernel has it.
    pub fn link_of(&self, interface: InterfaceId) -> Option<u32> {
        let spec =
            self.interfaces.get(usize::from(interface.0)).filter(|spec| spec.place == Place::Routed)?;
        let name = &spec.name;
        self.links.values().find(|link| link.name == *name).map(|link| link.index)
    }

    /// Neighbours on our interfaces whose Ethernet address was not confirmed for a while.
    pub fn stale(&self) -> impl Iterator<Item = (u32, IpAddr)> + '_ {
        let ours = |known: &&KernelNeighbor| known.stale && self.interface_of(known.link).is_some();
        self.neighbors.values().filter(ours).map(|known| (known.link, known.address))
    }

    /// Has these gateways looked after, and no others but those of routes.
    pub fn watch(&mut self, gateways: impl IntoIterator<Item = (u32, IpAddr)>) -> Effect {
        let watched: BTreeSet<_> = gateways.into_iter().collect();
        if watched == self.watched {
            return Effect::Nothing;
        }
        let fails = |place: &&(u32, IpAddr)| {
            self.neighbors.get(place).is_some_and(|known| known.silent && known.mac.is_none())
        };
        self.silent.extend(watched.iter().filter(fails));
        self.watched = watched;
        Effect::Changed
    }

    /// Gateways that rules name and whose Ethernet address is not known.
    pub fn wanted(&self) -> impl Iterator<Item = (u32, IpAddr)> + '_ {
        let known =
            |place: &(u32, IpAddr)| self.neighbors.get(place).is_some_and(|known| known.mac.is_some());
        self.watched.iter().filter(move |place| !known(place)).copied()
    }

    /// Gateways that do not answer, and would get packets if they did.
    pub fn silent(&self) -> impl Iterator<Item = (u32, IpAddr)> + '_ {
        self.silent.iter().copied()
    }

    /// Finds the gateways of which others could take over the packets, before the forwarding base is built.
    pub fn find_alternatives(&mut self) {
        let several = |target: &'_ &Target| matches!(target, Target::Hops(hops) if hops.len() > 1);
        let places = |target: &Target| match target {
            Target::Hops(hops) => {
                hops.iter().filter_map(|hop| Some((hop.link, hop.gateway?))).collect::<Vec<_>>()
            }
            _ => Vec::new(),
        };
        let best = self.routes.values().filter_map(|targets| targets.first());
        self.alternatives = best.filter(several).flat_map(places).collect();
        self.silent.retain(|place| self.alternatives.contains(place) || self.watched.contains(place));
    }

    /// True if forwarding by `other` would not be the same.
    pub fn differs(&self, other: &Self) -> bool {
        let known = |model: &Self| -> Vec<_> {
            let known = model.neighbors.iter().filter_map(|(place, neighbor)| Some((*place, neighbor.mac?)));
            known.collect()
        };
        let sorted = |model: &Self| {
            let mut addresses = model.addresses.clone();
            addresses.sort_by_key(|own| (own.link, own.address));
            addresses
        };
        let best = |model: &Self| -> Vec<_> {
            let best =
                model.routes.iter().filter_map(|(key, targets)| Some((*key, targets.first()?.sorted())));
            best.collect()
        };
        self.links != other.links
            || known(self) != known(other)
            || sorted(self) != sorted(other)
            || best(self) != best(other)
    }

    /// Applies one event.
    pub fn apply(&mut self, event: Event) -> Effect {
        match event {
            Event::Link(link) => self.set_link(link),
            Event::LinkGone { index } => self.remove_link(index),
            Event::Address(address) => self.set_address(address),
            Event::AddressGone(address) => self.remove_address(&address),
            Event::Route { manner, route } => self.add_route(manner, route),
            Event::RouteGone(route) => self.remove_route(&route),
            Event::Neighbor(neighbor) => self.set_neighbor(neighbor),
            Event::NeighborGone { link, address } => self.remove_neighbor(link, address),
            // The kernel removes and changes routes over it in silence.
            Event::NextHopChanged => Effect::RoutesDoubtful,
        }
    }

    fn set_link(&mut self, link: Link) -> Effect {
        let (index, up) = (link.index, link.up);
        match self.links.insert(index, link) {
            Some(before) if before == self.links[&index] => Effect::Nothing,
            Some(before) if before.up != up => Effect::RoutesDoubtful,
            _ => Effect::Changed,
        }
    }

    fn remove_link(&mut self, index: u32) -> Effect {
        self.addresses.retain(|address| address.link != index);
        self.neighbors.retain(|(link, _), _| *link != index);
        match self.links.remove(&index) {
            Some(_) => Effect::RoutesDoubtful,
            None => Effect::Nothing,
        }
    }

    fn set_address(&mut self, address: OwnAddress) -> Effect {
        let same = |known: &&mut OwnAddress| (known.link, known.address) == (address.link, address.address);
        match self.addresses.iter_mut().find(same) {
            Some(known) if *known == address => Effect::Nothing,
            Some(known) => {
                *known = address;
                Effect::Changed
            }
            None => {
                self.addresses.push(address);
                Effect::Changed
            }
        }
    }

    fn remove_address(&mut self, address: &OwnAddress) -> Effect {
        let before = self.addresses.len();
        self.addresses.retain(|known| (known.link, known.address) != (address.link, address.address));
        if self.addresses.len() == before { Effect::Nothing } else { Effect::RoutesDoubtful }
    }

    fn add_route(&mut self, manner: Manner, route: KernelRoute) -> Effect {
        let targets = self.routes.entry(route.key).or_default();
        // The dump and the events that arrived meanwhile may tell the same route twice.
        if manner != Manner::Replace && targets.contains(&route.target) {
            return Effect::Nothing;
        }
        let merged = route.key.prefix.is_ipv6() && manner != Manner::Replace && merge(targets, &route.target);
        match (merged, manner) {
            (true, _) => {}
            (false, Manner::Replace) if !targets.is_empty() => targets[0] = route.target,
            (false, Manner::Append) => targets.push(route.target),
            (false, _) => targets.insert(0, route.target),
        }
        Effect::Changed
    }

    fn remove_route(&mut self, route: &KernelRoute) -> Effect {
        let Some(targets) = self.routes.get_mut(&route.key) else { return Effect::Nothing };
        let removed = match &route.target {
            Target::Hops(gone) if route.key.prefix.is_ipv6() => remove_hops(targets, gone),
            gone => match targets.iter().position(|target| same_target(target, gone)) {
                Some(index) => {
                    targets.remove(index);
                    true
                }
                None => false,
            },
        };
        if targets.is_empty() {
            self.routes.remove(&route.key);
        }
        // What is told to be gone but was not known is a sign of something missed.
        if removed { Effect::Changed } else { Effect::RoutesDoubtful }
    }

    fn set_neighbor(&mut self, neighbor: KernelNeighbor) -> Effect {
        let place = (neighbor.link, neighbor.address);
        let before = self.neighbors.insert(place, neighbor);
        let moved = match (neighbor.mac, neighbor.silent) {
            (Some(_), _) => self.silent.remove(&place),
            (None, true) => {
                let matters = self.alternatives.contains(&place) || self.watched.contains(&place);
                matters && self.silent.insert(place)
            }
            (None, false) => false,
        };
        let same = before.and_then(|known| known.mac) == neighbor.mac;
        if same && !moved { Effect::Nothing } else { Effect::Changed }
    }

    fn remove_neighbor(&mut self, link: u32, address: IpAddr) -> Effect {
        match self.neighbors.remove(&(link, address)) {
            Some(KernelNeighbor { mac: Some(_), .. }) => Effect::Changed,
            _ => Effect::Nothing,
        }
    }

    /// The forwarding base that follows.
    pub fn fib(&self, epoch: u32) -> Fib {
        let own: Vec<Option<u32>> =
            (0..self.interfaces.len()).map(|index| self.link_of(InterfaceId(index as u16))).collect();
        let interfaces =
            self.interfaces.iter().zip(&own).map(|(spec, link)| self.interface(spec, *link)).collect();
        let number =
            |link: u32| own.iter().position(|own| *own == Some(link)).map(|index| InterfaceId(index as u16));
        let neighbors = self.neighbors.values().filter_map(|known| {
            Some(Neighbor { interface: number(known.link)?, address: known.address, mac: known.mac? })
        });
        let main = |table: &RoutingTable| *table == RoutingTable::MAIN;
        let routes =
            self.best_routes(&number, main).map(|(_, route)| route).chain(self.foreign_addresses(&own));
        let others = self.best_routes(&number, |table| !main(table));
        let silent = self.silent.iter().filter_map(|(link, address)| Some((number(*link)?, *address)));
        Fib::new(epoch, interfaces, routes, neighbors).with_tables(others).with_silent(silent)
    }

    fn interface(&self, spec: &InterfaceSpec, link: Option<u32>) -> Interface {
        let link = link.and_then(|index| self.links.get(&index));
        let mut addresses: Vec<&OwnAddress> = self
            .addresses
            .iter()
            .filter(|address| link.is_some_and(|link| link.index == address.link))
            .collect();
        addresses.sort_by_key(|address| address.secondary);
        Interface {
            name: spec.name.clone(),
            groups: groups(spec),
            mac: link.and_then(|link| link.mac).unwrap_or(spec.mac),
            mtu: link.map_or(spec.mtu, |link| u16::try_from(link.mtu).unwrap_or(u16::MAX).min(spec.mtu)),
            addresses: addresses
                .into_iter()
                .map(|own| InterfaceAddress { address: own.address, prefix: own.prefix, peer: own.peer })
                .collect(),
            zone: Zone::default(),
            // Where the kernel knows no link, what the device cannot send is counted where it is sent.
            up: spec.place != Place::Routed || link.is_some_and(|link| link.up),
            role: match &spec.place {
                Place::Routed => Role::Routed,
                Place::Bridged(spec) => Role::Bridged(spec.bridge),
                Place::Span => Role::Span,
            },
        }
    }

    /// For each prefix of the tables that are `wanted` the route of the least metric.
    fn best_routes<'a>(
        &'a self,
        number: &'a dyn Fn(u32) -> Option<InterfaceId>,
        wanted: impl Fn(&RoutingTable) -> bool + 'a,
    ) -> impl Iterator<Item = (RoutingTable, RouteEntry)> + 'a {
        let mut last = None;
        self.routes.iter().filter(move |(key, _)| wanted(&key.table)).filter_map(move |(key, targets)| {
            // Keys are in order: the first of each prefix has the least metric.
            let place = (key.table, key.prefix, key.length);
            if last.replace(place) == Some(place) {
                return None;
            }
            let route = match targets.first()? {
                Target::Blackhole => Route::Blackhole,
                Target::Unreachable => Route::Unreachable,
                Target::Prohibit => Route::Prohibit,
                Target::Hops(hops) => forward(hops, number, &self.silent),
            };
            Some((key.table, RouteEntry { prefix: key.prefix, length: key.length, route }))
        })
    }

    /// Addresses of the host's other links (loopback's router address, a management port) are the host's too.
    fn foreign_addresses<'a>(&'a self, own: &'a [Option<u32>]) -> impl Iterator<Item = RouteEntry> + 'a {
        let of_link_only = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
        };
        self.addresses
            .iter()
            .filter(move |known| !own.contains(&Some(known.link)) && !of_link_only(&known.address))
            .map(|known| {
                let length = if known.address.is_ipv4() { 32 } else { 128 };
                RouteEntry { prefix: known.address, length, route: Route::Host }
            })
    }
}

/// The groups of an interface: the one of its name, and that of its pair.
fn groups(spec: &InterfaceSpec) -> Vec<String> {
    let family = family(&spec.name);
    let pair = match &spec.place {
        Place::Bridged(pair) => Some(pair.name.as_str()).filter(|pair| Some(*pair) != family),
        Place::Routed | Place::Span => None,
    };
    family.into_iter().chain(pair).map(str::to_owned).collect()
}

/// The group that pf puts an interface in by its name: `wan0` is in `wan`.
fn family(name: &str) -> Option<&str> {
    let group = name.trim_end_matches(|last: char| last.is_ascii_digit());
    (!group.is_empty() && group != name).then_some(group)
}

/// IPv6 routes of one key are one route with several next hops. True if `target` went into one that is there.
fn merge(targets: &mut [Target], target: &Target) -> bool {
    let (Some(Target::Hops(known)), Target::Hops(more)) = (targets.first_mut(), target) else { return false };
    for hop in more {
        match known.iter_mut().find(|known| known.same_place(hop)) {
            Some(known) => *known = *hop,
            None => known.push(*hop),
        }
    }
    true
}

/// Takes next hops out of the first route that has any of them.
fn remove_hops(targets: &mut Vec<Target>, gone: &[Hop]) -> bool {
    for (index, target) in targets.iter_mut().enumerate() {
        let Target::Hops(hops) = target else { continue };
        let before = hops.len();
        hops.retain(|hop| !gone.iter().any(|gone| gone.same_place(hop)));
        if hops.len() < before {
            if hops.is_empty() {
                targets.remove(index);
            }
            return true;
        }
    }
    false
}

fn same_target(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::Hops(a), Target::Hops(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_place(b))
        }
        (a, b) => a == b,
    }
}

/// A route over next hops of which some may be down or lead out of links that are not the dataplane's: it forwards over
/// the others, and says unreachable if there is none. A less specific route must not catch what the kernel sends elsewhere.
/// Of several, those that do not answer and those on links without carrier are left out while there are others.
fn forward(
    hops: &[Hop],
    number: &dyn Fn(u32) -> Option<InterfaceId>,
    silent: &BTreeSet<(u32, IpAddr)>,
) -> Route {
    let good =
        |hop: &Hop| hop.carrier && hop.gateway.is_none_or(|gateway| !silent.contains(&(hop.link, gateway)));
    let any_good = hops.iter().any(|hop| hop.usable && number(hop.link).is_some() && good(hop));
    let usable: Vec<(NextHop, usize)> = hops
        .iter()
        .filter(|hop| hop.usable && (good(hop) || !any_good))
        .filter_map(|hop| {
            let Hop { gateway, mtu, .. } = *hop;
            Some((NextHop { interface: number(hop.link)?, gateway, mtu }, usize::from(hop.weight)))
        })
        .collect();
    let even = usable.iter().map(|(_, weight)| weight).sum::<usize>() > HOPS_MAX;
    let shares: Vec<NextHop> = usable
        .into_iter()
        .flat_map(|(hop, weight)| std::iter::repeat_n(hop, if even { 1 } else { weight }))
        .collect();
    if shares.is_empty() { Route::Unreachable } else { Route::Forward(shares) }
}
