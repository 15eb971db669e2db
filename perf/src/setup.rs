//! New connections: a SYN through both hooks and their rules, two states made, and later both removed.

use dpdk::Tsc;

use crate::bed::{BURST, Bed};
use crate::calibration::calibrate;
use crate::firewall::Firewall;
use crate::measure::median;
use crate::rules::rules;
use crate::traffic::{Sender, Source, Step, Traffic};

/// What a new connection costs.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Rules in the ruleset.
    pub rules: usize,
    /// Connections made in one run.
    pub connections: u64,
    /// Median cycles for making one, the packet included.
    pub open: f64,
    /// Median cycles for removing one.
    pub remove: f64,
    /// Runs that count.
    pub runs: usize,
    /// The distance between slowest and fastest of them, as a share of the median.
    pub spread: f64,
}

/// Measures runs of making and removing `connections`. Every run starts and ends without a connection.
///
/// # Errors
/// If a connection is refused.
pub fn measure(bed: &mut Bed, rule_count: usize, connections: u64, runs: usize) -> anyhow::Result<Setup> {
    let source = Source::new(Traffic::Tcp4, connections);
    let mut firewall = Firewall::new(&rules(rule_count), 2 * connections as u32)?;
    let (mut opened, mut removed) = (Vec::new(), Vec::new());
    // The first run meets cold memory and is left out.
    for run in 0..=runs {
        let (open, remove) = once(bed, &mut firewall, &source)?;
        if run > 0 {
            opened.push(open);
            removed.push(remove);
        }
    }
    let total = || opened.iter().zip(&removed).map(|(open, remove)| open + remove);
    let range = total().fold(0.0, f64::max) - total().fold(f64::INFINITY, f64::min);
    Ok(Setup {
        rules: rule_count,
        connections,
        open: median(opened.iter().copied()),
        remove: median(removed.iter().copied()),
        runs,
        spread: range / median(total()),
    })
}

/// Cycles for each connection made and removed. A burst is believed if the machine was as fast as it can be: of all
/// bursts the median counts, so that an interruption does not.
fn once(bed: &mut Bed, firewall: &mut Firewall, source: &Source) -> anyhow::Result<(f64, f64)> {
    let mut bursts = Vec::new();
    let mut next = 0;
    while next < source.connections() {
        let begin = Tsc::now();
        firewall.open(bed, source, next, Sender::Client, Step::Open)?;
        let cycles = Tsc::now().cycles_since(begin) as f64 / BURST as f64;
        bursts.push((calibrate(), cycles));
        next += BURST as u64;
    }
    let quietest = bursts.iter().map(|(calibration, _)| *calibration).min().unwrap_or(0);
    let quiet = bursts.iter().filter(|(calibration, _)| *calibration * 10 <= quietest * 11);
    let open = median(quiet.map(|(_, cycles)| *cycles));
    anyhow::ensure!(
        u64::from(firewall.states()) == 2 * source.connections(),
        "{} states of {} connections",
        firewall.states(),
        source.connections()
    );
    let begin = Tsc::now();
    firewall.forget();
    let remove = Tsc::now().cycles_since(begin) as f64 / source.connections() as f64;
    Ok((open, remove))
}
