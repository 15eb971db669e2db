//! Two workers: whichever of them receives a packet, connections work, and what one hands to the other is accounted for.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{Flood, address};
use e2e::transfer::{ensure_same, iperf3, random_file, url_host};
use e2e::workers::{configure_two, conservation, restart_with_two, two_cpus};
use e2e::{Drops, Lab, Links, WebServer, bed, installed, wait_until};

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

/// Of a single flow one worker has all the work, and `tpctl doctor` says which one. Where it arrives with the other worker, both have
/// some: then another flow shows it.
#[test]
fn a_worker_with_most_of_the_work_is_found() {
    let Some(cpus) = two_cpus() else { return };
    bed("workers-skew", Links::Tap, "", |lab| {
        restart_with_two(lab, cpus)?;
        lab.rules(OPEN)?;
        let mut said = lab.tpctl("doctor")?.text;
        ensure!(!said.contains("worker-skew"), "there is no traffic: {said}");
        let is_found = (9..25).any(|port| {
            let flood = Flood::start(&lab.client, address(Lab::SERVER, port));
            (0..2).any(|_| {
                said = lab.tpctl("doctor").map_or_else(|error| error.to_string(), |told| told.text);
                said.contains("has most of the work") && flood.is_ok()
            })
        });
        ensure!(is_found, "{said}");
        let evidence = ["worker-skew: worker ", "CPU ", "worker 0 ", "worker 1 ", "one flow is one worker's"];
        ensure!(evidence.iter().all(|part| said.contains(part)), "{said}");
        Ok(())
    });
}

/// Workers that wait for packets forward as those that look for them, wake each other, and hardly poll in silence.
#[test]
fn workers_wait_for_tap_links() {
    bed("waiting-tap", Links::Tap, "", |lab| {
        wait_for_packets(lab)?;
        lab.restart_dataplane()?;
        load(lab, &["tx-full"])?;
        ensure!(!lab.dataplane.said().contains("packets are not signalled"), "{}", lab.dataplane.said());
        silence(lab)?;
        trickle(lab)
    });
}

#[test]
fn two_workers_wait_for_tap_links() {
    let Some(cpus) = two_cpus() else { return };
    bed("waiting-two", Links::Tap, "", |lab| {
        wait_for_packets(lab)?;
        start_two(lab, cpus, &["tx-full", "handoff-full"])?;
        ensure!(!lab.dataplane.said().contains("packets are not signalled"), "{}", lab.dataplane.said());
        silence(lab)
    });
}

/// Where a driver has no interrupts its worker says so, and looks for packets instead.
#[test]
fn workers_do_not_wait_where_they_would_miss_packets() {
    bed("waiting-afp", Links::AfPacket, "", |lab| {
        wait_for_packets(lab)?;
        lab.restart_dataplane()?;
        load(lab, &["tx-full", "state-mismatch"])?;
        ensure!(
            lab.dataplane.said().contains("net_af_packet0 has no receive interrupts"),
            "{}",
            lab.dataplane.said()
        );
        Ok(())
    });
}

/// Has the next dataplane wait for packets.
fn wait_for_packets(lab: &mut Lab) -> Result<()> {
    lab.kill_dataplane()?;
    let path = lab.folder.join("turnpike.toml");
    let text = std::fs::read_to_string(&path)?.replace("idle = \"adaptive\"", "idle = \"interrupt\"");
    ensure!(text.contains("interrupt"), "{text}");
    Ok(std::fs::write(&path, text)?)
}

/// Without packets a worker that waits polls some hundred times a second, one that sleeps and looks thousands of times.
fn silence(lab: &Lab) -> Result<()> {
    let polls = || -> Result<Vec<u64>> {
        let status = lab.show("status")?;
        let workers = status["workers"].as_array().with_context(|| format!("no workers: {status}"))?;
        workers.iter().map(|worker| worker["polls"].as_u64().context("no polls")).collect()
    };
    // What the kernels have to say to each other passes.
    let mut seen = Vec::new();
    let quiet = wait_until("a second of silence", Duration::from_secs(30), || {
        let Ok(before) = polls() else { return false };
        std::thread::sleep(Duration::from_secs(1));
        let Ok(after) = polls() else { return false };
        seen = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        seen.iter().all(|count| (1..1000).contains(count))
    });
    quiet.with_context(|| format!("polls in a second: {seen:?}"))
}

/// A packet now and then keeps no worker busy.
fn trickle(lab: &Lab) -> Result<()> {
    let time = || -> Result<(f64, f64)> {
        let worker = &lab.show("status")?["workers"][0];
        let of = |key: &str| worker[key].as_f64().with_context(|| format!("no {key}: {worker}"));
        Ok((of("busy_ns")?, of("idle_ns")?))
    };
    let before = time()?;
    lab.client.run(&format!("ping -n -c 50 -i 0.02 -W 2 {}", Lab::SERVER))?;
    let after = time()?;
    let (busy, idle) = (after.0 - before.0, after.1 - before.1);
    ensure!(busy > 0.0 && busy < idle, "busy for {busy} ns, idle for {idle}");
    Ok(())
}

/// A killed process leaves a program on its devices that leads packets astray: the next one must not mind.
#[test]
fn one_worker_has_af_xdp_links() {
    bed("worker-xdp", Links::AfXdp, "", |lab| {
        refuses_other_queues(lab)?;
        lab.restart_dataplane()?;
        load(lab, &["tx-full", "state-mismatch"])
    });
}

/// Each worker has a device for its queue of the kernel's device, which is one interface of the firewall all the same.
#[test]
fn two_workers_share_af_xdp_links_and_hand_packets_over() {
    let Some(cpus) = two_cpus() else { return };
    bed("workers-xdp", Links::AfXdp, "", |lab| {
        lab.kill_dataplane()?;
        // The queues that the firewall's ends receive by, and then those that the stations choose among.
        for link in ["p-lan0", "p-wan0"] {
            lab.firewall.run(&format!("ethtool -L {link} rx 2 tx 2"))?;
        }
        lab.client.run("ethtool -L eth-lan rx 2 tx 2")?;
        lab.server.run("ethtool -L eth-wan rx 2 tx 2")?;
        start_two(lab, cpus, &["tx-full", "handoff-full", "state-mismatch"])?;
        let status = lab.show("status")?;
        let interfaces =
            status["interfaces"].as_array().with_context(|| format!("no interfaces: {status}"))?;
        ensure!(interfaces.len() == 2, "each port is one interface: {status}");
        // What the workers received is what their interfaces did, and more than one of them alone.
        let kept = conservation(lab)?;
        let of = |kept: &serde_json::Value, key: &str| kept[key].as_u64().unwrap_or_default();
        for worker in &kept {
            ensure!(of(worker, "rx") > 1000 && of(worker, "tx") > 1000, "a queue without traffic: {worker}");
            ensure!(of(worker, "handoff_out") > 0 && of(worker, "handoff_in") > 0, "no hand-off: {worker}");
        }
        let received: u64 = kept.iter().map(|worker| of(worker, "rx")).sum();
        let counted: u64 = status["interfaces"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|own| own["rx_packets"].as_u64())
            .sum();
        ensure!(counted > 10_000 && counted <= received, "{counted} of {received}");
        Ok(())
    });
}

/// A queue of the kernel's device that no worker looks at is refused at the start, with what to do.
fn refuses_other_queues(lab: &mut Lab) -> Result<()> {
    lab.kill_dataplane()?;
    let channels = |count: u32| lab.firewall.run(&format!("ethtool -L p-lan0 rx {count} tx 1"));
    channels(2)?;
    let program = e2e::program("turnpike-dataplane")?;
    let refused = lab.firewall.try_run(&format!(
        "{} --config {} --socket {}",
        program.display(),
        lab.folder.join("turnpike.toml").display(),
        lab.socket().display()
    ))?;
    let advice =
        "p-lan0 has 2 receive and 1 transmit queues, and net_af_xdp takes one of each for every worker: 1";
    ensure!(refused.code == Some(1) && refused.text.contains(advice), "{}", refused.text);
    channels(1).map(|_| ())
}

fn two_workers(lab: &mut Lab, cpus: [u32; 2], overload: &[&str]) -> Result<()> {
    lab.kill_dataplane()?;
    start_two(lab, cpus, overload)
}

/// Starts the dataplane again with a worker on each of these CPUs, and puts it under load.
fn start_two(lab: &mut Lab, cpus: [u32; 2], overload: &[&str]) -> Result<()> {
    configure_two(lab, cpus)?;
    lab.restart_dataplane()?;
    load(lab, overload)
}

/// Several connections and some load; packets may be dropped for the reasons in `overload` only.
fn load(lab: &Lab, overload: &[&str]) -> Result<()> {
    lab.rules(OPEN)?;
    let before = lab.drops()?;
    lab.client.run(&format!("ping -n -c 3 -i 0.2 -W 2 {}", Lab::GATEWAY))?;
    transfer(lab)?;
    if installed("iperf3", "throughput of two workers") {
        throughput(lab)?;
    }
    within_limits(lab, &before, overload)?;
    ensure!(lab.states()?.len() >= 8, "the states of both workers are listed: {:#?}", lab.states()?);
    Ok(())
}

/// A link or a ring may be too slow for what a sender tries. Nothing else may be wrong with packets of one connection.
fn within_limits(lab: &Lab, before: &Drops, overload: &[&str]) -> Result<()> {
    let dropped = lab.drops()?.since(before);
    let excused: u64 = overload.iter().map(|reason| dropped.of_reason(reason)).sum();
    ensure!(dropped.total() == excused, "dropped: {dropped}");
    Ok(())
}

/// Several connections, so that both workers own some, and a long one.
fn transfer(lab: &Lab) -> Result<()> {
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let received = lab.folder.join("received");
    for (name, mib, host, times) in [("short", 4, Lab::SERVER, 6), ("long", 100, Lab::SERVER6, 1)] {
        let sent = www.join(name);
        random_file(&sent, mib)?;
        for _ in 0..times {
            let url = format!("http://{}/{name}", url_host(host));
            lab.client.run(&format!("curl -gsSf --max-time 120 -o {} {url}", received.display()))?;
            ensure_same(&sent, &received)?;
        }
    }
    Ok(())
}

fn throughput(lab: &Lab) -> Result<()> {
    let hosts = [Lab::SERVER, Lab::SERVER6];
    for (host, direction) in hosts.iter().flat_map(|host| [(host, ""), (host, " -R")]) {
        let bytes = iperf3(lab, host, &format!("-t 1 -P 4{direction}"))?;
        ensure!(bytes > 1e6, "only {bytes} bytes in a second");
    }
    Ok(())
}
