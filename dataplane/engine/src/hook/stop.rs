//! Why a packet goes no further, and what its sender is told of it.

use ruleset::Reason;

use crate::fate::WorkerId;
use crate::reply::Problem;

/// What a refused packet's sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Silence,
    /// `return-rst`: a RST by RFC 9293, with this time to live (0 for the default).
    Rst {
        ttl: u8,
    },
    /// A RST with this sequence number, for a handshake that got out of step.
    RstWith(wire::Seq),
    /// A challenge ACK (RFC 5961 §4) in the name of the other end.
    Challenge {
        seq: wire::Seq,
        ack: wire::Seq,
    },
    /// The answer to a SYN in the name of the other end, which takes segments of so many octets, and nothing yet.
    SynAck {
        seq: wire::Seq,
        ack: wire::Seq,
        mss: u16,
    },
    /// `return` of SCTP.
    Abort,
    /// `return-icmp`: from the packet's own destination.
    Unreachable {
        code: u8,
    },
    /// The router's own error, from its address on the interface where the packet arrived.
    Router(Problem),
}

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Refused {
        reason: Reason,
        answer: Answer,
    },
    /// Another worker owns the flow.
    HandOff(WorkerId),
    /// Another worker is to own the flow.
    Place(WorkerId),
    /// No port is left of those whose answers are this worker's.
    Exhausted,
}

impl Stop {
    pub const fn silent(reason: Reason) -> Self {
        Self::Refused { reason, answer: Answer::Silence }
    }

    pub const fn router(reason: Reason, problem: Problem) -> Self {
        Self::Refused { reason, answer: Answer::Router(problem) }
    }
}
