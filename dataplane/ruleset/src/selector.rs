//! Which states are meant, where some are to be removed (pfctl(8) `-k`).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use wire::{Port, Proto};

/// States that fit everything given; without anything, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateSelector {
    /// Bound to this interface; those that float are on `all`.
    pub interface: Option<String>,
    /// Of this protocol.
    pub proto: Option<Proto>,
    /// Made by a packet from this network.
    pub source: Option<IpNet>,
    /// Made by a packet from this port.
    pub source_port: Option<Port>,
    /// Made by a packet to this network.
    pub destination: Option<IpNet>,
    /// Made by a packet to this port.
    pub destination_port: Option<Port>,
    /// Made by a rule with this label.
    pub label: Option<String>,
    /// Of this id.
    pub id: Option<u64>,
}
