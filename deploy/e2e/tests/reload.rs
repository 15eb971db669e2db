//! Rules replaced under traffic: nothing is lost or reset, states stay, and no packet ever meets a mix of two rulesets.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::sockets::{self, Echo, Stream, address};
use e2e::transfer::Download;
use e2e::{Lab, Links, WebServer, bed, wait_until};
use rustix::io::Errno;

const APPLIES: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(5);

/// Two rulesets that say the same of the traffic of the test, in other words and at other numbers.
const ONE: &str = "block drop all\npass in on lan0\npass out on wan0\n";
const OTHER: &str = "table <servers> { 10.2.0.2 fd00:2::2 10.9.0.0/16 }\n\
    block return all\n\
    block in on lan0 proto tcp to port 1:6\n\
    pass in on lan0 inet to <servers> tag INSIDE\n\
    pass in on lan0 inet6 to <servers> tag INSIDE\n\
    pass out on wan0 tagged INSIDE\n";

#[test]
fn fifty_applies_lose_nothing_over_tap_links() {
    bed("applies-tap", Links::Tap, ONE, fifty_applies);
}

#[test]
fn fifty_applies_lose_nothing_over_af_packet_links() {
    bed("applies-afp", Links::AfPacket, ONE, fifty_applies);
}

fn fifty_applies(lab: &mut Lab) -> Result<()> {
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let _echo = Echo::start(&lab.server, 7)?;
    let before = lab.drops()?;
    let mut download = Download::start(lab, &www, 16, 4)?;
    let stream = Stream::start(&lab.client, address(Lab::SERVER6, 7), Duration::from_millis(2))?;
    let mut old = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
    sockets::converse(&mut old)?;

    let begin = Instant::now();
    for number in 0..APPLIES {
        lab.rules(if number % 2 == 0 { OTHER } else { ONE })?;
        sockets::converse(&mut old)?;
        let mut new = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("anew")?;
        sockets::converse(&mut new)?;
    }
    println!("{APPLIES} applies in {:.2?}", begin.elapsed());
    ensure!(download.is_running(), "the download ended before the applies");
    ensure!(
        lab.show("status")?["generation"].as_u64() == Some(APPLIES + 1),
        "not every apply is a generation"
    );
    download.finish()?;
    let (sent, answered) = stream.stop()?;
    ensure!(sent > 20 && sent == answered, "{answered} of {sent} datagrams came back");
    lab.expect_drops(&before, &[])
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
        attempt.failed_at_once("a new connection under new rules", Errno::CONNREFUSED)?;

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

/// A packet that one ruleset tags and the other passes by that tag would pass under a mix of both, and under neither.
#[test]
fn no_packet_meets_a_mix_of_two_rulesets() {
    const RED: &str =
        "block drop all\npass in on lan0 tag RED no state\npass out on wan0 tagged BLUE no state\n";
    const BLUE: &str =
        "block drop all\npass in on lan0 tag BLUE no state\npass out on wan0 tagged RED no state\n";
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
