//! Floods of SYNs: how many states are half-open in all shards, and whether that is too many (pf.conf(5) `set syncookies
//! adaptive`).
//!
//! Overview: each shard tells the others how many it has once a burst, and knows its own exactly. A flood begins and ends for
//! all of them at once. Ownership: two numbers are shared; the rest is one shard's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::table::Connections;

/// What the shards of a pool know of each other.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The half-open states that all have told.
    half_open: AtomicU32,
    /// There is a flood.
    flooded: AtomicBool,
}

/// One shard's part in it.
#[derive(Debug)]
pub(super) struct Floods {
    shared: Arc<Shared>,
    /// What it has told.
    told: u32,
}

impl Floods {
    pub const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, told: 0 }
    }
}

impl Connections {
    /// Tells the other shards how many half-open states this one has, and ends a flood if there are no more than `end` in all.
    pub fn tell_half_open(&mut self, end: u32) {
        let half_open = self.half_open();
        let Floods { shared, told } = &mut self.floods;
        // The numbers order nothing else.
        if half_open != *told {
            shared.half_open.fetch_add(half_open.wrapping_sub(*told), Ordering::Relaxed);
            *told = half_open;
        }
        if shared.flooded.load(Ordering::Relaxed) && shared.half_open.load(Ordering::Relaxed) <= end {
            shared.flooded.store(false, Ordering::Relaxed);
        }
    }

    /// True while there is a flood: since there were more half-open states than `start`. One that begins is counted by the shard
    /// that sees it first.
    pub fn is_flooded(&self, start: u32, floods: &mut u64) -> bool {
        let Floods { shared, told } = &self.floods;
        if shared.flooded.load(Ordering::Relaxed) {
            return true;
        }
        let others = shared.half_open.load(Ordering::Relaxed).wrapping_sub(*told);
        let begins = others.wrapping_add(self.half_open()) > start;
        if begins && !shared.flooded.swap(true, Ordering::Relaxed) {
            *floods += 1;
        }
        begins
    }
}
