//! UDP, open loop: as many as asked for, whatever becomes of them. Flows take turns.
//!
//! Where both ends send, servers send by the flows that clients have begun: a stateful device passes nothing else, and a
//! client that was held up has begun fewer than was planned.
//!
//! Bounds: memory is for the order of what comes, 8 octets for each flow; sending needs none.

use crate::end::End;
use crate::flow::{Flows, Role};
use crate::frame::Received;
use crate::mark::Mark;
use crate::order::{Arrival, Order};
use crate::outcome::Tally;
use crate::pace::Pacer;
use crate::profile::Senders;
use crate::traffic::{Sizes, Trial};

/// One end's datagrams.
#[derive(Debug)]
pub struct Datagrams {
    flows: Flows,
    sizes: Sizes,
    role: Role,
    senders: Senders,
    pacer: Pacer,
    trial: u8,
    turns: Turns,
    order: Order,
    tally: Tally,
}

/// Who is next: flow after flow, of those that have begun.
#[derive(Clone, Copy, Debug)]
struct Turns {
    /// The flow whose turn it is, and the number of its packet.
    flow: u32,
    sequence: u32,
    /// How many flows take turns.
    begun: u32,
}

impl Turns {
    /// The first of so many flows.
    const fn new(begun: u32) -> Self {
        Self { flow: 0, sequence: 0, begun }
    }

    /// Takes note of a flow that has begun; clients begin them in their order.
    #[inline]
    const fn begin(&mut self, flow: u32) {
        if flow >= self.begun {
            self.begun = flow + 1;
        }
    }

    /// True if nobody can have a turn.
    const fn is_empty(&self) -> bool {
        self.begun == 0
    }

    /// On to the next flow; true if it is the first one again.
    #[inline]
    const fn advance(&mut self) -> bool {
        self.flow += 1;
        if self.flow < self.begun {
            return false;
        }
        self.flow = 0;
        self.sequence = self.sequence.wrapping_add(1);
        true
    }
}

impl Datagrams {
    /// Of these flows in frames of these sizes. Who does not send only receives.
    pub fn new(flows: Flows, sizes: Sizes, role: Role, senders: Senders) -> Self {
        Self {
            order: Order::new(flows.count()),
            flows,
            sizes,
            role,
            senders,
            pacer: Pacer::new(0.0),
            trial: 0,
            turns: Turns::new(0),
            tally: Tally::new(),
        }
    }

    /// Begins anew.
    pub fn begin(&mut self, trial: Trial) {
        self.pacer = Pacer::new(if self.senders.include(self.role) { trial.rate } else { 0.0 });
        self.trial = trial.number;
        self.turns = Turns::new(if self.is_led() { 0 } else { self.flows.count() });
        self.order.reset();
        self.tally = Tally::new();
    }

    /// True if the other end begins the flows.
    #[inline]
    fn is_led(&self) -> bool {
        self.senders == Senders::Both && self.role == Role::Server
    }

    /// Sends what was due when `plan` nanoseconds had passed; true if anything was.
    #[inline]
    pub fn send(&mut self, end: &mut End, now: u64, plan: u64) -> bool {
        let due = self.pacer.due(plan);
        if self.turns.is_empty() {
            return false;
        }
        let mut made = 0;
        while made < due.min(dpdk::BURST_MAX as u64) {
            let Turns { flow, sequence, .. } = self.turns;
            let mark = Mark { trial: self.trial, flow, sequence, stamp: now };
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

    /// Counts what was due when `plan` nanoseconds had passed, and will never be sent. Where no flow has begun nobody was kept
    /// from sending: the other end's loss says it all.
    pub fn give_up(&mut self, plan: u64) {
        let due = self.pacer.due(plan) + self.pacer.left_out();
        self.tally.left_out = if self.turns.is_empty() { 0 } else { due };
    }

    /// On to the next flow.
    #[inline]
    fn advance(&mut self) {
        self.sizes.advance();
        if self.turns.advance() {
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
        if self.is_led() {
            self.turns.begin(mark.flow);
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

#[cfg(test)]
mod tests {
    use super::Turns;

    fn next(turns: &mut Turns, count: usize) -> Vec<(u32, u32)> {
        let mut turn = || {
            let now = (turns.flow, turns.sequence);
            turns.advance();
            now
        };
        (0..count).map(|_| turn()).collect()
    }

    #[test]
    fn only_flows_that_have_begun_take_turns() {
        let mut turns = Turns::new(0);
        assert!(turns.is_empty());
        (0..2).for_each(|flow| turns.begin(flow));
        assert_eq!(next(&mut turns, 3), [(0, 0), (1, 0), (0, 1)]);
        turns.begin(2);
        turns.begin(1);
        assert_eq!(next(&mut turns, 3), [(1, 1), (2, 1), (0, 2)], "the third has its turn behind the second");
    }

    #[test]
    fn all_take_turns_where_nobody_else_begins_them() {
        assert_eq!(next(&mut Turns::new(2), 5), [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]);
    }
}
