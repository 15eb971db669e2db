//! Which records a shard uses: as many as it has connections, over and over.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{block, pass, ruleset};
use crate::firewall::{EM0, Firewall, arrival, mac};
use engine::{Fate, WorkerId};

const CONNECTIONS: u16 = 500;

/// Opens a connection over each family from every port.
fn open_all(firewall: &mut Firewall) {
    for port in 1..=CONNECTIONS {
        for text in [
            format!("10.0.0.2.{port} > 10.1.0.2.53 udp"),
            format!("2001:db8::2.{port} > 2001:db8:1::2.53 udp"),
        ] {
            let mut frame = Packet::parse(&text).frame(mac(EM0, 2), mac(EM0, 1));
            let fate = firewall.decide(arrival("em0"), &mut frame);
            assert!(matches!(fate, Fate::Transmit(_)), "{text}: {fate:?}");
        }
    }
}

/// In a table that is nearly empty, and in one that is full.
#[test]
fn records_are_used_again_found_and_swept() {
    let all = 4 * u32::from(CONNECTIONS);
    for room in [100_000, all] {
        let mut firewall = Firewall::of(WorkerId(0), 1, room);
        firewall.load(ruleset(vec![block(), pass()]));
        assert!(firewall.states().is_empty());
        for _ in 0..3 {
            open_all(&mut firewall);
            assert_eq!(firewall.shard.records(), 2 * usize::from(CONNECTIONS), "what was used is used again");
            assert_eq!(firewall.states().len(), all as usize);
            assert_eq!(firewall.sweep(), 0);
            firewall.wait(86_400);
            assert_eq!(firewall.sweep(), u64::from(all));
            assert!(firewall.states().is_empty());
        }
    }
}
