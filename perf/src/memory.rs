//! What a connection takes of memory, as the kernel counts it.

use std::fs;

use anyhow::Context;

use crate::bed::Bed;
use crate::firewall::Established;
use crate::traffic::Source;

/// Bytes of memory that this process has in RAM, but for hugetlb pages.
///
/// # Errors
/// If /proc does not tell.
pub fn resident_bytes() -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/self/status").context("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS is missing")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1024)
}

/// A firewall with every connection of `source` established, and how many bytes it took for each.
///
/// # Errors
/// If a connection is refused, or /proc does not tell.
pub fn established(bed: &mut Bed, source: Source) -> anyhow::Result<(Established, f64)> {
    let connections = source.connections() as f64;
    let before = resident_bytes()?;
    let established = Established::new(bed, "block\npass\n", source)?;
    let grown = resident_bytes()?.saturating_sub(before);
    Ok((established, grown as f64 / connections))
}
