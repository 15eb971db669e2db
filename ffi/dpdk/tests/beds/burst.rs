use dpdk::{BURST_MAX, Burst};

use crate::{Bed, numbers};

pub fn drop_frees_the_rest(bed: &Bed) {
    let burst = bed.numbered(10);
    assert_eq!(bed.pool.in_use(), 10);
    drop(burst);
    assert_eq!(bed.pool.in_use(), 0);

    let mut burst = bed.numbered(10);
    let last = burst.pop().expect("has ten");
    assert_eq!(last.data(), [9]);
    burst.clear();
    assert_eq!((burst.len(), bed.pool.in_use()), (0, 1));
    burst.clear();
    assert_eq!(last.data(), [9], "not freed with the burst");
}

pub fn drain_frees_what_it_did_not_yield(bed: &Bed) {
    let mut burst = bed.numbered(5);
    let mut drain = burst.drain();
    assert_eq!(drain.len(), 5);
    let first = drain.next().expect("has five");
    let second = drain.next().expect("has five");
    drop(drain);
    assert_eq!((first.data(), second.data()), (&[0][..], &[1][..]));
    assert_eq!((burst.len(), bed.pool.in_use()), (0, 2));
    burst.push(first).expect("is empty");
    burst.push(second).expect("has room");
    assert_eq!(numbers(&burst), [0, 1]);
    assert_eq!(burst.drain().count(), 2);
    assert!(burst.is_empty());
}

pub fn a_full_burst_gives_back(bed: &Bed) {
    let mut burst = bed.numbered(BURST_MAX as u8);
    assert!(burst.is_full());
    assert_eq!(burst.room(), 0);
    let refused = burst.push(bed.frame(&[200])).expect_err("is full");
    assert_eq!(refused.data(), [200]);
    assert_eq!(numbers(&burst), (0..64).collect::<Vec<u8>>());
    // The slice view swaps in place: still each mbuf once.
    burst.swap(0, 63);
    assert_eq!((numbers(&burst)[0], numbers(&burst)[63]), (63, 0));
    assert_eq!(bed.pool.in_use(), 65);
}

pub fn allocation_is_all_or_nothing(bed: &Bed) {
    let mut burst = Burst::new();
    assert!(bed.pool.alloc_burst(&mut burst, 60));
    assert!(!bed.pool.alloc_burst(&mut burst, 5), "has room for 4");
    assert_eq!((burst.len(), bed.pool.in_use()), (60, 60));
    assert!(bed.pool.alloc_burst(&mut burst, 4));
    assert_eq!((burst.len(), bed.pool.in_use()), (64, 64));
    assert!(burst.iter().all(|mbuf| mbuf.is_empty() && mbuf.headroom() == 128));
}
