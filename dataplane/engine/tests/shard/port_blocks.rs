//! `port-block`: each source has ports of its own, which nobody else's connections use up.

use std::collections::{BTreeMap, HashMap};

use crate::firewall::rules::{Written, block, matching, pass};
use crate::firewall::team::Team;
use crate::firewall::{EM1, Firewall};
use engine::{Fate, Mapping, Tick};
use proptest::prelude::*;
use ruleset::{PortBlock, Reason, Rule};
use wire::Port;

/// What leaves by `em1` from these sources has so many ports of this pool for each.
fn sharing_out(from: &str, pool: &str, ports: (u16, u16), size: u16) -> Vec<Rule> {
    vec![
        block(),
        matching().outgoing().on("em1").from(from).nat_to(pool, ports).change(|rule| {
            let pool = rule.nat.as_mut().expect("a translation");
            pool.port_block = Some(size);
        }),
        pass().incoming().on("em0"),
        pass().outgoing(),
    ]
}

/// The address and the port, or identifier, that a packet left from.
fn left_from(sent: &str) -> (String, u16) {
    let source = sent.split_whitespace().next().expect("a source");
    match sent.split_once(" id ") {
        Some((_, id)) => (source.to_owned(), id.split_whitespace().next().unwrap().parse().unwrap()),
        None => {
            let (address, port) = source.rsplit_once('.').expect("a port");
            (address.to_owned(), port.parse().unwrap())
        }
    }
}

fn mappings(firewall: &Firewall) -> BTreeMap<Mapping, u32> {
    let (mut cursor, mut found) = (0, BTreeMap::new());
    let root = firewall.root.as_ref();
    while !firewall.shard.mappings(root, &mut cursor, 1, |of| *found.entry(of).or_default() += 1) {}
    found
}

#[test]
fn who_has_used_its_block_up_is_told_of_and_costs_nobody_else_a_port() {
    let rules = sharing_out("10.0.0.0/30", "10.1.0.8/31", (1000, 1009), 5);
    let mut firewall = Firewall::with(rules);
    firewall.shard.listen(true);
    let syn = |host: u8, port: u16| format!("10.0.0.{host}.{port} > 10.1.0.2.80 tcp S seq 1");
    for host in 0..4_u8 {
        let mut ports: Vec<u16> = (0..5)
            .map(|port| {
                let sent = firewall.pass_on("em0", &syn(host, 4000 + port));
                let (address, port) = left_from(sent.strip_prefix("out em1: ").unwrap());
                assert_eq!(address, format!("10.1.0.{}", 8 + host / 2));
                port
            })
            .collect();
        ports.sort_unstable();
        let first = 1000 + 5 * u16::from(host % 2);
        assert_eq!(ports, (first..first + 5).collect::<Vec<_>>(), "all of its own ports, and no other");
        // The first ones have none left; whoever comes behind has all.
        for port in 0..3 {
            firewall.tell(&format!("em0: {} -> translate", syn(host, 5000 + port)));
        }
    }
    // Towards another remote end a block is as good as new, for queries too.
    firewall.pass_on("em0", "10.0.0.1.9 > 10.1.0.2.81 tcp S seq 1");
    let sent = firewall.pass_on("em0", "10.0.0.3 > 10.1.0.2 icmp 8/0 id 7");
    let (address, id) = left_from(sent.strip_prefix("out em1: ").unwrap());
    assert_eq!((address.as_str(), (1005..1010).contains(&id)), ("10.1.0.9", true));

    let of = |host: u8| PortBlock {
        subscriber: [10, 0, 0, host].into(),
        address: [10, 1, 0, 8 + host / 2].into(),
        first: Port(1000 + 5 * u16::from(host % 2)),
        last: Port(1004 + 5 * u16::from(host % 2)),
    };
    let counted: Vec<_> =
        mappings(&firewall).into_iter().map(|(of, count)| (of.block.unwrap(), of.proto.0, count)).collect();
    let mut counted: Vec<_> =
        counted.iter().map(|(block, proto, count)| (block.subscriber, *proto, *count)).collect();
    counted.sort_unstable();
    let subscriber = |host| of(host).subscriber;
    assert_eq!(
        counted,
        [
            (subscriber(0), 6, 5),
            (subscriber(1), 6, 6),
            (subscriber(2), 6, 5),
            (subscriber(3), 1, 1),
            (subscriber(3), 6, 5)
        ]
    );
    let mut refused: Vec<_> =
        firewall.shard.shortages().map(|(of, packets)| (of.block.unwrap(), of.proto.0, packets)).collect();
    refused.sort_unstable();
    assert_eq!(refused, [0, 1, 2, 3].map(|host| (of(host), 6, 3)));
    let told: Vec<_> = std::iter::from_fn(|| firewall.shard.take_shortage()).collect();
    assert_eq!(
        told.iter().map(|told| (told.mapping.block.unwrap(), told.packets)).collect::<Vec<_>>(),
        [0, 1, 2, 3].map(|host| (of(host), 1))
    );
}

#[test]
fn a_pool_that_is_full_is_told_of_by_its_rule() {
    let mut rules = sharing_out("10.0.0.0/30", "10.1.0.8/31", (1000, 1000), 1);
    rules[1] = rules[1].clone().change(|rule| {
        rule.nat.as_mut().unwrap().port_block = None;
        rule.identity = 0x1234_5678_9abc_def0;
    });
    let mut firewall = Firewall::with(rules);
    firewall.shard.listen(true);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1 -> out em1 as 10.1.0.8.1000 > 10.1.0.2.80 tcp S seq 1
        em0: 10.0.0.2.2 > 10.1.0.2.80 tcp S seq 1 -> translate
        ",
    );
    let told = firewall.shard.take_shortage().expect("a shortage");
    assert_eq!((told.pool, told.packets, told.mapping.block), (0x9abc_def0, 1, None));
    assert_eq!(firewall.shard.take_shortage(), None);
}

#[test]
fn all_ports_of_a_block_are_used_by_several_workers() {
    for workers in [1, 2, 4] {
        let mut team = Team::of(workers, 4096, &sharing_out("10.0.0.0/29", "10.1.0.8/31", (1000, 1399), 100));
        for host in [2, 3] {
            let mut open = 0;
            for port in 0..110_u16 {
                team.0.iter_mut().for_each(|one| one.now = one.now + Tick(1));
                let datagram = format!("10.0.0.{host}.{} > 10.1.0.2.53 udp", 5000 + port);
                match team.send(port % workers, "em0", &datagram).1 {
                    Fate::Transmit(EM1) => open += 1,
                    Fate::Drop(Reason::Translate) => assert_eq!(open, 100, "{workers} workers"),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(open, 100);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever sources send, whoever receives it, and whatever has ended meanwhile: a port of an address is only ever one
    /// source's.
    #[test]
    fn two_sources_never_share_a_port(
        workers in 1_u16..=4,
        size in 1_u16..12,
        steps in prop::collection::vec((0_u8..32, 1_u16..40, 80_u16..83, 0_u8..3, any::<bool>()), 1..300),
    ) {
        let rules = sharing_out("10.0.0.0/27", "10.1.0.16/28", (2000, 2060), size);
        let mut team = Team::of(workers, 4096, &rules);
        let mut holders: HashMap<(String, u16), u8> = HashMap::new();
        for (number, (host, port, remote, kind, ends)) in steps.into_iter().enumerate() {
            let packet = match kind {
                0 => format!("10.0.0.{host}.{port} > 10.1.0.2.{remote} tcp S seq 1"),
                1 => format!("10.0.0.{host}.{port} > 10.1.0.2.{remote} udp"),
                _ => format!("10.0.0.{host} > 10.1.0.2 icmp 8/0 id {port}"),
            };
            if let Some((out, sent)) = team.forward(number as u16 % workers, "em0", &packet) {
                prop_assert_eq!(out, EM1);
                let holder = holders.entry(left_from(&sent)).or_insert(host);
                prop_assert_eq!(*holder, host, "{}: {}", packet, sent);
            }
            if ends {
                team.wait(100);
                team.0.iter_mut().for_each(|one| _ = one.sweep());
                team.release();
            }
        }
    }
}
