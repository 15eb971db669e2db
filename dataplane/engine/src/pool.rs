//! Which address of a pool takes the place of another, or is the gateway of a packet (pf.conf(5) POOL OPTIONS, `pf_map_addr`).
//!
//! Overview: a [`Pool`] names addresses, an [`Order`] is one choice among them: the address to try first, and how to go on
//! where that has no port left; [`Pool::pick`] leaves out gateways that are dead. What a source was given before
//! (`sticky-address`), and how many states each address has (`least-states`), the caller [knows](crate::source).
//! Ownership: made with the root, shared; only the turn of `round-robin` changes.
//! Bounds: [`ATTEMPTS_MAX`] addresses are tried for one packet.

use core::sync::atomic::{AtomicU32, Ordering};

use siphasher::sip::SipHasher13;
use std::hash::Hasher;
use wire::Af;

use crate::Address;
use crate::dynamic::OfInterfaces;
use crate::eval::Root;
use crate::fib::{Fib, InterfaceId};

/// The most addresses that are tried for one packet.
pub(crate) const ATTEMPTS_MAX: u32 = 64;

/// The addresses of a table as a pool has them: ranges in order, each with how many addresses come before it.
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
}

impl Members {
    /// Of ranges, each first and last.
    pub fn of(ranges: impl Iterator<Item = (Af, Address, Address)>) -> Self {
        let mut members = Self::default();
        for (af, first, last) in ranges {
            let family = members.family_mut(af);
            let before = family.last().map_or(0, |last| last.before.saturating_add(last.count));
            family.push(Member { first, before, count: size((first, last)) });
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

    fn nth(&self, af: Af, number: u128) -> Option<Address> {
        let family = self.family(af);
        let at = family.partition_point(|member| member.before <= number).checked_sub(1)?;
        let member = &family[at];
        Some(Address(member.first.0 + (number - member.before)))
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

    fn nth(&self, af: Af, number: u128, known: Known<'_>) -> Option<Address> {
        match self {
            Self::Net { first, .. } => Some(Address(first.0 + number)),
            Self::Table(table) => known.root.members(*table)?.nth(af, number),
            Self::Interfaces(of) => {
                let mut left = number;
                of.ranges(af, known.fib).find_map(|range| {
                    let found = (left < size(range)).then(|| Address(range.0.0 + left));
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
}

/// Addresses, and the interface that they are on where they are gateways and it is given.
#[derive(Debug)]
pub(crate) struct Part {
    pub addresses: Addresses,
    pub via: Option<InterfaceId>,
}

/// Where a translation or a route leads.
#[derive(Debug)]
pub(crate) struct Pool {
    pub parts: Vec<Part>,
    pub choice: Choice,
    /// `sticky-address`: who remembers what a source was given.
    pub sticky: Option<Memory>,
    /// `least-states`: what tells the counts of its addresses from those of other pools.
    pub load: Option<u64>,
}

/// Where a source's address is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// The rule.
    pub owner: u64,
    /// How long beyond the last state, in seconds; `None` where the ruleset's time holds.
    pub lifetime: Option<u32>,
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

    fn count(&self, af: Af, known: Known<'_>) -> u128 {
        self.parts.iter().map(|part| part.addresses.count(af, known)).fold(0, u128::saturating_add)
    }

    fn nth(&self, af: Af, mut number: u128, known: Known<'_>) -> Option<Target> {
        for part in &self.parts {
            let count = part.addresses.count(af, known);
            if number < count {
                let address = part.addresses.nth(af, number, known)?;
                return Some(Target { address, via: part.via });
            }
            number -= count;
        }
        None
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
        let load = |number: &u128| self.nth(af, *number, known).map_or(u32::MAX, |target| states(&target));
        numbers.min_by_key(load).unwrap_or(first)
    }

    /// The addresses to try; `None` if there is none. `states` is how many an address has.
    pub fn order(&self, asked: &Asked, known: Known<'_>, states: &dyn Fn(&Target) -> u32) -> Option<Order> {
        let count = self.count(asked.af, known);
        if count == 0 {
            return None;
        }
        let whole = |next: u128| Order { next: next % count, count, left: attempts(count) };
        Some(match &self.choice {
            Choice::Bitmask => Order { next: asked.old.0 & (count - 1), count, left: 1 },
            Choice::Random => whole(asked.random.into()),
            Choice::SourceHash(key) => {
                let mut hash = SipHasher13::new_with_keys(key[0], key[1]);
                hash.write_u128(asked.source.0);
                Order { left: 1, ..whole(hash.finish().into()) }
            }
            Choice::RoundRobin(turn) => whole(turn.fetch_add(1, Ordering::Relaxed).into()),
            Choice::LeastStates(turn) => {
                let first = u128::from(turn.fetch_add(1, Ordering::Relaxed)) % count;
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
                Choice::RoundRobin(turn) => u128::from(turn.fetch_add(1, Ordering::Relaxed)) % count,
                _ => (next + 1) % count,
            };
            target = self.nth(asked.af, next, known)?;
        }
        Some(first)
    }
}

fn attempts(count: u128) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).min(ATTEMPTS_MAX)
}
