//! What rules have done, and what is counted of packets: parts of messages. As for those, whoever changes a type here raises
//! [`VERSION`](crate::VERSION).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use ruleset::PortBlock;
use serde::{Deserialize, Serialize};

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// What a hook let pass, and what it blocked; bytes of IP datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdicts {
    /// What passed.
    pub passed: Traffic,
    /// What did not.
    pub blocked: Traffic,
}

/// What the hooks of an interface did with packets, by family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hooks {
    /// IPv4 that entered.
    pub in4: Verdicts,
    /// IPv4 that left.
    pub out4: Verdicts,
    /// IPv6 that entered.
    pub in6: Verdicts,
    /// IPv6 that left.
    pub out6: Verdicts,
}

/// What the rules of the live ruleset have done since it was committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveUsage {
    /// The ruleset's number.
    pub generation: u64,
    /// Who committed it.
    pub inserter: Process,
    /// Each rule's, by number.
    pub rules: Vec<RuleUsage>,
}

/// Connections that are translated to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MappingCount {
    /// The address behind which their initiators are.
    pub address: IpAddr,
    /// The number of their protocol.
    pub proto: u8,
    /// How many they are; each has a port, or an identifier, of the address for itself towards its remote end.
    pub connections: u64,
    /// The block that their ports are in, if rules share ports out in blocks.
    pub block: Option<PortBlock>,
    /// Packets that found nothing left here, of late.
    pub refused: u64,
}

/// An endpoint inside that has one endpoint outside, whoever it speaks to (`endpoint-independent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EndpointMapping {
    /// The number of the protocol.
    pub proto: u8,
    /// Its address, and its port or identifier.
    pub inside: SocketAddr,
    /// What others see of it.
    pub outside: SocketAddr,
    /// The states that have it.
    pub states: u32,
}

/// A process that has asked for something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its user.
    pub uid: u32,
    /// Its number.
    pub pid: u32,
}

/// What a rule has done, as `pfctl -vsr` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleUsage {
    /// How often packets were compared with it.
    pub evaluations: u64,
    /// Packets that it decided coming in, and those of its states.
    pub incoming: Traffic,
    /// The same, going out.
    pub outgoing: Traffic,
    /// Its states now, and those of the same rule of earlier rulesets.
    pub states: u64,
    /// States that it made.
    pub made: u64,
    /// `once`, and it has matched.
    pub spent: bool,
}

/// What is counted for an entry of a table with `counters`, as `pfctl -T show -v` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressCounts {
    /// The entry.
    pub net: IpNet,
    /// Packets for whose address it decided: coming in and going out, of each those that were blocked and that passed.
    pub counted: [[Traffic; 2]; 2],
}

impl AddressCounts {
    /// The same in plain numbers: packets and bytes.
    pub fn numbers(&self) -> [[(u64, u64); 2]; 2] {
        self.counted.map(|hook| hook.map(|Traffic { packets, bytes }| (packets, bytes)))
    }
}

impl Traffic {
    /// Both together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { packets: self.packets + other.packets, bytes: self.bytes + other.bytes }
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(earlier.packets),
            bytes: self.bytes.saturating_sub(earlier.bytes),
        }
    }
}

impl RuleUsage {
    /// What came in and went out.
    pub const fn in_all(&self) -> Traffic {
        self.incoming.and(self.outgoing)
    }

    /// What both rules have done.
    #[must_use]
    pub const fn and(&self, other: &Self) -> Self {
        Self {
            evaluations: self.evaluations + other.evaluations,
            incoming: self.incoming.and(other.incoming),
            outgoing: self.outgoing.and(other.outgoing),
            states: self.states + other.states,
            made: self.made + other.made,
            spent: self.spent && other.spent,
        }
    }

    /// What the rule has done, and counted in a ruleset before, as FreeBSD's `set keepcounters` has it: its states are its own.
    #[must_use]
    pub const fn after(&self, kept: &Self) -> Self {
        Self {
            evaluations: self.evaluations + kept.evaluations,
            incoming: self.incoming.and(kept.incoming),
            outgoing: self.outgoing.and(kept.outgoing),
            ..*self
        }
    }

    /// What the rule has done since `earlier`; its states are what they are.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            evaluations: self.evaluations.saturating_sub(earlier.evaluations),
            incoming: self.incoming.since(earlier.incoming),
            outgoing: self.outgoing.since(earlier.outgoing),
            states: self.states,
            made: self.made.saturating_sub(earlier.made),
            spent: self.spent,
        }
    }
}
