//! The polled ends of a port.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;

use super::PortInner;
use crate::burst::Burst;

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
}

impl RxQueue {
    pub(super) fn new(port: &Arc<PortInner>, queue: u16) -> RxQueue {
        RxQueue { handle: Handle::new(port), port_id: port.id, queue }
    }

    /// The index in the port.
    pub fn index(&self) -> u16 {
        self.queue
    }

    /// The device's name.
    pub fn port_name(&self) -> &str {
        &self.handle.port.name
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
