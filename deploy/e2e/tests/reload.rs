//! Rules replaced under traffic: nothing is lost or reset, states stay, and no packet ever meets a mix of two rulesets.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, Stream, address};
use e2e::transfer::Download;
use e2e::{Control, Lab, Links, PATIENCE, WebServer, bed, wait_until};
use rustix::io::Errno;

/// `few` in the short run, `many` with `TURNPIKE_LONG`.
fn count(few: u64, many: u64) -> u64 {
    if std::env::var_os("TURNPIKE_LONG").is_some() { many } else { few }
}

/// Two rulesets that say the same of the traffic of the test, in other words and at other numbers.
const ONE: &str = "block drop all\npass in on lan0\npass out on wan0\n";
const OTHER: &str = "table <servers> { 10.2.0.2 fd00:2::2 10.9.0.0/16 }\n\
    block return all\n\
    block in on lan0 proto tcp to port 1:6\n\
    pass in on lan0 inet to <servers> tag INSIDE\n\
    pass in on lan0 inet6 to <servers> tag INSIDE\n\
    pass out on wan0 tagged INSIDE\n";

#[test]
fn f01_reloads_lose_nothing_over_tap_links() {
    bed("reloads-tap", Links::Tap, ONE, |lab| reloads(lab, count(50, 1000)));
}

#[test]
fn f01_reloads_lose_nothing_over_af_packet_links() {
    bed("reloads-afp", Links::AfPacket, ONE, |lab| reloads(lab, count(100, 10_000)));
}

/// Replaces rules under a download, datagrams and many conversations; whatever is lost or reset, an end point notices.
fn reloads(lab: &mut Lab, applies: u64) -> Result<()> {
    /// At most 20 a second.
    const PACE: Duration = Duration::from_millis(50);
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let _echo = Echo::start(&lab.server, 7)?;
    let before = lab.drops()?;
    let mut download = Download::start(lab, &www, 16, 4)?;
    let stream = Stream::start(&lab.client, address(Lab::SERVER6, 7), Duration::from_millis(2))?;
    let connect = |_| {
        let mut flow =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut flow).map(|()| flow)
    };
    let mut flows: Vec<_> = (0..count(50, 1000)).map(connect).collect::<Result<_>>()?;
    let resets = resets(lab)?;

    let begin = Instant::now();
    let mut number = 0;
    while number < applies || download.is_running() {
        let next = Instant::now() + PACE;
        lab.rules(if number % 2 == 0 { OTHER } else { ONE })?;
        let at = number as usize % flows.len();
        sockets::converse(&mut flows[at])?;
        connect(number)?;
        number += 1;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    println!("{number} applies in {:.2?}, {} flows", begin.elapsed(), flows.len());
    for flow in &mut flows {
        sockets::converse(flow)?;
    }
    ensure!(
        lab.show("status")?["generation"].as_u64() == Some(number + 1),
        "not every apply is a generation"
    );
    download.finish()?;
    let (sent, answered) = stream.stop()?;
    ensure!(sent > 20 && sent == answered, "{answered} of {sent} datagrams came back");
    ensure!(self::resets(lab)? == resets, "a station saw or sent a reset");
    lab.expect_drops(&before, &[])
}

/// Connections that were reset, and resets that were sent, as the kernels of client and server count them.
fn resets(lab: &Lab) -> Result<Vec<String>> {
    let mut counts = Vec::new();
    for station in [&lab.client, &lab.server] {
        let text = station.run("nstat -asz TcpEstabResets TcpOutRsts")?;
        counts.extend(text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned));
    }
    ensure!(counts.len() == 4, "not the kernels' counters: {counts:?}");
    Ok(counts)
}

#[test]
fn states_outlive_their_rules_and_changed_rules_meet_new_connections() {
    const WITHOUT: &str = "block return all\n";
    const SHIFTED: &str =
        "block drop all\nblock drop in on lan0 proto udp to port 9\npass in on lan0\npass out on wan0\n";
    bed("states-survive", Links::Tap, ONE, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut old =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut old)?;
        let port = old.local_addr()?.port();
        let first = rules_of(lab, port)?;
        ensure!(first.len() == 2, "two states, each with its rule: {first:?}");

        lab.rules(SHIFTED)?;
        sockets::converse(&mut old)?;
        let shifted = rules_of(lab, port)?;
        let expected: Vec<Option<u32>> = first.iter().map(|rule| rule.map(|number| number + 1)).collect();
        ensure!(shifted == expected, "the rules are one further down: {first:?} became {shifted:?}");

        lab.rules(WITHOUT)?;
        sockets::converse(&mut old)?;
        ensure!(rules_of(lab, port)? == [None, None], "the rules are gone: {:?}", rules_of(lab, port)?);
        let attempt = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?;
        attempt.failed_with("a new connection under new rules", Errno::CONNREFUSED)?;

        lab.rules(ONE)?;
        sockets::converse(&mut old)?;
        ensure!(rules_of(lab, port)? == first, "the same rules again: {:?}", rules_of(lab, port)?);
        sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?
            .succeeded("when it is passed again")?;
        Ok(())
    });
}

/// The rule numbers of the states of a client's port, as `tpctl states -v` shows them; none where it shows `-`.
fn rules_of(lab: &Lab, port: u16) -> Result<Vec<Option<u32>>> {
    let text = lab.tpctl("states -v")?.text;
    let mut rules = Vec::new();
    let mut of_port = false;
    for line in text.lines() {
        if line.starts_with("all ") {
            of_port = line.contains(&format!("{}:{port} ", Lab::CLIENT));
        } else if let Some((_, rule)) = line.split_once(" rule ").filter(|_| of_port) {
            let word = rule.split([',', ' ']).next().unwrap_or_default();
            ensure!(word == "-" || word.parse::<u32>().is_ok(), "not a rule: {line}");
            rules.push(word.parse().ok());
        }
    }
    Ok(rules)
}

/// A packet that one ruleset tags and the other passes by that tag would pass under a mix of both, and under neither; so
/// would one that is in the table of one ruleset, under the rules of the other.
#[test]
fn f02_no_packet_meets_a_mix_of_two_rulesets() {
    const APPLIES: u64 = 50;
    const RED: &str = "table <servers> { 10.2.0.2 fd00:2::2 }\nblock drop all\n\
        pass in on lan0 to <servers> tag RED no state\npass out on wan0 tagged BLUE no state\n";
    const BLUE: &str = "table <servers> { 10.9.0.0/16 }\nblock drop all\n\
        pass in on lan0 tag BLUE no state\npass out on wan0 tagged RED no state\n\
        pass out on wan0 to <servers> no state\n";
    bed("mix", Links::AfPacket, RED, |lab| {
        let echo = Echo::start(&lab.server, 7)?;
        let streams: Vec<Stream> = [Lab::SERVER, Lab::SERVER6, Lab::SERVER]
            .iter()
            .map(|server| Stream::start(&lab.client, address(server, 7), Duration::from_micros(500)))
            .collect::<Result<_>>()?;
        let (begin, mut applies) = (Instant::now(), 0);
        while applies < APPLIES || begin.elapsed() < Duration::from_secs(2) {
            lab.rules(if applies % 2 == 0 { BLUE } else { RED })?;
            applies += 1;
        }
        let mut sent = 0;
        for stream in streams {
            sent += stream.abandon();
        }
        println!("{sent} datagrams under {applies} applies");
        ensure!(sent > 100, "only {sent} datagrams were sent");
        ensure!(echo.datagrams() == 0, "{} of {sent} datagrams met a mix of rules", echo.datagrams());
        // Each would have passed if one ruleset tagged and passed alike.
        lab.rules(
            "block drop all\npass in on lan0 tag RED no state\npass out on wan0 tagged RED no state\n",
        )?;
        let probe = Stream::start(&lab.client, address(Lab::SERVER, 7), Duration::from_millis(5))?;
        wait_until("datagrams to pass", PATIENCE, || echo.datagrams() > 0)?;
        probe.stop().map(|_| ())
    });
}

/// Control dies under load and comes back: no packet is lost, it finds what is live, and no counter goes back.
#[test]
fn f06_a_killed_control_loses_nothing_and_comes_back_to_what_is_live() {
    bed("control-killed", Links::Tap, "", |lab| {
        let www = lab.folder.join("www");
        std::fs::create_dir(&www)?;
        let _web = WebServer::start(&lab.server, &www)?;
        let _echo = Echo::start(&lab.server, 7)?;
        let control = Control::start(lab)?;
        let path = lab.folder.join("pf.conf");
        std::fs::write(&path, format!("{}{ONE}", Lab::QUIET))?;
        let said = control.tpctl(lab, &format!("apply {}", path.display()))?;
        ensure!(said.ok(), "{}", said.text);
        let generation = lab.show("status")?["generation"].as_u64().context("a generation")?;
        let drops = lab.drops()?;
        let mut old =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        let stream = Stream::start(&lab.client, address(Lab::SERVER6, 7), Duration::from_millis(2))?;
        let mut download = Download::start(lab, &www, 16, 2)?;
        wait_until("datagrams to be answered", PATIENCE, || stream.answered() > 50)?;
        let before = control.metrics(lab)?;
        let live = control.status(lab)?["live"].clone();

        control.kill()?;
        let end = Instant::now() + Duration::from_secs(count(2, 60));
        while Instant::now() < end {
            sockets::converse(&mut old)?;
            std::thread::sleep(Duration::from_millis(100));
        }
        if std::env::var_os("TURNPIKE_LONG").is_none() {
            ensure!(download.is_running(), "the download ended too early");
        }
        ensure!(lab.show("status")?["generation"].as_u64() == Some(generation), "other rules are live");

        let control = Control::start(lab)?;
        let status = control.status(lab)?;
        ensure!(status["live"] == live, "it came back to {}, not {live}", status["live"]);
        ensure!(status["dataplane"]["generation"].as_u64() == Some(generation), "it committed something");
        let after = control.metrics(lab)?;
        let mut compared = 0;
        for (series, value) in before.counters().filter(|(series, _)| !series.contains("apply")) {
            ensure!(after.value(series)? >= value, "{series} went back from {value}");
            compared += 1;
        }
        ensure!(compared > 20, "only {compared} counters");
        let lan = "turnpike_rx_packets_total{interface=\"lan0\"}";
        ensure!(after.value(lan)? > before.value(lan)? + 100.0, "no load while it was away");
        sockets::converse(&mut old)?;
        download.finish()?;
        let (sent, answered) = stream.stop()?;
        ensure!(sent > 100 && sent == answered, "{answered} of {sent} datagrams came back");
        lab.expect_drops(&drops, &[])?;
        // And it can do what it is there for.
        std::fs::write(&path, format!("{}{OTHER}", Lab::QUIET))?;
        let said = control.tpctl(lab, &format!("apply {}", path.display()))?;
        ensure!(said.ok(), "{}", said.text);
        ensure!(lab.show("status")?["generation"].as_u64() == Some(generation + 1), "no new generation");
        Ok(())
    });
}

/// States are listed while they are made and expire by the thousand.
#[test]
fn f09_lists_end_and_repeat_nothing_under_a_flood() {
    const FLOOD: &str = "pass in on lan0 keep state (udp.first 1, udp.single 1)\n\
        pass out on wan0 keep state (udp.first 1, udp.single 1)\n";
    bed("flood", Links::AfPacket, FLOOD, |lab| {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let flood = lab.client.beside(move || -> std::io::Result<u64> {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                // Each port of the server is another flow; nobody listens there.
                let port = 1024 + (sent % 60_000) as u16;
                sent += u64::from(socket.send_to(b"one of many", (Lab::SERVER, port)).is_ok());
                if sent % 32 == 0 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Ok(sent)
        })?;
        let end = Instant::now() + Duration::from_secs(count(3, 20));
        let (mut lists, mut most) = (0, 0);
        while Instant::now() < end || lists < 3 {
            let said = lab.tpctl("states --json")?;
            ensure!(said.ok(), "{}", said.text);
            most = most.max(listed(&said.text)?);
            lists += 1;
            if lists % 3 == 0 {
                lab.rules(FLOOD)?;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))???;
        println!("{lists} lists of up to {most} states under {sent} datagrams");
        ensure!(sent > 1000 && most > 100, "no flood: {sent} datagrams, {most} states");
        // When all is quiet, what is counted is what is listed.
        wait_until("the states to expire", PATIENCE, || {
            lab.states().is_ok_and(|states| states.is_empty())
                && lab.show("status").is_ok_and(|status| status["states"].as_u64() == Some(0))
        })
    });
}

/// How many states a list has; each once.
fn listed(json: &str) -> Result<usize> {
    let list: serde_json::Value = serde_json::from_str(json).context("not JSON")?;
    let states = list.as_array().context("not a list")?;
    let ids: HashSet<u64> = states.iter().filter_map(|state| state["id"].as_u64()).collect();
    ensure!(ids.len() == states.len(), "{} states have {} ids", states.len(), ids.len());
    Ok(states.len())
}
