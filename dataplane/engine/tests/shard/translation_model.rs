//! Random traffic through a shard that translates, beside a model that keeps mappings in a map: who is translated to what, who
//! hears from whom, and what a full range refuses.

use std::collections::BTreeMap;

use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Entropy, Fate, Tick, WorkerId};
use proptest::prelude::*;
use ruleset::Reason;

/// Ports of the public address.
const RANGE: (u16, u16) = (50_000, 50_005);
const PUBLIC: &str = "10.1.0.1";

/// Protocol, client's host and port, and remote port: all of the same remote host.
type Inner = (bool, u8, u16, u16);

/// One step. Numbers are cut down to what there is.
#[derive(Clone, Debug)]
enum Step {
    /// A client sends: by TCP or UDP, host, port, remote port.
    Send(Inner),
    /// The remote host sends to a public port.
    Answer { tcp: bool, remote: u16, port: u16 },
    /// A router on the way complains about what was sent from a public port.
    Complain { tcp: bool, remote: u16, port: u16 },
    /// Whoever knows the inside sends to a client without an invitation.
    Intrude(Inner),
    /// All connections of a client's host are killed.
    Kill(u8),
}

fn inner() -> impl Strategy<Value = Inner> {
    (any::<bool>(), 2_u8..4, 40_000_u16..40_006, 80_u16..82)
}

fn step() -> impl Strategy<Value = Step> {
    let outer = (any::<bool>(), 80_u16..82, RANGE.0 - 1..=RANGE.1 + 1);
    prop_oneof![
        6 => inner().prop_map(Step::Send),
        4 => outer.clone().prop_map(|(tcp, remote, port)| Step::Answer { tcp, remote, port }),
        1 => outer.prop_map(|(tcp, remote, port)| Step::Complain { tcp, remote, port }),
        1 => inner().prop_map(Step::Intrude),
        1 => (2_u8..4).prop_map(Step::Kill),
    ]
}

struct Seeded(u64);

impl Entropy for Seeded {
    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }
}

/// The firewall, and what it should know.
struct Bed {
    firewall: Firewall,
    random: Seeded,
    /// The public port of each connection.
    mapped: BTreeMap<Inner, u16>,
}

impl Bed {
    fn new(seed: u64) -> Self {
        let mut firewall = Firewall::of(WorkerId(0), 1, 256);
        firewall.load(ruleset(vec![
            block(),
            matching().outgoing().on("em1").from("10.0.0.0/24").nat_to(PUBLIC, RANGE),
            pass().incoming().on("em0").sloppy().any_flags(),
            pass().outgoing().sloppy().any_flags(),
        ]));
        Self { firewall, random: Seeded(seed), mapped: BTreeMap::new() }
    }

    /// Sends a packet, and returns what it became, or why it was dropped.
    fn send(&mut self, interface: &str, text: &str) -> Result<String, Reason> {
        let from = arrival(interface);
        let mut frame = Packet::parse(text).frame(mac(from.interface, 2), mac(from.interface, 1));
        match self.firewall.decide_with(&mut self.random, from, &mut frame) {
            Fate::Transmit(out) if out == if from.interface == EM0 { EM1 } else { EM0 } => Ok(render(&frame)),
            Fate::Drop(reason) => Err(reason),
            other => panic!("{text}: {other:?}"),
        }
    }

    /// Whose the public port is, towards a remote one.
    fn owner(&self, tcp: bool, remote: u16, port: u16) -> Option<Inner> {
        let mut owners =
            self.mapped.iter().filter(|(inner, own)| inner.0 == tcp && inner.3 == remote && **own == port);
        let owner = owners.next().map(|(inner, _)| *inner);
        assert_eq!(owners.next(), None, "two share a tuple");
        owner
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Send(inner @ (tcp, host, port, remote)) => {
                let became =
                    self.send("em0", &format!("10.0.0.{host}.{port} > 10.1.0.2.{remote} {}", body(tcp)));
                let Ok(became) = became else {
                    assert_eq!(became, Err(Reason::Translate));
                    assert!(!self.mapped.contains_key(&inner), "{inner:?} has a port");
                    let free = (RANGE.0..=RANGE.1).find(|port| self.owner(tcp, remote, *port).is_none());
                    assert_eq!(free, None, "a port is free for {inner:?}");
                    return;
                };
                let public = became.strip_prefix(PUBLIC).and_then(|rest| rest[1..].split(' ').next());
                let public: u16 =
                    public.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{became}"));
                assert!((RANGE.0..=RANGE.1).contains(&public), "{became}");
                assert!(became.contains(&format!(" > 10.1.0.2.{remote} ")), "{became}");
                if let Some(known) = self.mapped.insert(inner, public) {
                    assert_eq!(known, public, "{inner:?} keeps its port");
                }
                assert_eq!(self.owner(tcp, remote, public), Some(inner));
            }
            Step::Answer { tcp, remote, port } => {
                let became = self.send("em1", &format!("10.1.0.2.{remote} > {PUBLIC}.{port} {}", body(tcp)));
                match self.owner(tcp, remote, port) {
                    Some((_, host, inside, _)) => {
                        let wanted = format!("10.1.0.2.{remote} > 10.0.0.{host}.{inside} ");
                        assert!(
                            became.as_ref().is_ok_and(|became| became.starts_with(&wanted)),
                            "{became:?}"
                        );
                    }
                    None => assert_eq!(became, Err(Reason::Match)),
                }
            }
            Step::Complain { tcp, remote, port } => {
                let quoted = format!("{PUBLIC}.{port} > 10.1.0.2.{remote} {}", body(tcp));
                let became = self.send("em1", &format!("10.1.0.254 > {PUBLIC} icmp 11/0 about ({quoted})"));
                match self.owner(tcp, remote, port) {
                    Some((_, host, ..)) => {
                        let wanted =
                            format!("10.1.0.254 > 10.0.0.{host} icmp 11/0 about (10.0.0.{host} > 10.1.0.2 ");
                        assert!(
                            became.as_ref().is_ok_and(|became| became.starts_with(&wanted)),
                            "{became:?}"
                        );
                    }
                    None => assert_eq!(became, Err(Reason::Match)),
                }
            }
            Step::Intrude((tcp, host, port, remote)) => {
                let text = format!("10.1.0.2.{remote} > 10.0.0.{host}.{port} {}", body(tcp));
                assert_eq!(self.send("em1", &text), Err(Reason::Match));
            }
            Step::Kill(host) => {
                self.firewall.kill(&format!("10.0.0.{host}"));
                // A full range is not searched again in the same moment.
                self.firewall.now = self.firewall.now + Tick(100_000_000);
                self.mapped.retain(|(_, own, ..), _| *own != host);
            }
        }
    }
}

const fn body(tcp: bool) -> &'static str {
    if tcp { "tcp A seq 1 ack 1 len 4" } else { "udp len 4" }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// No two connections share a tuple, nobody is refused while a port is free, and what comes back finds the one that it is
    /// for, or nobody.
    #[test]
    fn mappings_are_those_of_the_model(seed in any::<u64>(), steps in prop::collection::vec(step(), 1..120)) {
        let mut bed = Bed::new(seed);
        for step in &steps {
            bed.run(step);
        }
    }
}
