//! Logged packets and events of states, from the workers to whoever reads them (pflog(4)); and examples of dropped packets, to
//! where they are kept.
//!
//! Overview: a thread looks into the workers' rings, gives each packet its time and its names, and offers it to every
//! reader. What was dropped goes to the examples, and into the process's own log if it did not fit its
//! state and somebody wants to know (`pfctl -x`). Nobody waits for a reader: one that is too slow loses packets, which are counted.
//! Life cycle: [`Journal::start`] to drop. Ownership: the thread has the rings, each reader its queue.
//! Bounds: those of [`readers`](super::readers), with batches of at most [`BATCH`].

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::TraceView;
use api::pflog::LogEntry;
use engine::fib::Interface;
use engine::{Fib, LogRecord, Tick};
use ruleset::Reason;
use wire::Proto;

use super::examples::{Examples, example};
use super::listen::{Happened, Told};
use super::readers::{Reader, Readers};
use super::traces;
use crate::log::Collector;
use crate::netlink::service::Published;
use crate::verbosity;

/// Packets, or events, that a reader gets at once, at most.
pub const BATCH: usize = 256;
/// How often the thread looks into the rings.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How soon again, where there was much to be passed on.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// So many events are much: an eighth of what there is room for.
const MUCH: usize = crate::log::EVENTS / 8;

/// What the thread and the others share.
#[derive(Debug, Default)]
struct Shared {
    logs: Readers<LogEntry>,
    events: Readers<Happened>,
    examples: Mutex<Examples>,
    traces: Mutex<VecDeque<(TraceView, u32)>>,
    stop: AtomicBool,
}

/// The running thread.
#[derive(Debug)]
pub struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Starts the thread. `now` is the clock that the workers' records have.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(
        mut rings: Vec<Collector>,
        kernel: Arc<Published>,
        now: impl Fn() -> Tick + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            thread::Builder::new().name("journal".into()).spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    let moment = Moment { tick: now(), wall: SystemTime::now() };
                    let events = shared.look(&mut rings, &kernel.fib(), moment);
                    thread::sleep(if events > MUCH { LOOK_AGAIN } else { LOOK_EVERY });
                }
            })?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is logged from now on; `None` if there are too many readers.
    pub fn subscribe(&self) -> Option<Reader<LogEntry>> {
        self.shared.logs.subscribe()
    }

    /// What happens to states from now on, while workers tell it; `None` if too many listen.
    pub fn listen(&self) -> Option<Reader<Happened>> {
        self.shared.events.subscribe()
    }

    /// The last packets that were dropped, as they are known by now.
    pub fn examples(&self) -> MutexGuard<'_, Examples> {
        self.shared.examples.lock().expect("no holder of this lock panics")
    }

    /// Traces that wait for whoever asked for them, with the epoch of the root of each.
    pub fn traces(&self) -> MutexGuard<'_, VecDeque<(TraceView, u32)>> {
        self.shared.traces.lock().expect("no holder of this lock panics")
    }

    /// Packets that were lost because a reader was too slow, counted for each.
    pub fn lost(&self) -> u64 {
        self.shared.logs.lost()
    }

    /// Events that were lost because one who listened was too slow, counted for each.
    pub fn events_lost(&self) -> u64 {
        self.shared.events.lost()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that passes logged packets on panicked");
        }
    }
}

impl Shared {
    /// Passes on what is in the rings, and returns the most events of a worker. As much as came in by then: a flood does not
    /// keep it from ending.
    fn look(&self, rings: &mut [Collector], fib: &Fib, moment: Moment) -> usize {
        let (mut batch, mut most) = (Vec::new(), 0);
        for (worker, ring) in (0..).zip(rings) {
            self.keep_drops(worker, ring, fib, moment);
            self.keep_traces(worker, ring, fib, moment);
            most = most.max(self.tell_events(worker, ring, moment));
            for record in (0..crate::log::RING).map_while(|_| ring.next()) {
                batch.push(entry(&record, fib.interfaces(), moment));
                if batch.len() == BATCH {
                    self.logs.offer(std::mem::take(&mut batch).into());
                }
            }
        }
        if !batch.is_empty() {
            self.logs.offer(batch.into());
        }
        most
    }

    /// Passes on what a worker told of its states, and returns how much that was.
    fn tell_events(&self, worker: u16, ring: &mut Collector, moment: Moment) -> usize {
        let (mut batch, mut count) = (Vec::new(), 0);
        for event in (0..crate::log::EVENTS).map_while(|_| ring.next_event()) {
            count += 1;
            batch.push(Happened { worker, at: moment.since_epoch(event.tick), told: Told::State(event) });
            if batch.len() == BATCH {
                self.events.offer(std::mem::take(&mut batch).into());
            }
        }
        for shortage in (0..crate::log::SHORTAGES).map_while(|_| ring.next_shortage()) {
            let at = moment.since_epoch(shortage.tick);
            batch.push(Happened { worker, at, told: Told::Shortage(shortage) });
        }
        if !batch.is_empty() {
            self.events.offer(batch.into());
        }
        self.events.lose(ring.lost_events());
        count
    }

    fn keep_traces(&self, worker: u16, ring: &Collector, fib: &Fib, moment: Moment) {
        for traced in (0..crate::log::TRACES).map_while(|_| ring.next_trace()) {
            let view = traces::view(&traced, worker, fib, moment.since_epoch(traced.tick));
            let mut waiting = self.traces.lock().expect("no holder of this lock panics");
            if waiting.len() < traces::WAITING_MAX {
                waiting.push_back((view, traced.epoch));
            }
        }
    }

    fn keep_drops(&self, worker: u16, ring: &Collector, fib: &Fib, moment: Moment) {
        for record in (0..crate::log::DROPS).map_while(|_| ring.next_drop()) {
            let example = example(&record, worker, fib.interfaces(), moment.since_epoch(record.tick));
            if verbosity::wants_mismatches()
                && let Some(line) = example.bad_state()
            {
                verbosity::log_mismatch(&line);
            }
            let epoch = record.rule.map(|rule| rule.epoch);
            self.examples.lock().expect("no holder of this lock panics").keep(example, epoch);
        }
    }
}

/// The same moment on the workers' clock and on the wall's.
#[derive(Clone, Copy, Debug)]
struct Moment {
    tick: Tick,
    wall: SystemTime,
}

impl Moment {
    /// What the wall's clock said at `tick`, which is not after this moment: the time since 1970-01-01 00:00 UTC.
    fn since_epoch(self, tick: Tick) -> Duration {
        let ago = Duration::from_nanos(self.tick.0.saturating_sub(tick.0));
        self.wall.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago)
    }
}

/// What is told of a record.
fn entry(record: &LogRecord, interfaces: &[Interface], moment: Moment) -> LogEntry {
    let seen = moment.since_epoch(record.tick);
    let tuple = &record.tuple;
    let (source_port, destination_port) = match tuple.proto {
        Proto::TCP | Proto::UDP => (tuple.sport.0, tuple.dport.0),
        _ => (0, 0),
    };
    LogEntry {
        seconds: seen.as_secs(),
        nanoseconds: seen.subsec_nanos(),
        interface: interfaces
            .get(usize::from(record.interface.0))
            .map_or_else(String::new, |interface| interface.name.clone()),
        direction: record.direction,
        passed: record.dropped.is_none(),
        reason: record.dropped.unwrap_or(Reason::Match) as u8,
        rule: record.rule.map(|place| place.rule),
        anchor: record.rule.and_then(|place| place.anchor),
        ruleset: String::from_utf8_lossy(record.anchor()).into_owned(),
        source: tuple.src.to_ip(tuple.af),
        destination: tuple.dst.to_ip(tuple.af),
        source_port,
        destination_port,
        length: record.length,
        bytes: record.bytes().to_vec(),
    }
}
