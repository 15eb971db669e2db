//! pfctl's `-si`.

use std::io::{self, Write};

use api::{InterfaceDrops, Status};
use ruleset::Reason;
use serde::Serialize;

/// How many of the drop reasons are pf's own, which pfctl shows first.
const PF_REASONS: usize = Reason::NoRoute as usize + 1;

/// What `-si` shows.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Info {
    /// True if rules decide.
    pub enabled: bool,
    /// Since when, in seconds.
    pub uptime_s: u64,
    /// The level of messages.
    pub level: String,
    /// States now.
    pub states: u64,
    /// Lookups of states.
    pub searches: u64,
    /// States made.
    pub inserts: u64,
    /// States removed.
    pub removals: u64,
    /// Packets dropped, by reason.
    pub drops: Vec<(Reason, u64)>,
}

impl Info {
    /// Of the running dataplane.
    pub fn of(status: &Status, drops: &[InterfaceDrops]) -> Self {
        let counted = |reason: Reason| -> u64 {
            let counts = drops.iter().flat_map(|interface| &interface.reasons);
            counts.filter(|count| count.reason == reason).map(|count| count.packets).sum()
        };
        Self {
            enabled: status.generation > 0,
            uptime_s: status.uptime_s,
            level: "err".into(),
            states: status.states,
            searches: status.searches,
            inserts: status.inserts,
            removals: status.removals,
            drops: Reason::ALL.into_iter().map(|reason| (reason, counted(reason))).collect(),
        }
    }

    fn dropped(&self, reason: Reason) -> u64 {
        self.drops.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count)
    }
}

/// Writes the status, the state table's and the reasons' counters with their rates since the start, as pfctl does; our
/// own reasons follow pf's where they counted something.
pub fn write_info(out: &mut dyn Write, info: &Info) -> io::Result<()> {
    let up = info.uptime_s;
    let clock = format!("{} days {:02}:{:02}:{:02}", up / 86_400, up / 3600 % 24, up / 60 % 60, up % 60);
    let enabled = if info.enabled { "Enabled" } else { "Disabled" };
    let debug = format!("Debug: {}", info.level);
    writeln!(out, "{:<44}{debug:>15}\n", format!("Status: {enabled} for {clock}"))?;
    writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", info.states, "")?;
    for (name, count) in [("searches", info.searches), ("inserts", info.inserts), ("removals", info.removals)]
    {
        counter(out, name, count, up)?;
    }
    writeln!(out, "Counters")?;
    for (number, reason) in Reason::ALL.into_iter().enumerate() {
        let count = info.dropped(reason);
        if number < PF_REASONS || count > 0 {
            counter(out, reason.name(), count, up)?;
        }
    }
    Ok(())
}

fn counter(out: &mut dyn Write, name: &str, count: u64, seconds: u64) -> io::Result<()> {
    writeln!(out, "  {name:<25} {count:>14} {:>14.1}/s", count as f64 / seconds.max(1) as f64)
}
