//! `-f`: read a ruleset, show it, load it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow, ensure};
use api::control::{Apply, Sources};
use pfconf::{Config, Numbers, Origin};

use super::Arguments;
use super::system::System;
use crate::apply;
use crate::live::{self, Sockets};
use crate::machine::{self, Machine};
use crate::session;
use crate::time::now_unix_s;

pub fn run(arguments: &Arguments, system: &mut System<'_>, file: &str) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(file)
        .with_context(|| format!("{}: cannot open the main config file!", file))?;
    let (mut config, findings) =
        machine::parse(&machine, arguments.dialect, name, &text, &arguments.definitions);
    eprint!("{findings}");
    if !findings.has_errors() {
        config.optimize(arguments.optimize);
    }
    let mut shown = String::new();
    if arguments.verbose > 0 {
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
    commit(arguments, system, &config, &machine, (name, text))
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
            let origin = Origin { uid, pid: std::process::id(), unix_s: now_unix_s() };
            offline.change(|loaded| loaded.load(config, arguments.anchor(), origin))?;
            return Ok(ExitCode::SUCCESS);
        }
        System::Live(sockets) => *sockets,
    };
    ensure!(arguments.anchor.is_none(), "loading an anchor is not supported yet; nothing was changed");
    // Before turnpike-control is asked: what the dataplane cannot do is told in pfctl's words.
    let ruleset = match config.lower() {
        Ok(ruleset) => ruleset,
        Err(refused) => {
            eprint!("{refused}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if sockets.is_direct() {
        live::connect(sockets.dataplane())?.commit(&ruleset)?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = apply::record(machine, arguments.dialect, name, text, &arguments.definitions);
    apply_sources(sockets, sources, arguments.force)
}

/// Makes a ruleset the live one through turnpike-control.
pub fn apply_sources(sockets: &Sockets, sources: Sources, force: bool) -> anyhow::Result<ExitCode> {
    let operator = session::operator(force);
    let request = Apply { sources, confirm_s: None, comment: "pfctl".into(), operator };
    match sockets.control().apply(&request) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(refused) => apply::refuse(refused),
    }
}
