//! One rule in the form that packets are compared with.

use std::sync::Arc;

use ruleset::{Action, Direction, FlagsMatch, IcmpMatch, LogOptions, Lpm, PortMatch, StateMode};
use wire::{Af, Proto};

use super::{RuleSlot, Tag};
use crate::Address;
use crate::fib::{Fib, InterfaceId};
use crate::translate::Translation;

/// Which interfaces a rule applies to.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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
    /// The addresses of these interfaces at the time of the packet.
    Interface(Vec<InterfaceId>),
    NoRoute,
}

/// A table's tries. `true` marks addresses in it, `false` negated entries.
#[derive(Clone, Debug)]
pub(super) struct TrieTable {
    pub v4: Lpm<bool>,
    pub v6: Lpm<bool>,
}

impl TrieTable {
    #[inline]
    fn contains(&self, af: Af, address: Address) -> bool {
        let trie = match af {
            Af::Inet => &self.v4,
            Af::Inet6 => &self.v6,
        };
        trie.lookup(address.0).copied().unwrap_or(false)
    }
}

/// `from` or `to`.
#[derive(Clone, Debug)]
pub(super) struct EndFilter {
    pub negated: bool,
    pub pattern: Pattern,
    pub port: PortMatch,
}

impl EndFilter {
    /// What the classifier leaves open: whether the address is one that the pattern does not name itself.
    #[inline]
    pub fn accepts_rest(&self, af: Af, address: Address, tables: &[Arc<TrieTable>], fib: &Fib) -> bool {
        match &self.pattern {
            Pattern::Any | Pattern::Range(..) => true,
            pattern => pattern.finds(af, address, tables, fib) != self.negated,
        }
    }
}

impl Pattern {
    /// True if this is what the address is like.
    pub fn finds(&self, af: Af, address: Address, tables: &[Arc<TrieTable>], fib: &Fib) -> bool {
        match self {
            Self::Any => true,
            Self::Range(first, last) => *first <= address && address <= *last,
            Self::Masked { net, mask } => address.0 & mask.0 == net.0 & mask.0,
            Self::Table(number) => tables[*number].contains(af, address),
            Self::Interface(interfaces) => interfaces
                .iter()
                .filter_map(|id| fib.interface(*id))
                .flat_map(|interface| &interface.addresses)
                .any(|own| Af::of(&own.address) == af && Address::from(own.address) == address),
            Self::NoRoute => fib.lookup(af, address, 0) == crate::fib::Path::Unreachable,
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

/// One rule.
#[derive(Clone, Debug)]
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
    /// The tag asked for, and whether it must be absent. A tag that no rule sets is `None`: no packet has it.
    pub tagged: Option<(Option<Tag>, bool)>,
    /// `nat-to`, `rdr-to`.
    pub translation: Option<Arc<Translation>>,
    /// The call in whose anchor it stands, by number; [`Gate::NONE`] in the main ruleset.
    pub caller: u32,
    /// It calls an anchor.
    pub gate: Option<Gate>,
    pub slot: Arc<RuleSlot>,
}

impl Filter {
    /// True for a `match` rule that translates: rules behind it see the packet as it is then.
    #[inline]
    pub fn translates_at_once(&self) -> bool {
        self.translation.is_some() && self.action == Action::Match
    }
}
