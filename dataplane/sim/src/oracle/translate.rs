//! Translation (pf.md 1, Translation and pools; 2.12): `nat-to`, `rdr-to`, `binat-to`, at one hook.
//!
//! Which address of a pool and which port of a range a connection is given is free. It is learned from the other side's
//! states ([`Oracle::learn`]) where that is one which may be given, and everything else that is said of the connection must
//! follow from it.

use core::net::IpAddr;

use ipnet::IpNet;
use ruleset::{
    AddressPattern, InterfacePart, PeerView, Pool, PoolKind, PortMatch, Reason, Rule, StateView, TupleEnd,
};
use wire::{Af, Port, Proto};

use super::Oracle;
use super::hook::Hook;
use super::icmp::{self, Way};
use super::packet::{Icmp, Packet, Part, QuotedTransport, Transport};
use super::state::end;

/// Both ends of a packet. Of ICMP queries the identifier and the type stand for ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Where it comes from.
    pub source: TupleEnd,
    /// Where it goes.
    pub destination: TupleEnd,
}

impl Ends {
    /// Of a packet, as its state is looked up.
    pub(super) fn of(packet: &Packet) -> Self {
        let (mut source, mut destination) = (packet.source, packet.destination);
        let (sport, dport) = match (packet.ports(), packet.icmp()) {
            (Some(ports), _) => ports,
            (None, Some(icmp)) => {
                (source, destination) = icmp::key_addresses(icmp, source, destination);
                icmp::mapping(packet.af(), icmp.kind, icmp.id, icmp.target).ports()
            }
            (None, None) => (Port(0), Port(0)),
        };
        Self { source: end(source, sport), destination: end(destination, dport) }
    }

    /// Those of what goes the other way.
    #[must_use]
    pub(super) const fn reverse(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    /// The identifier of a message of ICMP between these ends.
    fn identifier(self, af: Af, kind: u8, old: u16) -> u16 {
        let mapping = icmp::mapping(af, kind, old, None);
        match mapping.way {
            _ if mapping.virtual_id != old => old,
            Way::Query => self.source.port.0,
            Way::Reply => self.destination.port.0,
        }
    }
}

/// What of a packet's source may be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The address and the port, or the identifier of an echo: "ICMP: only echo".
    Ported,
    /// The address.
    Portless,
    /// The address, and nobody will find the way back: it makes no state.
    Single,
}

impl Source {
    fn of(packet: &Packet) -> Self {
        let Some(Icmp { kind, id, target, .. }) = packet.icmp() else {
            let ported = packet.part == Part::Whole && packet.ports().is_some();
            return if ported { Self::Ported } else { Self::Portless };
        };
        let mapping = icmp::mapping(packet.af(), *kind, *id, *target);
        match (packet.part, kind) {
            (Part::Whole, 8 | 128) if mapping.way == Way::Query => Self::Ported,
            (Part::Whole, _) if mapping.own_state == icmp::OwnState::No => Self::Single,
            _ => Self::Portless,
        }
    }
}

impl Packet {
    /// Gives it other ends.
    pub(super) fn turn(&mut self, ends: Ends) {
        let af = self.af();
        (self.source, self.destination) = (ends.source.address, ends.destination.address);
        match &mut self.transport {
            Transport::Tcp(tcp) => {
                (tcp.source_port, tcp.destination_port) = (ends.source.port, ends.destination.port);
            }
            Transport::Udp { source_port, destination_port } => {
                (*source_port, *destination_port) = (ends.source.port, ends.destination.port);
            }
            Transport::Icmp(icmp) | Transport::Icmp6(icmp) => {
                icmp.id = ends.identifier(af, icmp.kind, icmp.id);
            }
            Transport::Other(_) => {}
        }
    }

    /// Gives the packet that an ICMP error quotes other ends. The error goes to its sender, and comes from its receiver where
    /// that is another now, so that nobody learns who is behind (pf.md 2.8: "inner + outer headers rewritten").
    pub(super) fn turn_quoted(&mut self, ends: Ends) {
        let af = self.af();
        let (Transport::Icmp(Icmp { quoted, .. }) | Transport::Icmp6(Icmp { quoted, .. })) =
            &mut self.transport
        else {
            return;
        };
        let Some(quoted) = quoted else { return };
        self.destination = ends.source.address;
        if quoted.destination != ends.destination.address {
            self.source = ends.destination.address;
        }
        (quoted.source, quoted.destination) = (ends.source.address, ends.destination.address);
        match &mut quoted.transport {
            QuotedTransport::Tcp { source_port, destination_port, .. }
            | QuotedTransport::Udp { source_port, destination_port } => {
                (*source_port, *destination_port) = (ends.source.port, ends.destination.port);
            }
            QuotedTransport::Icmp { kind, id } | QuotedTransport::Icmp6 { kind, id } => {
                *id = ends.identifier(af, *kind, *id);
            }
            QuotedTransport::Other(_) => {}
        }
    }
}

impl Oracle {
    /// Gives a packet the ends that a rule asks for (`pf_get_transaddr`). `chosen` are those that the other side has given it at
    /// this hook, as far as is known.
    pub(super) fn translate(
        &self,
        rule: &Rule,
        chosen: Option<Ends>,
        packet: &mut Packet,
    ) -> Result<(), Reason> {
        let kind = Source::of(packet);
        if let Some(pool) = rule.rdr.as_ref().filter(|_| kind != Source::Single) {
            let old = Ends::of(packet);
            let port = match packet.ports() {
                Some(_) if kind == Source::Ported => redirected(rule, pool, old.destination.port),
                _ => old.destination.port,
            };
            let to = |address: IpAddr| Ends { destination: end(address, port), ..old };
            let proto = packet.transport.proto();
            let chosen = chosen.map(|ends| ends.destination.address);
            let collides = self.deviations.refused_late || self.learned.refused == Some(Reason::StateInsert);
            let mut addresses = self.addresses(pool, old.destination.address);
            addresses.sort_by_key(|address| match chosen {
                Some(chosen) => (chosen != *address, false),
                // Of a packet that was dropped nobody knows which it was: one that explains it.
                None => {
                    (collides && !self.is_in_use(proto, to(*address)), *address == old.destination.address)
                }
            });
            packet.turn(to(*addresses.first().ok_or(Reason::Translate)?));
        }
        match &rule.nat {
            Some(pool) => self.replace_source(pool, kind, chosen.map(|ends| ends.source), packet),
            None => Ok(()),
        }
    }

    /// `nat-to` (`pf_get_sport`).
    fn replace_source(
        &self,
        pool: &Pool,
        kind: Source,
        chosen: Option<TupleEnd>,
        packet: &mut Packet,
    ) -> Result<(), Reason> {
        let (old, proto) = (Ends::of(packet), packet.transport.proto());
        let mut addresses = self.addresses(pool, old.source.address);
        if let Some(chosen) = chosen {
            // A later `bitmask` keeps the host.
            addresses.sort_by_key(|address| {
                (*address != chosen.address, bits_of_host(*address) != bits_of_host(chosen.address))
            });
        } else {
            // Of a packet that was dropped nobody knows which it was: one that explains it.
            let refused = self.learned.refused;
            let is_free = |source| !self.is_in_use(proto, Ends { source, ..old });
            addresses.sort_by_key(|address| match refused {
                Some(Reason::StateInsert) => (*address != old.source.address, false),
                refused => {
                    let taken = refused == Some(Reason::Translate);
                    (*address == old.source.address, taken && is_free(end(*address, old.source.port)))
                }
            });
            // One source has one address.
            if matches!(pool.kind, Some(PoolKind::SourceHash(_))) {
                addresses.truncate(1);
            }
        }
        if kind == Source::Single {
            packet.source = *addresses.first().ok_or(Reason::Translate)?;
            return Ok(());
        }
        let range = ports(pool, kind, packet);
        let late = addresses.first().filter(|_| range.is_none() && self.is_late(Reason::Translate));
        let taken = late.map(|address| end(*address, old.source.port));
        let source = taken.or_else(|| self.free_source(proto, old, &addresses, range, chosen));
        packet.turn(Ends { source: source.ok_or(Reason::Translate)?, ..old });
        Ok(())
    }

    /// True if what is to be refused for this reason is refused behind the packet.
    pub(super) fn is_late(&self, reason: Reason) -> bool {
        self.deviations.refused_late && self.learned.refused != Some(reason)
    }

    /// The first of these addresses with a port that nobody has towards the same remote end: the chosen one if it is of the range,
    /// which leaves no choice if it is none.
    fn free_source(
        &self,
        proto: Proto,
        old: Ends,
        addresses: &[IpAddr],
        range: Option<(Port, Port)>,
        chosen: Option<TupleEnd>,
    ) -> Option<TupleEnd> {
        let is_free = |source: &TupleEnd| !self.is_in_use(proto, Ends { source: *source, ..old });
        addresses.iter().find_map(|address| {
            let Some((first, last)) = range else {
                let source = end(*address, old.source.port);
                return (source == old.source || is_free(&source)).then_some(source);
            };
            let chosen = chosen.map(|chosen| chosen.port).filter(|port| (first..=last).contains(port));
            let all = chosen.into_iter().chain((first.0..=last.0).map(Port));
            all.map(|port| end(*address, port)).find(is_free)
        })
    }

    /// Gives a packet of the host's own another source port where it would leave as one whose answers are those to a
    /// translated packet, if there is one.
    pub(super) fn step_aside(&self, hook: Hook, chosen: Option<Ends>, packet: &mut Packet) {
        let (old, proto) = (Ends::of(packet), packet.transport.proto());
        if packet.ports().is_none() || !self.is_in_the_way(hook, packet, packet) {
            return;
        }
        let (own, chosen) = ([old.source.address], chosen.map(|ends| ends.source));
        if let Some(source) = self.free_source(proto, old, &own, Some(Pool::NAT_PORTS), chosen) {
            packet.turn(Ends { source, ..old });
        }
    }

    /// The addresses of a pool that may take the place of another.
    fn addresses(&self, pool: &Pool, old: IpAddr) -> Vec<IpAddr> {
        let af = Af::of(&old);
        match (&pool.address, &pool.kind) {
            (AddressPattern::Net(net), Some(PoolKind::Bitmask)) => vec![masked(*net, old)],
            (AddressPattern::Net(net), None) => vec![net.addr()],
            (AddressPattern::Net(net), Some(_)) => net
                .subnets(net.max_prefix_len())
                .expect("no shorter prefix")
                .map(|host| host.addr())
                .collect(),
            (AddressPattern::Interface { name, part: InterfacePart::Own, no_alias, .. }, _) => {
                let named = self.world.interfaces.iter().filter(|interface| interface.is_named(name));
                let count = if *no_alias { 1 } else { usize::MAX };
                let of_family = |net: &IpNet| Af::of(&net.addr()) == af;
                named
                    .flat_map(|one| one.addresses.iter().copied().filter(of_family).take(count))
                    .map(|net| net.addr())
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    /// True if packets between these ends, in either direction, belong to a state, whichever of its keys it is.
    pub(super) fn is_in_use(&self, proto: Proto, ends: Ends) -> bool {
        self.states.iter().any(|state| state.wire.proto == proto && state.has(ends))
    }

    /// The ends that the other side has given a packet at a hook: those of its state there that is not one of ours yet, or
    /// those that it was sent with.
    pub(super) fn chosen(&self, hook: Hook, packet: &Packet) -> Option<Ends> {
        let (came, interface) = (Ends::of(packet), &self.world.interface(hook.interface).name);
        let behind = |view: &StateView| Ends { source: view.source.end, destination: view.destination.end };
        let in_front = |peer: &PeerView| peer.untranslated.unwrap_or(peer.end);
        let is_known = |view: &StateView| {
            self.states.iter().any(|state| {
                state.direction == view.direction
                    && state.wire.proto == view.proto
                    && state.sides() == [came, behind(view)]
                    && self.bound_to(state) == view.interface
            })
        };
        let made = self.learned.states.iter().find(|view| {
            view.direction == hook.direction
                && view.proto == packet.transport.proto()
                && (in_front(&view.source), in_front(&view.destination)) == (came.source, came.destination)
                && (view.interface == "all" || view.interface == *interface)
                && !is_known(view)
        });
        made.map(behind).or_else(|| self.learned.sent.as_ref().map(Ends::of))
    }
}

/// False of a pool that says what the oracle has no model of.
pub(super) const fn is_modelled(pool: &Pool) -> bool {
    let leads = match &pool.address {
        AddressPattern::Net(_) => true,
        AddressPattern::Interface { part, prefix, .. } => {
            matches!(part, InterfacePart::Own) && prefix.is_none()
        }
        _ => false,
    };
    leads && pool.port_block.is_none() && pool.port_set.is_none() && !pool.endpoint_independent
}

/// The ports of `nat-to`, out of which there is a choice.
fn ports(pool: &Pool, kind: Source, packet: &Packet) -> Option<(Port, Port)> {
    match (kind, packet.ports()) {
        (Source::Ported, None) => Some((Port(1), Port(u16::MAX))),
        (Source::Ported, Some(_)) if !pool.static_port => Some(pool.ports.unwrap_or(Pool::NAT_PORTS)),
        _ => None,
    }
}

/// The port of `rdr-to`: `4000` is everybody's, a range "follows the port that was asked for".
fn redirected(rule: &Rule, pool: &Pool, asked: Port) -> Port {
    match pool.ports {
        None => asked,
        Some((first, last)) => {
            let width = u32::from(last.0 - first.0) + 1;
            let behind = u32::from(asked.0.wrapping_sub(lowest(rule.to.port).0));
            Port(first.0 + (behind % width) as u16)
        }
    }
}

/// The first port that `to port` names.
const fn lowest(port: PortMatch) -> Port {
    match port {
        PortMatch::Any => Port(0),
        PortMatch::Equal(port)
        | PortMatch::NotEqual(port)
        | PortMatch::Less(port)
        | PortMatch::LessOrEqual(port)
        | PortMatch::Greater(port)
        | PortMatch::GreaterOrEqual(port)
        | PortMatch::Range(port, _)
        | PortMatch::Inside(port, _)
        | PortMatch::Outside(port, _) => port,
    }
}

/// What `bitmask` keeps of an address in a network of four.
fn bits_of_host(address: IpAddr) -> u8 {
    let last = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    last & 3
}

/// `bitmask`: the network of the pool, the host of the address.
fn masked(net: IpNet, host: IpAddr) -> IpAddr {
    match (net, host) {
        (IpNet::V4(net), IpAddr::V4(host)) => (net.network() | (host & net.hostmask())).into(),
        (IpNet::V6(net), IpAddr::V6(host)) => (net.network() | (host & net.hostmask())).into(),
        _ => net.addr(),
    }
}
