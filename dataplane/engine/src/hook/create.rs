//! How packets make states: of the first packet of a connection at each hook, and of what translation made of it there.
//!
//! Ownership: the shard. Bounds: an insertion into the index, and one more where the packet was translated.

use ruleset::{Direction, LimitHit, PeerState, Reason, Removal, RoutingKind, StateMode, Timeout};
use wire::Proto;

use super::{Flow, Hook, Passage, Passed, Stop, stamps};
use crate::Address;
use crate::eval::{Decision, Root};
use crate::events::StateChange;
use crate::mirror::CopyTo;
use crate::packet::{Packet, Transport, Tuple};
use crate::parse::has_partial_checksum;
use crate::pool::Target;
use crate::shard::{Shard, View};
use crate::state::{Beside, Found, Full, Key, Narrow, NewRecord, RecordId, Side, Sketch, Turned};
use crate::track::{self, Datagram, Peer};

impl Shard {
    /// Lets a packet pass without a state.
    ///
    /// # Errors
    /// If it would have to have one.
    pub(super) fn pass_alone(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        decision: &Decision<'_>,
        is_single: bool,
    ) -> Result<(), Stop> {
        let refused = if !is_single && passage.turned {
            Some(Reason::Translate)
        } else {
            passage.offered.is_some().then_some(Reason::Synproxy)
        };
        if let Some(reason) = refused {
            self.witness.blame.rule = decision.rule_at(root);
            return Err(Stop::silent(reason));
        }
        self.rule_totals.count_packet(decision, hook.direction, passage.packet.length());
        passage.copy_to = self.copied_to(view, root, decision, passage.packet);
        Ok(())
    }

    /// Makes a state of a packet, which came to the hook from `source` and has been translated there if it does; with the gateway
    /// that it is to have.
    pub(super) fn make_state(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        decision: &Decision<'_>,
        source: Address,
    ) -> Result<Passed, Stop> {
        let is_copied = decision.slot.routes == Some(RoutingKind::Dup);
        if self.is_the_hosts_in_the_way(passage, hook) {
            self.step_aside(view, passage, hook);
        }
        let gateway = match decision.gateways {
            Some(pool) => match self.pick(view, root, passage.packet.tuple.af, source, pool) {
                // The original never pays for its copies.
                Err(_) if is_copied => None,
                picked => Some(picked?),
            },
            None => None,
        };
        let client = self.proxies(view, passage, hook, decision.state);
        if client.is_some() {
            passage.verify(hook.frame)?;
        }
        let said =
            stamps::are_asked_for(decision, passage.packet).then(|| passage.first_said(hook)).transpose()?;
        let made = self.make_face(view, root, passage, hook, decision, (source, gateway))?;
        if let (Passed::Made(record), Some(said)) = (&made, &said) {
            self.begin_stamps(view, passage, hook, *record, said);
        }
        if let (Passed::Shared, Some(Passed::Made(record))) | (Passed::Made(record), _) = (&made, hook.first)
        {
            if passage.turned {
                self.add_tuple(view, passage, hook, (hook.direction, &passage.packet.tuple), *record)?;
            }
            let begun = match client {
                Some(client) => self.meet_client(view, passage, hook, *record, client),
                None if decision.state == StateMode::Modulate => {
                    self.modulate(view, passage, hook, *record);
                    Ok(())
                }
                None => Ok(()),
            };
            if self.connections.events.is_on() {
                self.tell_state(view, *record, hook.side(passage.flow.sender), StateChange::Made);
            }
            begun?;
        }
        passage.gateway = gateway.filter(|_| decision.slot.routes_at(hook.direction, hook.direction));
        let host = gateway.filter(|_| is_copied).map(CopyTo::Host);
        passage.copy_to = decision.slot.copy_to.map(CopyTo::Span).or(host);
        Ok(made)
    }

    /// Has packets of a connection find a record by what the hook of a direction has made of the tuple of its first one, too;
    /// without that, there is to be none.
    #[cold]
    fn add_tuple(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        (direction, tuple): (Direction, &Tuple),
        record: RecordId,
    ) -> Result<(), Stop> {
        let Flow { hash: own_hash, sender: initiator, .. } = passage.flow;
        let (key, sender) = Key::of(tuple);
        let hash = self.hashing.hash(&key);
        let foreign = self.hashing.home(hash) != self.worker;
        let turned = Turned { record, own_hash, initiator, direction, key: &key, hash, sender, foreign };
        self.connections.add_tuple(&turned).map_err(|_| {
            // Whoever is told of an end is told of the beginning.
            if self.connections.events.is_on() {
                self.tell_state(view, record, hook.side(initiator), StateChange::Made);
            }
            for side in Side::BOTH {
                if self.connections.face(record, side).is_some() {
                    let removed = self.connections.remove_face(record, side, own_hash, Removal::Limit);
                    self.counters.removals += u64::from(removed);
                }
            }
            Stop::silent(Reason::ShardFull)
        })
    }

    /// Has packets find a record by what the IN hook, whose state is another record, has translated their connection's first one
    /// to.
    #[cold]
    fn share_tuple(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        first: RecordId,
        record: RecordId,
    ) -> Result<(), Stop> {
        match self.connections.tuples(first) {
            Some(tuples) if tuples.between != tuples.near => {
                let between = tuples.between.tuple(passage.flow.sender, passage.packet.tuple);
                self.add_tuple(view, passage, hook, (Direction::In, &between), record)
            }
            _ => Ok(()),
        }
    }

    fn make_face(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        decision: &Decision<'_>,
        (source, gateway): (Address, Option<Target>),
    ) -> Result<Passed, Stop> {
        // Who leaves checksums to a network card that is none does so from the first packet on: the others are not looked at.
        if hook.first.is_none() && has_partial_checksum(hook.frame, passage.as_arrived()) {
            self.counters.meet_partial_checksum(hook.interface);
        }
        let side = hook.side(passage.flow.sender);
        if let (Some(tracker), Some(root)) = (&decision.slot.sources, view.root) {
            self.track(view, root, decision.slot, tracker, (passage.flow.key.af, source))?;
        }
        if !self.connections.take_for_rule(decision.slot) {
            self.counters.hit(LimitHit::States);
            return Err(Stop::silent(Reason::StateLimit));
        }
        if self.is_in_the_way(passage, hook, side) {
            return Err(Stop::silent(Reason::StateInsert));
        }
        let gateway = match gateway.map(|gateway| self.connections.number_of(gateway)).transpose() {
            // The original never pays for its copies.
            Err(_) if decision.slot.routes == Some(RoutingKind::Dup) => None,
            gateway => gateway.map_err(|_| Stop::silent(Reason::Memory))?,
        };
        let Decision { ref matched, scrubbing, table, .. } = *decision;
        let beside = Beside { root, matched, scrubbing, table };
        let terms = self.connections.terms(&beside).map_err(|_| Stop::silent(Reason::Memory))?;
        let class = Sketch {
            rule: decision.slot,
            interface: decision.if_bound.then_some(hook.interface),
            direction: hook.direction,
            tag: decision.state_tag,
            gateway,
            terms,
        };
        if !passage.new {
            self.make_way(view, passage, hook, &class)?;
        }
        let limit = view.state_limit();
        self.counters.inserts += 1;
        let overshadowed = !passage.new && hook.first.is_some() && self.is_overshadowed(view, passage, hook);
        if let Some(Passed::Made(record)) = hook.first
            && passage.remade.is_none()
            && !overshadowed
            && self.may_share(*record, side, &class)
        {
            let packet = (passage.flow.sender, passage.packet.length());
            let added = self.connections.add_face(*record, side, class, packet, limit);
            added.map_err(|full| self.no_state(full))?;
            self.hold_claims(*record, side);
            self.rule_totals.count_made(decision.rule);
            return Ok(Passed::Shared);
        }
        let first = hook.first.and_then(Passed::record);
        let (from, to, timeout) = open(passage.packet);
        let new = NewRecord {
            key: Narrow::of(&passage.flow.key),
            wide: &passage.flow.key.address,
            hash: passage.flow.hash,
            sender: passage.flow.sender,
            side,
            class,
            other: None,
            peers: (from, to),
            timeout,
            now: view.sixteenths(),
            twin: first.filter(|_| !overshadowed),
            alone: passage.new && first.is_none(),
        };
        let record = self.connections.insert(&new, limit).map_err(|full| self.no_state(full))?;
        self.hold_claims(record, side);
        if let Some(first) = first.filter(|first| self.connections.first_link(*first).is_some()) {
            self.share_tuple(view, passage, hook, first, record)?;
        }
        self.rule_totals.count_made(decision.rule);
        if self.hashing.home(passage.flow.hash) != self.worker {
            self.connections.set_placed(record);
        }
        self.connections.count(record, passage.flow.sender, passage.as_counted().length());
        Ok(Passed::Made(record))
    }

    /// True if what a packet was translated to is another connection's, or if it leaves, as it is, by a tuple whose answers are
    /// those to a translated connection.
    #[inline]
    fn is_in_the_way(&self, passage: &Passage<'_>, hook: &Hook<'_>, side: Side) -> bool {
        let Flow { key, hash, .. } = &passage.flow;
        match (passage.turned, hook.direction) {
            (true, _) => {
                let own = key;
                let (key, _) = Key::of(&passage.packet.tuple);
                let hash = self.hashing.hash(&key);
                match self.sources.claims_mapping() {
                    // What is left of a connection that has lost a state has the same endpoint.
                    true => self.connections.is_anothers(&key, hash, own),
                    false => self.connections.is_taken(&key, hash),
                }
            }
            (false, Direction::Out) => {
                !passage.new && passage.between.is_none() && self.connections.is_answered(key, *hash, side)
            }
            (false, Direction::In) => false,
        }
    }

    /// True if a packet of the host's own leaves by such a tuple, and no rule has translated it.
    #[inline]
    fn is_the_hosts_in_the_way(&self, passage: &Passage<'_>, hook: &Hook<'_>) -> bool {
        passage.received_on.is_none()
            && !passage.turned
            && self.is_in_the_way(passage, hook, hook.side(passage.flow.sender))
    }

    /// True if packets that follow this one meet another face first, which is older than the one that this makes: it took the
    /// place of a finished one that was bound to the interface, and so was met before both.
    #[cold]
    fn is_overshadowed(&mut self, view: &View<'_>, passage: &Passage<'_>, hook: &Hook<'_>) -> bool {
        let Some(root) = view.root else { return false };
        let wanted = hook.wants(passage.looked_up_by());
        let found = self.connections.find(&wanted, &view.expiry(root), &mut self.counters.removals);
        matches!(found, Found::Record(_))
    }

    /// An equal face refuses a new one (`pf_state_insert`), unless it has expired or its connection is over at both ends.
    /// Lookups have met it already, but for one behind a face that has just made room for this packet.
    fn make_way(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        class: &Sketch<'_>,
    ) -> Result<(), Stop> {
        let Flow { key, hash, sender } = passage.looked_up_by();
        let side = hook.side(*sender);
        let Some(root) = view.root else { return Ok(()) };
        while let Some(rival) = self.connections.rival(key, *hash, side, class) {
            // As in pf, what there is no room for is not compared with what there is, nor makes it any.
            if !self.connections.has_room(view.state_limit()) {
                return Err(Stop::silent(Reason::Memory));
            }
            let (from, to) = self.connections.peers(rival.record, rival.side(*sender));
            let over = key.proto == Proto::TCP && from.state.min(to.state) >= PeerState::FinWait2;
            let expired = self.connections.has_expired(rival.record, rival.side(side), &view.expiry(root));
            if !over && !expired {
                return Err(Stop::silent(Reason::StateInsert));
            }
            let why = if expired { Removal::Expired } else { Removal::Replaced };
            let removed = self.connections.remove_face(rival.record, rival.side(side), rival.hash, why);
            self.counters.removals += u64::from(removed);
        }
        Ok(())
    }

    /// One record stands for both of pf's states only where both would track the same packets in the same way.
    fn may_share(&self, record: RecordId, side: Side, class: &Sketch<'_>) -> bool {
        let free = self.connections.face(record, side).is_none();
        free && self
            .connections
            .face(record, side.other())
            .is_some_and(|other| self.connections.are_tracked_alike(&other.sketch(), class))
    }

    /// No state could be made: the insertion that was counted did not happen.
    fn no_state(&mut self, full: Full) -> Stop {
        self.counters.inserts -= 1;
        Stop::silent(match full {
            Full::Limit | Full::Classes => Reason::Memory,
            Full::Shard => Reason::ShardFull,
        })
    }
}

#[inline(always)]
pub(super) fn open(packet: &Packet) -> (Peer, Peer, Timeout) {
    match packet.transport {
        Transport::Tcp(segment) => track::open_tcp(&segment),
        _ => {
            let (from, to, timeout) = datagram(packet.tuple.proto).open();
            (Peer { state: from, ..Peer::default() }, Peer { state: to, ..Peer::default() }, timeout)
        }
    }
}

pub(super) fn datagram(proto: Proto) -> Datagram {
    match proto {
        Proto::UDP => Datagram::Udp,
        Proto::ICMP | Proto::ICMP6 => Datagram::Icmp,
        _ => Datagram::Other,
    }
}
