//! Publication of immutable values to a worker, with at most two of them alive.
//!
//! Overview: a [`Publisher`] offers a value, the [`Reader`] takes it between two bursts and sends the one before back, so
//! that memory is freed off the worker. Nothing here waits or allocates on the reader's side.
//! Ownership: one publisher, one reader. Bounds: one value on offer; another is refused until the one before came back.

use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};

/// A reader that starts with `initial`, and its publisher.
pub fn snapshot<T>(initial: T) -> (Publisher<T>, Reader<T>) {
    let (offer, offered) = bounded(1);
    let (give_back, spent) = bounded(1);
    let publisher = Publisher { offer, withdraw: offered.clone(), spent, outstanding: false };
    (publisher, Reader { current: initial, offered, give_back })
}

/// The reader did not take the value in time; it is withdrawn and the one before holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalled;

/// The end that makes values.
#[derive(Debug)]
pub struct Publisher<T> {
    offer: Sender<T>,
    /// Takes an offer back that the reader did not take.
    withdraw: Receiver<T>,
    spent: Receiver<T>,
    /// Offered, and the value before has not come back.
    outstanding: bool,
}

impl<T> Publisher<T> {
    /// Offers a value without waiting; `false`, and the value is dropped, if the one before is not taken yet.
    pub fn offer(&mut self, value: T) -> bool {
        if !self.is_ready() {
            return false;
        }
        self.outstanding = self.offer.try_send(value).is_ok();
        self.outstanding
    }

    /// Whether the reader has taken the last offer. Frees what it sent back.
    pub fn is_ready(&mut self) -> bool {
        if self.outstanding && self.spent.try_recv().is_ok() {
            self.outstanding = false;
        }
        !self.outstanding
    }

    /// Offers a value and waits until the reader has it.
    ///
    /// # Errors
    /// [`Stalled`] if it does not within `patience`.
    pub fn publish(&mut self, value: T, patience: Duration) -> Result<(), Stalled> {
        if !self.offer(value) {
            return Err(Stalled);
        }
        if self.spent.recv_timeout(patience).is_err() {
            if self.withdraw.try_recv().is_ok() {
                self.outstanding = false;
                return Err(Stalled);
            }
            // The reader took it this very moment: what it had comes back at once, or the reader is gone.
            let _ = self.spent.recv_timeout(patience);
        }
        self.outstanding = false;
        Ok(())
    }
}

/// The end that uses values.
#[derive(Debug)]
pub struct Reader<T> {
    current: T,
    offered: Receiver<T>,
    give_back: Sender<T>,
}

impl<T> Reader<T> {
    /// Takes a new value if one is offered.
    #[inline]
    pub fn refresh(&mut self) -> Refreshed {
        if self.give_back.is_full() {
            return Refreshed::Same;
        }
        let Ok(new) = self.offered.try_recv() else { return Refreshed::Same };
        let old = std::mem::replace(&mut self.current, new);
        // There was room, and this is the only sender; if the publisher is gone, the value is freed here.
        let _ = self.give_back.try_send(old);
        Refreshed::New
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
