//! Everything that was on the links, as a pcapng file (draft-ietf-opsawg-pcapng), for `tcpdump` and Wireshark.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use engine::{InterfaceId, Tick};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const ETHERNET: u32 = 1;

/// `if_name`, and `if_tsresol` with nanoseconds.
const NAME: u16 = 2;
const RESOLUTION: u16 = 9;
const NANOSECONDS: u8 = 9;

/// A capture in memory.
#[derive(Clone, Debug)]
pub struct Capture {
    bytes: Vec<u8>,
    frames: u64,
    digest: u64,
}

impl Capture {
    /// An empty capture of interfaces with these names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut capture = Self { bytes: Vec::new(), frames: 0, digest: 0xcbf2_9ce4_8422_2325 };
        let mut section = words(&[BYTE_ORDER, 1]);
        section.extend([0xff; 8]); // Its length is not known in advance.
        capture.block(SECTION, &section);
        for name in names {
            let mut interface = words(&[ETHERNET, 0]);
            option(&mut interface, NAME, name.as_bytes());
            option(&mut interface, RESOLUTION, &[NANOSECONDS]);
            interface.extend([0; 4]);
            capture.block(INTERFACE, &interface);
        }
        capture
    }

    /// Adds a frame that was on the link of an interface.
    pub fn record(&mut self, now: Tick, interface: InterfaceId, frame: &[u8]) {
        let (high, low) = ((now.0 >> 32) as u32, now.0 as u32);
        let length = frame.len() as u32;
        let mut packet = words(&[interface.0.into(), high, low, length, length]);
        packet.extend(frame);
        let start = self.bytes.len();
        self.block(PACKET, &packet);
        self.frames += 1;
        // FNV-1a: two runs were the same if this is.
        for octet in &self.bytes[start..] {
            self.digest = (self.digest ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let length = (padded + 12) as u32;
        self.bytes.extend(words(&[kind, length]));
        self.bytes.extend(body);
        self.bytes.resize(self.bytes.len() + padded - body.len(), 0);
        self.bytes.extend(length.to_le_bytes());
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many frames there are.
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// A number that depends on every frame, its time and its place.
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Writes the file into the directory for temporary files; returns its path.
    ///
    /// # Errors
    /// What the file system says.
    pub fn save(&self, name: &str) -> io::Result<PathBuf> {
        let path = std::env::temp_dir().join(Path::new(name).with_extension("pcapng"));
        fs::write(&path, &self.bytes)?;
        Ok(path)
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}
