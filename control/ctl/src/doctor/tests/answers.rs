//! Answers that do not come, and those that do and have no way back.

use api::PacketView;
use ruleset::{Direction, Reason};
use wire::{Port, Proto};

use super::{dropped, evidence, found, only, packet, state, unanswered};

#[test]
fn requests_of_udp_are_missed_only_where_answers_are_due() {
    let of = |port: u16| {
        found(|snapshot| {
            snapshot.states = unanswered();
            for state in &mut snapshot.states {
                state.proto = Proto::UDP;
                state.destination.end.port = Port(port);
            }
        })
    };
    assert_eq!(of(53).len(), 1);
    assert_eq!(of(514), []);
}

#[test]
fn a_question_that_comes_from_another_port_each_time_is_missed_once_nobody_answers_any() {
    let asked = |answered: bool, age_s: u32| {
        found(|snapshot| {
            let ask = |port: u16| {
                let mut state = state(Direction::Out, "10.1.0.2:1", "198.51.100.7:53");
                (state.proto, state.source.end.port, state.age_s) = (Proto::UDP, Port(port), age_s);
                (state.source.packets, state.destination.packets) = (1, 0);
                state
            };
            snapshot.states = (5000..5003).map(ask).collect();
            if answered {
                let mut other = ask(5003);
                other.destination.packets = 1;
                snapshot.states.push(other);
            }
        })
    };
    let [finding] = &asked(false, 3)[..] else { panic!("one finding") };
    assert_eq!(finding.check, "no-answers");
    assert!(evidence(finding).contains("and 2 more connections"), "{finding:?}");
    assert_eq!(asked(true, 3), [], "some are lost every day");
    assert_eq!(asked(false, 1), [], "they may come yet");
}

#[test]
fn echoes_that_come_and_have_no_way_back_are_found_with_the_interface_that_is_gone() {
    let finding = only("answers-dropped", |snapshot| {
        snapshot.states = unanswered();
        for state in &mut snapshot.states {
            (state.proto, state.source.end.port, state.destination.end.port) =
                (Proto::ICMP, Port(77), Port(8));
        }
        let echo = |kind| PacketView {
            proto: "icmp".into(),
            tcp: None,
            icmp: Some((kind, 0)),
            ..packet("198.51.100.7:0", "10.1.0.2:0", "")
        };
        snapshot.drops.examples = vec![dropped(Reason::NoRoute, 1, echo(0))];
        snapshot.status.interfaces[0].up = false;
        snapshot.status.interfaces[0].addresses.clear();
    });
    assert!(evidence(&finding).contains("lan0 is down and has no address"), "{finding:?}");
    assert!(finding.cure.contains("ip route add 10.1.0.2"), "{finding:?}");
}
