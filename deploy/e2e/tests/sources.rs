//! Limits on sources, as a host meets them that tries passwords: it is cut off, with all that it has open, by the dataplane
//! alone; others are not.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, SILENCE, address};
use e2e::{Lab, Links, PATIENCE, bed, wait_until};
use serde_json::Value;

const PORT: u16 = 2222;
const OTHER: u16 = 2223;
const RULES: &str = "table <brute> persist\n\
    block\n\
    block in quick from <brute>\n\
    pass out\n\
    pass in on lan0 proto tcp to port 2223\n\
    pass in on lan0 proto tcp to port 2222 keep state (max-src-conn-rate 5/30, overload <brute> flush global)\n";

fn open(lab: &Lab, port: u16, patience: Duration) -> Result<Option<TcpStream>> {
    let attempt = sockets::connect(&lab.client, address(Lab::SERVER, port), patience)?;
    Ok(attempt.succeeded("a connection").ok())
}

/// The source nodes, as pfctl's JSON tells them.
fn nodes(lab: &Lab) -> Result<Vec<Value>> {
    let said = lab.tpctl("pfctl -v -s Sources --json")?;
    let nodes: Value = serde_json::from_str(&said.text).with_context(|| said.text.clone())?;
    Ok(nodes.as_array().context("no list")?.clone())
}

fn holds(lab: &Lab, address: &str) -> Result<bool> {
    Ok(lab.tpctl("pfctl -t brute -T show")?.text.contains(address))
}

#[test]
fn e05_a_host_that_tries_passwords_is_cut_off_with_all_that_it_has_open() {
    bed("sources", Links::Tap, RULES, |lab| {
        let _echo = (Echo::start(&lab.server, PORT)?, Echo::start(&lab.server, OTHER)?);
        let mut bystander = open(lab, OTHER, PATIENCE)?.context("the other port is open")?;
        sockets::converse(&mut bystander)?;
        // Five in thirty seconds are let in, and work.
        let mut tries = Vec::new();
        for number in 0..5 {
            let mut stream =
                open(lab, PORT, PATIENCE)?.with_context(|| format!("number {number} is refused"))?;
            sockets::converse(&mut stream).with_context(|| format!("number {number}"))?;
            tries.push(stream);
        }
        let known = nodes(lab)?;
        ensure!(known.len() == 1 && known[0]["states"] == 5 && known[0]["connections"] == 5, "{known:?}");
        ensure!(known[0]["packets"].as_u64() > Some(20), "packets of live states: {known:?}");
        let shown = lab.tpctl("pfctl -s Sources")?.text;
        // The rate falls while one looks.
        ensure!(shown.contains("10.1.0.2 ( states 5, connections 5, rate "), "{shown}");
        ensure!(shown.contains("/30s )"), "{shown}");
        ensure!(!holds(lab, "10.1.0.2")?);

        // The handshake of the one that is too many, the sixth unless time has passed, seems to be completed to the client alone.
        let begin = Instant::now();
        wait_until("a connection to be too many", PATIENCE, || {
            let next = open(lab, PORT, PATIENCE).and_then(|next| next.context("the server answers its SYN"));
            next.and_then(|mut next| sockets::is_dead(&mut next)).is_ok()
        })?;
        wait_until("the table to hold it", PATIENCE, || holds(lab, "10.1.0.2").unwrap_or(false))?;
        wait_until("all its states to go", PATIENCE, || {
            lab.states().is_ok_and(|lines| !lines.iter().any(|line| line.contains("10.1.0.2:")))
        })?;
        eprintln!("cut off within {:?}", begin.elapsed());
        for stream in tries.iter_mut().chain([&mut bystander]) {
            // At once: the node is forgotten thirty seconds behind the last state.
            stream.set_read_timeout(Some(Duration::from_millis(200)))?;
            let asked = stream.write_all(b"question").and_then(|()| stream.read_exact(&mut [0; 8]));
            ensure!(asked.is_err(), "what was open works on");
        }
        let begins = |port| open(lab, port, SILENCE);
        ensure!(begins(PORT)?.is_none() && begins(OTHER)?.is_none(), "it may begin anew");

        let info = lab.tpctl("pfctl -v -s info")?.text;
        let counted = |name: &str| {
            let line = info.lines().find(|line| line.trim_start().starts_with(name));
            line.and_then(|line| line[name.len() + 2..].split_whitespace().next()?.parse::<u64>().ok())
        };
        for name in ["src-limit", "max-src-conn-rate", "overload table insertion", "overload flush states"] {
            ensure!(counted(name) > Some(0), "{name}: {info}");
        }
        // Who is forgiven may come again.
        lab.tpctl("pfctl -t brute -T delete 10.1.0.2")?;
        let killed = lab.tpctl("pfctl -K 10.1.0.2")?.text;
        ensure!(killed.contains("killed 1 src nodes from 1 sources and 0 destinations"), "{killed}");
        ensure!(nodes(lab)?.is_empty());
        let mut again = open(lab, PORT, PATIENCE)?.context("it is forgiven")?;
        sockets::converse(&mut again)?;
        let mut rest = Vec::new();
        again.set_read_timeout(Some(Duration::from_millis(100)))?;
        ensure!(again.read_to_end(&mut rest).is_err(), "it stays open");
        Ok(())
    });
}
