//! Plans: what became of the copies of one packet, where the same becomes of those of the packets behind it.
//!
//! Overview: a [`Trail`] notes what each port's rules said of a packet's copy on the long way. If no rule that was asked
//! looks at anything but what all packets of one sender of the connection have in common, it is a [`Plan`] for them, and
//! the next hop that the connection remembers refers to it by number.
//! Life cycle: plans live as long as the [adjacencies](crate::state::Adjacencies) that refer to them, an epoch.
//! Ownership: the shard. Bounds: [`PLANS_MAX`]; while there is no number, packets that would need it go the long way.

use hashbrown::HashMap;
use ruleset::{Direction, Reason};

use super::TARGETS_MAX;
use crate::Counters;
use crate::crossings::Verdict;
use crate::eval::{Counted, RuleTotals, Walked};
use crate::fate::Created;
use crate::fib::InterfaceId;
use crate::shard::BURST;
use crate::state::Family;

/// The most plans of an epoch.
const PLANS_MAX: usize = 1024;

/// One copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Step {
    /// The port that it is for.
    pub to: InterfaceId,
    /// The hook of the original behind which it is made.
    pub behind: Direction,
    /// What the rules of the port said; `None` where they are not asked.
    pub walked: Option<Walked>,
    /// They block it.
    pub blocked: bool,
}

const NO_STEP: Step = Step { to: InterfaceId(0), behind: Direction::In, walked: None, blocked: false };

/// The copies of a packet, in their order; no port has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    steps: [Step; TARGETS_MAX],
    count: u8,
    /// Of the packets.
    family: Family,
}

impl Plan {
    const EMPTY: Self = Self { steps: [NO_STEP; TARGETS_MAX], count: 0, family: Family::Inet };

    #[inline]
    pub fn steps(&self) -> &[Step] {
        &self.steps[..usize::from(self.count)]
    }
}

/// The copies that a packet has had so far.
#[derive(Debug)]
pub(super) struct Trail {
    plan: Plan,
    /// The same becomes of those of the packets behind it.
    lasting: bool,
}

impl Default for Trail {
    fn default() -> Self {
        Self { plan: Plan::EMPTY, lasting: false }
    }
}

impl Trail {
    /// Begins with a packet of a family; `lasting` if the packets behind it have in common with it what rules ask for.
    pub const fn begin(&mut self, lasting: bool, family: Family) {
        self.plan.count = 0;
        self.plan.family = family;
        self.lasting = lasting;
    }

    /// True if there may be a copy for this port: none has been, and there were not too many.
    pub fn takes(&self, target: InterfaceId) -> bool {
        let steps = self.plan.steps();
        steps.len() < TARGETS_MAX && steps.iter().all(|step| step.to != target)
    }

    /// Adds a copy, for a port that [takes](Self::takes) one.
    pub const fn add(&mut self, step: Step, lasting: bool) {
        self.plan.steps[self.plan.count as usize] = step;
        self.plan.count += 1;
        self.lasting &= lasting;
    }

    /// What became of this packet's copies says nothing of those of others.
    pub const fn lead_nowhere(&mut self) {
        self.lasting = false;
    }

    /// The plan for the packets behind this one, if it is one.
    fn plan(&self) -> Option<Plan> {
        let mut plan = self.lasting.then_some(self.plan)?;
        // What is behind the end is of packets before.
        plan.steps[usize::from(plan.count)..].fill(NO_STEP);
        Some(plan)
    }
}

/// The number of a plan; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PlanId(u16);

impl PlanId {
    pub const NONE: Self = Self(0);
}

/// What followed a plan and is not counted yet.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    packets: u32,
    bytes: u32,
}

/// The plans of an epoch.
#[derive(Debug, Default)]
pub(super) struct Plans {
    plans: Vec<(Plan, Tally)>,
    numbers: HashMap<Plan, PlanId>,
    /// Those that packets of this burst have followed.
    followed: Vec<PlanId>,
}

impl Plans {
    /// Takes the memory for all of them.
    pub fn reserve(&mut self) {
        self.plans.reserve_exact(PLANS_MAX);
        self.numbers.reserve(PLANS_MAX);
        self.followed.reserve_exact(BURST);
    }

    /// True if there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Forgets all; their numbers mean nothing any more. Not within a burst.
    pub fn clear(&mut self) {
        self.plans.clear();
        self.numbers.clear();
    }

    /// The steps of the plan of this number, for a packet of so many bytes that follows it; [`Self::settle`] counts them.
    #[inline]
    pub fn follow(&mut self, id: PlanId, bytes: u16) -> &[Step] {
        let Some((plan, tally)) = usize::from(id.0).checked_sub(1).and_then(|at| self.plans.get_mut(at))
        else {
            return &[];
        };
        if tally.packets == 0 {
            begin(&mut self.followed, id);
        }
        // A burst is of 64 packets, each of fewer than 2^16 bytes.
        tally.packets = tally.packets.wrapping_add(1);
        tally.bytes = tally.bytes.wrapping_add(u32::from(bytes));
        plan.steps()
    }

    /// Counts what the packets of this burst came to on the plans that they followed.
    #[inline]
    pub fn settle(&mut self, counters: &mut Counters, totals: &mut RuleTotals) {
        if !self.followed.is_empty() {
            self.count(counters, totals);
        }
    }

    #[inline(never)]
    fn count(&mut self, counters: &mut Counters, totals: &mut RuleTotals) {
        for id in self.followed.drain(..) {
            let (plan, tally) = &mut self.plans[usize::from(id.0) - 1];
            let Tally { packets, bytes } = std::mem::take(tally);
            let counted = Counted { packets: packets.into(), bytes: bytes.into() };
            for step in plan.steps() {
                counters.create(Created::Copy, counted.packets);
                if let Some(walked) = &step.walked {
                    totals.count_again(walked, counted);
                    let verdict = if step.blocked { Verdict::Blocked } else { Verdict::Passed };
                    counters.cross(step.to, plan.family, Direction::Out, verdict, counted);
                }
                if step.blocked {
                    counters.drop_packets(step.to, Reason::Match, counted.packets);
                }
            }
        }
    }

    /// The number of the plan that this trail is; `None` if it is none, or if there are too many.
    pub(super) fn number(&mut self, trail: &Trail) -> Option<PlanId> {
        let plan = trail.plan()?;
        if let Some(id) = self.numbers.get(&plan) {
            return Some(*id);
        }
        if self.plans.len() >= PLANS_MAX {
            return None;
        }
        self.plans.push((plan, Tally::default()));
        let id = PlanId(self.plans.len() as u16);
        self.numbers.insert(plan, id);
        Some(id)
    }
}

/// Notes that a plan is followed in this burst.
#[cold]
#[inline(never)]
fn begin(followed: &mut Vec<PlanId>, id: PlanId) {
    followed.push(id);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(targets: &[u16]) -> Trail {
        let mut trail = Trail::default();
        trail.begin(true, Family::Inet);
        for to in targets {
            trail.add(Step { to: InterfaceId(*to), ..NO_STEP }, true);
        }
        trail
    }

    #[test]
    fn equal_trails_are_one_plan_whatever_was_noted_before() {
        let mut plans = Plans::default();
        let first = plans.number(&trail(&[3])).expect("a number");
        let mut again = trail(&[4, 5]);
        let other = plans.number(&again).expect("a number");
        again.begin(true, Family::Inet);
        again.add(Step { to: InterfaceId(3), ..NO_STEP }, true);
        assert_eq!(plans.number(&again), Some(first));
        assert_ne!(first, other);
        assert_eq!(plans.follow(other, 100).len(), 2);
        assert!(plans.follow(PlanId::NONE, 100).is_empty());
    }

    #[test]
    fn a_trail_is_no_plan_if_any_part_of_it_was_of_one_packet_alone() {
        let mut plans = Plans::default();
        let mut one = trail(&[3]);
        one.add(Step { to: InterfaceId(4), ..NO_STEP }, false);
        one.add(Step { to: InterfaceId(5), ..NO_STEP }, true);
        assert_eq!(plans.number(&one), None);
        one.begin(false, Family::Inet);
        assert_eq!(plans.number(&one), None);
        let mut full = trail(&[3]);
        full.lead_nowhere();
        assert_eq!(plans.number(&full), None);
    }

    #[test]
    fn no_port_has_two_copies_and_no_packet_too_many() {
        let eight: Vec<u16> = (0..TARGETS_MAX as u16).collect();
        assert!(!trail(&eight).takes(InterfaceId(9)));
        assert!(!trail(&[3, 4]).takes(InterfaceId(4)));
        assert!(trail(&[3, 4]).takes(InterfaceId(5)));
    }

    #[test]
    fn there_are_only_so_many_plans_until_all_are_forgotten() {
        let mut plans = Plans::default();
        for number in 0..PLANS_MAX as u16 {
            assert!(plans.number(&trail(&[number])).is_some());
        }
        assert_eq!(plans.number(&trail(&[u16::MAX])), None);
        assert!(plans.number(&trail(&[7])).is_some());
        plans.clear();
        assert!(plans.number(&trail(&[u16::MAX])).is_some());
    }
}
