//! Results, for people and for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::outcome::{self, Direction, Opening, Outcome};
use crate::profile::Profile;
use crate::search::Measured;
use crate::search::mlr;
use crate::search::throughput::Throughput;

/// A trial, as it is reported.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// The profile.
    pub profile: String,
    /// What the rate counts.
    pub unit: &'static str,
    /// What was asked for.
    pub rate: f64,
    /// Seconds of sending.
    pub seconds: f64,
    /// It was ended before its time.
    pub interrupted: bool,
    /// Packets or connections that were due and never made, because the tester was held up.
    pub left_out: u64,
    /// From clients to servers.
    pub clients_to_servers: Flowing,
    /// From servers to clients.
    pub servers_to_clients: Flowing,
    /// What became of connections, where they are opened at a rate.
    pub connections: Option<Connections>,
}

/// What became of connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Connections {
    /// Begun.
    pub opened: u64,
    /// Of those, answered.
    pub established: u64,
    /// Of those, used and closed as planned.
    pub completed: u64,
    /// Refused, given up, or not closed when the trial ended.
    pub failed: u64,
    /// Completed ones a second, in the time of sending.
    pub completed_per_second: f64,
    /// From the SYN to its answer.
    pub setup: Option<Latency>,
}

/// One direction.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Flowing {
    /// Packets that the port took.
    pub sent: u64,
    /// Packets that came, each once.
    pub received: u64,
    /// Those that never came.
    pub lost: u64,
    /// Lost ones of those sent.
    pub loss_ratio: f64,
    /// Packets that came a second, in the time of sending.
    pub received_per_second: f64,
    /// Packets that came behind later ones of their flow.
    pub reordered: u64,
    /// Packets that came once more.
    pub duplicates: u64,
    /// Packets that came with a wrong checksum.
    pub damaged: u64,
    /// Packets that came from earlier trials.
    pub late: u64,
    /// Frames that came and are none of ours.
    pub other: u64,
    /// From making a packet to looking at it.
    pub latency: Option<Latency>,
}

/// Latencies in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// The shortest.
    pub min_us: f64,
    /// Of half of all packets at most.
    pub p50_us: f64,
    /// Of 99 % at most.
    pub p99_us: f64,
    /// Of 99.9 % at most.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

impl Flowing {
    fn new(direction: &Direction<'_>, seconds: f64) -> Self {
        let Direction { from, to } = direction;
        Self {
            sent: from.sent,
            received: to.received,
            lost: direction.lost(),
            loss_ratio: direction.lost() as f64 / from.sent.max(1) as f64,
            received_per_second: per_second(to.received, seconds),
            reordered: to.reordered,
            duplicates: to.duplicates,
            damaged: to.damaged,
            late: to.late,
            other: to.other,
            latency: Latency::of(&to.latency),
        }
    }
}

impl Latency {
    /// Of what was recorded, if anything was.
    fn of(recorded: &outcome::Latency) -> Option<Self> {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let at = |quantile| micros(recorded.value_at_quantile(quantile));
        (!recorded.is_empty()).then(|| Self {
            min_us: micros(recorded.min()),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: micros(recorded.max()),
        })
    }
}

impl Connections {
    fn new(opening: &Opening, seconds: f64) -> Self {
        Self {
            opened: opening.opened,
            established: opening.established,
            completed: opening.completed,
            failed: opening.failed,
            completed_per_second: per_second(opening.completed, seconds),
            setup: Latency::of(&opening.setup),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "  connections: {} opened, {} answered, {} completed ({} a second), {} failed\n",
            thousands(self.opened as f64),
            thousands(self.established as f64),
            thousands(self.completed as f64),
            thousands(self.completed_per_second),
            thousands(self.failed as f64)
        );
        if let Some(setup) = &self.setup {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  from SYN to its answer: p50 {:.1} us, p99 {:.1} us, p99.9 {:.1} us, max {:.1} us",
                setup.p50_us, setup.p99_us, setup.p999_us, setup.max_us
            );
        }
        text
    }
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

impl Trial {
    /// What a trial came to.
    pub fn new(profile: &Profile, outcome: &Outcome) -> Self {
        let [forth, back] = outcome.directions().map(|direction| Flowing::new(&direction, outcome.seconds));
        Self {
            profile: profile.name.clone(),
            unit: profile.unit(),
            rate: outcome.rate,
            seconds: outcome.seconds,
            interrupted: outcome.interrupted,
            left_out: outcome.left_out(),
            clients_to_servers: forth,
            servers_to_clients: back,
            connections: outcome.connections().map(|opening| Connections::new(opening, outcome.seconds)),
        }
    }

    /// As a table.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{}: {} {} for {:.1} s{}\n",
            self.profile,
            thousands(self.rate),
            self.unit,
            self.seconds,
            if self.interrupted { ", interrupted" } else { "" }
        );
        let both = [&self.clients_to_servers, &self.servers_to_clients];
        let mut row = |name: &str, cells: [String; 2]| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<12}{:>22}{:>22}", cells[0], cells[1]);
        };
        row("", ["clients to servers", "servers to clients"].map(String::from));
        row("sent", both.map(|way| thousands(way.sent as f64)));
        row("received", both.map(|way| thousands(way.received as f64)));
        row("lost", both.map(|way| share(way.lost, way.sent)));
        row("packets/s", both.map(|way| thousands(way.received_per_second)));
        let rest: [(&str, Of<Flowing, u64>); 5] = [
            ("reordered", |way| way.reordered),
            ("duplicated", |way| way.duplicates),
            ("damaged", |way| way.damaged),
            ("late", |way| way.late),
            ("other", |way| way.other),
        ];
        for (name, count) in rest {
            if both.iter().any(|way| count(way) > 0) {
                row(name, both.map(|way| thousands(count(way) as f64)));
            }
        }
        let quantiles: [(&str, Of<Latency, f64>); 4] = [
            ("p50 us", |latency| latency.p50_us),
            ("p99 us", |latency| latency.p99_us),
            ("p99.9 us", |latency| latency.p999_us),
            ("max us", |latency| latency.max_us),
        ];
        for (name, value) in quantiles.into_iter().filter(|_| both.iter().any(|way| way.latency.is_some())) {
            let cell = |way: &Flowing| way.latency.as_ref().map(|latency| format!("{:.1}", value(latency)));
            row(name, both.map(|way| cell(way).unwrap_or_else(|| "-".to_owned())));
        }
        if let Some(connections) = &self.connections {
            text += &connections.text();
        }
        if self.left_out > 0 {
            let _ = writeln!(
                text,
                "  the tester was held up: {} due and never made",
                thousands(self.left_out as f64)
            );
        }
        text
    }
}

/// A search's result, with what it is about.
#[derive(Clone, Debug, Serialize)]
pub struct Named<T> {
    /// The profile.
    pub profile: String,
    /// What rates count.
    pub unit: &'static str,
    /// What was found.
    pub found: T,
}

impl<T> Named<T> {
    /// What was found with a profile.
    pub fn new(profile: &Profile, found: T) -> Self {
        Self { profile: profile.name.clone(), unit: profile.unit(), found }
    }
}

/// A rate, with its share of the line where that is known.
fn rate(rate: Option<f64>, profile: &Profile, line: Option<f64>) -> String {
    let Some(rate) = rate else { return "none".to_owned() };
    match line {
        Some(line) if profile.wire_bits() > 0.0 => {
            format!("{} ({:.1} %)", thousands(rate), 100.0 * rate * profile.wire_bits() / line)
        }
        _ => thousands(rate),
    }
}

/// How a search went.
fn effort(trials: &[Measured], complete: bool) -> String {
    let seconds: f64 = trials.iter().map(|trial| trial.seconds).sum();
    let limited = if trials.iter().any(|trial| trial.tester_limited) {
        ", some of them limited by the tester"
    } else {
        ""
    };
    let end = if complete { "" } else { "; it was not finished" };
    let plural = if trials.len() == 1 { "" } else { "s" };
    format!("{} trial{plural}, {seconds:.0} s of sending{limited}{end}", trials.len())
}

/// RFC 2544's throughput in words.
pub fn throughput(found: &Throughput, profile: &Profile, line: Option<f64>) -> String {
    let (unit, rate) = (profile.unit(), |load| rate(Some(load), profile, line));
    let result = match (found.rate, found.lossy) {
        (Some(without), Some(with)) => format!("{} {unit}; loss from {} on", rate(without), rate(with)),
        (Some(without), None) => format!("{} {unit}, the most that was tried", rate(without)),
        (None, Some(with)) => format!("below {} {unit}", rate(with)),
        (None, None) => "unknown".to_owned(),
    };
    format!("{}, throughput: {result}; {}\n", profile.name, effort(&found.trials, found.complete))
}

/// What was found for each loss ratio, as a table.
pub fn mlr(found: &mlr::Outcome, profile: &Profile, line: Option<f64>) -> String {
    let complete = found.goals.iter().all(|goal| goal.complete);
    let mut text = format!("{}, {}: {}\n", profile.name, profile.unit(), effort(&found.trials, complete));
    let mut row = |cells: [String; 4]| {
        let [loss, lower, upper, through] = cells;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {loss:<12}{lower:>24}{upper:>24}{through:>26}");
    };
    row(["loss", "lower bound", "upper bound", "conditional throughput"].map(String::from));
    for goal in &found.goals {
        let name = if goal.goal.loss_ratio == 0.0 { "NDR" } else { "PDR" };
        row([
            format!("{name} {} %", 100.0 * goal.goal.loss_ratio),
            rate(goal.lower, profile, line),
            rate(goal.upper, profile, line),
            rate(goal.conditional_throughput, profile, line),
        ]);
    }
    text
}

/// A figure of a row.
type Of<T, U> = fn(&T) -> U;

/// A count with its share of a whole.
fn share(count: u64, whole: u64) -> String {
    let percent = 100.0 * count as f64 / whole.max(1) as f64;
    if count == 0 { "0".to_owned() } else { format!("{} ({percent:.3} %)", thousands(count as f64)) }
}

/// A number with its thousands apart, rounded to a whole one.
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{share, thousands};

    #[test]
    fn numbers_are_readable() {
        assert_eq!([0.4, 999.0, 1000.0, 14_880_952.38].map(thousands), ["0", "999", "1,000", "14,880,952"]);
        assert_eq!([share(0, 0), share(1, 1_000)], ["0", "1 (0.100 %)"]);
    }
}
