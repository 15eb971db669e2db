//! The live ruleset, as pfctl prints it.

use std::io::{self, Write};

use api::LiveRules;

/// Writes a line a rule; a comment if there is no ruleset.
pub fn write_rules(out: &mut dyn Write, live: &Option<LiveRules>) -> io::Result<()> {
    let Some(live) = live else {
        return writeln!(out, "# no ruleset: nothing is forwarded until `tpctl apply FILE`");
    };
    for rule in &live.ruleset.rules {
        writeln!(out, "{}", pfconf::print_rule(rule))?;
    }
    Ok(())
}
