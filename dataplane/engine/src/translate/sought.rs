//! A tuple whose source port is sought, as connections know it.
//!
//! Ownership: the packet under way. Bounds: a hash and two buckets for each port.

use wire::Port;

use crate::Address;
use crate::fate::WorkerId;
use crate::packet::Tuple;
use crate::state::{Connections, Hashing, KeyHash, Narrow, Side};

/// A tuple but for its source port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sought {
    key: Narrow,
    /// The addresses of the key, of IPv6.
    pub wide: [Address; 2],
    /// The side of its sender.
    pub sender: Side,
}

impl Sought {
    #[inline(always)]
    pub fn of(tuple: &Tuple) -> Self {
        let (key, sender, wide) = Narrow::of_tuple(tuple);
        Self { key, wide, sender }
    }

    /// The key with a source port, if nobody has one of its hash, and answers are this worker's.
    #[inline(always)]
    pub fn at_once(
        &self,
        sport: Port,
        connections: &Connections,
        hashing: &Hashing,
        worker: WorkerId,
    ) -> Option<(Narrow, KeyHash)> {
        let (key, hash) = self.with_port(sport, hashing);
        (hashing.home(hash) == worker && !connections.may_be_taken(hash)).then_some((key, hash))
    }

    /// True if no packet of another connection comes or answers by the key with a source port, and answers are this worker's.
    pub fn is_free(
        &self,
        sport: Port,
        connections: &Connections,
        hashing: &Hashing,
        worker: WorkerId,
    ) -> bool {
        let (key, hash) = self.with_port(sport, hashing);
        hashing.home(hash) == worker && !connections.has_taken(&key, &self.wide, hash)
    }

    #[inline(always)]
    fn with_port(&self, sport: Port, hashing: &Hashing) -> (Narrow, KeyHash) {
        let key = self.key.with_port(self.sender, sport);
        (key, hashing.hash_narrow(&key, &self.wide))
    }
}
