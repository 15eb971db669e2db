//! Events of states: what is asked for, and what is told. Parts of messages: as for those, whoever changes a type here
//! raises [`VERSION`](crate::VERSION).

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use ruleset::{PeerView, PortBlock, Removal, StateView, TupleEnd};
use serde::{Deserialize, Serialize};

use crate::{TraceAsks, TraceEnds, TraceTerm};

/// Which states' events are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventQuery {
    /// All of it must hold of a state: what is said of ends, of the packet that made it, in front of its hook or behind it;
    /// of an interface, of the one that it is bound to (`all` if it floats).
    pub terms: Vec<TraceTerm>,
}

impl EventQuery {
    /// Whether all conditions hold of a state.
    pub fn fits(&self, state: &StateView) -> bool {
        self.terms.iter().all(|term| holds(term, state) != term.not)
    }
}

fn holds(term: &TraceTerm, state: &StateView) -> bool {
    let peers: &[&PeerView] = match term.ends {
        TraceEnds::Any => &[&state.source, &state.destination],
        TraceEnds::Source => &[&state.source],
        TraceEnds::Destination => &[&state.destination],
    };
    let has = |fits: &dyn Fn(&TupleEnd) -> bool| {
        peers.iter().any(|peer| fits(&peer.end) || peer.untranslated.as_ref().is_some_and(fits))
    };
    match &term.asks {
        TraceAsks::Proto(proto) => state.proto.0 == *proto,
        TraceAsks::Inet => state.source.end.address.is_ipv4(),
        TraceAsks::Inet6 => state.source.end.address.is_ipv6(),
        TraceAsks::Net(address, prefix) => {
            IpNet::new(*address, *prefix).is_ok_and(|net| has(&|end| net.contains(&end.address)))
        }
        TraceAsks::Port(port) => has(&|end| end.port.0 == *port),
        TraceAsks::Interface(name) => state.interface == *name,
    }
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventBatch {
    /// Those that fit, in the order of each worker.
    pub events: Vec<EventView>,
    /// What had no port left meanwhile, told to whoever asks for all states.
    pub shortages: Vec<ShortageView>,
    /// So many were lost on the way since the batch before, of any states: a worker's records were full, or this reader is
    /// too slow.
    pub lost: u64,
}

/// What happened to a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// When: whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: u64,
    /// The rest of that time, in nanoseconds.
    pub nanoseconds: u32,
    /// The worker that has it.
    pub worker: u16,
    /// What.
    pub event: EventKind,
    /// Why it was removed, if it was.
    pub reason: Option<Removal>,
    /// Since the state was made, in milliseconds, to a sixteenth of a second.
    pub age_ms: u64,
    /// Likewise, since a packet was seen.
    pub idle_ms: u64,
    /// The state, as it was then.
    pub state: StateView,
    /// The block that its source's port is in, if rules share ports out in blocks.
    pub block: Option<PortBlock>,
}

/// An address, or a block of its ports, in which no port was left for packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortageView {
    /// When a packet was dropped for it: whole seconds since 1970-01-01 00:00 UTC.
    pub seconds: u64,
    /// The rest of that time, in nanoseconds.
    pub nanoseconds: u32,
    /// The worker that dropped it.
    pub worker: u16,
    /// Which pool: the lower half of its rule's identity.
    pub pool: u32,
    /// The address of it that was tried last.
    pub address: IpAddr,
    /// The number of the packets' protocol.
    pub proto: u8,
    /// The sender's block, if it has one.
    pub block: Option<PortBlock>,
    /// How many were dropped since the shortage was told of before.
    pub packets: u64,
}

/// What happens to states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// It was made.
    Created,
    /// An end has reached another level.
    Updated,
    /// It was removed.
    Removed,
}

impl EventKind {
    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for EventView {
    /// What happened, and pf's line of the state; of one that is gone, also how long it lived and what it has seen. `{:#}` has
    /// all of `-vvss`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.state;
        match self.reason {
            Some(reason) => write!(f, "{} ({reason}) ", self.event.name())?,
            None => write!(f, "{} ", self.event.name())?,
        }
        if f.alternate() {
            return write!(f, "{state:#}");
        }
        write!(f, "{state}")?;
        if self.event != EventKind::Removed {
            return Ok(());
        }
        let (source, destination) = (&state.source, &state.destination);
        write!(
            f,
            ", age {} s, {}:{} pkts, {}:{} bytes",
            self.age_ms / 1000,
            source.packets,
            destination.packets,
            source.bytes,
            destination.bytes
        )
    }
}
