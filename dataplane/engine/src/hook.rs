//! pf's two hooks: a packet entering or leaving an interface meets its state, or the rules.
//!
//! Overview: [`Shard::meet`] finds the state and checks the packet against it without changing it, or asks the rules and
//! makes a state. What the check would change is returned as a [`Pending`] update, which the caller commits once the packet
//! has passed everything else: check, gates, commit. Creation commits here, per hook, as in pf: a state whose packet is
//! blocked later stays.
//!
//! Deviation: pf commits the first state even if the packet then dies; here nothing is committed, which also defeats
//! insertion by packets that are made to die behind the IN hook
//! (test `a_packet_that_dies_between_the_hooks_leaves_its_state_alone`).

mod begin;
mod begin_turned;
mod create;
mod face;
mod passed;
mod routed;
mod sound;
mod stamps;
mod stop;

use ruleset::{Action, Direction, Reason, Removal, StateMode};
use wire::tcp::Timestamps;
use wire::{Proto, TcpFlags};

use crate::crossings::Crossed;
use crate::eval::{Decision, Deed, Occasion, Question, Role, Root, Tag, Walk, is_request};
use crate::events::StateChange;
use crate::fib::InterfaceId;
use crate::log::Entry;
use crate::mirror::CopyTo;
use crate::packet::{Packet, Transport, Tuple};
use crate::parse::ends_damaged;
use crate::pool::Target;
use crate::refuse::answer_to;
use crate::renumber::Renumbered;
use crate::scrub::{Changes, Retouch};
use crate::shard::{Shard, View};
use crate::state::{Adjacency, Class, Found, Hit, Key, KeyHash, RecordId, Side, Wanted};
use crate::synproxy::Remade;
use crate::synproxy::cookie::Offered;
use crate::trace::Asked;
use crate::track::{self, Mode, Peer, TcpOutcome};
use crate::witness::Misfit;
pub(crate) use begin::First;
use create::datagram;
pub(crate) use passed::{Passed, Pending};
pub(crate) use routed::Routed;
pub(crate) use stamps::write as write_stamps;
pub(crate) use stop::{Answer, Stop, answer_without_room};

/// What identifies a packet's connection, worked out once for both hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub key: Key,
    pub hash: KeyHash,
    /// The side that the packet comes from.
    pub sender: Side,
}

/// A packet on its way through the hooks.
#[derive(Debug)]
pub(crate) struct Passage<'p> {
    pub packet: &'p mut Packet,
    /// Where it was received; `None` if the host sends it.
    pub received_on: Option<InterfaceId>,
    pub flow: Flow,
    /// No record has its key, but for one that it has made.
    pub new: bool,
    /// How it arrived, once a hook has changed it.
    pub arrived: Option<Packet>,
    /// What it comes to the OUT hook as, where that is not what its connection began with: states are looked up by that there.
    pub between: Option<Flow>,
    /// The hook at which it is has translated it.
    pub turned: bool,
    /// It has become a packet of the other family.
    pub turned_over: bool,
    /// How its numbers differ from those that it arrived with.
    pub renumbered: Renumbered,
    /// The tag that it carries.
    pub tag: Tag,
    /// Control bits that the frame is given when it goes on, in place of its own: what a hook repaired.
    pub repaired: Option<TcpFlags>,
    /// It is a SYN again, as whose ACK it arrived.
    pub offered: Option<Offered>,
    /// It is another packet than the one that arrived.
    pub remade: Option<Remade>,
    /// Its priority, as pf counts it.
    pub priority: u8,
    /// What the hooks change of its frame.
    pub changes: Changes,
    /// The timestamps with which it goes on, if it has some, once a state has looked at them.
    pub restamped: Option<Option<Timestamps>>,
    /// Where the hook which it has just passed wants it to leave by.
    pub gateway: Option<Target>,
    /// By which table it is routed once it has come in.
    pub routed: Routed,
    /// Where the hook which it has just passed wants it copied to.
    pub copy_to: Option<CopyTo>,
    /// It was copied: by which interfaces, the [mirror](crate::mirror) knows.
    pub copied: bool,
    /// The hooks that it has met.
    pub crossed: Crossed,
}

impl Passage<'_> {
    /// The packet as it arrived.
    pub fn as_arrived(&self) -> &Packet {
        self.arrived.as_ref().unwrap_or(self.packet)
    }

    /// What states are looked up by at the hook where it is.
    pub const fn looked_up_by(&self) -> &Flow {
        match &self.between {
            Some(between) => between,
            None => &self.flow,
        }
    }

    /// Keeps how the packet arrived, which is about to change, and returns that.
    pub fn keep_arrived(&mut self) -> &Packet {
        self.arrived.get_or_insert(*self.packet)
    }
}

/// One of the two hooks, as a packet meets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hook<'a> {
    pub direction: Direction,
    pub interface: InterfaceId,
    /// The frame, as it arrived: for the log.
    pub frame: &'a [u8],
    /// What the packet met at the other hook in this pass, if it was there.
    pub first: Option<&'a Passed>,
}

impl Hook<'_> {
    /// The side of the network that the hook's interface is on: an IN hook sees the sender's, an OUT hook the receiver's.
    pub const fn side(&self, sender: Side) -> Side {
        match self.direction {
            Direction::In => sender,
            Direction::Out => sender.other(),
        }
    }

    /// By which interface the packet leaves, where that is known.
    pub fn leaves_by(&self) -> Option<InterfaceId> {
        (self.direction == Direction::Out).then_some(self.interface)
    }

    /// What a packet that is looked up by a flow meets here.
    const fn wants<'f>(&self, flow: &'f Flow) -> Wanted<'f> {
        let Flow { key, hash, sender } = flow;
        let Self { direction, interface, .. } = *self;
        Wanted { key, hash: *hash, side: self.side(*sender), direction, interface }
    }

    fn entry(&self, view: &View<'_>, rule: Option<u32>, dropped: Option<Reason>) -> Entry {
        Entry::new(view, (self.direction, self.interface), rule, dropped)
    }
}

/// The tuple by which a packet's state is found: an ICMP error belongs to the flow that it quotes, and travels against it.
pub(crate) const fn flow_tuple(packet: &Packet) -> Tuple {
    match packet.transport {
        Transport::IcmpError { quoted, .. } => quoted.tuple.reverse(),
        _ => packet.tuple,
    }
}

impl Shard {
    /// A packet at a hook of an interface that is filtered: its state, or the rules.
    pub(crate) fn meet(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Passed, Stop> {
        if passage.packet.transport == Transport::Fragment {
            return self.admit_fragment(view, root, passage, hook);
        }
        passage.make_sound()?;
        let side = hook.side(passage.flow.sender);
        if let Some(Passed::State(pending)) = hook.first
            && self.connections.has_face(pending.record, side, hook.interface, &view.expiry(root))
        {
            if self.is_too_fast(view, hook, pending.record, side) {
                return self.admit(view, root, passage, hook);
            }
            return self.share(view, passage, hook, pending);
        }
        self.counters.searches += 1;
        // What the other hook has made has no face for this one.
        let found = if passage.new { Found::Nothing } else { self.find(view, root, passage, hook) };
        let hit = match found {
            Found::Record(hit) => hit,
            Found::Elsewhere(owner) if passage.between.is_none() => return Err(Stop::HandOff(owner)),
            none => {
                passage.new = none == Found::Nothing;
                return self.admit(view, root, passage, hook);
            }
        };
        let (own, found_by) = (passage.flow, *passage.looked_up_by());
        let side = hook.side(found_by.sender);
        if self.is_too_fast(view, hook, hit.record, hit.side(side)) {
            return self.admit(view, root, passage, hook);
        }
        if let Some(Passed::State(pending)) = hook.first
            && pending.record == hit.record
        {
            return self.share(view, passage, hook, pending);
        }
        passage.flow = found_by;
        if hit.link.is_some() {
            let Hit { record, hash, .. } = hit;
            let sender = hit.side(found_by.sender);
            passage.flow = Flow { key: self.connections.key(record), hash, sender };
        }
        if let Some(pending) = self.check(view, passage, hook, hit.record)? {
            self.change_as_before(passage, hook, hit.record);
            return Ok(Passed::State(pending));
        }
        // Both ends have finished and a SYN comes: the state at this hook makes room for a new one.
        passage.flow = own;
        let (hash, why) = (hit.hash, Removal::Replaced);
        let removed =
            self.connections.remove_face(hit.record, self.connections.face_of(&hit, side), hash, why);
        self.counters.removals += u64::from(removed);
        self.admit(view, root, passage, hook)
    }

    /// The side of the record that a packet has met at a hook, at which its face is.
    #[inline]
    pub(crate) fn side_met(&self, passage: &Passage<'_>, hook: &Hook<'_>, record: RecordId) -> Side {
        self.connections.met_side(record, hook.side(passage.flow.sender))
    }

    /// True if a packet that goes the way of its state's first one is too many for the rule that made it (`max-pkt-rate`):
    /// it meets the rules then, as if it had no state.
    #[inline]
    fn is_too_fast(&self, view: &View<'_>, hook: &Hook<'_>, record: RecordId, side: Side) -> bool {
        let exceeds = |class: &Class| {
            class.direction == hook.direction
                && class.rule.meter.as_ref().is_some_and(|meter| !meter.takes(view.now))
        };
        self.connections.are_metered() && self.connections.face(record, side).is_some_and(exceeds)
    }

    /// Translates a packet at a hook as its connection's first one was, and gives it other numbers if that got some.
    #[inline]
    fn change_as_before(&self, passage: &mut Passage<'_>, hook: &Hook<'_>, record: RecordId) {
        if let Some(tuples) = self.connections.tuples(record) {
            passage.follow(&tuples, hook.direction);
        }
        let (face, sender) = (self.side_met(passage, hook, record), passage.flow.sender);
        let differences = self.connections.differences_from(record, face, sender);
        if let Some(differences) = differences.filter(|_| passage.remade.is_none()) {
            passage.renumber(differences);
        }
    }

    /// The second hook of a record that has both faces: tracking is done, what is the face's own is not.
    fn share(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        pending: &Pending,
    ) -> Result<Passed, Stop> {
        if pending.completes {
            self.connect(view, &passage.flow, pending.record, hook.side(passage.flow.sender))?;
        }
        self.gate_face(view, passage, hook, pending.record)?;
        self.change_as_before(passage, hook, pending.record);
        Ok(Passed::Shared)
    }

    /// What a packet meets at a hook. Behind the IN hook that is what has its tuple there, whatever it came as.
    #[inline(never)]
    fn find(&mut self, view: &View<'_>, root: &Root, passage: &mut Passage<'_>, hook: &Hook<'_>) -> Found {
        if hook.first.is_some_and(|first| first.found().is_some() || passage.arrived.is_some()) {
            let between = self.flow(passage.packet);
            passage.between = (between.key != passage.flow.key).then_some(between);
        }
        let expiry = view.expiry(root);
        let Flow { hash, sender, .. } = passage.flow;
        let side = hook.side(sender);
        let twin = hook.first.and_then(Passed::record).and_then(|record| self.connections.twin(record));
        if let Some(twin) =
            twin.filter(|twin| self.connections.has_face(*twin, side, hook.interface, &expiry))
        {
            // Both have the key that the packet has been found by already.
            passage.between = None;
            return Found::Record(Hit::own(twin, hash));
        }
        let wanted = hook.wants(passage.looked_up_by());
        self.connections.find(&wanted, &expiry, &mut self.counters.removals)
    }

    /// Checks a packet against its state. `None`: the state has finished and the packet begins a new connection.
    fn check(
        &mut self,
        view: &View<'_>,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
        record: RecordId,
    ) -> Result<Option<Pending>, Stop> {
        let sender = passage.flow.sender;
        let side = self.side_met(passage, hook, record);
        let (from, to) = self.connections.peers_at(record, side, sender);
        let face = self.connections.face(record, side);
        let sloppy = face.is_some_and(|class| class.rule.sloppy);
        let maker = face.map(|class| class.maker(side));
        let mode = if sloppy { Mode::Sloppy } else { Mode::Strict };
        let packet = &passage.packet;
        let pending = match packet.transport {
            Transport::Tcp(_) if ends_damaged(hook.frame, passage.as_arrived()) => {
                return Err(Stop::silent(Reason::ProtoCksum));
            }
            Transport::Tcp(segment) if track::is_proxied(&from) || track::is_proxied(&to) => {
                if self.connections.is_stamped(record) {
                    self.connections.propose_no_stamps(record);
                }
                self.follow_handshakes(view, passage, hook, record, &segment)?
            }
            Transport::Tcp(segment) => match track::tcp(&from, &to, &segment, mode) {
                TcpOutcome::Pass { from: sent, to: heard, refresh, established } => {
                    if self.connections.is_stamped(record) {
                        let level = from.state.min(to.state);
                        self.judge_stamps(view, passage, hook, record, &segment, level)?;
                    }
                    if established {
                        self.connect(view, &passage.flow, record, side)?;
                    }
                    let peers = Some((sent, heard));
                    let pending = Pending::new(record, &passage.flow, side, peers, refresh);
                    Pending { completes: established, ..pending }
                }
                TcpOutcome::Reuse => return Ok(None),
                TcpOutcome::Challenge { seq, ack } => {
                    let due = self.challenges.take(passage.flow.hash, sender, view.sixteenths());
                    let answer = if due { Answer::Challenge { seq, ack } } else { Answer::Silence };
                    return Err(Stop::Refused { reason: Reason::Challenge, answer });
                }
                TcpOutcome::Mismatch { from: reset_peer, reset, .. } => {
                    self.blame_state(view, (side, sender), record, Misfit::Window(segment));
                    if let Some(peer) = reset_peer {
                        self.connections.set_peers_at(record, side, sender, &(peer, to));
                    }
                    let answer = reset.map_or(Answer::Silence, Answer::RstWith);
                    return Err(Stop::Refused { reason: Reason::StateMismatch, answer });
                }
            },
            Transport::IcmpError { quoted, .. } => {
                if quoted.tuple.proto == Proto::TCP {
                    // The quoted segment was sent by the end that the error goes to.
                    track::icmp_error(&to, &from, quoted.seq, mode).map_err(|outside| {
                        self.blame_state(view, (side, sender), record, Misfit::Quoted(outside));
                        Stop::silent(Reason::StateMismatch)
                    })?;
                }
                Pending::new(record, &passage.flow, side, None, None)
            }
            // Where identifier and type are the same number, the key does not tell a query from its reply.
            Transport::IcmpQuery { kind, .. }
                if mode == Mode::Strict && is_request(packet.tuple.af, kind) != (maker == Some(sender)) =>
            {
                self.blame_state(view, (side, sender), record, Misfit::Query);
                return Err(Stop::silent(Reason::StateMismatch));
            }
            _ => {
                let (from_state, to_state, timeout) =
                    datagram(packet.tuple.proto).follow(from.state, to.state);
                let peers = (Peer { state: from_state, ..from }, Peer { state: to_state, ..to });
                Pending::new(record, &passage.flow, side, Some(peers), Some(timeout))
            }
        };
        self.gate_face(view, passage, hook, record)?;
        Ok(Some(pending))
    }

    /// Commits what a packet met that went through both hooks.
    pub(crate) fn commit_both(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        entered: &Passed,
        left: &Passed,
    ) {
        match (entered, left) {
            (Passed::State(pending), Passed::Shared) => self.apply(view, passage, pending),
            _ => {
                self.commit(view, passage, entered);
                self.commit(view, passage, left);
            }
        }
    }

    /// Lets a connection remember its next hop, where one record answered for both hooks, and how its packets are copied on
    /// the way there. Of a packet that has left.
    pub(crate) fn remember(
        &mut self,
        view: &View<'_>,
        passage: &Passage<'_>,
        mut adjacency: Adjacency,
        entered: &Passed,
        left: &Passed,
    ) {
        let (Passed::State(pending), Passed::Shared, Some(root)) = (entered, left, view.root) else { return };
        let options = &root.ruleset().options;
        let Self { connections, adjacencies, mirror, .. } = self;
        adjacency.retouch = Retouch::of(&passage.changes);
        if !adjacency.retouch.is_nothing() && (passage.copied || adjacency.is_bridged()) {
            // A plan does not say what was changed before a copy, and behind tags headers have no fixed place.
            return;
        }
        if passage.copied {
            let Some((plan, mtu)) = mirror.plan() else { return };
            (adjacency.plan, adjacency.mtu) = (plan, adjacency.mtu.min(mtu));
        }
        connections.remember(pending.record, &passage.flow, adjacency, adjacencies, options);
    }

    /// Commits what a packet met at one hook. A record whose other face the packet has not met falls apart, because from
    /// now on pf's two states differ.
    pub(crate) fn commit(&mut self, view: &View<'_>, passage: &Passage<'_>, passed: &Passed) {
        let Passed::State(pending) = passed else { return };
        let removed = self.connections.part(pending.record, pending.side, pending.hash);
        self.counters.removals += u64::from(removed);
        self.apply(view, passage, pending);
    }

    /// Does what a check has found, and counts the packet.
    fn apply(&mut self, view: &View<'_>, passage: &Passage<'_>, pending: &Pending) {
        let sender = pending.sender;
        let levels = self.connections.levels(pending.record);
        if let Some(peers) = &pending.peers {
            self.connections.set_peers_at(pending.record, pending.side, sender, peers);
            if self.connections.is_stamped(pending.record) {
                self.connections.keep_stamps(pending.record);
            }
        }
        if let Some(timeout) = pending.refresh {
            self.connections.refresh(pending.record, timeout, view.sixteenths());
        }
        self.connections.count(pending.record, sender, passage.as_counted().length());
        if self.connections.levels(pending.record) != levels {
            self.tell_both(view, pending.record, StateChange::Changed);
        }
    }

    /// A packet without a state meets the rules.
    #[inline(never)]
    pub(crate) fn admit(
        &mut self,
        view: &View<'_>,
        root: &Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Passed, Stop> {
        self.claim(passage, hook).map_err(|stop| stop.by_policy(root, passage.as_counted()))?;
        if root.may_bake() && passage.remade.is_none() {
            self.meet_cookie(view, root, passage, hook)?;
        }
        passage.turned = false;
        let came = passage.packet.tuple;
        let mut decision = self.ask(view, root, passage, hook)?;
        let opens = root.opens() && !passage.turned;
        if opens && hook.direction == Direction::In && hook.first.is_none() {
            self.open(view, root, passage, hook, &mut decision)?;
        }
        if self.tracer.is_active() {
            let Asked { decided, action, .. } = &mut self.tracer.asked;
            (*decided, *action) = (decision.rule_at(root), decision.action);
        }
        passage.be_routed(hook.direction, &mut decision, root);
        let packet = &passage.packet;
        self.rule_totals.count_walk(root, decision.ended_at);
        passage.tag = decision.tag;
        if decision.logs() {
            self.log.record_decision(view, (hook.direction, hook.interface), &decision, packet, hook.frame);
        }
        let (counts, asked, bytes) = (decision.slot.counts_addresses, packet.tuple, packet.length());
        let count = |deed| {
            if counts {
                root.count_addresses(decision.slot, &asked, hook.direction, deed, bytes);
            }
        };
        if let Action::Block(reply) = decision.action {
            self.rule_totals.count_packet(&decision, hook.direction, bytes);
            count(Deed::Block);
            self.witness.blame.rule = decision.rule_at(root);
            return Err(Stop::Refused { reason: Reason::Match, answer: answer_to(reply, packet) });
        }
        if packet.options && !decision.slot.allow_opts {
            self.witness.blame.rule = decision.rule_at(root);
            return Err(Stop::silent(Reason::IpOption));
        }
        if let Some(translation) = decision.translation {
            let translated = self.translate(view, root, passage, hook, (translation, decision.rule));
            translated.map_err(|stop| stop.by_policy(root, passage.as_counted()))?;
        } else if opens && hook.direction == Direction::Out && passage.arrived.is_some() {
            self.turn_hairpin(view, root, passage, hook)?;
        }
        // Rules may have led it back to where it was sent.
        passage.turned &= passage.packet.tuple != came;
        if !decision.scrubbing.is_nothing() {
            passage.scrub(hook.direction, &decision.scrubbing, || self.draw());
        }
        let is_single =
            matches!(passage.packet.transport, Transport::IcmpError { .. } | Transport::IcmpOther { .. });
        let is_fragment = passage.packet.transport == Transport::Fragment;
        if decision.state == StateMode::None || is_single || is_fragment {
            self.pass_alone(view, root, passage, hook, &decision, is_single)?;
            count(Deed::Pass);
            return Ok(Passed::Stateless);
        }
        let made = self.make_state(view, root, passage, hook, &decision, came.src);
        let made = made.map_err(|stop| stop.by_policy(root, passage.as_counted()));
        match made {
            Ok(_) => {
                count(Deed::Pass);
                let matched = decision.matched.rules().filter_map(|number| root.slot(number));
                for slot in matched.filter(|slot| slot.counts_addresses) {
                    root.count_addresses(slot, &asked, hook.direction, Deed::Pass, bytes);
                }
            }
            Err(_) => self.witness.blame.rule = decision.rule_at(root),
        }
        made
    }

    /// That of a packet which has come.
    #[inline(always)]
    pub(crate) fn occasion(&mut self, view: &View<'_>, root: &Root) -> Occasion {
        Occasion::Real { now: view.now, luck: if root.has_chance() { self.draw() } else { 0 } }
    }

    /// What the rules say to a packet. It is translated by those `match` rules that ask for it, each before the next rule sees
    /// it.
    #[inline(always)]
    fn ask<'r>(
        &mut self,
        view: &View<'_>,
        root: &'r Root,
        passage: &mut Passage<'_>,
        hook: &Hook<'_>,
    ) -> Result<Decision<'r>, Stop> {
        let mut walk = Walk::of(passage.tag);
        let occasion = self.occasion(view, root);
        let shape = root.shape(hook.frame, passage.packet);
        loop {
            let question = Question {
                packet: passage.packet,
                direction: hook.direction,
                interface: hook.interface,
                tag: passage.tag,
                received_on: passage.received_on,
                priority: passage.priority,
                shape,
                fib: view.fib,
                role: Role::Original,
                occasion,
            };
            let translation = match self.tracer.is_active() {
                false => root.advance(&question, &mut walk),
                true => root.advance_noting(&question, &mut walk, &mut self.tracer.asked),
            };
            match translation {
                None => return Ok(root.decided(&walk)),
                Some(asked) => self.translate(view, root, passage, hook, (asked, walk.translating))?,
            }
        }
    }
}
