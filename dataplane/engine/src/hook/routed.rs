//! By which routing table packets are routed that have come in (pf.conf(5) `rtable`).
//!
//! Overview: what `match` rules say sticks at once, so that `no-route` and `urpf-failed` behind them ask that table; the deciding
//! rule has the last word. A state keeps it, for those of its packets that come as the first one did; answers are routed by the
//! main table, as with pf. Only what comes in is still to be routed: at the OUT hook nothing is made of it.
//! Ownership: the shard. Bounds: nothing is kept but a number with a state's terms.

use ruleset::{Direction, RoutingTable};

use super::{Hook, Passage, Stop};
use crate::eval::{Decision, Root};
use crate::refuse::rule_of;
use crate::shard::{Shard, View};
use crate::state::{Class, Terms};
use crate::witness::RuleAt;

/// The table that a packet is routed by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Routed {
    pub table: RoutingTable,
    /// The rule by which it is not the main one, as far as it is known.
    rule: Option<RuleAt>,
}

impl Passage<'_> {
    /// Has a packet routed as a decision at a hook says; of one for what leaves, nothing is left of that.
    #[inline]
    pub(super) fn be_routed(&mut self, direction: Direction, decision: &mut Decision<'_>, root: &Root) {
        if decision.table == RoutingTable::MAIN {
            return;
        }
        match direction {
            Direction::In => {
                self.routed = Routed { table: decision.table, rule: decision.rule_at(root) };
            }
            Direction::Out => decision.table = RoutingTable::MAIN,
        }
    }

    /// Has a packet routed as the first one was of the state that it meets at a hook.
    #[inline]
    pub(super) fn be_routed_as_before(
        &mut self,
        view: &View<'_>,
        hook: &Hook<'_>,
        class: &Class,
        terms: &Terms,
    ) {
        let enters = hook.direction == Direction::In && class.direction == Direction::In;
        if enters && terms.table != RoutingTable::MAIN {
            self.routed = Routed { table: terms.table, rule: rule_of(view, class) };
        }
    }
}

impl Shard {
    /// Says which rule had a packet routed by another table than the main one, which leads nowhere.
    #[cold]
    pub(crate) fn blame_table(&mut self, passage: &Passage<'_>, stop: Stop) -> Stop {
        if passage.routed.table != RoutingTable::MAIN {
            self.witness.blame.rule = passage.routed.rule;
        }
        stop
    }
}
