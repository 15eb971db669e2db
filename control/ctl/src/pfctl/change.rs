//! `-e`, `-d`, `-x`, `-z`, `-F`, `-k`, `-K`: what pfctl changes apart from rulesets and tables.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::{bail, ensure};
use api::control::Sources;
use pfconf::{Host, Loaded, Scope};

use super::system::System;
use super::word::{Flush, Level};
use super::{Arguments, load};
use crate::live::{self, Sockets};
use crate::machine::Machine;
use crate::time::now_unix_s;

pub fn enable(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(system.scratch("-e")?.enable(true, now_unix_s())?, "pf already enabled");
    arguments.say("pf enabled");
    Ok(())
}

pub fn disable(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(system.scratch("-d")?.enable(false, now_unix_s())?, "pf not enabled");
    arguments.say("pf disabled");
    Ok(())
}

pub fn set_level(arguments: &Arguments, system: &mut System<'_>, level: Level) -> anyhow::Result<()> {
    system.scratch("-x")?.set_level(level.name())?;
    arguments.say(&format!("debug level set to '{}'", level.name()));
    Ok(())
}

pub fn zero(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-z")?.change(|loaded| loaded.zero_rules(arguments.anchor()))
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
        Flush::Fingerprints => fingerprints(arguments, system),
        Flush::Reset => reset(arguments, system),
        Flush::All => {
            ensure!(arguments.interface.is_none(), "don't specify an interface with -Fall");
            tables(arguments, system)?;
            rules(arguments, system)?;
            if arguments.anchor.is_none() {
                states(arguments, system)?;
                sources(arguments, system)?;
                info(arguments, system)?;
                fingerprints(arguments, system)?;
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

/// A scratch ruleset has no states.
fn states(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-F states")?;
    arguments.say("0 states cleared");
    Ok(())
}

fn sources(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-F Sources")?;
    arguments.say("source tracking entries cleared");
    Ok(())
}

fn info(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-F info")?;
    match &arguments.interface {
        Some(interface) => {
            arguments.say(&format!("pf: statistics cleared for interface {interface}"));
        }
        None => arguments.say("pf: statistics cleared"),
    }
    Ok(())
}

fn fingerprints(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-F osfp")?;
    arguments.say("OS fingerprints cleared");
    Ok(())
}

fn reset(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    system.scratch("-F Reset")?.change(Loaded::reset_options)?;
    arguments.say("pf: interface flags reset");
    Ok(())
}

pub fn kill(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(arguments.kill.len() <= 2, "can only specify -k twice");
    system.scratch("-k")?;
    match arguments.kill.as_slice() {
        [word] if matches!(word.as_str(), "label" | "id" | "key") => bail!("no {word} specified"),
        [word, _] if matches!(word.as_str(), "label" | "id" | "key") => arguments.say("killed 0 states"),
        hosts => {
            let (sources, destinations) = count(arguments, hosts)?;
            arguments.say(&format!("killed 0 states from {sources} sources and {destinations} destinations"));
        }
    }
    Ok(())
}

pub fn kill_sources(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(arguments.kill_sources.len() <= 2, "can only specify -K twice");
    system.scratch("-K")?;
    let (sources, destinations) = count(arguments, &arguments.kill_sources)?;
    arguments.say(&format!("killed 0 src nodes from {sources} sources and {destinations} destinations"));
    Ok(())
}

/// How many sources the first word stands for, and how many destinations of the last one's family the second.
fn count(arguments: &Arguments, hosts: &[String]) -> anyhow::Result<(usize, usize)> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let addresses = hosts.iter().map(|host| prefix(&machine, host)).collect::<anyhow::Result<Vec<_>>>()?;
    let sources = addresses.first().map_or(&[][..], Vec::as_slice);
    let family = sources.last().map(IpAddr::is_ipv4);
    let destinations = addresses.get(1).map_or(&[][..], Vec::as_slice);
    let fitting = destinations.iter().filter(|address| Some(address.is_ipv4()) == family);
    Ok((sources.len(), fitting.count()))
}

/// An address, an address with a prefix length, or a name.
fn prefix(machine: &Machine, text: &str) -> anyhow::Result<Vec<IpAddr>> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let fits = |length: &str| length.parse::<u8>().is_ok_and(|length| length <= most);
        ensure!(length.is_none_or(fits), "prefix is invalid: {}", length.unwrap_or_default());
        return Ok(vec![address]);
    }
    let found = if length.is_none() { machine.resolve(address) } else { Vec::new() };
    ensure!(!found.is_empty(), "getaddrinfo: {text}: no address associated with name");
    Ok(found)
}
