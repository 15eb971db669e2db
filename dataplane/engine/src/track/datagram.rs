//! Protocols without connections: how often either end has been heard.

use ruleset::{PeerState, Timeout};

/// What a state without a TCP connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datagram {
    /// UDP.
    Udp,
    /// An ICMP or ICMPv6 query.
    Icmp,
    /// Any other protocol.
    Other,
}

impl Datagram {
    /// The two ends and the time-out behind the packet that makes the state: sender, receiver, time-out.
    #[inline]
    pub const fn open(self) -> (PeerState, PeerState, Timeout) {
        match self {
            Self::Udp => (PeerState::Single, PeerState::NoTraffic, Timeout::UdpFirst),
            Self::Icmp => (PeerState::NoTraffic, PeerState::NoTraffic, Timeout::IcmpFirst),
            Self::Other => (PeerState::Single, PeerState::NoTraffic, Timeout::OtherFirst),
        }
    }

    /// The two ends and the time-out behind a further packet, given its sender and receiver.
    #[inline]
    pub fn follow(self, from: PeerState, to: PeerState) -> (PeerState, PeerState, Timeout) {
        match self {
            Self::Udp => heard(from, to, Timeout::UdpSingle, Timeout::UdpMultiple),
            Self::Other => heard(from, to, Timeout::OtherSingle, Timeout::OtherMultiple),
            // pf counts no packets of a query: reply or repetition, what follows the first one is short-lived.
            Self::Icmp => (from, to, Timeout::IcmpError),
        }
    }
}

/// An end becomes `Multiple` when the other one answers it, so both are once either was heard twice.
fn heard(
    from: PeerState,
    to: PeerState,
    single: Timeout,
    multiple: Timeout,
) -> (PeerState, PeerState, Timeout) {
    let from = from.max(PeerState::Single);
    let to = if to == PeerState::Single { PeerState::Multiple } else { to };
    let both = from == PeerState::Multiple && to == PeerState::Multiple;
    (from, to, if both { multiple } else { single })
}
