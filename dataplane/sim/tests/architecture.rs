//! The shape of the workspace, held by a test: who may use whom, where `unsafe` may stand, how long a file may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every crate of the workspace with the workspace crates that it may depend on, tests included.
const MAY_USE: [(&str, &[&str]); 16] = [
    ("wire", &[]),
    ("ruleset", &["wire"]),
    ("engine", &["wire", "ruleset"]),
    ("sim", &["wire", "ruleset", "engine", "pfconf"]),
    ("turnpike-dataplane", &["wire", "ruleset", "engine", "api", "dpdk", "shm", "confine"]),
    ("pfconf", &["wire", "ruleset"]),
    ("api", &["ruleset"]),
    // The engine for `tpctl test` alone: it runs the evaluator, never a copy of it.
    ("tpctl", &["wire", "ruleset", "engine", "pfconf", "api"]),
    ("turnpike-control", &["wire", "ruleset", "pfconf", "api", "shm", "confine"]),
    ("dpdk-sys", &[]),
    ("dpdk", &["dpdk-sys"]),
    ("shm", &[]),
    ("confine", &[]),
    ("e2e", &["wire", "api"]),
    ("perf", &["wire", "ruleset", "engine", "pfconf", "dpdk", "turnpike-dataplane"]),
    ("tgen", &["wire", "dpdk"]),
];

/// What the pure crates must never reach, directly: clocks, threads, sockets and files are the shells'.
const SHELL_ONLY: [&str; 6] =
    ["std::fs", "std::process", "std::thread", "std::net::Tcp", "std::net::Udp", "SystemTime"];

const LINES_MAX: usize = 600;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> serde_json::Value {
    let done = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(top())
        .output()
        .expect("cargo runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("cargo metadata prints JSON")
}

#[test]
fn crates_use_only_what_they_may() {
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        MAY_USE.iter().map(|(name, uses)| (*name, uses.iter().copied().collect())).collect();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let names: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "a crate is missing from the table, or the table from the crates"
    );
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let uses = package["dependencies"].as_array().expect("dependencies");
        let uses: BTreeSet<&str> = uses.iter().filter_map(|other| other["name"].as_str()).collect();
        // A crate may name itself, to have its own features in its tests.
        let ours = uses.into_iter().filter(|other| names.contains(other) && *other != name);
        let beyond: Vec<&str> = ours.filter(|other| !allowed[name].contains(other)).collect();
        assert!(beyond.is_empty(), "{name} may not use {beyond:?}");
    }
}

/// Every Rust file of the workspace, relative to its top.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = ["dataplane", "control", "ffi", "deploy", "perf"].map(|name| top().join(name)).to_vec();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.expect("a readable folder").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&entry).expect("a readable file");
                let name = entry.strip_prefix(top()).expect("below the top").to_string_lossy().into_owned();
                found.push((name, text));
            }
        }
    }
    assert!(found.len() > 50, "the sources were not found");
    found
}

#[test]
fn unsafe_stands_in_ffi_and_in_the_intrinsics_only() {
    for (name, text) in sources() {
        let allowed = name.starts_with("ffi/") || name == "dataplane/engine/src/intrinsics.rs";
        let found = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|form| code.contains(form))
                && !code.contains('"')
        });
        assert!(allowed || !found, "{name} has unsafe code");
    }
}

#[test]
fn the_pure_crates_reach_no_clock_no_thread_no_file_and_no_socket() {
    for (name, text) in sources() {
        let pure = ["wire", "ruleset", "engine"]
            .iter()
            .any(|name_of| name.starts_with(&format!("dataplane/{name_of}/src/")));
        // Unit tests stand behind the code, and may do what tests do.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for word in SHELL_ONLY.iter().filter(|_| pure) {
            assert!(!code.contains(word), "{name} speaks of {word}");
        }
    }
}

/// Each requirement that the page lists as met, be it in part, has a test, and that is there.
#[test]
fn the_page_on_translation_names_tests_that_exist() {
    let page = std::fs::read_to_string(top().join("deploy/packaging/man/turnpike-nat.7")).expect("the page");
    let sources = sources();
    let tests: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|behind| behind.split_once('(').map(|(name, _)| name))
        .collect();
    let mut rows = Vec::new();
    for part in page.split("\n.Sh RFC ").skip(1) {
        let rfc = &part[..4];
        for row in part.split("\n.It ").skip(1) {
            let (head, text) = row.split_once('\n').expect("a text");
            let (number, verdict) = head.split_once(": ").expect("a verdict");
            assert!(["yes", "no", "partly", "with rfc-nat"].contains(&verdict), "{rfc} {head}");
            let named: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".Pq Li ")).collect();
            assert_eq!(named.is_empty(), verdict == "no", "{rfc} {number}: {named:?}");
            let missing: Vec<_> = named.iter().filter(|name| !tests.contains(**name)).collect();
            assert!(missing.is_empty(), "{rfc} {number}: there is no test {missing:?}");
            rows.push(format!("{rfc} {number}"));
        }
    }
    for (rfc, last) in [("4787", 14), ("5382", 10), ("5508", 11)] {
        let missing = (1..=last).map(|number| format!("{rfc} REQ-{number}")).find(|row| !rows.contains(row));
        assert_eq!(missing, None);
    }
    assert_eq!((2..=13).map(|section| format!("7857 {section}")).find(|row| !rows.contains(row)), None);
}

#[test]
fn no_file_is_longer_than_a_newcomer_reads() {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines: {long:?}");
}

#[test]
fn the_control_plane_runs_the_engine_for_tests_of_rules_alone() {
    for (name, text) in sources() {
        let asks = text.contains("engine::") && name.starts_with("control/");
        assert!(!asks || name.starts_with("control/ctl/src/test/"), "{name} uses the engine");
    }
}
