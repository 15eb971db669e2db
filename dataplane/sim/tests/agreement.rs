//! The engine agrees with the oracle on random packets under random rules: verdict, reason, answer, bytes, states.
//!
//! `TURNPIKE_SIM_FACTOR` multiplies the packets, `TURNPIKE_SEED` replays one seed.

use sim::duel::{Duel, explain};
use sim::replay::{report, seeds};
use sim::rng::Rng;
use sim::traffic::rules::Variety;
use sim::traffic::{Generator, Step};

/// Steps of one seed, all under rulesets and states of its own.
const STEPS: usize = 1000;

fn agree(test: &str, first: u64, count: u64, variety: Variety, workers: u16) {
    let mut packets = 0u64;
    for seed in seeds(first, count) {
        let mut generator = Generator::new(Rng::new(seed), variety);
        let rules = generator.ruleset();
        let mut duel = Duel::new(&rules, workers);
        let mut steps = Vec::with_capacity(STEPS);
        for _ in 0..STEPS {
            let step = generator.draw();
            steps.push(step.clone());
            packets += u64::from(matches!(step, Step::Packet { .. }));
            match duel.step(&step) {
                Ok(true) => generator.delivered(),
                Ok(false) => {}
                Err(_) => panic!("{}", report(test, seed, &explain(&rules, workers, &steps))),
            }
        }
        duel.check_conservation();
    }
    println!("{test}: {packets} packets compared");
}

#[test]
fn agrees_on_plain_rules() {
    agree("agrees_on_plain_rules", 0, 330, Variety::Plain, 1);
}

#[test]
fn agrees_on_all_rules() {
    agree("agrees_on_all_rules", 1 << 32, 420, Variety::Full, 1);
}

#[test]
fn agrees_on_all_rules_with_three_workers() {
    agree("agrees_on_all_rules_with_three_workers", 2 << 32, 420, Variety::Sharded, 3);
}
