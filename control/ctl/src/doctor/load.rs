//! What counters of interfaces and workers tell: too much work, unevenly shared; offload that nobody completes; filtering that
//! is off.

use api::{Filtering, InterfaceStatus, WorkerStatus};

use super::Finding;
use super::snapshot::{Chart, Snapshot};

/// A worker that works for so much of the time has none left, in percent.
const BUSY: u64 = 95;

/// A worker with so much more to do than the average of the others has too large a share, times.
const SKEW: u64 = 4;

/// Workers that have less to do share as they like, in percent.
const IDLE: u64 = 50;

/// The shortest time that says something of load.
const LEAST_NS: u64 = 100_000_000;

pub fn check(chart: &Chart<'_>) -> Vec<Finding> {
    let snapshot = chart.snapshot;
    let mut findings = filtering(snapshot);
    findings.extend(checksums(snapshot));
    findings.extend(workers(snapshot));
    findings.extend(queues(snapshot));
    findings.extend(answers(snapshot));
    findings
}

fn filtering(snapshot: &Snapshot) -> Vec<Finding> {
    let status = &snapshot.status;
    let (check, what, cure) = match (status.generation, status.filtering) {
        (0, _) => ("no-rules", "no ruleset is live: nothing is forwarded", "load one: tpctl apply FILE"),
        (_, Filtering::Off) => {
            ("filtering-off", "filtering is off: every packet passes", "switch it on: tpctl pfctl -e")
        }
        (_, Filtering::On) => return Vec::new(),
    };
    vec![Finding::new(check, what.to_owned()).cure(cure.to_owned())]
}

/// Senders that leave checksums to a network card that is none.
fn checksums(snapshot: &Snapshot) -> Vec<Finding> {
    let partial = |interface: &&InterfaceStatus| interface.partial_checksums > 0;
    let told = snapshot.status.interfaces.iter().filter(partial).map(|interface| {
        let name = &interface.name;
        Finding::new("offload", format!("packets come by {name} whose checksums nobody has completed"))
            .evidence(format!(
                "{} of those that made states or were refused since the start",
                interface.partial_checksums
            ))
            .evidence("they are passed on as they are, and their receivers drop them".to_owned())
            .cure(format!(
                "switch the offload off where they are sent, in the virtual machine or on the other end of {}: ethtool -K INTERFACE \
                 tx off",
                interface.device
            ))
    });
    told.collect()
}

/// Senders that are refused more often than a station is told.
fn answers(snapshot: &Snapshot) -> Option<Finding> {
    let sum = |workers: &[WorkerStatus]| workers.iter().map(|worker| worker.withheld).sum::<u64>();
    let (now, before) = (sum(&snapshot.status.workers), sum(&snapshot.before.workers));
    let withheld = now.checked_sub(before).filter(|withheld| *withheld > 0)?;
    let what = format!("{withheld} refusals were not answered just now: their senders had got enough");
    let finding = Finding::new("answers-withheld", what).evidence(
        "a station gets about 200 RSTs and ICMP errors a second, and the rest as silence".to_owned(),
    );
    Some(
        finding.cure(
            "see who is refused so often, and why: tpctl drops; `block drop` answers nobody".to_owned(),
        ),
    )
}

/// Percent of the time between both readings that each worker worked.
fn shares(snapshot: &Snapshot) -> Vec<(u16, u16, u64)> {
    let pairs = snapshot.status.workers.iter().zip(&snapshot.before.workers);
    let share = |(now, before): (&WorkerStatus, &WorkerStatus)| {
        let busy = now.busy_ns.saturating_sub(before.busy_ns);
        let all = busy + now.idle_ns.saturating_sub(before.idle_ns);
        (all >= LEAST_NS).then(|| (now.worker, now.cpu, busy * 100 / all))
    };
    pairs.filter_map(share).collect()
}

fn workers(snapshot: &Snapshot) -> Vec<Finding> {
    let stalled = snapshot.status.workers.iter().filter(|worker| worker.stalled).map(|worker| {
        Finding::new("worker-stalled", format!("worker {} does not come back", worker.worker))
            .evidence(format!("on CPU {}; nothing of its flows is forwarded", worker.cpu))
            .cure("see what else runs on its CPU, and the dataplane's log: tpctl doctor --host".to_owned())
    });
    let mut findings: Vec<Finding> = stalled.collect();
    let shares = shares(snapshot);
    let all: Vec<String> =
        shares.iter().map(|(worker, _, share)| format!("worker {worker} {share} %")).collect();
    for (number, (worker, cpu, share)) in shares.iter().enumerate() {
        let others = shares.iter().enumerate().filter(|(other, _)| *other != number);
        let others: Vec<u64> = others.map(|(_, (.., share))| *share).collect();
        let mean = others.iter().sum::<u64>().checked_div(others.len() as u64);
        let skewed = mean.is_some_and(|mean| *share >= IDLE && *share >= SKEW * mean.max(1));
        let (check, what, cure) = if skewed {
            (
                "worker-skew",
                format!("worker {worker} has most of the work"),
                "one flow is one worker's: see which it is (tpctl states -v); else have the card spread packets by addresses and ports \
                 (tpctl show status says how it does)",
            )
        } else if *share >= BUSY {
            (
                "worker-overload",
                format!("worker {worker} has no time left"),
                "give the dataplane more CPUs (`lcores` in turnpike.toml), or see what the packets are (tpctl pfctl -vsr, tpctl drops)",
            )
        } else {
            continue;
        };
        let evidence =
            format!("CPU {cpu}, in the last {} ms: {}", snapshot.apart.as_millis(), all.join(", "));
        findings.push(Finding::new(check, what).evidence(evidence).cure(cure.to_owned()));
    }
    findings
}

/// Queues that ran over while they were looked at.
fn queues(snapshot: &Snapshot) -> Vec<Finding> {
    let pairs = snapshot.status.interfaces.iter().zip(&snapshot.before.interfaces);
    let over = |(now, before): (&InterfaceStatus, &InterfaceStatus)| {
        let missed = now.hardware.rx_missed.saturating_sub(before.hardware.rx_missed);
        (missed > 0).then(|| {
            Finding::new("rx-missed", format!("{} loses packets before a worker gets them", now.name))
                .evidence(format!("{missed} in the last {} ms", snapshot.apart.as_millis()))
                .cure("workers come too seldom: see worker-overload and tpctl doctor --host; more queues (`lcores`) share the load"
                    .to_owned())
        })
    };
    pairs.filter_map(over).collect()
}
