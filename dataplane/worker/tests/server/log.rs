//! Readers of the log over the socket.

use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use api::codec::{self, Limit as Length};
use api::pflog::LogEntry;
use api::{Request, RequestBody, Response, ResponseBody};
use engine::BURST;
use ruleset::{Action, BlockReply, Direction, LogOptions, Reason, Rule, Ruleset};
use worker::control::readers::READERS_MAX;

use crate::Bench;

/// Every packet is blocked and logged.
pub fn block_log() -> Ruleset {
    let log = LogOptions { enabled: true, ..LogOptions::default() };
    Ruleset {
        rules: vec![Rule { action: Action::Block(BlockReply::Drop), log, ..Rule::default() }],
        ..Ruleset::default()
    }
}

impl Bench {
    /// A connection that reads the log; it has begun.
    fn log_reader(&self) -> UnixStream {
        let mut stream = self.raw();
        codec::write(&mut stream, &Request { id: 7, body: RequestBody::Logs }, Length::REQUEST).unwrap();
        assert_eq!(next_log(&mut stream), []);
        stream
    }

    pub fn receive(&self, bursts: u32) {
        self.bursts.store(bursts, Ordering::Relaxed);
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.bursts.load(Ordering::Relaxed) > 0 {
            assert!(Instant::now() < deadline, "the worker does not receive");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn next_log(stream: &mut UnixStream) -> Vec<LogEntry> {
    match codec::read(stream, Length::RESPONSE).unwrap() {
        Response { id: 7, body: ResponseBody::Logs(entries) } => entries,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_reader_of_the_log_gets_every_packet() {
    let bench = Bench::new("log");
    bench.client().commit(&block_log()).unwrap();
    bench.receive(1);
    let mut readers = [bench.log_reader(), bench.log_reader()];
    // Those before it are of nobody's interest, and may still be on their way.
    thread::sleep(Duration::from_millis(100));
    bench.receive(3);
    for stream in &mut readers {
        let mut entries = Vec::new();
        while entries.len() < 3 * BURST {
            entries.extend(next_log(stream));
        }
        let late = entries.len() - 3 * BURST;
        assert!(late <= BURST, "{late} too many");
        for entry in entries {
            assert_eq!(
                (entry.interface.as_str(), entry.direction, entry.rule),
                ("wan0", Direction::In, Some(0))
            );
            assert_eq!((entry.passed, entry.reason), (false, Reason::Match as u8));
            assert_eq!((entry.length, entry.bytes.len()), (28, 28));
        }
    }
    assert_eq!(bench.client().status().unwrap().log_lost, 0);
}

#[test]
fn a_reader_of_the_log_too_many_is_told_and_room_comes_back() {
    let bench = Bench::new("log-many");
    let readers: Vec<_> = (0..READERS_MAX).map(|_| bench.log_reader()).collect();
    let refused = bench.client().logs(|_| panic!("it may not begin")).unwrap_err().to_string();
    assert!(refused.contains("the log has 4 readers already"), "{refused}");
    drop(readers);
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.client().logs(|_| false).is_err() {
        assert!(Instant::now() < deadline, "no room came back");
        thread::sleep(Duration::from_millis(20));
    }
}

/// It holds up nobody, and what it misses is counted: no packet is neither read nor lost.
#[test]
fn a_slow_reader_of_the_log_loses_packets_aloud() {
    const BURSTS: u32 = 2000;
    let bench = Bench::new("log-slow");
    let mut client = bench.client();
    client.commit(&block_log()).unwrap();
    let mut slow = bench.log_reader();
    bench.receive(BURSTS);
    let (mut read, mut lost) = (0, client.status().unwrap().log_lost);
    assert!(lost > 0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while read + lost < u64::from(BURSTS) * BURST as u64 {
        assert!(Instant::now() < deadline, "{read} read, {lost} lost");
        read += next_log(&mut slow).len() as u64;
        lost = client.status().unwrap().log_lost;
    }
    assert_eq!(read + lost, u64::from(BURSTS) * BURST as u64);
    assert!(read > 0);
}
