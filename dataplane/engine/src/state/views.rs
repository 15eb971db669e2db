//! States as pf prints them.
//!
//! Overview: a record shows one state for each of its faces. Ownership: reads only; called by the worker of the shard, for
//! as many records at a time as its caller asks for.

use core::ops::Range;

use ruleset::{PeerView, StateView, TupleEnd};
use wire::Af;

use super::held::Role;
use super::index::RecordId;
use super::key::Side;
use super::record::Sixteenths;
use super::table::{Connections, Expiry};
use super::tuples::Ends;
use crate::eval::{ByHook, Root, RuleSlot};
use crate::fib::{Fib, InterfaceId};
use crate::sources::NodeId;
use crate::witness::Met;

impl Connections {
    /// How many numbers the pairs of faces have that records share.
    pub const fn pairs(&self) -> usize {
        self.pairs.numbers()
    }

    /// What rules' states amount to, for some of the pairs: slot, live states, what their packets add up to.
    pub fn usage(&self, pairs: Range<usize>) -> impl Iterator<Item = (&RuleSlot, u32, ByHook)> {
        self.pairs.usage(pairs)
    }

    /// The states of one record, as pf prints them.
    pub fn views(
        &self,
        number: u32,
        root: &Root,
        fib: &Fib,
        expiry: &Expiry<'_>,
        sink: &mut dyn FnMut(StateView),
    ) {
        let id = RecordId(number);
        if !self.hot[number as usize].is_live() {
            return;
        }
        let (key, tuples) = (self.key(id), self.tuples(id));
        for side in Side::BOTH {
            let Some(class) = self.face(id, side) else { continue };
            let source = class.maker(side);
            let own = Ends::of(&key, false);
            let ends = tuples.map_or([own; 2], |tuples| tuples.at(class.direction));
            let name =
                |interface: InterfaceId| fib.interface(interface).map_or("?", |found| &found.name).to_owned();
            let held = self.held(id, side);
            let sticky = [Role::Nat, Role::Rdr, Role::Route].map(|role| held.node(role));
            let place = root.number_of(&class.rule).and_then(|number| root.place(number));
            sink(StateView {
                interface: class.interface.map_or_else(|| "all".to_owned(), name),
                proto: key.proto,
                direction: class.direction,
                route: class.gateway.map(|gateway| self.pairs.gateway(gateway).address.to_ip(key.af)),
                source: self.peer_view((id, side), &ends, key.af, source),
                destination: self.peer_view((id, side), &ends, key.af, source.other()),
                age_s: expiry.now.since(self.cold[number as usize].created) / Sixteenths::PER_SECOND,
                expires_in_s: self.time_left(id, &class.rule, expiry) / Sixteenths::PER_SECOND,
                rule: place.map(|place| place.rule),
                anchor: place.and_then(|place| place.anchor),
                sloppy: class.rule.sloppy,
                source_track: held.node(Role::Limits) != NodeId::NONE,
                sticky: sticky.iter().any(|node| *node != NodeId::NONE),
                id: self.cold[number as usize].id + side as u64,
            });
        }
    }

    /// A state as a packet of `sender` meets it on a side; `None` if there is no face.
    pub fn met(&self, id: RecordId, side: Side, sender: Side) -> Option<Met> {
        let class = self.face(id, side)?;
        let source = class.maker(side);
        let own = Ends::of(&self.key(id), false);
        let [before, behind] = self.tuples(id).map_or([own; 2], |tuples| tuples.at(class.direction));
        let (hot, cold) = (&self.hot[id.0 as usize], &self.cold[id.0 as usize]);
        let sides = [source, source.other()];
        Some(Met {
            direction: class.direction,
            forward: sender == source,
            before: sides.map(|side| before.end(side)),
            behind: sides.map(|side| behind.end(side)),
            peers: sides.map(|end| self.peers_at(id, side, end).0),
            packets: sides.map(|side| hot.counted(cold, side).0),
        })
    }

    fn peer_view(
        &self,
        (id, face): (RecordId, Side),
        [before, behind]: &[Ends; 2],
        af: Af,
        side: Side,
    ) -> PeerView {
        let end = |ends: &Ends| {
            let (address, port) = ends.end(side);
            TupleEnd { address: address.to_ip(af), port }
        };
        let (hot, cold) = (&self.hot[id.0 as usize], &self.cold[id.0 as usize]);
        let (peer, other) = self.peers_at(id, face, side);
        let (packets, bytes) = hot.counted(cold, side);
        PeerView {
            end: end(behind),
            untranslated: (before.end(side) != behind.end(side)).then(|| end(before)),
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
