//! What is decided at the start: memory, CPUs, addresses, the claim on the socket, idling.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dpdk::Memory;
use wire::Mac;
use worker::claim::{self, Claim};
use worker::clock::{self, Pace, Reading};
use worker::config::{Config, Hugepages, Idle};
use worker::idle::{Idler, Rest, Work};
use worker::memory;
use worker::notify::Watchdog;
use worker::ports::host_mac;
use worker::stall::{Report, STALL, Watch};

#[test]
fn hugepages_are_taken_if_there_are_enough() {
    assert_eq!(memory::choose(Hugepages::Auto, 256, 256, &[]), Ok(Memory::Hugepages { mib: 256 }));
    assert_eq!(memory::choose(Hugepages::Auto, 256, 255, &[]), Ok(Memory::NoHuge { mib: 256 }));
    assert_eq!(memory::choose(Hugepages::Off, 256, 9999, &[]), Ok(Memory::NoHuge { mib: 256 }));
    assert_eq!(memory::choose(Hugepages::Require, 256, 9999, &[]), Ok(Memory::Hugepages { mib: 256 }));
    let refused = memory::choose(Hugepages::Require, 257, 10, &[]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "257 MiB of hugepages are required and 10 MiB are free; reserve more (sysctl vm.nr_hugepages=129), lower \
         memory_mib, or write hugepages = \"auto\""
    );
}

#[test]
fn af_xdp_reaches_every_buffer_of_the_pool() {
    let ports = |devices: &[&str]| {
        let port = |(number, device): (usize, &&str)| {
            format!("[[port]]\nname = \"p{number}\"\ndevice = \"{device}\"\n")
        };
        let text: String = devices.iter().enumerate().map(port).collect();
        Config::parse("t.toml".as_ref(), &text).unwrap().ports
    };
    let (xdp, card) = ("net_af_xdp0,iface=eth1", "0000:03:00.0");
    for (devices, packed) in
        [(&[xdp][..], true), (&[card], false), (&[card, xdp], false), (&["net_tap0,iface=t0"], false)]
    {
        assert_eq!(memory::pool(&ports(devices), 1).packed, packed, "{devices:?}");
    }
    // Where cards keep it from being packed, pages must be large.
    let mixed = |free_mib| memory::choose(Hugepages::Auto, 256, free_mib, &ports(&[card, xdp]));
    assert_eq!(mixed(256), Ok(Memory::Hugepages { mib: 256 }));
    let refused = mixed(0).unwrap_err().to_string();
    assert!(refused.starts_with("net_af_xdp beside a network card needs hugepages"), "{refused}");
    assert!(memory::choose(Hugepages::Off, 256, 0, &ports(&[xdp])).is_ok());
}

#[test]
fn workers_have_cpus_of_their_own_if_there_are_enough() {
    assert_eq!(memory::cpus(None, &[0, 1, 2]), Ok((vec![2], vec![0, 1])));
    assert_eq!(memory::cpus(Some(&[1]), &[0, 1, 2]), Ok((vec![1], vec![0, 2])));
    assert_eq!(memory::cpus(None, &[5]), Ok((vec![5], vec![5])));
    assert_eq!(memory::cpus(Some(&[2, 0]), &[0, 1, 2]), Ok((vec![2, 0], vec![1])));
    assert_eq!(memory::cpus(Some(&[1, 0]), &[0, 1]), Ok((vec![1, 0], vec![0, 1])));
    let refused = memory::cpus(Some(&[7]), &[0, 1]).unwrap_err();
    assert_eq!(refused.to_string(), "CPU 7 of `lcores` is not available; this process may use [0, 1]");
}

fn ports(lines: &str) -> Config {
    let text = format!("[[port]]\nname = \"wan0\"\n{lines}");
    Config::parse("t.toml".as_ref(), &text).unwrap()
}

#[test]
fn buffers_have_room_for_what_a_driver_may_write() {
    let frame_bytes = |lines| memory::pool(&ports(lines).ports, 1).frame_bytes;
    assert_eq!(frame_bytes("device = \"net_null0\""), 2048);
    assert_eq!(frame_bytes("device = \"net_null0\"\nmtu = 9000"), 9022);
    assert_eq!(frame_bytes("device = \"net_af_packet0,iface=e,framesz=4096\""), 4096);
}

#[test]
fn the_pool_fills_every_ring_with_buffers_to_spare() {
    for count in 1..=16 {
        let port = ports("device = \"net_null0\"").ports.remove(0);
        for workers in 1..=4 {
            let pool = memory::pool(&vec![port.clone(); count], workers);
            let workers = u32::from(workers);
            let queues =
                count as u32 * 2 * u32::from(memory::WIRE_DESCRIPTORS + memory::HOST_DESCRIPTORS) * workers;
            let between = workers * (workers - 1) * worker::handoff::RING;
            assert!(
                pool.mbufs > queues + between + 1024,
                "{} for {count} ports, {workers} workers",
                pool.mbufs
            );
        }
    }
}

#[test]
fn a_host_interface_has_the_address_of_its_port_but_never_its_neighbours() {
    let nic = Mac([0x3c, 0xfd, 0xfe, 1, 2, 3]);
    let device = |text: &str| text.parse().unwrap();
    assert_eq!(host_mac(&device("0000:01:00.0"), nic), nic);
    assert_eq!(host_mac(&device("net_af_packet0,iface=e"), nic), nic);
    for first in 0..=255 {
        let port = Mac([first, 1, 2, 3, 4, 5]);
        let host = host_mac(&device("net_tap0,iface=t"), port);
        assert!(host != port && !host.is_group() && host.0[0] & 2 != 0, "{port:?} gave {host:?}");
    }
    assert_eq!(host_mac(&device("net_null0"), Mac([0; 6])), Mac([2, 0, 0, 0, 0, 0]));
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("worker-start-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[test]
fn a_socket_has_one_dataplane_and_the_next_one_after_it() {
    let folder = scratch("claim");
    let socket = folder.join("deep/dataplane.sock");
    let first = Claim::take(&socket).unwrap();
    let second = Claim::take(&socket).unwrap_err();
    assert!(matches!(&second, claim::Error::Taken(path) if *path == socket), "{second}");
    drop(first);
    drop(Claim::take(&socket).unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_socket_that_cannot_be_made_is_explained() {
    let error = Claim::take("/proc/nowhere/dataplane.sock".as_ref()).unwrap_err().to_string();
    assert!(error.starts_with("cannot make /proc/nowhere: ") && error.contains("--socket"), "{error}");
}

#[test]
fn polling_never_sleeps() {
    let mut idler = Idler::new(Idle::Poll);
    assert!((0..10_000).all(|_| idler.after(Work::None) == Rest::Skip));
}

#[test]
fn adaptive_idling_sleeps_longer_and_longer_and_wakes_at_once() {
    let mut idler = Idler::new(Idle::Adaptive);
    let sleeps = |idler: &mut Idler| -> Vec<Duration> {
        let rests = std::iter::repeat_with(|| idler.after(Work::None)).take(400);
        rests.filter_map(|rest| if let Rest::Sleep(time) = rest { Some(time) } else { None }).collect()
    };
    let first = sleeps(&mut idler);
    assert_eq!(first.len(), 400 - 256, "it spins first");
    assert_eq!(first[0], Duration::from_micros(20));
    assert!(first.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(first.last(), Some(&Duration::from_micros(500)));
    assert_eq!(idler.after(Work::Done), Rest::Skip);
    assert_eq!(sleeps(&mut idler), first);
}

#[test]
fn between_arming_and_waiting_is_a_poll_and_work_found_then_disarms() {
    let mut idler = Idler::new(Idle::Interrupt);
    let mut after = |work| idler.after(work);
    assert!((0..256).all(|_| after(Work::None) == Rest::Skip), "it spins first");
    assert_eq!([after(Work::None), after(Work::None)], [Rest::Arm, Rest::Wait]);
    assert_eq!([after(Work::None), after(Work::None)], [Rest::Arm, Rest::Wait], "a wait that ran out");
    assert_eq!([after(Work::None), after(Work::Done)], [Rest::Arm, Rest::Disarm], "a packet came meanwhile");
    assert_eq!(after(Work::Done), Rest::Skip);
    assert!((0..256).all(|_| after(Work::None) == Rest::Skip), "it spins again");
    assert_eq!([after(Work::None), after(Work::None)], [Rest::Arm, Rest::Wait]);
    assert_eq!(after(Work::Done), Rest::Skip, "the wait itself has disarmed");
}

#[test]
fn a_worker_that_does_not_come_back_is_reported_once_and_so_is_its_return() {
    let start = Instant::now();
    let mut watch = Watch::new(start);
    assert_eq!(watch.look(10, start), None);
    assert_eq!(watch.look(11, start + STALL * 2), None, "it moved, however long ago it was looked at");
    let moved = start + STALL * 2;
    assert_eq!(watch.look(11, moved + STALL - Duration::from_nanos(1)), None);
    assert!(!watch.is_stalled());
    assert_eq!(watch.look(11, moved + STALL), Some(Report::Stalled));
    assert!(watch.is_stalled());
    assert_eq!(watch.look(11, moved + STALL * 5), None);
    assert_eq!(watch.look(12, moved + STALL * 6), Some(Report::Recovered(STALL * 6)));
    assert_eq!(watch.look(12, moved + STALL * 6), None);
    assert!(!watch.is_stalled());
}

#[test]
fn g08_the_watchdog_is_fed_only_while_every_worker_advances() {
    let start = Instant::now();
    let within = Duration::from_secs(30);
    let mut watchdog = Watchdog::new(Some(within), start);
    assert!(watchdog.is_due(0, start));
    assert!(!watchdog.is_due(0, start + within / 4));
    assert!(watchdog.is_due(0, start + within / 3), "in good time before it bites");
    for stalled in 1..=4 {
        assert!(!watchdog.is_due(stalled, start + within), "{stalled} do not come back");
    }
    assert!(watchdog.is_due(0, start + within), "at once when they have come back");
    let mut nobodys = Watchdog::new(None, start);
    assert!((0..9).all(|n| !nobodys.is_due(0, start + within * n)));
}

#[test]
fn f10_a_workers_time_goes_on_where_its_clock_is_set_back() {
    let mut pace = Pace::default();
    let readings = [5, 5, 9, 4, 6, 0, 1];
    let times = readings.map(|nanos| pace.time(nanos).0);
    assert_eq!(times, [5, 5, 9, 9, 11, 11, 12]);
}

#[test]
fn f10_a_counter_that_jumps_or_runs_at_a_wrong_rate_is_reported() {
    let begin = Instant::now();
    // Both clocks, after so many milliseconds of the kernel's.
    let reading = |kernel_ms: u64, counter_ms: u64| Reading {
        counter: 1_000_000_000 + counter_ms * 1_000_000,
        kernel: begin + Duration::from_millis(kernel_ms),
    };
    let mut watch = clock::Watch::new(reading(0, 0));
    assert_eq!(watch.look(reading(50, 50)), None);
    assert_eq!(watch.look(reading(100, 10_100)), Some(clock::Report::Jumped { by_ms: 10_000 }));
    assert_eq!(watch.look(reading(150, 10_150)), None, "once");
    assert_eq!(watch.look(reading(200, 200)), Some(clock::Report::Jumped { by_ms: -10_000 }));
    // Rates are compared from the last jump on, once a minute.
    assert_eq!(watch.look(reading(30_200, 30_215)), None);
    assert_eq!(watch.look(reading(60_200, 60_230)), None, "500 ppm may be the kernel's own doing");
    assert_eq!(watch.look(reading(120_200, 120_290)), Some(clock::Report::Drifts { ppm: 1000 }));
    assert_eq!(watch.look(reading(180_200, 180_350)), None, "once");
    assert_eq!(watch.look(reading(240_200, 240_350)), None, "right again");
    assert_eq!(watch.look(reading(300_200, 300_290)), Some(clock::Report::Drifts { ppm: -1000 }));
}

#[test]
fn each_of_several_workers_has_room_for_twice_its_share_of_the_states() {
    assert_eq!(memory::states_of_one(1000, 1), 1000);
    assert_eq!(memory::states_of_one(1000, 2), 1000);
    assert_eq!(memory::states_of_one(1000, 3), 668);
    assert_eq!(memory::states_of_one(1000, 4), 500);
    for workers in 1..=64u16 {
        let numbers = u64::from(memory::states_of_one(1 << 31, workers)) * u64::from(workers);
        assert!(numbers < u64::from(u32::MAX), "{workers} workers");
    }
}
