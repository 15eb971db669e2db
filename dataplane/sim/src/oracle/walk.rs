//! The rules: pf's ordered walk (pf.md 2.2). The last rule that matches decides, `quick` at once; none is `pass`,
//! stateless. Tests are made in pf's order and a failed one goes on to the next rule.

use core::net::IpAddr;
use core::ops::Range;

use ruleset::{Action, AddressMatch, AddressPattern, PortMatch, Reason, Rule, StateMode};
use wire::{Af, Proto};

use super::forward::From;
use super::hook::Hook;
use super::icmp::{self, Mapping, OwnState, Way};
use super::packet::{Packet, Part, Transport};
use super::translate::Ends;
use super::{Actions, Oracle, Tag};

/// What the walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    /// The deciding rule's number; `None` if no rule matched.
    pub rule: Option<usize>,
    /// The tag that the rules put on the packet. As in pf, the packet's own tag once a `tagged` was evaluated.
    pub tag: Tag,
    /// What the `match` rules ask for.
    pub actions: Actions,
    /// The packet as the `match` rules have translated it: "later rules see translated addresses".
    pub packet: Packet,
    /// The ends that the other side has given it.
    pub chosen: Option<Ends>,
    /// Why a `match` rule could not translate it, which ends the walk.
    pub refused: Option<Reason>,
}

impl Oracle {
    /// Walks the rules for a packet that has no state at this hook and carries `tag`.
    pub(super) fn walk(&mut self, hook: Hook, packet: &Packet, tag: &Tag, now: u64) -> Walk {
        let mapping = packet.icmp().map(|icmp| icmp::mapping(packet.af(), icmp.kind, icmp.id, icmp.target));
        let mut walk = Walk {
            rule: None,
            tag: None,
            actions: Actions::default(),
            packet: packet.clone(),
            chosen: self.chosen(hook, packet),
            refused: None,
        };
        let prio = self.prio;
        let (mut rates, mut expired) = (core::mem::take(&mut self.rates), core::mem::take(&mut self.expired));
        // The order of `pf_match_rule` (pf.md 2.2): "pktrate last"; a rule that `once` has expired is none.
        let mut matches = |number: usize, rule: &Rule, packet: &Packet, walked: &mut Tag| {
            !expired.contains(&number)
                && self.matches(rule, hook, packet, mapping)
                && rule.tos.is_none_or(|tos| tos == packet.tos)
                && rule.prio.is_none_or(|wanted| wanted == prio)
                && rule.probability != Some(0)
                && is_tagged(rule, walked, tag)
                && self.is_received_on(rule)
                && rule
                    .packet_rate
                    .filter(|rate| rate.packets > 0)
                    .is_none_or(|rate| !rates.entry((self.generation, number)).or_default().add(rate, now))
                && (!rule.once || expired.insert(number))
        };
        let mut ruled = None;
        self.walk_ruleset(0..self.rules.rules.len(), None, &mut matches, &mut walk, &mut ruled);
        (self.rates, self.expired) = (rates, expired);
        walk
    }

    /// pf.conf(5) `received-on`: what the firewall itself sends was received nowhere.
    fn is_received_on(&self, rule: &Rule) -> bool {
        rule.received_on.as_ref().is_none_or(|wanted| match self.speaker {
            From::Interface(interface) => self.world.matches(wanted, interface),
            From::Host => wanted.negated,
        })
    }

    /// Walks the rules of one ruleset, and at each call that matches those of its anchor; true if that ends the walk.
    /// `ruled` is the anchor in which the last match was.
    fn walk_ruleset(
        &self,
        rules: Range<usize>,
        anchor: Option<usize>,
        matches: &mut dyn FnMut(usize, &Rule, &Packet, &mut Tag) -> bool,
        walk: &mut Walk,
        ruled: &mut Option<usize>,
    ) -> bool {
        let mut number = rules.start;
        while number < rules.end {
            let rule = &self.rules.rules[number];
            let here = number;
            number = rule.call.as_ref().map_or(here + 1, |call| call.end as usize);
            if !matches(here, rule, &walk.packet, &mut walk.tag) {
                continue;
            }
            // "tag t (sticky)": every matching rule tags, not only the deciding one.
            if rule.tag.is_some() {
                walk.tag.clone_from(&rule.tag);
            }
            if let Some(call) = &rule.call {
                let ended = self.walk_ruleset(here + 1..number, Some(here), matches, walk, ruled);
                // "stop after it if any rule in it matched", which asks for the last match; not where `*` stands.
                if ended || (rule.quick && !call.wildcard && *ruled == Some(here)) {
                    return true;
                }
                continue;
            }
            if rule.action == Action::Match {
                walk.actions.add(rule);
                walk.refused = self.translate(rule, walk.chosen, &mut walk.packet).err();
                if walk.refused.is_some() {
                    return true;
                }
            } else {
                walk.rule = Some(here);
                *ruled = anchor;
            }
            if rule.quick {
                return true;
            }
        }
        false
    }

    fn matches(&self, rule: &Rule, hook: Hook, packet: &Packet, mapping: Option<Mapping>) -> bool {
        rule.interface.as_ref().is_none_or(|wanted| self.world.matches(wanted, hook.interface))
            && rule.direction.is_none_or(|direction| direction == hook.direction)
            && rule.af.is_none_or(|af| af == packet.af())
            && rule.proto.is_none_or(|proto| proto == packet.transport.proto())
            && self.is_address(&rule.from.address, packet.source, hook)
            && self.is_address(&rule.to.address, packet.destination, hook)
            && is_transport(rule, packet, mapping)
            && (!rule.fragment || packet.part != Part::Whole)
    }

    /// pf.conf(5) `from` and `to`.
    fn is_address(&self, wanted: &AddressMatch, address: IpAddr, hook: Hook) -> bool {
        let found = match &wanted.pattern {
            AddressPattern::Any => true,
            AddressPattern::Net(net) => net.contains(&address),
            AddressPattern::Masked { net, mask } => is_masked(*net, *mask, address),
            AddressPattern::Range(first, last) => {
                Af::of(first) == Af::of(&address) && *first <= address && address <= *last
            }
            AddressPattern::Table(name) => self.is_in_table(name, address),
            AddressPattern::NoRoute => self.world.route(address).is_none(),
            AddressPattern::UrpfFailed => {
                let on_link = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
                !on_link && self.world.route(address) != Some(hook.interface)
            }
            AddressPattern::Interface { name, part, no_alias, prefix } => {
                self.world.stands_for(name, *part, *no_alias, *prefix, address)
            }
        };
        found != wanted.negated
    }

    /// "longest-prefix match, `!` = negated entry" (pf.md 1).
    fn is_in_table(&self, name: &str, address: IpAddr) -> bool {
        let entries = self.rules.table(name).and_then(|table| table.entries.as_ref());
        let matching = entries.into_iter().flatten().filter(|entry| entry.net.contains(&address));
        matching.max_by_key(|entry| entry.net.prefix_len()).is_some_and(|entry| !entry.negated)
    }
}

fn is_masked(net: IpAddr, mask: IpAddr, address: IpAddr) -> bool {
    match (net, mask, address) {
        (IpAddr::V4(net), IpAddr::V4(mask), IpAddr::V4(address)) => {
            address.to_bits() & mask.to_bits() == net.to_bits() & mask.to_bits()
        }
        (IpAddr::V6(net), IpAddr::V6(mask), IpAddr::V6(address)) => {
            address.to_bits() & mask.to_bits() == net.to_bits() & mask.to_bits()
        }
        _ => false,
    }
}

/// The tests of `switch (virtual_proto)`: a rule's flags concern TCP only, its ports TCP and UDP, its type ICMP.
fn is_transport(rule: &Rule, packet: &Packet, mapping: Option<Mapping>) -> bool {
    if packet.part != Part::Whole {
        // "no port/flags/icmp keys match there"
        let ports = [rule.from.port, rule.to.port] != [PortMatch::Any; 2];
        let flags = rule.flags.is_some() && packet.transport.proto() == Proto::TCP;
        return !ports && !flags && rule.icmp.is_none();
    }
    if let Transport::Tcp(tcp) = &packet.transport
        && rule.flags.is_some_and(|flags| !flags.accepts(tcp.flags))
    {
        return false;
    }
    if let Some((source, destination)) = packet.ports() {
        return rule.from.port.accepts(source) && rule.to.port.accepts(destination);
    }
    let (Some(icmp), Some(mapping)) = (packet.icmp(), mapping) else { return true };
    let typed = rule
        .icmp
        .is_none_or(|wanted| wanted.kind == icmp.kind && wanted.code.is_none_or(|code| code == icmp.code));
    // "ICMP replies never create state unless sloppy": such a rule does not match at all.
    let keeps = rule.state != StateMode::None && !rule.state_options.sloppy;
    let stray_reply = mapping.own_state == OwnState::Yes && mapping.way == Way::Reply;
    typed && !(keeps && stray_reply)
}

/// pf.conf(5) `tagged`: the tag of an earlier rule of this walk, else the one that the packet came with.
fn is_tagged(rule: &Rule, walked: &mut Tag, carried: &Tag) -> bool {
    let Some(wanted) = &rule.tagged else { return true };
    if walked.is_none() {
        walked.clone_from(carried);
    }
    (walked.as_ref() == Some(&wanted.name)) != wanted.negated
}
