//! Sequence numbers that are changed on their way (pf.conf(5) `modulate state`).
//!
//! Overview: the hook that makes a state of a SYN draws what is added to the numbers of either end. From then on each packet
//! that passes the hook has its sequence number, what it acknowledges, and what its SACK blocks or an ICMP error's quote say,
//! in the numbers of whoever is behind it. What is changed is the [`Packet`], as with translation; its frame is
//! rewritten last. Ownership: the shard.
//!
//! What is added is a keyed hash of the tuple and a clock (RFC 6528 §3), so that numbers of one tuple grow from connection to
//! connection as those do that the ends themselves choose. It is drawn for both ends at once.
//!
//! Deviation: pf draws the first sequence number itself, here it stays that of its sender with something unpredictable added;
//! nothing is added to the numbers of a connection that was picked up in its middle, as in pf.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use wire::{Seq, TcpFlags};

use crate::hook::{Answer, Hook, Passage};
use crate::packet::{Packet, Transport, Tuple};
use crate::shard::{Shard, View};
use crate::state::{Differences, RecordId};
use crate::tick::Tick;
use crate::track::Segment;

/// Nanoseconds in which an initial sequence number grows by one (RFC 6528 §3).
const ISN_STEP: u64 = 4_000;

/// What initial sequence numbers are made with: the same in every worker, and not what connections are hashed with.
#[derive(Clone, Debug)]
pub(crate) struct Isn {
    key: [u64; 2],
}

impl Isn {
    /// Of the secret that a process draws at its start.
    pub fn new(secret: [u64; 2]) -> Self {
        let half = |number: u64| {
            let mut sip = SipHasher24::new_with_keys(secret[0], secret[1]);
            sip.write(b"initial sequence numbers");
            sip.write_u64(number);
            sip.finish()
        };
        Self { key: [half(0), half(1)] }
    }

    /// What nobody else can know of the packets of a tuple now; `purpose` tells numbers of the same tuple apart.
    pub fn draw(&self, tuple: &Tuple, purpose: u8, now: Tick) -> u32 {
        let mut sip = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        write_tuple(&mut sip, tuple);
        sip.write_u8(purpose);
        (sip.finish() as u32).wrapping_add((now.0 / ISN_STEP) as u32)
    }
}

/// Hashes a tuple, but for family and protocol.
pub(crate) fn write_tuple(sip: &mut impl Hasher, tuple: &Tuple) {
    sip.write_u128(tuple.src.0);
    sip.write_u128(tuple.dst.0);
    sip.write_u64(u64::from(tuple.sport.0) << 32 | u64::from(tuple.dport.0) << 16 | u64::from(tuple.zone.0));
}

/// How the numbers of a packet differ from those that it arrived with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Renumbered {
    /// What was added to those of its sender.
    own: u32,
    /// What was taken from those of its receiver.
    other: u32,
    /// What of that was taken from the number that it acknowledges: nothing, if it acknowledges none.
    acknowledged: u32,
}

impl Renumbered {
    /// An answer in the numbers of the packet's sender.
    pub const fn as_told(self, answer: Answer) -> Answer {
        match answer {
            Answer::RstWith(seq) => Answer::RstWith(seq.plus(self.acknowledged)),
            Answer::Challenge { seq, ack } => {
                Answer::Challenge { seq: seq.plus(self.other), ack: ack.minus(self.own) }
            }
            Answer::SynAck { seq, ack, mss } => {
                Answer::SynAck { seq: seq.plus(self.other), ack: ack.minus(self.own), mss }
            }
            answer => answer,
        }
    }
}

/// A segment with something added to its own numbers, and taken from those that it acknowledges.
fn moved(segment: Segment, own: u32, other: u32) -> Segment {
    // A reset of what was never seen says 0, and is to be known by it.
    let acknowledges = segment.has(TcpFlags::ACK) && !(segment.has(TcpFlags::RST) && segment.ack == Seq(0));
    let ack = if acknowledges { segment.ack.minus(other) } else { segment.ack };
    Segment { seq: segment.seq.plus(own), ack, ..segment }
}

/// Gives a segment the numbers back that it arrived with, where these are what was added to those of its sender and its
/// receiver.
pub(crate) fn take_back(packet: &mut Packet, [own, other]: Differences) {
    if let Transport::Tcp(segment) = &mut packet.transport {
        *segment = moved(*segment, own.wrapping_neg(), other.wrapping_neg());
    }
}

impl Passage<'_> {
    /// Has a packet pass a face that adds these to the numbers of both ends, by side.
    #[cold]
    pub fn renumber(&mut self, differences: Differences) {
        let sender = self.flow.sender;
        let [own, other] = [sender, sender.other()].map(|end| differences[end.index()]);
        match self.packet.transport {
            Transport::Tcp(segment) => {
                self.keep_arrived();
                let moved = moved(segment, own, other);
                self.packet.transport = Transport::Tcp(moved);
                let before = self.renumbered;
                self.renumbered = Renumbered {
                    own: before.own.wrapping_add(own),
                    other: before.other.wrapping_add(other),
                    acknowledged: before.acknowledged.wrapping_add(segment.ack.0.wrapping_sub(moved.ack.0)),
                };
            }
            // What it quotes was sent by the end that it goes to.
            Transport::IcmpError { kind, code, mut quoted } => {
                self.keep_arrived();
                quoted.seq = quoted.seq.minus(other);
                self.packet.transport = Transport::IcmpError { kind, code, quoted };
            }
            _ => {}
        }
    }
}

impl Shard {
    /// Has a hook change the numbers of a connection from this packet on, a SYN that has made a face there.
    #[cold]
    pub(crate) fn modulate(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
    ) {
        const OPEN: TcpFlags = TcpFlags::SYN.union(TcpFlags::ACK);
        let opens = matches!(passage.packet.transport, Transport::Tcp(segment)
            if segment.flags.masked(OPEN) == TcpFlags::SYN);
        if !opens {
            return;
        }
        let (tuple, sender) = (passage.packet.tuple, passage.flow.sender);
        let draw = |tuple: Tuple| self.isn.draw(&tuple, hook.direction as u8, view.now).max(1);
        let mut differences = [0; 2];
        differences[sender.index()] = draw(tuple);
        differences[sender.other().index()] = draw(tuple.reverse());
        self.connections.renumber(record, hook.side(sender), differences);
        // As in pf, nothing is taken from the numbers of an end that was not seen.
        differences[sender.other().index()] = 0;
        passage.renumber(differences);
    }
}

#[cfg(test)]
mod tests {
    use wire::{Af, Port, Proto};

    use super::*;
    use crate::{Address, Zone};

    fn tuple(sport: u16) -> Tuple {
        let (src, dst) = (Address(1), Address(2));
        Tuple {
            af: Af::Inet,
            proto: Proto::TCP,
            zone: Zone(0),
            src,
            dst,
            sport: Port(sport),
            dport: Port(80),
        }
    }

    /// RFC 6528 §3: in the eyes of one tuple the numbers grow, a million in four seconds; nobody else can tell where they are.
    #[test]
    fn a19_numbers_of_a_tuple_grow_with_time_and_those_of_others_are_unrelated() {
        let isn = Isn::new([1, 2]);
        let at = |seconds| isn.draw(&tuple(1), 0, Tick::from_secs(seconds));
        assert_eq!(at(104).wrapping_sub(at(100)), 1_000_000);
        let mut seen: Vec<u32> = (0..1000).map(|port| isn.draw(&tuple(port), 0, Tick(0))).collect();
        let steps: Vec<u32> = seen.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
        let upper_half = steps.iter().filter(|step| **step > u32::MAX / 2).count();
        assert!((400..600).contains(&upper_half), "{upper_half} of 999 steps go back");
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 998);
        let mine = isn.draw(&tuple(1), 0, Tick(0));
        assert_ne!(mine, isn.draw(&tuple(1), 1, Tick(0)), "another purpose");
        assert_ne!(mine, isn.draw(&tuple(1).reverse(), 0, Tick(0)));
        assert_ne!(mine, Isn::new([1, 3]).draw(&tuple(1), 0, Tick(0)), "another secret");
    }
}
