//! Safe ownership over DPDK: [`Eal`], [`Mempool`], [`Mbuf`], [`Port`] with [`RxQueue`] and [`TxQueue`], rings, lcores.
//!
//! **Overview.** Each DPDK object has one owner here, and `Drop` gives it back exactly once. Nothing knows what a packet
//! means.
//!
//! **Life cycle.** [`Eal::init`] once per process; then pools, ports, queues; the environment is cleaned up when the last
//! object that needs it is gone, so the order of drops does not matter.
//!
//! **Ownership.** Queues and the ends of a ring are `Send` and not `Sync`: one thread polls each. A [`Port`] is the
//! control side, used by one thread; it refuses to stop while queues are out.
//!
//! **Bounds.** A [`Burst`] holds [`BURST_MAX`] packets in place. Receiving and sending neither allocate nor lock.

mod alloc;
mod burst;
mod eal;
mod error;
mod hash;
mod hugepages;
mod lcore;
mod mbuf;
mod mempool;
pub mod port;
mod ring;
mod tsc;

pub use alloc::{HugePages, limit_heaps, populate};
pub use burst::{BURST_MAX, Burst, Drain};
pub use eal::{Eal, EalArgs, LogLevel, Memory, version};
pub use error::{Call, Errno, Error, Result};
pub use hash::{Hash, LOOKUP_MAX};
pub use hugepages::free_hugepages_mib;
pub use lcore::{Lcore, LcoreTask};
pub use mbuf::{ChecksumStatus, Mbuf, NoRoom, prefetch_value};
pub use mempool::{Mempool, PoolConfig};
pub use port::{Device, Port, PortConfig, Queues, RxQueue, TxQueue};
pub use ring::{Consumer, Producer, SharedRing, spsc};
pub use tsc::{Tsc, TscClock};
