//! Mappings of translation that do not depend on the remote end (RFC 4787 §4.1).
//!
//! Overview: an endpoint inside has one endpoint outside, whoever it speaks to. Each mapping is two [nodes](super): that of
//! the endpoint inside, which states count for and which leads outside; and that of the endpoint outside, which leads inside,
//! and for which only the mapping counts, so that nobody else ever has it.
//!
//! Why they are among the nodes that all workers share, and not in tables of the workers': connections of one endpoint inside
//! are at home wherever their tuples lead, and so are answers, and packets of those that nobody has asked. With a table of each
//! worker's, every first packet would have to be handed to the worker that has the mapping, and what comes from outside
//! without a connection likewise, whether there is a mapping or not. As it is, the worker that has the packet makes its
//! connection, as it always does, and what was translated to is known to its home by an alias, as that of `static-port` is.
//! Life cycle: made by the first connection, gone with the last. Ownership: as that of all nodes. Bounds: as many mappings as
//! half of the places; what finds no place is dropped, reason `translate`.

use core::net::IpAddr;

use wire::{Af, Port, Proto};

use super::{Kind, Most, NewNode, NodeId, NodeKey, Nodes, Standing, hash};
use crate::Address;
use crate::pool::Target;
use crate::state::StatePool;

/// An address and a port, or an identifier of queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub af: Af,
    pub address: Address,
    pub port: Port,
}

impl Endpoint {
    const fn bits(&self) -> u32 {
        (match self.af {
            Af::Inet => 0,
            Af::Inet6 => 1 << 16,
        }) | self.port.0 as u32
    }

    pub(super) const fn of_bits(address: Address, bits: u32) -> Self {
        let af = if bits >> 16 == 0 { Af::Inet } else { Af::Inet6 };
        Self { af, address, port: Port(bits as u16) }
    }

    const fn key(&self, kind: Kind, owner: u64, proto: Proto) -> NodeKey {
        let endpoint = (proto.0 as u32) << 16 | self.port.0 as u32;
        NodeKey { kind, owner, af: self.af, address: self.address, endpoint }
    }

    const fn leads_here(&self, rule: u64, parent: NodeId) -> NewNode {
        let target = Some(Target { address: self.address, via: None });
        NewNode { target, leads_to: self.bits(), rule, parent, lifetime: 0, seconds: 0 }
    }
}

/// Whose mapping is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// The rule.
    pub rule: u64,
    pub proto: Proto,
    pub inside: Endpoint,
}

impl Mapped {
    const fn key(&self) -> NodeKey {
        self.inside.key(Kind::Inner, self.rule, self.proto)
    }
}

/// A mapping, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointMapping {
    /// The protocol.
    pub proto: Proto,
    /// Address and port inside.
    pub inside: (IpAddr, Port),
    /// Address and port outside.
    pub outside: (IpAddr, Port),
    /// The states that have it.
    pub states: u32,
}

impl Nodes {
    /// Counts a state for a mapping, if there is one that leads to an endpoint that `is_valid`; one that is not is forgotten.
    pub fn join_mapping(
        &self,
        of: &Mapped,
        secret: [u64; 2],
        now: u32,
        is_valid: impl Fn(&Endpoint) -> bool,
    ) -> Option<(NodeId, Endpoint)> {
        let key = of.key();
        let hash = hash(&key, secret);
        loop {
            let (at, word) = self.seek(&key, hash, now)?;
            let (outside, _) = self.places[at].mapped_to()?;
            if !is_valid(&outside) {
                self.detach(at, word);
                return None;
            }
            if self.places[at].change(word, word.with_states(word.states() + 1)) {
                return Some((NodeId(at as u32 + 1), outside));
            }
        }
    }

    /// Makes a mapping to an endpoint outside, with one state, or counts the state for the one that somebody else has made
    /// meanwhile: where it leads, too. `None` if the endpoint is another's, or there is no room.
    pub fn map(
        &self,
        of: &Mapped,
        secret: [u64; 2],
        outside: &Endpoint,
        now: u32,
    ) -> Option<(NodeId, Endpoint)> {
        let once = Most { states: 1, ..Most::default() };
        let outer = outside.key(Kind::Outer, 0, of.proto);
        let reverse = of.inside.leads_here(of.rule, NodeId::NONE);
        let outer = self.join(&outer, secret, &reverse, &once, now).ok()?;
        let new = outside.leads_here(of.rule, outer);
        let inner = self.join(&of.key(), secret, &new, &Most::default(), now);
        let leads_to = inner.ok().and_then(|id| {
            let (endpoint, _) = self.places.get(id.place()? as usize)?.mapped_to()?;
            Some((id, endpoint))
        });
        // An endpoint outside is led to by one mapping alone: else it is not this one's.
        if leads_to.is_none_or(|(_, endpoint)| endpoint != *outside) {
            self.leave(outer, now);
        }
        leads_to
    }

    /// Whose an endpoint outside is.
    pub fn behind(&self, outside: &Endpoint, proto: Proto, secret: [u64; 2], now: u32) -> Option<Mapped> {
        let key = outside.key(Kind::Outer, 0, proto);
        let (at, word) = self.seek(&key, hash(&key, secret), now)?;
        let (inside, rule) = self.places[at].mapped_to()?;
        self.places[at].is_still(word).then_some(Mapped { rule, proto, inside })
    }

    fn mapping(&self, at: usize) -> Option<EndpointMapping> {
        let (node, word) = (&self.places[at], self.places[at].word());
        if word.standing() != Standing::Live {
            return None;
        }
        let key = node.key().filter(|key| key.kind == Kind::Inner)?;
        let (outside, _) = node.mapped_to()?;
        let of = |af: Af, address: Address, port: u32| (address.to_ip(af), Port(port as u16));
        let mapping = EndpointMapping {
            proto: Proto((key.endpoint >> 16) as u8),
            inside: of(key.af, key.address, key.endpoint),
            outside: of(outside.af, outside.address, outside.port.0.into()),
            states: word.states(),
        };
        node.is_still(word).then_some(mapping)
    }
}

impl StatePool {
    /// The mappings that do not depend on remote ends.
    pub fn endpoint_mappings(&self) -> Vec<EndpointMapping> {
        let nodes = self.nodes();
        let places = if nodes.is_empty() { 0 } else { nodes.places() };
        (0..places).filter_map(|at| nodes.mapping(at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::{AtomicU32, Ordering};

    const SECRET: [u64; 2] = [1, 2];

    fn endpoint(address: u128, port: u16) -> Endpoint {
        Endpoint { af: Af::Inet, address: Address(address), port: Port(port) }
    }

    fn of(host: u128) -> Mapped {
        Mapped { rule: 7, proto: Proto::UDP, inside: endpoint(host, 4000) }
    }

    #[test]
    fn a_mapping_leads_both_ways_until_its_last_state_has_gone() {
        let (nodes, outside) = (Nodes::new(1), endpoint(9, 50_001));
        let (first, led_to) = nodes.map(&of(1), SECRET, &outside, 0).expect("room");
        assert_eq!(led_to, outside);
        let (second, again) = nodes.join_mapping(&of(1), SECRET, 0, |_| true).expect("it is there");
        assert_eq!((first, again), (second, outside));
        assert_eq!(nodes.map(&of(2), SECRET, &outside, 0), None, "it is another's");
        let other = Mapped { proto: Proto::TCP, ..of(2) };
        assert!(nodes.map(&other, SECRET, &outside, 0).is_some(), "of another protocol");
        nodes.leave(first, 0);
        assert_eq!(nodes.behind(&outside, Proto::UDP, SECRET, 0), Some(of(1)));
        nodes.leave(second, 0);
        assert_eq!(nodes.behind(&outside, Proto::UDP, SECRET, 0), None);
        assert_eq!(nodes.join_mapping(&of(1), SECRET, 0, |_| true), None);
        assert!(nodes.map(&of(2), SECRET, &outside, 0).is_some());
    }

    #[test]
    fn a_mapping_to_an_endpoint_of_no_use_any_more_is_forgotten() {
        let (nodes, outside) = (Nodes::new(1), endpoint(9, 50_001));
        let (held, _) = nodes.map(&of(1), SECRET, &outside, 0).expect("room");
        assert_eq!(nodes.join_mapping(&of(1), SECRET, 0, |_| false), None);
        assert_eq!(nodes.behind(&outside, Proto::UDP, SECRET, 0), None, "nobody comes in by it");
        let (anew, _) = nodes.map(&of(1), SECRET, &endpoint(8, 50_001), 0).expect("room");
        [held, anew].into_iter().for_each(|id| nodes.leave(id, 0));
        assert!(nodes.is_empty());
    }

    /// As in the life of workers: endpoints inside want the same few ports outside, all at once.
    #[test]
    fn workers_never_give_one_endpoint_to_two() {
        const PORTS: usize = 3;
        let nodes = Nodes::new(1);
        let holders: [AtomicU32; PORTS] = Default::default();
        std::thread::scope(|scope| {
            for worker in 0..4_u32 {
                let (nodes, holders) = (&nodes, &holders);
                scope.spawn(move || {
                    let host = 1 + worker % 2;
                    let mut seed = worker.wrapping_add(1);
                    for _ in 0..50_000 {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let port = (seed >> 16) as usize % PORTS;
                        let wanted = endpoint(9, port as u16);
                        let Some((id, got)) = nodes.map(&of(host.into()), SECRET, &wanted, 0) else {
                            continue;
                        };
                        let holder = &holders[usize::from(got.port.0)];
                        // As long as this state holds the mapping, all who have it are of one host.
                        let before = holder.fetch_add(host << 16 | 1, Ordering::SeqCst);
                        assert_eq!(before >> 16, (before & 0xffff) * host, "of one host");
                        holder.fetch_sub(host << 16 | 1, Ordering::SeqCst);
                        nodes.leave(id, 0);
                    }
                });
            }
        });
        assert!(nodes.is_empty(), "nothing is left behind");
    }
}
