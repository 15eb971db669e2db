//! Pools of mbufs.

use std::ffi::CStr;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use dpdk_sys::{rte_mbuf, rte_mempool, rte_pktmbuf_pool_private};

use crate::burst::{BURST_MAX, Burst};
use crate::eal::{Eal, c_string};
use crate::error::{Call, Errno, Error, Result};
use crate::lcore;
use crate::mbuf::Mbuf;
use crate::ring;

/// The size of a pool.
#[derive(Debug, Clone)]
pub struct PoolConfig {
    /// Unique in the process, at most 25 bytes.
    pub name: String,
    /// Mbufs, 1 to 2^30 - 1. A power of two minus one wastes the least memory.
    pub mbufs: u32,
    /// Mbufs that each lcore may keep to itself; at most 512, and two thirds of `mbufs`.
    pub cache: u32,
    /// Longest frame in one mbuf, in bytes, headroom excluded.
    pub frame_bytes: u16,
    /// Socket to take the memory from; any if `None`.
    pub numa: Option<u32>,
    /// Mbufs lie one right behind the other, across pages too, and not within them. `net_af_xdp` takes that for granted: it
    /// reaches as much memory as all of them would take then, and loses those that lie beyond. No card reaches them.
    pub packed: bool,
}

impl PoolConfig {
    /// A pool of `mbufs` for frames of Ethernet's usual length (2048 bytes of room), with a cache of 256 per lcore, or
    /// less in a small pool.
    pub fn new(name: &str, mbufs: u32) -> PoolConfig {
        let cache = 256.min(mbufs / 4);
        PoolConfig { name: name.to_owned(), mbufs, cache, frame_bytes: 2048, numa: None, packed: false }
    }
}

/// A pool of mbufs. A clone is the same pool; any thread may use it, lcores fastest.
///
/// The pool is freed when the last handle is gone and every mbuf is back. While one is out, the memory stays: the mbuf
/// remains valid, and the pool is lost.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<PoolInner>);

#[derive(Debug)]
struct PoolInner {
    pool: NonNull<rte_mempool>,
    mbufs: u32,
    frame_bytes: u16,
    name: String,
    eal: Eal,
}

// SAFETY: the pool is made for many producers and consumers.
unsafe impl Send for PoolInner {}
// SAFETY: as above.
unsafe impl Sync for PoolInner {}

/// A pool with its mbufs, each with `room` bytes for headroom and frame: what `rte_pktmbuf_pool_create` makes, which takes no
/// flags.
fn create(name: &CStr, config: &PoolConfig, room: u16) -> std::result::Result<NonNull<rte_mempool>, Errno> {
    let mut private = rte_pktmbuf_pool_private { mbuf_data_room_size: room, ..Default::default() };
    let numa = config.numa.map_or(-1, |n| i32::try_from(n).unwrap_or(-1));
    let flags = if config.packed { dpdk_sys::RTE_MEMPOOL_F_NO_IOVA_CONTIG } else { 0 };
    // SAFETY: the name is a C string; EAL is initialised.
    let pool = unsafe {
        dpdk_sys::rte_mempool_create_empty(
            name.as_ptr(),
            config.mbufs,
            size_of::<rte_mbuf>() as u32 + u32::from(room),
            config.cache,
            size_of::<rte_pktmbuf_pool_private>() as u32,
            numa,
            flags,
        )
    };
    let pool = NonNull::new(pool).ok_or_else(Errno::last)?;
    // SAFETY: a pool without objects; the structure is copied; static strings of EAL.
    let made = unsafe {
        let ops = dpdk_sys::rte_mbuf_best_mempool_ops();
        match dpdk_sys::rte_mempool_set_ops_byname(pool.as_ptr(), ops, ptr::null_mut()) {
            0 => {
                dpdk_sys::rte_pktmbuf_pool_init(pool.as_ptr(), (&raw mut private).cast());
                dpdk_sys::rte_mempool_populate_default(pool.as_ptr())
            }
            refused => refused,
        }
    };
    if made < 0 {
        // SAFETY: nobody else knows the pool.
        unsafe { dpdk_sys::rte_mempool_free(pool.as_ptr()) };
        return Err(Errno::new(-made));
    }
    // SAFETY: each object is room for an mbuf, of a pool of mbufs.
    unsafe {
        dpdk_sys::rte_mempool_obj_iter(pool.as_ptr(), Some(dpdk_sys::rte_pktmbuf_init), ptr::null_mut())
    };
    Ok(pool)
}

impl Mempool {
    /// Makes a pool.
    pub fn new(eal: &Eal, config: &PoolConfig) -> Result<Mempool> {
        let refused = |errno| Error::Refused { call: Call::CreatePool, subject: config.name.clone(), errno };
        let name = c_string(config.name.as_str())?;
        // The free mbufs are kept in a ring.
        if !(1..=ring::CAPACITY_MAX).contains(&config.mbufs) {
            return Err(refused(Errno::new(libc::EINVAL)));
        }
        let headroom = u16::try_from(dpdk_sys::RTE_PKTMBUF_HEADROOM).expect("a build constant of DPDK, 128");
        let room =
            config.frame_bytes.checked_add(headroom).ok_or_else(|| refused(Errno::new(libc::EINVAL)))?;
        let pool = create(&name, config, room).map_err(refused)?;
        Ok(Mempool(Arc::new(PoolInner {
            pool,
            mbufs: config.mbufs,
            frame_bytes: config.frame_bytes,
            name: config.name.clone(),
            eal: eal.clone(),
        })))
    }

    /// An empty mbuf with the usual headroom, unless the pool is exhausted.
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive.
        let mbuf = unsafe { dpdk_sys::rte_pktmbuf_alloc(self.as_ptr()) };
        // SAFETY: freshly allocated, hence owned by nobody else.
        NonNull::new(mbuf).map(|mbuf| unsafe { Mbuf::from_raw(mbuf) })
    }

    /// Adds `count` empty mbufs to `burst`: all, or none if the pool or the burst lacks room. True if all.
    #[inline]
    pub fn alloc_burst(&self, burst: &mut Burst, count: usize) -> bool {
        if count > BURST_MAX - burst.len() {
            return false;
        }
        // SAFETY: the tail has room for `count`, and alloc_bulk writes all of them or returns non-zero.
        unsafe {
            burst.fill(|tail, _| {
                let ret = dpdk_sys::rte_pktmbuf_alloc_bulk(self.as_ptr(), tail, count as u32);
                if ret == 0 { count } else { 0 }
            }) == count
        }
    }

    /// Mbufs that are out of the pool: held by packets, rings and devices. Exact when nothing moves.
    pub fn in_use(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.as_ptr()) }
    }

    /// Mbufs that can still be allocated, those in the caches of other lcores included.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is alive.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.as_ptr()) }
    }

    /// Mbufs in all.
    pub fn size(&self) -> u32 {
        self.0.mbufs
    }

    /// Longest frame in one mbuf, in bytes.
    pub fn frame_bytes(&self) -> u16 {
        self.0.frame_bytes
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.0.pool.as_ptr()
    }
}

impl Drop for PoolInner {
    fn drop(&mut self) {
        // SAFETY: the pool is alive.
        let out = unsafe { dpdk_sys::rte_mempool_in_use_count(self.pool.as_ptr()) };
        if out > 0 {
            // An mbuf that is out points into the pool: keep its memory, and EAL with it.
            std::mem::forget(self.eal.clone());
        } else if !lcore::any_other_runs(&self.eal) {
            // SAFETY: every mbuf is back, and no handle is left to take one.
            unsafe { dpdk_sys::rte_mempool_free(self.pool.as_ptr()) };
        }
        // Else an lcore may be inside the free that completed the count, before it filled its cache's slot: the pool
        // stays until EAL's cleanup, which comes after the last lcore.
    }
}

/// The raw form of a slot in a burst.
pub(crate) type RawMbuf = *mut rte_mbuf;
