//! `tpctl pfctl`: pfctl(8)'s flags, texts and exit codes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context, anyhow};
use clap::{ArgAction, Args, ValueEnum};
use pfconf::Numbers;

use crate::check::definition;
use crate::live::{self, Format};
use crate::machine::{self, Machine};

#[derive(Args)]
#[group(required = true, multiple = true, args = ["file", "show"])]
pub struct Arguments {
    /// Load this ruleset; - for standard input
    #[arg(short, value_name = "FILE")]
    file: Option<String>,
    /// Only parse, do not load
    #[arg(short)]
    noaction: bool,
    /// Show something of the running dataplane
    #[arg(short, value_name = "WHAT")]
    show: Option<Show>,
    /// Say more; twice, still more
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
    /// Show what helps to debug: the numbers of rules
    #[arg(short = 'g')]
    debug: bool,
    /// Only print errors and warnings, which is all that -n says
    #[arg(short)]
    quiet: bool,
    /// Optimize the ruleset: rules are always evaluated as they are written
    #[arg(short, value_name = "LEVEL")]
    optimize: Option<Optimize>,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Optimize {
    None,
    Basic,
    Profile,
}

/// What `-s` shows; pfctl takes any beginning of these words.
#[derive(Clone, Copy)]
enum Show {
    Rules,
    States,
    Info,
}

impl FromStr for Show {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let all = [("rules", Self::Rules), ("states", Self::States), ("info", Self::Info)];
        let found = all.into_iter().find(|(name, _)| !word.is_empty() && name.starts_with(word));
        found.map(|(_, show)| show).ok_or_else(|| "expected rules, states or info".to_owned())
    }
}

pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    if let Some(file) = &arguments.file {
        let ended = load(arguments, file, socket)?;
        if ended != ExitCode::SUCCESS {
            return Ok(ended);
        }
    }
    match arguments.show {
        Some(what) => show(what, arguments.verbose, socket),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn show(what: Show, verbose: u8, socket: &Path) -> anyhow::Result<ExitCode> {
    let mut client = live::connect(socket)?;
    match what {
        Show::Rules => live::print(Format::Text, &client.rules()?, live::write_rules)?,
        Show::States => live::print_states(&mut client, Format::Text, verbose > 0)?,
        Show::Info => {
            let (status, drops) = (client.status()?, client.drops()?);
            live::write_info(&mut std::io::stdout().lock(), &status, &drops)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn load(arguments: &Arguments, file: &str, socket: &Path) -> anyhow::Result<ExitCode> {
    let machine = Machine::new(arguments.interfaces.as_ref())?;
    let (name, text) = machine::read_ruleset(file)
        .with_context(|| format!("{}: cannot open the main config file!", file))?;
    let (config, findings) = pfconf::read(&machine, name, &text, &arguments.definitions);
    eprint!("{findings}");
    let mut shown = String::new();
    if arguments.verbose > 0 {
        shown += &config.print_echo();
        if !findings.has_errors() {
            let numbers =
                if arguments.verbose > 1 || arguments.debug { Numbers::Shown } else { Numbers::Hidden };
            shown += &config.print_rules(numbers);
        }
    }
    std::io::stdout().write_all(shown.as_bytes()).map_err(|error| anyhow!("standard output: {error}"))?;
    if findings.has_errors() {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.noaction {
        return Ok(ExitCode::SUCCESS);
    }
    match config.lower() {
        Ok(ruleset) => {
            live::connect(socket)?.commit(&ruleset)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(refused) => {
            eprint!("{refused}");
            Ok(ExitCode::FAILURE)
        }
    }
}
