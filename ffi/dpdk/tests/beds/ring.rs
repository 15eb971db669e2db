use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use dpdk::{Burst, SharedRing, spsc};

use crate::{Bed, numbers};

pub fn partial_enqueue_keeps_order(bed: &Bed) {
    let (mut producer, mut consumer) = spsc(&bed.eal, "partial", 10).expect("a small ring");
    assert_eq!((producer.capacity(), consumer.is_empty()), (10, true));
    let mut burst = bed.numbered(16);
    assert_eq!(producer.enqueue(&mut burst), 10);
    assert_eq!(numbers(&burst), (10..16).collect::<Vec<u8>>());
    assert_eq!(producer.enqueue(&mut burst), 0);
    let refused = producer.push(bed.frame(&[99])).expect_err("is full");
    assert_eq!((refused.data(), burst.len(), producer.len()), (&[99][..], 6, 10));

    let mut out = bed.numbered(60);
    assert_eq!(consumer.dequeue(&mut out), 4, "as many as fit behind sixty");
    assert_eq!(numbers(&out)[60..], [0, 1, 2, 3]);
    out.clear();
    producer.push(refused).expect("four left");
    assert_eq!(consumer.dequeue(&mut out), 7);
    assert_eq!(numbers(&out), [4, 5, 6, 7, 8, 9, 99]);
    assert_eq!(consumer.dequeue(&mut out), 0);
}

pub fn drop_frees_the_contents(bed: &Bed) {
    let (mut producer, consumer) = spsc(&bed.eal, "dropped", 200).expect("a small ring");
    for _ in 0..3 {
        producer.enqueue(&mut bed.numbered(64));
    }
    drop(consumer);
    assert_eq!(bed.pool.in_use(), 192, "the producer keeps the ring");
    drop(producer);
    assert_eq!(bed.pool.in_use(), 0);
    spsc(&bed.eal, "dropped", 1).expect("the name is free again");
}

pub fn two_threads_in_order(bed: &Bed) {
    const COUNT: u32 = 100_000;
    let (mut producer, mut consumer) = spsc(&bed.eal, "order", 128).expect("a small ring");
    thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..COUNT {
                let mut mbuf = loop {
                    match bed.pool.alloc() {
                        Some(mbuf) => break mbuf,
                        None => thread::yield_now(),
                    }
                };
                mbuf.extend_from_slice(&i.to_be_bytes()).expect("has room");
                while let Err(back) = producer.push(mbuf) {
                    mbuf = back;
                    thread::yield_now();
                }
            }
        });
        let mut burst = Burst::new();
        let mut expected = 0_u32;
        while expected < COUNT {
            if consumer.dequeue(&mut burst) == 0 {
                thread::yield_now();
            }
            for mbuf in burst.drain() {
                assert_eq!(mbuf.data(), expected.to_be_bytes());
                expected += 1;
            }
        }
    });
    assert!(consumer.is_empty());
}

pub fn shared_by_four_threads(bed: &Bed) {
    const EACH: u64 = 5_000;
    let ring = SharedRing::new(&bed.eal, "shared", 100).expect("a small ring");
    let (count, sum) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..2 {
            let clone = ring.clone();
            scope.spawn(move || {
                for i in 0..EACH {
                    let mut mbuf = bed.frame(&(thread * EACH + i).to_be_bytes());
                    while let Err(back) = clone.push(mbuf) {
                        mbuf = back;
                        thread::yield_now();
                    }
                }
            });
            scope.spawn(|| {
                let mut burst = Burst::new();
                while count.load(Ordering::Relaxed) < 2 * EACH {
                    if ring.dequeue(&mut burst) == 0 {
                        thread::yield_now();
                    }
                    for mbuf in burst.drain() {
                        let bytes = mbuf.data().try_into().expect("eight bytes");
                        sum.fetch_add(u64::from_be_bytes(bytes), Ordering::Relaxed);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let all = 2 * EACH;
    assert_eq!((count.into_inner(), sum.into_inner()), (all, all * (all - 1) / 2), "each exactly once");
    assert_eq!((ring.len(), ring.is_empty(), ring.capacity()), (0, true, 100));
    let mut burst = bed.numbered(64);
    assert_eq!(ring.enqueue(&mut burst), 64);
    assert_eq!(ring.enqueue(&mut bed.numbered(64)), 36);
}
