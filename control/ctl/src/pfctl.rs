//! `tpctl pfctl`: pfctl(8)'s flags, texts and exit codes.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::{ArgAction, Args, ValueEnum};

use crate::check::definition;
use crate::machine::{self, Machine};

#[derive(Args)]
pub struct Arguments {
    /// Load this ruleset; - for standard input
    #[arg(short, value_name = "FILE")]
    file: String,
    /// Only parse, do not load
    #[arg(short, required = true)]
    noaction: bool,
    /// Say more; twice, still more
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
    /// Only print errors and warnings
    #[arg(short)]
    quiet: bool,
    /// Optimize the ruleset: rules are always evaluated as they are written
    #[arg(short, value_name = "LEVEL")]
    optimize: Option<Optimize>,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Optimize {
    None,
    Basic,
    Profile,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(&arguments.file)
        .with_context(|| format!("{}: cannot open the main config file!", arguments.file))?;
    let (config, findings) = pfconf::read(&machine, name, &text, &arguments.definitions);
    eprint!("{findings}");
    let mut shown = String::new();
    if arguments.verbose > 0 {
        shown += &config.print_echo();
        if !findings.has_errors() {
            shown += &config.print_rules();
        }
    }
    std::io::stdout().write_all(shown.as_bytes()).map_err(|error| anyhow!("standard output: {error}"))?;
    Ok(if findings.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
