//! Packets that wait for a neighbour's Ethernet address.
//!
//! Overview: a packet waits by (interface, next hop); when the forwarding base knows the neighbour, all that wait for it
//! leave in their order, and when it does not within [`PATIENCE`] of the first one, all are dropped. Ownership: one
//! worker. Bounds: [`NEIGHBORS_MAX`] next hops, [`PER_NEIGHBOR_MAX`] packets for each, [`HELD_MAX`] in all; memory is taken
//! at the start.

use std::collections::VecDeque;
use std::net::IpAddr;

use engine::{InterfaceId, Tick};

/// Next hops waited for at once.
pub const NEIGHBORS_MAX: usize = 256;
/// Packets that wait for one next hop. RFC 1122 §2.3.2.2 wants at least the latest one; a TCP client's first flight fits.
pub const PER_NEIGHBOR_MAX: usize = 16;
/// Packets that wait in all.
pub const HELD_MAX: usize = 1024;
/// How long: the kernel gives up after three requests, a second apart.
pub const PATIENCE: Tick = Tick::from_secs(3);

/// Whom a packet waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The interface that it leaves by.
    pub interface: InterfaceId,
    /// The next hop.
    pub next_hop: IpAddr,
}

struct Waiting<P> {
    key: Key,
    since: Tick,
    packets: Vec<P>,
}

/// The packets that wait.
pub struct Hold<P> {
    /// In the order of their beginning, so that the first is the first to give up.
    waiting: VecDeque<Waiting<P>>,
    /// Emptied lists, to be used again.
    spare: Vec<Vec<P>>,
    held: usize,
}

impl<P> Hold<P> {
    /// Nothing waits; all memory is taken here.
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(NEIGHBORS_MAX),
            spare: (0..NEIGHBORS_MAX).map(|_| Vec::with_capacity(PER_NEIGHBOR_MAX)).collect(),
            held: 0,
        }
    }

    /// How many packets wait.
    pub const fn len(&self) -> usize {
        self.held
    }

    /// Whether none waits.
    pub const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Keeps a packet.
    ///
    /// # Errors
    /// The packet, if a bound is reached.
    pub fn keep(&mut self, key: Key, now: Tick, packet: P) -> Result<(), P> {
        if self.held == HELD_MAX {
            return Err(packet);
        }
        let packets = match self.waiting.iter_mut().find(|waiting| waiting.key == key) {
            Some(waiting) if waiting.packets.len() == PER_NEIGHBOR_MAX => return Err(packet),
            Some(waiting) => &mut waiting.packets,
            None => {
                let Some(packets) = self.spare.pop() else { return Err(packet) };
                self.waiting.push_back(Waiting { key, since: now, packets });
                &mut self.waiting.back_mut().expect("just added").packets
            }
        };
        packets.push(packet);
        self.held += 1;
        Ok(())
    }

    /// Gives up to one next hop's packets whose time is over to `drop`.
    pub fn give_up(&mut self, now: Tick, drop: impl FnMut(Key, P)) {
        if self.waiting.front().is_some_and(|first| now - first.since >= PATIENCE) {
            self.remove(0, drop);
        }
    }

    /// Gives the packets of every next hop that `resolve` knows to `release`, in their order, with what it said.
    pub fn release<R: Copy>(
        &mut self,
        mut resolve: impl FnMut(&Key) -> Option<R>,
        mut release: impl FnMut(Key, R, P),
    ) {
        let mut index = 0;
        while index < self.waiting.len() {
            match resolve(&self.waiting[index].key) {
                Some(resolved) => self.remove(index, |key, packet| release(key, resolved, packet)),
                None => index += 1,
            }
        }
    }

    /// Gives everything to `drop`, at the end.
    pub fn clear(&mut self, mut drop: impl FnMut(Key, P)) {
        while !self.waiting.is_empty() {
            self.remove(0, &mut drop);
        }
    }

    fn remove(&mut self, index: usize, mut take: impl FnMut(Key, P)) {
        let Some(mut waiting) = self.waiting.remove(index) else { return };
        self.held -= waiting.packets.len();
        waiting.packets.drain(..).for_each(|packet| take(waiting.key, packet));
        self.spare.push(waiting.packets);
    }
}

impl<P> Default for Hold<P> {
    fn default() -> Self {
        Self::new()
    }
}
