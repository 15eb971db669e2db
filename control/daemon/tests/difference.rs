//! What a diff says.

use api::control::{Difference, TableFate};
use pfconf::Interfaces;
use proptest::prelude::*;
use ruleset::Ruleset;
use turnpike_control::difference::difference;
use turnpike_control::tables::TableSet;

fn compile(text: &str) -> Ruleset {
    pfconf::compile(text, &Interfaces::default()).unwrap_or_else(|findings| panic!("{findings}"))
}

fn between(live: &str, candidate: &str) -> Difference {
    difference(&compile(live), &compile(candidate), &TableSet::new())
}

fn numbers(rules: &[api::control::RuleAt]) -> Vec<usize> {
    rules.iter().map(|rule| rule.number).collect()
}

const A: &str = "block all\n";
const B: &str = "pass in proto tcp to port 22\n";
const C: &str = "pass out all\n";
const D: &str = "pass in proto udp to port 53\n";

#[test]
fn the_same_rules_do_not_differ() {
    assert!(between(&[A, B, C].concat(), &[A, "# a remark\n\n", B, C].concat()).is_empty());
    assert!(between("", "").is_empty());
}

#[test]
fn an_insertion_moves_nothing() {
    let difference = between(&[A, B, C].concat(), &[A, D, B, C].concat());
    assert_eq!(numbers(&difference.added), [1]);
    assert_eq!(difference.added[0].text, "pass in proto udp from any to any port = 53");
    assert_eq!((difference.removed, difference.moved), (vec![], vec![]));
}

#[test]
fn a_removal_moves_nothing() {
    let difference = between(&[A, D, B, C].concat(), &[A, B, C].concat());
    assert_eq!(numbers(&difference.removed), [1]);
    assert_eq!((difference.added, difference.moved), (vec![], vec![]));
}

#[test]
fn the_least_that_moved_is_named() {
    let difference = between(&[A, B, C, D].concat(), &[B, C, D, A].concat());
    assert_eq!(difference.moved.len(), 1);
    let moved = &difference.moved[0];
    assert_eq!((moved.live.number, moved.candidate.number), (0, 3));
    assert_eq!(moved.live.identity, moved.candidate.identity);
    assert_eq!((difference.added, difference.removed), (vec![], vec![]));
}

#[test]
fn equal_rules_are_counted() {
    assert_eq!(numbers(&between(&[A, B].concat(), &[A, B, B].concat()).added), [2]);
    assert_eq!(numbers(&between(&[B, B, A].concat(), &[B, A].concat()).removed), [1]);
}

#[test]
fn a_label_that_is_alone_tells_which_rule_changed() {
    let live = "block all\npass in proto tcp to port 22 label \"ssh\"\n";
    let difference = between(live, "block all\npass in proto tcp to port 2222 label \"ssh\"\n");
    assert_eq!(difference.changed.len(), 1);
    assert!(difference.changed[0].candidate.text.contains("2222"));
    assert_eq!((difference.added, difference.removed), (vec![], vec![]));
    // Two rules of one label: nobody knows which became which.
    let difference = between(live, "block all\npass in proto tcp to port { 80, 443 } label \"ssh\"\n");
    assert_eq!((difference.changed, difference.added.len(), difference.removed.len()), (vec![], 2, 1));
}

#[test]
fn tables_and_options_are_compared_by_name() {
    let live = "set timeout tcp.first 100\nset limit states 5000\ntable <a> { 192.0.2.1 }\ntable <b> persist\n\
                table <d> { 192.0.2.9 }\nblock from <a>\n";
    let candidate = "set limit states 6000\nset skip on lo\ntable <a> { 192.0.2.1, ! 192.0.2.0/24 }\ntable <b> const\n\
                     table <c> { 2001:db8::1 }\nblock from <a>\n";
    let difference = between(live, candidate);
    let tables: Vec<_> = difference
        .tables
        .iter()
        .map(|table| (table.name.as_str(), table.change, table.added.clone()))
        .collect();
    assert_eq!(
        tables,
        [
            ("a", TableFate::Changed, vec!["!192.0.2.0/24".to_owned()]),
            ("b", TableFate::Changed, vec![]),
            ("c", TableFate::Added, vec!["2001:db8::1".to_owned()]),
            ("d", TableFate::Removed, vec![]),
        ]
    );
    assert_eq!(difference.tables[3].removed, ["192.0.2.9"]);
    let options: Vec<_> = difference
        .options
        .iter()
        .map(|option| (option.name.as_str(), option.live.as_str(), option.candidate.as_str()))
        .collect();
    assert_eq!(
        options,
        [
            ("skip", "", "lo"),
            ("timeout tcp.first", "100", "120"),
            ("timeout adaptive.start", "3000", "3600"),
            ("timeout adaptive.end", "6000", "7200"),
            ("limit states", "5000", "6000"),
        ]
    );
}

/// Rules by port, each once.
fn rules(ports: &[u16]) -> Ruleset {
    compile(&ports.iter().map(|port| format!("pass in proto tcp to port {}\n", port + 1)).collect::<String>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Doing what the difference says to the live ruleset gives the candidate.
    #[test]
    fn the_difference_leads_from_one_to_the_other(
        live in proptest::collection::btree_set(0..40u16, 0..20).prop_map(Vec::from_iter).prop_shuffle(),
        candidate in proptest::collection::btree_set(0..40u16, 0..20).prop_map(Vec::from_iter).prop_shuffle(),
    ) {
        let (live, candidate) = (rules(&live), rules(&candidate));
        let found = difference(&live, &candidate, &TableSet::new());
        let identity = |rule: &ruleset::Rule| format!("{:016x}", rule.identity);
        let mut list: Vec<String> = live.rules.iter().map(identity).collect();
        let gone: Vec<&String> = found
            .removed
            .iter()
            .map(|rule| &rule.identity)
            .chain(found.moved.iter().map(|change| &change.live.identity))
            .collect();
        list.retain(|rule| !gone.contains(&rule));
        let mut new: Vec<(usize, String)> = found
            .added
            .iter()
            .chain(found.moved.iter().map(|change| &change.candidate))
            .map(|rule| (rule.number, rule.identity.clone()))
            .collect();
        new.sort();
        for (number, rule) in new {
            list.insert(number, rule);
        }
        prop_assert_eq!(list, candidate.rules.iter().map(identity).collect::<Vec<_>>());
    }
}
