//! Dataplanes with two workers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Lab;

/// Two CPUs that this process may use; `None`, said aloud, if there is one only.
pub fn two_cpus() -> Option<[u32; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    let cpus: Vec<u32> = ranges.flatten().collect();
    if let [first, second, ..] = cpus[..] {
        return Some([first, second]);
    }
    eprintln!("skipped: two workers need two CPUs");
    None
}

/// Starts the dataplane of a bed again with a worker on each of these CPUs.
///
/// # Errors
/// It does not end, or does not start.
pub fn restart_with_two(lab: &mut Lab, cpus: [u32; 2]) -> Result<()> {
    lab.kill_dataplane()?;
    configure_two(lab, cpus)?;
    lab.restart_dataplane()
}

/// Has the next dataplane of a bed a worker on each of these CPUs.
///
/// # Errors
/// The configuration cannot be changed.
pub fn configure_two(lab: &Lab, [first, second]: [u32; 2]) -> Result<()> {
    let path = lab.folder.join("turnpike.toml");
    let text = std::fs::read_to_string(&path)?
        .replace("[dataplane]", &format!("[dataplane]\nlcores = [{first}, {second}]"))
        .replace(",qdisc_bypass=1", ",qdisc_bypass=1,qpairs=2");
    Ok(std::fs::write(&path, text)?)
}

/// What became of the packets of each of two workers.
///
/// # Errors
/// There are not two.
pub fn conservation(lab: &Lab) -> Result<Vec<Value>> {
    let status = lab.show("status")?;
    let workers = status["workers"].as_array().with_context(|| format!("no workers: {status}"))?;
    ensure!(workers.len() == 2, "{} workers", workers.len());
    Ok(workers.iter().map(|worker| worker["conservation"].clone()).collect())
}
