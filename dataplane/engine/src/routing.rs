//! What is true of a packet whatever the rules say: where it goes, what may be on a wire at all, and whom an answer may be
//! for. Pure questions; what comes of their answers is [`Shard`](crate::Shard)'s.

use ruleset::{Reason, RoutingTable};
use wire::{Af, EtherType, Mac};

use crate::Address;
use crate::fate::{Arrival, Fate, Source};
use crate::fib::{Fib, Interface, InterfaceId, NextHop, Way};
use crate::hook::Stop;
use crate::packet::{Packet, Tuple};
use crate::parse::NonIp;
use crate::pool::Target;
use crate::reply::{Endpoints, Problem};
use crate::shard::View;

/// Where a routed packet leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub hop: NextHop,
    /// The Ethernet address to send it to, if it is known.
    pub mac: Option<Mac>,
    /// The gateway that a rule's state leads it to, and not the routing table.
    pub gateway: Option<Target>,
    /// Whom the packet was for when it was routed: the next hop, where there is no other.
    pub dst: Address,
}

impl Out {
    /// Through an interface, with the Ethernet header that the packet has.
    pub const fn as_is(interface: InterfaceId) -> Self {
        let hop = NextHop { interface, gateway: None, mtu: None };
        Self { hop, mac: None, gateway: None, dst: Address(0) }
    }
}

/// Whom a packet is for.
pub(crate) enum Route {
    /// The host.
    Host,
    /// A next hop.
    Out(Out),
}

/// What says where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Guide {
    /// A routing table.
    Table(RoutingTable),
    /// A rule that names a gateway.
    Gateway(Target),
}

/// Where a packet goes; `hash` chooses among equal next hops.
pub(crate) fn route(fib: &Fib, packet: &Packet, hash: u64, guide: Guide) -> Result<Route, Stop> {
    let Tuple { af, dst, .. } = packet.tuple;
    // Multicast is never forwarded: it is for the host, or for nobody.
    if is_group(af, dst) {
        return Ok(Route::Host);
    }
    // RFC 792 and RFC 4443 §3.1: no route 3/0 and 1/0, prohibited 3/13 and 1/1.
    let unreachable = |code, code6| {
        let code = if af == Af::Inet { code } else { code6 };
        Err(Stop::router(Reason::NoRoute, Problem::Unreachable { code }))
    };
    let (way, gateway) = match guide {
        Guide::Table(RoutingTable::MAIN) => (fib.way(af, dst, hash), None),
        Guide::Table(table) => (fib.way_in(table, af, dst, hash), None),
        Guide::Gateway(gateway) => (fib.way_to(af, &gateway, hash), Some(gateway)),
    };
    match way {
        Way::Host => Ok(Route::Host),
        Way::Forward { hop, mac } => Ok(Route::Out(Out { hop, mac, gateway, dst })),
        Way::Blackhole => Err(Stop::silent(Reason::NoRoute)),
        Way::Unreachable => unreachable(0, 0),
        Way::Prohibit => unreachable(13, 1),
    }
}

/// RFC 1812 §5.3.4: a datagram that came as a link-layer broadcast. RFC 4291 §2.5.6: link-local addresses.
pub(crate) fn stays_on_link(packet: &Packet) -> bool {
    let tuple = &packet.tuple;
    let link_local =
        tuple.af == Af::Inet6 && [tuple.src, tuple.dst].iter().any(|address| address.0 >> 118 == 0x3fa);
    packet.group_frame || link_local
}

/// What may not be forwarded, whatever the rules say.
pub(crate) fn gate_forwarding(packet: &Packet) -> Result<(), Stop> {
    if stays_on_link(packet) {
        return Err(Stop::silent(Reason::LinkScope));
    }
    if packet.ttl <= 1 {
        return Err(Stop::router(Reason::Ttl, Problem::TimeExceeded));
    }
    Ok(())
}

/// The interface that a packet leaves by, if it is up.
pub(crate) fn link_of<'v>(view: &View<'v>, interface: InterfaceId) -> Result<&'v Interface, Stop> {
    view.fib.interface(interface).filter(|link| link.up).ok_or(Stop::silent(Reason::PortDown))
}

/// Multicast, and IPv4's limited broadcast.
pub(crate) const fn is_group(af: Af, address: Address) -> bool {
    match af {
        Af::Inet => address.v4() >> 28 == 0xe || address.v4() == u32::MAX,
        Af::Inet6 => address.0 >> 120 == 0xff,
    }
}

/// Addresses that may not appear on a wire: loopback (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3) and sources that are groups.
pub(crate) const fn is_martian(packet: &Packet) -> bool {
    let tuple = &packet.tuple;
    let loopback = match tuple.af {
        Af::Inet => tuple.src.v4() >> 24 == 127 || tuple.dst.v4() >> 24 == 127,
        Af::Inet6 => tuple.src.0 == 1 || tuple.dst.0 == 1,
    };
    loopback || is_group(tuple.af, tuple.src)
}

/// The Ethernet address that a frame is sent to.
pub(crate) fn destination(frame: &[u8]) -> Mac {
    frame.first_chunk().map_or(Mac::default(), |octets| Mac(*octets))
}

/// Frames without IP: what the host and its neighbours need of each other passes; the rest has no business here.
pub(crate) fn link_fate(arrival: Arrival, other: &NonIp, destination: Mac, own: Mac) -> Result<Fate, Reason> {
    match arrival.source {
        Source::Host => Ok(Fate::Transmit(arrival.interface)),
        Source::Wire if !other.group_frame && destination != own => Err(Reason::NotOurs),
        Source::Wire if other.group_frame || other.ether_type == EtherType::ARP => {
            Ok(Fate::Host(arrival.interface))
        }
        Source::Wire => Err(Reason::EtherType),
    }
}

/// What the forwarding base knows of the two addresses, as far as it forbids an answer. Of the network on both sides of a
/// pair it knows nothing, and its own stations may be in it.
pub(crate) fn endpoints(fib: &Fib, arrival: Arrival, packet: &Packet) -> Endpoints {
    let tuple = &packet.tuple;
    let is_bridged = fib.interface(arrival.interface).is_some_and(|own| own.bridge().is_some());
    if arrival.source == Source::Host || is_bridged {
        return Endpoints::Stations;
    }
    if fib.is_own(tuple.af, tuple.src) {
        Endpoints::OwnSource
    } else if fib.is_broadcast(tuple.af, tuple.src) || fib.is_broadcast(tuple.af, tuple.dst) {
        Endpoints::Broadcast
    } else {
        Endpoints::Stations
    }
}
