//! `-e`, `-d`, `-x`, `-z`, `-F`: what pfctl changes apart from rulesets, tables and single states.

use std::process::ExitCode;

use anyhow::ensure;
use api::control::{Dialect, Part, Sources, TableAction, TableRequest};
use api::{Counts, Filtering, LogLevel};
use pfconf::{Loaded, Scope};
use ruleset::{Options, Ruleset, SourceSelector, StateSelector};
use serde_json::json;

use super::system::{System, warn};
use super::word::Flush;
use super::{Arguments, load};
use crate::live::{self, Sockets};
use crate::session;

pub fn enable(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(system.switch(Filtering::On, arguments.force)?, "pf already enabled");
    arguments.tell("pf enabled", json!({ "filtering": "on" }));
    Ok(())
}

pub fn disable(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(system.switch(Filtering::Off, arguments.force)?, "pf not enabled");
    arguments.tell("pf disabled", json!({ "filtering": "off" }));
    Ok(())
}

pub fn set_level(arguments: &Arguments, system: &mut System<'_>, level: LogLevel) -> anyhow::Result<()> {
    system.set_level(level)?;
    arguments.tell(&format!("debug level set to '{}'", level.name()), json!({ "level": level.name() }));
    Ok(())
}

pub fn zero(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    let anchors = system.loaded()?.listed(arguments.anchor(), arguments.scope())?;
    match system {
        System::Live(_) => system.clear(Counts::Rules(anchors)),
        System::Offline(offline) => offline.change(|loaded| loaded.zero_rules(&anchors)),
    }
}

pub fn flush(arguments: &Arguments, system: &mut System<'_>, what: Flush) -> anyhow::Result<()> {
    if matches!(what, Flush::Rules | Flush::Tables | Flush::All) {
        announce(arguments, system)?;
    }
    match what {
        Flush::Rules => rules(arguments, system),
        Flush::Tables => tables(arguments, system),
        Flush::States => states(arguments, system),
        Flush::Sources => sources(arguments, system),
        Flush::Info => info(arguments, system),
        Flush::Fingerprints => {
            fingerprints(arguments);
            Ok(())
        }
        Flush::Reset => reset(arguments, system),
        Flush::All => {
            ensure!(arguments.interface.is_none(), "don't specify an interface with -Fall");
            tables(arguments, system)?;
            rules(arguments, system)?;
            if arguments.anchor.is_none() {
                states(arguments, system)?;
                sources(arguments, system)?;
                info(arguments, system)?;
                fingerprints(arguments);
                reset(arguments, system)?;
            }
            Ok(())
        }
    }
}

/// The anchors that a verb is for, from the lowest up.
fn affected(arguments: &Arguments, loaded: &Loaded) -> Vec<String> {
    match arguments.scope() {
        Scope::Here => vec![arguments.anchor().to_owned()],
        Scope::Called | Scope::Below => loaded.anchors_below(arguments.anchor()).into_iter().rev().collect(),
    }
}

/// Lists the anchors that are removed, if there may be several.
fn announce(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    if arguments.scope() != Scope::Here {
        println!("Removing:");
        for anchor in affected(arguments, &system.loaded()?) {
            println!("  {}", if anchor.is_empty() { "/" } else { &anchor });
        }
    }
    Ok(())
}

fn rules(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    let anchors = affected(arguments, &system.loaded()?);
    match system {
        System::Live(sockets) => {
            let (main, anchors): (Vec<String>, Vec<String>) =
                anchors.iter().map(|anchor| pfconf::anchor_path(anchor)).partition(String::is_empty);
            if !anchors.is_empty() {
                flush_anchors(sockets, anchors, arguments.force)?;
            }
            if !main.is_empty() {
                rewrite(sockets, arguments.force, "pfctl -F rules", |live| {
                    live.rules.clear();
                    live.tables.retain(|table| table.persist);
                })?;
            }
        }
        System::Offline(offline) => {
            offline.change(|loaded| anchors.iter().for_each(|anchor| loaded.flush_rules(anchor)))?;
        }
    }
    if arguments.scope() == Scope::Here {
        arguments.tell("rules cleared", json!({ "cleared": "rules" }));
    }
    Ok(())
}

/// Loads nothing into anchors, all at once.
fn flush_anchors(sockets: &Sockets, mut anchors: Vec<String>, force: bool) -> anyhow::Result<()> {
    ensure!(!sockets.is_direct(), "only turnpike-control changes anchors: leave --dataplane-socket out");
    // What stands in braces without a name goes with the anchor around it.
    anchors.retain(|anchor| !anchor.split('/').any(|name| name.starts_with('_')));
    let sources = Sources { name: "pfctl -F rules".into(), ..Sources::default() };
    let done = load::apply_part(sockets, Part::Everything, sources, anchors, force)?;
    ensure!(done == ExitCode::SUCCESS, "the rules are as they were");
    Ok(())
}

/// Makes the live ruleset with a change the live one, as pfctl changes what is loaded; false if none is live. Tables keep what
/// they hold, but for lists that the change gives. Without rules, as in pf, everything passes.
pub fn rewrite(
    sockets: &Sockets,
    force: bool,
    name: &str,
    change: impl FnOnce(&mut Ruleset),
) -> anyhow::Result<bool> {
    let Some(live) = sockets.source()?.ruleset()? else { return Ok(false) };
    let mut ruleset = live.ruleset;
    ruleset.tables.iter_mut().for_each(|table| table.entries = None);
    change(&mut ruleset);
    if sockets.is_direct() {
        live::commit(sockets, &ruleset, force)?;
        return Ok(true);
    }
    ruleset.tables.retain(|table| !table.name.contains('/'));
    let options = pfconf::print_options(&ruleset.options);
    let tables = ruleset.tables.iter().map(|table| pfconf::print_table(table) + "\n");
    let rules = ruleset.rules.iter().map(|rule| pfconf::print_rule(rule) + "\n");
    let text = std::iter::once(options).chain(tables).chain(rules).collect();
    let dialect = Some(Dialect::OpenBsd);
    let sources = Sources { name: name.to_owned(), text, dialect, ..Sources::default() };
    ensure!(
        load::apply_part(sockets, Part::Everything, sources, Vec::new(), force)? == ExitCode::SUCCESS,
        "the rules are as they were"
    );
    Ok(true)
}

fn tables(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    if let System::Live(sockets) = system {
        ensure!(
            !sockets.is_direct(),
            "only turnpike-control removes tables: leave --dataplane-socket out, or use -T flush"
        );
    }
    let anchors = affected(arguments, &system.loaded()?);
    let count = match system {
        System::Live(sockets) => clear_tables(sockets, &anchors, arguments.force)?,
        System::Offline(offline) => {
            offline.change(|loaded| anchors.iter().map(|anchor| loaded.flush_tables(anchor)).sum())?
        }
    };
    if arguments.scope() == Scope::Here {
        arguments.tell(&format!("{count} tables deleted."), json!({ "tables": count }));
    }
    Ok(())
}

/// Removes every table of anchors that is not constant, and returns how many there were.
fn clear_tables(sockets: &Sockets, anchors: &[String], force: bool) -> anyhow::Result<usize> {
    let control = sockets.control();
    let tables = control.tables()?;
    let anchors: Vec<String> = anchors.iter().map(|anchor| pfconf::anchor_path(anchor)).collect();
    let path = |name: &str| name.rsplit_once('/').map_or(String::new(), |(path, _)| path.to_owned());
    let removed = tables.iter().filter(|table| !table.constant && anchors.contains(&path(&table.name)));
    let kill = TableRequest {
        action: TableAction::Kill,
        addresses: Vec::new(),
        older_than_s: 0,
        dry_run: false,
        detail: false,
        operator: session::operator(force),
    };
    let mut count = 0;
    for table in removed {
        warn(control.change_table(&table.name, &kill)?.warning.as_ref());
        count += 1;
    }
    Ok(count)
}

fn states(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    let interface = arguments.interface.clone();
    let count = system.kill(&StateSelector { interface, ..StateSelector::default() })?;
    arguments.tell(&format!("{count} states cleared"), json!({ "states": count }));
    Ok(())
}

fn sources(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.forget_sources(&SourceSelector::default())?;
    arguments.tell("source tracking entries cleared", json!({ "cleared": "Sources" }));
    Ok(())
}

fn info(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    match &arguments.interface {
        Some(interface) => {
            system.clear(Counts::Interface(interface.clone()))?;
            arguments.tell(
                &format!("pf: statistics cleared for interface {interface}"),
                json!({ "cleared": "info", "interface": interface }),
            );
        }
        None => {
            system.clear(Counts::Info)?;
            arguments.tell("pf: statistics cleared", json!({ "cleared": "info" }));
        }
    }
    Ok(())
}

/// They are part of a ruleset: there are none to remove.
fn fingerprints(arguments: &Arguments) {
    arguments.tell("OS fingerprints cleared", json!({ "cleared": "osfp" }));
}

fn reset(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    match system {
        System::Live(sockets) => {
            let name = "pfctl -F Reset";
            if sockets.is_direct() {
                rewrite(sockets, arguments.force, name, |live| live.options = Options::default())?;
            } else {
                let sources = Sources { name: name.into(), ..Sources::default() };
                let done = load::apply_part(sockets, Part::Reset, sources, Vec::new(), arguments.force)?;
                ensure!(done == ExitCode::SUCCESS, "the options are as they were");
            }
        }
        System::Offline(offline) => offline.change(Loaded::reset_options)?,
    }
    arguments.tell("pf: interface flags reset", json!({ "cleared": "Reset" }));
    Ok(())
}
