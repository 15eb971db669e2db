//! Aliases: the keys of this home whose connections another worker has.
//!
//! Overview: an alias takes a line among the [links](super::link), and leads to a worker instead of a record. There is one only
//! where no record has the key. On the other side, a record whose home is another worker is marked as placed; when the last of
//! its key has gone, its number stays until the home knows it. A link whose home is another worker queues to have it told, at
//! once when it is made and, when it goes, again. Ownership: one shard. Bounds: those of links and records.

use ruleset::Removal;

use super::index::{LinkId, RecordId};
use super::key::{Family, Key, KeyHash, Narrow, Side};
use super::link::{Hit, Link};
use super::table::{Connections, Full};
use crate::Address;
use crate::fate::WorkerId;
use crate::work;

/// The end of the list of those that leave.
pub(super) const NONE: u32 = u32::MAX;

/// Links in the order in which their homes are told of them.
#[derive(Debug, Default)]
pub(super) struct Queue {
    first: Option<LinkId>,
    last: Option<LinkId>,
}

/// What a home is to know of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A connection has it.
    Linked(Key),
    /// None has it any more.
    Gone(Key),
}

impl Connections {
    /// How many aliases there are.
    pub const fn aliases(&self) -> u32 {
        self.aliases
    }

    /// Has packets of a key that no record has go to `owner`.
    ///
    /// # Errors
    /// [`Full::Shard`]; nothing was changed then.
    pub fn add_alias(&mut self, key: &Key, hash: KeyHash, owner: WorkerId) -> Result<(), Full> {
        debug_assert!(!self.knows(key, hash) && self.owner(key, hash).is_none(), "one of them, once");
        let id = self.links.next(Family::of(key.af)).ok_or(Full::Shard)?;
        self.index.insert(hash, id.entry()).map_err(|_| Full::Shard)?;
        self.links.put(id, &key.address, Link::alias(Narrow::of(key), owner));
        self.aliases += 1;
        Ok(())
    }

    /// Ends the alias of a key that leads to `owner`. False if there is none.
    pub fn remove_alias(&mut self, key: &Key, hash: KeyHash, owner: WorkerId) -> bool {
        let Some(id) = self.find_alias(key, hash).filter(|_| self.owner(key, hash) == Some(owner)) else {
            return false;
        };
        self.index.remove(hash, id.entry());
        self.links.retire(id);
        self.aliases -= 1;
        true
    }

    /// The owner of a key that has an alias here.
    #[inline]
    pub fn owner(&self, key: &Key, hash: KeyHash) -> Option<WorkerId> {
        if self.aliases == 0 {
            return None;
        }
        let id = self.find_alias(key, hash)?;
        self.alias(id, &Narrow::of(key), &key.address)
    }

    #[cold]
    fn find_alias(&self, key: &Key, hash: KeyHash) -> Option<LinkId> {
        let narrow = Narrow::of(key);
        let mut links = self.index.candidates(hash).filter_map(RecordId::link);
        links.find(|id| self.alias(*id, &narrow, &key.address).is_some())
    }

    /// The owner that a link leads to, if it is an alias of this key.
    pub fn alias(&self, id: LinkId, key: &Narrow, wide: &[Address; 2]) -> Option<WorkerId> {
        work::record();
        let owner = self.links.line(id).owner(key)?;
        (key.family() == Family::Inet || self.links.addresses(id) == wide).then_some(owner)
    }

    /// True if a record has the key, by its own tuple or by a link.
    pub fn knows(&self, key: &Key, hash: KeyHash) -> bool {
        self.hits(key, hash).next().is_some()
    }

    /// Notes that the home of a new record is another worker.
    #[cold]
    pub fn set_placed(&mut self, id: RecordId) {
        self.hot[id.0 as usize].set_placed();
        self.strangers += 1;
    }

    /// True if packets whose home is another worker may find anything here.
    #[inline]
    pub const fn has_strangers(&self) -> bool {
        self.strangers > 0
    }

    /// Removes a record that has links, or another home.
    #[inline(never)]
    pub(super) fn retire_far_reaching(&mut self, id: RecordId, hash: KeyHash) {
        self.drop_links(id);
        self.withdraw(id, hash);
        if self.hot[id.0 as usize].is_placed() {
            self.retire_placed(id, hash);
        } else {
            self.numbers.retire(id.0, &mut self.hot);
        }
    }

    #[cold]
    fn retire_placed(&mut self, id: RecordId, hash: KeyHash) {
        self.strangers -= 1;
        if self.knows(&self.key(id), hash) {
            self.numbers.retire(id.0, &mut self.hot);
        } else {
            self.hot[id.0 as usize].leave(self.leaving);
            self.leaving = id.0;
        }
    }

    /// The key of a record that was placed here and is gone, which its home is to know.
    fn leaving(&self) -> Option<Key> {
        (self.leaving != NONE).then(|| self.key(RecordId(self.leaving)))
    }

    /// Has a link's home told of it.
    #[cold]
    pub(super) fn queue(&mut self, id: LinkId) {
        self.links.line_mut(id).waits = true;
        match self.queue.last.replace(id) {
            Some(last) => self.links.line_mut(last).queued = id.0 + 1,
            None => self.queue.first = Some(id),
        }
    }

    /// Removes a link, which is out of the index, but for what its home has to be told.
    #[cold]
    pub(super) fn drop_foreign(&mut self, id: LinkId) {
        let line = self.links.line_mut(id);
        line.end();
        match (line.waits, line.told) {
            (true, _) => {}
            (false, true) => self.queue(id),
            (false, false) => self.links.retire(id),
        }
    }

    fn unqueue(&mut self) -> Option<LinkId> {
        let id = self.queue.first?;
        let line = self.links.line_mut(id);
        line.waits = false;
        self.queue.first = core::mem::take(&mut line.queued).checked_sub(1).map(LinkId);
        if self.queue.first.is_none() {
            self.queue.last = None;
        }
        Some(id)
    }

    /// What the next home has to be told of its key, if there is one.
    #[inline]
    pub fn news(&mut self) -> Option<News> {
        while let Some(id) = self.queue.first {
            let (line, key) = (self.links.line(id), self.links.key(id));
            if line.is_live() {
                return Some(News::Linked(key));
            }
            if line.told && !self.knows(&key, KeyHash(line.hash)) {
                return Some(News::Gone(key));
            }
            self.forget_news();
        }
        self.leaving().map(News::Gone)
    }

    /// The home knows it, or need not.
    pub fn forget_news(&mut self) {
        let Some(id) = self.unqueue() else { return self.let_go() };
        let line = self.links.line_mut(id);
        if line.is_live() {
            line.told = true;
        } else {
            self.links.retire(id);
        }
    }

    /// Removes the records whose own key this is, for want of room here. Returns how many states went.
    #[cold]
    pub fn remove_all(&mut self, key: &Key, hash: KeyHash) -> u32 {
        let mut removed = 0;
        while let Some(hit) = self.first_hit(key, hash, |hit| hit.link.is_none()) {
            removed += self.remove_faces(hit.record, hash, Removal::Limit);
        }
        removed
    }

    fn first_hit(&self, key: &Key, hash: KeyHash, which: impl Fn(&Hit) -> bool) -> Option<Hit> {
        self.hits(key, hash).find(which)
    }

    fn remove_faces(&mut self, id: RecordId, hash: KeyHash, why: Removal) -> u32 {
        let mut removed = 0;
        for side in Side::BOTH {
            if self.hot[id.0 as usize].is_live() && self.face(id, side).is_some() {
                removed += self.remove_face(id, side, hash, why);
            }
        }
        removed
    }

    /// Removes the connections that have a key by a link which its home refuses. Returns how many states went.
    #[cold]
    pub fn remove_refused(&mut self, key: &Key, hash: KeyHash) -> u32 {
        let mut removed = 0;
        while let Some(Hit { record, hash: own, link: Some(link), .. }) =
            self.first_hit(key, hash, |hit| hit.link.is_some())
        {
            // It has no alias there that could end.
            self.links.line_mut(link).told = false;
            removed += self.remove_faces(record, own, Removal::Refused);
        }
        removed
    }

    /// The home knows it: the number is free.
    fn let_go(&mut self) {
        let id = self.leaving;
        if let Some(hot) = self.hot.get(id as usize) {
            self.leaving = hot.left_before();
            self.numbers.retire(id, &mut self.hot);
        }
    }
}
