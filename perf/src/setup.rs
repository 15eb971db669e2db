//! New connections: a SYN through both hooks and their rules, two states made, and later both removed.

use dpdk::Tsc;

use crate::bed::{BURST, Bed};
use crate::calibration::calibrate;
use crate::firewall::Firewall;
use crate::measure::median;
use crate::traffic::{Sender, Source, Step, Traffic};

/// Records in one stretch of the sweep: as many as a worker visits in one poll.
const SWEPT: usize = 512;

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
    /// Cycles from the rules' text to a firewall: read, lowered, compiled.
    pub compile: f64,
    /// Runs that count.
    pub runs: usize,
    /// The distance between slowest and fastest of them, as a share of the median.
    pub spread: f64,
}

/// Measures runs of making and removing `connections`. Every run starts and ends without a connection.
///
/// # Errors
/// If a connection is refused.
pub fn measure(bed: &mut Bed, rules: &str, connections: u64, runs: usize) -> anyhow::Result<Setup> {
    let source = Source::new(Traffic::Tcp4, connections);
    let begin = Tsc::now();
    let mut firewall = Firewall::new(rules, 2 * connections as u32)?;
    let compile = Tsc::now().cycles_since(begin) as f64;
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
        rules: rules.lines().count(),
        compile,
        connections,
        open: median(opened.iter().copied()),
        remove: median(removed.iter().copied()),
        runs,
        spread: range / median(total()),
    })
}

/// What one burst, or one stretch of the sweep, took for each connection.
struct Stretch {
    cycles: f64,
    calibration: u64,
}

impl Stretch {
    /// Times `work`, which returns how many connections it was about.
    fn of(work: impl FnOnce() -> anyhow::Result<f64>) -> anyhow::Result<Option<Self>> {
        let begin = Tsc::now();
        let connections = work()?;
        let cycles = Tsc::now().cycles_since(begin) as f64;
        Ok((connections > 0.0).then(|| Self { cycles: cycles / connections, calibration: calibrate() }))
    }

    /// The median of those from quiet moments.
    fn median(all: &[Self]) -> f64 {
        let quietest = all.iter().map(|stretch| stretch.calibration).min().unwrap_or(0);
        let quiet = all.iter().filter(|stretch| stretch.calibration * 10 <= quietest * 11);
        median(quiet.map(|stretch| stretch.cycles))
    }
}

/// Cycles for each connection made and removed.
fn once(bed: &mut Bed, firewall: &mut Firewall, source: &Source) -> anyhow::Result<(f64, f64)> {
    let mut opened = Vec::new();
    let mut next = 0;
    while next < source.connections() {
        let open = || firewall.open(bed, source, next, Sender::Client, Step::Open).map(|()| BURST as f64);
        opened.extend(Stretch::of(open)?);
        next += BURST as u64;
    }
    let wanted = 2 * source.connections();
    let made = u64::from(firewall.states());
    anyhow::ensure!(made == wanted, "{made} states of {} connections", source.connections());
    firewall.age();
    let mut removed = Vec::new();
    while firewall.states() > 0 {
        removed.extend(Stretch::of(|| Ok(firewall.sweep(SWEPT) as f64 / 2.0))?);
    }
    // The table has room for as many connections again: a sweep visits an empty record for each full one.
    let empty = {
        let begin = Tsc::now();
        firewall.sweep(SWEPT);
        Tsc::now().cycles_since(begin) as f64 / SWEPT as f64
    };
    Ok((Stretch::median(&opened), Stretch::median(&removed) + empty))
}
