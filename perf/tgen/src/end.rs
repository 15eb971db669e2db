//! One port of the tester: its queues and the packets on their way out.
//!
//! Bounds: a burst of packets waits for the device; who makes more is told that there is no room. Answers must not be lost by
//! the tester itself: behind the burst some may wait, and nothing should be received meanwhile.

use std::collections::VecDeque;

use dpdk::{Burst, Mbuf, Mempool, RxQueue, TxQueue};

/// Answers that may wait: to one burst, each with the start of a response.
const BACKLOG: usize = 1_024;

/// The polled end of a port.
#[derive(Debug)]
pub struct End {
    rx: RxQueue,
    tx: TxQueue,
    pool: Mempool,
    out: Burst,
    /// In order, behind `out`.
    backlog: VecDeque<Mbuf>,
}

impl End {
    /// An end that takes its buffers from `pool`.
    pub fn new(rx: RxQueue, tx: TxQueue, pool: Mempool) -> Self {
        Self { rx, tx, pool, out: Burst::new(), backlog: VecDeque::with_capacity(BACKLOG) }
    }

    /// Lets `write` fill a packet, which leaves with its burst. False if the device or the pool has no room now; `write` was
    /// not called then.
    #[inline]
    pub fn send(&mut self, write: impl FnOnce(&mut Mbuf)) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(mut mbuf) = self.pool.alloc() else { return false };
        write(&mut mbuf);
        // It has room, as was just seen.
        self.out.push(mbuf).is_ok()
    }

    /// As [`send`](Self::send), for what must not be lost: it may wait. False if too much does.
    #[inline]
    pub fn answer(&mut self, write: impl FnOnce(&mut Mbuf)) -> bool {
        if self.has_room() {
            return self.send(write);
        }
        if self.backlog.len() == BACKLOG {
            return false;
        }
        let Some(mut mbuf) = self.pool.alloc() else { return false };
        write(&mut mbuf);
        self.backlog.push_back(mbuf);
        true
    }

    /// Whether the device has room for a packet.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        if self.out.is_full() {
            self.flush();
        }
        !self.out.is_full() && self.backlog.is_empty()
    }

    /// Whether answers wait.
    #[inline]
    pub fn is_backed_up(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Hands the device what waits, as far as it takes it.
    #[inline]
    pub fn flush(&mut self) {
        while !self.out.is_empty() && self.tx.tx_burst(&mut self.out) > 0 {
            while !self.out.is_full()
                && let Some(mbuf) = self.backlog.pop_front()
            {
                // It has room, as was just seen.
                let _ = self.out.push(mbuf);
            }
        }
    }

    /// Gives up what waits: how many packets the device never took.
    pub fn discard(&mut self) -> u64 {
        let count = self.out.len() + self.backlog.len();
        self.out.clear();
        self.backlog.clear();
        count as u64
    }

    /// Adds what has arrived to `burst`.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        self.rx.rx_burst(burst)
    }

    /// Frees everything that has arrived so far, at most some thousand packets.
    pub fn drain(&mut self) {
        let mut burst = Burst::new();
        for _ in 0..64 {
            if self.receive(&mut burst) == 0 {
                break;
            }
            burst.clear();
        }
    }
}
