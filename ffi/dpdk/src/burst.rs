//! Up to 64 mbufs in place.

use std::mem::{self, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::{fmt, ptr};

use crate::mbuf::Mbuf;
use crate::mempool::RawMbuf;

/// Most packets in one burst.
pub const BURST_MAX: usize = 64;

/// A bounded list of mbufs, in order, without allocation. What is left in it is freed when it is dropped.
pub struct Burst {
    len: usize,
    /// The first `len` are initialised.
    slots: [MaybeUninit<Mbuf>; BURST_MAX],
}

// A slot is the pointer that DPDK's functions read and write.
const _: () = assert!(size_of::<MaybeUninit<Mbuf>>() == size_of::<RawMbuf>());

impl Burst {
    /// An empty burst.
    #[inline]
    pub const fn new() -> Burst {
        Burst { len: 0, slots: [const { MaybeUninit::uninit() }; BURST_MAX] }
    }

    /// How many more fit.
    #[inline]
    pub fn room(&self) -> usize {
        BURST_MAX - self.len
    }

    /// Whether no more fits.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len == BURST_MAX
    }

    /// Adds at the end, or gives the mbuf back when full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        match self.slots.get_mut(self.len) {
            Some(slot) => {
                slot.write(mbuf);
                self.len += 1;
                Ok(())
            }
            None => Err(mbuf),
        }
    }

    /// Takes the last.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: it was below the length, and is no longer.
        Some(unsafe { self.slots[self.len].assume_init_read() })
    }

    /// Takes all, first to last. What the iterator does not yield is freed with it.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_> {
        // Emptied first: if the iterator is forgotten, its mbufs leak but none is freed twice.
        let end = mem::take(&mut self.len);
        Drain { burst: self, next: 0, end }
    }

    /// Frees all.
    #[inline]
    pub fn clear(&mut self) {
        let count = mem::take(&mut self.len);
        if count > 0 {
            // SAFETY: the first `count` were initialised and belong to nobody now; the call frees each.
            unsafe { dpdk_sys::rte_pktmbuf_free_bulk(self.slots.as_mut_ptr().cast(), count as u32) };
        }
    }

    /// Lets `write` put mbufs in the free tail; it is given the tail and its length, and returns how many it wrote.
    ///
    /// # Safety
    /// `write` must initialise as many slots as it returns, with mbufs that it owned.
    #[inline]
    pub(crate) unsafe fn fill(&mut self, write: impl FnOnce(*mut RawMbuf, usize) -> usize) -> usize {
        let tail = &mut self.slots[self.len..];
        let room = tail.len();
        let written = write(tail.as_mut_ptr().cast(), room);
        assert!(written <= room, "wrote {written} mbufs into room for {room}");
        self.len += written;
        written
    }

    /// Lets `read` take mbufs from the front; it is given the list and its length, and returns how many it took. The
    /// others move to the front, in order.
    ///
    /// # Safety
    /// `read` must own from then on exactly the first mbufs, as many as it returns.
    #[inline]
    pub(crate) unsafe fn take_front(&mut self, read: impl FnOnce(*mut RawMbuf, usize) -> usize) -> usize {
        let len = self.len;
        let taken = read(self.slots.as_mut_ptr().cast(), len);
        assert!(taken <= len, "took {taken} mbufs of {len}");
        self.len = len - taken;
        if taken > 0 && taken < len {
            let slots = self.slots.as_mut_ptr();
            // SAFETY: both ranges are within the array, and the source is initialised; it may overlap.
            unsafe { ptr::copy(slots.add(taken), slots, len - taken) };
        }
        taken
    }
}

impl Default for Burst {
    fn default() -> Burst {
        Burst::new()
    }
}

impl Deref for Burst {
    type Target = [Mbuf];

    #[inline]
    fn deref(&self) -> &[Mbuf] {
        // SAFETY: the first `len` are initialised.
        unsafe { std::slice::from_raw_parts(self.slots.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Burst {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Mbuf] {
        // SAFETY: as in `deref`.
        unsafe { std::slice::from_raw_parts_mut(self.slots.as_mut_ptr().cast(), self.len) }
    }
}

impl Drop for Burst {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Takes mbufs out of a [`Burst`]; see [`Burst::drain`].
pub struct Drain<'a> {
    burst: &'a mut Burst,
    next: usize,
    end: usize,
}

impl Iterator for Drain<'_> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: slots from `next` to `end` are initialised, and each is read once.
        let mbuf = unsafe { self.burst.slots[self.next].assume_init_read() };
        self.next += 1;
        Some(mbuf)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.next, Some(self.end - self.next))
    }
}

impl ExactSizeIterator for Drain<'_> {}

impl Drop for Drain<'_> {
    #[inline]
    fn drop(&mut self) {
        self.for_each(drop);
    }
}
