//! The packet log: whole at any time, bounded, and gone on with after whatever happened to it.
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and time")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use api::pflog::{FILE_HEADER_BYTES, LogEntry, file_header, record};
use common::fake::Fake;
use common::{Daemon, Folder, wait};
use ruleset::Direction;
use turnpike_control::pflog::{Bounds, LogFile};

const ROOMY: Bounds = Bounds { file_bytes: 1 << 20, kept: 2 };

/// A UDP datagram from port `port`, of IPv4 or, for odd ports, of IPv6.
fn entry(port: u16) -> LogEntry {
    let six = port % 2 == 1;
    let (source, destination) = if six { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
    let mut bytes = if six {
        let mut header = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        header.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        header.extend("2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        header
    } else {
        vec![0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]
    };
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 53, 0, 8, 0, 0]);
    LogEntry {
        seconds: 1_700_000_000,
        nanoseconds: 0,
        interface: "wan0".into(),
        direction: Direction::In,
        passed: false,
        reason: 0,
        rule: Some(7),
        anchor: None,
        ruleset: String::new(),
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        source_port: port,
        destination_port: 53,
        length: bytes.len() as u32,
        bytes,
    }
}

/// What tcpdump makes of a file, a line a packet; it must like every byte of it.
fn read(path: &Path) -> Vec<String> {
    let done = Command::new("tcpdump").args(["-n", "-e", "-t", "-r"]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && !said.contains("truncated"), "{}: {said}", path.display());
    String::from_utf8_lossy(&done.stdout).lines().map(str::to_owned).collect()
}

fn line(port: u16) -> String {
    let (source, destination) =
        if port % 2 == 1 { ("2001:db8::1", "2001:db8::2") } else { ("192.0.2.1", "192.0.2.2") };
    format!("rule 7/0(match): block in on wan0: {source}.{port} > {destination}.53: ")
}

/// The packets in a file are those of these ports, in this order.
fn expect(path: &Path, ports: &[u16]) {
    let lines = read(path);
    assert_eq!(lines.len(), ports.len(), "{lines:#?}");
    for (found, port) in lines.iter().zip(ports) {
        assert!(found.contains(&line(*port)), "{found:?} is not {:?}", line(*port));
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    PathBuf::from(format!("{}.{number}", path.display()))
}

#[test]
fn a_file_is_whole_after_every_batch() {
    let folder = Folder::new();
    let path = folder.path("pflog");
    let mut log = LogFile::open(&path, ROOMY).unwrap();
    expect(&path, &[]);
    log.append(&[entry(1000), entry(1001)]).unwrap();
    expect(&path, &[1000, 1001]);
    log.append(&[]).unwrap();
    log.append(&[entry(1002)]).unwrap();
    expect(&path, &[1000, 1001, 1002]);
}

#[test]
fn a_file_that_a_crash_cut_off_anywhere_is_gone_on_with() {
    let folder = Folder::new();
    let path = folder.path("pflog");
    let mut bytes = file_header().to_vec();
    let mut ends = vec![(0, 0), (bytes.len(), 0)];
    for port in [1000, 1001] {
        bytes.extend(record(&entry(port)));
        ends.push((bytes.len(), ends.len() - 1));
    }
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let mut log = LogFile::open(&path, ROOMY).unwrap();
        log.append(&[entry(1002)]).unwrap();
        let whole = ends.iter().rev().find(|(end, _)| *end <= cut).unwrap().1;
        let wanted = [&record(&entry(1000))[..], &record(&entry(1001))[..]][..whole].concat();
        let wanted = [&file_header()[..], &wanted, &record(&entry(1002))].concat();
        assert_eq!(fs::read(&path).unwrap(), wanted, "cut after {cut} bytes");
    }
    assert!(!numbered(&path, 1).exists(), "nothing was put aside");
}

#[test]
fn what_is_no_packet_log_is_put_aside_and_not_lost() {
    let folder = Folder::new();
    let path = folder.path("pflog");
    let mut damaged = file_header().to_vec();
    // A record that says to be of 1 byte.
    damaged.extend([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    for found in [b"someone's notes".to_vec(), damaged, vec![0; 4096]] {
        fs::write(&path, &found).unwrap();
        let mut log = LogFile::open(&path, ROOMY).unwrap();
        log.append(&[entry(1000)]).unwrap();
        expect(&path, &[1000]);
        assert_eq!(fs::read(numbered(&path, 1)).unwrap(), found);
    }
    assert!(LogFile::open(&folder.0, ROOMY).is_err(), "a folder is no file");
}

#[test]
fn full_files_are_kept_up_to_a_number() {
    let folder = Folder::new();
    let path = folder.path("pflog");
    let record_bytes = record(&entry(1000)).len() as u64;
    // Room for two records of IPv4.
    let bounds = Bounds { file_bytes: FILE_HEADER_BYTES as u64 + 2 * record_bytes, kept: 2 };
    let mut log = LogFile::open(&path, bounds).unwrap();
    for port in [1000, 1002, 1004] {
        log.append(&[entry(port)]).unwrap();
    }
    expect(&path, &[1004]);
    expect(&numbered(&path, 1), &[1000, 1002]);
    // A batch for more than one file; the oldest file goes.
    log.append(&[entry(1006), entry(1008), entry(1010), entry(1012)]).unwrap();
    expect(&path, &[1012]);
    expect(&numbered(&path, 1), &[1008, 1010]);
    expect(&numbered(&path, 2), &[1004, 1006]);
    assert!(!numbered(&path, 3).exists());
    for file in [path.clone(), numbered(&path, 1), numbered(&path, 2)] {
        assert!(fs::metadata(&file).unwrap().len() <= bounds.file_bytes, "{}", file.display());
    }
    // A bound that no record fits in does not keep the log from growing by one record a file.
    drop(log);
    let mut log = LogFile::open(&path, Bounds { file_bytes: 1, kept: 0 }).unwrap();
    log.append(&[entry(1014)]).unwrap();
    expect(&path, &[1014]);
    log.append(&[entry(1016)]).unwrap();
    expect(&path, &[1016]);
}

fn bed() -> (Folder, Fake, Daemon, PathBuf) {
    let folder = Folder::new();
    let fake = Fake::start(&folder.path("dataplane.sock"));
    let daemon = Daemon::start(&folder);
    let path = folder.path("pflog");
    (folder, fake, daemon, path)
}

/// Has these packets logged, and waits until the file has them, and nothing else.
fn log_and_expect(fake: &Fake, path: &Path, ports: &[u16], all: &[u16]) {
    fake.state().logs.extend(ports.iter().map(|port| entry(*port)));
    wait("the packets in the file", || {
        let lines = if path.exists() { read(path) } else { Vec::new() };
        if lines.len() >= all.len() { Ok(()) } else { Err(format!("{lines:#?}")) }
    });
    expect(path, all);
}

#[test]
fn what_is_logged_is_in_the_file_and_after_logrotate_in_the_new_one() {
    let (_folder, fake, daemon, path) = bed();
    wait("a file, before anything is logged", || if path.exists() { Ok(()) } else { Err("none") });
    log_and_expect(&fake, &path, &[1000, 1001], &[1000, 1001]);

    let mut files = vec![path.clone()];
    for (number, signal) in ["USR1", "HUP"].into_iter().enumerate() {
        let moved = numbered(&path, 10 + number as u32);
        fs::rename(&path, &moved).unwrap();
        daemon.signal(signal);
        let port = 1002 + number as u16;
        log_and_expect(&fake, &path, &[port], &[port]);
        files.push(moved);
    }
    expect(&files[1], &[1000, 1001]);
    expect(&files[2], &[1002]);
    // Without a signal, it is noticed as well; a file that was emptied begins anew.
    fs::File::create(&path).unwrap();
    wait("the new beginning", || match fs::metadata(&path).unwrap().len() {
        0 => Err("it is empty"),
        _ => Ok(()),
    });
    log_and_expect(&fake, &path, &[1004], &[1004]);

    let (_, text) = daemon.scrape("/metrics");
    assert!(text.contains("turnpike_pflog_written_packets_total 5\n"), "{text}");
    assert!(text.contains("turnpike_pflog_failed_packets_total 0\n"));
}

#[test]
fn a_log_goes_on_after_control_was_killed_in_the_middle_of_a_record() {
    let (folder, fake, daemon, path) = bed();
    log_and_expect(&fake, &path, &[1000], &[1000]);
    daemon.kill();
    let half = record(&entry(1001));
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(&half[..half.len() / 2]);
    fs::write(&path, bytes).unwrap();
    let _daemon = Daemon::start(&folder);
    log_and_expect(&fake, &path, &[1002], &[1000, 1002]);
}

#[test]
fn a_log_that_cannot_be_written_is_told_once_counted_and_gone_on_with() {
    let folder = Folder::new();
    let fake = Fake::start(&folder.path("dataplane.sock"));
    fs::create_dir(folder.path("pflog")).unwrap();
    let daemon = Daemon::start(&folder);
    daemon.wait_for_log("logged packets are not written");
    fake.state().logs.extend([entry(1000), entry(1001)]);
    wait("the losses to be counted", || match daemon.scrape("/metrics").1 {
        text if text.contains("turnpike_pflog_failed_packets_total 2\n") => Ok(()),
        text => Err(text),
    });
    fs::remove_dir(folder.path("pflog")).unwrap();
    log_and_expect(&fake, &folder.path("pflog"), &[1002], &[1002]);
    daemon.wait_for_log("logged packets are written again");
    assert_eq!(daemon.log().matches("logged packets are not written").count(), 1);
}

#[test]
fn a_log_that_is_not_wanted_is_not_written() {
    let folder = Folder::new();
    let fake = Fake::start(&folder.path("dataplane.sock"));
    let daemon = Daemon::start_with(&folder, "pflog = \"\"");
    daemon.wait_for("the dataplane", |status| status.live.generation() > 0);
    assert!(!folder.path("pflog").exists());
    assert!(!daemon.scrape("/metrics").1.contains("pflog"));
    drop(fake);
}
