//! `tpctl doctor --host`: is the machine ready for packets at line rate, and what to do if it is not.
//!
//! Every finding names the kernel arguments or the commands that end it; a machine that is ready yields none. Nothing is
//! changed.

mod cpu;
mod device;
mod memory;
mod wanted;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::tree::Tree;
use wanted::Wanted;

#[derive(Args)]
#[group(skip)]
pub struct Arguments {
    /// The configuration that the machine is to run
    #[arg(long, value_name = "FILE", default_value = wanted::CONFIG, requires = "host")]
    config: PathBuf,
    /// Read /proc, /sys and /dev beneath this folder
    #[arg(long, hide = true, value_name = "DIR", default_value = "/", requires = "host")]
    root: PathBuf,
}

/// What is wrong, and what ends it.
#[derive(Debug, Default, Serialize)]
pub struct Finding {
    /// The part of the machine: `hugepages`, `iommu`, `device`, `cpus`, `numa`, `governor`, `clock` or `tap`.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
    /// Arguments that the kernel needs at the next boot.
    pub kernel_arguments: Vec<String>,
    /// Commands that help at once, or that the arguments cannot replace.
    pub commands: Vec<String>,
}

impl Finding {
    fn new(check: &'static str, what: String) -> Self {
        Self { check, what, ..Self::default() }
    }

    /// With arguments for the kernel; those that it has are left out.
    fn argue(mut self, tree: &Tree, arguments: impl IntoIterator<Item = String>) -> Self {
        let given = tree.text("/proc/cmdline").unwrap_or_default();
        let missing = |argument: &String| given.split_whitespace().all(|word| word != argument);
        self.kernel_arguments = arguments.into_iter().filter(missing).collect();
        self
    }

    /// With a command.
    fn command(mut self, command: impl Into<String>) -> Self {
        self.commands.push(command.into());
        self
    }
}

/// Everything found, in JSON.
#[derive(Serialize)]
struct Report {
    ready: bool,
    findings: Vec<Finding>,
    /// Those of all findings, each once.
    kernel_arguments: Vec<String>,
}

pub fn run(arguments: &Arguments, json: bool) -> anyhow::Result<ExitCode> {
    let tree = Tree::new(&arguments.root);
    let wanted = Wanted::read(&tree, &arguments.config)?;
    let mut findings = memory::check(&tree, &wanted);
    findings.extend(device::check(&tree, &wanted));
    findings.extend(cpu::check(&tree, &wanted));
    let report = Report::of(findings);
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.write(&mut io::stdout().lock(), &wanted)?;
    }
    Ok(if report.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    fn of(findings: Vec<Finding>) -> Self {
        let mut kernel_arguments: Vec<String> = Vec::new();
        for argument in findings.iter().flat_map(|finding| &finding.kernel_arguments) {
            if !kernel_arguments.contains(argument) {
                kernel_arguments.push(argument.clone());
            }
        }
        Self { ready: findings.is_empty(), findings, kernel_arguments }
    }

    fn write(&self, out: &mut impl Write, wanted: &Wanted) -> io::Result<()> {
        writeln!(out, "for {}", wanted.summary())?;
        for finding in &self.findings {
            writeln!(out, "{}: {}", finding.check, finding.what)?;
            for command in &finding.commands {
                writeln!(out, "    run: {command}")?;
            }
        }
        if !self.kernel_arguments.is_empty() {
            writeln!(out, "kernel arguments to set, in GRUB_CMDLINE_LINUX of /etc/default/grub:")?;
            writeln!(out, "    {}", self.kernel_arguments.join(" "))?;
            writeln!(out, "then run update-grub, and boot anew")?;
        }
        match self.findings.len() {
            0 => writeln!(out, "the host is ready"),
            1 => writeln!(out, "1 finding"),
            count => writeln!(out, "{count} findings"),
        }
    }
}
