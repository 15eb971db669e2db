//! What is known of what the dataplane keeps beside states, and of limits.

use ruleset::LimitHit;
use serde::{Deserialize, Serialize};

/// What is known of source nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Source nodes now.
    pub current: u64,
    /// Searches for one.
    pub searches: u64,
    /// Source nodes made.
    pub inserts: u64,
    /// Source nodes that have gone.
    pub removals: u64,
}

/// How often a limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitCount {
    /// The limit.
    pub limit: LimitHit,
    /// How often.
    pub count: u64,
}

/// What is known of datagrams that came in fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FragmentStatus {
    /// Fragments that wait now.
    pub waiting: u64,
    /// Datagrams that they are of.
    pub datagrams: u64,
    /// Searches for the datagram of a fragment.
    pub searches: u64,
    /// Datagrams of which a fragment came.
    pub inserts: u64,
    /// Datagrams that were put together or given up.
    pub removals: u64,
}
