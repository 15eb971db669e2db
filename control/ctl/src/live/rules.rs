//! The live ruleset, as pfctl prints it.

use std::io::{self, Write};

use ruleset::Ruleset;
use serde::Serialize;

/// The live ruleset.
#[derive(Serialize)]
pub struct LiveRuleset {
    /// The dataplane's number for it.
    pub generation: u64,
    /// Its rules.
    pub ruleset: Ruleset,
}

/// Writes a line a rule; a comment if there is no ruleset.
pub fn write_rules(out: &mut dyn Write, live: &Option<LiveRuleset>) -> io::Result<()> {
    let Some(live) = live else {
        return writeln!(out, "# no ruleset: nothing is forwarded until `tpctl apply FILE`");
    };
    for rule in &live.ruleset.rules {
        writeln!(out, "{}", pfconf::print_rule(rule))?;
    }
    Ok(())
}
