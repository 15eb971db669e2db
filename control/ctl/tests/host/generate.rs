//! The manual pages and completions that a package carries.

use std::path::Path;
use std::process::Command;

use crate::machine::run;

#[test]
fn every_verb_has_a_manual_page_and_is_completed() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    let _ = std::fs::remove_dir_all(&folder);
    for what in ["man", "completions"] {
        let tpctl = || Command::new(env!("CARGO_BIN_EXE_tpctl"));
        assert_eq!(run(tpctl().args(["generate", what]).arg(&folder)).code, Some(0));
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect(name);
    let verbs = ["check", "apply", "nic-bind", "doctor"];
    for verb in verbs {
        assert!(read(&format!("tpctl-{verb}.1")).contains(".SH SYNOPSIS"), "{verb}");
    }
    assert!(!folder.join("tpctl-generate.1").exists(), "a hidden verb has no page");
    for name in ["tpctl.bash", "_tpctl", "tpctl.fish"] {
        let text = read(name);
        assert!(["check", "apply", "nic", "doctor"].iter().all(|verb| text.contains(verb)), "{name}");
    }
    std::fs::remove_dir_all(&folder).expect("it is ours");
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    let outcome = run(Command::new(env!("CARGO_BIN_EXE_tpctl")).args(["generate", "man", "/dev/null/here"]));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.err.contains("cannot write to /dev/null/here"), "{}", outcome.err);
}
