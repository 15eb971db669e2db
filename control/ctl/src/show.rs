//! `tpctl show`, `states` and `drops`: what the dataplane has and does.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::live::{self, Format};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The ruleset's generation, states, interfaces, workers, packet buffers
    Status(FormatArguments),
    /// The live rules, in pfctl's normal form
    Rules(FormatArguments),
    /// The states, as pfctl -ss lists them
    States(StateArguments),
    /// Why packets were dropped, by reason and interface
    Drops(FormatArguments),
}

#[derive(Args)]
pub struct StateArguments {
    /// Also windows, age, expiry, counters, rule and id
    #[arg(short)]
    verbose: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct FormatArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::Status(form) => {
            live::print(Format::of(form.json), &live::connect(socket)?.status()?, live::write_status)?;
        }
        What::Rules(form) => {
            let rules = live::connect(socket)?.rules()?;
            live::print(Format::of(form.json), &rules, live::write_rules)?;
        }
        What::States(form) => return states(form, socket),
        What::Drops(form) => return drops(form, socket),
    }
    Ok(ExitCode::SUCCESS)
}

pub fn states(arguments: &StateArguments, socket: &Path) -> anyhow::Result<ExitCode> {
    live::print_states(&mut live::connect(socket)?, Format::of(arguments.json), arguments.verbose)?;
    Ok(ExitCode::SUCCESS)
}

pub fn drops(arguments: &FormatArguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let drops = live::connect(socket)?.drops()?;
    live::print(Format::of(arguments.json), &drops, |out, drops| live::write_drops(out, drops))?;
    Ok(ExitCode::SUCCESS)
}
