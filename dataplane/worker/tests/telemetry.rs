//! Counters: what the worker copied is what others read, whole.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have threads")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dpdk::port::{Duplex, Link, PortStats};
use engine::{Counted, Created, Crossings};
use ruleset::Reason;
use worker::devices::{Devices, LOOK_EVERY, Lasting, Reading};
use worker::stall::Report;
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
    sheet.created[Created::Rst as usize] = 2 * seed;
    sheet.created[Created::Icmp as usize] = seed;
    if seed > 0 {
        sheet.bursts.observe(seed % 70);
        sheet.latency.observe(seed);
    }
    sheet.interfaces[0].rx_packets = 10 * seed;
    sheet.interfaces[1].host_in_packets = 5 * seed;
    sheet.interfaces[1].tx_packets = 12 * seed;
    sheet.interfaces[0].punted_packets = 3 * seed;
    sheet.crossings[1] = Crossings::of(std::array::from_fn(|cell| Counted {
        packets: seed * (cell as u64 + 1),
        bytes: seed * cell as u64,
    }));
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

/// What a device says that has counted `n` of everything.
fn reading(n: u64) -> Reading {
    let stats = PortStats { rx_missed: n, rx_errors: n, rx_no_mbuf: n, tx_errors: n, ..PortStats::default() };
    let link = Link::Up { speed_mbps: Some(10_000), duplex: Duplex::Full };
    Reading { link: Some(link), stats: Some(stats) }
}

#[test]
fn g10_counters_of_devices_go_on_when_drivers_begin_anew() {
    let path = path("devices");
    let segment = create(&path, 2, &names()).unwrap();
    let reader = Reader::open(&path, 2).unwrap();
    let begin = Instant::now();
    let mut devices = Devices::new(Writer::of_minutes(&segment).unwrap(), 2, 2, begin);
    assert!(Writer::of_minutes(&segment).is_err(), "one thread reads devices");
    let told = |reader: &Reader| {
        let counts = reader.minutes().unwrap().devices[0];
        (counts.rx_missed, counts.rx_errors, counts.rx_no_buffer, counts.tx_errors)
    };
    assert!(devices.is_due(begin));
    devices.look([reading(5), reading(0)], begin);
    assert!(!devices.is_due(begin) && devices.is_due(begin + LOOK_EVERY));
    assert_eq!(told(&reader), (5, 5, 5, 5));
    // The port was started anew, and has counted 2 since; then a driver that says nothing, then one that goes on.
    devices.look([reading(2), reading(0)], begin);
    assert_eq!(told(&reader), (7, 7, 7, 7));
    devices.look([Reading { link: None, stats: None }, reading(0)], begin);
    assert_eq!(told(&reader), (7, 7, 7, 7));
    devices.look([reading(3), Reading { link: Some(Link::Down), stats: None }], begin);
    assert_eq!(told(&reader), (8, 8, 8, 8));
    let links =
        reader.minutes().unwrap().devices.iter().map(|of| (of.link_up, of.link_mbps)).collect::<Vec<_>>();
    assert_eq!(links, [(1, 10_000), (0, 0)]);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn g10_a_lasting_counter_has_64_bits_and_never_goes_back() {
    let mut lasting = Lasting::default();
    let mut last = 0;
    for now in [0, 10, 10, 3, 3, 0, u64::from(u32::MAX) + 5, 1] {
        let total = lasting.advance(now);
        assert!(total >= last, "{now}: {total} after {last}");
        last = total;
    }
    assert_eq!(last, 10 + 3 + u64::from(u32::MAX) + 5 + 1);
}

#[test]
fn stalls_are_counted_for_their_worker() {
    let path = path("stalls");
    let segment = create(&path, 2, &names()).unwrap();
    let reader = Reader::open(&path, 2).unwrap();
    let mut devices = Devices::new(Writer::of_minutes(&segment).unwrap(), 2, 2, Instant::now());
    let told =
        || reader.minutes().unwrap().workers.iter().map(|of| (of.stalls, of.stalled)).collect::<Vec<_>>();
    devices.note(1, Report::Stalled);
    assert_eq!(told(), [(0, 0), (1, 1)]);
    devices.note(1, Report::Recovered(Duration::from_millis(300)));
    devices.note(7, Report::Stalled);
    assert_eq!(told(), [(0, 0), (1, 0)]);
    std::fs::remove_file(path).unwrap();
}
