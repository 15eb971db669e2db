//! Rules that change.

use std::time::Duration;

use ruleset::{
    Action, AddressPattern, BlockReply, Direction, Limit, Rule, Ruleset, StateMode, Table, TableEntry,
    TagMatch,
};
use worker::control::rules::Refusal;
use worker::snapshot::Stalled;

use crate::bed::{Bed, LAN, STATES, WAN, datagram, flow, mark};

#[test]
fn a_ruleset_that_one_worker_does_not_take_is_taken_by_none() {
    let mut bed = Bed::passing(STATES);
    let refused = std::thread::scope(|scope| {
        let Bed { workers, office, now, .. } = &mut bed;
        let commit = scope.spawn(|| office.roots.publish(None, Duration::from_millis(300)));
        while !commit.is_finished() {
            workers[0].poll(*now);
        }
        commit.join().unwrap()
    });
    assert_eq!(refused, Err(Stalled { reader: 1 }));
    bed.poll();
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll();
    assert_eq!(bed.get(LAN).len(), 64, "both have the rules from before");
    assert!(bed.office.roots.is_ready(), "and can be given others");
    bed.end();
}

/// Blocks everything but what these rules pass, which keep no state.
fn ruleset(rules: Vec<Rule>, servers: &[&str]) -> Ruleset {
    let entries = servers.iter().map(|net| TableEntry::new(false, net.parse().unwrap()));
    let servers = Table { name: "servers".into(), entries: Some(entries.collect()), ..Table::default() };
    let block = Rule { action: Action::Block(BlockReply::Drop), ..Rule::default() };
    let mut ruleset = Ruleset { tables: vec![servers], ..Ruleset::default() };
    ruleset.options.limits.set(Limit::States, STATES);
    ruleset.rules.push(block);
    ruleset.rules.extend(rules);
    for (rule, identity) in ruleset.rules.iter_mut().zip(1..) {
        rule.identity = identity;
    }
    ruleset
}

fn pass(direction: Direction) -> Rule {
    Rule { direction: Some(direction), state: StateMode::None, action: Action::Pass, ..Rule::default() }
}

fn tag(direction: Direction, name: &str) -> Rule {
    Rule { tag: Some(name.into()), ..pass(direction) }
}

fn tagged(direction: Direction, name: &str) -> Rule {
    Rule { tagged: Some(TagMatch { negated: false, name: name.into() }), ..pass(direction) }
}

fn to_servers(mut rule: Rule) -> Rule {
    rule.to.address.pattern = AddressPattern::Table("servers".into());
    rule
}

/// How many times rulesets are exchanged: `few` in the short run.
fn commits(few: u64) -> u64 {
    if std::env::var_os("TURNPIKE_LONG").is_some() { 10_000 } else { few }
}

/// Packets that either of two rulesets blocks, and a mix of both would pass, meet both of them in turns. Each worker
/// receives, and hands to the other what is not its own.
fn exchange(one: &Ruleset, other: &Ruleset) {
    let mut bed = Bed::new();
    let mut rules = bed.rules(Duration::from_secs(20));
    bed.commit(&mut rules, one, &[0, 1], |_| ()).unwrap();
    let mut sent = 0_u64;
    let mut send = |bed: &mut Bed| {
        for _ in 0..16 {
            bed.put(WAN, (sent % 2) as usize, &datagram(WAN, (sent % 97) as u16, 0));
            sent += 1;
        }
    };
    for number in 1..=commits(100) {
        let next = if number % 2 == 0 { one } else { other };
        assert_eq!(bed.commit(&mut rules, next, &[0, 1], &mut send).unwrap(), number + 1);
        assert!(bed.get(LAN).is_empty(), "packets met a mix of two rulesets after {number} commits");
    }
    bed.poll();
    assert!(bed.get(LAN).is_empty(), "packets met a mix of two rulesets");
    let dropped = bed.sum().drops.iter().flatten().sum::<u64>();
    assert_eq!(dropped, sent, "every packet was blocked");
    assert!(rules.most_alive() <= 2);
    bed.end();
}

#[test]
fn f02_a_burst_meets_one_ruleset_by_its_tags() {
    let chain = |first, second| ruleset(vec![tag(Direction::In, first), tagged(Direction::Out, second)], &[]);
    exchange(&chain("A1", "B1"), &chain("B1", "A1"));
    // The same chain under one ruleset lets packets pass.
    let mut bed = Bed::new();
    let mut rules = bed.rules(Duration::from_secs(20));
    bed.commit(&mut rules, &chain("A1", "A1"), &[0, 1], |_| ()).unwrap();
    bed.put(WAN, 0, &datagram(WAN, 1, 0));
    bed.poll();
    assert_eq!(bed.get(LAN).len(), 1);
    bed.end();
}

/// The rules of one ruleset would pass what is in the table of the other.
#[test]
fn f02_a_burst_meets_rules_and_tables_of_one_ruleset() {
    const SERVER: &[&str] = &["10.2.0.2/32"];
    let listed = ruleset(vec![to_servers(pass(Direction::In))], SERVER);
    let both = vec![to_servers(pass(Direction::In)), pass(Direction::Out)];
    exchange(&listed, &ruleset(both.clone(), &["10.9.0.0/16"]));
    let mut bed = Bed::new();
    let mut rules = bed.rules(Duration::from_secs(20));
    bed.commit(&mut rules, &ruleset(both, SERVER), &[0, 1], |_| ()).unwrap();
    bed.put(WAN, 0, &datagram(WAN, 1, 0));
    bed.poll();
    assert_eq!(bed.get(LAN).len(), 1);
    bed.end();
}

#[test]
fn f05_a_frozen_worker_makes_commits_fail_and_changes_nothing_for_the_others() {
    const PATIENCE: Duration = Duration::from_millis(10);
    let open = ruleset(vec![pass(Direction::In), pass(Direction::Out)], &[]);
    let closed = ruleset(vec![tag(Direction::In, "NEVER")], &["10.0.0.0/8"]);
    let mut bed = Bed::new();
    let mut rules = bed.rules(Duration::from_secs(20));
    assert_eq!(bed.commit(&mut rules, &open, &[0, 1], |_| ()).unwrap(), 1);
    // Flows that are at home where they arrive: the other worker is not needed for them.
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll_one(0);
    let own: Vec<u16> = bed.get(LAN).iter().map(|frame| flow(frame)).collect();
    assert!(own.len() > 8, "{own:?}");
    bed.poll();

    // The error names the worker and what to do.
    rules.set_patience(Duration::from_secs(1));
    let refused = bed.commit(&mut rules, &closed, &[0], |_| ()).unwrap_err();
    assert!(matches!(refused, Refusal::Stalled { worker: 1, .. }), "{refused}");
    assert!(refused.to_string().starts_with("worker 1 did not come for the ruleset within 1s"), "{refused}");

    rules.set_patience(PATIENCE);
    for number in 0..commits(60) {
        let refused = bed.commit(&mut rules, &closed, &[0], |_| ()).unwrap_err();
        // On a busy machine the other worker may not come back in so short a time either.
        assert!(matches!(refused, Refusal::Stalled { .. }), "{refused}");
        for flow in &own {
            bed.put(WAN, 0, &datagram(WAN, *flow, 1));
        }
        bed.poll_one(0);
        let passed = bed.get(LAN).iter().filter(|frame| mark(frame) == 1).count();
        assert_eq!(passed, own.len(), "the rules before hold after refusal {number}");
        assert_eq!(rules.showcase().live().unwrap().generation, 1);
    }
    assert!(rules.most_alive() <= 2, "{} rulesets at once", rules.most_alive());

    // It comes back to the rules that it had, and takes the next ones.
    rules.set_patience(Duration::from_secs(20));
    bed.poll();
    drop(bed.get(LAN));
    (0..64).for_each(|flow| bed.put(WAN, 1, &datagram(WAN, flow, 2)));
    bed.poll();
    assert_eq!(bed.get(LAN).len(), 64);
    assert_eq!(bed.commit(&mut rules, &closed, &[0, 1], |_| ()).unwrap(), 2);
    (0..64).for_each(|flow| bed.put(WAN, 1, &datagram(WAN, flow, 3)));
    bed.poll();
    assert!(bed.get(LAN).is_empty());
    assert_eq!(bed.sum().drops[0].iter().sum::<u64>(), 64);
    bed.end();
}

/// A ruleset that somebody still reads makes the one after the next wait, in vain here: there are never three.
#[test]
fn f05_a_third_ruleset_waits_for_the_first() {
    let open = ruleset(vec![pass(Direction::In), pass(Direction::Out)], &[]);
    let mut bed = Bed::new();
    let mut rules = bed.rules(Duration::from_secs(20));
    bed.commit(&mut rules, &open, &[0, 1], |_| ()).unwrap();
    let first = rules.showcase().live().unwrap();
    assert_eq!(bed.commit(&mut rules, &open, &[0, 1], |_| ()).unwrap(), 2);
    rules.set_patience(Duration::from_millis(10));
    let refused = bed.commit(&mut rules, &open, &[0, 1], |_| ()).unwrap_err();
    assert!(matches!(refused, Refusal::InUse(_)), "{refused}");
    drop(first);
    rules.set_patience(Duration::from_secs(20));
    assert_eq!(bed.commit(&mut rules, &open, &[0, 1], |_| ()).unwrap(), 3);
    assert_eq!(rules.most_alive(), 2);
    bed.end();
}
