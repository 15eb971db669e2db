//! What was counted when somebody asked to count from zero, and since when filtering is as it is.
//!
//! Overview: the counters themselves only ever rise; listings show them less what is kept here. Ownership: the desk, under
//! a lock. Bounds: a number for each rule of the live ruleset, and a row for each interface.

use std::time::Instant;

use api::RuleUsage;
use engine::{Crossings, NodeCounts};
use ruleset::{LIMIT_HITS, REASON_COUNT};

use super::sources::counted;
use crate::telemetry::{InterfaceCounts, Sheet, WorkerCounts};

/// The counters of `pfctl -si`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Lookups of states.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States removed.
    pub removals: u64,
    /// Of the fragments' queues: searches, inserts, removals.
    pub fragments: [u64; 3],
    /// Floods of SYNs, SYNs answered without a state, ACKs that had been told by such an answer.
    pub floods: [u64; 3],
    /// Of source nodes: searches, inserts, removals.
    pub sources: [u64; 3],
    /// How often limits were met.
    pub limits: [u64; LIMIT_HITS],
    /// Packets dropped, by reason.
    pub drops: [u64; REASON_COUNT],
}

impl Totals {
    const ZERO: Self = Self {
        searches: 0,
        inserts: 0,
        removals: 0,
        fragments: [0; 3],
        floods: [0; 3],
        sources: [0; 3],
        limits: [0; LIMIT_HITS],
        drops: [0; REASON_COUNT],
    };

    /// Of all workers.
    pub fn of(sheet: &Sheet, nodes: &NodeCounts) -> Self {
        let mut drops = [0; REASON_COUNT];
        for interface in &sheet.drops {
            drops.iter_mut().zip(interface).for_each(|(sum, own)| *sum += own);
        }
        let worker = &sheet.worker;
        let fragments = [worker.fragment_searches, worker.fragment_inserts, worker.fragment_removals];
        let WorkerCounts { searches, inserts, removals, .. } = *worker;
        let floods = [worker.floods, worker.cookies_sent, worker.cookies_validated];
        Self {
            searches,
            inserts,
            removals,
            fragments,
            sources: counted(nodes),
            limits: sheet.limits,
            floods,
            drops,
        }
    }

    fn less(mut self, earlier: &Self) -> Self {
        self.searches -= earlier.searches.min(self.searches);
        self.inserts -= earlier.inserts.min(self.inserts);
        self.removals -= earlier.removals.min(self.removals);
        for (own, earlier) in self.fragments.iter_mut().zip(earlier.fragments) {
            *own -= earlier.min(*own);
        }
        let pairs = self.sources.iter_mut().zip(earlier.sources);
        let pairs = pairs.chain(self.limits.iter_mut().zip(earlier.limits));
        for (own, earlier) in pairs.chain(self.floods.iter_mut().zip(earlier.floods)) {
            *own -= earlier.min(*own);
        }
        for (own, earlier) in self.drops.iter_mut().zip(earlier.drops) {
            *own -= earlier.min(*own);
        }
        self
    }
}

/// The counters of `pfctl -vvsI`, of one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// What it carried.
    pub counts: InterfaceCounts,
    /// What its hooks let pass and blocked.
    pub crossings: Crossings,
    /// Packets dropped on it.
    pub dropped: u64,
}

impl Carried {
    /// Of all workers, for every interface, by number.
    pub fn each(sheet: &Sheet) -> impl Iterator<Item = Self> {
        let drops = sheet.drops.iter().map(|reasons| reasons.iter().sum());
        let counted = sheet.interfaces.iter().zip(&sheet.crossings).zip(drops);
        counted.map(|((counts, crossings), dropped)| Self { counts: *counts, crossings: *crossings, dropped })
    }

    fn less(self, earlier: &Self) -> Self {
        Self {
            counts: self.counts.less(&earlier.counts),
            crossings: self.crossings.since(&earlier.crossings),
            dropped: self.dropped.saturating_sub(earlier.dropped),
        }
    }
}

/// What listings leave out.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Since when filtering is as it is.
    pub switched: Instant,
    /// Since when the totals are counted.
    pub cleared: Instant,
    /// Sources that were put into tables because they had exceeded a limit, since the start.
    pub overloads: u64,
    totals: Totals,
    /// Of which rules, and what each had done.
    rules: (u32, Vec<RuleUsage>),
    /// Of which rules, and what each had done in the ruleset before (`set keepcounters`).
    kept: (u32, Vec<RuleUsage>),
    /// Since when, and what each interface had carried, by number.
    interfaces: Vec<(Instant, Carried)>,
}

impl Ledger {
    /// Everything counts since `start`.
    pub fn new(start: Instant, interfaces: usize) -> Self {
        Self {
            switched: start,
            cleared: start,
            overloads: 0,
            totals: Totals::ZERO,
            rules: (0, Vec::new()),
            kept: (0, Vec::new()),
            interfaces: vec![(start, Carried::default()); interfaces],
        }
    }

    /// Counts the totals from zero.
    pub fn clear_totals(&mut self, totals: Totals, now: Instant) {
        (self.totals, self.cleared) = (totals, now);
    }

    /// What was counted since then.
    pub fn since_cleared(&self, totals: Totals) -> Totals {
        totals.less(&self.totals)
    }

    /// Counts what an interface carries from zero.
    pub fn clear_interface(&mut self, number: usize, carried: Carried, now: Instant) {
        if let Some(row) = self.interfaces.get_mut(number) {
            *row = (now, carried);
        }
    }

    /// What each interface has carried since then, and when that was.
    pub fn carried_since_cleared(
        &self,
        carried: impl Iterator<Item = Carried>,
    ) -> impl Iterator<Item = (Instant, Carried)> {
        self.interfaces.iter().zip(carried).map(|((since, earlier), own)| (*since, own.less(earlier)))
    }

    /// Counts from zero what the rules of an epoch do that are chosen, by number.
    pub fn clear_rules(&mut self, epoch: u32, usage: Vec<RuleUsage>, chosen: impl Iterator<Item = bool>) {
        if self.rules.0 != epoch {
            self.rules = (epoch, vec![RuleUsage::default(); usage.len()]);
        }
        let (of, kept) = &mut self.kept;
        let kept = if *of == epoch { kept.as_mut_slice() } else { &mut [] };
        let mut kept = kept.iter_mut();
        for ((own, now), chosen) in self.rules.1.iter_mut().zip(usage).zip(chosen) {
            let kept = kept.next();
            if chosen {
                *own = now;
                kept.into_iter().for_each(|kept| *kept = RuleUsage::default());
            }
        }
    }

    /// Has the rules of an epoch go on counting from what they have done in the ruleset before.
    pub fn keep_rules(&mut self, epoch: u32, usage: Vec<RuleUsage>) {
        self.kept = (epoch, usage);
    }

    /// What they have done since then; their states are what they are.
    pub fn rules_since_cleared(&self, epoch: u32, mut usage: Vec<RuleUsage>) -> Vec<RuleUsage> {
        let (of, earlier) = &self.rules;
        if *of == epoch {
            for (own, earlier) in usage.iter_mut().zip(earlier) {
                *own = own.since(earlier);
            }
        }
        let (of, kept) = &self.kept;
        if *of == epoch {
            for (own, kept) in usage.iter_mut().zip(kept) {
                *own = own.after(kept);
            }
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_were_not_chosen_count_on() {
        let usage = |evaluations: [u64; 3]| {
            evaluations.map(|evaluations| RuleUsage { evaluations, ..RuleUsage::default() }).to_vec()
        };
        let mut ledger = Ledger::new(Instant::now(), 0);
        ledger.clear_rules(1, usage([10, 20, 30]), [true, false, true].into_iter());
        assert_eq!(ledger.rules_since_cleared(1, usage([11, 21, 31])), usage([1, 21, 1]));
        ledger.clear_rules(1, usage([12, 22, 32]), [false, true, false].into_iter());
        assert_eq!(ledger.rules_since_cleared(1, usage([13, 23, 33])), usage([3, 1, 3]));
        assert_eq!(ledger.rules_since_cleared(2, usage([4, 5, 6])), usage([4, 5, 6]), "those of other rules");
        ledger.clear_rules(2, usage([7, 8, 9]), [false, false, true].into_iter());
        assert_eq!(ledger.rules_since_cleared(2, usage([7, 8, 9])), usage([7, 8, 0]));
        ledger.keep_rules(3, usage([100, 200, 300]));
        assert_eq!(ledger.rules_since_cleared(2, usage([7, 8, 9])), usage([7, 8, 0]));
        assert_eq!(ledger.rules_since_cleared(3, usage([1, 2, 3])), usage([101, 202, 303]));
        ledger.clear_rules(3, usage([1, 2, 3]), [false, true, false].into_iter());
        assert_eq!(ledger.rules_since_cleared(3, usage([1, 3, 3])), usage([101, 1, 303]));
    }
}
