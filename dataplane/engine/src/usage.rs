//! What rules have done in a shard, and what connections are translated to, piece by piece, so that a worker never spends long on it.

use crate::eval::{Root, RuleUsage};
use crate::shard::Shard;
use crate::state::Mapping;

/// How far [`Shard::add_usage`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageCursor {
    /// Rules that were visited, from the last one on.
    rules: usize,
    /// Walks that ended at them, or at no rule.
    reached: u64,
    /// Pairs of faces that were visited.
    pairs: usize,
}

impl Shard {
    /// What each rule of the live ruleset has done, by number, if this is the only shard.
    pub fn rule_usage(&self, root: &Root) -> Vec<RuleUsage> {
        let mut usage = vec![RuleUsage::default(); root.ruleset().rules.len()];
        root.add_retired(&mut usage);
        let mut cursor = UsageCursor::default();
        while !self.add_usage(root, &mut cursor, usize::MAX, &mut usage) {}
        usage
    }

    /// Adds what each rule of the live ruleset has done here, by number, but for what states of the past counted: that is
    /// kept with the ruleset ([`Root::add_retired`]). At most `most` rules and pairs of faces are visited; true if those
    /// were the last. `cursor` begins as its default and `usage` has a place for each rule.
    pub fn add_usage(
        &self,
        root: &Root,
        cursor: &mut UsageCursor,
        most: usize,
        usage: &mut [RuleUsage],
    ) -> bool {
        if cursor.rules < usage.len() {
            let end = usage.len() - cursor.rules;
            let begin = end.saturating_sub(most);
            self.rule_totals.add_usage(root, begin..end, &mut cursor.reached, usage);
            cursor.rules += end - begin;
            return false;
        }
        // Pairs may become more meanwhile, never fewer.
        let end = cursor.pairs.saturating_add(most).min(self.connections.pairs());
        for (slot, states, counted) in self.connections.usage(cursor.pairs..end) {
            let Some(number) = root.number_of(slot) else { continue };
            let Some(rule) = usage.get_mut(number as usize) else { continue };
            rule.states += u64::from(states);
            // As in pf, counters begin anew with each load: states of an earlier ruleset count for what made them.
            if root.owns(slot, number) {
                rule.add(&counted);
            }
        }
        cursor.pairs = end;
        end == self.connections.pairs()
    }

    /// Tells the mapping of each connection whose initiator is translated to `sink`. At most `most` records are visited from
    /// `cursor` on, which begins with 0; true if there was none any more.
    pub fn mappings(
        &self,
        root: Option<&Root>,
        cursor: &mut u32,
        most: usize,
        sink: impl FnMut(Mapping),
    ) -> bool {
        let run = self.connections.run_of_records(*cursor, most);
        let is_over = run.is_empty();
        *cursor = run.end;
        self.connections.mappings(root, run).for_each(sink);
        is_over
    }
}
