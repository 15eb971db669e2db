//! When there is too much (reliability E1, E2, E8): a full table, a flood of SYNs, a log that nobody reads.

mod shard;

use engine::{Fate, Tick, WorkerId};
use ruleset::{Limit, LogOptions, Reason, Timeout, adaptive_thresholds};
use shard::packet::{Packet, seal};
use shard::rules::{Written, block, pass, ruleset};
use shard::{EM0, EM1, Firewall, arrival, mac};

/// Bytes in front of the IP header.
const L3: usize = 14;

const STATES: u32 = 1000;

/// A firewall for so many states, with time-outs that shrink as they do by default.
fn limited() -> Firewall {
    let mut rules = ruleset(vec![block(), pass()]);
    rules.options.limits.set(Limit::States, STATES);
    for (threshold, states) in adaptive_thresholds(STATES) {
        rules.options.timeouts.set(threshold, states);
    }
    let mut firewall = Firewall::of(WorkerId(0), 1, STATES);
    firewall.load(rules);
    firewall
}

/// Opens connections from ports of one client on; all of it is to pass.
fn connect(firewall: &mut Firewall, ports: std::ops::Range<u16>) {
    for port in ports {
        firewall.tell(&format!(
            "
            em0: 10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1000           -> out em1
            em1: 10.1.0.2.80 > 10.0.0.2.{port} tcp SA seq 5000 ack 1001 -> out em0
            em0: 10.0.0.2.{port} > 10.1.0.2.80 tcp A seq 1001 ack 5001  -> out em1
            "
        ));
    }
}

/// A segment of each connection, each way.
fn talk(firewall: &mut Firewall, ports: std::ops::Range<u16>) {
    for port in ports {
        let sent =
            firewall.send("em0", &format!("10.0.0.2.{port} > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 9"));
        let back =
            firewall.send("em1", &format!("10.1.0.2.80 > 10.0.0.2.{port} tcp PA seq 5001 ack 1010 len 9"));
        assert_eq!((sent.as_str(), back.as_str()), ("out em1", "out em0"), "{port}");
    }
}

/// SYNs of made-up sources, each of another one.
fn syns(from: u32, count: u32) -> impl Iterator<Item = Vec<u8>> {
    let base = Packet::parse("10.0.0.3.1 > 10.1.0.2.80 tcp S seq 1").frame(mac(EM0, 2), mac(EM0, 1));
    (from..from + count).map(move |number| {
        let mut frame = base.clone();
        // 100.64.0.0/10, scattered over it.
        let source = 0x6440_0000 | number.wrapping_mul(0x9e37_79b1) >> 10;
        frame[L3 + 12..L3 + 16].copy_from_slice(&source.to_be_bytes());
        seal(&mut frame);
        frame
    })
}

/// How many of them were let through; what was not found no memory.
fn flood(firewall: &mut Firewall, from: u32, count: u32) -> u32 {
    let mut passed = 0;
    for mut frame in syns(from, count) {
        match firewall.decide(arrival("em0"), &mut frame) {
            Fate::Transmit(EM1) => passed += 1,
            fate => assert_eq!(fate, Fate::Drop(Reason::Memory)),
        }
    }
    passed
}

/// Ten times the table in SYNs, over a minute. Who is connected loses nothing, and once it is over everybody gets in again.
#[test]
fn e02_a_flood_of_syns_costs_what_is_established_nothing() {
    let mut firewall = limited();
    connect(&mut firewall, 1000..1100);
    let (mut passed, mut refused) = (0, 0);
    for second in 0..60 {
        let through = flood(&mut firewall, second * 170, 170);
        (passed, refused) = (passed + through, refused + 170 - through);
        talk(&mut firewall, 1000..1100);
        firewall.wait(1).sweep();
        assert!(firewall.shard.states() <= STATES);
    }
    assert!(passed >= 400 && refused > 8000, "{passed} of the flood passed, {refused} did not");
    assert_eq!(firewall.dropped(Reason::Memory), u64::from(refused), "each is counted");
    let established =
        firewall.states().iter().filter(|state| state.source.end.address.to_string() == "10.0.0.2").count();
    assert_eq!(established, 200);
    // tcp.first, at most.
    firewall.wait(120).sweep();
    talk(&mut firewall, 1000..1100);
    connect(&mut firewall, 2000..2300);
    talk(&mut firewall, 1000..1100);
}

/// What nobody has answered expires the sooner, the fuller the table is, so that a flood ages away and the established stay.
#[test]
fn e01_time_outs_shrink_from_60_to_120_of_100_states() {
    let mut firewall = limited();
    connect(&mut firewall, 1000..1050);
    let longest = |firewall: &Firewall, of: &str| {
        let states = firewall.states();
        let times = states.iter().filter(|state| state.source.end.address.to_string().starts_with(of));
        times.map(|state| state.expires_in_s).max()
    };
    flood(&mut firewall, 0, 250);
    assert_eq!(firewall.shard.states(), 600);
    assert_eq!(longest(&firewall, "100."), Some(120), "60 of 100: as ever");
    flood(&mut firewall, 1000, 100);
    assert_eq!(longest(&firewall, "100."), Some(80), "80 of 100: two thirds are left");
    assert_eq!(flood(&mut firewall, 2000, 500), 100);
    assert_eq!(firewall.shard.states(), STATES);
    assert_eq!(longest(&firewall, "100."), Some(40), "full: one third");
    assert_eq!(longest(&firewall, "10.0.0.2"), Some(Timeout::TcpEstablished.default_value() / 3));
    assert_eq!(firewall.wait(39).sweep(), 0);
    assert!(firewall.wait(1).sweep() > 0);
    talk(&mut firewall, 1000..1050);
}

/// Nobody fetches what is logged: the record is lost and counted, the packet is not.
#[test]
fn e08_a_log_that_nobody_reads_holds_nobody_up() {
    let logging = |rule: ruleset::Rule| {
        rule.change(|rule| rule.log = LogOptions { enabled: true, all: true, ..LogOptions::default() })
    };
    let mut firewall = Firewall::with(vec![logging(block()), logging(pass().any_flags().to_udp(53))]);
    for number in 0..5000 {
        let port = 1 + number % 20;
        assert_eq!(firewall.send("em0", &format!("10.0.0.2.{port} > 10.1.0.2.53 udp len 9")), "out em1");
        assert_eq!(firewall.send("em0", &format!("10.0.0.2.{port} > 10.1.0.2.54 udp len 9")), "match");
    }
    let lost = firewall.shard.log_lost();
    let kept = std::iter::from_fn(|| firewall.shard.take_log()).count() as u64;
    // Each packet is told once at each hook that logs it.
    assert_eq!(kept, 1024);
    assert_eq!(kept + lost, 5000 + 2 * 5000);
    firewall.now = firewall.now + Tick::from_millis(1);
    assert_eq!(firewall.send("em0", "10.0.0.2.1 > 10.1.0.2.53 udp len 9"), "out em1");
    assert!(firewall.shard.take_log().is_some(), "there is room again");
}
