//! `-f`: read a ruleset, show it, load it.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use pfconf::{Config, Numbers, Origin};

use super::Arguments;
use super::system::System;
use super::time::now_unix_s;
use crate::live;
use crate::machine::{self, Machine};

pub fn run(arguments: &Arguments, system: &mut System, file: &str) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(file)
        .with_context(|| format!("{}: cannot open the main config file!", file))?;
    let (mut config, findings) = pfconf::read(&machine, name, &text, &arguments.definitions);
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
    commit(arguments, system, &config)
}

fn commit(arguments: &Arguments, system: &mut System, config: &Config) -> anyhow::Result<ExitCode> {
    match system {
        System::Offline(offline) => {
            let uid = rustix::process::getuid().as_raw();
            let origin = Origin { uid, pid: std::process::id(), unix_s: now_unix_s() };
            offline.change(|loaded| loaded.load(config, arguments.anchor(), origin))?;
        }
        System::Live(socket) => {
            if arguments.anchor.is_some() {
                system.scratch("loading an anchor")?;
                return Ok(ExitCode::FAILURE);
            }
            match config.lower() {
                Ok(ruleset) => {
                    live::connect(socket)?.commit(&ruleset)?;
                }
                Err(refused) => {
                    eprint!("{refused}");
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
