//! What packets have met at a hook: a state, which waits for the commit, one that was made, or none.
//!
//! Life cycle: from the hook where a packet has passed to its end. Ownership: the packet under way. Bounds: none.

use ruleset::Timeout;

use super::Flow;
use crate::state::{KeyHash, RecordId, Side};
use crate::track::Peer;

/// What a checked packet will do to its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub record: RecordId,
    /// Of the record's own key.
    pub hash: KeyHash,
    /// The side of the record that the packet comes from.
    pub sender: Side,
    /// The side of the face that the packet met.
    pub side: Side,
    /// What the ends become, the sender first; `None` for what only counts.
    pub peers: Option<(Peer, Peer)>,
    /// The new time-out class; `None` leaves the timer alone.
    pub refresh: Option<Timeout>,
    /// It completes the handshake.
    pub completes: bool,
}

impl Pending {
    /// Of a packet of a record's flow.
    pub const fn new(
        record: RecordId,
        flow: &Flow,
        side: Side,
        peers: Option<(Peer, Peer)>,
        refresh: Option<Timeout>,
    ) -> Self {
        let Flow { hash, sender, .. } = *flow;
        Self { record, hash, sender, side, peers, refresh, completes: false }
    }
}

/// What a packet that passed a hook met there.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) enum Passed {
    /// A state, which waits for the commit.
    State(Pending),
    /// The state that the other hook has checked: one record has both faces.
    Shared,
    /// A state was made, and has counted the packet.
    Made(RecordId),
    /// A rule without state, or an interface that is skipped.
    Stateless,
}

impl Passed {
    /// The record of a state that was there before.
    pub const fn found(&self) -> Option<RecordId> {
        match self {
            Self::State(pending) => Some(pending.record),
            _ => None,
        }
    }

    pub const fn record(&self) -> Option<RecordId> {
        match self {
            Self::State(pending) => Some(pending.record),
            Self::Made(record) => Some(*record),
            Self::Shared | Self::Stateless => None,
        }
    }
}
