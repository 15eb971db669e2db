//! Logged packets, from the workers to whoever reads the log (pflog(4)); and examples of dropped ones, to where they are kept.
//!
//! Overview: a thread looks into the workers' rings, gives each packet its time and its names, and offers it to every
//! reader. What was dropped goes to the examples, and into the process's own log if it did not fit its
//! state and somebody wants to know (`pfctl -x`). Nobody waits for a reader: one that is too slow loses packets, which are counted.
//! Life cycle: [`Journal::start`] to drop. Ownership: the thread has the rings, each reader its queue.
//! Bounds: [`READERS_MAX`] readers; a queue has `QUEUE` batches of at most `BATCH` packets.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::TraceView;
use api::pflog::LogEntry;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use engine::fib::Interface;
use engine::{Fib, LogRecord, Tick};
use ruleset::Reason;
use wire::Proto;

use super::examples::{Examples, example};
use super::traces;
use crate::log::Collector;
use crate::netlink::service::Published;
use crate::verbosity;

/// Readers at once.
pub const READERS_MAX: usize = 4;
/// Packets that a reader gets at once, at most.
pub const BATCH: usize = 256;
/// Batches that wait for a reader.
const QUEUE: usize = 64;
/// How often the thread looks into the rings.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Some logged packets.
pub type Batch = Arc<[LogEntry]>;

/// A reader of the log. Its place is free again once it is dropped.
#[derive(Debug)]
pub struct Reader {
    batches: Receiver<Batch>,
    _alive: Arc<()>,
}

impl Reader {
    /// The next packets; `None` if nothing is logged within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Batch> {
        self.batches.recv_timeout(patience).ok()
    }
}

/// The other end of a reader.
#[derive(Debug)]
struct Place {
    batches: Sender<Batch>,
    alive: Weak<()>,
}

impl Place {
    fn is_taken(&self) -> bool {
        self.alive.strong_count() > 0
    }
}

/// What the thread and the others share.
#[derive(Debug, Default)]
struct Shared {
    readers: Mutex<Vec<Place>>,
    examples: Mutex<Examples>,
    traces: Mutex<VecDeque<(TraceView, u32)>>,
    lost: AtomicU64,
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
        rings: Vec<Collector>,
        kernel: Arc<Published>,
        now: impl Fn() -> Tick + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = {
            let shared = shared.clone();
            thread::Builder::new().name("journal".into()).spawn(move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    thread::sleep(LOOK_EVERY);
                    shared.look(&rings, &kernel.fib(), Moment { tick: now(), wall: SystemTime::now() });
                }
            })?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is logged from now on; `None` if there are too many readers.
    pub fn subscribe(&self) -> Option<Reader> {
        let mut readers = self.shared.readers.lock().expect("no holder of this lock panics");
        readers.retain(Place::is_taken);
        if readers.len() >= READERS_MAX {
            return None;
        }
        let (sender, batches) = bounded(QUEUE);
        let alive = Arc::new(());
        readers.push(Place { batches: sender, alive: Arc::downgrade(&alive) });
        Some(Reader { batches, _alive: alive })
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
        self.shared.lost.load(Ordering::Relaxed)
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
    /// Passes on what is in the rings. As much as came in by then: a flood does not keep it from ending.
    fn look(&self, rings: &[Collector], fib: &Fib, moment: Moment) {
        let mut batch = Vec::new();
        for (worker, ring) in (0..).zip(rings) {
            self.keep_drops(worker, ring, fib, moment);
            self.keep_traces(worker, ring, fib, moment);
            for record in (0..crate::log::RING).map_while(|_| ring.next()) {
                batch.push(entry(&record, fib.interfaces(), moment));
                if batch.len() == BATCH {
                    self.offer(std::mem::take(&mut batch).into());
                }
            }
        }
        if !batch.is_empty() {
            self.offer(batch.into());
        }
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

    /// Gives a batch to every reader that has room.
    fn offer(&self, batch: Batch) {
        for reader in self.readers.lock().expect("no holder of this lock panics").iter() {
            if let Err(TrySendError::Full(batch)) = reader.batches.try_send(batch.clone()) {
                self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
            }
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
