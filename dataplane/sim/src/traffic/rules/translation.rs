//! Rules that translate.

use ipnet::IpNet;
use ruleset::{
    Action, AddressPattern, Direction, FlagsMatch, InterfacePart, Pool, PoolKind, Rule, StateMode,
};
use wire::{Af, Port, Proto};

use super::{PORTS, endpoint, family, flags, host, interface, interfaces};
use crate::rng::Rng;
use crate::topology::address;

/// The interfaces whose addresses a pool may be.
const NAMED: [&str; 3] = ["em0", "em1", "em2"];

/// Ports of `nat-to` that no rule tells from one another.
const RANGES: [Option<(Port, Port)>; 3] =
    [None, Some((Port(30_000), Port(39_999))), Some((Port(1_002), Port(65_535)))];

/// Bits of a network of several addresses, which no rule tells from one another.
const SEVERAL: u8 = 2;

/// A rule that translates much of what it is asked about.
pub(super) fn rule(rng: &mut Rng) -> Rule {
    let proto = match rng.below(6) {
        0..=2 => None,
        3 => Some(Proto::UDP),
        _ => Some(Proto::TCP),
    };
    let af = family(rng);
    let action = if rng.chance(1, 2) { Action::Match } else { Action::Pass };
    let redirects = rng.chance(1, 2);
    let enters = redirects || rng.chance(1, 6);
    let mut end =
        |seldom| if rng.chance(1, seldom) { endpoint(rng, Some(af), proto) } else { Default::default() };
    let (from, to) = (end(4), end(2));
    Rule {
        action,
        state: if action == Action::Pass { StateMode::Keep } else { StateMode::None },
        direction: Some(if enters { Direction::In } else { Direction::Out }),
        quick: rng.chance(1, 4),
        interface: rng.chance(1, 2).then(|| interface(rng)),
        af: Some(af),
        proto,
        flags: if rng.chance(3, 4) && proto.is_none_or(|proto| proto == Proto::TCP) {
            Some(FlagsMatch::SYN_ONLY)
        } else {
            flags(rng, proto)
        },
        nat: (!redirects).then(|| sources(rng, af)),
        rdr: redirects.then(|| Pool { ports: destination_ports(rng, proto), ..pool(rng, af) }),
        from,
        to,
        ..Rule::default()
    }
}

fn sources(rng: &mut Rng, af: Af) -> Pool {
    let static_port = rng.chance(1, 4);
    let ports = if static_port { None } else { *rng.pick(&RANGES) };
    Pool { static_port, ports, ..pool(rng, af) }
}

fn destination_ports(rng: &mut Rng, proto: Option<Proto>) -> Option<(Port, Port)> {
    proto?;
    match rng.below(3) {
        0 => None,
        1 => Some(*rng.pick(&PORTS)).map(|port| (Port(port), Port(port))),
        _ => Some((Port(1_000), Port(1_000 + rng.below(4) as u16))),
    }
}

fn pool(rng: &mut Rng, af: Af) -> Pool {
    let (address, kind) = match rng.below(6) {
        0 => (own_address(rng), None),
        1..=2 => (AddressPattern::Net(IpNet::from(host(rng, af))), None),
        3 => (AddressPattern::Net(IpNet::from(other(rng, af))), None),
        _ => {
            let kinds = [
                PoolKind::Bitmask,
                PoolKind::Random,
                PoolKind::RoundRobin,
                PoolKind::SourceHash([1, 2, 3, 4]),
            ];
            let net = IpNet::new_assert(other(rng, af), af.bits() - SEVERAL);
            (AddressPattern::Net(net), Some(rng.pick(&kinds).clone()))
        }
    };
    Pool {
        address,
        kind,
        sticky: false,
        ports: None,
        static_port: false,
        port_block: None,
        port_set: None,
        endpoint_independent: false,
    }
}

fn own_address(rng: &mut Rng) -> AddressPattern {
    let name = (*rng.pick(&NAMED)).into();
    AddressPattern::Interface { name, part: InterfacePart::Own, no_alias: true, prefix: None }
}

/// A station that speaks only where it is spoken to: the first of several.
fn other(rng: &mut Rng, af: Af) -> core::net::IpAddr {
    let interfaces: Vec<_> = interfaces().collect();
    address(af, *rng.pick(&interfaces), 1 << SEVERAL)
}
