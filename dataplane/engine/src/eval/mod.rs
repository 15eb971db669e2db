//! Evaluation of rules: pf's ordered walk, where the last match wins and `quick` decides at once.
//!
//! Overview: [`Root`] is a committed ruleset in the form that packets meet: interface and table names resolved, addresses
//! as ranges of integers, and a [classifier](classify) that leaves out the rules that cannot match. Life cycle: compiled by
//! a control thread, published as one pointer, read once for each burst, freed when no worker holds it; what states need of
//! a rule lives in its [`RuleSlot`] and outlasts the root.
//! Ownership: immutable but for the slots' totals. Bounds: those of `ruleset::bounds`.

mod classify;
mod compile;
mod counted;
mod filter;
mod fingerprint;
mod judge;
mod matched;
mod meter;
mod noted;
mod redirected;
mod rest;
mod tables;
mod totals;
mod walk;

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use ruleset::{
    Direction, PortBlock, PortBlocks, RoutingKind, RulePlace, Ruleset, Syncookies, TIMEOUT_COUNT, Timeout,
};
use siphasher::sip128::{Hasher128, SipHasher24};
use wire::{Af, Port};

use crate::Address;
use crate::fib::{Fib, InterfaceId};
use crate::packet::Packet;
use crate::pool::{Known, Members};
use crate::source::Tracker;
use crate::state::RuleLimit;

pub use counted::AddressCounts;
pub(crate) use counted::Deed;
pub(crate) use matched::{MATCHED_MAX, Matched};
pub(crate) use meter::{Meter, Threshold};
pub(crate) use redirected::{PortOf, Redirected};
pub(crate) use totals::{ByHook, RuleTotals, Walked};
pub use totals::{Counted, RuleUsage};
pub(crate) use walk::{Decision, Occasion, PlainPass, Question, Role, Strays, Walk, is_request};

/// A tag of pf.conf(5), by number; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Tag(pub u16);

/// What outlives a ruleset of a rule, because states refer to it.
#[derive(Debug)]
pub(crate) struct RuleSlot {
    /// Different for every slot of the process.
    pub serial: u64,
    /// The rule's identity, the same after a reload that leaves the rule as it is.
    pub identity: u64,
    /// Time-outs of the rule itself, in seconds; `None` where the ruleset's hold.
    pub timeouts: [Option<u32>; TIMEOUT_COUNT],
    /// `sloppy`.
    pub sloppy: bool,
    /// `allow-opts`.
    pub allow_opts: bool,
    /// `log (all)`.
    pub log_all: bool,
    /// `dup-to` a span port.
    pub copy_to: Option<InterfaceId>,
    /// It names a table with `counters`.
    pub counts_addresses: bool,
    /// `route-to`, `reply-to`, `dup-to`: what becomes of which packets of its states.
    pub routes: Option<RoutingKind>,
    /// `label`.
    pub labels: Box<[Box<str>]>,
    /// `adaptive.start` and `adaptive.end` of its own states.
    pub adaptive: Option<(u32, u32)>,
    /// `max`, or where its states are counted for `adaptive.*`.
    pub limit: Option<RuleLimit>,
    /// `source-track`.
    pub sources: Option<Tracker>,
    /// `max-pkt-rate`, which packets of its states from their sender count for, too.
    pub meter: Option<Arc<Meter>>,
    /// At each hook: packets and bytes.
    retired: [[AtomicU64; 2]; 2],
}

impl RuleSlot {
    /// What tells the nodes of the rule's sources from others': the same for equal rules of rulesets that follow each other.
    pub const fn owner(&self) -> u64 {
        owner(self.identity, self.serial)
    }

    /// Adds what a class counted that no state has any more.
    pub fn retire(&self, counted: &ByHook) {
        for ([packets, bytes], counted) in self.retired.iter().zip(counted) {
            packets.fetch_add(counted.packets, Ordering::Relaxed);
            bytes.fetch_add(counted.bytes, Ordering::Relaxed);
        }
    }

    /// What states of the past added up to.
    pub fn retired(&self) -> ByHook {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        self.retired.each_ref().map(|[packets, bytes]| Counted { packets: read(packets), bytes: read(bytes) })
    }

    /// True if packets that meet a state of the rule at a hook leave by its gateway, where `forth` is the direction in which
    /// its first one met it.
    #[inline]
    pub fn routes_at(&self, hook: Direction, forth: Direction) -> bool {
        match self.routes {
            Some(RoutingKind::To) => hook == forth,
            Some(RoutingKind::Reply) => hook != forth,
            Some(RoutingKind::Dup) | None => false,
        }
    }

    /// True if packets of its states never go the short way, which does no more than most of them need.
    pub const fn meets_each_packet(&self) -> bool {
        self.sloppy
            || self.log_all
            || self.counts_addresses
            || self.meter.is_some()
            || self.adaptive.is_some()
    }

    /// The rule's own time-out, if it has one.
    #[inline]
    pub const fn timeout(&self, timeout: Timeout) -> Option<u32> {
        self.timeouts[timeout as usize]
    }
}

/// Rules without an identity are told apart by their slots.
const fn owner(identity: u64, serial: u64) -> u64 {
    if identity == 0 { serial } else { identity }
}

/// A committed ruleset. Two of them share what they have in common: a change of a table makes a new one at the price of
/// that table.
#[derive(Clone, Debug)]
pub struct Root {
    epoch: u32,
    ruleset: Arc<Ruleset>,
    rules: Arc<[filter::Filter]>,
    /// Some of the rules stand in anchors, or in rulesets of which the first match is the only one.
    anchored: bool,
    /// The blocks of ports that rules share out.
    port_blocks: Arc<[PortBlocks]>,
    /// By rule: as pfctl numbers it.
    places: Arc<[RulePlace]>,
    classifier: Arc<classify::Classifier>,
    /// The first rule of each identity.
    numbers: Arc<HashMap<u64, u32>>,
    /// As the ruleset's tables, in its order.
    tables: Vec<Arc<filter::TrieTable>>,
    /// By the same numbers, those that pools name; the others are empty.
    members: Vec<Arc<Members>>,
    /// Every tag that a ruleset has named since the process started.
    tags: Arc<BTreeMap<String, Tag>>,
    /// By interface number: `set skip on`.
    skipped: Vec<bool>,
    /// The slot of packets that no rule matched: the implicit `pass`.
    default_slot: Arc<RuleSlot>,
    /// Rules make copies: asked by every worker between two bursts, which must not go through all rules for it.
    copies: bool,
    /// SYNs may be answered without a state: `set syncookies`.
    bakes: bool,
    /// Rules match by chance.
    chance: bool,
    /// No option has anything to do with how connections begin.
    plain: bool,
    /// Rules give packets another end [at once](crate::translate::Translation::is_at_once), and do nothing else out of the ordinary.
    turns: bool,
    /// Some of these ends are destinations.
    redirects: bool,
    /// Sources of rules keep their ports: `endpoint-independent`.
    maps: bool,
    /// Whoever sends to an endpoint that they have is let in.
    opens: bool,
    /// Rules ask for packets' priority.
    priorities: bool,
    /// What rules know that ask for the operating system of a sender; `None` if none does.
    fingerprints: Option<Arc<fingerprint::Fingerprints>>,
    /// The ports that rules redirect.
    redirected: Option<Arc<Redirected>>,
    /// How often tables were changed since the rules were compiled.
    edits: u32,
    filtering: Filtering,
}

/// Whether the rules are asked at all (pfctl(8) `-e`, `-d`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filtering {
    /// They are.
    #[default]
    On,
    /// Every packet passes both hooks, without a state, as on interfaces that are skipped.
    Off,
}

impl Root {
    /// Tells the rules of two roots apart; later ones are greater. Roots that differ in their tables alone have the same.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The ruleset as it was committed.
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// What tells its rules from others, in their order.
    pub fn checksum(&self) -> u128 {
        let mut hash = SipHasher24::new();
        self.ruleset.rules.iter().for_each(|rule| hash.write_u64(rule.identity));
        hash.finish128().as_u128()
    }

    /// Whether the rules are asked.
    pub const fn filtering(&self) -> Filtering {
        self.filtering
    }

    /// The same rules, asked or not.
    #[must_use]
    pub fn switched(&self, filtering: Filtering) -> Self {
        Self { filtering, ..self.clone() }
    }

    /// `set skip on`, or nothing is filtered: the rules are not asked on this interface.
    #[inline]
    pub(crate) fn skips(&self, interface: InterfaceId) -> bool {
        self.filtering == Filtering::Off
            || self.skipped.get(usize::from(interface.0)).copied().unwrap_or(false)
    }

    /// True unless nothing is filtered at all.
    pub(crate) fn filters(&self) -> bool {
        self.filtering != Filtering::Off
    }

    /// The block that a source's port is in, which it was given behind an address.
    pub fn port_block(&self, source: IpAddr, address: IpAddr, port: Port) -> Option<PortBlock> {
        let IpAddr::V4(source) = source else { return None };
        let own = self.port_blocks.iter().filter_map(|blocks| blocks.block(source));
        own.into_iter().find(|block| block.address == address && (block.first..=block.last).contains(&port))
    }

    /// What pools choose by.
    pub(crate) fn known<'a>(&'a self, fib: &'a Fib) -> Known<'a> {
        Known { fib, root: self }
    }

    /// The addresses of a table as pools have them; nothing of one that no pool names.
    pub(crate) fn members(&self, table: usize) -> Option<&Members> {
        self.members.get(table).map(Arc::as_ref)
    }

    /// True if a table holds an address.
    pub(crate) fn holds(&self, table: usize, af: Af, address: Address) -> bool {
        self.tables.get(table).is_some_and(|table| table.contains(af, address))
    }

    /// The neighbours that lead to the gateways which rules name, of the first few of each pool.
    pub fn gateways(&self, fib: &Fib) -> Vec<(InterfaceId, IpAddr)> {
        let known = self.known(fib);
        let mut all: Vec<_> = self
            .rules
            .iter()
            .filter_map(|rule| rule.gateways.as_deref())
            .flat_map(|pool| {
                let of =
                    |af| pool.first_targets(af, known).filter_map(move |target| fib.neighbor_to(af, &target));
                of(Af::Inet).chain(of(Af::Inet6))
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// True if SYNs may be answered without a state, now or when many are half-open.
    #[inline]
    pub(crate) const fn may_bake(&self) -> bool {
        self.bakes
    }

    /// The percentage of half-open states at which a flood is over, where that matters.
    #[inline]
    pub(crate) fn flood_ends_at(&self) -> Option<u8> {
        if !self.bakes {
            return None;
        }
        match self.ruleset.options.syncookies {
            Syncookies::Adaptive { end, .. } => Some(end),
            Syncookies::Never | Syncookies::Always => None,
        }
    }

    /// True if rules match by chance.
    #[inline]
    pub(crate) const fn has_chance(&self) -> bool {
        self.chance
    }

    /// True if connections begin as their rules say, whatever the options are.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        self.plain
    }

    /// True if rules give packets another source or another destination, and nothing else is to be done for it than to choose one.
    #[inline]
    pub(crate) const fn turns_ends(&self) -> bool {
        self.turns
    }

    /// True if some of these ends are destinations.
    #[inline]
    pub(crate) const fn redirects(&self) -> bool {
        self.redirects
    }

    /// True if ports are kept from others by mappings.
    #[inline]
    pub(crate) const fn maps(&self) -> bool {
        self.maps
    }

    /// True if mappings let packets in.
    #[inline]
    pub(crate) const fn opens(&self) -> bool {
        self.opens
    }

    /// True if rules ask for packets' priority.
    pub(crate) const fn asks_priorities(&self) -> bool {
        self.priorities
    }

    /// The number of the shape that a SYN has, where rules ask for it.
    #[inline]
    pub(crate) fn shape(&self, frame: &[u8], packet: &Packet) -> Option<u16> {
        self.fingerprints.as_ref().and_then(|known| known.find(frame, packet))
    }

    /// True if rules make copies.
    pub(crate) const fn copies(&self) -> bool {
        self.copies
    }

    /// True if the slot is that of a rule of this very ruleset, whose number is known, and not of an equal one before it.
    pub(crate) fn owns(&self, slot: &RuleSlot, number: u32) -> bool {
        self.rules.get(number as usize).is_some_and(|rule| rule.slot.serial == slot.serial)
    }

    /// The slot of a rule.
    pub(crate) fn slot(&self, number: u32) -> Option<&Arc<RuleSlot>> {
        self.rules.get(number as usize).map(|rule| &rule.slot)
    }

    /// The number of the rule with this identity, if the ruleset still has it.
    pub(crate) fn number_of(&self, slot: &RuleSlot) -> Option<u32> {
        self.number_by((slot.serial, slot.identity))
    }

    /// As [`number_of`](Self::number_of), by the slot's serial and the rule's identity.
    pub(crate) fn number_by(&self, (serial, identity): (u64, u64)) -> Option<u32> {
        let same = |rule: &filter::Filter| rule.slot.serial == serial || rule.slot.identity == identity;
        // Most states are asked about while their own root is live: their number is in the serial.
        let guess = serial as u32 as usize;
        if self.rules.get(guess).is_some_and(same) {
            return Some(guess as u32);
        }
        self.numbers.get(&identity).copied()
    }

    /// The rule that source nodes of this owner are of, as pfctl numbers it.
    pub(crate) fn place_of_owner(&self, owner: u64) -> Option<RulePlace> {
        self.place(self.number_of_owner(owner)?)
    }

    /// The number of the rule that source nodes of this owner are of.
    pub(crate) fn number_of_owner(&self, owner: u64) -> Option<u32> {
        let by_serial = || self.rules.iter().position(|rule| rule.slot.owner() == owner);
        self.numbers.get(&owner).copied().or_else(|| by_serial().map(|at| at as u32))
    }

    /// A rule as pfctl numbers it.
    pub(crate) fn place(&self, number: u32) -> Option<RulePlace> {
        self.places.get(number as usize).copied()
    }

    /// The path of the anchor that a rule stands in; empty in the main ruleset.
    pub(crate) fn path(&self, number: u32) -> &str {
        self.ruleset.rules.get(number as usize).map_or("", |rule| self.ruleset.path(rule))
    }

    /// Adds what states of the past counted for their rules, those of all shards together.
    pub fn add_retired(&self, usage: &mut [RuleUsage]) {
        for (rule, usage) in self.rules.iter().zip(usage) {
            usage.add(&rule.slot.retired());
            usage.spent |= rule.rest.as_ref().is_some_and(|rest| rest.is_spent());
        }
    }
}
