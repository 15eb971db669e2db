//! `set ruleset-optimization basic`: fewer rules, and an order in which more of them are skipped, of the same meaning.
//!
//! Overview: neighbours that do the same to a packet that they match form a block (`block`): within it, order and
//! repetition mean nothing. In each block, rules that another one covers are removed (`cover`), six and more that differ
//! in one address only become one with a table (`combine`), and the rest is put in an order with long skip steps
//! (`reorder`). Rules with a label or limits of their own are never touched. Bounds: quadratic in the rules of one block, of [`COMPARED`] at most.
//!
//! Deviation: pf loses rules here that say something of their own. What two rules do to a packet is compared whole, so
//! that `scrub (max-mss 1)` is no copy of `scrub (min-ttl 2)` (test: rules_that_differ_in_one_part_both_stay), and
//! negated addresses are neither put into a table nor taken for parts of each other (test: negated_addresses_stay).

mod block;
mod combine;
mod cover;
mod reorder;

pub(crate) use cover::covers;

use std::fmt;
use std::str::FromStr;

use crate::config::{Config, Entry, FullRule};

/// The most rules of a block that are compared with each other: a block of more stays as it is written.
const COMPARED: usize = 16_384;

/// How far a ruleset is rewritten before it is loaded (`set ruleset-optimization`, `pfctl -o`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimize {
    /// Not at all.
    None,
    /// Rules that say nothing new are left out, those that differ in one address share a table, the others are put in an
    /// order in which more of them are skipped.
    #[default]
    Basic,
    /// As `basic`: the order of quick rules does not follow their counters.
    Profile,
}

/// The word is not a level of optimization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownLevel;

impl FromStr for Optimize {
    type Err = UnknownLevel;

    fn from_str(word: &str) -> Result<Self, UnknownLevel> {
        match word {
            "none" => Ok(Self::None),
            "basic" => Ok(Self::Basic),
            "profile" => Ok(Self::Profile),
            _ => Err(UnknownLevel),
        }
    }
}

impl fmt::Display for Optimize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Basic => "basic",
            Self::Profile => "profile",
        })
    }
}

impl fmt::Display for UnknownLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("known are none, basic, profile")
    }
}

impl std::error::Error for UnknownLevel {}

impl Config {
    /// Rewrites the rules to fewer ones of the same meaning, in a better order: as far as `level` says, else as far as
    /// the ruleset itself does, else as far as pfctl does, `basic`.
    pub fn optimize(&mut self, level: Option<Optimize>) {
        if level.or(self.optimize).unwrap_or_default() == Optimize::None {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        self.entries = self.optimized(entries);
        for (path, entries) in std::mem::take(&mut self.loaded) {
            let entries = self.optimized(entries);
            self.loaded.push((path, entries));
        }
    }

    fn optimized(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut done = Vec::with_capacity(entries.len());
        let mut run: Vec<FullRule> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Rule(rule) => run.push(rule),
                Entry::Anchor(mut anchor) => {
                    self.optimize_run(&mut run, &mut done);
                    anchor.body = anchor.body.map(|body| self.optimized(body));
                    done.push(Entry::Anchor(anchor));
                }
            }
        }
        self.optimize_run(&mut run, &mut done);
        done
    }

    /// Rules between two anchors.
    fn optimize_run(&mut self, run: &mut Vec<FullRule>, done: &mut Vec<Entry>) {
        for mut block in block::blocks(std::mem::take(run)) {
            if (2..=COMPARED).contains(&block.len()) {
                cover::remove(&mut block);
                combine::combine(&mut block, self);
                reorder::reorder(&mut block);
            }
            done.extend(block.into_iter().map(|candidate| Entry::Rule(candidate.full)));
        }
    }
}
