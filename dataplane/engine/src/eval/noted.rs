//! Rules that log a packet beside the one that decides: `match log`, and what `log (matches)` makes of the rules behind it.

use ruleset::Action;

use super::filter::Filter;

/// The most such rules of one packet; what is beyond them counts as lost.
const MOST: usize = 4;

/// The rules that a walk has noted, in its order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noted {
    rules: [u32; MOST],
    count: u8,
    lost: u8,
    /// A `match log (matches)` has matched: each rule that matches is noted.
    all: bool,
}

impl Noted {
    /// Takes notice of a rule that matches.
    #[inline(always)]
    pub(super) fn see(&mut self, number: u32, rule: &Filter) {
        let asks = rule.action == Action::Match && rule.log.enabled;
        if asks || self.all {
            self.add(number);
            self.all |= asks && rule.log.matches;
        }
    }

    #[cold]
    fn add(&mut self, number: u32) {
        match self.rules.get_mut(usize::from(self.count)) {
            Some(place) => {
                *place = number;
                self.count += 1;
            }
            None => self.lost = self.lost.saturating_add(1),
        }
    }

    /// Their numbers.
    pub fn rules(&self) -> impl Iterator<Item = u32> + '_ {
        self.rules[..usize::from(self.count)].iter().copied()
    }

    /// How many more there were.
    pub const fn lost(&self) -> u64 {
        self.lost as u64
    }
}
