//! What rules change of packets: `scrub`, `set tos` and `set prio`, of a connection's first packet, of all that follow, and of
//! those without a state.

use crate::firewall::packet::{Packet, render};
use crate::firewall::rules::{Written, block, block_return, matching, pass, ruleset};
use crate::firewall::{EM0, EM1, Firewall, fragment, mac};
use engine::{Arrival, Fate, Frame, NoRoom, Shard, Source, View};
use ruleset::{FirstMatch, Rule, Scrub, SetPrio, Translating};
use wire::ethernet::{self, Tag, Tags};
use wire::{EtherType, ipv4};

const NOTHING: Scrub =
    Scrub { no_df: false, random_id: false, min_ttl: 0, max_mss: 0, reassemble_tcp: false };

fn scrub(rule: Rule, scrub: Scrub) -> Rule {
    rule.change(|rule| rule.scrub = scrub)
}

fn set_tos(rule: Rule, tos: u8) -> Rule {
    rule.change(|rule| rule.set_tos = Some(tos))
}

fn set_prio(rule: Rule, bulk: u8, urgent: u8) -> Rule {
    rule.change(|rule| rule.set_prio = Some(SetPrio { bulk, urgent }))
}

fn prio(rule: Rule, prio: u8) -> Rule {
    rule.change(|rule| rule.prio = Some(prio))
}

/// On the side of `em0`: what leaves by `em1` has one hop less than was asked for.
fn scrubbing(asked: Scrub) -> Rule {
    scrub(matching().on("em0"), asked)
}

#[test]
fn a_state_scrubs_packets_of_both_directions_and_outlives_its_rules() {
    let asked = Scrub { no_df: true, min_ttl: 100, max_mss: 1400, ..NOTHING };
    let mut firewall = Firewall::with(vec![scrubbing(asked), pass()]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ws 7 mss 1460 ttl 64 df -> out em1 as 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ws 7 mss 1400 ttl 100
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 mss 8960 ttl 9 df -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001 mss 1400 ttl 101
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 ttl 64 df -> out em1 as 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 ttl 100
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10 ttl 200 df -> out em1 as 10.0.0.2.40000 > 10.1.0.2.80 tcp PA seq 1001 ack 5001 len 10 ttl 200
        ",
    );
    // More of them: from the second on they go the short way.
    for _ in 0..3 {
        firewall.tell(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5001 ttl 2 df -> out em1 as 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5001 ttl 100
            em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1011 df -> out em0 as 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1011 ttl 101
            ",
        );
    }
    firewall.load(ruleset(vec![pass()]));
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5001 df -> out em1 as 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1011 ack 5001 ttl 100
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1000 mss 1460 df -> out em1
        ",
    );
}

/// A datagram and its answer, four times: from the second on others like these go the short way.
fn conversation() -> impl Iterator<Item = (Arrival, Vec<u8>)> {
    let ways =
        [("10.0.0.2.1 > 10.1.0.2.53 udp len 20 df", EM0), ("10.1.0.2.53 > 10.0.0.2.1 udp len 20 df", EM1)];
    ways.into_iter().cycle().take(8).map(|(text, interface)| {
        let arrival = Arrival { interface, source: Source::Wire };
        (arrival, Packet::parse(text).frame(mac(interface, 2), mac(interface, 1)))
    })
}

/// How long a datagram has to live, and whether it may not be fragmented.
fn ttl_and_df(frame: &[u8]) -> (u8, bool) {
    // Every checksum is right.
    render(frame);
    let header = ipv4::Header::at(frame, ethernet::HEADER_LEN).expect("a header");
    (header.ttl(), header.dont_fragment())
}

#[test]
fn what_is_copied_was_changed_by_the_hook_before() {
    let asked = scrubbing(Scrub { no_df: true, min_ttl: 100, ..NOTHING });
    let mut firewall = Firewall::with_spans(vec![asked, pass(), pass().outgoing().on("em1").dup_to("span3")]);
    for (arrival, mut frame) in conversation() {
        assert!(matches!(firewall.decide(arrival, &mut frame), Fate::Transmit(_)));
        let [(.., copy)] = &firewall.copies()[..] else { panic!("not one copy") };
        let expected = match arrival.interface {
            EM0 => [(99, false); 2],
            // Copied where it came in, and changed where it leaves.
            _ => [(100, false), (64, true)],
        };
        assert_eq!([ttl_and_df(&frame), ttl_and_df(copy)], expected);
    }
}

#[test]
fn across_a_pair_headers_are_changed_behind_tags_too() {
    let mut firewall =
        Firewall::bridging(vec![scrubbing(Scrub { no_df: true, min_ttl: 100, ..NOTHING }), pass()]);
    for (arrival, frame) in conversation() {
        let mut plain = frame.clone();
        let mut tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        for frame in [&mut plain, &mut tagged] {
            assert!(matches!(firewall.decide(arrival, frame), Fate::Transmit(_)));
        }
        tagged.drain(12..16);
        assert_eq!([ttl_and_df(&plain), ttl_and_df(&tagged)], [(100, false); 2]);
    }
}

#[test]
fn packets_without_a_state_and_of_ipv6_are_scrubbed_too() {
    let asked = Scrub { no_df: true, min_ttl: 100, max_mss: 1200, ..NOTHING };
    let mut firewall = Firewall::with(vec![scrubbing(asked), pass().no_state()]);
    firewall.tell(
        "
        em0: 2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1 mss 1440 -> out em1 as 2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1 mss 1200 ttl 100
        em0: 2001:db8::2.40000 > 2001:db8:1::2.80 tcp A seq 1 mss 1440 -> out em1 as 2001:db8::2.40000 > 2001:db8:1::2.80 tcp A seq 1 mss 1440 ttl 100
        em1: 2001:db8:1::2.1 > 2001:db8::2.53 udp ttl 5 -> out em0 as 2001:db8:1::2.1 > 2001:db8::2.53 udp ttl 101
        em0: 2001:db8::2 > 2001:db8:1::2 icmp 128/0 id 7 ttl 1 -> out em1 as 2001:db8::2 > 2001:db8:1::2 icmp 128/0 id 7 ttl 100
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp df -> host em0 as 10.0.0.2.1 > 10.0.0.1.53 udp ttl 100
        em1 host: 10.1.0.1.1 > 10.1.0.2.53 udp df ttl 5 -> sent em1
        ",
    );
    let mut firewall = Firewall::with(vec![scrubbing(asked).on("em1").outgoing(), pass().no_state()]);
    firewall.tell(
        "
        em1 host: 10.1.0.1.1 > 10.1.0.2.53 udp df ttl 5 -> out em1 as 10.1.0.1.1 > 10.1.0.2.53 udp ttl 100
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp df ttl 5      -> out em1 as 10.0.0.2.1 > 10.1.0.2.53 udp ttl 101
        ",
    );
}

#[test]
fn the_last_value_that_a_rule_names_holds_and_those_of_all_are_kept() {
    let rules = vec![
        scrubbing(Scrub { min_ttl: 100, max_mss: 1000, ..NOTHING }),
        set_tos(scrubbing(Scrub { max_mss: 1200, ..NOTHING }), 0x10),
        scrub(pass(), Scrub { no_df: true, ..NOTHING }).incoming(),
        pass().outgoing(),
    ];
    Firewall::with(rules).tell(
        "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 mss 1460 df -> out em1 as 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 mss 1200 ttl 100 tos 16",
    );
}

#[test]
fn of_freebsds_scrub_rules_the_first_that_matches_is_the_only_one() {
    let of = |exempt| Some(FirstMatch { ruleset: Translating::Scrub, exempt });
    let rules = vec![
        matching().on("em0").to_udp(53).change(|rule| rule.first_match = of(true)),
        scrubbing(Scrub { min_ttl: 100, ..NOTHING }).to_udp(80).change(|rule| rule.first_match = of(false)),
        scrubbing(Scrub { min_ttl: 200, ..NOTHING }).change(|rule| rule.first_match = of(false)),
        pass(),
    ];
    Firewall::with(rules).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.80 udp -> out em1 as 10.0.0.2.1 > 10.1.0.2.80 udp ttl 100
        em0: 10.0.0.2.1 > 10.1.0.2.81 udp -> out em1 as 10.0.0.2.1 > 10.1.0.2.81 udp ttl 200
        ",
    );
}

#[test]
fn a_random_identification_is_for_whole_datagrams_of_ipv4() {
    let mut firewall = Firewall::with(vec![scrubbing(Scrub { random_id: true, ..NOTHING }), pass()]);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let mut frame = Packet::parse("10.0.0.2.1 > 10.1.0.2.53 udp ident 7").frame(mac(EM0, 2), mac(EM0, 1));
        let wire = Arrival { interface: EM0, source: Source::Wire };
        assert_eq!(firewall.decide(wire, &mut frame), Fate::Transmit(EM1));
        // Every checksum is right.
        render(&frame);
        seen.push(ipv4::Header::at(&frame, ethernet::HEADER_LEN).expect("a header").ident());
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() == 4 && !seen.contains(&7), "{seen:?}");
    let mut rules =
        ruleset(vec![scrubbing(Scrub { random_id: true, min_ttl: 99, ..NOTHING }), pass().no_state()]);
    rules.options.reassemble.enabled = false;
    firewall.load(rules);
    firewall.tell(
        "em0: 10.0.0.2 > 10.1.0.2 proto 47 len 16 ident 7 fragment -> out em1 as 10.0.0.2 > 10.1.0.2 proto 47 len 16 ident 7 fragment ttl 99",
    );
}

#[test]
fn what_was_put_together_is_scrubbed_as_a_whole() {
    let asked = Scrub { min_ttl: 100, random_id: true, ..NOTHING };
    let mut firewall = Firewall::with(vec![set_tos(scrubbing(asked), 0x10), pass()]);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let whole = Packet::parse("10.0.0.2.1 > 10.1.0.2.53 udp len 2000").frame(mac(EM0, 2), mac(EM0, 1));
    let wire = Arrival { interface: EM0, source: Source::Wire };
    for mut piece in fragment::cut4(&whole, 7, &[1000]) {
        assert_eq!(firewall.decide(wire, &mut piece), Fate::Kept);
    }
    let pieces: Vec<Vec<u8>> = firewall.pieces().into_iter().map(|(_, frame)| frame).collect();
    assert_eq!(pieces.len(), 2);
    let headers: Vec<_> =
        pieces.iter().map(|piece| ipv4::Header::at(piece, ethernet::HEADER_LEN).expect("a header")).collect();
    assert!(headers.iter().all(|header| header.ttl() == 99 && header.tos() == 0x10));
    assert!(headers[0].ident() == headers[1].ident() && headers[0].ident() != 7, "{headers:?}");
    assert_eq!(fragment::join(&pieces)[42..], whole[42..], "the data is the same");
}

#[test]
fn what_may_be_fragmented_now_is_cut_for_the_next_link() {
    const LARGE: &str = "em0: 10.0.0.2.1 > 10.2.0.2.53 udp len 1000 df";
    let refused = "too-big: 10.0.0.1 > 10.0.0.2 icmp 3/4 about (10.0.0.2 > 10.2.0.2 proto 17) ttl 64";
    Firewall::with(vec![pass()]).tell(&format!("{LARGE} -> {refused}"));
    for rule in [matching().incoming(), matching().outgoing()] {
        let mut firewall = Firewall::with(vec![scrub(rule, Scrub { no_df: true, ..NOTHING }), pass()]);
        firewall.tell(&format!("{LARGE} -> kept"));
        assert_eq!(firewall.pieces().len(), 2);
    }
}

#[test]
fn a_refused_packet_is_as_its_sender_sent_it() {
    let asked = Scrub { no_df: true, min_ttl: 100, random_id: true, max_mss: 1, ..NOTHING };
    let rules = vec![set_tos(scrubbing(asked), 0xb8), pass().incoming(), block_return().outgoing()];
    let mut firewall = Firewall::with(rules);
    firewall.tell(
        "em0: 10.0.0.2.1 > 10.1.0.2.53 udp ttl 9 -> match: 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64",
    );
    let rules = vec![set_tos(scrubbing(asked), 0xb8), pass().incoming(), block().outgoing()];
    // What is dropped is left alone, byte by byte: `tell` compares.
    Firewall::with(rules).tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1 mss 1460 df -> match");
}

#[test]
fn what_is_raised_in_time_does_not_die_of_it() {
    let mut firewall = Firewall::with(vec![scrubbing(Scrub { min_ttl: 2, ..NOTHING }), pass()]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp ttl 1 -> out em1 as 10.0.0.2.1 > 10.1.0.2.53 udp ttl 2
        em1: 10.1.0.2.2 > 10.0.0.2.53 udp ttl 1 -> ttl: 10.1.0.1 > 10.1.0.2 icmp 11/0 about (10.1.0.2 > 10.0.0.2 proto 17) ttl 64
        ",
    );
}

#[test]
fn rules_of_the_way_out_see_what_those_of_the_way_in_have_set() {
    let asks = pass().outgoing().change(|rule| rule.tos = Some(0x11));
    let rules = vec![block(), set_tos(pass().incoming(), 0x10), asks];
    Firewall::with(rules).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp tos 1 -> out em1 as 10.0.0.2.1 > 10.1.0.2.53 udp tos 17
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp tos 2 -> match
        ",
    );
    // The bits for congestion are the packet's own, in both families.
    Firewall::with(vec![set_tos(matching().incoming(), 0xb8), pass()]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp tos 255 -> out em1 as 10.0.0.2.1 > 10.1.0.2.53 udp tos 187
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp tos 255 -> out em1 as 2001:db8::2.1 > 2001:db8:1::2.53 udp tos 187
        em1: 2001:db8:1::2.53 > 2001:db8::2.1 udp -> out em0 as 2001:db8:1::2.53 > 2001:db8::2.1 udp tos 184
        ",
    );
}

#[test]
fn an_error_about_a_connection_is_scrubbed_as_its_packets_are() {
    let mut firewall = Firewall::with(vec![scrubbing(Scrub { min_ttl: 100, ..NOTHING }), pass()]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1 as 10.0.0.2.1 > 10.1.0.2.53 udp ttl 100
        em1: 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2.1 > 10.1.0.2.53 udp ttl 99) -> out em0 as 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2.1 > 10.1.0.2.53 udp ttl 99) ttl 101
        ",
    );
}

#[test]
fn match_rules_count_the_packets_of_the_states_that_they_took_part_in() {
    let packets = |firewall: &Firewall| -> Vec<_> {
        let each =
            |usage: &engine::RuleUsage| (usage.counted.map(|hook| hook.packets), usage.states, usage.made);
        firewall.usage().iter().map(each).collect()
    };
    let mut firewall = Firewall::with(vec![matching(), matching().outgoing(), matching().to_udp(99), pass()]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        ",
    );
    let expected = [([3, 3], 2, 0), ([1, 2], 1, 0), ([0, 0], 0, 0), ([3, 3], 2, 2)];
    assert_eq!(packets(&firewall), expected);
    // What they counted stays when the states are gone.
    firewall.kill("10.0.0.2");
    let expected = [([3, 3], 0, 0), ([1, 2], 0, 0), ([0, 0], 0, 0), ([3, 3], 0, 2)];
    assert_eq!(packets(&firewall), expected);
    // Without a state only the rule counts that decides.
    let mut firewall = Firewall::with(vec![matching(), pass().no_state()]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(packets(&firewall), [([0, 0], 0, 0), ([1, 1], 0, 0)]);
}

#[test]
fn more_match_rules_than_a_state_remembers_have_their_say_all_the_same() {
    let mut rules = vec![matching(); 30];
    rules.push(scrubbing(Scrub { min_ttl: 100, ..NOTHING }));
    rules.push(pass());
    Firewall::with(rules).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1 as 10.0.0.2.1 > 10.1.0.2.53 udp ttl 100
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0 as 10.1.0.2.53 > 10.0.0.2.1 udp ttl 101
        ",
    );
}

/// A frame whose tag was taken out.
struct Untagged(Vec<u8>, Option<u8>);

impl Frame for Untagged {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.0.prepend(count)
    }
    fn trim_front(&mut self, count: usize) {
        self.0.trim_front(count);
    }
    fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }
    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        Frame::append(&mut self.0, count)
    }
    fn priority_code(&self) -> Option<u8> {
        self.1
    }
    fn set_priority_code(&mut self, code: u8) {
        self.1 = Some(code);
    }
}

/// The priority with which a packet leaves that came with one, unless it is dropped.
fn leaves_with(firewall: &mut Firewall, text: &str, code: Option<u8>) -> Option<Option<u8>> {
    let mut frame = Untagged(Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1)), code);
    let Firewall { shard, root, fib, now, entropy, .. } = firewall;
    let view = View { now: *now, root: root.as_ref(), fib };
    let mut fate = [Fate::Drop(ruleset::Reason::NoRules)];
    let wire = Arrival { interface: EM0, source: Source::Wire };
    Shard::process(shard, &view, entropy, wire, core::slice::from_mut(&mut frame), &mut fate);
    matches!(fate[0], Fate::Transmit(_)).then_some(frame.1)
}

const DATAGRAM: &str = "10.0.0.2.1 > 10.1.0.2.53 udp len 4";

#[test]
fn rules_ask_for_the_priority_of_a_packets_tag() {
    let mut firewall = Firewall::with(vec![block(), prio(pass().no_state(), 1)]);
    // To pf best effort, which is 0 in a tag, comes before background traffic, which is 1.
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, Some(0)), Some(Some(0)));
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, Some(1)), None);
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, None), None);
    let mut firewall = Firewall::with(vec![block(), prio(pass().no_state(), 3)]);
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, None), Some(None), "what has none has the usual one");
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, Some(3)), Some(Some(3)));
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, Some(4)), None);
}

#[test]
fn packets_get_a_priority_and_urgent_ones_another() {
    let mut firewall = Firewall::with(vec![set_prio(matching().incoming(), 0, 6), pass().any_flags()]);
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, Some(4)), Some(Some(1)), "0 is background traffic");
    assert_eq!(leaves_with(&mut firewall, "10.0.0.2.1 > 10.1.0.2.53 udp tos 16", None), Some(Some(6)));
    let segment = |rest: &str| format!("10.0.0.2.1 > 10.1.0.2.80 tcp {rest}");
    assert_eq!(leaves_with(&mut firewall, &segment("S seq 1"), None), Some(Some(1)));
    assert_eq!(leaves_with(&mut firewall, &segment("A seq 2 ack 0"), None), Some(Some(6)));
    assert_eq!(leaves_with(&mut firewall, &segment("PA seq 2 ack 0 len 3"), None), Some(Some(1)));
    // Rules of the way out see it.
    let mut firewall = Firewall::with(vec![
        block(),
        set_prio(pass().incoming().no_state(), 5, 5),
        prio(pass().outgoing().no_state(), 5),
    ]);
    assert_eq!(leaves_with(&mut firewall, DATAGRAM, Some(2)), Some(Some(5)));
}

#[test]
fn across_a_pair_the_priority_is_that_of_the_tag_in_the_frame() {
    let mut firewall = Firewall::bridging(vec![
        block(),
        set_prio(prio(pass().incoming().no_state(), 2), 7, 7),
        prio(pass().outgoing().no_state(), 7),
    ]);
    let tagged = |priority: u16| {
        let plain = Packet::parse("10.0.0.2.1 > 10.0.0.9.53 udp").frame(mac(EM0, 2), mac(EM1, 2));
        let tag = Tag { tpid: EtherType::VLAN, tci: priority << 13 | 10 };
        let header = ethernet::Repr {
            dst: mac(EM1, 2),
            src: mac(EM0, 2),
            tags: Tags::One(tag),
            ether_type: EtherType::IPV4,
        };
        let mut frame = vec![0; header.len()];
        header.emit(&mut frame).expect("the room is there");
        frame.extend_from_slice(&plain[ethernet::HEADER_LEN..]);
        frame
    };
    let wire = Arrival { interface: EM0, source: Source::Wire };
    let mut frame = tagged(2);
    assert_eq!(firewall.decide(wire, &mut frame), Fate::Transmit(EM1));
    assert_eq!(frame, tagged(7));
    assert!(matches!(firewall.decide(wire, &mut tagged(3)), Fate::Drop(_)));
}
