//! Sequence numbers that are changed on their way (pf.conf(5) `modulate state`).

use crate::firewall::packet::{Packet, number_behind};
use crate::firewall::rules::{Written, block, pass};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Fate, Source};
use ruleset::{Direction, PeerState, Reason, Rule};

/// What the faces add, of a connection from 10.0.0.2 to 10.1.0.2: to the client's numbers and to the server's, at the client's
/// side and at the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Added {
    client: [u32; 2],
    server: [u32; 2],
}

impl Added {
    fn of(firewall: &Firewall) -> Self {
        let states = firewall.states();
        let of = |direction| states.iter().find(|state| state.direction == direction).expect("a state");
        let [near, far] = [Direction::In, Direction::Out].map(of);
        Self {
            client: [near.source.seqdiff, far.source.seqdiff],
            server: [near.destination.seqdiff, far.destination.seqdiff],
        }
    }

    /// The client's number, as the server sees it.
    fn client(&self, seq: u32) -> u32 {
        self.client.iter().fold(seq, |seq, added| seq.wrapping_add(*added))
    }

    /// The server's number, as the client sees it.
    fn server(&self, seq: u32) -> u32 {
        self.server.iter().fold(seq, |seq, added| seq.wrapping_add(*added))
    }
}

/// A connection behind its handshake, and what is added to its numbers.
fn connected(rules: Vec<Rule>) -> (Firewall, Added) {
    let mut firewall = Firewall::with(rules);
    let syn = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    let first = number_behind("seq", &syn);
    let ack = first.wrapping_add(1);
    let answer = firewall.pass_on("em1", &format!("10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack {ack}"));
    assert_eq!(number_behind("ack", &answer), 1001, "{answer}");
    let added = Added::of(&firewall);
    assert_eq!((added.client(1000), added.server(5000)), (first, number_behind("seq", &answer)));
    let last = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack {}", added.server(5001));
    let became = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq {} ack 5001", added.client(1001));
    assert_eq!(firewall.turn("em0", &last, &became), "out em1");
    let established = |state: &ruleset::StateView| {
        (state.source.state, state.destination.state) == (PeerState::Established, PeerState::Established)
    };
    assert!(firewall.states().iter().all(established), "{}", firewall.dump());
    (firewall, added)
}

/// Which of the two hooks modulate.
fn variants() -> [Vec<Rule>; 3] {
    [
        vec![block(), pass().incoming().modulate(), pass().outgoing()],
        vec![block(), pass().incoming(), pass().outgoing().modulate()],
        vec![block(), pass().modulate()],
    ]
}

fn at_both() -> (Firewall, Added) {
    connected(vec![block(), pass().modulate()])
}

#[test]
fn a19_both_sides_see_numbers_of_their_own_with_sack() {
    for (rules, modulated) in variants().into_iter().zip([[true, false], [false, true], [true, true]]) {
        let (mut firewall, added) = connected(rules);
        assert_eq!(added.client.map(|added| added != 0), modulated);
        assert_eq!(added.server.map(|added| added != 0), modulated);
        let [to_server, to_client] = ["10.0.0.2.40000 > 10.1.0.2.80 tcp", "10.1.0.2.80 > 10.0.0.2.40000 tcp"];
        for round in 0..3 {
            let (seq, far) = (1001 + 100 * round, 5001 + 200 * round);
            let (sent, became) = (added.server(far), added.client(seq));
            let text = format!(
                "{to_server} PA seq {seq} ack {sent} len 100 sack {} {}",
                added.server(far + 50),
                added.server(far + 90)
            );
            let turned =
                format!("{to_server} PA seq {became} ack {far} len 100 sack {} {}", far + 50, far + 90);
            assert_eq!(firewall.turn("em0", &text, &turned), "out em1");
            let (seq, ack) = (far, seq + 100);
            let text = format!(
                "{to_client} PA seq {seq} ack {} len 200 sack {} {}",
                added.client(ack),
                added.client(ack + 7),
                added.client(ack + 9)
            );
            let turned = format!(
                "{to_client} PA seq {} ack {ack} len 200 sack {} {}",
                added.server(seq),
                ack + 7,
                ack + 9
            );
            assert_eq!(firewall.turn("em1", &text, &turned), "out em0");
        }
        // What the other side sees is no number here.
        let before = firewall.dump();
        for (interface, text) in [
            ("em0", format!("{to_server} PA seq {} ack {} len 9", added.client(1301), added.server(5601))),
            ("em0", format!("{to_server} R seq {}", added.client(1301))),
            ("em0", format!("{to_server} PA seq 1301 ack 5601 len 9")),
            ("em1", format!("{to_client} R seq {}", added.server(5601))),
        ] {
            assert_eq!(firewall.send(interface, &text), "state-mismatch", "{text}");
        }
        assert_eq!(firewall.dump(), before);
        let reset = format!("{to_client} R seq 5601");
        let became = format!("{to_client} R seq {}", added.server(5601));
        assert_eq!(firewall.turn("em1", &reset, &became), "out em0");
    }
}

#[test]
fn states_print_the_numbers_that_they_see_and_what_they_add() {
    let (firewall, added) = at_both();
    let (near, far) = (5001_u32.wrapping_add(added.server[1]), 1000_u32.wrapping_add(added.client[0]));
    let dump = firewall.dump();
    let expected = [
        format!("[{near} + 8192](+{})  [1000 + 8193](+{})", added.server[0], added.client[0]),
        format!("[{far} + 8193](+{})  [5001 + 8192](+{})", added.client[1], added.server[1]),
    ];
    for line in expected {
        assert!(dump.contains(&line), "{line}\n{dump}");
    }
}

#[test]
fn answers_of_the_firewall_are_in_the_numbers_of_whom_they_are_for() {
    for rules in variants() {
        let (mut firewall, added) = connected(rules);
        let told = firewall.send("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 777777");
        let (seq, ack) = (added.server(5001), 1000);
        let expected =
            format!("challenge: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq {seq} ack {ack} win 0 ttl 64");
        assert_eq!(told, expected);
        let told = firewall.send("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 777777");
        let (seq, ack) = (added.client(1000), 5001);
        let expected =
            format!("challenge: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq {seq} ack {ack} win 0 ttl 64");
        assert_eq!(told, expected);
    }
}

#[test]
fn errors_quote_what_their_receiver_sent() {
    for rules in variants() {
        let (mut firewall, added) = connected(rules);
        let error = |seq: u32| {
            format!(
                "10.1.0.254 > 10.0.0.2 icmp 3/1 about (10.0.0.2.40000 > 10.1.0.2.80 tcp A seq {seq} ack 9)"
            )
        };
        assert_eq!(firewall.turn("em1", &error(added.client(1001)), &error(1001)), "out em0");
        assert_eq!(firewall.send("em1", &error(1001)), "state-mismatch", "nobody there has seen that number");
        let error = |seq: u32| {
            format!("10.0.0.2 > 10.1.0.2 icmp 3/3 about (10.1.0.2.80 > 10.0.0.2.40000 tcp A seq {seq} ack 9)")
        };
        assert_eq!(firewall.turn("em0", &error(added.server(5001)), &error(5001)), "out em1");
    }
}

#[test]
fn a_host_that_cannot_be_reached_is_told_of_in_its_senders_numbers() {
    let mut firewall = Firewall::with(vec![block(), pass().modulate()]);
    let arrival = arrival("em0");
    let text = "10.0.0.2.40000 > 10.1.0.77.80 tcp S seq 1000";
    let mut frame = Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1));
    let held = firewall.decide(arrival, &mut frame);
    assert!(matches!(held, Fate::Hold { interface: EM1, .. }), "{held:?}");
    let seq_at =
        |frame: &[u8], at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("a number"));
    assert_ne!(seq_at(&frame, 14 + 20 + 4), 1000);
    assert_eq!(firewall.give_up(arrival, EM1, &mut frame), Fate::Transmit(EM0));
    assert_eq!(arrival.source, Source::Wire);
    // Behind the Ethernet header, the IP header, the error's own header and the quoted IP header.
    assert_eq!(seq_at(&frame, 14 + 20 + 8 + 20 + 4), 1000);
    crate::firewall::packet::render(&frame);
}

#[test]
fn states_that_fall_apart_keep_the_numbers_of_their_side() {
    let (mut firewall, added) = at_both();
    // The host says something in the server's name: only the client's side meets it, with what the other side has added.
    let seen = |seq: u32| seq.wrapping_add(added.server[1]);
    let text = format!(
        "10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq {} ack {} len 10",
        seen(5001),
        1001_u32.wrapping_add(added.client[0])
    );
    let became = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq {} ack 1001 len 10", added.server(5001));
    assert_eq!(firewall.turn("em0 host", &text, &became), "out em0");
    assert_eq!(Added::of(&firewall), added);
    let far = firewall.states().into_iter().find(|state| state.direction == Direction::Out).expect("a state");
    assert_eq!(far.destination.seqlo, 5001, "the server's side has not met it");
    // And both go on.
    let text = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq 5001 ack {} len 30", added.client(1001));
    let became = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp PA seq {} ack 1001 len 30", added.server(5001));
    assert_eq!(firewall.turn("em1", &text, &became), "out em0");
    let text = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack {}", added.server(5031));
    let became = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp A seq {} ack 5031", added.client(1001));
    assert_eq!(firewall.turn("em0", &text, &became), "out em1");
    let told = firewall.send("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 777777");
    let (seq, ack) = (added.client(1000), 5031);
    assert_eq!(
        told,
        format!("challenge: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq {seq} ack {ack} win 0 ttl 64")
    );
}

#[test]
fn a_state_that_loses_its_other_half_keeps_its_own_numbers() {
    let (mut firewall, added) = at_both();
    let near = firewall.states().into_iter().find(|state| state.direction == Direction::In).expect("a state");
    let far = firewall.states().into_iter().find(|state| state.direction == Direction::Out).expect("a state");
    assert_eq!(firewall.kill_id(near.id), 1);
    let left = firewall.states();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].source, left[0].destination), (far.source, far.destination));
    let text = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp R seq {}", added.server(5001));
    assert_eq!(firewall.send("em1", &text), "state-mismatch");
}

#[test]
fn numbers_and_addresses_change_together() {
    let rules = vec![
        block(),
        pass().incoming().modulate(),
        pass().outgoing().nat_to("10.1.0.1", (50_001, 50_001)).modulate(),
    ];
    let mut firewall = Firewall::with(rules);
    let syn = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    assert!(syn.starts_with("out em1: 10.1.0.1.50001 > 10.1.0.2.80 tcp S seq"), "{syn}");
    let ack = number_behind("seq", &syn).wrapping_add(1);
    let answer = firewall.pass_on("em1", &format!("10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 5000 ack {ack}"));
    let added = Added::of(&firewall);
    let (server, client) = (added.server(5000), added.client(1000));
    assert!(
        answer.contains(&format!("10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq {server} ack 1001")),
        "{answer}"
    );
    assert_eq!(client.wrapping_add(1), ack);
    let sack = [added.server(6000), added.server(7000)];
    let text = format!(
        "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack {} sack {} {}",
        added.server(5001),
        sack[0],
        sack[1]
    );
    let became =
        format!("10.1.0.1.50001 > 10.1.0.2.80 tcp A seq {} ack 5001 sack 6000 7000", added.client(1001));
    assert_eq!(firewall.turn("em0", &text, &became), "out em1");
    let error = |to: &str, seq: u32| {
        format!(
            "10.1.0.254 > {} icmp 3/1 about ({to} > 10.1.0.2.80 tcp A seq {seq} ack 9)",
            to.rsplit_once('.').expect("a port").0
        )
    };
    let (outside, inside) = (error("10.1.0.1.50001", added.client(1001)), error("10.0.0.2.40000", 1001));
    assert_eq!(firewall.turn("em1", &outside, &inside), "out em0");
}

#[test]
fn what_was_picked_up_in_its_middle_keeps_its_numbers() {
    let mut firewall = Firewall::with(vec![block(), pass().any_flags().modulate()]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1000 ack 5000 len 10 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5000 ack 1010         -> out em0
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10                       -> out em1
        ",
    );
    assert!(
        firewall.states().iter().all(|state| (state.source.seqdiff, state.destination.seqdiff) == (0, 0))
    );
}

#[test]
fn a_handshake_out_of_step_is_reset_in_its_senders_numbers() {
    let mut firewall = Firewall::with(vec![block(), pass().modulate()]);
    let syn = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    let ack = number_behind("seq", &syn).wrapping_add(1);
    let wrong = ack.wrapping_add(900_000);
    let told = firewall.send("em1", &format!("10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack {wrong}"));
    let reset = format!("10.0.0.2.40000 > 10.1.0.2.80 tcp R seq {wrong} ack 0 win 0 ttl 64");
    assert_eq!(told, format!("state-mismatch: {reset}"));
    let answer = firewall.pass_on("em1", &format!("10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 7000 ack {ack}"));
    assert_eq!(number_behind("ack", &answer), 1001);
    assert_eq!(firewall.dropped(Reason::StateMismatch), 1);
}

/// As in pf, where the server's numbers are not changed before it has said something.
#[test]
fn what_acknowledges_a_server_that_was_not_seen_is_left_alone() {
    let mut firewall = Firewall::with(vec![block(), pass().incoming().modulate(), pass().outgoing()]);
    let syn = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000");
    let added = number_behind("seq", &syn).wrapping_sub(1000);
    let ack = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 777");
    assert_eq!(number_behind("seq", &ack), added.wrapping_add(1001));
    assert_eq!(number_behind("ack", &ack), 777);
}

/// A number in a field that says nothing is none of the numbers that were changed.
#[test]
fn a_reset_for_what_acknowledges_nothing_has_the_number_that_it_came_with() {
    let mut firewall = Firewall::with(vec![block(), pass().modulate()]);
    // Both open at the same time.
    let syn = firewall.pass_on("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 1000");
    firewall.pass_on("em1", "10.1.0.2.80 > 10.0.0.2.40000 tcp S seq 5000 win 1000");
    let added = Added::of(&firewall);
    assert_eq!(added.client(1000), number_behind("seq", &syn));
    // The host allows the client more in the server's name, of which only the client's side hears.
    let (seq, ack) = (5001_u32.wrapping_add(added.server[1]), 1001_u32.wrapping_add(added.client[0]));
    let text = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp A seq {seq} ack {ack} win 60000");
    let became = format!("10.1.0.2.80 > 10.0.0.2.40000 tcp A seq {} ack 1001 win 60000", added.server(5001));
    assert_eq!(firewall.turn("em0 host", &text, &became), "out em0");
    // So that this gets past the client's side, and is out of step at the server's.
    let reset = "state-mismatch: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 77 ack 0 win 0 ttl 64";
    assert_eq!(firewall.send("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 40000 ack 77"), reset);
}
