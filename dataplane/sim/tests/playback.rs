//! `sim --pcap-dir`: captures of every kind are played, whatever else is in the folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use engine::{InterfaceId, Tick};
use sim::capture::Capture;
use sim::playback::{RULES, Recording};
use wire::corpus;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("turnpike-{name}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("below")).expect("a folder");
        Self(path)
    }

    fn put(&self, name: &str, octets: &[u8]) {
        std::fs::write(self.0.join(name), octets).expect("a file");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pcap file in the order of bytes of `word`, of a link type.
fn pcap(word: fn(u32) -> [u8; 4], link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let version = if word(1)[0] == 1 { [2, 0, 4, 0] } else { [0, 2, 0, 4] };
    let mut file = word(0xa1b2_c3d4).to_vec();
    file.extend(version);
    file.extend([0, 0, 65_535, link].into_iter().flat_map(word));
    for (second, packet) in (0..).zip(packets) {
        let length = packet.len() as u32;
        file.extend([second, 0, length, length].into_iter().flat_map(word));
        file.extend(packet);
    }
    file
}

/// Sound frames of every kind, and damaged ones.
fn frames() -> Vec<Vec<u8>> {
    let good = corpus::packets().into_iter().map(|(_, frame)| frame);
    good.chain(corpus::malformed().into_iter().map(|(_, frame, _)| frame)).collect()
}

fn sim(folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).arg("--pcap-dir").arg(folder).output().expect("sim runs")
}

#[test]
fn a_folder_of_captures_is_played_with_full_accounting() {
    let folder = Folder::new("playback");
    let frames = frames();
    folder.put("little.pcap", &pcap(u32::to_le_bytes, 1, &frames));
    folder.put("below/big.cap", &pcap(u32::to_be_bytes, 1, &frames));
    let datagrams: Vec<Vec<u8>> =
        frames.iter().filter_map(|frame| frame.get(14..)).map(<[u8]>::to_vec).collect();
    folder.put("raw.pcap", &pcap(u32::to_le_bytes, 101, &datagrams));
    folder.put("wifi.pcap", &pcap(u32::to_le_bytes, 105, &datagrams));
    let cut = pcap(u32::to_le_bytes, 1, &frames);
    folder.put("cut.pcap", &cut[..cut.len() - 1]);
    folder.put("notes.txt", b"not a capture at all, but long enough to be one");
    folder.put("empty", b"");
    std::os::unix::fs::symlink(&folder.0, folder.0.join("below/itself")).expect("a link");
    let mut capture = Capture::new(["em0", "em1"]);
    for (second, frame) in (0..).zip(&frames) {
        capture.record(Tick::from_secs(second), InterfaceId(second as u16 % 2), frame);
    }
    std::fs::rename(
        capture.save(&format!("playback-{}", std::process::id())).unwrap(),
        folder.0.join("ng.pcapng"),
    )
    .expect("one file system");
    let done = sim(&folder.0);
    let (out, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{out}{errors}");
    let count = frames.len();
    for line in [
        format!("little.pcap: {count} frames\n"),
        format!("below/big.cap: {count} frames\n"),
        format!("ng.pcapng: {count} frames\n"),
        format!("raw.pcap: {} frames\n", datagrams.len()),
        format!("cut.pcap: {} frames, damaged behind frame {}\n", count - 1, count - 1),
        format!(
            "wifi.pcap: {} frames, read as those of Ethernet: links of type 105 are not known\n",
            datagrams.len()
        ),
        "notes.txt: no capture\n".into(),
        format!("6 captures and 2 other files, of {} frames\n", 4 * count - 1 + 2 * datagrams.len()),
    ] {
        assert!(out.contains(&line), "{line}\n{out}");
    }
    let played = 2 * RULES.len() * (4 * count - 1 + 2 * datagrams.len());
    assert!(out.contains(&format!(" {played} frames, all accounted for")), "{played}\n{out}");
    for named in ["\n  sent on  ", "\ndropped:\n", "\n  ip-option        ", "\n  short            "] {
        assert!(out.contains(named), "{named}\n{out}");
    }
}

#[test]
fn times_are_as_fine_as_a_capture_says() {
    let frames = frames();
    let after = |file: &[u8]| Recording::read(file).expect("a capture").frames[1].after;
    let mut file = pcap(u32::to_le_bytes, 1, &frames[..2]);
    // The second frame's: one second, and so much.
    let at = 24 + 16 + frames[0].len() + 4;
    file[at..at + 4].copy_from_slice(&500_u32.to_le_bytes());
    assert_eq!(after(&file), Tick(1_000_500_000), "microseconds");
    file[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    assert_eq!(after(&file), Tick(1_000_000_500), "nanoseconds");
    let mut capture = Capture::new(["em0"]);
    for (frame, at) in frames.iter().zip([Tick(7), Tick(1_000_000_507)]) {
        capture.record(at, InterfaceId(0), frame);
    }
    assert_eq!(after(capture.bytes()), Tick(1_000_000_500), "pcapng, nanoseconds");
}

#[test]
fn what_is_played_crosses_the_firewall() {
    let conversation: Vec<Vec<u8>> = corpus::packets()
        .into_iter()
        .filter(|(name, _)| name.contains("udp"))
        .map(|(_, frame)| frame)
        .collect();
    let file = pcap(u32::to_le_bytes, 1, &conversation);
    let recording = Recording::read(&file[..]).expect("a capture");
    assert_eq!((recording.frames.len(), &recording.fault), (conversation.len(), &None));
    let account = recording.play(RULES[0], 1);
    assert!(account.ledger.transmitted > 0, "{account:?}");
    assert!(recording.play("block\n", 1).ledger.transmitted == 0);
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let done = sim(Path::new("/nonexistent/folder"));
    assert_eq!(done.status.code(), Some(1));
    let done = Command::new(env!("CARGO_BIN_EXE_sim")).output().expect("sim runs");
    assert_eq!(done.status.code(), Some(2));
}
