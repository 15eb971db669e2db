//! What is logged, changed while the process runs (`pfctl -x`).
//!
//! Overview: whoever sets the log up says how it is changed ([`install`]); nothing is kept over a restart. Ownership: one
//! for the process, as the log itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use api::LogLevel;
use tracing::level_filters::LevelFilter;

/// Changes what is logged; false if it could not.
type Change = Box<dyn Fn(LevelFilter) -> bool + Send + Sync>;

struct Verbosity {
    change: Change,
    /// Packets that do not fit their state are logged: the log itself does not tell `notice` from what it is at the start.
    mismatches: AtomicBool,
    name: Mutex<String>,
}

static VERBOSITY: OnceLock<Verbosity> = OnceLock::new();

/// The log cannot be changed while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is logged cannot be changed now; restart the dataplane with --log")]
pub struct Fixed;

/// Says what is logged at the start, and how that is changed. The first call counts.
pub fn install(name: &str, change: impl Fn(LevelFilter) -> bool + Send + Sync + 'static) {
    let name = Mutex::new(name.to_owned());
    VERBOSITY.get_or_init(|| Verbosity {
        change: Box::new(change),
        mismatches: AtomicBool::new(false),
        name,
    });
}

/// Logs what is as grave as this, and graver.
///
/// # Errors
/// [`Fixed`].
pub fn set(level: LogLevel) -> Result<(), Fixed> {
    let verbosity = VERBOSITY.get().ok_or(Fixed)?;
    let filter = match level {
        LogLevel::Emerg | LogLevel::Alert | LogLevel::Crit | LogLevel::Err => LevelFilter::ERROR,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Notice | LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    if !(verbosity.change)(filter) {
        return Err(Fixed);
    }
    verbosity.mismatches.store(level >= LogLevel::Notice, Ordering::Relaxed);
    level.name().clone_into(&mut lock(verbosity));
    Ok(())
}

/// The place in the log of packets that do not fit their state.
const MISMATCHES: &str = "mismatches";

/// Whether packets that do not fit their state are logged: as in pf, from `notice` on.
pub fn wants_mismatches() -> bool {
    tracing::enabled!(target: MISMATCHES, tracing::Level::DEBUG)
        || VERBOSITY.get().is_some_and(|verbosity| verbosity.mismatches.load(Ordering::Relaxed))
}

/// Logs one. The log leaves out what comes too often from one place.
pub fn log_mismatch(line: &str) {
    if tracing::enabled!(target: MISMATCHES, tracing::Level::DEBUG) {
        tracing::debug!(target: MISMATCHES, "{line}");
    } else {
        tracing::info!(target: MISMATCHES, "{line}");
    }
}

/// What is logged, in pfctl's words or as the filter was given at the start.
pub fn name() -> String {
    VERBOSITY.get().map_or_else(|| LogLevel::Err.name().to_owned(), |verbosity| lock(verbosity).clone())
}

fn lock(verbosity: &Verbosity) -> MutexGuard<'_, String> {
    verbosity.name.lock().unwrap_or_else(PoisonError::into_inner)
}
