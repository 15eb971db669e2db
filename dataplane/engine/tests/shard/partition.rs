//! Translation with several workers: whose a translated connection is, how its answers find it, and how ports that are
//! partitioned among workers are all used.

use std::collections::HashSet;

use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::team::{Team, arriving, syn};
use crate::firewall::{EM0, EM1};
use engine::{Fate, Tick};
use ruleset::{BlockPolicy, Reason, Rule};
use wire::Proto;

/// Port 80 of 10.1.0.1 is port 8080 of 10.0.0.2.
fn serving() -> Vec<Rule> {
    let redirect = pass()
        .incoming()
        .on("em1")
        .proto(Proto::TCP)
        .to("10.1.0.1")
        .to_port(80)
        .rdr_to("10.0.0.2", Some((8080, 8080)));
    vec![block(), redirect, pass().outgoing().on("em0"), pass().incoming().on("em0").proto(Proto::UDP)]
}

/// What leaves by `em1` comes from 10.1.0.1, from these ports.
fn masquerading(ports: (u16, u16)) -> Vec<Rule> {
    vec![
        block(),
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", ports),
        pass().incoming().on("em0"),
        pass().outgoing(),
    ]
}

/// The same, from the port that it has.
fn keeping_ports() -> Vec<Rule> {
    let mut rules = masquerading((1, 1));
    rules[1] = rules[1].clone().change(|rule| {
        let pool = rule.nat.as_mut().expect("a translation");
        (pool.ports, pool.static_port) = (None, true);
    });
    rules
}

fn aliases(team: &Team) -> u32 {
    team.aliases().iter().sum()
}

fn states(team: &Team) -> u32 {
    team.states().iter().sum()
}

/// Everything expires, and nothing is left behind.
fn end(team: &mut Team) {
    team.wait(86_400);
    team.0.iter_mut().for_each(|one| _ = one.sweep());
    team.release();
    assert_eq!((states(team), aliases(team)), (0, 0));
    for one in &mut team.0 {
        assert!(one.shard.notice().is_none());
    }
}

#[test]
fn answers_of_redirected_connections_find_them_at_whatever_worker() {
    for relieved in [false, true] {
        let mut team = Team::of(4, 4096, &serving());
        for round in 0..2 {
            for port in 1..=100_u16 {
                team.relieve(usize::from(port % 4), relieved.then_some((port + 1) % 4));
                let syn = format!("10.1.0.2.{port} > 10.1.0.1.80 tcp S seq 1000");
                let inside = format!("10.1.0.2.{port} > 10.0.0.2.8080 tcp S seq 1000");
                let (out, sent) = team.forward(port % 4, "em1", &syn).expect("it passes");
                assert!(out == EM0 && sent.starts_with(&inside), "{sent}");
                let answer = format!("10.0.0.2.8080 > 10.1.0.2.{port} tcp SA seq 2000 ack 1001");
                let outside = format!("10.1.0.1.80 > 10.1.0.2.{port} tcp SA seq 2000 ack 1001");
                for at in 0..4 {
                    let (out, sent) = team.forward(at, "em0", &answer).expect("it passes");
                    assert!(out == EM1 && sent.starts_with(&outside), "{sent}");
                }
                let data = format!("10.1.0.2.{port} > 10.1.0.1.80 tcp A seq 1001 ack 2001 len 5");
                assert!((0..4).all(|at| team.forward(at, "em1", &data).is_some()), "{data}");
            }
            assert_eq!(states(&team), 200);
            let (least, most) = if relieved { (60, 200) } else { (50, 100) };
            assert!((least..most).contains(&aliases(&team)), "{:?} in round {round}", team.aliases());
            end(&mut team);
        }
    }
}

#[test]
fn a_port_that_stays_is_one_connections_wherever_its_answers_are_at_home() {
    let mut team = Team::of(4, 4096, &keeping_ports());
    for port in 1..=100 {
        let datagram = |host: u8| format!("10.0.0.{host}.{port} > 10.1.0.2.53 udp");
        let answer = format!("10.1.0.2.53 > 10.1.0.1.{port} udp");
        assert!(team.forward(port % 4, "em0", &datagram(2)).is_some());
        let (_, sent) = team.forward((port + 1) % 4, "em1", &answer).expect("it finds its state");
        assert!(sent.starts_with(&format!("10.1.0.2.53 > 10.0.0.2.{port} udp")), "{sent}");
        // Somebody else with the same port is refused, at once or as soon as the home hears of it.
        let before = states(&team);
        let _ = team.forward((port + 2) % 4, "em0", &datagram(3));
        assert!(states(&team) - before <= 1, "at most the state of the first hook stays, as in pf");
        for at in 0..4 {
            let (_, sent) = team.forward(at, "em1", &answer).expect("it finds its state");
            assert!(sent.starts_with(&format!("10.1.0.2.53 > 10.0.0.2.{port} udp")), "{sent}");
        }
    }
    end(&mut team);
}

/// All begin with one worker, whose part of the ports is soon used up.
#[test]
fn ports_of_other_workers_are_used_when_ones_own_are() {
    for workers in [1, 2, 3, 4] {
        let mut team = Team::of(workers, 4096, &masquerading((50_000, 50_199)));
        use_up(&mut team, |_| 0);
        end(&mut team);
    }
}

/// Opens connections, each at the worker of its port, until all of 200 ports are in use, and none is refused before.
fn use_up(team: &mut Team, at: impl Fn(u16) -> u16) {
    use_up_by(team, |team, port| team.send(at(port), "em0", &syn(port)).1);
}

fn use_up_by(team: &mut Team, mut open_one: impl FnMut(&mut Team, u16) -> Fate) {
    let (workers, mut open) = (team.0.len(), 0);
    for port in 1000..1250_u16 {
        match open_one(team, port) {
            Fate::Transmit(EM1) => open += 1,
            Fate::Drop(Reason::Translate) => assert_eq!(open, 200, "not before all are in use"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(open, 200, "{workers} workers");
}

/// The round for a port begins where the home has its flows placed, and passes the home itself.
#[test]
fn ports_of_all_workers_are_used_by_homes_in_need_as_well() {
    for workers in [2, 3, 4] {
        for further in 1..workers {
            let mut team = Team::of(workers, 4096, &masquerading((50_000, 50_199)));
            for home in 0..workers {
                team.relieve(home.into(), Some((home + further) % workers));
            }
            use_up(&mut team, |port| port % workers);
            end(&mut team);
        }
    }
}

/// The home had not been asked when its relief ended, and refused ports that it had itself.
#[test]
fn a_home_whose_relief_ends_while_another_looks_for_a_port_looks_for_one_itself() {
    for workers in [2, 3, 4] {
        let mut team = Team::of(workers, 4096, &masquerading((50_000, 50_199)));
        use_up_by(&mut team, |team, port| {
            let (arrival, mut frame) = arriving("em0", &syn(port));
            (0..workers).for_each(|home| team.relieve(home.into(), Some((home + 1) % workers)));
            let meanwhile = |team: &mut Team| {
                team.release();
                (0..workers).for_each(|home| team.relieve(home.into(), None));
            };
            team.follow_while(port % workers, arrival, &mut frame, meanwhile).1
        });
        end(&mut team);
    }
}

/// What no hook has let in is begun by its home or by nobody: it went round for ever.
#[test]
fn a_round_for_what_is_let_in_without_a_hook_ends() {
    for (workers, relief) in [(2, None), (3, None), (3, Some(1)), (3, Some(2)), (4, Some(2))] {
        let mut team = Team::of(workers, 4096, &masquerading((50_000, 50_007)));
        for one in &mut team.0 {
            let mut rules = ruleset(masquerading((50_000, 50_007)));
            rules.options.skip = vec!["em0".into()];
            one.load(rules);
        }
        for home in 0..workers {
            team.relieve(home.into(), relief.map(|further| (home + further) % workers));
        }
        let sent = |port: u16| format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1");
        let fates: Vec<_> = (1000..1020).map(|port| team.send(0, "em0", &sent(port)).1).collect();
        let open = fates.iter().filter(|fate| **fate == Fate::Transmit(EM1)).count();
        let refused = fates.iter().filter(|fate| **fate == Fate::Drop(Reason::Translate)).count();
        assert!(open + refused == 20 && (1..=8).contains(&open), "{workers} workers: {fates:?}");
        end(&mut team);
    }
}

/// Issue: a range of 16,384 ports serves as many connections of one client to each remote port, not half of them, and none is
/// refused before all are in use.
#[test]
fn each_remote_port_reaches_all_ports_of_a_range_with_any_number_of_workers() {
    const RANGE: (u16, u16) = (40_000, 56_383);
    const ALL: u16 = RANGE.1 - RANGE.0 + 1;
    for workers in [1, 2, 4] {
        let mut team = Team::of(workers, 80_000, &masquerading(RANGE));
        let mut used = [HashSet::new(), HashSet::new()];
        for number in 0..ALL {
            // As many come at one moment as a client may begin at once.
            if number % 64 == 0 {
                team.0.iter_mut().for_each(|one| one.now = one.now + Tick(1));
            }
            for (remote, used) in [80, 443].into_iter().zip(&mut used) {
                let at = (number ^ number >> 7) % workers;
                let datagram = format!("10.0.0.2.{} > 10.1.0.2.{remote} udp", 1000 + number);
                let (out, sent) = team
                    .forward(at, "em0", &datagram)
                    .unwrap_or_else(|| panic!("{datagram} is refused by {workers} workers"));
                let port = sent.strip_prefix("10.1.0.1.").and_then(|rest| rest.split(' ').next());
                let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{sent}"));
                assert!(out == EM1 && (RANGE.0..=RANGE.1).contains(&port) && used.insert(port), "{sent}");
                if number % 512 == 0 {
                    let answer = format!("10.1.0.2.{remote} > 10.1.0.1.{port} udp");
                    let (back, sent) = team.forward((at + 1) % workers, "em1", &answer).expect("it is known");
                    let inside = format!("10.1.0.2.{remote} > 10.0.0.2.{} udp", 1000 + number);
                    assert!(back == EM0 && sent.starts_with(&inside), "{sent}");
                }
            }
        }
        assert_eq!(states(&team), 4 * u32::from(ALL));
        for at in 0..workers {
            let (_, fate) = team.send(at, "em0", "10.0.0.3.7 > 10.1.0.2.80 udp");
            assert_eq!(fate, Fate::Drop(Reason::Translate), "all are in use");
        }
        let dropped: u64 = team.0.iter().map(|one| one.shard.counters().dropped_in_all()).sum();
        assert_eq!(dropped, u64::from(workers));
        end(&mut team);
    }
}

/// One worker keeps the state of the first hook, as pf does. Several take it back: it would have what is sent again ask the home
/// alone, where another worker has ports again.
#[test]
fn a_first_packet_that_finds_no_port_leaves_a_state_with_one_worker_alone() {
    for workers in [1, 2, 4] {
        let mut team = Team::of(workers, 4096, &masquerading((50_001, 50_008)));
        let syn = |port: u16| format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1000");
        let refused = (1..).find(|port| team.forward(port % workers, "em0", &syn(*port)).is_none());
        assert_eq!(refused, Some(9), "{workers} workers: eight ports are there");
        let left = u32::from(workers == 1);
        for at in 0..workers {
            assert_eq!(states(&team), 2 * 8 + left, "{workers} workers: {:?}", team.states());
            assert_eq!(team.forward(at, "em0", &syn(9)), None);
        }
        end(&mut team);
    }
}

#[test]
fn who_finds_no_port_is_told_so_whatever_worker_is_the_last_that_is_asked() {
    for workers in [1, 2, 4] {
        let mut rules = ruleset(masquerading((50_001, 50_008)));
        rules.options.fail_policy = BlockPolicy::Return;
        let mut team = Team::sharing(workers, 4096, &rules);
        let syn = |port: u16| format!("10.0.0.2.{port} > 10.1.0.2.80 tcp S seq 1000");
        let left: Vec<_> =
            (1..=12).filter_map(|port| team.forward(port % workers, "em0", &syn(port))).collect();
        let (passed, told) = left.split_at(8);
        assert!(passed.iter().all(|(out, _)| *out == EM1), "{workers} workers: {left:?}");
        assert_eq!(told.len(), 4);
        for ((out, answer), port) in told.iter().zip(9..) {
            let reset = format!("10.1.0.2.80 > 10.0.0.2.{port} tcp RA seq 0 ack 1001");
            assert!(*out == EM0 && answer.starts_with(&reset), "{workers} workers: {answer}");
        }
    }
}
