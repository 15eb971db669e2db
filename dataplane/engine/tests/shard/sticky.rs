//! Which address of a pool a source is given (pf.conf(5) `sticky-address`, `least-states`), whichever worker is asked.

use std::collections::BTreeMap;

use crate::firewall::rules::{Written, block, matching, pass, pool, ruleset};
use crate::firewall::team::Team;
use crate::firewall::{EM1, EM2, Firewall, interfaces, neighbors, routes};
use engine::{Fib, Shard, ShardConfig, StatePool, WorkerId};
use ruleset::{
    AddressPattern, Limit, NodeKind, Pool, PoolKind, Reason, Rule, Ruleset, Table, TableEdit, TableEntry,
    Timeout,
};

const SERVERS: &str = "10.1.0.2";

/// A pool of 192.0.2.0/29.
fn addresses(kind: PoolKind, sticky: bool) -> Pool {
    let (_, own) = pool("192.0.2.0/29", Some((50_000, 50_999)));
    Pool { kind: Some(kind), sticky, ..own }
}

fn translating(pool: Pool) -> Rule {
    matching().outgoing().on("em1").from("10.0.0.0/24").change(|rule| rule.nat = Some(pool))
}

fn nat(kind: PoolKind, sticky: bool) -> Vec<Rule> {
    vec![block(), translating(addresses(kind, sticky)), pass()]
}

/// Teams whose workers share their source nodes, as a dataplane's do.
fn team(workers: u16, rules: Vec<Rule>, src_track: u32) -> (Team, StatePool) {
    let pool = StatePool::new(4096, workers);
    let mut team = Team::of(workers, 4096, &[]);
    for (number, firewall) in (0..).zip(&mut team.0) {
        let config =
            ShardConfig { worker: WorkerId(number), workers, max_states: 4096, interfaces: 3, key: [11, 12] };
        firewall.shard = Shard::sharing(config, pool.clone());
        let mut rules = ruleset(rules.clone());
        rules.options.limits.set(Limit::States, 4096);
        rules.options.timeouts.set(Timeout::SrcTrack, src_track);
        firewall.load(rules);
    }
    (team, pool)
}

/// The source that a packet leaves with.
fn source_of(team: &mut Team, at: u16, client: u8, port: u16) -> String {
    let text = format!("10.0.0.{client}.{port} > {SERVERS}.{} tcp S seq 1", 1000 + u32::from(port) % 50);
    let (_, packet) = team.forward(at, "em0", &text).unwrap_or_else(|| panic!("{text} is dropped"));
    let (source, _) = packet.split_once(" > ").expect("a packet");
    source.rsplit_once('.').expect("a port").0.to_owned()
}

#[test]
fn a_source_keeps_the_address_that_it_was_given_on_one_two_and_four_workers() {
    for workers in [1, 2, 4] {
        for kind in [PoolKind::RoundRobin, PoolKind::Random, PoolKind::LeastStates] {
            let (mut team, pool) = team(workers, nat(kind.clone(), true), 0);
            let mut given: BTreeMap<u8, String> = BTreeMap::new();
            for port in 2000..2010 {
                for client in 2..10 {
                    let at = u16::from(client) * port % workers;
                    let source = source_of(&mut team, at, client, port);
                    let first = given.entry(client).or_insert_with(|| source.clone());
                    assert_eq!(*first, source, "{kind:?} on {workers} workers");
                }
            }
            let distinct = given.values().collect::<std::collections::BTreeSet<_>>().len();
            assert!(distinct > 3, "{kind:?} on {workers} workers: {given:?}");
            let root = team.0[0].root.as_ref();
            let nodes = pool.sources(root, team.0[0].now);
            assert_eq!(nodes.len(), 8);
            for (_, node) in nodes {
                assert_eq!((node.kind, node.states), (NodeKind::Nat, 10));
                let own: u8 = node.source.to_string().rsplit_once('.').unwrap().1.parse().unwrap();
                assert_eq!(node.target.unwrap().to_string(), given[&own]);
                assert!(node.to_string().contains(" nat-to 192.0.2."), "{node}");
            }
        }
    }
}

#[test]
fn without_it_a_source_gets_one_address_after_the_other() {
    let (mut team, pool) = team(1, nat(PoolKind::RoundRobin, false), 0);
    let given: Vec<String> = (2000..2003).map(|port| source_of(&mut team, 0, 2, port)).collect();
    assert_eq!(given, ["192.0.2.0", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(pool.source_counts().searches, 0, "nobody looks for nodes");
}

#[test]
fn an_address_is_remembered_for_its_time_behind_the_last_state() {
    let (mut team, pool) = team(2, nat(PoolKind::RoundRobin, true), 30);
    let first = source_of(&mut team, 0, 2, 2000);
    source_of(&mut team, 0, 3, 2000);
    let states = |team: &Team| team.0.iter().map(|one| one.states().len()).sum::<usize>();
    assert_eq!(team.0.iter_mut().map(|one| one.kill("10.0.0.2")).sum::<u64>(), 2);
    assert_eq!(states(&team), 2);
    team.wait(29);
    assert_eq!(source_of(&mut team, 1, 2, 2001), first);
    team.0.iter_mut().for_each(|one| _ = one.kill("10.0.0.2"));
    team.wait(30);
    assert_ne!(source_of(&mut team, 1, 2, 2002), first, "its turn has gone on");
    assert_eq!(pool.source_counts().inserts, 3);
}

#[test]
fn an_address_that_the_pool_has_no_more_is_left() {
    let entry = |net: &str| TableEntry::new(false, net.parse().unwrap());
    let entries = Some(vec![entry("192.0.2.1/32"), entry("192.0.2.2/32")]);
    let of_table =
        Pool { address: AddressPattern::Table("pool".into()), ..addresses(PoolKind::RoundRobin, true) };
    let rules = vec![block(), translating(of_table), pass()];
    let table = Table { name: "pool".into(), entries, ..Table::default() };
    let (mut team, _) = team(1, Vec::new(), 0);
    team.0[0].load(Ruleset { tables: vec![table], ..ruleset(rules) });
    let first = source_of(&mut team, 0, 2, 2000);
    assert_eq!(source_of(&mut team, 0, 2, 2001), first);
    let edit = TableEdit {
        name: "pool".into(),
        remove: vec![format!("{first}/32").parse().unwrap()],
        ..TableEdit::default()
    };
    let root = team.0[0].root.take().unwrap().with_tables(&[edit]).unwrap();
    team.0[0].root = Some(root);
    let second = source_of(&mut team, 0, 2, 2002);
    assert_ne!(second, first);
    assert_eq!(source_of(&mut team, 0, 2, 2003), second);
    assert_eq!(team.0[0].states().len(), 8, "what was made with the first one stays");
}

#[test]
fn where_an_address_has_no_port_left_another_one_is_taken_and_kept() {
    let narrow =
        |kind| Pool { ports: pool("192.0.2.0/29", Some((50_000, 50_000))).1.ports, ..addresses(kind, true) };
    let rules = vec![block(), translating(narrow(PoolKind::RoundRobin)), pass()];
    let (mut team, _) = team(1, rules, 0);
    let to = |team: &mut Team, port: u16, server: u16| {
        let text = format!("10.0.0.2.{port} > {SERVERS}.{server} tcp S seq 1");
        let (_, packet) = team.forward(0, "em0", &text).expect("a free address");
        packet.split_once(" > ").unwrap().0.to_owned()
    };
    assert_eq!(to(&mut team, 2000, 80), "192.0.2.0.50000");
    assert_eq!(to(&mut team, 2001, 81), "192.0.2.0.50000", "towards another port it is free");
    assert_eq!(to(&mut team, 2002, 80), "192.0.2.1.50000", "whose turn it is");
    assert_eq!(to(&mut team, 2003, 82), "192.0.2.1.50000");
}

#[test]
fn least_states_balances_what_lives() {
    let servers = Pool { kind: Some(PoolKind::LeastStates), ..pool("10.1.0.0/30", None).1 };
    let redirecting =
        matching().incoming().on("em0").to("198.51.100.9").change(|rule| rule.rdr = Some(servers));
    let mut firewall = Firewall::of(WorkerId(0), 1, 4096);
    firewall.load(ruleset(vec![block(), redirecting, pass()]));
    let server = |firewall: &mut Firewall, port: u16| {
        let text = format!("10.0.0.2.{port} > 198.51.100.9.53 udp");
        let arrival = crate::firewall::arrival("em0");
        let mut frame = crate::firewall::packet::Packet::parse(&text).frame(
            crate::firewall::mac(crate::firewall::EM0, 2),
            crate::firewall::mac(crate::firewall::EM0, 1),
        );
        let _ = firewall.decide(arrival, &mut frame);
        firewall.states().last().map(|state| state.destination.end.address.to_string()).unwrap_or_default()
    };
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for port in 1000..1012 {
        *counts.entry(server(&mut firewall, port)).or_default() += 1;
    }
    assert!(counts.values().all(|count| *count == 3) && counts.len() == 4, "{counts:?}");
    // Those of one server go: what comes is its, until it has as many.
    let states = firewall.states();
    let of = |state: &ruleset::StateView| state.destination.end.address.to_string() == "10.1.0.2";
    let ids: Vec<u64> = states.iter().filter(|state| of(state)).map(|state| state.id).collect();
    assert_eq!(ids.iter().map(|id| firewall.kill_id(*id)).sum::<u64>(), ids.len() as u64);
    let next: Vec<String> = (2000..2003).map(|port| server(&mut firewall, port)).collect();
    assert_eq!(next, ["10.1.0.2"; 3]);
}

#[test]
fn a_connection_keeps_its_gateway_and_so_does_its_source_while_the_gateway_lives() {
    let gateways = ["10.1.0.254@em1", "10.2.0.2@em2"];
    let sticky = |rule: Rule| rule.change(|rule| rule.routing.as_mut().unwrap().sticky = true);
    let rules = vec![block(), sticky(pass().incoming().on("em0").route_to(&gateways)), pass().outgoing()];
    let mut firewall = Firewall::with(rules);
    let out = |firewall: &mut Firewall, client: u8, port: u16| {
        let text = format!("10.0.0.{client}.{port} > 198.51.100.7.80 tcp S seq 1");
        let told = firewall.pass_on("em0", &text);
        told[..7].to_owned()
    };
    let first = out(&mut firewall, 2, 1000);
    let other = out(&mut firewall, 3, 1000);
    assert_ne!(first, other, "in turn");
    for port in 1001..1006 {
        assert_eq!(out(&mut firewall, 2, port), first);
        assert_eq!(out(&mut firewall, 3, port), other);
    }
    // The first one's link goes down.
    let dead = if first == "out em1" { EM1 } else { EM2 };
    let mut links = interfaces();
    links[usize::from(dead.0)].up = false;
    firewall.fib = Fib::new(2, links, routes(), neighbors());
    for port in 1006..1009 {
        assert_eq!(out(&mut firewall, 2, port), other, "nothing new goes to a dead gateway");
        assert_eq!(out(&mut firewall, 3, port), other);
    }
    // It comes back: who was led away stays where it is.
    firewall.fib = Fib::new(3, interfaces(), routes(), neighbors());
    assert_eq!(out(&mut firewall, 2, 1009), other);
    assert!(firewall.states().iter().filter(|state| state.route.is_some()).all(|state| state.sticky));
    assert_eq!(firewall.dropped(Reason::NoRoute), 0);
}

#[test]
fn where_there_is_no_room_to_remember_a_source_it_is_refused() {
    let (mut team, pool) = team(1, Vec::new(), 0);
    let mut rules = ruleset(nat(PoolKind::RoundRobin, true));
    rules.options.limits.set(Limit::SrcNodes, 1);
    team.0[0].load(rules);
    source_of(&mut team, 0, 2, 2000);
    assert_eq!(team.forward(0, "em0", "10.0.0.3.2000 > 10.1.0.2.80 tcp S seq 1"), None);
    assert_eq!(team.0[0].dropped(Reason::SrcLimit), 1);
    assert_eq!(pool.source_counts().current, 1);
    // As in pf, the state of the first hook stays.
    assert_eq!(team.0[0].states().len(), 3);
}
