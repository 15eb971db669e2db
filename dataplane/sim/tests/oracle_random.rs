//! Properties over random packets: what holds whatever is sent.

mod oracle_support;

use oracle_support::{
    CLIENT, CLIENT_PORT, ROUTER, SERVER, SERVER_PORT, back, icmp, icmp_error, inbound, oracle, outbound,
    packet, pass, pass_any_flags, proto, rules, tcp, udp,
};
use proptest::prelude::*;
use ruleset::{PeerState, Reason, Rule};
use sim::oracle::{
    Deviations, IpOptions, Oracle, Packet, QuotedTransport, SECOND, State, Tcp, Transport, Verdict,
};
use wire::{Port, Seq, TcpFlags};

/// A packet, where it goes and how much later than the one before.
#[derive(Clone, Debug)]
struct Step {
    packet: Packet,
    outbound: bool,
    wait: u64,
}

/// Near the start of the number space and over its end, so that connections really form.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => (0u32..6).prop_map(|n| 1000u32 + n), 2 => 0u32..3000, 1 => any::<u32>(), 1 => Just(u32::MAX)]
}

fn segment() -> impl Strategy<Value = Tcp> {
    let letters = prop_oneof![6 => Just(2u8), 6 => Just(0x12), 12 => Just(0x10), 3 => Just(0x11), 3 => Just(4), 2 => Just(0x14), 1 => any::<u8>()];
    let shift = prop_oneof![3 => Just(None), 1 => (0u8..20).prop_map(Some)];
    (letters, number(), number(), any::<u16>(), prop_oneof![3 => Just(0u32), 1 => 0u32..2000], shift)
        .prop_map(|(letters, seq, ack, window, payload, wscale)| Tcp {
            window,
            payload,
            wscale,
            ..tcp(TcpFlags(letters), seq, ack)
        })
}

fn any_packet() -> impl Strategy<Value = (Packet, bool)> {
    let one = prop_oneof![
        20 => segment().prop_map(|segment| (packet(CLIENT, SERVER, Transport::Tcp(segment)), true)),
        20 => segment().prop_map(|segment| (back(segment), false)),
        1 => (1u16..3).prop_map(|port| (udp(CLIENT, port, SERVER, 53), true)),
        1 => (1u16..3).prop_map(|port| (udp(SERVER, 53, CLIENT, port), false)),
        1 => (7u16..9).prop_map(|id| (icmp(CLIENT, SERVER, 8, id), true)),
        1 => (7u16..9).prop_map(|id| (icmp(SERVER, CLIENT, 0, id), false)),
        1 => Just((packet(CLIENT, SERVER, proto(47)), true)),
        1 => number().prop_map(|seq| {
            let quoted =
                QuotedTransport::Tcp { source_port: CLIENT_PORT, destination_port: SERVER_PORT, seq: Seq(seq) };
            (icmp_error(ROUTER, CLIENT, SERVER, 3, quoted), false)
        }),
    ];
    one
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![20 => Just(0u64), 3 => 1u64..2, 1 => 0u64..200];
    let step = (
        any_packet(),
        wait,
        prop_oneof![12 => Just(64u8), 1 => Just(1)],
        prop_oneof![12 => Just(IpOptions::Absent), 1 => Just(IpOptions::Present)],
    );
    let step = step.prop_map(|((packet, outbound), wait, ttl, options)| Step {
        packet: Packet { ttl, options, ..packet },
        outbound,
        wait: wait * SECOND,
    });
    proptest::collection::vec(step, 1..60)
}

fn take(oracle: &mut Oracle, step: &Step, now: u64) -> Verdict {
    if step.outbound { outbound(oracle, &step.packet, now) } else { inbound(oracle, &step.packet, now) }
}

const fn verdict_reason(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Drop { reason, .. } => Some(reason),
        Verdict::Pass => None,
    }
}

fn list(strict: bool) -> Vec<Rule> {
    vec![if strict { pass() } else { pass_any_flags() }]
}

/// The peers and the class, without what tells the two states of a connection apart.
fn tracked(state: &State) -> impl PartialEq + core::fmt::Debug {
    (state.source, state.destination, state.class, state.last_seen, state.packets, state.bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    /// With check-then-commit-once two states of one pass never differ in what is tracked.
    #[test]
    fn the_states_of_a_pair_stay_equal(steps in steps(), strict in any::<bool>()) {
        let mut oracle = oracle(rules(list(strict)), Deviations::ALL);
        let mut now = 0;
        for step in steps {
            now += step.wait;
            let _ = take(&mut oracle, &step, now);
            for state in oracle.states() {
                let Some(partner) = state.partner.and_then(|id| oracle.state(id)) else { continue };
                prop_assert_eq!(partner.partner, Some(state.id));
                prop_assert_eq!(tracked(state), tracked(partner));
            }
        }
    }

    /// A refused packet changes no pair, but for the reset of a mismatched handshake. (A pair falls apart when one of it
    /// is met alone; from there on each state is pf's, hook by hook.)
    #[test]
    fn a_refusal_changes_no_pair(steps in steps(), strict in any::<bool>()) {
        let mut oracle = oracle(rules(list(strict)), Deviations::ALL);
        let mut now = 0;
        for step in steps {
            now += step.wait;
            let before = oracle.states().to_vec();
            let verdict = take(&mut oracle, &step, now);
            if verdict == Verdict::Pass {
                continue;
            }
            for old in before.iter().filter(|old| old.partner.is_some()) {
                let Some(new) = oracle.state(old.id).filter(|new| new.partner.is_some()) else { continue };
                let handshake = verdict_reason(verdict) == Some(Reason::StateMismatch)
                    && (old.source.state == PeerState::SynSent || old.destination.state == PeerState::SynSent);
                if !handshake {
                    prop_assert_eq!(new, old, "{:?} after {:?}", verdict, step);
                }
            }
        }
    }

    /// If nothing dies between the hooks, the product and pf make the same of it.
    #[test]
    fn committing_once_is_pf_where_nothing_dies_between(steps in steps()) {
        let once = Deviations { commit_once: true, ..Deviations::NONE };
        let (mut pf, mut product) = (oracle(rules(list(false)), Deviations::NONE), oracle(rules(list(false)), once));
        let mut now = 0;
        for step in steps {
            now += step.wait;
            let step = Step { packet: Packet { ttl: 64, options: IpOptions::Absent, ..step.packet }, ..step };
            pf.purge(now);
            product.purge(now);
            let verdicts = (take(&mut pf, &step, now), take(&mut product, &step, now));
            if verdicts.0 != Verdict::Pass {
                // A refusal at the first hook leaves pf's two states unlike; from there on they are two stories.
                if pf.states() != product.states() { break }
            }
            prop_assert_eq!(verdicts.0, verdicts.1);
            let strip = |oracle: &Oracle| -> Vec<State> {
                oracle.states().iter().map(|state| State { partner: None, ..state.clone() }).collect()
            };
            prop_assert_eq!(strip(&pf), strip(&product));
        }
    }

    /// Purging early or late makes no difference to what passes: expiry is tested on every hit.
    #[test]
    fn purging_is_only_housekeeping(steps in steps()) {
        let (mut eager, mut lazy) =
            (oracle(rules(list(false)), Deviations::ALL), oracle(rules(list(false)), Deviations::ALL));
        let mut now = 0;
        for step in steps {
            now += step.wait;
            eager.purge(now);
            prop_assert_eq!(take(&mut eager, &step, now), take(&mut lazy, &step, now));
        }
        eager.purge(now);
        lazy.purge(now);
        prop_assert_eq!(eager.print_states(now), lazy.print_states(now));
    }
}

#[test]
fn ports_are_told_apart() {
    let mut oracle = oracle(rules(vec![pass_any_flags()]), Deviations::ALL);
    for port in 1..=50 {
        let segment = Tcp { source_port: Port(port), ..tcp(TcpFlags::SYN, 1, 0) };
        let verdict = outbound(&mut oracle, &packet(CLIENT, SERVER, Transport::Tcp(segment)), 0);
        assert_eq!(verdict, Verdict::Pass);
        assert_eq!(oracle.states().len(), 2 * usize::from(port));
    }
}
