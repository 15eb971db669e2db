//! The commands as an operator meets them: what they print, how they end, and that they leave nothing behind.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use e2e::{Lab, Output, PATIENCE, program, run, scratch, wait_until};

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const BED: &str = "demo";

/// There is one demonstration, and what it leaves behind is asked of the whole machine: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program and returns what it said on both outputs.
fn said(command: &mut Command) -> Result<Output> {
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let text = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok(Output { code: done.status.code(), text })
}

/// `deploy/run`, building where these tests were built.
fn deploy_run(words: &[&str]) -> Result<Output> {
    let built = program("tpctl")?;
    let target = built.ancestors().nth(2).context("no folder of built programs")?;
    said(Command::new(format!("{TOP}/deploy/run")).args(words).env("CARGO_TARGET_DIR", target))
}

/// What a demonstration could leave behind.
fn remains() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let namespaces = run("ip netns list")?;
    found.extend(namespaces.lines().filter(|line| line.starts_with("turnpike-demo")).map(str::to_owned));
    // pgrep fails if it finds none.
    found.extend(run("pgrep -af turnpike-demo").unwrap_or_default().lines().map(str::to_owned));
    for folder in [std::env::temp_dir(), PathBuf::from("/run"), PathBuf::from("/run/dpdk")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let paths = entries.flatten().map(|entry| entry.path().display().to_string());
        found.extend(paths.filter(|path| path.contains("turnpike-")));
    }
    found.extend(run("ip -br link")?.lines().map(str::to_owned));
    found.sort();
    Ok(found)
}

fn ensure_nothing_left(before: &[String], by: &str) -> Result<()> {
    // Other beds may come and go meanwhile: what goes away was not left.
    let mut left = Vec::new();
    let gone = wait_until("what was left to go", PATIENCE, || {
        left = remains().unwrap_or_default();
        left.retain(|what| !before.contains(what));
        left.is_empty()
    });
    gone.with_context(|| format!("{by} left behind: {left:#?}"))
}

#[test]
fn the_demonstration_runs_twice_and_leaves_nothing() {
    let _alone = alone();
    Lab::clean(BED);
    let outcome = (|| {
        let before = remains()?;
        for time in ["the first run", "the second run"] {
            let shown = deploy_run(&[])?;
            ensure!(shown.ok(), "{time} failed ({:?}):\n{}", shown.code, shown.text);
            promised(&shown.text).with_context(|| shown.text.clone())?;
            ensure_nothing_left(&before, time)?;
        }
        Ok(())
    })();
    Lab::clean(BED);
    outcome.unwrap_or_else(|error: anyhow::Error| panic!("{error:#}"));
}

/// What the README says that `deploy/run` shows.
fn promised(text: &str) -> Result<()> {
    for (what, words) in [
        ("a ping", "3 packets transmitted, 3 received, 0% packet loss"),
        ("a download over IPv4", "curl http://10.2.0.2/file: 32 MiB"),
        ("a download over IPv6", "curl http://[fd00:2::2]/file: 32 MiB"),
        ("equal checksums", "on both ends"),
        ("a refused connection", "Connection refused"),
        ("a dropped connection", "timed out"),
        ("the state of what entered", "all tcp 10.2.0.2:80 <- 10.1.0.2:"),
        ("the state of what left", "-> 10.2.0.2:80 "),
        ("the drop counters", "A block rule matched."),
        ("conservation", "holds; buffers in use: 0"),
    ] {
        ensure!(text.contains(words), "{what} is missing: {words}");
    }
    Ok(())
}

#[test]
fn a_kept_demonstration_can_be_used_kept_again_and_cleaned() {
    let _alone = alone();
    Lab::clean(BED);
    let outcome = (|| {
        let before = remains()?;
        for time in ["kept", "kept again"] {
            let shown = deploy_run(&["--keep"])?;
            ensure!(shown.ok(), "{time}: {:?}:\n{}", shown.code, shown.text);
            try_by_hand(&shown.text).context(time)?;
        }
        for time in ["cleaned", "cleaned again"] {
            let shown = deploy_run(&["--clean"])?;
            ensure!(shown.ok(), "{time}: {:?}:\n{}", shown.code, shown.text);
            ensure_nothing_left(&before, time)?;
        }
        Ok(())
    })();
    Lab::clean(BED);
    outcome.unwrap_or_else(|error: anyhow::Error| panic!("{error:#}"));
}

/// The commands that it suggests work as they stand.
fn try_by_hand(shown: &str) -> Result<()> {
    let suggested: Vec<&str> =
        shown.lines().filter_map(|line| line.strip_prefix("  ip netns exec ")).collect();
    ensure!(suggested.len() == 2, "two commands to try:\n{shown}");
    let page = run(&format!("ip netns exec {}", suggested[0]))?;
    ensure!(page.contains("200 OK"), "{page}");
    let states = run(&format!("ip netns exec {}", suggested[1]))?;
    ensure!(states.contains("ESTABLISHED") || states.contains("FIN_WAIT"), "{states}");
    Ok(())
}

#[test]
fn unknown_words_are_a_matter_of_usage() {
    let _alone = alone();
    let outcome = (|| {
        let target = scratch("turnpike-usage")?;
        for script in ["run", "test"] {
            let refused = said(Command::new(format!("{TOP}/deploy/{script}")).arg("--nonsense"))?;
            ensure!(
                refused.code == Some(2) && refused.text.contains("usage: deploy/"),
                "{script}: {}",
                refused.text
            );
        }
        std::fs::remove_dir_all(target)?;
        Ok(())
    })();
    outcome.unwrap_or_else(|error: anyhow::Error| panic!("{error:#}"));
}

#[test]
fn tpctl_ends_with_0_when_done_1_when_refused_and_2_on_usage() {
    let _alone = alone();
    let folder = scratch("turnpike-exit-codes").expect("an empty folder");
    let outcome = exit_codes(&folder);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

fn exit_codes(folder: &Path) -> Result<()> {
    let tpctl = program("tpctl")?;
    let (good, bad) = (folder.join("good.conf"), folder.join("bad.conf"));
    std::fs::write(&good, "block all\npass out\n")?;
    std::fs::write(&bad, "block all\npass out in\n")?;
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    let nobody_there = format!("{}/absent.sock", folder.display());
    let cases: &[(i32, &str, &[&str])] = &[
        (0, "good", &["check", &good]),
        (1, "bad.conf:2:", &["check", &bad]),
        (1, "absent.conf", &["check", "absent.conf"]),
        (0, "pass out", &["pfctl", "-nvf", &good]),
        (1, "bad.conf:2", &["pfctl", "-nf", &bad]),
        (1, "start turnpike-dataplane", &["--dataplane-socket", &nobody_there, "apply", &good]),
        (1, "bad.conf:2:", &["--dataplane-socket", &nobody_there, "apply", &bad]),
        (1, "start turnpike-dataplane", &["--dataplane-socket", &nobody_there, "show", "status"]),
        (1, "start turnpike-dataplane", &["--dataplane-socket", &nobody_there, "states"]),
        (1, "start turnpike-dataplane", &["--dataplane-socket", &nobody_there, "drops"]),
        (1, "start turnpike-dataplane", &["--dataplane-socket", &nobody_there, "pfctl", "-sr"]),
        (1, "start turnpike-control", &["--socket", &nobody_there, "apply", &good]),
        (1, "start turnpike-control", &["--socket", &nobody_there, "status"]),
        (2, "Usage", &[]),
        (2, "nonsense", &["nonsense"]),
        (2, "nonsense", &["check", "--nonsense", &good]),
        (2, "FILE", &["check"]),
        (2, "Usage", &["pfctl"]),
        (0, "tpctl", &["--version"]),
        (0, "Usage", &["--help"]),
    ];
    for (code, word, words) in cases {
        let told = said(Command::new(&tpctl).args(*words).current_dir(folder))?;
        ensure!(
            told.code == Some(*code) && told.text.contains(word),
            "tpctl {}: exit code {:?}, wanted {code} with «{word}»:\n{}",
            words.join(" "),
            told.code,
            told.text
        );
    }
    Ok(())
}

#[test]
fn without_root_the_commands_say_what_to_do() {
    let _alone = alone();
    let folder = scratch("turnpike-nobody").expect("an empty folder");
    let outcome = as_nobody(&folder);
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
    outcome.unwrap_or_else(|error| panic!("{error:#}"));
}

fn as_nobody(folder: &Path) -> Result<()> {
    // Copies, as somebody's checkout may be closed to others.
    let deploy = folder.join("deploy");
    std::fs::create_dir(&deploy)?;
    for script in ["run", "test", "lib.sh"] {
        std::fs::copy(format!("{TOP}/deploy/{script}"), deploy.join(script))?;
    }
    for name in ["tpctl", "turnpike-dataplane", "demo"] {
        std::fs::copy(program(name)?, folder.join(name))?;
    }
    std::fs::write(
        folder.join("turnpike.toml"),
        "[[port]]\nname = \"lan0\"\ndevice = \"net_tap0,iface=tp0\"\n",
    )?;
    run(&format!("chmod -R a+rX {}", folder.display()))?;
    let dataplane: &[&str] =
        &["--config", "turnpike.toml", "--socket", "/run/turnpike-nobody/dataplane.sock"];
    let cases: &[(&str, &[&str], &str)] = &[
        ("deploy/run", &[], "root is needed"),
        ("deploy/run", &["--keep"], "sudo"),
        ("deploy/test", &[], "root is needed"),
        ("turnpike-dataplane", dataplane, "run as root"),
        ("demo", &[], "root"),
    ];
    for (name, words, word) in cases {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]);
        let told = said(command.arg(folder.join(name)).args(*words).current_dir(folder))?;
        ensure!(
            told.code == Some(1) && told.text.contains(word),
            "{name} {}: exit code {:?}, wanted 1 with «{word}»:\n{}",
            words.join(" "),
            told.code,
            told.text
        );
    }
    let files: Vec<_> = std::fs::read_dir("/run")?.flatten().map(|entry| entry.file_name()).collect();
    ensure!(!files.iter().any(|name| name == "turnpike-nobody"), "nobody left something in /run");
    Ok(())
}
