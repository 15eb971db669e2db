//! What becomes of a frame. Every frame ends as exactly one of these.

use core::net::IpAddr;

use ruleset::Reason;

use crate::fib::InterfaceId;

/// Which side of an interface a frame came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The wire: the port received it.
    Wire,
    /// The host: the kernel sent it on the host interface.
    Host,
}

/// Where a burst came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The interface.
    pub interface: InterfaceId,
    /// Its side.
    pub source: Source,
}

/// A worker, by number from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// How often a packet may be handed to the worker that has its flow, or is its home.
pub const HANDOFFS_MAX: u8 = 3;

/// What a packet is handed over for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Errand {
    /// Its flow is that worker's.
    #[default]
    Follow,
    /// Its flow has no state, and is [placed](Fate::Place) there: that worker makes them.
    Begin,
    /// Likewise, as its home has no port left to translate it to: with [one of that worker's](Fate::Lend).
    Lend,
    /// That worker had none either: the home is to [try another](Fate::Return).
    Return,
}

/// How the packets of a burst came to the worker that decides them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Custody {
    /// Who handed them over; `None` if this worker received them.
    pub from: Option<WorkerId>,
    /// How often they were handed over to [follow](Errand::Follow) their flow, at most [`HANDOFFS_MAX`].
    pub handoffs: u8,
    /// What for.
    pub errand: Errand,
}

/// What becomes of a frame, already rewritten for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fate {
    /// Onto the wire of this interface.
    Transmit(InterfaceId),
    /// To the host, through this interface's host side.
    Host(InterfaceId),
    /// Kept until the next hop's Ethernet address is known, then onto the wire with
    /// [`rewrite::set_link`](crate::rewrite); until then it has the Ethernet addresses that it came with. If it waits in
    /// vain, [`Shard::give_up`](crate::Shard::give_up) says what becomes of it.
    Hold {
        /// The interface that it will leave by.
        interface: InterfaceId,
        /// Whose Ethernet address is missing.
        next_hop: IpAddr,
    },
    /// To the worker that owns its flow, as it arrived but for a mere priority tag.
    HandOff(WorkerId),
    /// Likewise, to the worker that is to own its flow, which has no state yet ([`Errand::Begin`]). If it cannot be handed
    /// over, [`Shard::withdraw`](crate::Shard::withdraw) takes that back.
    Place(WorkerId),
    /// Likewise, as no port is left here to translate it to ([`Errand::Lend`]).
    Lend(WorkerId),
    /// Likewise, back to its home, as none is left here either ([`Errand::Return`]).
    Return(WorkerId),
    /// Nowhere by itself: it is a fragment that waits for others, or what there is of a datagram to be
    /// [taken in pieces](crate::Shard::take_pieces). The frame is not needed any more.
    Kept,
    /// Nowhere.
    Drop(Reason),
}

impl Fate {
    /// To whom it is handed over, and what for.
    pub const fn handed(self) -> Option<(WorkerId, Errand)> {
        match self {
            Self::HandOff(owner) => Some((owner, Errand::Follow)),
            Self::Place(owner) => Some((owner, Errand::Begin)),
            Self::Lend(owner) => Some((owner, Errand::Lend)),
            Self::Return(home) => Some((home, Errand::Return)),
            Self::Transmit(_) | Self::Host(_) | Self::Hold { .. } | Self::Kept | Self::Drop(_) => None,
        }
    }
}

/// A packet that the firewall made itself, out of one that it dropped or copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Created {
    /// A RST, a challenge ACK, or an ABORT of SCTP.
    Rst,
    /// An ICMP error.
    Icmp,
    /// A copy of a packet that went on (`dup-to`).
    Copy,
    /// A fragment of a packet that went on, beside the first one.
    Fragment,
    /// A segment of a handshake that is completed for a server (`synproxy state`, `set syncookies`).
    Handshake,
}

impl Created {
    /// Every kind, in counter order.
    pub const ALL: [Self; 5] = [Self::Rst, Self::Icmp, Self::Copy, Self::Fragment, Self::Handshake];

    /// The name in counters and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rst => "rst",
            Self::Icmp => "icmp",
            Self::Copy => "copy",
            Self::Fragment => "fragment",
            Self::Handshake => "handshake",
        }
    }
}
