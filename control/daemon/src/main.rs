//! `turnpike-control`: see the library.

use std::process::ExitCode;

use api::logging::{self, EnvFilter, Format};
use clap::Parser;
use turnpike_control::privileges;
use turnpike_control::run::run;
use turnpike_control::settings::{Overrides, Settings};

/// The control process of turnpike: compiles pf.conf, commits it to the dataplane, keeps revisions, exports metrics
#[derive(Parser)]
#[command(name = "turnpike-control", version)]
struct Arguments {
    #[command(flatten)]
    overrides: Overrides,
    /// How to log: auto (to the journal under systemd, else text), journal, text, json
    #[arg(long, value_name = "FORMAT", default_value_t, env = "TURNPIKE_LOG_FORMAT")]
    log_format: Format,
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
    logging::start(filter, arguments.log_format)?;
    privileges::give_up(&settings).map_err(|error| format!("{error:#}"))?;
    run(&settings).map_err(|error| format!("{error:#}"))
}
