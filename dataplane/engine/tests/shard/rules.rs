//! Whole packets through a shard: what rules make of them.

use crate::firewall::Firewall;
use crate::firewall::rules::{Written, block, block_return, pass, ruleset};
use engine::{Fib, Filtering, Root, RuleUsage, UsageCursor};
use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Direction, Flow, InterfacePart, Limit, LogOptions,
    Moment, Reason, Rule, Ruleset, StateMode, Table, TableContents, TableEdit, TableEntry, TupleEnd,
};
use wire::Proto;

#[test]
fn block_return_answers_tcp_with_a_reset_and_the_rest_with_icmp() {
    let mut firewall = Firewall::with(vec![block_return()]);
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000       -> match: 10.1.0.2.80 > 10.0.0.2.40000 tcp RA seq 0 ack 1001 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp A seq 1000 ack 7 -> match: 10.1.0.2.80 > 10.0.0.2.40000 tcp R seq 7 ack 0 win 0 ttl 64
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp R seq 1000       -> match
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 9                -> match: 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2 > 10.1.0.2 proto 17) ttl 64
        em0: 10.0.0.2 > 10.1.0.2 icmp 8/0 id 1                 -> match: 10.1.0.2 > 10.0.0.2 icmp 3/3 about (10.0.0.2 > 10.1.0.2 proto 1) ttl 64
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp              -> match: 2001:db8:1::2 > 2001:db8::2 icmp 1/4 about (2001:db8::2 > 2001:db8:1::2 proto 17) ttl 64
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp                      -> match: 10.0.0.1 > 10.0.0.2 icmp 3/3 about (10.0.0.2 > 10.0.0.1 proto 17) ttl 64
        ",
    );
    let counters = firewall.shard.counters();
    assert_eq!(counters.created(engine::Created::Rst), 2);
    assert_eq!(counters.created(engine::Created::Icmp), 4);
    assert_eq!(counters.dropped(Reason::Match), 7);
    assert_eq!(firewall.dump(), "", "what is refused leaves no state");
}

#[test]
fn the_host_is_told_at_once_what_it_may_not_send() {
    Firewall::with(vec![block_return().outgoing()]).tell(
        "
        em1 host: 10.1.0.1.50000 > 10.1.0.2.80 tcp S seq 1000 -> match: 10.1.0.2.80 > 10.1.0.1.50000 tcp RA seq 0 ack 1001 win 0 ttl 64
        em1 host: 10.1.0.1.1 > 10.1.0.2.53 udp                -> match: 10.1.0.2 > 10.1.0.1 icmp 3/3 about (10.1.0.1 > 10.1.0.2 proto 17) ttl 64
        em1: 10.1.0.1.1 > 10.0.0.2.53 udp                     -> match
        ",
    );
}

#[test]
fn each_form_of_block_answers_what_it_says() {
    let form = |reply| Firewall::with(vec![block().change(|rule| rule.action = Action::Block(reply))]);
    form(BlockReply::Rst { ttl: 9 }).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1 -> match: 10.1.0.2.2 > 10.0.0.2.1 tcp RA seq 0 ack 2 win 0 ttl 9
        em0: 10.0.0.2.1 > 10.1.0.2.2 udp         -> match
        ",
    );
    form(BlockReply::Icmp { code: Some(13), code6: None }).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1   -> match: 10.1.0.2 > 10.0.0.2 icmp 3/13 about (10.0.0.2 > 10.1.0.2 proto 6) ttl 64
        em0: 2001:db8::2.1 > 2001:db8:1::2.2 udp   -> match
        ",
    );
    form(BlockReply::Icmp { code: None, code6: Some(1) }).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.2 udp         -> match
        em0: 2001:db8::2.1 > 2001:db8:1::2.2 udp -> match: 2001:db8:1::2 > 2001:db8::2 icmp 1/1 about (2001:db8::2 > 2001:db8:1::2 proto 17) ttl 64
        ",
    );
    form(BlockReply::Drop).tell("em0: 10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1 -> match");
}

#[test]
fn what_must_not_be_answered_is_dropped_in_silence() {
    Firewall::with(vec![block_return()]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.2 tcp S seq 1 bad-sum              -> proto-cksum
        em0: 10.0.0.2.1 > 10.1.0.2.2 udp len 4 bad-sum                -> proto-cksum
        em0: 10.0.0.2 > 10.1.0.2 icmp 3/3 about (10.1.0.2.1 > 10.0.0.2.2 udp) -> match
        em0: 10.0.0.2 > 10.1.0.2 icmp 5/0                             -> match
        em0: 10.0.0.2.1 > 224.0.0.5.2 udp                             -> match
        em0: 10.0.0.2.1 > 10.0.0.255.2 udp                            -> match
        em0: 0.0.0.0.1 > 10.1.0.2.2 udp                               -> match
        em0: 10.1.0.1.1 > 10.1.0.2.2 udp                              -> match
        em0: 10.0.0.2.1 > 10.1.0.2.2 udp fragment df                  -> fragment
        ",
    );
}

#[test]
fn the_last_match_decides_and_quick_ends_the_walk() {
    let pass_dns = || pass().any_flags().proto(Proto::UDP).to_port(53);
    let dns = "em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> ";
    Firewall::with(vec![block(), pass_dns()]).tell(&format!("{dns} out em1"));
    Firewall::with(vec![pass_dns(), block()]).tell(&format!("{dns} match"));
    Firewall::with(vec![pass_dns().quick(), block()]).tell(&format!("{dns} out em1"));
    // No rule at all: pass, without a state.
    let mut firewall = Firewall::with(vec![]);
    firewall.tell(&format!("{dns} out em1"));
    assert_eq!(firewall.dump(), "");
}

#[test]
fn a_tag_stays_with_the_packet_between_the_hooks_and_with_its_state() {
    let tagging = pass().any_flags().incoming().on("em0").to_udp(1000).tag("LAN");
    let out = pass().any_flags().outgoing().tagged("LAN").no_state();
    let mut firewall = Firewall::with(vec![block(), pass().any_flags().incoming().on("em0"), tagging, out]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.1000 udp -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.1001 udp -> match
        em0: 10.0.0.2.1 > 10.1.0.2.1000 udp -> out em1
        em0 host: 10.0.0.1.1 > 10.0.0.2.1000 udp -> match
        ",
    );
    // The second packet of the first connection met the state of the IN hook, which put the tag on it.
    assert_eq!(firewall.states().iter().filter(|state| state.source.packets == 2).count(), 1);
}

#[test]
fn self_in_parentheses_is_the_box_and_an_interface_its_own_addresses() {
    let to = |name: &str| {
        let pattern = AddressPattern::Interface {
            name: name.into(),
            part: InterfacePart::Own,
            no_alias: false,
            prefix: None,
        };
        pass()
            .proto(Proto::UDP)
            .no_state()
            .change(|rule| rule.to.address = AddressMatch { negated: false, pattern })
    };
    Firewall::with(vec![block(), to("self")]).tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp              -> host em0
        em0: 10.0.0.2.1 > 10.1.0.1.53 udp              -> host em0
        em0: 2001:db8::2.1 > 2001:db8:1::1.53 udp      -> host em0
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp              -> match
        ",
    );
    Firewall::with(vec![block(), to("em0")]).tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp -> host em0
        em0: 10.0.0.2.1 > 10.1.0.1.53 udp -> match
        ",
    );
}

#[test]
fn the_other_end_of_a_link_is_that_of_an_address() {
    let peer = |prefix| AddressPattern::Interface {
        name: "lan".into(),
        part: InterfacePart::Peer,
        no_alias: false,
        prefix,
    };
    let from = |prefix| {
        let address = AddressMatch { negated: false, pattern: peer(prefix) };
        pass().proto(Proto::UDP).no_state().change(|rule| rule.from.address = address)
    };
    let mut firewall = Firewall::with(vec![block(), from(None), pass().outgoing()]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> match");
    let mut known = crate::firewall::interfaces();
    known[0].addresses[0].peer = Some("10.0.0.2".parse().unwrap());
    firewall.fib = Fib::new(2, known, crate::firewall::routes(), crate::firewall::neighbors());
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> match
        ",
    );
    firewall.load(ruleset(vec![block(), from(Some(31)), pass().outgoing()]));
    firewall.tell(
        "
        em0: 10.0.0.3.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.4.1 > 10.1.0.2.53 udp -> match
        ",
    );
}

#[test]
fn a_skipped_interface_is_not_filtered() {
    let mut rules = ruleset(vec![block()]);
    rules.options.skip = vec!["em0".into()];
    let mut firewall = Firewall::bare();
    firewall.load(rules.clone());
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp           -> host em0
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp options   -> host em0
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp fragment  -> kept
        em0: 10.0.0.2.1 > 10.0.0.1.53 tcp - seq 1   -> host em0
        em0: 10.0.0.2.1 > 10.0.0.1.53 tcp SF seq 1  -> host em0
        em0 host: 10.0.0.1.1 > 10.0.0.2.53 udp      -> sent em0
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp           -> match
        em1: 10.1.0.2.1 > 10.0.0.2.53 udp           -> match
        ",
    );
    assert_eq!(firewall.dump(), "");
    // By its group as well.
    rules.options.skip = vec!["egress".into()];
    firewall.load(rules);
    firewall.tell(
        "
        em1: 10.1.0.2.1 > 10.1.0.1.53 udp -> host em1
        em2: 10.2.0.2.1 > 10.1.0.2.53 udp -> out em1
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp -> match
        ",
    );
}

#[test]
fn options_need_a_rule_that_allows_them_and_so_do_their_states() {
    Firewall::with(vec![pass().any_flags()]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp options         -> ip-option
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp                 -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp options         -> ip-option
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp options -> ip-option
        ",
    );
    let allowing = || pass().any_flags().allow_opts();
    Firewall::with(vec![allowing()]).tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp options         -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp options         -> out em0
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp options -> out em1
        ",
    );
    // The state of each hook has its own rule.
    let mut firewall = Firewall::with(vec![allowing().incoming(), pass().any_flags().outgoing()]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    let before = firewall.dump();
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp options -> ip-option");
    assert_eq!(firewall.dump(), before);
}

#[test]
fn a_syn_that_also_closes_only_opens() {
    use engine::{Arrival, Fate, Source};
    let mut firewall = Firewall::with(vec![pass()]);
    let arrival = Arrival { interface: crate::firewall::EM0, source: Source::Wire };
    let frame = |flags, ttl| {
        let text = format!("10.0.0.2.1 > 10.1.0.2.80 tcp {flags} seq 1000 ttl {ttl}");
        crate::firewall::packet::Packet::parse(&text)
    };
    let mut sent = frame("SF", 64)
        .frame(crate::firewall::mac(crate::firewall::EM0, 2), crate::firewall::mac(crate::firewall::EM0, 1));
    assert_eq!(firewall.decide(arrival, &mut sent), Fate::Transmit(crate::firewall::EM1));
    assert_eq!(
        sent,
        frame("S", 63).frame(
            crate::firewall::mac(crate::firewall::EM1, 1),
            crate::firewall::mac(crate::firewall::EM1, 2)
        )
    );
    assert_eq!(firewall.states()[0].source.seqhi, 1002);
}

#[test]
fn fragments_are_not_taken() {
    let mut firewall = Firewall::with(vec![pass().any_flags()]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp fragment df -> fragment
        em0: 10.0.0.2.1 > 10.0.0.1.53 udp fragment df -> fragment
        ",
    );
    assert_eq!(firewall.dump(), "");
}

#[test]
fn every_rule_knows_what_it_has_done() {
    let mut firewall = Firewall::with(vec![
        block(),
        pass().any_flags().proto(Proto::UDP).incoming().quick(),
        pass().any_flags().proto(Proto::UDP).outgoing().no_state().quick(),
        pass(),
    ]);
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 72   -> out em1
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 72   -> out em1
        em0: 10.0.0.2 > 10.1.0.2 proto 47 len 30   -> out em1
        em0: 10.0.0.2 > 10.1.0.2 icmp 0/0 id 1     -> match
        ",
    );
    let usage = firewall.usage();
    let root = firewall.root.as_ref().unwrap();
    for most in [1, 2, 3, usize::MAX] {
        let mut sliced = vec![RuleUsage::default(); usage.len()];
        root.add_retired(&mut sliced);
        let mut cursor = UsageCursor::default();
        while !firewall.shard.add_usage(root, &mut cursor, most, &mut sliced) {}
        assert_eq!(sliced, usage, "{most} at a time");
    }
    let evaluations: Vec<u64> = usage.iter().map(|rule| rule.evaluations).collect();
    // Walks: udp in (ended by the second), udp out twice (by the third), gre in and out, icmp reply in.
    assert_eq!(evaluations, [6, 6, 5, 3]);
    let done = |usage: &RuleUsage| {
        (usage.counted.map(|counted| (counted.packets, counted.bytes)), usage.states, usage.made)
    };
    let none = (0, 0);
    assert_eq!(done(&usage[0]), ([(1, 28), none], 0, 0), "what it blocked");
    assert_eq!(done(&usage[1]), ([(2, 200), none], 1, 1), "the packets of its state");
    assert_eq!(done(&usage[2]), ([none, (2, 200)], 0, 0), "the packets that it passed without a state");
    assert_eq!(done(&usage[3]), ([(1, 50), (1, 50)], 2, 2), "one packet, counted by both its states");
    // What states have counted stays with the rule when they are gone.
    firewall.wait(61).sweep();
    let usage = firewall.usage();
    assert_eq!(done(&usage[1]), ([(2, 200), none], 0, 1));
    assert_eq!(done(&usage[3]), ([(1, 50), (1, 50)], 0, 2));
}

#[test]
fn replies_go_out_where_requests_came_in_and_each_load_counts_from_zero() {
    let rules = || vec![block(), pass().any_flags().proto(Proto::UDP).incoming().quick(), pass()];
    let mut firewall = Firewall::with(rules());
    let story = "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp len 72   -> out em1
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp len 12   -> out em0
        em1: 10.1.0.2.53 > 10.0.0.2.1 udp len 12   -> out em0
    ";
    firewall.tell(story);
    let counted = |firewall: &Firewall, rule: usize| {
        firewall.usage()[rule].counted.map(|counted| (counted.packets, counted.bytes))
    };
    assert_eq!([1, 2].map(|rule| counted(&firewall, rule)), [[(1, 100), (2, 80)], [(2, 80), (1, 100)]]);
    // The same rules again: their states are theirs, and what was counted is not.
    firewall.load(ruleset(rules())).tell(story);
    for rule in [1, 2] {
        let usage = firewall.usage()[rule];
        assert_eq!((counted(&firewall, rule), usage.states, usage.made), ([(0, 0); 2], 1, 0));
    }
}

/// What stands in a table: `!` negates.
fn entries(words: &[&str]) -> Vec<TableEntry> {
    let entry = |word: &&str| {
        let net = word.trim_start_matches('!').parse().expect("a network");
        TableEntry::new(word.starts_with('!'), net)
    };
    words.iter().map(entry).collect()
}

fn from_table(rule: Rule) -> Rule {
    rule.change(|rule| {
        rule.from.address = AddressMatch { negated: false, pattern: AddressPattern::Table("bad".into()) };
    })
}

/// Everything passes but what comes from `<bad>`, which begins with `list`.
fn with_table(list: Option<Vec<TableEntry>>) -> Ruleset {
    let table = Table { name: "bad".into(), persist: true, entries: list, ..Table::default() };
    Ruleset { tables: vec![table], ..ruleset(vec![pass(), from_table(block().quick())]) }
}

fn edit(firewall: &mut Firewall, edit: TableEdit) {
    let root = firewall.root.as_ref().expect("rules").with_tables(&[edit]).expect("a table");
    firewall.root = Some(root);
}

#[test]
fn a_table_changes_while_rules_states_and_counters_stay() {
    let mut firewall = Firewall::bare();
    firewall.load(with_table(Some(Vec::new())));
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1");
    let bad = |words: &[&str]| TableEdit { name: "bad".into(), add: entries(words), ..TableEdit::default() };
    edit(&mut firewall, bad(&["10.0.0.0/24", "!10.0.0.3/32", "2001:db8::2/128"]));
    firewall.tell(
        "
        em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000  -> out em1
        em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1000  -> match
        em0: 10.0.0.3.40001 > 10.1.0.2.80 tcp S seq 1000  -> out em1
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp         -> match
        ",
    );
    let root = firewall.root.clone().expect("rules");
    // The rules go on counting: 2 hooks of the first connection, 1 of each that was blocked, 2 of the third.
    assert_eq!(firewall.shard.rule_usage(&root)[1].evaluations, 6);
    assert_eq!(root.entries("bad").expect("the table").count(), 3);
    let absent = TableEdit { name: "absent".into(), ..TableEdit::default() };
    assert!(root.with_tables(&[bad(&["10.0.0.9/32"]), absent]).is_err(), "all or none");
    let remove = vec!["10.0.0.0/24".parse().expect("a network")];
    edit(&mut firewall, TableEdit { name: "bad".into(), remove, ..TableEdit::default() });
    firewall.tell("em0: 10.0.0.2.40001 > 10.1.0.2.80 tcp S seq 1000 -> out em1");
    edit(&mut firewall, TableEdit { clear: true, ..bad(&["10.0.0.3/32"]) });
    firewall.tell(
        "
        em0: 10.0.0.3.40002 > 10.1.0.2.80 tcp S seq 1000  -> match
        em0: 2001:db8::2.1 > 2001:db8:1::2.53 udp         -> out em1
        ",
    );
}

#[test]
fn a_table_without_a_list_keeps_what_it_holds() {
    let mut firewall = Firewall::bare();
    firewall.load(with_table(Some(entries(&["10.0.0.2/32"]))));
    let sent = "em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000";
    firewall.load(with_table(None)).tell(&format!("{sent} -> match"));
    let contents = [TableContents { name: "bad".into(), entries: entries(&["10.0.0.3/32"]) }];
    let compiled = |rules: &Ruleset, contents: &[TableContents]| {
        Root::compile_with(rules, crate::firewall::fib().interfaces(), firewall.root.as_ref(), contents)
    };
    let given = compiled(&with_table(Some(entries(&["10.0.0.2/32"]))), &contents).expect("rules");
    let mut small = with_table(None);
    small.options.limits.set(Limit::TableEntries, 1);
    assert!(compiled(&small, &[]).is_ok());
    let two = [TableContents { name: "bad".into(), entries: entries(&["10.0.0.3/32", "10.0.0.4/32"]) }];
    let refused = compiled(&small, &two).expect_err("two are more than one").to_string();
    assert_eq!(refused, "2 addresses in tables, but at most 1 are possible; raise `set limit table-entries`");
    firewall.root = Some(given);
    firewall.tell(&format!("{sent} -> out em1"));
    firewall.load(with_table(Some(Vec::new()))).tell("em0: 10.0.0.3.1 > 10.1.0.2.80 tcp S seq 1 -> out em1");
}

#[test]
fn switched_off_everything_passes_without_states() {
    let mut firewall = Firewall::with(vec![block(), pass().to_port(80).proto(Proto::TCP)]);
    firewall.tell("em0: 10.0.0.2.40000 > 10.1.0.2.80 tcp S seq 1000 -> out em1");
    let before = firewall.lines();
    firewall.root = firewall.root.map(|root| root.switched(Filtering::Off));
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp                                  -> out em1
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp A seq 9 ack 9                -> out em0
        em0: 10.0.0.2.1 > 10.0.0.1.22 tcp A seq 9 ack 9                    -> host em0
        ",
    );
    assert_eq!(firewall.lines(), before);
    // A reload switches nothing on; what switches on brings the states back as they were.
    firewall.load(ruleset(vec![block()])).tell("em0: 10.0.0.2.1 > 10.1.0.2.53 udp -> out em1");
    firewall.root = firewall.root.map(|root| root.switched(Filtering::On));
    firewall.tell(
        "
        em0: 10.0.0.2.1 > 10.1.0.2.53 udp                                   -> match
        em1: 10.1.0.2.80 > 10.0.0.2.40000 tcp SA seq 5000 ack 1001          -> out em0
        ",
    );
}

#[test]
fn rules_can_be_asked_without_a_packet() {
    let tagged = |rule: Rule| {
        rule.change(|rule| rule.tagged = Some(ruleset::TagMatch { name: "inside".into(), negated: false }))
    };
    let firewall = Firewall::with(vec![
        block(),
        pass().incoming().on("em0").change(|rule| rule.tag = Some("inside".into())),
        tagged(pass().outgoing()),
        block().quick().incoming().to_port(23).proto(Proto::TCP),
        pass().incoming().to_port(179).proto(Proto::TCP).change(|rule| rule.state = ruleset::StateMode::None),
        pass().incoming().proto(Proto::TCP).to("10.0.0.1").to_port(2222).rdr_to("10.1.0.2", None),
    ]);
    let root = firewall.root.as_ref().expect("rules");
    let end = |address: &str, port| TupleEnd {
        address: address.parse().expect("an address"),
        port: wire::Port(port),
    };
    let ask = |proto, from: &str, to: (&str, u16), direction, moment| {
        let (source, destination) = (end(from, 40000), end(to.0, to.1));
        let flow = Flow { proto, source, destination, direction, interface: None, moment };
        root.judge(&firewall.fib, &flow)
            .map(|ruling| (ruling.passes, ruling.keeps_state, ruling.rule, ruling.interface))
    };
    let told = |passes, keeps_state, rule: u32, interface: &str| {
        Some((passes, keeps_state, Some(rule), interface.to_owned()))
    };
    let (tcp, udp, first) = (Proto::TCP, Proto::UDP, Moment::First);
    let host = ("10.0.0.1", 22);
    assert_eq!(ask(tcp, "10.0.0.2", host, Direction::In, first), told(true, true, 1, "em0"));
    assert_eq!(ask(tcp, "10.1.0.2", host, Direction::In, first), told(false, false, 0, "em1"));
    assert_eq!(ask(tcp, "10.0.0.2", ("10.0.0.1", 23), Direction::In, first), told(false, false, 3, "em0"));
    assert_eq!(ask(tcp, "10.0.0.2", host, Direction::In, Moment::Later), told(false, false, 0, "em0"));
    // What is redirected is for somebody else.
    assert_eq!(ask(tcp, "10.0.0.2", ("10.0.0.1", 2222), Direction::In, first), told(false, true, 5, "em0"));
    assert_eq!(ask(tcp, "10.1.0.2", ("10.1.0.1", 179), Direction::In, first), told(true, false, 4, "em1"));
    // What leaves has come in before, and was given its tag there.
    assert_eq!(ask(udp, "10.0.0.2", ("10.1.0.2", 53), Direction::Out, first), told(true, true, 2, "em1"));
    assert_eq!(ask(udp, "10.2.0.2", ("10.1.0.2", 53), Direction::Out, first), told(false, false, 0, "em1"));
    // Unreachable, and the host itself: no rule is asked.
    assert_eq!(ask(udp, "10.0.0.2", ("10.9.0.1", 53), Direction::Out, first), None);
    assert_eq!(ask(udp, "10.0.0.1", ("10.0.0.1", 53), Direction::In, first), None);
}

/// The numbers of the rules that logged since the last time, and whether the packet passed them.
fn logged(firewall: &mut Firewall) -> Vec<(Option<u32>, bool)> {
    std::iter::from_fn(|| firewall.shard.take_log())
        .map(|record| (record.rule.map(|place| place.rule), record.dropped.is_none()))
        .collect()
}

#[test]
fn match_rules_log_beside_the_rule_that_decides() {
    let matching = |matches| {
        pass().change(move |rule| {
            rule.action = Action::Match;
            rule.state = StateMode::None;
            rule.flags = None;
            rule.log = LogOptions { enabled: true, matches, ..LogOptions::default() };
        })
    };
    let quiet =
        pass().change(|rule| (rule.action, rule.state, rule.flags) = (Action::Match, StateMode::None, None));
    let mut firewall = Firewall::with(vec![block(), matching(false), quiet]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.2 udp -> match");
    assert_eq!(logged(&mut firewall), [(Some(1), true)]);

    // Behind `log (matches)` each rule that matches is logged, the deciding one among them.
    let quiet =
        pass().change(|rule| (rule.action, rule.state, rule.flags) = (Action::Match, StateMode::None, None));
    let mut firewall = Firewall::with(vec![quiet.clone(), matching(true), quiet, block()]);
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.2 udp -> match");
    assert_eq!(logged(&mut firewall), [(Some(1), true), (Some(2), true), (Some(3), false)]);

    // A rule that logs by itself is told once; what is beyond four is counted as lost.
    let loud = block().change(|rule| rule.log.enabled = true);
    let mut firewall = Firewall::with([vec![matching(true); 6], vec![loud]].concat());
    firewall.tell("em0: 10.0.0.2.1 > 10.1.0.2.2 udp -> match");
    let wanted: Vec<_> = (0..4).map(|number| (Some(number), true)).chain([(Some(6), false)]).collect();
    assert_eq!(logged(&mut firewall), wanted);
    assert_eq!(firewall.shard.log_lost(), 3, "two of the six, and the note of the deciding rule");
}
