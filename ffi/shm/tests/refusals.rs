//! Files that are no segment, or no longer one, and layouts out of bounds.

use std::fs;
use std::path::PathBuf;

use shm::layout::{BLOCKS_MAX, COUNTERS_MAX, NAME_BYTES_MAX};
use shm::{Error, Layout, Reader, Segment};

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("shm-refusals-{name}-{}", std::process::id()))
}

/// The bytes of a sound segment, and how many of them are its header.
fn sound(name: &str) -> (PathBuf, Vec<u8>, usize) {
    let path = path(name);
    let layout =
        Layout::new().block("a", ["x", "y"]).and_then(|l| l.block("b", ["z"])).expect("within bounds");
    let segment = Segment::create(&path, layout).expect("a new segment");
    segment.take("b").expect("free")[0].add(9);
    let bytes = fs::read(&path).expect("readable");
    // 48 fixed bytes, then each name with its length, and two counts of four bytes.
    (path, bytes, 48 + 5 * 2 + 2 * 4)
}

#[test]
fn every_truncation_is_refused() {
    let (path, bytes, header) = sound("truncated");
    for len in 0..bytes.len() {
        fs::write(&path, &bytes[..len]).expect("writable");
        let refused = Reader::open(&path).expect_err("cut off");
        let Error::Truncated { found, expected, .. } = refused else { panic!("{len}: {refused}") };
        let known = if len < 48 {
            48
        } else if len < header {
            header
        } else {
            bytes.len()
        };
        assert_eq!((found, expected), (len as u64, known as u64));
    }
    fs::write(&path, &bytes).expect("writable");
    assert_eq!(Reader::open(&path).expect("whole again").sum("z"), Some(9));
    fs::write(&path, [&bytes[..], &[0; 100]].concat()).expect("writable");
    assert_eq!(Reader::open(&path).expect("what follows is ignored").sum("z"), Some(9));
    fs::remove_file(path).expect("ours");
}

#[test]
fn every_damaged_byte_of_the_header_is_refused() {
    let (path, bytes, header) = sound("damaged");
    for at in 0..header {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            fs::write(&path, &damaged).expect("writable");
            let refused = Reader::open(&path).expect_err("damaged");
            let as_expected = match at {
                0..8 => matches!(refused, Error::Foreign(_)),
                8..12 => matches!(refused, Error::Version { expected: 1, .. }),
                12..16 => matches!(refused, Error::Corrupt { .. } | Error::Truncated { .. }),
                _ => matches!(refused, Error::Corrupt { what: "checksum of the header", .. }),
            };
            assert!(as_expected, "byte {at} ^ {flip:#x}: {refused}");
        }
    }
    fs::remove_file(path).expect("ours");
}

#[test]
fn foreign_files_are_refused() {
    let path = path("foreign");
    for content in [&b"# HELP counters in text\n"[..], &[0; 4096], &[0xff; 4096], b"COUNTERS"] {
        fs::write(&path, content).expect("writable");
        let refused = Reader::open(&path).expect_err("not a segment").to_string();
        assert!(refused.ends_with("is not a counter segment; check the path"), "{refused}");
    }
    fs::remove_file(path).expect("ours");
    assert!(matches!(Reader::open(&std::env::temp_dir()), Err(Error::Io { .. })));
}

#[test]
fn layouts_out_of_bounds_are_refused() {
    let refusal = |layout: shm::Result<Layout>| layout.expect_err("out of bounds").to_string();
    let one = || Layout::new().block("a", ["x"]).expect("within bounds");
    assert_eq!(refusal(one().block("a", ["y"])), "bad layout: block \"a\": the name is taken");
    let twice = refusal(one().block("b", ["x", "y", "x"]));
    assert_eq!(twice, "bad layout: block \"b\": the counter \"x\" appears twice");
    assert!(refusal(one().block("", ["x"])).contains("\"\" is not a name of 1 to 255 bytes"));
    assert!(refusal(one().block("b", [""])).contains("\"\" is not a name"));
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(refusal(one().block("b", [&long])).contains("is not a name of 1 to 255 bytes"));
    one().block(&long[1..], [&long[1..]]).expect("exactly the bound");
    let many = |count: usize| (0..count).map(|i| i.to_string());
    assert!(refusal(one().block("b", many(COUNTERS_MAX))).contains("at most 1048576 counters"));
    one().block("b", many(COUNTERS_MAX - 1)).expect("exactly the bound");
    let full = many(BLOCKS_MAX).try_fold(Layout::new(), |l, name| l.block(&name, ["x"])).expect("the bound");
    assert!(refusal(full.block("one more", ["x"])).contains("at most 4096 blocks"));
}

#[test]
fn the_largest_segment_works() {
    let path = path("largest");
    let counters = (0..COUNTERS_MAX / 2).map(|i| format!("counter{i}"));
    let empty = Layout::new().block("empty", [""; 0]).expect("a block may be empty");
    let layout = empty.block("a", counters.clone()).and_then(|l| l.block("b", counters)).expect("the bound");
    let segment = Segment::create(&path, layout).expect("8 MiB of counters");
    let block = segment.take("b").expect("free");
    block[COUNTERS_MAX / 2 - 1].add(3);
    let reader = Reader::open(&path).expect("just made");
    assert_eq!(reader.sum(&format!("counter{}", COUNTERS_MAX / 2 - 1)), Some(3));
    assert_eq!(reader.block("empty"), Some(Vec::new()));
    fs::remove_file(path).expect("ours");
}
