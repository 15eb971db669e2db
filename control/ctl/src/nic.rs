//! `tpctl nic`: which network cards there are, and which driver has them.
//!
//! Binding goes through driverctl(8), which keeps its choice over reboots. The NIC that carries the operator's own
//! connection is never taken from the kernel without `--force`.

mod driver;
mod inventory;
mod management;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{Args, Subcommand};

use crate::tree::Tree;
use inventory::{Inventory, Nic};

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    source: Source,
}

#[derive(Subcommand)]
enum Verb {
    /// List the PCI network cards: driver, NUMA node, kernel interfaces, and which one is for management
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a card from the kernel, for the dataplane; lasts over reboots
    Bind(Change),
    /// Give a card back to the kernel
    Unbind(Change),
}

#[derive(Args)]
struct Change {
    /// The card: its PCI address, as 0000:03:00.0, or its kernel interface
    #[arg(value_name = "NIC")]
    nic: String,
    /// Also if it is the management NIC, works with its kernel driver, or is in use
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Where the machine is described.
#[derive(Args)]
struct Source {
    /// Read /proc, /sys and /dev beneath this folder
    #[arg(long, global = true, hide = true, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// The machine's interfaces, as `ip -j addr` prints them, in place of this system's
    #[arg(long, global = true, value_name = "FILE")]
    interfaces: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let tree = Tree::new(&arguments.source.root);
    let inventory = Inventory::take(&tree, arguments.source.interfaces.as_deref())?;
    match &arguments.verb {
        Verb::List { json: true } => println!("{}", serde_json::to_string_pretty(&inventory.nics)?),
        Verb::List { json: false } => write_table(&mut io::stdout().lock(), &inventory.nics)?,
        Verb::Bind(change) => {
            let nic = find(&inventory, &change.nic)?;
            report(&driver::bind(&tree, nic, change.force)?, change.json)?;
        }
        Verb::Unbind(change) => {
            let nic = find(&inventory, &change.nic)?;
            report(&driver::unbind(&tree, nic, change.force)?, change.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn find<'a>(inventory: &'a Inventory, name: &str) -> anyhow::Result<&'a Nic> {
    let named = |nic: &&Nic| {
        nic.address == name
            || nic.address.strip_prefix("0000:") == Some(name)
            || nic.interfaces.iter().any(|interface| interface.name == name)
    };
    inventory.nics.iter().find(named).ok_or_else(|| {
        anyhow!(
            "{name} is neither the PCI address nor the interface of a network card; tpctl nic list shows them"
        )
    })
}

fn report(outcome: &driver::Outcome, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    let driver = outcome.driver.as_deref().unwrap_or("no driver");
    let was = if outcome.changed { "now has" } else { "already has" };
    println!("{} {was} {driver}", outcome.address);
    Ok(())
}

/// One line a card; a card with several interfaces has them in one cell.
fn write_table(out: &mut impl Write, nics: &[Nic]) -> io::Result<()> {
    const HEADINGS: [&str; 7] = ["ADDRESS", "ID", "DRIVER", "NODE", "INTERFACE", "LINK", "ADDRESSES"];
    if nics.is_empty() {
        return writeln!(out, "no PCI network card");
    }
    let rows: Vec<[String; 7]> = nics.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADINGS[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut line = |cells: &[String; 7], note: &str| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        let text = padded.collect::<Vec<_>>().join("  ") + "  " + note;
        writeln!(out, "{}", text.trim_end())
    };
    line(&HEADINGS.map(str::to_owned), "")?;
    for (row, nic) in rows.iter().zip(nics) {
        let note = nic.management.as_ref().map(|why| format!("management: {why}"));
        line(row, note.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

fn row(nic: &Nic) -> [String; 7] {
    let or_dash = |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".into());
    let each = |of: fn(&inventory::Interface) -> String| {
        or_dash(Some(nic.interfaces.iter().map(of).collect::<Vec<_>>().join(" ")))
    };
    [
        nic.address.clone(),
        nic.id.clone(),
        or_dash(nic.driver.clone()),
        or_dash(nic.numa_node.map(|node| node.to_string())),
        each(|interface| interface.name.clone()),
        each(|interface| interface.link.clone()),
        each(|interface| interface.addresses.join(" ")),
    ]
}
