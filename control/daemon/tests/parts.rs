//! What is changed of the live ruleset without another one: its tables, those of its anchors, its options, whether it is
//! asked. None of it cuts the operator off unless that is forced.

mod common;

use api::Filtering;
use api::control::{Anchored, Apply, Operator, Part, Session, TableAction, TableRequest};
use common::fake::Fake;
use common::{Daemon, Folder, held, refusal, sources};
use ruleset::Timeout;

struct Bed {
    _folder: Folder,
    fake: Fake,
    daemon: Daemon,
}

impl Bed {
    fn with(text: &str) -> Self {
        let folder = Folder::new();
        let fake = Fake::start(&folder.path("dataplane.sock"));
        let daemon = Daemon::start(&folder);
        daemon.apply(text).unwrap();
        Self { _folder: folder, fake, daemon }
    }

    fn held(&self, table: &str) -> Vec<String> {
        held(&self.fake, table)
    }

    /// Changes a table as the operator of 192.0.2.7.
    fn change(
        &self,
        table: &str,
        action: TableAction,
        addresses: &[&str],
        force: bool,
    ) -> Result<Option<String>, (u16, String)> {
        let request =
            TableRequest { detail: false, operator: operator(force), ..common::change(action, addresses) };
        match self.daemon.control.change_table(table, &request) {
            Ok(done) => Ok(done.warning),
            refused => Err(refusal(refused)),
        }
    }

    fn load(&self, part: Part, anchors: &[&str], text: &str) -> usize {
        let anchors = anchors.iter().map(|&anchor| anchor.to_owned()).collect();
        let apply = Apply { sources: sources(text), anchors, part, ..Apply::default() };
        self.daemon.control.apply(&apply).unwrap().rules
    }

    fn tables(&self) -> Vec<String> {
        self.fake.live().unwrap().tables.iter().map(|table| table.name.clone()).collect()
    }
}

fn operator(force: bool) -> Operator {
    let session =
        Session { client: "192.0.2.7:40000".parse().unwrap(), server: "192.0.2.254:22".parse().unwrap() };
    Operator { sessions: vec![session], force }
}

#[test]
fn a_table_of_the_blocked_does_not_take_the_operator_in_unless_forced() {
    let bed = Bed::with("table <bad> persist\npass all\nblock in from <bad>\n");
    for network in ["192.0.2.7", "192.0.0.0/16"] {
        let (status, why) = bed.change("bad", TableAction::Add, &["10.0.0.1", network], false).unwrap_err();
        assert_eq!(status, 422);
        for words in [
            "cut your own connection 192.0.2.7:40000 -> 192.0.2.254:22 on lan0",
            "rule @1 block drop in from <bad> to any (pf.conf:3)",
            "use --force",
        ] {
            assert!(why.contains(words), "{why}");
        }
        assert_eq!(bed.held("bad"), [""; 0], "nothing of it was done");
    }
    assert_eq!(
        bed.change("bad", TableAction::Add, &["10.0.0.1", "!192.0.2.7", "192.0.2.0/28"], false),
        Ok(None)
    );
    let (status, _) = bed.change("bad", TableAction::Delete, &["!192.0.2.7"], false).unwrap_err();
    assert_eq!((status, bed.held("bad").len()), (422, 3));
    let warning = bed.change("bad", TableAction::Replace, &["192.0.2.7"], true).unwrap();
    assert!(warning.is_some_and(|warning| warning.contains("cut your own connection")));
    assert_eq!(bed.held("bad"), ["192.0.2.7/32"]);
    assert_eq!(
        bed.change("bad", TableAction::Add, &["192.0.2.0/28"], false),
        Ok(None),
        "it is cut off already"
    );
    assert_eq!(bed.change("bad", TableAction::Flush, &[], false), Ok(None));
    assert_eq!(bed.change("unknown", TableAction::Add, &["192.0.2.7"], false), Ok(None), "no rule names it");
}

#[test]
fn a_table_of_the_managers_keeps_the_operator_unless_forced() {
    let bed =
        Bed::with("table <managers> persist { 192.0.2.7 10.0.0.1 }\nblock all\npass in from <managers>\n");
    let before = bed.held("managers");
    for (action, addresses) in [
        (TableAction::Flush, &[][..]),
        (TableAction::Kill, &[]),
        (TableAction::Delete, &["192.0.2.7"]),
        (TableAction::Replace, &["10.0.0.1"]),
    ] {
        let (status, why) = bed.change("managers", action, addresses, false).unwrap_err();
        assert!(status == 422 && why.contains("rule @0 block drop all (pf.conf:2)"), "{action:?}: {why}");
        assert_eq!(bed.held("managers"), before, "{action:?}");
    }
    assert_eq!(bed.change("managers", TableAction::Delete, &["10.0.0.1"], false), Ok(None));
    assert!(bed.change("managers", TableAction::Flush, &[], true).unwrap().is_some());
    assert_eq!(bed.held("managers"), [""; 0]);
}

/// A table that is made in an anchor stands in front of the main ruleset's of its name for the rules there.
#[test]
fn a_table_that_is_made_in_an_anchor_does_not_take_the_operator_in_unless_forced() {
    let bed = Bed::with("table <bad> persist { 10.0.0.1 }\npass all\nanchor \"web\"\n");
    bed.load(Part::Everything, &["web"], "block in from <bad>\n");
    for action in [TableAction::Add, TableAction::Replace] {
        let (status, why) = bed.change("web/bad", action, &["192.0.2.7"], false).unwrap_err();
        let rule = "rule @0 block drop in from <bad> to any of the anchor web (pf.conf:1); use --force";
        assert!(status == 422 && why.contains(rule), "{why}");
        assert_eq!(bed.tables(), ["bad"], "nothing was made");
    }
    assert_eq!(
        bed.change("other/bad", TableAction::Add, &["192.0.2.7"], false),
        Ok(None),
        "no rule is there"
    );
    assert_eq!(bed.change("web/bad", TableAction::Add, &["10.9.0.1"], false), Ok(None));
    assert_eq!(bed.held("web/bad"), ["10.9.0.1/32"]);
    assert_eq!(bed.change("bad", TableAction::Add, &["192.0.2.7"], false), Ok(None), "no rule means it now");
    // Without the anchor's own table its rules mean that one again.
    let (status, _) = bed.change("web/bad", TableAction::Kill, &[], false).unwrap_err();
    assert_eq!((status, bed.held("web/bad").len()), (422, 1));
    assert!(bed.change("web/bad", TableAction::Kill, &[], true).unwrap().is_some());
    assert_eq!(bed.tables(), ["bad"]);
    let warning = bed.change("web/bad", TableAction::Add, &["10.9.0.1"], false);
    assert_eq!(warning, Ok(None), "that lets the operator in again");
}

#[test]
fn a_table_that_is_made_in_an_anchor_keeps_the_operator_unless_forced() {
    let bed = Bed::with("table <managers> persist { 192.0.2.7 }\nblock all\nanchor \"web\"\n");
    bed.load(Part::Everything, &["web"], "pass in from <managers>\n");
    let (status, why) = bed.change("web/managers", TableAction::Add, &["10.0.0.1"], false).unwrap_err();
    assert!(status == 422 && why.contains("rule @0 block drop all (pf.conf:2)"), "{why}");
    assert_eq!(bed.tables(), ["managers"]);
    assert_eq!(bed.change("web/managers", TableAction::Add, &["10.0.0.1", "192.0.2.7"], false), Ok(None));
    assert_eq!(bed.change("managers", TableAction::Flush, &[], false), Ok(None), "no rule means it now");
    assert!(bed.change("web/managers", TableAction::Kill, &[], false).is_err());
    let warning = bed.change("web/managers", TableAction::Replace, &["10.0.0.1"], true).unwrap();
    assert!(warning.is_some_and(|warning| warning.contains("cut your own connection")));
    assert_eq!(bed.held("web/managers"), ["10.0.0.1/32"]);
}

#[test]
fn rules_that_cut_the_operator_off_are_not_switched_on_unless_forced() {
    let bed = Bed::with("block all\n");
    let control = &bed.daemon.control;
    assert!(control.switch(Filtering::Off, &operator(false)).unwrap().changed, "that passes everything");
    let (status, why) = refusal(control.switch(Filtering::On, &operator(false)));
    assert!(status == 422 && why.contains("rule @0 block drop all (pf.conf:1)"), "{why}");
    assert_eq!(bed.fake.state().filtering, Filtering::Off);
    let forced = control.switch(Filtering::On, &operator(true)).unwrap();
    assert!(forced.changed && forced.warning.is_some(), "{forced:?}");
    let again = control.switch(Filtering::On, &operator(false)).unwrap();
    assert!(!again.changed && again.warning.is_none(), "{again:?}");
    bed.daemon.apply("pass all\n").unwrap();
    control.switch(Filtering::Off, &operator(false)).unwrap();
    assert!(control.switch(Filtering::On, &operator(false)).unwrap().changed);
}

const MAIN: &str = "set timeout tcp.first 7\ntable <bad> persist { 10.0.0.1 }\nblock in from <bad>\nanchor \"web\"\n\
                    anchor \"own\" {\n pass out\n}\n";

#[test]
fn tables_of_anchors_are_changed_like_those_of_the_main_ruleset() {
    let bed = Bed::with("table <bad> persist { 10.0.0.1 }\npass all\nblock in from <bad>\nanchor \"web\"\n");
    bed.load(Part::Everything, &["web"], "table <bad> persist { 10.2.0.1 }\nblock in from <bad>\n");
    assert_eq!(bed.held("web/bad"), ["10.2.0.1/32"]);
    bed.change("web/bad", TableAction::Add, &["10.2.0.2"], false).unwrap();
    bed.change("bad", TableAction::Add, &["10.0.0.2"], false).unwrap();
    assert_eq!((bed.held("web/bad").len(), bed.held("bad").len()), (2, 2));
    assert!(bed.change("web/bad", TableAction::Add, &["192.0.2.7"], false).is_err(), "the operator is kept");
    // What is loaded into the anchor again leaves the main ruleset's tables alone, and gives its own their lists.
    bed.load(Part::Everything, &["web"], "table <bad> persist { 10.2.0.9 }\nblock in from <bad>\n");
    assert_eq!(bed.held("web/bad"), ["10.2.0.9/32"]);
    assert_eq!(bed.held("bad"), ["10.0.0.1/32", "10.0.0.2/32"]);
    assert_eq!(bed.change("a//b", TableAction::Add, &["10.0.0.2"], false).unwrap_err().0, 422);
}

#[test]
fn only_tables_of_a_file_are_loaded_where_there_are_anchors() {
    let bed = Bed::with(MAIN);
    bed.load(Part::Everything, &["web"], "block in from <new>\ntable <new> { 10.2.0.1 }\n");
    bed.change("bad", TableAction::Add, &["10.0.0.2"], false).unwrap();
    let rules = bed.load(Part::Tables, &[], "pass all\ntable <more> persist { 10.9.0.1 }\n");
    assert_eq!(rules, 5, "the rules are what they were");
    assert_eq!((bed.held("more"), bed.held("bad").len()), (vec!["10.9.0.1/32".to_owned()], 2));
    bed.load(
        Part::Tables,
        &["web"],
        "table <new> persist { 10.3.0.1 }\ntable <other> persist { 10.4.0.1 }\n",
    );
    assert_eq!(
        (bed.held("web/new"), bed.held("web/other")),
        (vec!["10.3.0.1/32".into()], vec!["10.4.0.1/32".into()])
    );
    assert_eq!(bed.tables(), ["bad", "more", "web/new", "web/other"]);
    bed.load(Part::Tables, &[], "table <bad> persist { 10.7.7.7 }\n");
    assert_eq!(bed.held("bad"), ["10.7.7.7/32"]);
    // What is defined again is kept once.
    bed.load(Part::Tables, &[], "table <bad> persist { 10.8.8.8 }\n");
    let live = bed.daemon.status().live.revision().unwrap();
    let kept = bed.daemon.control.revision(live).unwrap().sources.tables;
    let of = |kept: &Anchored| (kept.anchor.clone(), kept.sources.text.contains("10.8.8.8"));
    assert_eq!(
        kept.iter().map(of).collect::<Vec<_>>(),
        [("".into(), false), ("web".into(), false), ("".into(), true)]
    );
    // Another main ruleset leaves the anchor's tables, and has its own.
    bed.daemon.apply("anchor \"web\"\nblock in\n").unwrap();
    assert_eq!(bed.tables(), ["web/new", "web/other"]);
    let wrong = Apply { sources: sources("table <x> {"), part: Part::Tables, ..Apply::default() };
    assert_eq!(refusal(bed.daemon.control.apply(&wrong)).0, 422);
}

#[test]
fn options_are_reset_where_there_are_anchors() {
    let bed = Bed::with(MAIN);
    bed.load(Part::Everything, &["web"], "pass in\n");
    bed.change("bad", TableAction::Add, &["10.0.0.2"], false).unwrap();
    let first = |bed: &Bed| bed.fake.live().unwrap().options.timeouts.get(Timeout::TcpFirst);
    assert_eq!(first(&bed), 7);
    assert_eq!(bed.load(Part::Reset, &[], ""), 5);
    assert_eq!((first(&bed), bed.held("bad").len()), (120, 2));
    assert_eq!(bed.load(Part::Everything, &["web"], "pass in\npass out\n"), 6);
    assert_eq!(first(&bed), 120, "a load into an anchor sets nothing");
    bed.daemon.apply(MAIN).unwrap();
    assert_eq!(first(&bed), 7, "a main ruleset does");
}
