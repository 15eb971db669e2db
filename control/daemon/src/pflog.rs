//! Keeps what `log` rules record in a file that tcpdump(8) reads, as pflogd(8) does.
//!
//! Overview: one thread reads the dataplane's log and appends it to a [`LogFile`]. Life cycle: from the start of the
//! process; it comes back by itself when the dataplane was away or the file could not be written. Ownership: the thread
//! alone writes the file; everyone else reads [`Counts`]. Bounds: as [`Bounds`] says on the disk; in memory one batch. It
//! never holds the dataplane up: what a slow disk does not take in time is lost there, and counted there.

mod file;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use api::pflog::LogEntry;
use tracing::{info, warn};

use crate::listener;

pub use file::{Bounds, LogFile};

/// What was written so far, and what the writer is asked for.
#[derive(Debug, Default)]
pub struct Counts {
    written: AtomicU64,
    failed: AtomicU64,
    reopen: AtomicBool,
}

impl Counts {
    /// Packets that are in the file.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Packets that could not be written.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Has the file closed and opened anew, before anything else is written.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread, which reads from the dataplane at `socket` into the file at `path`.
///
/// # Errors
/// That a thread cannot be made.
pub fn start(socket: PathBuf, path: PathBuf, bounds: Bounds) -> io::Result<Arc<Counts>> {
    let counts = Arc::new(Counts::default());
    let mut writer = Writer { path, bounds, file: None, troubled: false, counts: Arc::clone(&counts) };
    listener::start("pflog", move || {
        // So that there is a file to read, also before anything is logged.
        writer.take(&[]);
        listener::connect(&socket)?.logs(|entries| {
            writer.take(entries);
            true
        })
    })?;
    Ok(counts)
}

/// The thread's own.
struct Writer {
    path: PathBuf,
    bounds: Bounds,
    file: Option<LogFile>,
    /// The last attempt failed: that is told once.
    troubled: bool,
    counts: Arc<Counts>,
}

impl Writer {
    /// Appends entries, in the file that is under the path now.
    fn take(&mut self, entries: &[LogEntry]) {
        let asked = self.counts.reopen.swap(false, Ordering::Relaxed);
        let stale = self.file.as_ref().is_some_and(|file| asked || !file.is_in_place());
        if stale {
            self.file = None;
        }
        match self.append(entries) {
            Ok(()) => {
                self.counts.written.fetch_add(entries.len() as u64, Ordering::Relaxed);
                if std::mem::replace(&mut self.troubled, false) {
                    info!("{}: logged packets are written again", self.path.display());
                }
            }
            Err(error) => {
                self.counts.failed.fetch_add(entries.len() as u64, Ordering::Relaxed);
                self.file = None;
                if !std::mem::replace(&mut self.troubled, true) {
                    let path = self.path.display();
                    warn!(
                        "{path}: logged packets are not written: {error}; see [control] pflog, and the disk"
                    );
                }
            }
        }
    }

    fn append(&mut self, entries: &[LogEntry]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(LogFile::open(&self.path, self.bounds)?),
        };
        file.append(entries)
    }
}
