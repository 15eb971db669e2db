//! What holds for every sequence of packets, whatever the rules: bursts, shards, conservation, refusals, limits, expiry.

use std::collections::BTreeMap;

use engine::{Arrival, Fate, InterfaceId, Source, Tick, WorkerId};
use ruleset::{Direction, Limit, PeerState, Reason, Ruleset, StateView};
use sim::firewall::Firewall;
use sim::replay::seeds;
use sim::rng::Rng;
use sim::sketch::{Body, Sketch};
use sim::topology::{self, mac};
use sim::traffic::rules::Variety;
use sim::traffic::{Generator, Step};
use wire::Af;

/// Steps of one seed.
const STEPS: usize = 600;

/// Some way into the life of the process.
const START: Tick = Tick::from_secs(1000);

fn firewall(rules: &Ruleset, workers: u16) -> Firewall {
    let mut firewall = Firewall::new(topology::fib(), workers, 1024, Rng::new(5));
    firewall.load(rules).expect("rules that the engine takes");
    firewall
}

/// The same without what is added to timestamps: it is random, and another number in each firewall.
fn comparable(mut rules: Ruleset) -> Ruleset {
    rules.rules.iter_mut().for_each(|rule| rule.scrub.reassemble_tcp = false);
    rules
}

fn frame(arrival: Arrival, sketch: &Sketch) -> Vec<u8> {
    sketch.frame(mac(arrival.interface, 2), mac(arrival.interface, 1))
}

fn went_on(fate: Fate) -> bool {
    matches!(fate, Fate::Transmit(_) | Fate::Host(_) | Fate::Hold { .. })
}

/// One generator, and several firewalls that all see the same; `check` is called behind each packet.
fn together(
    seed: u64,
    rules: &Ruleset,
    mut firewalls: Vec<Firewall>,
    generator: &mut Generator,
    mut sweep: impl FnMut(&mut [Firewall], Tick),
    mut check: impl FnMut(&[(Fate, Vec<u8>)], &[Firewall], Tick, &Sketch),
) -> Vec<Firewall> {
    let mut now = START;
    // What has expired stays so: longer time-outs would bring back what is not swept yet.
    let timeouts = &rules.options.timeouts;
    for _ in 0..STEPS {
        match generator.draw() {
            Step::Wait(time) => now = now + Tick(time),
            Step::Sweep => sweep(&mut firewalls, now),
            Step::Load(rules) => {
                let mut rules = comparable(*rules);
                rules.options.timeouts = timeouts.clone();
                for firewall in &mut firewalls {
                    firewall.load(&rules).expect("rules that the engine takes");
                }
            }
            Step::Reroute(routes) => firewalls.iter_mut().for_each(|firewall| firewall.reroute(routes)),
            Step::Packet { arrival, sketch } => {
                let decided: Vec<(Fate, Vec<u8>)> = firewalls
                    .iter_mut()
                    .map(|firewall| {
                        let mut frame = frame(arrival, &sketch);
                        (firewall.receive(now, arrival, &mut frame), frame)
                    })
                    .collect();
                if went_on(decided[0].0) {
                    generator.delivered();
                }
                check(&decided, &firewalls, now, &sketch);
            }
        }
    }
    for firewall in &firewalls {
        firewall.check_conservation();
    }
    let last: Vec<String> = firewalls
        .iter_mut()
        .map(|firewall| {
            firewall.expire(now);
            firewall.dump(now)
        })
        .collect();
    assert!(last.iter().all(|dump| *dump == last[0]), "seed {seed}: {last:#?}");
    firewalls
}

fn sweep_all(firewalls: &mut [Firewall], now: Tick) {
    for firewall in firewalls {
        firewall.expire(now);
    }
}

#[test]
fn shards_decide_as_one() {
    for seed in seeds(1, 60) {
        let mut generator = Generator::new(Rng::new(seed), Variety::Sharded);
        let rules = comparable(generator.ruleset());
        let firewalls = [1, 2, 4].map(|workers| firewall(&rules, workers)).into();
        let all = together(
            seed,
            &rules,
            firewalls,
            &mut generator,
            sweep_all,
            |decided, firewalls, now, sketch| {
                let (fate, frame) = &decided[0];
                for (other, bytes) in &decided[1..] {
                    assert_eq!(other, fate, "seed {seed}: {sketch}");
                    assert_eq!(bytes, frame, "seed {seed}: {sketch}");
                }
                let dumps: Vec<String> = firewalls.iter().map(|firewall| firewall.dump_living(now)).collect();
                assert!(dumps.iter().all(|dump| *dump == dumps[0]), "seed {seed}: {sketch}\n{dumps:#?}");
            },
        );
        assert!(all[1].ledger().handed_off > 0 && all[2].ledger().handed_off > 0, "seed {seed}");
        assert!(all[1].placed() > 0 && all[2].placed() > 0, "seed {seed}");
        assert_eq!((all[0].ledger().handed_off, all[0].placed()), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_sweep_changes_nothing_but_the_memory_that_is_used() {
    for seed in seeds(1 << 20, 60) {
        let mut generator = Generator::new(Rng::new(seed), Variety::Sharded);
        let rules = generator.ruleset();
        // The first one looks for expired states, the second one meets them.
        together(
            seed,
            &rules,
            vec![firewall(&rules, 1), firewall(&rules, 1)],
            &mut generator,
            |firewalls, now| {
                firewalls[0].expire(now);
            },
            |decided, _, _, sketch| assert_eq!(decided[0], decided[1], "seed {seed}: {sketch}"),
        );
    }
}

#[test]
fn a_burst_is_decided_as_its_packets_one_by_one() {
    for seed in seeds(2 << 20, 150) {
        let mut rng = Rng::new(seed ^ 0xb0b);
        let mut generator = Generator::new(Rng::new(seed), Variety::Full);
        let mut rules = comparable(generator.ruleset());
        // Sources are put into tables behind the burst.
        rules.rules.iter_mut().for_each(|rule| rule.state_options.source.overload = None);
        let (mut bursts, mut singles) = (firewall(&rules, 1), firewall(&rules, 1));
        let mut now = START;
        for _ in 0..40 {
            now = now + Tick(rng.below(2_000_000_000));
            for (arrival, frames) in burst(&mut generator, rng.between(1, 64) as usize) {
                let mut together = frames.clone();
                let mut fates = vec![Fate::Drop(Reason::NoRules); frames.len()];
                bursts.burst(now, WorkerId(0), arrival, &mut together, &mut fates);
                for (number, mut alone) in frames.into_iter().enumerate() {
                    let fate = singles.receive(now, arrival, &mut alone);
                    assert_eq!((fate, &alone), (fates[number], &together[number]), "seed {seed}");
                }
                assert_eq!(bursts.dump(now), singles.dump(now), "seed {seed}");
            }
        }
        bursts.check_conservation();
        assert_eq!(bursts.ledger(), singles.ledger(), "seed {seed}");
    }
}

/// So many packets as if they had come at once, gathered by the place where they arrive.
fn burst(generator: &mut Generator, size: usize) -> Vec<(Arrival, Vec<Vec<u8>>)> {
    let mut gathered: Vec<(Arrival, Vec<Vec<u8>>)> = Vec::new();
    let mut left = size;
    while left > 0 {
        let Step::Packet { arrival, sketch } = generator.draw() else { continue };
        left -= 1;
        // What is in one burst follows from one another all the same.
        generator.delivered();
        let frame = frame(arrival, &sketch);
        match gathered.iter_mut().find(|(place, _)| *place == arrival) {
            Some((_, frames)) => frames.push(frame),
            None => gathered.push((arrival, vec![frame])),
        }
    }
    gathered
}

fn by_id(firewall: &Firewall, now: Tick) -> BTreeMap<(u64, u8), StateView> {
    let states = firewall.states(now).into_iter();
    states.map(|state| ((state.id, state.direction as u8), state)).collect()
}

#[test]
fn a_refused_packet_leaves_every_state_as_it_was() {
    let mut refused = 0;
    for seed in seeds(3 << 20, 100) {
        let mut generator = Generator::new(Rng::new(seed), Variety::Sharded);
        let mut firewall = firewall(&generator.ruleset(), 1);
        let mut now = START;
        for _ in 0..STEPS {
            match generator.draw() {
                Step::Wait(time) => now = now + Tick(time),
                Step::Sweep => drop(firewall.expire(now)),
                Step::Load(rules) => firewall.load(&rules).expect("rules that the engine takes"),
                Step::Reroute(routes) => firewall.reroute(routes),
                Step::Packet { arrival, sketch } => {
                    let before = by_id(&firewall, now);
                    let drops = firewall.ledger().dropped + answered(&firewall);
                    let fate = firewall.receive(now, arrival, &mut frame(arrival, &sketch));
                    if firewall.ledger().dropped + answered(&firewall) == drops {
                        assert!(went_on(fate));
                        generator.delivered();
                    } else {
                        refused += 1;
                        untouched(seed, &sketch, &before, &by_id(&firewall, now));
                    }
                }
            }
        }
    }
    assert!(refused > 10_000, "{refused} refusals");
}

/// Packets that were turned into their answer.
fn answered(firewall: &Firewall) -> u64 {
    let counters = firewall.shards()[0].counters();
    engine::Created::ALL.iter().map(|kind| counters.created(*kind)).sum()
}

/// States that a refused packet met are as they were, but for the numbers of an end in a handshake that did not fit. New
/// ones stand only where it entered.
fn untouched(
    seed: u64,
    sketch: &Sketch,
    before: &BTreeMap<(u64, u8), StateView>,
    after: &BTreeMap<(u64, u8), StateView>,
) {
    for (id, state) in after {
        match before.get(id) {
            Some(old) if old == state => {}
            Some(old) => {
                let opening = [state.source.state, state.destination.state] == [PeerState::SynSent; 2];
                let forgotten = [state.source, state.destination].iter().any(|peer| peer.seqlo == 0);
                let same_age = old.expires_in_s == state.expires_in_s;
                assert!(opening && forgotten && same_age, "seed {seed}: {sketch}\n{old:#}\n{state:#}");
                let counted = |view: &StateView| [view.source.packets, view.destination.packets];
                assert_eq!(counted(old), counted(state), "seed {seed}: {sketch}");
            }
            None => assert_eq!(state.direction, Direction::In, "seed {seed}: {sketch}\n{state:#}"),
        }
    }
}

#[test]
fn the_limit_on_states_is_never_exceeded() {
    for seed in seeds(4 << 20, 60) {
        let mut generator = Generator::new(Rng::new(seed), Variety::Plain);
        let mut rules = generator.ruleset();
        let limit = Rng::new(seed).between(1, 8) as u32;
        rules.options.limits.set(Limit::States, limit);
        let mut firewall = firewall(&rules, 1);
        let mut now = START;
        for _ in 0..STEPS {
            match generator.draw() {
                Step::Wait(time) => now = now + Tick(time),
                Step::Sweep => drop(firewall.expire(now)),
                Step::Load(_) => {}
                Step::Reroute(routes) => firewall.reroute(routes),
                Step::Packet { arrival, sketch } => {
                    let _ = firewall.receive(now, arrival, &mut frame(arrival, &sketch));
                }
            }
            let states = firewall.shards()[0].states();
            assert!(states <= limit, "seed {seed}: {states} states, but the limit is {limit}");
            assert_eq!(firewall.states(now).len(), states as usize, "seed {seed}");
        }
    }
}

fn udp(host: u8, port: u16) -> Sketch {
    let src = topology::address(Af::Inet, InterfaceId(0), host);
    let dst = topology::address(Af::Inet, InterfaceId(1), 2);
    Sketch::new(src, dst, Body::Udp { sport: port, dport: 53, len: 10 })
}

#[test]
fn a_full_table_keeps_what_it_has_and_takes_new_ones_when_there_is_room() {
    let pass = ruleset::Rule { state: ruleset::StateMode::Keep, ..ruleset::Rule::default() };
    let rules = Ruleset { rules: vec![pass], ..Ruleset::default() };
    let mut firewall = Firewall::new(topology::fib(), 1, 100, Rng::new(5));
    firewall.load(&rules).expect("rules that the engine takes");
    let arrival = Arrival { interface: InterfaceId(0), source: Source::Wire };
    let mut send = |now, port| firewall.receive(now, arrival, &mut frame(arrival, &udp(2, port)));
    for port in 1..=50 {
        assert!(went_on(send(START, port)), "connection {port} of 50");
    }
    for port in 51..=500 {
        assert_eq!(send(START, port), Fate::Drop(Reason::Memory));
    }
    for port in 1..=50 {
        assert!(went_on(send(START, port)), "connection {port} goes on");
    }
    let later = START + Tick::from_secs(31);
    // Nobody swept: room is made by what expires and is met again, not by what expires alone.
    assert_eq!(send(later, 500), Fate::Drop(Reason::Memory));
    assert!(went_on(send(later, 1)), "an expired connection begins anew in its own place");
    assert_eq!(firewall.expire(later), 98);
    for port in 51..=99 {
        let mut new = frame(arrival, &udp(2, port));
        assert!(went_on(firewall.receive(later, arrival, &mut new)), "connection {port} after the sweep");
    }
    assert_eq!(firewall.shards()[0].states(), 100);
    assert_eq!(firewall.dropped(Reason::Memory), 451);
    firewall.check_conservation();
}
