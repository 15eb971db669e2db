//! Tables while rules are live: those of anchors, their counters, and the names that they follow.

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::control::{Apply, Live, Origin, Sources, TableAction};
use common::fake::{COUNTED, Fake};
use common::{Daemon, Folder, change, held, refusal, wait};
use pfconf::LoadedTable;
use ruleset::{AddressPattern, Ruleset, TableEntry, ZeroCounts};
use turnpike_control::names::{self, Known};
use turnpike_control::revisions::Store;
use turnpike_control::tables::Tables;
use turnpike_control::{Watch, committer};

fn fake(folder: &Folder) -> Fake {
    Fake::start(&folder.path("dataplane.sock"))
}

/// The tables that the rules name, in their order.
fn named(ruleset: &Ruleset) -> Vec<String> {
    let tables = ruleset.rules.iter().flat_map(|rule| rule.patterns()).filter_map(|pattern| match pattern {
        AddressPattern::Table(name) => Some(name.clone()),
        _ => None,
    });
    tables.collect()
}

#[test]
fn sources_that_the_dataplane_has_put_into_a_table_are_known_to_whoever_asks_and_kept() {
    let folder = Folder::new();
    let dataplane = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon
        .apply(
            "table <bad> persist\ntable <big> { 10.0.0.1 }\nblock from <bad>\nblock from <big>\n\
             pass proto tcp keep state (max-src-conn-rate 3/10, overload <bad> flush global)\n",
        )
        .unwrap();
    {
        let mut state = dataplane.state();
        let entry = TableEntry::new(false, "192.0.2.7/32".parse().unwrap());
        state.tables.get_mut("bad").unwrap().push(entry);
        state.overloads += 1;
    }
    let addresses = || {
        let table: LoadedTable = daemon.control.table("bad").unwrap();
        table.rows().map(|row| row.member.net.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(addresses(), ["192.0.2.7/32"]);
    daemon.control.change_table("bad", &change(TableAction::Add, &["192.0.2.8", "weight", "3"])).unwrap();
    assert_eq!(addresses(), ["192.0.2.7/32", "192.0.2.8/32"]);
    // They outlive both.
    daemon.kill();
    drop(dataplane);
    let dataplane = fake(&folder);
    let daemon = Daemon::start(&folder);
    wait("the rules", || dataplane.live().ok_or("none"));
    assert_eq!(held(&dataplane, "bad"), ["192.0.2.7/32", "192.0.2.8/32"]);
    let weights = |entry: &TableEntry| entry.weight.map(std::num::NonZeroU16::get);
    assert_eq!(dataplane.state().tables["bad"].iter().map(weights).collect::<Vec<_>>(), [None, Some(3)]);
    drop(daemon);
}

const ANCHORED: &str = "table <t> persist { 10.0.0.1 }\nblock from <t>\nanchor web {\n block from <t>\n}\n";

#[test]
fn the_rules_of_an_anchor_see_a_table_that_is_made_in_it_at_once() {
    let folder = Folder::new();
    let dataplane = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ANCHORED).unwrap();
    let control = &daemon.control;
    let before = dataplane.commits();
    assert!(control.change_table("web/t", &change(TableAction::Add, &["10.7.0.0/16"])).unwrap().created);
    assert_eq!(named(&dataplane.live().unwrap()), ["t", "web/t"]);
    assert_eq!(
        (held(&dataplane, "web/t"), held(&dataplane, "t")),
        (vec!["10.7.0.0/16".into()], vec!["10.0.0.1/32".into()])
    );
    assert_eq!(dataplane.commits(), before + 1);
    assert_eq!(
        daemon.status().live,
        Live::Revision { revision: 1, generation: dataplane.state().generation }
    );
    control.change_table("web/t", &change(TableAction::Add, &["10.8.0.0/16"])).unwrap();
    assert_eq!(dataplane.commits(), before + 1, "from then on it changes like any other");
    assert_eq!(held(&dataplane, "web/t").len(), 2);
    control.change_table("other/t", &change(TableAction::Add, &["10.8.0.0/16"])).unwrap();
    assert_eq!(dataplane.commits(), before + 1, "nobody names it");

    daemon.kill();
    let daemon = Daemon::start(&folder);
    daemon.wait_for("the revision", |status| status.live.revision() == Some(1));
    assert_eq!(dataplane.commits(), before + 1, "it is recognised as it is");
    daemon.apply(&ANCHORED.replace("10.0.0.1", "10.0.0.2")).unwrap();
    assert_eq!(named(&dataplane.live().unwrap()), ["t", "web/t"], "another load leaves it");
    assert_eq!(held(&dataplane, "web/t").len(), 2);
    daemon.control.change_table("web/t", &change(TableAction::Kill, &[])).unwrap();
    assert_eq!(named(&dataplane.live().unwrap()), ["t", "t"], "without it they see that of the main ruleset");
    assert_eq!(refusal(daemon.control.table::<LoadedTable>("web/t")).0, 404);
}

#[test]
fn counters_are_shown_with_a_table_and_set_to_zero() {
    let folder = Folder::new();
    let dataplane = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply("table <t> persist counters { 10.0.0.1 }\ntable <u> { 10.0.0.1 }\nblock from <t>\nblock from <u>\n").unwrap();
    let net = "10.0.0.1/32".parse().unwrap();
    let numbers = COUNTED.map(|hook| hook.map(|counted| (counted.packets, counted.bytes)));
    let traffic = |table: &str| daemon.control.table::<LoadedTable>(table).unwrap().traffic(net);
    assert_eq!((traffic("t"), traffic("u")), (numbers, [[(0, 0); 2]; 2]));
    let zeros = |fake: &Fake| fake.state().edits.iter().map(|edit| edit.zero.clone()).collect::<Vec<_>>();
    daemon.control.change_table("t", &change(TableAction::Zero, &["10.0.0.1", "10.0.0.9"])).unwrap();
    daemon.control.change_table("t", &change(TableAction::Zero, &[])).unwrap();
    assert_eq!(zeros(&dataplane), [ZeroCounts::Entries(vec![net]), ZeroCounts::All]);
}

/// What the resolver says.
type Zone = Arc<Mutex<BTreeMap<&'static str, Vec<IpAddr>>>>;

fn addresses(words: &[&str]) -> Vec<IpAddr> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

/// The committer alone, with a resolver that reads `zone`; and what it publishes.
fn follow(folder: &Folder, zone: &Zone) -> (committer::Handle, Arc<Watch>) {
    let store = Store::open(&folder.revisions(), 10).unwrap();
    let tables = Tables::open(&folder.path("state/tables")).unwrap();
    let known = Known::open(&folder.path("state/names.json"));
    let watch = Arc::new(Watch::default());
    let (handle, _) =
        committer::start(folder.path("dataplane.sock"), store, tables, known, Arc::clone(&watch)).unwrap();
    let zone = Arc::clone(zone);
    let resolve = move |name: &str| zone.lock().unwrap().get(name).cloned().unwrap_or_default();
    names::start(handle.clone(), Arc::clone(&watch), Duration::from_millis(10), resolve).unwrap();
    (handle, watch)
}

fn apply(handle: &committer::Handle, text: &str, names: &[(&str, &[&str])]) {
    let names = names.iter().map(|(name, words)| ((*name).to_owned(), addresses(words))).collect();
    let sources = Sources { name: "pf.conf".into(), text: text.into(), names, ..Sources::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let done = runtime.block_on(handle.apply(Apply { sources, ..Apply::default() }, Origin::Apply));
    done.unwrap_or_else(|failure| panic!("{failure}"));
}

fn wait_for(fake: &Fake, table: &str, wanted: &[&str]) {
    wait("the table", || match held(fake, table) {
        held if held == wanted => Ok(()),
        held => Err(format!("{held:?}")),
    });
}

const FOLLOWING: &str = "table <t> persist { www.example.net, 10.0.0.1, ! old.example.net }\npass to <t>\nblock from www.example.net\n";

#[test]
fn tables_follow_names_and_keep_what_cannot_be_resolved() {
    let folder = Folder::new();
    let dataplane = fake(&folder);
    let zone: Zone = Arc::default();
    zone.lock().unwrap().insert("www.example.net", addresses(&["192.0.2.1", "2001:db8::1"]));
    let (handle, watch) = follow(&folder, &zone);
    wait("the dataplane", || watch.get().rules.clone().map(drop).ok_or("no rules"));
    apply(
        &handle,
        FOLLOWING,
        &[("www.example.net", &["192.0.2.1", "2001:db8::1"]), ("old.example.net", &["192.0.2.99"])],
    );
    let first = ["10.0.0.1/32", "192.0.2.1/32", "192.0.2.99/32", "2001:db8::1/128"];
    wait_for(&dataplane, "t", &first);
    let commits = dataplane.commits();

    // One that nobody answers for any more stays; the other moves.
    zone.lock().unwrap().insert("www.example.net", addresses(&["192.0.2.2", "2001:db8::1"]));
    let second = ["10.0.0.1/32", "192.0.2.2/32", "192.0.2.99/32", "2001:db8::1/128"];
    wait_for(&dataplane, "t", &second);
    zone.lock().unwrap().clear();
    zone.lock().unwrap().insert("old.example.net", addresses(&["10.0.0.1"]));
    // The network itself is in the list, without `!`, and stands in front.
    wait_for(&dataplane, "t", &["10.0.0.1/32", "192.0.2.2/32", "2001:db8::1/128"]);
    zone.lock().unwrap().insert("old.example.net", addresses(&["192.0.2.98"]));
    wait_for(&dataplane, "t", &["10.0.0.1/32", "192.0.2.2/32", "192.0.2.98/32", "2001:db8::1/128"]);
    let negated = |fake: &Fake| fake.state().tables["t"].iter().filter(|entry| entry.negated).count();
    assert_eq!(negated(&dataplane), 1);
    assert_eq!(dataplane.commits(), commits, "the rules stay as they are");

    // What operators change stays changed, and a restart goes on from what was known.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(handle.change_table("t", change(TableAction::Delete, &["10.0.0.1"]))).unwrap();
    // The first goes on for as long as its resolver does: it is asked nothing new.
    let zone: Zone = Arc::default();
    zone.lock().unwrap().insert("old.example.net", addresses(&["192.0.2.98"]));
    let (_handle, watch) = follow(&folder, &zone);
    wait("the names", || watch.get().names.get("www.example.net").map(drop).ok_or("no names"));
    assert_eq!(watch.get().names["www.example.net"], addresses(&["192.0.2.2", "2001:db8::1"]));
    zone.lock().unwrap().insert("www.example.net", addresses(&["192.0.2.3"]));
    wait_for(&dataplane, "t", &["192.0.2.3/32", "192.0.2.98/32"]);
}
