//! Verbs that ask a running dataplane.

mod drops;
mod info;
mod rules;
mod status;

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use api::Client;
use serde::Serialize;

pub use drops::write_drops;
pub use info::{Info, write_info};
pub use rules::write_rules;
pub use status::write_status;

/// Where the dataplane answers unless `--socket` says otherwise.
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

/// Prints every state: pf's lines, with all that is known of each if `detailed`; or a JSON array.
pub fn print_states(client: &mut Client, format: Format, detailed: bool) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut failure = None;
    let mut first = true;
    let count = client.states(|state| {
        let written = match format {
            Format::Text if detailed => writeln!(out, "{state:#}"),
            Format::Text => writeln!(out, "{state}"),
            Format::Json => {
                let before = if std::mem::take(&mut first) { "[\n" } else { ",\n" };
                write!(out, "{before}").and_then(|()| Ok(serde_json::to_writer(&mut out, &state)?))
            }
        };
        failure = failure.take().or(written.err());
    })?;
    if format == Format::Json {
        writeln!(out, "{}", if count == 0 { "[]" } else { "\n]" })?;
    }
    match failure {
        Some(error) => Err(error).context("cannot write the states"),
        None => Ok(out.flush()?),
    }
}

/// Connects to the dataplane.
pub fn connect(socket: &Path) -> Result<Client> {
    Ok(Client::connect(socket)?)
}
