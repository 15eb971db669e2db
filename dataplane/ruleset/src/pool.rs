//! Where a translation leads (pf.conf(5) TRANSLATION, POOL OPTIONS).

use serde::{Deserialize, Serialize};
use wire::{Af, Port, Proto};

use crate::{Action, AddressPattern, Direction, PortBlocks, PortSet, Rule, StateMode};

/// How an address is chosen among those of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PoolKind {
    /// `bitmask`: the network part is the pool's, the host part that of the address that is translated.
    Bitmask,
    /// `random`.
    Random,
    /// `source-hash`, with its key: one source always has one address.
    SourceHash([u32; 4]),
    /// `round-robin`.
    RoundRobin,
    /// `least-states`.
    LeastStates,
}

/// `nat-to` or `rdr-to`: the addresses and ports that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pool {
    /// A host, a network, a table, or the addresses of an interface at the time of the packet.
    pub address: AddressPattern,
    /// How one is chosen, where there are several.
    pub kind: Option<PoolKind>,
    /// `sticky-address`.
    pub sticky: bool,
    /// First and last port; `None` where none is given. Of `rdr-to`, one port is that of every connection, and several
    /// follow the port that was asked for.
    pub ports: Option<(Port, Port)>,
    /// `static-port`: the source port stays.
    pub static_port: bool,
    /// `port-block`: how many ports of an address each source has for itself.
    pub port_block: Option<u16>,
    /// `map-e-portset`: the ports that there are to choose from.
    pub port_set: Option<PortSet>,
    /// `endpoint-independent`: a source of UDP has one port, whoever it speaks to.
    pub endpoint_independent: bool,
}

impl Pool {
    /// The ports of `nat-to` where the rule gives none, as pf has them.
    pub const NAT_PORTS: (Port, Port) = (Port(50_001), Port(65_535));
}

/// The lengths of the prefixes that stand in front of an IPv4 address in an IPv6 one (RFC 6052 §2.2).
pub const NAT64_LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

/// What the dataplane relies on of a rule that translates.
pub(crate) fn validate(rule: &Rule) -> Result<(), String> {
    if let Some(af) = rule.af_to {
        validate_af_to(rule, af)?;
    }
    let words = if rule.af_to.is_some() { ["af-to"; 2] } else { ["nat-to", "rdr-to"] };
    let pools = words.into_iter().zip([&rule.nat, &rule.rdr]);
    for (word, pool) in pools.into_iter().filter_map(|(word, pool)| Some((word, pool.as_ref()?))) {
        if matches!(rule.action, Action::Block(_)) {
            return Err(format!("{word} does not apply to block rules"));
        }
        if rule.direction.is_none() {
            return Err(format!("{word} requires a direction"));
        }
        if rule.action == Action::Pass && rule.state == StateMode::None {
            return Err(format!("{word} requires keep state"));
        }
        validate_address(rule, word, pool)?;
        if pool.ports.is_some_and(|(first, last)| first > last || first == Port(0)) {
            return Err(format!("the ports of {word} are no range"));
        }
    }
    if rule.nat.as_ref().is_some_and(|pool| pool.static_port && pool.ports.is_some()) {
        return Err("static-port and a range of ports exclude each other".into());
    }
    PortBlocks::of(rule)?;
    if let Some(pool) = &rule.nat {
        validate_ports(pool)?;
    }
    if let Some(pool) = &rule.rdr {
        if pool.port_block.is_some() {
            return Err("port-block only applies to nat-to".into());
        }
        if pool.port_set.is_some() {
            return Err("map-e-portset only applies to nat-to".into());
        }
        if pool.endpoint_independent {
            return Err("endpoint-independent only applies to nat-to".into());
        }
        if pool.static_port {
            return Err("static-port only applies to nat-to".into());
        }
        if pool.ports.is_some() && !matches!(rule.proto, Some(Proto::TCP | Proto::UDP)) {
            return Err("the ports of rdr-to only apply to tcp/udp".into());
        }
    }
    Ok(())
}

/// Where the ports of `nat-to` come from, in one way only.
fn validate_ports(pool: &Pool) -> Result<(), String> {
    let Some(set) = &pool.port_set else { return Ok(()) };
    if pool.static_port || pool.ports.is_some() || pool.port_block.is_some() {
        return Err("map-e-portset says all ports: leave port, static-port and port-block out".into());
    }
    set.check().map_err(Into::into)
}

/// What becomes a packet of the other family is routed as one, and no rule but this one sees both.
fn validate_af_to(rule: &Rule, af: Af) -> Result<(), String> {
    let is_sticky = |pool: &Option<Pool>| pool.as_ref().is_some_and(|pool| pool.sticky);
    let wrong = match () {
        () if rule.af.is_none_or(|own| own == af) => "af-to leads from one address family to the other",
        () if rule.direction != Some(Direction::In) => "af-to only applies to packets that come in",
        () if rule.action != Action::Pass => "af-to only applies to pass rules",
        () if rule.nat.is_none() => "af-to needs an address that packets come from",
        () if rule.state == StateMode::Synproxy => "af-to does not go together with synproxy state",
        () if rule.routing.is_some() => "af-to does not go together with route-to, reply-to and dup-to",
        () if is_sticky(&rule.nat) || is_sticky(&rule.rdr) => {
            "af-to does not go together with sticky-address"
        }
        () => return rule.rdr.as_ref().map_or(Ok(()), |to| validate_prefix(af, to)),
    };
    Err(wrong.into())
}

fn validate_prefix(af: Af, to: &Pool) -> Result<(), String> {
    match &to.address {
        AddressPattern::Net(net)
            if af == Af::Inet6 && net.prefix_len() <= 96 && !NAT64_LENGTHS.contains(&net.prefix_len()) =>
        {
            Err(format!("{net} has no place for an IPv4 address (RFC 6052: /32, /40, /48, /56, /64 or /96)"))
        }
        _ => Ok(()),
    }
}

fn validate_address(rule: &Rule, word: &str, pool: &Pool) -> Result<(), String> {
    match &pool.address {
        AddressPattern::Net(net) if rule.af_to.or(rule.af) == Some(Af::of(&net.addr())) => {}
        AddressPattern::Net(net) if rule.af_to.is_some() => {
            return Err(format!("{net} is not of the family that af-to leads to"));
        }
        AddressPattern::Net(_) => {
            return Err(format!("an address of {word} needs the rule to be of its family (inet or inet6)"));
        }
        AddressPattern::Interface { no_alias: true, .. } => {}
        AddressPattern::Table(_) | AddressPattern::Interface { .. } => {
            if matches!(pool.kind, None | Some(PoolKind::Bitmask)) {
                return Err(format!("several addresses of {word} need a way to choose one"));
            }
        }
        _ => return Err(format!("{word} leads to hosts, networks, tables or interfaces only")),
    }
    Ok(())
}
