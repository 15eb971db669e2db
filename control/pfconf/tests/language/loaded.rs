//! What is loaded: anchors, tables and their listings.

use crate::machine::{interfaces, read};
use ipnet::IpNet;
use pfconf::{Counters, Dialect, Feedback, Inserter, Loaded, Member, Origin, RulesView, Scope};

const NOBODY: Origin = Origin { inserter: Inserter { uid: 7, pid: 8 }, unix_s: 9 };

fn load(loaded: &mut Loaded, anchor: &str, text: &str) {
    let (config, findings) = read(text);
    assert!(!findings.has_errors(), "{findings}{text}");
    loaded.load(&config, anchor, NOBODY);
}

fn loaded(text: &str) -> Loaded {
    let mut loaded = Loaded::default();
    load(&mut loaded, "", text);
    loaded
}

fn shown(loaded: &Loaded, anchor: &str, scope: Scope, verbose: u8, debug: bool) -> String {
    let interfaces = interfaces();
    let view = RulesView {
        anchor,
        scope,
        verbose,
        debug,
        only: None,
        interfaces: &interfaces,
        dialect: Dialect::OpenBsd,
        translation: false,
        port_names: false,
    };
    loaded.print_rules(&view).expect("the anchor exists")
}

fn member(text: &str) -> Member {
    let (negated, net) = text.strip_prefix('!').map_or((false, text), |net| (true, net));
    let net: IpNet =
        net.parse().or_else(|_| net.parse::<std::net::IpAddr>().map(IpNet::from)).expect("an address");
    Member { negated, net, weight: None }
}

fn letters(each: &[(Member, Feedback)]) -> String {
    each.iter().map(|(_, feedback)| feedback.letter()).collect()
}

fn members(loaded: &Loaded, anchor: &str, table: &str) -> String {
    pfconf::print_members(loaded.table(anchor, table).expect("the table exists"), 0, |_| String::new())
}

#[test]
fn a_rule_that_has_matched_once_is_shown_to_who_asks_for_everything() {
    let ruleset = pfconf::compile("block in\npass in once\npass out\n", &interfaces()).expect("rules");
    let counters = [false, true, false].map(|spent| Counters { spent, ..Counters::default() });
    let live = Loaded::of(&ruleset, &counters, None);
    for verbose in [0, 1] {
        let rules = shown(&live, "", Scope::Here, verbose, false);
        assert!(!rules.contains("once") && rules.contains("pass out"), "{rules}");
    }
    let rules = shown(&live, "", Scope::Here, 2, false);
    assert!(rules.contains("@1 pass in all flags S/SA once # expired\n"), "{rules}");
    assert_eq!(rules.matches("# expired").count(), 1);
}

const ANCHORS: &str = "pass in all no state\nanchor \"a\" {\n block in all\n anchor on wan0 {\n  pass out all no state\n }\n}\nanchor \"b/*\"\n";

#[test]
fn rules_in_braces_are_anchors() {
    let loaded = loaded(ANCHORS);
    assert_eq!(loaded.anchors_below(""), ["", "a", "a/_1"]);
    assert_eq!(loaded.print_anchors("", false), "  a\n");
    assert_eq!(loaded.print_anchors("", true), "  a\n  a/_1\n");
    assert_eq!(
        shown(&loaded, "", Scope::Here, 0, false),
        "pass in all no state\nanchor \"a\" all\nanchor \"b/*\" all\n"
    );
    let braces = "block drop in all\nanchor on wan0 all {\n  pass out all no state\n}\n";
    assert_eq!(shown(&loaded, "a", Scope::Here, 0, false), braces);
    assert_eq!(
        shown(&loaded, "", Scope::Called, 0, false),
        "pass in all no state\nanchor \"a\" all {\n  block drop in all\n  anchor on wan0 all {\n    pass out all no state\n  }\n}\n\
         anchor \"b/*\" all {\n}\n"
    );
}

#[test]
fn wildcards_show_the_anchors_below() {
    let mut loaded = loaded(ANCHORS);
    load(&mut loaded, "b/second", "block in all\n");
    load(&mut loaded, "b/first", "pass in all no state\n");
    assert!(shown(&loaded, "", Scope::Called, 0, false).ends_with(
        "anchor \"b/*\" all {\n  anchor \"first\" all {\n    pass in all no state\n  }\n  anchor \"second\" all {\n    block drop in all\n  }\n}\n"
    ));
    let below = shown(&loaded, "b", Scope::Below, 0, false);
    assert_eq!(below.lines().filter(|line| line.starts_with("anchor")).count(), 2);
    assert_eq!(shown(&loaded, "b", Scope::Called, 0, false), "");
}

#[test]
fn what_is_listed_is_what_counts_from_zero() {
    let mut loaded = loaded(ANCHORS);
    load(&mut loaded, "b/second", "block in all\n");
    let listed = |anchor: &str, scope| loaded.listed(anchor, scope);
    assert_eq!(listed("", Scope::Here), Ok(vec![String::new()]));
    assert_eq!(listed("/a/", Scope::Here), Ok(vec!["a".into(), "a/_1".into()]));
    let all = ["", "a", "a/_1", "b", "b/second"].map(str::to_owned).to_vec();
    assert_eq!(listed("", Scope::Called), Ok(all));
    assert_eq!(listed("b", Scope::Below), Ok(vec!["b".into(), "b/second".into()]));
    assert_eq!(listed("b", Scope::Called), Ok(vec!["b".into()]));
    assert!(listed("x", Scope::Here).is_err());
}

#[test]
fn a_load_replaces_an_anchor_and_nothing_else() {
    let mut loaded = loaded(ANCHORS);
    load(&mut loaded, "other", "pass out all no state\n");
    load(&mut loaded, "a", "block out all\n");
    assert_eq!(shown(&loaded, "a", Scope::Here, 0, false), "block drop out all\n");
    assert_eq!(shown(&loaded, "other", Scope::Here, 0, false), "pass out all no state\n");
    assert_eq!(loaded.anchors_below("a"), ["a"], "the braces are gone with the rules that they stood in");
    loaded.flush_rules("other");
    assert_eq!(loaded.anchors_below(""), ["", "a"], "an anchor without rules that nobody calls is gone");
    loaded.flush_rules("a");
    assert_eq!(loaded.anchors_below(""), ["", "a"], "one that is called stays");
    assert_eq!(shown(&loaded, "a", Scope::Here, 0, false), "");
}

#[test]
fn anchors_that_do_not_exist_are_named_so() {
    let interfaces = interfaces();
    let view = RulesView {
        anchor: "x",
        scope: Scope::Here,
        verbose: 0,
        debug: false,
        only: None,
        interfaces: &interfaces,
        dialect: Dialect::OpenBsd,
        translation: false,
        port_names: false,
    };
    let loaded = loaded(ANCHORS);
    assert_eq!(loaded.print_rules(&view).expect_err("absent").to_string(), "Anchor does not exist");
    assert!(loaded.print_labels(&view).is_err() && loaded.rules("x").is_err());
    assert!(Loaded::default().print_rules(&RulesView { anchor: "", ..view }).is_ok());
}

#[test]
fn an_anchor_that_calls_itself_ends() {
    let mut loaded = loaded("pass all no state\n");
    load(&mut loaded, "loop", "anchor \"/loop\"\n");
    assert!(shown(&loaded, "loop", Scope::Called, 0, false).lines().count() < 1000);
}

#[test]
fn counters_and_skip_steps_stand_below_each_rule() {
    let loaded = loaded(
        "block in all label \"x\"\npass in on wan0 inet from <t> to (lan0) no state\ntable <t> { 1.1.1.1 2.2.2.2 }\n",
    );
    assert_eq!(
        shown(&loaded, "", Scope::Here, 2, false),
        "@0 block drop in all label \"x\"\n\
        \x20 [ Evaluations: 0         Packets: 0         Bytes: 0           States: 0     ]\n\
        \x20 [ Inserted: uid 7 pid 8 State Creations: 0     ]\n\
         @1 pass in on wan0 inet from <t:2> to (lan0:1) no state\n\
        \x20 [ Evaluations: 0         Packets: 0         Bytes: 0           States: 0     ]\n\
        \x20 [ Inserted: uid 7 pid 8 State Creations: 0     ]\n"
    );
    let debug = shown(&loaded, "", Scope::Here, 0, true);
    assert!(debug.starts_with(
        "@0 block drop in all label \"x\"\n  [ Skip steps: d=end r=end p=end sp=end dp=end ]\n  [ queue: qname= qid=0 pqname= pqid=0 ]\n@1"
    ), "{debug}");
    let interfaces = interfaces();
    let view = RulesView {
        anchor: "",
        scope: Scope::Here,
        verbose: 0,
        debug: false,
        only: Some(1),
        interfaces: &interfaces,
        dialect: Dialect::OpenBsd,
        translation: false,
        port_names: false,
    };
    assert_eq!(
        loaded.print_rules(&view).expect("main"),
        "pass in on wan0 inet from <t> to (lan0) no state\n"
    );
    assert_eq!(loaded.print_labels(&RulesView { only: None, ..view }).expect("main"), "x 0 0 0 0 0 0 0 0\n");
}

#[test]
fn tables_live_as_long_as_they_are_needed() {
    let flags = |loaded: &Loaded| loaded.print_tables("", 1, true, |_| String::new());
    let mut loaded = loaded(
        "table <kept> persist { 1.1.1.1 }\ntable <used> const { 2.2.2.2 }\ntable <unused> { 3.3.3.3 }\npass from <used> to <hidden> no state\n",
    );
    assert_eq!(flags(&loaded), "----r--\thidden\n-pa----\tkept\nc-a-r--\tused\n");
    assert_eq!(loaded.print_tables("", 0, false, |_| String::new()), "kept\nused\n");
    load(&mut loaded, "", "table <kept> persist\n");
    assert_eq!(flags(&loaded), "-pa----\tkept\n");
    assert_eq!(members(&loaded, "", "kept"), "   1.1.1.1\n", "without a list the addresses stay");
    load(&mut loaded, "", "table <kept> persist {}\n");
    assert_eq!(members(&loaded, "", "kept"), "");
    load(&mut loaded, "a", "pass from <kept> no state\n");
    assert_eq!(flags(&loaded), "-pa--h-\tkept\n", "the rules of an anchor name it");
    assert_eq!(loaded.flush_tables(""), 1);
    assert_eq!(loaded.flush_tables(""), 0);
    assert!(loaded.table("", "kept").is_none());
}

#[test]
fn details_of_tables_and_addresses_are_shown() {
    let loaded = loaded("table <t> persist counters { !10.0.0.0/8 10.1.0.0/16 weight 3 }\n");
    let time = |unix_s: u64| format!("T{unix_s}");
    let shown = loaded.print_tables("", 2, false, time);
    assert!(
        shown.starts_with("-pa---C\tt\n\tAddresses:   2\n\tCleared:     T9\n\tReferences:  [ Anchors: 0 "),
        "{shown}"
    );
    assert_eq!(shown.lines().count(), 13);
    let shown = pfconf::print_members(loaded.table("", "t").expect("there"), 1, time);
    assert!(shown.contains("  !10.0.0.0/8\n\tCleared:     T9\n\tIn/Block:    [ Packets: 0  "), "{shown}");
    assert!(shown.contains("   10.1.0.0/16\n\tCleared:     T9\n\tWeight:             3\n"), "{shown}");
    assert!(loaded.table("", "absent").is_none());
}

#[test]
fn counters_of_addresses_are_shown_by_hook_and_by_what_became_of_packets() {
    let loaded = loaded("table <t> persist counters { 10.0.0.1 10.0.0.2 }\n");
    let mut table = loaded.table("", "t").expect("there").clone();
    let net = "10.0.0.1/32".parse().expect("a host");
    table.set_traffic([(net, [[(1, 40), (2, 80)], [(3, 120), (4, 160)]])].into());
    let kept = serde_json::to_string(&table).expect("JSON");
    let table: pfconf::LoadedTable = serde_json::from_str(&kept).expect("the same");
    let shown = pfconf::print_members(&table, 1, |_| "T".into());
    let lines = |name: &str| -> Vec<String> {
        let from = shown.lines().skip_while(|line| line.trim() != name).skip(2).take(6);
        from.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    };
    let expected = [
        "In/Block: [ Packets: 1 Bytes: 40 ]",
        "In/Match: [ Packets: 0 Bytes: 0 ]",
        "In/Pass: [ Packets: 2 Bytes: 80 ]",
        "Out/Block: [ Packets: 3 Bytes: 120 ]",
        "Out/Match: [ Packets: 0 Bytes: 0 ]",
        "Out/Pass: [ Packets: 4 Bytes: 160 ]",
    ];
    assert_eq!(lines("10.0.0.1"), expected);
    assert!(lines("10.0.0.2").iter().all(|line| line.ends_with("[ Packets: 0 Bytes: 0 ]")), "{shown}");
}

#[test]
fn verbs_change_a_table_and_say_how() {
    let mut loaded = Loaded::default();
    assert!(loaded.create_table("a", "t", 1) && !loaded.create_table("a", "t", 2));
    let table = loaded.table_mut("a", "t").expect("made");
    let given: Vec<Member> =
        ["10.0.0.0/8", "!10.1.0.0/16", "10.1.1.1", "10.1.1.1", "2001:db8::1"].map(member).into();
    let change = table.add(&given, 5);
    assert_eq!((letters(&change.each).as_str(), change.added), ("AAAXA", 4));
    assert_eq!(letters(&table.add(&[member("!10.0.0.0/8"), member("10.1.1.1")], 6).each), "Y ");
    for (address, decides) in [
        ("10.9.9.9", "10.0.0.0/8"),
        ("10.1.9.9", "!10.1.0.0/16"),
        ("10.1.1.1", "10.1.1.1"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let found = table.lookup(address.parse().expect("an address")).expect("decided");
        assert_eq!(found.to_string(), decides);
    }
    assert!(table.lookup("11.0.0.1".parse().expect("an address")).is_none());
    let change =
        table.delete(&[member("10.0.0.0/8"), member("10.1.0.0/16"), member("9.9.9.9"), member("10.0.0.0/8")]);
    assert_eq!((letters(&change.each).as_str(), change.deleted), ("DY X", 1));
    let change = table.replace(&[member("10.1.0.0/16"), member("10.1.1.1"), member("3.3.3.3")], 7);
    assert_eq!(letters(&change.each), "C AD");
    assert_eq!((change.added, change.deleted, change.changed), (1, 1, 1));
    assert_eq!(members(&loaded, "a", "t"), "   3.3.3.3\n   10.1.0.0/16\n   10.1.1.1\n");
    let table = loaded.table_mut("a", "t").expect("there");
    let change = table.zero_members(&[member("3.3.3.3"), member("4.4.4.4")], 20);
    assert_eq!((letters(&change.each).as_str(), change.changed), ("Z ", 1));
    assert_eq!(letters(&table.expire(3, 10).each), "DD", "all but 3.3.3.3, which was zeroed");
}

#[test]
fn what_is_loaded_survives_being_written() {
    let texts = [
        ANCHORS,
        include_str!("../printed/parameters.conf"),
        include_str!("../accepted/pools.conf"),
        include_str!("../printed/routing.conf"),
        include_str!("../printed/queues.conf"),
        include_str!("../accepted/tables.conf"),
    ];
    for text in texts {
        let loaded = loaded(text);
        let written = serde_json::to_string(&loaded).expect("serialises");
        let read: Loaded = serde_json::from_str(&written).expect("reads back");
        for scope in [Scope::Here, Scope::Called] {
            assert_eq!(shown(&read, "", scope, 2, true), shown(&loaded, "", scope, 2, true));
        }
        assert_eq!(read.print_queues(), loaded.print_queues());
        assert_eq!(
            read.print_tables("", 2, true, |_| String::new()),
            loaded.print_tables("", 2, true, |_| String::new())
        );
    }
}
