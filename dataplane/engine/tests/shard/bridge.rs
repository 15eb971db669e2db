//! A transparent pair: what crosses it is filtered by the rules of both its ports, and otherwise as it was.

use crate::firewall::rules::{Written, block, block_return, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, bridged, mac, packet};
use engine::fib::{Interface, NonIpPolicy};
use engine::{Arrival, Created, Fate, Fib, Source};
use ruleset::{Reason, StateView};
use wire::ethernet::{self, Tag, Tags};
use wire::{EtherType, Mac, Proto};

const WIRE: Arrival = Arrival { interface: EM0, source: Source::Wire };

fn pass_any() -> Firewall {
    Firewall::bridging(vec![pass().any_flags()])
}

#[test]
fn a_connection_across_a_pair_is_pfs_two_states() {
    let mut firewall =
        Firewall::bridging(vec![block(), pass().incoming().on("em0"), pass().outgoing().on("em1")]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000                    -> over to em1
        em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001          -> over to em0
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001           -> over to em1
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp PA seq 1001 ack 5001 len 10   -> over to em1
        em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1011           -> over to em0
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 999999 ack 5001 len 1   -> state-mismatch
        em1: 10.0.0.9.80 > 10.0.0.2.40001 tcp SA seq 1 ack 1                -> match
        ",
    );
    assert_eq!(
        firewall.lines(),
        [
            "all tcp 10.0.0.2:40000 -> 10.0.0.9:80       ESTABLISHED:ESTABLISHED",
            "all tcp 10.0.0.9:80 <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED",
        ]
    );
    let packets = |state: &StateView| (state.source.packets, state.destination.packets);
    assert_eq!(firewall.states().iter().map(packets).collect::<Vec<_>>(), [(3, 2), (3, 2)]);
}

#[test]
fn both_ports_have_rules_and_the_pair_is_a_group() {
    let mut firewall = Firewall::bridging(vec![pass().on("br0"), block().outgoing().on("em1").to_udp(99)]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.9.53 udp -> over to em1
        em0: 10.0.0.2.1 > 10.0.0.9.99 udp -> match
        em1: 10.0.0.9.1 > 10.0.0.2.99 udp -> over to em0
        ",
    );
    let one_sided = "all udp 10.0.0.9:99 <- 10.0.0.2:1       NO_TRAFFIC:SINGLE";
    assert!(firewall.lines().contains(&one_sided.to_owned()), "{:?}", firewall.lines());
    let mut firewall = Firewall::bridging(vec![block().on("br0"), pass().on("em2")]);
    firewall.tell("em0: 10.0.0.2.1 > 10.0.0.9.53 udp -> match");
}

#[test]
fn nobody_routes_what_crosses_a_pair() {
    pass_any().tell(
        "
        em0: 10.0.0.2.1 > 8.8.8.8.53 udp ttl 1              -> over to em1
        em0: 10.0.0.2.1 > 192.0.2.7.53 udp ttl 0            -> over to em1
        em0: 10.0.0.2.1 > 10.2.0.1.53 udp                   -> over to em1
        em1: 10.2.0.1.53 > 10.0.0.2.1 udp                   -> over to em0
        em0: 0.0.0.0.68 > 255.255.255.255.67 udp            -> over to em1
        em0: 10.0.0.2.5353 > 224.0.0.251.5353 udp ttl 255   -> over to em1
        em0: fe80::2.546 > ff02::1:2.547 udp ttl 1          -> over to em1
        em0: fe80::2.1 > fe80::9.53 udp                     -> over to em1
        ",
    );
}

#[test]
fn what_may_appear_on_no_wire_crosses_no_pair() {
    pass_any().tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.2.2 udp       -> martian
        em0: 127.0.0.1.1 > 10.0.0.9.2 udp      -> martian
        em0: 224.0.0.1.1 > 10.0.0.9.2 udp      -> martian
        em0: 10.0.0.2.1 > 10.0.0.9.2 udp fragment df -> fragment
        em0: 10.0.0.2.1 > 10.0.0.9.2 tcp SR    -> normalize
        ",
    );
}

#[test]
fn neighbour_discovery_crosses_by_the_rules() {
    const STORY: [&str; 4] = [
        "2001:db8::2 > ff02::1:ff00:9 icmp 135/0 ttl 255",
        ":: > ff02::1:ff00:2 icmp 135/0 ttl 255",
        "fe80::9 > 2001:db8::2 icmp 136/0 ttl 255",
        "fe80::9 > ff02::1 icmp 134/0 ttl 255",
    ];
    let mut open = Firewall::bridging(vec![block(), pass().proto(Proto::ICMP6).no_state()]);
    let mut closed = Firewall::bridging(vec![block(), pass().proto(Proto::TCP)]);
    for packet in STORY {
        assert_eq!(open.send("em0", packet), "over to em1", "{packet}");
        assert_eq!(closed.send("em0", packet), "match", "{packet}");
    }
    assert_eq!((open.shard.states(), closed.shard.states()), (0, 0));
}

#[test]
fn nothing_crosses_without_rules() {
    let mut firewall = Firewall::bare();
    firewall.fib = bridged(NonIpPolicy::Pass);
    firewall.tell("em0: 10.0.0.2.1 > 10.0.0.9.53 udp -> no-rules");
    assert_eq!(decide(&mut firewall, &plain(EtherType::ARP, Mac::BROADCAST)), Fate::Drop(Reason::NoRules));
    firewall.load(ruleset(vec![block()]));
    assert_eq!(decide(&mut firewall, &plain(EtherType::ARP, Mac::BROADCAST)), Fate::Transmit(EM1));
}

/// An Ethernet frame of zeros.
fn plain(ether_type: EtherType, to: Mac) -> Vec<u8> {
    let mut frame = vec![0; 60];
    let header = ethernet::Repr { dst: to, src: mac(EM0, 2), tags: Tags::None, ether_type };
    header.emit(&mut frame).expect("the room is there");
    frame
}

/// What becomes of a frame, which must be left as it is.
fn decide(firewall: &mut Firewall, frame: &[u8]) -> Fate {
    let mut decided = frame.to_vec();
    let fate = firewall.decide(WIRE, &mut decided);
    assert_eq!(decided, frame, "it crosses or dies as it is");
    fate
}

#[test]
fn frames_without_ip_pass_by_the_policy_of_the_pair() {
    let station = mac(EM1, 2);
    let (over, no, scope) =
        (Fate::Transmit(EM1), Fate::Drop(Reason::EtherType), Fate::Drop(Reason::LinkScope));
    let link_group = |last| Mac([0x01, 0x80, 0xc2, 0, 0, last]);
    for (ether_type, to, passing, blocking) in [
        (EtherType::ARP, Mac::BROADCAST, over, over),
        (EtherType::ARP, station, over, over),
        (EtherType::REVERSE_ARP, Mac::BROADCAST, over, over),
        (EtherType(0x8863), Mac::BROADCAST, over, no),
        (EtherType(0x88b5), station, over, no),
        // 802.3 frames.
        (EtherType(38), Mac([1, 0, 0x0c, 0xcc, 0xcc, 0xcd]), over, no),
        // A third tag hides what it carries.
        (EtherType(0x9100), station, no, no),
        (EtherType(38), link_group(0), scope, scope),
        (EtherType(0x88cc), link_group(0x0e), scope, scope),
        (EtherType(0x8809), link_group(2), scope, scope),
        (EtherType::IPV4, link_group(3), scope, scope),
        (EtherType(0x88b5), link_group(0x10), over, no),
    ] {
        for (policy, expected) in [(NonIpPolicy::Pass, passing), (NonIpPolicy::Block, blocking)] {
            let mut firewall = Firewall::bridging(vec![block()]);
            firewall.fib = bridged(policy);
            let fate = decide(&mut firewall, &plain(ether_type, to));
            assert_eq!(fate, expected, "{ether_type:?} to {to}, {policy:?}");
            assert_eq!(firewall.shard.counters().dropped_in_all(), u64::from(fate != over));
        }
    }
}

#[test]
fn refusals_are_answered_in_the_name_of_the_other_station() {
    let mut firewall =
        Firewall::bridging(vec![block_return(), pass().incoming().on("em0").proto(Proto::TCP).to_port(81)]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000 -> match: 10.0.0.9.80 > 10.0.0.2.40000 tcp RA seq 0 ack 1001 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.0.0.9.81 tcp S seq 1000 -> match: 10.0.0.9.81 > 10.0.0.2.40000 tcp RA seq 0 ack 1001 win 0 ttl 64
        em0: 10.0.0.2.1 > 10.0.0.9.53 udp                -> match: 10.0.0.9 > 10.0.0.2 icmp 3/3 about (10.0.0.2 > 10.0.0.9 proto 17) ttl 64
        em1: 2001:db8::9.1 > 2001:db8::2.53 udp          -> match: 2001:db8::2 > 2001:db8::9 icmp 1/4 about (2001:db8::9 > 2001:db8::2 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.0.0.9.53 udp bad-sum        -> proto-cksum
        ",
    );
    let counters = firewall.shard.counters();
    assert_eq!((counters.created(Created::Rst), counters.created(Created::Icmp)), (2, 2));
}

#[test]
fn what_is_too_large_for_the_other_port_is_dropped_in_silence() {
    let small = |mut interface: Interface| {
        interface.mtu = if interface.name == "em1" { 600 } else { interface.mtu };
        interface
    };
    let mut firewall = pass_any();
    firewall.tell("em0: 10.0.0.2.1 > 10.0.0.9.53 udp len 573 -> over to em1");
    let interfaces = firewall.fib.interfaces().iter().cloned().map(small).collect();
    firewall.fib = Fib::new(2, interfaces, [], []);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.9.53 udp len 572 -> over to em1
        em0: 10.0.0.2.1 > 10.0.0.9.53 udp len 573 df -> too-big
        em1: 10.0.0.9.53 > 10.0.0.2.1 udp len 573 -> over to em0
        ",
    );
    assert_eq!(firewall.states()[0].source.packets, 2, "the one that did not fit counts for no state");
}

#[test]
fn a_port_that_is_down_takes_nothing() {
    let mut firewall = pass_any();
    firewall.tell("em0: 10.0.0.2.1 > 10.0.0.9.53 udp -> over to em1");
    let down = |interface: &Interface| Interface { up: interface.name != "em1", ..interface.clone() };
    firewall.fib = Fib::new(2, firewall.fib.interfaces().iter().map(down).collect(), [], []);
    firewall.tell("em0: 10.0.0.2.1 > 10.0.0.9.53 udp -> port-down");
    assert_eq!(decide(&mut firewall, &plain(EtherType::ARP, Mac::BROADCAST)), Fate::Drop(Reason::PortDown));
}

/// A packet from one station to the other, with a tag.
fn tagged(text: &str, vid: u16) -> Vec<u8> {
    let mut frame = packet::Packet::parse(text).frame(mac(EM0, 2), mac(EM1, 2));
    let [high, low] = vid.to_be_bytes();
    frame.splice(12..12, [0x81, 0x00, high, low]);
    frame
}

#[test]
fn tags_stay_and_tell_connections_apart() {
    let mut firewall = Firewall::bridging(vec![block(), pass().proto(Proto::TCP).to_port(80)]);
    let syn = "10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000";
    let ack = "10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 1";
    assert_eq!(decide(&mut firewall, &tagged(syn, 5)), Fate::Transmit(EM1));
    assert_eq!(firewall.shard.states(), 2);
    assert_eq!(decide(&mut firewall, &tagged(syn, 6)), Fate::Transmit(EM1));
    firewall.tell(&format!("em0: {syn} -> over to em1"));
    assert_eq!(firewall.shard.states(), 6, "three connections");
    assert_eq!(decide(&mut firewall, &tagged(ack, 7)), Fate::Drop(Reason::Match), "one that nobody began");
}

#[test]
fn an_answer_has_the_tag_of_its_question() {
    let mut firewall = Firewall::bridging(vec![block_return()]);
    for text in ["10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000", "10.0.0.2.1 > 10.0.0.9.53 udp"] {
        let question = tagged(text, 0x6005);
        let mut frame = question.clone();
        assert_eq!(firewall.decide(WIRE, &mut frame), Fate::Transmit(EM0), "{text}");
        assert_eq!((&frame[..6], &frame[6..12]), (&question[6..12], &question[..6]), "to its sender");
        let answer = ethernet::Frame::parse(&frame).expect("a frame");
        let tag = Tag { tpid: EtherType::VLAN, tci: 0x6005 };
        assert_eq!((answer.tags(), answer.ether_type()), (Tags::One(tag), EtherType::IPV4), "{text}");
        let untagged = [&frame[..12], &frame[16..]].concat();
        assert!(packet::render(&untagged).starts_with("10.0.0.9"), "{}", packet::render(&untagged));
    }
}

/// With more than one hop to live packets of established connections take the short way, with one they take the long one.
#[test]
fn the_short_way_across_a_pair_ends_where_the_long_one_does() {
    const STORY: &str = "
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000 TTL                  -> over to em1
        em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 TTL        -> over to em0
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001 TTL         -> over to em1
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001 len 99 TTL  -> over to em1
        em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1100 len 7 TTL   -> over to em0
        em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp A seq 5008 ack 1100 len 7 TTL   -> over to em0
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 999999 ack 5001 len 1 TTL -> state-mismatch
        em0: 2001:db8::2.7 > 2001:db8::9.53 udp len 9 TTL                     -> over to em1
        em1: 2001:db8::9.53 > 2001:db8::2.7 udp len 9 TTL                     -> over to em0
        em0: 2001:db8::2.7 > 2001:db8::9.53 udp len 9 TTL                     -> over to em1
        em1: 2001:db8::9.53 > 2001:db8::2.7 udp len 9 TTL                     -> over to em0
        em0: 2001:db8::2.7 > 2001:db8::9.53 udp len 9 TTL                     -> over to em1
        em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp FA seq 1100 ack 5015 TTL        -> over to em1
        em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp A seq 5015 ack 1101 TTL         -> over to em0
    ";
    let run = |ttl: &str| {
        let mut firewall = Firewall::bridging(vec![pass()]);
        firewall.tell(&STORY.replace("TTL", ttl));
        let usage = firewall.usage().iter().map(|rule| rule.counted).collect::<Vec<_>>();
        (firewall.dump(), usage)
    };
    assert_eq!(run("ttl 64"), run("ttl 1"));
}

/// As the story above, in a VLAN; every packet is told by what became of it.
#[test]
fn the_short_way_across_a_pair_is_open_to_tagged_frames() {
    let run = |ttl: u8, vid: u16| {
        let mut firewall =
            Firewall::bridging(vec![block(), pass().incoming().on("em0"), pass().outgoing().on("em1")]);
        let mut fates = Vec::new();
        let packets = |text: &str, from: &str| {
            let [out, back] =
                [tagged(&format!("{text} ttl {ttl}"), vid), tagged(&format!("{from} ttl {ttl}"), vid)];
            [(EM0, out), (EM1, back)]
        };
        let udp6 =
            packets("2001:db8::2.7 > 2001:db8::9.53 udp len 9", "2001:db8::9.53 > 2001:db8::2.7 udp len 9");
        let udp4 = packets("10.0.0.2.7 > 10.0.0.9.53 udp len 9", "10.0.0.9.53 > 10.0.0.2.7 udp len 9");
        let strange =
            packets("2001:db8::3.7 > 2001:db8::9.53 udp len 9", "2001:db8::9.53 > 2001:db8::4.7 udp len 9");
        for (interface, frame) in [&udp6, &udp4].into_iter().cycle().take(10).flatten().chain(&strange) {
            let mut decided = frame.clone();
            fates
                .push(firewall.decide(Arrival { interface: *interface, source: Source::Wire }, &mut decided));
            assert_eq!(decided, *frame, "a pair changes nothing");
        }
        (fates, firewall.dump())
    };
    for vid in [0, 5, 0x6005] {
        assert_eq!(run(64, vid), run(1, vid), "VLAN {vid:#x}");
    }
    let passed = run(64, 5).0.iter().filter(|fate| matches!(fate, Fate::Transmit(_))).count();
    assert_eq!(passed, 21, "all but the answer that nobody asked for");
}

/// A burst is decided as its frames one by one are: to whichever station, routed and bridged ports alike.
#[test]
fn a_burst_across_a_pair_is_its_frames_one_by_one() {
    let words = [
        ("10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001 len 10", 2),
        ("10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1011 ack 5001 len 10", 9),
        ("10.0.0.2.1 > 10.0.0.9.53 udp", 2),
        ("10.0.0.2.1 > 10.0.0.9.53 udp", 3),
        ("2001:db8::2.1 > 2001:db8::9.53 udp", 2),
        ("10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1021 ack 5001 len 10", 1),
    ];
    let established = || {
        let mut firewall = Firewall::bridging(vec![pass()]);
        firewall.tell(
            "
            em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000           -> over to em1
            em1: 10.0.0.9.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 -> over to em0
            em0: 10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001  -> over to em1
            ",
        );
        firewall
    };
    let frames: Vec<Vec<u8>> = words
        .iter()
        .map(|(text, station)| packet::Packet::parse(text).frame(mac(EM0, 2), mac(EM1, *station)))
        .collect();
    let (mut one_by_one, mut together) = (established(), established());
    let fates: Vec<Fate> = frames.iter().map(|frame| decide(&mut one_by_one, frame)).collect();
    assert_eq!(fates, [Fate::Transmit(EM1); 6]);
    let mut burst = frames.clone();
    assert_eq!(together.decide_burst(WIRE, &mut burst), fates);
    assert_eq!(burst, frames);
    assert_eq!(together.dump(), one_by_one.dump());
}

#[test]
fn a_packet_of_a_flow_that_is_made_one_of_the_other_family_elsewhere_does_not_cross() {
    let mut firewall = Firewall::bridging(vec![
        pass().any_flags(),
        pass().incoming().on("em2").to("64:ff9b::/96").af_to("10.2.0.1", (50_001, 50_001), None),
    ]);
    firewall.tell(
        "
        em2: 2001:db8:9::2.40000 > 64:ff9b::10.2.0.2.53 udp len 9 -> out em2 as 10.2.0.1.50001 > 10.2.0.2.53 udp len 9 ident 59091
        em0: 2001:db8:9::2.40000 > 64:ff9b::10.2.0.2.53 udp len 9 -> translate
        em0: 2001:db8:9::2.40000 > 64:ff9b::10.2.0.2.54 udp len 9 -> over to em1
        ",
    );
}
