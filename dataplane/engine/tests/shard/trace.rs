//! Traces of packets: each stage is told, the packet fares as it would without, and others are not traced.

use crate::firewall::rules::{Written, block, pass};
use crate::firewall::{EM0, EM1, Firewall};
use engine::fib::NonIpPolicy;
use engine::trace::{Asked, Asks, Ends, Meeting, TraceFilter, TraceTerm, Traced};
use engine::{Fate, RuleAt, Source};
use ruleset::{Action, Direction, Reason};
use wire::{Af, Port, Proto};

fn asks(asks: Asks) -> TraceTerm {
    TraceTerm { not: false, ends: Ends::Any, asks }
}

fn port(number: u16) -> TraceFilter {
    TraceFilter(vec![asks(Asks::Proto(Proto::TCP)), asks(Asks::Port(Port(number)))])
}

fn traces(firewall: &mut Firewall) -> Vec<Traced> {
    std::iter::from_fn(|| firewall.shard.take_trace()).collect()
}

fn asked(met: &Meeting) -> &Asked {
    match met {
        Meeting::Rules(asked) => asked,
        other => panic!("{other:?}"),
    }
}

const SYN: &str = "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1";
const ANSWER: &str = "em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0";
const REST: &str = "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1";

#[test]
fn a_connections_packets_are_told_stage_by_stage() {
    let mut firewall =
        Firewall::with(vec![block(), pass().proto(Proto::TCP).to_port(80), pass().proto(Proto::UDP)]);
    firewall.shard.trace(port(80), 10);
    firewall.tell(SYN).tell(ANSWER).tell(REST);
    let [syn, answer, rest] = traces(&mut firewall)[..] else { panic!("three packets") };
    let epoch = firewall.root.as_ref().map_or(0, engine::Root::epoch);
    assert_eq!((syn.epoch, syn.arrival.interface, syn.arrival.source), (epoch, EM0, Source::Wire));
    assert_eq!((syn.fate, syn.dropped), (Fate::Transmit(EM1), None));
    let hooks: Vec<_> = syn.hooks().collect();
    let places: Vec<_> = hooks.iter().map(|hook| (hook.direction, hook.interface)).collect();
    assert_eq!(places, [(Direction::In, EM0), (Direction::Out, EM1)]);
    for hook in hooks {
        let asked = asked(&hook.met);
        assert_eq!((asked.decided, asked.action), (Some(RuleAt { epoch, number: 1 }), Action::Pass));
        assert!(asked.made && asked.more == 0 && hook.became.is_none());
        // What the classifier leaves: never the rule of another protocol.
        let visited: Vec<(u32, bool)> =
            asked.visits().iter().map(|visit| (visit.rule, visit.matched)).collect();
        assert!(visited.contains(&(1, true)) && visited.iter().all(|(rule, _)| *rule != 2), "{visited:?}");
    }
    for later in [answer, rest] {
        assert_eq!(later.dropped, None);
        let states =
            later.hooks().filter(|hook| matches!(hook.met, Meeting::State(Some(RuleAt { number: 1, .. }))));
        assert_eq!(states.count(), 2, "{later:?}");
    }
}

#[test]
fn refusals_are_told_with_their_reason() {
    let mut firewall = Firewall::with(vec![pass(), block().outgoing().proto(Proto::TCP).to_port(81)]);
    firewall.tell(SYN).tell(ANSWER).tell(REST);
    firewall.shard.trace(TraceFilter::default(), 10);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.81 tcp S seq 1000 -> match");
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 900000 -> state-mismatch");
    let [blocked, misfit] = traces(&mut firewall)[..] else { panic!("two packets") };
    assert_eq!((blocked.dropped, blocked.fate), (Some(Reason::Match), Fate::Drop(Reason::Match)));
    let decided: Vec<_> = blocked.hooks().map(|hook| asked(&hook.met).action).collect();
    assert!(matches!(decided[..], [Action::Pass, Action::Block(_)]), "{decided:?}");
    assert_eq!(misfit.dropped, Some(Reason::StateMismatch));
    assert!(misfit.hooks().all(|hook| matches!(hook.met, Meeting::State(Some(_)))), "{misfit:?}");
}

#[test]
fn translation_is_told_where_it_happens() {
    let nat = crate::firewall::rules::matching()
        .outgoing()
        .nat_to("10.1.0.1", (50_000, 50_000))
        .change(|rule| rule.af = Some(Af::Inet));
    let mut firewall = Firewall::with(vec![nat, pass()]);
    firewall.shard.trace(port(80), 10);
    let _ = firewall.turn(
        "em0",
        "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000",
        "10.1.0.1.50000 > 10.1.0.2.80 tcp S seq 1000",
    );
    let [syn] = traces(&mut firewall)[..] else { panic!("one packet") };
    let became: Vec<_> = syn.hooks().map(|hook| hook.became.map(|tuple| tuple.sport)).collect();
    assert_eq!(became, [None, Some(Port(50_000))]);
    assert_eq!(syn.packet.tuple.sport, Port(40_000), "as it arrived");
}

#[test]
fn only_what_fits_is_traced_and_no_more_than_was_asked_for() {
    let mut firewall = Firewall::with(vec![pass()]);
    let fits = |firewall: &mut Firewall, terms: Vec<TraceTerm>| {
        firewall.shard.trace(TraceFilter(terms), 10);
        firewall.tell(SYN);
        traces(firewall).len() == 1
    };
    let net = |text: &str, prefix| Asks::Net(text.parse().expect("an address"), prefix);
    let of = |ends, asks| vec![TraceTerm { not: false, ends, asks }];
    let cases = [
        (vec![asks(net("10.0.0.2", 32))], true),
        (vec![asks(net("10.0.0.3", 32))], false),
        (vec![asks(net("10.1.0.0", 24)), asks(Asks::Family(Af::Inet))], true),
        (vec![asks(net("2001:db8::", 32))], false),
        (of(Ends::Source, net("10.1.0.2", 32)), false),
        (of(Ends::Destination, Asks::Port(Port(80))), true),
        (of(Ends::Source, Asks::Port(Port(80))), false),
        (vec![TraceTerm { not: true, ..asks(Asks::Interface(EM0)) }], false),
        (vec![asks(Asks::Interface(EM0))], true),
        (vec![asks(Asks::Proto(Proto::UDP))], false),
    ];
    for (terms, expected) in cases {
        assert_eq!(fits(&mut firewall, terms.clone()), expected, "{terms:?}");
    }
    firewall.shard.trace(port(80), 2);
    firewall.tell(SYN).tell(SYN).tell(SYN);
    assert_eq!(traces(&mut firewall).len(), 2);
    firewall.shard.trace(port(80), 5);
    firewall.shard.trace(TraceFilter::default(), 0);
    firewall.tell(SYN);
    assert!(traces(&mut firewall).is_empty(), "it was ended");
}

/// Traced in the middle of a burst, a packet changes the fate of none.
#[test]
fn bursts_fare_the_same_with_and_without_a_trace() {
    let run = |traced: bool| {
        let mut firewall = Firewall::with(vec![pass()]);
        firewall.tell(SYN).tell(ANSWER).tell(REST);
        if traced {
            firewall.shard.trace(TraceFilter(vec![asks(Asks::Port(Port(81)))]), 100);
        }
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for number in 0..20_u32 {
            let (port, seq) = if number % 3 == 0 { (81, 7000) } else { (80, 1001 + number * 10) };
            let flags = if port == 81 { "S" } else { "A" };
            let text = format!("10.0.0.2.40000 > 10.1.0.2.{port} tcp {flags} seq {seq} ack 5001 len 10");
            frames.push(
                crate::firewall::packet::Packet::parse(&text)
                    .frame(crate::firewall::mac(EM0, 2), crate::firewall::mac(EM0, 1)),
            );
        }
        let fates = firewall.decide_burst(crate::firewall::arrival("em0"), &mut frames);
        (fates, frames, firewall.dump(), traces(&mut firewall).len())
    };
    let (traced, plain) = (run(true), run(false));
    assert_eq!((traced.3, plain.3), (7, 0));
    assert_eq!((traced.0, traced.1, traced.2), (plain.0, plain.1, plain.2));
}

#[test]
fn what_crosses_a_pair_is_traced_too() {
    let mut firewall = Firewall::bridging(vec![pass()]);
    firewall.fib = crate::firewall::bridged(NonIpPolicy::Pass);
    firewall.shard.trace(port(80), 1);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> over to em1");
    let [only] = traces(&mut firewall)[..] else { panic!("one packet") };
    assert_eq!((only.hooks().count(), only.fate), (2, Fate::Transmit(EM1)));
}
