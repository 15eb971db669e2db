//! Memory for connections is reserved for as many as there may be, and taken for as many as there are.

use engine::{Shard, ShardConfig, WorkerId};
use perf::memory::resident_bytes;

#[global_allocator]
static MEMORY: dpdk::HugePages = dpdk::HugePages;

#[test]
fn a_shard_for_millions_of_states_takes_next_to_nothing() {
    let before = resident_bytes().expect("Linux");
    let config =
        ShardConfig { worker: WorkerId(0), workers: 1, max_states: 20_000_000, interfaces: 2, key: [1, 2] };
    let shard = Shard::new(config);
    let grown = resident_bytes().expect("Linux").saturating_sub(before);
    assert!(grown < 32 << 20, "{} MiB", grown >> 20);
    assert_eq!(shard.records(), 0);
}
