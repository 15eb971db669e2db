//! Verbs that turnpike-control answers: what is asked, and what is printed of its answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::folder::{Folder, Outcome};

/// A turnpike-control that answers everything alike, and tells what it was asked.
struct Fake {
    folder: Folder,
    socket: String,
    asked: Receiver<(String, Value)>,
}

impl Fake {
    #[expect(clippy::disallowed_methods, reason = "a server needs a thread of its own")]
    fn new(name: &str, status: u16, answer: Value) -> Self {
        let folder = Folder::new(&format!("control-{name}"));
        let path = folder.0.join("control.sock");
        let listener = UnixListener::bind(&path).expect("a free path");
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = sender.send(serve(stream.expect("a client"), status, &answer));
            }
        });
        Self { folder, socket: path.to_str().expect("plain characters").to_owned(), asked }
    }

    fn call(&self, words: &[&str], input: &str) -> Outcome {
        let all: Vec<&str> = ["--socket", &self.socket].iter().chain(words).copied().collect();
        crate::folder::run(std::process::Command::new(env!("CARGO_BIN_EXE_tpctl")).args(all), input)
    }

    fn asked(&self) -> (String, Value) {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("it was asked")
    }

    fn interfaces(&self) -> String {
        self.folder.0.join("interfaces.json").to_str().expect("plain characters").to_owned()
    }
}

/// Reads a request and answers it; returns its first line and its body.
fn serve(mut stream: UnixStream, status: u16, answer: &Value) -> (String, Value) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut first = String::new();
    reader.read_line(&mut first).expect("a request");
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("the body");
    let text = answer.to_string();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(text.as_bytes())).expect("it listens");
    let line = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    (line, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

fn applied(confirm_s: Option<u32>) -> Value {
    json!({ "revision": 7, "generation": 9, "confirm_s": confirm_s, "rules": 2, "findings": [] })
}

#[test]
fn apply_sends_the_text_and_what_it_needs() {
    let fake = Fake::new("apply", 200, applied(Some(300)));
    let included = fake.folder.write("more.conf", "block in from localhost\n");
    let text = format!("include \"{included}\"\npass out on $if\n");
    let interfaces = fake.interfaces();
    let words =
        ["apply", "-", "--confirm", "5m", "--comment", "why", "-D", "if=em0", "--interfaces", &interfaces];
    let outcome = fake.call(&words, &text);
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), ""));
    assert_eq!(
        outcome.out,
        "stdin: 2 rules: live as revision 7 (generation 9)\n`tpctl confirm` within 300 s, or the rules before return\n"
    );
    let (line, body) = fake.asked();
    assert_eq!(line, "POST /v1/apply");
    assert_eq!((&body["confirm_s"], &body["comment"]), (&300.into(), &"why".into()));
    let sources = &body["sources"];
    assert_eq!((&sources["name"], &sources["text"]), (&"stdin".into(), &text.into()));
    assert_eq!(sources["files"][&included], "block in from localhost\n");
    assert_eq!(sources["names"]["localhost"], json!(["127.0.0.1", "::1"]));
    assert_eq!(sources["definitions"], json!([["if", "em0"]]));
    let outcome = fake.call(&["apply", "-", "--json", "--interfaces", &interfaces], "pass\n");
    let printed: Value = serde_json::from_str(&outcome.out).expect("JSON");
    assert_eq!(printed["revision"], 7);
    assert_eq!(fake.asked().1["confirm_s"], Value::Null);
}

#[test]
fn a_refusal_is_shown_with_the_place() {
    let problem = json!({ "error": "stdin:1: no", "diagnostics": [], "rendered": "error: no\n  ^^^\n" });
    let fake = Fake::new("refused", 422, problem);
    let interfaces = fake.interfaces();
    let outcome = fake.call(&["apply", "-", "--interfaces", &interfaces], "bogus\n");
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""));
    assert_eq!(
        outcome.err,
        "error: no\n  ^^^\ntpctl: stdin:1: no\ntpctl: stdin was not applied; the live ruleset is as it was\n"
    );
    for words in [
        &["confirm"][..],
        &["rollback", "3"],
        &["diff", "-", "--interfaces", &interfaces],
        &["revisions", "3"],
    ] {
        let outcome = fake.call(words, "");
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""), "{words:?}");
        assert!(outcome.err.ends_with("tpctl: stdin:1: no\n"), "{words:?}: {}", outcome.err);
    }
    let outcome = fake.call(&["pfctl", "-f", "-", "--interfaces", &interfaces], "pass all no state\n");
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(1), "error: no\n  ^^^\ntpctl: stdin:1: no\n"));
}

#[test]
fn pfctl_loads_through_turnpike_control() {
    let fake = Fake::new("pfctl", 200, applied(None));
    let outcome = fake.call(&["pfctl", "-f", "-", "--interfaces", &fake.interfaces()], "pass all no state\n");
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (Some(0), "", ""));
    let (line, body) = fake.asked();
    assert_eq!((line.as_str(), &body["sources"]["text"]), ("POST /v1/apply", &"pass all no state\n".into()));
}

#[test]
fn pfctl_loads_anchors_through_turnpike_control() {
    let fake = Fake::new("pfctl-anchor", 200, applied(None));
    let words = ["pfctl", "-a", "/web/eu/", "-f", "-", "--interfaces", &fake.interfaces()];
    let outcome = fake.call(&words, "pass in\n");
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (Some(0), "", ""));
    let (line, body) = fake.asked();
    assert_eq!((line.as_str(), &body["anchors"]), ("POST /v1/apply", &json!(["web/eu"])));
    assert_eq!(body["sources"]["text"], "pass in\n");
    let private = fake.call(&["pfctl", "-a", "_1", "-f", "-"], "pass in\n");
    assert_eq!(private.code, Some(1));
}

#[test]
fn parts_and_tables_of_anchors_are_changed_through_turnpike_control() {
    let fake = Fake::new("pfctl-parts", 200, applied(None));
    let interfaces = fake.interfaces();
    let words = ["pfctl", "-a", "/web/", "-T", "load", "-f", "-", "--interfaces", &interfaces];
    let outcome = fake.call(&words, "table <t> { 10.0.0.1 }\n");
    assert_eq!((outcome.code, outcome.out.as_str(), outcome.err.as_str()), (Some(0), "", ""));
    let (line, body) = fake.asked();
    assert_eq!(
        (line.as_str(), &body["part"], &body["anchors"]),
        ("POST /v1/apply", &"tables".into(), &json!(["web"]))
    );
    let outcome =
        fake.call(&["pfctl", "-T", "load", "-f", "-", "--interfaces", &interfaces], "table <t> {}\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let (_, body) = fake.asked();
    assert_eq!(
        (&body["part"], &body["anchors"], &body["sources"]["text"]),
        (&"tables".into(), &json!([]), &"table <t> {}\n".into())
    );
    let outcome = fake.call(&["pfctl", "-F", "Reset"], "");
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), "pf: interface flags reset\n"));
    assert_eq!(fake.asked().1["part"], "reset");

    let done =
        json!({ "created": false, "given": 1, "added": 1, "deleted": 0, "changed": 0, "warning": "cut" });
    let fake = Fake::new("pfctl-anchored-table", 200, done);
    let words = ["pfctl", "-a", "web/eu", "-t", "bad", "-T", "add", "--interfaces", &interfaces, "10.0.0.1"];
    let outcome = fake.call(&words, "");
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), "warning: cut\n1/1 addresses added.\n"));
    let (line, body) = fake.asked();
    assert_eq!(
        (line.as_str(), &body["operator"]["force"]),
        ("POST /v1/tables/web%2Feu%2Fbad", &false.into())
    );
    let outcome = fake.call(&["table", "bad", "add", "--force", "10.0.0.1"], "");
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(fake.asked().1["operator"]["force"], true);
    let fake = Fake::new("pfctl-enable", 200, json!({ "changed": true, "warning": "cut" }));
    let outcome = fake.call(&["pfctl", "-e", "--force"], "");
    assert_eq!((outcome.code, outcome.err.as_str()), (Some(0), "warning: cut\npf enabled\n"));
    let (line, body) = fake.asked();
    assert_eq!(
        (line.as_str(), &body["filtering"], &body["operator"]["force"]),
        ("POST /v1/filtering", &"on".into(), &true.into())
    );
}

#[test]
fn rollbacks_and_confirmations_name_the_revision() {
    let fake = Fake::new("rollback", 200, applied(None));
    let outcome = fake.call(&["rollback", "3"], "");
    assert_eq!(
        (outcome.code, outcome.out.as_str()),
        (Some(0), "revision 3: 2 rules: live as revision 7 (generation 9)\n")
    );
    assert_eq!(
        fake.asked(),
        (
            "POST /v1/rollback".into(),
            json!({ "revision": 3, "operator": { "sessions": [], "force": false } })
        )
    );
    let revision = json!({
        "number": 7, "created_unix_s": 0, "origin": "apply", "standing": "confirmed", "comment": "", "rules": 2
    });
    let fake = Fake::new("confirm", 200, revision);
    let outcome = fake.call(&["confirm"], "");
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), "revision 7 is confirmed\n"));
    assert_eq!(fake.asked().0, "POST /v1/confirm");
}

#[test]
fn revisions_are_listed() {
    let revisions = json!([
        { "number": 1, "created_unix_s": 0, "origin": "reload", "standing": "reverted", "comment": "", "rules": 2 },
        { "number": 12, "created_unix_s": 86_400, "origin": { "rollback": { "of": 1 } },
          "standing": { "pending": { "deadline_unix_ms": 5 } }, "comment": "late", "rules": 10_000 },
    ]);
    let fake = Fake::new("revisions", 200, revisions);
    assert_eq!(
        fake.call(&["revisions"], "").out,
        "    1  Thu Jan  1 00:00:00 1970       2 rules  reload, reverted\n\
        \x20  12  Fri Jan  2 00:00:00 1970   10000 rules  rollback of 1, awaits confirmation  late\n"
    );
    assert_eq!(fake.asked().0, "GET /v1/revisions");
    let one = json!({
        "number": 1, "created_unix_s": 0, "origin": "apply", "standing": "confirmed", "comment": "", "rules": 1,
        "sources": { "name": "pf.conf", "text": "pass\n" }
    });
    let fake = Fake::new("revision", 200, one);
    assert_eq!(fake.call(&["revisions", "1"], "").out, "pass\n");
    assert_eq!(fake.asked().0, "GET /v1/revisions/1");
}

#[test]
fn a_difference_reads_as_one() {
    let at = |number: usize, text: &str| json!({ "number": number, "identity": "0", "text": text });
    let difference = json!({
        "added": [at(4, "pass in")], "removed": [at(1, "block out")],
        "moved": [{ "live": at(0, "pass"), "candidate": at(2, "pass") }],
        "changed": [{ "live": at(3, "block label \"x\""), "candidate": at(3, "pass label \"x\"") }],
        "tables": [{ "name": "t", "change": "changed", "added": ["10.0.0.1"], "removed": ["10.0.0.2"] }],
        "options": [{ "name": "timeout tcp.first", "live": "120", "candidate": "60" }],
    });
    let fake = Fake::new("diff", 200, difference);
    let outcome = fake.call(&["diff", "-", "--interfaces", &fake.interfaces()], "pass\n");
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert_eq!(
        outcome.out,
        "-@1 block out\n+@4 pass in\n-@3 block label \"x\"\n+@3 pass label \"x\"\n @0 -> @2 pass\n table <t>\n-  10.0.0.2\n\
         +  10.0.0.1\n-set timeout tcp.first 120\n+set timeout tcp.first 60\n"
    );
    let nothing =
        json!({ "added": [], "removed": [], "moved": [], "changed": [], "tables": [], "options": [] });
    let fake = Fake::new("same", 200, nothing);
    let outcome = fake.call(&["diff", "-", "--interfaces", &fake.interfaces()], "pass\n");
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), ""));
}

#[test]
fn the_status_says_what_is_live() {
    let status = json!({
        "version": "1", "uptime_s": 5, "live": { "policy": "revision", "revision": 3, "generation": 4 },
        "pending": { "revision": 3, "left_s": 20 }, "last_apply_unix_s": 1, "apply_failures": 2,
        "problem": "the dataplane is away", "dataplane": null
    });
    let fake = Fake::new("status", 200, status);
    assert_eq!(
        fake.call(&["status"], "").out,
        "turnpike-control 1, up 5 s\nlive      revision 3\n\
         pending   revision 3: `tpctl confirm` within 20 s, or the rules before it return\n\
         failures  2 since the start\ndataplane the dataplane is away\n"
    );
    let json: Value = serde_json::from_str(&fake.call(&["show", "status", "--json"], "").out).expect("JSON");
    assert_eq!(json["pending"]["left_s"], 20);
}

#[test]
fn states_are_asked_for_by_filter() {
    let fake = Fake::new("states", 200, json!([]));
    let words = [
        "states",
        "--interface",
        "wan0",
        "--proto",
        "tcp",
        "--host",
        "10.0.0.0/8",
        "--port",
        "22",
        "--limit",
        "5",
    ];
    let outcome = fake.call(&words, "");
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(0), ""), "{}", outcome.err);
    assert_eq!(fake.asked().0, "GET /v1/states?interface=wan0&proto=6&host=10.0.0.0%2F8&port=22&limit=5");
    assert_eq!(fake.call(&["states", "--json"], "").out, "[]\n");
}

#[test]
fn times_and_numbers_are_understood_or_refused() {
    let fake = Fake::new("words", 200, applied(None));
    for words in [
        &["apply", "--confirm", "0", "-"][..],
        &["apply", "--confirm", "soon", "-"],
        &["apply", "--confirm", "-5s", "-"],
        &["apply", "--confirm", "9999999h", "-"],
        &["rollback"],
        &["rollback", "x"],
        &["states", "--proto", "bogus"],
        &["states", "--port", "65536"],
    ] {
        let outcome = fake.call(words, "pass\n");
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(2), ""), "{words:?}");
    }
    assert!(fake.asked.try_recv().is_err(), "nothing was asked");
}

#[test]
fn past_turnpike_control_nothing_is_taken_back_or_filtered() {
    let folder = Folder::new("control-direct");
    let socket = folder.0.join("none.sock").to_str().expect("plain characters").to_owned();
    let outcome = folder.call(&["--dataplane-socket", &socket, "apply", "--confirm", "60s", "-"], "pass\n");
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("only turnpike-control takes rules back"), "{}", outcome.err);
}

#[test]
fn routes_and_neighbours_are_listed_as_ip_does() {
    let hop = |via: Value, mac: Value, weight: u16, mtu: Value| json!({ "interface": "wan0", "via": via, "mac": mac, "weight": weight, "mtu": mtu });
    let two = json!({ "table": 0, "destination": "198.51.100.0/24", "kind": "forward", "next_hops": [
        hop("192.0.2.1".into(), "02:00:00:00:00:07".into(), 2, 1400.into()),
        hop("192.0.2.2".into(), Value::Null, 1, Value::Null),
    ] });
    let own = json!({ "destination": "192.0.2.254/32", "kind": "host", "next_hops": [] });
    let link = json!({ "table": 2, "destination": "2001:db8::/64", "kind": "forward", "next_hops": [hop(Value::Null, Value::Null, 1, Value::Null)] });
    let fake = Fake::new("routes", 200, json!([own, two, link]));
    assert_eq!(
        fake.call(&["show", "routes"], "").out,
        "192.0.2.254/32       host\n\
         198.51.100.0/24      via 192.0.2.1 dev wan0 lladdr 02:00:00:00:00:07 weight 2 mtu 1400\n\
        \x20                    via 192.0.2.2 dev wan0 weight 1\n\
         2001:db8::/64        dev wan0 table 2\n"
    );
    assert_eq!(fake.asked().0, "GET /v1/routes");
    let listed: Value =
        serde_json::from_str(&fake.call(&["show", "routes", "--json"], "").out).expect("JSON");
    assert_eq!(listed[1], two);

    let fake = Fake::new("route", 200, json!({ "address": "198.51.100.9", "route": two }));
    let outcome = fake.call(&["show", "route", "198.51.100.9"], "");
    assert_eq!((outcome.code, outcome.out.lines().count()), (Some(0), 2));
    assert_eq!(fake.asked().0, "GET /v1/routes/198.51.100.9/0");
    assert_eq!(fake.call(&["show", "route", "198.51.100.9", "--table", "2"], "").code, Some(0));
    assert_eq!(fake.asked().0, "GET /v1/routes/198.51.100.9/2");
    let fake = Fake::new("no-route", 200, json!({ "address": "2001:db8::9", "route": null }));
    let outcome = fake.call(&["show", "route", "2001:db8::9"], "");
    let expected = "2001:db8::9 has no route: its senders are told that it is unreachable\n";
    assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), expected));
    assert_eq!(fake.call(&["show", "route", "everywhere"], "").code, Some(2));

    let known = json!([{ "interface": "wan0", "address": "192.0.2.1", "mac": "02:00:00:00:00:07" }]);
    let fake = Fake::new("neighbors", 200, known);
    assert_eq!(fake.call(&["show", "neighbors"], "").out, "192.0.2.1 dev wan0 lladdr 02:00:00:00:00:07\n");
    assert_eq!(fake.asked().0, "GET /v1/neighbors");
}
