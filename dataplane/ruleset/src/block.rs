//! Blocks of ports (`port-block`): each subscriber has one, which nothing but its own address decides (RFC 7422).
//!
//! Overview: the addresses that `from` of a rule names are the subscribers, in order; the first ones share the pool's first
//! address, each with as many of its ports as a block has, the next ones have the second. So whoever knows the rule knows
//! whose a port was at any time, and no log is needed. Bounds: subscribers are one network of IPv4, as is the pool, and each
//! finds a block, or the rule is not valid.

use core::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use wire::{Af, Port};

use crate::{AddressPattern, Pool, Rule};

/// The block of a subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortBlock {
    /// Whose it is.
    pub subscriber: IpAddr,
    /// The address that it is of.
    pub address: IpAddr,
    /// Its first port.
    pub first: Port,
    /// Its last port.
    pub last: Port,
}

/// The blocks of a rule's subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortBlocks {
    subscribers: Ipv4Net,
    addresses: Ipv4Net,
    /// The first port of the first block of each address.
    first: Port,
    /// Ports in a block.
    size: u16,
    /// Blocks of an address.
    per_address: u32,
}

/// How many addresses a network has.
const fn count(net: Ipv4Net) -> u64 {
    1 << (32 - net.prefix_len())
}

impl PortBlocks {
    /// The ports that are shared out where the rule gives none.
    pub const PORTS: (Port, Port) = (Port(1024), Port(65_535));

    /// Those of a rule; `None` if it has none.
    ///
    /// # Errors
    /// Why subscribers cannot have blocks by it.
    pub fn of(rule: &Rule) -> Result<Option<Self>, String> {
        let Some((pool, size)) = rule.nat.as_ref().and_then(|pool| Some((pool, pool.port_block?))) else {
            return Ok(None);
        };
        if rule.af != Some(Af::Inet) {
            return Err("port-block needs the rule to be of IPv4 (inet)".into());
        }
        if pool.static_port || pool.sticky || pool.kind.is_some() {
            return Err(
                "with port-block the source's own address decides: leave static-port, sticky-address \
                        and the way to choose an address out"
                    .into(),
            );
        }
        let (AddressPattern::Net(ipnet::IpNet::V4(subscribers)), false) =
            (&rule.from.address.pattern, rule.from.address.negated)
        else {
            return Err("port-block needs the sources to be one network: from 10.0.0.0/16".into());
        };
        let AddressPattern::Net(ipnet::IpNet::V4(addresses)) = pool.address else {
            return Err(
                "port-block needs the addresses to be one host or network: nat-to 192.0.2.0/28".into()
            );
        };
        Self::shared_out(*subscribers, addresses, pool, size).map(Some)
    }

    fn shared_out(subscribers: Ipv4Net, addresses: Ipv4Net, pool: &Pool, size: u16) -> Result<Self, String> {
        let (first, last) = pool.ports.unwrap_or(Self::PORTS);
        let ports = u32::from(last.0.saturating_sub(first.0)) + 1;
        let Some(per_address) = ports.checked_div(size.into()).filter(|blocks| *blocks > 0) else {
            return Err(format!("a port-block of {size} ports is not to be had of {ports}"));
        };
        let needed = count(subscribers).div_ceil(per_address.into());
        if needed > count(addresses) {
            return Err(format!(
                "port-block: {} addresses in {subscribers} need {needed} of the pool, with {per_address} \
                 blocks of {size} ports each; {addresses} has {}",
                count(subscribers),
                count(addresses)
            ));
        }
        Ok(Self { subscribers: subscribers.trunc(), addresses: addresses.trunc(), first, size, per_address })
    }

    /// Which of the pool's addresses a subscriber has, and which ports of it; both bounds are inclusive. Of an address that
    /// is none of the subscribers', those of the one whose host part it has.
    #[inline]
    pub fn share_of(&self, subscriber: Ipv4Addr) -> (u32, Port, Port) {
        let number = subscriber.to_bits() & self.subscribers.hostmask().to_bits();
        let first = self.first.0 + (number % self.per_address) as u16 * self.size;
        (number / self.per_address, Port(first), Port(first + (self.size - 1)))
    }

    /// The block of a subscriber.
    pub fn block(&self, subscriber: Ipv4Addr) -> Option<PortBlock> {
        self.subscribers.contains(&subscriber).then(|| {
            let (number, first, last) = self.share_of(subscriber);
            let address = Ipv4Addr::from_bits(self.addresses.network().to_bits() + number);
            PortBlock { subscriber: subscriber.into(), address: address.into(), first, last }
        })
    }

    /// Whose block a port of an address is in.
    pub fn holder(&self, address: Ipv4Addr, port: Port) -> Option<PortBlock> {
        let place = u32::from(port.0.checked_sub(self.first.0)?) / u32::from(self.size);
        if place >= self.per_address || !self.addresses.contains(&address) {
            return None;
        }
        let address = address.to_bits() - self.addresses.network().to_bits();
        let number = u64::from(address) * u64::from(self.per_address) + u64::from(place);
        let base = u64::from(self.subscribers.network().to_bits());
        self.block(Ipv4Addr::from_bits(u32::try_from(base + number).ok()?))
    }

    /// True if both are the same blocks, or have no address in common.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let (own, others) = (self.addresses, other.addresses);
        self == other || !(own.contains(&others) || others.contains(&own))
    }
}

/// What blocks there are among rules, each once.
///
/// # Errors
/// The number of a rule whose blocks would be others', and of the rule whose they are; or of one that is not valid, twice.
pub(crate) fn among(rules: &[Rule]) -> Result<Vec<PortBlocks>, (usize, usize)> {
    let mut known: Vec<(usize, PortBlocks)> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        let Some(blocks) = PortBlocks::of(rule).map_err(|_| (number, number))? else { continue };
        if let Some((before, _)) = known.iter().find(|(_, other)| !blocks.agrees(other)) {
            return Err((number, *before));
        }
        if known.iter().all(|(_, other)| *other != blocks) {
            known.push((number, blocks));
        }
    }
    Ok(known.into_iter().map(|(_, blocks)| blocks).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{Action, AddressMatch, Direction, Endpoint, StateMode};

    fn rule(from: &str, pool: &str, ports: Option<(u16, u16)>, size: u16) -> Rule {
        let net = |text: &str| AddressPattern::Net(text.parse().unwrap());
        Rule {
            action: Action::Pass,
            direction: Some(Direction::Out),
            af: Some(Af::Inet),
            state: StateMode::Keep,
            from: Endpoint {
                address: AddressMatch { negated: false, pattern: net(from) },
                ..Endpoint::default()
            },
            nat: Some(Pool {
                address: net(pool),
                kind: None,
                sticky: false,
                ports: ports.map(|(first, last)| (Port(first), Port(last))),
                static_port: false,
                port_block: Some(size),
                port_set: None,
                endpoint_independent: false,
            }),
            ..Rule::default()
        }
    }

    fn blocks(from: &str, pool: &str, ports: Option<(u16, u16)>, size: u16) -> Result<PortBlocks, String> {
        PortBlocks::of(&rule(from, pool, ports, size)).map(Option::unwrap)
    }

    /// RFC 7422 §2's figures: 1024 subscribers, 64512 ports in blocks of 504: 128 of them share an address.
    #[test]
    fn subscribers_have_blocks_in_their_order() {
        let blocks = blocks("100.64.0.0/22", "203.0.113.8/29", None, 504).unwrap();
        let told = |subscriber: &str| {
            let PortBlock { address, first, last, .. } = blocks.block(subscriber.parse().unwrap()).unwrap();
            format!("{address} {}-{}", first.0, last.0)
        };
        assert_eq!(told("100.64.0.0"), "203.0.113.8 1024-1527");
        assert_eq!(told("100.64.0.127"), "203.0.113.8 65032-65535");
        assert_eq!(told("100.64.0.128"), "203.0.113.9 1024-1527");
        assert_eq!(told("100.64.3.255"), "203.0.113.15 65032-65535");
        assert_eq!(blocks.block("100.64.4.0".parse().unwrap()), None);
        let holder = |address: &str, port| {
            blocks.holder(address.parse().unwrap(), Port(port)).map(|block| block.subscriber.to_string())
        };
        assert_eq!(holder("203.0.113.9", 1527).as_deref(), Some("100.64.0.128"));
        assert_eq!(holder("203.0.113.9", 1528).as_deref(), Some("100.64.0.129"));
        assert_eq!((holder("203.0.113.9", 1023), holder("203.0.113.16", 2000)), (None, None));
    }

    #[test]
    fn what_cannot_be_shared_out_is_refused_with_figures() {
        let refused = |from: &str, pool: &str, ports, size| blocks(from, pool, ports, size).unwrap_err();
        assert!(blocks("10.0.0.0/24", "192.0.2.0/30", Some((1000, 1999)), 10).is_ok());
        let text = refused("10.0.0.0/24", "192.0.2.0/31", Some((1000, 1999)), 10);
        assert!(text.contains("256 addresses in 10.0.0.0/24 need 3 of the pool, with 100 blocks"), "{text}");
        assert!(
            refused("10.0.0.0/24", "192.0.2.0/24", Some((1, 9)), 10)
                .contains("10 ports is not to be had of 9")
        );
        assert!(refused("10.0.0.0/24", "192.0.2.0/24", None, 0).contains("is not to be had"));
        let mut other = rule("10.0.0.0/24", "192.0.2.0/24", None, 512);
        other.from.address.negated = true;
        assert!(PortBlocks::of(&other).unwrap_err().contains("one network"));
        other.from.address.negated = false;
        other.nat.as_mut().unwrap().sticky = true;
        assert!(PortBlocks::of(&other).unwrap_err().contains("leave static-port"));
    }

    #[test]
    fn rules_have_the_same_blocks_or_addresses_of_their_own() {
        let one = || rule("10.0.0.0/24", "192.0.2.0/30", None, 512);
        assert_eq!(among(&[one(), Rule::default(), one()]).unwrap().len(), 1);
        assert_eq!(among(&[one(), rule("10.0.1.0/24", "192.0.2.4/30", None, 512)]).unwrap().len(), 2);
        assert_eq!(
            among(&[one(), Rule::default(), rule("10.0.1.0/24", "192.0.2.0/24", None, 512)]),
            Err((2, 0))
        );
        assert_eq!(among(&[one(), rule("10.0.0.0/24", "192.0.2.0/30", None, 256)]), Err((1, 0)));
    }

    proptest! {
        /// No two subscribers have a port of an address in common, and each is found by its ports again.
        #[test]
        fn two_subscribers_never_share_a_port(
            bits in 0_u8..=10, pool_bits in 0_u8..=10, first in 1_u16..60_000, width in 1_u16..5_000, size in 1_u16..2_000,
        ) {
            let (from, pool) = (format!("10.0.0.0/{}", 32 - bits), format!("198.18.0.0/{}", 32 - pool_bits));
            let ports = Some((first, first.saturating_add(width)));
            let Ok(blocks) = blocks(&from, &pool, ports, size) else { return Ok(()) };
            let pool: Ipv4Net = pool.parse().unwrap();
            let mut next: HashMap<IpAddr, u32> = HashMap::new();
            for number in 0..1_u32 << bits {
                let subscriber = Ipv4Addr::from_bits(0x0a00_0000 + number);
                let block = blocks.block(subscriber).unwrap();
                let (low, high) = (u32::from(block.first.0), u32::from(block.last.0));
                prop_assert_eq!(high - low + 1, u32::from(size));
                prop_assert!(first <= block.first.0 && block.last.0 <= first.saturating_add(width));
                let IpAddr::V4(address) = block.address else { unreachable!() };
                prop_assert!(pool.contains(&address));
                // Blocks of an address come one behind the other.
                let before = next.insert(block.address, high + 1);
                prop_assert!(before.is_none_or(|before| before <= low));
                for port in [block.first, block.last] {
                    prop_assert_eq!(blocks.holder(address, port), Some(block));
                }
            }
        }
    }
}
