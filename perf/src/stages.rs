//! What is measured of whole workers, and how it becomes rows.

use crate::bed::Bed;
use crate::floor::RxTx;
use crate::measure::{self, Effort, UNEQUAL, Work, median, spread};
use crate::pair::{Handover, Pair, Scaling};
use crate::report::{Histogram, Report, Row, rounded};
use crate::traffic::{Source, TRANSLATING, Traffic};
use crate::whole::{self, Forwarding, RingIo};

/// Everything that passes.
pub(crate) const PASS: &str = "block\npass\n";
/// The same, with a copy of every packet to a span port.
pub(crate) const PASS_AND_COPY: &str = "block\npass\npass out on em1 dup-to @span0\n";
/// Connections whose packets meet a reload.
const RELOAD_CONNECTIONS: u64 = 100_000;
/// Rules that are reloaded.
const RELOAD_RULES: usize = 10_000;

const TRAFFIC: Traffic = Traffic::Tcp4;

fn row(name: &str, flows: u64, values: &[f64]) -> Row {
    Row {
        name: name.to_owned(),
        proto: TRAFFIC.name().to_owned(),
        flows,
        cycles: rounded(median(values.iter().copied()), 1),
        pairs: values.len(),
        spread: rounded(spread(values).abs(), 3),
        ..Row::default()
    }
}

/// A worker as it is, with copies for a span port, and how long its bursts take.
///
/// # Errors
/// If packets are lost.
pub fn workers(
    bed: &mut Bed,
    connections: u64,
    effort: Effort,
    bursts: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let source = || Source::new(TRAFFIC, connections);
    let mut rx_tx = RxTx::new(connections);
    let mut rings = RingIo::new(bed, source())?;
    let mut plain = Forwarding::new(bed, "worker", PASS, source())?;
    let mut copying = Forwarding::new(bed, "dup_to", PASS_AND_COPY, source())?;
    let mut translating = Forwarding::new(bed, "translation", TRANSLATING, source().translated())?;
    let works: &mut [&mut dyn Work] =
        &mut [&mut rx_tx, &mut rings, &mut plain, &mut copying, &mut translating];
    let found = measure::compare(bed, works, effort)?;
    let rings = rounded(found.cycles("ring_rx_tx").unwrap_or_default(), 1);
    let ratio = |name| rounded(found.ratio(name, "worker").unwrap_or_default(), 3);
    let row =
        |name| Row::of(&found, name, name, TRAFFIC.name(), connections).with("ring_rx_tx_cycles", rings);
    report.rows.push(row("worker"));
    for name in ["dup_to", "translation"] {
        report.rows.push(row(name).with("ratio_to_without", ratio(name)));
    }
    drop((copying, translating));
    latency(&mut plain, connections, bursts, report)
}

fn latency(
    plain: &mut Forwarding,
    connections: u64,
    bursts: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let found = whole::latency(plain, bursts)?;
    let share = |values: &[u64], share: f64| values[((values.len() - 1) as f64 * share) as usize] as f64;
    let mut own = Row {
        name: "burst_latency".to_owned(),
        proto: TRAFFIC.name().to_owned(),
        flows: connections,
        cycles: share(&found.bursts, 0.5),
        pairs: found.bursts.len(),
        spread: rounded(
            (share(&found.bursts, 0.75) - share(&found.bursts, 0.25)) / share(&found.bursts, 0.5),
            3,
        ),
        ..Row::default()
    };
    for (name, at) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)] {
        own = own
            .with(&format!("{name}_cycles"), share(&found.bursts, at))
            .with(&format!("machine_{name}_cycles"), share(&found.machine, at));
    }
    report.rows.push(own);
    report.histograms.push(Histogram::of("burst_latency", &found.bursts));
    report.histograms.push(Histogram::of("burst_latency_machine", &found.machine));
    Ok(())
}

/// What two workers do on two CPUs.
///
/// # Errors
/// If packets are lost.
pub fn pair(bed: &mut Bed, connections: u64, effort: Effort, report: &mut Report) -> anyhow::Result<()> {
    let Some(lcore) = bed.take_lcore() else { return Ok(()) };
    let mut pair = Pair::new(bed, lcore, TRAFFIC, connections)?;
    let handed = rounds(
        effort,
        || pair.hand_over(effort),
        |round: &Handover| {
            [round.direct, round.giving, round.taking].map(|sample| sample.calibration).to_vec()
        },
    )?;
    let of = |value: fn(&Handover) -> f64| handed.iter().map(value).collect::<Vec<_>>();
    let middle = |value| rounded(median(of(value).into_iter()), 1);
    report.rows.push(
        row("handoff", connections, &of(Handover::beyond))
            .with("direct_cycles", middle(|round| round.direct.cycles))
            .with("giving_cycles", middle(|round| round.giving.cycles))
            .with("taking_cycles", middle(|round| round.taking.cycles)),
    );
    let scaled = rounds(
        effort,
        || pair.scale(effort),
        |round: &Scaling| {
            round.alone.iter().chain(&round.together).map(|sample| sample.calibration).collect()
        },
    )?;
    let mean = |samples: &[measure::Sample; 2]| (samples[0].cycles + samples[1].cycles) / 2.0;
    let quotient = |value: fn(&measure::Sample) -> f64| {
        let of = |round: &Scaling| {
            let pairs = round.alone.iter().zip(&round.together);
            pairs.map(|(alone, together)| value(alone) / value(together)).sum::<f64>() / 2.0
        };
        rounded(median(scaled.iter().map(of)), 3)
    };
    let alone: Vec<f64> = scaled.iter().map(|round| mean(&round.alone)).collect();
    let together: Vec<f64> = scaled.iter().map(|round| mean(&round.together)).collect();
    report.rows.push(row("scaling", connections, &alone).with("workers", 1.0));
    report.rows.push(
        row("scaling", connections, &together)
            .with("workers", 2.0)
            .with("efficiency", quotient(|sample| sample.cycles))
            .with("machine_efficiency", quotient(|sample| sample.calibration)),
    );
    pair.end()
}

/// So many rounds from quiet moments. On CPUs that are halves of one core there are none when both work: then all count,
/// and the calibrations tell.
fn rounds<T>(
    effort: Effort,
    mut round: impl FnMut() -> anyhow::Result<T>,
    calibrations: impl Fn(&T) -> Vec<f64>,
) -> anyhow::Result<Vec<T>> {
    let (mut quiet, mut noisy) = (Vec::new(), Vec::new());
    while quiet.len() < effort.rounds && noisy.len() < 3 * effort.rounds {
        let found = round()?;
        let around = calibrations(&found);
        let least = around.iter().copied().fold(f64::INFINITY, f64::min);
        let most = around.iter().copied().fold(0.0, f64::max);
        if most <= least * UNEQUAL { quiet.push(found) } else { noisy.push(found) }
    }
    if quiet.len() < 3 {
        quiet.append(&mut noisy);
    }
    Ok(quiet)
}

/// What reloads cost a worker.
///
/// # Errors
/// If packets are lost.
pub fn reload(bed: &Bed, reloads: usize, report: &mut Report) -> anyhow::Result<()> {
    let source = Source::new(TRAFFIC, RELOAD_CONNECTIONS);
    let found = whole::reload(bed, source, RELOAD_RULES, reloads)?;
    let micros = |cycles: f64| rounded(cycles / bed.clock().hz() as f64 * 1e6, 2);
    let middle = |values: &[f64]| median(values.iter().copied());
    report.rows.push(
        row("reload", RELOAD_CONNECTIONS, &found.pauses)
            .with("rules", RELOAD_RULES as f64)
            .with("pause_us", micros(middle(&found.pauses)))
            .with("pause_max_us", micros(found.pauses.iter().copied().fold(0.0, f64::max)))
            .with("after_us", micros(middle(&found.after)))
            .with("compile_ms", rounded(micros(middle(&found.compiling)) / 1e3, 1))
            .with("lost", found.lost as f64),
    );
    Ok(())
}
