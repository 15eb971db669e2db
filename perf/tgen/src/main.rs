//! turnpike-tgen: traffic through a device under test, and what became of it.
#![forbid(unsafe_code)]

mod bed;
mod options;
mod searches;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use tgen::export;
use tgen::profile::{BUILT_IN, Network, Profile};
use tgen::report::{self, thousands};

use options::{Command, Export, Options, Run};

/// Exit code of what failed or was refused.
const FAILED: u8 = 1;
/// Exit code of a run that lost packets or connections.
const LOST: u8 = 3;

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Profiles => profiles().map(|()| ExitCode::SUCCESS),
        Command::Export(wanted) => export(&wanted).map(|()| ExitCode::SUCCESS),
        Command::Run(run) => run_once(&run),
        Command::Throughput(wanted) => searches::throughput(&wanted).map(|()| ExitCode::SUCCESS),
        Command::Mlr(wanted) => searches::mlr(&wanted).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("turnpike-tgen: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn profiles() -> Result<()> {
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name)?;
        println!("{name:<17}{} flows: {}", thousands(profile.flows.into()), profile.about);
    }
    Ok(())
}

fn export(wanted: &Export) -> Result<()> {
    let profile = Profile::find(&wanted.profile)?;
    let network = wanted.network.as_deref().map_or_else(|| Ok(Network::built_in()), Network::read)?;
    profile.fits(&network)?;
    for export::File { path, text } in export::files(&profile, &network) {
        let path = wanted.folder.join(path);
        let failed = || format!("cannot write {}", path.display());
        path.parent().map_or(Ok(()), std::fs::create_dir_all).with_context(failed)?;
        std::fs::write(&path, text).with_context(failed)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn run_once(run: &Run) -> Result<ExitCode> {
    let mut running = bed::start(&run.bed)?;
    let rate = run.rate.of(&running.profile, running.line)?;
    bed::open(&mut running)?;
    let outcome = bed::trial(&mut running.tester, rate, run.seconds)?;
    bed::close(&mut running)?;
    let report = report::Trial::new(&running.profile, &outcome);
    print!("{}", report.text());
    bed::write_json(run.bed.json.as_deref(), &report)?;
    Ok(if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(LOST) })
}
