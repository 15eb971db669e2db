//! Both sides may die at any moment, and files may rot: what is found afterwards is one ruleset or the other, whole.

mod common;

use std::fs;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use api::control::{Live, Operator, Standing, TableAction, TableRequest};
use api::{Hello, VERSION};
use common::fake::{Fake, Manner, State};
use common::{Daemon, Folder, change, held, refusal, wait};

const ONE: &str = "block all\n";
const TWO: &str = "block all\npass in on wan0 proto tcp to port 22\n";
const THREE: &str = "pass all\n";

fn fake(folder: &Folder) -> Fake {
    Fake::start(&folder.path("dataplane.sock"))
}

fn wait_for_revision(daemon: &Daemon, number: u64) -> u64 {
    let live = |status: &api::control::ControlStatus| status.live.revision() == Some(number);
    daemon.wait_for(&format!("revision {number}"), live).live.generation()
}

fn damage(folder: &Folder, number: u64, how: impl FnOnce(&mut Vec<u8>)) {
    let path = folder.revisions().join(format!("{number:08}.json"));
    let mut bytes = fs::read(&path).unwrap();
    how(&mut bytes);
    fs::write(&path, bytes).unwrap();
}

#[test]
fn f06_control_that_is_killed_finds_the_live_generation() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    let generation = daemon.apply(TWO).unwrap().generation;
    let commits = fake.commits();
    daemon.kill();
    assert!(fake.live().is_some());
    let daemon = Daemon::start(&folder);
    assert_eq!(wait_for_revision(&daemon, 2), generation);
    assert_eq!(fake.commits(), commits, "attaching commits nothing");
    assert_eq!(daemon.apply(ONE).unwrap().revision, 3);
}

#[test]
fn a_dataplane_that_is_started_anew_gets_the_last_good_revision() {
    let folder = Folder::new();
    let first = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(TWO).unwrap();
    let rules = first.live();
    drop(first);
    daemon.wait_for("the loss to be noticed", |status| status.problem.is_some());
    assert_eq!(daemon.scrape("/readyz").0, 503);
    assert_eq!(refusal(daemon.apply(ONE)).0, 503);
    assert_eq!(daemon.control.revisions().unwrap().len(), 1);
    let second = fake(&folder);
    wait_for_revision(&daemon, 1);
    assert_eq!(second.live(), rules);
    assert_eq!(daemon.scrape("/readyz").0, 200);
}

#[test]
fn whoever_asks_first_is_told_what_is_live() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(TABLES).unwrap();
    let told = |daemon: &Daemon| {
        let (rules, tables) = (daemon.control.rules().unwrap(), daemon.control.tables().unwrap());
        (daemon.status().live, rules.map(|rules| rules.text.len()), tables.len())
    };
    let before = told(&daemon);
    daemon.kill();
    // A dataplane whose answers take their time.
    let answering = Barrier::new(2);
    let daemon = thread::scope(|scope| {
        scope.spawn(|| {
            let _state = fake.state();
            answering.wait();
            thread::sleep(Duration::from_millis(500));
        });
        answering.wait();
        let daemon = Daemon::start(&folder);
        assert_eq!(told(&daemon), before);
        daemon
    });
    daemon.kill();
    // And one that does not answer.
    let silent = fake.state();
    let daemon = Daemon::start(&folder);
    let status = daemon.status();
    assert_eq!(status.live, Live::None);
    assert!(status.problem.is_some_and(|why| why.contains("does not know yet what is live")));
    assert_eq!(refusal(daemon.control.rules()).0, 503, "not knowing them is not having none");
    drop(silent);
    wait_for_revision(&daemon, 1);
    assert_eq!(told(&daemon), before);
}

#[test]
fn control_starts_before_the_dataplane() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    daemon.wait_for_log("the dataplane is away");
    assert_eq!(daemon.scrape("/healthz").0, 200);
    let _fake = fake(&folder);
    daemon.wait_for("the built-in policy", |status| matches!(status.live, Live::BuiltIn { .. }));
    daemon.wait_for_log("the dataplane is back");
}

#[test]
fn a_commit_that_was_cut_off_before_it_was_done_did_not_happen() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    let before = fake.live();
    for manner in [Manner::HangUpBefore, Manner::Garbage] {
        fake.set_manner(manner);
        let (status, why) = refusal(daemon.apply(TWO));
        assert_eq!((status, why.contains("went away during the commit")), (503, true), "{why}");
        fake.set_manner(Manner::Good);
        wait_for_revision(&daemon, 1);
        assert_eq!((fake.live(), daemon.control.revisions().unwrap().len()), (before.clone(), 1));
    }
    daemon.apply(TWO).unwrap();
}

#[test]
fn a_commit_that_was_cut_off_after_it_was_done_happened() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    fake.set_manner(Manner::HangUpAfter);
    assert_eq!(daemon.apply(TWO).unwrap().revision, 2);
    fake.set_manner(Manner::Good);
    assert_eq!(daemon.status().live.revision(), Some(2));
    assert_eq!(daemon.control.revision(2).unwrap().sources.text, TWO);
}

#[test]
fn control_that_was_killed_between_commit_and_revision_finishes_the_transaction() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    daemon.apply(TWO).unwrap();
    daemon.kill();
    // As if the process had died just before the rename.
    let (unpublished, published) =
        (folder.revisions().join("00000002.new"), folder.revisions().join("00000002.json"));
    fs::rename(&published, &unpublished).unwrap();
    let daemon = Daemon::start(&folder);
    wait_for_revision(&daemon, 2);
    assert!(published.exists() && !unpublished.exists());
    // And as if it had died before the commit.
    daemon.kill();
    fs::rename(&published, &unpublished).unwrap();
    fake.state().live = None;
    fake.state().generation = 0;
    let daemon = Daemon::start(&folder);
    wait_for_revision(&daemon, 1);
    assert!(!published.exists() && !unpublished.exists());
}

#[test]
fn rules_of_somebody_else_are_left_alone() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    let commits = fake.commits();
    {
        let mut state = fake.state();
        state.generation += 1;
        let mut foreign = state.live.clone().unwrap();
        foreign.rules.clear();
        state.live = Some(foreign);
    }
    daemon.wait_for("foreign rules", |status| matches!(status.live, Live::Foreign { generation: 3 }));
    assert_eq!(fake.commits(), commits);
    assert_eq!(daemon.apply(TWO).unwrap().revision, 2);
}

#[test]
fn damaged_revisions_give_way_to_older_good_ones_aloud() {
    type Damage = fn(&mut Vec<u8>);
    const WAYS: [(&str, Damage); 4] = [
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("emptied", |bytes| bytes.clear()),
        ("one bit", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("something else", |bytes| *bytes = b"#!/bin/sh\necho\n".to_vec()),
    ];
    for (way, how) in WAYS {
        let folder = Folder::new();
        let first = fake(&folder);
        let daemon = Daemon::start(&folder);
        for text in [ONE, TWO, THREE] {
            daemon.apply(text).unwrap();
        }
        daemon.kill();
        drop(first);
        damage(&folder, 3, how);
        let second = fake(&folder);
        let daemon = Daemon::start(&folder);
        wait_for_revision(&daemon, 2);
        assert_eq!(second.live().unwrap().rules.len(), 2, "{way}");
        let log = daemon.log();
        let loud =
            log.lines().any(|line| line.contains("ERROR") && line.contains("00000003.json is damaged"));
        assert!(loud, "{way}: {log}");
        assert_eq!(daemon.apply(ONE).unwrap().revision, 4, "{way}: numbers are not used twice");
    }
}

#[test]
fn without_any_good_revision_only_management_is_admitted() {
    let folder = Folder::new();
    let first = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(THREE).unwrap();
    daemon.kill();
    drop(first);
    damage(&folder, 1, |bytes| bytes.truncate(10));
    let second = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.wait_for("the built-in policy", |status| matches!(status.live, Live::BuiltIn { .. }));
    assert!(second.live().unwrap().rules.iter().any(|rule| pfconf::print_rule(rule) == "block drop all"));
}

#[test]
fn nothing_is_live_if_the_dataplane_refuses_everything_at_boot() {
    let folder = Folder::new();
    let first = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    daemon.kill();
    drop(first);
    let refusing = State { manner: Manner::Refuse("not today".into()), ..State::default() };
    let second = Fake::start_as(&folder.path("dataplane.sock"), refusing);
    let daemon = Daemon::start(&folder);
    daemon.wait_for_log("refuses the built-in policy: not today");
    assert_eq!(
        (daemon.status().live, second.live()),
        (Live::None, None),
        "nothing is live: nothing is forwarded"
    );
    assert_eq!(daemon.scrape("/readyz").0, 503);
}

#[test]
fn a_confirmation_is_awaited_across_a_restart_of_control() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    let before = fake.live();
    daemon.apply_to_confirm(TWO, 600).unwrap();
    daemon.kill();
    let daemon = Daemon::start(&folder);
    let status = daemon.wait_for("the pending revision", |status| status.pending.is_some());
    assert!(status.pending.unwrap().left_s > 500);
    daemon.control.rollback(1, Operator::default()).unwrap();
    daemon.apply_to_confirm(TWO, 1).unwrap();
    daemon.kill();
    thread::sleep(Duration::from_secs(1));
    let daemon = Daemon::start(&folder);
    wait_for_revision(&daemon, 3);
    assert_eq!(fake.live(), before);
    assert_eq!(daemon.control.revisions().unwrap()[3].standing, Standing::Reverted);
}

#[test]
fn an_unconfirmed_revision_does_not_outlive_the_dataplane() {
    let folder = Folder::new();
    let first = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    let before = first.live();
    daemon.apply_to_confirm(TWO, 600).unwrap();
    drop(first);
    let second = fake(&folder);
    let status = daemon.wait_for("revision 1", |status| status.live.revision() == Some(1));
    assert_eq!((second.live(), status.pending), (before, None));
    assert_eq!(daemon.control.revisions().unwrap()[1].standing, Standing::Reverted);
    daemon.apply(TWO).unwrap();
}

#[test]
fn rules_are_taken_back_as_soon_as_the_dataplane_takes_them() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(ONE).unwrap();
    let before = fake.live();
    daemon.apply_to_confirm(TWO, 1).unwrap();
    fake.set_manner(Manner::Refuse("not now".into()));
    daemon.wait_for_log("could not be reverted yet: not now");
    assert_eq!(daemon.status().live.revision(), Some(2));
    fake.set_manner(Manner::Good);
    wait_for_revision(&daemon, 1);
    assert_eq!(fake.live(), before);
}

#[test]
fn a_dataplane_of_another_version_is_named() {
    let folder = Folder::new();
    let hello = Some(Hello { version: VERSION + 1, ..Hello::OURS });
    let _fake = Fake::start_as(&folder.path("dataplane.sock"), State { hello, ..State::default() });
    let daemon = Daemon::start(&folder);
    let status = daemon.wait_for("the problem", |status| status.problem.is_some());
    assert!(status.problem.unwrap().contains("install both from one release"));
    assert_eq!(refusal(daemon.apply(ONE)).0, 503);
}

#[test]
fn one_process_alone_listens_at_a_socket() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_turnpike-control"))
        .arg("--config")
        .arg(folder.path("turnpike.toml"))
        .arg("--socket")
        .arg(daemon.socket())
        .arg("--state-dir")
        .arg(folder.path("other"))
        .args(["--metrics", "127.0.0.1:0"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("another turnpike-control listens here"), "{said}");
    daemon.status();
}

#[test]
fn h01_the_process_keeps_no_privilege_whoever_starts_it() {
    let folder = Folder::new();
    let _fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let status = |name: &str, text: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        line.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().flatten();
    let threads: Vec<String> =
        tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).collect();
    assert!(threads.len() >= 2, "{threads:?}");
    for thread in threads {
        let users = status("Uid", &thread);
        if status("Uid", &own).starts_with('0') {
            assert!(!users.split('\t').any(|user| user == "0"), "{thread}");
            assert_eq!(status("CapBnd", &thread), "0000000000000000");
        }
        for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(status(set, &thread), "0000000000000000", "{thread}");
        }
        assert_eq!(
            (status("NoNewPrivs", &thread).as_str(), status("Seccomp", &thread).as_str()),
            ("1", "2"),
            "{thread}"
        );
    }
}

const TABLES: &str = "table <bad> persist { 10.0.0.1 }\ntable <more> persist\nblock in quick from <bad>\nblock in from <more>\npass out\n";

#[test]
fn changed_tables_outlive_both_processes() {
    let folder = Folder::new();
    let first = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(TABLES).unwrap();
    let done =
        daemon.control.change_table("bad", &change(TableAction::Add, &["10.0.0.1", "10.0.0.2"])).unwrap();
    assert_eq!((done.created, done.given, done.added), (false, 2, 1));
    assert_eq!(done.each.iter().map(|each| each.fate).collect::<String>(), " A");
    daemon
        .control
        .change_table("more", &change(TableAction::Replace, &["!10.9.0.0/16", "10.0.0.0/8"]))
        .unwrap();
    daemon.control.change_table("other", &change(TableAction::Add, &["fd00::1"])).unwrap();
    assert_eq!((held(&first, "bad"), first.commits()), (vec!["10.0.0.1/32".into(), "10.0.0.2/32".into()], 2));
    let (status, scrape) = daemon.scrape("/metrics");
    assert!(status == 200 && scrape.contains("turnpike_table_addresses{table=\"bad\"} 2\n"), "{scrape}");
    daemon.kill();

    // A crash may have left half a line behind.
    use std::io::Write;
    let path = folder.path("state/tables/bad.table");
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"+ 10.6.6").unwrap();
    let daemon = Daemon::start(&folder);
    wait_for_revision(&daemon, 1);
    assert_eq!(first.commits(), 2, "attaching commits nothing");
    assert_eq!(
        daemon.control.tables().unwrap().iter().map(|table| table.addresses).collect::<Vec<_>>(),
        [2, 2, 1]
    );

    drop(first);
    daemon.wait_for("the loss to be noticed", |status| status.problem.is_some());
    let second = fake(&folder);
    wait("the last good revision", || second.live().map(drop).ok_or("no ruleset"));
    wait_for_revision(&daemon, 1);
    assert_eq!(held(&second, "bad"), ["10.0.0.1/32", "10.0.0.2/32"], "what it held, not what the list said");
    assert_eq!(held(&second, "more"), ["10.0.0.0/8", "10.9.0.0/16"]);
    daemon.apply(TABLES).unwrap();
    assert_eq!(held(&second, "bad"), ["10.0.0.1/32"], "a list replaces");
    assert_eq!(held(&second, "more").len(), 2, "without a list all stays");
    daemon.apply(&TABLES.replace("<more> persist", "<more> persist { }")).unwrap();
    assert_eq!(held(&second, "more"), [""; 0], "an empty list empties");
}

#[test]
fn a_change_of_a_table_is_done_wholly_or_not_at_all() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    let constant = "set limit table-entries 3\ntable <fixed> const { 10.0.0.1 }\ntable <t> persist { 10.0.0.1 }\nblock from <fixed>\nblock from <t>\n";
    daemon.apply(constant).unwrap();
    let control = &daemon.control;
    let picture =
        || (held(&fake, "fixed"), held(&fake, "t"), fs::read(folder.path("state/tables/t.table")).unwrap());
    let before = picture();
    let refused = |name: &str, request: TableRequest| {
        let (status, why) = refusal(control.change_table(name, &request));
        assert_eq!(picture(), before, "{why}");
        (status, why)
    };
    let add = |addresses: &[&str]| change(TableAction::Add, addresses);
    assert!(refused("fixed", add(&["10.0.0.2"])).1.contains("Operation not permitted"));
    assert_eq!(refused("absent", change(TableAction::Flush, &[])), (404, "Table does not exist.".into()));
    assert_eq!(refused("t", add(&["nobody.invalid"])).1, "no IP address found for nobody.invalid");
    let (status, why) = refused("t", add(&["10.0.0.2", "10.0.0.3"]));
    assert!(
        status == 422 && why.contains("at most 3 are possible; raise `set limit table-entries`"),
        "{why}"
    );
    assert_eq!(refused("", add(&["10.0.0.2"])).0, 422);
    assert_eq!(refused(&"n".repeat(64), add(&["10.0.0.2"])).0, 422);
    let dry = TableRequest { dry_run: true, ..add(&["10.0.0.2"]) };
    assert_eq!(control.change_table("t", &dry).unwrap().added, 1);
    assert_eq!(picture(), before);
    fake.set_manner(Manner::Refuse("no room".into()));
    assert_eq!(refused("t", add(&["10.0.0.2"])), (422, "no room".into()));
    fake.set_manner(Manner::Good);
    // The disk does not take it: what was changed in the dataplane is put back.
    fs::remove_file(folder.path("state/tables/t.table")).unwrap();
    fs::create_dir(folder.path("state/tables/t.table")).unwrap();
    assert_eq!(refusal(control.change_table("t", &add(&["10.0.0.2"]))).0, 500);
    assert_eq!(held(&fake, "t"), ["10.0.0.1/32"]);
    fs::remove_dir(folder.path("state/tables/t.table")).unwrap();
    control.change_table("t", &add(&["10.0.0.2"])).unwrap();
    assert_eq!(control.change_table("t", &change(TableAction::Flush, &[])).unwrap().deleted, 2);
    assert_eq!(held(&fake, "t"), [""; 0]);
}

#[test]
fn rules_that_return_bring_back_what_their_tables_held() {
    let folder = Folder::new();
    let fake = fake(&folder);
    let daemon = Daemon::start(&folder);
    daemon.apply(TABLES).unwrap();
    daemon.control.change_table("bad", &change(TableAction::Add, &["10.0.0.2"])).unwrap();
    daemon.apply_to_confirm(&TABLES.replace("10.0.0.1", "10.7.7.7"), 1).unwrap();
    daemon.control.change_table("more", &change(TableAction::Add, &["10.0.0.3"])).unwrap();
    daemon.wait_for_log("is reverted");
    assert_eq!(held(&fake, "bad"), ["10.0.0.1/32", "10.0.0.2/32"], "the reverted list is gone");
    assert_eq!(held(&fake, "more"), ["10.0.0.3/32"], "what it left alone stays as it is now");
}
