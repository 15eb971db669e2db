//! What few rules ask: where a packet was received, its type of service, chance, a rate, once, how many states.

use crate::firewall::packet::Packet;
use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::team::{FROM_INSIDE, syn};
use crate::firewall::{EM0, EM1, Firewall, mac};
use engine::{Fate, Selection, WorkerId};
use ruleset::{
    Call, InterfaceMatch, InterfacePattern, PacketRate, Reason, Rule, Ruleset, StateSelector, Timeout,
};

fn received_on(rule: Rule, name: &str, negated: bool) -> Rule {
    let pattern = InterfacePattern::Name(name.into());
    rule.change(|rule| rule.received_on = Some(InterfaceMatch { negated, pattern }))
}

fn rate(rule: Rule, packets: u32, seconds: u32) -> Rule {
    rule.change(|rule| rule.packet_rate = Some(PacketRate { packets, seconds }))
}

fn once(rule: Rule) -> Rule {
    rule.change(|rule| rule.once = true)
}

fn max(rule: Rule, most: u32) -> Rule {
    rule.change(|rule| rule.state_options.max = most)
}

fn pass_in() -> Rule {
    pass().any_flags().incoming()
}

fn pass_out() -> Rule {
    pass().any_flags().outgoing()
}

#[test]
fn where_a_packet_was_received_is_known_where_it_leaves() {
    let from = |name, negated| {
        Firewall::with(vec![block(), pass_in(), received_on(pass_out().no_state(), name, negated)])
    };
    for name in ["em0", "lan"] {
        from(name, false).tell(
            "
            em0: 10.0.0.2.1 > 10.1.0.2.53 udp      -> out em1
            em2: 10.2.0.2.1 > 10.1.0.2.53 udp      -> match
            em1 host: 10.1.0.1.1 > 10.1.0.2.54 udp -> match
            ",
        );
        from(name, true).tell(
            "
            em0: 10.0.0.2.1 > 10.1.0.2.53 udp      -> match
            em2: 10.2.0.2.1 > 10.1.0.2.53 udp      -> out em1
            em1 host: 10.1.0.1.1 > 10.1.0.2.54 udp -> sent em1
            ",
        );
    }
    // Where it enters, that is where it is received.
    Firewall::with(vec![block(), pass_out(), received_on(pass_in(), "em0", false)]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.1 > 10.0.0.2.53 udp -> match
        ",
    );
    from("absent0", false).tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match");
}

#[test]
fn the_type_of_service_is_the_octet_of_ipv4_and_without_congestion_bits_that_of_ipv6() {
    let blocked = block().change(|rule| rule.tos = Some(0xb8));
    Firewall::with(vec![pass().any_flags().no_state(), blocked]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp tos 184             -> match
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp                     -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp tos 185             -> out em1
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp tos 185     -> match
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp tos 184     -> match
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp tos 180     -> out em1
        ",
    );
    // No other packet of a connection is compared.
    Firewall::with(vec![block(), pass().any_flags().change(|rule| rule.tos = Some(0x10))]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp        -> match
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp tos 16 -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp        -> out em1
        ",
    );
}

#[test]
fn a_rule_with_a_probability_matches_so_often() {
    let blocked = |probability| {
        let mut firewall = Firewall::with(vec![
            pass().any_flags().no_state(),
            block().incoming().change(|rule| rule.probability = Some(probability)),
        ]);
        firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
        let blocked =
            |port: &u32| firewall.send("em0", &format!("10.0.0.2.{port} > 10.1.0.2.53 udp")) == "match";
        (1..=2000).filter(blocked).count()
    };
    assert_eq!([0, u32::MAX].map(blocked), [0, 2000]);
    // Five standard deviations of 2000 draws.
    let quarter = blocked(1 << 30);
    assert!((403..=597).contains(&quarter), "{quarter} of 2000");
}

#[test]
fn rules_with_probabilities_are_independent_of_each_other() {
    let half = || block().incoming().change(|rule| rule.probability = Some(1 << 31));
    let mut firewall = Firewall::with(vec![pass().any_flags().no_state(), half(), half()]);
    firewall.entropy.step = 0x9e37_79b9_7f4a_7c15;
    let passed = |port: &u32| firewall.send("em0", &format!("10.0.0.2.{port} > 10.1.0.2.53 udp")) != "match";
    let passed = (1..=2000).filter(passed).count();
    assert!((403..=597).contains(&passed), "{passed} of 2000 by neither");
}

fn spent(firewall: &Firewall) -> Vec<bool> {
    firewall.usage().iter().map(|usage| usage.spent).collect()
}

#[test]
fn a_rule_matches_once_and_its_state_lives_on() {
    let rules = || ruleset(vec![block(), pass_out(), once(pass_in())]);
    let mut firewall = Firewall::bare();
    firewall.load(rules());
    assert_eq!(spent(&firewall), [false; 3]);
    let story = "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> match
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
    ";
    firewall.tell(story);
    assert_eq!(spent(&firewall), [false, false, true]);
    // Loaded again it is a new rule.
    firewall.load(rules()).tell("em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> out em1");
}

/// It ends when it matches, whether or not it decides in the end; and not where the packet is not as it asks.
#[test]
fn a_rule_that_matches_once_is_spent_by_its_first_match() {
    let last = pass_in().to_udp(53);
    let mut firewall =
        Firewall::with(vec![block(), pass_out(), once(pass_in().proto(wire::Proto::UDP)), last]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.80 tcp S seq 1 -> match
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp         -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.54 udp         -> match
        ",
    );
    assert!(firewall.usage()[2].spent);
}

#[test]
fn a_rule_of_an_anchor_matches_once() {
    let call = Rule { call: Some(Call { name: "a".into(), wildcard: false, end: 4 }), ..Rule::default() };
    let own = Rule { anchor: 1, ..once(pass_in()) };
    let rules = Ruleset { anchors: vec!["a".into()], ..ruleset(vec![block(), pass_out(), call, own]) };
    let mut firewall = Firewall::bare();
    firewall.load(rules).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> match
        ",
    );
}

#[test]
fn a_rate_holds_for_the_rule_and_for_what_its_state_is_sent() {
    let mut firewall = Firewall::with(vec![block(), pass_out(), rate(pass_in(), 3, 10)]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> match
        ",
    );
    firewall.wait(10).tell(
        "
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> match
        ",
    );
}

/// As in pf, the rules are asked as if there were no state: one that passes without a state lets it through, one that would
/// make a state finds one in its way.
#[test]
fn what_is_too_fast_for_its_state_meets_the_rules() {
    let fast = || rate(pass_in(), 1, 10);
    let again = "em0: 10.0.0.2.1 > 10.1.0.2.53 udp";
    let story = |then: &str| format!("{again} -> out em1\n{again} -> {then}");
    Firewall::with(vec![pass_out(), pass_in().no_state(), fast()]).tell(&story("out em1"));
    Firewall::with(vec![pass_out(), pass_in(), fast()]).tell(&story("state-insert"));
    // Where it leaves as well.
    let slow_way_out = vec![block(), pass_in(), rate(pass_out(), 1, 10)];
    let mut firewall = Firewall::with(slow_way_out);
    firewall.tell(&story("match"));
    let counted: Vec<u64> = firewall.states().iter().map(|state| state.source.packets).collect();
    assert_eq!(counted, [1, 1], "what was dropped has passed neither");
}

#[test]
fn a_rule_has_as_many_states_as_it_may() {
    let rules = || ruleset(vec![pass_out(), max(pass_in(), 2)]);
    let mut firewall = Firewall::bare();
    firewall.load(rules()).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.3.2 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> state-limit
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.3 udp -> state-limit
        ",
    );
    assert_eq!(firewall.kill("10.0.0.3"), 2);
    firewall.tell(
        "
        em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.4 > 10.1.0.2.53 udp -> state-limit
        ",
    );
    // As in pf, states of the rules before are theirs.
    firewall.load(rules()).tell("em0: 10.0.0.2.4 > 10.1.0.2.53 udp -> out em1");
    firewall.wait(120).tell("em0: 10.0.0.2.5 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(firewall.shard.counters().dropped(Reason::StateLimit), 3);
}

/// Where one rule makes both states of a connection, each counts.
#[test]
fn both_states_of_a_connection_count_for_their_rule() {
    Firewall::with(vec![max(pass().any_flags(), 3)]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> state-limit
        em0: 10.0.0.2.3 > 10.1.0.2.53 udp -> state-limit
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        ",
    );
}

/// Workers with the same rules; states of each are its own.
fn workers(count: u16, rules: Vec<Rule>) -> Vec<Firewall> {
    let first = Firewall::with(rules);
    let worker = |number| {
        let mut worker = Firewall::of(WorkerId(number), count, 4096);
        worker.root.clone_from(&first.root);
        worker
    };
    (0..count).map(worker).collect()
}

/// Sends a connection's first packet to its home, and tells whether it passed.
fn begins(workers: &mut [Firewall], port: u16) -> bool {
    let fate = |one: &mut Firewall| {
        let mut frame = Packet::parse(&syn(port)).frame(mac(EM0, 2), mac(EM0, 1));
        one.decide(FROM_INSIDE, &mut frame)
    };
    workers.iter_mut().map(fate).filter(|fate| *fate == Fate::Transmit(EM1)).count() == 1
}

#[test]
fn of_all_workers_one_lets_the_first_packet_through() {
    let mut workers = workers(4, vec![block(), pass_out(), once(pass_in())]);
    assert_eq!((1..=100).filter(|port| begins(&mut workers, *port)).count(), 1);
}

#[test]
fn a_rate_is_that_of_all_workers_together() {
    let mut workers = workers(4, vec![block(), pass_out(), rate(pass_in(), 25, 60)]);
    assert_eq!((1..=100).filter(|port| begins(&mut workers, *port)).count(), 25);
}

#[test]
fn a_rule_has_as_many_states_as_it_may_with_all_workers_together() {
    for most in [1, 30, 1000] {
        let mut workers = workers(4, vec![block(), pass_out(), max(pass_in(), most)]);
        let begun = (1..=2000).filter(|port| begins(&mut workers, *port)).count() as u32;
        assert_eq!(begun, most, "each packet is looked at by all, so that none keeps credits");
    }
}

#[test]
fn states_are_killed_by_any_label_of_their_rule() {
    let mut firewall = Firewall::with(vec![pass().any_flags().change(|rule| {
        rule.label = Some("web".into());
        rule.more_labels = vec!["intern".into(), "old".into()];
    })]);
    for (label, killed) in [("other", 0), ("intern", 2), ("web", 2), ("old", 2)] {
        firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
        let selector = StateSelector { label: Some(label.into()), ..StateSelector::default() };
        let selection = Selection::new(&selector, &firewall.fib);
        assert_eq!(firewall.shard.kill(&mut 0, usize::MAX, &selection), killed, "{label}");
    }
}

#[test]
fn a_match_rule_does_not_end_with_its_first_match() {
    let refused = |rule| ruleset(vec![rule]).validate().is_err();
    assert!(refused(once(crate::firewall::rules::matching())) && !refused(once(block())));
}

#[test]
fn time_outs_of_a_rule_shrink_with_its_own_states() {
    let adaptive = pass()
        .any_flags()
        .to_udp(53)
        .timeout(Timeout::UdpFirst, 40)
        .timeout(Timeout::AdaptiveStart, 2)
        .timeout(Timeout::AdaptiveEnd, 6);
    let mut firewall = Firewall::with(vec![pass().any_flags(), adaptive]);
    let left = |firewall: &Firewall| -> Vec<(u32, u32)> {
        let each = |state: &ruleset::StateView| (state.rule.expect("a rule"), state.expires_in_s);
        firewall.states().iter().map(each).collect()
    };
    firewall
        .tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1\nem0: 10.0.0.2.1 > 10.1.0.2.54 udp -> out em1");
    assert_eq!(left(&firewall), [(1, 40), (1, 40), (0, 60), (0, 60)]);
    firewall.tell("em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> out em1");
    assert_eq!(left(&firewall), [(1, 20), (1, 20), (0, 60), (0, 60), (1, 20), (1, 20)], "four of six");
    firewall.kill("10.0.0.3");
    assert_eq!(left(&firewall), [(1, 40), (1, 40), (0, 60), (0, 60)]);
    // As many as `adaptive.end` says: the time of each is over.
    firewall
        .tell("em0: 10.0.0.3.2 > 10.1.0.2.53 udp -> out em1\nem0: 10.0.0.3.3 > 10.1.0.2.53 udp -> out em1");
    let mut own = left(&firewall);
    own.retain(|(rule, _)| *rule == 1);
    assert!(own.len() == 6 && own.iter().all(|(_, left)| *left == 0), "{own:?}");
}
