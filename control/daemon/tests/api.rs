//! The control socket under good and bad clients.
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and time")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use api::Filtering;
use api::control::{Operator, Problem, StateFilter};
use api::{ControlError, DropQuery};
use common::fake::{Fake, State, routes, source_nodes, state_view};
use common::{Daemon, Folder, refusal};
use proptest::prelude::*;
use ruleset::{Reason, RoutingTable, SourceSelector};

fn bed_with(state: State) -> (Folder, Fake, Daemon) {
    let folder = Folder::new();
    let fake = Fake::start_as(&folder.path("dataplane.sock"), state);
    let daemon = Daemon::start(&folder);
    daemon.wait_for("the dataplane", |status| status.live.generation() > 0);
    (folder, fake, daemon)
}

fn bed() -> (Folder, Fake, Daemon) {
    bed_with(State::default())
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The status of a raw answer, with its problem.
fn status_of(answer: &str) -> (u16, Problem) {
    let status =
        answer.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"));
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer:?}")))
}

#[test]
fn h02_the_socket_is_for_its_owner_and_group() {
    let (_folder, _fake, daemon) = bed();
    let metadata = std::fs::metadata(daemon.socket()).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[test]
fn routes_neighbours_and_mappings_are_the_dataplanes() {
    let (_folder, _fake, daemon) = bed();
    assert_eq!(daemon.control.routes().unwrap(), routes());
    assert_eq!(daemon.control.neighbors().unwrap(), []);
    let [mapping] = daemon.control.endpoint_mappings().unwrap()[..] else { panic!("the dataplane has one") };
    assert_eq!((mapping.outside.to_string().as_str(), mapping.states), ("192.0.2.1:50001", 3));
    assert_eq!(status_of(&daemon.raw(&post("/v1/mappings/endpoints", ""))).0, 405);
    let address = "192.0.2.77".parse().unwrap();
    let main = RoutingTable::MAIN;
    let found = daemon.control.route_to(address, main).unwrap();
    assert_eq!((found.address, found.route), (address, Some(routes().remove(0))));
    let second = daemon.control.route_to(address, RoutingTable(2)).unwrap();
    assert_eq!((second.table, second.route), (RoutingTable(2), Some(routes().remove(2))));
    assert_eq!(daemon.control.route_to("2001:db8::1".parse().unwrap(), main).unwrap().route, None);
    let answer = daemon.raw(b"GET /v1/routes/192.0.2.77 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for nowhere in ["192.0.2.77/", "192.0.2.77/256", "192.0.2.77/2/2"] {
        let answer = daemon.raw(format!("GET /v1/routes/{nowhere} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(status_of(&answer).0, 404, "{nowhere}");
    }
    let answer = daemon.raw(&post("/v1/routes/192.0.2.77", ""));
    assert_eq!(status_of(&answer).0, 405);
    let answer = daemon.raw(b"GET /v1/routes/everywhere HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status_of(&answer).0, 404);
}

#[test]
fn source_nodes_are_the_dataplanes_and_are_forgotten_there() {
    let (_folder, _fake, daemon) = bed();
    let control = &daemon.control;
    assert_eq!(control.source_nodes(false).unwrap(), source_nodes(false));
    assert_eq!(control.source_nodes(true).unwrap(), source_nodes(true));
    let of = |net: &str| SourceSelector { source: Some(net.parse().unwrap()), ..SourceSelector::default() };
    assert_eq!(control.forget_source_nodes(&of("10.0.0.3/32")).unwrap(), 1);
    assert_eq!(control.forget_source_nodes(&of("10.0.0.0/24")).unwrap(), 2);
    assert_eq!(control.forget_source_nodes(&of("10.9.0.0/24")).unwrap(), 0);
}

#[test]
fn the_status_tells_both_processes() {
    let (_folder, _fake, daemon) = bed();
    let status = daemon.status();
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.dataplane.unwrap().interfaces[0].name, "wan0");
    assert_eq!(status.problem, None);
    let drops = daemon.control.drops().unwrap();
    assert_eq!((drops.len(), drops[0].reasons[5].packets), (2, 5));
    let query = DropQuery { since_s: Some(7), reason: Some(Reason::StateMismatch) };
    let report = daemon.control.drop_report(&query).unwrap();
    assert_eq!((report.covered_s, report.interfaces), (7, drops));
    daemon.apply("block all\n").unwrap();
    let usage = common::wait("what the rule did", || {
        let usage = daemon.control.usage().unwrap().unwrap();
        if usage.generation == 2 { Ok(usage) } else { Err(format!("{usage:?}")) }
    });
    assert_eq!((usage.rules.len(), usage.rules[0].evaluations), (1, 100));
}

/// A reading serves everybody who asks within a moment, but never one who has just changed something.
#[test]
fn who_changes_something_and_looks_sees_it() {
    let (_folder, _fake, daemon) = bed();
    for filtering in [Filtering::Off, Filtering::On, Filtering::Off] {
        let before = daemon.status().dataplane.unwrap().filtering;
        assert!(daemon.control.switch(filtering, &Operator::default()).unwrap().changed);
        let after = daemon.status().dataplane.unwrap().filtering;
        assert_eq!((after, before != after), (filtering, true));
    }
}

/// The file's permissions keep strangers out already; this is the second lock.
#[test]
fn h02_a_user_who_is_not_of_the_group_is_refused() {
    let (folder, fake, daemon) = bed();
    let anyone = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut curl = Command::new("curl");
    curl.args(["-s", "-X", "POST", "--data", r#"{"sources":{"name":"x","text":"pass all"}}"#])
        .arg("--unix-socket")
        .arg(daemon.socket())
        .arg("http://x/v1/apply")
        // Not nobody: root's process has become that.
        .uid(65_533)
        .gid(65_533);
    anyone(&folder.0, 0o777);
    let kept_out = match curl.output() {
        Ok(output) => output,
        Err(error) => return eprintln!("SKIPPED: cannot run curl as another user: {error}"),
    };
    assert_eq!(kept_out.status.code(), Some(7), "it could connect");
    anyone(daemon.socket(), 0o666);
    let refused = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    assert!(refused.contains("as a member of the group turnpike"), "{refused}");
    assert_eq!(fake.commits(), 1);
    daemon.status();
}

#[test]
fn malformed_requests_are_told_what_is_wrong() {
    let (_folder, fake, daemon) = bed();
    let commits = fake.commits();
    let many = "x".repeat(1000);
    let cases: [(&str, Vec<u8>, u16, &str); 9] = [
        ("no JSON", post("/v1/apply", "pass all"), 400, "the body is not what this path takes"),
        ("a key too many", post("/v1/rollback", r#"{"revision":1,"force":true}"#), 400, "unknown field"),
        ("no body", post("/v1/rollback", ""), 400, "the body is not"),
        ("another version", b"GET /v2/status HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404, "/v1/"),
        ("no such path", post(&format!("/v1/{many}"), ""), 404, "no such path"),
        ("no number", b"GET /v1/revisions/x HTTP/1.1\r\nHost: x\r\n\r\n".into(), 404, "no such path"),
        ("another method", b"DELETE /v1/rules HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405, "GET"),
        ("getting a change", b"GET /v1/apply HTTP/1.1\r\nHost: x\r\n\r\n".into(), 405, "POST"),
        ("a filter", b"GET /v1/states?color=red HTTP/1.1\r\nHost: x\r\n\r\n".into(), 400, "`color`"),
    ];
    for (what, request, status, text) in cases {
        let (answered, problem) = status_of(&daemon.raw(&request));
        assert_eq!(answered, status, "{what}: {}", problem.error);
        assert!(problem.error.contains(text), "{what}: {}", problem.error);
    }
    assert_eq!(fake.commits(), commits);
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_sent() {
    let (_folder, _fake, daemon) = bed();
    let head = format!("POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
    let (status, problem) = status_of(&daemon.raw(head.as_bytes()));
    assert_eq!(status, 413, "{}", problem.error);
    // One that does not say how long it is, sent for ever.
    let mut stream = daemon.connect();
    stream.write_all(b"POST /v1/check HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let chunk = format!("100000\r\n{}\r\n", " ".repeat(1 << 20));
    let sent = (0..1024).take_while(|_| stream.write_all(chunk.as_bytes()).is_ok()).count();
    assert!(sent < 128, "{sent} MiB were taken");
    daemon.status();
}

#[test]
fn clients_that_say_nothing_keep_nobody_out() {
    let (_folder, _fake, daemon) = bed();
    let _silent: Vec<_> = (0..40).map(|_| daemon.connect()).collect();
    let mut slow = daemon.connect();
    slow.write_all(b"GET /v1/sta").unwrap();
    daemon.status();
    // Meanwhile its time was not over.
    slow.set_nonblocking(true).unwrap();
    assert_eq!(slow.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    slow.set_nonblocking(false).unwrap();
    // The head did not come in time.
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn many_clients_are_all_answered() {
    let (_folder, fake, daemon) = bed();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..200).map(|_| scope.spawn(|| daemon.control.status())).collect();
        for client in clients {
            assert_eq!(client.join().unwrap().unwrap().live.generation(), 1);
        }
    });
    assert!(fake.asked() < 200, "the dataplane was asked {} times", fake.asked());
}

#[test]
fn states_are_streamed_and_filtered() {
    let (_folder, _fake, daemon) = bed_with(State { states: 20_000, ..State::default() });
    let list = |filter: &StateFilter| {
        let mut states = Vec::new();
        let count = daemon.control.states(filter, |state| states.push(state)).unwrap();
        assert_eq!(count, states.len() as u64);
        states
    };
    let all = list(&StateFilter::default());
    assert_eq!(all.len(), 20_000);
    assert_eq!(all[12_345], state_view(12_345));
    assert_eq!(list(&StateFilter { limit: Some(3), ..StateFilter::default() }), all[..3]);
    assert_eq!(list(&StateFilter { limit: Some(0), ..StateFilter::default() }), []);
    let udp = StateFilter { proto: Some(17), host: Some("10.0.1.0/24".into()), ..StateFilter::default() };
    assert_eq!(list(&udp).len(), 128);
    assert_eq!(list(&StateFilter { host: Some("10.0.0.7".into()), ..StateFilter::default() }), all[7..8]);
    assert_eq!(list(&StateFilter { port: Some(80), ..StateFilter::default() }), []);
    assert_eq!(list(&StateFilter { interface: Some("wan0 ü/%".into()), ..StateFilter::default() }), []);
    let odd = StateFilter { host: Some("nowhere".into()), ..StateFilter::default() };
    let refused = refusal(daemon.control.states(&odd, |_| panic!("there is none")));
    assert_eq!((refused.0, refused.1.contains("must be an address")), (400, true));
}

#[test]
fn no_states_are_an_empty_array() {
    let (_folder, _fake, daemon) = bed();
    assert_eq!(daemon.control.states(&StateFilter::default(), |_| panic!("there is none")).unwrap(), 0);
}

#[test]
fn a_listing_that_breaks_off_is_not_taken_for_the_whole() {
    let state = State { states: 5000, break_after: Some(2048), ..State::default() };
    let (_folder, _fake, daemon) = bed_with(state);
    let mut seen = 0;
    let error = daemon.control.states(&StateFilter::default(), |_| seen += 1).unwrap_err();
    assert!(matches!(error, ControlError::Talk(_) | ControlError::Unexpected(_)), "{error}");
    assert!(seen < 5000);
    daemon.wait_for_log("a listing of states was cut short");
}

#[test]
fn a_reader_who_stands_still_is_left_behind() {
    let (_folder, _fake, daemon) = bed_with(State { states: 100_000, ..State::default() });
    let mut still: Vec<_> = (0..4).map(|_| daemon.connect()).collect();
    for stream in &mut still {
        stream.write_all(b"GET /v1/states HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    for stream in &mut still {
        let mut begun = [0; 12];
        stream.read_exact(&mut begun).unwrap();
        assert_eq!(&begun, b"HTTP/1.1 200");
    }
    // All places are taken: the next is told so at once, everything else goes on.
    let one = StateFilter { limit: Some(1), ..StateFilter::default() };
    assert_eq!(refusal(daemon.control.states(&one, |_| ())).0, 503);
    daemon.apply("block all\n").unwrap();
    common::wait("the places to be free", || daemon.control.states(&one, |_| ()));
    // One was left behind at least, which its answer shows; one that is read in time is given everything.
    let mut cut_off = 0;
    for stream in &mut still {
        let mut got = Vec::new();
        let _ = stream.read_to_end(&mut got);
        match got.ends_with(b"\r\n0\r\n\r\n") {
            true => assert!(
                String::from_utf8_lossy(&got).contains("\"id\":99999"),
                "a part was sent as the whole"
            ),
            false => cut_off += 1,
        }
    }
    assert!(cut_off > 0);
}

#[test]
fn a_large_ruleset_comes_back_whole() {
    let (_folder, fake, daemon) = bed();
    let rule = |n: u32| format!("pass in proto tcp from 10.{}.{}.0/24 to port {}\n", n >> 8, n & 255, 1 + n);
    let text: String = (0..10_000).map(rule).collect();
    let applied = daemon.apply(&text).unwrap();
    assert_eq!(applied.rules, 10_000);
    let listing = daemon.control.rules().unwrap().unwrap();
    assert_eq!((listing.text.len(), Some(&listing.ruleset)), (10_000, fake.live().as_ref()));
}

#[test]
fn without_a_dataplane_everything_says_so() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    let control = &daemon.control;
    daemon.wait_for("the problem", |status| status.problem.is_some());
    assert!(daemon.status().dataplane.is_none());
    assert_eq!(refusal(control.drops()).0, 503);
    assert_eq!(refusal(control.rules()).0, 503);
    assert_eq!(refusal(control.diff(&common::sources("pass\n"))).0, 503);
    assert_eq!(refusal(control.states(&StateFilter::default(), |_| ())).0, 503);
    let (status, why) = refusal(daemon.apply("pass\n"));
    assert_eq!((status, why.contains("start turnpike-dataplane")), (503, true), "{why}");
    assert_eq!(control.revisions().unwrap(), []);
    assert!(control.check(&common::sources("pass\n")).unwrap().valid);
}

#[test]
fn garbage_is_hung_up_on_and_changes_nothing() {
    let (_folder, fake, daemon) = bed();
    let commits = fake.commits();
    let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(bytes in proptest::collection::vec(any::<u8>(), 0..2000), posting in any::<bool>())| {
        let mut stream = daemon.connect();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        if posting {
            let _ = stream.write_all(b"POST /v1/apply HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        }
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        prop_assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    });
    assert_eq!(fake.commits(), commits);
    daemon.status();
}
