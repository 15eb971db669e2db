//! Lists of states.

use std::collections::BTreeSet;
use std::time::Duration;

use engine::Tick;
use ruleset::{StateView, Timeout};
use worker::dump::Lister;

use crate::bed::{Bed, LAN, STATES, WAN, datagram, pass, passing};

const PATIENCE: Duration = Duration::from_secs(20);

/// Has another thread ask, while the workers come back and `meanwhile` happens before they do. Time stands still unless
/// that moves it.
fn ask<T: Send>(
    bed: &mut Bed,
    meanwhile: &mut dyn FnMut(&mut Bed),
    question: impl FnOnce(&mut Lister) -> T + Send,
) -> T {
    let mut lister = bed.take_lister();
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| question(&mut lister));
        while !asked.is_finished() {
            meanwhile(bed);
            let now = bed.now;
            for worker in &mut bed.workers {
                worker.poll(now);
            }
        }
        asked.join().unwrap()
    });
    bed.give_lister(lister);
    answer
}

/// All states, and how many slices they came in.
fn all(lister: &mut Lister) -> (Vec<StateView>, usize) {
    let (mut states, mut cursor, mut slices) = (Vec::new(), 0, 0);
    while cursor != u32::MAX {
        let (some, next) = lister.states(cursor, PATIENCE).unwrap();
        states.extend(some);
        (cursor, slices) = (next, slices + 1);
    }
    (states, slices)
}

fn distinct(states: &[StateView]) -> usize {
    states.iter().map(|state| state.id).collect::<BTreeSet<_>>().len()
}

#[test]
fn lists_and_sums_are_of_both_workers() {
    let mut bed = Bed::passing(STATES);
    (0..64).for_each(|flow| bed.put(WAN, 0, &datagram(WAN, flow, 0)));
    bed.poll();
    let root = pass(STATES);
    assert!(bed.office.roots.offer(Some(root.clone())));
    bed.poll();
    let (states, usage) =
        ask(&mut bed, &mut |_| (), |lister| (all(lister).0, lister.usage(&root, PATIENCE).unwrap()));
    assert_eq!((states.len(), usage.len(), usage[0].states), (128, 1, 128));
    assert_eq!(distinct(&states), 128, "ids of different workers differ");
    assert_eq!(bed.get(LAN).len(), 64);
    bed.end();
}

/// States come and go while they are listed: each list ends, and has none twice.
#[test]
fn f09_lists_end_and_repeat_nothing_while_states_come_and_go() {
    const LISTS: usize = 20;
    let mut bed = Bed::new();
    let mut rules = bed.rules(PATIENCE);
    let mut ruleset = passing(STATES);
    ruleset.options.timeouts.set(Timeout::UdpFirst, 1);
    bed.commit(&mut rules, &ruleset, &[0, 1], |_| ()).unwrap();
    let mut sent = 0_u16;
    let mut flood = |bed: &mut Bed| {
        for _ in 0..16 {
            sent = (sent + 1) % 50_000;
            bed.put(WAN, usize::from(sent % 2), &datagram(WAN, sent, 0));
        }
        drop(bed.get(LAN));
        bed.now = bed.now + Tick::from_millis(4);
    };
    // Until as many end as come: a list would else run after the records that are used for the first time.
    for _ in 0..600 {
        flood(&mut bed);
        bed.poll();
    }
    let before = bed.sum().worker;
    for _ in 0..LISTS {
        let (states, slices) = ask(&mut bed, &mut flood, all);
        assert_eq!(distinct(&states), states.len(), "a state is listed twice");
        assert!(!states.is_empty());
        assert!(slices <= 2 * STATES as usize / 128, "{slices} slices");
    }
    let after = bed.sum().worker;
    assert!(after.inserts > before.inserts && after.removals > before.removals, "{before:?} {after:?}");
    // The flood is over: what is counted is what is listed.
    bed.poll();
    let (states, _) = ask(&mut bed, &mut |_| (), all);
    let counted = bed.sum().worker.states as usize;
    assert!(counted > 0);
    assert_eq!((states.len(), distinct(&states)), (counted, counted));
    bed.now = bed.now + Tick::from_secs(5);
    (0..2000).for_each(|_| bed.poll());
    assert_eq!((ask(&mut bed, &mut |_| (), all).0.len(), bed.sum().worker.states), (0, 0));
    bed.end();
}
