//! Rules as stories write them.

use std::net::IpAddr;

use ipnet::IpNet;
use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Direction, Endpoint, FlagsMatch, Gateway, IcmpReply,
    InterfaceMatch, InterfacePattern, Pool, PoolKind, PortMatch, Routing, RoutingKind, RoutingTable, Rule,
    Ruleset, StateMode, StatePolicy, TagMatch, Timeout,
};
use wire::{Af, Port, Proto};

/// A ruleset of these rules, with identities and lines.
pub fn ruleset(rules: Vec<Rule>) -> Ruleset {
    let mut ruleset = Ruleset { rules, ..Ruleset::default() };
    for (rule, number) in ruleset.rules.iter_mut().zip(1..) {
        rule.source.line = number;
        if rule.identity == 0 {
            rule.identity = u64::from(number);
        }
    }
    ruleset
}

/// `pass`: flags S/SA keep state.
pub fn pass() -> Rule {
    Rule { state: StateMode::Keep, flags: Some(FlagsMatch::SYN_ONLY), ..Rule::default() }
}

/// `block drop`.
pub fn block() -> Rule {
    Rule { action: Action::Block(BlockReply::Drop), ..Rule::default() }
}

/// `block return`.
pub fn block_return() -> Rule {
    Rule { action: Action::Block(BlockReply::Return(IcmpReply::default())), ..Rule::default() }
}

/// What else may stand in a rule.
pub trait Written: Sized {
    fn change(self, change: impl FnOnce(&mut Rule)) -> Self;

    fn incoming(self) -> Self {
        self.change(|rule| rule.direction = Some(Direction::In))
    }

    fn outgoing(self) -> Self {
        self.change(|rule| rule.direction = Some(Direction::Out))
    }

    fn quick(self) -> Self {
        self.change(|rule| rule.quick = true)
    }

    fn on(self, name: &str) -> Self {
        let pattern = InterfacePattern::Name(name.into());
        self.change(|rule| rule.interface = Some(InterfaceMatch { negated: false, pattern }))
    }

    fn proto(self, proto: Proto) -> Self {
        self.change(|rule| {
            rule.proto = Some(proto);
            rule.flags = rule.flags.filter(|_| proto == Proto::TCP);
        })
    }

    fn from(self, net: &str) -> Self {
        let (af, address) = address(net);
        self.change(|rule| (rule.af, rule.from.address) = (Some(af), address))
    }

    fn to(self, net: &str) -> Self {
        let (af, address) = address(net);
        self.change(|rule| (rule.af, rule.to.address) = (Some(af), address))
    }

    fn to_port(self, port: u16) -> Self {
        self.change(|rule| rule.to = Endpoint { port: PortMatch::Equal(Port(port)), ..rule.to.clone() })
    }

    /// A port of UDP.
    fn to_udp(self, port: u16) -> Self {
        self.proto(Proto::UDP).to_port(port)
    }

    /// `flags any`.
    fn any_flags(self) -> Self {
        self.change(|rule| rule.flags = None)
    }

    /// `no state`.
    fn no_state(self) -> Self {
        self.any_flags().change(|rule| rule.state = StateMode::None)
    }

    fn if_bound(self) -> Self {
        self.change(|rule| rule.state_options.policy = Some(StatePolicy::IfBound))
    }

    fn sloppy(self) -> Self {
        self.change(|rule| rule.state_options.sloppy = true)
    }

    /// `modulate state`.
    fn modulate(self) -> Self {
        self.change(|rule| rule.state = StateMode::Modulate)
    }

    /// `synproxy state`.
    fn synproxy(self) -> Self {
        self.change(|rule| rule.state = StateMode::Synproxy)
    }

    fn timeout(self, timeout: Timeout, seconds: u32) -> Self {
        self.change(|rule| rule.state_options.timeouts.push((timeout, seconds)))
    }

    fn allow_opts(self) -> Self {
        self.change(|rule| rule.allow_opts = true)
    }

    /// `dup-to @name`.
    fn dup_to(self, name: &str) -> Self {
        self.routing(RoutingKind::Dup, &[&format!("@{name}")])
    }

    /// `dup-to host@name`, or to several in turn.
    fn dup_to_host(self, hosts: &[&str]) -> Self {
        self.routing(RoutingKind::Dup, hosts)
    }

    /// `route-to host@name`, or to several in turn.
    fn route_to(self, gateways: &[&str]) -> Self {
        self.routing(RoutingKind::To, gateways)
    }

    /// `reply-to host@name`.
    fn reply_to(self, gateways: &[&str]) -> Self {
        self.routing(RoutingKind::Reply, gateways)
    }

    fn routing(self, kind: RoutingKind, gateways: &[&str]) -> Self {
        let several = gateways.len() > 1;
        let choice = several.then_some(PoolKind::RoundRobin);
        let gateways: Vec<Gateway> = gateways.iter().map(|text| gateway(text)).collect();
        self.change(|rule| {
            if let AddressPattern::Net(net) = &gateways[0].address {
                rule.af = Some(Af::of(&net.addr()));
            }
            rule.routing = Some(Routing { kind, gateways, choice, sticky: false });
        })
    }

    /// How the pool of its route chooses.
    fn choosing(self, kind: PoolKind) -> Self {
        self.change(|rule| {
            if let Some(routing) = &mut rule.routing {
                routing.choice = Some(kind);
            }
        })
    }

    /// `nat-to host port first:last`.
    fn nat_to(self, net: &str, ports: (u16, u16)) -> Self {
        let (af, pool) = pool(net, Some(ports));
        self.change(|rule| (rule.af, rule.nat) = (Some(af), Some(pool)))
    }

    /// `rdr-to host port first:last`.
    fn rdr_to(self, net: &str, ports: Option<(u16, u16)>) -> Self {
        let (af, pool) = pool(net, ports);
        self.change(|rule| (rule.af, rule.rdr) = (Some(af), Some(pool)))
    }

    /// `af-to` of the family of `from`, from these ports.
    fn af_to(self, from: &str, ports: (u16, u16), to: Option<&str>) -> Self {
        let (af, nat) = pool(from, Some(ports));
        let rdr = to.map(|to| pool(to, None).1);
        self.change(|rule| {
            (rule.af, rule.af_to) = (Some(af.other()), Some(af));
            (rule.nat, rule.rdr) = (Some(nat), rdr);
        })
    }

    fn rtable(self, number: u8) -> Self {
        self.change(|rule| rule.rtable = Some(RoutingTable(number)))
    }

    fn tag(self, name: &str) -> Self {
        self.change(|rule| rule.tag = Some(name.into()))
    }

    fn tagged(self, name: &str) -> Self {
        self.change(|rule| rule.tagged = Some(TagMatch { negated: false, name: name.into() }))
    }
}

impl Written for Rule {
    fn change(mut self, change: impl FnOnce(&mut Rule)) -> Self {
        change(&mut self);
        self
    }
}

/// `match`.
pub fn matching() -> Rule {
    Rule { action: Action::Match, ..Rule::default() }
}

/// `host`, `host@interface` or `@interface`.
fn gateway(text: &str) -> Gateway {
    let (host, interface) = match text.split_once('@') {
        Some((host, interface)) => (host, Some(interface.to_owned())),
        None => (text, None),
    };
    let address = if host.is_empty() { AddressPattern::Any } else { address(host).1.pattern };
    Gateway { address, interface, weight: None }
}

/// The pool of a host or network.
pub fn pool(net: &str, ports: Option<(u16, u16)>) -> (Af, Pool) {
    let (af, AddressMatch { pattern, .. }) = address(net);
    let ports = ports.map(|(first, last)| (Port(first), Port(last)));
    let pool = Pool {
        address: pattern,
        kind: None,
        sticky: false,
        ports,
        static_port: false,
        port_block: None,
        port_set: None,
        endpoint_independent: false,
    };
    (af, pool)
}

fn address(net: &str) -> (Af, AddressMatch) {
    let net: IpNet =
        net.parse().or_else(|_| net.parse::<IpAddr>().map(IpNet::from)).expect("a host or network");
    (Af::of(&net.addr()), AddressMatch { negated: false, pattern: AddressPattern::Net(net) })
}
