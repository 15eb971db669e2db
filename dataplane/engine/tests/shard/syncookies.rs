//! Floods of SYNs that take no memory (pf.conf(5) `set syncookies`).

use crate::firewall::Firewall;
use crate::firewall::packet::{Packet, number_behind};
use crate::firewall::rules::{Written, block, block_return, pass, ruleset};
use crate::firewall::team::{FROM_INSIDE, Team};
use crate::firewall::{EM0, mac};
use engine::Fate;
use ruleset::{Limit, PeerState, Reason, Rule, Ruleset, Syncookies};

fn next(seq: u32) -> u32 {
    seq.wrapping_add(1)
}

fn with(syncookies: Syncookies, rules: Vec<Rule>) -> Ruleset {
    let mut rules = ruleset(rules);
    rules.options.syncookies = syncookies;
    rules.options.limits.set(Limit::States, 100);
    rules
}

fn firewall(syncookies: Syncookies) -> Firewall {
    let mut firewall = Firewall::of(engine::WorkerId(0), 1, 200);
    firewall.load(with(syncookies, vec![block(), pass()]));
    firewall
}

fn syn(client: u16) -> String {
    format!("10.0.0.2.{client} > 10.1.0.2.80 tcp S seq 1000 mss 1452 ws 7")
}

/// A client that is there: what the server gets in the end, and what the client was told.
fn connect(firewall: &mut Firewall, client: u16) -> (String, u32) {
    let (told, beside) = firewall.shake("em0", &syn(client));
    assert!(told.starts_with(&format!("em0: 10.1.0.2.80 > 10.0.0.2.{client} tcp SA seq")), "{told}");
    assert!(beside.is_empty());
    let cookie = number_behind("seq", &told);
    let ack = format!("10.0.0.2.{client} > 10.1.0.2.80 tcp A seq 1001 ack {} win 300", next(cookie));
    let (syn, beside) = firewall.shake("em0", &ack);
    assert!(beside.is_empty());
    (syn, cookie)
}

/// E2. No state before the client has answered, however many there are; those that answer are connected.
#[test]
fn e02_always_no_state_is_made_of_a_syn() {
    let mut firewall = firewall(Syncookies::Always);
    for client in 1000..3000 {
        assert!(firewall.shake("em0", &syn(client)).0.contains(" tcp SA seq "));
    }
    assert_eq!((firewall.shard.states(), firewall.shard.counters().inserts), (0, 0));
    assert_eq!(firewall.dropped(Reason::Synproxy), 2000);
    let (syn, cookie) = connect(&mut firewall, 5000);
    let asked = number_behind("seq", &syn);
    assert_eq!(
        syn,
        format!("em1: 10.0.0.2.5000 > 10.1.0.2.80 tcp S seq {asked} ack 0 win 0 mss 1452 ttl 63")
    );
    assert_eq!(firewall.shard.states(), 2);
    let answer = format!("10.1.0.2.80 > 10.0.0.2.5000 tcp SA seq 5000 ack {} win 600", next(asked));
    let (opened, beside) = firewall.shake("em1", &answer);
    assert_eq!(
        opened,
        format!("em0: 10.1.0.2.80 > 10.0.0.2.5000 tcp A seq {} ack 1001 win 600 ttl 63", next(cookie))
    );
    assert_eq!(beside.len(), 1);
    let said = format!("10.0.0.2.5000 > 10.1.0.2.80 tcp PA seq 1001 ack {} len 10", next(cookie));
    let heard = format!("10.0.0.2.5000 > 10.1.0.2.80 tcp PA seq {} ack 5001 len 10", next(asked));
    assert_eq!(firewall.turn("em0", &said, &heard), "out em1");
    assert!(firewall.states().iter().all(|state| state.source.state == PeerState::Established));
    let counters = firewall.shard.counters();
    assert_eq!((counters.cookies_sent, counters.cookies_validated, counters.floods), (2001, 1, 0));
}

#[test]
fn an_ack_that_brings_no_cookie_meets_the_rules() {
    let mut firewall = firewall(Syncookies::Always);
    let (told, _) = firewall.shake("em0", &syn(1000));
    let cookie = number_behind("seq", &told);
    for (seq, ack, client) in [(1001, cookie, 1000), (1002, next(cookie), 1000), (1001, next(cookie), 1001)] {
        let text = format!("10.0.0.2.{client} > 10.1.0.2.80 tcp A seq {seq} ack {ack}");
        assert_eq!(firewall.send("em0", &text), "match", "{text}");
    }
    let good = format!("10.0.0.2.1000 > 10.1.0.2.80 tcp PA seq 1001 ack {} len 4", next(cookie));
    assert_eq!(firewall.shake("em0", &format!("{good} bad-sum")).0, "proto-cksum");
    // A cookie ages.
    firewall.wait(31);
    assert_eq!(firewall.send("em0", &good), "match");
    assert_eq!((firewall.shard.states(), firewall.shard.counters().cookies_validated), (0, 0));
}

#[test]
fn rules_have_the_last_word_and_answer_in_the_numbers_of_the_client() {
    let mut firewall = Firewall::of(engine::WorkerId(0), 1, 200);
    firewall.load(with(Syncookies::Always, vec![block_return()]));
    let (told, _) = firewall.shake("em0", &syn(1000));
    let cookie = number_behind("seq", &told);
    let ack = format!("10.0.0.2.1000 > 10.1.0.2.80 tcp A seq 1001 ack {}", next(cookie));
    let reset = format!("match: 10.1.0.2.80 > 10.0.0.2.1000 tcp R seq {} ack 0 win 0 ttl 64", next(cookie));
    assert_eq!(firewall.send("em0", &ack), reset);
    assert_eq!(firewall.shard.states(), 0);
    firewall.load(with(Syncookies::Always, vec![pass().no_state()]));
    assert_eq!(firewall.send("em0", &ack), "synproxy", "nobody could go on with it");
}

/// E2. With a limit of 100 states and cookies from 10 % to 5 %, a hundred SYNs make no more than 20 states.
#[test]
fn e02_adaptive_cookies_come_and_go_at_their_watermarks() {
    let mut firewall = firewall(Syncookies::Adaptive { start: 10, end: 5 });
    for client in 1000..1100 {
        firewall.shake("em0", &syn(client));
    }
    let states = firewall.shard.states();
    assert!((11..=20).contains(&states), "{states} states");
    assert_eq!(firewall.shard.half_open(), states);
    let counters = firewall.shard.counters();
    assert_eq!((counters.floods, counters.cookies_sent), (1, 100 - u64::from(states) / 2));
    // A client that is there gets through.
    let (syn, _) = connect(&mut firewall, 2000);
    assert!(syn.contains("tcp S seq"), "{syn}");
    // The flood is over once no more than 5 are half-open.
    firewall.wait(121);
    firewall.sweep();
    assert_eq!(firewall.shard.half_open(), 0);
    assert_eq!(firewall.send("em0", "10.0.0.2.3000 > 10.1.0.2.80 tcp S seq 1"), "out em1");
    assert_eq!(firewall.shard.counters().floods, 1);
}

#[test]
fn between_the_watermarks_it_stays_as_it_is() {
    let mut firewall = firewall(Syncookies::Adaptive { start: 10, end: 5 });
    let mut client = 1000;
    let mut ask = |firewall: &mut Firewall| {
        client += 1;
        firewall.shake("em0", &syn(client)).0.contains(" tcp SA ")
    };
    let passed = (0..20).take_while(|_| !ask(&mut firewall)).count();
    assert_eq!(passed, 6, "12 half-open states are more than 10");
    // Three connections end: 6 are left, which is more than 5.
    for client in 1001..1004 {
        let answer = format!("10.1.0.2.80 > 10.0.0.2.{client} tcp SA seq 1 ack 1001");
        assert_eq!(firewall.send("em1", &answer), "out em0");
    }
    assert_eq!(firewall.shard.half_open(), 6);
    assert!(ask(&mut firewall));
    assert_eq!(firewall.send("em1", "10.1.0.2.80 > 10.0.0.2.1004 tcp SA seq 1 ack 1001"), "out em0");
    assert_eq!(firewall.shard.half_open(), 4);
    assert!(!ask(&mut firewall), "it is over");
}

#[test]
fn connections_that_have_states_are_not_disturbed() {
    let mut firewall = firewall(Syncookies::Never);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000           -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001  -> out em1
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1000           -> out em1
        ",
    );
    firewall.load(with(Syncookies::Always, vec![block(), pass()]));
    firewall.tell(
        "
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1000           -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001  -> out em1
        ",
    );
    let challenged = firewall.send("em0", "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 777");
    assert!(challenged.starts_with("challenge: "), "{challenged}");
}

/// Ports are used again while cookies are sent (FreeBSD D37919).
#[test]
fn e02_a_client_may_come_again_with_the_same_port() {
    let mut firewall = firewall(Syncookies::Always);
    let mut last = None;
    for _ in 0..3 {
        let (syn, cookie) = connect(&mut firewall, 1000);
        let asked = number_behind("seq", &syn);
        assert_ne!(last.replace(asked), Some(asked), "another connection, another number");
        let answer = format!("10.1.0.2.80 > 10.0.0.2.1000 tcp SA seq 5000 ack {} win 600", next(asked));
        firewall.shake("em1", &answer);
        let reset = "10.0.0.2.1000 > 10.1.0.2.80 tcp R seq 1001";
        let heard = format!("10.0.0.2.1000 > 10.1.0.2.80 tcp R seq {}", next(asked));
        assert_eq!(firewall.turn("em0", reset, &heard), "out em1");
        assert_ne!(cookie, 0);
        firewall.wait(1);
    }
}

#[test]
fn rules_that_change_numbers_or_complete_handshakes_make_the_same_connection_of_a_cookie() {
    for rules in [
        vec![block(), pass().modulate()],
        vec![block(), pass().incoming().synproxy(), pass().outgoing()],
        vec![
            block(),
            pass().incoming().to("10.1.0.2").rdr_to("10.1.0.2", None),
            pass().outgoing().modulate(),
        ],
    ] {
        let mut firewall = Firewall::of(engine::WorkerId(0), 1, 200);
        firewall.load(with(Syncookies::Always, rules));
        let (syn, cookie) = connect(&mut firewall, 1000);
        let asked = number_behind("seq", &syn);
        let answer = format!("10.1.0.2.80 > 10.0.0.2.1000 tcp SA seq 5000 ack {} win 600", next(asked));
        let (opened, beside) = firewall.shake("em1", &answer);
        assert!(opened.contains(&format!(" tcp A seq {} ack 1001 win 600", next(cookie))), "{opened}");
        assert!(beside[0].contains(&format!(" tcp A seq {} ack 5001 win 300", next(asked))), "{beside:?}");
        let said = format!("10.0.0.2.1000 > 10.1.0.2.80 tcp PA seq 1001 ack {} len 10", next(cookie));
        let heard = format!("10.0.0.2.1000 > 10.1.0.2.80 tcp PA seq {} ack 5001 len 10", next(asked));
        assert_eq!(firewall.turn("em0", &said, &heard), "out em1");
        assert!(firewall.states().iter().all(|state| state.source.state == PeerState::Established));
    }
}

#[test]
fn on_several_workers_the_home_of_a_flow_answers_and_knows_its_cookies() {
    let mut team = Team::of(3, 64, &[block(), pass()]);
    for one in &mut team.0 {
        one.load(with(Syncookies::Always, vec![block(), pass()]));
    }
    for at in 0..3 {
        for port in Team::ports_of(2, 3).skip(3 * usize::from(at)).take(3) {
            let text = format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1000");
            let mut frame = Packet::parse(&text).frame(mac(EM0, 2), mac(EM0, 1));
            let (way, fate) = team.follow(at, FROM_INSIDE, &mut frame, true);
            assert_eq!((way.last(), fate), (Some(&2), Fate::Transmit(EM0)));
            let cookie = number_behind("seq", &crate::firewall::packet::render(&frame));
            let ack = format!("10.0.0.2.{port} > 10.1.0.2.80 tcp A seq 1001 ack {}", next(cookie));
            let (out, syn) = team.forward((at + 1) % 3, "em0", &ack).expect("a SYN");
            assert_eq!(out, crate::firewall::EM1);
            assert!(syn.contains(" tcp S seq "), "{syn}");
        }
    }
    assert_eq!(team.states()[..2], [0, 0]);
}
