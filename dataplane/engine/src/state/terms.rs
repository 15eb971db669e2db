//! The terms on which states pass packets: which `match` rules took part when they were made, and what is changed of them.
//!
//! Overview: most states have no terms but their rule's. Those that have some share them by reference, each different ones kept
//! once, so that a packet pays nothing for how many rules took part: what the state counts is counted for all of them when
//! they are asked. Life cycle: terms that no class has are let go when their number is needed. Ownership: one shard.
//! Bounds: [`TERMS_MAX`]; a state that would need more is refused (reason `memory`).

use std::sync::Arc;

use hashbrown::HashMap;

use crate::eval::{Decision, MATCHED_MAX, Root, RuleSlot};
use crate::scrub::Scrubbing;

/// The most different terms of the states of a shard.
const TERMS_MAX: usize = 4096;

/// What a state was made under, beside its rule.
#[derive(Debug)]
pub(crate) struct Terms {
    /// Different for all terms that a class of the shard has.
    pub(super) number: u16,
    /// The `match` rules, in their order.
    pub matched: Box<[Arc<RuleSlot>]>,
    /// What is changed of packets.
    pub scrubbing: Scrubbing,
}

impl Terms {
    /// True if packets of the state never go the short way.
    pub fn meets_each_packet(&self) -> bool {
        self.scrubbing.meets_each_packet() || self.matched.iter().any(|rule| rule.counts_addresses)
    }
}

/// The serials of the `match` rules, and a number for what is changed.
type Name = [u64];

/// All of a shard.
#[derive(Debug, Default)]
pub(super) struct AllTerms {
    known: HashMap<Box<Name>, Arc<Terms>>,
    /// Numbers below `used` that no terms have.
    free: Vec<u16>,
    used: u16,
}

impl AllTerms {
    /// The terms of a decision of `root`; `None` if there are too many.
    pub fn of(&mut self, root: &Root, decision: &Decision<'_>) -> Option<Arc<Terms>> {
        let mut name = [0; MATCHED_MAX + 1];
        let mut length = 0;
        let matched = || decision.matched.rules().filter_map(|number| root.slot(number));
        for (place, slot) in name.iter_mut().zip(matched()) {
            *place = slot.serial;
            length += 1;
        }
        name[length] = decision.scrubbing.number();
        let name = &name[..=length];
        if let Some(terms) = self.known.get(name) {
            return Some(terms.clone());
        }
        let number = self.number()?;
        let terms = Terms { number, matched: matched().cloned().collect(), scrubbing: decision.scrubbing };
        let terms = Arc::new(terms);
        self.known.insert(name.into(), terms.clone());
        Some(terms)
    }

    fn number(&mut self) -> Option<u16> {
        if self.free.is_empty() && usize::from(self.used) < TERMS_MAX {
            self.used += 1;
            return Some(self.used - 1);
        }
        if self.free.is_empty() {
            let Self { known, free, .. } = self;
            known.retain(|_, terms| {
                let has_class = Arc::strong_count(terms) > 1;
                if !has_class {
                    free.push(terms.number);
                }
                has_class
            });
        }
        self.free.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_terms_that_no_class_has_are_given_out_again() {
        let mut all = AllTerms::default();
        let mut held = Vec::new();
        for number in 0..TERMS_MAX as u64 {
            let terms = Terms {
                number: all.number().expect("a number"),
                matched: Box::default(),
                scrubbing: Scrubbing::default(),
            };
            let terms = Arc::new(terms);
            held.push(terms.clone());
            all.known.insert(Box::new([number]), terms);
        }
        assert_eq!(all.number(), None, "all are in use");
        let (two, nine) = (held.remove(2).number, held.remove(8).number);
        let mut again = [all.number(), all.number()];
        again.sort_unstable();
        assert_eq!(again, [Some(two), Some(nine)]);
        assert_eq!(all.number(), None);
    }
}
