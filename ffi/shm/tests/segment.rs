//! One writer, one reader, in one process or two.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use shm::{Change, Error, Layout, Reader, Segment};

/// A path in a folder of its own, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let folder = std::env::temp_dir().join(format!("shm-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        Scratch(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("counters")
    }

    fn files(&self) -> usize {
        fs::read_dir(&self.0).expect("exists").count()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn layout() -> Layout {
    let worker = ["rx", "tx", "drop"];
    let layout = Layout::new().block("worker0", worker).and_then(|l| l.block("worker1", worker));
    layout.and_then(|l| l.block("ports", ["link", "drop"])).expect("within bounds")
}

#[test]
fn what_is_counted_is_read() {
    let scratch = Scratch::new("counted");
    let segment = Segment::create(&scratch.path(), layout()).expect("a new segment");
    let reader = Reader::open(&scratch.path()).expect("just made");
    assert_eq!((reader.generation(), reader.layout()), (1, &layout()));
    assert_eq!(reader.sum("drop"), Some(0));

    let (first, second) = (segment.take("worker0").expect("free"), segment.take("worker1").expect("free"));
    let ports = segment.take("ports").expect("free");
    first[0].add(3);
    first[2].add(1);
    second[2].add(10);
    ports[0].set(1);
    ports[1].add(100);
    assert_eq!((first.len(), ports.len(), first[0].get()), (3, 2, 3));
    assert_eq!(reader.block("worker0"), Some(vec![3, 0, 1]));
    assert_eq!((reader.sum("drop"), reader.sum("rx")), (Some(111), Some(3)));
    assert_eq!(reader.value("ports", "link"), Some(1));
    let all: Vec<_> = reader.blocks().collect();
    assert_eq!(all, [("worker0", vec![3, 0, 1]), ("worker1", vec![0, 0, 10]), ("ports", vec![1, 100])]);
    assert_eq!(
        (reader.block("worker2"), reader.value("ports", "rx"), reader.sum("none")),
        (None, None, None)
    );

    ports[0].set(u64::MAX);
    ports[0].add(2);
    assert_eq!(reader.value("ports", "link"), Some(1), "wraps");
}

#[test]
fn each_block_has_one_owner() {
    let scratch = Scratch::new("owner");
    let segment = Segment::create(&scratch.path(), layout()).expect("a new segment");
    let block = segment.take("worker0").expect("free");
    assert!(matches!(segment.take("worker0"), Err(Error::BlockTaken(name)) if name == "worker0"));
    assert!(matches!(segment.take("worker7"), Err(Error::NoBlock(name)) if name == "worker7"));
    // The block outlives the segment, and the lock with it.
    drop(segment);
    block[0].add(1);
    let reader = Reader::open(&scratch.path()).expect("still there");
    assert_eq!((reader.sum("rx"), reader.writer_lives().expect("an open file")), (Some(1), true));
    drop(block);
    assert!(!reader.writer_lives().expect("an open file"));
}

#[test]
fn blocks_share_no_cache_line() {
    let scratch = Scratch::new("lines");
    let names: Vec<String> = (0..17).map(|i| format!("c{i}")).collect();
    let layout = Layout::new().block("a", &names).and_then(|l| l.block("b", ["x"])).expect("within bounds");
    let segment = Segment::create(&scratch.path(), layout).expect("a new segment");
    let (a, b) = (segment.take("a").expect("free"), segment.take("b").expect("free"));
    let line = |counter: &shm::Counter| std::ptr::from_ref(counter).addr() / 64;
    assert!(a.iter().all(|counter| line(counter) != line(&b[0])));
    assert_eq!(std::ptr::from_ref(&a[0]).addr() % 128, 0);
}

#[test]
fn two_threads_count_into_their_blocks() {
    const EACH: u64 = 200_000;
    let scratch = Scratch::new("threads");
    let segment = Segment::create(&scratch.path(), layout()).expect("a new segment");
    let reader = Reader::open(&scratch.path()).expect("just made");
    std::thread::scope(|scope| {
        for name in ["worker0", "worker1"] {
            let block = segment.take(name).expect("free");
            scope.spawn(move || (0..EACH).for_each(|_| block[0].add(1)));
        }
        let mut last = 0;
        while last < 2 * EACH {
            let sum = reader.sum("rx").expect("two blocks have it");
            assert!(sum >= last, "counters never go back");
            last = sum;
            std::thread::yield_now();
        }
        assert_eq!(last, 2 * EACH);
    });
}

#[test]
fn a_second_writer_is_refused() {
    let scratch = Scratch::new("second");
    let segment = Segment::create(&scratch.path(), layout()).expect("a new segment");
    let block = segment.take("worker0").expect("free");
    block[0].add(5);
    let reader = Reader::open(&scratch.path()).expect("just made");
    let refused = Segment::create(&scratch.path(), layout()).expect_err("in use");
    assert!(
        refused
            .to_string()
            .ends_with("is being written by another process; stop that one, or choose another path")
    );
    block[0].add(1);
    assert_eq!(
        (reader.sum("rx"), scratch.files()),
        (Some(6), 1),
        "the first goes on, and nothing is left beside it"
    );
    // One that is just starting holds the file beside it.
    let starting = fs::File::create(scratch.path().with_extension("new")).expect("writable");
    starting.lock().expect("nobody holds it");
    drop((segment, block));
    assert!(matches!(Segment::create(&scratch.path(), layout()), Err(Error::InUse(_))));
    starting.unlock().expect("it is held");
    let next = Segment::create(&scratch.path(), layout()).expect("a leftover of a dead process is used up");
    assert_eq!((next.generation(), scratch.files()), (2, 1));
}

#[test]
fn a_restart_is_noticed() {
    let scratch = Scratch::new("restart");
    let first = Segment::create(&scratch.path(), layout()).expect("a new segment");
    first.take("worker0").expect("free")[0].add(7);
    let mut reader = Reader::open(&scratch.path()).expect("just made");
    assert_eq!(reader.refresh().expect("the file is there"), Change::None);
    drop(first);
    assert_eq!(reader.refresh().expect("the file is there"), Change::None, "a dead writer leaves its counts");
    assert!(!reader.writer_lives().expect("an open file"));

    let other = Layout::new().block("new", ["rx"]).expect("within bounds");
    let second = Segment::create(&scratch.path(), other.clone()).expect("the first is gone");
    second.take("new").expect("free")[0].add(1);
    assert_eq!(reader.sum("rx"), Some(7), "the old mapping stays readable");
    assert_eq!(reader.refresh().expect("the file is there"), Change::Restarted);
    assert_eq!((reader.generation(), reader.layout(), reader.sum("rx")), (2, &other, Some(1)));
    assert!(reader.writer_lives().expect("an open file"));

    // A refusal keeps what was open.
    drop(second);
    fs::remove_file(scratch.path()).expect("ours");
    assert!(reader.refresh().is_err());
    fs::write(scratch.path(), "something else").expect("writable");
    assert!(reader.refresh().is_err());
    assert_eq!((reader.generation(), reader.sum("rx")), (2, Some(1)));
    // A writer does not mind what was there.
    assert_eq!(Segment::create(&scratch.path(), layout()).expect("replaces it").generation(), 1);
}

#[test]
fn the_group_may_read() {
    let scratch = Scratch::new("mode");
    let _segment = Segment::create(&scratch.path(), layout()).expect("a new segment");
    let mode = fs::metadata(scratch.path()).expect("exists").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn a_folder_that_is_absent_is_named() {
    let path = Path::new("/nonexistent/counters");
    let refused = Segment::create(path, layout()).expect_err("no such folder").to_string();
    assert_eq!(refused, "cannot create /nonexistent/counters.new: No such file or directory (os error 2)");
    let refused = Reader::open(path).expect_err("no such file").to_string();
    assert_eq!(refused, "cannot open /nonexistent/counters: No such file or directory (os error 2)");
}

/// The path for a child that writes; see [`Writer`].
const CHILD: &str = "SHM_TEST_CHILD";

/// Not a test of its own: this binary, run again as the writing process.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let segment = Segment::create(Path::new(&path), layout()).expect("the last writer is dead");
    let block = segment.take("worker1").expect("free");
    block[1].add(41 + segment.generation());
    println!("\nwriting");
    std::io::stdin().lines().for_each(drop);
}

/// Another process that writes.
struct Writer(Child);

impl Writer {
    fn start(path: &Path) -> Writer {
        let binary = std::env::current_exe().expect("this test");
        let mut child = Command::new(binary)
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("runs again");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        output.lines().map_while(Result::ok).find(|line| line == "writing").expect("the child writes");
        Writer(child)
    }

    fn kill(mut self) {
        self.0.kill().expect("is ours");
        self.0.wait().expect("was killed");
    }
}

#[test]
fn a_killed_process_is_noticed_and_succeeded() {
    let scratch = Scratch::new("killed");
    let writer = Writer::start(&scratch.path());
    let mut reader = Reader::open(&scratch.path()).expect("the child made it");
    assert_eq!((reader.generation(), reader.sum("tx")), (1, Some(42)));
    assert!(reader.writer_lives().expect("an open file"));
    assert!(matches!(Segment::create(&scratch.path(), layout()), Err(Error::InUse(_))));

    writer.kill();
    assert!(!reader.writer_lives().expect("an open file"));
    assert_eq!(reader.sum("tx"), Some(42), "its last counts stay");
    let writer = Writer::start(&scratch.path());
    assert_eq!(reader.refresh().expect("the file is there"), Change::Restarted);
    assert_eq!((reader.generation(), reader.sum("tx")), (2, Some(43)));
    writer.kill();
}
