//! Seeds: how many a test tries, which one it is told to try, and what it prints when one fails.

use std::env;
use std::fmt::Write as _;

/// Names the one seed to run.
pub const SEED: &str = "TURNPIKE_SEED";

/// Multiplies the work of every test that runs over seeds.
pub const FACTOR: &str = "TURNPIKE_SIM_FACTOR";

/// The seeds of a test: `count` of them from `first` on, times what [`FACTOR`] says; or the one that [`SEED`] names.
///
/// # Panics
/// If either variable is no number.
pub fn seeds(first: u64, count: u64) -> impl Iterator<Item = u64> {
    let (first, count) = match number(SEED) {
        Some(seed) => (seed, 1),
        None => (first, count * number(FACTOR).unwrap_or(1)),
    };
    first..first + count
}

/// As [`seeds`], of a test with `most` of them under `deploy/test --long`, and a hundredth otherwise.
pub fn seeds_of(first: u64, most: u64) -> impl Iterator<Item = u64> {
    let long = env::var_os("TURNPIKE_LONG").is_some();
    seeds(first, if long { most } else { most / 100 })
}

/// True if a single seed is replayed, so that nothing can be said of all of them.
pub fn is_replay() -> bool {
    number(SEED).is_some()
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// What a failing test says of its seed.
pub fn report(test: &str, seed: u64, details: &str) -> String {
    let mut text = format!("{test} fails with seed {seed}\n");
    writeln!(text, "replay: {SEED}={seed} cargo test -p sim {test} -- --nocapture").expect("a String");
    text.push_str(details);
    text
}
