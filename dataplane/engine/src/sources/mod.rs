//! Source nodes: what each source has, over all workers (pf.conf(5) `source-track`, `sticky-address`, `least-states`).
//!
//! Overview: one table for all shards, of a fixed size, whose nodes are numbers that every worker changes by itself: whoever
//! makes a state of a rule that tracks sources [joins](Nodes::join) the node of the source and [leaves](Nodes::leave) it when
//! the state goes. A limit is compared in the very change that would exceed it, so it is exact whichever workers have the
//! states, without credits: there are as many limits as sources, most of them small. A node also remembers which address
//! its source was given, and nodes of addresses count their states for `least-states`; a rule's nodes are counted by a node
//! of the rule. The [mappings](mapping) of translation are nodes as well, so that every worker knows them at once.
//!
//! Established packets never touch any of it: nodes are looked for when a state is made, changed when a handshake is
//! completed, and left when a state goes. Rulesets without source tracking never write here.
//!
//! Life cycle of a node: begun at a free place, [settled](Nodes::settle) against others of the same key that were begun at
//! the same time, live; with its last state it goes, or its time (`src.track`) begins, after which whoever meets it first
//! frees its place. Who is told to forget it detaches it: its states count on for nobody.
//! Ownership: shared, without locks: of those who change a node at once one has always done it, and the others go on with what
//! it has become. Bounds: as many places as are taken at the start, [`PLACES_PER_KEY`] looked at for a key.

mod flush;
mod listing;
mod mapping;
mod node;
mod overlay;

use core::hash::Hasher;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytemuck::zeroed_vec;
use siphasher::sip::SipHasher13;
use wire::Af;

pub use flush::{Flushes, Overloaded};
pub use mapping::EndpointMapping;
pub(crate) use mapping::{Endpoint, Mapped};
pub(crate) use node::{Kind, NewNode};
use node::{Node, Standing, Word};
pub(crate) use overlay::{Offence, Overlay};

use crate::Address;
use crate::eval::Threshold;
use crate::pool::Target;
use crate::tick::Tick;

/// Nodes of sources that memory is taken for at least, and at most.
const NODES: core::ops::RangeInclusive<u32> = 1 << 14..=1 << 20;
/// Places that are looked at together.
const BUCKET: usize = 8;
/// Places that a key may be at.
const PLACES_PER_KEY: usize = 2 * BUCKET;

/// Whose a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeKey {
    pub kind: Kind,
    /// The rule, or for [`Kind::Load`] the pool; [`GLOBAL`] of all rules together.
    pub owner: u64,
    pub af: Af,
    /// The source, or for [`Kind::Load`] the address of the pool.
    pub address: Address,
    /// Protocol and port of the address, of a [mapping]; else 0.
    pub endpoint: u32,
}

/// `source-track global`.
pub(crate) const GLOBAL: u64 = 0;

/// A node that a state counts for: one more than its place; 0 is none. It stays as long as the state is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Zeroable)]
pub(crate) struct NodeId(u32);

impl NodeId {
    pub const NONE: Self = Self(0);
    const MARK: u32 = 1 << 31;

    /// The same, with a mark that whoever holds it may set.
    pub const fn marked(self) -> Self {
        Self(self.0 | Self::MARK)
    }

    /// The same without one.
    pub const fn unmarked(self) -> Self {
        Self(self.0 & !Self::MARK)
    }

    /// Its place, if it is one.
    pub const fn place(self) -> Option<u32> {
        self.0.checked_sub(1)
    }
}

/// What a source may have. Limits of 0 are none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Most {
    /// `max-src-states`.
    pub states: u32,
    /// `max-src-nodes`.
    pub nodes: u32,
    /// `set limit src-nodes`.
    pub all: u32,
}

/// Why a source is refused a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMany {
    /// It has as many as it may.
    States,
    /// The rule has as many nodes as it may.
    Nodes,
    /// There are as many nodes as there may be.
    All,
}

/// What happens to nodes, of all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeCounts {
    /// Nodes of sources now.
    pub current: u32,
    /// Searches for one.
    pub searches: u64,
    /// Nodes made.
    pub inserts: u64,
    /// Nodes that have gone.
    pub removals: u64,
}

/// A node as it is at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeState {
    pub place: u32,
    pub key: NodeKey,
    pub target: Option<Target>,
    pub states: u32,
    pub connections: u32,
    pub rate: u64,
    pub seconds: u32,
    pub created: u32,
    pub expires: u32,
    pub packets: u64,
    pub bytes: u64,
}

/// The nodes of all shards.
#[derive(Debug)]
pub(crate) struct Nodes {
    places: Vec<Node>,
    most: u32,
    /// Nodes of sources that are found.
    current: AtomicU32,
    /// Nodes of any kind.
    used: AtomicU32,
    searches: AtomicU64,
    inserts: AtomicU64,
    removals: AtomicU64,
}

impl Nodes {
    /// Room for nodes of shards that have so many states between them.
    pub fn new(states: u32) -> Self {
        let most = states.clamp(*NODES.start(), *NODES.end());
        Self {
            places: zeroed_vec((2 * most as usize).next_power_of_two()),
            most,
            current: AtomicU32::new(0),
            used: AtomicU32::new(0),
            searches: AtomicU64::new(0),
            inserts: AtomicU64::new(0),
            removals: AtomicU64::new(0),
        }
    }

    /// The most that `set limit src-nodes` may allow.
    pub const fn most(&self) -> u32 {
        self.most
    }

    pub fn counts(&self) -> NodeCounts {
        NodeCounts {
            current: self.current.load(Ordering::Relaxed),
            searches: self.searches.load(Ordering::Relaxed),
            inserts: self.inserts.load(Ordering::Relaxed),
            removals: self.removals.load(Ordering::Relaxed),
        }
    }

    /// True if there is no node of any kind.
    pub fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
    }

    /// How many places there are.
    pub const fn places(&self) -> usize {
        self.places.len()
    }

    fn places_of(&self, hash: u64) -> impl Iterator<Item = usize> {
        let buckets = self.places.len() / BUCKET - 1;
        let [first, second] = [hash as usize & buckets, (hash >> 32) as usize & buckets];
        // The two may be one: its places are then looked at twice, which harms nobody.
        (first * BUCKET..(first + 1) * BUCKET).chain(second * BUCKET..(second + 1) * BUCKET)
    }

    /// The live node of a key, with what it is agreed to be.
    fn seek(&self, key: &NodeKey, hash: u64, now: u32) -> Option<(usize, Word)> {
        self.places_of(hash).find_map(|at| {
            let node = &self.places[at];
            let word = node.word();
            if word.standing() != Standing::Live || !node.is_of(key, word) {
                return None;
            }
            if node.is_over(word, now) {
                self.free(at, word);
                return None;
            }
            Some((at, word))
        })
    }

    /// Where the node of a key leads.
    pub fn target(&self, key: &NodeKey, secret: [u64; 2], now: u32) -> Option<Target> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        let (at, word) = self.seek(key, hash(key, secret), now)?;
        let target = self.places[at].target();
        target.filter(|_| self.places[at].is_still(word))
    }

    /// Where a node leads that a state counts for.
    pub fn target_of(&self, id: NodeId) -> Option<Target> {
        self.places.get(id.place()? as usize)?.target()
    }

    /// How many states the node of a key has.
    pub fn states(&self, key: &NodeKey, secret: [u64; 2], now: u32) -> u32 {
        self.seek(key, hash(key, secret), now).map_or(0, |(_, word)| word.states())
    }

    /// Counts one more state for the node of a key, which is made if there is none.
    ///
    /// # Errors
    /// [`TooMany`]; nothing was changed then.
    pub fn join(
        &self,
        key: &NodeKey,
        secret: [u64; 2],
        new: &NewNode,
        most: &Most,
        now: u32,
    ) -> Result<NodeId, TooMany> {
        let hash = hash(key, secret);
        if key.kind.is_of_source() {
            self.searches.fetch_add(1, Ordering::Relaxed);
        }
        loop {
            if let Some((at, word)) = self.seek(key, hash, now) {
                if most.states > 0 && word.states() >= most.states {
                    return Err(TooMany::States);
                }
                if self.places[at].change(word, word.with_states(word.states() + 1)) {
                    self.places[at].lifetime.store(new.lifetime, Ordering::Relaxed);
                    return Ok(NodeId(at as u32 + 1));
                }
            } else if let Some(id) = self.make(key, (hash, secret), new, most, now)? {
                return Ok(id);
            }
        }
    }

    /// Makes a node with one state; `None` if somebody else has made one of the key.
    fn make(
        &self,
        key: &NodeKey,
        (hash, secret): (u64, [u64; 2]),
        new: &NewNode,
        most: &Most,
        now: u32,
    ) -> Result<Option<NodeId>, TooMany> {
        let parent = self.admit(key, secret, most, now)?;
        let made =
            self.place(key, hash, (new, if parent == NodeId::NONE { new.parent } else { parent }), now);
        match made {
            Ok(Some(_)) => {
                self.used.fetch_add(1, Ordering::Relaxed);
                if key.kind.is_of_source() {
                    self.inserts.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok(None) | Err(_) => self.dismiss(key.kind, parent.0, now),
        }
        made
    }

    /// Counts a node that is to be made, for its rule and for all.
    fn admit(&self, key: &NodeKey, secret: [u64; 2], most: &Most, now: u32) -> Result<NodeId, TooMany> {
        let mut parent = NodeId::NONE;
        if !key.kind.is_of_source() {
            return Ok(parent);
        }
        if most.nodes > 0 {
            let rule = NodeKey {
                kind: Kind::Rule,
                owner: key.owner,
                af: Af::Inet,
                address: Address(0),
                endpoint: 0,
            };
            let of_rule = Most { states: most.nodes, ..Most::default() };
            parent =
                self.join(&rule, secret, &NewNode::default(), &of_rule, now).map_err(|why| match why {
                    TooMany::States => TooMany::Nodes,
                    other => other,
                })?;
        }
        let one_more = |current: u32| (current < most.all.min(self.most)).then_some(current + 1);
        if self.current.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            if parent != NodeId::NONE {
                self.leave(parent, now);
            }
            return Err(TooMany::All);
        }
        Ok(parent)
    }

    /// As if a node had not been counted.
    fn dismiss(&self, kind: Kind, parent: u32, now: u32) {
        if kind.is_of_source() {
            self.current.fetch_sub(1, Ordering::Relaxed);
        }
        if parent != 0 {
            self.leave(NodeId(parent), now);
        }
    }

    fn place(
        &self,
        key: &NodeKey,
        hash: u64,
        new: (&NewNode, NodeId),
        now: u32,
    ) -> Result<Option<NodeId>, TooMany> {
        let Some((at, claimed)) = self.claim(hash, now) else { return Err(TooMany::All) };
        let own = &self.places[at];
        let begun = own.begin(claimed, key, new, now);
        self.settle(key, hash, now);
        loop {
            let word = own.word();
            if word.uses() == begun.uses() && matches!(word.standing(), Standing::Live | Standing::Detached) {
                return Ok(Some(NodeId(at as u32 + 1)));
            }
            // Another one was there first, or has ended this one already; unless somebody has it live at this very moment.
            if word != begun || own.change(begun, begun.freed()) {
                return Ok(None);
            }
        }
    }

    /// Takes a free place that a key may be at.
    fn claim(&self, hash: u64, now: u32) -> Option<(usize, Word)> {
        self.places_of(hash).find_map(|at| {
            let (node, word) = (&self.places[at], self.places[at].word());
            if word.standing() == Standing::Live && node.is_over(word, now) {
                self.free(at, word);
            }
            let word = node.word();
            let claimed = Word::new(word.uses().wrapping_add(1), Standing::Claimed, 0);
            (word.standing() == Standing::Free && node.change(word, claimed)).then_some((at, claimed))
        })
    }

    /// Decides between nodes of one key that were begun at the same time: if none is live, the one at the lowest place is to be,
    /// and the others end. Whoever begins a node does this behind that, for all that there are: of two, the one who looked
    /// later has seen the other's, so no two come to be live; and nobody waits for anybody.
    fn settle(&self, key: &NodeKey, hash: u64, now: u32) {
        let mut begun = [None; PLACES_PER_KEY];
        let mut count = 0;
        for at in self.places_of(hash) {
            let (node, word) = (&self.places[at], self.places[at].word());
            let concerns = matches!(word.standing(), Standing::Begun | Standing::Live);
            if !concerns || !node.is_of(key, word) {
                continue;
            }
            if word.standing() == Standing::Live {
                if node.is_over(word, now) && self.free(at, word) {
                    continue;
                }
                return;
            }
            begun[count] = Some((at, word));
            count += 1;
        }
        let Some((first, word)) = begun.iter().flatten().min_by_key(|(at, _)| *at).copied() else { return };
        for (at, other) in begun.iter().flatten().filter(|(at, _)| *at != first) {
            if !self.places[*at].change(*other, other.freed()) {
                // It has come to be live, or has ended by itself: whoever wants it looks again.
                return;
            }
        }
        self.places[first].change(word, word.with_standing(Standing::Live));
    }

    /// Frees the place of a node without states; false if it is not `word` any more.
    fn free(&self, at: usize, word: Word) -> bool {
        let node = &self.places[at];
        let (kind, parent) = (node.key().map(|key| key.kind), node.parent.load(Ordering::Relaxed));
        if !node.change(word, word.freed()) {
            return false;
        }
        self.used.fetch_sub(1, Ordering::Relaxed);
        if let Some(kind) = kind.filter(|_| word.standing() == Standing::Live) {
            self.forget(kind, parent);
        }
        true
    }

    /// A node is not found any more.
    fn forget(&self, kind: Kind, parent: u32) {
        if kind.is_of_source() {
            self.removals.fetch_add(1, Ordering::Relaxed);
        }
        self.dismiss(kind, parent, 0);
    }

    /// Counts a state no more. The last one ends the node, or begins its time.
    pub fn leave(&self, id: NodeId, now: u32) {
        let Some(node) = id.place().and_then(|at| self.places.get(at as usize)) else { return };
        loop {
            let word = node.word();
            let states = word.states().saturating_sub(1);
            let lifetime = node.lifetime.load(Ordering::Relaxed);
            node.expires.store(now.saturating_add(lifetime), Ordering::Relaxed);
            let ends = states == 0 && (word.standing() == Standing::Detached || lifetime == 0);
            let done = if ends {
                self.free(id.0 as usize - 1, word)
            } else {
                node.change(word, word.with_states(states))
            };
            if done {
                return;
            }
        }
    }

    /// Adds what a state has seen that goes.
    pub fn count(&self, id: NodeId, (packets, bytes): (u64, u64)) {
        if let Some(node) = id.place().and_then(|at| self.places.get(at as usize)) {
            node.packets.fetch_add(packets, Ordering::Relaxed);
            node.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Counts a connection whose handshake was completed; whether there are more than `most` now, and more in a time than the
    /// threshold allows.
    pub fn connect(&self, id: NodeId, most: u32, rate: Option<&Threshold>, now: Tick) -> [bool; 2] {
        let Some(node) = id.place().and_then(|at| self.places.get(at as usize)) else { return [false; 2] };
        let connections = node.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let too_fast = rate.is_some_and(|rate| !rate.takes(&node.rate, now));
        [most > 0 && connections > most, too_fast]
    }

    /// Counts it no more.
    pub fn disconnect(&self, id: NodeId) {
        if let Some(node) = id.place().and_then(|at| self.places.get(at as usize)) {
            node.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Has the node of a key be found no more, if it leads elsewhere than to `target`: it is overtaken.
    pub fn detach_from(&self, key: &NodeKey, secret: [u64; 2], target: Target, now: u32) {
        if let Some((at, word)) = self.seek(key, hash(key, secret), now)
            && self.places[at].target() != Some(target)
        {
            self.detach(at, word);
        }
    }

    fn detach(&self, at: usize, mut word: Word) -> bool {
        let node = &self.places[at];
        let uses = word.uses();
        while word.standing() == Standing::Live && word.uses() == uses {
            if word.states() == 0 {
                if self.free(at, word) {
                    return true;
                }
            } else {
                let (kind, parent) = (node.key().map(|key| key.kind), node.parent.load(Ordering::Relaxed));
                if node.change(word, word.with_standing(Standing::Detached)) {
                    kind.into_iter().for_each(|kind| self.forget(kind, parent));
                    return true;
                }
            }
            word = node.word();
        }
        false
    }

    /// Has every node of a source be found no more of which `wanted` says so; how many there were.
    pub fn detach_each(&self, now: u32, wanted: impl Fn(&NodeState) -> bool) -> usize {
        let kills = |at: &usize| {
            let word = self.places[*at].word();
            self.state(*at, now).is_some_and(|state| wanted(&state)) && self.detach(*at, word)
        };
        (0..self.places.len()).filter(kills).count()
    }

    /// Every node of a source.
    pub fn each(&self, now: u32) -> impl Iterator<Item = NodeState> {
        (0..self.places.len()).filter_map(move |at| self.state(at, now))
    }

    /// The node at a place, if it is one of a source that is found.
    fn state(&self, at: usize, now: u32) -> Option<NodeState> {
        let (node, word) = (&self.places[at], self.places[at].word());
        if word.standing() != Standing::Live || node.is_over(word, now) {
            return None;
        }
        let key = node.key().filter(|key| key.kind.is_of_source())?;
        let read = |number: &AtomicU32| number.load(Ordering::Relaxed);
        let state = NodeState {
            place: at as u32,
            key,
            target: node.target(),
            states: word.states(),
            connections: read(&node.connections),
            rate: node.rate.load(Ordering::Relaxed),
            seconds: read(&node.seconds),
            created: read(&node.created),
            expires: read(&node.expires),
            packets: node.packets.load(Ordering::Relaxed),
            bytes: node.bytes.load(Ordering::Relaxed),
        };
        node.is_still(word).then_some(state)
    }

    /// Frees those of the next `most` places from `cursor` on whose time is over, and moves it.
    pub fn sweep(&self, cursor: &mut usize, most: usize, now: u32) {
        for _ in 0..most.min(self.places.len()) {
            *cursor = (*cursor + 1) % self.places.len();
            let word = self.places[*cursor].word();
            if word.standing() == Standing::Live && self.places[*cursor].is_over(word, now) {
                self.free(*cursor, word);
            }
        }
    }
}

fn hash(key: &NodeKey, [a, b]: [u64; 2]) -> u64 {
    let mut hash = SipHasher13::new_with_keys(a, b);
    hash.write_u128(key.address.0);
    hash.write_u64(key.owner);
    hash.write_u8(key.kind as u8);
    hash.write_u8(key.af as u8);
    hash.write_u32(key.endpoint);
    hash.finish()
}

#[cfg(test)]
mod tests;
