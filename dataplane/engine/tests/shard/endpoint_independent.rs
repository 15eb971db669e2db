//! Mappings that do not depend on the remote end: `endpoint-independent`, `set optimization rfc-nat`.

use std::collections::{BTreeSet, HashMap};

use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::team::Team;
use crate::firewall::{EM0, EM1, Firewall};
use engine::{Shard, ShardConfig, StatePool, Tick, WorkerId};
use proptest::prelude::*;
use ruleset::{PoolKind, PortSet, Reason, Rule, Ruleset};
use wire::{Port, Proto};

/// Who is asked, in this order; none of them knows of the others.
const REMOTES: [&str; 3] = ["10.1.0.2.53", "198.51.100.7.3478", "198.51.100.8.80"];

/// What leaves by `em1` from inside comes from these addresses, with ports that do not depend on the remote end.
fn mapping(pool: &str, ports: (u16, u16)) -> Vec<Rule> {
    vec![
        block(),
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to(pool, ports).change(|rule| {
            rule.nat.as_mut().expect("a translation").endpoint_independent = true;
        }),
        pass().incoming().on("em0"),
        pass().outgoing(),
    ]
}

/// The same under `set optimization rfc-nat`.
fn rfc_nat(rules: Vec<Rule>) -> Ruleset {
    let mut rules = ruleset(rules);
    for rule in &mut rules.rules {
        rule.nat.iter_mut().for_each(|nat| nat.endpoint_independent = false);
    }
    rules.options.endpoint_independent = true;
    rules
}

fn under_rfc_nat(rules: Vec<Rule>) -> Firewall {
    let mut firewall = Firewall::with(Vec::new());
    firewall.load(rfc_nat(rules));
    firewall
}

/// Shards of one process, by a pool that is known.
fn with_pool(rules: Ruleset) -> (Firewall, StatePool) {
    let pool = StatePool::new(1000, 1);
    let mut firewall = Firewall::with(Vec::new());
    let config =
        ShardConfig { worker: WorkerId(0), workers: 1, max_states: 1000, interfaces: 3, key: [11, 12] };
    firewall.shard = Shard::sharing(config, pool.clone());
    firewall.load(rules);
    (firewall, pool)
}

/// The address and port, or identifier, that a packet left from by `em1`.
fn left_from(sent: &str) -> (String, u16) {
    let sent = sent.strip_prefix("out em1: ").unwrap_or(sent);
    let source = sent.split_whitespace().next().expect("a source");
    match sent.split_once(" id ") {
        Some((_, id)) => (source.to_owned(), id.split_whitespace().next().unwrap().parse().unwrap()),
        None => {
            let (address, port) = source.rsplit_once('.').expect("a port");
            (address.to_owned(), port.parse().unwrap())
        }
    }
}

fn seen_by(firewall: &mut Firewall, host: &str, proto: &str) -> Vec<(String, u16)> {
    firewall.entropy.step |= 0x9e37_79b9_7f4a_7c15;
    REMOTES.map(|remote| left_from(&firewall.pass_on("em0", &format!("{host} > {remote} {proto}")))).to_vec()
}

/// D5, RFC 4787 REQ-1, RFC 5382 REQ-1.
#[test]
fn endpoint_independent_remotes_see_one_endpoint() {
    let distinct = |seen: Vec<(String, u16)>| seen.into_iter().collect::<BTreeSet<_>>().len();
    let mut firewall = Firewall::with(mapping("10.1.0.9", (50_001, 65_535)));
    assert_eq!(distinct(seen_by(&mut firewall, "10.0.0.2.4000", "udp")), 1);
    assert_eq!(distinct(seen_by(&mut firewall, "10.0.0.2.4001", "tcp S seq 1")), 3, "the keyword is for UDP");
    let mut firewall = under_rfc_nat(mapping("10.1.0.9", (50_001, 65_535)));
    let udp = seen_by(&mut firewall, "10.0.0.2.4000", "udp");
    let other = seen_by(&mut firewall, "10.0.0.2.4001", "udp");
    assert_ne!(udp, other, "another endpoint inside has another one outside");
    assert_eq!((distinct(udp), distinct(other)), (1, 1));
    assert_eq!(distinct(seen_by(&mut firewall, "10.0.0.2.4000", "tcp S seq 1")), 1);
    // Without either, each remote end has the whole range.
    let mut rules = mapping("10.1.0.9", (50_001, 65_535));
    rules[1].nat.as_mut().unwrap().endpoint_independent = false;
    assert_eq!(distinct(seen_by(&mut Firewall::with(rules), "10.0.0.2.4000", "udp")), 3);
}

/// RFC 5508 REQ-1: the identifier of queries.
#[test]
fn endpoint_independent_queries_have_one_identifier() {
    let mut firewall = under_rfc_nat(mapping("10.1.0.9", (50_001, 65_535)));
    let ids = ["10.1.0.2", "198.51.100.7"]
        .map(|remote| left_from(&firewall.pass_on("em0", &format!("10.0.0.2 > {remote} icmp 8/0 id 7"))));
    assert_eq!(ids[0], ids[1]);
    let (_, id) = &ids[0];
    firewall.tell(&format!(
        "
        em1: 198.51.100.7 > 10.1.0.9 icmp 0/0 id {id} -> out em0 as 198.51.100.7 > 10.0.0.2 icmp 0/0 id 7
        em1: 198.51.100.8 > 10.1.0.9 icmp 0/0 id {id} -> match
        em1: 198.51.100.8 > 10.1.0.9 icmp 8/0 id {id} -> match
        "
    ));
}

/// D5, RFC 4787 REQ-8, RFC 5382 REQ-3: whoever sends to an endpoint that is there reaches who has it, under `rfc-nat` alone.
#[test]
fn endpoint_independent_filtering_lets_a_third_one_in() {
    let open = "em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.9.50001 > 10.1.0.2.53 udp";
    let asked = "198.51.100.7.9 > 10.1.0.9.50001 udp len 5";
    Firewall::with(mapping("10.1.0.9", (50_001, 50_001))).tell(open).tell(&format!("em1: {asked} -> match"));
    let mut firewall = under_rfc_nat(mapping("10.1.0.9", (50_001, 50_001)));
    firewall.tell(&format!("em1: {asked} -> match")).tell(open);
    firewall.tell(
        "
        em1: 198.51.100.7.9 > 10.1.0.9.50001 udp len 5 -> out em0 as 198.51.100.7.9 > 10.0.0.2.4000 udp len 5
        em0: 10.0.0.2.4000 > 198.51.100.7.9 udp len 6 -> out em1 as 10.1.0.9.50001 > 198.51.100.7.9 udp len 6
        em1: 198.51.100.7.9 > 10.1.0.9.50001 udp len 7 -> out em0 as 198.51.100.7.9 > 10.0.0.2.4000 udp len 7
        em1: 198.51.100.7.9 > 10.1.0.9.50002 udp len 5 -> match
        em1: 198.51.100.7.9 > 10.1.0.9.50001 tcp S seq 1 -> match
        em0: 10.0.0.2.4000 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.9.50001 > 10.1.0.2.80 tcp S seq 1
        em1: 198.51.100.7.9 > 10.1.0.9.50001 tcp A seq 1 ack 1 -> match
        em1: 198.51.100.7.9 > 10.1.0.9.50001 tcp S seq 1 -> out em0 as 198.51.100.7.9 > 10.0.0.2.4000 tcp S seq 1
        em0: 10.0.0.2.4000 > 198.51.100.7.9 tcp SA seq 5 ack 2 -> out em1 as 10.1.0.9.50001 > 198.51.100.7.9 tcp SA seq 5 ack 2
        ",
    );
    assert!(firewall.lines().contains(
        &"all tcp 10.0.0.2:4000 (10.1.0.9:50001) <- 198.51.100.7:9       SYN_SENT:ESTABLISHED".to_owned()
    ));
}

/// What rules say last, they say: `block quick`, and whatever redirects.
#[test]
fn endpoint_independent_filtering_leaves_the_last_word_to_rules() {
    let mut rules = mapping("10.1.0.9", (50_001, 50_002));
    rules.push(block().incoming().on("em1").from("198.51.100.7").quick());
    rules.push(pass().incoming().on("em1").proto(Proto::UDP).from("198.51.100.8").rdr_to("10.0.0.3", None));
    rules.push(block().outgoing().on("em0").from("10.1.0.2"));
    let mut firewall = under_rfc_nat(rules);
    let (_, port) = left_from(&firewall.pass_on("em0", "10.0.0.2.4000 > 198.51.100.9.53 udp"));
    firewall.tell(&format!(
        "
        em1: 198.51.100.7.9 > 10.1.0.9.{port} udp -> match
        em1: 198.51.100.8.9 > 10.1.0.9.{port} udp -> out em0 as 198.51.100.8.9 > 10.0.0.3.{port} udp
        em1: 198.51.100.9.9 > 10.1.0.9.{port} udp -> out em0 as 198.51.100.9.9 > 10.0.0.2.4000 udp
        em1: 10.1.0.2.9 > 10.1.0.9.{port} udp -> match
        "
    ));
}

/// RFC 4787 REQ-5, REQ-6: in use it stays, whichever connection uses it; afterwards the port is anybody's.
#[test]
fn endpoint_independent_mappings_live_as_long_as_they_are_used() {
    let (mut firewall, pool) = with_pool(rfc_nat(mapping("10.1.0.9", (50_001, 50_001))));
    let mappings = |pool: &StatePool| -> Vec<(String, String, u32)> {
        let shown = |(address, Port(port))| format!("{address}:{port}");
        let all = pool.endpoint_mappings().into_iter();
        all.map(|of| (shown(of.inside), shown(of.outside), of.states)).collect()
    };
    let one = |states| vec![("10.0.0.2:4000".to_owned(), "10.1.0.9:50001".to_owned(), states)];
    firewall.tell("em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.9.50001 > 10.1.0.2.53 udp");
    assert_eq!(mappings(&pool), one(1));
    firewall.wait(40);
    assert!(
        firewall.send("em0", "10.0.0.3.4000 > 10.1.0.2.54 udp").starts_with("translate"),
        "the port is taken"
    );
    firewall
        .tell("em0: 10.0.0.2.4000 > 198.51.100.7.9 udp -> out em1 as 10.1.0.9.50001 > 198.51.100.7.9 udp");
    assert_eq!(mappings(&pool), one(2));
    firewall.wait(40);
    assert_eq!(firewall.sweep(), 2, "the first connection has ended");
    assert_eq!(mappings(&pool), one(1));
    // What is asked for from outside refreshes it too.
    for _ in 0..5 {
        firewall.tell(
            "em1: 198.51.100.8.9 > 10.1.0.9.50001 udp -> out em0 as 198.51.100.8.9 > 10.0.0.2.4000 udp",
        );
        firewall.wait(25);
    }
    firewall.sweep();
    assert_eq!(mappings(&pool), one(1));
    firewall.wait(70);
    firewall.sweep();
    assert_eq!((mappings(&pool), firewall.shard.states()), (Vec::new(), 0));
    firewall.tell(
        "
        em1: 198.51.100.8.9 > 10.1.0.9.50001 udp -> match
        em0: 10.0.0.3.4000 > 10.1.0.2.54 udp -> out em1 as 10.1.0.9.50001 > 10.1.0.2.54 udp
        ",
    );
}

/// RFC 4787 REQ-12, RFC 5382 REQ-10: an ICMP error ends no mapping.
#[test]
fn endpoint_independent_mappings_outlive_errors() {
    let mut firewall = under_rfc_nat(mapping("10.1.0.9", (50_001, 50_001)));
    firewall.tell(
        "
        em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.9.50001 > 10.1.0.2.53 udp
        em1: 10.1.0.2 > 10.1.0.9 icmp 3/3 about (10.1.0.9.50001 > 10.1.0.2.53 udp) -> out em0 as 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2.4000 > 10.1.0.2.53 udp)
        em0: 10.0.0.2.4000 > 198.51.100.7.9 udp -> out em1 as 10.1.0.9.50001 > 198.51.100.7.9 udp
        em1: 198.51.100.8.9 > 10.1.0.9.50001 udp -> out em0 as 198.51.100.8.9 > 10.0.0.2.4000 udp
        ",
    );
}

/// D5, RFC 4787 REQ-9, RFC 5382 REQ-8, RFC 5508 REQ-7: who asks for a host beside it by its endpoint outside is seen by its own.
#[test]
fn endpoint_independent_hairpins_are_translated_at_both_ends() {
    let (mut firewall, pool) = with_pool(rfc_nat(mapping("10.1.0.9", (50_001, 50_002))));
    let (_, of_3) = left_from(&firewall.pass_on("em0", "10.0.0.3.5000 > 10.1.0.2.53 udp"));
    let of_2 = 100_003 - u32::from(of_3);
    firewall.tell(&format!(
        "
        em0: 10.0.0.2.4000 > 10.1.0.9.{of_3} udp len 5 -> out em0 as 10.1.0.9.{of_2} > 10.0.0.3.5000 udp len 5
        em0: 10.0.0.3.5000 > 10.1.0.9.{of_2} udp len 6 -> out em0 as 10.1.0.9.{of_3} > 10.0.0.2.4000 udp len 6
        em0: 10.0.0.3 > 10.1.0.9 icmp 3/3 about (10.1.0.9.{of_2} > 10.0.0.3.5000 udp len 5) -> out em0 as 10.1.0.9 > 10.0.0.2 icmp 3/3 about (10.0.0.2.4000 > 10.1.0.9.{of_3} udp len 5)
        em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.9.{of_2} > 10.1.0.2.53 udp
        "
    ));
    assert_eq!(pool.endpoint_mappings().len(), 2);
    let (_, of_3) = left_from(&firewall.pass_on("em0", "10.0.0.3.5000 > 10.1.0.2.53 tcp S seq 1"));
    let of_2 = 100_003 - u32::from(of_3);
    firewall.tell(&format!(
        "
        em0: 10.0.0.2.4000 > 10.1.0.9.{of_3} tcp S seq 1 -> out em0 as 10.1.0.9.{of_2} > 10.0.0.3.5000 tcp S seq 1
        em0: 10.0.0.3.5000 > 10.1.0.9.{of_2} tcp SA seq 5 ack 2 -> out em0 as 10.1.0.9.{of_3} > 10.0.0.2.4000 tcp SA seq 5 ack 2
        em0: 10.0.0.2.4000 > 10.1.0.9.{of_3} tcp A seq 2 ack 6 len 9 -> out em0 as 10.1.0.9.{of_2} > 10.0.0.3.5000 tcp A seq 2 ack 6 len 9
        "
    ));
    // Who beside it is to be seen by an endpoint of its own needs one.
    let told = firewall.send("em0", &format!("10.0.0.2.4001 > 10.1.0.9.{of_3} tcp S seq 1"));
    assert!(told.starts_with("translate: 10.1.0.9 > 10.0.0.2 icmp 3/13"), "{told}");
}

/// D5: an endpoint that speaks to its own one outside would be its own remote end, and answer itself for ever.
#[test]
fn endpoint_independent_hairpins_never_come_back_to_who_sent_them() {
    let mut firewall = under_rfc_nat(mapping("10.1.0.9", (50_001, 50_002)));
    let (_, own) = left_from(&firewall.pass_on("em0", "10.0.0.2.4000 > 10.1.0.2.53 udp"));
    let other = 100_003 - u32::from(own);
    firewall.tell(&format!(
        "
        em0: 10.0.0.2.4000 > 10.1.0.9.{own} udp len 5 -> translate
        em0: 10.0.0.2.4001 > 10.1.0.9.{own} udp len 5 -> out em0 as 10.1.0.9.{other} > 10.0.0.2.4000 udp len 5
        em0: 10.0.0.2.4000 > 10.1.0.9.{other} udp len 6 -> out em0 as 10.1.0.9.{own} > 10.0.0.2.4001 udp len 6
        "
    ));
    assert_eq!((firewall.dropped(Reason::Translate), firewall.shard.states()), (1, 4));
}

/// RFC 4787 REQ-2: a source has one address of a pool.
#[test]
fn endpoint_independent_pooling_is_paired() {
    let mut rules = mapping("10.1.0.8/30", (50_001, 65_535));
    rules[1].nat.as_mut().unwrap().kind = Some(PoolKind::RoundRobin);
    let mut firewall = under_rfc_nat(rules.clone());
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let mut all = BTreeSet::new();
    for host in [2, 3] {
        let mut own = BTreeSet::new();
        for port in 4000..4005 {
            for proto in ["udp", "tcp S seq 1"] {
                let sent = firewall.pass_on("em0", &format!("10.0.0.{host}.{port} > 10.1.0.2.53 {proto}"));
                own.insert(left_from(&sent).0);
            }
        }
        own.insert(left_from(&firewall.pass_on("em0", &format!("10.0.0.{host} > 10.1.0.2 icmp 8/0 id 9"))).0);
        assert_eq!(own.len(), 1);
        all.extend(own);
    }
    assert_eq!(all.len(), 2);
    let mut firewall = Firewall::with(rules);
    let own: BTreeSet<String> = (4000..4010)
        .map(|port| left_from(&firewall.pass_on("em0", &format!("10.0.0.2.{port} > 10.1.0.2.53 udp"))).0)
        .collect();
    assert_eq!(own.len(), 4, "without sticky-address the pf profile has it otherwise");
}

/// A load keeps what is there; an address that the pool has no more is given up, and who has no such rule any more lets nobody in.
#[test]
fn endpoint_independent_mappings_outlive_a_load() {
    let (mut firewall, pool) = with_pool(rfc_nat(mapping("10.1.0.9", (50_001, 65_535))));
    let seen = |firewall: &mut Firewall, remote: &str| {
        left_from(&firewall.pass_on("em0", &format!("10.0.0.2.4000 > {remote} udp")))
    };
    let first = seen(&mut firewall, "10.1.0.2.53");
    let mut rules = mapping("10.1.0.9", (40_000, 40_000));
    rules.insert(1, block().incoming().on("em2"));
    let mut rules = rfc_nat(rules);
    // Its text, and so its identity, is another's only where something has changed.
    rules.rules[2].identity = 2;
    rules.rules[1].identity = 77;
    firewall.load(rules);
    assert_eq!(seen(&mut firewall, "198.51.100.7.9"), first);
    let (address, port) = &first;
    let asked = format!("198.51.100.9.9 > {address}.{port} udp");
    firewall.tell(&format!("em1: {asked} -> out em0 as 198.51.100.9.9 > 10.0.0.2.4000 udp"));
    let mut moved = rfc_nat(mapping("10.1.0.10", (50_001, 65_535)));
    moved.rules[1].identity = 2;
    firewall.load(moved);
    assert_eq!(seen(&mut firewall, "198.51.100.8.9").0, "10.1.0.10");
    let outside: Vec<_> = pool.endpoint_mappings().into_iter().map(|of| of.outside.0.to_string()).collect();
    assert_eq!(outside, ["10.1.0.10"]);
    firewall.tell(&format!("em1: {asked} -> out em0 as 198.51.100.9.9 > 10.0.0.2.4000 udp"));
    firewall.tell(&format!("em1: 198.51.100.10.9 > {address}.{port} udp -> match"));
    firewall.load(ruleset(vec![block()]));
    let port = seen_port(&pool);
    firewall.tell(&format!("em1: 198.51.100.10.9 > 10.1.0.10.{port} udp -> match"));
}

fn seen_port(pool: &StatePool) -> u16 {
    pool.endpoint_mappings()[0].outside.1.0
}

/// A connection that has lost one of its states goes on by the same endpoint.
#[test]
fn endpoint_independent_connections_are_made_anew_at_their_endpoint() {
    let mut rules = mapping("10.1.0.9", (50_001, 50_001));
    rules[2] = pass().incoming().on("em0").timeout(ruleset::Timeout::UdpFirst, 1000);
    let mut firewall = under_rfc_nat(rules);
    firewall.tell("em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.9.50001 > 10.1.0.2.53 udp");
    firewall.wait(40);
    firewall
        .tell("em0: 10.0.0.2.4000 > 198.51.100.7.9 udp -> out em1 as 10.1.0.9.50001 > 198.51.100.7.9 udp");
    firewall.wait(21);
    assert_eq!(firewall.sweep(), 1);
    firewall.tell(
        "
        em0: 10.0.0.2.4000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.9.50001 > 10.1.0.2.53 udp
        em1: 10.1.0.2.53 > 10.1.0.9.50001 udp -> out em0 as 10.1.0.2.53 > 10.0.0.2.4000 udp
        ",
    );
}

/// Rules that map by connection leave the endpoints of mappings alone.
#[test]
fn endpoint_independent_ports_are_nobody_elses() {
    let mut rules = mapping("10.1.0.9", (50_001, 50_003));
    rules.insert(2, matching().outgoing().on("em1").from("10.0.0.3").nat_to("10.1.0.9", (50_001, 50_003)));
    rules[1] = rules[1].clone().from("10.0.0.2");
    let mut firewall = Firewall::with(rules);
    let (_, mapped) = left_from(&firewall.pass_on("em0", "10.0.0.2.4000 > 10.1.0.2.53 udp"));
    let mut others = BTreeSet::new();
    for port in 1..=2 {
        others
            .insert(left_from(&firewall.pass_on("em0", &format!("10.0.0.3.{port} > 198.51.100.7.9 udp"))).1);
    }
    assert!(others.len() == 2 && !others.contains(&mapped));
    firewall.tell("em0: 10.0.0.3.3 > 198.51.100.7.9 udp -> translate");
    // Of another protocol nothing is mapped.
    firewall.pass_on("em0", "10.0.0.3.3 > 198.51.100.7.9 tcp S seq 1");
}

/// Whichever worker has a packet: one endpoint, and its answers, and who comes unasked, find the way in.
#[test]
fn endpoint_independent_workers_agree() {
    for workers in [1, 2, 4] {
        let mut team = Team::sharing(workers, 4096, &rfc_nat(mapping("10.1.0.9", (50_001, 50_400))));
        for host in [2_u8, 3] {
            for port in 4000..4020_u16 {
                let mut seen = BTreeSet::new();
                for remote in 0..8_u16 {
                    let at = (remote + port) % workers;
                    let far = format!("198.51.100.{}.{}", 7 + remote, 9000 + remote);
                    let datagram = format!("10.0.0.{host}.{port} > {far} udp");
                    let (out, sent) = team.forward(at, "em0", &datagram).expect(&datagram);
                    assert_eq!(out, EM1);
                    let (address, own) = left_from(&sent);
                    let reply = format!("{far} > {address}.{own} udp");
                    for at in 0..workers {
                        let back = team.forward(at, "em1", &reply);
                        assert_eq!(back, Some((EM0, format!("{far} > 10.0.0.{host}.{port} udp ttl 63"))));
                    }
                    seen.insert(own);
                }
                assert_eq!(seen.len(), 1, "{workers} workers: {seen:?}");
                let own = seen.first().unwrap();
                for at in 0..workers {
                    let unasked = format!("198.51.100.{}.77", 100 + at);
                    let came = team.forward(at, "em1", &format!("{unasked} > 10.1.0.9.{own} udp"));
                    assert_eq!(came, Some((EM0, format!("{unasked} > 10.0.0.{host}.{port} udp ttl 63"))));
                    let answer = format!("10.0.0.{host}.{port} > {unasked} udp");
                    let went = team.forward((at + 1) % workers, "em0", &answer);
                    assert_eq!(went, Some((EM1, format!("10.1.0.9.{own} > {unasked} udp ttl 63"))));
                }
            }
        }
        team.wait(86_400);
        team.0.iter_mut().for_each(|one| _ = one.sweep());
        team.release();
        assert_eq!((team.states().iter().sum::<u32>(), team.aliases().iter().sum::<u32>()), (0, 0));
    }
}

/// D5 between workers: a host beside another one, whichever of them has the packet, its mappings, its answers.
#[test]
fn endpoint_independent_hairpins_find_their_way_between_workers() {
    for workers in [2, 4] {
        let mut team = Team::sharing(workers, 4096, &rfc_nat(mapping("10.1.0.9", (50_001, 50_400))));
        for port in 4000..4040_u16 {
            let at = port % workers;
            let (_, sent) = team.forward(at, "em0", &format!("10.0.0.3.{port} > 10.1.0.2.53 udp")).unwrap();
            let (_, of_3) = left_from(&sent);
            let asked = format!("10.0.0.2.{port} > 10.1.0.9.{of_3} udp");
            let (out, went) = team.forward((at + 1) % workers, "em0", &asked).expect(&asked);
            let (address, of_2) = left_from(&went);
            assert_eq!((out, went), (EM0, format!("10.1.0.9.{of_2} > 10.0.0.3.{port} udp ttl 63")));
            let answer = format!("10.0.0.3.{port} > {address}.{of_2} udp");
            for at in 0..workers {
                let came = team.forward(at, "em0", &answer);
                assert_eq!(came, Some((EM0, format!("10.1.0.9.{of_3} > 10.0.0.2.{port} udp ttl 63"))));
            }
            let (_, outside) =
                team.forward(at, "em0", &format!("10.0.0.2.{port} > 10.1.0.2.53 udp")).unwrap();
            assert_eq!(left_from(&outside).1, of_2);
        }
    }
}

/// Every port is used before anybody is refused, by however many workers, and again once it is free.
#[test]
fn endpoint_independent_ports_are_all_used() {
    for workers in [1, 2, 4] {
        let mut team = Team::sharing(workers, 4096, &rfc_nat(mapping("10.1.0.9", (50_001, 50_100))));
        for round in 0..2 {
            let mut opened = BTreeSet::new();
            for port in 1..=110_u16 {
                team.0.iter_mut().for_each(|one| one.now = one.now + Tick(1));
                let datagram = format!("10.0.0.2.{} > 10.1.0.2.53 udp", 1000 * round + port);
                if let Some((EM1, sent)) = team.forward(port % workers, "em0", &datagram) {
                    assert!(opened.insert(left_from(&sent).1));
                }
            }
            assert_eq!(opened.len(), 100, "{workers} workers");
            team.wait(86_400);
            team.0.iter_mut().for_each(|one| _ = one.sweep());
            team.release();
        }
    }
}

/// RFC 7597: sources have ports of the set, all of them, and identifiers as well; no other.
#[test]
fn map_e_portset_is_where_ports_come_from() {
    let set = PortSet { offset_bits: 4, id_bits: 8, id: 0x2a };
    let expected: BTreeSet<u16> = (0..set.count()).map(|number| set.port(number).0).collect();
    assert_eq!(expected.len(), 15 * 16);
    for (independent, workers) in [(false, 1), (true, 1), (false, 2), (true, 4)] {
        let mut rules = mapping("10.1.0.9", (1, 1));
        let pool = rules[1].nat.as_mut().unwrap();
        (pool.ports, pool.port_set, pool.endpoint_independent) = (None, Some(set), false);
        let mut rules = ruleset(rules);
        rules.options.endpoint_independent = independent;
        let mut team = Team::sharing(workers, 4096, &rules);
        for proto in ["tcp S seq 1", "udp", "icmp"] {
            let mut seen = BTreeSet::new();
            for port in 1..=250_u16 {
                team.0.iter_mut().for_each(|one| one.now = one.now + Tick(1));
                let packet = match proto {
                    "icmp" => format!("10.0.0.2 > 10.1.0.2 icmp 8/0 id {port}"),
                    _ => format!("10.0.0.2.{port} > 10.1.0.2.53 {proto}"),
                };
                if let Some((EM1, sent)) = team.forward(port % workers, "em0", &packet) {
                    assert!(seen.insert(left_from(&sent).1));
                }
            }
            assert_eq!(seen, expected, "{proto}, {workers} workers, independent: {independent}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever sources send, whoever receives it, and whatever has ended meanwhile: an endpoint outside is only ever one
    /// endpoint's inside, and as long as that has connections, the same one's.
    #[test]
    fn endpoint_independent_ports_are_never_shared(
        workers in 1_u16..=4,
        ports in 1_u16..30,
        steps in prop::collection::vec((2_u8..5, 1_u16..12, 7_u8..11, 0_u8..3, 0_u8..8), 1..400),
    ) {
        let rules = rfc_nat(mapping("10.1.0.8/31", (2000, 2000 + ports)).into_iter().map(|rule| {
            rule.change(|rule| {
                if let Some(nat) = &mut rule.nat {
                    nat.kind = Some(PoolKind::RoundRobin);
                }
            })
        }).collect());
        let mut team = Team::sharing(workers, 4096, &rules);
        let mut holders: HashMap<(u8, (String, u16)), (u8, u16)> = HashMap::new();
        let mut outside: HashMap<(u8, (u8, u16)), (String, u16)> = HashMap::new();
        for (number, (host, port, remote, kind, ends)) in steps.into_iter().enumerate() {
            let packet = match kind {
                0 => format!("10.0.0.{host}.{port} > 198.51.100.{remote}.80 tcp S seq 1"),
                1 => format!("10.0.0.{host}.{port} > 198.51.100.{remote}.80 udp"),
                _ => format!("10.0.0.{host} > 198.51.100.{remote} icmp 8/0 id {port}"),
            };
            if let Some((EM1, sent)) = team.forward(number as u16 % workers, "em0", &packet) {
                let (own, seen) = ((host, port), left_from(&sent));
                prop_assert_eq!(*holders.entry((kind, seen.clone())).or_insert(own), own, "{}", packet);
                prop_assert_eq!(outside.entry((kind, own)).or_insert_with(|| seen.clone()), &seen, "{}", packet);
            }
            if ends == 0 {
                team.wait(1000);
                team.0.iter_mut().for_each(|one| _ = one.sweep());
                team.release();
                prop_assert_eq!(team.states().iter().sum::<u32>(), 0);
                holders.clear();
                outside.clear();
            }
        }
    }
}
