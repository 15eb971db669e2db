//! Events of states, from the workers to those who listen.
//!
//! Overview: while anybody listens the workers tell every event; each listener takes what fits its filter, with names. Ownership:
//! the client's thread. Bounds: those of its queue, [`Readers`](super::readers::Readers).

use std::time::Duration;

use api::{EventBatch, EventKind, EventQuery, EventView, ShortageView, TraceAsks};
use engine::events::{StateChange, StateEvent};
use engine::{Fib, Mapping, Shortage};

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

/// What a worker tells.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are states")]
pub enum Told {
    /// What happened to a state.
    State(StateEvent),
    /// That nothing was left of what a packet needs.
    Shortage(Shortage),
}

/// An event, the worker that told it, and when it was, since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, Debug)]
pub struct Happened {
    /// The event.
    pub told: Told,
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
        let mut told = EventBatch::default();
        for Happened { told: what, worker, at } in batch.iter().flat_map(|batch| batch.iter()) {
            match what {
                Told::State(event) => {
                    let event = view(event, (*worker, *at), root, &fib);
                    told.events.extend(self.query.fits(&event.state).then_some(event));
                }
                Told::Shortage(_) if !self.query.terms.is_empty() => {}
                Told::Shortage(shortage) => told.shortages.push(shortage_view(shortage, (*worker, *at))),
            }
        }
        EventBatch { lost: self.reader.lost(), ..told }
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

fn shortage_view(shortage: &Shortage, (worker, at): (u16, Duration)) -> ShortageView {
    let Shortage { mapping: Mapping { address, proto, block }, pool, packets, .. } = *shortage;
    let (seconds, nanoseconds) = (at.as_secs(), at.subsec_nanos());
    ShortageView { seconds, nanoseconds, worker, pool, address, proto: proto.0, block, packets }
}

fn view(
    event: &StateEvent,
    (worker, at): (u16, Duration),
    root: Option<&engine::Root>,
    fib: &Fib,
) -> EventView {
    let StateEvent { change, state, .. } = event;
    let [before, behind] = state.tuples;
    let block = root.filter(|_| before.src != behind.src).and_then(|root| {
        root.port_block(before.src.to_ip(before.af), behind.src.to_ip(behind.af), behind.sport)
    });
    let (kind, reason) = match change {
        StateChange::Made => (EventKind::Created, None),
        StateChange::Changed => (EventKind::Updated, None),
        StateChange::Removed(why) => (EventKind::Removed, Some(*why)),
    };
    EventView {
        seconds: at.as_secs(),
        nanoseconds: at.subsec_nanos(),
        worker,
        event: kind,
        reason,
        age_ms: state.age.as_millis() as u64,
        idle_ms: state.idle.as_millis() as u64,
        state: state.view(root, fib),
        block,
    }
}
