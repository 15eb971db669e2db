//! Datagrams that are too long for frames, from their decision until the shell takes them in pieces.
//!
//! Ownership: a worker's, for the time of a burst. Bounds: a datagram for each frame of a burst.

use crate::fate::{Arrival, Fate};
use crate::frame::{Frame, NoRoom};
use crate::shard::BURST;

use super::pieces::Cut;

/// Room before a datagram's frame, for what is put in front of it.
const HEADROOM: usize = 64;
/// Room for a datagram's frame: the longest headers of a fragment, and the longest data.
const FRAME_MAX: usize = 75 * 1024;
/// A datagram and its headroom.
const SLOT: usize = HEADROOM + FRAME_MAX;

/// A datagram that was decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub place: Place,
    pub arrival: Arrival,
    pub fate: Fate,
    /// How it is cut up; `None` leaves it whole.
    pub cut: Option<Cut>,
}

/// Where a datagram is, and with which priority it is to leave, if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    start: usize,
    end: usize,
    pub priority_code: Option<u8>,
}

#[derive(Debug)]
pub(super) struct Outbox {
    /// Slots one after the other; the system gives memory as they are first used.
    bytes: Vec<u8>,
    ready: Vec<Ready>,
}

impl Outbox {
    pub fn new() -> Self {
        Self { bytes: vec![0; BURST * SLOT], ready: Vec::with_capacity(BURST) }
    }

    pub const fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// A slot for a frame that does not wait yet; `None` if none is free.
    pub fn slot(&mut self) -> Option<Datagram<'_>> {
        let slot = self.bytes.get_mut(self.ready.len() * SLOT..)?.get_mut(..SLOT)?;
        Some(Datagram { slot, place: Place { start: HEADROOM, end: HEADROOM, priority_code: None } })
    }

    /// Has the frame wait that was made in the last [slot](Self::slot).
    pub fn push(&mut self, place: Place, arrival: Arrival, fate: Fate, cut: Option<Cut>) {
        let base = self.ready.len() * SLOT;
        let place = Place { start: base + place.start, end: base + place.end, ..place };
        self.ready.push(Ready { place, arrival, fate, cut });
    }

    /// Gives out every datagram in its order, and is empty then.
    pub fn drain(&mut self, mut each: impl FnMut(&Ready, &[u8])) {
        for ready in self.ready.drain(..) {
            each(&ready, &self.bytes[ready.place.start..ready.place.end]);
        }
    }
}

/// A frame of any length in a slot.
#[derive(Debug)]
pub(crate) struct Datagram<'a> {
    slot: &'a mut [u8],
    place: Place,
}

impl Datagram<'_> {
    /// Where in the slot it is.
    pub const fn place(&self) -> Place {
        self.place
    }

    /// All room from the frame's beginning on.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.slot[self.place.start..]
    }

    /// Says how long it is.
    pub fn set_len(&mut self, length: usize) {
        self.place.end = self.slot.len().min(self.place.start + length);
    }

    /// Becomes a copy of a frame. Returns where it is; `None` if there is no room.
    pub fn fill(&mut self, frame: &[u8]) -> Option<Place> {
        self.room().get_mut(..frame.len())?.copy_from_slice(frame);
        self.set_len(frame.len());
        Some(self.place())
    }
}

impl Frame for Datagram<'_> {
    fn bytes(&self) -> &[u8] {
        &self.slot[self.place.start..self.place.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.slot[self.place.start..self.place.end]
    }

    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.place.start = self.place.start.checked_sub(count).ok_or(NoRoom)?;
        Ok(())
    }

    fn trim_front(&mut self, count: usize) {
        self.place.start = self.place.end.min(self.place.start + count);
    }

    fn truncate(&mut self, length: usize) {
        self.place.end = self.place.end.min(self.place.start + length);
    }

    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        let end = self.place.end + count;
        if end > self.slot.len() {
            return Err(NoRoom);
        }
        self.place.end = end;
        Ok(())
    }

    fn priority_code(&self) -> Option<u8> {
        self.place.priority_code
    }

    fn set_priority_code(&mut self, code: u8) {
        self.place.priority_code = Some(code);
    }
}
