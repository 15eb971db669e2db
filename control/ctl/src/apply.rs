//! `tpctl apply`, `confirm`, `rollback`, `diff` and `revisions`: which rules are live, and which were.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use api::control::{
    Applied, Apply, BlockedState, ControlError, Difference, Finding, Origin, Revision, RuleAt, RuleChange,
    Severity, Sources, Standing, StateImpact, TableFate,
};
use clap::Args;
use pfconf::{Dialect, Recorder};
use serde::Serialize;

use crate::check::{Written, compile, explain};
use crate::live::{self, Format, Sockets};
use crate::machine::{self, Machine};
use crate::session::operator;
use crate::time::{self, ctime};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    written: Written,
    /// Let the rules before return unless `tpctl confirm` is called within this time: 60s, 5m
    #[arg(long, value_name = "TIME", value_parser = time::seconds)]
    confirm: Option<u32>,
    /// A remark to keep with the revision
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    /// Also if it cuts off the connection that this command is given through
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub struct RollbackArguments {
    /// The revision to go back to
    number: u64,
    /// Also if it cuts off the connection that this command is given through
    #[arg(long)]
    force: bool,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct RevisionsArguments {
    /// Print this revision's text
    number: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    if sockets.is_direct() {
        ensure!(
            arguments.confirm.is_none(),
            "only turnpike-control takes rules back: leave --dataplane-socket out"
        );
        return commit(&arguments.written, arguments.force, sockets);
    }
    let written = &arguments.written;
    let request = Apply {
        sources: written.sources()?,
        confirm_s: arguments.confirm,
        comment: arguments.comment.clone(),
        operator: operator(arguments.force),
        ..Apply::default()
    };
    let name = request.sources.name.clone();
    match sockets.control().apply(&request) {
        Ok(applied) => report(&name, &applied, written.json),
        Err(refused) => {
            let ended = refuse(refused)?;
            eprintln!("tpctl: {name} was not applied; the live ruleset is as it was");
            Ok(ended)
        }
    }
}

impl Written {
    /// The text with the files that it includes and the addresses of its names, for turnpike-control, which opens no file
    /// and asks no DNS for a client.
    fn sources(&self) -> anyhow::Result<Sources> {
        let machine = Machine::new(self.interfaces.as_ref())?;
        let (name, text) = machine::read_ruleset(&self.file).with_context(|| self.file.clone())?;
        Ok(record(&machine, self.dialect, name, text, &self.definitions))
    }
}

/// Reads a ruleset and keeps everything that reading it needed. What is wrong with it is left for others to find.
pub fn record(
    machine: &Machine,
    dialect: Option<Dialect>,
    name: &str,
    text: String,
    definitions: &[(String, String)],
) -> Sources {
    let recorder = Recorder::new(machine);
    machine::parse(&recorder, dialect, name, &text, definitions);
    let (files, names) = recorder.into_recorded();
    let dialect = dialect.map(|dialect| match dialect {
        Dialect::OpenBsd => api::control::Dialect::OpenBsd,
        Dialect::FreeBsd => api::control::Dialect::FreeBsd,
    });
    let (name, definitions) = (name.to_owned(), definitions.to_vec());
    Sources { name, text, files, names, definitions, dialect, ..Sources::default() }
}

/// Prints why turnpike-control refused, with the lines at fault; other errors go on.
pub fn refuse(error: ControlError) -> anyhow::Result<ExitCode> {
    match error {
        ControlError::Refused { problem, .. } => {
            eprint!("{}", problem.rendered);
            eprintln!("tpctl: {}", problem.error);
            Ok(ExitCode::FAILURE)
        }
        error => Err(error.into()),
    }
}

fn report(name: &str, applied: &Applied, json: bool) -> anyhow::Result<ExitCode> {
    warn(&applied.findings);
    live::print(Format::of(json), applied, |out, applied| {
        let Applied { revision, generation, rules, .. } = applied;
        writeln!(out, "{name}: {rules} rules: live as revision {revision} (generation {generation})")?;
        match applied.confirm_s {
            Some(left) => writeln!(out, "`tpctl confirm` within {left} s, or the rules before return"),
            None => Ok(()),
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

fn warn(findings: &[Finding]) {
    for finding in findings {
        let grave = if finding.severity == Severity::Error { "error" } else { "warning" };
        eprintln!("{}:{}:{}: {grave}: {}", finding.file, finding.line, finding.column, finding.message);
    }
}

/// The outcome of a commit past turnpike-control, in JSON.
#[derive(Serialize)]
struct Committed {
    generation: u64,
    rules: usize,
    tables: usize,
}

/// Hands a ruleset to the dataplane itself.
fn commit(written: &Written, force: bool, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(written.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(&written.file).with_context(|| written.file.clone())?;
    let (ruleset, findings) = compile(&machine, written.dialect, name, &text, &written.definitions);
    explain(&findings);
    let Some(ruleset) = ruleset else {
        eprintln!("tpctl: {name} was not applied; the live ruleset is as it was");
        return Ok(ExitCode::FAILURE);
    };
    let generation = live::commit(sockets, &ruleset, force)?;
    let committed = Committed { generation, rules: ruleset.rules.len(), tables: ruleset.tables.len() };
    live::print(Format::of(written.json), &committed, |out, committed| {
        let Committed { generation, rules, tables } = committed;
        writeln!(out, "{name}: {rules} rules, {tables} tables: live as generation {generation}")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `tpctl confirm`.
pub fn confirm(json: bool, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    match sockets.control().confirm() {
        Ok(revision) => {
            live::print(Format::of(json), &revision, |out, revision| {
                writeln!(out, "revision {} is confirmed", revision.number)
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(refused) => refuse(refused),
    }
}

/// `tpctl rollback`.
pub fn rollback(arguments: &RollbackArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    match sockets.control().rollback(arguments.number, operator(arguments.force)) {
        Ok(applied) => report(&format!("revision {}", arguments.number), &applied, arguments.json),
        Err(refused) => refuse(refused),
    }
}

/// `tpctl diff`.
pub fn diff(written: &Written, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    match sockets.control().diff(&written.sources()?) {
        Ok(difference) => {
            live::print(Format::of(written.json), &difference, write_difference)?;
            if difference.states.is_none() {
                eprintln!("tpctl: the live states could not be looked at; see the log of turnpike-control");
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(refused) => refuse(refused),
    }
}

fn write_difference(out: &mut dyn Write, difference: &Difference) -> io::Result<()> {
    for rule in &difference.removed {
        writeln!(out, "-{} {}", place(rule), rule.text)?;
    }
    for rule in &difference.added {
        writeln!(out, "+{} {}", place(rule), rule.text)?;
    }
    for RuleChange { live, candidate } in &difference.changed {
        writeln!(out, "-{} {}\n+{} {}", place(live), live.text, place(candidate), candidate.text)?;
    }
    for RuleChange { live, candidate } in &difference.moved {
        writeln!(out, " {} -> {} {}", place(live), place(candidate), candidate.text)?;
    }
    for table in &difference.tables {
        let sign = match table.change {
            TableFate::Added => '+',
            TableFate::Removed => '-',
            TableFate::Changed => ' ',
        };
        writeln!(out, "{sign}table <{}>", table.name)?;
        for (sign, entries) in [('-', &table.removed), ('+', &table.added)] {
            for entry in entries {
                writeln!(out, "{sign}  {entry}")?;
            }
        }
    }
    for option in &difference.options {
        writeln!(out, "-set {} {}\n+set {} {}", option.name, option.live, option.name, option.candidate)?;
    }
    difference.states.as_ref().map_or(Ok(()), |impact| write_impact(out, impact))
}

/// `@7`; of a rule in an anchor, behind the anchor's path.
fn place(rule: &RuleAt) -> String {
    format!("{}@{}", rule.anchor, rule.number)
}

/// What becomes of live states: they stay, but would not be made again.
fn write_impact(out: &mut dyn Write, impact: &StateImpact) -> io::Result<()> {
    let StateImpact { examined, blocked, complete, examples } = impact;
    let all = if *complete { "all" } else { "the first" };
    writeln!(out, "# {blocked} of {all} {examined} live states would be blocked if they began now")?;
    for BlockedState { state, interface, rule } in examples {
        let by = rule.as_ref().map_or_else(String::new, |rule| format!(" by {} {}", place(rule), rule.text));
        writeln!(out, "#  {state} on {interface}{by}")?;
    }
    Ok(())
}

/// `tpctl revisions`: all of them, or the text of one.
pub fn revisions(arguments: &RevisionsArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let control = sockets.control();
    let format = Format::of(arguments.json);
    let outcome = match arguments.number {
        Some(number) => control.revision(number).map(|revision| {
            live::print(format, &revision, |out, revision| write!(out, "{}", revision.sources.text))
        }),
        None => control.revisions().map(|revisions| {
            live::print(format, &revisions, |out, revisions| {
                revisions.iter().try_for_each(|revision| write_revision(out, revision))
            })
        }),
    };
    match outcome {
        Ok(printed) => printed.map(|()| ExitCode::SUCCESS),
        Err(refused) => refuse(refused),
    }
}

fn write_revision(out: &mut dyn Write, revision: &Revision) -> io::Result<()> {
    let origin = match revision.origin {
        Origin::Apply => "apply".to_owned(),
        Origin::Reload => "reload".into(),
        Origin::Rollback { of } => format!("rollback of {of}"),
    };
    let standing = match revision.standing {
        Standing::Confirmed => "confirmed",
        Standing::Pending { .. } => "awaits confirmation",
        Standing::Reverted => "reverted",
    };
    let comment = if revision.comment.is_empty() { String::new() } else { format!("  {}", revision.comment) };
    writeln!(
        out,
        "{:>5}  {}  {:>6} rules  {origin}, {standing}{comment}",
        revision.number,
        ctime(revision.created_unix_s),
        revision.rules
    )
}
