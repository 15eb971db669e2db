//! `perf/compare`: every device under test forwards what the generator sends, and nothing of it is left behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, installed, program, run, scratch, wait_until};
use serde_json::Value;

/// How long a comparison of some seconds may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Starts `perf/compare` with the programs of this build; `None` if DPDK's forwarder is missing.
fn start(folder: &Path, words: &str) -> Result<Option<Daemon>> {
    if !installed("dpdk-testpmd", "perf/compare") {
        return Ok(None);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../perf/compare");
    let mut command = Command::new(script);
    command.args(words.split_whitespace());
    // In one folder, whatever was built last.
    for name in ["turnpike-dataplane", "tpctl", "turnpike-tgen"] {
        std::os::unix::fs::symlink(program(name)?, folder.join(name))?;
    }
    command.env("TURNPIKE_PROGRAMS", folder);
    Daemon::start(&mut command, &folder.join("said")).map(Some)
}

/// What a comparison has made and not removed: namespaces and folders.
fn remains(compare: u32) -> Result<Vec<String>> {
    let prefix = format!("turnpike-compare-{compare}-");
    let namespaces = run("ip netns list")?;
    let mut names: Vec<String> =
        namespaces.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    for entry in std::fs::read_dir(std::env::temp_dir())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| name.starts_with(&prefix));
    Ok(names)
}

fn rows(path: &PathBuf) -> Result<Vec<Value>> {
    let report: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    report["rows"].as_array().cloned().context("no rows")
}

fn compared(name: &str, bed: &str, subjects: &[&str]) -> Result<()> {
    let folder = scratch(name)?;
    let report = folder.join("report.json");
    let words = format!(
        "--bed {bed} --profile udp-64 --rate 5k --seconds 0.5 --rounds 1 --json {}",
        report.display()
    );
    let Some(mut compare) = start(&folder, &words)? else { return Ok(()) };
    let id = compare.pid();
    let status = compare.wait(PATIENCE).with_context(|| compare.said())?;
    let said = compare.said();
    ensure!(status.success(), "{status}: {said}");
    let rows = rows(&report)?;
    let mut wanted = subjects.to_vec();
    if said.contains("SKIPPED nftables") {
        wanted.retain(|subject| *subject != "nftables");
    }
    let found: Vec<&str> = rows.iter().filter_map(|row| row["subject"].as_str()).collect();
    ensure!(found == wanted, "{found:?}: {said}");
    for row in &rows {
        let figure = |name: &str| row[name].as_f64().with_context(|| format!("no {name} in {row}"));
        let (passed, offered) = (figure("packets_per_second")?, figure("offered_per_second")?);
        // 5,000 each way, as far as the generator gets to make them.
        ensure!(passed > 0.0 && passed <= offered && offered <= 10_001.0, "{row}");
        ensure!(figure("ratio_to_io")? > 0.0, "{row}");
        ensure!(
            said.contains(&format!("{bed:<6} udp-64           {}", row["subject"].as_str().unwrap_or("?"))),
            "{said}"
        );
    }
    let left = remains(id)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[test]
fn on_veth_all_forward_the_same_traffic() -> Result<()> {
    compared("turnpike-compare-test-veth", "veth", &["io", "macswap", "turnpike", "nftables"])
}

#[test]
fn on_memif_all_do_that_need_no_kernel() -> Result<()> {
    compared("turnpike-compare-test-memif", "memif", &["io", "macswap", "turnpike"])
}

#[test]
fn an_interrupted_comparison_leaves_nothing_behind() -> Result<()> {
    let folder = scratch("turnpike-compare-test-interrupt")?;
    let Some(mut compare) = start(&folder, "--rate 1k --seconds 600 --profile udp-64")? else {
        return Ok(());
    };
    let id = compare.pid();
    let generator = || {
        let names = remains(id).unwrap_or_default();
        // Two namespaces and a folder, and in the generator's namespace more than what sets it up.
        names.len() == 3
            && names
                .iter()
                .filter(|name| name.ends_with("-tester"))
                .any(|name| run(&format!("ip netns pids {name}")).is_ok_and(|pids| !pids.trim().is_empty()))
    };
    wait_until("the generator", PATIENCE, generator)
        .with_context(|| format!("{:?}: {}", remains(id), compare.said()))?;
    compare.signal("INT")?;
    let status = compare.wait(PATIENCE)?;
    let said = compare.said();
    ensure!(!status.success() && said.contains("interrupted; nothing is left behind"), "{status}: {said}");
    let left = remains(id)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

#[test]
fn what_cannot_be_compared_is_refused() -> Result<()> {
    let folder = scratch("turnpike-compare-test-refused")?;
    let refused = [
        ("--subjects io,pf", 2, "no such subject: pf"),
        ("--rounds 0", 2, "at least one round"),
        ("--device-cpu 0 --tester-cpus 0", 1, "a CPU of its own"),
        ("--profile no-such --seconds 0.1", 1, "no-such"),
    ];
    for (number, (words, code, reason)) in refused.into_iter().enumerate() {
        let own = folder.join(number.to_string());
        std::fs::create_dir(&own)?;
        let Some(mut compare) = start(&own, words)? else { return Ok(()) };
        let id = compare.pid();
        let status = compare.wait(PATIENCE)?;
        let said = compare.said();
        ensure!(status.code() == Some(code) && said.contains(reason), "{words}: {status}: {said}");
        ensure!(remains(id)?.is_empty(), "{words}: something is left");
    }
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
