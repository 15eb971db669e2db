//! Document 001 with real stacks: 20,000 connections are tried to each of two remote ports, with and without SO_REUSEADDR, behind
//! one public address with a range of 16,384 ports. Each remote port has the whole range, whatever else is open; and a program
//! of the firewall's own host is limited as little, also where its own ports are those of a mapping.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, address};
use e2e::{Daemon, Lab, Links, Namespace, bed, wait_until, workers};
use serde_json::Value;

/// Source ports that there are.
const RANGE: usize = 16_384;
/// Connections that are tried to each remote port.
const TRIED: usize = 20_000;
/// As many as one process opens: it may not have more than 20,000 files on some machines.
const SHARE: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(120);
/// After which counters show what has been counted.
const SETTLED: Duration = Duration::from_millis(300);

const RULES: &str = "set limit states 200000\n\
    block drop all\n\
    match out on wan0 inet from 10.1.0.0/24 nat-to 10.2.0.1 port 49152:65535\n\
    match out on wan0 inet proto tcp from 10.1.0.0/24 to port 7 nat-to 10.2.0.1 port 50000:50004\n\
    pass in on lan0\npass out on wan0\n";

#[test]
fn two_remote_ports_have_the_whole_range_each() {
    bed("ports", Links::AfPacket, "", |lab| {
        lab.apply(&format!("{RULES}{}", Lab::QUIET))?;
        programs_of_the_host_are_not_limited(lab)?;
        document_001(lab)
    });
}

#[test]
fn two_remote_ports_have_the_whole_range_each_with_two_workers() {
    let Some(cpus) = workers::two_cpus() else { return };
    bed("ports-two", Links::AfPacket, "", |lab| {
        workers::restart_with_two(lab, cpus)?;
        lab.apply(&format!("{RULES}{}", Lab::QUIET))?;
        programs_of_the_host_are_not_limited(lab)?;
        document_001(lab)
    });
}

fn document_001(lab: &Lab) -> Result<()> {
    // More than the range behind the firewall, so that this kernel is not what the connections are limited by.
    local_ports(&lab.client, "10000 65000")?;
    let mut ends = Vec::new();
    for (port, reuse) in [(12_345, true), (12_346, false)] {
        let before = lab.drops()?;
        ends.push(connections(lab, &lab.server, &format!("serve {port}"))?.0);
        // None of those for which there is a port fails, nor has to be tried again.
        for count in [SHARE, RANGE - SHARE] {
            let (end, opened) = open(lab, "open", port, count, reuse)?;
            ensure!(opened == format!("opened {count} of {count}"), "port {port}, reuse {reuse}: {opened}");
            ends.push(end);
        }
        std::thread::sleep(SETTLED);
        lab.expect_drops(&before, &[])?;
        let more = TRIED - RANGE;
        // A refusal is silence, which the client's kernel asks about once and then gives up.
        lab.client.run("sysctl -qw net.ipv4.tcp_syn_retries=1")?;
        let (end, opened) = open(lab, "attempt", port, more, reuse)?;
        lab.client.run("sysctl -qw net.ipv4.tcp_syn_retries=6")?;
        ensure!(opened == format!("opened 0 of {more}"), "port {port}, reuse {reuse}: {opened}");
        ends.push(end);
        let dropped = lab.drops()?.since(&before);
        let refused = dropped.of_reason("translate");
        ensure!(dropped.total() == refused && refused >= more as u64, "dropped: {dropped}");
    }
    for port in [12_345, 12_346] {
        let open = lab.server.run(&format!("ss -Htn state established sport = :{port}"))?.lines().count();
        ensure!(open == RANGE, "the server has {open} connections of port {port}");
    }
    let told: Value = serde_json::from_str(&lab.tpctl("nat --json")?.text)?;
    ensure!(told["addresses"][0]["tcp"].as_u64() >= Some(2 * RANGE as u64), "{told:#}");
    Ok(())
}

fn open(lab: &Lab, verb: &str, port: u16, count: usize, reuse: bool) -> Result<(Daemon, String)> {
    let option = if reuse { " reuse" } else { "" };
    connections(lab, &lab.client, &format!("{verb} {}:{port} {count}{option}", Lab::SERVER))
}

/// Starts `connections` and waits for what it says.
fn connections(lab: &Lab, namespace: &Namespace, words: &str) -> Result<(Daemon, String)> {
    let mut command = namespace.command(env!("CARGO_BIN_EXE_connections"));
    let log = lab.folder.join(words.replace([' ', ':'], "-"));
    let mut end = Daemon::start(command.args(words.split(' ')), &log)?;
    let ready = wait_until(words, PATIENCE, || end.said().ends_with('\n') || !end.is_running());
    ready.with_context(|| end.said())?;
    ensure!(end.is_running(), "it has ended: {}", end.said());
    let said = end.said().trim().to_owned();
    Ok((end, said))
}

/// A program on the firewall opens as many connections to each of several remote ports as it has ports of its own; the firewall's
/// address has some of them already, for the client's connections to one of these.
fn programs_of_the_host_are_not_limited(lab: &Lab) -> Result<()> {
    const REMOTES: [u16; 4] = [7, 8, 9, 10];
    const OWN: std::ops::RangeInclusive<u16> = 50_000..=50_009;
    const TAKEN: usize = 5;
    local_ports(&lab.firewall, "50000 50009")?;
    let _echoes: Vec<Echo> =
        REMOTES.iter().map(|port| Echo::start(&lab.server, *port)).collect::<Result<_>>()?;
    let connect = |from: &Namespace, port| -> Result<TcpStream> {
        sockets::connect(from, address(Lab::SERVER, port), PATIENCE)?.succeeded("connect")
    };
    let mut open: Vec<TcpStream> = (0..TAKEN).map(|_| connect(&lab.client, 7)).collect::<Result<_>>()?;
    let before = lab.drops()?;
    for remote in REMOTES {
        let own: Vec<TcpStream> = OWN.map(|_| connect(&lab.firewall, remote)).collect::<Result<_>>()?;
        let ports: BTreeSet<u16> =
            own.iter().map(|tcp| tcp.local_addr().map(|local| local.port())).collect::<Result<_, _>>()?;
        ensure!(ports.iter().copied().eq(OWN), "the program's own ports are {ports:?}");
        open.extend(own);
    }
    open.iter_mut().try_for_each(sockets::converse)?;
    lab.expect_drops(&before, &[])?;
    let seen = lab.server.run("ss -Htn state established sport = :7")?;
    let peers: BTreeSet<&str> = seen.lines().filter_map(|line| line.split_whitespace().last()).collect();
    ensure!(peers.len() == TAKEN + OWN.len(), "{peers:?}");
    ensure!(peers.iter().all(|peer| peer.contains(Lab::OUTSIDE)), "{peers:?}");
    Ok(())
}

/// Has the kernel of a namespace choose ports from these on for what it connects.
fn local_ports(namespace: &Namespace, range: &str) -> Result<()> {
    let mut command = namespace.command("sysctl");
    let done = command.arg("-qw").arg(format!("net.ipv4.ip_local_port_range={range}")).status()?;
    ensure!(done.success(), "sysctl: {done}");
    Ok(())
}
