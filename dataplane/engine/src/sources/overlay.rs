//! Addresses that are in a table before it is built anew (pf.conf(5) `overload`).
//!
//! Overview: who exceeds a limit is in the table for the very next packet: tables that rules overload sources into have an
//! overlay, which is asked behind the tries while it holds anything. A control thread puts what it finds here into the tries,
//! has the states removed that are to go, and takes it out again.
//! Life cycle: of an overlay, as long as rulesets follow one another that overload into the table. Ownership: shared; workers
//! add, one control thread removes. Bounds: [`PLACES`] addresses, [`WINDOW`] looked at for one; an address that finds no place
//! is refused its connection all the same, and comes here with the next one.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use ruleset::Flush;
use wire::Af;

use crate::Address;

/// Addresses that an overlay holds at most.
const PLACES: usize = 1024;
/// Places that an address may be at.
const WINDOW: usize = 32;

/// A source that has exceeded a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    pub af: Af,
    pub address: Address,
    /// The rule.
    pub owner: u64,
    pub flush: Flush,
}

#[derive(Debug, Default)]
struct Place {
    /// How often it was used, [`TAKEN`] or [`THERE`] or nothing of both in the low bits.
    word: AtomicU32,
    /// Family, and what is to be flushed.
    kind: AtomicU32,
    address: [AtomicU64; 2],
    owner: AtomicU64,
}

/// Somebody writes here.
const TAKEN: u32 = 1;
/// It holds an address.
const THERE: u32 = 2;
const STANDING: u32 = TAKEN | THERE;

/// An overlay.
#[derive(Debug)]
pub(crate) struct Overlay {
    places: Box<[Place]>,
    count: AtomicU32,
}

impl Default for Overlay {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Place::default()).collect(), count: AtomicU32::new(0) }
    }
}

impl Place {
    fn read(&self) -> Option<Offence> {
        let word = self.word.load(Ordering::Acquire);
        if word & STANDING != THERE {
            return None;
        }
        let [high, low] = self.address.each_ref().map(|half| half.load(Ordering::Relaxed));
        let kind = self.kind.load(Ordering::Relaxed);
        let offence = Offence {
            af: if kind & 1 == 0 { Af::Inet } else { Af::Inet6 },
            address: Address(u128::from(high) << 64 | u128::from(low)),
            owner: self.owner.load(Ordering::Relaxed),
            flush: match kind >> 1 {
                0 => Flush::No,
                1 => Flush::Rule,
                _ => Flush::Global,
            },
        };
        fence(Ordering::Acquire);
        (self.word.load(Ordering::Relaxed) == word).then_some(offence)
    }

    fn write(&self, offence: &Offence) -> bool {
        let word = self.word.load(Ordering::Relaxed);
        let taken = word & !STANDING | TAKEN;
        let free = word & STANDING == 0;
        if !free || self.word.compare_exchange(word, taken, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return false;
        }
        fence(Ordering::Release);
        let family = u32::from(offence.af == Af::Inet6);
        self.kind.store((offence.flush as u32) << 1 | family, Ordering::Relaxed);
        let Address(address) = offence.address;
        self.address[0].store((address >> 64) as u64, Ordering::Relaxed);
        self.address[1].store(address as u64, Ordering::Relaxed);
        self.owner.store(offence.owner, Ordering::Relaxed);
        self.word.store(word & !STANDING | THERE, Ordering::Release);
        true
    }
}

impl Overlay {
    fn window(&self, af: Af, Address(address): Address) -> impl Iterator<Item = &Place> {
        let folded = (address ^ address >> 64) as u64 ^ af as u64;
        let first = (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        (0..WINDOW).map(move |step| &self.places[(first + step) % PLACES])
    }

    /// Adds an address, unless the very same is there; false if there is no place.
    pub fn add(&self, offence: &Offence) -> bool {
        if self.window(offence.af, offence.address).any(|place| place.read() == Some(*offence)) {
            return true;
        }
        self.count.fetch_add(1, Ordering::AcqRel);
        let added = self.window(offence.af, offence.address).any(|place| place.write(offence));
        if !added {
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
        added
    }

    /// True if it holds an address.
    #[inline]
    pub fn contains(&self, af: Af, address: Address) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.finds(af, address)
    }

    #[cold]
    fn finds(&self, af: Af, address: Address) -> bool {
        let is_it = |offence: Offence| offence.address == address && offence.af == af;
        self.window(af, address).filter_map(Place::read).any(is_it)
    }

    /// All that it holds.
    pub fn all(&self) -> Vec<Offence> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.places.iter().filter_map(Place::read).collect()
    }

    /// Takes one out again. For one thread.
    pub fn remove(&self, offence: &Offence) {
        for place in self.window(offence.af, offence.address) {
            let word = place.word.load(Ordering::Acquire);
            if place.read() == Some(*offence) {
                let free = (word & !STANDING).wrapping_add(STANDING + 1);
                place.word.store(free, Ordering::Release);
                self.count.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offence(address: u128, owner: u64) -> Offence {
        Offence { af: Af::Inet, address: Address(address), owner, flush: Flush::Rule }
    }

    #[test]
    fn an_address_is_there_from_the_moment_that_it_is_added_until_it_is_removed() {
        let overlay = Overlay::default();
        assert!(!overlay.contains(Af::Inet, Address(7)));
        assert!(overlay.add(&offence(7, 1)) && overlay.add(&offence(7, 1)));
        assert!(overlay.add(&offence(7, 2)), "of another rule");
        assert!(overlay.contains(Af::Inet, Address(7)));
        assert!(!overlay.contains(Af::Inet6, Address(7)) && !overlay.contains(Af::Inet, Address(8)));
        let mut all = overlay.all();
        all.sort_by_key(|offence| offence.owner);
        assert_eq!(all, [offence(7, 1), offence(7, 2)]);
        overlay.remove(&offence(7, 1));
        assert!(overlay.contains(Af::Inet, Address(7)), "the other rule's");
        overlay.remove(&offence(7, 2));
        assert!(!overlay.contains(Af::Inet, Address(7)) && overlay.all().is_empty());
    }

    #[test]
    fn what_finds_no_place_is_told_so_and_places_are_used_again() {
        let overlay = Overlay::default();
        let added: Vec<u128> = (0..100_000).filter(|n| overlay.add(&offence(*n, 1))).collect();
        assert!(added.len() > PLACES / 2 && added.len() <= PLACES, "{}", added.len());
        assert_eq!(overlay.all().len(), added.len());
        added.iter().for_each(|n| overlay.remove(&offence(*n, 1)));
        assert!(overlay.all().is_empty());
        assert!(
            added.iter().all(|n| !overlay.contains(Af::Inet, Address(*n)) && overlay.add(&offence(*n, 1)))
        );
    }
}
