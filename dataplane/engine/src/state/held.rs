//! Which source nodes states count for, beside the records.
//!
//! Overview: a face that was made by a rule which tracks sources, or whose source was given an address of a pool for good, or of
//! one whose states are counted, [holds](Held) the nodes of it until it goes. Faces that hold nothing cost the question whether
//! any does.
//! Ownership: one shard. Bounds: a line for each record, reserved at the start, which takes memory once faces hold something.

use std::sync::Arc;

use bytemuck::{Zeroable, zeroed_vec};

use super::credit::StatePool;
use super::index::RecordId;
use super::key::Side;
use super::table::Connections;
use crate::sources::{NodeId, Nodes};

/// What a node is to a face that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has the limits of the source.
    Limits,
    /// It has the address that the source was given by `nat-to`, `rdr-to`, a route.
    Nat,
    Rdr,
    Route,
    /// It counts the states of that address.
    NatLoad,
    RdrLoad,
    RouteLoad,
    /// It is the mapping of the end inside.
    Mapping,
}

const ROLES: usize = Role::Mapping as usize + 1;

/// The nodes that a face holds, by [`Role`]. That of the limits is marked once its handshake was completed, and counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
#[repr(C)]
pub(crate) struct Held {
    nodes: [NodeId; ROLES],
}

const _: () = assert!(size_of::<[Held; 2]>() == 64);

impl Held {
    fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub const fn node(&self, role: Role) -> NodeId {
        self.nodes[role as usize].unmarked()
    }

    /// Holds a node in place of the one that it held so.
    pub const fn set(&mut self, role: Role, node: NodeId) -> NodeId {
        core::mem::replace(&mut self.nodes[role as usize], node)
    }

    fn is_connected(&self) -> bool {
        self.nodes[Role::Limits as usize] != self.node(Role::Limits)
    }

    /// Lets go of all.
    pub fn release(&self, nodes: &Nodes, now: u32) {
        if self.is_connected() {
            nodes.disconnect(self.node(Role::Limits));
        }
        let held = self.nodes.iter().map(|node| node.unmarked());
        held.filter(|node| *node != NodeId::NONE).for_each(|node| nodes.leave(node, now));
    }

    /// The nodes of its source, each once.
    fn of_source(&self) -> impl Iterator<Item = NodeId> {
        let shown = &self.nodes[..=Role::Route as usize];
        shown.iter().map(|node| node.unmarked()).filter(|node| *node != NodeId::NONE)
    }
}

/// What the faces of a shard hold.
#[derive(Debug)]
pub(super) struct Holds {
    nodes: Arc<Nodes>,
    /// By record and side.
    faces: Vec<[Held; 2]>,
    /// Faces that hold something.
    count: u32,
    /// The second of the burst under way.
    now: u32,
}

impl Holds {
    /// Those of so many records.
    pub fn new(pool: &StatePool, records: usize) -> Self {
        Self { nodes: pool.nodes().clone(), faces: zeroed_vec(records), count: 0, now: 0 }
    }

    pub const fn set_now(&mut self, now: u32) {
        self.now = now;
    }
}

impl Connections {
    /// True if no face holds anything.
    #[inline]
    pub const fn hold_nothing(&self) -> bool {
        self.holds.count == 0
    }

    /// Has a face hold nodes, whose states count it already.
    #[cold]
    pub fn hold(&mut self, id: RecordId, side: Side, held: Held) {
        self.holds.faces[id.0 as usize][side.index()] = held;
        self.holds.count += 1;
    }

    /// What a face holds.
    pub fn held(&self, id: RecordId, side: Side) -> &Held {
        &self.holds.faces[id.0 as usize][side.index()]
    }

    /// Counts the connection of a face as one whose handshake was completed; false if that was done before, or the face holds no
    /// limits.
    pub fn note_connected(&mut self, id: RecordId, side: Side) -> bool {
        let held = &mut self.holds.faces[id.0 as usize][side.index()];
        let limits = held.node(Role::Limits);
        let is_new = !held.is_connected() && limits != NodeId::NONE;
        if is_new {
            held.set(Role::Limits, limits.marked());
        }
        is_new
    }

    /// Has a face that goes let go of what it holds.
    #[inline]
    pub(super) fn let_face_go(&mut self, id: RecordId, side: Side) {
        if self.holds.count > 0 {
            self.release_face(id, side);
        }
    }

    #[cold]
    fn release_face(&mut self, id: RecordId, side: Side) {
        let held = core::mem::take(&mut self.holds.faces[id.0 as usize][side.index()]);
        if held.is_nothing() {
            return;
        }
        self.holds.count -= 1;
        let seen = self.seen(id);
        held.of_source().for_each(|node| self.holds.nodes.count(node, seen));
        held.release(&self.holds.nodes, self.holds.now);
    }

    /// Packets and bytes of a record.
    fn seen(&self, id: RecordId) -> (u64, u64) {
        let (hot, cold) = (&self.hot[id.0 as usize], &self.cold[id.0 as usize]);
        let [low, high] = Side::BOTH.map(|side| hot.counted(cold, side));
        (low.0 + high.0, low.1 + high.1)
    }

    /// Has the face of another record hold what one does that goes there.
    pub(super) fn move_held(&mut self, from: RecordId, to: RecordId, side: Side) {
        if self.holds.count > 0 {
            let held = core::mem::take(&mut self.holds.faces[from.0 as usize][side.index()]);
            self.holds.faces[to.0 as usize][side.index()] = held;
        }
    }

    /// For each node of a source that a face of the record holds: its place, and the packets and bytes of the record.
    pub fn seen_by_nodes(&self, number: u32, sink: &mut dyn FnMut(u32, u64, u64)) {
        let id = RecordId(number);
        if self.hold_nothing() || !self.hot[number as usize].is_live() {
            return;
        }
        let (packets, bytes) = self.seen(id);
        for node in Side::BOTH.into_iter().flat_map(|side| self.held(id, side).of_source()) {
            node.place().into_iter().for_each(|place| sink(place, packets, bytes));
        }
    }
}
