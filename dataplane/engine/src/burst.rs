//! A burst from the wire, stage by stage.
//!
//! Overview: reading all frames, hashing all keys, fetching buckets, then records, and only then deciding packet by packet:
//! each stage asks for the cache lines that the next one reads, so that a burst waits for memory about once where its
//! packets would wait one after the other. Entries that are not in their first bucket get a stage of their own. What the
//! stages found out are hints: a packet is decided on what the table says when its turn comes, so that a burst has the
//! outcome of its packets one by one.
//!
//! A packet that [`quick`](crate::quick) has read, whose connection remembers its next hop, is followed the short way
//! ([`Connections::follow`]); every other goes through [`Shard::decide`] as if there were no stages.
//! Bounds: [`BURST`] packets; what is known of them stands on the stack.

use crate::counters::Counters;
use crate::eval::Root;
use crate::fate::{Arrival, Fate};
use crate::fib::Interface;
use crate::frame::Frame;
use crate::quick::{Door, Kind, Quick, wide_addresses};
use crate::rewrite;
use crate::shard::{BURST, Shard, View};
use crate::state::{Connections, Family, KeyHash, Moment, RecordId, Tally};

/// What the stages before the decision found out.
struct Stages {
    packets: [Quick; BURST],
    hints: [Option<RecordId>; BURST],
}

impl Shard {
    /// Decides a burst that a port received. `own` is its interface, where `root` filters.
    pub(crate) fn process_plain<F: Frame>(
        &mut self,
        view: &View<'_>,
        root: &Root,
        own: &Interface,
        arrival: Arrival,
        frames: &mut [F],
        fates: &mut [Fate],
    ) {
        self.adjacencies.observe(root.epoch(), view.fib.epoch());
        let stages = self.look_ahead(own, frames);
        let moment = Moment::new(&view.expiry(root), arrival.interface, self.connections.states_at_most());
        let mut tally = Tally::default();
        let packets = stages.packets.iter().zip(stages.hints);
        for ((frame, fate), (quick, hint)) in frames.iter_mut().zip(fates).zip(packets) {
            *fate = match self.follow(frame, quick, hint, &moment, &mut tally) {
                Some(fate) => fate,
                None => {
                    self.settle(&mut tally);
                    self.decide(view, arrival, frame)
                }
            };
        }
        self.settle(&mut tally);
    }

    #[inline(always)]
    fn look_ahead<F: Frame>(&self, own: &Interface, frames: &[F]) -> Stages {
        let door = Door { own: own.mac, zone: own.zone };
        let mut stages = Stages { packets: [Quick::default(); BURST], hints: [None; BURST] };
        let count = frames.len().min(BURST);
        let packets = &mut stages.packets[..count];
        for (frame, quick) in frames.iter().zip(packets.iter_mut()) {
            *quick = Quick::read(frame.bytes(), frame.ip_checksum(), &door, &self.hashing);
        }
        self.hash_all(packets);
        for quick in packets.iter() {
            self.connections.prefetch_bucket(quick.hash);
        }
        find_all(&self.connections, packets, &mut stages.hints[..count]);
        stages
    }

    /// The hashes of all IPv4 packets at once.
    #[inline(always)]
    fn hash_all(&self, packets: &mut [Quick]) {
        let mut blocks = [0; BURST];
        let mut hashes = [0; BURST];
        let count = packets.len();
        for (block, quick) in blocks.iter_mut().zip(packets.iter()) {
            *block = quick.key.block();
        }
        self.hashing.hash_each(&blocks[..count], &mut hashes[..count]);
        for (quick, hash) in packets.iter_mut().zip(hashes) {
            if quick.key.family == Family::Inet {
                quick.hash = KeyHash(hash);
            }
        }
    }

    #[inline(always)]
    fn follow<F: Frame>(
        &mut self,
        frame: &mut F,
        quick: &Quick,
        hint: Option<RecordId>,
        moment: &Moment,
        tally: &mut Tally,
    ) -> Option<Fate> {
        let id = hint.filter(|_| quick.kind == Kind::Plain)?;
        let Self { connections, adjacencies, .. } = self;
        let adjacency = if quick.key.family == Family::Inet6 {
            let addresses = wide_addresses(frame.bytes(), quick.sender)?;
            connections.follow(id, quick, Some(&addresses), moment, adjacencies, tally)?
        } else {
            connections.follow(id, quick, None, moment, adjacencies, tally)?
        };
        rewrite::forward_plain(frame.bytes_mut(), adjacency.source, adjacency.destination);
        Some(Fate::Transmit(adjacency.out))
    }

    /// Adds up what was followed: before anything else looks at the table or the counters.
    #[inline(always)]
    fn settle(&mut self, tally: &mut Tally) {
        let Self { connections, counters, .. } = self;
        let Counters { searches, .. } = counters;
        *searches += connections.settle(tally);
    }
}

/// Guesses the record of each packet from the tags, and fetches it.
#[inline(always)]
fn find_all(connections: &Connections, packets: &[Quick], hints: &mut [Option<RecordId>]) {
    let mut elsewhere = false;
    for (quick, hint) in packets.iter().zip(hints.iter_mut()) {
        *hint = connections.hint(quick.hash);
        match *hint {
            Some(id) => fetch(connections, quick, id),
            None => {
                connections.prefetch_overflow(quick.hash);
                elsewhere = true;
            }
        }
    }
    if !elsewhere {
        return;
    }
    for (quick, hint) in packets.iter().zip(hints) {
        if hint.is_none() {
            *hint = connections.hint_in_overflow(quick.hash);
            if let Some(id) = *hint {
                fetch(connections, quick, id);
            }
        }
    }
}

#[inline(always)]
fn fetch(connections: &Connections, quick: &Quick, id: RecordId) {
    connections.prefetch_record(id);
    if quick.key.family == Family::Inet6 {
        connections.prefetch_addresses(id);
    }
}
