//! A packet in few words, and what rules say to it: how rules are asked before they are live.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};
use wire::{Port, Proto};

use crate::{Direction, TupleEnd};

/// Which packet of a connection is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// The first: a SYN, a request.
    First,
    /// A later one, of either end.
    Later,
}

/// A packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The protocol.
    pub proto: Proto,
    /// The sender. ICMP: the identifier in place of a port.
    pub source: TupleEnd,
    /// The receiver, of the same family. ICMP: the type in place of a port.
    pub destination: TupleEnd,
    /// The hook.
    pub direction: Direction,
    /// The hook's interface; without one, that by which the route to the far end leads.
    pub interface: Option<String>,
    /// Which packet of the connection it is.
    pub moment: Moment,
}

impl Flow {
    /// A TCP packet between these ends, by the interface of the route to the far one.
    pub fn tcp(source: SocketAddr, destination: SocketAddr, direction: Direction, moment: Moment) -> Self {
        let end = |address: SocketAddr| TupleEnd { address: address.ip(), port: Port(address.port()) };
        let (source, destination) = (end(source), end(destination));
        Self { proto: Proto::TCP, source, destination, direction, interface: None, moment }
    }
}

/// What rules say to a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruling {
    /// The packet goes on.
    pub passes: bool,
    /// A state is made, which passes whatever else belongs to the connection.
    pub keeps_state: bool,
    /// The rule that decides, by number; `None` where no rule matches.
    pub rule: Option<u32>,
    /// The interface of the hook.
    pub interface: String,
}
