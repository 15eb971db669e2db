//! Events of states, from the workers to those who listen.
//!
//! Overview: while anybody listens the workers tell every event; each listener takes what fits its filter, with names. Ownership:
//! the client's thread. Bounds: those of its queue, [`Readers`](super::readers::Readers).

use std::time::Duration;

use api::{EndReason, EventBatch, EventKind, EventQuery, EventView, TraceAsks};
use engine::Fib;
use engine::events::{Removal, StateChange, StateEvent};

use super::desk::{Desk, lock};
use super::readers::{READERS_MAX, Reader};
use crate::dump::Stalled;

/// How long workers may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
pub enum Unheard {
    /// Too many do.
    #[error("{READERS_MAX} listen to states already; end one of them (tpctl events, IPFIX)")]
    Busy,
    /// There is no such interface.
    #[error("there is no interface {0}")]
    Interface(String),
    /// Workers do not answer.
    #[error("the worker does not answer; see the dataplane's log")]
    Stalled,
}

/// An event, the worker that told it, and when it was, since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// The event.
    pub event: StateEvent,
    /// The worker.
    pub worker: u16,
    /// When.
    pub at: Duration,
}

/// One who listens, until this is dropped.
pub struct Listening<'a> {
    desk: &'a Desk,
    reader: Reader<Happened>,
    query: EventQuery,
}

impl Desk {
    /// Has the workers tell events of states, of which those that fit are this listener's.
    ///
    /// # Errors
    /// If too many listen, there is no such interface, or a worker does not answer.
    pub fn listen(&self, query: EventQuery) -> Result<Listening<'_>, Unheard> {
        check(&query, &self.kernel.fib())?;
        let reader = self.journal.listen().ok_or(Unheard::Busy)?;
        let mut listeners = lock(&self.listeners);
        *listeners += 1;
        let first = *listeners == 1;
        // From here on its end is counted, too.
        let listening = Listening { desk: self, reader, query };
        let begun = if first { lock(&self.lister).listen(true, PATIENCE) } else { Ok(()) };
        drop(listeners);
        begun.map_err(|Stalled| Unheard::Stalled)?;
        Ok(listening)
    }
}

impl Listening<'_> {
    /// What happens next; nothing if nothing happens within `patience`.
    pub fn next(&self, patience: Duration) -> EventBatch {
        let batch = self.reader.next(patience);
        let (fib, live) = (self.desk.kernel.fib(), self.desk.showcase.live());
        let root = live.as_ref().map(|live| &*live.root);
        let told = batch.iter().flat_map(|batch| batch.iter()).map(|one| view(one, root, &fib));
        let events = told.filter(|event| self.query.fits(&event.state)).collect();
        EventBatch { events, lost: self.reader.lost() }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut listeners = lock(&self.desk.listeners);
        *listeners -= 1;
        if *listeners == 0 {
            // A worker that does not come back loses what nobody wants.
            let _ = lock(&self.desk.lister).listen(false, PATIENCE);
        }
    }
}

/// Whether there are the interfaces that it names.
fn check(query: &EventQuery, fib: &Fib) -> Result<(), Unheard> {
    let is_known = |name: &str| name == "all" || fib.interfaces().iter().any(|known| known.name == name);
    query.terms.iter().try_for_each(|term| match &term.asks {
        TraceAsks::Interface(name) if !is_known(name) => Err(Unheard::Interface(name.clone())),
        _ => Ok(()),
    })
}

fn view(Happened { event, worker, at }: &Happened, root: Option<&engine::Root>, fib: &Fib) -> EventView {
    let StateEvent { change, state, .. } = event;
    let (kind, reason) = match change {
        StateChange::Made => (EventKind::Created, None),
        StateChange::Changed => (EventKind::Updated, None),
        StateChange::Removed(why) => (EventKind::Removed, Some(reason(*why))),
    };
    EventView {
        seconds: at.as_secs(),
        nanoseconds: at.subsec_nanos(),
        worker: *worker,
        event: kind,
        reason,
        age_ms: state.age.as_millis() as u64,
        idle_ms: state.idle.as_millis() as u64,
        state: state.view(root, fib),
    }
}

const fn reason(why: Removal) -> EndReason {
    match why {
        Removal::Expired => EndReason::Expired,
        Removal::Closed => EndReason::Closed,
        Removal::Killed => EndReason::Killed,
        Removal::Flushed => EndReason::Flushed,
        Removal::Replaced => EndReason::Replaced,
        Removal::Limit => EndReason::Limit,
        Removal::Refused => EndReason::Refused,
    }
}
