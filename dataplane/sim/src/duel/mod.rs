//! The engine against the oracle: the same packets, one by one, and after each of them the same verdict, the same answer,
//! the same bytes and the same states.
//!
//! Life cycle: a [`Duel`] begins with a ruleset and no states, and ends with the first difference. [`minimize`] cuts the
//! steps that led to one down to those that it takes.

mod compare;

use core::fmt::{self, Write as _};
use core::net::IpAddr;

use engine::{Arrival, InterfaceId, Source, Tick};
use ruleset::{REASON_COUNT, Reason, Ruleset, Timeout};

use crate::firewall::Firewall;
use crate::oracle::{self, Deviations, From, Learned, Onward, Oracle};
use crate::rng::Rng;
use crate::sketch::{Body, Damage, Sketch};
use crate::topology::{self, Routes};
use crate::traffic::Step;
use compare::Outcome;
pub(crate) use compare::translated;

/// States remember time in units of a sixteenth of a second.
const GRANULARITY: u64 = 1_000_000_000 / 16;

/// Room for states in the engine: more than the limits of the rulesets allow, and than packets can make.
const MAX_STATES: u32 = 1024;

/// Both sides, in step.
#[derive(Debug)]
pub struct Duel {
    firewall: Firewall,
    oracle: Oracle,
    rules: Ruleset,
    now: Tick,
    drops: [u64; REASON_COUNT],
    /// The last frame, as the engine left it.
    sent: Vec<u8>,
}

/// The two sides do not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Duel {
    /// Both sides with these rules. `workers` shards make up the engine.
    ///
    /// # Panics
    /// If the rules are not valid, or beyond what either side can do.
    pub fn new(rules: &Ruleset, workers: u16) -> Self {
        let deviations = Deviations { refused_late: workers > 1, ..Deviations::ALL };
        Self::against(rules, workers, deviations)
    }

    /// As [`Duel::new`], against an oracle that differs from pf in these ways only.
    ///
    /// # Panics
    /// As [`Duel::new`].
    pub fn against(rules: &Ruleset, workers: u16, deviations: Deviations) -> Self {
        let mut firewall = Firewall::new(topology::fib(), workers, MAX_STATES, Rng::new(1));
        firewall.load(rules).expect("rules that the engine takes");
        let oracle = Oracle::new(rules.clone(), topology::world(Routes::default()), deviations, GRANULARITY)
            .expect("rules that the oracle takes");
        // Some way into the life of the process, so that nothing is young by accident.
        let now = Tick::from_secs(1000);
        Self { firewall, oracle, rules: rules.clone(), now, drops: [0; REASON_COUNT], sent: Vec::new() }
    }

    /// Does one step on both sides. True if it was a packet, and it got through.
    ///
    /// # Errors
    /// What they do not agree on.
    pub fn step(&mut self, step: &Step) -> Result<bool, Difference> {
        match step {
            Step::Packet { arrival, .. } if self.is_impossible(*arrival) => {}
            Step::Packet { arrival, sketch } => return self.packet(*arrival, sketch),
            Step::Wait(time) => self.now = self.now + Tick(*time),
            Step::Sweep => self.sweep()?,
            Step::Load(rules) => self.load(rules),
            Step::Reroute(routes) => {
                self.firewall.reroute(*routes);
                self.oracle.set_world(topology::world(*routes));
            }
        }
        Ok(false)
    }

    fn load(&mut self, rules: &Ruleset) {
        self.firewall.load(rules).expect("rules that the engine takes");
        self.oracle.load(rules.clone()).expect("rules that the oracle takes");
        self.rules = rules.clone();
    }

    /// Removes what has expired. Where time-outs adapt, the sides differ on purpose: each state that goes lengthens the
    /// time of the others, and the engine meets them in another order.
    fn sweep(&mut self) -> Result<(), Difference> {
        let start = self.rules.options.timeouts.get(Timeout::AdaptiveStart);
        let adapts =
            |state: &oracle::State| state.options.timeouts.iter().any(|(timeout, _)| timeout.counts_states());
        if self.oracle.states().len() as u64 > u64::from(start) || self.oracle.states().iter().any(adapts) {
            return Ok(());
        }
        let removed = (self.firewall.expire(self.now), self.oracle.purge(self.now.0) as u64);
        if removed.0 != removed.1 {
            return Err(Difference(format!(
                "a sweep removes {} states, the oracle {}",
                removed.0, removed.1
            )));
        }
        self.compare_states("after a sweep")
    }

    fn packet(&mut self, arrival: Arrival, sketch: &Sketch) -> Result<bool, Difference> {
        let station = (2, 1);
        let frame = sketch
            .frame(topology::mac(arrival.interface, station.0), topology::mac(arrival.interface, station.1));
        let mut decided = frame.clone();
        let fate = self.firewall.receive(self.now, arrival, &mut decided);
        let outcome = Outcome::of(arrival, fate, &decided, self.dropped());
        let sent = oracle::Packet::parse(&decided[wire::ethernet::HEADER_LEN..]).ok();
        self.oracle.learn(Learned {
            states: self.firewall.states(self.now),
            offsets: self.firewall.timestamp_offsets(),
            sent: sent.filter(|_| outcome.refused().is_none()),
            refused: outcome.refused(),
        });
        let expected = self.expect(arrival, sketch, &frame);
        self.sent.clone_from(&decided);
        let what = || {
            format!(
                "{} {:?} {sketch}",
                self.firewall.fib().interfaces()[usize::from(arrival.interface.0)].name,
                arrival.source
            )
        };
        if let Err(why) = outcome.agrees(&expected, arrival, &decided) {
            return Err(Difference(format!("{}: {why}", what())));
        }
        self.compare_states(&what())?;
        Ok(matches!(outcome, Outcome::Passed(_)))
    }

    /// The reason that was counted for the last packet.
    fn dropped(&mut self) -> Option<Reason> {
        let counted = Reason::ALL.map(|reason| self.firewall.dropped(reason));
        let mut moved = Reason::ALL.into_iter().filter(|reason| {
            let at = *reason as usize;
            counted[at] != self.drops[at]
        });
        let reason = moved.next();
        assert_eq!(moved.next(), None, "one packet, one reason");
        self.drops = counted;
        reason
    }

    fn expect(&mut self, arrival: Arrival, sketch: &Sketch, frame: &[u8]) -> Expected {
        let interface = oracle::InterfaceId(arrival.interface.0.into());
        // A quote that tells no flow is refused where it is parsed, on interfaces that are not filtered too.
        let whole = sketch.damage != Damage::Fragment;
        if whole && matches!(&sketch.body, Body::IcmpError { about, .. } if about.damage == Damage::Fragment)
        {
            let verdict = oracle::Verdict::drop(Reason::Fragment);
            return Expected::refused(verdict, sketch);
        }
        match oracle::Packet::parse(&frame[wire::ethernet::HEADER_LEN..]) {
            Err(oracle::Unparsed(error)) => {
                Expected::refused(oracle::Verdict::drop(engine::parse::reason(error)), sketch)
            }
            // What comes from its receiver is refused before any rule.
            Ok(packet) if packet.source == packet.destination => {
                Expected::refused(oracle::Verdict::drop(Reason::Martian), sketch)
            }
            Ok(mut packet) => {
                let (from, onward) = match arrival.source {
                    Source::Wire => (From::Interface(interface), self.onward(interface, &packet)),
                    Source::Host => (From::Host, Onward::Interface(interface)),
                };
                let tos = packet.tos;
                let verdict = self.oracle.change(&mut packet, from, onward, self.now.0);
                let (onward, routed_to) = self.oracle.way();
                let filtered = !self.skips(interface)
                    || matches!(onward, Onward::Interface(out) | Onward::Across(out) if !self.skips(out));
                let repaired = filtered && whole;
                let sketch = if repaired { compare::repaired(sketch) } else { sketch.clone() };
                // The oracle keeps of a traffic class no more than pf does.
                let tos = sketch.tos ^ tos ^ packet.tos;
                let sketch = compare::translated(Sketch { ttl: packet.ttl, tos, ..sketch }, &packet);
                let sketch = compare::renumbered(sketch, &packet);
                Expected { verdict, onward, routed_to, sketch }
            }
        }
    }

    fn onward(&self, interface: oracle::InterfaceId, packet: &oracle::Packet) -> Onward {
        let peer = self.oracle.world().peer(interface);
        peer.map_or_else(|| self.oracle.onward(packet), Onward::Across)
    }

    /// The host has no part in a transparent pair.
    fn is_impossible(&self, arrival: Arrival) -> bool {
        let interface = oracle::InterfaceId(arrival.interface.0.into());
        arrival.source == Source::Host && self.oracle.world().peer(interface).is_some()
    }

    fn skips(&self, interface: oracle::InterfaceId) -> bool {
        let interface = self.oracle.world().interface(interface);
        self.rules.options.skip.iter().any(|name| interface.is_named(name))
    }

    fn compare_states(&self, after: &str) -> Result<(), Difference> {
        let unit = self.now.0 - self.now.0 % GRANULARITY;
        let theirs = self.oracle.states().iter().map(|state| {
            let mut view = self.oracle.view(state, unit);
            let created = state.created - state.created % GRANULARITY;
            view.age_s = ((unit - created) / oracle::SECOND) as u32;
            view
        });
        let (ours, theirs) =
            (compare::normal(self.firewall.states(self.now)), compare::normal(theirs.collect()));
        if ours == theirs {
            return Ok(());
        }
        let mut text = format!("states differ {after}\n");
        for (name, views) in [("engine", &ours), ("oracle", &theirs)] {
            for view in views {
                let marker = if ours.contains(view) && theirs.contains(view) { ' ' } else { '*' };
                writeln!(text, "{marker} {name}: {view:#}").expect("a String takes everything");
            }
        }
        Err(Difference(text))
    }

    /// The last packet that got through, as it was sent.
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// Packets dropped for a reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.firewall.dropped(reason)
    }

    /// Every frame has one fate.
    ///
    /// # Panics
    /// If not.
    pub fn check_conservation(&self) {
        self.firewall.check_conservation();
    }

    /// The states of the engine, as pfctl prints them.
    pub fn dump(&self) -> String {
        self.firewall.dump(self.now)
    }
}

/// What the oracle says of a packet, where it goes if it passes, and what it is then.
#[derive(Clone, Debug)]
struct Expected {
    verdict: oracle::Verdict,
    onward: Onward,
    /// The address that it was routed to.
    routed_to: IpAddr,
    sketch: Sketch,
}

impl Expected {
    fn refused(verdict: oracle::Verdict, sketch: &Sketch) -> Self {
        Self { verdict, onward: Onward::Nowhere, routed_to: sketch.dst, sketch: sketch.clone() }
    }
}

/// Does all steps; the difference that ends it, if one does, with the number of its step.
pub fn fight(rules: &Ruleset, workers: u16, steps: &[Step]) -> Option<(usize, Difference)> {
    let mut duel = Duel::new(rules, workers);
    steps.iter().enumerate().find_map(|(number, step)| duel.step(step).err().map(|why| (number, why)))
}

/// The fewest steps, as far as leaving some out can tell, that still end in a difference.
pub fn minimize(rules: &Ruleset, workers: u16, steps: &[Step]) -> Vec<Step> {
    let mut kept = steps.to_vec();
    let mut size = kept.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < kept.len() {
            let mut fewer = kept.clone();
            fewer.drain(at..(at + size).min(kept.len()));
            match fight(rules, workers, &fewer) {
                Some((end, _)) => {
                    fewer.truncate(end + 1);
                    kept = fewer;
                }
                None => at += size,
            }
        }
        if size == 1 {
            return kept;
        }
        size = size.div_ceil(2);
    }
}

/// The fewest rules that still make a difference with these steps.
fn fewest_rules(rules: &Ruleset, workers: u16, steps: &[Step]) -> Ruleset {
    let mut kept = rules.clone();
    for number in (0..kept.rules.len()).rev() {
        if let Some(fewer) = without(&kept, number).filter(|fewer| fight(fewer, workers, steps).is_some()) {
            kept = fewer;
        }
    }
    let reassemble = kept.options.reassemble;
    let plain =
        Ruleset { options: ruleset::Options { reassemble, ..ruleset::Options::default() }, ..kept.clone() };
    if fight(&plain, workers, steps).is_some() { plain } else { kept }
}

/// The rules without one of them, if that is a ruleset: the call of an anchor goes last.
fn without(rules: &Ruleset, number: usize) -> Option<Ruleset> {
    let mut fewer = rules.clone();
    let removed = fewer.rules.remove(number);
    if removed.call.is_some_and(|call| call.end as usize > number + 1) {
        return None;
    }
    for call in fewer.rules.iter_mut().filter_map(|rule| rule.call.as_mut()) {
        call.end -= u32::from(call.end as usize > number);
    }
    fewer.validate().is_ok().then_some(fewer)
}

/// A failure as it is printed: the fewest rules and steps that make it, and what differs.
pub fn explain(rules: &Ruleset, workers: u16, steps: &[Step]) -> String {
    let steps = minimize(rules, workers, steps);
    let rules = &fewest_rules(rules, workers, &steps);
    let steps = minimize(rules, workers, &steps);
    let mut text = String::from("rules:\n");
    for (number, rule) in rules.rules.iter().enumerate() {
        writeln!(text, "  @{number} {}", pfconf::print_rule(rule)).expect("a String takes everything");
    }
    if rules.options != ruleset::Options::default() {
        writeln!(text, "options: {:?}", rules.options).expect("a String takes everything");
    }
    for table in &rules.tables {
        writeln!(text, "  {}", pfconf::print_table(table)).expect("a String takes everything");
    }
    text.push_str("steps:\n");
    for step in &steps {
        writeln!(text, "  {step}").expect("a String takes everything");
    }
    if let Some((_, difference)) = fight(rules, workers, &steps) {
        writeln!(text, "{difference}").expect("a String takes everything");
    }
    text
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Packet { arrival: Arrival { interface: InterfaceId(number), source }, sketch } => {
                write!(f, "em{number} {source:?}: {sketch}")
            }
            Self::Wait(time) => write!(f, "wait {}.{:09} s", time / 1_000_000_000, time % 1_000_000_000),
            Self::Sweep => f.write_str("sweep"),
            Self::Reroute(routes) => write!(f, "reroute {routes:?}"),
            Self::Load(rules) => {
                f.write_str("load")?;
                rules.rules.iter().try_for_each(|rule| write!(f, "; {}", pfconf::print_rule(rule)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::rules::{Variety, ruleset};

    #[test]
    fn rules_can_be_left_out_one_by_one_until_none_is_left() {
        let mut rng = Rng::new(7);
        let mut calls = 0;
        for _ in 0..200 {
            let mut rules = ruleset(&mut rng, Variety::Full);
            calls += rules.rules.iter().filter(|rule| rule.call.is_some()).count();
            for number in (0..rules.rules.len()).rev() {
                rules = without(&rules, number).expect("what it calls has gone before");
            }
            assert!(rules.rules.is_empty());
        }
        assert!(calls > 100);
    }

    #[test]
    fn a_call_does_not_go_before_what_it_calls() {
        let mut rng = Rng::new(8);
        let rules = core::iter::repeat_with(|| ruleset(&mut rng, Variety::Full));
        let with_body = |rules: &Ruleset| {
            rules.rules.iter().enumerate().any(|(number, rule)| {
                let end = rule.call.as_ref().map_or(0, |call| call.end as usize);
                end > number + 1 && without(rules, number).is_none() && without(rules, number + 1).is_some()
            })
        };
        assert!(rules.take(200).filter(with_body).count() > 20);
    }
}
