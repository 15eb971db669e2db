//! Which address of a pool takes the place of another, or is the gateway of a packet (pf.conf(5) POOL OPTIONS, `pf_map_addr`).
//!
//! Overview: a [`Pool`] names addresses, an [`Order`] is one choice among them: the address to try first, and how to go on
//! where that has no port left; [`Pool::pick`] leaves out gateways that are dead. What a source was given before
//! (`sticky-address`), and how many states each address has (`least-states`), the caller [knows](crate::source).
//! Ownership: made with the root, shared; only the turn of `round-robin` changes.
//! Bounds: [`ATTEMPTS_MAX`] addresses are tried for one packet.

use core::net::Ipv4Addr;
use core::num::NonZeroU16;
use core::sync::atomic::{AtomicU32, Ordering};

use ruleset::PortBlocks;
use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use wire::{Af, Proto};

use crate::Address;
use crate::dynamic::OfInterfaces;
use crate::eval::Root;
use crate::fib::{Fib, InterfaceId};

/// The most addresses that are tried for one packet.
pub(crate) const ATTEMPTS_MAX: u32 = 64;

/// The addresses of a table as a pool has them: ranges in order, each with how many addresses come before it, and how many turns
/// those have in one round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    v4: Vec<Member>,
    v6: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Member {
    first: Address,
    /// How many addresses the members before this one have.
    before: u128,
    /// How many it has itself; a whole family counts one less.
    count: u128,
    turns_before: u128,
    /// The turns of each of its addresses.
    weight: u16,
}

impl Member {
    const fn turns(&self) -> u128 {
        self.count.saturating_mul(self.weight as u128)
    }
}

/// How often an address has its turn in a round.
pub(crate) fn weight_of(given: Option<NonZeroU16>) -> u16 {
    given.map_or(1, NonZeroU16::get)
}

impl Members {
    /// Of ranges, each first and last.
    pub fn of(ranges: impl Iterator<Item = (Af, (Address, Address), Option<NonZeroU16>)>) -> Self {
        let mut members = Self::default();
        for (af, range, weight) in ranges {
            let (before, turns_before) = (members.count(af), members.turns(af));
            let (count, weight) = (size(range), weight_of(weight));
            members.family_mut(af).push(Member { first: range.0, before, count, turns_before, weight });
        }
        members
    }

    const fn family(&self, af: Af) -> &Vec<Member> {
        match af {
            Af::Inet => &self.v4,
            Af::Inet6 => &self.v6,
        }
    }

    const fn family_mut(&mut self, af: Af) -> &mut Vec<Member> {
        match af {
            Af::Inet => &mut self.v4,
            Af::Inet6 => &mut self.v6,
        }
    }

    fn count(&self, af: Af) -> u128 {
        self.family(af).last().map_or(0, |last| last.before.saturating_add(last.count))
    }

    fn turns(&self, af: Af) -> u128 {
        self.family(af).last().map_or(0, |last| last.turns_before.saturating_add(last.turns()))
    }

    /// The number of the address that has a turn.
    fn at_turn(&self, af: Af, turn: u128) -> u128 {
        let family = self.family(af);
        let behind = family.partition_point(|member| member.turns_before <= turn);
        let member = behind.checked_sub(1).and_then(|at| family.get(at));
        member.map_or(0, |member| member.before + (turn - member.turns_before) / u128::from(member.weight))
    }

    fn nth(&self, af: Af, number: u128) -> Option<(Address, u16)> {
        let family = self.family(af);
        let at = family.partition_point(|member| member.before <= number).checked_sub(1)?;
        let member = &family[at];
        Some((Address(member.first.0 + (number - member.before)), member.weight))
    }
}

/// The addresses of a pool.
#[derive(Clone, Debug)]
pub(crate) enum Addresses {
    /// A host or a network: its first address, and which bits are its own.
    Net { first: Address, mask: Address, af: Af },
    /// A table, by number in the root.
    Table(usize),
    /// What interfaces have at the time of the packet.
    Interfaces(OfInterfaces),
}

/// What is known while one is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub fib: &'a Fib,
    pub root: &'a Root,
}

impl Addresses {
    fn count(&self, af: Af, known: Known<'_>) -> u128 {
        match self {
            Self::Net { mask, af: own, .. } if *own == af => span(af, *mask).saturating_add(1),
            Self::Net { .. } => 0,
            Self::Table(number) => known.root.members(*number).map_or(0, |table| table.count(af)),
            Self::Interfaces(of) => of.ranges(af, known.fib).map(size).fold(0, u128::saturating_add),
        }
    }

    /// How many turns they have in one round.
    fn turns(&self, af: Af, known: Known<'_>) -> u128 {
        match self {
            Self::Table(number) => known.root.members(*number).map_or(0, |table| table.turns(af)),
            _ => self.count(af, known),
        }
    }

    /// The number of the address that has a turn.
    fn at_turn(&self, af: Af, turn: u128, known: Known<'_>) -> u128 {
        match self {
            Self::Table(number) => known.root.members(*number).map_or(0, |table| table.at_turn(af, turn)),
            _ => turn,
        }
    }

    /// An address, and its weight.
    fn nth(&self, af: Af, number: u128, known: Known<'_>) -> Option<(Address, u16)> {
        match self {
            Self::Net { first, .. } => Some((Address(first.0 + number), 1)),
            Self::Table(table) => known.root.members(*table)?.nth(af, number),
            Self::Interfaces(of) => {
                let mut left = number;
                of.ranges(af, known.fib).find_map(|range| {
                    let found = (left < size(range)).then(|| (Address(range.0.0 + left), 1));
                    left = left.saturating_sub(size(range));
                    found
                })
            }
        }
    }
}

impl Addresses {
    fn contains(&self, af: Af, address: Address, known: Known<'_>) -> bool {
        match self {
            Self::Net { first, mask, af: own } => *own == af && first.0 == address.0 & mask.0,
            Self::Table(number) => known.root.holds(*number, af, address),
            Self::Interfaces(of) => of.contains(af, address, known.fib),
        }
    }
}

/// The last number of the addresses under a mask.
const fn span(af: Af, mask: Address) -> u128 {
    match af {
        Af::Inet => (!mask.v4()) as u128,
        Af::Inet6 => !mask.0,
    }
}

/// How many addresses there are from the first to the last; a whole family counts one less.
const fn size((first, last): (Address, Address)) -> u128 {
    (last.0 - first.0).saturating_add(1)
}

/// How one is chosen.
#[derive(Debug)]
pub(crate) enum Choice {
    /// The network is the pool's, the host that of the address which is translated. Where the pool is one address, that.
    Bitmask,
    Random,
    /// By a keyed hash of the source.
    SourceHash([u64; 2]),
    /// In turn, whoever asks.
    RoundRobin(AtomicU32),
    /// The address with the fewest states; of several the one whose turn it is.
    LeastStates(AtomicU32),
    /// By the source's place among the subscribers: `port-block`.
    Blocks(PortBlocks),
}

/// Addresses, and the interface that they are on where they are gateways and it is given.
#[derive(Debug)]
pub(crate) struct Part {
    pub addresses: Addresses,
    pub via: Option<InterfaceId>,
    /// The turns of each address, where it is one of several parts.
    pub weight: u16,
}

/// Where a translation or a route leads.
#[derive(Debug)]
pub(crate) struct Pool {
    /// What tells it from the pools of other rules, whoever is told of it.
    pub id: u32,
    pub parts: Vec<Part>,
    pub choice: Choice,
    /// `sticky-address`: who remembers what a source was given.
    pub sticky: Option<Memory>,
    /// `least-states`: what tells the counts of its addresses from those of other pools.
    pub load: Option<u64>,
    /// `endpoint-independent`: whose sources keep their ports.
    pub mapping: Option<Mapping>,
}

/// Which sources have one port, whoever they speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// The rule.
    pub rule: u64,
    /// Those of TCP and ICMP queries too, and not of UDP alone.
    pub all: bool,
}

impl Mapping {
    /// True if sources of a protocol do, of which ports are chosen.
    pub const fn covers(&self, proto: Proto) -> bool {
        self.all || proto.0 == Proto::UDP.0
    }
}

/// Where a source's address is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The rule.
    pub owner: u64,
    /// How long beyond the last state, in seconds; `None` where the ruleset's time holds.
    pub lifetime: Option<u32>,
    /// It is not the rule that asks for it, and `set limit src-nodes` has no say.
    pub implied: bool,
}

/// A gateway of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub address: Address,
    /// The interface that it is on, if that is given.
    pub via: Option<InterfaceId>,
}

/// For whom one is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub af: Af,
    /// The packet's source.
    pub source: Address,
    /// The address that another one is to take the place of.
    pub old: Address,
    pub random: u64,
}

/// One choice among the addresses of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    next: u128,
    count: u128,
    left: u32,
}

impl Pool {
    /// True if there is but one address in it, and always the same.
    pub fn is_one_host(&self) -> bool {
        match self.parts.as_slice() {
            [Part { addresses: Addresses::Net { mask, af, .. }, .. }] => span(*af, *mask) == 0,
            _ => false,
        }
    }

    /// The address that is all there is in it of a family; `None` as well where it takes longer to tell.
    #[inline]
    pub fn only(&self, af: Af, known: Known<'_>) -> Option<Address> {
        match self.parts.as_slice() {
            [Part { addresses: Addresses::Net { first, mask, af: own }, .. }] => {
                (*own == af && span(af, *mask) == 0).then_some(*first)
            }
            [Part { addresses: Addresses::Interfaces(of), .. }] => of.only(af, known.fib),
            _ => None,
        }
    }

    fn count(&self, af: Af, known: Known<'_>) -> u128 {
        self.parts.iter().map(|part| part.addresses.count(af, known)).fold(0, u128::saturating_add)
    }

    fn nth(&self, af: Af, number: u128, known: Known<'_>) -> Option<Target> {
        self.weighed(af, number, known).map(|(target, _)| target)
    }

    /// An address, and its weight.
    fn weighed(&self, af: Af, mut number: u128, known: Known<'_>) -> Option<(Target, u64)> {
        for part in &self.parts {
            let count = part.addresses.count(af, known);
            if number < count {
                let (address, weight) = part.addresses.nth(af, number, known)?;
                let weight = u64::from(weight) * u64::from(part.weight);
                return Some((Target { address, via: part.via }, weight));
            }
            number -= count;
        }
        None
    }

    /// The number of the address that has a turn, of `count`. In one round each has as many turns as its weight says, spread over
    /// the round.
    fn in_turn(&self, turn: u32, af: Af, known: Known<'_>, count: u128) -> u128 {
        let turn = u128::from(turn);
        let weight = |part: &Part| u128::from(part.weight);
        let turns_of = |part: &Part| part.addresses.turns(af, known).saturating_mul(weight(part));
        let turns = self.parts.iter().map(turns_of).fold(0, u128::saturating_add);
        if turns == count {
            return turn % count;
        }
        let (mut turn, mut before) = (spread(turn, turns), 0);
        for part in &self.parts {
            let own = turns_of(part);
            if turn < own {
                return before + part.addresses.at_turn(af, turn / weight(part), known);
            }
            (turn, before) = (turn - own, before + part.addresses.count(af, known));
        }
        0
    }

    /// As many as are ever tried for one packet.
    pub fn first_targets<'a>(&'a self, af: Af, known: Known<'a>) -> impl Iterator<Item = Target> + 'a {
        let count = attempts(self.count(af, known));
        (0..count).filter_map(move |number| self.nth(af, number.into(), known))
    }

    /// True if an address is one of it.
    pub fn contains(&self, af: Af, target: &Target, known: Known<'_>) -> bool {
        let has = |part: &Part| part.via == target.via && part.addresses.contains(af, target.address, known);
        self.parts.iter().any(has)
    }

    /// Of as many addresses as are ever tried, from number `first` on, the number of the one with the fewest states.
    fn least(
        &self,
        af: Af,
        known: Known<'_>,
        first: u128,
        count: u128,
        states: &dyn Fn(&Target) -> u32,
    ) -> u128 {
        let numbers = (0..attempts(count)).map(|step| (first + u128::from(step)) % count);
        // As pf reckons: states for each part of the weight.
        let load = |number: &u128| match self.weighed(af, *number, known) {
            Some((target, weight)) if weight > 1 => u64::from(states(&target)) * u64::from(u16::MAX) / weight,
            Some((target, _)) => u64::from(states(&target)) * u64::from(u16::MAX),
            None => u64::MAX,
        };
        numbers.min_by_key(load).unwrap_or(first)
    }

    /// The addresses to try; `None` if there is none. `states` is how many an address has.
    pub fn order(&self, asked: &Asked, known: Known<'_>, states: &dyn Fn(&Target) -> u32) -> Option<Order> {
        self.order_from(asked, known, states, next_turn)
    }

    /// The address that would be tried first, of a pool that does not ask how many states its addresses have; with its turn,
    /// which is still to be [taken](Turn::take), where it is chosen in turn.
    #[inline(never)]
    pub fn first(&self, asked: &Asked, known: Known<'_>) -> Option<(Target, Option<Turn<'_>>)> {
        let turn = match &self.choice {
            Choice::RoundRobin(next) => Some(Turn { number: next.load(Ordering::Relaxed), next }),
            _ => None,
        };
        let mut order = self.order_from(asked, known, &|_| 0, |_| turn.map_or(0, |turn| turn.number))?;
        self.next(&mut order, asked.af, known).map(|target| (target, turn))
    }

    /// As [`order`](Self::order), of which `turn_of` says whose turn it is.
    #[inline]
    fn order_from(
        &self,
        asked: &Asked,
        known: Known<'_>,
        states: &dyn Fn(&Target) -> u32,
        turn_of: impl Fn(&AtomicU32) -> u32,
    ) -> Option<Order> {
        let count = self.count(asked.af, known);
        if count == 0 {
            return None;
        }
        let whole = |next: u128| Order { next: next % count, count, left: attempts(count) };
        Some(match &self.choice {
            Choice::Bitmask => Order { next: asked.old.0 & (count - 1), count, left: 1 },
            Choice::Random => whole(asked.random.into()),
            Choice::Blocks(blocks) => {
                let (number, ..) = blocks.share_of(Ipv4Addr::from_bits(asked.source.v4()));
                Order { left: 1, ..whole(number.into()) }
            }
            Choice::SourceHash(key) => {
                let mut hash = SipHasher13::new_with_keys(key[0], key[1]);
                hash.write_u128(asked.source.0);
                Order { left: 1, ..whole(hash.finish().into()) }
            }
            Choice::RoundRobin(turn) => whole(self.in_turn(turn_of(turn), asked.af, known, count)),
            Choice::LeastStates(turn) => {
                let first = u128::from(turn_of(turn)) % count;
                whole(self.least(asked.af, known, first, count, states))
            }
        })
    }

    /// The next address of an order.
    pub fn next(&self, order: &mut Order, af: Af, known: Known<'_>) -> Option<Target> {
        order.left = order.left.checked_sub(1)?;
        let number = order.next;
        order.next = (number + 1) % order.count;
        self.nth(af, number, known)
    }

    /// A gateway that is good, or if there is none, the one whose turn it is; `None` of a pool without any.
    pub fn pick(
        &self,
        asked: &Asked,
        known: Known<'_>,
        is_good: impl Fn(&Target) -> bool,
        states: &dyn Fn(&Target) -> u32,
    ) -> Option<Target> {
        // A dead gateway has no states that count.
        let states = |target: &Target| if is_good(target) { states(target) } else { u32::MAX };
        let Order { mut next, count, .. } = self.order(asked, known, &states)?;
        let first = self.nth(asked.af, next, known)?;
        let mut target = first;
        for _ in 0..attempts(count) {
            if is_good(&target) {
                return Some(target);
            }
            // What a dead gateway would have got is not all for the one behind it.
            next = match &self.choice {
                Choice::RoundRobin(turn) => self.in_turn(next_turn(turn), asked.af, known, count),
                _ => (next + 1) % count,
            };
            target = self.nth(asked.af, next, known)?;
        }
        Some(first)
    }
}

/// A turn that an address has in its pool, or may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn<'a> {
    number: u32,
    next: &'a AtomicU32,
}

impl Turn<'_> {
    /// Takes it. Who has chosen by it at the same moment as another worker has chosen the same address; it is taken once.
    #[inline]
    pub fn take(self) {
        let behind = self.number.wrapping_add(1);
        let _ = self.next.compare_exchange(self.number, behind, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn next_turn(turn: &AtomicU32) -> u32 {
    turn.fetch_add(1, Ordering::Relaxed)
}

/// The place of a turn in a round of so many: each has one, and those that follow each other are far apart.
fn spread(turn: u128, turns: u128) -> u128 {
    // The product of two that fit has room; a round as long as this never ends.
    let Ok(round) = u64::try_from(turns) else { return turn % turns.max(1) };
    let near = ((u128::from(round) * 0x9e37_79b9) >> 32) as u64 | 1;
    let step = (near..).find(|step| gcd(*step, round) == 1).unwrap_or(1);
    turn % turns * u128::from(step) % turns
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

fn attempts(count: u128) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(ATTEMPTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_of_a_round_has_one_turn_and_neighbours_are_apart() {
        for turns in [1, 2, 3, 6, 12, 100, 1001] {
            let mut places: Vec<u128> = (0..turns).map(|turn| spread(turn, turns)).collect();
            let near = |pair: &&[u128]| pair[0].abs_diff(pair[1]) == 1;
            let followers = places.windows(2).filter(near).count();
            assert!(turns < 12 || followers == 0, "{followers} of {turns}");
            places.sort_unstable();
            assert!(places.into_iter().eq(0..turns), "{turns}");
            assert_eq!(spread(turns, turns), spread(0, turns), "the next round is as this one");
        }
        assert_eq!(spread(5, u128::MAX), 5);
    }

    #[test]
    fn a_turn_by_which_two_have_chosen_is_taken_once() {
        for number in [7, u32::MAX] {
            let next = AtomicU32::new(number);
            let chosen = [(); 2].map(|()| Turn { number, next: &next });
            chosen.into_iter().for_each(Turn::take);
            assert_eq!(next.load(Ordering::Relaxed), number.wrapping_add(1));
        }
    }
}
