//! `pfctl --offline`: every verb on a scratch ruleset.

use crate::folder::{Folder, Outcome};

/// A folder with a scratch ruleset in it.
struct Scratch {
    folder: Folder,
    path: String,
}

impl Scratch {
    fn new(name: &str, rules: &str) -> Self {
        let folder = Folder::new(&format!("pfctl-{name}"));
        let path = folder.0.join("scratch").to_str().expect("plain characters").to_owned();
        let scratch = Self { folder, path };
        if !rules.is_empty() {
            let loaded = scratch.call(&["-f", "-"], rules);
            assert_eq!((loaded.code, loaded.err.as_str(), loaded.out.as_str()), (Some(0), "", ""));
        }
        scratch
    }

    fn call(&self, arguments: &[&str], input: &str) -> Outcome {
        let all: Vec<&str> =
            ["pfctl", "--offline", &self.path, "-o", "none"].iter().chain(arguments).copied().collect();
        self.folder.call(&all, input)
    }

    /// Calls with no input.
    fn ask(&self, line: &str) -> Outcome {
        self.call(&line.split(' ').collect::<Vec<_>>(), "")
    }

    /// What a call prints that ends well.
    fn out(&self, line: &str) -> String {
        let outcome = self.ask(line);
        assert_eq!(outcome.code, Some(0), "{line}: {}", outcome.err);
        outcome.out
    }

    /// What a call says beside that.
    fn said(&self, line: &str) -> String {
        let outcome = self.ask(line);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), ""), "{line}: {}", outcome.err);
        outcome.err
    }

    /// Everything that is kept.
    fn kept(&self) -> String {
        std::fs::read_to_string(format!("{}/ruleset.json", self.path)).unwrap_or_default()
    }

    /// What a call says that is refused and changes nothing.
    fn refused(&self, line: &str) -> String {
        let before = self.kept();
        let outcome = self.ask(line);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""), "{line}: {}", outcome.err);
        assert_eq!(self.kept(), before, "{line} changed something");
        outcome.err
    }
}

const RULES: &str = "set timeout tcp.first 7\nset limit states 50\nset skip on em0\ntable <t> persist { 10.0.0.0/8 }\n\
                     block in all label \"in\"\nanchor \"a\" {\n pass out all no state\n}\n";

#[test]
fn what_is_loaded_is_shown() {
    let scratch = Scratch::new("shown", RULES);
    assert_eq!(scratch.out("-sr"), "block drop in all label \"in\"\nanchor \"a\" all\n");
    assert_eq!(scratch.out("-s rules -R 1"), "anchor \"a\" all\n");
    assert_eq!(scratch.out("-sA"), "  a\n");
    assert_eq!(scratch.out("-a a -sr"), "pass out all no state\n");
    assert_eq!(scratch.out("-a a/* -s r"), "pass out all no state\n");
    assert_eq!(scratch.out("-sl"), "in 0 0 0 0 0 0 0 0\n");
    assert_eq!(scratch.out("-sT"), "t\n");
    assert_eq!(scratch.out("-sI"), "em0\n");
    assert_eq!(scratch.out("-vsI"), "em0 (skip)\n");
    assert_eq!(scratch.out("-ss") + &scratch.out("-sS"), "");
    let systems = scratch.out("-so");
    assert!(systems.starts_with("Class\tVersion\tSubtype(subversion)\n-----\t"), "{systems}");
    assert!(systems.contains("\nOpenBSD\n\t"), "what the package has: {systems}");
    assert!(
        scratch
            .out("-st")
            .starts_with("tcp.first                     7s\ntcp.opening                  30s\n")
    );
    assert!(scratch.out("-st").ends_with(
        "adaptive.start               30 states\nadaptive.end                 60 states\nsrc.track                     0s\n"
    ));
    assert!(
        scratch
            .out("-sm")
            .starts_with("states        hard limit       50\nsrc-nodes     hard limit    10000\n")
    );
    let all = scratch.out("-sa");
    for title in [
        "FILTER RULES:\nblock",
        "\nINFO:\nStatus: ",
        "\nLABEL COUNTERS:\nin 0",
        "\nTIMEOUTS:\ntcp",
        "\nLIMITS:\nst",
        "\nTABLES:\nt\n",
    ] {
        assert!(all.contains(title), "{title} is missing in\n{all}");
    }
    assert_eq!(scratch.refused("-a nobody -sr"), "pfctl: Anchor does not exist.\n");
}

#[test]
fn the_systems_that_rules_ask_for_are_those_of_their_file() {
    let folder = Folder::new("systems-file");
    let file = folder.write("own.os", "8192:64:1:60:M*,S,T:Own:1:sub:Ours\n");
    let rules = format!("set fingerprints \"{file}\"\npass in proto tcp from any os Own\n");
    let scratch = Scratch::new("systems", &rules);
    assert_eq!(scratch.out("-so").split_once("---\n").expect("a head").1, "Own\n\t1\n\t\tsub\n");
    assert!(scratch.out("-sa").ends_with("\nOS FINGERPRINTS:\n1 fingerprints loaded\n"));
    assert_eq!(scratch.out("-sr"), "pass in proto tcp from any os \"Own\" to any flags S/SA\n");
    folder.write("own.os", "8192:64:1:60:Q:Own:::\n");
    let wrong = scratch.call(&["-f", "-"], &rules);
    assert!(wrong.code == Some(1) && wrong.err.contains("own.os:1: 'Q' is no option"), "{}", wrong.err);
}

#[test]
fn listings_are_json_too() {
    let scratch = Scratch::new("json", RULES);
    for what in ["rules", "timeouts", "memory", "info", "Tables", "Anchors", "states", "Interfaces", "labels"]
    {
        let text = scratch.out(&format!("--json -s {what}"));
        serde_json::from_str::<serde_json::Value>(&text)
            .unwrap_or_else(|error| panic!("{what}: {error}\n{text}"));
    }
    let rules: serde_json::Value = serde_json::from_str(&scratch.out("--json -sr")).expect("JSON");
    assert_eq!(
        (&rules[0]["number"], &rules[0]["text"]),
        (&0.into(), &"block drop in all label \"in\"".into())
    );
    assert_eq!(rules[1]["call"], "a");
    let members: serde_json::Value = serde_json::from_str(&scratch.out("--json -t t -T show")).expect("JSON");
    assert_eq!(members[0]["address"], "10.0.0.0/8");
}

#[test]
fn a_bad_ruleset_changes_nothing() {
    let scratch = Scratch::new("bad", RULES);
    let before = scratch.kept();
    for bad in ["pass bogus\n", "block in all\npass to port 22\n", "table <t> file \"/nonexistent\"\n"] {
        let outcome = scratch.call(&["-f", "-"], bad);
        assert_eq!((outcome.code, scratch.kept() == before), (Some(1), true), "{bad}");
    }
    let parsed = scratch.call(&["-nf", "-"], "pass all no state\n");
    assert_eq!((parsed.code, scratch.kept() == before), (Some(0), true), "-n only parses");
}

#[test]
fn anchors_are_loaded_and_flushed_by_themselves() {
    let scratch = Scratch::new("anchors", RULES);
    let loaded = scratch.call(&["-a", "b/c", "-f", "-"], "set timeout tcp.first 99\nblock out all\n");
    assert_eq!(loaded.code, Some(0), "{}", loaded.err);
    assert_eq!(scratch.out("-a b/c -sr"), "block drop out all\n");
    assert!(
        scratch.out("-st").starts_with("tcp.first                     7s\n"),
        "options are the main ruleset's"
    );
    assert_eq!(scratch.out("-sA"), "  a\n  b\n  b/c\n");
    assert_eq!(scratch.said("-a b/c -Fr"), "rules cleared\n");
    assert_eq!(scratch.out("-sA"), "  a\n");
    assert_eq!(scratch.ask("-a a/* -Fa").out, "Removing:\n  a\n");
    assert_eq!(scratch.out("-a a -sr"), "");
    assert_eq!(scratch.out("-sr"), "block drop in all label \"in\"\nanchor \"a\" all\n");
    for line in ["-a _1 -Fr", "-a a/_1 -Fr", "-a _1 -f /dev/null"] {
        assert_eq!(
            scratch.refused(line),
            "pfctl: anchor names beginning with '_' cannot be modified from the command line\n"
        );
    }
    assert_eq!(scratch.refused("-a a -e"), "pfctl: anchors apply to -f, -F, -s, -z, and -T only\n");
}

#[test]
fn tables_are_changed_in_pfctls_words() {
    let scratch = Scratch::new("tables", RULES);
    assert_eq!(scratch.said("-t new -T add 192.0.2.1"), "1 table created.\n1/1 addresses added.\n");
    assert_eq!(scratch.said("-t t -T add 10.1.1.1 em0 10/8"), "2/3 addresses added.\n");
    assert_eq!(scratch.out("-t t -T show"), "   10.0.0.0/8\n   10.1.1.1\n   192.0.2.1\n");
    assert_eq!(scratch.said("-t t -T delete 10.1.1.1 10.2.2.2"), "1/2 addresses deleted.\n");
    assert_eq!(
        scratch.said("-t t -T replace 10/8 !10.9/16 weight 4"),
        "1 addresses added.\n1 addresses deleted.\n"
    );
    assert_eq!(scratch.said("-t t -T replace 10/8 10.9/16"), "1 addresses changed.\n");
    assert_eq!(scratch.said("-t t -T zero"), "1 table/stats cleared.\n");
    assert_eq!(scratch.said("-t t -T zero 10/8 9/8"), "1/2 addresses cleared.\n");
    assert_eq!(scratch.said("-t t -T expire 1000"), "0/0 addresses expired.\n");
    assert_eq!(scratch.said("-q -t t -T flush"), "");
    assert_eq!(scratch.said("-t t -T kill"), "1 table deleted.\n");
    let from_input =
        scratch.call(&["-t", "new", "-T", "add", "-f-"], "# some\n192.0.2.7 ! 192.0.2.8 # more\n");
    assert_eq!(from_input.err, "2/2 addresses added.\n");
    assert_eq!(scratch.out("-t new -T show"), "   192.0.2.1\n   192.0.2.7\n  !192.0.2.8\n");
    assert_eq!(scratch.said("-F Tables"), "1 tables deleted.\n");
}

#[test]
fn freebsds_rules_for_translation_are_shown_apart() {
    let rules = "no nat on em0 inet from 10.9.0.0/16 to any\nnat on em0 inet from 10.0.0.0/8 to any -> 192.0.2.1\n\
                 nat-anchor \"ftp/*\"\nrdr on em0 inet proto tcp from any to 192.0.2.1 port 80 -> 10.0.0.1\n\
                 pass in quick on em0 all\n";
    let scratch = Scratch::new("freebsd-nat", rules);
    let shown = scratch.out("-s nat");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 4, "{shown}");
    assert!(lines[0].starts_with("no nat on em0 inet from 10.9.0.0/16"), "{shown}");
    assert!(lines[1].ends_with("-> 192.0.2.1") && lines[2].starts_with("nat-anchor \"ftp/*\""), "{shown}");
    assert!(lines[3].starts_with("rdr on em0") && !shown.contains("pass"), "{shown}");
    assert!(scratch.out("-sr").contains("pass in quick on em0"));
    assert_eq!(Scratch::new("openbsd-nat", RULES).out("-sn"), "");
}

#[test]
fn of_a_ruleset_only_the_tables_can_be_loaded() {
    let scratch = Scratch::new("load", RULES);
    scratch.said("-t held -T add -q 192.0.2.1");
    let loaded = || [scratch.out("-sr"), scratch.out("-sm")];
    let before_all = loaded();
    let file = "set limit states 99\ntable <t> persist counters { 10.7.0.0/16 }\ntable <held> persist\n\
                table <more> persist { 192.0.2.9 }\ntable <gone> { 192.0.2.10 }\npass all\n";
    for dry in [&["-n", "-T", "load", "-f-"][..], &["-vn", "-Tl", "-f-"]] {
        let before = scratch.kept();
        assert_eq!(scratch.call(dry, file).code, Some(0));
        assert_eq!(scratch.kept(), before, "{dry:?} changed something");
    }
    let shown = scratch.call(&["-v", "-T", "load", "-f-"], file);
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""));
    assert!(shown.out.starts_with("table <t> persist counters { 10.7.0.0/16 }\n"), "{}", shown.out);
    assert!(!shown.out.contains("pass") && !shown.out.contains("set"), "{}", shown.out);
    assert_eq!(loaded(), before_all, "neither rules nor options are loaded");
    assert_eq!(scratch.out("-sT"), "held\nmore\nt\n", "what nothing names does not stay");
    assert_eq!(scratch.out("-t t -T show"), "   10.7.0.0/16\n");
    assert_eq!(scratch.out("-t held -T show"), "   192.0.2.1\n", "without a list it keeps what it holds");
    let before = scratch.kept();
    let bad = scratch.call(&["-T", "load", "-f-"], "table <t> { 10.8.0.0/16 }\nnonsense\n");
    assert_eq!((bad.code, scratch.kept()), (Some(1), before));
    assert_eq!(
        scratch.call(&["-a", "a", "-T", "load", "-f-"], "table <own> persist { 192.0.2.3 }\n").code,
        Some(0)
    );
    assert_eq!(scratch.out("-a a -sT"), "own\n");
}

#[test]
fn a_test_of_a_table_ends_with_2_if_something_does_not_match() {
    let scratch = Scratch::new("test", "table <t> persist { 10.0.0.0/8 !10.1.0.0/16 }\n");
    let all = scratch.ask("-t t -T test 10.9.9.9");
    assert_eq!((all.code, all.err.as_str()), (Some(0), "1/1 addresses match.\n"));
    let some = scratch.ask("-vv -t t -T test 10.9.9.9 10.1.1.1 11.1.1.1");
    assert_eq!((some.code, some.err.as_str()), (Some(2), "1/3 addresses match.\n"));
    assert_eq!(some.out, "M  10.9.9.9\t 10.0.0.0/8\n   10.1.1.1\t!10.1.0.0/16\n   11.1.1.1\t nomatch\n");
    assert_eq!(scratch.ask("-v -t t -T test 10.9.9.9 11.1.1.1").out, "M  10.9.9.9\n");
    assert!(scratch.refused("-t t -T test 10/8").contains("illegal test address"));
}

#[test]
fn tables_that_cannot_be_changed_are_not() {
    let scratch = Scratch::new("const", "table <fixed> const persist { 10.0.0.1 }\n");
    for verb in ["add 10.0.0.2", "delete 10.0.0.1", "replace 10.0.0.2", "flush", "kill", "expire 0"] {
        let said = scratch.refused(&format!("-t fixed -T {verb}"));
        assert!(said.starts_with("pfctl: Operation not permitted"), "{said}");
    }
    assert_eq!(scratch.refused("-t absent -T show"), "pfctl: Table does not exist.\n");
    assert_eq!(scratch.refused("-t absent -T delete 10.0.0.1"), "pfctl: Table does not exist.\n");
    assert_eq!(
        scratch.refused("-t absent -T add nobody.invalid"),
        "no IP address found for nobody.invalid\n"
    );
    assert!(scratch.refused("-t absent -T add weight 3").contains("weight must be"));
}

#[test]
fn with_n_nothing_is_done() {
    let scratch = Scratch::new("dummy", RULES);
    let before = scratch.kept();
    assert_eq!(scratch.said("-n -t t -T add 1.1.1.1"), "1/1 addresses added (dummy).\n");
    assert_eq!(scratch.said("-n -t other -T add 1.1.1.1"), "1 table created (dummy).\n");
    assert_eq!(scratch.said("-n -t t -T flush"), "1 addresses deleted (dummy).\n");
    assert_eq!(scratch.out("-n -e -Fa -sr -x debug"), "");
    assert_eq!(scratch.kept(), before);
}

#[test]
fn filtering_is_switched_and_messages_are_set() {
    let scratch = Scratch::new("switch", RULES);
    assert!(
        scratch
            .out("-si")
            .starts_with("Status: Disabled for 0 days 00:00:00             Debug: err\n\nState Table   ")
    );
    assert_eq!(scratch.said("-e"), "pf enabled\n");
    assert_eq!(scratch.refused("-e"), "pfctl: pf already enabled\n");
    assert!(scratch.out("-si").starts_with("Status: Enabled for 0 days 00:00:0"));
    assert_eq!(scratch.said("-x debug"), "debug level set to 'debug'\n");
    assert!(scratch.out("-si").contains(" Debug: debug\n"));
    assert!(!scratch.out("-si").contains("Interface Stats"));
    assert_eq!(scratch.call(&["-f", "-"], "set loginterface em0\npass\n").code, Some(0));
    assert!(scratch.out("-si").contains("\nInterface Stats for em0               IPv4             IPv6\n"));
    assert_eq!(scratch.said("-d"), "pf disabled\n");
    assert_eq!(scratch.refused("-d"), "pfctl: pf not enabled\n");
}

#[test]
fn a_scratch_ruleset_has_no_states_to_kill() {
    let scratch = Scratch::new("states", RULES);
    for (line, said) in [
        ("-F states", "0 states cleared\n"),
        ("-F Sources", "source tracking entries cleared\n"),
        ("-F info", "pf: statistics cleared\n"),
        ("-F info -i em0", "pf: statistics cleared for interface em0\n"),
        ("-F osfp", "OS fingerprints cleared\n"),
        ("-k 10.0.0.1", "killed 0 states from 1 sources and 0 destinations\n"),
        ("-k localhost -k 127.0.0.0/8", "killed 0 states from 2 sources and 0 destinations\n"),
        ("-k 10.0.0.0/8 -k 10.1.0.0/16", "killed 0 states from 1 sources and 1 destinations\n"),
        ("-k label -k x", "killed 0 states\n"),
        ("-K 10.0.0.1", "killed 0 src nodes from 1 sources and 0 destinations\n"),
        ("-z", ""),
    ] {
        assert_eq!(scratch.said(line), said, "{line}");
    }
    assert_eq!(scratch.refused("-k label"), "pfctl: no label specified\n");
    assert_eq!(scratch.refused("-k 10.0.0.0/33"), "pfctl: prefix is invalid: 33\n");
    assert!(scratch.refused("-k nobody.invalid").contains("no address"));
    assert_eq!(scratch.said("-Fa").lines().count(), 7);
    assert_eq!(scratch.out("-sr") + &scratch.out("-sT"), "");
    assert!(scratch.out("-st").starts_with("tcp.first                   120s\n"));
    assert_eq!(scratch.refused("-Fa -i em0"), "pfctl: don't specify an interface with -Fall\n");
}

#[test]
fn wrong_words_end_with_2() {
    let scratch = Scratch::new("words", RULES);
    for line in [
        "-s bogus",
        "-F bogus",
        "-x bogus",
        "-T add",
        "-T load",
        "-t t",
        "-t t -T bogus",
        "-s",
        "-sr address",
        "-t t -T e x -Q",
        "-q",
    ] {
        let before = scratch.kept();
        let outcome = scratch.ask(line);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""), "{line}: {}", outcome.err);
        assert_eq!(scratch.kept(), before);
    }
}

#[test]
fn ports_have_names_on_demand() {
    let scratch = Scratch::new(
        "names",
        "pass in proto tcp to port { 22 80 8080 } no state\npass in proto udp to port 53:54 no state\n",
    );
    let (plain, named) = (scratch.ask("-sr").out, scratch.ask("-sr -P").out);
    let ports = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split(" port ").nth(1).unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(ports(&plain), ["= 22 no state", "= 80 no state", "= 8080 no state", "53:54 no state"]);
    assert_eq!(ports(&named), ["= ssh no state", "= www no state", "= http-alt no state", "53:54 no state"]);
    assert_eq!(ports(&scratch.ask("-sr --dialect freebsd -P").out), ports(&plain));
    assert_eq!(ports(&scratch.ask("-sr --dialect freebsd").out)[1], "= http no state");
}

#[test]
fn what_pf_can_and_this_cannot_is_refused_before_anything_is_done() {
    let scratch = Scratch::new("unable", RULES);
    for (line, why) in [
        ("-L states", "states are made by packets alone"),
        ("-S states", "no file of states can be put back"),
        ("-sr -p /dev/pf1", "there is no pf(4) here"),
        ("-ss -r", "no name server is asked"),
        ("-ss -N -r", "-N and -r are mutually exclusive"),
        ("-V 3 -F rules", "there is one routing domain, 0"),
    ] {
        let before = scratch.kept();
        let outcome = scratch.ask(line);
        assert!(outcome.code == Some(1) && outcome.err.contains(why), "{line}: {}", outcome.err);
        assert_eq!(scratch.kept(), before, "{line}");
    }
    assert_eq!(scratch.ask("-V 0 -F rules").code, Some(0));
    assert!(
        scratch
            .refused("-N -t t -T add localhost.example")
            .contains("no IP address found for localhost.example")
    );
}

#[test]
fn a_damaged_scratch_ruleset_is_named() {
    let scratch = Scratch::new("damaged", RULES);
    std::fs::write(format!("{}/ruleset.json", scratch.path), "{}").expect("writable");
    assert!(
        scratch.refused("-sr").contains("ruleset.json: not a scratch ruleset of this version; remove it")
    );
}

#[test]
fn without_a_dataplane_every_verb_says_what_is_missing() {
    let folder = Folder::new("pfctl-live");
    let socket = folder.0.join("none.sock").to_str().expect("plain characters").to_owned();
    let verbs = ["-sr", "-ss", "-si", "-sT", "-F rules", "-f -", "-z", "-e", "-d", "-x err", "-k 10.0.0.1"];
    for line in verbs.into_iter().chain([
        "-k label -k x",
        "-K 10.0.0.1",
        "-F states",
        "-F info",
        "-t t -T flush",
        "-T load -f -",
        "-F info -i em0",
    ]) {
        let words: Vec<&str> =
            ["--dataplane-socket", &socket, "pfctl"].into_iter().chain(line.split(' ')).collect();
        let outcome = folder.call(&words, "pass all no state\n");
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""), "{line}");
        assert!(outcome.err.contains("none.sock"), "{line}: {}", outcome.err);
    }
    let words = ["--dataplane-socket", &socket, "pfctl", "-F", "Tables"];
    let outcome = folder.call(&words, "");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("only turnpike-control removes tables"), "{}", outcome.err);
}

#[test]
fn a_ruleset_sets_level_and_host() {
    let scratch = Scratch::new("host", "set debug loud\nset hostid 0x2a\npass\n");
    let info = scratch.out("-vsi");
    assert!(info.contains("Debug: debug\n") && info.contains("Hostid:   0x0000002a\n"), "{info}");
}

#[test]
fn what_is_killed_is_named_in_pfctls_ways() {
    let scratch = Scratch::new("kill", RULES);
    for line in ["-k id -k 4823e84500000003", "-k id -k 4823e84500000003/01020304", "-k gateway -k 10.0.0.1"]
    {
        assert_eq!(scratch.said(line), "killed 0 states\n", "{line}");
    }
    let (words, key) = (["-k", "key", "-k"], "tcp 10.0.0.1:80 <- 2001:db8::1[1234]");
    let said = scratch.call(&[words[0], words[1], words[2], key], "");
    assert_eq!((said.code, said.err.as_str()), (Some(0), "killed 0 states\n"));
    for (key, why) in [
        ("tcp 10.0.0.1:80", "-k key expects"),
        ("tcp 10.0.0.1:80 - 10.0.0.2:1", "invalid direction: -"),
        ("tcp 10.0.0.1:x <- 10.0.0.2:1", "invalid host: 10.0.0.1:x"),
        ("nonsense 10.0.0.1:1 <- 10.0.0.2:1", "invalid protocol: nonsense"),
    ] {
        let said = scratch.call(&[words[0], words[1], words[2], key], "");
        assert!(said.code == Some(1) && said.err.contains(why), "{key}: {}", said.err);
    }
    assert!(scratch.refused("-k id -k xyz").contains("cannot parse id"));
}
