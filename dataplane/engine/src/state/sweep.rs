//! How states go whose time is over: a visit to every record in turn, a bounded slice at a time.
//!
//! Overview: a slice visits records by number, so that their lines come one after the other; those with something to remove are
//! collected, hashed together, and removed once their buckets are on the way. Ownership: one shard. Bounds: as many records as
//! the caller says, and none that was never used.

use ruleset::Removal;

use super::adjacency::Adjacencies;
use super::class::Class;
use super::index::RecordId;
use super::key::{Hashing, KeyHash, Side};
use super::table::{Connections, Expiry, adapt};
use crate::work;

/// Expired records whose buckets are fetched together.
const SWEEP_TOGETHER: usize = 16;

/// A record with something to remove.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    id: RecordId,
    /// Both its faces have expired.
    wholly: bool,
    /// Of its key.
    hash: KeyHash,
}

impl Connections {
    /// By side, whether there is a face whose time is over.
    #[inline]
    fn have_expired(&self, id: RecordId, expiry: &Expiry<'_>) -> [bool; 2] {
        let hot = &self.hot[id.0 as usize];
        let (timeout, passed) = (hot.timeout(), expiry.now.since(hot.last_seen()));
        let [low, high] = self.pairs.faces(self.pair(id));
        let is_over = |class: &Class| self.lifetime_of(timeout, &class.rule, expiry) <= passed;
        [low.as_ref().is_some_and(is_over), high.as_ref().is_some_and(is_over)]
    }

    /// Visits the next `most` records and removes the faces that have expired. Returns how many it removed.
    pub fn sweep(
        &mut self,
        most: usize,
        expiry: &Expiry<'_>,
        hashing: &Hashing,
        adjacencies: &mut Adjacencies,
    ) -> u64 {
        let mut removed = 0;
        let mut left = most.min(self.numbers.used());
        adjacencies.count_swept(left);
        self.courses.count_swept(left);
        while left > 0 {
            // Records with something to remove are collected first: their buckets are on the way when they are needed.
            let mut due = [Due::default(); SWEEP_TOGETHER];
            let mut count = 0;
            while left > 0 && count < due.len() {
                left -= 1;
                if let Some(next) = self.next_due(expiry, adjacencies) {
                    due[count] = next;
                    count += 1;
                }
            }
            let due = &mut due[..count];
            hashing.hash_each(
                due.iter_mut(),
                |due| {
                    let at = due.id.0 as usize;
                    self.hot[at].narrow().blocks(&self.wide[at])
                },
                |due, hash| {
                    due.hash = hash;
                    self.prefetch_bucket(hash);
                    self.prefetch_way_to_link(due.id);
                },
            );
            for due in due {
                removed += u64::from(self.expire(due, expiry));
            }
        }
        removed
    }

    /// Visits the next record, and returns it if one of its faces has expired.
    fn next_due(&mut self, expiry: &Expiry<'_>, adjacencies: &Adjacencies) -> Option<Due> {
        work::record();
        let id = RecordId(self.numbers.around(self.sweep_at));
        self.sweep_at = id.0 + 1;
        if !self.hot[id.0 as usize].is_live() {
            return None;
        }
        self.forget_stale(id, adjacencies);
        let [low, high] = self.have_expired(id, expiry);
        (low || high).then_some(Due { id, wholly: low && high, hash: KeyHash::default() })
    }

    fn expire(&mut self, due: &Due, expiry: &Expiry<'_>) -> u32 {
        let Due { id, wholly, hash } = *due;
        // Where adaptive scaling is at work, one state less may let the other face live a little longer.
        let [low, high] = self.pairs.faces(self.pair(id));
        let by_rule = [low, high].into_iter().flatten().any(|class| class.rule.adaptive.is_some());
        if wholly && !by_rule && adapt(u32::MAX, self.credits.sum(), expiry.options) == u32::MAX {
            return self.remove(id, hash, Removal::Expired);
        }
        let mut removed = 0;
        for side in Side::BOTH {
            if self.hot[id.0 as usize].is_live() && self.has_expired(id, side, expiry) {
                removed += self.remove_face(id, side, hash, Removal::Expired);
            }
        }
        removed
    }
}
