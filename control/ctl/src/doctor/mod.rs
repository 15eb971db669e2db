//! `tpctl doctor`: what is wrong with the network around the firewall, out of its live states, counters and drops; and with
//! `--host`, what is wrong with the machine.
//!
//! Overview: a [`Snapshot`] is taken, and [`examine`] finds what is wrong with it: pure functions, a module for each kind of
//! evidence. Each finding names its evidence, the rule at fault, and the change that cures it. A healthy network yields none.
//! Bounds: [`STATES`] states are looked at; of each kind of finding a few are told, the others counted.

mod drops;
mod links;
mod load;
mod snapshot;
mod states;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::DropQuery;
use api::control::StateFilter;
use clap::Args;
use serde::Serialize;

use crate::host;
use crate::live::{Answer, Sockets, Source};
use crate::rulebook::RuleName;
use snapshot::{Chart, Snapshot};

/// States that are looked at.
const STATES: usize = 200_000;
/// Findings of one kind that are told.
const FEW: usize = 3;
/// The time between the two readings of counters.
const APART: Duration = Duration::from_secs(1);
/// What was dropped in this time is looked at, in seconds.
const RECENT_S: u64 = 600;

#[derive(Args)]
pub struct Arguments {
    /// Look at the machine, not at the traffic: hugepages, IOMMU, CPUs, kernel arguments
    #[arg(long)]
    host: bool,
    #[command(flatten)]
    machine: host::Arguments,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Something wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind: `no-answers`, `answers-dropped`, `one-way-nat`, `direction`, `several-states`, `if-bound`,
    /// `no-window-scaling`, `window`, `timestamp`, `asymmetric-path`, `mtu`, `state-limit`, `rule-limit`, `source-limit`, `neighbor`,
    /// `no-route`, `empty-rtable`, `routing-loop`, `link-down`, `absent-interface`, `offload`, `worker-skew`,
    /// `worker-overload`, `worker-stalled`, `rx-missed`, `no-rules`, `filtering-off`, `answers-withheld`.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
    /// By what it is known.
    pub evidence: Vec<String>,
    /// The rule at fault, or that made the state.
    pub rule: Option<RuleName>,
    /// What ends it.
    pub cure: String,
}

impl Finding {
    fn new(check: &'static str, what: String) -> Self {
        Self { check, what, evidence: Vec::new(), rule: None, cure: String::new() }
    }

    fn rule(self, rule: Option<RuleName>) -> Self {
        Self { rule, ..self }
    }

    fn evidence(mut self, evidence: String) -> Self {
        self.evidence.push(evidence);
        self
    }

    fn cure(self, cure: String) -> Self {
        Self { cure, ..self }
    }

    /// With how many more there are like it.
    fn and_more(self, more: usize, what: &str) -> Self {
        if more == 0 { self } else { self.evidence(format!("and {more} more {what} like it")) }
    }

    /// The first few of each kind, each rule's once; the last with the number of the others.
    fn few(findings: Vec<Self>, what: &str) -> Vec<Self> {
        let mut told: Vec<(Self, usize)> = Vec::new();
        for finding in findings {
            let of_kind = told.iter().filter(|(other, _)| other.check == finding.check).count();
            let same = |(other, _): &&mut (Self, usize)| {
                other.check == finding.check
                    && (of_kind >= FEW || other.rule == finding.rule && finding.rule.is_some())
            };
            match told.iter_mut().rev().find(same) {
                Some((_, more)) => *more += 1,
                None => told.push((finding, 0)),
            }
        }
        told.into_iter().map(|(finding, more)| finding.and_more(more, what)).collect()
    }
}

/// Everything that is wrong.
fn examine(snapshot: &Snapshot) -> Vec<Finding> {
    let chart = Chart::new(snapshot);
    let mut findings = load::check(&chart);
    findings.extend(states::check(&chart));
    findings.extend(drops::check(&chart));
    findings.extend(links::check(&chart));
    findings
}

/// What is told, in JSON.
#[derive(Serialize)]
struct Report {
    healthy: bool,
    findings: Vec<Finding>,
    /// States that were looked at, and that there are.
    examined: usize,
    states: u64,
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    if arguments.host {
        return host::run(&arguments.machine, arguments.json);
    }
    let snapshot = take(&mut sockets.source()?)?;
    let findings = examine(&snapshot);
    let (examined, states) = (snapshot.states.len(), snapshot.status.states);
    let report = Report { healthy: findings.is_empty(), findings, examined, states };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.write(&mut io::stdout().lock())?;
    }
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[expect(clippy::disallowed_methods, reason = "a command runs in real time")]
fn take(source: &mut Source) -> anyhow::Result<Snapshot> {
    let (begin, before) = (Instant::now(), status(source)?);
    let (rules, routes, neighbors) = (source.ruleset()?, source.routes()?, source.neighbors()?);
    let mut states = Vec::new();
    let limit = StateFilter { limit: Some(STATES as u64), ..StateFilter::default() };
    let filter = if source.filters() { limit } else { StateFilter::default() };
    source.states(&filter, |state| {
        if states.len() < STATES {
            states.push(state.clone());
        }
    })?;
    let drops = source.drop_report(&DropQuery { since_s: Some(RECENT_S), reason: None })?;
    std::thread::sleep(APART.saturating_sub(begin.elapsed()));
    let status = status(source)?;
    let rules = rules.map(|live| live.ruleset);
    Ok(Snapshot { rules, before, status, apart: begin.elapsed(), drops, states, routes, neighbors })
}

fn status(source: &mut Source) -> anyhow::Result<api::Status> {
    match source.status()? {
        Answer::Dataplane(status) => Ok(*status),
        Answer::Control(control) => {
            let why = control.problem.unwrap_or_else(|| "it does not answer".to_owned());
            control.dataplane.with_context(|| format!("the dataplane: {why}"))
        }
    }
}

impl Report {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for Finding { check, what, evidence, rule, cure } in &self.findings {
            writeln!(out, "{check}: {what}")?;
            for evidence in evidence {
                writeln!(out, "    {evidence}")?;
            }
            if let Some(rule) = rule {
                writeln!(out, "    rule: {rule}")?;
            }
            writeln!(out, "    cure: {cure}")?;
        }
        if (self.examined as u64) < self.states.min(STATES as u64 + 1) && self.examined >= STATES {
            writeln!(out, "only {} of {} states were looked at", self.examined, self.states)?;
        }
        match self.findings.len() {
            0 => writeln!(out, "nothing is wrong with the traffic; the machine: tpctl doctor --host"),
            1 => writeln!(out, "1 finding"),
            count => writeln!(out, "{count} findings"),
        }
    }
}
