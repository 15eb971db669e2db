//! Stories of fragments: datagrams that come in them are judged as a whole, and leave as the link takes them.

use crate::firewall::fragment::{cut4, cut6, every, join, read};
use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, block_return, pass, ruleset};
use crate::firewall::{EM0, EM1, EM2, Firewall, arrival, mac};
use engine::{Fate, Source};
use ruleset::{Limit, Reason, Rule, StateMode};
use wire::Proto;

/// The frame of a packet that comes by `em0` or, for hosts there, `em1`.
fn frame(interface: &str, text: &str) -> Vec<u8> {
    let at = arrival(interface);
    let (from, to) = match at.source {
        Source::Wire => (mac(at.interface, 2), mac(at.interface, 1)),
        Source::Host => (mac(at.interface, 1), mac(at.interface, 2)),
    };
    Packet::parse(text).frame(from, to)
}

/// Sends fragments: what they left, and what becomes of it.
fn send(firewall: &mut Firewall, interface: &str, fragments: &[Vec<u8>]) -> Vec<(Fate, Vec<u8>)> {
    for fragment in fragments {
        let fate = firewall.decide(arrival(interface), &mut fragment.clone());
        assert!(matches!(fate, Fate::Kept | Fate::Drop(_)), "{fate:?}");
    }
    firewall.pieces()
}

/// What leaves of a datagram in fragments: where, and the datagram as which. `None` if nothing does.
fn pass_on(firewall: &mut Firewall, interface: &str, fragments: &[Vec<u8>]) -> Option<(Fate, Vec<u8>)> {
    let left = send(firewall, interface, fragments);
    let (fate, _) = left.first()?;
    assert!(left.iter().all(|(other, _)| other == fate), "all pieces go the same way");
    Some((*fate, join(&left.iter().map(|(_, frame)| frame.clone()).collect::<Vec<_>>())))
}

/// What a packet is behind the firewall.
fn forwarded(text: &str, out: engine::InterfaceId) -> Vec<u8> {
    let packet = Packet::parse(text);
    packet.with_ttl(packet.ttl - 1).frame(mac(out, 1), mac(out, 2))
}

fn pass_all() -> Firewall {
    Firewall::with(vec![pass().any_flags()])
}

const LARGE: &str = "10.0.0.2.1 > 10.1.0.2.53 udp len 4000";
const LARGE6: &str = "2001:db8::2.1 > 2001:db8:1::2.53 udp len 4000";

#[test]
fn a_datagram_is_forwarded_whichever_of_its_fragments_comes_first() {
    for (text, cut) in [
        (LARGE, cut4(&frame("em0", LARGE), 7, &[1480, 2960])),
        (LARGE6, cut6(&frame("em0", LARGE6), 7, &[1448, 2896])),
    ] {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut firewall = pass_all();
            let fragments = order.map(|number| cut[number].clone());
            let left = pass_on(&mut firewall, "em0", &fragments);
            assert_eq!(left, Some((Fate::Transmit(EM1), forwarded(text, EM1))), "{order:?}");
            assert_eq!(firewall.shard.fragments(), 0);
            let counters = firewall.shard.counters();
            assert_eq!((counters.joined, counters.created(engine::Created::Fragment)), (2, 2));
        }
    }
}

#[test]
fn rules_see_the_whole_datagram_and_states_count_it_once() {
    let mut firewall = Firewall::with(vec![block(), pass().any_flags().proto(Proto::UDP).to_port(53)]);
    let cut = cut4(&frame("em0", LARGE), 7, &[1480, 2960]);
    assert!(pass_on(&mut firewall, "em0", &cut).is_some());
    assert!(firewall.dump().contains("1:0 pkts, 4028:0 bytes"), "{}", firewall.dump());
    let other = "10.0.0.2.1 > 10.1.0.2.54 udp len 4000";
    assert_eq!(send(&mut firewall, "em0", &cut4(&frame("em0", other), 8, &[1480, 2960])), []);
    assert_eq!(firewall.dropped(Reason::Match), 1, "a datagram is one packet");
    let answer = "10.1.0.2.53 > 10.0.0.2.1 udp len 3000";
    let back = pass_on(&mut firewall, "em1", &cut4(&frame("em1", answer), 9, &[1480]));
    assert_eq!(back, Some((Fate::Transmit(EM0), forwarded(answer, EM0))));
}

/// Checksums cover the whole of a datagram, addresses and ports included.
#[test]
fn a_datagram_is_translated_as_a_whole() {
    let nat = pass().any_flags().outgoing().on("em1").nat_to("10.1.0.1/32", (7000, 7000));
    let mut firewall = Firewall::with(vec![pass().any_flags(), nat]);
    let out = pass_on(&mut firewall, "em0", &cut4(&frame("em0", LARGE), 7, &[800, 2400]));
    let translated = forwarded("10.1.0.1.7000 > 10.1.0.2.53 udp len 4000", EM1);
    assert_eq!(out, Some((Fate::Transmit(EM1), translated)));
    let answer = frame("em1", "10.1.0.2.53 > 10.1.0.1.7000 udp len 3000");
    let back = pass_on(&mut firewall, "em1", &cut4(&answer, 9, &[1480]));
    let expected = forwarded("10.1.0.2.53 > 10.0.0.2.1 udp len 3000", EM0);
    assert_eq!(back, Some((Fate::Transmit(EM0), expected)));
}

/// IPv6 routers never fragment: what came in fragments goes in such as its sender chose, with their identification.
#[test]
fn c07_an_ipv6_datagram_leaves_in_fragments_as_long_as_it_came() {
    let mut firewall = pass_all();
    let whole = frame("em0", LARGE6);
    let mut cut = cut6(&whole, 0xdead_beef, &every(1000, 4008));
    cut.swap(0, 3);
    let left = send(&mut firewall, "em0", &cut);
    let read: Vec<_> = left.iter().map(|(_, frame)| (frame.len() - 14, read(frame).1.unwrap())).collect();
    let lengths: Vec<usize> = read.iter().map(|(length, _)| *length).collect();
    assert_eq!(lengths, [1048, 1048, 1048, 1048, 56]);
    assert!(read.iter().all(|(_, fragment)| fragment.ident == 0xdead_beef));
    // Even where the whole would fit.
    let small = cut6(&frame("em0", "2001:db8::2.1 > 2001:db8:1::2.53 udp len 92"), 1, &[48]);
    assert_eq!(send(&mut firewall, "em0", &small).len(), 3, "48 bytes each");
}

#[test]
fn c07_an_ipv6_fragment_that_is_too_long_for_a_link_is_answered_with_its_size() {
    let mut firewall = pass_all();
    let fib = firewall.fib.clone();
    let mut interfaces = fib.interfaces().to_vec();
    interfaces[1].mtu = 1300;
    firewall.fib = engine::Fib::new(2, interfaces, crate::firewall::routes(), crate::firewall::neighbors());
    let left = send(&mut firewall, "em0", &cut6(&frame("em0", LARGE6), 7, &[1448, 2896]));
    let [(Fate::Transmit(EM0), answer)] = &left[..] else { panic!("{left:?}") };
    assert!(render(answer).starts_with("2001:db8::1 > 2001:db8::2 icmp 2/0"), "{}", render(answer));
    assert_eq!(answer[14 + 44..14 + 48], 1300_u32.to_be_bytes());
    assert_eq!(firewall.dropped(Reason::TooBig), 1);
    let fitting = cut6(&frame("em0", LARGE6), 8, &every(1248, 4008));
    let left = pass_on(&mut firewall, "em0", &fitting);
    assert_eq!(left, Some((Fate::Transmit(EM1), forwarded(LARGE6, EM1))));
}

#[test]
fn c07_an_ipv4_datagram_is_cut_for_its_next_link() {
    let mut firewall = pass_all();
    let text = "10.0.0.2.1 > 10.2.0.2.53 udp len 1300";
    let mut whole = frame("em0", text);
    assert_eq!(firewall.decide(arrival("em0"), &mut whole), Fate::Kept);
    let left = firewall.pieces();
    let lengths: Vec<usize> = left.iter().map(|(_, frame)| frame.len() - 14).collect();
    assert_eq!(lengths, [596, 596, 176], "multiples of eight, and at most 600");
    let frames: Vec<Vec<u8>> = left.into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(join(&frames), forwarded(text, EM2));
    // Fragments are put together before, and cut anew.
    let cut = cut4(&frame("em0", text), 77, &[800]);
    let left = send(&mut firewall, "em0", &cut);
    assert_eq!(left.iter().map(|(_, frame)| frame.len() - 14).collect::<Vec<_>>(), [596, 596, 176]);
    assert!(left.iter().all(|(_, frame)| read(frame).1.unwrap().ident == 77), "the identification stays");
    let counters = firewall.shard.counters();
    assert_eq!((counters.created(engine::Created::Fragment), counters.joined), (4, 1));
}

/// RFC 1191 §4: what may not be cut is dropped, and its sender told of the link that it does not fit.
#[test]
fn c07_a_packet_that_may_not_be_cut_is_answered_with_the_size_of_the_link() {
    let mut firewall = pass_all();
    let mut interfaces = firewall.fib.interfaces().to_vec();
    interfaces[1].mtu = 1300;
    firewall.fib = engine::Fib::new(2, interfaces, crate::firewall::routes(), crate::firewall::neighbors());
    for (length, passes) in [(1272, true), (1273, false), (1400, false)] {
        let text = format!("10.0.0.2.1 > 10.1.0.2.53 udp len {length} df");
        let mut packet = frame("em0", &text);
        match firewall.decide(arrival("em0"), &mut packet) {
            Fate::Transmit(EM1) => assert!(passes, "{text}"),
            Fate::Transmit(EM0) => {
                assert!(!passes && render(&packet).starts_with("10.0.0.1 > 10.0.0.2 icmp 3/4"), "{text}");
                assert_eq!(packet[14 + 20 + 6..14 + 20 + 8], 1300_u16.to_be_bytes());
            }
            fate => panic!("{text}: {fate:?}"),
        }
    }
    assert_eq!((firewall.dropped(Reason::TooBig), firewall.pieces()), (2, vec![]));
}

/// RFC 791 §3.1: an option with the copied flag goes into every fragment, others into the first only.
#[test]
fn options_go_into_fragments_by_their_flag() {
    use wire::ipv4::{OptionKind, Repr};
    let mut firewall = Firewall::with(vec![pass().any_flags().allow_opts()]);
    let plain = frame("em0", "10.0.0.2.1 > 10.2.0.2.53 udp len 1300");
    let packet = wire::ipv4::Packet::parse(&plain[14..]).unwrap();
    let mut header = Repr::of(&packet);
    header.options.push(OptionKind::RECORD_ROUTE, &[4, 0, 0, 0, 0]).unwrap();
    header.options.push(OptionKind::ROUTER_ALERT, &[0, 0]).unwrap();
    let mut whole = crate::firewall::fragment::frame4(&plain[..14], &header, packet.payload());
    assert_eq!(firewall.decide(arrival("em0"), &mut whole), Fate::Kept);
    let options: Vec<Vec<u8>> = firewall
        .pieces()
        .iter()
        .map(|(_, frame)| {
            assert!(frame.len() <= 14 + 600);
            let packet = wire::ipv4::Packet::parse(&frame[14..]).unwrap();
            packet.verify_checksum().unwrap();
            packet.options().octets().to_vec()
        })
        .collect();
    assert_eq!(options[0], [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0]);
    assert!(options.len() > 2 && options[1..].iter().all(|options| options[..] == [148, 4, 0, 0]));
}

#[test]
fn datagrams_for_the_host_and_from_it_are_judged_as_a_whole() {
    let mut firewall = Firewall::with(vec![block(), pass().any_flags().proto(Proto::UDP).to_port(53)]);
    let own = "10.0.0.2.1 > 10.0.0.1.53 udp len 4000";
    let to_host = pass_on(&mut firewall, "em0", &cut4(&frame("em0", own), 7, &[1480, 2960]));
    assert_eq!(to_host, Some((Fate::Host(EM0), frame("em0", own))));
    let answer = "10.0.0.1.53 > 10.0.0.2.1 udp len 4000";
    let from_host = pass_on(&mut firewall, "em0 host", &cut4(&frame("em0 host", answer), 8, &[1480, 2960]));
    assert_eq!(from_host, Some((Fate::Transmit(EM0), frame("em0 host", answer))));
    let refused = "10.0.0.1.53 > 10.0.0.2.9 udp len 4000";
    assert_eq!(send(&mut firewall, "em0 host", &cut4(&frame("em0 host", refused), 9, &[1480, 2960])), []);
}

#[test]
fn the_sender_of_a_refused_datagram_is_answered_once() {
    let mut firewall = Firewall::with(vec![block_return()]);
    let left = send(&mut firewall, "em0", &cut4(&frame("em0", LARGE), 7, &[1480, 2960]));
    let [(Fate::Transmit(EM0), answer)] = &left[..] else { panic!("{left:?}") };
    assert!(render(answer).starts_with("10.1.0.2 > 10.0.0.2 icmp 3/3"), "{}", render(answer));
    assert_eq!(firewall.dropped(Reason::Match), 1);
}

/// 65,507 bytes are the most that `ping -s` takes, and UDP.
#[test]
fn the_longest_datagram_passes() {
    for (text, ident_of) in [
        ("10.0.0.2.1 > 10.1.0.2.53 udp len 65507", true),
        ("2001:db8::2.1 > 2001:db8:1::2.53 udp len 65527", false),
    ] {
        let mut firewall = pass_all();
        let whole = frame("em0", text);
        let places = every(1440, 65_535 - if ident_of { 20 } else { 0 });
        let cut = if ident_of { cut4(&whole, 7, &places) } else { cut6(&whole, 7, &places) };
        assert_eq!(cut.len(), 46);
        let left = pass_on(&mut firewall, "em0", &cut).expect("it passes");
        assert_eq!(left, (Fate::Transmit(EM1), forwarded(text, EM1)));
    }
}

#[test]
fn pieces_wait_for_a_neighbour_and_are_given_up_in_silence() {
    let mut firewall = pass_all();
    let text = "10.0.0.2.1 > 10.1.0.77.53 udp len 4000";
    let left = send(&mut firewall, "em0", &cut4(&frame("em0", text), 7, &[1480, 2960]));
    assert_eq!(left.len(), 3);
    for (fate, mut piece) in left {
        let Fate::Hold { interface, .. } = fate else { panic!("{fate:?}") };
        assert_eq!(firewall.give_up(arrival("em0"), interface, &mut piece), Fate::Drop(Reason::NoNeighbor));
    }
}

#[test]
fn behind_an_interface_that_is_skipped() {
    let mut rules = ruleset(vec![block().outgoing().on("em1")]);
    rules.options.skip = vec!["em0".into()];
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    assert_eq!(send(&mut firewall, "em0", &cut4(&frame("em0", LARGE), 7, &[1480, 2960])), []);
    assert_eq!((firewall.dropped(Reason::Match), firewall.dropped(Reason::Fragment)), (1, 0));
}

#[test]
fn fragments_cross_a_pair_as_whole_datagrams() {
    let mut firewall = Firewall::bridging(vec![block(), pass().any_flags().proto(Proto::UDP).to_port(53)]);
    let text = "10.0.0.2.1 > 10.0.0.9.53 udp len 4000";
    let whole = Packet::parse(text).frame(mac(EM0, 2), mac(EM1, 2));
    let left = pass_on(&mut firewall, "em0", &cut4(&whole, 7, &[1480, 2960]));
    assert_eq!(left, Some((Fate::Transmit(EM1), whole)), "nothing is changed");
}

#[test]
fn copies_of_a_datagram_go_in_its_fragments() {
    let mut firewall =
        Firewall::with_spans(vec![pass().any_flags(), pass().any_flags().incoming().dup_to("span3")]);
    let whole = frame("em0", LARGE);
    let left = pass_on(&mut firewall, "em0", &cut4(&whole, 7, &[1200, 2400, 3600]));
    assert!(left.is_some());
    let copies: Vec<Vec<u8>> = firewall.copies().into_iter().map(|(_, _, frame)| frame).collect();
    assert_eq!((copies.len(), join(&copies)), (4, whole));
    assert_eq!(firewall.shard.counters().created(engine::Created::Copy), 4);
}

/// `set reassemble no`: each fragment is asked about by itself, and has neither ports nor a state.
#[test]
fn fragments_that_are_not_put_together_meet_the_rules_by_themselves() {
    let by_itself = || Rule { state: StateMode::None, fragment: true, ..pass().any_flags() };
    let mut rules = ruleset(vec![block(), pass().any_flags().proto(Proto::UDP).to_port(53), by_itself()]);
    rules.options.reassemble.enabled = false;
    let mut firewall = Firewall::bare();
    firewall.load(rules.clone());
    let cut = cut4(&frame("em0", LARGE), 7, &[1480, 2960]);
    for fragment in &cut {
        let mut sent = fragment.clone();
        assert_eq!(firewall.decide(arrival("em0"), &mut sent), Fate::Transmit(EM1));
    }
    assert_eq!(firewall.shard.states(), 0);
    rules.rules.pop();
    firewall.load(rules);
    for fragment in &cut {
        let fate = firewall.decide(arrival("em0"), &mut fragment.clone());
        assert_eq!(fate, Fate::Drop(Reason::Match), "a port matches no fragment");
    }
    // RFC 3128: what would be the TCP header's second half.
    let syn = cut4(&frame("em0", "10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1 len 40"), 9, &[8, 16]);
    firewall.load({
        let mut rules = ruleset(vec![by_itself()]);
        rules.options.reassemble.enabled = false;
        rules
    });
    let fates: Vec<Fate> =
        syn.iter().map(|fragment| firewall.decide(arrival("em0"), &mut fragment.clone())).collect();
    assert_eq!(fates, [Fate::Transmit(EM1), Fate::Drop(Reason::Fragment), Fate::Transmit(EM1)]);
}

#[test]
fn where_nothing_is_filtered_fragments_pass_as_they_are() {
    let mut firewall = Firewall::with(vec![block()]);
    let root = firewall.root.take().unwrap();
    firewall.root = Some(root.switched(engine::Filtering::Off));
    for fragment in cut4(&frame("em0", LARGE), 7, &[1480, 2960]) {
        assert_eq!(firewall.decide(arrival("em0"), &mut fragment.clone()), Fate::Transmit(EM1));
    }
}

/// C3, and what waits is accounted for.
#[test]
fn c03_what_does_not_come_in_time_is_given_up() {
    let mut firewall = pass_all();
    let cut = cut4(&frame("em0", LARGE), 7, &[1480, 2960]);
    assert_eq!(send(&mut firewall, "em0", &cut[..2]), []);
    assert_eq!(firewall.shard.fragments(), 2);
    firewall.wait(59).expire_fragments();
    assert_eq!((firewall.shard.fragments(), firewall.dropped(Reason::Fragment)), (2, 0));
    firewall.wait(1).expire_fragments();
    assert_eq!((firewall.shard.fragments(), firewall.dropped(Reason::Fragment)), (0, 2));
    assert_eq!(send(&mut firewall, "em0", &cut[2..]), [], "it waits for the others anew");
    let counts = firewall.shard.fragment_counts();
    assert_eq!((counts.current, counts.searches, counts.inserts, counts.removals), (1, 3, 2, 1));
    firewall.shard.drop_fragments(firewall.now);
    assert_eq!((firewall.shard.fragments(), firewall.dropped(Reason::Fragment)), (0, 3));
}

#[test]
fn c03_no_more_fragments_wait_than_the_limit_says_and_the_oldest_make_room() {
    let mut rules = ruleset(vec![pass().any_flags()]);
    rules.options.limits.set(Limit::Frags, 10);
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    let whole = frame("em0", LARGE);
    for ident in 0..100 {
        assert_eq!(send(&mut firewall, "em0", &cut4(&whole, ident, &[1480, 2960])[..1]), []);
        assert!(firewall.shard.fragments() <= 10);
    }
    assert_eq!(firewall.dropped(Reason::Memory), 90);
    let (old, young) = (cut4(&whole, 2, &[1480, 2960]), cut4(&whole, 99, &[1480, 2960]));
    assert_eq!(send(&mut firewall, "em0", &old[1..]), []);
    assert!(pass_on(&mut firewall, "em0", &young[1..]).is_some());
}
