//! `perf`: measures the packet path beside its floors on this machine; see README.md.
#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use perf::bed::Bed;
use perf::plan::Plan;
use perf::traffic::Traffic;
use perf::{plot, testpmd};

/// Tables of millions of entries live in huge pages, as the dataplane's do.
#[global_allocator]
static MEMORY: dpdk::HugePages = dpdk::HugePages;

/// Measures the packet path beside its floors, without a NIC.
#[derive(Debug, Parser)]
#[command(name = "perf/run")]
struct Arguments {
    /// Less of everything, in under five minutes.
    #[arg(long)]
    quick: bool,
    /// Ten million connections as well; takes some 8 GB of memory.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Writes the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a plot here, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The CPU to measure on; the last one if not given.
    #[arg(long)]
    cpu: Option<usize>,
    /// Numbers of connections, in place of the usual ones.
    #[arg(long, value_delimiter = ',')]
    connections: Vec<u64>,
    /// Kinds of traffic, in place of all.
    #[arg(long, value_delimiter = ',', value_parser = traffic)]
    traffic: Vec<Traffic>,
    /// Numbers of rules for set-up, in place of the usual ones; 0 leaves it out.
    #[arg(long, value_delimiter = ',')]
    rules: Vec<usize>,
    /// Rounds to keep of each comparison.
    #[arg(long)]
    rounds: Option<usize>,
    /// Prints how many MiB of hugepages the measurement needs, and does nothing.
    #[arg(long)]
    hugepages_needed: bool,
}

fn traffic(name: &str) -> Result<Traffic, String> {
    let known = [Traffic::Tcp4, Traffic::Udp4, Traffic::Tcp6];
    known
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| format!("no such traffic; known are {}", known.map(Traffic::name).join(", ")))
}

fn or_usual<T: Clone>(given: &[T], usual: &[T]) -> Vec<T> {
    if given.is_empty() { usual } else { given }.to_vec()
}

impl Arguments {
    fn plan(&self) -> Plan {
        let usual: &[u64] = match (self.quick, self.full) {
            (true, _) => &[10_000, 1_000_000],
            (_, true) => &[1_000, 10_000, 100_000, 1_000_000, 10_000_000],
            _ => &[1_000, 10_000, 100_000, 1_000_000],
        };
        let mut connections = or_usual(&self.connections, usual);
        connections.sort_unstable();
        let mut rules = or_usual(&self.rules, &[10, 1_000, 10_000]);
        rules.retain(|count| *count > 0);
        Plan {
            connections,
            traffic: or_usual(&self.traffic, &[Traffic::Tcp4, Traffic::Udp4, Traffic::Tcp6]),
            rules,
            rounds: self.rounds.unwrap_or(if self.quick { 9 } else { 15 }),
            slices: if self.quick { 100 } else { 200 },
            quick: self.quick,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let plan = arguments.plan();
    if arguments.hugepages_needed {
        println!("{}", plan.hugepages_mib());
        return Ok(());
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = arguments.cpu.unwrap_or(cpus - 1);
    let macswap = if cpus > 1 { testpmd::macswap((cpu + 1) % cpus, cpu) } else { None };
    let mut bed = Bed::new(cpu, plan.hugepages_mib())
        .context("perf/run reserves the hugepages that this needs, and gives them back")?;
    let report = plan.run(&mut bed, macswap, |what| eprintln!("==> {what}"))?;
    let hz = bed.clock().hz();
    println!("counter at {:.2} GHz, CPU {cpu}, {}\n", hz as f64 / 1e9, dpdk::version());
    print!("{}", report.tables(hz));
    if let Some(path) = &arguments.json {
        fs::write(path, report.json()?).with_context(|| path.display().to_string())?;
    }
    if let (Some(path), Some(svg)) = (&arguments.plot, plot::established(&report)) {
        fs::write(path, svg).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
