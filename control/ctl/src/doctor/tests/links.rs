//! Links, circles, and interfaces that there are not.

use api::{DropExample, InterfaceDrops, ReasonCount, RouteView};
use ruleset::{Action, BlockReply, Direction, InterfaceMatch, InterfacePattern, Reason, RoutingTable, Rule};
use wire::{Af, Proto};

use super::{CLIENT, SERVER, Snapshot, counted, dropped, evidence, found, only, packet, route, unanswered};

#[test]
fn a_link_that_is_down_is_found_where_packets_are_to_leave_by_it() {
    let down = |snapshot: &mut Snapshot| snapshot.status.interfaces[1].up = false;
    let finding = only("link-down", |snapshot| {
        down(snapshot);
        let reasons = vec![ReasonCount { reason: Reason::PortDown, packets: 12 }];
        snapshot.drops.interfaces = vec![InterfaceDrops { interface: "wan0".into(), reasons }];
        let lost = dropped(Reason::PortDown, 1, packet(CLIENT, SERVER, "S"));
        snapshot.drops.examples = vec![DropExample { arrival: None, hook: None, rule: None, ..lost }];
    });
    assert!(
        finding.what.contains("wan0") && evidence(&finding).contains("12 packets were dropped"),
        "{finding:?}"
    );
    assert!(evidence(&finding).contains("tcp 10.1.0.2:40000 > 198.51.100.7:80 S"), "{finding:?}");
    only("link-down", |snapshot| {
        down(snapshot);
        snapshot.drops.interfaces = counted(Reason::PortDown, 12);
        let refused = dropped(Reason::PortDown, 1, packet(CLIENT, SERVER, "S"));
        let (interface, arrival) = ("lan0".into(), Some("lan0".into()));
        snapshot.drops.examples = vec![DropExample { interface, arrival, hook: None, rule: None, ..refused }];
    });
    assert_eq!(found(down), [], "nothing is to leave by it");
    let back = found(|snapshot| snapshot.drops.interfaces = counted(Reason::PortDown, 12));
    assert_eq!(back, [], "it is up again");
}

#[test]
fn packets_that_go_in_circles_are_told_from_those_that_measure_a_path() {
    let ended = || dropped(Reason::Ttl, 1, packet(CLIENT, SERVER, "S"));
    let finding = only("routing-loop", |snapshot| snapshot.drops.examples = vec![ended(), ended()]);
    assert!(evidence(&finding).contains("leads out by it, over 192.0.2.254"), "{finding:?}");
    let traced = found(|snapshot| {
        snapshot.drops.examples = vec![DropExample { arrival: Some("lan0".into()), ..ended() }; 9];
    });
    assert_eq!(traced, [], "traceroute");
}

#[test]
fn rules_for_an_interface_that_there_is_not_are_found_where_another_has_none() {
    let on =
        |name: &str| Some(InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name.into()) });
    let named = |first: &'static str| {
        move |snapshot: &mut Snapshot| {
            if let Some(rules) = &mut snapshot.rules {
                rules.rules[1].interface = on(first);
            }
            snapshot.drops.examples = vec![dropped(Reason::Match, 1, packet(CLIENT, SERVER, "S"))];
        }
    };
    let finding = only("absent-interface", named("inside0"));
    assert!(finding.what.contains("inside0"), "{finding:?}");
    assert!(evidence(&finding).contains("there are lan0, wan0"), "{finding:?}");
    assert_eq!(finding.rule.map(|rule| rule.line), Some(4));
    for healthy in ["wan0", "wan", "lan0", "dialup"] {
        assert_eq!(found(named(healthy)), [], "{healthy}");
    }
    let beside = |change: fn(Rule) -> Rule| {
        found(|snapshot| {
            named("inside0")(snapshot);
            if let Some(rules) = &mut snapshot.rules {
                rules.rules.push(change(Rule { interface: None, ..rules.rules[1].clone() }));
            }
        })
    };
    assert_eq!(beside(|rule| rule), [], "a rule without an interface is for all of them");
    let also =
        |rule| Rule { proto: Some(Proto::TCP), af: Some(Af::Inet), direction: Some(Direction::In), ..rule };
    assert_eq!(beside(also), []);
    let others: [fn(Rule) -> Rule; 3] = [
        |rule| Rule { proto: Some(Proto::ICMP6), ..rule },
        |rule| Rule { af: Some(Af::Inet6), ..rule },
        |rule| Rule { direction: Some(Direction::Out), ..rule },
    ];
    for other in others {
        let checks: Vec<&str> = beside(other).iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["absent-interface"], "a rule for other packets is none for these");
    }
    let quiet = found(|snapshot| {
        named("inside0")(snapshot);
        snapshot.drops.examples.clear();
    });
    assert_eq!(quiet, [], "it may come yet");
}

/// Whose second rule is changed, and whose routes are in table 2 besides.
fn routed_apart(snapshot: &mut Snapshot, change: impl FnOnce(&mut Rule)) {
    if let Some(rules) = &mut snapshot.rules {
        change(&mut rules.rules[1]);
    }
    let second: Vec<_> = snapshot.routes.iter().take(2).cloned().collect();
    snapshot.routes.extend(second.into_iter().map(|route| RouteView { table: RoutingTable(2), ..route }));
}

#[test]
fn a_table_without_routes_that_a_rule_names_is_found() {
    let names = |table: u8| {
        move |snapshot: &mut Snapshot| {
            routed_apart(snapshot, |rule| rule.rtable = Some(RoutingTable(table)));
        }
    };
    let finding = only("empty-rtable", names(7));
    assert!(finding.what.contains("table 7"), "{finding:?}");
    assert!(evidence(&finding).contains("is dropped, as no-route"), "{finding:?}");
    assert_eq!(finding.rule.map(|rule| rule.line), Some(4));
    let refused = only("empty-rtable", |snapshot| {
        names(7)(snapshot);
        let refused = dropped(Reason::NoRoute, 1, packet(CLIENT, SERVER, "S"));
        snapshot.drops.examples = vec![DropExample { hook: None, rule: Some(1), ..refused }; 9];
    });
    assert!(evidence(&refused).contains("10.1.0.2:40000 > 198.51.100.7:80"), "{refused:?}");
    for healthy in [0, 2, 254] {
        assert_eq!(found(names(healthy)), [], "{healthy}");
    }
    for change in [
        |rule: &mut Rule| rule.direction = Some(Direction::Out),
        |rule: &mut Rule| rule.action = Action::Block(BlockReply::Drop),
    ] {
        let idle = found(|snapshot| {
            routed_apart(snapshot, |rule| {
                rule.rtable = Some(RoutingTable(7));
                change(rule);
            });
        });
        assert_eq!(idle, [], "nothing is routed by it");
    }
}

#[test]
fn a_destination_that_the_rules_table_does_not_have_is_told_with_the_table() {
    let refused = |snapshot: &mut Snapshot, table| {
        routed_apart(snapshot, |rule| rule.rtable = Some(RoutingTable(table)));
        let refused = dropped(Reason::NoRoute, 1, packet(CLIENT, SERVER, "S"));
        snapshot.drops.examples = vec![DropExample { hook: None, rule: Some(1), ..refused }; 9];
    };
    let finding = only("no-route", |snapshot| refused(snapshot, 2));
    assert!(finding.what.ends_with("198.51.100.7 in routing table 2"), "{finding:?}");
    assert!(finding.cure.contains("ip route add 198.51.100.7 table 2"), "{finding:?}");
    assert_eq!(finding.rule.map(|rule| rule.line), Some(4));
    assert_eq!(found(|snapshot| refused(snapshot, 0)), [], "the main table has it again");
}

#[test]
fn answers_are_missed_where_the_connections_table_leads() {
    let finding = only("no-answers", |snapshot| {
        snapshot.states = unanswered();
        snapshot.states[0].rtable = RoutingTable(2);
        let default = route("0.0.0.0/0", "wan1", Some("203.0.113.254"));
        snapshot.routes.push(RouteView { table: RoutingTable(2), ..default });
    });
    assert!(evidence(&finding).contains("leave by wan1, over 203.0.113.254"), "{finding:?}");
    let gone = only("no-answers", |snapshot| {
        snapshot.states = unanswered();
        snapshot.states[0].rtable = RoutingTable(2);
    });
    assert!(gone.cure.contains("ip route add 198.51.100.7 table 2"), "{gone:?}");
}
