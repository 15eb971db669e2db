//! Whole packets through a shard: what is counted for the addresses of tables, and what a change of a table leaves.

use crate::firewall::rules::{Written, block, pass, ruleset};
use crate::firewall::{Firewall, fib};
use engine::{AddressCounts, Root};
use ruleset::{
    AddressMatch, AddressPattern, Rule, Ruleset, Table, TableContents, TableEdit, TableEntry, ZeroCounts,
};

fn entries(words: &[&str]) -> Vec<TableEntry> {
    let entry = |word: &&str| {
        let net = word.trim_start_matches('!').parse().expect("a network");
        TableEntry::new(word.starts_with('!'), net)
    };
    words.iter().map(entry).collect()
}

fn table(name: &str) -> AddressMatch {
    AddressMatch { negated: false, pattern: AddressPattern::Table(name.into()) }
}

fn from(rule: Rule, name: &str) -> Rule {
    rule.change(|rule| rule.from.address = table(name))
}

fn to(rule: Rule, name: &str) -> Rule {
    rule.change(|rule| rule.to.address = table(name))
}

fn with_table(rules: Vec<Rule>, counters: bool, list: Option<&[&str]>) -> Ruleset {
    let table =
        Table { name: "t".into(), persist: true, counters, entries: list.map(entries), ..Table::default() };
    Ruleset { tables: vec![table], ..ruleset(rules) }
}

fn edit(firewall: &mut Firewall, edit: TableEdit) {
    let root = firewall.root.as_ref().expect("rules").with_tables(&[edit]).expect("a table");
    firewall.root = Some(root);
}

/// `network in blocked/passed out blocked/passed`, packets alone, of those that have any.
fn counted(firewall: &Firewall) -> Vec<String> {
    let root = firewall.root.as_ref().expect("rules");
    let mut lines: Vec<String> = root
        .address_counts("t")
        .expect("the table")
        .filter(|(_, counts)| *counts != AddressCounts::default())
        .map(|(net, counts)| {
            let [[in_block, in_pass], [out_block, out_pass]] =
                counts.map(|hook| hook.map(|counted| counted.packets));
            format!("{net} in {in_block}/{in_pass} out {out_block}/{out_pass}")
        })
        .collect();
    lines.sort();
    lines
}

const HANDSHAKE: &str = "
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000                -> out em1
    em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001      -> out em0
    em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001       -> out em1
";

#[test]
fn packets_of_a_state_count_for_the_address_in_both_directions() {
    let mut firewall = Firewall::bare();
    firewall.load(with_table(
        vec![block(), from(pass().incoming(), "t"), pass().outgoing()],
        true,
        Some(&["10.0.0.0/24", "10.0.0.2/32"]),
    ));
    firewall.tell(HANDSHAKE);
    assert_eq!(counted(&firewall), ["10.0.0.2/32 in 0/2 out 0/1"], "the longest entry alone");
    // Established, and past where connections without counters take the short way.
    for _ in 0..5 {
        firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1");
        firewall.tell("em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 5001 ack 1001 -> out em0");
    }
    assert_eq!(counted(&firewall), ["10.0.0.2/32 in 0/7 out 0/6"]);
    let root = firewall.root.as_ref().expect("rules");
    let bytes: u64 = root
        .address_counts("t")
        .expect("the table")
        .flat_map(|(_, counts)| counts.map(|hook| hook[1].bytes))
        .sum();
    assert_eq!(bytes, 13 * 40);
}

#[test]
fn blocked_packets_count_and_so_do_those_without_a_state() {
    let mut firewall = Firewall::bare();
    let rules = vec![pass(), from(block().quick(), "t"), to(pass().outgoing().no_state(), "t")];
    firewall.load(with_table(rules, true, Some(&["10.0.0.0/24", "!10.0.0.2/32", "10.1.0.2/32"])));
    firewall.tell(
        "
        em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> match
        em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> match
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        ",
    );
    assert_eq!(counted(&firewall), ["10.0.0.0/24 in 2/0 out 0/0", "10.1.0.2/32 in 0/0 out 0/1"]);
}

#[test]
fn counters_are_set_to_zero_for_some_or_for_all() {
    let mut firewall = Firewall::bare();
    firewall.load(with_table(
        vec![pass(), from(block().quick(), "t")],
        true,
        Some(&["10.0.0.2/32", "10.0.0.3/32"]),
    ));
    let both = "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match
        em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> match
    ";
    firewall.tell(both);
    let zero = |zero| TableEdit { name: "t".into(), zero, ..TableEdit::default() };
    let one = vec!["10.0.0.2/32".parse().expect("a host"), "10.0.0.9/32".parse().expect("a host")];
    edit(&mut firewall, zero(ZeroCounts::Entries(one)));
    assert_eq!(counted(&firewall), ["10.0.0.3/32 in 1/0 out 0/0"]);
    firewall.tell(both);
    assert_eq!(counted(&firewall), ["10.0.0.2/32 in 1/0 out 0/0", "10.0.0.3/32 in 2/0 out 0/0"]);
    edit(&mut firewall, zero(ZeroCounts::All));
    assert_eq!(counted(&firewall), [""; 0]);
    firewall.tell(both);
    assert_eq!(counted(&firewall).len(), 2);
}

#[test]
fn an_entry_keeps_its_counters_over_changes_and_reloads_and_loses_them_with_itself() {
    let rules = || vec![pass(), from(block().quick(), "t")];
    let mut firewall = Firewall::bare();
    firewall.load(with_table(rules(), true, Some(&["10.0.0.2/32"])));
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match");
    let kept = ["10.0.0.2/32 in 1/0 out 0/0"];
    edit(
        &mut firewall,
        TableEdit { name: "t".into(), add: entries(&["10.0.0.3/32", "10.0.0.2/32"]), ..TableEdit::default() },
    );
    assert_eq!(counted(&firewall), kept);
    firewall.load(with_table(rules(), true, Some(&["10.0.0.2/32", "10.0.0.9/32"])));
    assert_eq!(counted(&firewall), kept, "a reload with the entry in its list");
    firewall.load(with_table(rules(), true, None));
    assert_eq!(counted(&firewall), kept, "a reload without a list");
    let contents = [TableContents { name: "t".into(), entries: entries(&["10.0.0.2/32"]) }];
    let ruleset = with_table(rules(), true, None);
    let root = Root::compile_with(&ruleset, fib().interfaces(), firewall.root.as_ref(), &contents);
    firewall.root = Some(root.expect("rules"));
    assert_eq!(counted(&firewall), kept, "contents that are given");
    firewall.load(with_table(rules(), false, None));
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match");
    assert_eq!(counted(&firewall), [""; 0], "nothing is counted without the attribute");
    firewall.load(with_table(rules(), true, None));
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match");
    assert_eq!(counted(&firewall), kept, "from now on");
    let remove = vec!["10.0.0.2/32".parse().expect("a host")];
    edit(&mut firewall, TableEdit { name: "t".into(), remove, ..TableEdit::default() });
    edit(
        &mut firewall,
        TableEdit { name: "t".into(), add: entries(&["10.0.0.2/32"]), ..TableEdit::default() },
    );
    assert_eq!(counted(&firewall), [""; 0], "it is another entry");
}

/// Whoever holds the tables as they were sees them so, wholly: a burst reads its root once.
#[test]
fn a_table_is_replaced_for_each_packet_wholly() {
    let words =
        |first: u8| -> Vec<String> { (0..200).map(|host| format!("10.{first}.0.{host}/32")).collect() };
    let list = |words: &[String]| entries(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let (one, other) = (words(0), words(9));
    let mut firewall = Firewall::bare();
    firewall.load(with_table(vec![pass(), from(block().quick(), "t")], true, None));
    edit(&mut firewall, TableEdit { name: "t".into(), add: list(&one), ..TableEdit::default() });
    let before = firewall.root.clone();
    let replace = TableEdit { name: "t".into(), clear: true, add: list(&other), ..TableEdit::default() };
    edit(&mut firewall, replace);
    let blocked = "em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match";
    let passed = "em0: 10.0.0.2.2 > 10.1.0.2.53 udp -> out em1";
    firewall.tell(passed);
    let after = std::mem::replace(&mut firewall.root, before);
    firewall.tell(blocked);
    assert_eq!(firewall.root.as_ref().expect("rules").entries("t").expect("the table").count(), 200);
    firewall.root = after;
    let held: Vec<TableEntry> =
        firewall.root.as_ref().expect("rules").entries("t").expect("the table").collect();
    assert!(held.len() == 200 && held.iter().all(|entry| list(&other).contains(entry)));
}

/// As in pf, the rule that made a state is the one that counts: also once the rules are others.
#[test]
fn states_count_for_their_rule_over_a_reload_that_keeps_it() {
    let rules = || vec![block(), from(pass().incoming(), "t"), pass().outgoing()];
    let mut firewall = Firewall::bare();
    firewall.load(with_table(rules(), true, Some(&["10.0.0.2/32"])));
    firewall.tell(HANDSHAKE);
    firewall.load(with_table(rules(), true, None));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1");
    assert_eq!(counted(&firewall), ["10.0.0.2/32 in 0/3 out 0/1"]);
    firewall.load(with_table(vec![pass()], true, None));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1001 ack 5001 -> out em1");
    assert_eq!(counted(&firewall), ["10.0.0.2/32 in 0/3 out 0/1"], "its rule is gone");
}

#[test]
fn addresses_that_match_rules_name_count_the_packets_of_states() {
    let rules = vec![from(ruleset::Rule { action: ruleset::Action::Match, ..Rule::default() }, "t"), pass()];
    let mut firewall = Firewall::bare();
    firewall.load(with_table(rules, true, Some(&["10.0.0.2/32"])));
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp -> out em0
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> out em1
        ",
    );
    assert_eq!(counted(&firewall), ["10.0.0.2/32 in 0/3 out 0/3"]);
}
