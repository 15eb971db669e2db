//! One side of the tester: a port, who its neighbours are, and its load.
//!
//! Ownership: one lcore polls a side. Bounds: a poll receives one burst and sends one.

use dpdk::Burst;
use wire::Mac;

use crate::end::End;
use crate::flow::Role;
use crate::frame::{self, Layout, Stranger};
use crate::neighbor::{Heard, Station};
use crate::traffic::Load;

/// How long an answer of the device under test is waited for until it is asked again, in nanoseconds.
const ASK_EVERY: u64 = 200_000_000;

/// Polls without receiving while answers wait for the device.
const WAIT_MAX: u32 = 64;

/// A side.
#[derive(Debug)]
pub struct Side {
    role: Role,
    end: End,
    station: Station,
    gateway: Option<Mac>,
    asked: u64,
    layout: Layout,
    load: Option<Load>,
    arrived: Burst,
    /// Polls since answers began to wait for the device.
    waited: u32,
}

impl Side {
    /// A side that does not know its neighbour yet, unless it is told.
    pub const fn new(role: Role, end: End, station: Station, gateway: Option<Mac>, layout: Layout) -> Self {
        Self { role, end, station, gateway, asked: 0, layout, load: None, arrived: Burst::new(), waited: 0 }
    }

    /// Which one it is.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The port as its neighbour sees it.
    pub const fn station(&self) -> &Station {
        &self.station
    }

    /// The Ethernet address of the next hop, if it is known.
    pub const fn gateway(&self) -> Option<Mac> {
        self.gateway
    }

    /// Sets what it does in trials.
    pub fn set_load(&mut self, load: Load) {
        self.load = Some(load);
    }

    /// What it does in trials.
    ///
    /// # Panics
    /// Before it was set.
    pub const fn load(&mut self) -> &mut Load {
        self.load.as_mut().expect("a load is set before the first trial")
    }

    /// Asks for the next hop from time to time, until it is known.
    pub fn look_for_gateway(&mut self, now: u64) {
        if self.gateway.is_none() && (self.asked == 0 || now - self.asked >= ASK_EVERY) {
            self.asked = now;
            let question = self.station.question();
            self.tell(&question);
        }
    }

    /// Receives what is there, and sends what was due when `plan` nanoseconds had passed since the trial's start, if there is
    /// to be any sending. True if there was anything to do.
    #[inline]
    pub fn poll(&mut self, now: u64, plan: Option<u64>) -> bool {
        let mut arrived = std::mem::take(&mut self.arrived);
        // What waits for the device goes first: else answers would have no room. But for ever it must not: on a cable the other
        // end may wait for this one.
        self.waited = if self.end.is_backed_up() { self.waited + 1 } else { 0 };
        let holds = self.waited > 0 && !self.waited.is_multiple_of(WAIT_MAX);
        let count = if holds { 0 } else { self.end.receive(&mut arrived) };
        for mbuf in arrived.iter() {
            self.take(mbuf.data(), now);
        }
        arrived.clear();
        self.arrived = arrived;
        let sent = match (&mut self.load, plan) {
            (Some(load), Some(plan)) => load.send(&mut self.end, now, plan),
            _ => false,
        };
        self.end.flush();
        count > 0 || sent
    }

    #[inline]
    fn take(&mut self, data: &[u8], now: u64) {
        let stranger = match (frame::read(self.layout, data), &mut self.load) {
            (Ok(received), Some(load)) => return load.hear(&mut self.end, &received, now),
            (Ok(_), None) => Stranger::Other,
            (Err(stranger), _) => stranger,
        };
        match (self.station.hear(data), stranger) {
            (Some(Heard::Asked(answer)), _) => self.tell(&answer),
            (Some(Heard::Gateway(mac)), _) => {
                self.gateway.get_or_insert(mac);
            }
            (None, stranger) => {
                if let Some(load) = &mut self.load {
                    let tally = load.tally_mut();
                    *(if stranger == Stranger::Damaged { &mut tally.damaged } else { &mut tally.other }) += 1;
                }
            }
        }
    }

    /// Sends a frame, if there is room; who is not answered asks again.
    fn tell(&mut self, frame: &[u8]) {
        self.end.answer(|mbuf| mbuf.extend_from_slice(frame).expect("buffers have room for any frame"));
        self.end.flush();
    }

    /// Gives up what the device has not taken, and what was not made though it was due when `plan` nanoseconds had passed.
    pub fn settle(&mut self, plan: u64) {
        let discarded = self.end.discard();
        if let Some(load) = &mut self.load {
            load.give_up(plan);
            let tally = load.tally_mut();
            tally.sent = tally.sent.saturating_sub(discarded);
            tally.left_out += discarded;
        }
    }

    /// Frees what has arrived.
    pub fn drain(&mut self) {
        self.end.drain();
    }
}
