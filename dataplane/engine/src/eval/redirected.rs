//! The ports of addresses that rules redirect, as far as they are single ones.
//!
//! Overview: what comes to a port that is redirected never reaches a connection whose source it is. Whether a rule would also
//! match by where a packet is from is not asked: any remote end may be one that it matches.
//! Life cycle: made with the root; tables and interfaces are asked as they are at the time. Ownership: immutable.
//! Bounds: rules that differ in their ports alone are one. Those for one address are found by it; the others that have a port
//! are asked one after the other.

use hashbrown::HashMap;
use ruleset::{Action, RoutingTable};
use wire::{Af, Port, Proto};

use super::Root;
use super::classify::ports;
use super::filter::{Filter, Interfaces, Pattern, Seen};
use crate::Address;
use crate::fib::{Fib, InterfaceId};
use crate::port_runs::{AnyPorts, PortRuns};

/// A rule that redirects more ports than this redirects a host.
const PORTS_MAX: usize = 1 << 15;

/// What a port is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortOf {
    pub proto: Proto,
    pub af: Af,
    pub address: Address,
    /// By which interface packets come to it; `None` if that is not known yet.
    pub interface: Option<InterfaceId>,
}

/// Those that rules redirect.
#[derive(Debug)]
pub(crate) struct Redirected {
    /// Of any address.
    pub any: AnyPorts,
    of_one: HashMap<(Af, Address), Vec<Redirection>>,
    of_others: Vec<Redirection>,
}

/// Packets that are redirected, and to which ports.
#[derive(Debug)]
struct Redirection {
    to: Destinations,
    ports: PortRuns,
}

/// What rules may have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Destinations {
    interfaces: Interfaces,
    af: Option<Af>,
    proto: Proto,
    negated: bool,
    pattern: Pattern,
}

impl Destinations {
    /// Those of a rule, if it redirects single ports; packets that leave are redirected by none.
    fn of(rule: &Filter) -> Option<Self> {
        let (translation, proto) = (rule.translation.as_ref()?, rule.proto?);
        let redirects = translation.rdr.is_some() && translation.af_to.is_none();
        let decides = matches!(rule.action, Action::Pass | Action::Match);
        let is_known = !matches!(rule.to.pattern, Pattern::NoRoute | Pattern::UrpfFailed);
        let count: usize = ranges(rule).map(|(first, last)| usize::from(last.0 - first.0) + 1).sum();
        (redirects && decides && is_known && count <= PORTS_MAX).then(|| Self {
            interfaces: rule.interfaces.clone(),
            af: rule.af,
            proto,
            negated: rule.to.negated,
            pattern: rule.to.pattern.clone(),
        })
    }

    /// The only address, if there is one.
    fn address(&self) -> Option<(Af, Address)> {
        match self.pattern {
            Pattern::Range(first, last) if first == last && !self.negated => Some((self.af?, first)),
            _ => None,
        }
    }

    fn include(&self, of: &PortOf, seen: &Seen<'_>) -> bool {
        self.proto == of.proto
            && self.af.is_none_or(|af| af == of.af)
            && of.interface.is_none_or(|interface| self.interfaces.contains(interface))
            && self.pattern.finds(of.af, of.address, seen) != self.negated
    }
}

/// The ranges of ports that a rule is for.
fn ranges(rule: &Filter) -> impl Iterator<Item = (Port, Port)> {
    ports(rule.to.port).ranges().map(|(first, last)| (Port(first), Port(last)))
}

impl Redirected {
    /// What rules redirect; `None` if it is nothing.
    pub(super) fn of(rules: &[Filter]) -> Option<Self> {
        let mut ranges_to: HashMap<Destinations, Vec<(Port, Port)>> = HashMap::new();
        for rule in rules {
            if let Some(to) = Destinations::of(rule) {
                ranges_to.entry(to).or_default().extend(ranges(rule));
            }
        }
        let all = ranges_to.into_iter().map(|(to, ranges)| Redirection { to, ports: PortRuns::of(ranges) });
        let all: Vec<Redirection> = all.collect();
        let any = AnyPorts::of(|proto| {
            all.iter().filter(move |of| of.to.proto == proto).map(|redirection| &redirection.ports)
        })?;
        let (mut of_one, mut of_others) = (HashMap::new(), Vec::new());
        for redirection in all {
            let those = match redirection.to.address() {
                Some(address) => of_one.entry(address).or_insert_with(Vec::new),
                None => &mut of_others,
            };
            those.push(redirection);
        }
        Some(Self { any, of_one, of_others })
    }
}

impl Root {
    /// What rules redirect; `None` if it is nothing.
    #[inline]
    pub(crate) fn redirected(&self) -> Option<&Redirected> {
        self.redirected.as_deref()
    }

    /// Tells from each other what is redirected at two times; 0 if it is nothing.
    pub(crate) fn redirected_serial(&self) -> u64 {
        let serial = u64::from(self.epoch) << 32 | u64::from(self.edits);
        if self.redirected.is_some() { serial } else { 0 }
    }

    /// The last port of a run of redirected ports that a port is in.
    #[cold]
    pub(crate) fn redirected_till(&self, of: &PortOf, port: Port, fib: &Fib) -> Option<Port> {
        let redirected = self.redirected()?;
        // The patterns that ask for one are of none.
        let interface = of.interface.unwrap_or_default();
        let seen = Seen { tables: &self.tables, fib, interface, table: RoutingTable::MAIN };
        let of_one = redirected.of_one.get(&(of.af, of.address)).into_iter().flatten();
        let found = of_one.chain(&redirected.of_others).filter_map(|redirection| {
            let till = redirection.ports.end_of(port)?;
            redirection.to.include(of, &seen).then_some(till)
        });
        found.max()
    }
}
