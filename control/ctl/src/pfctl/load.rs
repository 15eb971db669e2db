//! `-f`: read a ruleset, show it, load it; with `-T load`, only its tables.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use api::control::{Apply, Part, Sources};
use pfconf::{Config, Inserter, Numbers, Origin};

use super::system::{System, full_name};
use super::{Arguments, change};
use crate::apply;
use crate::live::{self, Sockets};
use crate::machine::{self, Machine};
use crate::session;
use crate::time::now_unix_s;

pub fn run(
    arguments: &Arguments,
    system: &mut System<'_>,
    file: &str,
    part: Part,
) -> anyhow::Result<ExitCode> {
    let machine = arguments.machine()?;
    let (name, text) = machine::read_ruleset(file)
        .with_context(|| format!("{}: cannot open the main config file!", file))?;
    let (mut config, findings) =
        machine::parse(&machine, arguments.dialect, name, &text, &arguments.definitions);
    eprint!("{findings}");
    // Optimising makes tables of its own, out of rules.
    if !findings.has_errors() && part == Part::Everything {
        config.optimize(arguments.optimize);
    }
    let mut shown = String::new();
    if arguments.verbose > 0 && part == Part::Tables {
        shown += &config.print_tables();
    } else if arguments.verbose > 0 {
        shown += &config.print_echo();
        if !findings.has_errors() {
            let numbered = arguments.verbose > 1 || arguments.debug;
            shown += &config.print_rules(if numbered { Numbers::Shown } else { Numbers::Hidden });
        }
    }
    std::io::stdout().write_all(shown.as_bytes()).map_err(|error| anyhow!("standard output: {error}"))?;
    if findings.has_errors() {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.noaction {
        return Ok(ExitCode::SUCCESS);
    }
    match part {
        Part::Tables => define_tables(arguments, system, &config, &machine, (name, text)),
        _ => commit(arguments, system, &config, &machine, (name, text)),
    }
}

/// Defines tables as the ruleset does, and leaves the live rules and options as they are. What a table holds stays where the
/// ruleset gives no list.
fn define_tables(
    arguments: &Arguments,
    system: &mut System<'_>,
    config: &Config,
    machine: &Machine,
    (name, text): (&str, String),
) -> anyhow::Result<ExitCode> {
    match system {
        System::Offline(offline) => {
            offline.change(|loaded| loaded.load_tables(config, arguments.anchor(), now_unix_s()))?;
        }
        System::Live(sockets) if !sockets.is_direct() => {
            let sources = apply::record(machine, arguments.dialect, name, text, &arguments.definitions);
            let anchors = anchors(arguments);
            return apply_part(sockets, Part::Tables, sources, anchors, arguments.force);
        }
        System::Live(sockets) => {
            let done = change::rewrite(sockets, arguments.force, "pfctl -T load", |live| {
                for mut defined in config.tables() {
                    defined.name = full_name(arguments.anchor(), &defined.name);
                    live.tables.retain(|table| table.name != defined.name);
                    live.tables.push(defined);
                }
            })?;
            ensure!(done, "no ruleset is live: load one with -f");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn commit(
    arguments: &Arguments,
    system: &mut System<'_>,
    config: &Config,
    machine: &Machine,
    (name, text): (&str, String),
) -> anyhow::Result<ExitCode> {
    let sockets = match system {
        System::Offline(offline) => {
            let uid = rustix::process::getuid().as_raw();
            let inserter = Inserter { uid, pid: std::process::id() };
            let origin = Origin { inserter, unix_s: now_unix_s() };
            offline.change(|loaded| loaded.load(config, arguments.anchor(), origin))?;
            if let Some(level) = offline.loaded().options().debug.filter(|_| arguments.anchor().is_empty()) {
                offline.set_level(level.name())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        System::Live(sockets) => *sockets,
    };
    // Before turnpike-control is asked: what the dataplane cannot do is told in pfctl's words.
    let ruleset = match config.lower() {
        Ok(ruleset) => ruleset,
        Err(refused) => {
            eprint!("{refused}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if sockets.is_direct() {
        ensure!(
            arguments.anchor().is_empty(),
            "only turnpike-control loads anchors: leave --dataplane-socket out; nothing was changed"
        );
        live::commit(sockets, &ruleset, arguments.force)?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = apply::record(machine, arguments.dialect, name, text, &arguments.definitions);
    apply_part(sockets, Part::Everything, sources, anchors(arguments), arguments.force)
}

/// The anchor that is loaded into, if it is not the main ruleset.
fn anchors(arguments: &Arguments) -> Vec<String> {
    Some(pfconf::anchor_path(arguments.anchor())).filter(|anchor| !anchor.is_empty()).into_iter().collect()
}

/// Makes a part of a ruleset live through turnpike-control: of the main one, or of anchors in it.
pub fn apply_part(
    sockets: &Sockets,
    part: Part,
    sources: Sources,
    anchors: Vec<String>,
    force: bool,
) -> anyhow::Result<ExitCode> {
    let operator = session::operator(force);
    let request = Apply { sources, anchors, part, comment: "pfctl".into(), operator, ..Apply::default() };
    match sockets.control().apply(&request) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(refused) => apply::refuse(refused),
    }
}
