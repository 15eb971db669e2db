//! Tests of the crate on virtual devices, without hugepages: one EAL for all, since a process has one. Each test must give
//! back every mbuf.
//!
//! Arguments: parts of names of tests to run. Those that need root say `skipped: ` without it.

#![allow(clippy::disallowed_methods, reason = "beds wait for real devices in real time")]

mod args;
mod burst;
mod error;
mod event;
mod lcore;
mod mbuf;
mod pcap;
mod port;
mod ring;
mod tap;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dpdk::{Burst, Eal, EalArgs, Error, LogLevel, Mbuf, Memory, Mempool, PoolConfig};

/// What a test came to.
pub enum Outcome {
    /// It passed.
    Done,
    /// It could not run here, and why.
    Skipped(&'static str),
}

/// What tests share.
pub struct Bed {
    /// The one environment.
    pub eal: Eal,
    /// A pool of 4095 mbufs of 2 KiB, all in it between tests.
    pub pool: Mempool,
}

impl Bed {
    /// An mbuf with these bytes.
    pub fn frame(&self, bytes: &[u8]) -> Mbuf {
        let mut mbuf = self.pool.alloc().expect("the pool is larger than any test needs");
        mbuf.extend_from_slice(bytes).expect("test frames are short");
        mbuf
    }

    /// A burst of `count` frames, each of one byte, numbered from 0.
    pub fn numbered(&self, count: u8) -> Burst {
        let mut burst = Burst::new();
        for i in 0..count {
            burst.push(self.frame(&[i])).expect("tests ask for at most a burst");
        }
        burst
    }
}

/// The first byte of each frame.
pub fn numbers(burst: &Burst) -> Vec<u8> {
    burst.iter().map(|mbuf| mbuf.data()[0]).collect()
}

/// The text of an error.
#[track_caller]
pub fn refusal<T>(result: dpdk::Result<T>) -> String {
    result.err().expect("must be refused").to_string()
}

/// Polls until `f` answers, for a bounded time.
pub fn wait_for<T>(what: &str, mut f: impl FnMut() -> Option<T>) -> T {
    const PATIENCE: Duration = Duration::from_secs(10);
    let start = Instant::now();
    loop {
        if let Some(found) = f() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A device that EAL has from its start.
pub const FOUND: &str = "net_null9";

type Test = (&'static str, fn(&Bed) -> Outcome);

macro_rules! tests {
    ($($module:ident :: $name:ident,)*) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), |bed| $module::$name(bed).into()),)*]
    };
}

impl From<()> for Outcome {
    fn from((): ()) -> Outcome {
        Outcome::Done
    }
}

const TESTS: &[Test] = tests![
    args::command_line,
    burst::drop_frees_the_rest,
    burst::drain_frees_what_it_did_not_yield,
    burst::a_full_burst_gives_back,
    burst::allocation_is_all_or_nothing,
    mbuf::every_change_and_back,
    mbuf::refused_changes_change_nothing,
    mbuf::added_bytes_are_zero,
    mbuf::a_copy_owns_its_bytes,
    mbuf::an_exhausted_pool_recovers,
    mbuf::mbufs_of_a_packed_pool_lie_one_behind_the_other,
    mbuf::a_pool_outlives_its_handle_while_an_mbuf_is_out,
    mbuf::metadata_of_a_fresh_mbuf,
    ring::partial_enqueue_keeps_order,
    ring::drop_frees_the_contents,
    ring::two_threads_in_order,
    ring::shared_by_four_threads,
    lcore::result_and_lcore_come_back,
    lcore::a_panic_is_carried_to_the_joiner,
    lcore::drop_waits,
    lcore::caches_are_counted,
    lcore::lcores_are_given_once,
    lcore::the_clock_advances,
    port::device_names,
    port::rings_carry_frames_both_ways,
    port::partial_transmit_returns_the_rest,
    port::stop_waits_for_queues,
    port::a_queue_keeps_the_port,
    port::null_device_and_its_limits,
    port::detached_names_are_free_again,
    port::what_eal_found_at_its_start_is_taken_over_once,
    port::spreading_where_supported,
    port::signals_are_there_only_where_asked_for_and_supported,
    port::two_lcores_poll_two_queues,
    pcap::frames_from_a_file_to_a_file,
    pcap::long_frames_come_in_segments,
    pcap::g02_a_device_counts_what_it_has_no_buffer_for,
    error::absent_devices,
    error::names_taken_and_bad_sizes,
    error::second_init,
    error::errno_names,
    event::link_changes_are_told,
    event::a_device_that_is_asked_back_is_told_of,
    event::what_does_not_fit_is_counted,
    tap::frames_to_and_from_the_kernel,
    tap::the_link_follows_the_interface,
    tap::a_queue_signals_what_has_arrived,
    tap::the_interface_goes_with_its_port,
];

fn main() -> ExitCode {
    let filters: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    if std::env::args().any(|a| a == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()));
    let args = EalArgs::new("beds", Memory::NoHuge { mib: 128 })
        .lcore(0, &[0])
        .lcore(1, &[0])
        .lcore(2, &[0])
        .lcore(3, &[0])
        .log_level(LogLevel::Error)
        .arg(&format!("--vdev={FOUND}"));
    let eal = Eal::init(&args).expect("needs libdpdk, nothing else");
    let pool = Mempool::new(&eal, &PoolConfig::new("bed", 4095)).expect("fits into the memory asked for");
    let bed = Bed { eal, pool };

    let (mut failed, mut skipped) = (0, 0);
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        match run(&bed, test) {
            Ok(Outcome::Done) => println!("test {name} ... ok"),
            Ok(Outcome::Skipped(why)) => {
                println!("test {name} ... skipped: {why}");
                skipped += 1;
            }
            Err(()) => {
                println!("test {name} ... FAILED");
                failed += 1;
            }
        }
    }
    drop(bed);
    if !matches!(Eal::init(&args), Err(Error::EalTaken)) {
        println!("EAL was initialised again after its cleanup");
        failed += 1;
    }
    println!("{failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one test and checks that every mbuf came back.
fn run(bed: &Bed, test: &fn(&Bed) -> Outcome) -> Result<Outcome, ()> {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| test(bed))).map_err(drop)?;
    let (in_use, available) = (bed.pool.in_use(), bed.pool.available());
    if (in_use, available) == (0, bed.pool.size()) {
        return Ok(outcome);
    }
    println!("{in_use} mbufs out and {available} in, of {}", bed.pool.size());
    Err(())
}
