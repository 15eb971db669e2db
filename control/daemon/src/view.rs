//! What the committer knows, as everyone else sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use api::control::{Live, Pending, Revision};
use pfconf::Interfaces;
use ruleset::Ruleset;

use crate::names::Names;
use crate::tables::TableSet;

/// A snapshot, never changed.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Which rules are live.
    pub live: Live,
    /// The live rules; `None` if there are none or they are unknown.
    pub rules: Option<Arc<Ruleset>>,
    /// What tables hold.
    pub tables: Arc<TableSet>,
    /// The names that tables follow, with their addresses.
    pub names: Arc<Names>,
    /// The revision that awaits confirmation, and until when.
    pub pending: Option<(u64, Instant)>,
    /// Every revision that is kept, the newest last.
    pub revisions: Arc<Vec<Revision>>,
    /// The dataplane's interfaces, as they were last seen.
    pub interfaces: Arc<Interfaces>,
    /// Why the dataplane cannot be reached, if it cannot.
    pub problem: Option<String>,
    /// When rules were last made live, in seconds since 1970.
    pub last_apply_unix_s: Option<u64>,
    /// Attempts to make rules live that failed.
    pub apply_failures: u64,
}

impl View {
    /// The revision that awaits confirmation, at `now`.
    pub fn pending(&self, now: Instant) -> Option<Pending> {
        self.pending.map(|(revision, deadline)| Pending {
            revision,
            left_s: deadline.saturating_duration_since(now).as_secs() as u32,
        })
    }
}

/// Where the committer leaves its snapshots. Readers never wait for more than the change of a pointer.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Arc<View>>);

impl Watch {
    /// The last snapshot.
    pub fn get(&self) -> Arc<View> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Leaves a snapshot.
    pub fn set(&self, view: View) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }
}
