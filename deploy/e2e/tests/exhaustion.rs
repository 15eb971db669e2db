//! Ports that run out, between real stacks: of one subscriber who has a block of them, and of everybody under an attack that takes
//! all. Whoever is not concerned notices nothing, and the operator sees what has happened.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::net::TcpStream;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use e2e::sockets::{self, Attempt, Echo, Stream, address};
use e2e::{Lab, Links, PATIENCE, bed, frames, wait_until};
use serde_json::Value;
use wire::checksum::Pseudo;
use wire::corpus::build;
use wire::ethernet::{self, Tags};
use wire::udp::{self, Cover};
use wire::{EtherType, Mac, Port, Proto, ipv4};

/// In which a question is asked once.
const ONCE: Duration = Duration::from_millis(500);

fn nat(lab: &Lab) -> Result<Value> {
    Ok(serde_json::from_str(&lab.tpctl("nat --json")?.text)?)
}

fn killed(lab: &Lab, words: &str) -> Result<()> {
    let said = lab.tpctl(&format!("states kill {words}"))?;
    ensure!(said.ok() && !said.text.contains("killed 0"), "{}", said.text);
    Ok(())
}

/// RFC 7422: eight subscribers have five ports each of two addresses that are routed to the firewall.
#[test]
fn a_subscriber_who_has_used_its_ports_up_costs_nobody_else_one() {
    const BLOCK: usize = 5;
    let rules = "block drop all\n\
        match out on wan0 inet from 10.1.0.0/29 nat-to 203.0.113.8/31 port 50000:50019 port-block 5\n\
        pass in on lan0\npass out on wan0\n";
    bed("port-block", Links::Tap, rules, |lab| {
        lab.server.run("ip route add 203.0.113.8/31 via 10.2.0.1")?;
        let _echoes = [Echo::start(&lab.server, 7)?, Echo::start(&lab.server, 8)?];
        let subscriber = |number: u8| -> Result<()> {
            lab.client.run(&format!("ip addr replace 10.1.0.{number}/24 dev eth-lan"))?;
            lab.client
                .run(&format!("ip route replace default via {} src 10.1.0.{number}", Lab::GATEWAY))
                .map(|_| ())
        };
        let attempt = |port, patience| -> Result<Attempt<TcpStream>> {
            sockets::connect(&lab.client, address(Lab::SERVER, port), patience)
        };
        let mut open = Vec::new();
        let before = lab.drops()?;
        for number in [2, 3, 4] {
            subscriber(number)?;
            for _ in 0..BLOCK {
                open.push(attempt(7, PATIENCE)?.succeeded(&format!("a port for subscriber {number}"))?);
            }
            if number == 2 {
                attempt(7, ONCE)?.timed_out("one more")?;
                // Towards another remote end the block is as good as new, and so it is for other protocols.
                open.push(attempt(8, PATIENCE)?.succeeded("towards another port")?);
                sockets::ask(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("by UDP")?;
                lab.client.run(&format!("ping -n -c 1 -W 5 {}", Lab::SERVER))?;
            }
        }
        open.iter_mut().try_for_each(sockets::converse)?;
        lab.expect_drops(&before, &[("lan0", "translate", 1)])?;
        ports_are_of_their_blocks(lab)?;
        blocks_are_shown(lab)?;

        killed(lab, "--from 10.1.0.2 --to 10.2.0.2")?;
        subscriber(2)?;
        attempt(7, PATIENCE)?.succeeded("once it has ports again").map(|_| ())
    });
}

/// What the server sees of each subscriber: its block, whole, and nothing else.
fn ports_are_of_their_blocks(lab: &Lab) -> Result<()> {
    let seen = lab.server.run("ss -Htn state established sport = :7")?;
    let mut peers: Vec<&str> =
        seen.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix("[::ffff:")).collect();
    peers.sort_unstable();
    let block =
        |address: &'static str, first: u16| (first..first + 5).map(move |port| format!("{address}]:{port}"));
    let expected = [("203.0.113.8", 50_010), ("203.0.113.8", 50_015), ("203.0.113.9", 50_000)];
    let expected = expected.into_iter().flat_map(|(address, first)| block(address, first));
    ensure!(expected.eq(peers.iter().copied()), "{peers:#?}");
    Ok(())
}

fn blocks_are_shown(lab: &Lab) -> Result<()> {
    let told = nat(lab)?;
    let counts = |number: u8| -> Result<[u64; 4]> {
        let source = format!("10.1.0.{number}");
        let block =
            told["blocks"].as_array().and_then(|all| all.iter().find(|of| of["subscriber"] == source));
        let block = block.with_context(|| format!("nothing of {source}: {told:#}"))?;
        ["tcp", "udp", "icmp", "exhausted"]
            .map(|of| block[of].as_u64())
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.try_into().ok())
            .with_context(|| format!("{block:#}"))
    };
    ensure!(counts(2)? == [6, 1, 1, 1], "{told:#}");
    ensure!(counts(3)? == [5, 0, 0, 0] && counts(4)? == [5, 0, 0, 0], "{told:#}");
    let text = lab.tpctl("nat")?.text;
    let line = text.lines().find(|line| line.starts_with("10.1.0.2 ")).context(text.clone())?;
    let words: Vec<&str> = line.split_whitespace().collect();
    ensure!(words == ["10.1.0.2", "203.0.113.8", "50010:50014", "8", "6", "1", "1", "0", "1"], "{text}");
    let who = lab.tpctl("nat --who 203.0.113.8:50012")?.text;
    ensure!(who == "10.1.0.2 has ports 50010 to 50014 of 203.0.113.8\n", "{who}");
    Ok(())
}

/// RFC 6056 §3.1: packets for a port on which a program of the firewall listens are that program's, not answers to somebody
/// behind it.
#[test]
fn a_port_that_the_firewall_itself_listens_on_is_nobodys_source() {
    const LISTENED: u16 = 50_002;
    /// In which the firewall has heard who listens.
    const HEARD: Duration = Duration::from_secs(3);
    let rules = "block drop all\n\
        match out on wan0 inet from lan0:network nat-to (wan0:0) port 50000:50003\n\
        pass in on lan0\npass out on wan0\n";
    bed("ports-listened", Links::Tap, rules, |lab| {
        let _echoes = [Echo::start(&lab.server, 7)?, Echo::start(&lab.server, 8)?];
        let program = Echo::start(&lab.firewall, LISTENED)?;
        std::thread::sleep(HEARD);
        let mut open = Vec::new();
        let attempt = |to, patience| sockets::connect(&lab.client, address(Lab::SERVER, to), patience);
        for remote in [7, 8] {
            for number in 1..=3 {
                let attempt = attempt(remote, PATIENCE)?;
                open.push(attempt.succeeded(&format!("connection {number} to port {remote}"))?);
            }
            attempt(remote, ONCE)?.timed_out("a fourth one")?;
        }
        open.iter_mut().try_for_each(sockets::converse)?;
        let seen = lab.server.run("ss -Htn state established")?;
        ensure!(!seen.contains(&format!(":{LISTENED}")), "{seen}");
        drop(program);
        for remote in [7, 8] {
            wait_until("a fourth one", PATIENCE, || {
                attempt(remote, ONCE).is_ok_and(|last| last.outcome.is_ok())
            })?;
        }
        Ok(())
    });
}

const RANGE: u64 = 256;
const ATTACKER: [u8; 4] = [10, 1, 0, 66];
/// Datagrams from as many ports of the attacker's.
const ATTACK: u16 = 8192;

#[test]
fn an_attack_that_takes_every_port_costs_established_flows_nothing() {
    // Nothing expires on a machine that is busy with other things for a while.
    let rules = "set timeout { udp.first 600 udp.single 600 udp.multiple 600 }\n\
        block drop all\n\
        match out on wan0 inet from lan0:network nat-to 10.2.0.1 port 50000:50255\n\
        pass in on lan0\npass out on wan0\n";
    bed("port-attack", Links::Tap, "", |lab| {
        lab.apply(&format!("{rules}{}", Lab::QUIET))?;
        let _echoes = [Echo::start(&lab.server, 7)?, Echo::start(&lab.server, 8)?];
        let to = address(Lab::SERVER, 7);
        let mut tcp = sockets::connect(&lab.client, to, PATIENCE)?.succeeded("connect")?;
        let stream = Stream::start(&lab.client, to, Duration::from_millis(10))?;
        wait_until("the flow to be answered", PATIENCE, || stream.answered() > 0)?;
        // Answers to the attacker go to an Ethernet address that nobody has.
        lab.firewall.run("ip neigh add 10.1.0.66 lladdr 02:00:00:00:00:66 dev lan0 nud permanent")?;
        let before = lab.drops()?;
        let attack = attack(lab)?;
        let sent = std::thread::scope(|scope| {
            let attack = attack.iter().map(Vec::as_slice);
            let attacker = scope.spawn(|| frames::send(lab, &lab.client, "eth-lan", attack));
            control_answers(lab, &attacker)?;
            attacker.join().map_err(|_| anyhow!("the attacker panicked"))?
        })?;
        ensure!(sent == u64::from(ATTACK), "{sent} were sent");
        // All but those that got one of the ports that the flow had left.
        let refused = sent - (RANGE - 1);
        lab.expect_drops(&before, &[("lan0", "translate", refused)])?;
        let told = nat(lab)?;
        let outside = &told["addresses"][0];
        ensure!(outside["udp"] == RANGE && outside["tcp"] == 1 && told["refused"] == refused, "{told:#}");

        // A new flow finds no port to this remote end, and one to any other.
        sockets::ask(&lab.client, to, ONCE)?.timed_out("no port is left")?;
        sockets::ask(&lab.client, address(Lab::SERVER, 8), PATIENCE)?.succeeded("towards another port")?;
        lab.expect_drops(&before, &[("lan0", "translate", refused + 1)])?;
        sockets::converse(&mut tcp)?;
        let (sent, answered) = stream.stop()?;
        ensure!(sent == answered, "the established flow has lost {} of {sent}", sent - answered);

        killed(lab, "--from 10.1.0.66")?;
        sockets::ask(&lab.client, to, PATIENCE)?.succeeded("once ports are free")?;
        lab.expect_drops(&before, &[("lan0", "translate", refused + 1)])
    });
}

/// What an operator asks for while the attack goes on is there within two seconds, but for what a busy machine holds up now and
/// then.
fn control_answers<T>(lab: &Lab, attacker: &ScopedJoinHandle<'_, T>) -> Result<()> {
    let mut took = Vec::new();
    while took.is_empty() || !attacker.is_finished() {
        for words in ["pfctl -si", "nat", "status"] {
            let begin = Instant::now();
            let said = lab.tpctl(words)?;
            ensure!(said.ok(), "{words}: {}", said.text);
            took.push(begin.elapsed());
        }
    }
    took.sort_unstable();
    let median = took[took.len() / 2];
    ensure!(median < Duration::from_secs(2), "{took:?}");
    Ok(())
}

/// A datagram from each of so many ports of the attacker's, as frames for the firewall.
fn attack(lab: &Lab) -> Result<Vec<Vec<u8>>> {
    let (from, to) = (ATTACKER.into(), Lab::SERVER.parse()?);
    let link = ethernet::Repr {
        dst: Mac(lab.firewall.mac("lan0")?),
        src: Mac([2, 0, 0, 0, 0, 0x66]),
        tags: Tags::None,
        ether_type: EtherType::IPV4,
    };
    let datagram = |port: u16| {
        let header = udp::Repr { src_port: Port(port), dst_port: Port(7), cover: Cover::Checksum };
        let datagram = build::udp(&Pseudo::V4(from, to), &header, b"mine");
        let mut frame = vec![0; link.len()];
        link.emit(&mut frame).expect("the room is there");
        frame.extend(build::ipv4(&ipv4::Repr::new(from, to, Proto::UDP, datagram.len()), &datagram));
        frame
    };
    Ok((1024..1024 + ATTACK).map(datagram).collect())
}
