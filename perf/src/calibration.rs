//! How fast this core is right now: a neighbour on the other half of the core, or above us in a hypervisor, slows
//! everything by up to half, and a figure from such a moment is worth nothing.

use std::hint::black_box;

use dpdk::Tsc;

const ROUNDS: usize = 200;

/// Cycles that a fixed piece of arithmetic takes. It fills the core's units, so that a sibling thread is felt.
#[inline(never)]
pub fn calibrate() -> u64 {
    let begin = Tsc::now();
    let mut chains: [u64; 4] = black_box([1, 2, 3, 4]);
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain ^= *chain << 13;
            *chain ^= *chain >> 7;
            *chain ^= *chain << 17;
        }
    }
    black_box(chains);
    Tsc::now().cycles_since(begin)
}
