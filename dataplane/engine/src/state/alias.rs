//! Aliases: the keys of this home whose connections another worker has.
//!
//! Overview: an alias takes a line among the [links](super::link), and leads to a worker instead of a record. There is one only
//! where no record has the key. On the other side, a record whose home is another worker is marked as placed; when the last of
//! its key has gone, its number stays until the home knows it. Ownership: one shard. Bounds: those of links and records.

use super::index::{LinkId, RecordId};
use super::key::{Family, Key, KeyHash, Narrow};
use super::link::Link;
use super::table::{Connections, Full};
use crate::Address;
use crate::fate::WorkerId;
use crate::work;

/// The end of the list of those that leave.
pub(super) const NONE: u32 = u32::MAX;

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
        self.links.put(id, key, Link::alias(owner));
        self.aliases += 1;
        Ok(())
    }

    /// Ends the alias of a key. False if it has none.
    pub fn remove_alias(&mut self, key: &Key, hash: KeyHash) -> bool {
        let Some(id) = self.find_alias(key, hash) else { return false };
        self.index.remove(hash, id.entry());
        self.links.retire(id);
        self.aliases -= 1;
        true
    }

    /// The owner of a key that has an alias here.
    #[inline]
    pub(super) fn owner(&self, key: &Key, hash: KeyHash) -> Option<WorkerId> {
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

    /// Notes that the home of a record is another worker.
    #[cold]
    pub fn set_placed(&mut self, id: RecordId) {
        self.hot[id.0 as usize].set_placed();
    }

    /// Removes a record that has links, or another home.
    #[cold]
    pub(super) fn retire_far_reaching(&mut self, id: RecordId, hash: KeyHash) {
        self.drop_links(id);
        self.withdraw(id, hash);
        let (at, key) = (id.0 as usize, self.key(id));
        if self.hot[at].is_placed() && !self.knows(&key, hash) {
            self.hot[at].leave(self.leaving);
            self.leaving = id.0;
        } else {
            self.numbers.retire(id.0, &mut self.hot);
        }
    }

    /// The key of a record that was placed here and is gone, which its home is to know.
    pub fn leaving(&self) -> Option<Key> {
        (self.leaving != NONE).then(|| self.key(RecordId(self.leaving)))
    }

    /// The home knows it: the number is free.
    pub fn let_go(&mut self) {
        let id = self.leaving;
        if let Some(hot) = self.hot.get(id as usize) {
            self.leaving = hot.left_before();
            self.numbers.retire(id, &mut self.hot);
        }
    }
}
