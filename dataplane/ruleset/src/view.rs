//! A state as operators see it, and pfctl's text for it: used by `tpctl`, by logs and by failing tests alike.
//!
//! pf keeps two states for a forwarded connection. A [`StateView`] is one of them, whatever the dataplane keeps inside.

use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::{Port, Proto};

use crate::{Direction, RoutingTable};

/// How far one end of a connection has come, as pf tells it. The numbers are pf's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum PeerState {
    /// TCP: nothing seen from this end.
    #[default]
    Closed = 0,
    /// TCP: it sent a SYN that is not acknowledged.
    SynSent = 2,
    /// TCP: its SYN was acknowledged.
    Established = 4,
    /// TCP: it sent a FIN.
    Closing = 7,
    /// TCP: its FIN was acknowledged.
    FinWait2 = 9,
    /// TCP: a RST was seen.
    TimeWait = 10,
    /// TCP: synproxy completes the handshake with the client.
    ProxySrc = 11,
    /// TCP: synproxy completes the handshake with the server.
    ProxyDst = 12,
    /// Not TCP: nothing seen from this end (0 in pf too).
    NoTraffic = 13,
    /// Not TCP: one packet seen from this end (1 in pf).
    Single = 14,
    /// Not TCP: packets seen after an answer (2 in pf).
    Multiple = 15,
}

impl PeerState {
    /// pfctl's word for TCP, UDP and other protocols; ICMP prints numbers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::SynSent => "SYN_SENT",
            Self::Established => "ESTABLISHED",
            Self::Closing => "CLOSING",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::TimeWait => "TIME_WAIT",
            Self::ProxySrc => "PROXY:SRC",
            Self::ProxyDst => "PROXY:DST",
            Self::NoTraffic => "NO_TRAFFIC",
            Self::Single => "SINGLE",
            Self::Multiple => "MULTIPLE",
        }
    }
}

/// An address and a port (or an ICMP identifier) of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TupleEnd {
    /// The address.
    pub address: IpAddr,
    /// The port, 0 where the protocol has none.
    pub port: Port,
}

impl fmt::Display for TupleEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, Port(0)) => write!(f, "{address}"),
            (IpAddr::V4(address), port) => write!(f, "{address}:{port}"),
            (IpAddr::V6(address), port) => write!(f, "{address}[{port}]"),
        }
    }
}

/// What is known of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerView {
    /// Where it is, as the packet that made the state was behind the hook.
    pub end: TupleEnd,
    /// Where it was in front of the hook, if translation has changed that.
    pub untranslated: Option<TupleEnd>,
    /// How far it has come.
    pub state: PeerState,
    /// TCP: the next sequence number expected, host order.
    pub seqlo: u32,
    /// TCP: the highest sequence number that the other end's window allows.
    pub seqhi: u32,
    /// TCP: what is added to its sequence numbers here, modulo 2³² (`modulate state`, `synproxy state`).
    pub seqdiff: u32,
    /// TCP: the shift of the window, if both ends announced one.
    pub wscale: Option<u8>,
    /// Packets seen from this end.
    pub packets: u64,
    /// Bytes seen from this end, IP headers included.
    pub bytes: u64,
}

/// One of pf's states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateView {
    /// The interface it is bound to; `all` if it floats.
    pub interface: String,
    /// The protocol.
    pub proto: Proto,
    /// The hook that the packet which made it was seen at.
    pub direction: Direction,
    /// Where `route-to` or `reply-to` of its rule leads to.
    pub route: Option<IpAddr>,
    /// The routing table that packets are routed by which come as the one that made it did.
    #[serde(default)]
    pub rtable: RoutingTable,
    /// The sender of the packet that made it.
    pub source: PeerView,
    /// The other end.
    pub destination: PeerView,
    /// Since it was made, in seconds.
    pub age_s: u32,
    /// Until it expires if nothing more is seen, in seconds.
    pub expires_in_s: u32,
    /// The rule that made it, as pfctl numbers it in the live ruleset; `None` if it is not there any more.
    pub rule: Option<u32>,
    /// The call of the anchor that the rule stands in, by its number; `None` in the main ruleset.
    #[serde(default)]
    pub anchor: Option<u32>,
    /// Made with `sloppy`.
    pub sloppy: bool,
    /// It counts for a source (`source-track`).
    #[serde(default)]
    pub source_track: bool,
    /// Its source keeps the address that it was given (`sticky-address`).
    #[serde(default)]
    pub sticky: bool,
    /// pf's state id.
    pub id: u64,
    /// The `set hostid` of the firewall that has it.
    #[serde(default)]
    pub creator: u32,
}

impl StateView {
    /// pfctl's `-ss` line, without the line's end.
    fn write_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.interface)?;
        match protocol_name(self.proto) {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{}", self.proto.0)?,
        }
        let [left, right] = self.ends();
        let arrow = if self.points_out() { "->" } else { "<-" };
        write!(f, " {}", Place(left))?;
        if let Some(route) = self.route {
            write!(f, " {{{route}}}")?;
        }
        write!(f, " {arrow} {}       ", Place(right))?;
        match self.proto {
            Proto::ICMP | Proto::ICMP6 => f.write_str("0:0"),
            // As pf, which says nothing of the other end then.
            _ if [left.state, right.state].contains(&PeerState::ProxySrc) => f.write_str("PROXY:SRC"),
            _ if [left.state, right.state].contains(&PeerState::ProxyDst) => f.write_str("PROXY:DST"),
            _ => write!(f, "{}:{}", left.state.name(), right.state.name()),
        }
    }

    /// True if the source is printed first: of what left the firewall, and of what became a packet of the other family.
    fn points_out(&self) -> bool {
        let PeerView { end, untranslated, .. } = &self.source;
        let crosses = untranslated.is_some_and(|before| before.address.is_ipv4() != end.address.is_ipv4());
        self.direction == Direction::Out || crosses
    }

    /// Both ends as pf prints them, from left to right: the one that is behind the firewall first.
    fn ends(&self) -> [&PeerView; 2] {
        if self.points_out() { [&self.source, &self.destination] } else { [&self.destination, &self.source] }
    }

    /// The two further lines of `-vvss`: windows (TCP only), age, counters, rule, id.
    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.proto == Proto::TCP {
            let [left, right] = self.ends();
            f.write_str("\n   ")?;
            write_window(f, left)?;
            f.write_str("  ")?;
            write_window(f, right)?;
        }
        write!(f, "\n   age {}, expires in {}", Clock(self.age_s), Clock(self.expires_in_s))?;
        write!(
            f,
            ", {}:{} pkts, {}:{} bytes",
            self.source.packets, self.destination.packets, self.source.bytes, self.destination.bytes
        )?;
        if let Some(anchor) = self.anchor {
            write!(f, ", anchor {anchor}")?;
        }
        match self.rule {
            Some(rule) => write!(f, ", rule {rule}")?,
            None => f.write_str(", rule -")?,
        }
        if self.sloppy {
            f.write_str(", sloppy")?;
        }
        if self.source_track {
            f.write_str(", source-track")?;
        }
        if self.sticky {
            f.write_str(", sticky-address")?;
        }
        write!(f, "\n   id: {:016x} creatorid: {:08x}", self.id, self.creator)
    }
}

impl fmt::Display for StateView {
    /// The `-ss` line; `{:#}` is the form of `-vvss`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_line(f)?;
        if f.alternate() { self.write_details(f) } else { Ok(()) }
    }
}

/// An end as pfctl prints it: behind the hook, and in brackets in front of it.
struct Place<'a>(&'a PeerView);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(peer) = self;
        match peer.untranslated {
            None => write!(f, "{}", peer.end),
            Some(before) => write!(f, "{} ({before})", peer.end),
        }
    }
}

fn write_window(f: &mut fmt::Formatter<'_>, peer: &PeerView) -> fmt::Result {
    write!(f, "[{} + {}]", peer.seqlo, peer.seqhi.wrapping_sub(peer.seqlo))?;
    if peer.seqdiff != 0 {
        write!(f, "(+{})", peer.seqdiff)?;
    }
    match peer.wscale {
        Some(shift) => write!(f, " wscale {shift}"),
        None => Ok(()),
    }
}

/// Seconds as pfctl prints them: hh:mm:ss, with more digits for the hours if need be.
pub(crate) struct Clock(pub u32);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}:{:02}", self.0 / 3600, self.0 / 60 % 60, self.0 % 60)
    }
}

/// The names that /etc/protocols gives to what a firewall meets.
pub const fn protocol_name(proto: Proto) -> Option<&'static str> {
    match proto {
        Proto::TCP => Some("tcp"),
        Proto::UDP => Some("udp"),
        Proto::ICMP => Some("icmp"),
        Proto::ICMP6 => Some("ipv6-icmp"),
        Proto::IGMP => Some("igmp"),
        Proto::IPIP => Some("ipencap"),
        Proto::GRE => Some("gre"),
        Proto::ESP => Some("esp"),
        Proto::AH => Some("ah"),
        Proto::SCTP => Some("sctp"),
        _ => None,
    }
}
