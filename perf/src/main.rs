//! `perf`: measures the packet path beside its floors on this machine; see README.md.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::Context;
use clap::{Parser, Subcommand};
use perf::bed::Bed;
use perf::budget::{Budget, Verdict};
use perf::plan::Plan;
use perf::report::Report;
use perf::traffic::Traffic;
use perf::{plot, testpmd};

/// Tables of millions of entries live in huge pages, as the dataplane's do.
#[global_allocator]
static MEMORY: dpdk::HugePages = dpdk::HugePages;

/// Measures the packet path beside its floors, without a NIC.
#[derive(Debug, Parser)]
#[command(name = "perf/run", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Less of everything, in under five minutes.
    #[arg(long)]
    quick: bool,
    /// Ten million connections as well; takes some 8 GB of memory.
    #[arg(long, conflicts_with = "quick")]
    full: bool,
    /// Writes the figures here, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes everything into this folder: table.md, results.json, and plots as SVG and PNG.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
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
    /// Leaves out whole workers: copies, hand-off, scaling, reload, latency.
    #[arg(long)]
    engine_only: bool,
    /// Rounds to keep of each comparison.
    #[arg(long)]
    rounds: Option<usize>,
    /// Prints how many MiB of hugepages the measurement needs, and does nothing.
    #[arg(long)]
    hugepages_needed: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compares figures that were written by --json or --out with what is promised.
    Check {
        /// The figures.
        results: PathBuf,
        /// The promises.
        #[arg(long, value_name = "FILE", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/budget.toml"))]
        budget: PathBuf,
    },
}

/// Says which promises a measurement keeps; a failure if it misses one.
fn check(results: &Path, budget: &Path) -> anyhow::Result<ExitCode> {
    let text = fs::read_to_string(results).with_context(|| results.display().to_string())?;
    let report: Report = serde_json::from_str(&text).with_context(|| results.display().to_string())?;
    let mut code = ExitCode::SUCCESS;
    for promise in Budget::read(budget)?.promises {
        let (figure, verdict) = match promise.judge(&report) {
            Verdict::NotMeasured => ("–".to_owned(), "not measured".to_owned()),
            Verdict::Kept(value) => (format!("{value:.2}"), "kept".to_owned()),
            Verdict::Missed(value, by) => {
                code = ExitCode::FAILURE;
                (format!("{value:.2}"), format!("missed by {:.0} %", by * 100.0))
            }
        };
        println!("{:62} {:>8}  {figure:>8}  {verdict}", promise.subject(), promise.bound());
    }
    Ok(code)
}

fn traffic(name: &str) -> Result<Traffic, String> {
    let known = Traffic::ALL.map(Traffic::name).join(", ");
    Traffic::named(name).ok_or_else(|| format!("no such traffic; known are {known}"))
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
        let sizes: &[usize] = if self.quick { &[1_000, 10_000] } else { &[1_000, 10_000, 100_000] };
        let classbench = if self.rules.is_empty() { sizes } else { &[] }.to_vec();
        let mut rules = or_usual(&self.rules, &[10, 1_000, 10_000]);
        rules.retain(|count| *count > 0);
        Plan {
            connections,
            traffic: or_usual(&self.traffic, &Traffic::ALL),
            rules,
            classbench,
            rounds: self.rounds.unwrap_or(if self.quick { 9 } else { 15 }),
            slices: if self.quick { 100 } else { 200 },
            whole: !self.engine_only,
            quick: self.quick,
        }
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Makes a PNG of an SVG, beside it, at twice its size.
fn draw(svg: &Path) -> anyhow::Result<()> {
    let png = svg.with_extension("png");
    let done = process::Command::new("rsvg-convert").args(["--zoom=2", "-o"]).args([&png, svg]).status();
    let done = done.context("rsvg-convert does not start; install librsvg2-bin for plots as PNG")?;
    anyhow::ensure!(done.success(), "rsvg-convert does not understand {}", svg.display());
    Ok(())
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(Command::Check { results, budget }) = &arguments.command {
        return check(results, budget);
    }
    let plan = arguments.plan();
    if arguments.hugepages_needed {
        println!("{}", plan.hugepages_mib());
        return Ok(ExitCode::SUCCESS);
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = arguments.cpu.unwrap_or(cpus - 1);
    let macswap = if cpus > 1 { testpmd::macswap((cpu + 1) % cpus, cpu) } else { None };
    let mut bed = Bed::new(cpu, (cpus > 1).then_some((cpu + 1) % cpus), plan.hugepages_mib())
        .context("perf/run reserves the hugepages that this needs, and gives them back")?;
    let report = plan.run(&mut bed, macswap, |what| eprintln!("==> {what}"))?;
    let hz = bed.clock().hz();
    let head = format!("Counter at {:.2} GHz, CPU {cpu}, {}", hz as f64 / 1e9, dpdk::version());
    let table = format!("{head}\n\n{}", report.tables(hz));
    print!("{table}");
    if let Some(path) = &arguments.json {
        write(path, &report.json()?)?;
    }
    if let Some(folder) = &arguments.out {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        write(&folder.join("table.md"), &table)?;
        write(&folder.join("results.json"), &report.json()?)?;
        for (name, svg) in plot::all(&report, hz) {
            let path = folder.join(name).with_extension("svg");
            write(&path, &svg)?;
            draw(&path)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
