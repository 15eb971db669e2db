//! Publication: two values at most, nothing lost, nothing freed by the reader.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have threads")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use worker::snapshot::{Refreshed, Stalled, snapshot};

const SOON: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_secs(10);

#[test]
fn a_reader_sees_the_new_value_once_it_looks() {
    let (mut publisher, mut reader) = snapshot(1);
    assert_eq!(reader.refresh(), Refreshed::Same);
    assert!(publisher.offer(2));
    assert_eq!(*reader.get(), 1);
    assert_eq!(reader.refresh(), Refreshed::New);
    assert_eq!((*reader.get(), reader.refresh()), (2, Refreshed::Same));
}

#[test]
fn one_offer_at_a_time() {
    let (mut publisher, mut reader) = snapshot(1);
    assert!(publisher.offer(2));
    assert!(!publisher.is_ready());
    assert!(!publisher.offer(3));
    reader.refresh();
    assert!(publisher.offer(3));
    reader.refresh();
    assert_eq!(*reader.get(), 3);
}

#[test]
fn the_old_value_is_freed_by_the_publisher() {
    let old = Arc::new(());
    let (mut publisher, mut reader) = snapshot(old.clone());
    publisher.offer(Arc::new(()));
    reader.refresh();
    assert_eq!(Arc::strong_count(&old), 2, "still alive, on its way back");
    assert!(publisher.is_ready());
    assert_eq!(Arc::strong_count(&old), 1);
}

#[test]
fn a_reader_that_does_not_look_keeps_what_it_has() {
    let (mut publisher, mut reader) = snapshot(1);
    assert_eq!(publisher.publish(2, SOON), Err(Stalled { reader: 0 }));
    // The value was withdrawn: the reader never sees it, and the next one can be offered.
    assert_eq!((reader.refresh(), *reader.get()), (Refreshed::Same, 1));
    assert!(publisher.offer(3));
    assert_eq!((reader.refresh(), *reader.get()), (Refreshed::New, 3));
}

#[test]
fn ten_thousand_values_to_a_reader_that_looks_all_the_time() {
    let (mut publisher, mut reader) = snapshot(0_u32);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let looking = thread::spawn(move || {
        let mut last = 0;
        while !stopped.load(Ordering::Relaxed) {
            reader.refresh();
            assert!(*reader.get() >= last, "back from {last} to {}", reader.get());
            last = *reader.get();
        }
        reader.refresh();
        *reader.get()
    });
    for value in 1..=10_000 {
        publisher.publish(value, LATER).unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    assert_eq!(looking.join().unwrap(), 10_000);
}
