//! Lists, made while packets wait: a poll looks at a bounded number of records or rules, however long the list is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine::{Root, RuleUsage, Tick};
use ruleset::{Action, Rule, Ruleset, StateMode};
use worker::dump::SLICE;
use worker::idle::Work;

use crate::bed::{Bed, KNOWN, RECORDS, WAN_WIRE, fib, request};

/// Where a datagram over IPv4 without options has it.
const SOURCE_PORT: std::ops::Range<usize> = 34..36;

const PATIENCE: Duration = Duration::from_secs(30);

/// Rules of which the last one passes everything.
fn many_rules(count: usize) -> Arc<Root> {
    let rule = |number| Rule {
        action: Action::Pass,
        state: StateMode::Keep,
        identity: 1 + number as u64,
        ..Rule::default()
    };
    let ruleset = Ruleset { rules: (0..count).map(rule).collect(), ..Ruleset::default() };
    Arc::new(Root::compile(&ruleset, fib(1, &[]).interfaces(), None).unwrap())
}

/// What a rule has counted at each hook.
fn packets(rule: &RuleUsage) -> [u64; 2] {
    rule.counted.map(|counted| counted.packets)
}

/// What the rules have done, and how many polls left it to the next one to go on.
fn usage(bed: &mut Bed, root: &Arc<Root>) -> (Vec<RuleUsage>, usize) {
    let Bed { worker, office, now, .. } = bed;
    let answered = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let usage = office.lister.usage(root, PATIENCE);
            answered.store(true, Ordering::Release);
            usage.unwrap()
        });
        let mut continued = 0;
        while !answered.load(Ordering::Acquire) {
            *now = *now + Tick::from_millis(1);
            continued += usize::from(worker.poll(*now) == Work::Done);
            thread::yield_now();
        }
        (asking.join().unwrap(), continued)
    })
}

#[test]
fn a_poll_looks_at_a_slice_of_the_rules() {
    let mut bed = Bed::new(KNOWN);
    let count = 10 * SLICE + 7;
    let root = many_rules(count);
    assert!(bed.office.roots.offer(Some(root.clone())));
    bed.poll();
    for _ in 0..3 {
        bed.put(WAN_WIRE, &request());
        bed.poll();
    }
    let (first, continued) = usage(&mut bed, &root);
    assert_eq!(
        continued,
        count.div_ceil(SLICE),
        "each poll looked at a slice, and the last at the states' rules"
    );
    assert_eq!(first.len(), count);
    // Both hooks walked all rules for the first packet; the others had their states.
    assert!(first.iter().all(|rule| rule.evaluations == 2), "{first:?}");
    let last = first.last().unwrap();
    assert_eq!((packets(last), last.states, last.made), ([3, 3], 2, 2));
    assert!(first[..count - 1].iter().all(|rule| (packets(rule), rule.states) == ([0, 0], 0)));

    // What a state has counted stays when it ends.
    bed.now = bed.now + Tick::from_secs(600);
    for _ in 0..2 * RECORDS {
        bed.poll();
    }
    let (second, _) = usage(&mut bed, &root);
    let last = second.last().unwrap();
    assert_eq!((packets(last), last.states, last.made), ([3, 3], 0, 2));
    bed.end();
}

#[test]
fn a_poll_looks_at_a_slice_of_the_states() {
    const CONNECTIONS: u16 = 2 * SLICE as u16 + 10;
    let mut bed = Bed::passing(KNOWN);
    bed.poll();
    for port in 1..=CONNECTIONS {
        let mut frame = request();
        frame[SOURCE_PORT].copy_from_slice(&port.to_be_bytes());
        bed.put(WAN_WIRE, &frame);
        bed.poll();
    }
    let Bed { worker, office, now, .. } = &mut bed;
    let ended = AtomicBool::new(false);
    let (states, steps) = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut cursor, mut states, mut steps) = (0, 0, Vec::new());
            while cursor != u32::MAX {
                let (found, next) = office.lister.states(cursor, PATIENCE).unwrap();
                states += found.len();
                steps.push(next.min(RECORDS) - cursor);
                cursor = next;
            }
            ended.store(true, Ordering::Release);
            (states, steps)
        });
        while !ended.load(Ordering::Acquire) {
            *now = *now + Tick::from_millis(1);
            worker.poll(*now);
            thread::yield_now();
        }
        asking.join().unwrap()
    });
    assert_eq!(states, 2 * usize::from(CONNECTIONS));
    // What no connection has used yet is passed over at once.
    assert_eq!(steps, [SLICE as u32, SLICE as u32, 10, RECORDS - u32::from(CONNECTIONS)]);
    bed.end();
}
