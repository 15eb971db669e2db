//! Which source port is chosen: any of a range alike, the last one that is left, and none before all are in use.

use std::collections::BTreeSet;

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, matching, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Entropy, Fate, Tick, WorkerId};
use ruleset::Reason;

/// Of document 001: one host behind one address, 16,384 ports, two remote ports, and 20,000 connections tried to each. Each
/// gets as many as there are ports, whatever the other has; no try fails before.
#[test]
fn each_of_two_remote_ports_has_all_ports_of_one_address() {
    const PORTS: u32 = 16_384;
    let mut firewall = Firewall::of(WorkerId(0), 1, 4 * PORTS + 20_000 * 2);
    firewall.load(ruleset(vec![
        matching().outgoing().on("em1").nat_to("10.1.0.1", (49_152, 65_535)),
        pass().incoming().any_flags(),
        pass().outgoing(),
    ]));
    let (mut open, mut random) = ([0; 2], Seeded(1));
    for (remote, open) in [12_345, 12_346].into_iter().zip(&mut open) {
        for source in 1..=20_000_u32 {
            let syn = format!("10.0.0.2.{source} > 10.1.0.2.{remote} tcp S seq 1");
            // As many come at one moment as a client may begin at once.
            if source % 128 == 0 {
                firewall.now = firewall.now + Tick(1);
            }
            let mut frame = Packet::parse(&syn).frame(mac(EM0, 2), mac(EM0, 1));
            match firewall.decide_with(&mut random, arrival("em0"), &mut frame) {
                Fate::Transmit(EM1) => *open += 1,
                Fate::Drop(Reason::Translate) => assert_eq!(*open, PORTS, "not before all are in use"),
                other => panic!("{syn}: {other:?}"),
            }
        }
    }
    assert_eq!(open, [PORTS; 2]);
    let public: BTreeSet<String> =
        firewall.lines().into_iter().filter(|line| line.contains(" -> ")).collect();
    assert_eq!(public.len(), 2 * PORTS as usize, "no two share a tuple");
    // A state that goes gives its port to whoever comes next.
    firewall.tell("em0: 10.0.0.3.1 > 10.1.0.2.12345 tcp S seq 1 -> translate");
    assert!(firewall.kill("10.0.0.2") > 2 * u64::from(PORTS));
    assert!(
        firewall.wait(1).pass_on("em0", "10.0.0.3.1 > 10.1.0.2.12345 tcp S seq 1").starts_with("out em1: ")
    );
}

/// A second rule sees what the first has made, and has another port chosen: the first one stays free, and is found again.
#[test]
fn a_port_that_was_chosen_in_vain_is_free_for_others() {
    const PORTS: u16 = 1000;
    let mut firewall = Firewall::of(WorkerId(0), 1, 2 * u32::from(PORTS) + 100);
    let nat = |from: &str| matching().outgoing().on("em1").from(from).nat_to("10.1.0.1", (1000, 999 + PORTS));
    firewall.load(ruleset(vec![
        nat("10.0.0.0/24"),
        nat("10.1.0.1"),
        pass().incoming().any_flags(),
        pass().outgoing(),
    ]));
    let mut random = Seeded(1);
    for source in 1..=PORTS + 20 {
        firewall.now = firewall.now + Tick(1);
        let mut frame =
            Packet::parse(&format!("10.0.0.2.{source} > 10.1.0.2.53 udp")).frame(mac(EM0, 2), mac(EM0, 1));
        let fate = firewall.decide_with(&mut random, arrival("em0"), &mut frame);
        let due = if source <= PORTS { Fate::Transmit(EM1) } else { Fate::Drop(Reason::Translate) };
        assert_eq!(fate, due, "connection {source}");
    }
}

/// A program on the firewall itself knows nothing of the ports that stand for those of others.
#[test]
fn a_connection_of_the_host_that_collides_with_a_mapping_is_itself_translated() {
    let mut firewall = Firewall::with(vec![
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (50_001, 50_001)),
        pass().any_flags(),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp
        em1 host: 10.1.0.1.50001 > 10.1.0.2.54 udp -> sent em1
        em1 host: 10.1.0.1.50002 > 10.1.0.2.53 udp -> sent em1
        ",
    );
    let own = "10.1.0.1.50001 > 10.1.0.2.53 udp";
    let sent = firewall.pass_on("em1 host", own);
    let port = sent.strip_prefix("out em1: 10.1.0.1.").and_then(|rest| rest.split(' ').next());
    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{sent}"));
    assert!(port > 50_002, "{sent}");
    assert_eq!(firewall.pass_on("em1 host", own), sent, "it keeps the port");
    firewall.tell(&format!(
        "
        em1: 10.1.0.2.53 > 10.1.0.1.{port} udp len 9 -> host em1 as 10.1.0.2.53 > 10.1.0.1.50001 udp len 9
        em1: 10.1.0.2.53 > 10.1.0.1.50001 udp len 9 -> out em0 as 10.1.0.2.53 > 10.0.0.2.5000 udp len 9
        em1: 10.1.0.2.54 > 10.1.0.1.50001 udp len 9 -> host em1
        "
    ));
}

/// D4. Ports are chosen evenly out of the range: a guess is as good as another.
#[test]
fn d04_ports_are_spread_evenly_over_the_range() {
    const DRAWS: u32 = 100_000;
    const CELLS: usize = 128;
    let mut firewall = Firewall::of(WorkerId(0), 1, 64);
    firewall.load(ruleset(vec![
        pass().incoming().any_flags(),
        pass().outgoing().on("em1").nat_to("10.1.0.1", (50_048, 65_407)),
    ]));
    let mut cells = [0_u32; CELLS];
    let mut random = Seeded(0x5eed);
    let mut frame = Packet::parse("10.0.0.2.4000 > 10.1.0.2.80 tcp S seq 1").frame(mac(EM0, 2), mac(EM0, 1));
    let first = frame.clone();
    for _ in 0..DRAWS {
        frame.clone_from(&first);
        assert_eq!(firewall.decide_with(&mut random, arrival("em0"), &mut frame), Fate::Transmit(EM1));
        let port = usize::from(u16::from_be_bytes([frame[34], frame[35]]));
        cells[(port - 50_048) * CELLS / 15_360] += 1;
        firewall.kill("10.0.0.2");
    }
    let mean = f64::from(DRAWS) / CELLS as f64;
    let chi: f64 = cells.iter().map(|count| (f64::from(*count) - mean).powi(2) / mean).sum();
    // 127 degrees of freedom: 1 in 1000 exceeds 181.
    assert!(chi < 181.0, "{chi}: {cells:?}");
}

struct Seeded(u64);

impl Entropy for Seeded {
    fn next_u64(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
