//! From frames to packets.

mod corpus;
mod random;
mod refusals;
mod transport;

use engine::{Packet, Parsed, RxChecksum, Zone, parse};
use ruleset::Reason;

/// What the parser says of a frame whose checksum the NIC did not look at.
fn parsed(frame: &[u8]) -> Result<Parsed, Reason> {
    parse(frame, Zone(7), RxChecksum::Unknown)
}

/// The packet in a frame that has one.
fn packet(frame: &[u8]) -> Packet {
    match parsed(frame) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("no packet: {other:?}"),
    }
}

/// The reason that a frame is refused for.
fn refused(frame: &[u8]) -> Reason {
    match parsed(frame) {
        Err(reason) => reason,
        Ok(parsed) => panic!("not refused: {parsed:?}"),
    }
}
