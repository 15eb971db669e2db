//! Logged packets, and the form in which tcpdump(8) reads them: pcap with link type 117 and pf's 100-byte header.
//!
//! Bounds: a record is [`HEADER_BYTES`] and the bytes that the dataplane kept of the packet.

use core::net::IpAddr;

use ruleset::Direction;
use serde::{Deserialize, Serialize};

/// LINKTYPE_PFLOG.
pub const LINK_TYPE: u32 = 117;

/// The length of OpenBSD's `struct pfloghdr`, and of its copy here.
pub const HEADER_BYTES: usize = 100;

/// The most bytes of a record: header and packet.
pub const SNAP_BYTES: u32 = 65_535;

/// The length of what a pcap file begins with.
pub const FILE_HEADER_BYTES: usize = 24;

/// The length of what pcap puts before a record.
pub const RECORD_HEADER_BYTES: usize = 16;

/// A packet that a `log` rule recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEntry {
    /// When it was seen: whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: u64,
    /// The rest of that time, in nanoseconds.
    pub nanoseconds: u32,
    /// The interface of the hook.
    pub interface: String,
    /// The hook.
    pub direction: Direction,
    /// True if the packet passed.
    pub passed: bool,
    /// pf's number of the reason: the place of the `Reason` in its table.
    pub reason: u8,
    /// The rule, by its number in its ruleset; `None` where no rule matched.
    pub rule: Option<u32>,
    /// The call of the anchor that the rule stands in, by its number; `None` in the main ruleset.
    pub anchor: Option<u32>,
    /// The name of that anchor, without those above it.
    pub ruleset: String,
    /// The sender.
    pub source: IpAddr,
    /// The receiver, of the same family.
    pub destination: IpAddr,
    /// The sender's port, or 0.
    pub source_port: u16,
    /// The receiver's port, or 0.
    pub destination_port: u16,
    /// Bytes of the whole IP datagram.
    pub length: u32,
    /// Its first bytes.
    pub bytes: Vec<u8>,
}

/// What a pcap file begins with.
pub fn file_header() -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[0..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&SNAP_BYTES.to_le_bytes());
    header[20..24].copy_from_slice(&LINK_TYPE.to_le_bytes());
    header
}

/// A record of a pcap file: pcap's header, pf's header, the packet.
pub fn record(entry: &LogEntry) -> Vec<u8> {
    let captured = (HEADER_BYTES + entry.bytes.len()) as u32;
    let original = HEADER_BYTES as u32 + entry.length;
    let mut out = Vec::with_capacity(RECORD_HEADER_BYTES + captured as usize);
    for field in [entry.seconds as u32, entry.nanoseconds / 1000, captured, original] {
        out.extend(field.to_le_bytes());
    }
    out.extend(pf_header(entry));
    out.extend(&entry.bytes);
    out
}

/// `struct pfloghdr` of OpenBSD 7.8; numbers are big-endian.
fn pf_header(entry: &LogEntry) -> [u8; HEADER_BYTES] {
    // if_pflog.h: a rule that there is not, a socket and a process that are not known.
    const NO_RULE: u32 = u32::MAX;
    const NO_USER: u32 = u32::MAX;
    const NO_PROCESS: u32 = 100_000;
    let (af, source, destination) = match (entry.source, entry.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (2, v4(source.octets()), v4(destination.octets())),
        // OpenBSD's number of the family: with Linux' own, tcpdump would print octets.
        (source, destination) => (24, v6(source), v6(destination)),
    };
    let mut header = [0; HEADER_BYTES];
    header[0] = HEADER_BYTES as u8;
    header[1] = af;
    header[2] = u8::from(!entry.passed);
    header[3] = entry.reason;
    // The kernel's names have 15 bytes and a NUL.
    let name = &entry.interface.as_bytes()[..entry.interface.len().min(15)];
    header[4..4 + name.len()].copy_from_slice(name);
    let ruleset = &entry.ruleset.as_bytes()[..entry.ruleset.len().min(15)];
    header[20..20 + ruleset.len()].copy_from_slice(ruleset);
    let rule = entry.rule.unwrap_or(NO_RULE);
    // As in pf, a rule of an anchor stands behind the call of that anchor.
    let (rule, subrule) = entry.anchor.map_or((rule, NO_RULE), |anchor| (anchor, rule));
    for (number, field) in [rule, subrule, NO_USER, NO_PROCESS, 0, NO_PROCESS].into_iter().enumerate() {
        header[36 + 4 * number..40 + 4 * number].copy_from_slice(&field.to_be_bytes());
    }
    header[60] = match entry.direction {
        Direction::In => 1,
        Direction::Out => 2,
    };
    header[62] = af;
    header[64..80].copy_from_slice(&source);
    header[80..96].copy_from_slice(&destination);
    header[96..98].copy_from_slice(&entry.source_port.to_be_bytes());
    header[98..100].copy_from_slice(&entry.destination_port.to_be_bytes());
    header
}

fn v4(octets: [u8; 4]) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&octets);
    address
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
