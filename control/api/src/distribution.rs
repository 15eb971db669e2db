//! Distributions: how often values fell between bounds that both sides know.

use serde::{Deserialize, Serialize};

/// Bounds of the sizes of bursts, in packets.
pub const BURST_BOUNDS: [u64; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Bounds of the time that packets spend in a worker, in nanoseconds: from a microsecond to 100 ms.
pub const LATENCY_BOUNDS_NS: [u64; 15] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    100_000_000,
];

/// How values are distributed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// For each bound the values that are not above it, but above the bound before; last, those above every bound.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}
