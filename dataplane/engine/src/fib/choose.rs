//! Which of several next hops a flow takes.
//!
//! Ownership: pure. Bounds: a pass over the hops of one route.

use super::NextHop;
use crate::Address;

/// The next hop of a flow: that of the highest weight, where each pair of a hop and a flow has a random weight of its own
/// (rendezvous hashing, RFC 2991 §4 "highest random weight"). A hop that is gone takes only its own flows with it.
#[inline]
pub(super) fn choose(hops: &[NextHop], hash: u64) -> &NextHop {
    match hops {
        [only] => only,
        _ => choose_among(hops, hash),
    }
}

fn choose_among(hops: &[NextHop], hash: u64) -> &NextHop {
    let mut best = (0, &hops[0]);
    let mut share = 0;
    for (index, hop) in hops.iter().enumerate() {
        // The shares of one hop are next to each other, and each takes flows of its own.
        share = if index > 0 && hops[index - 1] == *hop { share + 1 } else { 0 };
        let weight = mix(hash ^ identity(hop, share));
        if index == 0 || weight > best.0 {
            best = (weight, hop);
        }
    }
    best.1
}

/// What tells a share of a next hop from all others, wherever it stands in its route.
fn identity(hop: &NextHop, share: u64) -> u64 {
    let address = hop.gateway.map_or(0, |gateway| Address::from(gateway).0);
    let place = u64::from(hop.interface.0) << 32 | share;
    mix(mix(address as u64) ^ (address >> 64) as u64) ^ mix(place)
}

/// The finalizer of SplitMix64: each bit of the result depends on each bit of the value.
const fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
