//! Traces of packets: what is asked for, and what is told. Parts of messages: as for those, whoever changes a type here
//! raises [`VERSION`](crate::VERSION).

use std::net::IpAddr;

use ruleset::{Reason, TupleEnd};
use serde::{Deserialize, Serialize};

use crate::{HookView, PacketView};

/// The most packets of one trace.
pub const TRACE_COUNT_MAX: u32 = 10_000;

/// The longest that a trace takes, in seconds.
pub const TRACE_SECONDS_MAX: u32 = 3600;

/// Which packets are traced, and how many.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceQuery {
    /// All of it must hold of a packet as it arrives.
    pub terms: Vec<TraceTerm>,
    /// At most so many packets, up to [`TRACE_COUNT_MAX`].
    pub count: u32,
    /// At most so long, up to [`TRACE_SECONDS_MAX`].
    pub seconds: u32,
}

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceTerm {
    /// It must not hold.
    pub not: bool,
    /// The ends that it is about: one of them must fit.
    pub ends: TraceEnds,
    /// What it asks.
    pub asks: TraceAsks,
}

/// Ends of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceEnds {
    /// Either.
    #[default]
    Any,
    /// The sender.
    Source,
    /// The receiver.
    Destination,
}

/// What a condition asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TraceAsks {
    /// The protocol, by number.
    Proto(u8),
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// An end in a network: its address, and how many leading bits count.
    Net(IpAddr, u8),
    /// An end at a port.
    Port(u16),
    /// The interface where it arrives.
    Interface(String),
}

/// What became of a packet, stage by stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// When: whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: u64,
    /// The rest of that time, in nanoseconds.
    pub nanoseconds: u32,
    /// The worker that decided it.
    pub worker: u16,
    /// The ruleset that rules are numbers in; 0 if that is not live any more.
    pub generation: u64,
    /// The interface where it arrived.
    pub arrival: String,
    /// The host sent it; else it came by the wire.
    pub from_host: bool,
    /// As it arrived.
    pub packet: PacketView,
    /// The hooks that it came to, in their order.
    pub hooks: Vec<HookTrace>,
    /// Why it was dropped, if it was.
    pub dropped: Option<Reason>,
    /// Where it went; of a packet that was dropped, its answer.
    pub fate: TraceFate,
}

/// What happened at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookTrace {
    /// The hook.
    pub hook: HookView,
    /// What the packet met.
    pub met: Meeting,
    /// Sender and receiver behind the hook, if it was translated there.
    pub became: Option<[TupleEnd; 2]>,
}

/// What a packet met at a hook. Rules are told by their places in the list of the ruleset's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meeting {
    /// The interface is not filtered.
    Skipped,
    /// A state.
    State {
        /// The rule that made it.
        rule: Option<u32>,
    },
    /// No state, and the rules.
    Rules {
        /// The rules that it was compared with, in their order, and whether each matched. Those that the classifier rules
        /// out by interface, addresses, ports and protocol are not among them.
        visits: Vec<(u32, bool)>,
        /// How many more there were.
        more: u32,
        /// The rule that decided; none if no rule matched.
        decided: Option<u32>,
        /// It passes.
        passes: bool,
        /// A state was made.
        made: bool,
    },
    /// Neither: it was refused, or handed to another worker, before.
    Nothing,
}

/// Where a packet went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceFate {
    /// Onto the wire of this interface.
    Sent(String),
    /// To the host, by this interface.
    Host(String),
    /// It waits for the Ethernet address of the next hop.
    Held {
        /// The interface that it will leave by.
        interface: String,
        /// The next hop.
        next_hop: IpAddr,
    },
    /// To another worker, which has its flow.
    Worker(u16),
    /// It waits for the other fragments of its datagram.
    Kept,
    /// Nowhere.
    Nowhere,
}
