//! The connections of one shard.
//!
//! Overview: records by number, an index from hash to number, pair-classes. All of pf's states are faces here; a record
//! has one or two of them. Life cycle: a record is made with its first face and retired with its last.
//! Ownership: the worker of the shard. Bounds: room for records is reserved at the start and takes memory once they are used (a
//! forwarded connection uses one for its two faces); lookups probe two buckets; the sweep visits as many records as it is
//! told to, and none that was never used.
//!
//! Each shard has room for twice its share of the states, as records: for four times its share where connections are
//! forwarded, so that of up to four shards any one could have all states (test `shard_skew`). Chunks of records out of a
//! common arena would add nothing but what is shared: records that are not used take no memory, and what does, because
//! hashes touch all of it, is the index, which has no more places than that in either case.

use core::ops::Range;

use bytemuck::zeroed_vec;
use ruleset::{Direction, Options, PeerState, Removal, RoutingKind, Timeout};

use super::adjacency::AdjacencyId;
use super::alias;
use super::class::{Class, Pairs, Sketch, TooManyClasses};
use super::course::Courses;
use super::credit::{Credits, StatePool};
use super::flood::Floods;
use super::gateway::GatewayId;
use super::held::Holds;
use super::index::{Index, RecordId};
use super::key::{Family, Key, KeyHash, Narrow, Side};
use super::link::Links;
use super::numbering::Numbering;
use super::numbers::Numbers;
use super::record::{Cold, Hot, PairId, Sixteenths, Twin};
use super::stamps::Stamped;
use crate::Address;
use crate::eval::RuleSlot;
use crate::events::Events;
use crate::mirror::CopyTo;
use crate::pool::Target;
use crate::track::Peer;

/// Why no connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The limit on states is reached (pf's reason: memory).
    Limit,
    /// The shard has no record left, or its index no place.
    Shard,
    /// There are too many combinations of classes.
    Classes,
}

/// What states expire by, at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry<'a> {
    pub now: Sixteenths,
    pub options: &'a Options,
}

/// A connection to be made.
#[derive(Clone, Debug)]
pub(crate) struct NewRecord<'a> {
    pub key: Narrow,
    /// The addresses of the key, of IPv6.
    pub wide: &'a [Address; 2],
    pub hash: KeyHash,
    /// The side of the packet's sender.
    pub sender: Side,
    /// The side of the face that is made.
    pub side: Side,
    pub class: Sketch<'a>,
    /// The face at the other side, if its first packet has passed that hook too.
    pub other: Option<Sketch<'a>>,
    /// The sender and the receiver.
    pub peers: (Peer, Peer),
    pub timeout: Timeout,
    pub now: Sixteenths,
    /// The record with the other face of the same connection, if it was made apart.
    pub twin: Option<RecordId>,
    /// No record has its key.
    pub alone: bool,
}

/// The connections of one shard.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(super) index: Index,
    pub(super) hot: Vec<Hot>,
    pub(super) cold: Vec<Cold>,
    /// IPv6 addresses, by record.
    pub(super) wide: Vec<[Address; 2]>,
    /// By record, of those that are renumbered.
    pub(super) numbering: Vec<Numbering>,
    /// By record, of those whose timestamps are looked at.
    pub(super) stamped: Vec<Stamped>,
    pub(super) numbers: Numbers,
    pub(super) links: Links,
    pub(super) courses: Courses,
    pub(super) pairs: Pairs,
    pub(super) credits: Credits,
    pub(super) holds: Holds,
    half_open: u32,
    pub(super) floods: Floods,
    pub events: Events,
    /// How many [aliases](super::alias) there are.
    pub(super) aliases: u32,
    /// Entries of the index, records and links, whose home is another worker.
    pub(super) strangers: u32,
    /// The record that left last, of those whose homes are to know.
    pub(super) leaving: u32,
    /// The links that their homes are to know of.
    pub(super) queue: alias::Queue,
    next_id: u64,
    pub(super) sweep_at: u32,
}

impl Connections {
    /// Room for `capacity` records, fewer than half of [`RecordId::LINKS`], whose states count against `pool`. `id_space` is
    /// put into the upper 16 bits of every id, so that shards differ.
    pub fn new(capacity: u32, id_space: u16, pool: StatePool) -> Self {
        let capacity = capacity.min(RecordId::LINKS / 2 - 1);
        let size = capacity as usize;
        Self {
            index: Index::new(size),
            hot: zeroed_vec(size),
            cold: zeroed_vec(size),
            wide: zeroed_vec(size),
            numbering: zeroed_vec(size),
            stamped: zeroed_vec(size),
            numbers: Numbers::new(capacity),
            links: Links::new(capacity),
            courses: Courses::new(),
            pairs: Pairs::new(pool.clone()),
            floods: Floods::new(pool.handshakes.clone()),
            holds: Holds::new(&pool, size),
            credits: Credits::new(pool),
            half_open: 0,
            events: Events::new(),
            aliases: 0,
            strangers: 0,
            leaving: alias::NONE,
            queue: alias::Queue::default(),
            next_id: u64::from(id_space) << 48 | 1,
            sweep_at: 0,
        }
    }

    /// How many states there are, as pf counts them.
    pub const fn faces(&self) -> u32 {
        self.credits.used()
    }

    /// How many of them are TCP's whose first SYN is not acknowledged: what `pfctl -si` calls half-open.
    pub const fn half_open(&self) -> u32 {
        self.half_open
    }

    /// How many half-open states a record stands for: one packet has made all its faces.
    #[inline]
    fn half_open_faces(&self, id: RecordId) -> u32 {
        let hot = &self.hot[id.0 as usize];
        if hot.is_half_open() { self.pairs.count_faces(self.pair(id)) } else { 0 }
    }

    /// Looks at what the states of other shards leave of `limit`. To be called once for each burst, with its second.
    #[inline]
    pub fn look(&mut self, limit: u32, now: u32) {
        self.holds.set_now(now);
        self.credits.look(limit);
        self.pairs.settle_limits();
    }

    /// True if there may be one more state.
    pub fn has_room(&mut self, limit: u32) -> bool {
        let room = self.credits.take(limit);
        self.credits.give(u32::from(room));
        room
    }

    /// Takes a credit for one more state of a rule; false if it has as many as it may.
    #[inline]
    pub fn take_for_rule(&mut self, rule: &RuleSlot) -> bool {
        rule.limit.as_ref().is_none_or(|limit| self.pairs.take(limit))
    }

    /// How many records were ever used.
    pub const fn records(&self) -> usize {
        self.numbers.used()
    }

    /// The numbers of some of the records, at most `most`, from `cursor` on, which moves behind them; `u32::MAX` is the end.
    pub fn run(&self, cursor: &mut u32, most: usize) -> Range<u32> {
        let run = self.numbers.run(*cursor, most);
        *cursor = if run.is_empty() { u32::MAX } else { run.end };
        run
    }

    /// The class of a face.
    #[inline]
    pub fn face(&self, id: RecordId, side: Side) -> Option<&Class> {
        self.pairs.face(self.pair(id), side)
    }

    /// The number of a gateway, for a [`Sketch`].
    ///
    /// # Errors
    /// [`Full::Classes`].
    pub fn number_of(&mut self, gateway: Target) -> Result<GatewayId, Full> {
        self.pairs.number(gateway).map_err(|TooManyClasses| Full::Classes)
    }

    /// Where packets are copied to that meet a face of this class.
    #[inline]
    pub fn copied_to(&self, class: &Class) -> Option<CopyTo> {
        let rule = &class.rule;
        match rule.routes {
            Some(RoutingKind::Dup) => match rule.copy_to {
                Some(port) => Some(CopyTo::Span(port)),
                None => class.gateway.map(|gateway| CopyTo::Host(self.pairs.gateway(gateway))),
            },
            _ => None,
        }
    }

    /// The gateway that packets leave by which meet a face of this class at the hook of `hook`.
    #[inline]
    pub fn gateway(&self, class: &Class, hook: Direction) -> Option<Target> {
        let gateway = class.gateway.filter(|_| class.rule.routes_at(hook, class.direction))?;
        Some(self.pairs.gateway(gateway))
    }

    /// True if any face is of a rule with `max-pkt-rate`.
    #[inline]
    pub const fn are_metered(&self) -> bool {
        self.pairs.are_metered()
    }

    /// The two ends, the one at `first` first.
    #[inline]
    pub fn peers(&self, id: RecordId, first: Side) -> (Peer, Peer) {
        let hot = &self.hot[id.0 as usize];
        (hot.peer(first), hot.peer(first.other()))
    }

    /// Stores what a packet made of the two ends, the one at `first` first.
    #[inline]
    pub fn set_peers(&mut self, id: RecordId, first: Side, peers: &(Peer, Peer)) {
        let hot = &mut self.hot[id.0 as usize];
        let was_half_open = hot.is_half_open();
        hot.set_peer(first, &peers.0);
        hot.set_peer(first.other(), &peers.1);
        if hot.is_half_open() != was_half_open {
            let faces = self.pairs.count_faces(self.pair(id));
            self.half_open = if was_half_open { self.half_open - faces } else { self.half_open + faces };
        }
    }

    /// Restarts the timer.
    #[inline]
    pub fn refresh(&mut self, id: RecordId, timeout: Timeout, now: Sixteenths) {
        self.hot[id.0 as usize].refresh(timeout, now);
    }

    /// Counts a packet that came from `sender`.
    #[inline(always)]
    pub fn count(&mut self, id: RecordId, sender: Side, bytes: u32) {
        let pair = self.pair(id);
        if self.hot[id.0 as usize].count(sender, bytes) {
            self.spill(id);
        }
        self.pairs.count(pair, sender, bytes);
    }

    /// As [`count`](Self::count), of the packet that has made the record.
    #[inline(always)]
    pub fn count_first(&mut self, id: RecordId, sender: Side, bytes: u32) {
        let hot = &mut self.hot[id.0 as usize];
        let (pair, is_full) = (hot.pair(), hot.count(sender, bytes));
        debug_assert!(!is_full, "it is new");
        self.pairs.count(pair, sender, bytes);
    }

    /// Moves a record's counters into its cold line before they overflow.
    #[cold]
    pub(super) fn spill(&mut self, id: RecordId) {
        let at = id.0 as usize;
        self.hot[at].spill(&mut self.cold[at]);
    }

    /// Makes a record with one face or both, unless there are `limit` states in all shards.
    ///
    /// # Errors
    /// Why there is none; nothing was changed then.
    #[inline(always)]
    pub fn insert(&mut self, new: &NewRecord<'_>, limit: u32) -> Result<RecordId, Full> {
        // Written out, so that it is compiled together with what makes the record.
        let states = 1 + u32::from(new.other.is_some());
        if !self.credits.take_all(states, limit) {
            return Err(Full::Limit);
        }
        let made = self.place(new);
        if made.is_err() {
            self.credits.give(states);
        }
        made
    }

    /// Makes so many more states, if there are credits for all of them.
    fn with_credits<T>(
        &mut self,
        states: u32,
        limit: u32,
        make: impl FnOnce(&mut Self) -> Result<T, Full>,
    ) -> Result<T, Full> {
        if !self.credits.take_all(states, limit) {
            return Err(Full::Limit);
        }
        let made = make(self);
        if made.is_err() {
            self.credits.give(states);
        }
        made
    }

    #[inline(always)]
    fn place(&mut self, new: &NewRecord<'_>) -> Result<RecordId, Full> {
        let family = new.key.family();
        let id = self.numbers.next(family).map(RecordId).ok_or(Full::Shard)?;
        let pair = self.pairs.acquire(new.side, new.class, new.other).map_err(|_| Full::Classes)?;
        if self.index.insert(new.hash, id).is_err() {
            self.pairs.release(pair);
            return Err(Full::Shard);
        }
        self.numbers.take(id.0, &self.hot);
        let at = id.0 as usize;
        let hot = &mut self.hot[at];
        *hot = Hot::new(new.key, new.sender, &new.peers, pair, (new.timeout, new.now));
        let faces = 1 + u32::from(new.other.is_some());
        self.half_open += if new.peers.0.state == PeerState::SynSent { faces } else { 0 };
        self.cold[at] = self.cold[at].reuse(self.next_id, new.now);
        if family == Family::Inet6 {
            self.wide[at] = *new.wide;
        }
        self.next_id += 2;
        if let Some(twin) = new.twin {
            self.pair_up(id, twin);
        }
        if !new.alone {
            self.forget_routes(&new.key.widened(new.wide), new.hash);
        }
        Ok(id)
    }

    fn pair_up(&mut self, a: RecordId, b: RecordId) {
        for (from, to) in [(a, b), (b, a)] {
            let generation = self.cold[to.0 as usize].generation;
            self.cold[from.0 as usize].set_twin(Twin { record: to.0, generation });
        }
    }

    /// The record that holds the other face of this connection, if it was made apart and still lives.
    pub fn twin(&self, id: RecordId) -> Option<RecordId> {
        let twin = self.cold[id.0 as usize].twin()?;
        let at = twin.record as usize;
        (self.hot[at].is_live() && self.cold[at].generation == twin.generation)
            .then_some(RecordId(twin.record))
    }

    /// Gives a record its second face, which its first packet, of so many bytes from its sender, has met, unless there are
    /// `limit` states in all shards.
    ///
    /// # Errors
    /// Why it has none; nothing was changed then.
    pub fn add_face(
        &mut self,
        id: RecordId,
        side: Side,
        class: Sketch<'_>,
        packet: (Side, u32),
        limit: u32,
    ) -> Result<(), Full> {
        debug_assert!(self.face(id, side).is_none(), "a face is never replaced");
        self.with_credits(1, limit, |table| {
            let pair = table.pair(id);
            let pair = table.pairs.complete(pair, side, class, packet).map_err(|_| Full::Classes)?;
            table.set_pair(id, pair);
            table.half_open += u32::from(table.hot[id.0 as usize].is_half_open());
            Ok(())
        })
    }

    fn drop_face(&mut self, id: RecordId, side: Side) -> Result<(), TooManyClasses> {
        let pair = self.pairs.exchange(self.pair(id), side, None)?;
        self.set_pair(id, pair);
        self.keep_numbers_of(id, side.other());
        self.half_open -= u32::from(self.hot[id.0 as usize].is_half_open());
        Ok(())
    }

    /// Gives a record other faces. What it remembered was decided with those that it had.
    #[inline]
    fn set_pair(&mut self, id: RecordId, pair: PairId) {
        *self.next_hops_mut(id) = [AdjacencyId::NONE; 2];
        self.hot[id.0 as usize].set_pair(pair);
    }

    /// Takes a face from a record, and retires the record with its last one. Where no class is left for the remaining
    /// face alone, the whole record goes: a state less is safer than one that cannot be removed.
    pub fn remove_face(&mut self, id: RecordId, side: Side, hash: KeyHash, why: Removal) -> u32 {
        self.tell_removed(id, side, why);
        let removed = self.detach(id, side, hash);
        self.credits.give(removed);
        removed
    }

    /// Takes back a record with both faces, which is new and which nobody has heard of.
    #[cold]
    pub fn take_back(&mut self, id: RecordId, hash: KeyHash) {
        self.retire(id, hash);
        self.credits.give(2);
    }

    /// As [`remove_face`](Self::remove_face), but the states count on.
    fn detach(&mut self, id: RecordId, side: Side, hash: KeyHash) -> u32 {
        let pair = self.pair(id);
        let alone = self.pairs.face(pair, side.other()).is_none();
        let shrunk = !alone && self.drop_face(id, side).is_ok();
        let removed = if shrunk || alone { 1 } else { 2 };
        if shrunk {
            self.let_face_go(id, side);
        } else {
            if removed == 2 {
                self.tell_removed(id, side.other(), Removal::Limit);
            }
            self.retire(id, hash);
        }
        removed
    }

    /// Removes both faces of a record, and with them the record.
    pub(super) fn remove(&mut self, id: RecordId, hash: KeyHash, why: Removal) -> u32 {
        Side::BOTH.into_iter().for_each(|side| self.tell_removed(id, side, why));
        self.retire(id, hash);
        self.credits.give(2);
        2
    }

    /// Removes a record with all its faces and links.
    #[inline]
    fn retire(&mut self, id: RecordId, hash: KeyHash) {
        self.half_open -= self.half_open_faces(id);
        Side::BOTH.into_iter().for_each(|side| self.let_face_go(id, side));
        if self.hot[id.0 as usize].is_far_reaching() {
            return self.retire_far_reaching(id, hash);
        }
        self.withdraw(id, hash);
        self.numbers.retire(id.0, &mut self.hot);
    }

    /// Takes a record out of the index, and its faces from it.
    #[inline]
    pub(super) fn withdraw(&mut self, id: RecordId, hash: KeyHash) {
        self.index.remove(hash, id);
        self.pairs.release(self.pair(id));
    }

    /// Gives the face that is not at `side` a record of its own, as it is now, so that what happens to one face does not
    /// happen to the other any more; no effect on a record with one face. Returns how many faces were lost because there
    /// was no place for them: a state less is safer than one that is wrong.
    pub fn part(&mut self, id: RecordId, side: Side, hash: KeyHash) -> u32 {
        let faces = self.pairs.faces(self.pair(id));
        let (Some(_), Some(moved)) = (&faces[side.index()], &faces[side.other().index()]) else { return 0 };
        let moved = moved.clone();
        match self.twin_of(id, side.other(), &moved, hash) {
            Some(twin) => {
                // The face lives on elsewhere: it is taken away here without being counted as gone.
                let lost = self.detach(id, side.other(), hash) - 1;
                self.credits.give(lost);
                self.pair_up(id, twin);
                lost
            }
            None => self.remove_face(id, side.other(), hash, Removal::Limit),
        }
    }

    /// A second record of the same connection, equal to the first in everything but its faces: it has one.
    #[cold]
    fn twin_of(&mut self, id: RecordId, side: Side, face: &Class, hash: KeyHash) -> Option<RecordId> {
        let twin = self.numbers.next(self.hot[id.0 as usize].family()).map(RecordId)?;
        let pair = self.pairs.acquire(side, face.sketch(), None).ok()?;
        if self.index.insert(hash, twin).is_err() {
            self.pairs.release(pair);
            return None;
        }
        self.numbers.take(twin.0, &self.hot);
        self.lay_down(id);
        let (from, to) = (id.0 as usize, twin.0 as usize);
        self.hot[to] = self.hot[from].clone();
        self.hot[to].set_link(None);
        self.hot[to].set_pair(pair);
        self.half_open += u32::from(self.hot[to].is_half_open());
        self.strangers += u32::from(self.hot[to].is_placed());
        let generation = self.cold[to].generation.wrapping_add(1);
        self.cold[to] = self.cold[from].clone();
        self.cold[to].generation = generation;
        self.wide[to] = self.wide[from];
        self.copy_numbers(id, twin, side);
        self.copy_stamps(id, twin, side);
        if self.copy_links(id, twin).is_err() {
            self.retire(twin, hash);
            return None;
        }
        self.move_held(id, twin, side);
        self.forget_routes(&self.key(id), hash);
        Some(twin)
    }

    /// How many sixteenths of a second a face has left if nothing more is seen; none if its time is over. pf's
    /// `pf_state_expires`.
    #[inline]
    pub(super) fn time_left(&self, id: RecordId, rule: &RuleSlot, expiry: &Expiry<'_>) -> u32 {
        let hot = &self.hot[id.0 as usize];
        self.lifetime_of(hot.timeout(), rule, expiry).saturating_sub(expiry.now.since(hot.last_seen()))
    }

    /// How many sixteenths of a second a face of this rule lives without packets, with this timer.
    #[inline]
    pub(super) fn lifetime_of(&self, timeout: Timeout, rule: &RuleSlot, expiry: &Expiry<'_>) -> u32 {
        let seconds = rule.timeout(timeout).unwrap_or_else(|| expiry.options.timeouts.get(timeout));
        let adapted = match rule.adaptive {
            None => adapt(seconds, self.credits.sum(), expiry.options),
            Some((start, end)) => adapt_between(seconds, self.states_of(rule), start, end),
        };
        adapted.saturating_mul(Sixteenths::PER_SECOND)
    }

    /// True if the face's time is over.
    pub fn has_expired(&self, id: RecordId, side: Side, expiry: &Expiry<'_>) -> bool {
        self.face(id, side).is_some_and(|class| self.time_left(id, &class.rule, expiry) == 0)
    }

    /// When a record was made.
    pub fn created(&self, id: RecordId) -> Sixteenths {
        self.cold[id.0 as usize].created
    }

    pub fn key(&self, id: RecordId) -> Key {
        self.hot[id.0 as usize].key(&self.wide[id.0 as usize])
    }
}

/// Adaptive scaling: from `adaptive.start` on, time-outs shrink linearly to nothing at `adaptive.end`.
pub(super) fn adapt(seconds: u32, states: u32, options: &Options) -> u32 {
    let (start, end) =
        (options.timeouts.get(Timeout::AdaptiveStart), options.timeouts.get(Timeout::AdaptiveEnd));
    adapt_between(seconds, states, start, end)
}

/// The same between thresholds of any states.
fn adapt_between(seconds: u32, states: u32, start: u32, end: u32) -> u32 {
    if end == 0 || states <= start || start >= end {
        return seconds;
    }
    let left = u64::from(end.saturating_sub(states));
    (u64::from(seconds) * left / u64::from(end - start)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adaptive_scaling_is_linear_between_its_thresholds() {
        let options = Options::default();
        let scaled = [0, 60_000, 60_001, 90_000, 119_999, 120_000, u32::MAX]
            .map(|states| adapt(600, states, &options));
        assert_eq!(scaled, [600, 600, 599, 300, 0, 0, 0]);
    }

    #[test]
    fn adaptive_scaling_is_off_when_its_end_is_zero() {
        let mut options = Options::default();
        options.timeouts.set(Timeout::AdaptiveEnd, 0);
        assert_eq!(adapt(600, 1_000_000, &options), 600);
    }
}
