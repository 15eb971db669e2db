//! `tpctl pfctl`: pfctl(8)'s flags, texts and exit codes, for the running dataplane or, with `--offline DIR`, for a
//! scratch ruleset in a folder, on which all verbs act without any daemon.
//!
//! What was asked for is done in pfctl's order, whatever the order of the flags: `-d`, `-s`, `-z`, `-F`, `-k`, `-K`, `-T`,
//! `-f`, `-e`, `-x`. What changes something says so on standard error, unless `-q` is given.

mod change;
mod kill;
mod load;
mod offline;
mod show;
mod system;
mod table;
mod word;

use std::path::PathBuf;
use std::process::ExitCode;

use api::LogLevel;
use api::control::Part;
use clap::{ArgAction, ArgGroup, Args, Command, FromArgMatches};
use pfconf::{Dialect, Optimize, Scope};

use crate::check::definition;
use crate::live::Sockets;
use crate::machine::Machine;
use system::System;
use word::{Flush, Show, Verb};

#[derive(Args)]
#[command(group = ArgGroup::new("action").required(true).multiple(true).args([
    "file", "show", "flush", "verb", "kill", "kill_sources", "zero", "enable", "disable", "level", "load_states",
    "save_states",
]))]
pub struct Arguments {
    /// Act on this anchor: /* behind it for all that are below it, * for all that it calls
    #[arg(short, value_name = "ANCHOR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    anchor: Option<String>,
    /// Switch filtering off
    #[arg(short)]
    disable: bool,
    /// Define a macro, which the ruleset cannot change
    #[arg(short = 'D', value_name = "MACRO=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// Switch filtering on
    #[arg(short)]
    enable: bool,
    /// Load this ruleset, or with -T these addresses (-T load: its tables); - for standard input
    #[arg(short, value_name = "FILE")]
    file: Option<String>,
    /// Remove: rules, Sources, states, info, Tables, osfp, Reset, all
    #[arg(short = 'F', value_name = "WHAT")]
    flush: Option<Flush>,
    /// Show what helps to debug: skip steps, tables that nobody has defined
    #[arg(short = 'g')]
    debug: bool,
    /// Only what belongs to this interface
    #[arg(short = 'i', value_name = "INTERFACE")]
    interface: Option<String>,
    /// Kill states: by source (and, given again, destination), or `-k label -k L`, `-k id -k ID`, `-k key -k KEY`
    #[arg(short, value_name = "WHICH")]
    kill: Vec<String>,
    /// Kill source nodes: by source, and, given again, destination
    #[arg(short = 'K', value_name = "WHICH")]
    kill_sources: Vec<String>,
    /// Read the ruleset in this dialect, and show rules in it: openbsd, freebsd; else what it uses decides
    #[arg(long, value_name = "DIALECT")]
    dialect: Option<Dialect>,
    /// Put in a file of states; refused: states come from packets alone
    #[arg(short = 'L', value_name = "FILE")]
    load_states: Option<PathBuf>,
    /// Only parse, do not load; with -T, only say what would be done
    #[arg(short)]
    noaction: bool,
    /// Take no name of a host but localhost: ask no name server
    #[arg(short = 'N')]
    numeric: bool,
    /// Rewrite the ruleset to fewer rules in a better order: none, basic, profile
    #[arg(short, value_name = "LEVEL")]
    optimize: Option<Optimize>,
    /// Another pf(4); refused: see --dataplane-socket
    #[arg(short = 'p', value_name = "DEVICE")]
    device: Option<PathBuf>,
    /// Show ports by the names of their services; in FreeBSD's dialect, by number
    #[arg(short = 'P')]
    port_names: bool,
    /// Only print errors and warnings
    #[arg(short)]
    quiet: bool,
    /// Show hosts by their names; refused: addresses are shown as they are
    #[arg(short)]
    reverse: bool,
    /// Only the rule of this number, or its states
    #[arg(short = 'R', value_name = "NUMBER")]
    rule: Option<usize>,
    /// Show: nat, queue, rules, Anchors, Sources, states, info, Interfaces, labels, timeouts, memory, Tables, osfp, all
    #[arg(short, value_name = "WHAT")]
    show: Option<Show>,
    /// Write states into a file; refused: -vvss prints them, --json for programs
    #[arg(short = 'S', value_name = "FILE")]
    save_states: Option<PathBuf>,
    /// The table of -T, which all but load need
    #[arg(short = 't', value_name = "TABLE", requires = "verb")]
    table: Option<String>,
    /// Do something with a table: kill, flush, add, delete, replace, show, test, zero, expire; or load: of the ruleset of
    /// -f only the tables
    #[arg(short = 'T', value_name = "VERB")]
    verb: Option<Verb>,
    /// Say more; twice, still more
    #[arg(short, action = ArgAction::Count)]
    verbose: u8,
    /// The routing domain of -k; there is none but 0
    #[arg(short = 'V', value_name = "NUMBER")]
    domain: Option<u32>,
    /// Set the level of messages: emerg, alert, crit, err, warning, notice, info, debug
    #[arg(short = 'x', value_name = "LEVEL", value_parser = word::level)]
    level: Option<LogLevel>,
    /// Set the counters of rules to zero: those of the main ruleset, or with -a of the anchor
    #[arg(short)]
    zero: bool,
    /// The addresses of -T
    #[arg(value_name = "ADDRESS", requires = "verb")]
    addresses: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Change rules and tables, and switch filtering on, also where that cuts off the connection that this command is given
    /// through
    #[arg(long)]
    force: bool,
    /// A scratch ruleset in this folder, in place of the running dataplane
    #[arg(long, value_name = "DIR")]
    offline: Option<PathBuf>,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, value_name = "FILE")]
    interfaces: Option<PathBuf>,
}

impl Arguments {
    /// The anchor's path, without what says how far below it to go.
    fn anchor(&self) -> &str {
        let given = self.anchor.as_deref().unwrap_or_default();
        given.strip_suffix("/*").or(given.strip_suffix('*')).unwrap_or(given)
    }

    fn scope(&self) -> Scope {
        match self.anchor.as_deref() {
            Some(anchor) if anchor.ends_with("/*") => Scope::Below,
            Some(anchor) if anchor.ends_with('*') => Scope::Called,
            _ => Scope::Here,
        }
    }

    /// Says what was done, unless `-q` forbids it.
    fn say(&self, text: &str) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Says what was done, and with `--json` also in numbers.
    fn tell(&self, text: &str, outcome: serde_json::Value) {
        self.say(text);
        if self.json {
            println!("{outcome}");
        }
    }

    /// The machine that names of hosts and interfaces are of.
    fn machine(&self) -> anyhow::Result<Machine> {
        let machine = Machine::new(self.interfaces.as_ref())?;
        Ok(if self.numeric { machine.without_names() } else { machine })
    }

    /// Refuses what pfctl can do and this firewall cannot, before anything is done.
    fn check_supported(&self) -> anyhow::Result<()> {
        let refused = [
            (
                self.load_states.is_some(),
                "-L: states are made by packets alone; they outlive loads of rules and restarts of turnpike-control",
            ),
            (
                self.save_states.is_some(),
                "-S: no file of states can be put back; -vvss prints them, --json for programs",
            ),
            (
                self.device.is_some(),
                "-p: there is no pf(4) here; tpctl --dataplane-socket names another dataplane",
            ),
            (self.reverse && self.numeric, "-N and -r are mutually exclusive"),
            (self.reverse, "-r: no name server is asked; addresses are shown as they are"),
            (self.domain.is_some_and(|domain| domain != 0), "-V: there is one routing domain, 0"),
        ];
        match refused.into_iter().find(|(given, _)| *given) {
            Some((_, why)) => anyhow::bail!(why),
            None => Ok(()),
        }
    }

    fn changes_anchor(&self) -> bool {
        self.file.is_some() || self.flush.is_some() || self.zero
    }
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    arguments.check_supported()?;
    let private = |anchor: &str| anchor.starts_with('_') || anchor.contains("/_");
    if arguments.verb.is_none() && arguments.changes_anchor() && private(arguments.anchor()) {
        anyhow::bail!("anchor names beginning with '_' cannot be modified from the command line");
    }
    if arguments.anchor.is_some() && !arguments.changes_anchor() && arguments.show.is_none() {
        anyhow::ensure!(arguments.verb.is_some(), "anchors apply to -f, -F, -s, -z, and -T only");
    }
    match arguments.verb {
        Some(Verb::Load) if arguments.file.is_none() => {
            return Ok(misused("-T load takes tables from -f FILE"));
        }
        Some(verb) if verb != Verb::Load && arguments.table.is_none() => {
            return Ok(misused("-T needs a table: -t TABLE"));
        }
        _ => {}
    }
    let mut system = System::new(arguments.offline.as_deref(), sockets)?;
    let mut ended = ExitCode::SUCCESS;
    if !arguments.noaction {
        act(arguments, &mut system)?;
    }
    match (arguments.verb, &arguments.table, &arguments.file) {
        (None, _, None) => {}
        (None, _, Some(file)) => ended = load::run(arguments, &mut system, file, Part::Everything)?,
        (Some(Verb::Load), _, Some(file)) => ended = load::run(arguments, &mut system, file, Part::Tables)?,
        (Some(verb), Some(table), _) => ended = table::run(arguments, &mut system, table, verb)?,
        (Some(_), None, _) => unreachable!("refused before anything was done"),
    }
    if !arguments.noaction {
        if arguments.enable {
            change::enable(arguments, &mut system)?;
        }
        if let Some(level) = arguments.level {
            change::set_level(arguments, &mut system, level)?;
        }
    }
    Ok(ended)
}

/// Says how it is used.
fn misused(what: &str) -> ExitCode {
    eprintln!("pfctl: {what}");
    ExitCode::from(2)
}

/// Does what pfctl would do, called with these words.
pub fn run_words(words: &[String], sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let command = Arguments::augment_args(Command::new("tpctl").no_binary_name(true));
    let matches = command.try_get_matches_from(words);
    let parsed = matches.and_then(|matches| Arguments::from_arg_matches(&matches));
    match parsed {
        Ok(arguments) => run(&arguments, sockets),
        Err(error) => error.exit(),
    }
}

/// Says why nothing was done, as pfctl does.
pub fn complain(program: &str, error: &anyhow::Error) {
    match error.downcast_ref::<table::Bare>() {
        Some(bare) => eprintln!("{bare}"),
        None => eprintln!("{program}: {error:#}"),
    }
}

/// What pfctl does before it loads anything.
fn act(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    if arguments.disable {
        change::disable(arguments, system)?;
    }
    if let Some(what) = arguments.show {
        show::run(arguments, system, what)?;
    }
    if arguments.zero {
        change::zero(arguments, system)?;
    }
    if let Some(what) = arguments.flush {
        change::flush(arguments, system, what)?;
    }
    if !arguments.kill.is_empty() {
        kill::states(arguments, system)?;
    }
    if !arguments.kill_sources.is_empty() {
        kill::sources(arguments, system)?;
    }
    Ok(())
}
