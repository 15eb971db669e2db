//! Sources that came by the wrong interface (pf.conf(5) `from urpf-failed`): where answers would leave is where they must come
//! from.

use std::net::IpAddr;

use crate::firewall::rules::{Written, block, pass};
use crate::firewall::{EM1, EM2, Firewall, interfaces, neighbors, rerouted, routes};
use engine::fib::{NextHop, Route, RouteEntry};
use engine::{Fib, InterfaceId};
use ruleset::{AddressMatch, AddressPattern, Rule};

fn from_the_wrong_side(rule: Rule, negated: bool) -> Rule {
    rule.change(|rule| rule.from.address = AddressMatch { negated, pattern: AddressPattern::UrpfFailed })
}

/// `pass`, `block in from urpf-failed`.
fn guarded() -> Firewall {
    Firewall::with(vec![pass(), from_the_wrong_side(block().incoming(), false)])
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn through(hops: &[(InterfaceId, &str)]) -> Route {
    let hop = |(interface, gateway): &(InterfaceId, &str)| NextHop {
        interface: *interface,
        gateway: Some(ip(gateway)),
        mtu: None,
    };
    Route::Forward(hops.iter().map(hop).collect())
}

/// The usual forwarding base, with these routes besides.
fn with_routes(more: Vec<(&str, u8, Route)>) -> Fib {
    let more =
        more.into_iter().map(|(prefix, length, route)| RouteEntry { prefix: ip(prefix), length, route });
    Fib::new(2, interfaces(), routes().into_iter().chain(more), neighbors())
}

#[test]
fn a_source_must_come_from_where_its_answers_leave() {
    guarded().tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp                -> out em1
        em0: 10.1.0.2.1 > 10.1.0.3.53 udp                -> match
        em1: 10.1.0.2.1 > 10.0.0.2.53 udp                -> out em0
        em1: 10.0.0.3.1 > 10.0.0.2.53 udp                -> match
        em1: 198.51.100.9.1 > 10.0.0.2.53 udp            -> out em0
        em0: 198.51.100.9.1 > 10.1.0.2.53 udp            -> match
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp        -> out em1
        em0: 2001:db8:1::7.1 > 2001:db8:1::2.53 udp      -> match
        em1: 2001:db8:1::7.1 > 2001:db8::2.53 udp        -> out em0
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp                -> host em0
        em1: 10.0.0.2.1 > 10.1.0.1.53 udp                -> match
        ",
    );
}

/// No route at all, and routes that lead nowhere, fail everywhere.
#[test]
fn what_has_no_way_back_fails() {
    guarded().tell(
        "
        em0: 172.16.0.9.1 > 10.1.0.2.53 udp              -> match
        em1: 172.16.0.9.1 > 10.0.0.2.53 udp              -> match
        em1: 203.0.113.9.1 > 10.0.0.2.53 udp             -> match
        em1: 192.0.2.9.1 > 10.0.0.2.53 udp               -> match
        em1: 10.9.0.9.1 > 10.0.0.2.53 udp                -> match
        em0: 2001:db8:9::9.1 > 2001:db8:1::2.53 udp      -> match
        ",
    );
}

#[test]
fn a_default_route_is_a_way_back_for_what_has_no_better_one() {
    let mut firewall = guarded();
    firewall.fib = with_routes(vec![
        ("0.0.0.0", 0, through(&[(EM1, "10.1.0.254")])),
        ("::", 0, through(&[(EM1, "2001:db8:1::2")])),
    ]);
    firewall.tell(
        "
        em1: 8.8.8.8.1 > 10.0.0.2.53 udp                 -> out em0
        em0: 8.8.8.8.3 > 10.1.0.2.53 udp                 -> match
        em2: 8.8.8.8.2 > 10.0.0.2.53 udp                 -> match
        em1: 10.0.0.3.1 > 10.0.0.2.53 udp                -> match
        em1: 203.0.113.9.1 > 10.0.0.2.53 udp             -> match
        em1: 2001:db8:9::9.1 > 2001:db8::2.53 udp        -> out em0
        em0: 2001:db8:9::9.1 > 2001:db8:1::2.53 udp      -> match
        em1: 2001:db8::3.1 > 2001:db8::2.53 udp          -> match
        ",
    );
}

/// Each next hop of several is a way back, whichever this flow's answers take.
#[test]
fn any_of_several_next_hops_is_a_way_back() {
    let mut firewall = guarded();
    firewall.fib = with_routes(vec![
        ("198.18.0.0", 15, through(&[(EM1, "10.1.0.254"), (EM2, "10.2.0.2")])),
        ("2001:db8:18::", 48, through(&[(EM1, "2001:db8:1::2"), (EM2, "2001:db8:2::2")])),
    ]);
    for port in 1..=6 {
        firewall.tell(&format!(
            "
            em1: 198.18.0.9.{port} > 10.0.0.2.53 udp            -> out em0
            em2: 198.18.0.8.{port} > 10.0.0.2.53 udp            -> out em0
            em0: 198.18.0.7.{port} > 10.1.0.2.53 udp            -> match
            em1: 2001:db8:18::9.{port} > 2001:db8::2.53 udp     -> out em0
            em2: 2001:db8:18::8.{port} > 2001:db8::2.53 udp     -> out em0
            em0: 2001:db8:18::7.{port} > 2001:db8:1::2.53 udp   -> match
            "
        ));
    }
}

/// They are answered on their link, whatever routes there are: neighbours are found by them.
#[test]
fn link_local_sources_never_fail() {
    guarded().tell(
        "
        em0: fe80::2.1 > 2001:db8::1.53 udp              -> host em0
        em1: fe80::2.1 > 2001:db8:1::1.53 udp            -> host em1
        em2: fe80::2 > ff02::1 icmp 134/0 ttl 255        -> host em2
        ",
    );
}

/// Only a rule asks: what has a state goes on when routes change, and new connections are judged by the new ones.
#[test]
fn states_outlive_the_way_back() {
    let mut firewall = guarded();
    firewall.tell("em1: 10.1.0.2.1 > 10.0.0.2.53 udp -> out em0");
    firewall.fib = rerouted();
    firewall.tell(
        "
        em1: 10.1.0.2.1 > 10.0.0.2.53 udp                -> out em0
        em1: 10.1.0.2.2 > 10.0.0.2.53 udp                -> match
        em2: 10.1.0.2.3 > 10.0.0.2.53 udp                -> out em0
        ",
    );
}

/// `block in`, `pass in from ! urpf-failed`.
#[test]
fn a_negated_one_is_the_opposite() {
    let mut firewall = Firewall::with(vec![
        block().incoming(),
        pass().outgoing(),
        from_the_wrong_side(pass().incoming(), true),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp                -> out em1
        em0: 10.1.0.2.1 > 10.1.0.3.53 udp                -> match
        em0: 172.16.0.9.1 > 10.1.0.2.53 udp              -> match
        em0: fe80::2.1 > 2001:db8::1.53 udp              -> host em0
        ",
    );
}
