//! What is counted at the hooks of each interface (`pfctl -vvsI`), the long way and the short one alike.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, matching, pass, ruleset};
use crate::firewall::team::{Team, syn};
use crate::firewall::{EM0, EM1, EM2, Firewall, af, arrival, mac};
use engine::{Counted, Crossings, InterfaceId, Verdict};
use ruleset::{Direction, Rule};
use wire::Proto;

/// What is expected of each interface, by number.
struct Expected(Vec<Vec<(wire::Af, Direction, Verdict, u64)>>);

impl Expected {
    fn nothing(firewall: &Firewall) -> Self {
        Self(vec![Vec::new(); firewall.fib.interfaces().len()])
    }

    /// Expects a packet at hooks: `em0 in passed, em1 out blocked`, or none.
    fn expect(&mut self, hooks: &str, text: &str) {
        let packet = Packet::parse(text);
        let length = packet.frame(mac(EM0, 1), mac(EM0, 2)).len() as u64 - 14;
        for hook in hooks.split(", ").filter(|hook| !hook.is_empty()) {
            let words: Vec<&str> = hook.split(' ').collect();
            let [name, direction, verdict] = words[..] else { panic!("no hook: {hook}") };
            let number = name.trim_start_matches(char::is_alphabetic).parse::<usize>().expect("a number");
            let direction = if direction == "in" { Direction::In } else { Direction::Out };
            let verdict = if verdict == "passed" { Verdict::Passed } else { Verdict::Blocked };
            self.0[number].push((af(&packet.src), direction, verdict, length));
        }
    }

    fn check(&self, firewall: &Firewall) {
        for (number, crossings) in firewall.shard.counters().crossings().iter().enumerate() {
            let mut expected = [Counted::default(); Crossings::CELLS];
            for (af, direction, verdict, length) in &self.0[number] {
                let cell = (*af as usize) << 2 | (*direction as usize) << 1 | *verdict as usize;
                expected[cell] += Counted { packets: 1, bytes: *length };
            }
            let told = |cells: &[Counted; Crossings::CELLS]| {
                Crossings::NAMES
                    .iter()
                    .zip(cells)
                    .map(|(name, cell)| format!("{name} {cell:?}\n"))
                    .collect::<String>()
            };
            assert_eq!(told(crossings.cells()), told(&expected), "interface {number}");
        }
    }
}

/// Sends packets, one a line: interface, packet, `->`, the hooks that count it.
fn tell(firewall: &mut Firewall, story: &str) {
    let mut expected = Expected::nothing(firewall);
    for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (sent, hooks) = line.split_once("->").expect("an arrow");
        let (place, text) = sent.split_once(": ").expect("a place");
        let arrival = arrival(place);
        let mut frame =
            Packet::parse(text.trim()).frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
        let _ = firewall.decide(arrival, &mut frame);
        expected.expect(hooks.trim(), text.trim());
    }
    expected.check(firewall);
}

fn rules() -> Vec<Rule> {
    vec![
        block(),
        pass().proto(Proto::TCP),
        pass().proto(Proto::ICMP),
        block().outgoing().on("em1").proto(Proto::TCP).to_port(25).quick(),
        pass().outgoing().on("em1").to_udp(53),
    ]
}

#[test]
fn each_hook_that_a_packet_meets_counts_it() {
    tell(
        &mut Firewall::with(rules()),
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> em0 in passed, em1 out passed
        em0: 10.0.0.2.40001 > 10.1.0.2.25 tcp S seq 1000 -> em0 in passed, em1 out blocked
        em0: 10.0.0.2.5000 > 10.1.0.2.53 udp len 10 -> em0 in blocked
        em0: 2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1000 -> em0 in passed, em1 out passed
        em0: 2001:db8::2.5000 > 2001:db8:1::2.53 udp len 10 -> em0 in blocked
        em1: 10.1.0.2.80 > 10.0.0.2.40009 tcp A seq 1 ack 1 -> em1 in blocked
        em0: 10.0.0.2 > 10.0.0.1 icmp 8/0 id 7 -> em0 in passed
        em0 host: 10.0.0.1 > 10.0.0.2 icmp 0/0 id 7 -> em0 out passed
        em1 host: 10.1.0.1.5000 > 10.1.0.2.53 udp len 10 -> em1 out passed
        em1 host: 10.1.0.1.40000 > 10.1.0.2.25 tcp S seq 1 -> em1 out blocked
        em0: 10.0.0.2.40002 > 203.0.113.1.80 tcp S seq 1 -> em0 in passed
        em0: 10.0.0.2.40003 > 10.1.0.2.80 tcp S seq 1 ttl 1 -> em0 in passed
        em0: 10.0.0.2.40004 > 10.1.0.77.80 tcp S seq 1 -> em0 in passed, em1 out passed
        em0: 10.0.0.2.40005 > 10.1.0.2.80 tcp S seq 1 options -> em0 in blocked
        em0: 10.0.0.2.40006 > 10.1.0.2.80 tcp S seq 1 fragment ->
        em0: 127.0.0.1.40006 > 10.1.0.2.80 tcp S seq 1 ->
        ",
    );
}

#[test]
fn a_packet_of_the_long_way_and_one_of_the_short_count_alike() {
    let syn = |port: u16, net: u8| format!("10.0.0.2.{port} > 10.{net}.0.2.80 tcp S seq 1000 win 8192");
    let syn_ack =
        |port: u16, net: u8| format!("10.{net}.0.2.80 > 10.0.0.2.{port} tcp SA seq 5000 ack 1001 win 8192");
    let data = |port: u16, net: u8, len: usize| {
        format!("10.0.0.2.{port} > 10.{net}.0.2.80 tcp A seq 1001 ack 5001 win 8192 len {len}")
    };
    let back =
        |port: u16, net: u8| format!("10.{net}.0.2.80 > 10.0.0.2.{port} tcp A seq 5001 ack 1001 win 8192");
    let (syn6, syn_ack6, data6, back6) = (
        "2001:db8::2.40000 > 2001:db8:1::2.80 tcp S seq 1000 win 8192".to_owned(),
        "2001:db8:1::2.80 > 2001:db8::2.40000 tcp SA seq 5000 ack 1001 win 8192".to_owned(),
        "2001:db8::2.40000 > 2001:db8:1::2.80 tcp A seq 1001 ack 5001 win 8192 len 33".to_owned(),
        "2001:db8:1::2.80 > 2001:db8::2.40000 tcp A seq 5001 ack 1001 win 8192".to_owned(),
    );
    let mut firewall = Firewall::with(rules());
    let mut expected = Expected::nothing(&firewall);
    let bursts = [
        (EM0, vec![syn(40_000, 1), syn(40_001, 2), syn6], [1, 2, 1].to_vec()),
        (EM1, vec![syn_ack(40_000, 1), syn_ack6], vec![0, 0]),
        (EM2, vec![syn_ack(40_001, 2)], vec![0]),
        (EM0, vec![data(40_000, 1, 0), data(40_001, 2, 0), data6.clone()], vec![1, 2, 1]),
        (EM1, vec![back(40_000, 1), back6], vec![0, 0]),
        (EM2, vec![back(40_001, 2)], vec![0]),
        // From here on all go the short way: both families and both ways out among each other.
        (
            EM0,
            vec![data(40_000, 1, 100), data6.clone(), data(40_000, 1, 7), data(40_001, 2, 9)],
            vec![1, 1, 1, 2],
        ),
        (EM0, vec![data(40_001, 2, 11), data(40_000, 1, 13), data6.clone(), data6], vec![2, 1, 1, 1]),
    ];
    for (from, texts, to) in &bursts {
        let place = arrival(&format!("em{}", from.0));
        let mut frames: Vec<Vec<u8>> =
            texts.iter().map(|text| Packet::parse(text).frame(mac(*from, 2), mac(*from, 1))).collect();
        let fates = firewall.decide_burst(place, &mut frames);
        for ((text, to), fate) in texts.iter().zip(to).zip(fates) {
            assert_eq!(fate, engine::Fate::Transmit(InterfaceId(*to)), "{text}");
            expected.expect(&format!("em{} in passed, em{to} out passed", from.0), text);
        }
    }
    expected.check(&firewall);
}

#[test]
fn what_is_translated_counts_once_at_each_hook() {
    let mut firewall = Firewall::with(vec![
        pass(),
        matching().outgoing().on("em1").from("10.0.0.0/24").nat_to("10.1.0.1", (50_001, 50_001)),
    ]);
    tell(
        &mut firewall,
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 win 8192 -> em0 in passed, em1 out passed
        em1: 10.1.0.2.80 > 10.1.0.1.50001 tcp SA seq 2000 ack 1001 win 8192 -> em1 in passed, em0 out passed
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 2001 win 8192 -> em0 in passed, em1 out passed
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 2001 win 8192 len 100 -> em0 in passed, em1 out passed
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1101 ack 2001 win 8192 len 50 -> em0 in passed, em1 out passed
        em0: 10.0.0.3.40000 > 10.1.0.2.80 tcp S seq 1000 -> em0 in passed, em1 out blocked
        ",
    );
}

#[test]
fn what_is_skipped_or_not_filtered_counts_nowhere() {
    let mut firewall = Firewall::bare();
    tell(&mut firewall, "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 ->");
    let mut rules = ruleset(vec![pass()]);
    rules.options.skip = vec!["em0".into()];
    firewall.load(rules);
    tell(
        &mut firewall,
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> em1 out passed
        em0: 10.0.0.2 > 10.0.0.1 icmp 8/0 id 7 ->
        em0: 10.0.0.2.5000 > 10.0.0.1.53 udp len 10 fragment ->
        ",
    );
    let off = firewall.root.as_ref().map(|root| root.switched(engine::Filtering::Off));
    let before = firewall.shard.counters().crossings().to_vec();
    firewall.root = off;
    firewall.send("em1", "10.1.0.2.7 > 10.0.0.2.9 udp len 10");
    assert_eq!(firewall.shard.counters().crossings(), before);
}

#[test]
fn what_cannot_be_read_behind_its_ip_header_is_blocked_and_what_is_no_ip_counts_nowhere() {
    let mut firewall = Firewall::with(vec![pass()]);
    let text = "10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000";
    let whole = Packet::parse(text).frame(mac(EM0, 2), mac(EM0, 1));
    let damaged = |at: usize, octet: u8| {
        let mut frame = whole.clone();
        frame[at] = octet;
        frame
    };
    let mut expected = Expected::nothing(&firewall);
    // A data offset of 60 bytes, behind the end.
    for (hooks, mut frame) in [
        ("em0 in blocked", damaged(14 + 20 + 12, 0xf0)),
        // Not its checksum, another EtherType, another station.
        ("", damaged(14 + 10, whole[24] ^ 1)),
        ("", damaged(12, 0x88)),
        ("", {
            let mut foreign = damaged(14 + 20 + 12, 0xf0);
            foreign[5] = 77;
            foreign
        }),
    ] {
        let _ = firewall.decide(arrival("em0"), &mut frame);
        expected.expect(hooks, text);
    }
    expected.check(&firewall);
}

#[test]
fn copies_count_at_their_span_ports_of_which_ever_family_and_way() {
    let rules = || {
        vec![
            pass(),
            pass().outgoing().on("em1").dup_to("span3"),
            pass().outgoing().on("span3").dup_to("span4"),
            block().outgoing().on("span4"),
        ]
    };
    let mut firewall = Firewall::with_spans(rules());
    let hooks = "em0 in passed, em1 out passed, span3 out passed, span4 out blocked";
    let answered = "em1 in passed, em0 out passed, span3 out passed, span4 out blocked";
    let story: String = [("10.0.0.2", "10.1.0.2"), ("2001:db8::2", "2001:db8:1::2")]
        .into_iter()
        .map(|(client, server)| {
            let ack = format!(
                "em0: {client}.40000 > {server}.80 tcp A seq 1001 ack 5001 win 8192 len 5 -> {hooks}\n"
            );
            format!(
                "em0: {client}.40000 > {server}.80 tcp S seq 1000 win 8192 -> {hooks}\n\
                 em1: {server}.80 > {client}.40000 tcp SA seq 5000 ack 1001 win 8192 -> {answered}\n\
                 {ack}{ack}{ack}{ack}"
            )
        })
        .collect();
    tell(&mut firewall, &story);
}

#[test]
fn what_is_handed_over_counts_with_its_owner_alone() {
    let mut team = Team::of(2, 64, &[block(), pass()]);
    let port = Team::ports_of(1, 2).next().expect("a port");
    let mut expected = Expected::nothing(&team.0[1]);
    for _ in 0..3 {
        let (way, _) = team.send(0, "em0", &syn(port));
        assert_eq!(way, [0, 1]);
        expected.expect("em0 in passed, em1 out passed", &syn(port));
    }
    expected.check(&team.0[1]);
    Expected::nothing(&team.0[0]).check(&team.0[0]);
    // A flow that its home has somebody else begin.
    team.relieve(1, Some(0));
    let port = Team::ports_of(1, 2).nth(1).expect("a port");
    let (way, _) = team.carry(1, "em0", &syn(port), true);
    assert_eq!(way, [1, 0]);
    let mut placed = Expected::nothing(&team.0[0]);
    placed.expect("em0 in passed, em1 out passed", &syn(port));
    placed.check(&team.0[0]);
}
