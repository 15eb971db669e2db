//! Two ways outside, and rules that choose among the routing tables of the firewall's kernel: flows leave by their table and follow
//! its changes, and an absent table refuses.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{Datagrams, Echo, SILENCE, address};
use e2e::{Lab, Links, PATIENCE, Shape, bed, wait_until};

/// Behind both gateways.
const FAR: &str = "192.0.2.1";
/// In which a question is answered, or not at all: routes are followed a moment after they are changed.
const ANSWER: Duration = Duration::from_secs(5);

/// The far address: what listens on every address answers from the one that the way back says.
fn prepare(lab: &Lab) -> Result<()> {
    lab.server.run(&format!("ip addr add {FAR}/32 dev lo"))?;
    lab.server.run(&format!("ip route replace default via {} src {FAR}", Lab::OUTSIDE))?;
    lab.server.run(&format!("ip route replace 10.4.0.1/32 dev eth-up src {FAR}")).map(|_| ())
}

/// The way that a flow takes: the only one by which the server receives its packets.
fn way(lab: &Lab, flow: &Datagrams, questions: u64) -> Result<usize> {
    let before = lab.received()?;
    for _ in 0..questions {
        flow.ask().context("a question without an answer")?;
    }
    let after = lab.received()?;
    // Neighbours may have something to say besides.
    let came = [after[0] - before[0], after[1] - before[1]];
    let taken = came.iter().position(|count| *count >= questions).context("it took no way")?;
    ensure!(came[1 - taken] < questions / 2, "it took both ways: {came:?}");
    Ok(taken)
}

/// By the main table the first way, by table 2 the second, by table 9 none: it is absent.
const BY_TABLES: &str = "block\n\
    pass out\n\
    match out on wan1 inet nat-to (wan1)\n\
    pass in on lan0 inet proto udp to port 7777\n\
    pass in on lan0 inet proto udp to port 7778 rtable 2\n\
    pass in on lan0 inet proto udp to port 7779 rtable 9\n";

fn open_to(lab: &Lab, port: u16) -> Result<Datagrams> {
    Datagrams::open(&lab.client, address(FAR, port), ANSWER)
}

/// What tpctl says with these words, whatever it thinks of it.
fn said(lab: &Lab, words: &str) -> Result<String> {
    Ok(lab.tpctl(words)?.text)
}

#[test]
fn rules_choose_a_routing_table() {
    bed("rtable", Shape { uplink: true, ..Links::Tap.into() }, BY_TABLES, |lab| {
        prepare(lab)?;
        let _echoes: Vec<Echo> =
            (7777..7780).map(|port| Echo::start(&lab.server, port)).collect::<Result<_>>()?;
        let _own = Echo::start(&lab.firewall, 7779)?;
        lab.firewall.run("ip route add default via 10.2.0.2")?;
        lab.firewall.run("ip route add default via 10.4.0.2 dev wan1 table 2")?;
        wait_until("the routes", PATIENCE, || {
            let second = said(lab, "show route 192.0.2.1 --table 2").is_ok_and(|text| text.contains("wan1"));
            second && said(lab, "show route 192.0.2.1").is_ok_and(|text| text.contains("wan0"))
        })?;
        ensure!(said(lab, "show routes")?.contains("table 2"), "{}", said(lab, "show routes")?);
        let flows: Vec<(Datagrams, usize)> = (0..6)
            .map(|number| Ok((open_to(lab, 7777 + (number % 2) as u16)?, number % 2)))
            .collect::<Result<_>>()?;
        for (flow, wanted) in flows.iter().chain(&flows) {
            ensure!(way(lab, flow, 20)? == *wanted, "a flow leaves by another table than its rule's");
        }

        follow_changes(lab, &flows[1].0)?;
        refuse_by_an_absent_table(lab)
    });
}

/// A flow that is there follows the routes of its table, and no others.
fn follow_changes(lab: &Lab, flow: &Datagrams) -> Result<()> {
    lab.firewall.run("ip route replace default via 10.2.0.2 dev wan0 table 2")?;
    wait_until("the flow to take the first way", PATIENCE, || way(lab, flow, 4).is_ok_and(|way| way == 0))?;
    lab.firewall.run("ip route replace default via 10.4.0.2 dev wan1 table 2")?;
    wait_until("the flow to take the second way", PATIENCE, || way(lab, flow, 4).is_ok_and(|way| way == 1))?;
    lab.firewall.run("ip route replace blackhole 192.0.2.1")?;
    wait_until("the main table to refuse", PATIENCE, || {
        said(lab, "show route 192.0.2.1").is_ok_and(|text| text.contains("blackhole"))
    })?;
    ensure!(way(lab, flow, 20)? == 1, "a flow of table 2 follows the main table");
    lab.firewall.run("ip route del blackhole 192.0.2.1").map(|_| ())
}

/// Refused with the reason and the rule, found by check and doctor, and passed as soon as the table has a route. The firewall's
/// own host is reached all the same.
fn refuse_by_an_absent_table(lab: &Lab) -> Result<()> {
    let check = format!("check {}", lab.folder.join("pf.conf").display());
    let (warning, finding) =
        ("routing table 9 has no routes", "empty-rtable: a rule has packets routed by table 9");
    let before = lab.drops()?;
    let flow = Datagrams::open(&lab.client, address(FAR, 7779), SILENCE)?;
    for _ in 0..3 {
        ensure!(flow.ask().is_err(), "an absent table leads somewhere");
    }
    lab.expect_drops(&before, &[("lan0", "no-route", 3)])?;
    let told = said(lab, "drops")?;
    ensure!(told.contains("port = 7779 rtable 9"), "drops does not name the rule:\n{told}");
    let told = said(lab, &check)?;
    ensure!(told.contains(warning) && !told.contains("table 2"), "check said:\n{told}");
    let told = said(lab, "doctor")?;
    ensure!(told.contains(finding), "doctor said:\n{told}");
    let own = Datagrams::open(&lab.client, address(Lab::GATEWAY, 7779), PATIENCE)?;
    own.ask().context("the firewall's own host")?;

    lab.firewall.run("ip route add default via 10.4.0.2 dev wan1 table 9")?;
    wait_until("the table that came to be used", PATIENCE, || way(lab, &flow, 4).is_ok_and(|way| way == 1))?;
    ensure!(!said(lab, &check)?.contains(warning), "check warns of a table with a route");
    ensure!(!said(lab, "doctor")?.contains(finding), "doctor warns of a table with a route");
    Ok(())
}
