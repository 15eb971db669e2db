//! pfctl's `-si` and `-vvsI`.

use std::io::{self, Write};

use api::{Filtering, FragmentStatus, Info, InterfaceInfo};
use ruleset::Reason;

/// How many of the drop reasons are pf's own, which pfctl shows first.
const PF_REASONS: usize = Reason::NoRoute as usize + 1;

/// Writes the status, the state table's, if `verbose` the fragments', and the reasons' counters with their rates since they are counted, as pfctl does; our
/// own reasons follow pf's where they counted something.
pub fn write_info(out: &mut dyn Write, info: &Info, verbose: bool) -> io::Result<()> {
    let up = info.since_s;
    let clock = format!("{} days {:02}:{:02}:{:02}", up / 86_400, up / 3600 % 24, up / 60 % 60, up % 60);
    let enabled = match info.filtering {
        Filtering::On => "Enabled",
        Filtering::Off => "Disabled",
    };
    let debug = format!("Debug: {}", info.level);
    writeln!(out, "{:<44}{debug:>15}\n", format!("Status: {enabled} for {clock}"))?;
    writeln!(out, "{:<27} {:>14} {:>16}", "State Table", "Total", "Rate")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "current entries", info.states, "")?;
    writeln!(out, "  {:<25} {:>14} {:>14}", "half-open tcp", info.half_open, "")?;
    for (name, count) in [("searches", info.searches), ("inserts", info.inserts), ("removals", info.removals)]
    {
        counter(out, name, count, info.counted_s)?;
    }
    if verbose {
        let FragmentStatus { datagrams, searches, inserts, removals, .. } = info.fragments;
        writeln!(out, "Fragments")?;
        writeln!(out, "  {:<25} {datagrams:>14} {:>14}", "current entries", "")?;
        for (name, count) in [("searches", searches), ("inserts", inserts), ("removals", removals)] {
            counter(out, name, count, info.counted_s)?;
        }
    }
    writeln!(out, "Counters")?;
    for (number, reason) in Reason::ALL.into_iter().enumerate() {
        let count = info.drops.iter().find(|drop| drop.reason == reason).map_or(0, |drop| drop.packets);
        if number < PF_REASONS || count > 0 {
            counter(out, reason.name(), count, info.counted_s)?;
        }
    }
    Ok(())
}

/// Writes what an interface carried, and since when, as pfctl lays it out. Packets are counted as they cross the interface,
/// not as rules pass them: lines of both families together, named for what they count.
pub fn write_interface(
    out: &mut dyn Write,
    info: &InterfaceInfo,
    cleared: &str,
    states: usize,
    rules: usize,
) -> io::Result<()> {
    writeln!(out, "\tCleared:     {cleared}")?;
    writeln!(out, "\tReferences:  [ States:  {states:<18} Rules: {rules:<18} ]")?;
    let carried = [
        ("Received:", info.received),
        ("Sent:", info.sent),
        ("From host:", info.host_in),
        ("To host:", info.punted),
    ];
    for (name, traffic) in carried {
        writeln!(out, "\t{name:<12} [ Packets: {:<18} Bytes: {:<18} ]", traffic.packets, traffic.bytes)?;
    }
    writeln!(out, "\t{:<12} [ Packets: {:<18} ]", "Dropped:", info.dropped)
}

fn counter(out: &mut dyn Write, name: &str, count: u64, seconds: u64) -> io::Result<()> {
    writeln!(out, "  {name:<25} {count:>14} {:>14.1}/s", count as f64 / seconds.max(1) as f64)
}
