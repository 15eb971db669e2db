//! What verbs that go on printing have in common.

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use anyhow::bail;

/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// What goes in front of a picture that is to take the place of the one before: nothing where that is no terminal, or one that
/// knows no more than lines.
pub fn clear() -> &'static str {
    let term = std::env::var_os("TERM");
    if io::stdout().is_terminal() && term.is_some_and(|term| term != "dumb") { CLEAR } else { "" }
}

/// How a verb ends that has printed until writing failed, if it did; `what` is what it prints. That nobody reads any more is no
/// failure.
pub fn ended(failure: Option<io::Error>, what: &str) -> anyhow::Result<ExitCode> {
    match failure {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => bail!("cannot write {what}: {error}"),
        _ => Ok(ExitCode::SUCCESS),
    }
}
