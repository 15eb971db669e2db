//! How both processes log: to the journal with fields where systemd keeps one, else as lines for people or for programs.
//!
//! Overview: [`start`] is called once, at the start of `main`. Bounds: of lines from one place in the program,
//! [`BURST`] in [`WINDOW`] are written; how many were left out is told with the next one. So an error that repeats with
//! every packet or client neither fills the disk nor hides the others.
#![allow(clippy::disallowed_methods, reason = "for shells, which have clocks")]

use std::collections::HashMap;
use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Subscriber};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

pub use tracing_subscriber::EnvFilter;

/// Lines from one place that are written within [`WINDOW`].
pub const BURST: u32 = 50;

/// The time after which a place may be heard again.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Where and how lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// To the journal if standard error leads there, else as text.
    #[default]
    Auto,
    /// To the journal.
    Journal,
    /// To standard error, for people.
    Text,
    /// To standard error, a JSON object a line.
    Json,
}

impl Format {
    const NAMES: [(Self, &str); 4] =
        [(Self::Auto, "auto"), (Self::Journal, "journal"), (Self::Text, "text"), (Self::Json, "json")];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found.map(|(format, _)| *format).ok_or_else(|| "write one of auto, journal, text, json".into())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name);
        out.write_str(name)
    }
}

/// Begins to log what passes `filter`.
///
/// # Errors
/// A journal that is not there.
pub fn start(filter: EnvFilter, format: Format) -> Result<(), String> {
    start_adjustable(filter, format).map(drop)
}

/// As [`start`], with a filter that can be replaced while the process runs.
///
/// # Errors
/// A journal that is not there.
pub fn start_adjustable(
    filter: EnvFilter,
    format: Format,
) -> Result<reload::Handle<EnvFilter, Registry>, String> {
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Journal => journal().map_err(|error| {
            format!("cannot reach the journal: {error}; choose another format with --log-format")
        })?,
        // A journal that cannot be reached directly takes lines from standard error.
        Format::Auto if leads_to_journal() => journal().unwrap_or_else(|_| text()),
        Format::Auto | Format::Text => text(),
        Format::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
            Limited::boxed(lines.with_writer(io::stderr))
        }
    };
    let (filter, handle) = reload::Layer::new(filter);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(handle)
}

fn journal() -> io::Result<Box<dyn Layer<Registry> + Send + Sync>> {
    // A field `worker` becomes TURNPIKE_WORKER=.
    tracing_journald::layer()
        .map(|journal| Limited::boxed(journal.with_field_prefix(Some("TURNPIKE".into()))))
}

fn text() -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_ansi(io::stderr().is_terminal());
    Limited::boxed(lines.with_target(false).with_writer(io::stderr))
}

/// systemd.exec(5) `$JOURNAL_STREAM`: device and inode of the stream that the journal reads, if it is standard error.
fn leads_to_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    let error = io::stderr();
    rustix::fs::fstat(&error).is_ok_and(|found| told == format!("{}:{}", found.st_dev, found.st_ino))
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is written, after so many others like it that were not.
    Write {
        /// Lines that were left out.
        left_out: u64,
    },
    /// It is left out.
    LeaveOut,
}

/// Counts lines by the place that they come from.
#[derive(Debug)]
pub struct Limit<P> {
    places: HashMap<P, Place>,
}

#[derive(Debug)]
struct Place {
    since: Instant,
    written: u32,
    left_out: u64,
}

impl<P: Eq + std::hash::Hash> Default for Limit<P> {
    fn default() -> Self {
        Self { places: HashMap::new() }
    }
}

impl<P: Eq + std::hash::Hash> Limit<P> {
    /// Decides on a line from `place`.
    pub fn judge(&mut self, place: P, now: Instant) -> Verdict {
        let place = self.places.entry(place).or_insert(Place { since: now, written: 0, left_out: 0 });
        if now.saturating_duration_since(place.since) >= WINDOW {
            (place.since, place.written) = (now, 0);
        }
        if place.written == BURST {
            place.left_out += 1;
            return Verdict::LeaveOut;
        }
        place.written += 1;
        Verdict::Write { left_out: std::mem::take(&mut place.left_out) }
    }
}

/// Lines, but for those that repeat too often.
struct Limited<L> {
    lines: L,
    limit: Mutex<Limit<Identifier>>,
}

impl<L: Layer<Registry> + Send + Sync> Limited<L> {
    fn boxed(lines: L) -> Box<dyn Layer<Registry> + Send + Sync> {
        Box::new(Self { lines, limit: Mutex::default() })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, L: Layer<S> + 'static> Layer<S> for Limited<L> {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let place = event.metadata().callsite();
        let verdict = self.limit.lock().unwrap_or_else(PoisonError::into_inner).judge(place, Instant::now());
        match verdict {
            Verdict::LeaveOut => {}
            Verdict::Write { left_out: 0 } => self.lines.on_event(event, context),
            Verdict::Write { left_out } => {
                self.lines.on_event(event, context);
                tracing::warn!(left_out, "lines like the last one were left out");
            }
        }
    }
}
