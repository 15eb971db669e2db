//! The engine agrees with the oracle on random packets under random rules: verdict, reason, answer, bytes, states.
//!
//! `TURNPIKE_SIM_FACTOR` multiplies the packets, `TURNPIKE_SEED` replays one seed.

use engine::Tick;
use ruleset::{REASON_COUNT, Reason};
use sim::duel::{Duel, explain};
use sim::oracle::Deviations;
use sim::replay::{is_replay, report, seeds};
use sim::rng::Rng;
use sim::topology::Routes;
use sim::traffic::rules::Variety;
use sim::traffic::{Generator, Step};

/// Steps of one seed, all under rulesets and states of its own.
const STEPS: usize = 1000;

/// When the 32 bits begin anew in which states keep their times.
const WRAP: Tick = Tick::from_secs((1 << 32) / 16);

/// What a test has seen.
struct Seen {
    packets: u64,
    passed: u64,
    dropped: [u64; REASON_COUNT],
}

fn agree(test: &str, first: u64, count: u64, variety: Variety, workers: u16) -> Seen {
    agree_after(&Step::Wait(0), test, first, count, variety, workers)
}

/// As [`agree`], in stories that begin with this step. One that changes the network holds for all of the story.
fn agree_after(begin: &Step, test: &str, first: u64, count: u64, variety: Variety, workers: u16) -> Seen {
    let settled = matches!(begin, Step::Reroute(_));
    let mut seen = Seen { packets: 0, passed: 0, dropped: [0; REASON_COUNT] };
    for seed in seeds(first, count) {
        let mut generator = Generator::new(Rng::new(seed), variety);
        let rules = generator.ruleset();
        let mut duel = Duel::new(&rules, workers);
        let mut steps = Vec::with_capacity(STEPS + 1);
        for number in 0..=STEPS {
            let step = if number == 0 { begin.clone() } else { generator.draw() };
            if number > 0 && settled && matches!(step, Step::Reroute(_)) {
                continue;
            }
            steps.push(step.clone());
            seen.packets += u64::from(matches!(step, Step::Packet { .. }));
            match duel.step(&step) {
                Ok(true) => {
                    seen.passed += 1;
                    generator.delivered_as(duel.sent());
                }
                Ok(false) => {}
                Err(_) => panic!("{}", report(test, seed, &explain(&rules, workers, &steps))),
            }
        }
        duel.check_conservation();
        for reason in Reason::ALL {
            seen.dropped[reason as usize] += duel.count(reason);
        }
    }
    println!("{test}: {} packets compared", seen.packets);
    seen
}

#[test]
fn agrees_on_plain_rules() {
    agree("agrees_on_plain_rules", 0, 330, Variety::Plain, 1);
}

#[test]
fn agrees_on_all_rules() {
    let seen = agree("agrees_on_all_rules", 1 << 32, 420, Variety::Full, 1);
    if is_replay() {
        return;
    }
    assert!(seen.passed > seen.packets / 4, "{} of {} packets passed", seen.passed, seen.packets);
    for reason in [
        Reason::Match,
        Reason::Fragment,
        Reason::Normalize,
        Reason::BadTimestamp,
        Reason::Memory,
        Reason::IpOption,
        Reason::StateLimit,
        Reason::SrcLimit,
        Reason::ProtoCksum,
        Reason::StateMismatch,
        Reason::NoRoute,
        Reason::Ttl,
        Reason::Challenge,
        Reason::IcmpMismatch,
    ] {
        let count = seen.dropped[reason as usize];
        assert!(count > 100, "{reason} was met {count} times only");
    }
}

#[test]
fn agrees_on_all_rules_with_three_workers() {
    agree("agrees_on_all_rules_with_three_workers", 2 << 32, 420, Variety::Sharded, 3);
}

/// The first two interfaces are a transparent pair: what arrives at one of them leaves by the other, as it was.
#[test]
fn agrees_across_a_transparent_pair() {
    let bridged = Step::Reroute(Routes::Bridged);
    let seen = agree_after(&bridged, "agrees_across_a_transparent_pair", 4 << 32, 100, Variety::Sharded, 3);
    if is_replay() {
        return;
    }
    assert!(seen.passed > seen.packets / 4, "{} of {} packets passed", seen.passed, seen.packets);
    for reason in [Reason::Match, Reason::StateMismatch, Reason::Challenge, Reason::IcmpMismatch] {
        let count = seen.dropped[reason as usize];
        assert!(count > 25, "{reason} was met {count} times only");
    }
}

/// The oracle's clock does not wrap.
#[test]
fn f10_agrees_across_the_wrap_of_the_clock() {
    let wait = WRAP - Tick::from_secs(1300);
    agree_after(
        &Step::Wait(wait.0),
        "f10_agrees_across_the_wrap_of_the_clock",
        3 << 32,
        100,
        Variety::Plain,
        1,
    );
}

/// The seed of the first run that ends in a difference, if one of so many does.
fn first_difference(deviations: Deviations, count: u64) -> Option<u64> {
    (0..count).find(|seed| {
        let mut generator = Generator::new(Rng::new(*seed), Variety::Plain);
        let mut duel = Duel::against(&generator.ruleset(), 1, deviations);
        (0..STEPS).any(|_| {
            let passed = duel.step(&generator.draw());
            if passed == Ok(true) {
                generator.delivered_as(duel.sent());
            }
            passed.is_err()
        })
    })
}

#[test]
fn every_named_deviation_is_one() {
    let all = Deviations::ALL;
    // Those that are left out concern keys that differ on the two sides of the firewall: plain rules translate nothing.
    for (name, without) in [
        ("commit_once", Deviations { commit_once: false, ..all }),
        ("seen_bit", Deviations { seen_bit: false, ..all }),
        ("rfc_resets", Deviations { rfc_resets: false, ..all }),
        ("fin_past_window", Deviations { fin_past_window: false, ..all }),
        ("damage_refused", Deviations { damage_refused: false, ..all }),
        ("bad_quotes_dropped", Deviations { bad_quotes_dropped: false, ..all }),
        ("numbers_as_told", Deviations { numbers_as_told: false, ..all }),
        ("matches_change_stateless", Deviations { matches_change_stateless: false, ..all }),
    ] {
        let found = first_difference(without, 200);
        assert!(found.is_some(), "without {name} the two sides never differ");
    }
}

#[test]
fn agrees_on_translated_packets() {
    agree("agrees_on_translated_packets", 5 << 32, 200, Variety::Translated, 1);
}

#[test]
fn agrees_on_translated_packets_with_three_workers() {
    agree("agrees_on_translated_packets_with_three_workers", 6 << 32, 200, Variety::Translated, 3);
}
