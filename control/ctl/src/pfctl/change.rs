//! `-e`, `-d`, `-x`, `-z`, `-F`: what pfctl changes apart from rulesets, tables and single states.

use std::process::ExitCode;

use anyhow::ensure;
use api::control::Sources;
use api::{Counts, Filtering, LogLevel};
use pfconf::{Loaded, Scope};
use ruleset::StateSelector;

use super::system::System;
use super::word::Flush;
use super::{Arguments, load};
use crate::live::{self, Sockets};

pub fn enable(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(system.switch(Filtering::On)?, "pf already enabled");
    arguments.say("pf enabled");
    Ok(())
}

pub fn disable(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(system.switch(Filtering::Off)?, "pf not enabled");
    arguments.say("pf disabled");
    Ok(())
}

pub fn set_level(arguments: &Arguments, system: &mut System<'_>, level: LogLevel) -> anyhow::Result<()> {
    system.set_level(level)?;
    arguments.say(&format!("debug level set to '{}'", level.name()));
    Ok(())
}

pub fn zero(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    match system {
        System::Live(_) if arguments.anchor.is_none() => system.clear(Counts::Rules),
        _ => system
            .scratch("counting from zero in an anchor")?
            .change(|loaded| loaded.zero_rules(arguments.anchor())),
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
        Flush::Sources => {
            sources(arguments);
            Ok(())
        }
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
                sources(arguments);
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
        for anchor in affected(arguments, system.scratch("removing what is in anchors")?.loaded()) {
            println!("  {}", if anchor.is_empty() { "/" } else { &anchor });
        }
    }
    Ok(())
}

fn rules(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    match system {
        System::Live(sockets) if arguments.anchor.is_none() => clear_live(sockets)?,
        _ => {
            let offline = system.scratch("removing the rules of an anchor")?;
            let anchors = affected(arguments, offline.loaded());
            offline.change(|loaded| anchors.iter().for_each(|anchor| loaded.flush_rules(anchor)))?;
        }
    }
    if arguments.scope() == Scope::Here {
        arguments.say("rules cleared");
    }
    Ok(())
}

/// The live ruleset without its rules: as in pf, everything passes then. Persistent tables stay.
fn clear_live(sockets: &Sockets) -> anyhow::Result<()> {
    let Some(live) = sockets.source()?.ruleset()? else { return Ok(()) };
    let mut ruleset = live.ruleset;
    ruleset.rules.clear();
    ruleset.tables.retain(|table| table.persist);
    if sockets.is_direct() {
        live::connect(sockets.dataplane())?.commit(&ruleset)?;
        return Ok(());
    }
    let text = ruleset.tables.iter().map(|table| pfconf::print_table(table) + "\n").collect();
    let sources = Sources { name: "pfctl -F rules".into(), text, ..Sources::default() };
    ensure!(load::apply_sources(sockets, sources)? == ExitCode::SUCCESS, "the rules are as they were");
    Ok(())
}

fn tables(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    let offline = system.scratch("-F Tables")?;
    let anchors = affected(arguments, offline.loaded());
    let count =
        offline.change(|loaded| anchors.iter().map(|anchor| loaded.flush_tables(anchor)).sum::<usize>())?;
    if arguments.scope() == Scope::Here {
        arguments.say(&format!("{count} tables deleted."));
    }
    Ok(())
}

fn states(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    let interface = arguments.interface.clone();
    let count = system.kill(&StateSelector { interface, ..StateSelector::default() })?;
    arguments.say(&format!("{count} states cleared"));
    Ok(())
}

/// There are no source nodes.
fn sources(arguments: &Arguments) {
    arguments.say("source tracking entries cleared");
}

fn info(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    match &arguments.interface {
        Some(interface) => {
            system.scratch("counting from zero on one interface")?;
            arguments.say(&format!("pf: statistics cleared for interface {interface}"));
        }
        None => {
            system.clear(Counts::Info)?;
            arguments.say("pf: statistics cleared");
        }
    }
    Ok(())
}

/// There are no fingerprints.
fn fingerprints(arguments: &Arguments) {
    arguments.say("OS fingerprints cleared");
}

fn reset(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-F Reset")?.change(Loaded::reset_options)?;
    arguments.say("pf: interface flags reset");
    Ok(())
}
