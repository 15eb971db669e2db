//! What has happened between two samples, and how it is shown.

use std::collections::BTreeMap;
use std::fmt;

use api::{InterfaceDrops, LiveRules, Status};
use ruleset::{Reason, StateView};
use serde::Serialize;

use super::sample::{Busy, Sample};
use super::{Arguments, Order};
use crate::rulebook::{RuleName, Rulebook};
use crate::time;

/// Rates over an interval.
#[derive(Debug, Serialize)]
pub struct Picture {
    /// When it ends, in seconds since 1970.
    unix_s: u64,
    /// How long it is.
    interval_s: f64,
    uptime_s: u64,
    states: u64,
    states_limit: u64,
    made_per_s: f64,
    removed_per_s: f64,
    received: Rate,
    sent: Rate,
    workers: Vec<Worker>,
    busiest: Vec<State>,
    rules: Vec<Rule>,
    drops: Vec<Drops>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
struct Rate {
    packets_per_s: f64,
    bytes_per_s: f64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Worker {
    worker: u16,
    cpu: u16,
    busy_percent: f64,
    packets_per_s: f64,
    drops_per_s: f64,
    stalled: bool,
}

#[derive(Debug, Serialize)]
struct State {
    #[serde(flatten)]
    rate: Rate,
    state: StateView,
}

#[derive(Debug, Serialize)]
struct Rule {
    #[serde(flatten)]
    rate: Rate,
    states: u64,
    rule: RuleName,
}

#[derive(Debug, PartialEq, Serialize)]
struct Drops {
    reason: Reason,
    per_s: f64,
}

impl Picture {
    pub fn new(
        before: &Sample,
        now: &Sample,
        busiest: Vec<Busy>,
        rules: Option<&LiveRules>,
        arguments: &Arguments,
    ) -> Self {
        let seconds = (now.at - before.at).as_secs_f64().max(0.001);
        // One that was started anew has counted all that it says since.
        let fresh = now.status.uptime_s < before.status.uptime_s;
        let per_s = |now: u64, before: u64| {
            let before = if fresh { 0 } else { before };
            now.saturating_sub(before) as f64 / seconds
        };
        let rate = |packets: u64, bytes: u64| Rate {
            packets_per_s: packets as f64 / seconds,
            bytes_per_s: bytes as f64 / seconds,
        };
        let carried = |of: fn(&Status) -> (u64, u64)| {
            let ((packets, bytes), (packets_before, bytes_before)) = (of(&now.status), of(&before.status));
            Rate { packets_per_s: per_s(packets, packets_before), bytes_per_s: per_s(bytes, bytes_before) }
        };
        let few = arguments.lines.div_ceil(2);
        Self {
            unix_s: time::now_unix_s(),
            interval_s: seconds,
            uptime_s: now.status.uptime_s,
            states: now.status.states,
            states_limit: now.status.states_limit,
            made_per_s: per_s(now.status.inserts, before.status.inserts),
            removed_per_s: per_s(now.status.removals, before.status.removals),
            received: carried(received),
            sent: carried(sent),
            workers: workers(before, now, &per_s),
            busiest: busiest
                .into_iter()
                .map(|busy| State { rate: rate(busy.packets, busy.bytes), state: busy.state })
                .collect(),
            rules: busy_rules(before, now, rules, arguments.by, &per_s).into_iter().take(few).collect(),
            drops: drops(before, now, &per_s).into_iter().take(few).collect(),
        }
    }
}

fn received(status: &Status) -> (u64, u64) {
    let each = status.interfaces.iter().map(|one| (one.rx_packets, one.rx_bytes));
    each.fold((0, 0), |(packets, bytes), one| (packets + one.0, bytes + one.1))
}

fn sent(status: &Status) -> (u64, u64) {
    let each = status.interfaces.iter().map(|one| (one.tx_packets, one.tx_bytes));
    each.fold((0, 0), |(packets, bytes), one| (packets + one.0, bytes + one.1))
}

fn workers(before: &Sample, now: &Sample, per_s: &dyn Fn(u64, u64) -> f64) -> Vec<Worker> {
    let pairs = now.status.workers.iter().zip(&before.status.workers);
    let one = |(now, before): (&api::WorkerStatus, &api::WorkerStatus)| {
        let (busy, idle) = (per_s(now.busy_ns, before.busy_ns), per_s(now.idle_ns, before.idle_ns));
        Worker {
            worker: now.worker,
            cpu: now.cpu,
            busy_percent: if busy + idle > 0.0 { busy * 100.0 / (busy + idle) } else { 0.0 },
            packets_per_s: per_s(now.conservation.sources(), before.conservation.sources()),
            drops_per_s: per_s(now.conservation.drops, before.conservation.drops),
            stalled: now.stalled,
        }
    };
    pairs.map(one).collect()
}

/// The busiest first, without those that did nothing. Rules count anew with each ruleset.
fn busy_rules(
    before: &Sample,
    now: &Sample,
    rules: Option<&LiveRules>,
    by: Order,
    per_s: &dyn Fn(u64, u64) -> f64,
) -> Vec<Rule> {
    let Some((usage, live)) =
        now.usage.as_ref().zip(rules).filter(|(usage, live)| usage.generation == live.generation)
    else {
        return Vec::new();
    };
    let same = before.usage.as_ref().filter(|before| before.generation == usage.generation);
    let book = Rulebook::new(&live.ruleset);
    let mut busy: Vec<(Rate, u64, u32)> = Vec::new();
    for (place, now) in (0..).zip(&usage.rules) {
        let before = same.and_then(|before| before.rules.get(place as usize)).cloned().unwrap_or_default();
        let counted = |usage: &api::RuleUsage| {
            let (incoming, outgoing) = (&usage.incoming, &usage.outgoing);
            (incoming.packets + outgoing.packets, incoming.bytes + outgoing.bytes)
        };
        let (now_counted, before) = (counted(now), counted(&before));
        let rate = Rate {
            packets_per_s: per_s(now_counted.0, before.0),
            bytes_per_s: per_s(now_counted.1, before.1),
        };
        if rate.packets_per_s > 0.0 {
            busy.push((rate, now.states, place));
        }
    }
    let key = |rate: &Rate| match by {
        Order::Bytes => rate.bytes_per_s,
        Order::Packets => rate.packets_per_s,
    };
    busy.sort_by(|(one, ..), (other, ..)| key(other).total_cmp(&key(one)));
    let named = |(rate, states, place)| Some(Rule { rate, states, rule: book.name(place)? });
    busy.into_iter().filter_map(named).collect()
}

/// The most frequent first, without those that did not occur.
fn drops(before: &Sample, now: &Sample, per_s: &dyn Fn(u64, u64) -> f64) -> Vec<Drops> {
    let sum = |drops: &[InterfaceDrops]| {
        let mut sum: BTreeMap<usize, u64> = BTreeMap::new();
        for count in drops.iter().flat_map(|drops| &drops.reasons) {
            *sum.entry(count.reason as usize).or_default() += count.packets;
        }
        sum
    };
    let (now, before) = (sum(&now.drops), sum(&before.drops));
    let one = |(reason, packets): (&usize, &u64)| Drops {
        reason: Reason::ALL[*reason],
        per_s: per_s(*packets, before.get(reason).copied().unwrap_or(0)),
    };
    let mut drops: Vec<Drops> = now.iter().map(one).filter(|drops| drops.per_s > 0.0).collect();
    drops.sort_by(|one, other| other.per_s.total_cmp(&one.per_s));
    drops
}

/// `1.25 M`: at most four digits, and what they are of.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0, "");
        for larger in ["k", "M", "G", "T"] {
            if value < 999.5 {
                break;
            }
            (value, unit) = (value / 1000.0, larger);
        }
        let digits = if value < 9.995 && !unit.is_empty() { 2 } else { usize::from(value < 99.95) };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7}b/s {:>7}p/s", Short(8.0 * self.bytes_per_s), Short(self.packets_per_s))
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, states_limit, received, sent, .. } = self;
        let (clock, up) = (time::clock(self.unix_s, 0), time::words(self.uptime_s));
        writeln!(f, "{clock}  up {up}, over {:.1} s", self.interval_s)?;
        writeln!(
            f,
            "states {states} of {states_limit}, made {}/s, removed {}/s;  in {received}, out {sent}",
            Short(self.made_per_s),
            Short(self.removed_per_s),
        )?;
        for worker in &self.workers {
            let Worker { worker, cpu, busy_percent, packets_per_s, drops_per_s, stalled } = worker;
            let (packets, drops) = (Short(*packets_per_s), Short(*drops_per_s));
            let note = if *stalled { "  does not come back" } else { "" };
            writeln!(
                f,
                "worker {worker} (cpu {cpu}) {busy_percent:>5.1} % busy {packets:>7}p/s, dropped {drops:>7}p/s{note}"
            )?;
        }
        writeln!(f, "busiest states")?;
        for State { rate, state } in &self.busiest {
            writeln!(f, "{rate}  {state}")?;
        }
        writeln!(f, "busiest rules")?;
        for Rule { rate, states, rule } in &self.rules {
            writeln!(f, "{rate}  {states} states  {rule}")?;
        }
        writeln!(f, "drops")?;
        for Drops { reason, per_s } in &self.drops {
            writeln!(f, "{:>7}p/s  {reason}: {}", Short(*per_s), reason.doc())?;
        }
        Ok(())
    }
}
