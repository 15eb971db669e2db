//! Our own traffic generator at both ends of the dataplane: what it sends arrives, and what it counts is what the firewall
//! counts.

use anyhow::{Context, Result, ensure};
use e2e::{Daemon, Lab, Links, Output, PATIENCE, bed, program, wait_until};
use serde_json::Value;

/// The generator's networks, of perf/profiles/network.toml.
const OPEN: &str = "block drop all\n\
    pass in on lan0 inet from 198.18.0.0/16 to 198.19.0.0/16\n\
    pass out on wan0 inet from 198.18.0.0/16 to 198.19.0.0/16\n\
    pass in on lan0 inet6 from 2001:2:0:100::/64 to 2001:2:0:200::/64\n\
    pass out on wan0 inet6 from 2001:2:0:100::/64 to 2001:2:0:200::/64\n";

/// Lets the generator have the stations' places: both ends in one namespace, as it is one process with one clock.
fn install(lab: &Lab) -> Result<()> {
    lab.server.run(&format!("ip link set eth-wan netns {}", lab.client.name()))?;
    for link in ["eth-lan", "eth-wan"] {
        lab.client.run(&format!("ip addr flush dev {link}"))?;
        // Stations that say nothing of their own: each frame of a test is the generator's.
        lab.client.run(&format!("sysctl -qw net.ipv6.conf.{link}.disable_ipv6=1"))?;
        lab.client.run(&format!("ip link set {link} up"))?;
    }
    for (port, net, number) in [("lan0", "198.18", 1), ("wan0", "198.19", 2)] {
        let firewall = |line: String| lab.firewall.run(&line);
        firewall(format!("ip addr add {net}.0.1/24 dev {port}"))?;
        firewall(format!("ip route add {net}.128.0/17 via {net}.0.2 dev {port}"))?;
        firewall(format!("ip -6 addr add 2001:2:0:{number}::1/64 dev {port} nodad"))?;
        firewall(format!("ip -6 route add 2001:2:0:{number}00::/112 via 2001:2:0:{number}::2 dev {port}"))?;
    }
    Ok(())
}

fn device(number: u8, link: &str) -> String {
    format!("net_af_packet{number},iface={link},qdisc_bypass=1,blocksz=65536,framecnt=2048")
}

fn generate(lab: &Lab, words: &str) -> Result<Output> {
    lab.client.try_run(&format!(
        "{} {words} --client {} --server {} --json {}",
        program("turnpike-tgen")?.display(),
        device(0, "eth-lan"),
        device(1, "eth-wan"),
        lab.folder.join("report.json").display()
    ))
}

/// Runs the generator, which must lose nothing, and returns its report.
fn report(lab: &Lab, words: &str) -> Result<Value> {
    let done = generate(lab, words)?;
    println!("{}", done.text);
    ensure!(done.ok(), "turnpike-tgen {words} ended with {:?}:\n{}", done.code, done.text);
    Ok(serde_json::from_str(&std::fs::read_to_string(lab.folder.join("report.json"))?)?)
}

/// Packets received and sent on both ports of the firewall.
fn wire_counts(lab: &Lab) -> Result<[u64; 4]> {
    let status = lab.show("status")?;
    let interfaces = status["interfaces"].as_array().context("no interfaces")?;
    let count = |name: &str, counter: &str| {
        interfaces
            .iter()
            .find(|interface| interface["name"] == name)
            .and_then(|interface| interface[counter].as_u64())
            .with_context(|| format!("{name} has no {counter}: {status}"))
    };
    Ok([
        count("lan0", "rx_packets")?,
        count("lan0", "tx_packets")?,
        count("wan0", "rx_packets")?,
        count("wan0", "tx_packets")?,
    ])
}

/// What both ends sent and received: clients' packets, servers' packets.
fn counts(report: &Value) -> Result<[u64; 2]> {
    let way = |name: &str| {
        let count = |counter: &str| report[name][counter].as_u64().with_context(|| format!("no {counter}"));
        let (sent, received) = (count("sent")?, count("received")?);
        ensure!(sent == received && count("lost")? == 0, "{name}: {received} of {sent}");
        for other in ["reordered", "duplicates", "damaged", "late"] {
            ensure!(count(other)? == 0, "{name}: {other}: {report:#}");
        }
        Ok(sent)
    };
    Ok([way("clients_to_servers")?, way("servers_to_clients")?])
}

#[test]
fn what_the_generator_counts_is_what_the_firewall_counts() {
    bed("tgen-udp", Links::AfPacket, OPEN, |lab| {
        install(lab)?;
        for (profile, rate, seconds) in [("udp-64", "2k", 2), ("udp6-84", "500", 1), ("imix", "500", 1)] {
            let (before, drops) = (wire_counts(lab)?, lab.drops()?);
            let report = report(lab, &format!("run --profile {profile} --rate {rate} --seconds {seconds}"))?;
            let [forth, back] = counts(&report)?;
            ensure!(forth > 0 && back > 0, "{report:#}");
            // Beside the packets the firewall's ports saw a few of ARP and neighbour discovery.
            let after = wire_counts(lab)?;
            let added: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
            for (added, expected) in added.iter().zip([forth, back, back, forth]) {
                ensure!(
                    (expected..expected + 20).contains(added),
                    "{added} on a port, {expected} of them ours"
                );
            }
            lab.expect_drops(&drops, &[])?;
        }
        Ok(())
    });
}

#[test]
fn connections_keep_to_what_the_firewall_tracks() {
    bed("tgen-tcp", Links::AfPacket, OPEN, |lab| {
        install(lab)?;
        let drops = lab.drops()?;
        for (profile, rate) in [("new-connections", 500), ("http-like", 100)] {
            let report = report(lab, &format!("run --profile {profile} --rate {rate} --seconds 2"))?;
            counts(&report)?;
            let count = |counter: &str| report["connections"][counter].as_u64().context("no such count");
            let opened = count("opened")?;
            ensure!(opened > 0 && count("completed")? == opened && count("failed")? == 0, "{report:#}");
        }
        counts(&report(lab, &established(lab, 2)?)?)?;
        lab.expect_drops(&drops, &[])
    });
}

/// The command line for connections that stay open, some hundreds.
fn established(lab: &Lab, seconds: u32) -> Result<String> {
    let path = lab.folder.join("few-established.toml");
    std::fs::write(
        &path,
        "about = \"few connections\"\nflows = 300\nclients = 30\nservers = 3\nserver_port = 80\n\
         [established]\nframes = [{ bytes = 128, share = 3 }, { bytes = 1400, share = 1 }]\n",
    )?;
    Ok(format!("run --profile {} --rate 1k --seconds {seconds} --open-rate 1k", path.display()))
}

/// The firewall remembers connections that nobody closed: the next run ends them (RFC 5961) and has its own.
#[test]
fn a_generator_that_was_killed_is_no_trouble_to_the_next_one() {
    bed("tgen-killed", Links::AfPacket, OPEN, |lab| {
        install(lab)?;
        let words = established(lab, 60)?;
        let devices = [("--client", device(0, "eth-lan")), ("--server", device(1, "eth-wan"))];
        let mut command = lab.client.command(&program("turnpike-tgen")?.to_string_lossy());
        command.args(words.split_whitespace());
        devices.iter().for_each(|(option, device)| {
            command.args([*option, device.as_str()]);
        });
        let mut killed = Daemon::start(&mut command, &lab.folder.join("killed.log"))?;
        wait_until("connections to be open", PATIENCE, || killed.said().contains("1 s  sent"))
            .with_context(|| killed.said())?;
        killed.signal("KILL")?;
        killed.wait(Daemon::PATIENCE)?;
        let open = lab.states()?.iter().filter(|state| state.contains("ESTABLISHED:ESTABLISHED")).count();
        ensure!(open == 600, "{open} states of 300 connections that stay open");
        counts(&report(lab, &established(lab, 1)?)?).map(|_| ())
    });
}

/// An operator who has seen enough gets what was counted until then.
#[test]
fn an_interrupted_run_ends_with_its_report() {
    bed("tgen-interrupt", Links::AfPacket, OPEN, |lab| {
        install(lab)?;
        let mut command = lab.client.command(&program("turnpike-tgen")?.to_string_lossy());
        command.args(["run", "--rate", "500", "--seconds", "600", "--client", &device(0, "eth-lan")]);
        command.args(["--server", &device(1, "eth-wan")]);
        let mut run = Daemon::start(&mut command, &lab.folder.join("run.log"))?;
        wait_until("traffic", PATIENCE, || run.said().contains("1 s  sent"))?;
        run.signal("INT")?;
        let status = run.wait(PATIENCE)?;
        let said = run.said();
        ensure!(
            status.success() && said.contains(", interrupted") && said.contains("lost"),
            "{status}: {said}"
        );
        Ok(())
    });
}

#[test]
fn searches_find_what_passes_and_what_does_not() {
    bed("tgen-search", Links::AfPacket, OPEN, |lab| {
        install(lab)?;
        let bounds = "--max-rate 1k --min-rate 200 --precision 20";
        let found = |words: &str| -> Result<Value> {
            Ok(report(lab, &format!("{words} {bounds}"))?["found"].clone())
        };
        // A busy machine may keep the generator from the highest rate.
        let within = |rate: &Value| rate.as_f64().is_some_and(|rate| (200.0..=1_000.0).contains(&rate));
        let throughput = found("throughput --profile udp-64 --seconds 1")?;
        ensure!(throughput["complete"] == true && within(&throughput["rate"]), "{throughput:#}");
        let mlr = found("mlr --profile imix --initial 0.3 --seconds 0.5 --sum 1")?;
        for goal in mlr["goals"].as_array().context("no goals")? {
            ensure!(goal["complete"] == true && within(&goal["lower"]), "{mlr:#}");
            ensure!(within(&goal["conditional_throughput"]), "{mlr:#}");
        }
        let connections = found("throughput --profile new-connections --seconds 1")?;
        ensure!(within(&connections["rate"]), "{connections:#}");
        lab.rules("block drop all")?;
        // Flows that have no states yet.
        let nothing = found("throughput --profile udp6-84 --seconds 0.5")?;
        ensure!(nothing["rate"].is_null() && nothing["lossy"] == 200.0, "{nothing:#}");
        Ok(())
    });
}
