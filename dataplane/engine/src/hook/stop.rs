//! Why a packet goes no further, and what its sender is told of it.

use ruleset::{BlockPolicy, BlockReply, IcmpReply, Reason};

use crate::eval::Root;
use crate::fate::WorkerId;
use crate::packet::Packet;
use crate::refuse::answer_to;
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
    /// Another worker is to own the flow, with a port of its own.
    Lend(WorkerId),
    /// No port is left of those whose answers are this worker's.
    Exhausted,
}

impl Stop {
    pub const fn silent(reason: Reason) -> Self {
        Self::Refused { reason, answer: Answer::Silence }
    }

    /// Of a packet that a rule passes: if it finds no room, its sender is told of that as FreeBSD's `set fail-policy` says.
    pub fn by_policy(self, root: &Root, packet: &Packet) -> Self {
        match self {
            Self::Refused { reason, answer: Answer::Silence } if finds_no_room(reason) => {
                Self::Refused { reason, answer: answer_without_room(root, packet) }
            }
            stop => stop,
        }
    }

    pub const fn router(reason: Reason, problem: Problem) -> Self {
        Self::Refused { reason, answer: Answer::Router(problem) }
    }
}

/// Communication administratively prohibited (RFC 792, RFC 4443), as RFC 5508 REQ-8 has it.
const PROHIBITED: BlockReply = BlockReply::Icmp { code: Some(13), code6: Some(1) };

/// What the sender of a packet is told that a rule passes and that finds no room.
pub(crate) fn answer_without_room(root: &Root, packet: &Packet) -> Answer {
    let options = &root.ruleset().options;
    match options.fail_policy {
        _ if options.endpoint_independent => answer_to(PROHIBITED, packet),
        BlockPolicy::Drop => Answer::Silence,
        BlockPolicy::Return => answer_to(BlockReply::Return(IcmpReply::default()), packet),
    }
}

/// True for what keeps a packet that a rule passes from having a state, or an address to go to.
const fn finds_no_room(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Memory
            | Reason::StateInsert
            | Reason::StateLimit
            | Reason::SrcLimit
            | Reason::Translate
            | Reason::NoRoute
            | Reason::ShardFull
    )
}
