//! Buffers for copies of frames.
//!
//! Overview: a burst says how many copies it has left; their buffers are taken from the pool together. Of those for a port that
//! samples it is drawn one by one which are made at all, and so each of these gets its buffer by itself. Ownership: a worker's, for the
//! time of a burst. Bounds: no more buffers than copies, and [`BURST_MAX`] at once.

use dpdk::{BURST_MAX, Burst, Mbuf, Mempool};

use crate::vlan;

/// Buffers for the copies of a burst.
pub struct Buffers<'a> {
    pool: &'a Mempool,
    /// Copies that have no buffer yet.
    wanted: usize,
    ready: Burst,
}

impl<'a> Buffers<'a> {
    /// Buffers from `pool` for so many copies.
    pub const fn new(pool: &'a Mempool, wanted: usize) -> Self {
        Self { pool, wanted, ready: Burst::new() }
    }

    /// An empty buffer; `None` if the pool has none.
    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        match self.ready.pop() {
            Some(mbuf) => Some(mbuf),
            None => self.refill(),
        }
    }

    /// An empty buffer, and as many others as are wanted.
    #[inline(never)]
    fn refill(&mut self) -> Option<Mbuf> {
        let count = self.wanted.min(BURST_MAX);
        // Of a datagram that goes in fragments, each piece is one: there may be more copies than were wanted.
        if count == 0 || !self.pool.alloc_burst(&mut self.ready, count) {
            // As many as there are: one by one.
            self.wanted = self.wanted.saturating_sub(1);
            return self.pool.alloc();
        }
        self.wanted -= count;
        self.ready.pop()
    }

    /// A copy that is made by itself, or not at all, has no part in what is taken together.
    pub const fn forgo(&mut self) {
        self.wanted = self.wanted.saturating_sub(1);
    }

    /// A copy, of what it begins with and what follows, in a buffer of its own, with the tag of the VLAN that its original is on;
    /// `None` if there is no buffer, or no room in it.
    #[inline]
    pub fn fill(&mut self, head: &[u8], rest: &[u8], vlan: Option<u16>) -> Option<Mbuf> {
        filled(self.next()?, head, rest, vlan)
    }

    /// As [`fill`](Self::fill), in a buffer that is taken alone.
    pub fn fill_alone(&self, head: &[u8], rest: &[u8], vlan: Option<u16>) -> Option<Mbuf> {
        filled(self.pool.alloc()?, head, rest, vlan)
    }
}

#[inline]
fn filled(mut mbuf: Mbuf, head: &[u8], rest: &[u8], vlan: Option<u16>) -> Option<Mbuf> {
    mbuf.extend_from_slices(head, rest).ok()?;
    match vlan {
        Some(vlan) => vlan::insert(&mut mbuf, vlan).ok().map(|()| mbuf),
        None => Some(mbuf),
    }
}
