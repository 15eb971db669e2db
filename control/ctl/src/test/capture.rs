//! Packets of a capture file (pcap, draft-ietf-opsawg-pcap).

use anyhow::{bail, ensure};
use engine::Tick;
use wire::{EtherType, Mac};

use super::frame::{Link, ethernet_frame};

/// The octets in front of the packets.
const FILE_HEADER: usize = 24;
/// The octets in front of each packet.
const PACKET_HEADER: usize = 16;
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// LINKTYPE_ETHERNET, LINKTYPE_RAW.
const ETHERNET: u32 = 1;
const RAW: u32 = 101;

/// A packet as it was captured.
#[derive(Debug)]
pub struct Captured {
    /// Since the first one.
    pub after: Tick,
    pub frame: Vec<u8>,
}

/// The packets of a capture file.
pub fn read(file: &[u8]) -> anyhow::Result<Vec<Captured>> {
    let (Some((header, mut rest)), Some(magic)) =
        (file.split_at_checked(FILE_HEADER), file.first_chunk::<4>())
    else {
        bail!("too short for a pcap file");
    };
    let (big, nanoseconds) = match (u32::from_le_bytes(*magic), u32::from_be_bytes(*magic)) {
        (MICROSECONDS, _) => (false, 1000),
        (NANOSECONDS, _) => (false, 1),
        (_, MICROSECONDS) => (true, 1000),
        (_, NANOSECONDS) => (true, 1),
        _ => bail!("not a pcap file; `tcpdump -r FILE -w NEW` makes one of a pcapng file"),
    };
    let word = |octets: &[u8], at: usize| {
        let octets = [octets[at], octets[at + 1], octets[at + 2], octets[at + 3]];
        if big { u32::from_be_bytes(octets) } else { u32::from_le_bytes(octets) }
    };
    // Its upper bits say what a frame check sequence is like.
    let kind = word(header, 20) & 0xffff;
    ensure!(
        matches!(kind, ETHERNET | RAW),
        "packets of link type {kind}; Ethernet (1) and raw IP (101) are known"
    );
    let (mut packets, mut first) = (Vec::new(), None);
    while !rest.is_empty() {
        let Some((header, behind)) = rest.split_at_checked(PACKET_HEADER) else {
            bail!("packet {} is cut", packets.len() + 1);
        };
        let Some((octets, behind)) = behind.split_at_checked(word(header, 8) as usize) else {
            bail!("packet {} is cut", packets.len() + 1);
        };
        rest = behind;
        let (seconds, part) = (u64::from(word(header, 0)), u64::from(word(header, 4)));
        let at = Tick(seconds * 1_000_000_000 + part * nanoseconds);
        let after = at - *first.get_or_insert(at);
        packets.push(Captured { after, frame: if kind == RAW { framed(octets) } else { octets.to_vec() } });
    }
    Ok(packets)
}

/// An IP datagram in a frame.
fn framed(datagram: &[u8]) -> Vec<u8> {
    let version = datagram.first().map_or(0, |octet| octet >> 4);
    let ether_type = if version == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
    ethernet_frame(Link { from: Mac::default(), to: Mac::default() }, ether_type, datagram)
}
