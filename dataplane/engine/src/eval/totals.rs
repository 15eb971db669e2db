//! What a shard counts for the rules of the live root: evaluations, states made, packets and bytes without a state.
//!
//! Deviation: pf counts an evaluation where its skip steps land; here every rule up to the one that ended the walk counts
//! (design: a histogram of where walks end, so that a walk costs one increment).

use std::ops::{AddAssign, Range};

use ruleset::Direction;

use super::{Decision, PlainPass, Root};

/// Packets, and the bytes that they add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub packets: u64,
    /// Of their IP datagrams, headers included.
    pub bytes: u64,
}

impl AddAssign for Counted {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// What was counted at each hook, by [`Direction`].
pub(crate) type ByHook = [Counted; 2];

/// What `pfctl -vsr` shows of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleUsage {
    /// How often packets were compared with it.
    pub evaluations: u64,
    /// Packets that it decided, and packets of the states that it made, at each hook: by [`Direction`].
    pub counted: [Counted; 2],
    /// Its live states, and those of the same rule of earlier rulesets.
    pub states: u64,
    /// States that it made.
    pub made: u64,
    /// `once`, and it has matched.
    pub spent: bool,
}

impl AddAssign for RuleUsage {
    fn add_assign(&mut self, other: Self) {
        self.evaluations += other.evaluations;
        self.add(&other.counted);
        self.states += other.states;
        self.made += other.made;
        self.spent |= other.spent;
    }
}

impl RuleUsage {
    pub(crate) fn add(&mut self, counted: &ByHook) {
        self.counted.iter_mut().zip(counted).for_each(|(sum, own)| *sum += *own);
    }
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
    decided: Vec<Decided>,
}

/// What a rule did itself, without its states.
#[derive(Clone, Copy, Debug, Default)]
struct Decided {
    counted: ByHook,
    made: u64,
}

impl RuleTotals {
    /// Counts one walk and, for blocks, its packet.
    #[inline]
    pub fn count_walk(&mut self, root: &Root, ended_at: usize) {
        self.adopt(root);
        if let Some(end) = self.ends.get_mut(ended_at) {
            *end += 1;
        }
    }

    /// Counts a packet that a rule decided at a hook without a state.
    pub fn count_packet(&mut self, decision: &Decision<'_>, hook: Direction, bytes: u32) {
        self.count_decided(decision.rule, hook, Counted { packets: 1, bytes: bytes.into() });
    }

    /// Counts a walk of the root at the OUT hook that is counted for once more for each of so many packets.
    pub fn count_again(&mut self, walked: &Walked, counted: Counted) {
        if let Some(end) = self.ends.get_mut(walked.ended_at as usize) {
            *end += counted.packets;
        }
        self.count_decided(walked.rule, Direction::Out, counted);
    }

    fn count_decided(&mut self, rule: Option<u32>, hook: Direction, counted: Counted) {
        if let Some(decided) = rule.and_then(|rule| self.decided.get_mut(rule as usize)) {
            decided.counted[hook as usize] += counted;
        }
    }

    /// Counts a state that the rule of this number made.
    #[inline]
    pub fn count_made(&mut self, rule: Option<u32>) {
        if let Some(decided) = rule.and_then(|rule| self.decided.get_mut(rule as usize)) {
            decided.made += 1;
        }
    }

    /// Counts two walks of the root, each of which has let a packet pass and made a state of it.
    #[inline(never)]
    pub fn count_begun(&mut self, root: &Root, passes: [&PlainPass<'_>; 2]) {
        self.adopt(root);
        for passed in passes {
            if let Some(end) = self.ends.get_mut(passed.ended_at) {
                *end += 1;
            }
            self.count_made(Some(passed.rule));
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
            decided: vec![Decided::default(); root.rules.len()],
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
            let Decided { counted, made } = &self.decided[number];
            usage.evaluations += *reached;
            usage.add(counted);
            usage.made += made;
        }
    }
}
