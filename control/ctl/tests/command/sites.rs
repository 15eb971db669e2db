//! Rulesets in the style of real sites, each held to its expectations by the engine (deploy/samples/sites).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::folder::run;

/// Where the samples are, and the files that they name.
fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/samples/sites")
}

/// tpctl where the samples are.
fn tpctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tpctl"));
    command.current_dir(place());
    command
}

/// The files of the samples that end like this.
fn samples(extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place()).expect("the samples are there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

#[test]
fn every_site_does_with_packets_what_it_says() {
    let rulesets = samples("conf");
    assert!(rulesets.len() >= 50, "{rulesets:?}");
    for rules in rulesets {
        let cases = rules.with_extension("toml");
        let text =
            std::fs::read_to_string(&cases).unwrap_or_else(|error| panic!("{}: {error}", cases.display()));
        for verdict in ["\"pass\"", "\"block\""] {
            assert!(text.contains(verdict), "{}: nothing is expected to {verdict}", cases.display());
        }
        let held = run(tpctl().arg("test").arg("--cases").arg(&cases), "");
        assert_eq!(held.code, Some(0), "{}{}", held.out, held.err);
    }
}

#[test]
fn every_site_prints_as_it_was_read() {
    for rules in samples("conf") {
        let interfaces = rules.with_extension("json");
        let none = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-interfaces.json");
        std::fs::write(&none, "[]").expect("writable");
        let machine = if interfaces.exists() { &interfaces } else { &none };
        let print = |file: &Path, text: &str| {
            let mut command = tpctl();
            command.args(["pfctl", "-o", "none", "-nvf"]).arg(file).arg("--interfaces").arg(machine);
            let printed = run(&mut command, text);
            assert_eq!(printed.code, Some(0), "{}: {}", rules.display(), printed.err);
            printed.out
        };
        let first = print(&rules, "");
        assert_eq!(print(Path::new("-"), &first), first, "{}", rules.display());
    }
}

#[test]
fn nothing_is_said_of_sites_that_are_as_they_should_be() {
    let folder = crate::folder::Folder::new("sites-lint");
    let none = folder.write("none.json", "[]");
    for rules in samples("conf") {
        let interfaces = rules.with_extension("json");
        let machine = if interfaces.exists() { interfaces } else { none.clone().into() };
        let mut command = tpctl();
        let checked = run(command.arg("check").arg(&rules).arg("--interfaces").arg(&machine), "");
        assert_eq!((checked.code, checked.err.as_str()), (Some(0), ""), "{}", rules.display());
    }
    let odd = folder.write("odd.conf", "pass in proto tcp to port 22\nblock in proto tcp\n");
    let checked = folder.call(&["check", &odd], "");
    assert_eq!(checked.code, Some(0), "warnings keep nothing from being loaded");
    assert!(checked.err.contains("warning") && checked.err.contains("never decides"), "{}", checked.err);
}

/// The ruleset as a value, without the lines that its rules stood in.
fn without_lines(json: &str) -> serde_json::Value {
    let mut ruleset: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for rule in ruleset["rules"].as_array_mut().expect("rules") {
        rule["source"].take();
    }
    ruleset
}

#[test]
fn rules_become_json_and_the_same_rules_again() {
    let folder = crate::folder::Folder::new("sites-json");
    let none = folder.write("none.json", "[]");
    for rules in samples("conf") {
        let interfaces = rules.with_extension("json");
        let machine = if interfaces.exists() { interfaces } else { none.clone().into() };
        let convert = |to: &str, file: &Path| {
            let mut command = tpctl();
            command.args(["convert", "--to", to]).arg(file).arg("--interfaces").arg(&machine);
            let done = run(&mut command, "");
            assert_eq!(done.code, Some(0), "{}: {}", rules.display(), done.err);
            done.out
        };
        let json = convert("json", &rules);
        let kept = folder.write("ruleset.json", &json);
        assert_eq!(convert("json", Path::new(&kept)), json, "{}", rules.display());
        let text = folder.write("again.conf", &convert("openbsd", Path::new(&kept)));
        assert_eq!(
            without_lines(&convert("json", Path::new(&text))),
            without_lines(&json),
            "{}",
            rules.display()
        );
    }
    let broken = folder.write("broken.json", "{\"rules\": 7}");
    assert_eq!(folder.call(&["convert", "--to", "openbsd", &broken], "").code, Some(1));
}
