//! Workers write no cache line in common: neither for a packet, nor, but once in a while, for a connection.
//!
//! Two workers of the dataplane run in a process of their own, each on a thread of its own, and do a step when they are told
//! to by a socket. Between steps this process reads all memory of that one: the lines that differ are those which the step
//! has written. What more workers would do follows: none has anything that belongs to two.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk::{EalArgs, Memory};
use perf::appliance::{Appliance, Lane};
use perf::bed::Bed;
use perf::pair::Packets;
use perf::traffic::{Sender, Source, Step, Traffic};

/// Names the socket, in the process that has the workers.
const SOCKET: &str = "TURNPIKE_PERF_LINES";
const CONNECTIONS: u64 = 4096;
const LINE: u64 = 64;
/// States that a worker may make and remove without a look at those of the others: credits come in batches of up to 64, and
/// are given back by halves.
const STATES_PER_LOOK: usize = 32;

/// A burst of established connections, forwarded.
const FORWARD: u8 = b'f';
/// A connection, opened.
const OPEN: u8 = b'o';
/// All of them, timed out and removed.
const AGE: u8 = b'a';
/// Something that both workers write, for a test of this test.
const SHARE: u8 = b's';

fn main() {
    match env::var_os(SOCKET) {
        Some(socket) => have_workers(Path::new(&socket)),
        None => look_at_workers(),
    }
}

fn have_workers(socket: &Path) {
    let args = EalArgs::new("lines", Memory::NoHuge { mib: 64 })
        .file_prefix(&format!("lines-{}", std::process::id()));
    let mut bed = Bed::of((0..3).fold(args, |args, lcore| args.lcore(lcore, &[0]))).expect("DPDK starts");
    let mut appliance =
        Appliance::new(&bed, 2, "block\npass\n", 4 * CONNECTIONS as u32).expect("two workers start");
    appliance.establish(&Source::new(Traffic::Tcp4, CONNECTIONS)).expect("they pass everything");
    let shared = Arc::new(AtomicU64::new(0));
    let workers = appliance.lanes.drain(..).zip(appliance.homes.drain(..)).zip(0..);
    let tasks: Vec<_> = workers
        .map(|((lane, numbers), number)| {
            let stream = UnixStream::connect(socket).expect("the other process listens");
            let shared = shared.clone();
            let lcore = bed.take_lcore().expect("there are two");
            lcore.launch(move || serve(lane, &numbers, number, stream, &shared)).expect("an idle lcore")
        })
        .collect();
    drop(tasks);
}

/// A worker's thread: nothing but the worker and what is on its stack.
fn serve(mut lane: Lane, numbers: &[u32], number: u8, mut stream: UnixStream, shared: &AtomicU64) {
    let mut packets = Packets::new(Traffic::Tcp4, numbers.to_vec());
    let source = Source::new(Traffic::Tcp4, CONNECTIONS);
    let mut unopened = numbers.iter();
    let mut say = number;
    loop {
        stream.write_all(&[say]).expect("the other process listens");
        let mut order = [0];
        if stream.read_exact(&mut order).is_err() {
            return;
        }
        say = order[0];
        match say {
            FORWARD => {
                packets.feed(&mut lane);
                lane.poll();
            }
            OPEN => {
                let connection = u64::from(*unopened.next().expect("fewer are opened than there are"));
                lane.feed(1, Sender::Client, |mbuf| {
                    source.write(mbuf, connection, Sender::Client, Step::Open)
                });
                lane.poll();
            }
            AGE => lane.age(),
            _ => _ = shared.fetch_add(1, Ordering::Relaxed),
        }
        lane.take(|_| ());
        assert_eq!(lane.fed, lane.passed, "every packet passes");
    }
}

/// The process with the workers, seen from outside.
struct Subject {
    child: Child,
    workers: [UnixStream; 2],
}

/// All that a process can write, as it was at one moment.
type Snapshot = Vec<(u64, Vec<u8>)>;

impl Subject {
    fn start() -> Self {
        let socket = env::temp_dir().join(format!("turnpike-perf-lines-{}", std::process::id()));
        let listener = UnixListener::bind(&socket).expect("a socket in the temporary folder");
        let own = env::current_exe().expect("this program");
        let child = Command::new(own).env(SOCKET, &socket).spawn().expect("this program starts again");
        let accept = || listener.accept().expect("a worker").0;
        let mut workers = [accept(), accept()];
        // The first worker's was connected first.
        for (number, stream) in workers.iter_mut().enumerate() {
            assert_eq!(answer(stream), number as u8);
        }
        fs::remove_file(&socket).expect("it is there");
        Self { child, workers }
    }

    fn step(&mut self, worker: usize, order: u8) {
        self.workers[worker].write_all(&[order]).expect("the worker listens");
        assert_eq!(answer(&mut self.workers[worker]), order);
    }

    fn snapshot(&self) -> Snapshot {
        let process = Path::new("/proc").join(self.child.id().to_string());
        let maps = fs::read_to_string(process.join("maps")).expect("its memory's map");
        let memory = File::open(process.join("mem")).expect("its memory");
        let writable =
            maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|rights| rights.starts_with("rw")));
        writable.filter_map(|line| read(&memory, line)).collect()
    }

    /// The lines that each worker writes in so many steps.
    fn written(&mut self, order: u8, steps: usize) -> [HashSet<u64>; 2] {
        let mut written = [HashSet::new(), HashSet::new()];
        for (worker, lines) in written.iter_mut().enumerate() {
            let before = self.snapshot();
            (0..steps).for_each(|_| self.step(worker, order));
            lines.extend(changed(&before, &self.snapshot()));
        }
        written
    }

    fn line(&self, line: u64) -> [u8; LINE as usize] {
        let memory =
            File::open(Path::new("/proc").join(self.child.id().to_string()).join("mem")).expect("its memory");
        let mut bytes = [0; LINE as usize];
        memory.read_exact_at(&mut bytes, line * LINE).expect("it was there before");
        bytes
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // Without a socket the workers end.
        for worker in &self.workers {
            let _ = worker.shutdown(std::net::Shutdown::Both);
        }
        let _ = self.child.wait();
    }
}

fn answer(stream: &mut UnixStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).expect("the worker answers");
    byte[0]
}

/// The bytes of a line of the map, unless they cannot be read.
fn read(memory: &File, line: &str) -> Option<(u64, Vec<u8>)> {
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    let (from, to) = (address(from)?, address(to)?);
    let mut bytes = vec![0; usize::try_from(to - from).ok()?];
    memory.read_exact_at(&mut bytes, from).ok()?;
    Some((from, bytes))
}

fn changed(before: &Snapshot, after: &Snapshot) -> HashSet<u64> {
    let mut lines = HashSet::new();
    for (from, bytes) in after {
        let Some((_, earlier)) =
            before.iter().find(|(start, earlier)| start == from && earlier.len() == bytes.len())
        else {
            continue;
        };
        let pairs = earlier.chunks(LINE as usize).zip(bytes.chunks(LINE as usize));
        lines.extend(
            (from / LINE..).zip(pairs).filter(|(_, (one, other))| one != other).map(|(line, _)| line),
        );
    }
    lines
}

fn common(written: &[HashSet<u64>; 2]) -> Vec<u64> {
    written[0].intersection(&written[1]).copied().collect()
}

fn look_at_workers() {
    let mut subject = Subject::start();
    // What is done once in a life is done.
    for worker in [0, 1].repeat(500) {
        subject.step(worker, FORWARD);
    }
    let written = subject.written(SHARE, 1);
    assert_eq!(common(&written).len(), 1, "what both write is seen");

    let written = subject.written(FORWARD, 1000);
    let counts = [written[0].len(), written[1].len()];
    // A line for each record at least.
    assert!(counts.iter().all(|count| *count as u64 > CONNECTIONS / 4), "{counts:?} lines were written");
    let shared = common(&written);
    println!("64,000 packets each: {counts:?} lines written, {} by both", shared.len());
    assert!(shared.is_empty(), "lines that both write: {shared:x?}");

    (0..2).for_each(|worker| subject.step(worker, AGE));
    let written = subject.written(OPEN, 500);
    let shared = common(&written);
    println!("500 connections each: {} lines written by both", shared.len());
    assert_eq!(shared.len(), 1, "the number of states that there are: {shared:x?}");
    let mut looks = 0;
    let mut last = subject.line(shared[0]);
    for _ in 0..500 {
        subject.step(0, OPEN);
        let now = subject.line(shared[0]);
        looks += usize::from(now != last);
        last = now;
    }
    println!("500 connections more: {looks} writes to it");
    assert!(looks <= 1000 / STATES_PER_LOOK + 1, "{looks} writes for 1000 states");
    assert!(looks > 0, "states are counted");
}
