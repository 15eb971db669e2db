//! When there is too much (reliability E1, E2, E4, E8): a full table, a flood of SYNs, a flow of which a worker has its hands full, a
//! log that nobody reads.

use crate::firewall::packet::{Packet, number_behind, seal};
use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::team::Team;
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Fate, Tick, WorkerId};
use ruleset::{Limit, LogOptions, Reason, Syncookies, Timeout, adaptive_thresholds};

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

/// A client that is there comes by this port, is asked for a cookie or not, and leaves again by a reset: true if it was connected.
fn come_and_go(firewall: &mut Firewall, port: u16) -> bool {
    let (to_server, to_client) =
        (format!("10.0.0.2.{port} > 10.1.0.2.80 tcp"), format!("10.1.0.2.80 > 10.0.0.2.{port} tcp"));
    let next = |seq: u32| seq.wrapping_add(1);
    let (mut first, _) = firewall.shake("em0", &format!("{to_server} S seq 1000 mss 1452"));
    let cookie = first.contains(" tcp SA ").then(|| number_behind("seq", &first));
    if let Some(cookie) = cookie {
        first = firewall.shake("em0", &format!("{to_server} A seq 1001 ack {} win 300", next(cookie))).0;
    }
    if !first.contains(" tcp S ") {
        return false;
    }
    let asked = number_behind("seq", &first);
    let (answer, _) = firewall.shake("em1", &format!("{to_client} SA seq 5000 ack {} win 600", next(asked)));
    let told = match cookie {
        Some(cookie) if answer.contains(" tcp A ") => cookie,
        None if answer.contains(" tcp SA ") => number_behind("seq", &answer),
        _ => return false,
    };
    let data = firewall.shake("em0", &format!("{to_server} PA seq 1001 ack {} len 10", next(told))).0;
    let back =
        firewall.shake("em1", &format!("{to_client} A seq 5001 ack {}", next(asked).wrapping_add(10))).0;
    let reset = firewall.shake("em0", &format!("{to_server} R seq 1011")).0;
    data.starts_with("em1: ") && back.starts_with("em0: ") && reset.starts_with("em1: ")
}

/// Ten times the table in SYNs, and cookies: of two thousand clients that come meanwhile every one is connected, nobody loses
/// anything, and what is half-open stays at the watermark. Then it is over, until it begins again.
#[test]
fn e02_clients_connect_during_a_flood_of_ten_times_the_table() {
    const TABLE: u32 = 8000;
    let mut rules = ruleset(vec![block(), pass()]);
    rules.options.limits.set(Limit::States, TABLE);
    rules.options.syncookies = Syncookies::ADAPTIVE;
    let mut firewall = Firewall::of(WorkerId(0), 1, TABLE);
    firewall.load(rules);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    connect(&mut firewall, 1000..1050);
    let (mut clients, mut failed) = (0, 0);
    for second in 0..100 {
        let mut syns = syns(second * 800, 800);
        for _ in 0..20 {
            for mut syn in syns.by_ref().take(40) {
                let _ = firewall.decide(arrival("em0"), &mut syn);
            }
            failed += u32::from(!come_and_go(&mut firewall, 2000 + clients));
            clients += 1;
        }
        talk(&mut firewall, 1000..1050);
        firewall.wait(1).sweep();
        assert!(firewall.shard.half_open() <= TABLE / 4 + 2, "{} half-open", firewall.shard.half_open());
    }
    assert_eq!((clients, failed), (2000, 0));
    assert_eq!(firewall.dropped(Reason::Memory), 0, "nothing found the table full");
    let counters = firewall.shard.counters();
    assert!(counters.floods == 1 && counters.cookies_sent > 70_000, "{} cookies", counters.cookies_sent);
    // tcp.first, and no more than 12 % are half-open.
    firewall.wait(121).sweep();
    let sent = firewall.shard.counters().cookies_sent;
    assert!(come_and_go(&mut firewall, 900));
    assert_eq!(firewall.shard.counters().cookies_sent, sent, "it is over");
    for mut syn in syns(100_000, 3000) {
        let _ = firewall.decide(arrival("em0"), &mut syn);
    }
    assert_eq!(firewall.shard.counters().floods, 2, "it begins again");
    talk(&mut firewall, 1000..1050);
}

/// One flow that is more than its worker can take: what arrives of it with the others is handed over and no more, and they make
/// and follow connections of their own as if it were not there.
#[test]
fn e04_an_elephant_leaves_the_flows_of_other_workers_alone() {
    const WORKERS: u16 = 4;
    let mut team = Team::of(WORKERS, 1000, &[block(), pass()]);
    let elephant = Team::ports_of(0, WORKERS).next().expect("a flow");
    let data = |port: u16| format!("10.0.0.2.{port} > 10.1.0.2.80 tcp PA seq 2 ack 1001 len 100");
    let open = |team: &mut Team, port: u16, home: u16| {
        let answer = format!("10.1.0.2.80 > 10.0.0.2.{port} tcp SA seq 1000 ack 2");
        let all = [("em0", crate::firewall::team::syn(port)), ("em1", answer), ("em0", data(port))];
        all.iter().all(|(place, text)| {
            let (way, fate) = team.send(home, place, text);
            way == [home] && matches!(fate, Fate::Transmit(_))
        })
    };
    assert!(open(&mut team, elephant, 0));
    for number in 0..5000_u16 {
        let at = number % WORKERS;
        let (way, fate) = team.send(at, "em0", &data(elephant));
        assert_eq!(fate, Fate::Transmit(EM1));
        assert_eq!(way, if at == 0 { vec![0] } else { vec![at, 0] });
    }
    for home in 1..WORKERS {
        let own = Team::ports_of(home, WORKERS).take(50).filter(|port| open(&mut team, *port, home)).count();
        assert_eq!(own, 50, "flows of worker {home}");
        let counters = team.0[usize::from(home)].shard.counters();
        // Both hooks of three packets each, for none of the elephant.
        assert_eq!((counters.dropped_in_all(), counters.inserts), (0, 100));
        assert_eq!(team.0[usize::from(home)].shard.states(), 100);
    }
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
