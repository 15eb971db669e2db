//! Apply, confirm, roll back, reload: done wholly, or nothing changed.

mod common;

use std::fs;

use api::control::{Apply, Live, Operator, Origin, Session, Severity, Sources, Standing};
use common::fake::{Fake, Manner};
use common::{Daemon, Folder, refusal, sources, wait};

const ONE: &str = "block all\n";
const TWO: &str = "block all\npass in on wan0 proto tcp to port 22\n";
const OPEN: &str = "pass all\n";
const BAD: &str = "block all\npass in on on wan0\n";

struct Bed {
    folder: Folder,
    fake: Fake,
    daemon: Daemon,
}

impl Bed {
    fn new() -> Self {
        let folder = Folder::new();
        let fake = Fake::start(&folder.path("dataplane.sock"));
        let daemon = Daemon::start(&folder);
        daemon.wait_for("the built-in policy", |status| matches!(status.live, Live::BuiltIn { .. }));
        Self { folder, fake, daemon }
    }

    /// Everything that a refused change must leave as it was.
    fn picture(&self) -> (Live, usize, Vec<api::control::Revision>, Vec<String>) {
        let mut files: Vec<String> = fs::read_dir(self.folder.revisions())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        (self.daemon.status().live, self.fake.commits(), self.daemon.control.revisions().unwrap(), files)
    }
}

fn revision(live: Live) -> Option<u64> {
    live.revision()
}

#[test]
fn a_box_without_revisions_admits_management_only() {
    let bed = Bed::new();
    let live = bed.fake.live().unwrap();
    assert!(live.rules.iter().any(|rule| pfconf::print_rule(rule) == "block drop all"));
    assert_eq!(bed.daemon.scrape("/readyz").0, 200);
    assert!(bed.daemon.log().contains("only management of the box itself"));
    assert_eq!(bed.daemon.control.revisions().unwrap(), []);
}

#[test]
fn an_applied_ruleset_is_live_and_a_revision() {
    let bed = Bed::new();
    let applied = bed.daemon.apply(TWO).unwrap();
    assert_eq!((applied.revision, applied.generation, applied.rules), (1, 2, 2));
    let listing = bed.daemon.control.rules().unwrap().unwrap();
    assert_eq!(listing.live, Live::Revision { revision: 1, generation: 2 });
    assert_eq!(Some(&listing.ruleset), bed.fake.live().as_ref());
    assert_eq!(listing.text[0], "block drop all");
    let kept = bed.daemon.control.revision(1).unwrap();
    assert_eq!(kept.sources, sources(TWO));
    assert_eq!((kept.revision.origin, kept.revision.standing), (Origin::Apply, Standing::Confirmed));
    assert_eq!(bed.picture().3, ["00000001.json"]);
}

#[test]
fn f03_a_ruleset_that_does_not_compile_changes_nothing() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let before = bed.picture();
    let Err(api::ControlError::Refused { status: 422, problem }) = bed.daemon.apply(BAD) else {
        panic!("it was not refused");
    };
    let first = &problem.diagnostics[0];
    assert_eq!((first.severity, first.file.as_str(), first.line), (Severity::Error, "pf.conf", 2));
    assert!(problem.rendered.contains('^'), "{}", problem.rendered);
    assert_eq!(bed.picture(), before);
    assert_eq!(bed.daemon.status().apply_failures, 1);
}

/// Tables, macros, lists and labels.
fn two_hundred_lines() -> String {
    let line = |n: u32| match n % 4 {
        0 => format!("table <t{n}> {{ 192.0.2.{n}, 2001:db8::{n} }}\n"),
        1 => format!(
            "pass in quick on wan0 proto tcp from <t{}> to port {{ {n}, 2{n} }} label \"l{n}\"\n",
            n - 1
        ),
        2 => format!("m{n} = \"10.0.{n}.0/24\"\n"),
        _ => format!("block return out on lan0 inet from $m{} to any\n", n - 1),
    };
    (0..200).map(line).collect()
}

#[test]
fn f03_a_file_that_is_cut_off_anywhere_is_loaded_wholly_or_not_at_all() {
    let bed = Bed::new();
    let text = two_hundred_lines();
    let whole = bed.daemon.apply(&text).unwrap();
    assert_eq!(whole.rules, 150);
    let (mut refused, mut loaded) = (0, 0);
    for end in (1..text.len()).step_by(if is_long() { 1 } else { 61 }) {
        let before = bed.picture();
        match bed.daemon.apply(&text[..end]) {
            Ok(applied) => {
                loaded += 1;
                let live = bed.fake.live().unwrap();
                assert_eq!((applied.rules, bed.fake.commits()), (live.rules.len(), before.1 + 1));
            }
            Err(error) => {
                refused += 1;
                assert_eq!(refusal::<()>(Err(error)).0, 422);
                assert_eq!(bed.picture(), before, "cut off at {end}");
            }
        }
    }
    assert!(refused > 20 && loaded > 5, "{refused} refused, {loaded} loaded");
}

/// The large figures are wanted.
fn is_long() -> bool {
    std::env::var_os("TURNPIKE_LONG").is_some()
}

#[test]
fn f03_a_file_with_any_byte_changed_is_loaded_wholly_or_not_at_all() {
    const OTHERS: &[u8] = b" }\"\n#0<,\\$";
    let bed = Bed::new();
    let text = two_hundred_lines();
    bed.daemon.apply(&text).unwrap();
    let (mut refused, mut loaded) = (0, 0);
    for place in (0..text.len()).step_by(if is_long() { 1 } else { 97 }) {
        let mut bytes = text.clone().into_bytes();
        bytes[place] = OTHERS[place % OTHERS.len()];
        let changed = String::from_utf8(bytes).unwrap();
        let before = bed.picture();
        match bed.daemon.apply(&changed) {
            Ok(applied) => {
                loaded += 1;
                let live = bed.fake.live().unwrap();
                assert_eq!((applied.rules, bed.fake.commits()), (live.rules.len(), before.1 + 1));
                let compiled = pfconf::compile(&changed, &interfaces()).unwrap();
                assert_eq!(live, compiled, "what was read is what is live: byte {place}");
            }
            Err(error) => {
                refused += 1;
                assert_eq!(refusal::<()>(Err(error)).0, 422);
                assert_eq!(bed.picture(), before, "byte {place}");
            }
        }
    }
    assert!(refused > 20 && loaded > 5, "{refused} refused, {loaded} loaded");
}

/// Those of the fake dataplane matter to no rule here.
fn interfaces() -> pfconf::Interfaces {
    pfconf::Interfaces::default()
}

/// CVE-2026-4748: rules that differ in one thing were taken for the same.
#[test]
fn f04_rules_that_differ_in_one_thing_are_all_loaded() {
    const BASE: &str = "pass in on wan0 inet proto tcp from 10.0.0.1 to 10.0.0.9 port 80";
    let mut rules = vec![
        BASE.to_owned(),
        BASE.replace("pass", "block drop"),
        BASE.replace("pass", "block return"),
        BASE.replace("pass in", "pass out"),
        BASE.replace("pass in", "pass in log"),
        BASE.replace("pass in", "pass in quick"),
        BASE.replace("on wan0", "on lan0"),
        BASE.replace("on wan0", "on ! wan0"),
        BASE.replace("proto tcp", "proto udp"),
        BASE.replace("from 10.0.0.1 ", "from ! 10.0.0.1 "),
        BASE.replace("10.0.0.9", "<t>"),
        BASE.replace("10.0.0.9", "any"),
        BASE.replace("10.0.0.9", "10.0.0.1 - 10.0.0.9"),
        BASE.replace("10.0.0.9", "10.0.0.1 - 10.0.0.8"),
        BASE.replace("10.0.0.9", "10.0.0.2 - 10.0.0.9"),
    ];
    rules.extend(
        ["10.0.0.2", "10.0.0.0/24", "10.0.0.0/25"].map(|from| BASE.replace("10.0.0.1 ", &format!("{from} "))),
    );
    rules.extend(
        ["81", "!= 80", "> 80", ">= 80", "80:81", "80 >< 82", "80 <> 82"]
            .map(|port| BASE.replace("port 80", &format!("port {port}"))),
    );
    let ends = [
        "flags any",
        "flags S/SAFR",
        "no state",
        "keep state (sloppy)",
        "keep state (tcp.first 9)",
        "keep state (if-bound)",
        "allow-opts",
        "label \"x\"",
        "tag x",
        "tagged x",
        "! tagged x",
    ];
    rules.extend(ends.map(|end| format!("{BASE} {end}")));
    let bed = Bed::new();
    let load = |text: &str| {
        let applied = bed.daemon.apply(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        let live = bed.fake.live().unwrap();
        assert_eq!(applied.rules, live.rules.len());
        live
    };
    let whole = load(&(rules.join("\n") + "\n"));
    assert_eq!(whole.rules.len(), rules.len(), "as many are loaded as were written");
    let mut identities: Vec<u64> = whole.rules.iter().map(|rule| rule.identity).collect();
    identities.sort_unstable();
    identities.dedup();
    assert_eq!(identities.len(), rules.len(), "and no two are the same");
    // Each beside each other: all pairs in the long run, the pairs with the first and with the next one otherwise.
    for (number, one) in rules.iter().enumerate() {
        for (other_number, other) in rules.iter().enumerate().skip(number + 1) {
            if is_long() || number == 0 || other_number == number + 1 {
                let pair = load(&format!("{one}\n{other}\n"));
                assert_eq!(pair.rules.len(), 2, "{one}\n{other}");
                assert_ne!(pair.rules[0], pair.rules[1], "{one}\n{other}");
            }
        }
    }
}

fn operated(text: &str, confirm_s: Option<u32>, force: bool) -> Apply {
    let session =
        Session { client: "192.0.2.7:40000".parse().unwrap(), server: "192.0.2.254:22".parse().unwrap() };
    let operator = Operator { sessions: vec![session], force };
    Apply { sources: sources(text), confirm_s, operator, ..Apply::default() }
}

/// The fake dataplane lets the last rule decide, and passes the operator as long as that is `pass`.
#[test]
fn rules_that_lock_the_operator_out_need_force_or_a_confirmation() {
    let bed = Bed::new();
    bed.daemon.apply(OPEN).unwrap();
    let control = &bed.daemon.control;
    let before = bed.picture();
    let (status, why) = refusal(control.apply(&operated(ONE, None, false)));
    assert_eq!(status, 422);
    for words in [
        "cut your own connection 192.0.2.7:40000 -> 192.0.2.254:22 on lan0",
        "rule @0 block drop all (pf.conf:1)",
        "--force",
    ] {
        assert!(why.contains(words), "{why}");
    }
    assert_eq!(bed.picture(), before);
    assert!(control.apply(&operated(OPEN, None, false)).is_ok(), "what lets the operator in is no matter");
    assert!(control.apply(&Apply { sources: sources(ONE), ..Apply::default() }).is_ok(), "nobody asked");
    // What is cut off already is not cut off again.
    assert!(control.apply(&operated(ONE, None, false)).is_ok());
    control.apply(&operated(OPEN, None, false)).unwrap();
    let forced = control.apply(&operated(ONE, None, true)).unwrap();
    assert_eq!((forced.findings[0].severity, forced.findings[0].line), (Severity::Warning, 1));
    control.apply(&operated(OPEN, None, false)).unwrap();
    let awaited = control.apply(&operated(ONE, Some(600), false)).unwrap();
    assert!(awaited.findings[0].message.contains("cut your own connection"), "{awaited:?}");
    control.rollback(1, Operator::default()).unwrap();
    let operator = operated(ONE, None, false).operator;
    assert_eq!(refusal(control.rollback(3, operator.clone())).0, 422, "a rollback may lock out as well");
    assert!(control.rollback(3, Operator { force: true, ..operator }).is_ok());
}

#[test]
fn f03_a_ruleset_that_the_dataplane_refuses_changes_nothing() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let before = bed.picture();
    bed.fake.set_manner(Manner::Refuse("rule @1: out of classifier memory".into()));
    assert_eq!(refusal(bed.daemon.apply(TWO)), (422, "rule @1: out of classifier memory".into()));
    assert_eq!(bed.picture(), before);
    bed.fake.set_manner(Manner::Good);
    assert_eq!(bed.daemon.apply(TWO).unwrap().revision, 3, "numbers are not used twice");
}

#[test]
fn a_ruleset_that_cannot_be_stored_is_not_committed() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let (live, commits, ..) = bed.picture();
    // Root may write anywhere: only what is no folder any more refuses a file.
    fs::rename(bed.folder.revisions(), bed.folder.path("aside")).unwrap();
    fs::write(bed.folder.revisions(), "in the way").unwrap();
    let (status, why) = refusal(bed.daemon.apply(TWO));
    assert_eq!(status, 500);
    assert!(why.contains("cannot store revision 2"), "{why}");
    assert_eq!((bed.daemon.status().live, bed.fake.commits()), (live, commits));
    fs::remove_file(bed.folder.revisions()).unwrap();
    fs::rename(bed.folder.path("aside"), bed.folder.revisions()).unwrap();
    assert_eq!(revision(bed.daemon.status().live), Some(1));
    bed.daemon.apply(TWO).unwrap();
}

#[test]
fn what_is_in_anchors_is_not_lost_with_the_file_that_holds_it() {
    let bed = Bed::new();
    bed.daemon.apply("block all\nanchor \"a\" {\n pass quick\n}\n").unwrap();
    let before = bed.fake.commits();
    let file = bed.folder.revisions().join("00000001.json");
    fs::rename(&file, bed.folder.path("aside")).unwrap();
    let (status, why) = refusal(bed.daemon.apply(TWO));
    assert_eq!((status, bed.fake.commits()), (500, before));
    assert!(why.contains("00000001.json"), "{why}");
    fs::rename(bed.folder.path("aside"), &file).unwrap();
    bed.daemon.apply(TWO).unwrap();
}

#[test]
fn a_confirmed_ruleset_stays() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    assert_eq!(bed.daemon.apply_to_confirm(TWO, 2).unwrap().confirm_s, Some(2));
    assert_eq!(bed.daemon.status().pending.unwrap().revision, 2);
    assert_eq!(bed.daemon.control.confirm().unwrap().standing, Standing::Confirmed);
    let commits = bed.fake.commits();
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!((bed.fake.commits(), revision(bed.daemon.status().live)), (commits, Some(2)));
    assert_eq!(refusal(bed.daemon.control.confirm()).0, 409);
}

#[test]
fn an_unconfirmed_ruleset_is_taken_back_aloud() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let before = bed.fake.live();
    bed.daemon.apply_to_confirm(TWO, 1).unwrap();
    assert_ne!(bed.fake.live(), before);
    let status = bed.daemon.wait_for("the rules before", |status| revision(status.live) == Some(1));
    assert_eq!((bed.fake.live(), status.pending), (before, None));
    let standings: Vec<Standing> =
        bed.daemon.control.revisions().unwrap().iter().map(|revision| revision.standing).collect();
    assert_eq!(standings, [Standing::Confirmed, Standing::Reverted]);
    let log = bed.daemon.log();
    assert!(
        log.lines().any(|line| line.contains("ERROR") && line.contains("was not confirmed in time")),
        "{log}"
    );
}

#[test]
fn an_unconfirmed_first_ruleset_gives_way_to_the_built_in_policy() {
    let bed = Bed::new();
    bed.daemon.apply_to_confirm(TWO, 1).unwrap();
    bed.daemon.wait_for("the built-in policy", |status| matches!(status.live, Live::BuiltIn { .. }));
}

#[test]
fn nothing_is_applied_while_a_confirmation_is_awaited() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    bed.daemon.apply_to_confirm(TWO, 600).unwrap();
    let before = bed.picture();
    let (status, why) = refusal(bed.daemon.apply(ONE));
    assert_eq!((status, why.contains("revision 2 awaits confirmation")), (409, true), "{why}");
    assert_eq!(bed.picture(), before);
    assert_eq!(
        bed.daemon.control.rollback(1, Operator::default()).unwrap().revision,
        3,
        "a rollback is always possible"
    );
    assert_eq!(bed.daemon.status().pending, None);
    assert_eq!(bed.daemon.control.revisions().unwrap()[1].standing, Standing::Reverted);
}

#[test]
fn a_confirmation_within_no_time_is_refused() {
    let bed = Bed::new();
    let before = bed.picture();
    assert_eq!(refusal(bed.daemon.apply_to_confirm(TWO, 0)).0, 422);
    assert_eq!(refusal(bed.daemon.apply_to_confirm(TWO, 100_000)).0, 422);
    assert_eq!(bed.picture(), before);
}

#[test]
fn a_rollback_is_a_new_revision_of_old_rules() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let old = bed.fake.live();
    bed.daemon.apply(TWO).unwrap();
    assert_eq!(bed.daemon.control.rollback(1, Operator::default()).unwrap().revision, 3);
    assert_eq!(bed.fake.live(), old);
    assert_eq!(bed.daemon.control.revisions().unwrap()[2].origin, Origin::Rollback { of: 1 });
    let before = bed.picture();
    assert_eq!(refusal(bed.daemon.control.rollback(77, Operator::default())).0, 404);
    bed.fake.set_manner(Manner::Refuse("no".into()));
    assert_eq!(refusal(bed.daemon.control.rollback(2, Operator::default())).0, 422);
    assert_eq!(bed.picture(), before);
}

#[test]
fn only_so_many_revisions_are_kept_and_always_a_good_one() {
    let folder = Folder::new();
    let _fake = Fake::start(&folder.path("dataplane.sock"));
    let daemon = Daemon::start_with(&folder, "revisions_kept = 2");
    for _ in 0..4 {
        daemon.apply(ONE).unwrap();
    }
    let numbers = |daemon: &Daemon| -> Vec<u64> {
        daemon.control.revisions().unwrap().iter().map(|revision| revision.number).collect()
    };
    assert_eq!(numbers(&daemon), [3, 4]);
    for _ in 0..3 {
        daemon.apply_to_confirm(TWO, 1).unwrap();
        daemon.wait_for("the rules before", |status| status.pending.is_none());
    }
    assert_eq!(numbers(&daemon), [4, 6, 7], "4 is the last good one");
}

#[test]
fn sighup_loads_the_file_with_what_it_includes() {
    let bed = Bed::new();
    let included = bed.folder.path("ssh.conf");
    fs::write(&included, "pass in proto tcp to port 22\n").unwrap();
    fs::write(bed.folder.path("pf.conf"), format!("block all\ninclude \"{}\"\n", included.display()))
        .unwrap();
    bed.daemon.signal("HUP");
    let status = bed.daemon.wait_for("revision 1", |status| revision(status.live) == Some(1));
    assert_eq!(status.apply_failures, 0);
    assert_eq!(bed.fake.live().unwrap().rules.len(), 2);
    // The revision needs the included file no more.
    fs::remove_file(&included).unwrap();
    bed.daemon.apply(ONE).unwrap();
    assert_eq!(bed.daemon.control.rollback(1, Operator::default()).unwrap().rules, 2);
}

#[test]
fn sighup_with_a_bad_file_changes_nothing() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let before = bed.picture();
    fs::write(bed.folder.path("pf.conf"), BAD).unwrap();
    bed.daemon.signal("HUP");
    bed.daemon.wait_for_log("is refused, the rules stay as they are");
    fs::remove_file(bed.folder.path("pf.conf")).unwrap();
    bed.daemon.signal("HUP");
    bed.daemon.wait_for_log("cannot read");
    assert_eq!(bed.picture(), before);
    assert!(bed.daemon.log().contains("pf.conf:2"), "{}", bed.daemon.log());
}

#[test]
fn a_client_cannot_have_files_of_the_box_read() {
    let bed = Bed::new();
    let secret = bed.folder.path("secret");
    fs::write(&secret, "pass all\n").unwrap();
    let text = format!("block all\ninclude \"{}\"\n", secret.display());
    let before = bed.picture();
    assert_eq!(refusal(bed.daemon.apply(&text)).0, 422);
    assert_eq!(bed.picture(), before);
    let files = [(secret.display().to_string(), "pass all\n".to_owned())].into();
    let apply = Apply { sources: Sources { files, ..sources(&text) }, ..Apply::default() };
    assert_eq!(bed.daemon.control.apply(&apply).unwrap().rules, 2);
}

#[test]
fn a_check_and_a_diff_change_nothing() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let before = bed.picture();
    let good = bed.daemon.control.check(&sources(TWO)).unwrap();
    assert_eq!((good.valid, good.rules, good.findings.len()), (true, 2, 0));
    let bad = bed.daemon.control.check(&sources(BAD)).unwrap();
    assert_eq!((bad.valid, bad.findings[0].line), (false, 2));
    let difference = bed.daemon.control.diff(&sources(TWO)).unwrap();
    assert_eq!((difference.added.len(), difference.removed.len()), (1, 0));
    assert_eq!(difference.added[0].number, 1);
    assert!(bed.daemon.control.diff(&sources(ONE)).unwrap().is_empty());
    assert_eq!(refusal(bed.daemon.control.diff(&sources(BAD))).0, 422);
    assert_eq!(bed.picture(), before);
}

#[test]
fn names_of_interfaces_mean_the_dataplanes_addresses() {
    let bed = Bed::new();
    bed.daemon.apply("block in from ! lan0:network to wan0\n").unwrap();
    let text = bed.daemon.control.rules().unwrap().unwrap().text;
    assert!(
        text.iter().any(|rule| rule == "block drop in inet from ! 10.0.0.0/8 to 192.0.2.254"),
        "{text:?}"
    );
}

#[test]
fn sigterm_ends_it_cleanly_and_leaves_the_rules() {
    let bed = Bed::new();
    bed.daemon.apply(ONE).unwrap();
    let (socket, commits) = (bed.daemon.socket().to_owned(), bed.fake.commits());
    assert_eq!(bed.daemon.stop(), Some(0));
    assert!(!socket.exists());
    assert_eq!(bed.fake.commits(), commits);
    wait("the rules to be there", || if bed.fake.live().is_some() { Ok(()) } else { Err("none") });
}

fn anchored(anchor: &str, text: &str) -> Apply {
    Apply { sources: sources(text), anchors: vec![anchor.into()], ..Apply::default() }
}

fn live_texts(bed: &Bed) -> Vec<String> {
    let live = bed.fake.live().unwrap();
    live.rules.iter().map(|rule| format!("{}: {}", live.path(rule), pfconf::print_rule(rule))).collect()
}

#[test]
fn a_change_of_an_anchor_is_a_commit_like_any_other() {
    let bed = Bed::new();
    let control = &bed.daemon.control;
    let (status, _) = refusal(control.apply(&anchored("web", OPEN)));
    assert_eq!(status, 409, "there is no main ruleset yet");
    bed.daemon.apply("block all\nanchor \"web\"\nanchor \"own\" {\n pass out\n}\n").unwrap();
    let applied = control.apply(&anchored("web", "pass in on wan0 proto tcp to port 80\n")).unwrap();
    assert_eq!((applied.revision, applied.rules), (2, 5));
    assert_eq!(live_texts(&bed)[2], "web: pass in on wan0 proto tcp from any to any port = 80 flags S/SA");

    let before = bed.picture();
    for wrong in [anchored("web", BAD), anchored("_1", OPEN), anchored("", OPEN), anchored("a//b", OPEN)] {
        refusal(control.apply(&wrong));
        assert_eq!(bed.picture(), before, "{:?}", wrong.anchors);
    }

    // A new main ruleset leaves what was loaded into anchors, unless it has rules for them itself.
    let again = "pass all no state\nanchor \"web\"\n";
    let difference = control.diff(&sources(again)).unwrap();
    assert_eq!(
        difference.removed.iter().map(|rule| rule.anchor.as_str()).collect::<Vec<_>>(),
        ["", "", "own"]
    );
    bed.daemon.apply(again).unwrap();
    assert_eq!(live_texts(&bed).len(), 3);
    bed.daemon.apply("anchor \"web\" {\n block in\n}\n").unwrap();
    assert_eq!(live_texts(&bed)[1..], ["web: block drop in all"]);

    // Back to the first rules with an anchor; then the anchor is emptied.
    control.rollback(2, Operator::default()).unwrap();
    assert_eq!(live_texts(&bed).len(), 5);
    control.apply(&anchored("web", "")).unwrap();
    assert_eq!(live_texts(&bed).len(), 4);
    let braces = "own: pass out all flags S/SA";
    assert_eq!(live_texts(&bed)[3], braces);
    control.apply(&anchored("own", "")).unwrap();
    assert_eq!(live_texts(&bed).len(), 3, "rules in braces are replaced as well");
}
