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

/// True if a verb has failed only because nobody reads what it prints any more, which is no failure.
pub fn is_unread(error: &anyhow::Error) -> bool {
    let written = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let as_json = || error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    written.or_else(as_json) == Some(io::ErrorKind::BrokenPipe)
}

/// How a verb ends that has printed until writing failed, if it did; `what` is what it prints. That nobody reads any more is no
/// failure.
pub fn ended(failure: Option<io::Error>, what: &str) -> anyhow::Result<ExitCode> {
    match failure {
        Some(error) if error.kind() != io::ErrorKind::BrokenPipe => bail!("cannot write {what}: {error}"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn that_nobody_reads_any_more_is_told_from_what_fails() {
        use std::io::Write;

        let lines = writeln!(Closed, "a line").unwrap_err();
        assert!(is_unread(&lines.into()));
        assert!(is_unread(&serde_json::to_writer(Closed, "an object").unwrap_err().into()));
        assert!(!is_unread(&io::Error::from(io::ErrorKind::StorageFull).into()));
        assert!(!is_unread(&anyhow::anyhow!("Broken pipe")));
        // Whoever answers, rather than whoever reads.
        let path = "/run/turnpike/dataplane.sock".into();
        let gone = api::Error::Connect { path, error: io::ErrorKind::BrokenPipe.into() };
        assert!(!is_unread(&gone.into()));
    }
}
