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
#[derive(Clone, Debug)]
pub struct Setup {
    /// Rules in the ruleset.
    pub rules: usize,
    /// Median cycles for making one, the packet included.
    pub open: f64,
    /// Median cycles for removing one.
    pub remove: f64,
    /// Cycles from the rules' text to a firewall: read, lowered, compiled.
    pub compile: f64,
    /// Cycles of both, by run that counts.
    pub each: Vec<f64>,
    /// The distance between slowest and fastest of them, as a share of the median.
    pub spread: f64,
}

/// Measures runs of making and removing `connections`. Every run starts and ends without a connection.
///
/// # Errors
/// If a connection is refused.
pub fn measure(bed: &mut Bed, rules: &str, connections: u64, runs: usize) -> anyhow::Result<Setup> {
    let [found] = compare(bed, [rules], connections, runs)?;
    Ok(found)
}

/// The same with several rulesets, whose runs take turns.
///
/// # Errors
/// If a connection is refused.
pub fn compare<const N: usize>(
    bed: &mut Bed,
    rules: [&str; N],
    connections: u64,
    runs: usize,
) -> anyhow::Result<[Setup; N]> {
    let source = Source::new(Traffic::Tcp4, connections);
    let mut trials = Vec::new();
    for rules in rules {
        trials.push(Trial::new(rules, connections)?);
    }
    // The first run meets cold memory and is left out.
    for run in 0..=runs {
        for trial in &mut trials {
            let found = once(bed, &mut trial.firewall, &source)?;
            if run > 0 {
                trial.found.push(found);
            }
        }
    }
    let found: Vec<Setup> = trials.into_iter().map(Trial::end).collect();
    found.try_into().map_err(|_| anyhow::anyhow!("a ruleset was not measured"))
}

/// A firewall that makes and removes connections again and again.
struct Trial {
    firewall: Firewall,
    rules: usize,
    compile: f64,
    /// Of each run, what making and removing a connection took.
    found: Vec<[f64; 2]>,
}

impl Trial {
    fn new(rules: &str, connections: u64) -> anyhow::Result<Self> {
        let begin = Tsc::now();
        let firewall = Firewall::new(rules, 2 * connections as u32)?;
        let compile = Tsc::now().cycles_since(begin) as f64;
        Ok(Self { firewall, rules: rules.lines().count(), compile, found: Vec::new() })
    }

    fn end(self) -> Setup {
        let of = |half: usize| median(self.found.iter().map(|run| run[half]));
        let (open, remove) = (of(0), of(1));
        let each: Vec<f64> = self.found.iter().map(|[open, remove]| open + remove).collect();
        let range =
            each.iter().copied().fold(0.0, f64::max) - each.iter().copied().fold(f64::INFINITY, f64::min);
        let spread = range / median(each.iter().copied());
        Setup { rules: self.rules, open, remove, compile: self.compile, each, spread }
    }
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
fn once(bed: &mut Bed, firewall: &mut Firewall, source: &Source) -> anyhow::Result<[f64; 2]> {
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
    Ok([Stretch::median(&opened), Stretch::median(&removed) + empty])
}
