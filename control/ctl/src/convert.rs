//! `tpctl convert`: a ruleset in the other dialect, on standard output; what it cannot say, on standard error.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use pfconf::Dialect;

use crate::check::{definition, explain};
use crate::machine::{self, Machine};

#[derive(Args)]
pub struct Arguments {
    /// The ruleset; - for standard input
    file: String,
    /// The dialect to write: openbsd, freebsd
    #[arg(long, value_name = "DIALECT")]
    to: Dialect,
    /// Read it in this dialect; else what it uses decides
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<Dialect>,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
}

/// Succeeds only if everything could be expressed.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(&arguments.file).with_context(|| arguments.file.clone())?;
    let (config, findings) = machine::parse(&machine, arguments.dialect, name, &text, &arguments.definitions);
    explain(&findings);
    if findings.has_errors() {
        return Ok(ExitCode::FAILURE);
    }
    let (converted, lost) = config.convert(arguments.to);
    std::io::stdout().write_all(converted.as_bytes()).context("standard output")?;
    explain(&lost);
    Ok(if lost.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
