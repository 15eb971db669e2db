//! What is wrong with a file, where, and what to do about it.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A fault in turnpike.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    file: PathBuf,
    /// Line and column from 1; `None` if the whole file is at fault.
    place: Option<(usize, usize)>,
    what: String,
    fix: String,
}

impl Fault {
    pub(super) fn unreadable(file: &Path, error: &io::Error) -> Self {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "create it, or name another with --config",
            io::ErrorKind::PermissionDenied => "make it readable, or run as root",
            _ => "check the file",
        };
        Self { file: file.to_owned(), place: None, what: error.to_string(), fix: fix.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        write!(f, " {}; {}", self.what, self.fix)
    }
}

impl std::error::Error for Fault {}

/// A fault before its place is known by line and column.
pub(super) struct Misfit {
    /// Bytes of the text that are at fault.
    pub span: Option<Range<usize>>,
    pub what: String,
    pub fix: String,
}

impl Misfit {
    pub(super) fn new(span: Range<usize>, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { span: Some(span), what: what.into(), fix: fix.into() }
    }

    pub(super) fn locate(self, file: &Path, text: &str) -> Fault {
        let place = self.span.map(|span| {
            let before = &text[..text.floor_char_boundary(span.start)];
            let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
            (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
        });
        Fault { file: file.to_owned(), place, what: self.what, fix: self.fix }
    }
}
