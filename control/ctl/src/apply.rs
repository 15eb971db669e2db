//! `tpctl apply`: make a ruleset the live one.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::check::{compile, definition, explain};
use crate::live::{self, Format};
use crate::machine::{self, Machine};

#[derive(Args)]
pub struct Arguments {
    /// The ruleset; - for standard input
    file: String,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long)]
    json: bool,
}

/// The outcome, in JSON.
#[derive(Serialize)]
struct Applied {
    generation: u64,
    rules: usize,
    tables: usize,
}

pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(&arguments.file).with_context(|| arguments.file.clone())?;
    let (ruleset, findings) = compile(&machine, name, &text, &arguments.definitions);
    explain(&findings);
    let Some(ruleset) = ruleset else {
        eprintln!("tpctl: {name} was not applied; the live ruleset is as it was");
        return Ok(ExitCode::FAILURE);
    };
    let generation = live::connect(socket)?.commit(&ruleset)?;
    let applied = Applied { generation, rules: ruleset.rules.len(), tables: ruleset.tables.len() };
    live::print(Format::of(arguments.json), &applied, |out, applied| {
        writeln!(
            out,
            "{name}: {} rules, {} tables: live as generation {}",
            applied.rules, applied.tables, applied.generation
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
