//! pfctl's `-si`.

use std::io::{self, Write};

use api::{InterfaceDrops, Status};
use ruleset::Reason;

/// How many of the drop reasons are pf's own, which pfctl shows first.
const PF_REASONS: usize = Reason::NoRoute as usize + 1;

/// Writes the status, the state table's and the reasons' counters with their rates since the start, as pfctl does; our
/// own reasons follow pf's where they counted something.
pub fn write_info(out: &mut dyn Write, status: &Status, drops: &[InterfaceDrops]) -> io::Result<()> {
    let up = status.uptime_s;
    let clock = format!("{} days {:02}:{:02}:{:02}", up / 86_400, up / 3600 % 24, up / 60 % 60, up % 60);
    let enabled = if status.generation == 0 { "Disabled" } else { "Enabled" };
    writeln!(out, "{:<48} {:>15}\n", format!("Status: {enabled} for {clock}"), "Debug: err")?;
    writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", status.states, "")?;
    for (name, count) in
        [("searches", status.searches), ("inserts", status.inserts), ("removals", status.removals)]
    {
        counter(out, name, count, up)?;
    }
    writeln!(out, "Counters")?;
    for (number, reason) in Reason::ALL.into_iter().enumerate() {
        let count: u64 = drops
            .iter()
            .flat_map(|interface| &interface.reasons)
            .filter(|count| count.reason == reason)
            .map(|count| count.packets)
            .sum();
        if number < PF_REASONS || count > 0 {
            counter(out, reason.name(), count, up)?;
        }
    }
    Ok(())
}

fn counter(out: &mut dyn Write, name: &str, count: u64, seconds: u64) -> io::Result<()> {
    writeln!(out, "  {name:<25} {count:>14} {:>14.1}/s", count as f64 / seconds.max(1) as f64)
}
