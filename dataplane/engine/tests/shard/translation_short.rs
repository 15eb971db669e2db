//! Translated connections that go the short way: their packets are what they are on the long way, whichever end is given another
//! address, whichever of the addresses is the lower one, before and after a reload.

use crate::firewall::Firewall;
use crate::firewall::rules::{Written, pass, ruleset};
use ruleset::Rule;
use wire::Proto;

/// A conversation: both directions as they come and as they leave, by `em0` and `em1`.
struct Talk {
    firewall: Firewall,
    up: (String, String),
    down: (String, String),
}

impl Talk {
    fn open(rules: Vec<Rule>, up: (String, String), down: (String, String)) -> Self {
        let mut talk = Self { firewall: Firewall::with(rules), up, down };
        talk.client_sends("tcp S seq 1000");
        talk.server_sends("tcp SA seq 5000 ack 1001");
        talk
    }

    fn client_sends(&mut self, rest: &str) {
        let (comes, leaves) = &self.up;
        self.firewall.tell(&format!("em0: {comes} {rest} -> out em1 as {leaves} {rest}"));
    }

    fn server_sends(&mut self, rest: &str) {
        let (comes, leaves) = &self.down;
        self.firewall.tell(&format!("em1: {comes} {rest} -> out em0 as {leaves} {rest}"));
    }

    /// Segments each way, from octet number `from` of the client's on.
    fn talk(&mut self, from: u32) {
        for number in from..from + 4 {
            let (seq, ack) = (1001 + 10 * number, 5001 + 20 * number);
            self.client_sends(&format!("tcp A seq {seq} ack {ack} len 10"));
            self.server_sends(&format!("tcp A seq {ack} ack {} len 20", seq + 10));
        }
    }
}

fn rules(kind: &str, given: &str) -> Vec<Rule> {
    match kind {
        "nat" => vec![pass().incoming(), pass().outgoing().on("em1").nat_to(given, (50_001, 50_001))],
        _ => vec![
            pass().incoming().on("em0").proto(Proto::TCP).rdr_to(given, Some((8080, 8080))),
            pass().outgoing(),
        ],
    }
}

/// By kind: the client, who it talks to, and the address that an end is given.
const TALKS: [(&str, &str, &str, &str); 8] = [
    ("nat", "10.0.0.2", "10.1.0.2", "10.1.0.1"),
    ("nat", "10.0.0.2", "10.1.0.2", "10.1.0.200"),
    ("rdr", "10.0.0.2", "10.0.0.1", "10.1.0.2"),
    ("rdr", "10.0.0.2", "192.0.2.1", "10.1.0.2"),
    ("nat", "2001:db8::2", "2001:db8:1::2", "2001:db8:1::1"),
    ("nat", "2001:db8::2", "2001:db8:1::2", "2001:db8:1::ffff"),
    ("rdr", "2001:db8::2", "2001:db8::1", "2001:db8:1::2"),
    ("rdr", "2001:db8::2", "2001:db8:2::1", "2001:db8:1::2"),
];

#[test]
fn either_end_is_given_another_address_whichever_is_the_lower_one() {
    for (kind, client, server, given) in TALKS {
        let ends = match kind {
            "nat" => [format!("{given}.50001"), format!("{server}.80")],
            _ => [format!("{client}.40000"), format!("{given}.8080")],
        };
        let up = (format!("{client}.40000 > {server}.80"), format!("{} > {}", ends[0], ends[1]));
        let down = (format!("{} > {}", ends[1], ends[0]), format!("{server}.80 > {client}.40000"));
        let mut talk = Talk::open(rules(kind, given), up, down);
        talk.talk(0);
        // Other rules: what was remembered is forgotten, and found again.
        talk.firewall.load(ruleset(rules(kind, given)));
        talk.talk(4);
        let stray = format!("{} tcp A seq 999999 ack 1041 len 1", talk.down.0);
        assert_eq!(talk.firewall.send("em1", &stray), "state-mismatch");
    }
}
