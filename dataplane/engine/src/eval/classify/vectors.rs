//! Sets of rules as bit vectors, of which equal parts are kept once.
//!
//! Overview: a vector is a tree. Its leaves are [`LEAF_BITS`] bits, a cache line; a node is the numbers of [`FAN_OUT`]
//! leaves or nodes below it, a cache line as well. Leaf 0 and node 0 are empty, so that an intersection leaves out what is
//! empty in any of its vectors without looking below. Vectors of neighbouring intervals differ in a rule or two: they share
//! all but the way to those.
//! Life cycle: a [`Weaver`] makes them while a ruleset is compiled, then they are read only.
//! Bounds: a vector that differs in one bit from one that is there takes at most one leaf and one node of each level.

use core::hash::BuildHasher;
use core::ops::ControlFlow;

use hashbrown::{DefaultHashBuilder, HashTable};

const WORDS: usize = 8;
/// Rules in a leaf.
const LEAF_BITS: usize = WORDS * 64;
const FAN_OUT: usize = 16;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(align(64))]
struct Leaf([u64; WORDS]);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(align(64))]
struct Node([u32; FAN_OUT]);

const _: () = assert!(size_of::<Leaf>() == 64 && size_of::<Node>() == 64);

/// A vector, by the number of its topmost leaf or node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vector(u32);

/// How large vectors of so many bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// Levels of nodes above the leaves.
    levels: u32,
    /// All bits are in one word.
    is_word: bool,
}

impl Size {
    pub fn of(bits: usize) -> Self {
        let (mut levels, mut room) = (0, LEAF_BITS);
        while room < bits {
            levels += 1;
            room *= FAN_OUT;
        }
        Self { levels, is_word: bits <= 64 }
    }

    /// True if vectors fit a word.
    #[inline]
    pub const fn is_word(self) -> bool {
        self.is_word
    }
}

/// The vectors of a ruleset.
#[derive(Debug)]
pub(super) struct Vectors {
    leaves: Vec<Leaf>,
    nodes: Vec<Node>,
    /// By node: what below it is not empty, a bit each.
    filled: Vec<u16>,
}

impl Vectors {
    /// The intersection of vectors of at most 64 bits, from all `bits` on.
    #[inline(always)]
    pub fn word(&self, bits: usize) -> Word<'_> {
        let word = u64::MAX.checked_shr(64 - bits as u32).unwrap_or(0);
        Word { vectors: self, word }
    }

    /// The intersection of vectors of at most 64 bits, from some on.
    #[inline(always)]
    pub const fn word_of(&self, bits: u64) -> Word<'_> {
        Word { vectors: self, word: bits }
    }

    /// Visits the bits that are set in all of `vectors`, of which there is at least one: lowest first, or `BACK` from the
    /// highest.
    #[inline]
    pub fn visit_common<const BACK: bool>(
        &self,
        size: Size,
        vectors: &[Vector],
        see: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if vectors.contains(&Vector::default()) {
            return ControlFlow::Continue(());
        }
        match size.levels {
            0 => self.visit_leaves::<BACK>(vectors, 0, see),
            levels => self.visit_nodes::<BACK>(levels, vectors, 0, see),
        }
    }

    fn visit_nodes<const BACK: bool>(
        &self,
        level: u32,
        vectors: &[Vector],
        base: usize,
        see: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let size = LEAF_BITS * FAN_OUT.pow(level - 1);
        let common = |filled, vector: &Vector| filled & u64::from(self.filled[vector.0 as usize]);
        let mut filled = vectors.iter().fold(u64::MAX, common);
        while let Some(at) = take_bit::<BACK>(&mut filled) {
            let mut below = Together::default();
            vectors.iter().for_each(|vector| below.meet(Vector(self.nodes[vector.0 as usize].0[at])));
            let (below, base) = (below.vectors(), base + at * size);
            match level {
                1 => self.visit_leaves::<BACK>(below, base, see)?,
                _ => self.visit_nodes::<BACK>(level - 1, below, base, see)?,
            }
        }
        ControlFlow::Continue(())
    }

    #[inline]
    fn visit_leaves<const BACK: bool>(
        &self,
        vectors: &[Vector],
        base: usize,
        see: &mut impl FnMut(usize) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut common = [u64::MAX; WORDS];
        for vector in vectors {
            for (common, word) in common.iter_mut().zip(&self.leaves[vector.0 as usize].0) {
                *common &= word;
            }
        }
        // Most leaves have nothing in common.
        if common.iter().fold(0, |any, word| any | word) == 0 {
            return ControlFlow::Continue(());
        }
        for at in 0..WORDS {
            let at = if BACK { WORDS - 1 - at } else { at };
            visit_word::<BACK>(common[at], base + at * 64, see)?;
        }
        ControlFlow::Continue(())
    }

    /// Bytes that the vectors take.
    #[cfg(test)]
    pub const fn bytes(&self) -> usize {
        self.leaves.len() * size_of::<Leaf>() + self.nodes.len() * (size_of::<Node>() + size_of::<u16>())
    }
}

#[inline(always)]
fn visit_word<const BACK: bool>(
    mut word: u64,
    base: usize,
    see: &mut impl FnMut(usize) -> ControlFlow<()>,
) -> ControlFlow<()> {
    while let Some(at) = take_bit::<BACK>(&mut word) {
        see(base + at)?;
    }
    ControlFlow::Continue(())
}

/// Clears a bit, the lowest or the highest, and returns its number; `None` if there is none.
#[inline(always)]
const fn take_bit<const BACK: bool>(word: &mut u64) -> Option<usize> {
    if *word == 0 {
        return None;
    }
    let at = if BACK { 63 - word.leading_zeros() } else { word.trailing_zeros() };
    *word &= !(1 << at);
    Some(at as usize)
}

/// What is common to some vectors of at most 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a> {
    vectors: &'a Vectors,
    word: u64,
}

impl Word<'_> {
    #[inline(always)]
    pub fn meet(&mut self, vector: Vector) {
        self.word &= self.vectors.leaves[vector.0 as usize].0[0];
    }

    /// Its bits.
    pub const fn bits(&self) -> u64 {
        self.word
    }

    /// Those of its bits that are among `some`, and the others.
    #[inline(always)]
    pub const fn split(self, some: u64) -> (Self, Self) {
        (Self { word: self.word & some, ..self }, Self { word: self.word & !some, ..self })
    }

    /// Visits the bits, as [`Vectors::visit_common`].
    #[inline(always)]
    pub fn visit<const BACK: bool>(self, see: &mut impl FnMut(usize) -> ControlFlow<()>) -> ControlFlow<()> {
        visit_word::<BACK>(self.word, 0, see)
    }
}

/// The most vectors that are intersected.
const MOST_TOGETHER: usize = 8;

/// Larger vectors that are to be intersected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Together {
    vectors: [Vector; MOST_TOGETHER],
    count: usize,
}

impl Together {
    #[inline(always)]
    pub fn meet(&mut self, vector: Vector) {
        self.vectors[self.count] = vector;
        self.count += 1;
    }

    #[inline(always)]
    pub fn vectors(&self) -> &[Vector] {
        &self.vectors[..self.count]
    }
}

/// Makes vectors, and knows those that there are.
#[derive(Debug)]
pub(super) struct Weaver {
    vectors: Vectors,
    leaves: HashTable<u32>,
    nodes: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Weaver {
    pub fn new() -> Self {
        Self {
            vectors: Vectors {
                leaves: vec![Leaf::default()],
                nodes: vec![Node::default()],
                filled: Vec::new(),
            },
            leaves: HashTable::new(),
            nodes: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }

    pub fn finish(mut self) -> Vectors {
        self.vectors.leaves.shrink_to_fit();
        self.vectors.nodes.shrink_to_fit();
        let filled = |node: &Node| (0..FAN_OUT).fold(0, |mask, at| mask | u16::from(node.0[at] != 0) << at);
        self.vectors.filled = self.vectors.nodes.iter().map(filled).collect();
        self.vectors
    }

    fn leaf(&mut self, leaf: &Leaf) -> u32 {
        intern(&mut self.leaves, &mut self.vectors.leaves, &self.hasher, leaf)
    }

    fn node(&mut self, node: &Node) -> u32 {
        intern(&mut self.nodes, &mut self.vectors.nodes, &self.hasher, node)
    }
}

/// The number of `value`, which is stored if it was not; 0 is the empty one's.
fn intern<T: Copy + Default + Eq + core::hash::Hash>(
    known: &mut HashTable<u32>,
    stored: &mut Vec<T>,
    hasher: &DefaultHashBuilder,
    value: &T,
) -> u32 {
    if *value == T::default() {
        return 0;
    }
    let hash = hasher.hash_one(value);
    if let Some(number) = known.find(hash, |number| stored[*number as usize] == *value) {
        return *number;
    }
    let number = stored.len() as u32;
    stored.push(*value);
    known.insert_unique(hash, number, |number| hasher.hash_one(stored[*number as usize]));
    number
}

/// A vector that changes from one to the next, and is stored from time to time.
#[derive(Debug)]
pub(super) struct Loom {
    leaves: Vec<Leaf>,
    /// Leaves that changed since the vector was stored.
    changed: Vec<usize>,
    /// The numbers of the leaves as they were stored, and on top of them of the nodes of each level.
    levels: Vec<Vec<u32>>,
}

impl Loom {
    /// The empty vector of so many bits.
    pub fn new(bits: usize) -> Self {
        let leaves = bits.div_ceil(LEAF_BITS).max(1);
        let depth = Size::of(bits).levels;
        let sizes = core::iter::successors(Some(leaves), |size| Some(size.div_ceil(FAN_OUT)));
        let levels = sizes.take(depth as usize + 1).map(|size| vec![0; size]).collect();
        Self { leaves: vec![Leaf::default(); leaves], changed: Vec::new(), levels }
    }

    /// Sets a bit that is not set, or the other way round.
    pub fn flip(&mut self, bit: usize) {
        let at = bit / LEAF_BITS;
        self.leaves[at].0[bit % LEAF_BITS / 64] ^= 1 << (bit % 64);
        self.changed.push(at);
    }

    /// The vector as it is now.
    pub fn store(&mut self, weaver: &mut Weaver) -> Vector {
        let mut changed = core::mem::take(&mut self.changed);
        changed.sort_unstable();
        changed.dedup();
        for at in &changed {
            self.levels[0][*at] = weaver.leaf(&self.leaves[*at]);
        }
        for level in 1..self.levels.len() {
            changed.iter_mut().for_each(|at| *at /= FAN_OUT);
            changed.dedup();
            for at in &changed {
                let below = self.levels[level - 1].iter().skip(at * FAN_OUT).take(FAN_OUT);
                let mut node = Node::default();
                node.0.iter_mut().zip(below).for_each(|(own, below)| *own = *below);
                self.levels[level][*at] = weaver.node(&node);
            }
        }
        changed.clear();
        self.changed = changed;
        Vector(self.levels.last().map_or(0, |top| top[0]))
    }
}
