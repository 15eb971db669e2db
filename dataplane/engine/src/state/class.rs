//! Classes: what faces have in common, kept once.
//!
//! Overview: states never point into a ruleset. A face refers to a [`Class`] (its rule's slot, interface, direction, tag),
//! and a record to a pair of classes, by one number. Both are hash-consed and counted; a slot lives as long as a root
//! or a class refers to it, so states survive reloads with what they were made with.
//! Ownership: one shard. Bounds: [`PAIRS_MAX`] pairs; a state that would need more is refused (reason `memory`).

use std::sync::Arc;

use hashbrown::HashMap;
use ruleset::Direction;

use super::key::Side;
use super::record::PairId;
use crate::eval::{RuleSlot, Tag};
use crate::fib::InterfaceId;

/// The most combinations of classes that a shard keeps.
const PAIRS_MAX: usize = 1 << 16;

/// Memory reserved at the start for this many, so that ordinary rulesets never allocate while packets flow.
const PAIRS_RESERVED: usize = 1 << 12;

/// What a face is: one of pf's states, without what differs between connections.
#[derive(Clone, Debug)]
pub(crate) struct Class {
    /// The rule that made it.
    pub rule: Arc<RuleSlot>,
    /// The interface that it is bound to; `None` floats.
    pub interface: Option<InterfaceId>,
    /// The hook that made it.
    pub direction: Direction,
    /// The tag that its packets carry.
    pub tag: Tag,
}

impl Class {
    /// True if a face of this class takes packets of `interface`.
    #[inline]
    pub fn takes(&self, interface: InterfaceId) -> bool {
        self.interface.is_none_or(|own| own == interface)
    }

    fn identity(&self) -> ClassIdentity {
        ClassIdentity {
            slot: self.rule.serial,
            interface: self.interface,
            direction: self.direction,
            tag: self.tag,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ClassIdentity {
    slot: u64,
    interface: Option<InterfaceId>,
    direction: Direction,
    tag: Tag,
}

/// The faces of a record, by side.
pub(crate) type Faces = [Option<Class>; 2];

type PairIdentity = [Option<ClassIdentity>; 2];

#[derive(Debug)]
struct Pair {
    faces: Faces,
    records: u32,
    lifetime: Lifetime,
    counted: Counted,
}

/// How long the states of a pair live without packets, in seconds before adaptive scaling: the shorter time of the two
/// faces, where their connection is established. Meaningful while a record of the pair remembers a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub tcp: u32,
    pub udp: u32,
}

/// What the packets of a class's states add up to, of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub packets: u64,
    pub bytes: u64,
}

/// Too many combinations of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyClasses;

/// Every pair-class of a shard.
#[derive(Debug)]
pub(crate) struct Pairs {
    pairs: Vec<Pair>,
    free: Vec<u32>,
    numbers: HashMap<PairIdentity, u32>,
    /// Live pairs with a face that is bound to an interface.
    bound: u32,
}

fn is_bound(faces: &Faces) -> bool {
    faces.iter().flatten().any(|class| class.interface.is_some())
}

fn identity_of(faces: &Faces) -> PairIdentity {
    [0, 1].map(|side| faces[side].as_ref().map(Class::identity))
}

impl Pairs {
    pub fn new() -> Self {
        Self {
            pairs: Vec::with_capacity(PAIRS_RESERVED),
            free: Vec::with_capacity(PAIRS_RESERVED),
            numbers: HashMap::with_capacity(PAIRS_RESERVED),
            bound: 0,
        }
    }

    /// True if no face of any record is bound to an interface.
    #[inline]
    pub const fn all_float(&self) -> bool {
        self.bound == 0
    }

    /// The number of a pair, which one more record has from now on.
    ///
    /// # Errors
    /// [`TooManyClasses`]; nothing was changed.
    pub fn acquire(&mut self, faces: Faces) -> Result<PairId, TooManyClasses> {
        let identity = identity_of(&faces);
        if let Some(&number) = self.numbers.get(&identity) {
            self.pairs[number as usize].records += 1;
            return Ok(PairId(number));
        }
        let bound = is_bound(&faces);
        let pair = Pair { faces, records: 1, lifetime: Lifetime::default(), counted: Counted::default() };
        let number = match self.free.pop() {
            Some(number) => {
                self.pairs[number as usize] = pair;
                number
            }
            None if self.pairs.len() < PAIRS_MAX => {
                self.pairs.push(pair);
                (self.pairs.len() - 1) as u32
            }
            None => return Err(TooManyClasses),
        };
        self.numbers.insert(identity, number);
        self.bound += u32::from(bound);
        Ok(PairId(number))
    }

    /// One record less has this pair.
    pub fn release(&mut self, id: PairId) {
        let pair = &mut self.pairs[id.0 as usize];
        pair.records -= 1;
        if pair.records > 0 {
            return;
        }
        // Taking the faces lets go of the rules' slots; what was counted is theirs for good.
        let faces = std::mem::take(&mut pair.faces);
        let counted = std::mem::take(&mut pair.counted);
        self.numbers.remove(&identity_of(&faces));
        self.bound -= u32::from(is_bound(&faces));
        self.free.push(id.0);
        for class in faces.iter().flatten() {
            class.rule.retire(counted.packets, counted.bytes);
        }
    }

    #[inline]
    pub fn faces(&self, id: PairId) -> &Faces {
        &self.pairs[id.0 as usize].faces
    }

    #[inline]
    pub fn face(&self, id: PairId, side: Side) -> Option<&Class> {
        self.pairs[id.0 as usize].faces[side.index()].as_ref()
    }

    /// Counts a packet of a record with this pair.
    #[inline(always)]
    pub fn count(&mut self, id: PairId, bytes: u32) {
        let counted = &mut self.pairs[id.0 as usize].counted;
        counted.packets = counted.packets.wrapping_add(1);
        counted.bytes = counted.bytes.wrapping_add(u64::from(bytes));
    }

    #[inline(always)]
    pub fn lifetime(&self, id: PairId) -> Lifetime {
        self.pairs[id.0 as usize].lifetime
    }

    pub fn set_lifetime(&mut self, id: PairId, lifetime: Lifetime) {
        self.pairs[id.0 as usize].lifetime = lifetime;
    }

    /// For each face of each live pair: its rule's slot, the records that have it, and what they counted.
    pub fn usage(&self) -> impl Iterator<Item = (&RuleSlot, u32, Counted)> {
        self.pairs.iter().filter(|pair| pair.records > 0).flat_map(|pair| {
            pair.faces.iter().flatten().map(|class| (&*class.rule, pair.records, pair.counted))
        })
    }
}
