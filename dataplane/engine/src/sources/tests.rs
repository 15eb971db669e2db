//! Nodes as workers change them: one after the other against a naive model, and all at once.

use super::*;
use std::collections::BTreeMap;

const SECRET: [u64; 2] = [1, 2];

fn of_rule(rule: u64, source: u128) -> NodeKey {
    NodeKey { kind: Kind::Filter, owner: rule, af: Af::Inet, address: Address(source), endpoint: 0 }
}

/// A generator whose numbers are as good as random.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a model knows of one source of one rule.
#[derive(Default)]
struct Own {
    held: Vec<NodeId>,
    /// When it goes, if it has no states.
    expires: Option<u32>,
}

#[test]
fn e05_limits_are_met_exactly_as_a_naive_model_meets_them() {
    for seed in 0..6 {
        let mut random = Random(seed);
        let nodes = Nodes::new(1);
        let mut model: BTreeMap<(u64, u128), Own> = BTreeMap::new();
        let (lifetime, mut now) = ([0, 7][seed as usize % 2], 100);
        let most = Most { states: 4, nodes: 6, all: 14 };
        for step in 0..5_000 {
            if random.below(50) == 0 {
                now += 1;
                // Times that are over count until somebody looks: the shell does now and then, here always.
                nodes.sweep(&mut 0, usize::MAX, now);
                model.retain(|_, own| !own.held.is_empty() || own.expires.is_some_and(|at| at > now));
            }
            let key @ (rule, source) = (1 + random.below(3), u128::from(random.below(9)));
            if random.below(5) < 3 {
                let of = |rule: u64| model.keys().filter(|(own, _)| *own == rule).count();
                let expected = match model.get(&key) {
                    Some(own) if own.held.len() >= most.states as usize => Err(TooMany::States),
                    Some(_) => Ok(()),
                    None if of(rule) >= most.nodes as usize => Err(TooMany::Nodes),
                    None if model.len() >= most.all as usize => Err(TooMany::All),
                    None => Ok(()),
                };
                let new = NewNode { lifetime, ..NewNode::default() };
                let joined = nodes.join(&of_rule(rule, source), SECRET, &new, &most, now);
                assert_eq!(joined.map(|_| ()), expected, "seed {seed}, step {step}");
                if let Ok(id) = joined {
                    model.entry(key).or_default().held.push(id);
                }
            } else if let Some(own) = model.get_mut(&key)
                && let Some(id) = own.held.pop()
            {
                nodes.leave(id, now);
                own.expires = Some(now + lifetime);
            }
            model.retain(|_, own| !own.held.is_empty() || own.expires.is_some_and(|at| at > now));
            assert_eq!(nodes.counts().current as usize, model.len(), "seed {seed}, step {step}");
        }
        for own in model.values() {
            own.held.iter().for_each(|id| nodes.leave(*id, now));
        }
        nodes.sweep(&mut 0, usize::MAX, now + lifetime);
        assert!(nodes.is_empty() && nodes.counts().current == 0, "nothing is left behind, nor counted");
    }
}

#[test]
fn an_address_is_kept_until_it_is_overtaken_and_counted_for_those_who_have_it() {
    let nodes = Nodes::new(1);
    let key = NodeKey { kind: Kind::Nat, ..of_rule(1, 7) };
    let [old, new] = [1, 2].map(|address| Target { address: Address(address), via: None });
    let most = Most { all: 10, ..Most::default() };
    let to = |target| NewNode { target: Some(target), ..NewNode::default() };
    let first = nodes.join(&key, SECRET, &to(old), &most, 0).expect("room");
    let second = nodes.join(&key, SECRET, &to(new), &most, 0).expect("room");
    assert_eq!(first, second, "who comes later gets what is there");
    assert_eq!((nodes.target(&key, SECRET, 0), nodes.target_of(second)), (Some(old), Some(old)));
    nodes.detach_from(&key, SECRET, old, 0);
    assert_eq!(nodes.target(&key, SECRET, 0), Some(old), "that is where it leads");
    nodes.detach_from(&key, SECRET, new, 0);
    assert_eq!(nodes.target(&key, SECRET, 0), None);
    let third = nodes.join(&key, SECRET, &to(new), &most, 0).expect("room");
    assert_ne!(first, third);
    assert_eq!((nodes.target(&key, SECRET, 0), nodes.counts().current), (Some(new), 1));
    [first, second, third].into_iter().for_each(|id| nodes.leave(id, 0));
    assert!(nodes.is_empty() && nodes.counts().current == 0);
}

#[test]
fn memory_is_bounded_and_what_finds_no_place_is_refused() {
    let nodes = Nodes::new(1);
    let most = Most { all: u32::MAX, ..Most::default() };
    let join = |source: u128| nodes.join(&of_rule(1, source), SECRET, &NewNode::default(), &most, 0);
    let joined = (0..u128::from(2 * nodes.most())).filter(|source| join(*source).is_ok()).count();
    assert_eq!(joined, nodes.most() as usize, "all of them, and not one more");
}

/// What several do at once.
#[cfg(test)]
mod at_once {
    use super::*;

    /// As in the life of workers: each on a CPU of its own, all with the same few sources, whose nodes come and go all the time.
    #[test]
    fn e05_workers_never_give_a_source_more_than_it_may_have_between_them() {
        const SOURCES: usize = 3;
        let nodes = Nodes::new(1);
        let most = Most { states: 5, nodes: 2, all: 100 };
        let states: [AtomicU32; SOURCES] = Default::default();
        std::thread::scope(|scope| {
            for seed in 0..4 {
                let (nodes, states) = (&nodes, &states);
                scope.spawn(move || {
                    let mut random = Random(seed);
                    let mut held: Vec<(usize, NodeId)> = Vec::new();
                    for _ in 0..100_000 {
                        if random.below(2) == 0 {
                            let source = random.below(SOURCES as u64) as usize;
                            let key = of_rule(1, source as u128);
                            if let Ok(id) = nodes.join(&key, SECRET, &NewNode::default(), &most, 0) {
                                // Counted behind joining and in front of leaving: what is seen here is no more than there is.
                                let states = states[source].fetch_add(1, Ordering::SeqCst) + 1;
                                assert!(states <= most.states, "{states} states of one source");
                                held.push((source, id));
                            }
                        } else if !held.is_empty() {
                            let at = random.below(held.len() as u64) as usize;
                            let (source, id) = held.swap_remove(at);
                            states[source].fetch_sub(1, Ordering::SeqCst);
                            nodes.leave(id, 0);
                        }
                        let live = nodes.counts().current;
                        assert!(
                            live <= 2 + 4,
                            "{live} nodes of a rule, those that are being refused included"
                        );
                    }
                    held.into_iter().for_each(|(source, id)| {
                        states[source].fetch_sub(1, Ordering::SeqCst);
                        nodes.leave(id, 0);
                    });
                });
            }
        });
        assert!(nodes.is_empty() && nodes.counts().current == 0);
        assert!(nodes.places.iter().all(|node| node.word().standing() == Standing::Free));
    }

    /// Nodes of one key that are begun at the same time: one is live in the end, and all count for it.
    #[test]
    fn workers_that_begin_the_same_node_at_once_come_to_have_one() {
        for round in 0..2_000 {
            let nodes = Nodes::new(1);
            let barrier = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let key = of_rule(1, 7);
                        barrier.wait();
                        let new = NewNode { lifetime: 5, ..NewNode::default() };
                        let most = Most { all: 100, ..Most::default() };
                        nodes.join(&key, SECRET, &new, &most, 0).expect("there is room");
                    });
                }
            });
            let all: Vec<NodeState> = nodes.each(0).collect();
            assert_eq!(all.len(), 1, "round {round}");
            assert_eq!((all[0].states, nodes.counts().current), (3, 1), "round {round}");
            let stray = nodes.places.iter().filter(|node| node.word().standing() != Standing::Free);
            assert_eq!(stray.count(), 1, "round {round}");
        }
    }
}
