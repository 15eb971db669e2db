//! Tracking of connections: pure transitions from (both peers, segment) to (both peers, verdict).
//!
//! Overview: nothing here knows of tables, rules or frames. A transition takes the two ends of a connection as the packet
//! sees them, `from` its sender and `to` its receiver, and returns what they become; the caller commits the result, once,
//! or not at all. So a refused packet cannot change a connection.
//!
//! [`sanity`] judges a segment's flags before there is a state. [`open_tcp`] makes a state of its first segment and
//! [`tcp()`] follows it, strictly or `sloppy`; [`established()`] does the same, faster, for most of its segments. [`Datagram`]
//! does both for UDP, ICMP queries and other protocols. [`proxy()`] follows the handshakes that are completed for a server. [`icmp_error()`] judges the TCP segment that an ICMP error quotes.
//! [`stamps()`] judges, and changes, the timestamps of a segment that [`tcp()`] has let pass.
//!
//! Ownership: values in, values out. Bounds: constant time, no memory; sequence numbers are modulo 2³² throughout.

mod datagram;
mod established;
mod flags;
mod icmp_error;
mod proxy;
mod sloppy;
mod stamps;
mod tcp;
mod window;

use ruleset::PeerState;
use wire::{Seq, TcpFlags};

pub use datagram::Datagram;
pub use established::{Advance, End, Plain, established};
pub use flags::{IllegalFlags, sanity};
pub use icmp_error::{QuotedOutside, icmp_error};
pub use proxy::{ProxyOutcome, ProxySide, await_client, is_proxied, proxy};
pub use stamps::{
    BadTimestamp, Moment as StampMoment, Restamped, Said, Stamps, UNITS as STAMP_UNITS, stamps, timestamps_of,
};
pub use tcp::{TcpOutcome, open_tcp, tcp};
pub use window::{Measure, WindowCheck, measure};

/// The largest shift that a window scale option can ask for (RFC 7323 §2.3).
pub const WSCALE_MAX: u8 = 14;

/// How closely TCP is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Sequence numbers, acknowledgments and windows must fit.
    #[default]
    Strict,
    /// Flags only: pf.conf(5) `keep state (sloppy)`, for paths that see one direction.
    Sloppy,
}

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

impl Peer {
    /// An end that has sent nothing that is known of, in the given state.
    pub(crate) const fn unseen(state: PeerState) -> Self {
        // pf counts one octet of window for an end that has announced none, so that its probe passes.
        Self { state, seen: false, seqlo: Seq(0), seqhi: Seq(1), max_win: 1, wscale: None, seqdiff: 0 }
    }
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
    /// The window scale option's shift, if the segment has the option.
    pub wscale: Option<u8>,
    /// Bits are set that mean nothing, and are to be cleared.
    pub strays: bool,
}

impl Segment {
    /// True if the segment has all of `flags`.
    #[inline]
    pub const fn has(&self, flags: TcpFlags) -> bool {
        self.flags.contains(flags)
    }

    /// The shift of the window scale option; a larger one counts as 14 (RFC 7323 §2.3).
    #[inline]
    fn shift(&self) -> Option<u8> {
        self.wscale.map(|shift| shift.min(WSCALE_MAX))
    }
}
