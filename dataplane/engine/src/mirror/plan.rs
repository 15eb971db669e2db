//! Plans: what became of the copies of one packet, where the same becomes of those of the packets behind it.
//!
//! Overview: a [`Trail`] notes what each port's rules said of a packet's copy on the long way. If no rule that was asked
//! looks at anything but what all packets of one sender of the connection have in common, it is a [`Plan`] for them, and
//! the next hop that the connection remembers refers to it by number.
//! Life cycle: plans live as long as the [adjacencies](crate::state::Adjacencies) that refer to them, an epoch.
//! Ownership: the shard. Bounds: [`PLANS_MAX`]; while there is no number, packets that would need it go the long way.

use bytemuck::Zeroable;
use hashbrown::HashMap;
use ruleset::{Direction, Reason};

use super::{Origin, Sent, TARGETS_MAX};
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
    /// The interface that it leaves by.
    pub to: InterfaceId,
    /// What it is.
    pub form: Form,
    /// What the rules of the interface said; `None` where they are not asked.
    pub walked: Option<Walked>,
    /// Why it does not leave.
    pub lost: Option<Reason>,
}

/// What a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// The frame as it arrived.
    Arrived,
    /// As it leaves.
    Left,
    /// With a hop less to live and another Ethernet header.
    Sent {
        /// Destination and source.
        link: [u8; 12],
        /// The interface by whose wire it left before, if it is for a span port.
        by: Option<InterfaceId>,
    },
}

impl Form {
    /// That of a span port's copy.
    pub fn of(origin: &Origin) -> Self {
        match (origin.sent, origin.behind) {
            (Some(Sent { link, .. }), _) => Self::Sent { link, by: Some(origin.of) },
            (None, Direction::In) => Self::Arrived,
            (None, Direction::Out) => Self::Left,
        }
    }
}

const NO_STEP: Step = Step { to: InterfaceId(0), form: Form::Arrived, walked: None, lost: None };

impl Step {
    /// A copy that has no way out, which is counted where the packet was copied.
    pub const fn nowhere(at: InterfaceId) -> Self {
        Self { to: at, lost: Some(Reason::NoRoute), ..NO_STEP }
    }
}

/// The copies of a packet, in their order; no interface has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    steps: [Step; TARGETS_MAX],
    count: u8,
    /// Of the packets.
    family: Family,
    /// The largest IP datagram for which it holds.
    mtu: u16,
}

impl Plan {
    const EMPTY: Self = Self { steps: [NO_STEP; TARGETS_MAX], count: 0, family: Family::Inet, mtu: u16::MAX };

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
        self.plan.mtu = u16::MAX;
        self.lasting = lasting;
    }

    /// True if there may be a copy for this interface: none has been, and there were not too many.
    pub fn takes(&self, target: InterfaceId) -> bool {
        let steps = self.plan.steps();
        let is_for = |step: &Step| step.to == target && step.lost != Some(Reason::NoRoute);
        steps.len() < TARGETS_MAX && !steps.iter().any(is_for)
    }

    /// True if there were not too many.
    pub const fn has_room(&self) -> bool {
        (self.plan.count as usize) < TARGETS_MAX
    }

    /// Larger IP datagrams than this fare differently.
    pub fn bound(&mut self, mtu: u16) {
        self.plan.mtu = self.plan.mtu.min(mtu);
    }

    /// Adds a copy, for an interface that [takes](Self::takes) one.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Zeroable)]
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

    /// The steps of the plan of this number, and the family that it is for, for so many packets that follow it, and their bytes;
    /// [`Self::settle`] counts them.
    #[inline]
    pub fn follow(&mut self, id: PlanId, packets: u32, bytes: u32) -> (&[Step], Family) {
        let Some((plan, tally)) = usize::from(id.0).checked_sub(1).and_then(|at| self.plans.get_mut(at))
        else {
            return (&[], Family::Inet);
        };
        if tally.packets == 0 {
            self.followed.push(id);
        }
        // A burst is of 64 packets, each of fewer than 2^16 bytes.
        tally.packets = tally.packets.wrapping_add(packets);
        tally.bytes = tally.bytes.wrapping_add(bytes);
        (plan.steps(), plan.family)
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
                    let is_blocked = step.lost == Some(Reason::Match);
                    let verdict = if is_blocked { Verdict::Blocked } else { Verdict::Passed };
                    counters.cross(step.to, plan.family, Direction::Out, verdict, counted);
                }
                if let Some(reason) = step.lost {
                    counters.drop_packets(step.to, reason, counted.packets);
                }
            }
        }
    }

    /// The number of the plan that this trail is, and the largest IP datagram for which it holds; `None` if it is none, or if
    /// there are too many.
    pub(super) fn number(&mut self, trail: &Trail) -> Option<(PlanId, u16)> {
        let plan = trail.plan()?;
        if let Some(id) = self.numbers.get(&plan) {
            return Some((*id, plan.mtu));
        }
        if self.plans.len() >= PLANS_MAX {
            return None;
        }
        self.plans.push((plan, Tally::default()));
        let id = PlanId(self.plans.len() as u16);
        self.numbers.insert(plan, id);
        Some((id, plan.mtu))
    }
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
        let first = plans.number(&trail(&[3]));
        let mut again = trail(&[4, 5]);
        let other = plans.number(&again);
        again.begin(true, Family::Inet);
        again.add(Step { to: InterfaceId(3), ..NO_STEP }, true);
        assert_eq!(plans.number(&again), first);
        assert_ne!(first, other);
        let (other, _) = other.expect("a number");
        assert_eq!(plans.follow(other, 1, 100).0.len(), 2);
        assert!(plans.follow(PlanId::NONE, 1, 100).0.is_empty());
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
    fn a_plan_holds_for_what_fits_all_of_its_ways() {
        let mut plans = Plans::default();
        assert_eq!(plans.number(&trail(&[3])), Some((PlanId(1), u16::MAX)));
        let mut bounded = trail(&[3]);
        bounded.bound(1400);
        bounded.bound(1500);
        assert_eq!(plans.number(&bounded), Some((PlanId(2), 1400)));
        bounded.begin(true, Family::Inet);
        bounded.add(Step { to: InterfaceId(3), ..NO_STEP }, true);
        assert_eq!(plans.number(&bounded), Some((PlanId(1), u16::MAX)));
    }

    #[test]
    fn what_had_no_way_out_takes_no_place_of_what_has_one() {
        let mut trail = trail(&[]);
        trail.add(Step::nowhere(InterfaceId(3)), true);
        assert!(trail.takes(InterfaceId(3)));
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
