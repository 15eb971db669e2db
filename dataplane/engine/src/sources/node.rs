//! A source node: whose it is, what it counts, and how far it has come.
//!
//! Overview: a node's [`Word`] is what workers agree by: how far it has come, how many states it has, and how often its place was
//! used. Whoever wants to change it says what it believes it to be, so that a node which has gone meanwhile, or has become
//! another's, is never changed for what it was. What identifies a node is written before anybody may find it, and stays.
//! Ownership: shared by all workers; plain atomic numbers. Bounds: 120 bytes.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use bytemuck::Zeroable;
use wire::Af;

use super::{Endpoint, NodeId, NodeKey};
use crate::Address;
use crate::fib::InterfaceId;
use crate::pool::Target;

/// How far a node has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// There is none at this place.
    Free,
    /// Somebody writes whose it is.
    Claimed,
    /// It is there unless another one of the same key is.
    Begun,
    /// It is found.
    Live,
    /// It is not found any more, and stays for the states that count for it.
    Detached,
}

/// States, standing, and how often the place was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

const STANDING_AT: u32 = 32;
const USE_AT: u32 = 35;

impl Word {
    pub const fn new(uses: u32, standing: Standing, states: u32) -> Self {
        Self((uses as u64) << USE_AT | (standing as u64) << STANDING_AT | states as u64)
    }

    pub const fn states(self) -> u32 {
        self.0 as u32
    }

    pub const fn standing(self) -> Standing {
        match self.0 >> STANDING_AT & 7 {
            0 => Standing::Free,
            1 => Standing::Claimed,
            2 => Standing::Begun,
            3 => Standing::Live,
            _ => Standing::Detached,
        }
    }

    /// Which use of the place it is.
    pub const fn uses(self) -> u32 {
        (self.0 >> USE_AT) as u32
    }

    #[must_use]
    pub const fn with_states(self, states: u32) -> Self {
        Self::new(self.uses(), self.standing(), states)
    }

    #[must_use]
    pub const fn with_standing(self, standing: Standing) -> Self {
        Self::new(self.uses(), standing, self.states())
    }

    /// The place after this use of it.
    pub const fn freed(self) -> Self {
        Self::new(self.uses(), Standing::Free, 0)
    }
}

/// What is said of a node when it is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewNode {
    /// Where it leads.
    pub target: Option<Target>,
    /// Family and port of what it leads to, of a mapping.
    pub leads_to: u32,
    /// The rule that made it, of a mapping.
    pub rule: u64,
    /// What it counts for, of a mapping.
    pub parent: NodeId,
    /// How long it outlives its last state, in seconds.
    pub lifetime: u32,
    /// The time of its rate of connections, in seconds.
    pub seconds: u32,
}

/// One place for a node.
#[derive(Debug, Default, Zeroable)]
#[repr(C)]
pub(super) struct Node {
    word: AtomicU64,
    owner: AtomicU64,
    address: [AtomicU64; 2],
    target: [AtomicU64; 2],
    /// Of a mapping: the rule that made it.
    rule: AtomicU64,
    /// Kind, family, and one more than the interface of the target.
    kind: AtomicU32,
    pub parent: AtomicU32,
    pub lifetime: AtomicU32,
    pub created: AtomicU32,
    pub expires: AtomicU32,
    pub seconds: AtomicU32,
    pub connections: AtomicU32,
    /// It leads somewhere.
    leads: AtomicU32,
    /// Of a mapping: protocol and port of its address.
    endpoint: AtomicU32,
    /// Of a mapping: family and port of what it leads to.
    leads_to: AtomicU32,
    /// What has come of connections of late.
    pub rate: AtomicU64,
    pub packets: AtomicU64,
    pub bytes: AtomicU64,
}

const _: () = assert!(size_of::<Node>() == 120);

const fn halves(address: Address) -> [u64; 2] {
    [(address.0 >> 64) as u64, address.0 as u64]
}

fn whole(halves: &[AtomicU64; 2]) -> Address {
    let [high, low] = halves.each_ref().map(|half| half.load(Ordering::Relaxed));
    Address(u128::from(high) << 64 | u128::from(low))
}

impl Node {
    pub fn word(&self) -> Word {
        Word(self.word.load(Ordering::SeqCst))
    }

    /// Makes `old` to `new`; false if it is not `old`.
    pub fn change(&self, old: Word, new: Word) -> bool {
        self.word.compare_exchange(old.0, new.0, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Writes whose it is, at a place that the caller has claimed as `word`, and begins it with one state. Its parent is the node
    /// that counts it.
    pub fn begin(&self, word: Word, key: &NodeKey, (new, parent): (&NewNode, NodeId), now: u32) -> Word {
        fence(Ordering::Release);
        self.owner.store(key.owner, Ordering::Relaxed);
        let target = new.target.map_or(Address(0), |target| target.address);
        for (place, value) in self.address.iter().zip(halves(key.address)) {
            place.store(value, Ordering::Relaxed);
        }
        for (place, value) in self.target.iter().zip(halves(target)) {
            place.store(value, Ordering::Relaxed);
        }
        let via = new.target.and_then(|target| target.via).map_or(0, |via| u32::from(via.0) + 1);
        self.kind.store(via << 16 | key.bits(), Ordering::Relaxed);
        self.leads.store(u32::from(new.target.is_some()), Ordering::Relaxed);
        self.endpoint.store(key.endpoint, Ordering::Relaxed);
        self.leads_to.store(new.leads_to, Ordering::Relaxed);
        self.rule.store(new.rule, Ordering::Relaxed);
        self.parent.store(parent.0, Ordering::Relaxed);
        self.lifetime.store(new.lifetime, Ordering::Relaxed);
        self.seconds.store(new.seconds, Ordering::Relaxed);
        self.created.store(now, Ordering::Relaxed);
        for number in [&self.expires, &self.connections] {
            number.store(0, Ordering::Relaxed);
        }
        for number in [&self.rate, &self.packets, &self.bytes] {
            number.store(0, Ordering::Relaxed);
        }
        let begun = Word::new(word.uses(), Standing::Begun, 1);
        self.word.store(begun.0, Ordering::SeqCst);
        begun
    }

    /// True if it is of this key, in the use of the place that `word` is of.
    pub fn is_of(&self, key: &NodeKey, word: Word) -> bool {
        let same = self.owner.load(Ordering::Relaxed) == key.owner
            && self.kind.load(Ordering::Relaxed) as u16 == key.bits() as u16
            && whole(&self.address) == key.address
            && self.endpoint.load(Ordering::Relaxed) == key.endpoint;
        same && self.is_still(word)
    }

    /// True if the place has not come to another use since `word`: what was read of it since is of that.
    pub fn is_still(&self, word: Word) -> bool {
        fence(Ordering::Acquire);
        self.word().uses() == word.uses()
    }

    /// Whose it is.
    pub fn key(&self) -> Option<NodeKey> {
        let kind = self.kind.load(Ordering::Relaxed) as u16;
        let owner = self.owner.load(Ordering::Relaxed);
        let key = NodeKey::of_bits(kind, owner, whole(&self.address))?;
        Some(NodeKey { endpoint: self.endpoint.load(Ordering::Relaxed), ..key })
    }

    pub fn target(&self) -> Option<Target> {
        let via = (self.kind.load(Ordering::Relaxed) >> 16).checked_sub(1);
        (self.leads.load(Ordering::Relaxed) != 0)
            .then(|| Target { address: whole(&self.target), via: via.map(|via| InterfaceId(via as u16)) })
    }

    /// The endpoint that it leads to, and the rule that made it, of a mapping.
    pub fn mapped_to(&self) -> Option<(Endpoint, u64)> {
        let Target { address, .. } = self.target()?;
        let endpoint = Endpoint::of_bits(address, self.leads_to.load(Ordering::Relaxed));
        Some((endpoint, self.rule.load(Ordering::Relaxed)))
    }

    /// True if it has no states and its time is over.
    pub fn is_over(&self, word: Word, now: u32) -> bool {
        word.states() == 0 && self.expires.load(Ordering::Relaxed) <= now
    }
}

/// What a node is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The limits of `source-track`.
    Filter,
    /// `sticky-address` of `nat-to`, `rdr-to` and of routes.
    Nat,
    Rdr,
    Route,
    /// How many nodes a rule has: a state of it is a node.
    Rule,
    /// How many states an address of a pool has.
    Load,
    /// The mapping of an endpoint inside.
    Inner,
    /// Whose an endpoint outside is: a state of it is a mapping.
    Outer,
}

impl Kind {
    pub const ALL: [Self; 8] =
        [Self::Filter, Self::Nat, Self::Rdr, Self::Route, Self::Rule, Self::Load, Self::Inner, Self::Outer];

    /// True if it is of a source, and so counts against `set limit src-nodes`.
    pub const fn is_of_source(self) -> bool {
        matches!(self, Self::Filter | Self::Nat | Self::Rdr | Self::Route)
    }
}

impl NodeKey {
    /// Kind and family.
    const fn bits(&self) -> u32 {
        let family = match self.af {
            Af::Inet => 0,
            Af::Inet6 => 1,
        };
        (self.kind as u32) << 1 | family
    }

    fn of_bits(bits: u16, owner: u64, address: Address) -> Option<Self> {
        let kind = *Kind::ALL.get(usize::from(bits >> 1))?;
        let af = if bits & 1 == 0 { Af::Inet } else { Af::Inet6 };
        Some(Self { kind, owner, af, address, endpoint: 0 })
    }
}
