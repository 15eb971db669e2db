//! Two workers: whichever of them receives a packet, connections work, and what one hands to the other is accounted for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::transfer::{ensure_same, random_file};
use e2e::{Daemon, Lab, Links, WebServer, bed, installed, wait_until};

const OPEN: &str = "block drop all\npass in on lan0\npass out on wan0\n";

#[test]
fn two_workers_share_tap_links() {
    if let Some(cpus) = two_cpus() {
        bed("workers-tap", Links::Tap, "", |lab| two_workers(lab, cpus, &["tx-full", "handoff-full"]));
    }
}

#[test]
fn two_workers_share_af_packet_links_and_hand_packets_over() {
    let Some(cpus) = two_cpus() else { return };
    bed("workers-afp", Links::AfPacket, "", |lab| {
        // A receive queue that is full rolls over to the other one (PACKET_FANOUT_FLAG_ROLLOVER, which the driver sets), and
        // with it the order of a flow: what comes late by more than a window no longer fits its state.
        two_workers(lab, cpus, &["tx-full", "handoff-full", "state-mismatch"])?;
        // The kernel spreads packets by a hash of its own, so about half of the flows arrive where they are not at home.
        for worker in conservation(lab)? {
            let (out, into) = (&worker["handoff_out"], &worker["handoff_in"]);
            ensure!(out.as_u64() > Some(0) && into.as_u64() > Some(0), "no hand-off: {worker}");
        }
        Ok(())
    });
}

/// Two CPUs that this process may use; `None`, said aloud, if there is one only.
fn two_cpus() -> Option<[u32; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse().ok()?)
    });
    let cpus: Vec<u32> = ranges.flatten().collect();
    if let [first, second, ..] = cpus[..] {
        return Some([first, second]);
    }
    eprintln!("skipped: two workers need two CPUs");
    None
}

/// Several connections and some load; packets may be dropped for the reasons in `overload` only.
fn two_workers(lab: &mut Lab, cpus: [u32; 2], overload: &[&str]) -> Result<()> {
    restart_with_two(lab, cpus)?;
    lab.rules(OPEN)?;
    let before = lab.drops()?;
    lab.client.run(&format!("ping -n -c 3 -i 0.2 -W 2 {}", Lab::GATEWAY))?;
    transfer(lab)?;
    if installed("iperf3", "throughput of two workers") {
        throughput(lab)?;
    }
    // A link or a ring may be too slow for what a sender tries. Nothing else may be wrong with packets of one connection.
    let dropped = lab.drops()?.since(&before);
    let excused: u64 = overload.iter().map(|reason| dropped.of_reason(reason)).sum();
    ensure!(dropped.total() == excused, "dropped: {dropped}");
    ensure!(lab.states()?.len() >= 8, "the states of both workers are listed: {:#?}", lab.states()?);
    Ok(())
}

/// Starts the dataplane again with a worker on each of these CPUs.
fn restart_with_two(lab: &mut Lab, [first, second]: [u32; 2]) -> Result<()> {
    lab.kill_dataplane()?;
    let path = lab.folder.join("turnpike.toml");
    let text = std::fs::read_to_string(&path)?
        .replace("[dataplane]", &format!("[dataplane]\nlcores = [{first}, {second}]"))
        .replace(",qdisc_bypass=1", ",qdisc_bypass=1,qpairs=2");
    std::fs::write(&path, text)?;
    lab.restart_dataplane()
}

/// Several connections, so that both workers own some.
fn transfer(lab: &Lab) -> Result<()> {
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let (sent, received) = (www.join("file"), lab.folder.join("received"));
    random_file(&sent, 4)?;
    for _ in 0..6 {
        let url = format!("http://{}/file", Lab::SERVER);
        lab.client.run(&format!("curl -sSf --max-time 60 -o {} {url}", received.display()))?;
        ensure_same(&sent, &received)?;
    }
    Ok(())
}

fn throughput(lab: &Lab) -> Result<()> {
    let mut server = lab.server.command("iperf3");
    let _server = Daemon::start(server.args(["-s", "-p", "5201"]), &lab.folder.join("iperf3.log"))?;
    wait_until("iperf3 to listen", Duration::from_secs(5), || {
        lab.server.try_run("ss -Hltn sport = :5201").is_ok_and(|sockets| !sockets.text.trim().is_empty())
    })?;
    for direction in ["", " -R"] {
        let line = format!("iperf3 -c {} -p 5201 -t 2 -P 4 -J{direction}", Lab::SERVER);
        let report: serde_json::Value = serde_json::from_str(&lab.client.run(&line)?)?;
        let bytes = report["end"]["sum_received"]["bytes"].as_f64();
        let bytes = bytes.with_context(|| format!("iperf3 reports no bytes: {report:#}"))?;
        ensure!(bytes > 1e6, "only {bytes} bytes in two seconds");
    }
    Ok(())
}

/// What became of each worker's packets.
fn conservation(lab: &Lab) -> Result<Vec<serde_json::Value>> {
    let status = lab.show("status")?;
    let workers = status["workers"].as_array().with_context(|| format!("no workers: {status}"))?;
    ensure!(workers.len() == 2, "{} workers", workers.len());
    Ok(workers.iter().map(|worker| worker["conservation"].clone()).collect())
}
