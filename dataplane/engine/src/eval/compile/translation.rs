//! What rules translate packets to.

use std::sync::Arc;

use ruleset::{AddressPattern, NAT64_LENGTHS, Pool, PortBlocks, PortMatch, Rule};
use wire::{Af, Port};

use super::Names;
use crate::Address;
use crate::af_to::{AfTo, Network};
use crate::eval::owner;
use crate::pool::{self, Choice, Memory, Part};
use crate::translate::{NatPorts, RdrPorts, Translation};

impl Names<'_> {
    pub(super) fn translation(&self, rule: &Rule, serial: u64) -> Result<Option<Arc<Translation>>, String> {
        if rule.nat.is_none() && rule.rdr.is_none() {
            return Ok(None);
        }
        let nat = rule.nat.as_ref().map(|nat| {
            let (first, last) = nat.ports.unwrap_or(Pool::NAT_PORTS);
            let blocks = PortBlocks::of(rule)?;
            let ports = match (blocks, nat.port_set) {
                (Some(blocks), _) => NatPorts::Blocks(blocks),
                (None, Some(set)) => NatPorts::Set(set),
                (None, None) if nat.static_port => NatPorts::Kept,
                (None, None) => NatPorts::Range(first, last),
            };
            let pool = self.pool((rule, serial), nat)?;
            let choice = blocks.map_or(pool.choice, Choice::Blocks);
            let pool = pool::Pool { choice, ..pool };
            Ok::<_, String>((self.mapping((rule, serial), nat, pool), ports))
        });
        let rdr = rule.rdr.as_ref().map(|rdr| {
            let ports = match rdr.ports {
                None => RdrPorts::Kept,
                Some((first, last)) if first == last => RdrPorts::One(first),
                Some((first, last)) => RdrPorts::Following { first, last, asked: lowest(rule.to.port) },
            };
            Ok::<_, String>((self.pool((rule, serial), rdr)?, ports))
        });
        let af_to = rule.af_to.map(|af| af_to(rule, af));
        Ok(Some(Arc::new(Translation { nat: nat.transpose()?, rdr: rdr.transpose()?, af_to })))
    }

    /// A pool whose sources keep their ports if the rule says so; if the ruleset does, their addresses too.
    fn mapping(&self, (rule, serial): (&Rule, u64), nat: &Pool, pool: pool::Pool) -> pool::Pool {
        let all = self.options.endpoint_independent;
        if !all && !nat.endpoint_independent {
            return pool;
        }
        let owner = owner(rule.identity, serial);
        let paired = || Memory { owner, lifetime: None, implied: true };
        let keeps = matches!(pool.choice, Choice::Bitmask | Choice::Blocks(_) | Choice::SourceHash(_));
        let sticky = pool.sticky.or_else(|| (all && !keeps && rule.af_to.is_none()).then(paired));
        pool::Pool { mapping: Some(pool::Mapping { rule: owner, all }), sticky, ..pool }
    }

    fn pool(&self, of: (&Rule, u64), pool: &Pool) -> Result<pool::Pool, String> {
        let parts = vec![Part { addresses: self.addresses(&pool.address)?, via: None, weight: 1 }];
        let patterns = core::iter::once(&pool.address);
        Ok(self.chosen(of, parts, pool.kind.as_ref(), pool.sticky, patterns))
    }
}

/// The number that stands first behind `port`: what a range of `rdr-to` begins with (`pf_get_transaddr`).
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

/// `af-to` of a rule.
fn af_to(rule: &Rule, af: Af) -> AfTo {
    let asked = match &rule.to.address.pattern {
        AddressPattern::Net(net) if NAT64_LENGTHS.contains(&net.prefix_len()) => net.prefix_len(),
        _ => AfTo::WELL_KNOWN,
    };
    let to = rule.rdr.as_ref().and_then(|rdr| match &rdr.address {
        AddressPattern::Net(net) => Some(Network {
            first: Address::from(net.network()).0,
            length: net.prefix_len(),
            bits: net.max_prefix_len(),
        }),
        _ => None,
    });
    AfTo { af, asked, to }
}
