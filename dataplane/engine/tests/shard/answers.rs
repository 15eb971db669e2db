//! Answers in the large (reliability B1 to B6): who gets none, how many anybody gets, and what two firewalls say to each other.

use std::collections::BTreeMap;

use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, block_return, pass};
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::{Arrival, Created, Fate, Source};
use ruleset::{Action, BlockPolicy, BlockReply, IcmpReply, Reason, Rule};
use wire::{Proto, sctp};

/// Sends a frame, and what it became if it was answered.
fn answer(firewall: &mut Firewall, place: &str, frame: &[u8]) -> Option<Vec<u8>> {
    let arrival = arrival(place);
    let mut frame = frame.to_vec();
    let back = match arrival.source {
        Source::Wire => Fate::Transmit(arrival.interface),
        Source::Host => Fate::Host(arrival.interface),
    };
    (firewall.decide(arrival, &mut frame) == back).then_some(frame)
}

fn frame(text: &str) -> Vec<u8> {
    Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1))
}

/// RFC 9293 §3.10.7.1: a segment with ACK is reset at its acknowledgment number; another one is acknowledged with all that it
/// takes of the sequence space.
#[test]
fn b1_resets_have_the_numbers_of_rfc_9293() {
    let mut firewall = Firewall::with(vec![block_return()]);
    for (segment, reset) in [
        ("S seq 1000", "RA seq 0 ack 1001"),
        ("A seq 1000 ack 7", "R seq 7 ack 0"),
        ("S seq 1000 len 100", "RA seq 0 ack 1101"),
        ("FA seq 1000 ack 7", "R seq 7 ack 0"),
        ("PA seq 1000 ack 7 len 100", "R seq 7 ack 0"),
        ("SA seq 1000 ack 7", "R seq 7 ack 0"),
    ] {
        for place in ["em0", "em0 host"] {
            let (from, to) = if place == "em0" { ("10.0.0.2", "10.1.0.2") } else { ("10.0.0.1", "10.0.0.2") };
            let told = answer(&mut firewall, place, &frame(&format!("{from}.4000 > {to}.80 tcp {segment}")));
            let told = told.map(|frame| render(&frame)).unwrap_or_default();
            let expected = format!("{to}.80 > {from}.4000 tcp {reset} win 0 ttl 64");
            assert_eq!(told, expected, "{segment} at {place}");
        }
    }
}

/// FreeBSD's `set fail-policy`: what a rule passes and finds no room for.
#[test]
fn who_finds_no_room_is_told_if_the_policy_says_so() {
    let most = |rule: Rule| rule.change(|rule| rule.state_options.max = 1);
    let mut ruleset =
        crate::firewall::rules::ruleset(vec![pass().no_state(), most(pass().incoming()).any_flags()]);
    let mut told = |policy: BlockPolicy, text: &str, reason: Reason| {
        ruleset.options.fail_policy = policy;
        let mut firewall = Firewall::bare();
        firewall.load(ruleset.clone());
        let other = frame(&text.replace(".1 >", ".2 >"));
        assert_eq!(answer(&mut firewall, "em0", &other), None);
        let told = answer(&mut firewall, "em0", &frame(text)).map(|frame| render(&frame));
        assert_eq!(firewall.dropped(reason), 1, "{text}");
        told.unwrap_or_default()
    };
    let (syn, datagram) = ("10.0.0.2.1 > 10.1.0.2.80 tcp S seq 5", "10.0.0.2.1 > 10.1.0.2.80 udp");
    for text in [syn, datagram] {
        assert_eq!(told(BlockPolicy::Drop, text, Reason::StateLimit), "");
    }
    let reset = "10.1.0.2.80 > 10.0.0.2.1 tcp RA seq 0 ack 6 win 0 ttl 64";
    assert_eq!(told(BlockPolicy::Return, syn, Reason::StateLimit), reset);
    let unreachable = told(BlockPolicy::Return, datagram, Reason::StateLimit);
    assert!(unreachable.starts_with("10.1.0.2 > 10.0.0.2 icmp 3/3"), "{unreachable}");
}

#[test]
fn no_port_left_is_no_room() {
    let nat = pass().outgoing().on("em1").to_udp(53).nat_to("10.1.0.1", (50_000, 50_000));
    let mut ruleset = crate::firewall::rules::ruleset(vec![pass().any_flags(), nat]);
    for (policy, is_told) in [(BlockPolicy::Drop, false), (BlockPolicy::Return, true)] {
        ruleset.options.fail_policy = policy;
        let mut firewall = Firewall::bare();
        firewall.load(ruleset.clone());
        for port in [1, 2] {
            let told = answer(&mut firewall, "em0", &frame(&format!("10.0.0.2.{port} > 10.1.0.2.53 udp")));
            assert_eq!(told.is_some(), is_told && port == 2, "{policy:?} {port}");
        }
        assert_eq!(firewall.dropped(Reason::Translate), 1);
    }
}

#[test]
fn b2_what_must_not_be_answered_is_not_in_a_hundred_thousand_trials() {
    let triggers = [
        "10.0.0.2.1 > 10.1.0.2.2 tcp R seq 1",
        "10.0.0.2.1 > 10.1.0.2.2 tcp RA seq 1 ack 2",
        "10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1 bad-sum",
        "10.0.0.2.1 > 10.1.0.2.2 udp len 4 bad-sum",
        "10.0.0.2 > 10.1.0.2 icmp 3/3 about (10.1.0.2.1 > 10.0.0.2.2 udp)",
        "10.0.0.2 > 10.1.0.2 icmp 5/0",
        "10.0.0.2.1 > 10.1.0.2.2 udp fragment",
        "10.0.0.2.1 > 10.0.0.255.2 udp",
        "10.0.0.2.1 > 255.255.255.255.2 udp",
        "10.0.0.2.1 > 224.0.0.5.2 udp",
        "0.0.0.0.1 > 10.1.0.2.2 udp",
        "127.0.0.1.1 > 10.1.0.2.2 udp",
        "224.0.0.9.1 > 10.1.0.2.2 udp",
        "240.0.0.1.1 > 10.1.0.2.2 udp",
        "10.1.0.1.1 > 10.1.0.2.2 udp",
        "2001:db8::2.1 > 2001:db8:1::2.2 tcp R seq 1",
        "2001:db8::2.1 > 2001:db8:1::2.2 tcp S seq 1 bad-sum",
        "2001:db8::2.1 > 2001:db8:1::2.2 udp len 4 bad-sum",
        "2001:db8::2 > 2001:db8:1::2 icmp 1/4 about (2001:db8:1::2.1 > 2001:db8::2.2 udp)",
        "2001:db8::2 > 2001:db8:1::2 icmp 137/0",
        "2001:db8::2.1 > ff02::1.2 udp",
        "::.1 > 2001:db8:1::2.2 udp",
        "::1.1 > 2001:db8:1::2.2 udp",
        "ff02::9.1 > 2001:db8:1::2.2 udp",
        "2001:db8:1::1.1 > 2001:db8:1::2.2 udp",
    ];
    let mut firewall = Firewall::with(vec![block_return()]);
    for trial in 0..100_000_usize {
        let mut frame = frame(triggers[trial % triggers.len()]);
        if trial % 5 == 0 && frame[12..15] == [8, 0, 0x45] {
            // A header that is not what its sender wrote.
            frame[24] ^= 1;
        }
        if trial % 7 == 0 {
            // Whatever it is: sent to a group of stations.
            frame[0] |= 1;
        }
        assert_eq!(answer(&mut firewall, "em0", &frame), None, "{}", triggers[trial % triggers.len()]);
    }
    let counters = firewall.shard.counters();
    assert_eq!((counters.created(Created::Rst), counters.created(Created::Icmp)), (0, 0));
    for other in ["10.0.0.2.1 > 10.1.0.2.2 udp", "2001:db8::2.1 > 2001:db8:1::2.2 udp"] {
        assert!(answer(&mut firewall, "em0", &frame(other)).is_some(), "others are");
    }
}

#[test]
fn b4_a_flood_is_answered_at_its_rate_and_nobody_else_notices() {
    let mut firewall = Firewall::with(vec![block_return(), pass().from("10.0.0.3/32")]);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    let tell = |firewall: &mut Firewall, text: &str| answer(firewall, "em0", &frame(text)).is_some();
    // 100,000 questions in each of five seconds.
    for _ in 0..50 {
        for question in 0..10_000 {
            let text = match question % 2 {
                0 => "10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1",
                _ => "10.0.0.2.1 > 10.1.0.2.2 udp",
            };
            *answers.entry("flood").or_default() += usize::from(tell(&mut firewall, text));
        }
        let others = [4, 5, 6, 7].map(|host| format!("10.0.0.{host}.1 > 10.1.0.2.2 udp"));
        for text in &others {
            *answers.entry("others").or_default() += usize::from(tell(&mut firewall, text));
        }
        firewall.tell("em0: 10.0.0.3.1 > 10.1.0.2.2 udp -> out em1");
        firewall.now = firewall.now + engine::Tick::from_millis(100);
    }
    assert_eq!(answers["others"], 200, "each of them is answered each time");
    assert!((700..=1500).contains(&answers["flood"]), "{answers:?}");
    let counters = firewall.shard.counters();
    assert_eq!(counters.withheld, 500_000 - answers["flood"] as u64, "what was not sent is counted");
    assert_eq!(counters.dropped(Reason::Match), 500_200, "and dropped as ever");
    // What the host sends is answered at once, however much.
    let host = frame("10.0.0.1.1 > 10.0.0.2.2 tcp S seq 1");
    let mut own = Firewall::with(vec![block_return()]);
    assert!((0..10_000).all(|_| answer(&mut own, "em0 host", &host).is_some()));
    assert_eq!(own.shard.counters().withheld, 0);
}

/// IP bytes, without the link's header and padding.
fn datagram(frame: &[u8]) -> usize {
    let ip = &frame[14..];
    let field = |at: usize| usize::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    if ip[0] >> 4 == 4 { field(2) } else { 40 + field(4) }
}

#[test]
fn b5_no_answer_is_longer_than_it_may_be_in_bytes_of_ip() {
    let mut firewall = Firewall::with(vec![block_return()]);
    let mut answered = 0;
    for (text, most) in [
        ("10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1", 1.0),
        ("10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1 ws 7", 1.0),
        ("10.0.0.2.1 > 10.1.0.2.2 tcp PA seq 1 ack 1 len 40", 1.0),
        ("10.0.0.2.1 > 10.1.0.2.2 udp", 2.0),
        ("10.0.0.2.1 > 10.1.0.2.2 udp len 1000", 2.0),
        ("10.0.0.2 > 10.1.0.2 icmp 8/0 id 1", 2.0),
        ("10.0.0.2 > 10.1.0.2 proto 47 len 0", 2.0),
        ("10.0.0.2 > 10.1.0.2 proto 47 len 7", 2.0),
        ("10.0.0.2 > 10.1.0.2 proto 47 len 8", 2.0),
        ("2001:db8::2 > 2001:db8:1::2 proto 47 len 0", 2.0),
        ("2001:db8::2 > 2001:db8:1::2 proto 47 len 8", 2.0),
        ("2001:db8::2.1 > 2001:db8:1::2.2 udp", 2.0),
    ] {
        let sent = frame(text);
        if let Some(told) = answer(&mut firewall, "em0", &sent) {
            let ratio = datagram(&told) as f64 / datagram(&sent) as f64;
            assert!(ratio <= most, "{text}: {ratio}");
            answered += 1;
        }
    }
    assert_eq!(answered, 9, "all but the three that say nothing");
}

/// What one firewall sends, the other one gets, until neither says anything.
#[test]
fn b5_two_firewalls_back_to_back_fall_silent() {
    let forms = [
        BlockReply::Return(IcmpReply::default()),
        BlockReply::Rst { ttl: 0 },
        BlockReply::Icmp { code: Some(13), code6: Some(1) },
    ];
    for form in forms {
        let rule = || -> Rule { block().change(|rule| rule.action = Action::Block(form)) };
        for text in [
            "10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1",
            "10.0.0.2.1 > 10.1.0.2.2 udp",
            "10.0.0.2 > 10.1.0.2 icmp 8/0 id 1",
            "2001:db8::2.1 > 2001:db8:1::2.2 tcp S seq 1",
            "2001:db8::2.1 > 2001:db8:1::2.2 udp",
        ] {
            let mut pair = [Firewall::with(vec![rule()]), Firewall::with(vec![rule()])];
            let mut passed = frame(text);
            let mut told = 0;
            for turn in 0..10 {
                // The link between them: em1 of the first one, em0 of the second.
                let (at, interface) = [(0, EM0), (1, EM1)][turn % 2];
                passed[..6].copy_from_slice(&mac(interface, 1).0);
                passed[6..12].copy_from_slice(&mac(interface, 2).0);
                let arrival = Arrival { interface, source: Source::Wire };
                if pair[at].decide(arrival, &mut passed) != Fate::Transmit(interface) {
                    break;
                }
                told += 1;
            }
            assert!(told <= 1, "{form:?} {text}: {told} answers");
        }
    }
}

/// An INIT with this verification tag and initiate tag, or another chunk.
fn association(kind: u8, tag: u32, initiate: u32) -> Vec<u8> {
    let mut sctp = vec![0x10, 0, 0, 80];
    sctp.extend(tag.to_be_bytes());
    sctp.extend([0; 4]);
    sctp.extend([kind, 0, 0, 20]);
    sctp.extend(initiate.to_be_bytes());
    sctp.extend([0; 12]);
    let crc = crc_of(&sctp);
    sctp[8..12].copy_from_slice(&crc);
    let mut frame = frame("10.0.0.2 > 10.1.0.2 proto 132 len 32");
    let at = frame.len() - 32;
    frame.splice(at.., sctp);
    frame
}

/// The octets of a checksum that `wire` finds right.
fn crc_of(packet: &[u8]) -> [u8; 4] {
    let mut crc = !0_u32;
    for octet in packet {
        crc ^= u32::from(*octet);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}

#[test]
fn sctp_is_aborted_where_block_returns() {
    let mut firewall = Firewall::with(vec![block_return()]);
    for (kind, tag, initiate, (told, reflected)) in
        [(1, 0, 0x1122_3344, (0x1122_3344, 0)), (0, 0xaabb_ccdd, 5, (0xaabb_ccdd, 1)), (10, 7, 5, (7, 1))]
    {
        let sent = association(kind, tag, initiate);
        let answer = answer(&mut firewall, "em0", &sent).expect("an answer");
        assert_eq!((&answer[..6], &answer[6..12]), (&sent[6..12], &sent[..6]));
        assert_eq!((&answer[26..30], &answer[30..34]), (&sent[30..34], &sent[26..30]));
        assert_eq!((answer[23], datagram(&answer), answer.len()), (Proto::SCTP.0, 36, 50));
        let abort = sctp::Packet::parse(&answer[34..]).expect("an ABORT");
        assert_eq!(abort.verify_checksum(), Ok(()));
        assert_eq!(
            (abort.tag(), &answer[34..38], &answer[46..]),
            (told, &[0, 80, 0x10, 0][..], &[6, reflected, 0, 4][..])
        );
    }
    let damaged = |at: usize| {
        let mut frame = association(1, 0, 5);
        frame[at] ^= 1;
        frame
    };
    for silent in
        [association(6, 7, 5), association(14, 7, 5), association(9, 7, 5), association(1, 0, 0), damaged(60)]
    {
        assert_eq!(answer(&mut firewall, "em0", &silent), None);
    }
    // ICMP where that is asked for.
    let icmp = BlockReply::Icmp { code: Some(13), code6: None };
    let mut firewall = Firewall::with(vec![block().change(|rule| rule.action = Action::Block(icmp))]);
    let told = answer(&mut firewall, "em0", &association(1, 0, 5)).expect("an error");
    assert!(render(&told).contains("icmp 3/13"), "{}", render(&told));
}

/// Whose next hop is on the link that it came from is sent there, and told nothing: a redirect would lead the next packets past
/// the rules.
#[test]
fn nobody_is_redirected() {
    let mut firewall = Firewall::with(vec![pass(), pass().incoming().to("10.1.0.9").route_to(&["10.0.0.3"])]);
    firewall.tell(
        "em0: 10.0.0.2.1 > 10.0.0.3.2 udp -> out em0
         em0: 2001:db8::9.1 > 2001:db8::2.2 udp -> out em0",
    );
    assert!(firewall.pass_on("em0", "10.0.0.2.1 > 10.1.0.9.2 udp").starts_with("out em0"));
    assert_eq!(Created::ALL.map(|kind| firewall.shard.counters().created(kind)), [0; Created::ALL.len()]);
}
