//! Distributions, counted with one increment for each value.

use api::Distribution;

/// How often values fell between bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram<const BOUNDS: usize> {
    bounds: &'static [u64; BOUNDS],
    /// By bound: values not above it, but above the bound before.
    counts: [u64; BOUNDS],
    /// Values above every bound.
    above: u64,
    sum: u64,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// One of no value yet.
    pub const fn new(bounds: &'static [u64; BOUNDS]) -> Self {
        Self { bounds, counts: [0; BOUNDS], above: 0, sum: 0 }
    }

    /// Counts a value.
    #[inline]
    pub fn observe(&mut self, value: u64) {
        let found = self.bounds.iter().position(|bound| value <= *bound);
        *found.map_or(&mut self.above, |bound| &mut self.counts[bound]) += 1;
        self.sum += value;
    }

    pub(super) fn names_of(&self, owner: &str) -> impl Iterator<Item = String> {
        let counts = self.bounds.iter().map(move |bound| format!("{owner}.{bound}"));
        counts.chain([format!("{owner}.above"), format!("{owner}.sum")])
    }

    pub(super) fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.counts.iter().copied().chain([self.above, self.sum])
    }

    pub(super) fn take(
        bounds: &'static [u64; BOUNDS],
        values: &mut impl Iterator<Item = u64>,
    ) -> Option<Self> {
        let mut taken = Self::new(bounds);
        for count in &mut taken.counts {
            *count = values.next()?;
        }
        (taken.above, taken.sum) = (values.next()?, values.next()?);
        Some(taken)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(own, other)| *own += other);
        self.above += other.above;
        self.sum += other.sum;
    }

    /// As others are told of it.
    pub fn told(&self) -> Distribution {
        Distribution { counts: self.counts.iter().copied().chain([self.above]).collect(), sum: self.sum }
    }
}
