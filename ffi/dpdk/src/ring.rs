//! Bounded lock-free queues of mbufs between threads.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys::rte_ring;

use crate::burst::Burst;
use crate::eal::{Eal, c_string};
use crate::error::{Call, Errno, Error, Result};
use crate::mbuf::Mbuf;

/// Most objects in a ring: its slots are a power of two below 2^31, and one is never used.
pub(crate) const CAPACITY_MAX: u32 = (1 << 30) - 1;

/// Makes a ring of `capacity` mbufs (1 to 2^30 - 1) with one thread at each end. The name is unique in the process, at most 25 bytes.
pub fn spsc(eal: &Eal, name: &str, capacity: u32) -> Result<(Producer, Consumer)> {
    let ring = RingInner::new(eal, name, capacity, dpdk_sys::RING_F_SP_ENQ | dpdk_sys::RING_F_SC_DEQ)?;
    let ring = Arc::new(ring);
    Ok((
        Producer { ring: ring.clone(), _one_thread: PhantomData },
        Consumer { ring, _one_thread: PhantomData },
    ))
}

#[derive(Debug)]
pub(crate) struct RingInner {
    ring: NonNull<rte_ring>,
    _eal: Eal,
}

// SAFETY: the mbufs in it are Send, and its ends synchronise by atomics.
unsafe impl Send for RingInner {}
// SAFETY: as above; which functions may run at once is decided by the types of the ends.
unsafe impl Sync for RingInner {}

/// An enqueue or dequeue function of DPDK.
type Transfer<P> = unsafe extern "C" fn(*mut rte_ring, P, u32, *mut u32) -> u32;

impl RingInner {
    fn new(eal: &Eal, name: &str, capacity: u32, flags: u32) -> Result<RingInner> {
        let refused = |errno| Error::Refused { call: Call::CreateRing, subject: name.to_owned(), errno };
        let c_name = c_string(name)?;
        // DPDK rounds up without a look at the overflow, and would make a ring without slots.
        if !(1..=CAPACITY_MAX).contains(&capacity) {
            return Err(refused(Errno::new(libc::EINVAL)));
        }
        // The capacity need not be a power of two.
        let flags = flags | dpdk_sys::RING_F_EXACT_SZ;
        // SAFETY: the name is a C string; EAL is initialised.
        let ring = unsafe { dpdk_sys::rte_ring_create(c_name.as_ptr(), capacity, -1, flags) };
        let ring = NonNull::new(ring).ok_or_else(|| refused(Errno::last()))?;
        Ok(RingInner { ring, _eal: eal.clone() })
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_ring {
        self.ring.as_ptr()
    }

    fn len(&self) -> usize {
        // SAFETY: the ring is alive.
        unsafe { dpdk_sys::rte_ring_count(self.as_ptr()) as usize }
    }

    fn capacity(&self) -> usize {
        // SAFETY: the ring is alive.
        unsafe { dpdk_sys::rte_ring_get_capacity(self.as_ptr()) as usize }
    }

    /// # Safety
    /// The caller may use this end with `enqueue`.
    #[inline]
    unsafe fn enqueue(&self, enqueue: Transfer<*const *mut c_void>, burst: &mut Burst) -> usize {
        // SAFETY: the ring owns exactly as many from the front as the function returns.
        unsafe {
            burst.take_front(|list, len| {
                enqueue(self.as_ptr(), list.cast::<*mut c_void>().cast_const(), len as u32, ptr::null_mut())
                    as usize
            })
        }
    }

    /// # Safety
    /// As for `enqueue`.
    #[inline]
    unsafe fn push(
        &self,
        enqueue: Transfer<*const *mut c_void>,
        mbuf: Mbuf,
    ) -> std::result::Result<(), Mbuf> {
        let raw = mbuf.into_raw();
        let slot: *mut c_void = raw.as_ptr().cast();
        // SAFETY: one slot to read; the ring owns the mbuf if it returns 1.
        match unsafe { enqueue(self.as_ptr(), &raw const slot, 1, ptr::null_mut()) } {
            1 => Ok(()),
            // SAFETY: not taken, so still ours.
            _ => Err(unsafe { Mbuf::from_raw(raw) }),
        }
    }

    /// # Safety
    /// The caller may use this end with `dequeue`.
    #[inline]
    unsafe fn dequeue(&self, dequeue: Transfer<*mut *mut c_void>, burst: &mut Burst) -> usize {
        // SAFETY: the ring holds only mbufs, and writes as many as it returns.
        unsafe {
            burst.fill(|tail, room| {
                dequeue(self.as_ptr(), tail.cast::<*mut c_void>(), room as u32, ptr::null_mut()) as usize
            })
        }
    }
}

impl Drop for RingInner {
    fn drop(&mut self) {
        let mut left = Burst::new();
        // SAFETY: both ends are gone, so this is the only consumer.
        while unsafe { self.dequeue(dpdk_sys::rte_ring_sc_dequeue_burst, &mut left) } > 0 {
            left.clear();
        }
        // SAFETY: empty, and nobody else holds it.
        unsafe { dpdk_sys::rte_ring_free(self.as_ptr()) };
    }
}

/// Methods that every kind of end has.
macro_rules! size {
    () => {
        /// Mbufs in the ring, about: the other end moves.
        pub fn len(&self) -> usize {
            self.ring.len()
        }

        /// Whether there is none, about.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Most mbufs it can hold.
        pub fn capacity(&self) -> usize {
            self.ring.capacity()
        }
    };
}

/// The only producing end of a ring; see [`spsc`]. Not `Sync`.
#[derive(Debug)]
pub struct Producer {
    pub(crate) ring: Arc<RingInner>,
    _one_thread: PhantomData<Cell<()>>,
}

impl Producer {
    size!();

    /// Moves mbufs from the front of `burst` into the ring; what does not fit stays in `burst`. Returns how many moved.
    #[inline]
    pub fn enqueue(&mut self, burst: &mut Burst) -> usize {
        // SAFETY: the only producer.
        unsafe { self.ring.enqueue(dpdk_sys::rte_ring_sp_enqueue_burst, burst) }
    }

    /// Adds one, or gives it back when full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf) -> std::result::Result<(), Mbuf> {
        // SAFETY: the only producer.
        unsafe { self.ring.push(dpdk_sys::rte_ring_sp_enqueue_burst, mbuf) }
    }
}

/// The only consuming end of a ring; see [`spsc`]. Not `Sync`.
#[derive(Debug)]
pub struct Consumer {
    pub(crate) ring: Arc<RingInner>,
    _one_thread: PhantomData<Cell<()>>,
}

impl Consumer {
    size!();

    /// Moves mbufs from the ring to the end of `burst`, as many as fit. Returns how many.
    #[inline]
    pub fn dequeue(&mut self, burst: &mut Burst) -> usize {
        // SAFETY: the only consumer.
        unsafe { self.ring.dequeue(dpdk_sys::rte_ring_sc_dequeue_burst, burst) }
    }
}

/// A ring that any number of threads fill and empty. A clone is the same ring.
#[derive(Clone, Debug)]
pub struct SharedRing {
    ring: Arc<RingInner>,
}

impl SharedRing {
    /// Makes a ring of `capacity` mbufs, 1 to 2^30 - 1. The name is unique in the process, at most 25 bytes.
    pub fn new(eal: &Eal, name: &str, capacity: u32) -> Result<SharedRing> {
        Ok(SharedRing { ring: Arc::new(RingInner::new(eal, name, capacity, 0)?) })
    }

    size!();

    /// As [`Producer::enqueue`], from any thread.
    #[inline]
    pub fn enqueue(&self, burst: &mut Burst) -> usize {
        // SAFETY: made for many producers.
        unsafe { self.ring.enqueue(dpdk_sys::rte_ring_mp_enqueue_burst, burst) }
    }

    /// As [`Producer::push`], from any thread.
    #[inline]
    pub fn push(&self, mbuf: Mbuf) -> std::result::Result<(), Mbuf> {
        // SAFETY: made for many producers.
        unsafe { self.ring.push(dpdk_sys::rte_ring_mp_enqueue_burst, mbuf) }
    }

    /// As [`Consumer::dequeue`], from any thread.
    #[inline]
    pub fn dequeue(&self, burst: &mut Burst) -> usize {
        // SAFETY: made for many consumers.
        unsafe { self.ring.dequeue(dpdk_sys::rte_ring_mc_dequeue_burst, burst) }
    }
}
