//! What was dropped and why, out of counters, their history, and examples.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::{DropQuery, DropReport, InterfaceDrops, ReasonCount, ResponseBody, RuleDrops};
use engine::Root;
use ruleset::{Action, REASON_COUNT, Reason};

use super::desk::{Desk, busy, lock};
use super::history::Moment;
use super::rules::Live;
use crate::dump::Stalled;
use crate::telemetry::Sheet;

/// How long workers may take to tell what their rules dropped, where that is only one of several answers.
const PATIENCE: Duration = Duration::from_millis(200);

/// Rates are those of about this time.
const RECENT: Duration = Duration::from_secs(10);

impl Desk {
    /// Keeps a copy of the counters of drops, if one is due.
    pub fn tend(&self, now: Instant) {
        if lock(&self.history).is_due(now)
            && let Some(moment) = self.moment(now)
        {
            lock(&self.history).keep(moment);
        }
    }

    /// What is counted now.
    fn moment(&self, at: Instant) -> Option<Moment> {
        let sheets = self.sheets()?;
        let live = self.showcase.live();
        let rules = live.and_then(|live| Some((live.root.epoch(), self.dropped_by(&live).ok()?)));
        Some(Moment { at, drops: Sheet::sum(&sheets).drops, rules })
    }

    /// What each `block` rule of the live ruleset dropped, by number, those that did.
    fn dropped_by(&self, live: &Live) -> Result<Vec<(u32, u64)>, Stalled> {
        let usage = lock(&self.lister).usage(&live.root, PATIENCE)?;
        let rules = live.root.ruleset().rules.iter().zip(usage);
        let counted = (0..).zip(rules).map(|(number, (rule, usage))| {
            let blocks = matches!(rule.action, Action::Block(_));
            (number, if blocks { usage.counted.iter().map(|counted| counted.packets).sum() } else { 0 })
        });
        Ok(counted.filter(|(_, packets)| *packets > 0).collect())
    }

    /// What was dropped.
    pub fn drop_report(&self, query: &DropQuery) -> ResponseBody {
        let now = Instant::now();
        let Some(current) = self.moment(now) else { return busy() };
        let since = query.since_s.and_then(|seconds| now.checked_sub(Duration::from_secs(seconds)));
        let history = lock(&self.history);
        let earlier = query.since_s.and_then(|_| history.at(since.unwrap_or(self.facts.start)));
        let recent = history.at(now.checked_sub(RECENT).unwrap_or(now));
        let began = earlier.map_or(self.facts.start, |earlier| earlier.at);
        let live = self.showcase.live();
        let of_match = query.reason.is_none_or(|reason| reason == Reason::Match);
        let rules = live
            .as_ref()
            .filter(|_| of_match)
            .map_or_else(Vec::new, |live| rule_drops(&live.root, &current, earlier, recent));
        // As much as the counts cover.
        let seen_since = since.map_or(Duration::ZERO, |since| ago(now - since.min(began)));
        let epoch = live.as_ref().map(|live| live.root.epoch());
        ResponseBody::DropReport(Box::new(DropReport {
            covered_s: (now - began).as_secs(),
            interfaces: self.counted_since(&current, earlier, query.reason),
            recent_ms: recent.map_or(0, |recent| (now - recent.at).as_millis() as u64),
            recent: self.counted_since(&current, recent.or(Some(&current)), query.reason),
            generation: live.map_or(0, |live| live.generation),
            rules,
            examples: self.journal.examples().since(seen_since, query.reason, epoch),
        }))
    }

    fn counted_since(
        &self,
        current: &Moment,
        earlier: Option<&Moment>,
        reason: Option<Reason>,
    ) -> Vec<InterfaceDrops> {
        const NONE: [u64; REASON_COUNT] = [0; REASON_COUNT];
        let fib = self.kernel.fib();
        let each = fib.interfaces().iter().zip(&current.drops).enumerate();
        let told = each.map(|(number, (interface, drops))| {
            let before = earlier.and_then(|earlier| earlier.drops.get(number)).unwrap_or(&NONE);
            let wanted = Reason::ALL.into_iter().filter(|own| reason.is_none_or(|reason| reason == *own));
            let counted = |reason: Reason| ReasonCount {
                reason,
                packets: drops[reason as usize].saturating_sub(before[reason as usize]),
            };
            InterfaceDrops { interface: interface.name.clone(), reasons: wanted.map(counted).collect() }
        });
        told.collect()
    }
}

fn rule_drops(
    root: &Root,
    current: &Moment,
    earlier: Option<&Moment>,
    recent: Option<&Moment>,
) -> Vec<RuleDrops> {
    let epoch = root.epoch();
    let Some((_, rules)) = current.rules.as_ref().filter(|(of, _)| *of == epoch) else { return Vec::new() };
    let told = rules.iter().map(|&(rule, packets)| {
        let before = |moment: Option<&Moment>| moment.map_or(0, |moment| moment.rule(epoch, rule));
        RuleDrops {
            rule,
            packets: packets.saturating_sub(before(earlier)),
            recent: recent.map_or(0, |_| packets.saturating_sub(before(recent))),
        }
    });
    told.filter(|drops| drops.packets > 0).collect()
}

/// So long ago, since 1970.
fn ago(time: Duration) -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(time)
}
