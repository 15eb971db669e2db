//! Copies of what crosses a transparent pair, which takes the short way with its tags: each is the frame as it was.

use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{Firewall, arrival, mac, packet::Packet};
use engine::{Arrival, Created, Fate};
use ruleset::{AddressMatch, AddressPattern, Rule, Ruleset, Table};

/// An established connection's packets, after its handshake, by where they arrive.
const HANDSHAKE: [(&str, &str); 3] = [
    ("em0", "10.0.0.2.40000 > 10.0.0.9.80 tcp S seq 1000 win 8192"),
    ("em1", "10.0.0.9.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 win 8192"),
    ("em0", "10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001 win 8192"),
];
const DATA: [(&str, &str); 6] = [
    ("em0", "10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1001 ack 5001 win 8192"),
    ("em1", "10.0.0.9.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 win 8192 len 7"),
    ("em0", "10.0.0.2.40000 > 10.0.0.9.80 tcp PA seq 1001 ack 5008 win 8192 len 30"),
    ("em0", "10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1031 ack 5008 win 8192 ttl 1"),
    ("em1", "10.0.0.9.80 > 10.0.0.2.40000 tcp A seq 5008 ack 1031 win 8192"),
    ("em0", "10.0.0.2.40000 > 10.0.0.9.80 tcp A seq 1031 ack 5008 win 8192"),
];

/// None, one, and a service tag in front of it.
const TAGS: [&[u8]; 3] = [&[], &[0x81, 0, 0x60, 5], &[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5]];

/// From one station behind the pair to another.
fn frame(arrival: Arrival, text: &str, tags: &[u8]) -> Vec<u8> {
    let frame = Packet::parse(text).frame(mac(arrival.interface, 2), mac(arrival.interface, 9));
    [&frame[..12], tags, &frame[12..]].concat()
}

/// These rules behind one that matches nothing. Where it asks a table, no copy goes the short way.
fn behind(never: Rule, rules: &[Rule]) -> Ruleset {
    let table = Table { name: "t".into(), entries: Some(Vec::new()), ..Table::default() };
    let all = [never, pass()].into_iter().chain(rules.iter().cloned()).collect();
    Ruleset { tables: vec![table], ..ruleset(all) }
}

/// Everything that is left of a burst of such frames.
fn seen(firewall: &mut Firewall, arrival: Arrival, frames: &[Vec<u8>]) -> impl PartialEq + std::fmt::Debug {
    let mut frames = frames.to_vec();
    let fates = firewall.decide_burst(arrival, &mut frames);
    let counters = firewall.shard.counters();
    let counted = (counters.created(Created::Copy), counters.drops().to_vec(), firewall.usage());
    (fates, frames, firewall.copies(), counted, firewall.dump())
}

#[test]
fn the_short_way_makes_the_copies_of_the_long_one() {
    let rules = [
        vec![pass().incoming().on("em0").dup_to("span3")],
        vec![pass().outgoing().on("em1").dup_to("span4"), pass().incoming().on("em0").dup_to("span3")],
        vec![pass().on("br0").dup_to("span3"), pass().outgoing().on("span3").dup_to("span4")],
        vec![pass().on("br0").dup_to("span3"), block().outgoing().on("span3").from("10.0.0.9/32")],
    ];
    let nothing = AddressMatch { negated: false, pattern: AddressPattern::Table("t".into()) };
    for (rules, tags) in rules.iter().flat_map(|rules| TAGS.map(|tags| (rules, tags))) {
        let never =
            [block().from("192.0.2.9/32"), block().change(|rule| rule.from.address = nothing.clone())];
        let [mut short, mut long] = never.map(|never| Firewall::bridging_with_spans(behind(never, rules)));
        for (place, text) in HANDSHAKE.into_iter().chain(DATA).chain(DATA) {
            let arrival = arrival(place);
            let burst = vec![frame(arrival, text, tags); 2];
            let [short, long] = [&mut short, &mut long].map(|firewall| seen(firewall, arrival, &burst));
            assert_eq!(short, long, "{text}, tags {tags:?}, {rules:?}");
        }
    }
}

/// Both directions of a connection, each frame once, to the last byte, and the original crosses unchanged.
#[test]
fn copies_are_the_frames_of_both_directions_with_their_tags() {
    for tags in TAGS {
        let rules = behind(block().from("192.0.2.9/32"), &[pass().incoming().on("em0").dup_to("span3")]);
        let mut firewall = Firewall::bridging_with_spans(rules);
        for (number, (place, text)) in HANDSHAKE.into_iter().chain(DATA).enumerate() {
            let arrival = arrival(place);
            let original = frame(arrival, text, tags);
            let mut crossing = original.clone();
            let fate = firewall.decide(arrival, &mut crossing);
            assert!(matches!(fate, Fate::Transmit(out) if out != arrival.interface), "{text}: {fate:?}");
            assert_eq!(crossing, original, "{text}, tags {tags:?}");
            let copies = firewall.copies();
            let taken: Vec<_> = copies.iter().map(|(to, _, copy)| (to.0, copy)).collect();
            assert_eq!(taken, [(3, &original)], "{text}, tags {tags:?}");
            assert_eq!(firewall.shard.counters().created(Created::Copy), number as u64 + 1);
        }
    }
}
