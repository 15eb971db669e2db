//! What a shard counts for the rules of the live root: evaluations, packets and bytes without a state.
//!
//! Deviation: pf counts an evaluation where its skip steps land; here every rule up to the one that ended the walk counts
//! (design: a histogram of where walks end, so that a walk costs one increment).

use std::ops::Range;

use super::{Decision, Root};

/// What `pfctl -vsr` shows of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleUsage {
    /// How often packets were compared with it.
    pub evaluations: u64,
    /// Packets that it decided, and packets of its states.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its live states.
    pub states: u64,
}

/// What a walk came to, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Walked {
    ended_at: u32,
    rule: Option<u32>,
}

impl Walked {
    /// What the walk of this decision came to.
    pub const fn of(decision: &Decision<'_>) -> Self {
        Self { ended_at: decision.ended_at as u32, rule: decision.rule }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RuleTotals {
    epoch: u32,
    /// By rule number, how many walks were ended by it; the last entry counts those that no `quick` ended.
    ends: Vec<u64>,
    decided: Vec<(u64, u64)>,
}

impl RuleTotals {
    /// Counts one walk and, for blocks, its packet.
    pub fn count_walk(&mut self, root: &Root, ended_at: usize) {
        self.adopt(root);
        if let Some(end) = self.ends.get_mut(ended_at) {
            *end += 1;
        }
    }

    /// Counts a packet that a rule decided without a state.
    pub fn count_packet(&mut self, decision: &Decision<'_>, bytes: u32) {
        self.count_decided(decision.rule, 1, bytes.into());
    }

    /// Counts a walk of the root that is counted for once more for each of so many packets, of `bytes` in all.
    pub fn count_again(&mut self, walked: &Walked, packets: u64, bytes: u64) {
        if let Some(end) = self.ends.get_mut(walked.ended_at as usize) {
            *end += packets;
        }
        self.count_decided(walked.rule, packets, bytes);
    }

    fn count_decided(&mut self, rule: Option<u32>, packets: u64, bytes: u64) {
        if let Some(counted) = rule.and_then(|rule| self.decided.get_mut(rule as usize)) {
            counted.0 += packets;
            counted.1 += bytes;
        }
    }

    /// Counts for `root` from now on.
    #[inline]
    pub fn adopt(&mut self, root: &Root) {
        if self.epoch != root.epoch {
            self.begin(root);
        }
    }

    /// A new root starts from zero, as pf's rules do after a reload.
    #[cold]
    fn begin(&mut self, root: &Root) {
        *self = Self {
            epoch: root.epoch,
            ends: vec![0; root.rules.len() + 1],
            decided: vec![(0, 0); root.rules.len()],
        };
    }

    /// Adds to each rule of `root` in `rules`, a part of them, what was counted without a state. `reached` is how many
    /// walks ended behind that part, and then how many ended in it or behind it: so parts come from the end on.
    pub fn add_usage(&self, root: &Root, rules: Range<usize>, reached: &mut u64, usage: &mut [RuleUsage]) {
        if self.epoch != root.epoch {
            return;
        }
        if rules.end == self.decided.len() {
            *reached = self.ends.last().copied().unwrap_or(0);
        }
        let counted = rules.clone().zip(&mut usage[rules]).rev();
        for (number, usage) in counted {
            // A rule was evaluated by every walk that ended at it or behind it.
            *reached += self.ends[number];
            let (packets, bytes) = self.decided[number];
            usage.evaluations += *reached;
            usage.packets += packets;
            usage.bytes += bytes;
        }
    }
}
