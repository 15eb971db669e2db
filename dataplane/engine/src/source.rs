//! What packets do to the [nodes](crate::sources) of their sources.
//!
//! Overview: a packet that is to make a state of a rule with `source-track` counts it for its source first, or is refused
//! (reason `src-limit`); what it has counted so is claimed, until the state holds it or the packet has come to its end without
//! one. A packet that completes a handshake counts the connection, and if that is one too many, it is dropped, its state is
//! removed, and the source comes into the rule's table (`overload`) at once; states that are to go with it (`flush`) are
//! removed by the shell, which finds them in [`Root::overloaded`], a bounded slice at a time.
//! Life cycle: claims are one packet's. Ownership: one shard, but for the nodes. Bounds: a lookup and a change of one node.
//!
//! Deviation: a node is kept for a rule as long as rulesets have an equal one, so that a reload does not give each source its
//! limits anew; in pf each load begins with new nodes.

use std::sync::Arc;

use ruleset::{Flush, Limit, LimitHit, Reason, Removal, Timeout};
use wire::Af;

use crate::Address;
use crate::eval::{Root, RuleSlot, Threshold};
use crate::hook::{Flow, Stop};
use crate::pool::{Known, Pool, Target};
use crate::refuse::rule_of;
use crate::shard::{Shard, View};
use crate::sources::{Kind, Most, NewNode, NodeId, NodeKey, Nodes, Offence, Overlay, TooMany};
use crate::state::{Held, RecordId, Role, Side, StatePool};
use crate::tick::Tick;

/// Every node is looked at for expiry about this often.
const SWEEP_PERIOD: Tick = Tick::from_secs(1);
/// Most places that are looked at for it at once.
const SWEEP_MAX: u64 = 256;

/// `source-track` of a rule, with its limits; 0 is none.
#[derive(Debug)]
pub(crate) struct Tracker {
    pub owner: u64,
    pub max_states: u32,
    pub max_nodes: u32,
    pub max_conn: u32,
    pub rate: Option<Threshold>,
    /// The time of the rate, in seconds.
    pub seconds: u32,
    pub overload: Option<(Arc<Overlay>, Flush)>,
}

/// What an address of a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    Nat,
    Rdr,
    Route,
}

impl Use {
    const fn kind(self) -> Kind {
        match self {
            Self::Nat => Kind::Nat,
            Self::Rdr => Kind::Rdr,
            Self::Route => Kind::Route,
        }
    }

    const fn role(self) -> Role {
        match self {
            Self::Nat => Role::Nat,
            Self::Rdr => Role::Rdr,
            Self::Route => Role::Route,
        }
    }

    const fn load(self) -> Role {
        match self {
            Self::Nat => Role::NatLoad,
            Self::Rdr => Role::RdrLoad,
            Self::Route => Role::RouteLoad,
        }
    }
}

/// What is wanted of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub pool: &'a Pool,
    pub uses: Use,
    pub af: Af,
    pub source: Address,
}

/// What a source was given before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kept {
    /// The address, if the pool still has it.
    pub valid: Option<Target>,
    /// The pool has it no more, or it is of no use: whatever is chosen takes its place.
    is_stale: bool,
}

impl Kept {
    /// It is of no use.
    pub const fn overtaken(self) -> Self {
        Self { valid: None, is_stale: true }
    }
}

/// A shard's end of the nodes.
#[derive(Debug)]
pub(crate) struct Sources {
    pub nodes: Arc<Nodes>,
    /// Of the nodes' hash.
    pub secret: [u64; 2],
    /// What the packet under way has counted at a hook, if it has claimed anything.
    claims: Held,
    has_claims: bool,
    swept: Tick,
    cursor: usize,
}

impl Sources {
    pub fn new(pool: &StatePool, [a, b]: [u64; 2]) -> Self {
        // Another hash than that of connections.
        let secret = [a ^ 0x736f_7572_6365_0001, b ^ 0x6e6f_6465_0000_0001];
        Self {
            nodes: pool.nodes().clone(),
            secret,
            claims: Held::default(),
            has_claims: false,
            swept: Tick(0),
            cursor: 0,
        }
    }

    /// Lets go of what a packet has counted that made no state of it.
    #[inline]
    pub fn release(&mut self, view: &View<'_>) {
        if self.has_claims {
            self.take_claims().release(&self.nodes, seconds(view));
        }
    }

    #[cold]
    fn take_claims(&mut self) -> Held {
        self.has_claims = false;
        core::mem::take(&mut self.claims)
    }

    /// True if the packet under way was given the endpoint of a mapping.
    #[inline]
    pub fn claims_mapping(&self) -> bool {
        self.has_claims && self.claims.node(Role::Mapping) != NodeId::NONE
    }

    /// Holds a node until a state of the packet does.
    pub fn claim(&mut self, role: Role, node: NodeId, now: u32) {
        self.has_claims = true;
        let before = self.claims.set(role, node);
        if before != NodeId::NONE {
            self.nodes.leave(before, now);
        }
    }
}

pub(crate) const fn seconds(view: &View<'_>) -> u32 {
    view.now.secs() as u32
}

/// How long nodes of a rule outlive their last state, in seconds.
fn lifetime(root: &Root, slot: &RuleSlot) -> u32 {
    let default = || root.ruleset().options.timeouts.get(Timeout::SrcTrack);
    slot.timeout(Timeout::SrcTrack).unwrap_or_else(default)
}

impl Shard {
    /// Counts a state, which is to be made, for its source.
    #[cold]
    #[inline(never)]
    pub(crate) fn track(
        &mut self,
        view: &View<'_>,
        root: &Root,
        slot: &RuleSlot,
        tracker: &Tracker,
        (af, address): (Af, Address),
    ) -> Result<(), Stop> {
        let key = NodeKey { kind: Kind::Filter, owner: tracker.owner, af, address, endpoint: 0 };
        let most = Most {
            states: tracker.max_states,
            nodes: tracker.max_nodes,
            all: root.ruleset().options.limits.get(Limit::SrcNodes),
        };
        let new = NewNode { lifetime: lifetime(root, slot), seconds: tracker.seconds, ..NewNode::default() };
        let now = seconds(view);
        match self.sources.nodes.join(&key, self.sources.secret, &new, &most, now) {
            Ok(node) => {
                self.sources.claim(Role::Limits, node, now);
                Ok(())
            }
            Err(too_many) => {
                self.count_refusal(too_many);
                Err(Stop::silent(Reason::SrcLimit))
            }
        }
    }

    fn count_refusal(&mut self, too_many: TooMany) {
        match too_many {
            TooMany::States => self.counters.hit(LimitHit::SrcStates),
            TooMany::Nodes => self.counters.hit(LimitHit::SrcNodes),
            TooMany::All => {}
        }
    }

    /// The address of a pool that a source was given before.
    pub(crate) fn kept(&self, view: &View<'_>, wish: &Wish<'_>, known: Known<'_>) -> Kept {
        let Wish { pool, uses, af, source } = *wish;
        let Some(memory) = &pool.sticky else { return Kept::default() };
        let key = NodeKey { kind: uses.kind(), owner: memory.owner, af, address: source, endpoint: 0 };
        let target = self.sources.nodes.target(&key, self.sources.secret, seconds(view));
        let valid = target.filter(|target| pool.contains(af, target, known));
        Kept { valid, is_stale: target.is_some() && valid.is_none() }
    }

    /// How many states an address of a pool has, where that matters.
    pub(crate) fn load(&self, view: &View<'_>, pool: &Pool, af: Af, target: &Target) -> u32 {
        let Some(owner) = pool.load else { return 0 };
        let key = NodeKey { kind: Kind::Load, owner, af, address: target.address, endpoint: 0 };
        self.sources.nodes.states(&key, self.sources.secret, seconds(view))
    }

    /// Notes that a source is given an address of a pool, and counts the state for that. Another worker may have given it another
    /// one at the same time: that is the one then.
    pub(crate) fn settle_on(
        &mut self,
        view: &View<'_>,
        root: &Root,
        wish: &Wish<'_>,
        chosen: Target,
        kept: Kept,
    ) -> Result<Target, Stop> {
        let Wish { pool, uses, af, source } = *wish;
        let (now, secret) = (seconds(view), self.sources.secret);
        let options = &root.ruleset().options;
        let mut target = chosen;
        if let Some(memory) = &pool.sticky {
            let key = NodeKey { kind: uses.kind(), owner: memory.owner, af, address: source, endpoint: 0 };
            if kept.is_stale || kept.valid.is_some() {
                self.sources.nodes.detach_from(&key, secret, chosen, now);
            }
            let lifetime = memory.lifetime.unwrap_or_else(|| options.timeouts.get(Timeout::SrcTrack));
            let new = NewNode { target: Some(chosen), lifetime, ..NewNode::default() };
            let all = if memory.implied { u32::MAX } else { options.limits.get(Limit::SrcNodes) };
            let most = Most { all, ..Most::default() };
            let node = self.sources.nodes.join(&key, secret, &new, &most, now);
            let node = node.map_err(|_| Stop::silent(Reason::SrcLimit))?;
            target = self.sources.nodes.target_of(node).unwrap_or(chosen);
            self.sources.claim(uses.role(), node, now);
        }
        if let Some(owner) = pool.load {
            let key = NodeKey { kind: Kind::Load, owner, af, address: target.address, endpoint: 0 };
            let node = self.sources.nodes.join(&key, secret, &NewNode::default(), &Most::default(), now);
            let node = node.map_err(|_| Stop::silent(Reason::SrcLimit))?;
            self.sources.claim(uses.load(), node, now);
        }
        Ok(target)
    }

    /// Has a face, which the packet under way made at a hook, hold what it has counted there.
    #[inline]
    pub(crate) fn hold_claims(&mut self, record: RecordId, side: Side) {
        if self.sources.has_claims {
            let claims = self.sources.take_claims();
            self.connections.hold(record, side, claims);
        }
    }

    /// Counts a connection whose handshake the packet completes, at the hook that the face at `side` is of.
    ///
    /// # Errors
    /// It is one too many: the face is gone.
    #[cold]
    #[inline(never)]
    pub(crate) fn connect(
        &mut self,
        view: &View<'_>,
        flow: &Flow,
        record: RecordId,
        side: Side,
    ) -> Result<(), Stop> {
        if self.connections.hold_nothing() || !self.connections.note_connected(record, side) {
            return Ok(());
        }
        let Some(class) = self.connections.face(record, side) else { return Ok(()) };
        let Some(tracker) = &class.rule.sources else { return Ok(()) };
        let node = self.connections.held(record, side).node(Role::Limits);
        let exceeded = self.sources.nodes.connect(node, tracker.max_conn, tracker.rate.as_ref(), view.now);
        if exceeded == [false; 2] {
            return Ok(());
        }
        for (hit, _) in
            [LimitHit::SrcConn, LimitHit::SrcConnRate].into_iter().zip(exceeded).filter(|(_, hit)| *hit)
        {
            self.counters.hit(hit);
        }
        if let Some((overlay, flush)) = &tracker.overload {
            let tuple = self.connections.asked_for(record, class, side);
            let offence =
                Offence { af: tuple.af, address: tuple.src, owner: class.rule.owner(), flush: *flush };
            if overlay.add(&offence) {
                self.counters.hit(LimitHit::OverloadTable);
                if *flush != Flush::No {
                    self.counters.hit(LimitHit::OverloadFlush);
                }
            }
        }
        self.witness.blame.rule = rule_of(view, class);
        let removed = self.connections.remove_face(record, side, flow.hash, Removal::Limit);
        self.counters.removals += u64::from(removed);
        Err(Stop::silent(Reason::SrcLimit))
    }

    /// Frees the nodes of sources whose time is over: as many as the time since the last call is worth.
    pub fn expire_sources(&mut self, view: &View<'_>) {
        let Sources { nodes, swept, cursor, .. } = &mut self.sources;
        let passed = (view.now - *swept).0.min(SWEEP_PERIOD.0);
        let due = passed / (SWEEP_PERIOD.0 / nodes.places() as u64).max(1);
        if due == 0 {
            return;
        }
        *swept = view.now;
        if !nodes.is_empty() {
            nodes.sweep(cursor, due.min(SWEEP_MAX) as usize, view.now.secs() as u32);
        }
    }

    /// For each source node that states of up to `most` records from `cursor` on count for: its place, and packets and bytes of
    /// the state. Moves the cursor; `u32::MAX` is the end.
    pub fn traffic_of_sources(&self, cursor: &mut u32, most: usize, sink: &mut dyn FnMut(u32, u64, u64)) {
        for number in self.connections.run(cursor, most) {
            self.connections.seen_by_nodes(number, sink);
        }
    }
}
