//! Timestamps and hops to live of TCP's ends (pf.conf(5) `scrub (reassemble tcp)`).

use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::{Firewall, rerouted};
use engine::Misfit;
use engine::track::BadTimestamp;
use ruleset::{Reason, Rule, Scrub, Timeout};
use wire::Port;

const TO_SERVER: &str = "10.0.0.2.40000 > 10.1.0.2.80 tcp";
const TO_CLIENT: &str = "10.1.0.2.80 > 10.0.0.2.40000 tcp";

fn asked(rule: Rule) -> Rule {
    rule.change(|rule| rule.scrub = Scrub { reassemble_tcp: true, ..Scrub::default() })
}

fn numbers(text: &str) -> [u32; 2] {
    let stamps = text.split_once(" ts ").unwrap_or_else(|| panic!("no timestamps: {text}")).1;
    let mut numbers = stamps.split(' ').map(|word| word.parse().unwrap_or_default());
    [numbers.next().expect("a timestamp"), numbers.next().expect("an echo")]
}

/// A connection behind its handshake: what is added to the client's timestamps, and to the server's.
struct Bed {
    firewall: Firewall,
    added: [u32; 2],
}

/// The client's clock at its SYN, and the server's at its answer.
const CLIENT: u32 = 0xffff_f000;
const SERVER: u32 = 77;

impl Bed {
    fn with(rules: Vec<Rule>) -> Self {
        let mut firewall = Firewall::with(rules);
        firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
        let syn = firewall.pass_on("em0", &format!("{TO_SERVER} S seq 1000 ts {CLIENT} 0"));
        let [first, none] = numbers(&syn);
        assert_eq!(none, 0, "a SYN echoes nothing: {syn}");
        let answer =
            firewall.pass_on("em1", &format!("{TO_CLIENT} SA seq 5000 ack 1001 ts {SERVER} {first}"));
        let [second, echo] = numbers(&answer);
        assert_eq!(echo, CLIENT, "what the client has said: {answer}");
        let added = [first.wrapping_sub(CLIENT), second.wrapping_sub(SERVER)];
        let mut bed = Self { firewall, added };
        bed.client("A seq 1001 ack 5001", CLIENT, SERVER);
        bed
    }

    fn both() -> Self {
        Self::with(vec![asked(matching()), pass()])
    }

    /// Sends a segment of the client whose timestamp and echo are, in the numbers of those who made them, these; it passes.
    fn client(&mut self, segment: &str, value: u32, echo: u32) {
        let [own, other] = self.added;
        let text = format!("{TO_SERVER} {segment} ts {value} {}", echo.wrapping_add(other));
        let became = format!("{TO_SERVER} {segment} ts {} {echo}", value.wrapping_add(own));
        assert_eq!(self.firewall.turn("em0", &text, &became), "out em1");
    }

    /// The same of the server.
    fn server(&mut self, segment: &str, value: u32, echo: u32) {
        let [other, own] = self.added;
        let text = format!("{TO_CLIENT} {segment} ts {value} {}", echo.wrapping_add(other));
        let became = format!("{TO_CLIENT} {segment} ts {} {echo}", value.wrapping_add(own));
        assert_eq!(self.firewall.turn("em1", &text, &became), "out em0");
    }

    /// What becomes of a segment of the client which passes nowhere.
    fn refused(&mut self, segment: &str, value: u32, echo: u32) {
        let before = self.firewall.dump();
        let text = format!("{TO_SERVER} {segment} ts {value} {}", echo.wrapping_add(self.added[1]));
        assert_eq!(self.firewall.send("em0", &text), "bad-timestamp", "{text}");
        assert_eq!(self.firewall.dump(), before, "a refused segment changes nothing: {text}");
    }
}

/// At one hook, at the other, or at both: each end sees clocks of nobody, and its own echoed.
#[test]
fn timestamps_are_shifted_by_what_nobody_knows_and_echoes_are_shifted_back() {
    let variants = [
        vec![asked(matching()), pass()],
        vec![asked(pass())],
        vec![pass(), asked(pass()).incoming()],
        vec![pass(), asked(pass()).outgoing()],
        vec![asked(matching()).if_bound(), pass().if_bound()],
    ];
    for rules in variants {
        let mut bed = Bed::with(rules);
        assert!(bed.added[0] != 0 && bed.added[1] != 0 && bed.added[0] != bed.added[1]);
        let mut heard = SERVER;
        for round in 0..5 {
            let (seq, far, time) = (1001 + 100 * round, 5001 + 10 * round, 50 * round);
            bed.client(&format!("PA seq {seq} ack {far} len 100"), CLIENT.wrapping_add(time), heard);
            heard = SERVER + time + 9;
            let (acked, echoed) = (seq + 100, CLIENT.wrapping_add(time));
            bed.server(&format!("PA seq {far} ack {acked} len 10"), heard, echoed);
            bed.firewall.wait(1);
        }
    }
}

#[test]
fn numbers_addresses_and_timestamps_are_changed_at_once() {
    let rules = vec![
        asked(matching()),
        pass().modulate(),
        pass().outgoing().on("em1").nat_to("10.1.0.1", (50_001, 50_001)).modulate(),
    ];
    let mut firewall = Firewall::with(rules);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let syn = firewall.pass_on("em0", &format!("{TO_SERVER} S seq 1000 ts 500 0"));
    assert!(syn.starts_with("out em1: 10.1.0.1.50001 > 10.1.0.2.80 tcp S"), "{syn}");
    let seq: u32 = syn.split(' ').skip_while(|word| *word != "seq").nth(1).unwrap().parse().unwrap();
    let [value, _] = numbers(&syn);
    let ack = seq.wrapping_add(1);
    let answer = format!("10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 9 ack {ack} ts 900 {value}");
    let answer = firewall.pass_on("em1", &answer);
    assert!(answer.starts_with(&format!("out em0: {TO_CLIENT} SA")), "{answer}");
    assert_eq!(numbers(&answer)[1], 500, "{answer}");
    assert!(value != 500 && numbers(&answer)[0] != 900);
}

#[test]
fn old_and_impossible_timestamps_are_refused() {
    let mut bed = Bed::both();
    bed.client("PA seq 1001 ack 5001 len 10", CLIENT.wrapping_add(100), SERVER);
    bed.server("A seq 5001 ack 1011", SERVER + 50, CLIENT.wrapping_add(100));
    // Older than what the server has echoed.
    bed.refused("PA seq 1011 ack 5001 len 10", CLIENT.wrapping_add(99), SERVER + 50);
    bed.client("PA seq 1011 ack 5001 len 10", CLIENT.wrapping_add(100), SERVER + 50);
    // An echo of what the server has not said, or not to this client.
    bed.refused("PA seq 1021 ack 5001 len 10", CLIENT.wrapping_add(101), SERVER + 51);
    bed.refused("PA seq 1021 ack 5001 len 10", CLIENT.wrapping_add(101), SERVER - 1);
    // Further on than a clock can be: 30 seconds of leeway, and the sixteenth that is begun.
    let most = CLIENT.wrapping_add(100 + 30 * 1100 + 1100 / 16);
    bed.refused("PA seq 1021 ack 5001 len 10", most.wrapping_add(1), SERVER + 50);
    bed.client("PA seq 1021 ack 5001 len 10", most, SERVER + 50);
    bed.firewall.wait(10);
    bed.refused("PA seq 1031 ack 5001 len 10", most.wrapping_add(40 * 1100 + 69), SERVER + 50);
    bed.client("PA seq 1031 ack 5001 len 10", most.wrapping_add(40 * 1100), SERVER + 50);
    // Two of them.
    let twice = format!("{TO_SERVER} PA seq 1041 ack 5001 len 10 ts {most} 0 ts {most} 0");
    assert_eq!(bed.firewall.send("em0", &twice), "bad-timestamp");
    assert_eq!(bed.firewall.dropped(Reason::BadTimestamp), 6);
    // Each example says which comparison failed and by how much, and which state that was.
    let records: Vec<_> = std::iter::from_fn(|| bed.firewall.shard.take_drop()).collect();
    let bad = records.iter().map(|record| match &record.misfit {
        Some((met, Misfit::Timestamp(bad))) => {
            assert_eq!((met.before[0].1, record.rule.map(|rule| rule.number)), (Port(40000), Some(1)));
            *bad
        }
        other => panic!("{other:?}"),
    });
    let expected = [
        BadTimestamp::Old(1),
        BadTimestamp::EchoOfNone(1),
        BadTimestamp::EchoOfOlder(1),
        BadTimestamp::Ahead(1),
        BadTimestamp::Ahead(1),
        BadTimestamp::Twice,
    ];
    assert!(bad.eq(expected), "{records:?}");
    let again = format!("{TO_SERVER} S seq 1 ts 1 0 ts 2 0").replace("40000", "40001");
    assert_eq!(bed.firewall.send("em0", &again), "bad-timestamp", "a SYN with two makes no state");
    assert!(!bed.firewall.dump().contains("40001"));
}

#[test]
fn the_leeway_of_a_clock_is_the_rules_or_that_of_all() {
    let slack = |rule: Rule, common: u32| {
        let mut rules = ruleset(vec![asked(matching()), rule]);
        rules.options.timeouts.set(Timeout::TcpTsdiff, common);
        let mut bed = Bed::both();
        bed.firewall.load(rules);
        let syn =
            bed.firewall.pass_on("em0", &format!("{TO_SERVER} S seq 1 ts 500 0").replace("40000", "40001"));
        let [value, _] = numbers(&syn);
        let answer = format!("{TO_CLIENT} SA seq 5 ack 2 ts 9 {value}").replace("40000", "40001");
        let [echo, _] = numbers(&bed.firewall.pass_on("em1", &answer));
        let ack = format!("{TO_SERVER} A seq 2 ack 6 ts 500 {echo}").replace("40000", "40001");
        bed.firewall.pass_on("em0", &ack);
        let bounds = [10, 5].map(|seconds| 500 + seconds * 1100);
        bounds.map(|value| {
            let text = format!("{TO_SERVER} A seq 2 ack 6 ts {value} {echo}").replace("40000", "40001");
            let before = bed.firewall.dropped(Reason::BadTimestamp);
            let arrival = crate::firewall::arrival("em0");
            let mut frame = crate::firewall::packet::Packet::parse(&text).frame(
                crate::firewall::mac(arrival.interface, 2),
                crate::firewall::mac(arrival.interface, 1),
            );
            let _ = bed.firewall.decide(arrival, &mut frame);
            bed.firewall.dropped(Reason::BadTimestamp) == before
        })
    };
    assert_eq!(slack(pass(), 30), [true, true]);
    assert_eq!(slack(pass(), 6), [false, true]);
    assert_eq!(slack(pass().timeout(Timeout::TcpTsdiff, 1), 30), [false, false]);
}

#[test]
fn data_without_a_timestamp_is_refused_behind_data_with_one() {
    let mut bed = Bed::both();
    bed.client("PA seq 1001 ack 5001 len 10", CLIENT, SERVER);
    let bare = format!("{TO_SERVER} PA seq 1011 ack 5001 len 10");
    assert_eq!(bed.firewall.send("em0", &bare), "bad-timestamp");
    let record = bed.firewall.shard.take_drop().expect("an example");
    assert!(matches!(record.misfit, Some((_, Misfit::Timestamp(BadTimestamp::Missing)))), "{record:?}");
    // A FIN does not hide it; what carries no data, or resets, may come without.
    assert_eq!(bed.firewall.send("em0", &bare.replace("PA", "FA")), "bad-timestamp");
    assert_eq!(bed.firewall.send("em0", &format!("{TO_SERVER} A seq 1011 ack 5001")), "out em1");
    // Whoever has never sent data with timestamps need not.
    assert_eq!(bed.firewall.send("em1", &format!("{TO_CLIENT} PA seq 5001 ack 1011 len 5")), "out em0");
    bed.server("PA seq 5006 ack 1011 len 5", SERVER, CLIENT);
    assert_eq!(bed.firewall.send("em1", &format!("{TO_CLIENT} PA seq 5011 ack 1011 len 5")), "out em0");
    assert_eq!(bed.firewall.send("em0", &format!("{TO_SERVER} R seq 1011")), "out em1");
}

/// RFC 7323 §5.2: a reset is no older than the connection that it ends.
#[test]
fn resets_are_not_compared_and_teach_nothing() {
    let mut bed = Bed::both();
    bed.client("PA seq 1001 ack 5001 len 10", CLIENT.wrapping_add(100), SERVER);
    bed.server("A seq 5001 ack 1011", SERVER, CLIENT.wrapping_add(100));
    bed.client("R seq 1011", 5, SERVER);
    assert!(bed.firewall.dump().contains("TIME_WAIT"), "{}", bed.firewall.dump());
}

/// What the server says first echoes the SYN, whatever the two clocks are. pf refuses it where the server's is behind.
#[test]
fn a_server_that_speaks_first_may_echo_the_syn() {
    let mut bed = Bed::both();
    bed.client("A seq 1001 ack 5001", CLIENT.wrapping_add(30), SERVER);
    bed.server("SA seq 5000 ack 1001", SERVER + 1000, CLIENT);
    bed.server("PA seq 5001 ack 1001 len 20", SERVER + 1001, CLIENT);
}

/// Who does not use timestamps, or was met in the middle of a connection, is left alone.
#[test]
fn ends_without_timestamps_and_connections_met_in_their_middle_are_not_changed() {
    let mut firewall = Firewall::with(vec![asked(matching()), pass().any_flags()]);
    firewall.entropy.step = 1;
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10 -> out em1
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10 ts 7 8 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40001 tcp A seq 5001 ack 1011 ts 9 7 -> out em0
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp PA seq 1011 ack 5001 len 10 ts 3 200 -> out em1
        ",
    );
    // Nor is a sloppy state, which follows nothing.
    let mut firewall = Firewall::with(vec![asked(matching()), pass().sloppy()]);
    firewall.entropy.step = 1;
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ts 5 0 -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 ts 9 5 -> out em0
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 ts 2 200 ttl 9 -> out em1
        ",
    );
}

/// What would die behind the firewall, so that only the firewall believes it, does not.
#[test]
fn a17_hops_to_live_of_an_end_never_fall() {
    for rules in [vec![asked(matching()), pass()], vec![pass(), asked(pass()).outgoing()]] {
        let at_both = rules[0].scrub.reassemble_tcp;
        let mut bed = Bed::with(rules);
        let mut sent = |ttl: u8| {
            let echo = SERVER.wrapping_add(bed.added[1]);
            let text = format!("{TO_SERVER} A seq 1001 ack 5001 ts {CLIENT} {echo} ttl {ttl}");
            let left = bed.firewall.pass_on("em0", &text);
            left.rsplit(' ').next().and_then(|ttl| ttl.parse::<u8>().ok()).expect("a ttl")
        };
        assert_eq!([sent(64), sent(2), sent(100), sent(3), sent(64)], [63, 63, 99, 99, 99]);
        // As in pf, the state of the packet's own side is met before the router counts hops.
        let echo = SERVER.wrapping_add(bed.added[1]);
        let last = format!("{TO_SERVER} A seq 1001 ack 5001 ts {CLIENT} {echo} ttl 1");
        let arrival = crate::firewall::arrival("em0");
        let mut frame = crate::firewall::packet::Packet::parse(&last)
            .frame(crate::firewall::mac(arrival.interface, 2), crate::firewall::mac(arrival.interface, 1));
        let _ = bed.firewall.decide(arrival, &mut frame);
        assert_eq!(bed.firewall.dropped(Reason::Ttl), u64::from(!at_both));
        // The other end has its own.
        let text = format!(
            "{TO_CLIENT} A seq 5001 ack 1001 ts {SERVER} {} ttl 30",
            CLIENT.wrapping_add(bed.added[0])
        );
        assert!(bed.firewall.pass_on("em1", &text).ends_with("ttl 63"), "its SYN had 64");
    }
    let mut plain = Firewall::with(vec![block(), pass()]);
    plain.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 -> out em1");
    plain.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 ttl 9 -> out em1");
}

/// Over IPv6, with options that begin at an odd octet.
#[test]
fn timestamps_behind_padding_over_ipv6() {
    let mut firewall = Firewall::with(vec![asked(matching()), pass()]);
    firewall.entropy.step = 3;
    let syn = firewall
        .pass_on("em0", "2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1 mss 1400 ws 7 ts 5 0 ttl 9");
    let [value, _] = numbers(&syn);
    let answer = format!("2001:db8:1::2.80 > 2001:db8::2.40000 tcp SA seq 9 ack 2 ws 7 ts 70 {value}");
    assert_eq!(numbers(&firewall.pass_on("em1", &answer))[1], 5);
    let low = firewall.pass_on("em0", "2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1 ttl 2");
    assert!(low.ends_with("ttl 8"), "{low}");
}

/// A reload leaves states with what they were made under; other routes have one face fall away, and nothing is added twice.
#[test]
fn reloads_and_other_routes_leave_timestamps_as_they_were() {
    let mut bed = Bed::both();
    bed.firewall.load(ruleset(vec![pass()]));
    bed.client("PA seq 1001 ack 5001 len 10", CLIENT.wrapping_add(10), SERVER);
    bed.server("A seq 5001 ack 1011", SERVER + 5, CLIENT.wrapping_add(10));
    let mut bed = Bed::with(vec![asked(matching()), pass().any_flags().if_bound()]);
    bed.client("PA seq 1001 ack 5001 len 10", CLIENT.wrapping_add(10), SERVER);
    bed.firewall.fib = rerouted();
    let [own, other] = bed.added;
    let send = |bed: &mut Bed, place: &str, text: String| bed.firewall.pass_on(place, &text);
    // Now by em2, where a new state is made in the middle: it adds nothing.
    let seq = "PA seq 1011 ack 5001 len 10";
    let time = CLIENT.wrapping_add(20);
    let left = send(&mut bed, "em0", format!("{TO_SERVER} {seq} ts {time} {}", SERVER.wrapping_add(other)));
    assert!(left.starts_with("out em2"), "{left}");
    assert_eq!(numbers(&left), [time.wrapping_add(own), SERVER]);
    // The answer still comes by em1, whose state has not seen that: what it has seen may be echoed there.
    let answer =
        |echo: u32| format!("{TO_CLIENT} A seq 5001 ack 1021 ts {} {}", SERVER + 9, echo.wrapping_add(own));
    assert_eq!(bed.firewall.send("em1", &answer(time)), "bad-timestamp");
    let left = send(&mut bed, "em1", answer(CLIENT.wrapping_add(10)));
    assert_eq!(numbers(&left), [(SERVER + 9).wrapping_add(other), CLIENT.wrapping_add(10)]);
}

/// 24 days of silence, or 12 days in all: a clock may have wrapped, and nothing is compared any more.
#[test]
fn clocks_are_not_compared_when_they_may_have_wrapped() {
    const DAY: u64 = 86_400;
    let long = pass().timeout(Timeout::TcpEstablished, 100 * DAY as u32);
    for (days, compared) in [(11, true), (13, false)] {
        let mut bed = Bed::with(vec![asked(matching()), long.clone()]);
        bed.client("PA seq 1001 ack 5001 len 10", CLIENT.wrapping_add(100), SERVER);
        bed.server("A seq 5001 ack 1011", SERVER, CLIENT.wrapping_add(100));
        bed.firewall.wait(days * DAY);
        match compared {
            true => bed.refused("PA seq 1011 ack 5001 len 10", CLIENT, SERVER),
            false => bed.client("PA seq 1011 ack 5001 len 10", CLIENT, SERVER),
        }
    }
}

/// Handshakes that are completed for a server agree on no timestamps.
#[test]
fn behind_synproxy_there_are_none() {
    let mut firewall = Firewall::with(vec![asked(matching()), pass(), pass().incoming().synproxy()]);
    firewall.entropy.step = 5;
    let (answer, _) = firewall.shake("em0", &format!("{TO_SERVER} S seq 1000 ts 5 0"));
    assert!(answer.contains("tcp SA") && !answer.contains(" ts "), "{answer}");
    let isn: u32 = answer.split(' ').skip_while(|word| *word != "seq").nth(1).unwrap().parse().unwrap();
    let (syn, _) = firewall.shake("em0", &format!("{TO_SERVER} A seq 1001 ack {}", isn.wrapping_add(1)));
    assert!(syn.contains("tcp S ") && !syn.contains(" ts "), "{syn}");
}
