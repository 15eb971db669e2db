//! Publication of immutable values to workers, with at most two of them alive.
//!
//! Overview: a [`Publisher`] offers a value, each [`Reader`] takes it between two bursts and sends the one before back, so
//! that memory is freed off the worker. Nothing here waits or allocates on the reader's side. A value that all must take
//! is preceded by a question whether they are there, so that one that is not changes nothing for the others.
//! Ownership: one publisher, a reader for each worker. Bounds: one value on offer; another is refused until the one before
//! came back from all.

use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// A reader that starts with `initial`, and its publisher.
pub fn snapshot<T: Clone>(initial: T) -> (Publisher<T>, Reader<T>) {
    let (lane, reader) = lane(initial.clone());
    (Publisher { lanes: vec![lane], live: initial }, reader)
}

/// So many readers that start with `initial`, and their publisher.
pub fn snapshots<T: Clone>(initial: T, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
    let (lanes, readers) = (0..readers).map(|_| lane(initial.clone())).unzip();
    (Publisher { lanes, live: initial }, readers)
}

fn lane<T>(initial: T) -> (Lane<T>, Reader<T>) {
    let (offer, offered) = bounded(1);
    let (give_back, spent) = bounded(1);
    let lane = Lane { offer, withdraw: offered.clone(), spent, outstanding: false };
    (lane, Reader { current: initial, offered, give_back })
}

/// What goes between the two ends.
#[derive(Debug)]
enum Parcel<T> {
    /// Is the reader there? It sends the same back.
    Question,
    /// A value: the new one on the way there, the one before on the way back.
    Value(T),
}

/// A reader did not answer or did not take the value in time; the value is withdrawn and the one before holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Its number: the first of them, if there are several.
    pub reader: usize,
}

/// The end that makes values.
#[derive(Debug)]
pub struct Publisher<T> {
    lanes: Vec<Lane<T>>,
    /// What readers have or are about to take.
    live: T,
}

impl<T: Clone> Publisher<T> {
    /// Offers a value without waiting; `false`, and the value is dropped, if the one before is not taken yet.
    pub fn offer(&mut self, value: T) -> bool {
        if !self.is_ready() {
            return false;
        }
        self.offer_all(&value);
        self.live = value;
        true
    }

    /// Whether every reader has taken the last offer. Frees what they sent back.
    pub fn is_ready(&mut self) -> bool {
        let mut ready = true;
        for lane in &mut self.lanes {
            ready &= lane.is_ready();
        }
        ready
    }

    /// Asks whether every reader is there, offers a value and waits until all have it.
    ///
    /// # Errors
    /// [`Stalled`] if one does not answer within `patience`: no reader has seen the value then. Or if one stops between its
    /// answer and the offer: the others go back to the value before.
    pub fn publish(&mut self, value: T, patience: Duration) -> Result<(), Stalled> {
        let deadline = Instant::now() + patience;
        self.settle(deadline)?;
        self.lanes.iter_mut().for_each(|lane| lane.send(Parcel::Question));
        let there = self.taken(deadline);
        all(&there)?;
        // All are offered it before one is waited for, so that they take it at about the same time.
        self.offer_all(&value);
        let taken = self.taken(deadline);
        let outcome = all(&taken);
        match outcome {
            Ok(()) => self.live = value,
            Err(_) => {
                for (lane, _) in self.lanes.iter_mut().zip(taken).filter(|(_, taken)| *taken) {
                    lane.send(Parcel::Value(self.live.clone()));
                }
            }
        }
        outcome
    }

    /// Waits until every reader has taken the last offer.
    fn settle(&mut self, deadline: Instant) -> Result<(), Stalled> {
        for (reader, lane) in self.lanes.iter_mut().enumerate() {
            lane.settle(deadline).map_err(|_| Stalled { reader })?;
        }
        Ok(())
    }

    /// Which readers take what they were sent, by the deadline.
    fn taken(&mut self, deadline: Instant) -> Vec<bool> {
        self.lanes.iter_mut().map(|lane| lane.is_taken(deadline)).collect()
    }

    fn offer_all(&mut self, value: &T) {
        self.lanes.iter_mut().for_each(|lane| lane.send(Parcel::Value(value.clone())));
    }
}

fn all(taken: &[bool]) -> Result<(), Stalled> {
    taken.iter().position(|taken| !taken).map_or(Ok(()), |reader| Err(Stalled { reader }))
}

/// The way to one reader.
#[derive(Debug)]
struct Lane<T> {
    offer: Sender<Parcel<T>>,
    /// Takes an offer back that the reader did not take.
    withdraw: Receiver<Parcel<T>>,
    spent: Receiver<Parcel<T>>,
    /// Offered, and the value before has not come back.
    outstanding: bool,
}

impl<T> Lane<T> {
    /// Sends a value or the question; nothing is outstanding.
    fn send(&mut self, parcel: Parcel<T>) {
        self.outstanding = self.offer.try_send(parcel).is_ok();
    }

    /// Waits for what is outstanding, which is not taken back.
    fn settle(&mut self, deadline: Instant) -> Result<(), RecvTimeoutError> {
        if self.outstanding {
            self.spent.recv_deadline(deadline)?;
            self.outstanding = false;
        }
        Ok(())
    }

    fn is_ready(&mut self) -> bool {
        if self.outstanding && self.spent.try_recv().is_ok() {
            self.outstanding = false;
        }
        !self.outstanding
    }

    /// Waits for the reader to take what was sent, and takes it back at the deadline.
    fn is_taken(&mut self, deadline: Instant) -> bool {
        self.outstanding = false;
        if self.spent.recv_deadline(deadline).is_ok() {
            return true;
        }
        if self.withdraw.try_recv().is_ok() {
            return false;
        }
        // The reader took it this very moment: what it had comes back at once, or the reader is gone.
        let _ = self.spent.recv_timeout(AT_ONCE);
        true
    }
}

/// A reader that takes a value sends the one before back within this time, unless it is gone.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The end that uses values.
#[derive(Debug)]
pub struct Reader<T> {
    current: T,
    offered: Receiver<Parcel<T>>,
    give_back: Sender<Parcel<T>>,
}

impl<T> Reader<T> {
    /// Takes a new value if one is offered.
    #[inline]
    pub fn refresh(&mut self) -> Refreshed {
        if self.give_back.is_full() {
            return Refreshed::Same;
        }
        let Ok(parcel) = self.offered.try_recv() else { return Refreshed::Same };
        let (answer, refreshed) = match parcel {
            Parcel::Question => (Parcel::Question, Refreshed::Same),
            Parcel::Value(new) => (Parcel::Value(std::mem::replace(&mut self.current, new)), Refreshed::New),
        };
        // There was room, and this is the only sender; if the publisher is gone, the value is freed here.
        let _ = self.give_back.try_send(answer);
        refreshed
    }

    /// The value that holds.
    #[inline]
    pub fn get(&self) -> &T {
        &self.current
    }
}

/// Whether a reader took a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It did.
    New,
    /// There was none.
    Same,
}
