//! Two ways outside: connections keep to the one that they were given, answers leave where the question came in, and a gateway
//! that does not answer gets nothing new.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, Stream, address};
use e2e::{Lab, Links, Shape, bed, wait_until};

/// Behind both gateways; nobody has a route to it but for the rules.
const FAR: &str = "192.0.2.1";
const PORT: u16 = 7777;
const RULES: &str = "block\n\
    pass out\n\
    match out on wan1 inet nat-to (wan1)\n\
    pass in on lan0 inet route-to { 10.2.0.2@wan0, 10.4.0.2@wan1 } round-robin\n\
    pass in on wan1 inet reply-to 10.4.0.2@wan1\n";
const PATIENCE: Duration = Duration::from_secs(2);
/// A gateway is found dead, or alive again, within this time on a busy machine.
const FOUND: Duration = Duration::from_secs(60);

fn two_ways() -> Shape {
    Shape { uplink: true, ..Links::Tap.into() }
}

/// The far address, and a kernel that looks after its neighbours more often than once in half a minute.
fn prepare(lab: &Lab) -> Result<()> {
    lab.server.run(&format!("ip addr add {FAR}/32 dev lo"))?;
    lab.server.run("ip link set lo up")?;
    // What listens on every address answers from the one that the way back says.
    lab.server.run(&format!("ip route replace default via 10.2.0.1 src {FAR}"))?;
    lab.server.run(&format!("ip route replace 10.4.0.1/32 dev eth-up src {FAR}"))?;
    for (name, value) in
        [("base_reachable_time_ms", 1000), ("delay_first_probe_time", 1), ("retrans_time_ms", 200)]
    {
        lab.firewall.run(&format!("sysctl -qw net.ipv4.neigh.wan1.{name}={value}"))?;
    }
    Ok(())
}

/// How many packets the server has received by each way.
fn received(lab: &Lab) -> Result<[u64; 2]> {
    let of = |link: &str| -> Result<u64> {
        let said = lab.server.run(&format!("ip -j -s link show dev {link}"))?;
        let links: serde_json::Value = serde_json::from_str(&said)?;
        links[0]["stats64"]["rx"]["packets"].as_u64().context("no counter")
    };
    Ok([of("eth-wan")?, of("eth-up")?])
}

/// How many states have each gateway.
fn states(lab: &Lab) -> Result<[usize; 2]> {
    let lines = lab.states()?;
    let of = |gateway: &str| lines.iter().filter(|line| line.contains(gateway)).count();
    Ok([of("{10.2.0.2}"), of("{10.4.0.2}")])
}

fn open(lab: &Lab) -> Result<Datagrams> {
    Datagrams::open(&lab.client, address(FAR, PORT), PATIENCE)
}

/// The way that a flow takes: the only one by which the server receives its packets.
fn way(lab: &Lab, flow: &Datagrams, questions: u64) -> Result<usize> {
    let before = received(lab)?;
    for _ in 0..questions {
        flow.ask().context("a question without an answer")?;
    }
    let after = received(lab)?;
    // Neighbours may have something to say besides.
    let came = [after[0] - before[0], after[1] - before[1]];
    let taken = came.iter().position(|count| *count >= questions).context("it took no way")?;
    ensure!(came[1 - taken] < questions / 2, "it took both ways: {came:?}");
    Ok(taken)
}

#[test]
fn flows_keep_their_gateway_and_leave_a_dead_one_alone() {
    bed("uplinks", two_ways(), RULES, |lab| {
        prepare(lab)?;
        let _echo = Echo::start(&lab.server, PORT)?;
        let flows: Vec<Datagrams> = (0..8).map(|_| open(lab)).collect::<Result<_>>()?;
        let ways: Vec<usize> = flows.iter().map(|flow| way(lab, flow, 20)).collect::<Result<_>>()?;
        ensure!(ways.iter().sum::<usize>() == 4, "in turn: {ways:?}");
        for (flow, taken) in flows.iter().zip(&ways) {
            ensure!(way(lab, flow, 20)? == *taken, "a flow has changed its way");
        }
        ensure!(states(lab)? == [4, 4], "{:?}", lab.states()?);
        let steady = steady_flow(lab)?;

        // It answers neither ARP nor anything that is sent to the Ethernet address that it had.
        lab.server.run("ip addr del 10.4.0.2/24 dev eth-up")?;
        lab.server.run("ip link set eth-up address 02:00:00:00:04:02")?;
        wait_until("the dead gateway to be left", FOUND, || {
            let takes_first = |flow: &Datagrams| way(lab, flow, 4).is_ok_and(|taken| taken == 0);
            (0..4).all(|_| open(lab).is_ok_and(|flow| takes_first(&flow)))
        })?;
        let before = states(lab)?[1];
        for _ in 0..10 {
            ensure!(way(lab, &open(lab)?, 4)? == 0, "a new flow goes to the dead gateway");
        }
        ensure!(states(lab)?[1] <= before, "{:?}", lab.states()?);
        let (sent, answered) = steady.stop()?;
        ensure!(sent == answered && sent > 10, "the living one has lost {} of {sent}", sent - answered);

        lab.server.run("ip addr add 10.4.0.2/24 dev eth-up")?;
        lab.server.run(&format!("ip route replace 10.4.0.1/32 dev eth-up src {FAR}"))?;
        wait_until("the gateway to be used again", FOUND, || {
            open(lab).is_ok_and(|flow| way(lab, &flow, 4).is_ok_and(|taken| taken == 1))
        })
    });
}

/// A flow by the first way, a datagram each twentieth of a second.
fn steady_flow(lab: &Lab) -> Result<Stream> {
    for _ in 0..4 {
        let before = states(lab)?[0];
        let stream = Stream::start(&lab.client, address(FAR, PORT), Duration::from_millis(50))?;
        wait_until("the flow to be answered", PATIENCE, || stream.answered() > 0)?;
        if states(lab)?[0] > before {
            return Ok(stream);
        }
        stream.stop()?;
    }
    anyhow::bail!("no flow has taken the first way")
}

#[test]
fn answers_leave_where_the_question_came_in() {
    bed("replies", two_ways(), RULES, |lab| {
        prepare(lab)?;
        let _inside = Echo::start(&lab.client, PORT)?;
        let _own = Echo::start(&lab.firewall, PORT)?;
        // The server asks by the second way; the firewall's kernel knows the first one back.
        lab.firewall.run(&format!("ip route add {FAR} via 10.2.0.2 src 10.4.0.1"))?;
        lab.server.run(&format!("ip route add {}/32 via 10.4.0.1 dev eth-up src {FAR}", Lab::CLIENT))?;
        for target in [Lab::CLIENT, "10.4.0.1"] {
            let before = received(lab)?;
            for _ in 0..10 {
                sockets::ask(&lab.server, address(target, PORT), PATIENCE)?.succeeded(target)?;
            }
            let after = received(lab)?;
            let came = [after[0] - before[0], after[1] - before[1]];
            ensure!(came[1] >= 10 && came[0] < 5, "{target}: answers came by both ways: {came:?}");
            let mut stream =
                sockets::connect(&lab.server, address(target, PORT), PATIENCE)?.succeeded(target)?;
            sockets::converse(&mut stream)?;
        }
        // The other way round nothing is passed in, so that an answer there would have had no state.
        ensure!(states(lab)?[1] > 0, "{:?}", lab.states()?);
        Ok(())
    });
}
