//! Verbs that ask a running firewall: turnpike-control, or the dataplane itself.

mod commit;
mod drops;
mod info;
mod routes;
mod rules;
mod source;
mod status;

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use api::Client;
use ruleset::StateView;
use serde::Serialize;

pub use commit::commit;
pub use drops::write_drops;
pub use info::{write_carried, write_info, write_interface};
pub use routes::{write_neighbors, write_route_to, write_routes};
pub use rules::write_rules;
pub use source::{Answer, Sockets, Source};
pub use status::{write_control, write_status};

/// Where the dataplane answers unless `--dataplane-socket` says otherwise.
pub const SOCKET: &str = "/run/turnpike/dataplane.sock";

/// Whether a listing is for people or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text.
    Text,
    /// JSON.
    Json,
}

impl Format {
    /// What `--json` says.
    pub const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints a value as JSON, or as `text` writes it.
pub fn print<T: Serialize>(
    format: Format,
    value: &T,
    text: impl FnOnce(&mut dyn Write, &T) -> io::Result<()>,
) -> Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, value)?;
            writeln!(out)?;
        }
        Format::Text => text(&mut out, value)?,
    }
    Ok(())
}

/// Prints states as they come: pf's lines, with all that is known of each if `detailed`; or a JSON array.
pub struct StatePrinter<W: Write> {
    out: W,
    format: Format,
    detailed: bool,
    count: u64,
    failure: Option<io::Error>,
}

impl<W: Write> StatePrinter<W> {
    pub fn new(out: W, format: Format, detailed: bool) -> Self {
        Self { out, format, detailed, count: 0, failure: None }
    }

    /// One more. What cannot be written is told at the end.
    pub fn state(&mut self, state: &StateView) {
        let out = &mut self.out;
        let written = match (self.format, self.detailed) {
            (Format::Text, true) => writeln!(out, "{state:#}"),
            (Format::Text, false) => writeln!(out, "{state}"),
            (Format::Json, _) => {
                let before = if self.count == 0 { "[\n" } else { ",\n" };
                write!(out, "{before}").and_then(|()| Ok(serde_json::to_writer(out, state)?))
            }
        };
        self.count += 1;
        self.failure = self.failure.take().or(written.err());
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// There are no more.
    pub fn finish(mut self) -> Result<()> {
        if self.format == Format::Json {
            writeln!(self.out, "{}", if self.count == 0 { "[]" } else { "\n]" })?;
        }
        match self.failure {
            Some(error) => Err(error).context("cannot write the states"),
            None => Ok(self.out.flush()?),
        }
    }
}

/// Connects to the dataplane.
pub fn connect(socket: &Path) -> Result<Client> {
    Ok(Client::connect(socket)?)
}
