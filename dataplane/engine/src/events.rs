//! Events of states: made, changed, removed, for whoever listens (`tpctl events`, IPFIX).
//!
//! Overview: while somebody listens, whoever makes a state, brings one of its ends to another level or removes it leaves a
//! [`StateEvent`] with all that is known of the state then. Names are given to it by whoever fetches it
//! ([`StateRecord::view`]).
//! Life cycle: written by the packet path, the sweep and orders to kill; taken by the shell between bursts.
//! Ownership: the shard's worker. Bounds: [`RECORDS_MAX`] records; what finds no room is lost, and counted. While nobody listens
//! it costs a test of a flag where states are made, change and go, and nothing elsewhere.

use core::time::Duration;
use std::collections::VecDeque;

use ruleset::{Direction, PeerView, Removal, RoutingTable, StateView, TupleEnd};

use crate::Address;
use crate::eval::Root;
use crate::fib::{Fib, InterfaceId};
use crate::packet::Tuple;
use crate::shard::{Shard, View};
use crate::state::{RecordId, Side};
use crate::tick::Tick;
use crate::track::Peer;

/// The most events that wait for the shell: more than a poll of the sweep and an order to kill leave together.
pub const RECORDS_MAX: usize = 2048;

/// Something happened to a state.
#[derive(Clone, Copy, Debug)]
pub struct StateEvent {
    /// When: of the burst, or of the sweep.
    pub tick: Tick,
    /// What.
    pub change: StateChange,
    /// The state, as it is then.
    pub state: StateRecord,
}

/// What happens to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateChange {
    /// It was made.
    Made,
    /// One of its ends has reached another level, as established or closing.
    Changed,
    /// It was removed.
    Removed(Removal),
}

/// One of pf's states, as it is at a moment, with numbers for names.
#[derive(Clone, Copy, Debug)]
pub struct StateRecord {
    /// The interface that it is bound to; `None` floats.
    pub interface: Option<InterfaceId>,
    /// The hook of the packet that made it.
    pub direction: Direction,
    /// That packet in front of the hook, and behind it.
    pub tuples: [Tuple; 2],
    /// Where packets are led to.
    pub route: Option<Address>,
    /// By which table they are routed that come as that one did.
    pub table: RoutingTable,
    /// What is known of the sender of that packet, and of the other end.
    pub peers: [Peer; 2],
    /// Packets and bytes of each.
    pub counted: [(u64, u64); 2],
    /// Since it was made.
    pub age: Duration,
    /// Since a packet was seen.
    pub idle: Duration,
    /// Until it expires if nothing is seen.
    pub left: Duration,
    /// Of its rule: the serial of the slot, and the identity.
    pub(crate) rule: (u64, u64),
    /// Made with `sloppy`.
    pub sloppy: bool,
    /// It counts for a source.
    pub source_track: bool,
    /// Its source keeps the address that it was given.
    pub sticky: bool,
    /// pf's id.
    pub id: u64,
}

impl StateRecord {
    /// The state as pf prints it, with the names that `fib` has, and the number that `root` has for its rule.
    pub fn view(&self, root: Option<&Root>, fib: &Fib) -> StateView {
        let [before, _] = self.tuples;
        let place = root.and_then(|root| root.place(root.number_by(self.rule)?));
        let name =
            |interface: InterfaceId| fib.interface(interface).map_or("?", |found| &found.name).to_owned();
        StateView {
            interface: self.interface.map_or_else(|| "all".to_owned(), name),
            proto: before.proto,
            direction: self.direction,
            route: self.route.map(|route| route.to_ip(before.af)),
            rtable: self.table,
            source: self.peer_view(0),
            destination: self.peer_view(1),
            age_s: self.age.as_secs() as u32,
            expires_in_s: self.left.as_secs() as u32,
            rule: place.map(|place| place.rule),
            anchor: place.and_then(|place| place.anchor),
            sloppy: self.sloppy,
            source_track: self.source_track,
            sticky: self.sticky,
            id: self.id,
            creator: root.map_or(0, |root| root.ruleset().options.host_id),
        }
    }

    fn peer_view(&self, end: usize) -> PeerView {
        let [before, behind] = self.tuples.map(|tuple| {
            let (address, port) = [(tuple.src, tuple.sport), (tuple.dst, tuple.dport)][end];
            TupleEnd { address: address.to_ip(tuple.af), port }
        });
        let (peer, other) = (&self.peers[end], &self.peers[1 - end]);
        let (packets, bytes) = self.counted[end];
        PeerView {
            end: behind,
            untranslated: (before != behind).then_some(before),
            state: peer.state,
            seqlo: peer.seqlo.0,
            seqhi: peer.seqhi.0,
            seqdiff: if peer.seen { peer.seqdiff } else { 0 },
            // pfctl shows shifts only where both ends announced one.
            wscale: if other.wscale.is_some() { peer.wscale } else { None },
            packets,
            bytes,
        }
    }
}

/// What a shard tells of its states.
#[derive(Debug)]
pub(crate) struct Events {
    on: bool,
    now: Tick,
    records: VecDeque<StateEvent>,
    pub lost: u64,
}

impl Events {
    pub fn new() -> Self {
        Self { on: false, now: Tick(0), records: VecDeque::with_capacity(RECORDS_MAX), lost: 0 }
    }

    /// Whether anybody listens.
    #[inline(always)]
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// What happens from here on happens at `now`.
    #[inline]
    pub const fn at(&mut self, now: Tick) {
        self.now = now;
    }

    pub const fn now(&self) -> Tick {
        self.now
    }

    pub fn listen(&mut self, on: bool) {
        self.on = on;
        self.records.clear();
    }

    pub fn push(&mut self, change: StateChange, state: StateRecord) {
        if self.records.len() >= RECORDS_MAX {
            self.lost += 1;
            return;
        }
        self.records.push_back(StateEvent { tick: self.now, change, state });
    }

    #[inline]
    pub fn has_any(&self) -> bool {
        !self.records.is_empty()
    }

    #[inline]
    pub fn take(&mut self) -> Option<StateEvent> {
        self.records.pop_front()
    }
}

impl Shard {
    /// Has every state that is made, changes or goes told of from now on, or no more.
    pub fn listen(&mut self, on: bool) {
        self.connections.events.listen(on);
    }

    /// Whether there are events, or shortages, to be fetched.
    #[inline]
    pub fn has_events(&self) -> bool {
        self.connections.events.has_any() || self.shortages.has_any()
    }

    /// The next event of a state.
    #[inline]
    pub fn take_event(&mut self) -> Option<StateEvent> {
        self.connections.events.take()
    }

    /// How many events were lost because the shell had not fetched the earlier ones.
    pub const fn events_lost(&self) -> u64 {
        self.connections.events.lost
    }

    /// Tells whoever listens, if anybody does, what has happened to both states of a record.
    #[inline(always)]
    pub(crate) fn tell_both(&mut self, view: &View<'_>, record: RecordId, change: StateChange) {
        if self.connections.events.is_on() {
            self.tell_states(view, record, change);
        }
    }

    #[cold]
    fn tell_states(&mut self, view: &View<'_>, record: RecordId, change: StateChange) {
        for side in Side::BOTH {
            self.tell_state(view, record, side, change);
        }
    }

    /// Tells whoever listens what has happened to a state.
    #[cold]
    pub(crate) fn tell_state(&mut self, view: &View<'_>, record: RecordId, side: Side, change: StateChange) {
        if let Some(root) = view.root {
            self.connections.tell(record, side, change, &view.expiry(root));
        }
    }
}
