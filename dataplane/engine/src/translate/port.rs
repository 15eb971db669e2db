//! Which port takes the place of another (`pf_get_sport`, RFC 6056 §3.3.1).
//!
//! Overview: the search begins at a random port of the range and goes round it in steps of one of [`PRIMES`] widths ([`Round`]). A port
//! is refused only where the very tuple that answers would come by is in use, so that each remote end has the whole range.
//! Whoever asks on and on of ranges that are nearly full costs the others nothing: there are so many ports that may be asked
//! about at one moment ([`Budget`]), every packet has a few of its own, and a search that ends early is
//! [continued](Searches) by the next packet towards the same remote end. So is one that has found a port where few are free: the
//! last ports of a range are found in one way round it, however many packets of a moment ask for them. A range that was found
//! full is remembered.
//! Bounds: [`AT_ONCE`] ports at one moment, and [`OF_A_PACKET`] for each packet, and as many for each that begins the
//! [short way](super::at_once); [`PLACES`] ranges are remembered.
//!
//! Deviation: pf asks about all ports of a range for one packet; here a packet that finds none in what is left to it is
//! dropped (reason `translate`), and its sender's next one goes on from there
//! (test `nearly_full_ranges_bound_the_work_of_a_moment`).

use wire::Port;

use crate::Tick;
use crate::state::Sixteenths;

/// The most ports that all packets of one moment, which is a worker's poll, may ask about between them, beside those of each:
/// what takes half a millisecond of the one that a poll may take.
pub(crate) const AT_ONCE: u32 = 3 << 13;

/// As many ports each packet may ask about whatever the others do: enough for all but one in 30 where 90 % are in use.
pub(crate) const OF_A_PACKET: u32 = 32;

/// How many ports may still be asked about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// By all packets of this moment.
    common: u32,
    /// By the packet under way.
    own: u32,
    moment: Tick,
}

impl Default for Budget {
    fn default() -> Self {
        Self { common: AT_ONCE, own: 0, moment: Tick(0) }
    }
}

impl Budget {
    /// A burst of this moment begins.
    #[inline]
    pub fn begin_burst(&mut self, moment: Tick) {
        if self.moment != moment {
            (self.common, self.moment) = (AT_ONCE, moment);
        }
    }

    /// A packet begins.
    #[inline]
    pub const fn begin_packet(&mut self) {
        self.own = OF_A_PACKET;
    }

    /// Takes as many ports for asked about as an answer was worth that costs more.
    pub const fn spend(&mut self, ports: u32) {
        self.common = self.common.saturating_sub(ports);
    }

    const fn take(&mut self) -> bool {
        let left = if self.own > 0 { &mut self.own } else { &mut self.common };
        let there = *left > 0;
        *left -= there as u32;
        there
    }

    /// The first port on the way round that is free, as far as the budget goes.
    pub fn first_free(&mut self, round: &mut Round, mut is_free: impl FnMut(Port) -> bool) -> Option<Port> {
        while !round.is_over() && self.take() {
            let port = round.next()?;
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}

/// The ports of a range, each once, from a random one on in steps of a random width: ports that were taken one after the other
/// are not met one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    first: u16,
    width: u32,
    /// Behind the first.
    at: u32,
    /// How far it is to the next one: before that is asked for, what that is drawn by.
    step: u32,
    left: u32,
}

impl Round {
    pub fn new(first: Port, last: Port, random: u64) -> Self {
        let width = u32::from(last.0.max(first.0) - first.0) + 1;
        // The modulus favours low ports by 2⁻¹⁶ at most.
        Self { first: first.0, width, at: random as u32 % width, step: (random >> 32) as u32, left: width }
    }

    /// True if every port was met.
    pub const fn is_over(&self) -> bool {
        self.left == 0
    }

    /// How many ports were met.
    const fn asked(&self) -> u32 {
        self.width - self.left
    }

    /// Goes on to the port behind the one that was met last.
    #[inline]
    fn go_on(&mut self) {
        if self.left + 1 == self.width {
            // What has no factor in common with the width leads through all: no prime has that is greater.
            self.step = PRIMES[self.step as usize % PRIMES.len()] % self.width;
        }
        self.at += self.step;
        self.at -= if self.at >= self.width { self.width } else { 0 };
    }
}

impl Iterator for Round {
    type Item = Port;

    #[inline]
    fn next(&mut self) -> Option<Port> {
        if self.left < self.width && self.left > 0 {
            self.go_on();
        }
        self.left = self.left.checked_sub(1)?;
        Some(Port(self.first + self.at as u16))
    }
}

/// How far it may be from one port to the next, round a range: primes that are greater than any range is wide, a thousand apart.
const PRIMES: [u32; 64] = {
    let (mut primes, mut at) = ([0; 64], 0);
    while at < primes.len() {
        let mut number = (1 << 16) + 1 + (at as u32) * 1024;
        while !is_prime(number) {
            number += 2;
        }
        primes[at] = number;
        at += 1;
    }
    primes
};

/// Whether an odd number is one.
const fn is_prime(number: u32) -> bool {
    let mut factor = 3;
    while factor * factor <= number {
        if number.is_multiple_of(factor) {
            return false;
        }
        factor += 2;
    }
    true
}

/// How many ranges are remembered.
const PLACES: usize = 1024;

/// A range towards a remote end in which free ports are few, or none.
#[derive(Clone, Copy, Debug, Default)]
struct Search {
    /// Of the tuple without its source port, and of the range; 0 is none.
    range: u64,
    way: Way,
    /// Since when that is all.
    at: Sixteenths,
}

/// A way round a range, which several packets may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// What is left to be asked about; over if the range is full.
    pub rest: Round,
    /// How many free ports were found on it.
    found: u32,
    /// How many states had been removed when it began.
    removals: u64,
}

impl Way {
    /// One that begins now.
    pub const fn new(rest: Round, removals: u64) -> Self {
        Self { rest, found: 0, removals }
    }

    /// True if it has come to its end, and a port that it has met may be free all the same: a state has gone since, or who
    /// found the port did not keep it.
    pub const fn has_missed(&self, removals: u64) -> bool {
        self.rest.is_over() && (self.found > 0 || self.removals != removals)
    }
}

/// What a packet has to do in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Nothing: it is full.
    None,
    /// To go on from where the packet before it came to.
    Rest(Way),
    /// To begin.
    Whole,
}

/// The searches that have found nothing last, or little.
#[derive(Debug)]
pub(crate) struct Searches {
    places: Box<[Search; PLACES]>,
    /// Places in use.
    count: usize,
}

impl Default for Searches {
    fn default() -> Self {
        Self { places: Box::new([Search::default(); PLACES]), count: 0 }
    }
}

impl Searches {
    /// True if each range is to be searched from its beginning.
    #[inline]
    pub const fn are_none(&self) -> bool {
        self.count == 0
    }

    /// What is to be done in a range. One that was found full is full still if no state was removed since its search began;
    /// and so little time may have passed that it is not searched again yet.
    pub fn task(&self, range: u64, now: Sixteenths, removals: u64) -> Task {
        let Search { range: own, way, at } = self.places[range as usize % PLACES];
        if own != range {
            Task::Whole
        } else if !way.rest.is_over() {
            Task::Rest(way)
        } else if way.removals == removals || at == now {
            Task::None
        } else {
            Task::Whole
        }
    }

    /// Remembers how far a way round a range has come without finding a port; in place of another.
    pub fn note(&mut self, range: u64, way: Way, now: Sixteenths) {
        self.put(range, Search { range, way, at: now });
    }

    /// The same where it has found one. Where free ports are not few, each search begins anew, and is as random as can be.
    pub fn note_found(&mut self, range: u64, way: Way, now: Sixteenths) {
        let way = Way { found: way.found + 1, ..way };
        if way.rest.asked() > way.found * OF_A_PACKET && !way.rest.is_over() {
            self.note(range, way, now);
        } else {
            self.forget(range);
        }
    }

    /// A range is to be searched from its beginning.
    pub fn forget(&mut self, range: u64) {
        if self.places[range as usize % PLACES].range == range {
            self.put(range, Search::default());
        }
    }

    fn put(&mut self, range: u64, search: Search) {
        let place = &mut self.places[range as usize % PLACES];
        self.count -= usize::from(place.range != 0);
        self.count += usize::from(search.range != 0);
        *place = search;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_range_is_a_candidate_once() {
        for (first, last) in [(50_001, 65_535), (1, 65_535), (7, 7), (65_530, 65_535)] {
            let every_step = (0..PRIMES.len() as u64).map(|step| step << 32);
            for random in [1, 5, 0x1234_5678_9abc_def0, u64::MAX].into_iter().chain(every_step) {
                let mut all: Vec<u16> =
                    Round::new(Port(first), Port(last), random).map(|port| port.0).collect();
                assert_eq!(all.len(), usize::from(last - first) + 1);
                all.sort_unstable();
                assert!(all.iter().copied().eq(first..=last));
            }
        }
    }

    #[test]
    fn the_last_free_port_is_found_and_a_full_range_has_none() {
        let mut budget = Budget::default();
        let last = |free: u16| move |port: Port| port.0 == free;
        let range = || Round::new(Port(1000), Port(1999), 0x5555);
        for free in [1000, 1345, 1999] {
            assert_eq!(budget.first_free(&mut range(), last(free)), Some(Port(free)));
        }
        let mut round = range();
        assert_eq!(budget.first_free(&mut round, last(2000)), None);
        assert!(round.is_over());
    }

    #[test]
    fn a_full_range_is_searched_again_once_a_state_has_gone_and_a_moment_has_passed() {
        let (mut searches, now) = (Searches::default(), Sixteenths(7));
        let over = Way::new(Round::default(), 1);
        assert_eq!(searches.task(5, now, 1), Task::Whole);
        searches.note(5, over, now);
        assert_eq!(searches.task(5, Sixteenths(1000), 1), Task::None);
        assert_eq!(searches.task(5, now, 2), Task::None);
        assert_eq!(searches.task(5, Sixteenths(8), 2), Task::Whole);
        assert_eq!(searches.task(6, now, 1), Task::Whole);
        searches.note(5 + PLACES as u64, over, now);
        assert_eq!(searches.task(5, now, 1), Task::Whole, "another has its place");
        searches.forget(5);
        assert!(!searches.are_none(), "it is the other's");
        searches.forget(5 + PLACES as u64);
        assert!(searches.are_none());
    }

    /// A way round of which so much was asked about.
    fn way(asked: u32) -> Way {
        let mut rest = Round::new(Port(1), Port(1000), 3);
        rest.by_ref().take(asked as usize).for_each(drop);
        Way::new(rest, 1)
    }

    #[test]
    fn a_search_goes_on_where_the_one_before_it_ended() {
        let (mut searches, now) = (Searches::default(), Sixteenths(7));
        let met: Vec<Port> = Round::new(Port(1), Port(1000), 3).take(600).collect();
        searches.note(5, way(600), now);
        let Task::Rest(mut rest) = searches.task(5, Sixteenths(9), 2) else { panic!("there is more to ask") };
        assert!(!rest.has_missed(2), "it is not at its end");
        assert!(rest.rest.by_ref().all(|port| !met.contains(&port)));
        assert_eq!([1, 2].map(|removals| rest.has_missed(removals)), [false, true], "a state has gone");
        searches.note(5, rest, Sixteenths(9));
        assert_eq!(searches.task(5, Sixteenths(9), 2), Task::None);
        assert_eq!(searches.task(5, Sixteenths(10), 2), Task::Whole);
    }

    #[test]
    fn a_search_that_finds_something_goes_on_where_free_ports_are_few() {
        let (mut searches, now) = (Searches::default(), Sixteenths(7));
        let mut note = |way: Way| {
            searches.note_found(5, way, now);
            searches.task(5, now, 2)
        };
        assert_eq!(note(way(OF_A_PACKET)), Task::Whole, "as long as it is where ports are many");
        let Task::Rest(first) = note(way(OF_A_PACKET + 1)) else { panic!("one is few") };
        assert_eq!(first.rest, way(OF_A_PACKET + 1).rest);
        let second = |asked| Way { found: first.found, ..way(asked) };
        assert_eq!(note(second(2 * OF_A_PACKET)), Task::Whole, "two in that many are not");
        let Task::Rest(second) = note(second(2 * OF_A_PACKET + 1)) else { panic!("two are few") };
        let over = Way { rest: Round { left: 0, ..second.rest }, ..second };
        assert!(over.has_missed(1), "who found a port may not have kept it");
        assert_eq!(note(over), Task::Whole);
    }

    #[test]
    fn a_packet_has_ports_of_its_own_when_the_others_have_asked_about_all() {
        let mut budget = Budget::default();
        budget.begin_burst(Tick(1));
        let mut asked = 0;
        while budget.take() {
            asked += 1;
        }
        assert_eq!(asked, AT_ONCE);
        budget.begin_burst(Tick(1));
        budget.begin_packet();
        let own = |port: u16| move |asked: Port| asked == Port(port);
        assert_eq!(budget.first_free(&mut Round::new(Port(1), Port(1), 0), own(1)), Some(Port(1)));
        let mut round = Round::new(Port(1), Port(1000), 0);
        assert_eq!(budget.first_free(&mut round, own(0)), None);
        assert_eq!(round.count() as u32, 1000 - (OF_A_PACKET - 1));
        budget.begin_burst(Tick(2));
        assert!(budget.take(), "another moment");
    }
}
