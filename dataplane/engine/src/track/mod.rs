//! Tracking of connections: pure transitions from (both peers, segment) to (both peers, verdict).
//!
//! Overview: nothing here knows of tables, rules or frames. A transition takes the two ends of a connection as the packet
//! sees them, `from` its sender and `to` its receiver, and returns what they become; the caller commits the result, once,
//! or not at all. So a refused packet cannot change a connection.

use ruleset::PeerState;
use wire::{Seq, TcpFlags};

/// One end of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// How far it has come.
    pub state: PeerState,
    /// TCP: a packet of this end was seen, so that the numbers below mean something (pf: `seqlo != 0`).
    pub seen: bool,
    /// TCP: the sequence number behind the last octet it sent.
    pub seqlo: Seq,
    /// TCP: the highest sequence number that the other end's window lets it send.
    pub seqhi: Seq,
    /// TCP: the largest window it announced, unscaled as it was on the wire.
    pub max_win: u16,
    /// TCP: the shift that it announced for its windows, at most 14; `None` if it announced none or it is not known.
    pub wscale: Option<u8>,
    /// TCP: what is added to its sequence numbers on the other side (`modulate state`, synproxy).
    pub seqdiff: u32,
}

/// What tracking needs of a TCP segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Control bits.
    pub flags: TcpFlags,
    /// Sequence number of the first octet, or of the SYN.
    pub seq: Seq,
    /// Acknowledgment number; meaningful with ACK only.
    pub ack: Seq,
    /// The window field, as on the wire.
    pub window: u16,
    /// Octets of payload.
    pub len: u32,
    /// The window scale option's shift, at most 14, if the segment has the option.
    pub wscale: Option<u8>,
}
