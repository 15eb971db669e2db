//! turnpike-dataplane: owns the ports, the states and the path of every packet.
#![deny(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the shell has clocks and threads; the engine has none")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use api::logging::{self, EnvFilter, Format};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::level_filters::LevelFilter;
use worker::config::Config;
use worker::dataplane::{Dataplane, End};
use worker::verbosity;

/// Tables of connections are reserved at the start, take memory as they fill, and live in huge pages.
#[global_allocator]
static MEMORY: dpdk::HugePages = dpdk::HugePages;

/// Exit code of a start that was refused or failed.
const FAILED: u8 = 1;
/// Exit code of a stop that left packets or buffers unaccounted for.
const UNACCOUNTED: u8 = 3;

/// The dataplane of the Turnpike firewall: DPDK ports, states, and the path of every packet.
///
/// Forwards nothing until a ruleset is committed (tpctl apply), and nothing after it has ended. SIGTERM and SIGINT stop it.
/// Exit codes: 0 stopped, 1 refused or failed, 2 usage, 3 stopped with packets or buffers unaccounted for.
#[derive(Debug, Parser)]
#[command(version, name = "turnpike-dataplane")]
struct Options {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/turnpike/turnpike.toml")]
    config: PathBuf,
    /// The socket for tpctl and control. The counters are in a file beside it.
    #[arg(long, value_name = "PATH", default_value = "/run/turnpike/dataplane.sock")]
    socket: PathBuf,
    /// Check the configuration, and do nothing else.
    #[arg(long)]
    check: bool,
    /// What to log: error, warn, info, debug, or a filter by module.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "TURNPIKE_LOG")]
    log: EnvFilter,
    /// How to log: auto (to the journal under systemd, else text), journal, text, json.
    #[arg(long, value_name = "FORMAT", default_value_t, env = "TURNPIKE_LOG_FORMAT")]
    log_format: Format,
}

fn main() -> ExitCode {
    let Options { config, socket, check, log, log_format } = Options::parse();
    let level = log.to_string();
    let logging = logging::start_adjustable(log, log_format).map_err(|why| anyhow!(why));
    let adjustable = logging.map(|filter| {
        let change =
            move |level: LevelFilter| filter.reload(EnvFilter::default().add_directive(level.into()));
        verbosity::install(&level, move |level| change(level).is_ok());
    });
    match adjustable.and_then(|()| run(&config, &socket, check)) {
        Ok(End::Clean) => ExitCode::SUCCESS,
        Ok(End::Unaccounted) => ExitCode::from(UNACCOUNTED),
        Err(error) => {
            eprintln!("turnpike-dataplane: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(config: &std::path::Path, socket: &std::path::Path, check: bool) -> Result<End> {
    let config = Config::read(config)?;
    if check {
        return Ok(End::Clean);
    }
    // Caught from here on, so that a start that is interrupted is undone as well.
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let mut dataplane = Dataplane::start(&config, socket)?;
    dataplane.mind(|| signals.pending().next().is_some())?;
    tracing::info!("stopping");
    Ok(dataplane.stop())
}
