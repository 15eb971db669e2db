//! Readers of what happens: each has a queue of its own, and nobody waits for one that is too slow.
//!
//! Ownership: whoever passes things on has [`Readers`], each reader its end. Bounds: a queue has `QUEUE` batches; what finds
//! no room is lost to that reader, and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

/// Readers at once.
pub const READERS_MAX: usize = 4;
/// Batches that wait for a reader.
const QUEUE: usize = 64;

/// One reader's end. Its place is free again once it is dropped.
#[derive(Debug)]
pub struct Reader<T> {
    batches: Receiver<Arc<[T]>>,
    lost: Arc<AtomicU64>,
}

impl<T> Reader<T> {
    /// The next batch; `None` if there is none within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Arc<[T]>> {
        self.batches.recv_timeout(patience).ok()
    }

    /// How much was lost since this was asked last.
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// The other end of a reader, who lives as long as its count of what it lost.
#[derive(Debug)]
struct Place<T> {
    batches: Sender<Arc<[T]>>,
    lost: Weak<AtomicU64>,
}

impl<T> Place<T> {
    fn lose(&self, count: u64) {
        if let Some(lost) = self.lost.upgrade() {
            lost.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// Every reader.
#[derive(Debug)]
pub struct Readers<T> {
    places: Mutex<Vec<Place<T>>>,
    lost: AtomicU64,
}

impl<T> Default for Readers<T> {
    fn default() -> Self {
        Self { places: Mutex::default(), lost: AtomicU64::new(0) }
    }
}

impl<T> Readers<T> {
    fn places(&self) -> MutexGuard<'_, Vec<Place<T>>> {
        self.places.lock().expect("no holder of this lock panics")
    }

    /// One more, who gets what comes from now on; `None` if there are too many.
    pub fn subscribe(&self) -> Option<Reader<T>> {
        let mut places = self.places();
        places.retain(|place| place.lost.strong_count() > 0);
        if places.len() >= READERS_MAX {
            return None;
        }
        let (sender, batches) = bounded(QUEUE);
        let lost = Arc::default();
        places.push(Place { batches: sender, lost: Arc::downgrade(&lost) });
        Some(Reader { batches, lost })
    }

    /// Gives a batch to every reader that has room.
    pub fn offer(&self, batch: Arc<[T]>) {
        for place in self.places().iter() {
            if let Err(TrySendError::Full(batch)) = place.batches.try_send(batch.clone()) {
                self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                place.lose(batch.len() as u64);
            }
        }
    }

    /// Tells every reader that so much was lost before it came here.
    pub fn lose(&self, count: u64) {
        self.places().iter().for_each(|place| place.lose(count));
    }

    /// How much was lost because a reader was too slow, counted for each.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
