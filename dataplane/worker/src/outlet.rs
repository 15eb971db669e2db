//! Where packets leave: a transmit queue with the burst that is being gathered for it.

use dpdk::{Burst, Mbuf, TxQueue};
use engine::{Counters, InterfaceId};
use ruleset::Reason;

/// Frames and their bytes, Ethernet headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts frames.
    #[inline]
    pub fn add(&mut self, mbufs: &[Mbuf]) {
        self.packets += mbufs.len() as u64;
        self.bytes += mbufs.iter().map(|mbuf| u64::from(mbuf.packet_len())).sum::<u64>();
    }
}

/// A transmit queue of a port or of a host interface.
pub struct Outlet {
    interface: InterfaceId,
    queue: TxQueue,
    gathered: Burst,
    /// The longest frame that the device sends whole; drivers of virtual devices cut or lose longer ones in silence.
    frame_max: usize,
    /// The reason of what the queue does not take.
    full: Reason,
    sent: Traffic,
}

impl Outlet {
    /// The outlet of a queue of `interface`; `full` is the reason of what it does not take.
    pub fn new(interface: InterfaceId, queue: TxQueue, frame_max: usize, full: Reason) -> Self {
        Self { interface, queue, gathered: Burst::new(), frame_max, full, sent: Traffic::default() }
    }

    /// What the device took.
    pub const fn sent(&self) -> Traffic {
        self.sent
    }

    /// Gathers a frame. It is sent at the next [`flush`](Self::flush), or before if the burst is full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf, counters: &mut Counters) {
        if mbuf.len() > self.frame_max {
            counters.drop_packet(self.interface, Reason::TooBig);
            return;
        }
        if self.gathered.is_full() {
            self.flush(counters);
        }
        // A flush leaves the burst empty.
        if self.gathered.push(mbuf).is_err() {
            counters.drop_packet(self.interface, self.full);
        }
    }

    /// Sends what was gathered. What the device does not take at once is dropped: waiting would stall every other port.
    #[inline]
    pub fn flush(&mut self, counters: &mut Counters) {
        if self.gathered.is_empty() {
            return;
        }
        let mut sent = Traffic::default();
        sent.add(&self.gathered);
        self.queue.tx_burst(&mut self.gathered);
        let mut left = Traffic::default();
        left.add(&self.gathered);
        for _ in 0..self.gathered.len() {
            counters.drop_packet(self.interface, self.full);
        }
        self.gathered.clear();
        self.sent.packets += sent.packets - left.packets;
        self.sent.bytes += sent.bytes - left.bytes;
    }
}
