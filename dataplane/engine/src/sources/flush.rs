//! What becomes of sources that have exceeded a limit, beside the packet that did (pf.conf(5) `overload`, `flush`).
//!
//! Overview: a control thread asks a root which sources were overloaded, has their tables hold them, and workers
//! [flush](Shard::flush) their states. Ownership: made by a control thread, read by workers. Bounds: what overlays hold.

use core::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use ruleset::Flush;
use wire::Af;

use super::{Offence, Overlay};
use crate::Address;
use crate::eval::Root;
use crate::shard::Shard;

/// A source that was put into a table, which does not hold it by itself yet.
#[derive(Clone, Debug)]
pub struct Overloaded {
    /// The table.
    pub table: String,
    /// The source.
    pub source: IpAddr,
    offence: Offence,
    overlay: Arc<Overlay>,
}

impl Overloaded {
    pub(crate) fn new(table: &str, overlay: &Arc<Overlay>, offence: Offence) -> Self {
        let source = offence.address.to_ip(offence.af);
        Self { table: table.to_owned(), source, offence, overlay: overlay.clone() }
    }

    /// Its table holds it by itself now, or is not to hold it.
    pub fn settle(&self) {
        self.overlay.remove(&self.offence);
    }
}

/// Sources whose states are to go.
#[derive(Clone, Debug, Default)]
pub struct Flushes(HashMap<(Af, Address), Doomed>);

#[derive(Clone, Debug, Default)]
struct Doomed {
    all: bool,
    /// The rules whose states go otherwise.
    owners: Vec<u64>,
}

impl Flushes {
    /// What is to be flushed of these.
    pub fn of<'a>(overloaded: impl IntoIterator<Item = &'a Overloaded>) -> Self {
        let mut flushes = Self::default();
        for Overloaded { offence: Offence { af, address, owner, flush }, .. } in overloaded {
            if *flush == Flush::No {
                continue;
            }
            let doomed = flushes.0.entry((*af, *address)).or_default();
            doomed.all |= *flush == Flush::Global;
            doomed.owners.push(*owner);
        }
        flushes
    }

    /// True if nothing is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a state goes that a packet of `address` made at a rule of this owner.
    pub(crate) fn takes(&self, af: Af, address: Address, owner: u64) -> bool {
        let doomed = self.0.get(&(af, address));
        doomed.is_some_and(|doomed| doomed.all || doomed.owners.contains(&owner))
    }
}

impl Root {
    /// The sources that were put into tables and are not in them by themselves yet.
    pub fn overloaded(&self) -> Vec<Overloaded> {
        let overlaid = self.overlays().flat_map(|(name, overlay)| {
            overlay.all().into_iter().map(move |offence| Overloaded::new(name, overlay, offence))
        });
        overlaid.collect()
    }

    /// True if rules put sources into tables.
    pub fn overloads(&self) -> bool {
        self.overlays().next().is_some()
    }
}

impl Shard {
    /// Removes those states of up to `most` records from `cursor` on that are to be flushed, and moves it; `u32::MAX` is the end.
    /// Returns how many states went.
    pub fn flush(&mut self, cursor: &mut u32, most: usize, flushes: &Flushes) -> u64 {
        let mut removed = 0;
        for number in self.connections.run(cursor, most) {
            removed += u64::from(self.connections.flush(number, flushes, &self.hashing));
        }
        self.counters.removals += removed;
        removed
    }
}
