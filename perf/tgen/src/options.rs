//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use dpdk::Device;
use tgen::rate::Rate;
use wire::Mac;

/// Sends traffic through a device under test, between two ports of this machine, and counts what comes back.
///
/// Exit codes: 0 done, 1 refused or failed, 2 usage, 3 packets or connections were lost.
#[derive(Debug, Parser)]
#[command(version, name = "turnpike-tgen")]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the profiles that come with the program.
    Profiles,
    /// Write a profile for TRex, and for pktgen where it can do that.
    Export(Export),
    /// Send at a rate for a time, and report.
    Run(Box<Run>),
    /// Search the highest rate without loss, by bisection (RFC 2544).
    Throughput(Box<Throughput>),
    /// Search the rates of several loss ratios, with short trials first (MLRsearch): NDR and PDR.
    Mlr(Box<Mlr>),
}

/// `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Where to: folders are made in it.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// The traffic: a name that `turnpike-tgen profiles` lists, or a file.
    #[arg(long, value_name = "PROFILE")]
    pub profile: String,
    /// Who is where, in place of perf/profiles/network.toml.
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
}

/// Where a search looks.
#[derive(Debug, Args)]
pub struct Bounds {
    /// The most that is tried: line rate, if the ports tell it, unless given.
    #[arg(long, value_name = "RATE", default_value = "100%")]
    pub max_rate: Rate,
    /// The least that is tried.
    #[arg(long, value_name = "RATE", default_value = "100")]
    pub min_rate: Rate,
}

/// `throughput`.
#[derive(Debug, Args)]
pub struct Throughput {
    /// The bed.
    #[command(flatten)]
    pub bed: Bed,
    /// Where to look.
    #[command(flatten)]
    pub bounds: Bounds,
    /// How close to the lowest rate with loss the result is to be.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    pub precision: f64,
    /// How long each trial is; RFC 2544 wants 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = seconds)]
    pub seconds: f64,
}

/// `mlr`.
#[derive(Debug, Args)]
pub struct Mlr {
    /// The bed.
    #[command(flatten)]
    pub bed: Bed,
    /// Where to look.
    #[command(flatten)]
    pub bounds: Bounds,
    /// Loss that is allowed, for each goal: the first is the non-drop rate.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values_t = [0.0, 0.5])]
    pub loss: Vec<f64>,
    /// The share of time in which trials may lose more than that.
    #[arg(long, value_name = "PERCENT", default_value_t = 50.0)]
    pub exceed: f64,
    /// How close the bounds are to be.
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5, value_parser = percent)]
    pub precision: f64,
    /// How long the first trials are.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub initial: f64,
    /// How long the last ones are.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, value_parser = seconds)]
    pub seconds: f64,
    /// How many seconds of trials decide a rate.
    #[arg(long, value_name = "SECONDS", default_value_t = 21.0, value_parser = seconds)]
    pub sum: f64,
}

/// `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The bed.
    #[command(flatten)]
    pub bed: Bed,
    /// How much: 100k (packets a second each way, or connections a second), 50% (of the line), 1Gbps (on the wire, each way).
    #[arg(long, value_name = "RATE")]
    pub rate: Rate,
    /// For how long.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
}

/// Two ports and what goes between them.
#[derive(Debug, Args)]
pub struct Bed {
    /// The port on the clients' side: a PCI address, or a DPDK virtual device.
    #[arg(long, value_name = "DEVICE")]
    pub client: Device,
    /// The port on the servers' side.
    #[arg(long, value_name = "DEVICE")]
    pub server: Device,
    /// The traffic: a name that `turnpike-tgen profiles` lists, or a file.
    #[arg(long, value_name = "PROFILE", default_value = "udp-64")]
    pub profile: String,
    /// Who is where, in place of perf/profiles/network.toml.
    #[arg(long, value_name = "FILE")]
    pub network: Option<PathBuf>,
    /// CPUs to poll with: one for both ports, or one each. The last that the process may use unless given.
    #[arg(long, value_name = "CPUS", value_delimiter = ',', num_args = 1..=2)]
    pub lcores: Vec<usize>,
    /// Nothing is between the ports, or a bridge: each sends to the other's Ethernet address.
    #[arg(long, conflicts_with_all = ["client_peer", "server_peer"])]
    pub direct: bool,
    /// The next hop on the clients' side, in place of asking for it.
    #[arg(long, value_name = "MAC")]
    pub client_peer: Option<Peer>,
    /// The next hop on the servers' side, in place of asking for it.
    #[arg(long, value_name = "MAC")]
    pub server_peer: Option<Peer>,
    /// The line's rate, where ports do not tell: 10G.
    #[arg(long, value_name = "BITS", value_parser = bits)]
    pub line_rate: Option<f64>,
    /// Connections that are opened, and at the end closed, a second, where the profile's stay open.
    #[arg(long, value_name = "CONNECTIONS", default_value_t = 20_000.0, value_parser = positive)]
    pub open_rate: f64,
    /// How long packets may take: each trial receives for so long after its sending.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub settle: f64,
    /// Write the report for programs.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// An Ethernet address on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub Mac);

impl FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let octets: Option<Vec<u8>> = text
            .split(':')
            .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2))
            .collect();
        let octets = octets.and_then(|octets| octets.try_into().ok());
        Ok(Self(Mac(
            octets.with_context(|| format!("`{text}` is no Ethernet address, as 02:00:00:00:00:01"))?
        )))
    }
}

fn seconds(text: &str) -> Result<f64> {
    let seconds: f64 = text.parse()?;
    anyhow::ensure!((0.001..=86_400.0).contains(&seconds), "between a millisecond and a day");
    Ok(seconds)
}

fn percent(text: &str) -> Result<f64> {
    let percent: f64 = text.parse()?;
    anyhow::ensure!((0.01..=50.0).contains(&percent), "between 0.01 and 50");
    Ok(percent)
}

fn positive(text: &str) -> Result<f64> {
    match text.parse()? {
        Rate::Count(count) => Ok(count),
        Rate::Percent(_) | Rate::Bits(_) => anyhow::bail!("a number a second, as 20k"),
    }
}

fn bits(text: &str) -> Result<f64> {
    match text.parse()? {
        Rate::Count(bits) | Rate::Bits(bits) => Ok(bits),
        Rate::Percent(_) => anyhow::bail!("a number of bits a second, as 10G"),
    }
}
