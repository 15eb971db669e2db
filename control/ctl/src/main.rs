//! `tpctl`: the operator's command line. Called as `pfctl`, it answers as `tpctl pfctl` does.
//!
//! One module per verb; each has its arguments as a clap struct and a `run` that returns the exit code: 0 done,
//! 1 refused or failed, 2 usage.
#![forbid(unsafe_code)]

mod apply;
mod check;
mod convert;
mod doctor;
mod drops;
mod events;
mod filter;
mod generate;
mod host;
mod live;
mod machine;
mod nat;
mod nic;
mod output;
mod pfctl;
mod pflog;
mod rulebook;
mod session;
mod show;
mod states;
mod table;
mod test;
mod time;
mod top;
mod trace;
mod tree;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use live::Sockets;

#[derive(Parser)]
#[command(name = "tpctl", version, about = "Check, load and look at the rules of a Turnpike firewall")]
struct Cli {
    #[command(flatten)]
    sockets: Sockets,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Check a ruleset: everything that would keep it from being loaded
    Check(check::Written),
    /// Say what a ruleset does with a packet, without any firewall
    Test(test::Arguments),
    /// Write a ruleset in the other dialect, and say what cannot be expressed in it
    Convert(convert::Arguments),
    /// Make a ruleset the live one, as a whole or not at all
    Apply(apply::Arguments),
    /// Keep the rules that were applied with --confirm
    Confirm(show::FormatArguments),
    /// Make the rules of an older revision live again
    Rollback(apply::RollbackArguments),
    /// Say what would change if a ruleset became live
    Diff(check::Written),
    /// List the revisions that are kept, or print one
    Revisions(apply::RevisionsArguments),
    /// Say which rules are live, and how the dataplane is
    Status(show::FormatArguments),
    /// Show what the dataplane has and does
    Show(show::Arguments),
    /// List the states, as pfctl -ss does, or kill some
    States(states::Arguments),
    /// Show and change what a table holds, at once and without a reload
    Table(table::Arguments),
    /// Say to which addresses connections are translated, and how many ports of each are in use
    Nat(nat::Arguments),
    /// Say why packets are dropped, by reason, interface and rule, with rates and the last examples
    Drops(drops::Arguments),
    /// Show what becomes of packets that fit a filter, stage by stage, as it happens
    Trace(trace::Arguments),
    /// Show states as they are made, reach other levels and go, and why
    Events(events::Arguments),
    /// Show what is busiest now: states, rules, workers, and why packets are dropped
    Top(top::Arguments),
    /// Show the packets that log rules record, as they happen
    Pflog(pflog::Arguments),
    /// Network cards: list them, hand them to the dataplane, give them back to the kernel
    Nic(nic::Arguments),
    /// Say what is wrong with the traffic, by what it is known and how to cure it; or what is wrong with the machine
    Doctor(Box<doctor::Arguments>),
    /// Write manual pages or completions
    #[command(hide = true)]
    Generate(generate::Arguments),
    /// Answer as pfctl(8) does: the same flags, texts and exit codes
    Pfctl(pfctl::Arguments),
}

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments(std::env::args_os().collect()));
    let outcome = match &cli.verb {
        Verb::Check(arguments) => check::run(arguments),
        Verb::Test(arguments) => test::run(arguments),
        Verb::Convert(arguments) => convert::run(arguments),
        Verb::Apply(arguments) => apply::run(arguments, &cli.sockets),
        Verb::Confirm(form) => apply::confirm(form.json(), &cli.sockets),
        Verb::Rollback(arguments) => apply::rollback(arguments, &cli.sockets),
        Verb::Diff(written) => apply::diff(written, &cli.sockets),
        Verb::Revisions(arguments) => apply::revisions(arguments, &cli.sockets),
        Verb::Status(form) => show::status(form, &cli.sockets),
        Verb::Show(arguments) => show::run(arguments, &cli.sockets),
        Verb::States(arguments) => states::run(arguments, &cli.sockets),
        Verb::Table(arguments) => table::run(arguments, &cli.sockets),
        Verb::Nat(arguments) => nat::run(arguments, &cli.sockets),
        Verb::Drops(arguments) => drops::run(arguments, &cli.sockets),
        Verb::Trace(arguments) => trace::run(arguments, cli.sockets.dataplane()),
        Verb::Events(arguments) => events::run(arguments, cli.sockets.dataplane()),
        Verb::Top(arguments) => top::run(arguments, cli.sockets.dataplane()),
        Verb::Pflog(arguments) => pflog::run(arguments, cli.sockets.dataplane()),
        Verb::Nic(arguments) => nic::run(arguments),
        Verb::Doctor(arguments) => doctor::run(arguments, &cli.sockets),
        Verb::Generate(arguments) => generate::run(arguments, Cli::command()),
        Verb::Pfctl(arguments) => pfctl::run(arguments, &cli.sockets),
    };
    outcome.unwrap_or_else(|error| {
        if output::is_unread(&error) {
            return ExitCode::SUCCESS;
        }
        match &cli.verb {
            Verb::Pfctl(_) => pfctl::complain("pfctl", &error),
            Verb::Table(_) => pfctl::complain("tpctl", &error),
            _ => eprintln!("tpctl: {error:#}"),
        }
        ExitCode::FAILURE
    })
}

/// Under the name of pfctl, every argument is pfctl's.
fn arguments(mut given: Vec<OsString>) -> Vec<OsString> {
    let name = given.first().and_then(|program| Path::new(program).file_name());
    if name.is_some_and(|name| name == "pfctl") {
        given.splice(0..1, ["tpctl".into(), "pfctl".into()]);
    }
    given
}
