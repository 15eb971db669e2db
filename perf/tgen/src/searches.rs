//! Searches on a bed.

use anyhow::{Context, Result, ensure};
use tgen::outcome::Outcome;
use tgen::report::{self, thousands};
use tgen::search::{Measured, Range, Trials, mlr, throughput};

use crate::bed::{self, Running};
use crate::options::{Bounds, Mlr, Throughput};

/// What the tester itself may leave out of a trial before the trial says nothing about the device.
const MAY_LEAVE_OUT: f64 = 0.005;

/// Trials on a bed, told as they are made.
struct OnBed<'a>(&'a mut Running);

impl Trials for OnBed<'_> {
    fn measure(&mut self, load: f64, seconds: f64) -> Result<Option<Measured>> {
        let outcome = bed::trial(&mut self.0.tester, load, seconds)?;
        if outcome.interrupted {
            return Ok(None);
        }
        let measured = judge(&outcome, load, seconds);
        eprintln!(
            "trial: {} {} for {seconds:.1} s: {:.4} % lost{}",
            thousands(load),
            self.0.profile.unit(),
            100.0 * measured.loss_ratio,
            if measured.tester_limited { ", by the tester itself too" } else { "" }
        );
        Ok(Some(measured))
    }
}

/// What a trial says. What the tester left out counts as lost, if it is more than a little: a rate that was not sent was
/// not taken.
fn judge(outcome: &Outcome, load: f64, seconds: f64) -> Measured {
    let (offered, lost) = match outcome.connections() {
        Some(opening) => (opening.opened, opening.failed),
        None => (outcome.sent(), outcome.lost()),
    };
    let planned = (offered + outcome.left_out()).max(1) as f64;
    let left_out = outcome.left_out() as f64 / planned;
    let tester_limited = left_out > MAY_LEAVE_OUT;
    let lost = lost as f64 / offered.max(1) as f64;
    let loss_ratio = if tester_limited { lost + (1.0 - lost) * left_out } else { lost };
    Measured { load, seconds, loss_ratio, tester_limited }
}

fn range(running: &Running, bounds: &Bounds) -> Result<Range> {
    let rate = |rate: &tgen::rate::Rate| rate.of(&running.profile, running.line);
    let max = rate(&bounds.max_rate).context("--max-rate")?;
    let min = rate(&bounds.min_rate).context("--min-rate")?;
    ensure!(min < max, "--min-rate {min} is not below --max-rate {max}");
    Ok(Range { min, max })
}

/// `turnpike-tgen throughput`.
pub fn throughput(wanted: &Throughput) -> Result<()> {
    let mut running = bed::start(&wanted.bed)?;
    let range = range(&running, &wanted.bounds)?;
    let goal = throughput::Goal { range, width: wanted.precision / 100.0, seconds: wanted.seconds };
    bed::open(&mut running)?;
    let found = throughput::search(&goal, &mut OnBed(&mut running))?;
    bed::close(&mut running)?;
    print!("{}", report::throughput(&found, &running.profile, running.line));
    bed::write_json(wanted.bed.json.as_deref(), &report::Named::new(&running.profile, found))
}

/// `turnpike-tgen mlr`.
pub fn mlr(wanted: &Mlr) -> Result<()> {
    ensure!((0.0..100.0).contains(&wanted.exceed), "--exceed {}: from 0 to below 100", wanted.exceed);
    ensure!(wanted.initial <= wanted.seconds, "--initial: the first trials are the shortest");
    ensure!(wanted.loss.iter().all(|loss| (0.0..100.0).contains(loss)), "--loss: from 0 to below 100");
    let goals: Vec<mlr::Goal> = wanted
        .loss
        .iter()
        .map(|loss| mlr::Goal {
            loss_ratio: loss / 100.0,
            exceed_ratio: wanted.exceed / 100.0,
            initial_seconds: wanted.initial,
            final_seconds: wanted.seconds,
            sum_seconds: wanted.sum,
            width: wanted.precision / 100.0,
        })
        .collect();
    let mut running = bed::start(&wanted.bed)?;
    let range = range(&running, &wanted.bounds)?;
    bed::open(&mut running)?;
    let found = mlr::search(&goals, &range, &mut OnBed(&mut running))?;
    bed::close(&mut running)?;
    print!("{}", report::mlr(&found, &running.profile, running.line));
    bed::write_json(wanted.bed.json.as_deref(), &report::Named::new(&running.profile, found))
}

#[cfg(test)]
mod tests {
    use tgen::outcome::{Opening, Outcome, Tally};

    use super::judge;

    fn outcome(sent: u64, received: u64, left_out: u64) -> Outcome {
        let end = Tally { sent, received, left_out, ..Tally::new() };
        Outcome { seconds: 1.0, rate: 1.0, ends: [end.clone(), end], interrupted: false }
    }

    #[test]
    fn a_tester_that_cannot_keep_up_is_no_proof_of_the_device() {
        let clean = judge(&outcome(1_000, 1_000, 4), 1.0, 1.0);
        assert_eq!((clean.loss_ratio, clean.tester_limited), (0.0, false), "a little is no matter");
        let slow = judge(&outcome(900, 900, 100), 1.0, 1.0);
        assert!(slow.tester_limited && (slow.loss_ratio - 0.1).abs() < 1e-9);
        let lossy = judge(&outcome(1_000, 990, 0), 1.0, 1.0);
        assert!(!lossy.tester_limited && (lossy.loss_ratio - 0.01).abs() < 1e-9);
    }

    #[test]
    fn connections_are_judged_by_those_that_were_completed() {
        let mut outcome = outcome(6_000, 5_999, 0);
        outcome.ends[0].connections =
            Some(Opening { opened: 1_000, established: 999, completed: 998, failed: 2, ..Opening::new() });
        assert_eq!(judge(&outcome, 1.0, 1.0).loss_ratio, 0.002);
    }
}
