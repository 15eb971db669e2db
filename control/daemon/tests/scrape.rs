//! What Prometheus reads: well formed, complete, bounded.
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and time")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use common::fake::{Fake, State};
use common::{Daemon, Folder};
use turnpike_control::metrics::catalogue::{self, Kind, Metric};

const RULES: &str = "\
table <friends> { 192.0.2.1, 192.0.2.2, 198.51.100.0/24 }
block all label \"default\"
pass in proto tcp from <friends> to port 22 label \"ssh\"
pass in proto tcp to port { 80, 443 } label \"web\"
pass in proto tcp from 192.0.2.7 to port 25 label \"mail $srcaddr\"
";

fn bed() -> (Folder, Fake, Daemon) {
    bed_with("")
}

fn bed_with(lines: &str) -> (Folder, Fake, Daemon) {
    let folder = Folder::new();
    let fake = Fake::start_as(&folder.path("dataplane.sock"), State { states: 12, ..State::default() });
    let daemon = Daemon::start_with(&folder, lines);
    daemon.wait_for("the dataplane", |status| status.live.generation() > 0);
    (folder, fake, daemon)
}

/// Waits until a reading of the live rules is served.
fn metrics(daemon: &Daemon) -> String {
    common::wait("the rules' series", || {
        let (status, text) = daemon.scrape("/metrics");
        assert_eq!(status, 200);
        if text.contains("turnpike_rule_packets_total{") { Ok(text) } else { Err(text) }
    })
}

fn value(text: &str, series: &str) -> Option<f64> {
    let line =
        text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn every_metric_is_there_with_its_type_and_help() {
    // Nobody is there, whom nobody would wait for.
    let (_folder, _fake, daemon) = bed_with("[ipfix]\ncollector = \"127.0.0.1:9\"");
    daemon.apply(RULES).unwrap();
    let text = metrics(&daemon);
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE turnpike_")?.split_once(' ')).collect();
    assert_eq!(types, Metric::ALL.iter().map(|metric| (metric.name(), metric.kind().name())).collect());
    let helped: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP turnpike_")?.split_once(' ')).collect();
    assert_eq!(helped, Metric::ALL.iter().map(|metric| (metric.name(), metric.help())).collect());
    for metric in Metric::ALL {
        assert_eq!(metric.name().ends_with("_total"), metric.kind() == Kind::Counter, "{metric:?}");
        assert!(metric.help().ends_with('.'), "{metric:?}");
    }
}

#[test]
fn the_page_of_the_metrics_is_the_catalogue() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/packaging/man/turnpike-metrics.7");
    let text = std::fs::read_to_string(page).unwrap();
    let (before, rest) = text.split_once(".Bl -tag").expect("a list");
    let (_, behind) = rest.split_once(".El\n").expect("the list's end");
    let wanted = format!("{before}{}{behind}", catalogue::manual());
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        std::fs::write(page, &wanted).unwrap();
    }
    assert_eq!(text, wanted, "run the test with UPDATE_MANUAL=1 to write the page, then again without");
}

#[test]
fn values_are_the_dataplanes() {
    let (_folder, _fake, daemon) = bed();
    daemon.apply(RULES).unwrap();
    let text = metrics(&daemon);
    let of = |series: &str| {
        value(&text, &format!("turnpike_{series}")).unwrap_or_else(|| panic!("{series} in {text}"))
    };
    assert_eq!(of("rx_packets_total{interface=\"wan0\"}"), 1000.0);
    assert_eq!(of("drops_total{reason=\"short\",interface=\"lan0\"}"), 3.0);
    assert_eq!(of("states"), 12.0);
    assert_eq!(of("source_nodes_limit"), 10_000.0);
    assert_eq!(of("limit_hits_total{limit=\"max-src-conn-rate\"}"), 4.0);
    assert_eq!(of("worker_busy_seconds_total{worker=\"0\"}"), 1.5);
    assert_eq!(of("mbufs_in_use{pool=\"rx\"}"), 512.0);
    assert_eq!(of("created_packets_total{kind=\"icmp\"}"), 9.0);
    assert_eq!(of("device_rx_missed_packets_total{interface=\"lan0\"}"), 4.0);
    assert_eq!(of("link_speed_bytes_per_second{interface=\"wan0\"}"), 1.25e9);
    assert_eq!(of("worker_stalls_total{worker=\"0\"}"), 2.0);
    assert_eq!(of("handed_off_packets_total{interface=\"wan0\"}"), 250.0);
    assert_eq!(of("answers_withheld_total{worker=\"0\"}"), 7.0);
    assert_eq!(of("flows_placed_total{worker=\"0\"}"), 6.0);
    assert_eq!(of("flows_aliased{worker=\"0\"}"), 5.0);
    assert_eq!(of("rx_burst_size_bucket{le=\"4\"}"), 3.0, "one under each of 1, 2 and 4");
    assert_eq!(of("rx_burst_size_bucket{le=\"+Inf\"}"), 9.0);
    assert_eq!((of("rx_burst_size_count"), of("rx_burst_size_sum")), (9.0, 300.0));
    assert_eq!((of("latency_seconds_bucket{le=\"0.001\"}"), of("latency_seconds_sum")), (10.0, 2.0));
    assert_eq!(of("table_addresses{table=\"friends\"}"), 3.0);
    assert_eq!(of("nat_ports_in_use{address=\"192.0.2.2\"}"), 42.0, "of both protocols");
    assert_eq!((of("nat_ports_in_use{address=\"192.0.2.1\"}"), of("nat_series_truncated")), (1.0, 0.0));
    assert_eq!(of("ruleset_generation"), 2.0);
    assert_eq!(of("dataplane_up"), 1.0);
    // Both rules of the label `web`, numbers 2 and 3.
    assert_eq!(of("rule_packets_total{rule=\"web\",anchor=\"\",action=\"pass\"}"), 12.0 + 13.0);
}

#[test]
fn promtool_finds_nothing_wrong() {
    let (_folder, _fake, daemon) = bed();
    daemon.apply(RULES).unwrap();
    let text = metrics(&daemon);
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = promtool else {
        eprintln!("SKIPPED: promtool is not installed (Debian package prometheus)");
        return;
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    assert!(checked.status.success(), "{}\n{text}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn no_label_carries_an_address_but_of_the_firewall() {
    let (_folder, _fake, daemon) = bed();
    daemon.apply(RULES).unwrap();
    let text = metrics(&daemon);
    let quoted = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.starts_with("turnpike_nat_ports_in_use"))
        .flat_map(|line| line.split('"').skip(1).step_by(2));
    for value in quoted {
        let words = value.split([' ', '/', '%']);
        for word in words {
            assert!(word.parse::<IpAddr>().is_err(), "{value:?} carries an address");
        }
    }
    assert!(!text.contains("mail"), "its label names an address");
}

#[test]
fn f12_series_of_rules_are_capped() {
    let (_folder, _fake, daemon) = bed_with("metrics_rules = 3");
    let text: String = (0..10).map(|n| format!("pass in proto tcp to port {}\n", 1000 + n)).collect();
    daemon.apply(&text).unwrap();
    let text = metrics(&daemon);
    let series = text.lines().filter(|line| line.starts_with("turnpike_rule_packets_total{")).count();
    assert_eq!(series, 3);
    assert_eq!(value(&text, "turnpike_rule_series_truncated"), Some(7.0));
}

#[test]
fn series_of_addresses_are_capped() {
    let (_folder, _fake, daemon) = bed_with("metrics_rules = 1");
    daemon.apply(RULES).unwrap();
    let text = metrics(&daemon);
    assert_eq!(value(&text, "turnpike_nat_ports_in_use{address=\"192.0.2.2\"}"), Some(42.0), "the busiest");
    assert_eq!(value(&text, "turnpike_nat_ports_in_use{address=\"192.0.2.1\"}"), None);
    assert_eq!(value(&text, "turnpike_nat_series_truncated"), Some(1.0));
}

#[test]
fn a_rule_keeps_its_series_when_others_are_inserted_before_it() {
    let (_folder, _fake, daemon) = bed();
    let series = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| line.starts_with("turnpike_rule_packets_total{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    daemon.apply("pass in proto tcp to port 22\n").unwrap();
    let before = series(&metrics(&daemon));
    daemon.apply("block all\npass in proto tcp to port 22\n").unwrap();
    let after = common::wait("both rules", || {
        let now = series(&metrics(&daemon));
        if now.len() == 2 { Ok(now) } else { Err(format!("{now:?}")) }
    });
    assert!(after.is_superset(&before), "{before:?} {after:?}");
}

#[test]
fn without_a_dataplane_its_metrics_are_missing_and_the_rest_is_there() {
    let folder = Folder::new();
    let daemon = Daemon::start(&folder);
    let (status, text) = daemon.scrape("/metrics");
    assert_eq!((status, value(&text, "turnpike_dataplane_up")), (200, Some(0.0)));
    assert!(!text.contains("turnpike_rx_packets_total"));
    assert_eq!(
        (daemon.scrape("/healthz").0, daemon.scrape("/readyz").0, daemon.scrape("/").0),
        (200, 503, 404)
    );
}

#[test]
fn readiness_names_what_is_missing_in_text_and_json() {
    let (_folder, fake, daemon) = bed();
    let ready = |accept: &str| daemon.scrape_as("/readyz", accept);
    let text = common::wait("readiness", || match ready("*/*") {
        (200, text) => Ok(text),
        (_, text) => Err(text),
    });
    assert_eq!(text, "ok: dataplane: it answers\nok: rules: generation 1 is live\nok: workers: 1 advance\n");

    fake.state().stalled = true;
    let text = common::wait("a stalled worker to show", || match ready("application/json") {
        (503, text) => Ok(text),
        (_, text) => Err(text),
    });
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(told["ready"], false, "{text}");
    let workers = &told["conditions"][2];
    assert_eq!((&workers["name"], &workers["ok"]), (&"workers".into(), &false.into()));
    assert_eq!(workers["reason"], "of 1, these do not come back: 0");
    assert_eq!((&told["conditions"][0]["ok"], &told["conditions"][1]["ok"]), (&true.into(), &true.into()));

    drop(fake);
    let text = common::wait("the dataplane to be missed", || match ready("*/*") {
        (503, text) if text.contains("not ready: dataplane: ") => Ok(text),
        (_, text) => Err(text),
    });
    assert!(text.contains("not ready: workers: nothing is known of them"), "{text}");
    assert_eq!(daemon.scrape("/healthz"), (200, "ok\n".into()), "the process lives all the same");
}

#[test]
fn failures_are_counted() {
    let (_folder, _fake, daemon) = bed();
    daemon.apply("nonsense\n").unwrap_err();
    let (_, text) = daemon.scrape("/metrics");
    assert_eq!(value(&text, "turnpike_ruleset_apply_failures_total"), Some(1.0));
}

#[test]
fn f12_a_thousand_scrapes_at_once_ask_the_dataplane_a_few_times() {
    let (_folder, fake, daemon) = bed();
    daemon.apply(RULES).unwrap();
    metrics(&daemon);
    let asked = fake.asked();
    // All are connected before the first has asked.
    let mut streams: Vec<TcpStream> =
        (0..1000).map(|_| TcpStream::connect(&daemon.metrics).unwrap()).collect();
    for stream in &mut streams {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{number}: {answer:?}");
        assert!(answer.contains("turnpike_states 12\n"));
    }
    // Four a second for the scrapes, one a second for the heartbeat; if each had asked, it would be more than a thousand.
    let more = fake.asked() - asked;
    assert!(more < 500, "asked {more} times");
}

#[test]
fn f12_readers_that_stand_still_are_cut_off() {
    let (_folder, _fake, daemon) = bed();
    let still: Vec<TcpStream> = (0..300).map(|_| TcpStream::connect(&daemon.metrics).unwrap()).collect();
    let mut half = TcpStream::connect(&daemon.metrics).unwrap();
    half.write_all(b"GET /metr").unwrap();
    // Every place is taken by somebody who says nothing; they are gone after the time that a head may take.
    let scraped = thread::scope(|scope| scope.spawn(|| daemon.scrape("/metrics").0).join().unwrap());
    assert_eq!(scraped, 200);
    drop(still);
    assert!(daemon.status().live.generation() > 0);
}

#[test]
fn f12_a_long_request_is_refused() {
    let (_folder, _fake, daemon) = bed();
    let mut stream = TcpStream::connect(&daemon.metrics).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let megabyte = "x".repeat(1 << 20);
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: ");
    let sent = (0..10).take_while(|_| stream.write_all(megabyte.as_bytes()).is_ok()).count();
    assert!(sent < 10, "ten megabytes of head were taken");
    let mut posting = TcpStream::connect(&daemon.metrics).unwrap();
    posting.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    posting.write_all(b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    posting.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 405");
    assert_eq!(daemon.scrape("/healthz").0, 200);
}

#[test]
fn the_log_is_json_a_line_if_asked_for() {
    let folder = Folder::new();
    let daemon = Daemon::start_logging(&folder, "", "json");
    daemon.wait_for_log("the dataplane is away");
    for line in daemon.log().lines() {
        let told: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(told["timestamp"].is_string() && told["message"].is_string(), "{line}");
        assert!(["INFO", "WARN"].contains(&told["level"].as_str().unwrap()), "{line}");
    }
}
