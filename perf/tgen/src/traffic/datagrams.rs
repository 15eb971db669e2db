//! UDP, open loop: as many as asked for, whatever becomes of them. Flows take turns.
//!
//! Bounds: memory is for the order of what comes, 8 octets for each flow; sending needs none.

use crate::end::End;
use crate::flow::{Flows, Role};
use crate::frame::Received;
use crate::mark::Mark;
use crate::order::{Arrival, Order};
use crate::outcome::Tally;
use crate::pace::Pacer;
use crate::traffic::{Sizes, Trial};

/// One end's datagrams.
#[derive(Debug)]
pub struct Datagrams {
    flows: Flows,
    sizes: Sizes,
    role: Role,
    sends: bool,
    pacer: Pacer,
    trial: u8,
    /// The flow whose turn it is, and the number of its packet.
    flow: u32,
    sequence: u32,
    order: Order,
    tally: Tally,
}

impl Datagrams {
    /// Of these flows in frames of these sizes. Who does not send only receives.
    pub fn new(flows: Flows, sizes: Sizes, role: Role, sends: bool) -> Self {
        Self {
            order: Order::new(flows.count()),
            flows,
            sizes,
            role,
            sends,
            pacer: Pacer::new(0.0),
            trial: 0,
            flow: 0,
            sequence: 0,
            tally: Tally::new(),
        }
    }

    /// Begins anew.
    pub fn begin(&mut self, trial: Trial) {
        let rate = if self.sends { trial.rate } else { 0.0 };
        self.pacer = Pacer::new(rate);
        self.trial = trial.number;
        (self.flow, self.sequence) = (0, 0);
        self.order.reset();
        self.tally = Tally::new();
    }

    /// Sends what was due when `plan` nanoseconds had passed; true if anything was.
    #[inline]
    pub fn send(&mut self, end: &mut End, now: u64, plan: u64) -> bool {
        let due = self.pacer.due(plan);
        let mut made = 0;
        while made < due.min(dpdk::BURST_MAX as u64) {
            let mark = Mark { trial: self.trial, flow: self.flow, sequence: self.sequence, stamp: now };
            let (flows, sizes, role) = (&self.flows, &self.sizes, self.role);
            let sent = end.send(|mbuf| {
                let tuple = flows.tuple(mark.flow, role);
                sizes
                    .template()
                    .write(mbuf, &tuple, None, Some(&mark))
                    .expect("buffers have room for any frame");
            });
            if !sent {
                break;
            }
            made += 1;
            self.advance();
        }
        self.pacer.take(made);
        self.tally.sent += made;
        due > 0
    }

    /// Counts what was due when `plan` nanoseconds had passed, and will never be sent.
    pub fn give_up(&mut self, plan: u64) {
        self.tally.left_out = self.pacer.due(plan) + self.pacer.left_out();
    }

    /// On to the next flow.
    #[inline]
    fn advance(&mut self) {
        self.sizes.advance();
        self.flow += 1;
        if self.flow == self.flows.count() {
            self.flow = 0;
            self.sequence = self.sequence.wrapping_add(1);
            // Else a flow would have the same size for ever, where there are as many flows as sizes.
            self.sizes.advance();
        }
    }

    /// Takes a datagram that came.
    #[inline]
    pub fn hear(&mut self, received: &Received<'_>, now: u64) {
        // What this end has sent itself, a device may have sent back: that is no arrival.
        let flow = self.flows.find(&received.tuple, self.role.other());
        let mark = Mark::read(received.data).filter(|mark| flow == Some(mark.flow));
        let Some(mark) = mark else {
            self.tally.other += 1;
            return;
        };
        if mark.trial != self.trial {
            self.tally.late += 1;
            return;
        }
        match self.order.note(mark.flow, mark.sequence) {
            None => {
                self.tally.other += 1;
                return;
            }
            Some(Arrival::Duplicate) => {
                self.tally.duplicates += 1;
                return;
            }
            Some(Arrival::Reordered) => self.tally.reordered += 1,
            Some(Arrival::InOrder) => {}
        }
        self.tally.received += 1;
        self.tally.latency.saturating_record(now.saturating_sub(mark.stamp).max(1));
    }

    /// What was counted.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// As [`tally`](Self::tally), to be changed.
    pub const fn tally_mut(&mut self) -> &mut Tally {
        &mut self.tally
    }
}
