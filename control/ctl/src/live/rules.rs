//! The live ruleset, as pfctl prints it.

use std::io::{self, Write};

use pfconf::{Dialect, Interfaces, Loaded, RulesView, Scope};
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

/// Writes a line a rule, those of anchors in braces; a comment if there is no ruleset.
pub fn write_rules(out: &mut dyn Write, live: &Option<LiveRuleset>) -> io::Result<()> {
    let Some(live) = live else {
        return writeln!(out, "# no ruleset: nothing is forwarded until `tpctl apply FILE`");
    };
    let view = RulesView {
        anchor: "",
        scope: Scope::Called,
        verbose: 0,
        debug: false,
        only: None,
        interfaces: &Interfaces::default(),
        dialect: Dialect::default(),
        translation: false,
        port_names: false,
    };
    let shown = Loaded::of(&live.ruleset, &[], None).print_rules(&view).map_err(io::Error::other)?;
    out.write_all(shown.as_bytes())
}
