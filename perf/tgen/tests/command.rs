//! The program on a cable: two ends of a memif in one process, which need no privilege and no device.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder that is this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tgen-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    folder
}

fn tgen(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_turnpike-tgen")).args(words).output().expect("it starts")
}

/// Runs it on a cable: its exit code, what it said, and its report.
fn on_cable(name: &str, words: &[&str]) -> (Option<i32>, String, Value) {
    let folder = scratch(name);
    let ran = on_cable_in(&folder, words);
    std::fs::remove_dir_all(&folder).ok();
    ran
}

fn on_cable_in(folder: &Path, words: &[&str]) -> (Option<i32>, String, Value) {
    let socket = folder.join("cable");
    let end = |number: u8, role: &str| {
        format!("net_memif{number},role={role},id=0,socket-abstract=no,socket={},rsize=11", socket.display())
    };
    let report = folder.join("report.json");
    let (client, server) = (end(0, "server"), end(1, "client"));
    let mut all = words.to_vec();
    all.extend(["--direct", "--client", &client, "--server", &server]);
    all.extend(["--json", report.to_str().expect("a plain path")]);
    let output = tgen(&all);
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let report = std::fs::read_to_string(&report).ok().and_then(|text| serde_json::from_str(&text).ok());
    (output.status.code(), said, report.unwrap_or(Value::Null))
}

#[test]
fn a_cable_loses_nothing() {
    for (profile, rate) in [("imix", "5k"), ("http-like", "200")] {
        let (code, said, report) =
            on_cable(profile, &["run", "--profile", profile, "--rate", rate, "--seconds", "0.5"]);
        assert_eq!(code, Some(0), "{said}");
        for way in ["clients_to_servers", "servers_to_clients"] {
            let sent = report[way]["sent"].as_u64().expect("a count");
            assert!(sent > 0 && report[way]["received"] == sent && report[way]["lost"] == 0, "{report:#}");
        }
        assert!(said.contains("clients to servers"), "{said}");
    }
}

#[test]
fn a_cable_can_be_used_again() {
    let folder = scratch("again");
    for _ in 0..2 {
        let (code, said, _) =
            on_cable_in(&folder, &["run", "--profile", "udp-64", "--rate", "1k", "--seconds", "0.1"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(
            folder.join("cable").exists(),
            "the driver removes its socket itself: nothing is tested here"
        );
    }
    std::fs::remove_dir_all(&folder).ok();
}

#[test]
fn a_search_on_a_cable_ends_with_what_was_tried() {
    let words = ["mlr", "--profile", "udp-64", "--max-rate", "2k", "--initial", "0.1", "--seconds", "0.2"];
    let search = || on_cable("mlr", &[&words[..], &["--sum", "0.4", "--precision", "20"]].concat());
    // A machine that is busy with other things has frames lost, as a device under test may.
    let (code, said, report) =
        (0..2).map(|_| search()).find(|(code, ..)| *code == Some(0)).unwrap_or_else(search);
    assert_eq!(code, Some(0), "{said}");
    let goals = report["found"]["goals"].as_array().expect("goals");
    assert_eq!(goals.len(), 2);
    for goal in goals {
        assert!(goal["complete"] == true && goal["lower"].as_f64().is_some_and(|lower| lower <= 2_000.0));
    }
    assert!(said.contains("NDR 0 %") && said.contains("PDR 0.5 %"), "{said}");
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let refused = |words: &[&str], code: i32, told: &str| {
        let output = tgen(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(told), "{words:?}: {said}");
    };
    let run = ["run", "--rate", "1k", "--direct", "--client", "net_null0"];
    let with = |more: &[&'static str]| [&run[..], more].concat();
    refused(&with(&["--server", "net_null0"]), 1, "cannot be both ports");
    refused(&with(&["--server", "net_nothing0"]), 1, "cannot attach device net_nothing0");
    refused(&with(&["--server", "0000:7f:1f.7"]), 1, "cannot attach device 0000:7f:1f.7");
    refused(&with(&["--server", "net_null1", "--profile", "none"]), 1, "neither a profile's name");
    refused(&with(&["--server", "net_null1", "--lcores", "4095"]), 1, "CPU 4095 is not available");
    refused(&with(&["--server", "net_null1", "--client-peer", "1:2"]), 2, "no Ethernet address");
    let peer = ["--server", "net_null1", "--client-peer", "02:00:00:00:00:01"];
    refused(&with(&peer), 2, "cannot be used with");
    refused(&["run", "--rate", "fast", "--client", "net_null0", "--server", "net_null1"], 2, "is no number");
    // Nothing comes back from these: packets are lost, and the exit code says so.
    let lost = tgen(&with(&["--server", "net_null1,no-rx=1", "--seconds", "0.1", "--settle", "0.1"]));
    assert_eq!(lost.status.code(), Some(3), "{}", String::from_utf8_lossy(&lost.stderr));
}

#[test]
fn every_profile_is_listed() {
    let listed = String::from_utf8_lossy(&tgen(&["profiles"]).stdout).into_owned();
    for (name, _) in tgen::profile::BUILT_IN {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{name}: {listed}");
    }
}
