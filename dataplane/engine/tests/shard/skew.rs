//! States that are not spread evenly over workers.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{block, pass, ruleset};
use crate::firewall::team::{FROM_INSIDE, Team, syn};
use crate::firewall::{EM0, EM1, Firewall, mac};
use engine::{Fate, Shard, ShardConfig, StatePool, WorkerId};
use ruleset::{Limit, Reason};

const LIMIT: u32 = 2000;

/// So many workers whose states count against one limit, each with room for twice its share in records.
fn workers(count: u16) -> Vec<Firewall> {
    let pool = StatePool::new(LIMIT, count);
    let firewall = |number| {
        let mut rules = ruleset(vec![block(), pass()]);
        rules.options.limits.set(Limit::States, LIMIT);
        let mut firewall = Firewall::of(WorkerId(number), count, 8);
        let config = ShardConfig {
            worker: WorkerId(number),
            workers: count,
            max_states: 2 * LIMIT / u32::from(count),
            interfaces: 3,
            key: [11, 12],
        };
        firewall.shard = Shard::sharing(config, pool.clone());
        firewall.load(rules);
        firewall
    };
    (0..count).map(firewall).collect()
}

fn open(firewall: &mut Firewall, port: u16) -> Fate {
    firewall.decide(FROM_INSIDE, &mut Packet::parse(&syn(port)).frame(mac(EM0, 2), mac(EM0, 1)))
}

/// D28. No table is full before the limit is reached, however few of up to four workers have all the states.
#[test]
fn any_worker_alone_takes_all_states_that_the_limit_allows() {
    for count in [2, 4] {
        let mut workers = workers(count);
        for number in 0..count {
            let mut ports = Team::ports_of(number, count);
            let mut next = || ports.next().expect("a port");
            let own = &mut workers[usize::from(number)];
            for flow in 0..LIMIT / 2 {
                assert_eq!(open(own, next()), Fate::Transmit(EM1), "flow {flow} of worker {number}");
            }
            assert_eq!((own.shard.states(), open(own, next())), (LIMIT, Fate::Drop(Reason::Memory)));
            // Nobody else gets one, for the same reason.
            let other = (number + 1) % count;
            let port = Team::ports_of(other, count).next().expect("a port");
            assert_eq!(open(&mut workers[usize::from(other)], port), Fate::Drop(Reason::Memory));
            for one in &mut workers {
                assert_eq!(one.dropped(Reason::ShardFull), 0);
                one.wait(86_400).sweep();
                assert_eq!(one.shard.states(), 0);
            }
        }
    }
}

/// Of more workers, one that has four times its share is full, for a reason of its own; it keeps what it has, and the others
/// have the rest.
#[test]
fn a_table_is_full_at_four_times_its_share() {
    const COUNT: u16 = 8;
    let mut workers = workers(COUNT);
    let mut ports = Team::ports_of(0, COUNT);
    let first = ports.next().expect("a port");
    assert_eq!(open(&mut workers[0], first), Fate::Transmit(EM1));
    let refused = ports.find(|port| open(&mut workers[0], *port) != Fate::Transmit(EM1)).expect("an end");
    assert_eq!(open(&mut workers[0], refused), Fate::Drop(Reason::ShardFull));
    assert_eq!(workers[0].shard.states(), 4 * LIMIT / u32::from(COUNT));
    assert_eq!(open(&mut workers[0], first), Fate::Transmit(EM1), "what it has goes on");
    let port = Team::ports_of(1, COUNT).next().expect("a port");
    assert_eq!(open(&mut workers[1], port), Fate::Transmit(EM1));
    workers[0].wait(86_400).sweep();
    assert_eq!(open(&mut workers[0], refused), Fate::Transmit(EM1), "there is room again");
}
