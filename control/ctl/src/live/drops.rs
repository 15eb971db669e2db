//! Why packets were dropped, by reason and interface.

use std::io::{self, Write};

use api::InterfaceDrops;

/// Writes a table: a line for each reason that counted anything, a column for each interface, a sum.
pub fn write_drops(out: &mut dyn Write, drops: &[InterfaceDrops]) -> io::Result<()> {
    write!(out, "{:<16}", "reason")?;
    for interface in drops {
        write!(out, " {:>12}", interface.interface)?;
    }
    writeln!(out, " {:>12}  meaning", "all")?;
    let reasons = drops.first().map_or(0, |first| first.reasons.len());
    let mut shown = 0;
    for number in 0..reasons {
        let counts: Vec<u64> = drops
            .iter()
            .filter_map(|interface| interface.reasons.get(number))
            .map(|count| count.packets)
            .collect();
        let sum: u64 = counts.iter().sum();
        if sum == 0 {
            continue;
        }
        shown += 1;
        let reason = drops[0].reasons[number].reason;
        write!(out, "{:<16}", reason.name())?;
        for count in counts {
            write!(out, " {count:>12}")?;
        }
        writeln!(out, " {sum:>12}  {}", reason.doc())?;
    }
    if shown == 0 { writeln!(out, "(nothing was dropped)") } else { Ok(()) }
}
