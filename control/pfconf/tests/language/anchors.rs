//! Rules within rules, as the dataplane gets them: one list, with the rules of an anchor behind each of its calls.

use crate::machine::{FILE, interfaces, read};
use pfconf::{
    Config, Counters, Dialect, Host, Interfaces, Isolated, Loaded, Origin, RulesView, Scope, print_rule,
};
use ruleset::{AddressPattern, Rule, Ruleset};

fn config(text: &str) -> Config {
    let (config, findings) = read(text);
    assert!(!findings.has_errors(), "{findings}{text}");
    config
}

fn lower(main: &str, anchors: &[(&str, &str)]) -> Ruleset {
    let anchors: Vec<(String, Config)> =
        anchors.iter().map(|(path, text)| ((*path).to_owned(), config(text))).collect();
    config(main).lower_with(&anchors).unwrap_or_else(|findings| panic!("{findings}\n{main}"))
}

fn refused(main: &str) -> String {
    config(main).lower().expect_err("must be refused").to_string()
}

/// Number, path and text of each rule in the order of evaluation; behind a call, where its anchor ends.
fn list(ruleset: &Ruleset) -> Vec<String> {
    let line = |rule: &ruleset::Rule| {
        let end = rule.call.as_ref().map_or_else(String::new, |call| format!(" -> {}", call.end));
        format!("{}: {}{end}", ruleset.path(rule), pfconf::print_rule(rule))
    };
    ruleset.rules.iter().map(line).collect()
}

#[test]
fn the_rules_of_an_anchor_stand_behind_each_of_its_calls() {
    let ruleset = lower(
        "pass in no state\nanchor a on wan0 { \n block\n anchor \"../b\" quick\n }\nanchor b\nanchor \"/b\" out\npass out no state\n",
        &[("b", "match in tag B\n")],
    );
    assert_eq!(
        list(&ruleset),
        [
            ": pass in all no state",
            ": anchor \"a\" on wan0 all -> 5",
            "a: block drop all",
            "a: anchor \"../b\" quick all -> 5",
            "b: match in all tag B",
            ": anchor \"b\" all -> 7",
            "b: match in all tag B",
            ": anchor \"/b\" out all -> 9",
            "b: match in all tag B",
            ": pass out all no state",
        ]
    );
    let places: Vec<_> = ruleset.places().iter().map(|place| (place.anchor, place.rule)).collect();
    let (main, first) = (None, Some(1));
    let wanted = [
        (main, 0),
        (main, 1),
        (first, 0),
        (first, 1),
        (first, 0),
        (main, 2),
        (Some(2), 0),
        (main, 3),
        (Some(3), 0),
        (main, 4),
    ];
    assert_eq!(places, wanted);
    let mut identities: Vec<u64> = ruleset.rules.iter().map(|rule| rule.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!(identities.len(), 10, "each rule is told from all others, wherever it stands");
}

#[test]
fn a_wildcard_calls_the_anchors_below_in_the_order_of_their_names() {
    let anchors = [
        ("x/b", "pass in\n"),
        ("x/a", "block in\n"),
        ("x/a/deep", "block out\n"),
        ("y", "block\n"),
        ("x", "pass\n"),
    ];
    let ruleset = lower("anchor \"x/*\" in\npass\n", &anchors);
    assert_eq!(
        list(&ruleset),
        [
            ": anchor \"x/*\" in all -> 3",
            "x/a: block drop in all",
            "x/b: pass in all flags S/SA",
            ": pass all flags S/SA",
        ]
    );
    let idle: Vec<&str> = ruleset.idle.iter().map(|rule| ruleset.path(rule)).collect();
    assert_eq!(idle, ["x", "x/a/deep", "y"], "what nobody calls is kept, and not evaluated");
    let places: Vec<_> = ruleset.places().iter().map(|place| (place.anchor, place.rule)).collect();
    assert_eq!(places, [(None, 0), (Some(0), 0), (Some(0), 0), (None, 1)]);
    assert_eq!(list(&lower("anchor \"*\"\n", &[("b", "block\n"), ("a", "pass\n")])).len(), 3);
}

#[test]
fn what_is_loaded_later_takes_the_place_of_what_was_there() {
    let main = "anchor a {\n block in\n anchor {\n  block out\n }\n}\n";
    assert_eq!(lower(main, &[]).rules.len(), 4);
    let ruleset = lower(main, &[("a", "pass in\n")]);
    assert_eq!(list(&ruleset), [": anchor \"a\" all -> 2", "a: pass in all flags S/SA"]);
    let twice = lower(main, &[("a", "pass in\n"), ("a", "block in log\n")]);
    assert_eq!(list(&twice)[1..], ["a: block drop in log all"]);
}

#[test]
fn circles_and_what_is_too_deep_are_refused() {
    assert!(refused("anchor a {\n anchor \"/a\"\n}\n").contains("the anchor a is called by its own rules"));
    let circle = config("anchor a\n")
        .lower_with(&[("a".into(), config("anchor b\n")), ("a/b".into(), config("anchor \"/a\"\n"))]);
    let circle = circle.expect_err("a circle").to_string();
    assert_eq!(circle, format!("{FILE}:1: the anchor a is called by its own rules\n"));
    let chain = |deep: usize| {
        let anchors: Vec<(String, Config)> =
            (0..deep).map(|at| (format!("a{at}"), config(&format!("anchor \"/a{}\"\n", at + 1)))).collect();
        config("anchor a0\n").lower_with(&anchors)
    };
    assert!(chain(63).is_ok());
    assert!(chain(65).expect_err("too deep").to_string().contains("more than 64 deep"));
    // Each anchor calls the next one twice: a ruleset of a handful of lines and of 2^40 rules.
    let doubled: Vec<(String, Config)> = (0..40)
        .map(|at| (format!("a{at}"), config(&format!("anchor \"/a{0}\"\nanchor \"/a{0}\"\n", at + 1))))
        .collect();
    let many = config("anchor a0\n").lower_with(&doubled).expect_err("too many").to_string();
    assert!(many.contains("for more than 1048576 rules"), "{many}");
}

#[test]
fn a_table_of_the_anchor_comes_before_that_of_the_main_ruleset() {
    let main = "table <t> { 10.0.0.0/8 }\ntable <u> { 10.1.0.0/16 }\nanchor a\nblock from <t>\n";
    let ruleset =
        lower(main, &[("a", "table <t> { 192.0.2.1 }\nblock from <t>\nblock from <u>\nblock from <v>\n")]);
    let named: Vec<&str> = ruleset
        .rules
        .iter()
        .filter_map(|rule| match &rule.from.address.pattern {
            AddressPattern::Table(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(named, ["a/t", "u", "v", "t"]);
    let names: Vec<&str> = ruleset.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["a/t", "t", "u", "v"], "a table that nobody defines is empty");
    assert_eq!(pfconf::print_rule(&ruleset.rules[1]), "block drop from <t> to any");
    assert!(refused("table <\"a/t\"> { 10.0.0.1 }\npass\n").contains("/ in a table's name is not supported"));
}

/// Files that a ruleset names, in place of a disk.
struct Files(Interfaces);

impl Host for Files {
    fn interfaces(&self) -> &Interfaces {
        &self.0
    }

    fn read(&self, path: &str) -> std::io::Result<String> {
        match path {
            "spam.conf" => {
                Ok("table <bad> { 192.0.2.1 }\nblock in from <bad>\nload anchor inner from \"inner.conf\"\n"
                    .into())
            }
            "inner.conf" => Ok("block out\n".into()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }

    fn resolve(&self, _: &str) -> Vec<std::net::IpAddr> {
        Vec::new()
    }
}

#[test]
fn rules_and_tables_of_a_file_are_those_of_its_anchor() {
    let main = "anchor spam in\nload anchor spam from \"spam.conf\"\n";
    let (config, findings) = pfconf::read(&Files(interfaces()), FILE, main, &[]);
    assert!(!findings.has_errors(), "{findings}");
    let ruleset = config.lower().expect("it loads");
    assert_eq!(list(&ruleset), [": anchor \"spam\" in all -> 2", "spam: block drop in from <bad> to any"]);
    assert_eq!(ruleset.tables[0].name, "spam/bad");
    assert_eq!(ruleset.rules[1].source.file, "spam.conf");
    let idle: Vec<&str> = ruleset.idle.iter().map(|rule| ruleset.path(rule)).collect();
    assert_eq!(idle, ["spam/inner"]);
}

#[test]
fn live_rules_are_listed_as_they_were_loaded() {
    let main = "pass in\nanchor a on wan0 {\n block\n anchor {\n  pass out\n }\n}\nanchor \"b/*\"\nanchor c\nanchor c\ntable <t> persist { 10.0.0.1 }\n";
    let later = [
        ("b/x", "table <t> persist { 10.0.0.2 }\nblock from <t>\n"),
        ("c", "pass label \"c\"\n"),
        ("d", "match\n"),
    ];
    let ruleset = lower(main, &later);
    let mut loaded = Loaded::default();
    let origin = Origin::default();
    loaded.load(&config(main), "", origin);
    later.iter().for_each(|(path, text)| loaded.load(&config(text), path, origin));
    let counters: Vec<Counters> = (0..ruleset.rules.len() as u64)
        .map(|number| Counters { packets: 1 << number, ..Counters::default() })
        .collect();
    let live = Loaded::of(&ruleset, &counters, None);
    let interfaces = interfaces();
    for anchor in ["", "a", "b", "b/x", "c", "d"] {
        for scope in [Scope::Here, Scope::Called, Scope::Below] {
            let view = |verbose| RulesView {
                anchor,
                scope,
                verbose,
                debug: false,
                only: None,
                interfaces: &interfaces,
                dialect: Dialect::OpenBsd,
                translation: false,
                port_names: false,
            };
            let shown = |loaded: &Loaded| loaded.print_rules(&view(0)).expect("the anchor exists");
            assert_eq!(shown(&live), shown(&loaded), "{anchor} {scope:?}");
        }
        assert_eq!(live.print_anchors(anchor, true), loaded.print_anchors(anchor, true));
        let tables = |loaded: &Loaded| loaded.print_tables(anchor, 0, false, |_| String::new());
        assert_eq!(tables(&live), tables(&loaded));
    }
    // Of `c`, which is called twice, the packets of both calls: rules 8 and 10 of the list.
    let labels = live.print_labels(&RulesView {
        anchor: "c",
        scope: Scope::Here,
        verbose: 0,
        debug: false,
        only: None,
        interfaces: &interfaces,
        dialect: Dialect::OpenBsd,
        translation: false,
        port_names: false,
    });
    assert_eq!(labels.expect("the anchor exists"), format!("c 0 {} 0 - - - - -\n", (1 << 8) + (1 << 10)));
}

/// FreeBSD keeps rules for translation apart from the filter's, in anchors as well.
#[test]
fn what_an_anchor_has_for_translation_is_asked_by_the_call_for_it() {
    let interfaces = interfaces();
    let freebsd = |text: &str| {
        let (config, findings) =
            pfconf::read_as(Dialect::FreeBsd, &Isolated(&interfaces), "pf.conf", text, &[]);
        assert!(!findings.has_errors(), "{findings}");
        config
    };
    let main = freebsd(
        "no nat on wan0 inet from 10.9.0.0/16 to any\nnat-anchor \"ftp/*\"\n\
         nat on wan0 inet from 10.0.0.0/8 to any -> 192.0.2.1\nrdr-anchor \"ftp/*\"\nbinat-anchor \"ftp/*\"\npass\n",
    );
    let anchor = freebsd(
        "table <c> { 10.0.0.7 }\nnat on wan0 inet proto tcp from <c> to any -> 192.0.2.2\n\
         rdr pass on wan0 inet proto tcp to any port 21 -> 127.0.0.1\n\
         binat on wan0 inet from 10.0.0.8 to any -> 192.0.2.8\npass in quick proto tcp to port 21\n",
    );
    let ruleset = main.lower_with(&[("ftp/a".into(), anchor)]).expect("rules");
    let shown = |rules: &[Rule]| -> Vec<String> {
        rules.iter().map(|rule| format!("{}: {}", ruleset.path(rule), print_rule(rule))).collect()
    };
    assert_eq!(
        shown(&ruleset.rules),
        [
            ": binat-anchor \"ftp/*\" all",
            "_binat/ftp/a: binat on wan0 inet from 10.0.0.8 to any -> 192.0.2.8",
            "_binat/ftp/a: match in on wan0 inet from any to 192.0.2.8 rdr-to 10.0.0.8",
            ": no nat on wan0 inet from 10.9.0.0/16 to any",
            ": nat-anchor \"ftp/*\" all",
            "_nat/ftp/a: nat on wan0 inet proto tcp from <c> to any -> 192.0.2.2",
            ": nat on wan0 inet from 10.0.0.0/8 to any -> 192.0.2.1",
            ": rdr-anchor \"ftp/*\" all",
            "_rdr/ftp/a: rdr pass on wan0 inet proto tcp from any to any port = 21 -> 127.0.0.1",
            ": binat-anchor \"ftp/*\" all",
            "_binat/ftp/a: binat on wan0 inet from 10.0.0.8 to any -> 192.0.2.8",
            "_binat/ftp/a: match in on wan0 inet from any to 192.0.2.8 rdr-to 10.0.0.8",
            ": pass all flags S/SA",
        ]
    );
    assert_eq!(shown(&ruleset.idle), ["ftp/a: pass in quick proto tcp from any to any port = 21 flags S/SA"]);
    assert_eq!(ruleset.tables.len(), 1);
    assert_eq!(ruleset.tables[0].name, "ftp/a/c", "the anchor's own table");
}
