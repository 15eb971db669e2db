//! `tpctl`: the operator's command line. Called as `pfctl`, it answers as `tpctl pfctl` does.
//!
//! One module per verb; each has its arguments as a clap struct and a `run` that returns the exit code: 0 done,
//! 1 refused or failed, 2 usage.
#![forbid(unsafe_code)]

mod check;
mod machine;
mod pfctl;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "tpctl", version, about = "Check, load and look at the rules of a Turnpike firewall")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check a ruleset: everything that would keep it from being loaded
    Check(check::Arguments),
    /// Answer as pfctl(8) does: the same flags, texts and exit codes
    Pfctl(pfctl::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments(std::env::args_os().collect()));
    let outcome = match &cli.verb {
        Verb::Check(arguments) => check::run(arguments),
        Verb::Pfctl(arguments) => pfctl::run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        let program = if matches!(cli.verb, Verb::Pfctl(_)) { "pfctl" } else { "tpctl" };
        eprintln!("{program}: {error:#}");
        ExitCode::FAILURE
    })
}

/// Under the name of pfctl, every argument is pfctl's.
fn arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    let name = given.first().and_then(|program| Path::new(program).file_name());
    if name.is_some_and(|name| name == "pfctl") {
        given.splice(0..1, ["tpctl".into(), "pfctl".into()]);
    }
    given
}
