//! `tpctl states`: the states as pfctl lists them, and their end.

use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use ipnet::IpNet;
use ruleset::StateSelector;
use serde::Serialize;
use wire::{Port, Proto};

use crate::live::{self, Format, Sockets};
use crate::show::{self, StateArguments};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: StateArguments,
}

#[derive(Subcommand)]
enum Action {
    /// Kill the states that fit everything given
    Kill(KillArguments),
}

#[derive(Args)]
struct KillArguments {
    /// Made by a packet from this address or network
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    from: Option<IpNet>,
    /// Made by a packet to this address or network
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    to: Option<IpNet>,
    /// Made by a packet to this port
    #[arg(long, value_name = "NUMBER")]
    port: Option<u16>,
    /// Of this protocol, by name or number
    #[arg(long, value_name = "PROTOCOL", value_parser = show::protocol)]
    proto: Option<u8>,
    /// Bound to this interface; floating states are on `all`
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Made by a rule with this label
    #[arg(long, value_name = "LABEL")]
    label: Option<String>,
    /// Of this id, as `tpctl states -v` shows it
    #[arg(long, value_name = "ID", value_parser = id)]
    id: Option<u64>,
    /// Every state
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "neither an address nor a network".to_owned())
}

fn id(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| "not a hexadecimal number".to_owned())
}

#[derive(Serialize)]
struct Killed {
    killed: u64,
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    match &arguments.action {
        None => show::states(&arguments.list, sockets),
        Some(Action::Kill(which)) => kill(which, sockets),
    }
}

fn kill(which: &KillArguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let selector = StateSelector {
        interface: which.interface.clone(),
        proto: which.proto.map(Proto),
        source: which.from,
        source_port: None,
        destination: which.to,
        destination_port: which.port.map(Port),
        label: which.label.clone(),
        id: which.id,
    };
    let any = selector != StateSelector::default();
    ensure!(any != which.all, "say which states to kill, or --all");
    let killed = Killed { killed: sockets.source()?.kill(&selector)? };
    live::print(Format::of(which.json), &killed, |out, killed| {
        writeln!(out, "killed {} states", killed.killed)
    })?;
    Ok(ExitCode::SUCCESS)
}
