//! `tpctl status`, `show` and `states`: what the firewall has and does. To
//! ask for the route to an address that has none is a failure.

use std::io;
use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::Context;
use api::control::StateFilter;
use clap::{Args, Subcommand};
use ruleset::RoutingTable;

use crate::live::{self, Answer, Format, Sockets, StatePrinter};
use crate::pfctl;

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The live revision, states, interfaces, workers, packet buffers
    Status(FormatArguments),
    /// The live rules, in pfctl's normal form
    Rules(FormatArguments),
    /// The states, as pfctl -ss lists them
    States(StateArguments),
    /// Why packets were dropped, by reason and interface
    Drops(FormatArguments),
    /// The state table's counters, as pfctl -si shows them
    Info(FormatArguments),
    /// What each labelled rule has done, as pfctl -sl shows it
    Labels(FormatArguments),
    /// What each interface carried, and dropped
    Interfaces(FormatArguments),
    /// The tables, as pfctl -vvsT shows them
    Tables(FormatArguments),
    /// The time-outs, as pfctl -st shows them
    Timeouts(FormatArguments),
    /// The limits, as pfctl -sm shows them
    Limits(FormatArguments),
    /// The routes that packets are forwarded by, learnt from the kernel
    Routes(FormatArguments),
    /// The route to one address, with its next hops and their Ethernet addresses
    Route(RouteArguments),
    /// The neighbours whose Ethernet addresses are known
    Neighbors(FormatArguments),
}

#[derive(Args)]
pub struct RouteArguments {
    /// The address
    #[arg(value_name = "ADDRESS")]
    address: IpAddr,
    /// By this routing table (`rtable`); else by the main one
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    table: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct StateArguments {
    /// Also windows, age, expiry, counters, rule and id
    #[arg(short)]
    verbose: bool,
    /// Only those bound to this interface; floating states are on `all`
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only those of this protocol, by name or number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    proto: Option<u8>,
    /// Only those with an end at this address or in this network
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Only those with an end at this port
    #[arg(long, value_name = "NUMBER")]
    port: Option<u16>,
    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct FormatArguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl FormatArguments {
    /// True for JSON.
    pub fn json(&self) -> bool {
        self.json
    }
}

/// The number of a protocol, by name or number.
pub fn protocol(word: &str) -> Result<u8, String> {
    pfconf::protocol_number(word).ok_or_else(|| "neither the name nor the number of a protocol".to_owned())
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    match &arguments.what {
        What::Status(form) => status(form, sockets),
        What::Rules(form) => {
            let rules = sockets.source()?.ruleset()?;
            live::print(Format::of(form.json), &rules, live::write_rules)?;
            Ok(ExitCode::SUCCESS)
        }
        What::States(form) => states(form, sockets),
        What::Drops(form) => drops(form, sockets),
        What::Info(form) => as_pfctl("-si", form, sockets),
        What::Labels(form) => as_pfctl("-sl", form, sockets),
        What::Interfaces(form) => {
            let known = sockets.source()?.info()?.interfaces;
            live::print(Format::of(form.json), &known, |out, known| live::write_carried(out, known))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Tables(form) => as_pfctl("-vvsT", form, sockets),
        What::Timeouts(form) => as_pfctl("-st", form, sockets),
        What::Limits(form) => as_pfctl("-sm", form, sockets),
        What::Routes(form) => {
            let routes = sockets.source()?.routes()?;
            live::print(Format::of(form.json), &routes, |out, routes| live::write_routes(out, routes))?;
            Ok(ExitCode::SUCCESS)
        }
        What::Route(arguments) => route(arguments, sockets),
        What::Neighbors(form) => {
            let known = sockets.source()?.neighbors()?;
            live::print(Format::of(form.json), &known, |out, known| live::write_neighbors(out, known))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn route(arguments: &RouteArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let found = sockets.source()?.route_to(arguments.address, RoutingTable(arguments.table))?;
    live::print(Format::of(arguments.json), &found, live::write_route_to)?;
    Ok(if found.route.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What pfctl shows, and as it does.
fn as_pfctl(flags: &str, form: &FormatArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let mut words = vec![flags.to_owned()];
    words.extend(form.json.then(|| "--json".to_owned()));
    pfctl::run_words(&words, sockets)
}

pub fn status(arguments: &FormatArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let answer = sockets.source()?.status()?;
    live::print(Format::of(arguments.json), &answer, |out, answer| match answer {
        Answer::Control(status) => live::write_control(out, status),
        Answer::Dataplane(status) => live::write_status(out, status),
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn states(arguments: &StateArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let filter = StateFilter {
        interface: arguments.interface.clone(),
        proto: arguments.proto,
        host: arguments.host.clone(),
        port: arguments.port,
        limit: arguments.limit,
    };
    let mut source = sockets.source()?;
    let out = io::BufWriter::new(io::stdout().lock());
    let mut printer = StatePrinter::new(out, Format::of(arguments.json), arguments.verbose);
    source.states(&filter, |state| printer.state(state)).context("cannot list the states")?;
    printer.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn drops(arguments: &FormatArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let drops = sockets.source()?.drops()?;
    live::print(Format::of(arguments.json), &drops, |out, drops| live::write_drops(out, drops))?;
    Ok(ExitCode::SUCCESS)
}
