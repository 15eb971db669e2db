//! `tpctl test`: what a ruleset does with packets, without any firewall: the dataplane's own engine decides.

mod capture;
mod cases;
mod firewall;
mod frame;
mod packet;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgGroup, Args};
use engine::Tick;
use pfconf::{Dialect, Interfaces};
use ruleset::{Direction, Ruleset};
use serde::Serialize;

use crate::check::{compile, definition, explain};
use crate::live::{self, Format};
use crate::machine::{self, Machine};
use cases::{Case, Cases};
use firewall::{Firewall, Outcome, Verdict};
use packet::Packet;

/// The exit code of a call that asks for nothing that can be done.
const USAGE: u8 = 2;

#[derive(Args)]
#[command(group = ArgGroup::new("packets").required(true).multiple(true).args(["packet", "pcap", "cases"]))]
pub struct Arguments {
    /// A packet: in on wan0 tcp 192.0.2.7:1025 > 10.0.0.1:443 S
    packet: Option<String>,
    /// Packets that come before it, in this order; whatever becomes of them
    #[arg(long, value_name = "PACKET", requires = "packet")]
    after: Vec<String>,
    /// The packets of a capture, of Ethernet or of IP, one after the other
    #[arg(long, value_name = "FILE", requires = "on", conflicts_with_all = ["packet", "cases"])]
    pcap: Option<PathBuf>,
    /// The interface at which they were captured
    #[arg(long, value_name = "INTERFACE", requires = "pcap")]
    on: Option<String>,
    /// They went out there; else they came in
    #[arg(long, requires = "pcap")]
    out: bool,
    /// Expectations in TOML
    #[arg(long, value_name = "FILE", conflicts_with_all = ["packet", "expect"])]
    cases: Vec<PathBuf>,
    /// The ruleset; - for standard input. A file of expectations may name its own
    #[arg(long, value_name = "FILE")]
    rules: Option<String>,
    /// What is to become of the packet, or of every packet of the capture: pass, block, or wait (a fragment, for the others)
    #[arg(long, value_name = "VERDICT", value_parser = verdict)]
    expect: Option<Verdict>,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// Read the ruleset in this dialect: openbsd, freebsd; else what it uses decides
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<Dialect>,
    /// The firewall's interfaces, as `ip -j addr` prints them; else those that are named, without addresses
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
    /// Print the outcomes as JSON
    #[arg(long)]
    json: bool,
}

fn verdict(word: &str) -> Result<Verdict, String> {
    [Verdict::Pass, Verdict::Block, Verdict::Wait]
        .into_iter()
        .find(|verdict| verdict.name() == word)
        .ok_or_else(|| "expected pass, block or wait".to_owned())
}

/// What was asked, and what came of it.
#[derive(Serialize)]
struct Report {
    /// The case's name, and its file's.
    #[serde(skip_serializing_if = "Option::is_none")]
    case: Option<String>,
    #[serde(flatten)]
    outcome: Outcome,
    /// What came otherwise than expected.
    missed: Vec<String>,
}

/// Why nothing was tested.
enum Failure {
    /// What was asked for makes no sense.
    Usage(anyhow::Error),
    /// The rules cannot be loaded.
    Rules(anyhow::Error),
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let reports = match reports(arguments) {
        Ok(reports) => reports,
        Err(Failure::Rules(error)) => return Err(error),
        Err(Failure::Usage(error)) => {
            eprintln!("tpctl: {error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    live::print(Format::of(arguments.json), &reports, |out, reports| write_reports(out, reports))?;
    let good = reports.iter().all(|report| report.missed.is_empty());
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn reports(arguments: &Arguments) -> Result<Vec<Report>, Failure> {
    if !arguments.cases.is_empty() {
        let files = arguments.cases.iter().map(|path| of_file(arguments, path));
        return Ok(files.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect());
    }
    let interfaces = arguments.interfaces.as_deref();
    let expected = Case { expect: arguments.expect, ..Case::default() };
    if let (Some(pcap), Some(on)) = (&arguments.pcap, &arguments.on) {
        let rules = Rules::load(arguments, None, interfaces, arguments.dialect)?;
        let direction = if arguments.out { Direction::Out } else { Direction::In };
        return of_capture(&rules, pcap, (on, direction), &expected).map_err(Failure::Usage);
    }
    let packet = arguments.packet.as_deref().unwrap_or_default();
    let packets = packets(&arguments.after, packet).map_err(Failure::Usage)?;
    let rules = Rules::load(arguments, None, interfaces, arguments.dialect)?;
    let outcome = rules.see(&packets)?;
    let missed = expected.missed(&outcome);
    Ok(vec![Report { case: None, outcome, missed }])
}

/// The packets of a case in their order; the last one is what it is about.
fn packets(after: &[String], packet: &str) -> anyhow::Result<Vec<Packet>> {
    after.iter().map(String::as_str).chain([packet]).map(str::parse).collect()
}

fn of_file(arguments: &Arguments, path: &Path) -> Result<Vec<Report>, Failure> {
    let file = Cases::read(path).map_err(Failure::Usage)?;
    let interfaces = arguments.interfaces.as_deref().or(file.interfaces.as_deref());
    let dialect = arguments.dialect.or(file.dialect().map_err(Failure::Usage)?);
    let rules = Rules::load(arguments, file.rules.as_deref(), interfaces, dialect)?;
    let mut reports = Vec::new();
    for case in &file.cases {
        let name = format!("{}: {}", path.display(), case.name);
        let packets =
            packets(&case.after, &case.packet).with_context(|| name.clone()).map_err(Failure::Usage)?;
        let outcome = rules.see(&packets)?;
        let missed = case.missed(&outcome);
        reports.push(Report { case: Some(name), outcome, missed });
    }
    Ok(reports)
}

fn of_capture(
    rules: &Rules,
    path: &Path,
    hook: (&str, Direction),
    expected: &Case,
) -> anyhow::Result<Vec<Report>> {
    let name = || path.display().to_string();
    let captured = capture::read(&std::fs::read(path).with_context(name)?).with_context(name)?;
    let mut firewall = Firewall::new(&rules.lowered, &rules.interfaces, &[hook.0])?;
    let mut reports = Vec::new();
    for (number, packet) in (1..).zip(captured) {
        let at = Tick::from_secs(1) + packet.after;
        let outcome = firewall.see_frame(hook, packet.frame, at, format!("packet {number}"))?;
        let missed = expected.missed(&outcome);
        reports.push(Report { case: None, outcome, missed });
    }
    Ok(reports)
}

/// Rules, and the interfaces that they are for.
struct Rules {
    lowered: Ruleset,
    interfaces: Interfaces,
}

impl Rules {
    fn load(
        arguments: &Arguments,
        own: Option<&Path>,
        interfaces: Option<&Path>,
        dialect: Option<Dialect>,
    ) -> Result<Self, Failure> {
        let usage = |error: anyhow::Error| Failure::Usage(error);
        let own = own.map(|path| path.display().to_string());
        let path = arguments.rules.clone().or(own);
        let path = path.context("which rules? give --rules FILE").map_err(usage)?;
        let machine = match interfaces {
            Some(file) => Machine::new(Some(&file.to_owned())).map_err(usage)?,
            None => Machine::without_interfaces(),
        };
        let read = machine::read_ruleset(&path).with_context(|| path.clone());
        let (name, text) = read.map_err(usage)?;
        let (lowered, findings) = compile(&machine, dialect, name, &text, &arguments.definitions);
        explain(&findings);
        let lowered = lowered.with_context(|| format!("{name} cannot be loaded")).map_err(Failure::Rules)?;
        Ok(Self { lowered, interfaces: machine.into_interfaces() })
    }

    /// Shows packets to a firewall that has seen nothing, and says what became of the last one.
    fn see(&self, packets: &[Packet]) -> Result<Outcome, Failure> {
        let hooks = packets.iter().flat_map(|packet| [&packet.enters, &packet.leaves]);
        let named: Vec<&str> = hooks.flatten().map(String::as_str).collect();
        let mut firewall = Firewall::new(&self.lowered, &self.interfaces, &named).map_err(Failure::Rules)?;
        let mut last = None;
        for packet in packets {
            last = Some(firewall.see(packet).map_err(Failure::Usage)?);
        }
        last.context("no packet").map_err(Failure::Usage)
    }
}

fn write_reports(out: &mut dyn Write, reports: &[Report]) -> io::Result<()> {
    for Report { case, outcome, missed } in reports {
        let standing = if missed.is_empty() { "" } else { "NOT AS EXPECTED: " };
        match case {
            Some(case) if missed.is_empty() => writeln!(out, "{case}: as expected")?,
            Some(case) => writeln!(out, "{case}: {standing}\n  {}", line(outcome))?,
            None => writeln!(out, "{standing}{}", line(outcome))?,
        }
        if case.is_none() || !missed.is_empty() {
            write_details(out, outcome)?;
        }
        for missed in missed {
            writeln!(out, "  {missed}")?;
        }
    }
    if reports.len() > 1 {
        let missed = reports.iter().filter(|report| !report.missed.is_empty()).count();
        writeln!(out, "{} packets, {missed} not as expected", reports.len())?;
    }
    Ok(())
}

/// `…: block (match), told rst`.
fn line(outcome: &Outcome) -> String {
    let mut line = format!("{}: {}", outcome.packet, outcome.verdict.name());
    if let Some(reason) = outcome.reason {
        line += &format!(" ({reason})");
    }
    if let Some(route) = &outcome.route {
        line += &format!(", routed to {route}");
    }
    if let Some(reply) = &outcome.reply {
        line += &format!(", told {reply}");
    }
    if outcome.known {
        line += ", by its state";
    }
    if outcome.logged {
        line += ", logged";
    }
    line
}

fn write_details(out: &mut dyn Write, outcome: &Outcome) -> io::Result<()> {
    for rule in &outcome.rules {
        writeln!(out, "  {rule}")?;
    }
    if outcome.rules.is_empty() && !outcome.known {
        writeln!(out, "  no rule decided")?;
    }
    outcome.made.iter().try_for_each(|state| writeln!(out, "  state {state}"))
}
