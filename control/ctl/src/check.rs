//! `tpctl check`: would this ruleset be loaded, and if not, why.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pfconf::{Colour, Diagnostics, Dialect, Host, PlacedFinding};
use ruleset::Ruleset;
use serde::Serialize;

use crate::machine::{self, Machine};

/// `name=value` of `-D`.
pub fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected MACRO=VALUE".to_owned()),
    }
}

/// A ruleset, and what reading it needs.
#[derive(Args)]
pub struct Written {
    /// The ruleset; - for standard input
    pub file: String,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    pub definitions: Vec<(String, String)>,
    /// Read it in this dialect: openbsd, freebsd; else what it uses decides
    #[arg(long, value_name = "DIALECT")]
    pub dialect: Option<Dialect>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    pub interfaces: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long)]
    pub json: bool,
}

/// The outcome, in JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    valid: bool,
    rules: usize,
    tables: usize,
    findings: Vec<PlacedFinding<'a>>,
}

pub fn run(arguments: &Written) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(&arguments.file).with_context(|| arguments.file.clone())?;
    let (lowered, findings) = inspect(arguments, &machine, name, &text);
    let (rules, tables) =
        lowered.as_ref().map_or((0, 0), |ruleset| (ruleset.rules.len(), ruleset.tables.len()));
    let valid = lowered.is_some();
    if arguments.json {
        let outcome = Outcome { valid, rules, tables, findings: findings.placed().collect() };
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        explain(&findings);
        if valid {
            println!("{name}: {rules} rules, {tables} tables: good");
        }
    }
    Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What a ruleset compiles to, with what its writer hardly means.
fn inspect(arguments: &Written, machine: &Machine, name: &str, text: &str) -> (Option<Ruleset>, Diagnostics) {
    let (config, mut findings) =
        machine::parse(machine, arguments.dialect, name, text, &arguments.definitions);
    if findings.has_errors() {
        return (None, findings);
    }
    match config.lower() {
        Ok(ruleset) => {
            findings.add(config.lint(machine.interfaces(), &|table| machine.lacks_routes(table)));
            (Some(ruleset), findings)
        }
        Err(refused) => (None, refused),
    }
}

/// What a ruleset compiles to, and what was found in it; nothing if there were errors.
pub fn compile(
    machine: &Machine,
    dialect: Option<Dialect>,
    name: &str,
    text: &str,
    definitions: &[(String, String)],
) -> (Option<Ruleset>, Diagnostics) {
    let (config, findings) = machine::parse(machine, dialect, name, text, definitions);
    if findings.has_errors() {
        return (None, findings);
    }
    match config.lower() {
        Ok(ruleset) => (Some(ruleset), findings),
        Err(refused) => (None, refused),
    }
}

/// Prints findings for a person: the line, carets, what was expected.
pub fn explain(findings: &Diagnostics) {
    let colour = if std::io::stderr().is_terminal() { Colour::Always } else { Colour::Never };
    eprint!("{}", findings.render(colour));
}
