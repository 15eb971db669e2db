//! `tpctl table`: pfctl's `-T` in words of its own.

use std::process::ExitCode;

use clap::Args;

use crate::live::Sockets;
use crate::pfctl;

#[derive(Args)]
pub struct Arguments {
    /// The table
    name: String,
    /// show, test, add, delete, replace, flush, zero, expire or kill
    verb: String,
    /// Addresses and networks, `!` in front of one negates it; for expire, seconds
    #[arg(value_name = "ADDRESS", allow_hyphen_values = true)]
    addresses: Vec<String>,
    /// Addresses in a file; - for standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Say what became of each address; twice, also of those of which nothing did
    #[arg(short, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Change it also where that cuts off the connection that this command is given through
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let mut words = vec!["-t".to_owned(), arguments.name.clone(), "-T".to_owned(), arguments.verb.clone()];
    words.extend(std::iter::repeat_n("-v".to_owned(), arguments.verbose.into()));
    words.extend(arguments.dry_run.then(|| "-n".to_owned()));
    words.extend(arguments.force.then(|| "--force".to_owned()));
    words.extend(arguments.json.then(|| "--json".to_owned()));
    words.extend(arguments.file.iter().flat_map(|file| ["-f".to_owned(), file.clone()]));
    words.push("--".to_owned());
    words.extend(arguments.addresses.iter().cloned());
    pfctl::run_words(&words, sockets)
}
