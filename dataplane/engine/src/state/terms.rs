//! The terms on which states pass packets: which `match` rules took part when they were made, what is changed of them, and by
//! which table they are routed.
//!
//! Overview: most states have no terms but their rule's. A class refers to its terms by number, each different ones kept
//! once, so that a packet pays nothing for how many rules took part: what the state counts is counted for all of them when
//! they are asked. Life cycle: a number is given out again once no pair of classes has it and there is no other left.
//! Ownership: one shard. Bounds: [`TERMS_MAX`]; a state that would need more is refused (reason `memory`). Memory for
//! [`TERMS_RESERVED`] is taken at the start.

use std::sync::Arc;

use hashbrown::HashMap;
use ruleset::RoutingTable;

use super::class::{Class, Sketch, TooManyClasses};
use super::table::{Connections, Full};
use crate::eval::{MATCHED_MAX, Matched, Root, RuleSlot};
use crate::scrub::Scrubbing;

/// The most different terms of the states of a shard.
const TERMS_MAX: usize = 4096;
/// As many as ordinary rulesets have.
const TERMS_RESERVED: usize = 256;

/// The number of terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TermsId(pub(super) u16);

/// What a state was made under, beside its rule.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    /// The `match` rules, in their order.
    matched: [Option<Arc<RuleSlot>>; MATCHED_MAX],
    /// What is changed of packets.
    pub scrubbing: Scrubbing,
    /// What those are routed by that come as the first one did.
    pub table: RoutingTable,
    /// Pairs of classes that have them, once for each class.
    uses: u32,
}

impl Terms {
    /// The `match` rules, in their order.
    pub fn matched(&self) -> impl Iterator<Item = &RuleSlot> {
        self.matched.iter().flatten().map(|rule| &**rule)
    }

    /// True if packets of the state never go the short way.
    pub fn meets_each_packet(&self) -> bool {
        self.scrubbing.meets_each_packet() || self.matched().any(|rule| rule.counts_addresses)
    }
}

/// What a state is made under beside its rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside<'a> {
    pub root: &'a Root,
    /// The `match` rules of `root` that its packet met.
    pub matched: &'a Matched,
    pub scrubbing: Scrubbing,
    pub table: RoutingTable,
}

impl Beside<'_> {
    /// True if it is nothing at all.
    pub fn is_nothing(&self) -> bool {
        self.matched.is_empty() && self.changes_nothing()
    }

    /// True if packets are left as they are, and are routed by the main table.
    fn changes_nothing(&self) -> bool {
        self.scrubbing.is_nothing() && self.table == RoutingTable::MAIN
    }
}

/// The serials of the `match` rules, and a number for what is changed, with that of the routing table.
type Name = [u64; MATCHED_MAX + 1];

/// All of a shard.
#[derive(Debug)]
pub(super) struct AllTerms {
    entries: Vec<Terms>,
    numbers: HashMap<Name, TermsId>,
    /// The `match` rule that was the only one last, by its slot's serial, where nothing was changed beside it, nor routed by
    /// another table than the main one.
    recent: Option<(u64, TermsId)>,
}

impl AllTerms {
    pub fn new() -> Self {
        let (entries, numbers) = (Vec::with_capacity(TERMS_RESERVED), HashMap::with_capacity(TERMS_RESERVED));
        Self { entries, numbers, recent: None }
    }

    /// The number of terms; `None` if there are too many. It is another's again, in the end, unless it is [used](Self::hold).
    #[inline]
    pub fn number(&mut self, beside: &Beside<'_>) -> Option<TermsId> {
        // What translates most connections is one rule.
        let only = beside.matched.only().filter(|_| beside.changes_nothing());
        let only = only.and_then(|number| beside.root.slot(number));
        match (only, self.recent) {
            (Some(slot), Some((serial, id))) if slot.serial == serial => Some(id),
            _ => {
                let id = self.find(beside)?;
                self.recent = only.map(|slot| (slot.serial, id)).or(self.recent);
                Some(id)
            }
        }
    }

    fn find(&mut self, beside: &Beside<'_>) -> Option<TermsId> {
        let Beside { root, matched, scrubbing, table } = *beside;
        let mut name = [0; MATCHED_MAX + 1];
        let mut terms = Terms { scrubbing, table, ..Terms::default() };
        let matched = matched.rules().filter_map(|number| root.slot(number));
        for ((serial, place), slot) in name.iter_mut().zip(&mut terms.matched).zip(matched) {
            *serial = slot.serial;
            *place = Some(slot.clone());
        }
        name[MATCHED_MAX] = u64::from(table.0) << Scrubbing::NUMBER_BITS | scrubbing.number();
        self.named(name, terms)
    }

    fn named(&mut self, name: Name, terms: Terms) -> Option<TermsId> {
        if let Some(id) = self.numbers.get(&name) {
            return Some(*id);
        }
        let at = if self.entries.len() < TERMS_MAX {
            self.entries.push(terms);
            self.entries.len() - 1
        } else {
            let at = self.entries.iter().position(|entry| entry.uses == 0)?;
            self.numbers.retain(|_, id| usize::from(id.0) != at);
            self.recent = None;
            self.entries[at] = terms;
            at
        };
        let id = TermsId(at as u16);
        self.numbers.insert(name, id);
        Some(id)
    }

    pub fn get(&self, id: TermsId) -> &Terms {
        &self.entries[usize::from(id.0)]
    }

    /// One class more has them.
    pub fn hold(&mut self, id: TermsId) {
        self.entries[usize::from(id.0)].uses += 1;
    }

    /// One class less has them.
    pub fn let_go(&mut self, id: TermsId) {
        self.entries[usize::from(id.0)].uses -= 1;
    }
}

impl Connections {
    /// The terms of a state, for a [`Sketch`]; `None` where there are none.
    ///
    /// # Errors
    /// [`Full::Classes`].
    #[inline]
    pub fn terms(&mut self, beside: &Beside<'_>) -> Result<Option<TermsId>, Full> {
        self.pairs.terms(beside).map_err(|TooManyClasses| Full::Classes)
    }

    /// True if faces of both classes follow the same segments in the same way.
    pub fn are_tracked_alike(&self, a: &Sketch<'_>, b: &Sketch<'_>) -> bool {
        let reassembles = |sketch: &Sketch<'_>| {
            sketch.terms.is_some_and(|id| self.pairs.terms_at(id).scrubbing.reassembles_tcp())
        };
        a.rule.sloppy == b.rule.sloppy && reassembles(a) == reassembles(b)
    }

    /// The terms of a class, if it has some.
    #[inline]
    pub fn terms_of(&self, class: &Class) -> Option<&Terms> {
        self.pairs.terms_of(class)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Name {
        let mut name = [0; MATCHED_MAX + 1];
        name[0] = number as u64 + 1;
        name
    }

    #[test]
    fn a_number_is_anothers_only_where_no_class_has_it_and_none_is_left() {
        let mut all = AllTerms::new();
        let mut ids = Vec::new();
        for number in 0..TERMS_MAX {
            let id = all.named(name(number), Terms::default()).expect("a number");
            if number != 1 {
                all.hold(id);
            }
            ids.push(id);
        }
        assert_eq!(all.named(name(0), Terms::default()), Some(ids[0]));
        assert_eq!(all.named(name(TERMS_MAX), Terms::default()), Some(ids[1]), "nobody had it");
        all.hold(ids[1]);
        assert_eq!(all.named(name(1), Terms::default()), None, "all are in use");
        all.let_go(ids[7]);
        assert_eq!(all.named(name(1), Terms::default()), Some(ids[7]));
        assert_eq!(all.named(name(TERMS_MAX), Terms::default()), Some(ids[1]));
    }
}
