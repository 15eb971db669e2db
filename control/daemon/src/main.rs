//! `turnpike-control`: see the library.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use turnpike_control::privileges;
use turnpike_control::run::run;
use turnpike_control::settings::{Overrides, Settings};

/// The control process of turnpike: compiles pf.conf, commits it to the dataplane, keeps revisions, exports metrics
#[derive(Parser)]
#[command(name = "turnpike-control", version)]
struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
}

fn main() -> ExitCode {
    match start(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("turnpike-control: {why}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<(), String> {
    let settings = Settings::read(&arguments.overrides)?;
    let filter = EnvFilter::try_new(&settings.log)
        .map_err(|error| format!("[control] log = {:?} is not a log filter: {error}", settings.log))?;
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        .init();
    privileges::give_up(&settings).map_err(|error| format!("{error:#}"))?;
    run(&settings).map_err(|error| format!("{error:#}"))
}
