//! States as pf prints them.
//!
//! Overview: a record shows one state for each of its faces. Ownership: reads only; called by the worker of the shard, for
//! as many records at a time as its caller asks for.

use core::ops::Range;

use ruleset::{PeerState, Removal, StateView};
use wire::Proto;

use super::class::Class;
use super::held::Role;
use super::index::RecordId;
use super::key::{Key, Side};
use super::record::Sixteenths;
use super::table::{Connections, Expiry};
use super::tuples::Ends;
use crate::eval::{ByHook, Root, RuleSlot};
use crate::events::{StateChange, StateRecord};
use crate::fib::Fib;
use crate::packet::Tuple;
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
        for side in Side::BOTH {
            let left = |class: &Class| self.time_left(id, &class.rule, expiry);
            if let Some(state) = self.snapshot(id, side, expiry.now, left) {
                sink(state.view(Some(root), fib));
            }
        }
    }

    /// The state on a side of a record, if there is one, of which so many sixteenths of a second are `left`.
    fn snapshot(
        &self,
        id: RecordId,
        side: Side,
        now: Sixteenths,
        left: impl Fn(&Class) -> u32,
    ) -> Option<StateRecord> {
        let class = self.face(id, side)?;
        let (hot, cold, source) = (&self.hot[id.0 as usize], &self.cold[id.0 as usize], class.maker(side));
        let (key, sides) = (self.key(id), [source, source.other()]);
        let own = Ends::of(&key, false);
        let ends = self.tuples(id).map_or([own; 2], |tuples| tuples.at(class.direction));
        let Key { af, proto, zone, address: [src, dst], port: [sport, dport] } = key;
        let like = Tuple { af, proto, zone, src, dst, sport, dport };
        let held = self.held(id, side);
        let sticky = [Role::Nat, Role::Rdr, Role::Route].map(|role| held.node(role));
        Some(StateRecord {
            interface: class.interface,
            direction: class.direction,
            tuples: ends.map(|ends| ends.tuple(source, like)),
            route: class.gateway.map(|gateway| self.pairs.gateway(gateway).address),
            table: self.terms_of(class).map(|terms| terms.table).unwrap_or_default(),
            peers: sides.map(|end| self.peers_at(id, side, end).0),
            counted: sides.map(|side| hot.counted(cold, side)),
            age: Sixteenths::lasting(now.since(cold.created)),
            idle: Sixteenths::lasting(now.since(hot.last_seen())),
            left: Sixteenths::lasting(left(class)),
            rule: (class.rule.serial, class.rule.identity),
            sloppy: class.rule.sloppy,
            source_track: held.node(Role::Limits) != NodeId::NONE,
            sticky: sticky.iter().any(|node| *node != NodeId::NONE),
            id: cold.id + side as u64,
        })
    }

    /// How far both ends have come, in a form to be compared.
    #[inline]
    pub fn levels(&self, id: RecordId) -> u8 {
        self.hot[id.0 as usize].levels()
    }

    /// Tells whoever listens what happens to the state on a side of a record, if there is one.
    #[cold]
    pub fn tell(&mut self, id: RecordId, side: Side, change: StateChange, expiry: &Expiry<'_>) {
        let left = |class: &Class| self.time_left(id, &class.rule, expiry);
        if let Some(state) = self.snapshot(id, side, expiry.now, left) {
            self.events.push(change, state);
        }
    }

    /// Tells whoever listens that the state on a side of a record goes, if there is one.
    #[inline]
    pub(super) fn tell_removed(&mut self, id: RecordId, side: Side, why: Removal) {
        if self.events.is_on() {
            self.tell_end(id, side, why);
        }
    }

    #[cold]
    fn tell_end(&mut self, id: RecordId, side: Side, why: Removal) {
        let Some(state) = self.snapshot(id, side, Sixteenths::of(self.events.now()), |_| 0) else { return };
        let [one, other] = state.peers.map(|peer| peer.state);
        let over = state.tuples[0].proto == Proto::TCP && one.min(other) >= PeerState::FinWait2;
        let why = if why == Removal::Expired && over { Removal::Closed } else { why };
        self.events.push(StateChange::Removed(why), state);
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
            families: [before, behind].map(|ends| ends.af()),
            before: sides.map(|side| before.end(side)),
            behind: sides.map(|side| behind.end(side)),
            peers: sides.map(|end| self.peers_at(id, side, end).0),
            packets: sides.map(|side| hot.counted(cold, side).0),
        })
    }
}
