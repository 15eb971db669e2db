//! The names and places of counters.

use std::collections::HashSet;

use crate::error::{Error, Result};

/// Most blocks in a segment.
pub const BLOCKS_MAX: usize = 1 << 12;
/// Most counters in a segment, in all blocks.
pub const COUNTERS_MAX: usize = 1 << 20;
/// Longest name, in bytes; the shortest has one.
pub const NAME_BYTES_MAX: usize = 255;

/// Blocks start at multiples of two cache lines, since processors fetch lines in pairs.
pub(crate) const BLOCK_ALIGN: usize = 128;
/// Size of a counter.
pub(crate) const COUNTER_BYTES: usize = size_of::<u64>();

/// Which blocks there are, and the counters of each, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    blocks: Vec<BlockLayout>,
}

/// The names of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLayout {
    name: String,
    counters: Vec<String>,
}

impl BlockLayout {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its counters, in order.
    pub fn counters(&self) -> &[String] {
        &self.counters
    }

    /// Where the counter stands in the block.
    pub fn position(&self, counter: &str) -> Option<usize> {
        self.counters.iter().position(|name| name == counter)
    }
}

impl Layout {
    /// No block yet.
    pub fn new() -> Layout {
        Layout::default()
    }

    /// Adds a block. Names are distinct: those of blocks in the segment, those of counters in the block.
    pub fn block<N: Into<String>>(
        mut self,
        name: &str,
        counters: impl IntoIterator<Item = N>,
    ) -> Result<Layout> {
        let counters: Vec<String> = counters.into_iter().map(Into::into).collect();
        let refuse = |why: &str| Err(Error::Layout(format!("block {name:?}: {why}")));
        if self.blocks.iter().any(|block| block.name == name) {
            return refuse("the name is taken");
        }
        if self.blocks.len() == BLOCKS_MAX {
            return refuse(&format!("a segment holds at most {BLOCKS_MAX} blocks"));
        }
        if self.counter_count() + counters.len() > COUNTERS_MAX {
            return refuse(&format!("a segment holds at most {COUNTERS_MAX} counters"));
        }
        let names = std::iter::once(name).chain(counters.iter().map(String::as_str));
        if let Some(bad) = names.into_iter().find(|name| !(1..=NAME_BYTES_MAX).contains(&name.len())) {
            return refuse(&format!("{bad:?} is not a name of 1 to {NAME_BYTES_MAX} bytes"));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = counters.iter().find(|name| !seen.insert(name.as_str())) {
            return refuse(&format!("the counter {twice:?} appears twice"));
        }
        self.blocks.push(BlockLayout { name: name.to_owned(), counters });
        Ok(self)
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &[BlockLayout] {
        &self.blocks
    }

    /// Where the block stands in the segment.
    pub fn position(&self, block: &str) -> Option<usize> {
        self.blocks.iter().position(|b| b.name == block)
    }

    fn counter_count(&self) -> usize {
        self.blocks.iter().map(|block| block.counters.len()).sum()
    }

    /// Where each block starts, counted from the start of the first, and where the last ends. Bounded by the maxima.
    pub(crate) fn offsets(&self) -> (Vec<usize>, usize) {
        let mut end = 0;
        let mut starts = Vec::with_capacity(self.blocks.len());
        for block in &self.blocks {
            starts.push(end);
            end += (block.counters.len() * COUNTER_BYTES).next_multiple_of(BLOCK_ALIGN);
        }
        (starts, end)
    }
}
