//! Connections whose answers are at home with another worker than they are.

use std::sync::Arc;

use engine::{Root, Tick};
use ruleset::{Action, AddressPattern, Direction, Pool, PortMatch, Rule, Ruleset, StateMode};
use wire::{Af, Port, Proto};

use crate::bed::{Bed, LAN, WAN, datagram, fib, flow, mark};

/// What enters by `wan0` for port 53 goes to port 54.
fn redirecting() -> Arc<Root> {
    let pass = Rule { action: Action::Pass, state: StateMode::Keep, ..Rule::default() };
    let mut redirect =
        Rule { direction: Some(Direction::In), af: Some(Af::Inet), proto: Some(Proto::UDP), ..pass.clone() };
    redirect.to.port = PortMatch::Equal(Port(53));
    redirect.rdr = Some(Pool {
        address: AddressPattern::Net("10.2.0.2/32".parse().unwrap()),
        kind: None,
        sticky: false,
        ports: Some((Port(54), Port(54))),
        static_port: false,
        port_block: None,
        port_set: None,
        endpoint_independent: false,
    });
    let rules = Ruleset { rules: vec![pass, redirect], ..Ruleset::default() };
    Arc::new(Root::compile(&rules, fib().interfaces(), None).unwrap())
}

/// An answer as the server sends it.
fn answer(flow: u16, mark: u16) -> Vec<u8> {
    let mut frame = datagram(LAN, flow, mark);
    frame[34..36].copy_from_slice(&54_u16.to_be_bytes());
    frame
}

#[test]
fn answers_to_what_was_redirected_find_it_at_either_queue() {
    const FLOWS: u16 = 64;
    let mut bed = Bed::new();
    assert!(bed.office.roots.offer(Some(redirecting())));
    bed.poll();
    for round in 0..2 {
        for flow in 0..FLOWS {
            bed.put(WAN, usize::from(flow % 2), &datagram(WAN, flow, round));
        }
        bed.poll();
        let frames = bed.get(LAN);
        assert_eq!(frames.len(), usize::from(FLOWS));
        assert!(frames.iter().all(|frame| frame[36..38] == 54_u16.to_be_bytes()), "redirected");
        for number in [2, 3] {
            for flow in 0..FLOWS {
                bed.put(LAN, usize::from((flow + number) % 2), &answer(flow, number));
            }
            bed.poll();
            let frames = bed.get(WAN);
            assert_eq!(frames.len(), usize::from(FLOWS));
            let back = |frame: &Vec<u8>| frame[34..36] == 53_u16.to_be_bytes() && mark(frame) == number;
            assert!(
                frames.iter().all(back),
                "{:?}",
                frames.iter().map(|frame| flow(frame)).collect::<Vec<_>>()
            );
        }
        let sum = bed.sum();
        assert_eq!(sum.worker.states, u64::from(2 * FLOWS));
        assert!((10..u64::from(FLOWS)).contains(&sum.worker.aliases), "{:?}", sum.worker);
        assert_eq!(sum.drops.iter().flatten().sum::<u64>(), 0);
        for _ in 0..8 {
            bed.now = bed.now + Tick::from_secs(3600);
            bed.poll();
        }
        assert_eq!((bed.sum().worker.states, bed.sum().worker.aliases), (0, 0));
    }
    assert_eq!(bed.end(), 0);
}
