use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use dpdk::{Lcore, Mempool, PoolConfig, Tsc, TscClock};

use crate::Bed;

/// The bed's idle lcores.
static LCORES: OnceLock<Mutex<Vec<Lcore>>> = OnceLock::new();

fn pool_of_lcores(bed: &Bed) -> &'static Mutex<Vec<Lcore>> {
    LCORES.get_or_init(|| Mutex::new(bed.eal.take_lcores()))
}

/// Takes an idle lcore.
pub fn take(bed: &Bed) -> Lcore {
    pool_of_lcores(bed).lock().expect("not poisoned").pop().expect("each test puts them back")
}

/// Puts it back.
pub fn put(lcore: Lcore) {
    LCORES.get().expect("was taken").lock().expect("not poisoned").push(lcore);
}

pub fn result_and_lcore_come_back(bed: &Bed) {
    let (first, second) = (take(bed), take(bed));
    let id = first.id();
    assert!((1..=3).contains(&id) && id != second.id());
    assert_eq!(Lcore::current(), Some(0), "the main lcore");
    let task = first.launch(Lcore::current).expect("is idle");
    assert_eq!(task.id(), id);
    let (first, result) = task.join();
    assert_eq!(result.expect("did not panic"), Some(id));
    // An lcore is reusable at once.
    let mut second = second;
    for i in 0..100 {
        let (back, result) = second.launch(move || i * 2).expect("is idle").join();
        assert_eq!(result.expect("did not panic"), i * 2);
        second = back;
    }
    put(first);
    put(second);
}

pub fn a_panic_is_carried_to_the_joiner(bed: &Bed) {
    let mbuf = bed.frame(b"moved into the closure, freed by the unwinding");
    let task = take(bed).launch(move || assert!(mbuf.is_empty(), "deliberate")).expect("is idle");
    let (lcore, result) = task.join();
    let payload = result.expect_err("panicked");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"deliberate"));
    put(lcore);
}

pub fn drop_waits(bed: &Bed) {
    let done = Arc::new(AtomicBool::new(false));
    let flag = done.clone();
    let task = take(bed).launch(move || {
        std::thread::sleep(Duration::from_millis(50));
        flag.store(true, Ordering::Release);
    });
    // The lcore goes with it: this is the one test that does not put it back.
    drop(task.expect("is idle"));
    assert!(done.load(Ordering::Acquire));
}

pub fn caches_are_counted(bed: &Bed) {
    let pool =
        Mempool::new(&bed.eal, &PoolConfig { cache: 32, ..PoolConfig::new("cached", 255) }).expect("fits");
    let worker = pool.clone();
    let (lcore, result) = take(bed)
        .launch(move || {
            let held: Vec<_> = (0..100).filter_map(|_| worker.alloc()).collect();
            assert_eq!(worker.in_use(), 100);
            held.into_iter().skip(90).collect::<Vec<_>>()
        })
        .expect("is idle")
        .join();
    let held = result.expect("did not panic");
    assert_eq!((held.len(), pool.in_use(), pool.available()), (10, 10, 245));
    drop(held);
    // Freed here, where another lcore's cache is out of reach, and still all counted.
    assert_eq!((pool.in_use(), pool.available()), (0, 255));
    put(lcore);
}

pub fn lcores_are_given_once(bed: &Bed) {
    put(take(bed));
    assert!(bed.eal.take_lcores().is_empty());
}

pub fn the_clock_advances(bed: &Bed) {
    let clock = TscClock::new(&bed.eal);
    assert!(clock.hz() > 100_000_000, "a TSC slower than 100 MHz");
    assert_eq!(clock.nanos(0), 0);
    let second = clock.nanos(clock.hz());
    assert!((999_999_990..=1_000_000_000).contains(&second), "{second} ns in a second");
    let (before, cycles) = (clock.now_nanos(), Tsc::now());
    std::thread::sleep(Duration::from_millis(20));
    assert!(clock.now_nanos() - before >= 19_000_000);
    assert!(Tsc::now().cycles_since(cycles) > 0);
    assert_eq!(cycles.cycles_since(Tsc::now()), 0);
}
