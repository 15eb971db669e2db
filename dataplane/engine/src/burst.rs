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
use crate::fib::{Interface, InterfaceId};
use crate::frame::Frame;
use crate::hook::{First, Flow};
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
}

impl Default for Stages {
    fn default() -> Self {
        Self { packets: [Quick::default(); BURST], may_translate: false }
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
            self.connections.forget_courses();
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
        stages.may_translate = self.connections.has_links();
        let sorts = self.hashing.workers() > 1 && !self.connections.has_strangers();
        if stages.may_translate {
            self.find_all_translated(packets, sorts);
        } else if sorts {
            self.find_all::<true, PLAIN>(packets);
        } else {
            self.find_all::<false, PLAIN>(packets);
        }
    }

    /// By itself, so that where nothing is translated the registers are for what is done there.
    #[inline(never)]
    fn find_all_translated(&self, packets: &mut [Quick], sorts: bool) {
        if sorts {
            self.find_all::<true, TRANSLATED>(packets);
        } else {
            self.find_all::<false, TRANSLATED>(packets);
        }
    }

    /// Hashes all keys, guesses the record of each packet from the tags, and fetches it. If it `SORTS`, those whose home is another
    /// worker have none. If some are `TRANSLATED`, a plain packet's record is fetched by whatever tuple it comes.
    ///
    /// Keys are hashed behind the pass that reads them: a load of both halves at once would wait for the stores of each.
    #[inline(always)]
    fn find_all<const SORTS: bool, const TRANSLATES: bool>(&self, packets: &mut [Quick]) {
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
            if quick.hint != RecordId::NONE {
                fetch::<TRANSLATES>(connections, quick);
            } else if connections.leads_on(quick.hash) {
                connections.prefetch_overflow(quick.hash);
                elsewhere = true;
            }
        }
        if !elsewhere {
            return;
        }
        let unfound = |quick: &&mut Quick| {
            quick.hint == RecordId::NONE && is_sought(quick.hash) && connections.leads_on(quick.hash)
        };
        for quick in packets.iter_mut().filter(unfound) {
            quick.hint = connections.hint_in_overflow(quick.hash);
            fetch::<TRANSLATES>(connections, quick);
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

    /// Takes packets the short way, from number `first` on, by a loop for packets of its kind; `None` if it goes another way.
    #[inline(always)]
    fn follow_any<F: Frame, const REWRITES: bool, const TRANSLATES: bool>(
        &mut self,
        moment: &Moment,
        stages: &Stages,
        first: usize,
        frames: &mut [F],
        fates: &mut [Fate],
    ) -> Option<Run> {
        let packets = stages.packets.get(first..)?;
        let (frames, fates) = (frames.get_mut(first..)?, fates.get_mut(first..)?);
        let way = if TRANSLATES { self.connections.way(packets.first()?.hint) } else { Way::Plain };
        let run = match way {
            Way::Plain => match (self.mirror.has_plans(), REWRITES && self.adjacencies.retouch()) {
                (false, false) => {
                    self.follow_plain::<F, REWRITES, false, false>(moment, stages, first, frames, fates)
                }
                (false, true) => {
                    self.follow_plain::<F, REWRITES, false, true>(moment, stages, first, frames, fates)
                }
                (true, false) => {
                    self.follow_plain::<F, REWRITES, true, false>(moment, stages, first, frames, fates)
                }
                (true, true) => {
                    self.follow_plain::<F, REWRITES, true, true>(moment, stages, first, frames, fates)
                }
            },
            Way::Own => self.follow_translated::<F, true>(moment, packets, frames, fates),
            Way::Link => self.follow_translated::<F, false>(moment, packets, frames, fates),
        };
        run.filter(|run| run.packets() > 0)
    }

    /// Follows packets of connections that are not translated, from number `first` on, and copies them by their plans or changes
    /// their headers, if that is done with some.
    #[inline(never)]
    fn follow_plain<F: Frame, const REWRITES: bool, const COPIES: bool, const RETOUCHES: bool>(
        &mut self,
        moment: &Moment,
        stages: &Stages,
        first: usize,
        frames: &mut [F],
        fates: &mut [Fate],
    ) -> Option<Run> {
        let packets = stages.packets.get(first..)?;
        let out = self.connections.next_hop(packets.first()?, &self.adjacencies)?.out;
        let (mut noted, mut next) = (if COPIES { Some(self.mirror.take_noted()) } else { None }, first);
        let run = self.follow_run(moment, out, packets, frames, fates, |shard, leg, frame, quick| {
            let note = noted.as_mut().and_then(|noted| noted.get_mut(next));
            next = next.wrapping_add(1);
            shard.follow::<F, REWRITES, COPIES, RETOUCHES>(frame, note, quick, moment, leg)
        });
        if let Some(noted) = noted {
            self.mirror.repeat::<REWRITES>(noted, &stages.packets, first, &run);
        }
        Some(run)
    }

    /// Follows packets of translated connections that were found by their records' own tuples, or by those of links: first all, and
    /// then they are rewritten, as one loop has too few registers for both. Frames that cross a pair may have tags, behind which
    /// what changes has no fixed place: they go the long way.
    fn follow_translated<F: Frame, const BY_OWN: bool>(
        &mut self,
        moment: &Moment,
        packets: &[Quick],
        frames: &mut [F],
        fates: &mut [Fate],
    ) -> Option<Run> {
        let out = self.connections.next_hop_linked::<BY_OWN>(packets.first()?, &self.adjacencies)?.out;
        let run = self.follow_linked::<BY_OWN>(moment, out, packets.get(..frames.len())?);
        let packets = packets.get(..run.packets())?;
        if self.adjacencies.retouch() {
            self.forward_linked::<F, BY_OWN, true>(out, packets, frames, fates);
        } else {
            self.forward_linked::<F, BY_OWN, false>(out, packets, frames, fates);
        }
        Some(run)
    }

    /// As [`Self::follow_run`], of translated connections, but for what becomes of the frames.
    #[inline(never)]
    fn follow_linked<const BY_OWN: bool>(
        &mut self,
        moment: &Moment,
        out: InterfaceId,
        packets: &[Quick],
    ) -> Run {
        let Self { connections, adjacencies, .. } = self;
        let leg = adjacencies.leg(moment.arrival, out);
        let mut run = Run::new(moment.arrival, out);
        for quick in packets.iter().take_while(|quick| quick.kind.is_plain()) {
            if connections.follow_linked::<BY_OWN>(quick, moment, leg, adjacencies).is_none() {
                break;
            }
            run.add(quick.key.family(), quick.length);
        }
        run
    }

    /// Rewrites and forwards packets of translated connections that were followed, and leave by `out`; some have more of their
    /// headers changed, if it `RETOUCHES`.
    #[inline(never)]
    fn forward_linked<F: Frame, const BY_OWN: bool, const RETOUCHES: bool>(
        &mut self,
        out: InterfaceId,
        packets: &[Quick],
        frames: &mut [F],
        fates: &mut [Fate],
    ) {
        for ((quick, frame), fate) in packets.iter().zip(frames).zip(fates) {
            if self.forward_one_linked::<BY_OWN, RETOUCHES>(quick, frame.bytes_mut()).is_some() {
                *fate = Fate::Transmit(out);
            }
        }
    }

    #[inline(always)]
    fn forward_one_linked<const BY_OWN: bool, const RETOUCHES: bool>(
        &mut self,
        quick: &Quick,
        frame: &mut [u8],
    ) -> Option<()> {
        let Self { connections, adjacencies, draws, .. } = self;
        let record = connections.followed::<BY_OWN>(quick)?;
        let (family, kind, draw) = (quick.key.family(), quick.kind, || draws.next());
        match family {
            Family::Inet => {
                let (change, hop) = connections.change::<BY_OWN>(record);
                forward_by::<RETOUCHES>(adjacencies.of(hop), frame, family, draw, |frame, link| {
                    translate::forward_translated(frame, kind, &change, link);
                });
            }
            Family::Inet6 => {
                let (change, hop) = connections.wide_change::<BY_OWN>(quick, record)?;
                forward_by::<RETOUCHES>(adjacencies.of(hop), frame, family, draw, |frame, link| {
                    translate::forward_translated6(frame, kind, &change, link);
                });
            }
        }
        Some(())
    }

    /// Takes packets the short way until one must go another way, or leaves by another interface than `out`. A loop of its own for
    /// each kind, from which nothing is called: what it reads of the shard stays in registers.
    #[inline(always)]
    fn follow_run<F: Frame>(
        &mut self,
        moment: &Moment,
        out: InterfaceId,
        packets: &[Quick],
        frames: &mut [F],
        fates: &mut [Fate],
        mut follow: impl FnMut(&mut Self, Leg, &mut F, &Quick) -> bool,
    ) -> Run {
        let leg = self.adjacencies.leg(moment.arrival, out);
        let mut run = Run::new(moment.arrival, out);
        for ((frame, fate), quick) in frames.iter_mut().zip(fates).zip(packets) {
            if !follow(self, leg, frame, quick) {
                break;
            }
            run.add(quick.key.family(), quick.length);
            *fate = Fate::Transmit(out);
        }
        run
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
        let is_new = quick.hint == RecordId::NONE
            && (!self.connections.may_be_fresh(quick.hash) || !self.is_known(quick));
        let own = view.fib.interface(arrival.interface);
        // Frames that cross a pair may have tags.
        let mut packet = own.filter(|_| REWRITES).and_then(|own| quick.packet(frame.bytes(), own.zone));
        if is_new
            && let Some(packet) = &mut packet
            && let Some(fate) =
                self.begin_plainly(view, &mut First { arrival: arrival.interface, packet, quick }, frame)
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

    /// True if somebody has the key of a packet that was read.
    #[cold]
    fn is_known(&self, quick: &Quick) -> bool {
        self.connections.has_taken(&quick.key, &quick.wide, quick.hash)
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
    fn follow<F: Frame, const REWRITES: bool, const COPIES: bool, const RETOUCHES: bool>(
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
        debug_assert!(RETOUCHES || adjacency.retouch.is_nothing(), "no header is changed");
        if COPIES && let Some(note) = note {
            note.plan = adjacency.plan;
            if REWRITES && let Some(head) = frame.bytes().first_chunk() {
                note.head = *head;
            }
        }
        if REWRITES {
            let (family, draw) = (quick.key.family(), || self.draws.next());
            forward_by::<RETOUCHES>(adjacency, frame.bytes_mut(), family, draw, |frame, link| {
                rewrite::forward_plain(frame, family, link);
            });
        }
        true
    }
}

/// Has a packet of this family forwarded to a next hop, and more of its header changed if it `RETOUCHES` and that is asked for.
#[inline(always)]
fn forward_by<const RETOUCHES: bool>(
    hop: &Adjacency,
    frame: &mut [u8],
    family: Family,
    draw: impl FnOnce() -> u64,
    forward: impl FnOnce(&mut [u8], &[u8; 12]),
) {
    if RETOUCHES && !hop.retouch.is_nothing() {
        hop.retouch.around(frame, family, draw, |frame| forward(frame, &hop.link));
    } else {
        forward(frame, &hop.link);
    }
}

#[inline(always)]
fn fetch<const TRANSLATES: bool>(connections: &Connections, quick: &Quick) {
    if TRANSLATES && quick.kind.is_plain() {
        return connections.prefetch_either(quick.hint, quick.key.family());
    }
    connections.prefetch_record(quick.hint);
    if quick.key.family() == Family::Inet6 {
        connections.prefetch_addresses(quick.hint);
    }
}
