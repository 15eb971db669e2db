//! turnpike-tgen: traffic through a device under test, and what became of it.
#![forbid(unsafe_code)]

mod options;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use tgen::flow::Role;
use tgen::neighbor::Station;
use tgen::outcome::Outcome;
use tgen::ports::{Machine, Opened};
use tgen::profile::{BUILT_IN, Network, Profile};
use tgen::report::{self, thousands};
use tgen::side::Side;
use tgen::tester::Tester;

use options::{Bed, Command, Options, Run};

/// Exit code of what failed or was refused.
const FAILED: u8 = 1;
/// Exit code of a run that lost packets or connections.
const LOST: u8 = 3;

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Profiles => profiles(),
        Command::Run(run) => run_once(&run),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("turnpike-tgen: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn profiles() -> Result<ExitCode> {
    for (name, _) in BUILT_IN {
        let profile = Profile::find(name)?;
        println!("{name:<17}{} flows: {}", thousands(profile.flows.into()), profile.about);
    }
    Ok(ExitCode::SUCCESS)
}

/// A bed with its ports open.
struct Running {
    profile: Profile,
    tester: Tester,
    line: Option<f64>,
    // Behind the tester, whose queues are theirs.
    _ports: [dpdk::Port; 2],
}

fn start(bed: &Bed) -> Result<Running> {
    let profile = Profile::find(&bed.profile)?;
    let network = bed.network.as_deref().map_or_else(|| Ok(Network::built_in()), Network::read)?;
    profile.fits(&network)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends the program as it is.
        signal_hook::flag::register_conditional_default(signal, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let machine = Machine::new(&[bed.client.clone(), bed.server.clone()], &bed.lcores)?;
    let opened = [machine.open(&bed.client)?, machine.open(&bed.server)?];
    let line = bed.line_rate.or_else(|| {
        let [one, other] = &opened;
        Some(one.line?.min(other.line?))
    });
    let macs = opened.each_ref().map(|one| one.mac);
    let peers = if bed.direct {
        [Some(macs[1]), Some(macs[0])]
    } else {
        [bed.client_peer.map(|peer| peer.0), bed.server_peer.map(|peer| peer.0)]
    };
    let mut parts = Role::BOTH.into_iter().zip(opened).zip(peers);
    let mut next = || {
        let ((role, Opened { end, mac, port, .. }), peer) = parts.next().expect("two of each");
        let plan = if role == Role::Client { network.client } else { network.server };
        let station = Station::new(mac, plan, profile.family);
        (Side::new(role, end, station, peer, profile.layout()), port)
    };
    let ((client, client_port), (server, server_port)) = (next(), next());
    let settle = Duration::from_secs_f64(bed.settle);
    let Machine { lcores, clock, .. } = machine;
    let mut tester = Tester::new([client, server], lcores, clock, settle, stop);
    tester.resolve(&profile, &network)?;
    Ok(Running { profile, tester, line, _ports: [client_port, server_port] })
}

fn run_once(run: &Run) -> Result<ExitCode> {
    let mut running = start(&run.bed)?;
    let rate = run.rate.of(&running.profile, running.line)?;
    let Running { profile, tester, .. } = &mut running;
    tester.open(profile, run.bed.open_rate, &mut || ())?;
    let outcome = trial(tester, rate, run.seconds)?;
    tester.close(profile, run.bed.open_rate, &mut || ())?;
    let report = report::Trial::new(&running.profile, &outcome);
    print!("{}", report.text());
    if let Some(path) = &run.bed.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::from(LOST) })
}

/// A trial with a line of progress each second, on standard error.
fn trial(tester: &mut Tester, rate: f64, seconds: f64) -> Result<Outcome> {
    let progress = tester.progress();
    let mut looks = 0_u64;
    let mut watch = || {
        looks += 1;
        if looks.is_multiple_of(tgen::tester::LOOKS_PER_SECOND) {
            let (sent, received) = progress.totals();
            let line = format!(
                "{:>4} s  sent {}, received {}\n",
                looks / tgen::tester::LOOKS_PER_SECOND,
                thousands(sent as f64),
                thousands(received as f64)
            );
            // Whoever closed it does not want to know.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    };
    tester.trial(rate, seconds, &mut watch)
}
