//! `-s`: what is loaded and what it has done, in pfctl's formats.

use std::collections::BTreeMap;
use std::io::{self, Write};

use api::InterfaceInfo;
use pfconf::{Fingerprints, Loaded, RulesView, Scope};
use ruleset::{Limit, StateView, Timeout};
use serde::Serialize;

use super::Arguments;
use super::system::{Detail, System};
use super::word::Show;
use crate::live::{self, Format, StatePrinter};
use crate::machine::Machine;
use crate::time::{ctime, now_unix_s};

pub fn run(arguments: &Arguments, system: &mut System<'_>, what: Show) -> anyhow::Result<()> {
    match what {
        Show::Nat => translation(arguments, &system.loaded()?),
        Show::Rules => rules(arguments, &system.loaded()?),
        Show::Labels => labels(arguments, &system.loaded()?),
        Show::Anchors => {
            let loaded = system.loaded()?;
            say(arguments, &loaded.print_anchors(arguments.anchor(), arguments.verbose > 0))
        }
        Show::Queues => say(arguments, &system.loaded()?.print_queues()),
        Show::States => states(arguments, system, false),
        Show::Sources => sources(arguments, system, false),
        Show::Fingerprints => say(arguments, &fingerprints(&system.loaded()?).to_string()),
        Show::Info => {
            let info = system.info()?;
            live::print(Format::of(arguments.json), &info, |out, info| {
                live::write_info(out, info, arguments.verbose > 0)
            })
        }
        Show::Interfaces => interfaces(arguments, system),
        Show::Timeouts => timeouts(arguments, &system.loaded()?),
        Show::Memory => limits(arguments, &system.loaded()?),
        Show::Tables => tables(arguments, &system.loaded_with_tables(detail(arguments))?),
        Show::All => all(arguments, system),
    }
}

/// What the rules know of operating systems; if they do not ask, what they would.
fn fingerprints(loaded: &Loaded) -> Fingerprints {
    let known = loaded.fingerprints();
    if !known.is_empty() {
        return known;
    }
    let file = std::fs::read(pfconf::FINGERPRINTS).ok();
    let read = file.and_then(|text| Fingerprints::read(&String::from_utf8_lossy(&text)).ok());
    read.unwrap_or_else(Fingerprints::built_in)
}

/// How many addresses tables have is shown with `-vv`.
const fn detail(arguments: &Arguments) -> Detail {
    if arguments.verbose > 1 { Detail::Addresses } else { Detail::Names }
}

/// Prints lines; as JSON, an array of them.
fn say(arguments: &Arguments, text: &str) -> anyhow::Result<()> {
    match arguments.json {
        true => {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            live::print(Format::Json, &lines, |_, _| Ok(()))
        }
        false => Ok(io::stdout().lock().write_all(text.as_bytes())?),
    }
}

fn view<'a>(arguments: &'a Arguments, machine: &'a Machine) -> RulesView<'a> {
    RulesView {
        anchor: arguments.anchor(),
        scope: arguments.scope(),
        verbose: arguments.verbose,
        debug: arguments.debug,
        only: arguments.rule,
        interfaces: pfconf::Host::interfaces(machine),
        dialect: arguments.dialect.unwrap_or_default(),
        translation: false,
        port_names: arguments.port_names,
    }
}

fn rules(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let machine = arguments.machine()?;
    match arguments.json {
        true => live::print(Format::Json, &loaded.rules(arguments.anchor())?, |_, _| Ok(())),
        false => say(arguments, &loaded.print_rules(&view(arguments, &machine)).map_err(dotted)?),
    }
}

/// The rules of FreeBSD's rulesets for translation.
fn translation(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let machine = arguments.machine()?;
    let view = RulesView { translation: true, ..view(arguments, &machine) };
    say(arguments, &loaded.print_rules(&view).map_err(dotted)?)
}

fn labels(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let machine = arguments.machine()?;
    say(arguments, &loaded.print_labels(&view(arguments, &machine)).map_err(dotted)?)
}

/// As pfctl ends what it says about anchors.
fn dotted(error: pfconf::UnknownAnchor) -> anyhow::Error {
    anyhow::anyhow!("{error}.")
}

/// Prints every state that fits `-i` and `-R`, under a title if there are any.
fn states(arguments: &Arguments, system: &mut System<'_>, titled: bool) -> anyhow::Result<()> {
    let out = io::BufWriter::new(io::stdout().lock());
    let mut printer = StatePrinter::new(out, Format::of(arguments.json), arguments.verbose > 0);
    system.states(|state| {
        if fits(arguments, state) {
            if titled && printer.count() == 0 {
                println!("\nSTATES:");
            }
            printer.state(state);
        }
    })?;
    printer.finish()
}

/// Prints every source node, under a title if there are any.
fn sources(arguments: &Arguments, system: &mut System<'_>, titled: bool) -> anyhow::Result<()> {
    let nodes = system.sources(arguments.verbose > 0)?;
    if titled && !nodes.is_empty() {
        println!("\nSOURCE TRACKING NODES:");
    }
    live::print(Format::of(arguments.json), &nodes, |out, nodes| {
        for node in nodes {
            match arguments.verbose {
                0 => writeln!(out, "{node}")?,
                _ => writeln!(out, "{node:#}")?,
            }
        }
        Ok(())
    })
}

fn fits(arguments: &Arguments, state: &StateView) -> bool {
    let rule = arguments.rule.is_none_or(|number| state.rule.is_some_and(|rule| rule as usize == number));
    rule && arguments.interface.as_ref().is_none_or(|interface| state.interface == *interface)
}

fn interfaces(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    let loaded = system.loaded()?;
    let mut known = system.info()?.interfaces;
    if let System::Offline(_) = system {
        let machine = arguments.machine()?;
        let named = |name: &str| InterfaceInfo { name: name.to_owned(), ..InterfaceInfo::default() };
        known = pfconf::Host::interfaces(&machine).names().map(named).collect();
    }
    known.retain(|own| arguments.interface.as_ref().is_none_or(|only| *only == own.name));
    known.sort_by(|one, other| one.name.cmp(&other.name));
    let detailed = arguments.verbose > 1;
    if detailed && arguments.json {
        return live::print(Format::Json, &known, |_, _| Ok(()));
    }
    let states = if detailed { states_by_interface(system)? } else { BTreeMap::new() };
    let now = now_unix_s();
    let mut out = Vec::new();
    for own in &known {
        let skip = arguments.verbose > 0 && loaded.options().skip.contains(&own.name);
        writeln!(out, "{}{}", own.name, if skip { " (skip)" } else { "" })?;
        if detailed {
            let cleared = ctime(now.saturating_sub(own.counted_s));
            let bound = states.get(&own.name).copied().unwrap_or_default();
            live::write_interface(&mut out, own, &cleared, bound, loaded.rules_on(&own.name))?;
        }
    }
    say(arguments, &String::from_utf8(out)?)
}

/// How many states are bound to each interface; those that float are bound to none.
fn states_by_interface(system: &mut System<'_>) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut count = BTreeMap::new();
    system.states(|state| *count.entry(state.interface.clone()).or_default() += 1)?;
    Ok(count)
}

/// A named number, as JSON.
#[derive(Serialize)]
struct Setting {
    name: &'static str,
    value: u32,
}

fn timeouts(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let value = |timeout: Timeout| loaded.options().timeouts.get(timeout);
    let settings: Vec<Setting> = Timeout::ALL
        .into_iter()
        .map(|timeout| Setting { name: timeout.name(), value: value(timeout) })
        .collect();
    live::print(Format::of(arguments.json), &settings, |out, _| {
        for timeout in Timeout::ALL {
            let unit = if timeout.counts_states() { " states" } else { "s" };
            writeln!(out, "{:<20} {:>10}{unit}", timeout.name(), value(timeout))?;
        }
        Ok(())
    })
}

fn limits(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let value = |limit: Limit| loaded.options().limits.get(limit);
    let settings: Vec<Setting> =
        Limit::ALL.into_iter().map(|limit| Setting { name: limit.name(), value: value(limit) }).collect();
    live::print(Format::of(arguments.json), &settings, |out, settings| {
        for Setting { name, value } in settings {
            match *value {
                u32::MAX => writeln!(out, "{name:<13} unlimited")?,
                value => writeln!(out, "{name:<13} hard limit {value:>8}")?,
            }
        }
        Ok(())
    })
}

fn tables(arguments: &Arguments, loaded: &Loaded) -> anyhow::Result<()> {
    let anchors = match arguments.scope() {
        Scope::Here => vec![arguments.anchor().to_owned()],
        Scope::Called | Scope::Below => loaded.anchors_below(arguments.anchor()),
    };
    let show = |anchor: &String| loaded.print_tables(anchor, arguments.verbose, arguments.debug, ctime);
    say(arguments, &anchors.iter().map(show).collect::<String>())
}

/// Every listing under its title.
fn all(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    anyhow::ensure!(!arguments.json, "-sa has no JSON: ask for each part");
    let loaded = system.loaded_with_tables(detail(arguments))?;
    println!("FILTER RULES:");
    rules(arguments, &loaded)?;
    print!("{}", loaded.print_queues());
    states(arguments, system, true)?;
    sources(arguments, system, true)?;
    let parts: [(&str, Show); 4] = [
        ("INFO", Show::Info),
        ("LABEL COUNTERS", Show::Labels),
        ("TIMEOUTS", Show::Timeouts),
        ("LIMITS", Show::Memory),
    ];
    for (title, part) in parts {
        if part == Show::Labels && !loaded.has_labels(arguments.anchor()) {
            continue;
        }
        println!("\n{title}:");
        run(arguments, system, part)?;
    }
    let shown = loaded.print_tables(arguments.anchor(), arguments.verbose, arguments.debug, ctime);
    if !shown.is_empty() {
        print!("\nTABLES:\n{shown}");
    }
    let known = loaded.fingerprints();
    if !known.is_empty() {
        println!("\nOS FINGERPRINTS:\n{} fingerprints loaded", known.len());
    }
    Ok(())
}
