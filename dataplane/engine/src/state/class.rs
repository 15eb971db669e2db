//! Classes: what faces have in common, kept once.
//!
//! Overview: states never point into a ruleset. A face refers to a [`Class`] (its rule's slot, interface, direction, tag, gateway,
//! terms), and a record to a pair of classes, by one number. Both are hash-consed and counted; a slot lives as long as a root
//! or a class refers to it, so states survive reloads with what they were made with.
//! Ownership: one shard. Bounds: [`PAIRS_MAX`] pairs; a state that would need more is refused (reason `memory`).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashMap;
use ruleset::Direction;

use super::credit::StatePool;
use super::gateway::{GatewayId, Gateways};
use super::key::Side;
use super::limit::{RuleLimit, RuleLimits};
use super::record::PairId;
use super::terms::{AllTerms, Beside, Terms, TermsId};
use crate::eval::{ByHook, Counted, RuleSlot, Tag};
use crate::fib::InterfaceId;
use crate::pool::Target;

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
    /// Where some of its packets leave by.
    pub gateway: Option<GatewayId>,
    /// What it was made under beside its rule.
    pub terms: Option<TermsId>,
}

impl Class {
    /// True if a face of this class takes packets of `interface`.
    #[inline]
    pub fn takes(&self, interface: InterfaceId) -> bool {
        self.interface.is_none_or(|own| own == interface)
    }

    /// The side whose packet made a face of this class that is at `side`: an IN hook sees its sender on its own side, an OUT
    /// hook its receiver.
    pub const fn maker(&self, side: Side) -> Side {
        match self.direction {
            Direction::In => side,
            Direction::Out => side.other(),
        }
    }

    pub const fn sketch(&self) -> Sketch<'_> {
        let Self { ref rule, interface, direction, tag, gateway, terms } = *self;
        Sketch { rule, interface, direction, tag, gateway, terms }
    }
}

/// A class that need not be kept yet: asking for one that there is counts no reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sketch<'a> {
    pub rule: &'a Arc<RuleSlot>,
    pub interface: Option<InterfaceId>,
    pub direction: Direction,
    pub tag: Tag,
    pub gateway: Option<GatewayId>,
    pub terms: Option<TermsId>,
}

impl Sketch<'_> {
    fn to_class(self) -> Class {
        let Self { rule, interface, direction, tag, gateway, terms } = self;
        Class { rule: rule.clone(), interface, direction, tag, gateway, terms }
    }

    #[inline(always)]
    fn identity(&self) -> Identity {
        let interface = self.interface.map_or(0, |interface| u64::from(interface.0) + 1);
        let gateway = self.gateway.map_or(0, |gateway| u64::from(gateway.0) + 1);
        let terms = self.terms.map_or(0, |terms| u64::from(terms.0) + 1);
        let rest = terms << 51
            | gateway << 34
            | interface << 17
            | u64::from(self.tag.0) << 1
            | self.direction as u64;
        Identity { slot: self.rule.serial, rest }
    }
}

/// What tells classes apart: no two slots have the same serial, and none has 0. In two numbers, so that which faces a
/// record has (as good as random, where ends are on either side alike) is compared without a branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Identity {
    slot: u64,
    /// Terms, gateway, interface, tag, direction.
    rest: u64,
}

/// No face.
const NONE: Identity = Identity { slot: 0, rest: 0 };

/// The faces of a record, by side.
pub(crate) type Faces = [Option<Class>; 2];

/// By side; [`NONE`] where there is no face.
type PairIdentity = [Identity; 2];

#[derive(Debug)]
struct Pair {
    faces: Faces,
    identity: PairIdentity,
    /// A face is bound to an interface.
    is_bound: bool,
    /// A face is of a rule with `max-pkt-rate`.
    is_metered: bool,
    /// 0: it rests, or its place is free.
    records: u32,
    /// It is in the list of those that may rest.
    listed: bool,
    /// The pair that a record of this one was given last in exchange.
    onward: u32,
}

/// What every packet reads and writes of a pair. Counts are by the side that packets come from.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct Tally {
    packets: [u64; 2],
    // Between the two, which are added to faster apart.
    lifetime: Lifetime,
    bytes: [u64; 2],
}

impl Tally {
    #[inline(always)]
    pub const fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// Counts a packet from `sender`.
    #[inline(always)]
    pub const fn count(&mut self, sender: Side, bytes: u32) {
        let at = sender.index();
        self.packets[at] = self.packets[at].wrapping_add(1);
        self.bytes[at] = self.bytes[at].wrapping_add(bytes as u64);
    }

    /// Gives what was counted to the rules of these faces.
    #[cold]
    fn retire(&self, faces: &Faces, terms: &AllTerms) {
        for (side, class) in Side::BOTH.into_iter().zip(faces) {
            for rule in class.iter().flat_map(|class| rules(class, terms)) {
                rule.retire(&self.at(side));
            }
        }
    }

    /// As if a packet that was counted had not been.
    const fn take_back(&mut self, sender: Side, bytes: u32) {
        let at = sender.index();
        self.packets[at] = self.packets[at].wrapping_sub(1);
        self.bytes[at] = self.bytes[at].wrapping_sub(bytes as u64);
    }

    /// What the face at `side` has seen at each hook: what its side sent came in, what the other sent went out.
    fn at(&self, side: Side) -> ByHook {
        [side, side.other()].map(|sender| {
            let at = sender.index();
            Counted { packets: self.packets[at], bytes: self.bytes[at] }
        })
    }
}

/// How long the states of a pair live without packets, in seconds before adaptive scaling: the shorter time of the two
/// faces, where their connection is established. Meaningful while a record of the pair remembers a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub tcp: u32,
    pub udp: u32,
}

/// Too many combinations of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyClasses;

/// Every pair-class of a shard. A pair that no record has any more rests for a while before its place is free: while
/// connections are made, the pair of their first face alone comes and goes with each of them.
#[derive(Debug)]
pub(crate) struct Pairs {
    pairs: Vec<Pair>,
    /// By the same numbers.
    tallies: Vec<Tally>,
    free: Vec<u32>,
    numbers: HashMap<PairIdentity, u32>,
    /// By side of the first face, without and with a second one: the pair that was asked for last.
    recent: [[u32; 2]; 2],
    /// Pairs that came to rest, the oldest first; some have records again.
    resting: VecDeque<u32>,
    /// Live pairs with a face that is bound to an interface.
    bound: u32,
    gateways: Gateways,
    terms: AllTerms,
    /// Live pairs with a face of a rule with `max-pkt-rate`.
    metered: u32,
    pub(super) limits: RuleLimits,
}

/// The rules that count the packets of a class: the one that made it, and the `match` rules that took part.
fn rules<'a>(class: &'a Class, terms: &'a AllTerms) -> impl Iterator<Item = &'a RuleSlot> {
    let matched = class.terms.into_iter().flat_map(|id| terms.get(id).matched());
    core::iter::once(&*class.rule).chain(matched)
}

/// The most pairs that rest.
const RESTING_MAX: usize = 32;

fn is_bound(faces: &Faces) -> bool {
    faces.iter().flatten().any(|class| class.interface.is_some())
}

fn gateways_of(faces: &Faces) -> impl Iterator<Item = GatewayId> {
    faces.iter().flatten().filter_map(|class| class.gateway)
}

/// `max` of the faces' rules.
fn limited(faces: &Faces) -> impl Iterator<Item = (&RuleLimit, Side)> {
    let limits = faces.iter().map(|face| face.as_ref()?.rule.limit.as_ref());
    limits.zip(Side::BOTH).filter_map(|(limit, side)| Some((limit?, side)))
}

fn is_metered(faces: &Faces) -> bool {
    faces.iter().flatten().any(|class| class.rule.meter.is_some())
}

/// True if a record with one pair may have the other: both are of the same classes.
#[inline]
fn are_same(a: &PairIdentity, b: &PairIdentity) -> bool {
    let differ = |side: usize| (a[side].slot ^ b[side].slot) | (a[side].rest ^ b[side].rest);
    differ(0) | differ(1) == 0
}

impl Pairs {
    /// Those of one of the shards between which `pool` is.
    pub fn new(pool: StatePool) -> Self {
        Self {
            pairs: Vec::with_capacity(PAIRS_RESERVED),
            tallies: Vec::with_capacity(PAIRS_RESERVED),
            free: Vec::with_capacity(PAIRS_RESERVED),
            numbers: HashMap::with_capacity(PAIRS_RESERVED),
            recent: [[0; 2]; 2],
            resting: VecDeque::with_capacity(RESTING_MAX + 1),
            bound: 0,
            gateways: Gateways::default(),
            terms: AllTerms::new(),
            metered: 0,
            limits: RuleLimits::new(pool, PAIRS_RESERVED),
        }
    }

    /// The number of a gateway, for a class.
    ///
    /// # Errors
    /// [`TooManyClasses`]: there are too many gateways.
    pub fn number(&mut self, gateway: Target) -> Result<GatewayId, TooManyClasses> {
        self.gateways.number(gateway).ok_or(TooManyClasses)
    }

    /// The terms of a state, for a class; `None` where there are none.
    ///
    /// # Errors
    /// [`TooManyClasses`]: there are too many terms.
    #[inline]
    pub fn terms(&mut self, beside: &Beside<'_>) -> Result<Option<TermsId>, TooManyClasses> {
        if beside.is_nothing() {
            return Ok(None);
        }
        self.terms.number(beside).map(Some).ok_or(TooManyClasses)
    }

    /// The gateway of this number, which a class of a live pair has.
    pub fn gateway(&self, id: GatewayId) -> Target {
        self.gateways.get(id)
    }

    /// The terms of this number.
    pub fn terms_at(&self, id: TermsId) -> &Terms {
        self.terms.get(id)
    }

    /// The terms of a class of a live pair, if it has some.
    #[inline]
    pub fn terms_of(&self, class: &Class) -> Option<&Terms> {
        class.terms.map(|id| self.terms.get(id))
    }

    /// True if packets of a class never go the short way, which does no more than most of them need.
    pub fn meets_each_packet(&self, class: &Class) -> bool {
        class.rule.meets_each_packet() || self.terms_of(class).is_some_and(Terms::meets_each_packet)
    }

    /// True if no face of any record is bound to an interface.
    #[inline]
    pub const fn all_float(&self) -> bool {
        self.bound == 0
    }

    /// True if any face is of a rule with `max-pkt-rate`.
    #[inline]
    pub const fn are_metered(&self) -> bool {
        self.metered > 0
    }

    /// How many records have a pair.
    pub(super) fn records(&self, number: u32) -> u32 {
        self.pairs[number as usize].records
    }

    /// Takes a credit for one more state of a rule.
    pub fn take(&mut self, limit: &RuleLimit) -> bool {
        let Self { limits, pairs, .. } = self;
        limits.take(limit, |number| pairs[number as usize].records)
    }

    /// Gives back credits that other shards may need.
    #[inline]
    pub fn settle_limits(&mut self) {
        let Self { limits, pairs, .. } = self;
        if !limits.is_empty() {
            limits.settle(|number| pairs[number as usize].records);
        }
    }

    /// The number of the pair that has one face, at `side`, or another one besides. One more record has it from now on.
    ///
    /// # Errors
    /// [`TooManyClasses`]; nothing was changed.
    #[inline(always)]
    pub fn acquire(
        &mut self,
        side: Side,
        face: Sketch<'_>,
        other: Option<Sketch<'_>>,
    ) -> Result<PairId, TooManyClasses> {
        let mut wanted = [NONE; 2];
        wanted[side.index()] = face.identity();
        // Not by `map_or`, which is a call that takes it from memory.
        wanted[side.other().index()] = match &other {
            Some(other) => other.identity(),
            None => NONE,
        };
        let (at, many) = (side.index(), usize::from(other.is_some()));
        let number = match self.seek(self.recent[at][many], &wanted) {
            Some(number) => number,
            None => {
                let mut faces = [None, None];
                faces[at] = Some(face.to_class());
                faces[side.other().index()] = other.map(Sketch::to_class);
                self.make(faces, wanted)?
            }
        };
        self.recent[at][many] = number;
        Ok(self.join(number))
    }

    /// The number of the pair that differs from `old` in the face at `side`. One record more has it, and one less the old
    /// one.
    ///
    /// # Errors
    /// [`TooManyClasses`]; nothing was changed.
    pub fn exchange(
        &mut self,
        old: PairId,
        side: Side,
        face: Option<Sketch<'_>>,
    ) -> Result<PairId, TooManyClasses> {
        let new = self.take_instead(old, side, face)?;
        self.release(old);
        Ok(new)
    }

    /// As [`exchange`](Self::exchange), for a record whose first packet, of so many bytes from its sender, was counted with
    /// `old` and meets the second face: it counts for the new pair instead.
    ///
    /// # Errors
    /// As [`exchange`](Self::exchange).
    pub fn complete(
        &mut self,
        old: PairId,
        side: Side,
        face: Sketch<'_>,
        (sender, bytes): (Side, u32),
    ) -> Result<PairId, TooManyClasses> {
        let new = self.take_instead(old, side, Some(face))?;
        // Before the old pair is released: what it has counted then goes to what all shards share.
        self.tallies[old.0 as usize].take_back(sender, bytes);
        self.count(new, sender, bytes);
        self.release(old);
        Ok(new)
    }

    fn take_instead(
        &mut self,
        old: PairId,
        side: Side,
        face: Option<Sketch<'_>>,
    ) -> Result<PairId, TooManyClasses> {
        let pair = &self.pairs[old.0 as usize];
        let mut wanted = pair.identity;
        wanted[side.index()] = face.as_ref().map_or(NONE, Sketch::identity);
        let number = match self.seek(pair.onward, &wanted) {
            Some(number) => number,
            None => {
                let mut faces = pair.faces.clone();
                faces[side.index()] = face.map(Sketch::to_class);
                self.make(faces, wanted)?
            }
        };
        self.pairs[old.0 as usize].onward = number;
        Ok(self.join(number))
    }

    #[inline(always)]
    fn seek(&self, guess: u32, wanted: &PairIdentity) -> Option<u32> {
        if self.pairs.get(guess as usize).is_some_and(|pair| are_same(&pair.identity, wanted)) {
            return Some(guess);
        }
        self.numbers.get(wanted).copied()
    }

    #[cold]
    fn make(&mut self, faces: Faces, identity: PairIdentity) -> Result<u32, TooManyClasses> {
        while self.free.is_empty() && self.pairs.len() >= PAIRS_MAX {
            let Some(number) = self.resting.pop_front() else { return Err(TooManyClasses) };
            self.end_rest(number);
        }
        for gateway in gateways_of(&faces) {
            self.gateways.hold(gateway);
        }
        for terms in faces.iter().flatten().filter_map(|class| class.terms) {
            self.terms.hold(terms);
        }
        let (is_bound, is_metered) = (is_bound(&faces), is_metered(&faces));
        let pair = Pair { faces, identity, is_bound, is_metered, records: 0, listed: false, onward: 0 };
        let number = match self.free.pop() {
            Some(number) => {
                self.pairs[number as usize] = pair;
                self.tallies[number as usize] = Tally::default();
                number
            }
            None => {
                self.pairs.push(pair);
                self.tallies.push(Tally::default());
                (self.pairs.len() - 1) as u32
            }
        };
        self.numbers.insert(identity, number);
        let faces = &self.pairs[number as usize].faces;
        limited(faces).for_each(|(limit, side)| self.limits.note(limit, number, side));
        Ok(number)
    }

    #[inline(always)]
    fn join(&mut self, number: u32) -> PairId {
        let pair = &mut self.pairs[number as usize];
        if pair.records == 0 {
            self.bound += u32::from(pair.is_bound);
            self.metered += u32::from(pair.is_metered);
        }
        pair.records += 1;
        PairId(number)
    }

    /// One record less has this pair.
    pub fn release(&mut self, id: PairId) {
        let pair = &mut self.pairs[id.0 as usize];
        pair.records -= 1;
        if pair.records > 0 {
            return;
        }
        self.bound -= u32::from(pair.is_bound);
        self.metered -= u32::from(pair.is_metered);
        let tally = &mut self.tallies[id.0 as usize];
        if tally.packets != [0; 2] {
            // What was counted is the rules' for good.
            std::mem::take(tally).retire(&pair.faces, &self.terms);
        }
        if !std::mem::replace(&mut pair.listed, true) {
            self.resting.push_back(id.0);
        }
        if self.resting.len() > RESTING_MAX
            && let Some(oldest) = self.resting.pop_front()
        {
            self.end_rest(oldest);
        }
    }

    /// Frees the place of a pair, unless records have it again.
    fn end_rest(&mut self, number: u32) {
        let pair = &mut self.pairs[number as usize];
        pair.listed = false;
        if pair.records > 0 {
            return;
        }
        limited(&pair.faces).for_each(|(limit, side)| self.limits.forget(limit, number, side));
        // Taking the faces lets go of the rules' slots.
        let faces = std::mem::take(&mut pair.faces);
        for gateway in gateways_of(&faces) {
            self.gateways.let_go(gateway);
        }
        for terms in faces.iter().flatten().filter_map(|class| class.terms) {
            self.terms.let_go(terms);
        }
        let identity = std::mem::take(&mut pair.identity);
        self.numbers.remove(&identity);
        self.free.push(number);
    }

    #[inline]
    pub fn faces(&self, id: PairId) -> &Faces {
        &self.pairs[id.0 as usize].faces
    }

    /// How many faces it has.
    #[inline]
    pub fn count_faces(&self, id: PairId) -> u32 {
        self.pairs[id.0 as usize].identity.iter().map(|identity| u32::from(identity.slot != NONE.slot)).sum()
    }

    #[inline]
    pub fn face(&self, id: PairId, side: Side) -> Option<&Class> {
        self.pairs[id.0 as usize].faces[side.index()].as_ref()
    }

    /// Counts a packet of a record with this pair.
    #[inline(always)]
    pub fn count(&mut self, id: PairId, sender: Side, bytes: u32) {
        self.tallies[id.0 as usize].count(sender, bytes);
    }

    /// The tally of a pair, if there is one with this number.
    #[inline(always)]
    pub fn tally(&mut self, id: PairId) -> Option<&mut Tally> {
        self.tallies.get_mut(id.0 as usize)
    }

    pub fn set_lifetime(&mut self, id: PairId, lifetime: Lifetime) {
        self.tallies[id.0 as usize].lifetime = lifetime;
    }

    /// How many numbers pairs have.
    pub const fn numbers(&self) -> usize {
        self.pairs.len()
    }

    /// For each face of each live pair with one of these numbers, and each of its rules: the rule's slot, the records that have
    /// it, and what they counted.
    pub fn usage(&self, numbers: Range<usize>) -> impl Iterator<Item = (&RuleSlot, u32, ByHook)> {
        let pairs = self.pairs[numbers.clone()].iter().zip(&self.tallies[numbers]);
        pairs.filter(|(pair, _)| pair.records > 0).flat_map(move |(pair, tally)| {
            let faces = Side::BOTH.into_iter().zip(&pair.faces);
            faces.flat_map(move |(side, class)| {
                let rules = class.iter().flat_map(move |class| rules(class, &self.terms));
                rules.map(move |rule| (rule, pair.records, tally.at(side)))
            })
        })
    }
}
