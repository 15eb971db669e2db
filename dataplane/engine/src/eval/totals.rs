//! What a shard counts for the rules of the live root: evaluations, packets and bytes without a state.
//!
//! Deviation: pf counts an evaluation where its skip steps land; here every rule up to the one that ended the walk counts
//! (design: a histogram of where walks end, so that a walk costs one increment).

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
        let decided = decision.rule.and_then(|rule| self.decided.get_mut(rule as usize));
        if let Some((packets, total)) = decided {
            *packets += 1;
            *total += u64::from(bytes);
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

    /// Usage of each rule of `root` but for its states.
    pub fn usage(&self, root: &Root) -> Vec<RuleUsage> {
        if self.epoch != root.epoch {
            return vec![RuleUsage::default(); root.rules.len()];
        }
        // A rule was evaluated by every walk that ended at it or behind it.
        let mut reached: u64 = self.ends.iter().sum();
        let by_rule = self.ends.iter().zip(&self.decided);
        let mut usage = Vec::with_capacity(root.rules.len());
        for (ended, &(packets, bytes)) in by_rule {
            usage.push(RuleUsage { evaluations: reached, packets, bytes, states: 0 });
            reached -= ended;
        }
        usage
    }
}
