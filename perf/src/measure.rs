//! How long work takes, on a machine that others use as well.
//!
//! Overview: work is done in slices of a few bursts, with a calibration before and after each. Slices from noisy moments
//! are left out, and the median of the others is a sample. Samples of all the works to compare are taken in turn, a round
//! at a time; a round in which the machine's speed changed is discarded. What is reported are medians over rounds.

use dpdk::Tsc;

use crate::bed::{BURST, Bed};
use crate::calibration::calibrate;
use crate::flows::Choice;

/// Something that is done to packets.
pub trait Work {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Spreads packets over connections in another way from now on.
    fn set_choice(&mut self, choice: Choice);

    /// Receives, works on and sends one burst.
    fn burst(&mut self, bed: &mut Bed);

    /// Whether it did to every packet what it should have done.
    ///
    /// # Errors
    /// What went wrong.
    fn verdict(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Does a slice of work, and returns the cycles that count of it. A method, so that it is compiled together with its
    /// work.
    fn slice(&mut self, bed: &mut Bed) -> u64 {
        let begin = Tsc::now();
        for _ in 0..BURSTS_PER_SLICE {
            self.burst(bed);
        }
        Tsc::now().cycles_since(begin)
    }
}

/// Times slices of work.
pub fn slices(count: usize, mut slice: impl FnMut() -> u64) -> Vec<Slice> {
    let mut slices = Vec::with_capacity(count);
    let mut before = calibrate();
    for _ in 0..count {
        let cycles = slice();
        let after = calibrate();
        slices.push(Slice { cycles, calibration: before.max(after) });
        before = after;
    }
    slices
}

/// Bursts in one slice.
pub const BURSTS_PER_SLICE: usize = 8;

/// Packets in one slice.
pub const SLICE_PACKETS: usize = BURST * BURSTS_PER_SLICE;

/// Calibrations of one sample that lie this far above the fastest are from a noisy moment.
const NOISY: f64 = 1.10;

/// A round is discarded if the calibrations of its samples differ by more.
pub const UNEQUAL: f64 = 1.10;

/// Some bursts' time.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    cycles: u64,
    calibration: u64,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds to keep.
    pub rounds: usize,
    /// Slices in a sample.
    pub slices: usize,
    /// Slices before a sample that are not counted, so that what the others left in the caches goes.
    pub warm_up: usize,
}

/// What some slices say.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Cycles per packet.
    pub cycles: f64,
    /// Cycles of a calibration beside them.
    pub calibration: f64,
}

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct Comparison {
    names: Vec<&'static str>,
    /// By round, by work.
    rounds: Vec<Vec<Sample>>,
    /// Rounds that were discarded.
    pub discarded: usize,
}

/// Compares works in turn.
///
/// # Errors
/// What a work did wrong, or that the machine is too noisy to measure anything.
pub fn compare(bed: &mut Bed, works: &mut [&mut dyn Work], effort: Effort) -> anyhow::Result<Comparison> {
    let names = works.iter().map(|work| work.name()).collect();
    let mut comparison = Comparison { names, rounds: Vec::new(), discarded: 0 };
    while comparison.rounds.len() < effort.rounds {
        let round: Vec<Sample> = works.iter_mut().map(|work| sample(bed, *work, effort)).collect();
        if spread_of(round.iter().map(|sample| sample.calibration)) <= UNEQUAL {
            comparison.rounds.push(round);
        } else {
            comparison.discarded += 1;
        }
        anyhow::ensure!(
            comparison.discarded < 10 * effort.rounds,
            "the machine's speed changes all the time; stop what else runs on it"
        );
    }
    for work in works {
        work.verdict()?;
    }
    Ok(comparison)
}

fn spread_of(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    values.fold(0.0, f64::max) / least
}

fn sample(bed: &mut Bed, work: &mut dyn Work, effort: Effort) -> Sample {
    (0..effort.warm_up).for_each(|_| _ = work.slice(bed));
    Sample::of(&slices(effort.slices, || work.slice(bed)))
}

impl Sample {
    /// The median of the slices from quiet moments.
    pub fn of(slices: &[Slice]) -> Self {
        let quietest = slices.iter().map(|slice| slice.calibration).min().unwrap_or(0) as f64;
        let quiet: Vec<&Slice> =
            slices.iter().filter(|slice| slice.calibration as f64 <= quietest * NOISY).collect();
        let packets = SLICE_PACKETS as f64;
        Sample {
            cycles: median(quiet.iter().map(|slice| slice.cycles as f64 / packets)),
            calibration: median(quiet.iter().map(|slice| slice.calibration as f64)),
        }
    }
}

/// The value in the middle; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The distance between the quartiles, as a share of the median.
pub fn spread(values: &[f64]) -> f64 {
    let quartile = |share| quantile(values.iter().copied(), share);
    (quartile(0.75) - quartile(0.25)) / quartile(0.5)
}

/// The value below which this share of the others lies; 0 of none.
pub fn quantile(values: impl Iterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1)) as f64 * share;
    values.get(at.round() as usize).copied().unwrap_or(0.0)
}

impl Comparison {
    /// How many rounds were kept.
    pub fn pairs(&self) -> usize {
        self.rounds.len()
    }

    fn column(&self, name: &str) -> Option<impl Iterator<Item = f64>> {
        let at = self.names.iter().position(|own| *own == name)?;
        Some(self.rounds.iter().map(move |round| round[at].cycles))
    }

    /// Median cycles per packet of a work.
    pub fn cycles(&self, name: &str) -> Option<f64> {
        self.column(name).map(median)
    }

    /// Median over rounds of one work's cycles divided by another's.
    pub fn ratio(&self, name: &str, reference: &str) -> Option<f64> {
        let pairs = self.column(name)?.zip(self.column(reference)?);
        Some(median(pairs.map(|(own, other)| own / other)))
    }

    /// The spread of a work's cycles.
    pub fn spread(&self, name: &str) -> Option<f64> {
        Some(spread(&self.column(name)?.collect::<Vec<_>>()))
    }
}
