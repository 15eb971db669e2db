//! `instructions`: counts what the packet path executes, under callgrind, and compares with budget.toml.
//!
//! Overview: without arguments it runs itself under valgrind, once for each scenario of the budget, and says which exceed
//! it; with a scenario it makes what that needs, and then does the work of which instructions are counted, in
//! `collected`. Counts do not depend on the machine's speed nor on what else it does, and hardly on its kind: the
//! same code in memory, no DPDK environment, no clock.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use perf::budget::{Budget, Ceiling};
use perf::instructions as work;

/// Counts instructions of the packet path under callgrind, and compares with the budget.
#[derive(Debug, Parser)]
struct Arguments {
    /// Ceilings.
    #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml"))]
    budget: PathBuf,
    /// Does the work of this scenario, which is what is counted.
    #[arg(long, value_name = "NAME")]
    scenario: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(scenario) = &arguments.scenario {
        work::run(scenario)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut kept = true;
    for ceiling in Budget::read(&arguments.budget)?.instructions {
        let count = count(&ceiling).with_context(|| ceiling.scenario.clone())?;
        let verdict = if count <= ceiling.at_most { "kept" } else { "EXCEEDED" };
        println!("{:16} {count:8.1} of {:6.0}  {verdict}", ceiling.scenario, ceiling.at_most);
        kept &= count <= ceiling.at_most;
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Instructions for each packet or connection of a scenario.
fn count(ceiling: &Ceiling) -> anyhow::Result<f64> {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={}", work::COLLECTED))
        .arg(std::env::current_exe()?)
        .args(["--scenario", &ceiling.scenario])
        .stdout(Stdio::null())
        .output()
        .context("valgrind does not start; install it (apt-get install valgrind)")?;
    let text = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{text}");
    let Some(figure) = text.split("Collected : ").nth(1).and_then(|rest| rest.split_whitespace().next())
    else {
        bail!("callgrind does not say what it collected: {text}");
    };
    let count: f64 = figure.parse().context("callgrind's count is no number")?;
    ensure!(count > 0.0, "callgrind has collected nothing: it does not know {}", work::COLLECTED);
    Ok(count / work::UNITS as f64)
}
