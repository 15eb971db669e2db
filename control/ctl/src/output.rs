//! What verbs that go on printing have in common.

use std::io;
use std::process::ExitCode;

use anyhow::bail;

/// Clears a terminal.
pub const CLEAR: &str = "\x1b[H\x1b[2J";

/// How a verb ends that has printed until writing failed, if it did; `what` is what it prints. That nobody reads any more is no
/// failure.
pub fn ended(failure: Option<io::Error>, what: &str) -> anyhow::Result<ExitCode> {
    match failure {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => bail!("cannot write {what}: {error}"),
        _ => Ok(ExitCode::SUCCESS),
    }
}
