//! Fragments that contradict each other, that overlap, and that nobody honest sends.

use crate::firewall::fragment::{cut4, cut6, every, frame4, join, piece6};
use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, pass};
use crate::firewall::team::Team;
use crate::firewall::{EM0, EM1, Firewall, arrival, mac};
use engine::Fate;
use ruleset::Reason;
use wire::{Fragment, ipv4};

fn frame(text: &str) -> Vec<u8> {
    Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1))
}

fn whole() -> Vec<u8> {
    frame("10.0.0.2.1 > 10.1.0.2.53 udp len 192")
}

fn whole6() -> Vec<u8> {
    frame("2001:db8::2.1 > 2001:db8:1::2.53 udp len 192")
}

fn pass_all() -> Firewall {
    Firewall::with(vec![pass().any_flags()])
}

/// A fragment of [`whole`]: these bytes of its data, or as many of another value where they are filled.
fn part(from: usize, to: usize, more: bool, fill: Option<u8>) -> Vec<u8> {
    let whole = whole();
    let packet = ipv4::Packet::parse(&whole[14..]).unwrap();
    let data = match fill {
        Some(octet) => vec![octet; to - from],
        None => packet.payload()[from..to].to_vec(),
    };
    let header = ipv4::Repr {
        ident: 7,
        fragment_offset: from as u16,
        more_fragments: more,
        payload_len: data.len(),
        ..ipv4::Repr::of(&packet)
    };
    frame4(&whole[..14], &header, &data)
}

/// Sends fragments: the data of the datagram that leaves, if one does.
fn data_of(fragments: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut firewall = pass_all();
    for fragment in fragments {
        let _ = firewall.decide(arrival("em0"), &mut fragment.clone());
    }
    let left: Vec<Vec<u8>> = firewall.pieces().into_iter().map(|(_, frame)| frame).collect();
    (!left.is_empty()).then(|| join(&left)[34..].to_vec())
}

/// C1: what is there first wins at its end, what comes later wins over what lies behind its beginning.
#[test]
fn c01_ipv4_overlaps_are_cut_as_pf_cuts_them() {
    let plain = whole()[34..].to_vec();
    let with = |from: usize, to: usize, octet: u8| {
        let mut data = plain.clone();
        data[from..to].fill(octet);
        data
    };
    // cutnew: the head of the new one.
    let cut_new = [part(0, 96, true, None), part(64, 136, true, Some(1)), part(136, 200, false, None)];
    assert_eq!(data_of(&cut_new), Some(with(96, 136, 1)));
    // cutold: the head of the one behind it.
    let cut_old = [part(96, 200, false, None), part(64, 136, true, Some(2)), part(0, 64, true, None)];
    assert_eq!(data_of(&cut_old), Some(with(64, 136, 2)));
    // dropnew: it is there already.
    let drop_new = [part(0, 104, true, None), part(40, 80, true, Some(3)), part(104, 200, false, None)];
    assert_eq!(data_of(&drop_new), Some(plain.clone()));
    // dropold: what is covered goes.
    let drop_old = [part(96, 120, true, Some(4)), part(64, 160, true, Some(5)), part(0, 64, true, None)];
    let ended = [&drop_old[..], &[part(160, 200, false, None)]].concat();
    assert_eq!(data_of(&ended), Some(with(64, 160, 5)));
    // The same twice.
    let twice = [part(0, 96, true, None), part(0, 96, true, None), part(96, 200, false, None)];
    assert_eq!(data_of(&twice), Some(plain));
}

/// C1, RFC 5722: nothing of a datagram with an overlap is taken, whatever comes later.
#[test]
fn c01_an_ipv6_datagram_with_an_overlap_is_dropped_to_its_end() {
    let cut = cut6(&whole6(), 7, &[96]);
    let head = &whole6()[..14 + 40];
    let overlap = piece6(head, Fragment { ident: 7, offset: 88, more: true }, &[0; 16]);
    let again = cut[0].clone();
    for intruder in [overlap, again] {
        let mut firewall = pass_all();
        for (fragment, dropped) in [(&cut[0], 0), (&intruder, 2), (&cut[1], 3), (&cut[0], 4)] {
            let _ = firewall.decide(arrival("em0"), &mut fragment.clone());
            assert_eq!(firewall.dropped(Reason::Fragment), dropped);
        }
        assert_eq!((firewall.pieces(), firewall.shard.fragments()), (vec![], 0));
        // When its time is over, the identification may be used again.
        firewall.wait(60).expire_fragments();
        for fragment in &cut {
            assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Kept);
        }
        assert_eq!(firewall.pieces().len(), 2, "as they came");
    }
}

/// C2: lengths and ends that cannot be.
#[test]
fn c02_fragments_that_fit_no_datagram_are_dropped() {
    let long = frame("10.0.0.2.1 > 10.1.0.2.53 udp len 1400");
    let packet = ipv4::Packet::parse(&long[14..]).unwrap();
    let beyond = |fragment_offset: u16, length: usize, more_fragments| {
        let header =
            ipv4::Repr { fragment_offset, more_fragments, payload_len: length, ..ipv4::Repr::of(&packet) };
        frame4(&long[..14], &header, &packet.payload()[..length])
    };
    for (what, fragment) in [
        ("ping of death", beyond(65_528, 1000, false)),
        ("ends behind the end", beyond(65_520, 16, true)),
        ("not a multiple of eight", part(0, 97, true, None)),
        ("empty", beyond(8, 0, true)),
        ("empty and last", beyond(8, 0, false)),
    ] {
        let mut firewall = pass_all();
        let fate = firewall.decide(arrival("em0"), &mut fragment.clone());
        assert_eq!(fate, Fate::Drop(Reason::Fragment), "{what}");
        assert_eq!(firewall.shard.fragments(), 0);
    }
    // The header does not count as data, but the datagram may be no longer than its length field can say.
    let mut firewall = pass_all();
    for at in 0..46u16 {
        let (offset, last) = (at * 1424, at == 45);
        let length = if last { 65_535 - 1424 * 45 } else { 1424 };
        let data = vec![0; length];
        let header = ipv4::Repr {
            fragment_offset: offset,
            more_fragments: !last,
            payload_len: length,
            ..ipv4::Repr::of(&packet)
        };
        let fate = firewall.decide(arrival("em0"), &mut frame4(&long[..14], &header, &data));
        assert_eq!(fate, Fate::Kept);
    }
    assert_eq!((firewall.pieces(), firewall.dropped(Reason::Fragment)), (vec![], 1));
}

#[test]
fn c02_a_second_end_of_a_datagram_is_dropped() {
    let plain = Some(whole()[34..].to_vec());
    let (first, last) = (part(0, 96, true, None), part(96, 200, false, None));
    for intruder in [
        part(96, 160, false, Some(1)),
        part(160, 200, true, Some(1)),
        part(192, 200, false, Some(1)),
        part(96, 200, true, Some(1)),
    ] {
        assert_eq!(data_of(&[last.clone(), intruder, first.clone()]), plain);
    }
}

/// C2: the smallest fragments that there can be.
#[test]
fn c02_a_datagram_in_fragments_of_eight_bytes_passes() {
    let text = "10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1 len 180";
    let mut firewall = pass_all();
    for fragment in cut4(&frame(text), 7, &every(8, 200)).iter().rev() {
        assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Kept);
    }
    let [(Fate::Transmit(EM1), left)] = &firewall.pieces()[..] else { panic!("one datagram") };
    let mut sent = Packet::parse(text).with_ttl(63).frame(mac(EM1, 1), mac(EM1, 2));
    // The identification of the fragments, and the checksum that covers it.
    sent[18..20].copy_from_slice(&[0, 7]);
    sent[24..26].copy_from_slice(&left[24..26]);
    assert_eq!(*left, sent);
}

/// C2: in any order, with each fragment as often as one likes, and a last one of one byte.
#[test]
fn c02_fragments_in_any_order_and_repeated_become_one_datagram() {
    let text = "10.0.0.2.1 > 10.1.0.2.53 udp len 1273";
    let plain = frame(text);
    let cut = cut4(&plain, 7, &every(64, 1281));
    assert_eq!(cut.last().map(Vec::len), Some(34 + 1));
    for seed in 0..50_usize {
        let mut order: Vec<usize> = (0..cut.len()).collect();
        order.sort_by_key(|at| (at + 1) * (2 * seed + 7919) % 4801);
        let (last, others) = order.split_last().expect("fragments");
        let mut firewall = pass_all();
        for (place, at) in others.iter().enumerate() {
            for _ in 0..=seed % 3 {
                let fate = firewall.decide(arrival("em0"), &mut cut[*at].clone());
                assert!(matches!(fate, Fate::Kept | Fate::Drop(Reason::Fragment)), "{fate:?}");
            }
            assert_eq!(firewall.shard.fragments() as usize, place + 1, "a copy does not count");
        }
        assert_eq!(firewall.decide(arrival("em0"), &mut cut[*last].clone()), Fate::Kept);
        let left: Vec<Vec<u8>> = firewall.pieces().into_iter().map(|(_, frame)| frame).collect();
        assert_eq!(join(&left)[34..], plain[34..], "seed {seed}");
        assert_eq!(firewall.shard.fragments(), 0);
    }
}

/// C2: a thousand copies of one fragment take the room of one.
#[test]
fn c02_a_flood_of_copies_does_not_use_up_the_room() {
    let mut rules = crate::firewall::rules::ruleset(vec![pass().any_flags()]);
    rules.options.limits.set(ruleset::Limit::Frags, 4);
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    let others = cut4(&frame("10.0.0.2.2 > 10.1.0.2.53 udp len 192"), 8, &[96]);
    assert_eq!(firewall.decide(arrival("em0"), &mut others[0].clone()), Fate::Kept);
    for _ in 0..1000 {
        let _ = firewall.decide(arrival("em0"), &mut part(0, 96, true, None));
    }
    assert_eq!(firewall.shard.fragments(), 2);
    assert_eq!(firewall.decide(arrival("em0"), &mut others[1].clone()), Fate::Kept);
    assert_eq!(firewall.pieces().len(), 1, "who came before is not pushed out");
}

/// C3: without its first fragment nobody knows what a datagram is. It waits for a minute, and nothing of it ever leaves.
#[test]
fn c03_a_datagram_whose_first_fragment_is_lost_never_leaves() {
    for later in [vec![part(96, 200, false, None)], cut6(&whole6(), 7, &[96])[1..].to_vec()] {
        let mut firewall = pass_all();
        for fragment in &later {
            assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Kept);
        }
        firewall.wait(59).expire_fragments();
        assert_eq!((firewall.shard.fragments(), firewall.dropped(Reason::Fragment)), (1, 0));
        firewall.wait(1).expire_fragments();
        assert_eq!((firewall.shard.fragments(), firewall.dropped(Reason::Fragment)), (0, 1));
        // The first one alone, too late, waits in its turn.
        assert_eq!(firewall.decide(arrival("em0"), &mut part(0, 96, true, None)), Fate::Kept);
        assert_eq!((firewall.pieces(), firewall.shard.states()), (vec![], 0));
    }
}

/// C3, CVE-2018-5391: a search for the place of a fragment is bounded.
#[test]
fn c03_nothing_is_kept_of_a_datagram_with_too_many_fragments_at_one_place() {
    let text = "10.0.0.2.1 > 10.1.0.2.53 udp len 4000";
    let cut = cut4(&frame(text), 7, &every(8, 4008));
    let mut firewall = pass_all();
    for fragment in &cut[..64] {
        assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Kept);
    }
    assert_eq!(firewall.decide(arrival("em0"), &mut cut[64].clone()), Fate::Drop(Reason::Fragment));
    assert_eq!((firewall.shard.fragments(), firewall.dropped(Reason::Fragment)), (0, 65));
    assert_eq!(firewall.decide(arrival("em0"), &mut cut[65].clone()), Fate::Drop(Reason::Fragment));
}

/// C4, CVE-2019-5597: which header follows is said by the first fragment, and where the data begins by each.
#[test]
fn c04_later_fragments_do_not_say_what_the_datagram_is() {
    let mut cut = cut6(&whole6(), 7, &[96]);
    cut[1][14 + 40] = 6;
    let mut firewall = pass_all();
    for fragment in &cut {
        assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Kept);
    }
    let left: Vec<Vec<u8>> = firewall.pieces().into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(join(&left)[14 + 40..], whole6()[14 + 40..]);
}

/// C4, CVE-2023-4809: a fragment has one header of fragments, wherever a second one stands, and none inside of it.
#[test]
fn c04_a_fragment_of_a_fragment_is_dropped() {
    let whole = whole6();
    let (head, data) = whole.split_at(14 + 40);
    // A fragment header by itself, in front of so much.
    let inner = |fragment: Fragment, data: &[u8]| piece6(head, fragment, data)[14 + 40..].to_vec();
    let part = |offset, more| Fragment { ident: 7, offset, more };
    for (outer, within) in [
        (part(0, true), inner(part(0, true), &data[..96])),
        (part(0, true), inner(part(0, false), data)),
        (part(0, false), inner(part(0, false), data)),
        (part(0, false), inner(part(8, true), &data[..96])),
        (part(96, false), inner(part(0, true), &data[..96])),
    ] {
        let mut nested = piece6(head, outer, &within);
        // What follows the outer header is the inner one.
        nested[14 + 40] = 44;
        let mut firewall = pass_all();
        let fate = firewall.decide(arrival("em0"), &mut nested.clone());
        assert_eq!(fate, Fate::Drop(Reason::Fragment), "{outer:?}");
        assert_eq!((firewall.shard.fragments(), firewall.shard.states()), (0, 0));
    }
}

#[test]
fn ipv4_fragments_that_may_not_be_fragmented_need_no_df() {
    let cut = cut4(&frame("10.0.0.2.1 > 10.1.0.2.53 udp len 192 df"), 7, &[96]);
    let mut firewall = pass_all();
    for fragment in &cut {
        assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Drop(Reason::Fragment));
    }
    let mut rules = crate::firewall::rules::ruleset(vec![pass().any_flags()]);
    rules.options.reassemble.no_df = true;
    firewall.load(rules);
    for fragment in &cut {
        assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Kept);
    }
    let [(_, left)] = &firewall.pieces()[..] else { panic!("one datagram") };
    assert_eq!(left[20] & 0x40, 0, "from now on it may be");
}

/// C6: fragments go to their home, the datagram to the home of its flow, each in a few steps.
#[test]
fn c06_workers_hand_fragments_to_one_and_datagrams_to_the_owner_of_the_flow() {
    const WORKERS: u16 = 4;
    let mut team = Team::of(WORKERS, 64, &[pass().any_flags()]);
    let mut seen = [0; WORKERS as usize];
    for ident in 0..40 {
        let text = format!("10.0.0.2.{} > 10.1.0.2.53 udp len 3000", 1 + ident % 8);
        let cut = cut4(&frame(&text), ident, &[1480]);
        let left =
            team.gather(&cut.iter().map(|fragment| (ident % WORKERS, fragment.clone())).collect::<Vec<_>>());
        let frames: Vec<Vec<u8>> = left.iter().map(|(_, _, frame)| frame.clone()).collect();
        assert!(left.iter().all(|(_, fate, _)| *fate == Fate::Transmit(EM1)));
        assert_eq!(join(&frames)[34..], frame(&text)[34..]);
        seen[usize::from(left[0].0)] += 1;
    }
    assert!(seen.iter().filter(|count| **count > 0).count() > 1, "flows have different owners: {seen:?}");
    assert_eq!(team.states().iter().sum::<u32>(), 16, "each flow has its states once");
}
