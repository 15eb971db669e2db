//! Packets that are lost behind their verdict: in a queue, a ring or a hold of the shell, for want of a buffer or a neighbour.
//!
//! Overview: whoever loses one counts it here, and shows its frame, of which an example is kept as of what the rules drop.
//! Ownership: the shard's worker; [`Losses`] borrows the counters and the examples of its shard. Bounds: a frame that is to be an
//! example is read once more, a few of each reason in a while; all others cost the count.

use ruleset::Reason;

use crate::counters::Counters;
use crate::fate::{Arrival, Source};
use crate::fib::InterfaceId;
use crate::frame::RxChecksum;
use crate::packet::Zone;
use crate::parse::{Parsed, parse};
use crate::shard::Shard;
use crate::tick::Tick;
use crate::witness::{Blame, DropPlace, Head, Seen, Witness};

/// Where packets are counted and kept as examples that are lost behind their verdict.
#[derive(Debug)]
pub struct Losses<'s> {
    /// The counters of the shard.
    pub counters: &'s mut Counters,
    witness: &'s mut Witness,
    now: Tick,
}

impl<'s> Losses<'s> {
    pub(crate) const fn new(counters: &'s mut Counters, witness: &'s mut Witness, now: Tick) -> Self {
        Self { counters, witness, now }
    }

    /// Counts a frame that was to leave by `interface`, onto the wire or to the host.
    #[cold]
    #[inline(never)]
    pub fn leaving(&mut self, (interface, side): (InterfaceId, Source), reason: Reason, frame: &[u8]) {
        self.counters.drop_packet(interface, reason);
        self.note((DropPlace::Leaving(side), interface), reason, frame);
    }

    /// Counts a frame of which it is known where it arrived, at `counted_on`.
    #[cold]
    #[inline(never)]
    pub fn arrived(&mut self, arrival: Arrival, counted_on: InterfaceId, reason: Reason, frame: &[u8]) {
        self.counters.drop_packet(counted_on, reason);
        self.note((DropPlace::Arrived(arrival), counted_on), reason, frame);
    }

    /// Whether a drop of this reason would be an example now.
    pub(crate) fn wants(&mut self, reason: Reason) -> bool {
        self.witness.wants(self.now, reason)
    }

    fn note(&mut self, place: (DropPlace, InterfaceId), reason: Reason, frame: &[u8]) {
        if !self.wants(reason) {
            return self.witness.pass_over(reason);
        }
        // What it says is told, whether or not it is right.
        let seen = match parse(frame, Zone::default(), RxChecksum::Good) {
            Ok(Parsed::Ip(packet)) => Seen::Packet(packet),
            _ => Seen::Frame(Head::of(frame)),
        };
        self.witness.record(self.now, reason, place, seen, Blame::default());
    }
}

impl Shard {
    /// Where the shell counts what it loses at this time.
    #[inline]
    pub const fn losses(&mut self, now: Tick) -> Losses<'_> {
        Losses::new(&mut self.counters, &mut self.witness, now)
    }
}
