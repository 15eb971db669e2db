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

use wire::ethernet::{Frame as Ethernet, HEADER_LEN};

use crate::eval::Root;
use crate::fate::{Arrival, Fate};
use crate::fib::{Interface, InterfaceId};
use crate::frame::Frame;
use crate::quick::{Door, Kind, Quick, wide_addresses};
use crate::rewrite;
use crate::shard::{BURST, Shard, View};
use crate::state::{Connections, Family, Moment, RecordId};

/// What the stages before the decision found out. Kept from burst to burst, so that it need not be cleared.
#[derive(Debug)]
pub(crate) struct Stages {
    packets: [Quick; BURST],
    hints: [Option<RecordId>; BURST],
}

impl Default for Stages {
    fn default() -> Self {
        Self { packets: [Quick::default(); BURST], hints: [None; BURST] }
    }
}

/// Whether what is followed the short way gets another Ethernet header and has a hop less to live.
const ROUTED: bool = true;
const BRIDGED: bool = !ROUTED;

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
        let mut stages = self.stages.take().unwrap_or_default();
        self.look_ahead(own, frames, &mut stages);
        let moment = Moment::new(&view.expiry(root), arrival.interface, self.connections.states_at_most());
        match own.bridge() {
            None => self.decide_each::<F, ROUTED>(view, arrival, &moment, &stages, frames, fates),
            Some(_) => self.decide_each::<F, BRIDGED>(view, arrival, &moment, &stages, frames, fates),
        }
        self.stages = Some(stages);
    }

    #[inline(never)]
    fn look_ahead<F: Frame>(&self, own: &Interface, frames: &[F], stages: &mut Stages) {
        let door = Door::of(own);
        for (frame, quick) in frames.iter().zip(&mut stages.packets) {
            quick.read(frame.bytes(), frame.ip_checksum(), &door, &self.hashing);
        }
        if door.carries_tags() {
            for (frame, quick) in
                frames.iter().zip(&mut stages.packets).filter(|(_, quick)| quick.kind == Kind::Other)
            {
                quick.read_behind_tags(frame.bytes(), frame.ip_checksum(), &door, &self.hashing);
            }
        }
        let count = frames.len().min(BURST);
        let (packets, hints) = (&mut stages.packets[..count], &mut stages.hints[..count]);
        self.hashing.hash_each(
            packets,
            |quick| quick.key.block(),
            |quick, hash| {
                // That of an IPv6 packet is known already.
                if quick.key.family == Family::Inet {
                    quick.hash = hash;
                }
            },
        );
        for quick in packets.iter() {
            self.connections.prefetch_bucket(quick.hash);
        }
        find_all(&self.connections, packets, hints);
    }

    #[inline(never)]
    fn decide_each<F: Frame, const REWRITES: bool>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        moment: &Moment,
        stages: &Stages,
        frames: &mut [F],
        fates: &mut [Fate],
    ) {
        let mut followed = 0;
        let packets = stages.packets.iter().zip(&stages.hints);
        for ((frame, fate), (quick, hint)) in frames.iter_mut().zip(fates).zip(packets) {
            match self.follow::<F, REWRITES>(frame, quick, *hint, moment) {
                Some(out) => {
                    *fate = Fate::Transmit(out);
                    followed += 1;
                }
                None => *fate = self.decide(view, arrival, frame),
            }
        }
        self.counters.searches += followed;
    }

    /// Takes a packet the short way, and returns where it leaves; `None`, and nothing is changed, if it must go the long one.
    #[inline(always)]
    fn follow<F: Frame, const REWRITES: bool>(
        &mut self,
        frame: &mut F,
        quick: &Quick,
        hint: Option<RecordId>,
        moment: &Moment,
    ) -> Option<InterfaceId> {
        let id = hint.filter(|_| quick.kind == Kind::Plain)?;
        let family = quick.key.family;
        let Self { connections, adjacencies, .. } = self;
        if family == Family::Inet6 {
            let l3 = if REWRITES { HEADER_LEN } else { Ethernet::parse(frame.bytes()).ok()?.l2_len() };
            if !connections.has_addresses(id, &wide_addresses(frame.bytes(), l3, quick.sender)?) {
                return None;
            }
        }
        let adjacency = connections.follow(id, quick, moment, adjacencies)?;
        if REWRITES {
            rewrite::forward_plain(frame.bytes_mut(), family, &adjacency.link);
        }
        Some(adjacency.out)
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
