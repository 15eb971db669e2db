//! Where packets leave: an interface's outlet with the burst that is being gathered for it, and the queues that outlets
//! send by. Ownership: a worker's.

use dpdk::{Burst, Mbuf, TxQueue};
use engine::{InterfaceId, Losses, Source};
use ruleset::Reason;
use wire::ethernet::TAG_LEN;

use crate::vlan;

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

    /// Takes back frames that were counted, each with `more` bytes.
    pub fn remove(&mut self, mbufs: &[Mbuf], more: usize) {
        let mut counted = Self::default();
        counted.add(mbufs);
        self.packets -= counted.packets;
        self.bytes -= counted.bytes + counted.packets * more as u64;
    }
}

/// The transmit queues of a worker. Outlets share them: what leaves by a VLAN leaves by its port's queue. There is none
/// while a device is gone.
#[derive(Default)]
pub struct Lines(Vec<Option<TxQueue>>);

/// A queue among a worker's [`Lines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineId(usize);

impl Lines {
    /// Adds a queue.
    pub fn add(&mut self, queue: TxQueue) -> LineId {
        self.0.push(Some(queue));
        LineId(self.0.len() - 1)
    }

    /// Uses this queue in place of the one before, which is given back. Without one, everything is dropped.
    pub fn replace(&mut self, line: LineId, queue: Option<TxQueue>) {
        self.0[line.0] = queue;
    }
}

/// The way out of an interface, onto the wire or to the host.
pub struct Outlet {
    interface: InterfaceId,
    /// The side of it that packets leave to.
    side: Source,
    line: LineId,
    /// The VLAN whose tag is put into what leaves.
    vlan: Option<u16>,
    /// False while there is no link: nothing is sent.
    open: bool,
    gathered: Burst,
    /// The longest frame that the device sends whole; drivers of virtual devices cut or lose longer ones in silence.
    frame_max: usize,
    sent: Traffic,
}

impl Outlet {
    /// The outlet of this side of `interface` by a queue.
    pub fn new(interface: InterfaceId, side: Source, line: LineId, frame_max: usize) -> Self {
        let (gathered, sent) = (Burst::new(), Traffic::default());
        Self { interface, side, line, vlan: None, open: true, gathered, frame_max, sent }
    }

    /// The outlet of `interface`, which is this VLAN of the port whose outlet this is.
    pub fn of_vlan(&self, interface: InterfaceId, vlan: u16) -> Self {
        let port = Self::new(interface, self.side, self.line, self.frame_max);
        Self { vlan: Some(vlan), ..port }
    }

    /// The VLAN that it is the outlet of.
    pub const fn vlan(&self) -> Option<u16> {
        self.vlan
    }

    /// What the device took, without tags.
    pub const fn sent(&self) -> Traffic {
        self.sent
    }

    /// The queue that it sends by.
    pub const fn line(&self) -> LineId {
        self.line
    }

    /// Sends from now on, or drops everything: the link has come up, or gone down.
    pub const fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Gathers a frame. It is sent at the next [`flush`](Self::flush), or before if the burst is full.
    #[inline]
    pub fn push(&mut self, mbuf: Mbuf, lines: &mut Lines, losses: &mut Losses<'_>) {
        if mbuf.len() > self.frame_max {
            return losses.leaving(self.place(), Reason::TooBig, mbuf.data());
        }
        if self.gathered.is_full() {
            self.flush(lines, losses);
        }
        // A flush leaves the burst empty.
        if let Err(mbuf) = self.gathered.push(mbuf) {
            losses.leaving(self.place(), self.full(), mbuf.data());
        }
    }

    const fn place(&self) -> (InterfaceId, Source) {
        (self.interface, self.side)
    }

    /// The reason of what the queue does not take.
    const fn full(&self) -> Reason {
        match self.side {
            Source::Wire => Reason::TxFull,
            Source::Host => Reason::HostFull,
        }
    }

    /// Sends what was gathered. What the device does not take at once is dropped: waiting would stall every other port.
    #[inline]
    pub fn flush(&mut self, lines: &mut Lines, losses: &mut Losses<'_>) {
        if self.gathered.is_empty() {
            return;
        }
        let Some(queue) = lines.0[self.line.0].as_mut().filter(|_| self.open) else {
            return self.drop_gathered(Reason::PortDown, losses);
        };
        let tag_len = match self.vlan {
            Some(vlan) => self.tag(vlan, losses),
            None => 0,
        };
        let mut sent = Traffic::default();
        sent.add(&self.gathered);
        queue.tx_burst(&mut self.gathered);
        let mut left = Traffic::default();
        left.add(&self.gathered);
        self.drop_gathered(self.full(), losses);
        let packets = sent.packets - left.packets;
        self.sent.packets += packets;
        self.sent.bytes += sent.bytes - left.bytes - packets * tag_len;
    }

    #[inline]
    fn drop_gathered(&mut self, reason: Reason, losses: &mut Losses<'_>) {
        for mbuf in self.gathered.drain() {
            losses.leaving((self.interface, self.side), reason, mbuf.data());
        }
    }

    /// Puts the tag into what was gathered, and returns its length. What has no room for it is dropped.
    #[inline(never)]
    fn tag(&mut self, vlan: u16, losses: &mut Losses<'_>) -> u64 {
        let (mut tagged, place) = (Burst::new(), self.place());
        for mut mbuf in self.gathered.drain() {
            if vlan::insert(&mut mbuf, vlan).is_err() {
                losses.leaving(place, Reason::NoBuffer, mbuf.data());
            } else if tagged.push(mbuf).is_err() {
                unreachable!("as many as came out of a burst fit in one");
            }
        }
        self.gathered = tagged;
        TAG_LEN as u64
    }
}
