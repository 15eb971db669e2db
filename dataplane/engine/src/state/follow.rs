//! The short way of a packet through its connection, for most packets of most connections.
//!
//! Overview: a record that remembers a next hop has two faces, which take packets from there and to there, are tracked
//! strictly and log nothing; no other record has its key. What is left to do for a packet is here, in one pass over the hot
//! line: compare the key, see that no face can have expired, judge and store the numbers, count. Whatever is out of the
//! ordinary is left to the hooks, with nothing changed.
//! Bounds: one hot line, and half a line of addresses for IPv6.

use ruleset::{Options, Timeout};

use super::adjacency::{Adjacencies, Adjacency, AdjacencyId, Leg};
use super::class::Lifetime;
use super::index::{PROBES_MAX, RecordId};
use super::key::{Family, Key, KeyHash, Side};
use super::record::{Hot, PairId, Sixteenths};
use super::table::{Connections, Expiry};
use crate::fib::InterfaceId;
use crate::hook::Flow;
use crate::intrinsics::prefetch;
use crate::quick::{Kind, Quick};
use crate::shard::BURST;

/// What a burst is followed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(super) now: Sixteenths,
    pub(crate) arrival: InterfaceId,
    /// What adaptive scaling leaves of a time-out, in 65536ths: never more than the truth.
    scale: u64,
}

impl Moment {
    /// The moment of a burst that arrives at `arrival`, while there are at most `states`.
    pub fn new(expiry: &Expiry<'_>, arrival: InterfaceId, states: u32) -> Self {
        Self { now: expiry.now, arrival, scale: scale(states, expiry.options) }
    }

    /// True if a state that was seen at `last_seen` certainly lives, with this time-out in seconds.
    #[inline(always)]
    const fn lives(&self, last_seen: Sixteenths, seconds: u32) -> bool {
        // No overflow: 32 bits and 17. Where the clock was set back, the hooks know better.
        let seconds = (seconds as u64).wrapping_mul(self.scale) >> 16;
        ((self.now.0.wrapping_sub(last_seen.0) / Sixteenths::PER_SECOND) as u64) < seconds
    }
}

/// True if no face of a record, which `MAY_LINK`, can have expired and a packet from this side is nothing out of the ordinary;
/// its numbers are stored then.
#[inline(always)]
pub(super) fn fits<const MAY_LINK: bool>(
    hot: &mut Hot,
    lifetime: Lifetime,
    quick: &Quick,
    sender: Side,
    moment: &Moment,
) -> bool {
    let last_seen = hot.last_seen();
    if quick.kind == Kind::Segment {
        moment.lives(last_seen, lifetime.tcp) && hot.follow_tcp::<MAY_LINK>(sender, &quick.segment)
    } else {
        moment.lives(last_seen, lifetime.udp) && hot.follow_udp::<MAY_LINK>()
    }
}

/// As `adapt` in `table`, rounded down.
fn scale(states: u32, options: &Options) -> u64 {
    const WHOLE: u64 = 1 << 16;
    let [start, end] =
        [Timeout::AdaptiveStart, Timeout::AdaptiveEnd].map(|timeout| options.timeouts.get(timeout));
    if end == 0 || states <= start || start >= end {
        return WHOLE;
    }
    WHOLE * u64::from(end.saturating_sub(states)) / u64::from(end - start)
}

impl Connections {
    /// How many states there may be at most while a burst is under way, as far as is known.
    pub fn states_at_most(&self) -> u32 {
        self.credits.sum().saturating_add(2 * BURST as u32)
    }

    /// The lookups of a burst begin.
    #[inline]
    pub const fn look_ahead(&mut self) {
        self.index.look_ahead();
    }

    /// True if a record, a link or an alias of this hash was made since [`look_ahead`](Self::look_ahead), and now and then if
    /// none was.
    #[inline]
    pub const fn may_be_fresh(&self, hash: KeyHash) -> bool {
        self.index.may_be_fresh(hash)
    }

    /// Starts loading what a lookup of `hash` reads first.
    #[inline(always)]
    pub fn prefetch_bucket(&self, hash: KeyHash) {
        self.index.prefetch_first(hash);
    }

    /// True if a lookup that finds nothing in the first bucket reads the second.
    #[inline(always)]
    pub fn leads_on(&self, hash: KeyHash) -> bool {
        self.index.leads_on(hash)
    }

    /// Starts loading what a lookup reads where the first bucket has nothing.
    #[inline(always)]
    pub fn prefetch_overflow(&self, hash: KeyHash) {
        self.index.prefetch_second(hash);
    }

    /// The record that a lookup of `hash` most likely finds, in the first bucket; none if there is none.
    #[inline(always)]
    pub fn hint(&self, hash: KeyHash) -> RecordId {
        self.index.hint_in_first(hash)
    }

    /// As [`Self::hint`], in the second bucket.
    #[inline(always)]
    pub fn hint_in_overflow(&self, hash: KeyHash) -> RecordId {
        self.index.hint_in_second(hash)
    }

    /// Starts loading a record, or the link that leads to it.
    #[inline(always)]
    pub fn prefetch_record(&self, id: RecordId) {
        if let Some(hot) = self.hot.get(id.0 as usize) {
            prefetch(hot);
        } else if let Some(link) = id.link() {
            self.links.prefetch(link);
        }
    }

    /// Starts loading the IPv6 addresses of a record, or of a link.
    #[inline(always)]
    pub fn prefetch_addresses(&self, id: RecordId) {
        if let Some(wide) = self.wide.get(id.0 as usize) {
            prefetch(wide);
        } else if let Some(link) = id.link() {
            self.links.prefetch_addresses(link);
        }
    }

    /// The next hop that the record which a packet has a hint of remembers for it. It may be another connection's.
    #[inline(always)]
    pub fn next_hop<'a>(&self, quick: &Quick, adjacencies: &'a Adjacencies) -> Option<&'a Adjacency> {
        let hot = self.hot.get(quick.hint.0 as usize)?;
        adjacencies.get(hot.adjacency()[quick.sender.index()])
    }

    /// Takes a packet through both faces of the record that it has a hint of, and commits it, if it goes along `leg`. `None` if
    /// not, or if the hooks must see it; nothing was changed then.
    #[inline(always)]
    pub fn follow<'a>(
        &mut self,
        quick: &Quick,
        moment: &Moment,
        leg: Leg,
        adjacencies: &'a Adjacencies,
    ) -> Option<&'a Adjacency> {
        let at = quick.hint.0 as usize;
        let hot = self.hot.get_mut(at)?;
        let adjacency = adjacencies.along(hot.adjacency()[quick.sender.index()], leg)?;
        if quick.key.family() == Family::Inet6 && self.wide.get(at) != Some(&quick.wide) {
            return None;
        }
        let tally = self.pairs.tally(hot.pair())?;
        let is_as_usual =
            hot.has_key(&quick.key) && quick.length <= adjacency.mtu && hot.has_room(quick.sender);
        if !is_as_usual || !fits::<false>(hot, tally.lifetime(), quick, quick.sender, moment) {
            return None;
        }
        hot.touch(moment.now);
        // Not summed up over packets of one pair: which pair comes next is as good as random, and a branch costs more.
        tally.count(quick.sender, u32::from(quick.length));
        hot.count(quick.sender, u32::from(quick.length));
        Some(adjacency)
    }

    /// Lets a record remember where a packet of `sender` that met both its faces has gone, if they are followed the short
    /// way at all.
    pub fn remember(
        &mut self,
        id: RecordId,
        flow: &Flow,
        adjacency: Adjacency,
        adjacencies: &mut Adjacencies,
        options: &Options,
    ) {
        let known = adjacencies.get(self.next_hops(id)[flow.sender.index()]) == Some(&adjacency);
        if known || !self.is_alone(id, &flow.key, flow.hash) {
            return;
        }
        let pair = self.pair(id);
        let Some(lifetime) = self.lifetime(pair, options) else { return };
        self.pairs.set_lifetime(pair, lifetime);
        let number = adjacencies.number(adjacency, self.numbers.used());
        self.next_hops_mut(id)[flow.sender.index()] = number;
        self.carry(id, adjacencies);
    }

    /// How long states of a pair live without packets; `None` if they are not followed the short way.
    fn lifetime(&self, pair: PairId, options: &Options) -> Option<Lifetime> {
        let [Some(low), Some(high)] = self.pairs.faces(pair) else { return None };
        if [low, high].iter().any(|class| self.pairs.meets_each_packet(class)) {
            return None;
        }
        let shorter = |timeout| {
            let of = |rule: &crate::eval::RuleSlot| {
                rule.timeout(timeout).unwrap_or_else(|| options.timeouts.get(timeout))
            };
            of(&low.rule).min(of(&high.rule))
        };
        Some(Lifetime { tcp: shorter(Timeout::TcpEstablished), udp: shorter(Timeout::UdpMultiple) })
    }

    /// Lets all records of a key forget their next hops: from now on lookups have to choose among them.
    pub fn forget_routes(&mut self, key: &Key, hash: KeyHash) {
        let mut records = [RecordId::NONE; PROBES_MAX];
        for (place, hit) in records.iter_mut().zip(self.hits(key, hash)) {
            *place = hit.record;
        }
        for id in records.into_iter().take_while(|id| *id != RecordId::NONE) {
            *self.next_hops_mut(id) = [AdjacencyId::NONE; 2];
        }
    }

    fn is_alone(&self, id: RecordId, key: &Key, hash: KeyHash) -> bool {
        self.hits(key, hash).all(|hit| hit.record == id)
    }

    /// Takes next hops of earlier epochs away from a record.
    #[inline]
    pub fn forget_stale(&mut self, id: RecordId, adjacencies: &Adjacencies) {
        let carried = self.hot[id.0 as usize].carried();
        if carried.is_some_and(|carried| !self.is_stale(carried)) {
            return;
        }
        for adjacency in self.next_hops_mut(id) {
            if *adjacency != AdjacencyId::NONE && adjacencies.get(*adjacency).is_none() {
                *adjacency = AdjacencyId::NONE;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_is_never_longer_than_the_truth() {
        let options = Options::default();
        for states in [0, 60_000, 60_001, 75_000, 90_001, 119_999, 120_000, u32::MAX] {
            for seconds in [1_u32, 30, 599, 86_400] {
                let exact = super::super::table::adapt(seconds, states, &options);
                let ours = (u64::from(seconds) * scale(states, &options)) >> 16;
                assert!(ours <= u64::from(exact), "{seconds} s at {states} states: {ours} > {exact}");
                assert!(ours + 3 >= u64::from(exact), "{seconds} s at {states} states: {ours} < {exact}");
            }
        }
    }
}
