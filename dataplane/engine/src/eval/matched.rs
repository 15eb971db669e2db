//! The `match` rules that a packet has met, as far as the state that it makes remembers them.

/// The most that a state remembers; what is beyond them does not count its packets, but has its say in what becomes of them.
pub(crate) const MATCHED_MAX: usize = 16;

/// Their numbers, in the order of the walk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched {
    rules: [u32; MATCHED_MAX],
    count: u8,
}

impl Matched {
    #[inline]
    pub(super) fn add(&mut self, number: u32) {
        if let Some(place) = self.rules.get_mut(usize::from(self.count)) {
            *place = number;
            self.count += 1;
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The rule, if it was only one.
    #[inline]
    pub const fn only(&self) -> Option<u32> {
        if self.count == 1 { Some(self.rules[0]) } else { None }
    }

    pub fn rules(&self) -> impl Iterator<Item = u32> + '_ {
        self.rules[..usize::from(self.count)].iter().copied()
    }
}
