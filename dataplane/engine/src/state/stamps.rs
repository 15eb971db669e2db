//! Connections whose timestamps are changed and compared (pf.conf(5) `scrub (reassemble tcp)`).
//!
//! Overview: beside its record, what is known of the timestamps and hops to live of either end, as the ends themselves send
//! them, and what the packet under way would make of it: [proposed](Connections::propose_stamps) where it is checked, kept once
//! nothing refuses it. Where both faces of a record ask for it, timestamps are changed once. A face that goes to a record of
//! its own adds nothing any more, and sees those of the end behind the other one with what is added there.
//! Life cycle: begins with the state; gone with the record. Ownership: one shard. Bounds: 96 bytes beside each record, which
//! take memory once connections of the kind were made.

use bytemuck::Zeroable;

use super::index::RecordId;
use super::key::Side;
use super::table::Connections;
use crate::track::Stamps;

/// What is kept beside a record, by side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Zeroable)]
#[repr(C)]
pub(super) struct Stamped {
    ends: [Stamps; 2],
    proposed: [Stamps; 2],
}

const _: () = assert!(size_of::<Stamped>() == 96);

impl Connections {
    /// True if timestamps of a record are looked at.
    #[inline]
    pub fn is_stamped(&self, id: RecordId) -> bool {
        self.hot[id.0 as usize].is_stamped()
    }

    /// Has timestamps of a record be looked at from now on.
    #[cold]
    pub fn begin_stamps(&mut self, id: RecordId) {
        self.hot[id.0 as usize].set_stamped();
        self.stamped[id.0 as usize] = Stamped::default();
    }

    /// The timestamps of the two ends, that at `first` first.
    pub fn stamps(&self, id: RecordId, first: Side) -> [Stamps; 2] {
        let ends = &self.stamped[id.0 as usize].ends;
        [first, first.other()].map(|end| ends[end.index()])
    }

    /// What the states of a record add to the timestamps of those that have made them, and of their peers, by the ids of the
    /// states; of an end of which nothing has passed, what was to be added to its last packet. Where two share a record, one of
    /// them has it all.
    pub fn offsets(&self, number: u32, sink: &mut dyn FnMut(u64, [u32; 2])) {
        let id = RecordId(number);
        let hot = &self.hot[number as usize];
        if !hot.is_live() || !hot.is_stamped() {
            return;
        }
        let faces = Side::BOTH.into_iter().filter_map(|side| Some((side, self.face(id, side)?)));
        for (place, (side, class)) in faces.enumerate() {
            let Stamped { ends, proposed } = &self.stamped[number as usize];
            let maker = class.maker(side);
            let added = [maker, maker.other()].map(|end| {
                let latest = if ends[end.index()].is_seen() { ends } else { proposed };
                if place == 0 { latest[end.index()].added } else { 0 }
            });
            sink(self.cold[number as usize].id + side as u64, added);
        }
    }

    /// Notes what the packet under way would make of the two ends, that at `first` first.
    pub fn propose_stamps(&mut self, id: RecordId, first: Side, ends: [Stamps; 2]) {
        let proposed = &mut self.stamped[id.0 as usize].proposed;
        (proposed[first.index()], proposed[first.other().index()]) = (ends[0], ends[1]);
    }

    /// Notes that the packet under way makes nothing of them.
    #[cold]
    pub fn propose_no_stamps(&mut self, id: RecordId) {
        let stamped = &mut self.stamped[id.0 as usize];
        stamped.proposed = stamped.ends;
    }

    /// Keeps what was proposed.
    #[cold]
    pub fn keep_stamps(&mut self, id: RecordId) {
        let stamped = &mut self.stamped[id.0 as usize];
        stamped.ends = stamped.proposed;
    }

    /// Gives a copy of a record, which is to have the face at a side alone, what that one sees of the ends. The other face
    /// stays where it was, with all that is added.
    pub(super) fn copy_stamps(&mut self, from: RecordId, to: RecordId, face: Side) {
        if !self.is_stamped(from) {
            return;
        }
        let [own, far] = self.stamps(from, face);
        // The other face is nearer to the far end: whose timestamps come with what is added, and are echoed with it.
        self.stamped[to.0 as usize] = Stamped::default();
        self.propose_stamps(to, face, Stamps::beyond(&own, &far));
        self.keep_stamps(to);
    }
}
