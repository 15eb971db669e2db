//! `sim --pcap-dir FOLDER`: sends every capture below a folder through a simulated firewall, under several rulesets and by one
//! worker and three, and tells what became of its frames. It panics if one of them is not accounted for.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use ruleset::Reason;
use sim::firewall::Ledger;
use sim::playback::{RULES, Recording, files_below};

/// One, and several behind one another's hand-off.
const WORKERS: [u16; 2] = [1, 3];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [option, folder] = &arguments[..] else { return usage() };
    if option != "--pcap-dir" {
        return usage();
    }
    match play(Path::new(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sim: {folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: sim --pcap-dir FOLDER");
    ExitCode::from(2)
}

fn play(folder: &Path) -> std::io::Result<()> {
    let (mut captures, mut others, mut frames) = (0, 0, 0);
    let (mut sum, mut drops) = (Ledger::default(), BTreeMap::<Reason, u64>::new());
    for path in files_below(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path).display();
        let read = File::open(&path).map_err(|error| error.to_string()).and_then(Recording::read);
        let recording = match read {
            Ok(recording) => recording,
            Err(why) => {
                println!("{name}: {why}");
                others += 1;
                continue;
            }
        };
        captures += 1;
        // Before it is played: whoever sees a panic sees what with.
        print!("{name}: {} frames", recording.frames.len());
        if let Some(link) = recording.unknown {
            print!(", read as those of Ethernet: links of type {link} are not known");
        }
        if let Some(fault) = &recording.fault {
            print!(", damaged {fault}");
        }
        println!();
        frames += recording.frames.len();
        for (rules, workers) in RULES.iter().flat_map(|rules| WORKERS.map(|workers| (rules, workers))) {
            let account = recording.play(rules, workers);
            sum.received += account.ledger.received;
            sum.transmitted += account.ledger.transmitted;
            sum.to_host += account.ledger.to_host;
            for (reason, count) in account.drops {
                *drops.entry(reason).or_default() += count;
            }
        }
    }
    println!("{captures} captures and {others} other files, of {frames} frames");
    let (rulesets, received) = (RULES.len(), sum.received);
    println!("under {rulesets} rulesets, by one worker and by three: {received} frames, all accounted for");
    println!("  {:<16} {:>12}", "sent on", sum.transmitted);
    println!("  {:<16} {:>12}", "for the host", sum.to_host);
    println!("dropped:");
    for (reason, count) in drops {
        println!("  {:<16} {count:>12}", reason.name());
    }
    Ok(())
}
