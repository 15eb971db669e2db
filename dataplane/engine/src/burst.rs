//! A burst from the wire, stage by stage.
//!
//! Overview: reading all frames, hashing all keys, fetching buckets, then records, and only then deciding packet by packet:
//! each stage asks for the cache lines that the next one reads, so that a burst waits for memory about once where its
//! packets would wait one after the other. Entries that are not in their first bucket get a stage of their own. What the
//! stages found out are hints: a packet is decided on what the table says when its turn comes, so that a burst has the
//! outcome of its packets one by one.
//!
//! A packet that [`quick`](crate::quick) has read, whose connection remembers its next hop, is followed the short way
//! ([`Connections::follow`]), and copied by the [plan](crate::mirror) that is remembered with it; every other goes through
//! [`Shard::decide`] as if there were no stages, but for those that begin a connection by plain rules
//! ([`Shard::begin_plainly`]).
//! Bounds: [`BURST`] packets; what is known of them is kept in one place from burst to burst.

use crate::crossings::Run;
use crate::eval::Root;
use crate::fate::{Arrival, Fate, WorkerId};
use crate::fib::Interface;
use crate::frame::Frame;
use crate::hook::Flow;
use crate::mirror::{Noted, PlanId};
use crate::quick::{Door, Kind, Quick};
use crate::rewrite;
use crate::shard::{BURST, Shard, View};
use crate::state::{Adjacency, Connections, Family, Leg, Moment, RecordId, Way};
use crate::translate;

/// What the stages before the decision found out. Kept from burst to burst, so that it need not be cleared.
#[derive(Debug)]
pub(crate) struct Stages {
    packets: [Quick; BURST],
    /// Some connections are translated, so that packets may have ways.
    may_translate: bool,
    /// By packet: meaningful only then.
    ways: [Way; BURST],
}

impl Default for Stages {
    fn default() -> Self {
        Self { packets: [Quick::default(); BURST], may_translate: false, ways: [Way::NONE; BURST] }
    }
}

/// What the stages of a burst have found out of a packet's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preview {
    pub flow: Flow,
    /// No record has the key, and no other worker its connection.
    pub is_new: bool,
}

/// Whether what is followed the short way gets another Ethernet header and has a hop less to live.
const ROUTED: bool = true;
const BRIDGED: bool = !ROUTED;

/// Whether packets may have ways of translated connections.
const TRANSLATED: bool = true;
const PLAIN: bool = !TRANSLATED;

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
        if self.adjacencies.observe(root.epoch(), view.fib.epoch()) {
            self.mirror.forget_plans();
        }
        let mut stages = self.stages.take().unwrap_or_default();
        self.connections.look_ahead();
        self.look_ahead(own, frames, &mut stages);
        if self.tracer.is_on() {
            self.lengthen(own, arrival, frames, &mut stages);
        }
        let moment = Moment::new(&view.expiry(root), arrival.interface, self.connections.states_at_most());
        match own.bridge() {
            None if stages.may_translate => {
                self.decide_each::<F, ROUTED, TRANSLATED>(view, arrival, &moment, &stages, frames, fates);
            }
            None => self.decide_each::<F, ROUTED, PLAIN>(view, arrival, &moment, &stages, frames, fates),
            Some(_) => self.decide_each::<F, BRIDGED, PLAIN>(view, arrival, &moment, &stages, frames, fates),
        }
        self.stages = Some(stages);
        self.mirror.settle(&mut self.counters, &mut self.rule_totals);
    }

    /// Has packets that are traced go the long way.
    #[cold]
    fn lengthen<F: Frame>(&self, own: &Interface, arrival: Arrival, frames: &[F], stages: &mut Stages) {
        for (frame, quick) in frames.iter().zip(&mut stages.packets) {
            if self.is_traced(own, arrival, frame) {
                quick.kind = Kind::Other;
            }
        }
    }

    #[inline(never)]
    fn look_ahead<F: Frame>(&self, own: &Interface, frames: &[F], stages: &mut Stages) {
        let door = Door::of(own);
        let packets = &mut stages.packets[..frames.len().min(BURST)];
        for (frame, quick) in frames.iter().zip(&mut *packets) {
            quick.read(frame.bytes(), || frame.ip_checksum(), &door);
        }
        if door.carries_tags() {
            let unread = frames.iter().zip(&mut *packets).filter(|(_, quick)| quick.kind == Kind::Other);
            for (frame, quick) in unread {
                quick.read_behind_tags(frame.bytes(), frame.ip_checksum(), &door);
            }
        }
        if self.hashing.workers() > 1 && !self.connections.has_strangers() {
            self.find_all::<true>(packets);
        } else {
            self.find_all::<false>(packets);
        }
        stages.may_translate = self.connections.has_links();
        if stages.may_translate {
            for (quick, way) in packets.iter().zip(&mut stages.ways) {
                *way = self.connections.find_way(quick.hint, quick.key.family());
            }
        }
    }

    /// Hashes all keys, guesses the record of each packet from the tags, and fetches it. If it `SORTS`, those whose home is another
    /// worker have none.
    ///
    /// Keys are hashed behind the pass that reads them: a load of both halves at once would wait for the stores of each.
    #[inline(always)]
    fn find_all<const SORTS: bool>(&self, packets: &mut [Quick]) {
        let connections = &self.connections;
        let is_sought = |hash| !SORTS || self.hashing.home(hash) == self.worker;
        self.hashing.hash_each(
            packets.iter_mut(),
            |quick| quick.key.blocks(&quick.wide),
            |quick, hash| {
                quick.hash = hash;
                if is_sought(hash) {
                    connections.prefetch_bucket(hash);
                }
            },
        );
        let mut elsewhere = false;
        for quick in &mut *packets {
            if !is_sought(quick.hash) {
                quick.hint = RecordId::NONE;
                continue;
            }
            quick.hint = connections.hint(quick.hash);
            if quick.hint == RecordId::NONE {
                connections.prefetch_overflow(quick.hash);
                elsewhere = true;
            }
            fetch(connections, quick);
        }
        if !elsewhere {
            return;
        }
        let unfound = |quick: &&mut Quick| quick.hint == RecordId::NONE && is_sought(quick.hash);
        for quick in packets.iter_mut().filter(unfound) {
            quick.hint = connections.hint_in_overflow(quick.hash);
            fetch(connections, quick);
        }
    }

    #[inline(never)]
    fn decide_each<F: Frame, const REWRITES: bool, const TRANSLATES: bool>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        moment: &Moment,
        stages: &Stages,
        frames: &mut [F],
        fates: &mut [Fate],
    ) {
        let (mut next, mut others) = (0, 0);
        while let (Some(quick), Some(_)) = (stages.packets.get(next), frames.get(next)) {
            if quick.kind.is_plain() && quick.hint != RecordId::NONE {
                let run = self.follow_any::<F, REWRITES, TRANSLATES>(moment, stages, next, frames, fates);
                if let Some(run) = run {
                    run.count(&mut self.counters);
                    next += run.packets();
                    continue;
                }
            }
            let (Some(frame), Some(fate)) = (frames.get_mut(next), fates.get_mut(next)) else { break };
            *fate = match self.foreign_owner(quick) {
                Some(owner) => self.hand_off(arrival, owner),
                None => {
                    others += 1;
                    self.decide_read::<F, REWRITES>(view, arrival, frame, quick)
                }
            };
            next += 1;
        }
        self.counters.searches += (next - others) as u64;
    }

    /// As [`follow_run`](Self::follow_run), with copies if there may be some; `None` if the first packet goes another way.
    #[inline(always)]
    fn follow_any<F: Frame, const REWRITES: bool, const TRANSLATES: bool>(
        &mut self,
        moment: &Moment,
        stages: &Stages,
        first: usize,
        frames: &mut [F],
        fates: &mut [Fate],
    ) -> Option<Run> {
        let run = if self.mirror.has_plans() {
            self.follow_run::<F, REWRITES, TRANSLATES, true>(moment, stages, first, frames, fates)
        } else {
            self.follow_run::<F, REWRITES, TRANSLATES, false>(moment, stages, first, frames, fates)
        };
        run.filter(|run| run.packets() > 0)
    }

    /// Takes packets the short way, from number `first` on, until one must go another way, or leaves by another interface than
    /// those before it. A loop of its own, from which nothing is called: what it reads of the shard stays in registers.
    #[inline(never)]
    fn follow_run<F: Frame, const REWRITES: bool, const TRANSLATES: bool, const COPIES: bool>(
        &mut self,
        moment: &Moment,
        stages: &Stages,
        first: usize,
        frames: &mut [F],
        fates: &mut [Fate],
    ) -> Option<Run> {
        let out = self.next_hop::<TRANSLATES>(stages, first)?.out;
        let leg = self.adjacencies.leg(moment.arrival, out);
        let mut run = Run::new(moment.arrival, out);
        let mut noted = if COPIES { Some(self.mirror.take_noted()) } else { None };
        let found = stages.packets.get(first..)?.iter().zip(stages.ways.get(first..)?);
        let packets = frames.get_mut(first..)?.iter_mut().zip(fates.get_mut(first..)?).zip(found);
        for (number, ((frame, fate), (quick, way))) in (first..).zip(packets) {
            let note = noted.as_mut().and_then(|noted| noted.get_mut(number));
            let followed = if TRANSLATES && way.is_some() {
                self.follow_translated(frame, note, quick, way, moment, leg)
            } else {
                self.follow::<F, REWRITES, COPIES>(frame, note, quick, moment, leg)
            };
            if !followed {
                break;
            }
            run.add(quick.key.family(), quick.length);
            *fate = Fate::Transmit(out);
        }
        if let Some(noted) = noted {
            self.mirror.repeat::<REWRITES>(noted, &stages.packets, first, &run);
        }
        Some(run)
    }

    /// Where a packet most likely goes.
    #[inline(always)]
    fn next_hop<const TRANSLATES: bool>(&self, stages: &Stages, number: usize) -> Option<&Adjacency> {
        let (quick, way) = (stages.packets.get(number)?, stages.ways.get(number)?);
        if TRANSLATES && way.is_some() {
            self.connections.next_hop_linked(quick, way, &self.adjacencies)
        } else {
            self.connections.next_hop(quick, &self.adjacencies)
        }
    }

    /// Decides a frame the long way, of which most is known if it was read.
    #[inline(never)]
    fn decide_read<F: Frame, const REWRITES: bool>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &mut F,
        quick: &Quick,
    ) -> Fate {
        if quick.kind == Kind::Other {
            return self.decide(view, arrival, frame, None);
        }
        let is_new = quick.hint == RecordId::NONE && !self.connections.may_be_fresh(quick.hash);
        let own = view.fib.interface(arrival.interface);
        // Frames that cross a pair may have tags.
        let packet = own.filter(|_| REWRITES).and_then(|own| quick.packet(frame.bytes(), own.zone));
        if is_new
            && let Some(packet) = &packet
            && let Some(fate) = self.begin_plainly(view, arrival.interface, frame, packet, quick)
        {
            return fate;
        }
        let flow = Flow { key: quick.key.widened(&quick.wide), hash: quick.hash, sender: quick.sender };
        let known = Some(Preview { flow, is_new });
        match (own, packet) {
            (Some(own), Some(mut packet)) => self.decide_ip(view, arrival, own, frame, &mut packet, known),
            _ => self.decide(view, arrival, frame, known),
        }
    }

    /// As [`Self::follow`], of a translated connection. Of frames that cross a pair, which may have tags, what changes has no fixed
    /// place: they go the long way.
    #[inline(always)]
    fn follow_translated<F: Frame>(
        &mut self,
        frame: &mut F,
        note: Option<&mut Noted>,
        quick: &Quick,
        way: &Way,
        moment: &Moment,
        leg: Leg,
    ) -> bool {
        if !quick.kind.is_plain() {
            return false;
        }
        if let Some(note) = note {
            // Copied packets of translated connections go the long way.
            note.plan = PlanId::NONE;
        }
        let followed = self.connections.follow_linked(quick, way, moment, leg, &self.adjacencies);
        let Some((adjacency, change)) = followed else { return false };
        let family = quick.key.family();
        translate::forward_translated(frame.bytes_mut(), family, quick.kind, &change, &adjacency.link);
        true
    }

    /// The owner of a packet's connection, if that is another worker and there is nothing of it here but perhaps an alias:
    /// only its owner makes it, so no packet before this one in the burst has. The owner judges the packet as if it had
    /// received it.
    #[inline(always)]
    fn foreign_owner(&self, quick: &Quick) -> Option<WorkerId> {
        if !quick.kind.is_plain() {
            return None;
        }
        if quick.hint != RecordId::NONE {
            return quick.hint.link().and_then(|id| self.connections.alias(id, &quick.key, &quick.wide));
        }
        let home = self.hashing.home(quick.hash);
        (home != self.worker && !self.placement.is_placed()).then_some(home)
    }

    /// Takes a packet the short way, if it goes along `leg`; false, and nothing is changed, if it must go another one.
    #[inline(always)]
    fn follow<F: Frame, const REWRITES: bool, const COPIES: bool>(
        &mut self,
        frame: &mut F,
        note: Option<&mut Noted>,
        quick: &Quick,
        moment: &Moment,
        leg: Leg,
    ) -> bool {
        if !quick.kind.is_plain() {
            return false;
        }
        let followed = self.connections.follow(quick, moment, leg, &self.adjacencies);
        let Some(adjacency) = followed else { return false };
        debug_assert!(COPIES || adjacency.plan == PlanId::NONE, "there are no plans");
        if COPIES && let Some(note) = note {
            note.plan = adjacency.plan;
            if REWRITES && let Some(head) = frame.bytes().first_chunk() {
                note.head = *head;
            }
        }
        if REWRITES {
            rewrite::forward_plain(frame.bytes_mut(), quick.key.family(), &adjacency.link);
        }
        true
    }
}

#[inline(always)]
fn fetch(connections: &Connections, quick: &Quick) {
    connections.prefetch_record(quick.hint);
    if quick.key.family() == Family::Inet6 {
        connections.prefetch_addresses(quick.hint);
    }
}
