//! The polled ends of a port.

use std::cell::Cell;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::PortInner;
use crate::burst::Burst;
use crate::error::{Call, Result, check};

/// The queues of a started port, in order, each with one owner. Dropping a queue gives it back to the port.
#[derive(Debug)]
pub struct Queues {
    /// To receive from.
    pub rx: Vec<RxQueue>,
    /// To send to.
    pub tx: Vec<TxQueue>,
}

/// Keeps the port alive and started.
#[derive(Debug)]
struct Handle {
    port: Arc<PortInner>,
    /// Queues may move to another thread, not be used by two.
    _one_thread: PhantomData<Cell<()>>,
}

impl Handle {
    fn new(port: &Arc<PortInner>) -> Handle {
        port.queue_taken();
        Handle { port: port.clone(), _one_thread: PhantomData }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.port.queue_returned();
    }
}

/// One receive queue. Not `Sync`: one thread polls it.
#[derive(Debug)]
pub struct RxQueue {
    handle: Handle,
    port_id: u16,
    queue: u16,
    /// How its signals come, if the device was asked for some.
    signals: Option<Speaks>,
}

impl RxQueue {
    pub(super) fn new(port: &Arc<PortInner>, queue: u16, signals: Option<Speaks>) -> RxQueue {
        RxQueue { handle: Handle::new(port), port_id: port.id, queue, signals }
    }

    /// The index in the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The device's name.
    pub fn port_name(&self) -> &str {
        &self.handle.port.name
    }

    /// What tells that a packet has arrived; `None` if the port was not configured for it
    /// ([`rx_interrupts`](super::PortConfig::rx_interrupts)), or its driver cannot tell. It speaks while the queue is
    /// [armed](Self::arm).
    pub fn signal(&self) -> Option<Signal<'_>> {
        let speaks = self.signals?;
        // SAFETY: reads tables of a started port.
        let fd = unsafe { dpdk_sys::rte_eth_dev_rx_intr_ctl_q_get_fd(self.port_id, self.queue) };
        if fd < 0 {
            return None;
        }
        // SAFETY: the driver keeps it open while the port is started, thus as long as this handle is out.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        Some(Signal { fd, speaks })
    }

    /// Lets the device signal the next packet. What arrived before may go unsignalled: poll once more before waiting.
    ///
    /// # Errors
    /// The driver's.
    pub fn arm(&mut self) -> Result<()> {
        // SAFETY: a queue of a started port.
        self.check_armed(unsafe { dpdk_sys::rte_eth_dev_rx_intr_enable(self.port_id, self.queue) })
    }

    /// Ends what [`arm`](Self::arm) began: a queue that is polled needs no signals.
    ///
    /// # Errors
    /// The driver's.
    pub fn disarm(&mut self) -> Result<()> {
        // SAFETY: a queue of a started port.
        self.check_armed(unsafe { dpdk_sys::rte_eth_dev_rx_intr_disable(self.port_id, self.queue) })
    }

    fn check_armed(&self, ret: i32) -> Result<()> {
        // A driver whose signals come from the kernel has nothing to switch on and off.
        let ret = if ret == -libc::ENOTSUP { 0 } else { ret };
        check(ret, Call::Arm, || self.handle.port.name.clone()).map(drop)
    }

    /// Adds what has arrived to the end of `burst`, as much as fits, and returns how many. Never waits. An empty burst
    /// serves best: vector drivers deliver in multiples of 4 or 8.
    #[inline]
    pub fn rx_burst(&mut self, burst: &mut Burst) -> usize {
        // SAFETY: the port is started while a handle is out, this queue has no other user, and the driver writes owned
        // mbufs to as many slots as it returns.
        unsafe {
            burst.fill(|tail, room| {
                usize::from(dpdk_sys::rte_eth_rx_burst(self.port_id, self.queue, tail, room as u16))
            })
        }
    }
}

/// What tells that a packet has arrived.
#[derive(Debug, Clone, Copy)]
pub struct Signal<'a> {
    /// Becomes readable; nobody has to read it.
    pub fd: BorrowedFd<'a>,
    /// For how long.
    pub speaks: Speaks,
}

/// How a [`Signal`] is to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Readable as long as a packet waits (level-triggered).
    WhileTrue,
    /// Written once for each signal, and readable ever after (to be waited for edge-triggered).
    Once,
}

/// One transmit queue. Not `Sync`: one thread fills it.
#[derive(Debug)]
pub struct TxQueue {
    handle: Handle,
    port_id: u16,
    queue: u16,
}

impl TxQueue {
    pub(super) fn new(port: &Arc<PortInner>, queue: u16) -> TxQueue {
        TxQueue { handle: Handle::new(port), port_id: port.id, queue }
    }

    /// The index in the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The device's name.
    pub fn port_name(&self) -> &str {
        &self.handle.port.name
    }

    /// Sends from the front of `burst` and returns how many the device took. The others stay in `burst`, in order: send
    /// them again, or free them with [`Burst::clear`]. Never waits (but see `net_af_packet`, which may).
    #[inline]
    pub fn tx_burst(&mut self, burst: &mut Burst) -> usize {
        // SAFETY: the port is started while a handle is out, this queue has no other user, and the driver owns as many
        // mbufs from the front as it returns.
        unsafe {
            burst.take_front(|list, len| {
                usize::from(dpdk_sys::rte_eth_tx_burst(self.port_id, self.queue, list, len as u16))
            })
        }
    }
}
