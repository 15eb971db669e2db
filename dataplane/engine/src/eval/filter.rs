//! One rule in the form that packets are compared with.

use core::num::NonZeroU16;
use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use ruleset::{
    Action, Direction, FirstMatch, FlagsMatch, IcmpMatch, LogOptions, Lpm, PortMatch, RoutingTable, Rule,
    StateMode, Translating,
};
use wire::{Af, Proto};

use super::counted::Rows;
use super::rest::Rest;
use super::{RuleSlot, Tag};
use crate::Address;
use crate::dynamic::OfInterfaces;
use crate::fib::{Fib, InterfaceId};
use crate::pool::Pool;
use crate::scrub::Scrubbing;
use crate::sources::Overlay;
use crate::translate::{NatPorts, Translation};

/// Which interfaces a rule applies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Interfaces {
    Every,
    /// By number; what is behind the end is false.
    Listed(Vec<bool>),
}

impl Interfaces {
    #[inline]
    pub fn contains(&self, interface: InterfaceId) -> bool {
        match self {
            Self::Every => true,
            Self::Listed(listed) => listed.get(usize::from(interface.0)).copied().unwrap_or(false),
        }
    }
}

/// What an address is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pattern {
    Any,
    /// Hosts, networks and ranges alike: first and last, inclusive.
    Range(Address, Address),
    Masked {
        net: Address,
        mask: Address,
    },
    /// By number in [`super::Root`].
    Table(usize),
    /// Of interfaces, at the time of the packet.
    Interface(OfInterfaces),
    NoRoute,
    /// Packets for it would not leave by the interface of the hook.
    UrpfFailed,
}

/// A table's tries. `true` marks addresses in it, `false` negated entries.
#[derive(Clone, Debug)]
pub(super) struct TrieTable {
    pub v4: Lpm<bool>,
    pub v6: Lpm<bool>,
    /// Of the entries that have one.
    pub weights: BTreeMap<IpNet, NonZeroU16>,
    /// `counters`.
    pub rows: Option<Rows>,
    /// Rules overload sources into it.
    pub overlay: Option<Arc<Overlay>>,
}

impl TrieTable {
    #[inline]
    pub fn contains(&self, af: Af, address: Address) -> bool {
        let trie = match af {
            Af::Inet => &self.v4,
            Af::Inet6 => &self.v6,
        };
        trie.lookup(address.0).copied().unwrap_or(false)
            || self.overlay.as_ref().is_some_and(|overlay| overlay.contains(af, address))
    }
}

/// What addresses are compared with that rules do not name themselves.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub tables: &'a [Arc<TrieTable>],
    pub fib: &'a Fib,
    /// The interface of the hook.
    pub interface: InterfaceId,
    /// What the packet would be routed by so far.
    pub table: RoutingTable,
}

/// `from` or `to`.
#[derive(Clone, Debug)]
pub(super) struct EndFilter {
    pub negated: bool,
    pub pattern: Pattern,
    pub port: PortMatch,
}

impl EndFilter {
    /// True if the classifier leaves nothing open: the pattern names all addresses itself.
    #[inline(always)]
    const fn is_named(&self) -> bool {
        matches!(self.pattern, Pattern::Any | Pattern::Range(..))
    }

    /// What the classifier leaves open: whether the address is one that the pattern does not name itself.
    #[inline]
    pub fn accepts_rest(&self, af: Af, address: Address, seen: &Seen<'_>) -> bool {
        self.is_named() || self.pattern.finds(af, address, seen) != self.negated
    }
}

impl Pattern {
    /// True if this is what the address is like.
    pub fn finds(&self, af: Af, address: Address, seen: &Seen<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Range(first, last) => *first <= address && address <= *last,
            Self::Masked { net, mask } => address.0 & mask.0 == net.0 & mask.0,
            Self::Table(number) => seen.tables[*number].contains(af, address),
            Self::Interface(of) => of.contains(af, address, seen.fib),
            Self::NoRoute => seen.fib.lookup_in(seen.table, af, address, 0) == crate::fib::Path::Unreachable,
            Self::UrpfFailed => !seen.fib.leads_by(seen.table, af, address, seen.interface),
        }
    }
}

/// What the call of an anchor lets packets in to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// The number of the first rule behind those in the anchor.
    pub end: u32,
    /// `quick`, and not for all anchors below one: the walk ends behind the anchor if a rule right in it matched last.
    pub quick: bool,
}

impl Gate {
    /// The number of no call.
    pub const NONE: u32 = u32::MAX;
}

/// The rulesets of which the first match is the only one, as bits: those in which a match hides a rule, and those in which
/// the rule is a match.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    pub hidden_by: u8,
    pub takes: u8,
}

impl Turn {
    /// No ruleset.
    pub const NONE: Self = Self { hidden_by: 0, takes: 0 };

    pub fn of(rule: &Rule) -> Self {
        let Some(FirstMatch { ruleset, exempt }) = rule.first_match else { return Self::NONE };
        let bit = |ruleset| 1 << ruleset as u8;
        let own = bit(ruleset);
        let other = match ruleset {
            _ if exempt => 0,
            Translating::Nat | Translating::Scrub => 0,
            Translating::Rdr => bit(Translating::Binat),
            Translating::Binat => bit(Translating::Nat),
        };
        // What an anchor has may match or not.
        Self { hidden_by: own, takes: if rule.call.is_some() { 0 } else { own | other } }
    }
}

/// One rule.
#[derive(Debug)]
pub(super) struct Filter {
    pub action: Action,
    pub direction: Option<Direction>,
    pub quick: bool,
    pub log: LogOptions,
    pub interfaces: Interfaces,
    pub af: Option<Af>,
    pub proto: Option<Proto>,
    pub from: EndFilter,
    pub to: EndFilter,
    pub flags: Option<FlagsMatch>,
    pub icmp: Option<IcmpMatch>,
    pub fragment: bool,
    pub state: StateMode,
    /// States of the rule are bound to the interface that they are made on.
    pub if_bound: bool,
    pub tag: Option<Tag>,
    /// `rtable`.
    pub table: Option<RoutingTable>,
    /// What few rules ask; `None` where nothing of it is.
    pub rest: Option<Box<Rest>>,
    /// `nat-to`, `rdr-to`.
    pub translation: Option<Arc<Translation>>,
    /// `scrub`, `set tos`, `set prio`; `None` where nothing is changed.
    pub scrubbing: Option<Box<Scrubbing>>,
    /// `route-to`, `reply-to`.
    pub gateways: Option<Arc<Pool>>,
    /// The call in whose anchor it stands, by number; [`Gate::NONE`] in the main ruleset.
    pub caller: u32,
    /// It calls an anchor.
    pub gate: Option<Gate>,
    /// FreeBSD's rulesets for translation.
    pub turn: Turn,
    /// It asks and does nothing out of the ordinary.
    pub plain: bool,
    /// The same, but that it may give packets another end [at once](Translation::is_at_once).
    pub nearly_plain: bool,
    pub slot: Arc<RuleSlot>,
}

impl Filter {
    /// True if the classifier leaves nothing open of both its ends.
    #[inline(always)]
    pub const fn names_ends(&self) -> bool {
        self.from.is_named() && self.to.is_named()
    }

    /// True for a `match` rule that translates: rules behind it see the packet as it is then.
    #[inline]
    pub fn translates_at_once(&self) -> bool {
        self.translation.is_some() && self.action == Action::Match
    }

    /// True if packets get another destination by it.
    pub fn redirects(&self) -> bool {
        self.translation.as_ref().is_some_and(|translation| translation.redirects())
    }

    /// Its `nat-to`, if sources keep their ports by it.
    pub fn mapping(&self) -> Option<(&Pool, NatPorts)> {
        let (pool, ports) = self.translation.as_ref()?.nat.as_ref()?;
        pool.mapping.is_some().then_some((pool, *ports))
    }

    /// True if sources keep their ports by it.
    pub fn maps(&self) -> bool {
        self.mapping().is_some()
    }
}
