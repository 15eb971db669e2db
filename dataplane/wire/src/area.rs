//! A small area of options, built in place.

use crate::Error;

/// Up to `N` octets of options, zero behind them; `N` is a multiple of four.
#[derive(Clone, Copy, Debug)]
pub struct Area<const N: usize> {
    octets: [u8; N],
    len: usize,
}

impl<const N: usize> Area<N> {
    pub const EMPTY: Self = Self { octets: [0; N], len: 0 };

    /// A copy of `octets`, which a parsed header held: what exceeds the area is cut.
    pub fn of(octets: &[u8]) -> Self {
        let mut area = Self::EMPTY;
        for (slot, octet) in area.octets.iter_mut().zip(octets) {
            *slot = *octet;
        }
        area.len = octets.len().min(N);
        area
    }

    /// Adds `parts` one behind the other, or nothing and `TooLong` if they do not all fit.
    pub fn push(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        let len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let free = self.octets.get_mut(self.len..).ok_or(Error::TooLong)?;
        let slots = free.get_mut(..len).ok_or(Error::TooLong)?;
        for (slot, octet) in slots.iter_mut().zip(parts.iter().copied().flatten()) {
            *slot = *octet;
        }
        self.len = self.len.saturating_add(len);
        Ok(())
    }

    /// The octets, with zeros up to a multiple of four.
    pub const fn padded(&self) -> &[u8] {
        match self.octets.split_at_checked(self.len.saturating_add(3) & !3) {
            Some((octets, _)) => octets,
            None => &self.octets,
        }
    }
}

impl<const N: usize> Default for Area<N> {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Equal as they are sent, padding included.
impl<const N: usize> PartialEq for Area<N> {
    fn eq(&self, other: &Self) -> bool {
        self.padded() == other.padded()
    }
}

impl<const N: usize> Eq for Area<N> {}
