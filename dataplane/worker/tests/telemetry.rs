//! Counters: what the worker copied is what others read, whole.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have threads")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use ruleset::Reason;
use worker::telemetry::{Reader, Sheet, Writer, create};

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("worker-telemetry-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

fn names() -> Vec<String> {
    vec!["wan0".into(), "lan0".into()]
}

/// A sheet in which every value follows from `seed`, and conservation holds.
fn sheet(seed: u64) -> Sheet {
    let mut sheet = Sheet::new(2);
    sheet.worker.polls = seed;
    sheet.worker.held = seed;
    sheet.worker.created_rst = 2 * seed;
    sheet.worker.created_icmp = seed;
    sheet.interfaces[0].rx_packets = 10 * seed;
    sheet.interfaces[1].host_in_packets = 5 * seed;
    sheet.interfaces[1].tx_packets = 12 * seed;
    sheet.interfaces[0].punted_packets = 3 * seed;
    sheet.drops[0][Reason::Match as usize] = seed;
    sheet.drops[1][Reason::PortDown as usize] = seed;
    sheet
}

#[test]
fn what_is_copied_is_read() {
    let path = path("copy");
    let segment = create(&path, 1, &names()).unwrap();
    let mut writer = Writer::new(&segment, 0).unwrap();
    let reader = Reader::open(&path, 2).unwrap();
    assert_eq!(reader.sheet(0), Some(Sheet::new(2)));
    writer.copy(&sheet(7));
    assert_eq!(reader.sheet(0), Some(sheet(7)));
    assert_eq!(reader.sheet(1), None, "there is one worker");
    let conservation = reader.sheet(0).unwrap().conservation();
    assert!(conservation.holds(), "{conservation:?}");
    assert_eq!((conservation.rx, conservation.drops, conservation.created), (70, 14, 21));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_missing_packet_is_noticed() {
    let mut sheet = sheet(7);
    sheet.interfaces[1].tx_packets -= 1;
    assert!(!sheet.conservation().holds());
}

#[test]
fn a_block_has_one_writer() {
    let path = path("writer");
    let segment = create(&path, 1, &names()).unwrap();
    let _writer = Writer::new(&segment, 0).unwrap();
    assert!(Writer::new(&segment, 0).is_err());
    assert!(Writer::new(&segment, 1).is_err());
    std::fs::remove_file(path).unwrap();
}

/// No reader sees half a copy, however fast they follow each other.
#[test]
fn copies_are_seen_whole() {
    let path = path("whole");
    let segment = create(&path, 1, &names()).unwrap();
    let mut writer = Writer::new(&segment, 0).unwrap();
    let reader = Reader::open(&path, 2).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let writing = thread::spawn(move || {
        let mut seed = 0;
        while !stopped.load(Ordering::Relaxed) {
            seed += 1;
            writer.copy(&sheet(seed));
            thread::yield_now();
        }
    });
    let mut last = 0;
    for _ in 0..20_000 {
        let Some(read) = reader.sheet(0) else { continue };
        assert_eq!(read, sheet(read.worker.polls));
        assert!(read.worker.polls >= last);
        last = read.worker.polls;
    }
    stop.store(true, Ordering::Relaxed);
    writing.join().unwrap();
    assert!(last > 0, "no copy was ever read");
    std::fs::remove_file(path).unwrap();
}
