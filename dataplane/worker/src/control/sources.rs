//! What is known of sources, and what becomes of those that have exceeded a limit.
//!
//! Overview: workers themselves decide that a source has, and have it in its table at once ([`engine::Overloaded`]); the thread
//! that calls [`Desk::overload`] builds the tables anew with it and has the states removed that go with it, all such sources in
//! one pass, without turnpike-control. Ownership: threads of the dataplane. Bounds: a pass visits each record once, a bounded
//! slice in each poll.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{LimitCount, ResponseBody, SourceStatus};
use engine::{Flushes, NodeCounts, Overloaded, Tick};
use ruleset::{LIMIT_HITS, LimitHit, SourceSelector, SourceView, TableEdit, TableEntry};

use super::desk::{Desk, PATIENCE, lock};
use super::rules::Refusal;
use crate::dump::Stalled;

impl Desk {
    fn now(&self) -> Tick {
        (self.facts.now)()
    }

    /// True if sources may have to be put into tables.
    pub fn overloads(&self) -> bool {
        self.showcase.live().is_some_and(|live| live.root.overloads())
    }

    /// Has tables hold what was put into them, and removes the states that go with it. False if some of it is still to be done.
    pub fn overload(&self) -> bool {
        let found = self.showcase.live().map(|live| live.root.overloaded()).unwrap_or_default();
        if found.is_empty() {
            return true;
        }
        let mut tables: BTreeMap<&str, Vec<&Overloaded>> = BTreeMap::new();
        found.iter().for_each(|one| tables.entry(&one.table).or_default().push(one));
        let mut settled = Vec::new();
        for (table, sources) in tables {
            if self.put_into_table(table, &sources) {
                settled.extend(sources);
            }
        }
        // Behind the tables: whoever begins anew meets the rules with them.
        self.flush(Flushes::of(settled.iter().copied()));
        settled.iter().for_each(|one| one.settle());
        settled.len() == found.len()
    }

    /// Has a table hold sources; false if that is to be tried again.
    fn put_into_table(&self, table: &str, sources: &[&Overloaded]) -> bool {
        let entry = |one: &&Overloaded| TableEntry::new(false, one.source.into());
        let add = sources.iter().map(entry).collect();
        let edit = TableEdit { name: table.to_owned(), add, ..TableEdit::default() };
        let count = sources.len();
        match lock(&self.rules).edit_tables(&[edit]) {
            Ok(()) => {
                lock(&self.ledger).overloads += count as u64;
                tracing::info!(table, sources = count, "sources have exceeded their limits");
                true
            }
            Err(refusal) => {
                tracing::warn!(table, sources = count, %refusal, "sources that have exceeded their limits are not in their table");
                // It is full, or there is none any more: that does not change by itself.
                matches!(refusal, Refusal::Invalid(_))
            }
        }
    }

    /// Removes the states of sources on every worker.
    fn flush(&self, flushes: Flushes) {
        if flushes.is_empty() {
            return;
        }
        let flushes = Arc::new(flushes);
        let (mut cursor, mut count) = (0, 0);
        while cursor != u32::MAX {
            match lock(&self.lister).flush(cursor, &flushes, PATIENCE) {
                Ok((removed, next)) => (cursor, count) = (next, count + removed),
                Err(Stalled) => {
                    tracing::error!(
                        "a worker does not answer: states of sources that have exceeded their limits may be left"
                    );
                    return;
                }
            }
        }
        tracing::info!(states = count, "states of sources that have exceeded their limits were removed");
    }

    /// The source nodes, with the traffic of their states if that is wanted.
    ///
    /// # Errors
    /// [`Stalled`].
    pub fn sources(&self, traffic: bool) -> Result<Vec<SourceView>, Stalled> {
        let live = self.showcase.live();
        let root = live.as_ref().map(|live| live.root.as_ref());
        let mut nodes = self.facts.states.sources(root, self.now());
        // A commit waits for whoever holds it.
        drop(live);
        if traffic && !nodes.is_empty() {
            let mut seen: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
            let mut cursor = 0;
            while cursor != u32::MAX {
                let (found, next) = lock(&self.lister).traffic_of_sources(cursor, PATIENCE)?;
                cursor = next;
                for (place, packets, bytes) in found {
                    let sum = seen.entry(place).or_default();
                    *sum = (sum.0 + packets, sum.1 + bytes);
                }
            }
            for (place, node) in &mut nodes {
                let (packets, bytes) = seen.get(place).copied().unwrap_or_default();
                (node.packets, node.bytes) = (node.packets + packets, node.bytes + bytes);
            }
        }
        let mut views: Vec<SourceView> = nodes.into_iter().map(|(_, view)| view).collect();
        views.sort_by_key(|view| (view.kind, view.source, view.rule));
        Ok(views)
    }

    /// Has source nodes be forgotten.
    pub fn forget_sources(&self, selector: &SourceSelector, user: u32) -> ResponseBody {
        let count = self.facts.states.forget_sources(selector, self.now());
        tracing::info!(nodes = count, user, "source nodes were removed: {selector:?}");
        ResponseBody::Killed(count as u64)
    }
}

pub(super) fn source_status(current: u32, [searches, inserts, removals]: [u64; 3]) -> SourceStatus {
    SourceStatus { current: current.into(), searches, inserts, removals }
}

pub(super) const fn counted(counts: &NodeCounts) -> [u64; 3] {
    [counts.searches, counts.inserts, counts.removals]
}

pub(super) fn limit_counts(limits: [u64; LIMIT_HITS]) -> Vec<LimitCount> {
    LimitHit::ALL.into_iter().zip(limits).map(|(limit, count)| LimitCount { limit, count }).collect()
}
