//! FreeBSD's rulesets for translation: of each the first rule that matches at a hook is the only one.

use crate::firewall::Firewall;
use crate::firewall::rules::{Written, matching, pass, ruleset};
use ruleset::{Call, FirstMatch, Rule, Ruleset, Translating};
use wire::Proto;

fn of(ruleset: Translating, rule: Rule) -> Rule {
    rule.change(|rule| rule.first_match = Some(FirstMatch { ruleset, exempt: false }))
}

fn no(ruleset: Translating, rule: Rule) -> Rule {
    rule.change(|rule| rule.first_match = Some(FirstMatch { ruleset, exempt: true }))
}

const fn one(port: u16) -> (u16, u16) {
    (port, port)
}

fn leaving() -> Rule {
    matching().outgoing().on("em1").from("10.0.0.0/24")
}

fn arriving() -> Rule {
    matching().incoming().on("em0").proto(Proto::UDP).to("10.1.0.2")
}

/// `nat`: not for port 53, from another port for port 123, else from port 50001; each could follow the one before.
fn hiding() -> Vec<Rule> {
    vec![
        no(Translating::Nat, leaving().to_udp(53)),
        of(Translating::Nat, leaving().to_udp(123).nat_to("10.0.0.9", one(123))),
        of(Translating::Nat, leaving().nat_to("10.1.0.1", one(50_001))),
        pass(),
    ]
}

#[test]
fn the_first_rule_that_matches_hides_those_behind_it() {
    let tell = "
        em0: 10.0.0.2.40000 > 10.1.0.2.53 udp  -> out em1
        em0: 10.0.0.2.40000 > 10.1.0.2.123 udp -> out em1 as 10.0.0.9.123 > 10.1.0.2.123 udp
        em0: 10.0.0.2.40000 > 10.1.0.2.80 udp  -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 udp
        ";
    Firewall::with(hiding()).tell(tell);
    // Without it every rule that matches would translate once more.
    let plain = hiding().into_iter().map(|rule| rule.change(|rule| rule.first_match = None)).collect();
    Firewall::with(plain).tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.53 udp  -> out em1 as 10.1.0.1.50001 > 10.1.0.2.53 udp
        em0: 10.0.0.2.40000 > 10.1.0.2.123 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.123 udp
        ",
    );
}

#[test]
fn answers_find_their_way_and_each_packet_is_asked_about_anew() {
    let mut firewall = Firewall::with(hiding());
    for port in [80, 81, 82] {
        firewall.tell(&format!(
            "
            em0: 10.0.0.2.40000 > 10.1.0.2.{port} udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.{port} udp
            em1: 10.1.0.2.{port} > 10.1.0.1.50001 udp -> out em0 as 10.1.0.2.{port} > 10.0.0.2.40000 udp
            "
        ));
    }
}

#[test]
fn what_one_ruleset_has_translated_the_other_is_not_asked_about() {
    let binat = |exempt: bool| {
        let rule = leaving().from("10.0.0.2");
        match exempt {
            true => no(Translating::Binat, rule),
            false => of(Translating::Binat, rule.nat_to("10.0.0.7", one(7))),
        }
    };
    let nat = || of(Translating::Nat, leaving().nat_to("10.1.0.1", one(50_001)));
    Firewall::with(vec![binat(false), nat(), pass()])
        .tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 udp -> out em1 as 10.0.0.7.7 > 10.1.0.2.80 udp");
    Firewall::with(vec![binat(true), nat(), pass()])
        .tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 udp");
    // The other way round: `rdr` comes before `binat`.
    let rdr = |exempt: bool| {
        let rule = arriving().to_port(80);
        match exempt {
            true => no(Translating::Rdr, rule),
            false => of(Translating::Rdr, rule.rdr_to("10.2.0.2", None)),
        }
    };
    let inward = || of(Translating::Binat, matching().incoming().on("em0").rdr_to("10.1.0.254", None));
    Firewall::with(vec![rdr(false), inward(), pass()])
        .tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 udp -> out em2 as 10.0.0.2.40000 > 10.2.0.2.80 udp");
    Firewall::with(vec![rdr(true), inward(), pass()])
        .tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 udp -> out em1 as 10.0.0.2.40000 > 10.1.0.254.80 udp");
}

/// A call of an anchor takes nothing itself, what is in the anchor does.
#[test]
fn rules_in_anchors_are_of_the_ruleset_of_their_call() {
    let call = no(
        Translating::Nat,
        pass().outgoing().change(|rule| {
            (rule.state, rule.flags) = Default::default();
            rule.call = Some(Call { name: "/_nat/a".into(), wildcard: false, end: 2 });
        }),
    );
    let inner =
        of(Translating::Nat, leaving().to_udp(53).nat_to("10.1.0.1", one(53))).change(|rule| rule.anchor = 2);
    let rest = of(Translating::Nat, leaving().nat_to("10.1.0.1", one(50_001)));
    let rules =
        Ruleset { anchors: vec!["_nat".into(), "_nat/a".into()], ..ruleset(vec![call, inner, rest, pass()]) };
    let mut firewall = Firewall::bare();
    firewall.load(rules);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.53 udp -> out em1 as 10.1.0.1.53 > 10.1.0.2.53 udp
        em0: 10.0.0.2.40000 > 10.1.0.2.80 udp -> out em1 as 10.1.0.1.50001 > 10.1.0.2.80 udp
        ",
    );
}
