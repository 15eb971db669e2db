//! Broken networks, each built, and found by `tpctl doctor` with its evidence, its rule and its cure; and a healthy one, in
//! which it finds nothing.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::sockets::{self, Datagrams, Echo, address};
use e2e::{Lab, Links, PATIENCE, Shape, bed, frames, transfer, wait_until};
use serde_json::Value;
use wire::checksum::Pseudo;
use wire::ethernet::{self, Tags};
use wire::{EtherType, Mac, Port, Proto, Seq, TcpFlags, ipv4, tcp};

const OPEN: &str = "block drop all\npass in on lan0\npass out on wan0\npass out on lan0\n";
/// In which a SYN is sent again once.
const ONE_REPEAT: Duration = Duration::from_millis(2500);

/// What the doctor finds.
fn findings(lab: &Lab) -> Result<Vec<Value>> {
    let said = lab.tpctl("doctor --json")?;
    let report: Value = serde_json::from_str(&said.text).with_context(|| said.text.clone())?;
    let findings = report["findings"].as_array().context("no findings")?.clone();
    let code = if findings.is_empty() { 0 } else { 1 };
    ensure!(
        said.code == Some(code) && report["healthy"] == findings.is_empty(),
        "{:?}: {}",
        said.code,
        said.text
    );
    Ok(findings)
}

/// Waits until the doctor finds this, perhaps beside what follows from it, with these words; returns all that it finds.
fn finds_among(lab: &Lab, check: &str, words: &[&str]) -> Result<Vec<Value>> {
    let mut found = Vec::new();
    let reached = wait_until(check, PATIENCE, || {
        found = findings(lab).unwrap_or_default();
        found.iter().any(|finding| finding["check"] == check)
    });
    reached.with_context(|| format!("{found:#?}"))?;
    let told = found.iter().filter(|finding| finding["check"] == check).map(Value::to_string);
    let told: String = told.collect();
    for word in words {
        ensure!(told.contains(word), "{check} says nothing of {word}: {found:#?}");
    }
    Ok(found)
}

/// Waits until the doctor finds this alone, and returns it.
fn finds(lab: &Lab, check: &str, words: &[&str]) -> Result<Value> {
    let mut found = finds_among(lab, check, words)?;
    ensure!(found.len() == 1, "more than {check}: {found:#?}");
    let said = lab.tpctl("doctor")?;
    ensure!(said.code == Some(1) && said.text.contains(&format!("{check}: ")), "{}", said.text);
    eprintln!("{}", said.text);
    Ok(found.remove(0))
}

#[test]
fn a_healthy_network_yields_no_finding() {
    bed("doctor-healthy", Links::AfPacket, OPEN, |lab| {
        transfer::both_ways(lab, [Lab::SERVER, Lab::SERVER6], 4)?;
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        Datagrams::open(&lab.client, address(Lab::SERVER6, 7), PATIENCE)?.ask()?;
        lab.client.run(&format!("ping -n -c 2 -i 0.2 {}", Lab::SERVER))?;
        // A refused connection and a blocked one belong to every day.
        let _ = sockets::connect(&lab.client, address(Lab::SERVER, 9), PATIENCE)?;
        let _ = sockets::connect(&lab.server, address(Lab::CLIENT, 22), Duration::from_millis(300))?;
        let found = findings(lab)?;
        ensure!(found.is_empty(), "{found:#?}");
        ensure!(lab.tpctl("doctor")?.text.contains("nothing is wrong"), "it says so");
        Ok(())
    });
}

#[test]
fn a_server_without_a_way_back_is_found() {
    bed("doctor-silent", Links::Tap, OPEN, |lab| {
        lab.server.run("ip route del default")?;
        let _echo = Echo::start(&lab.server, 7)?;
        sockets::connect(&lab.client, address(Lab::SERVER, 7), ONE_REPEAT)?.timed_out("no way back")?;
        let rule = finds(
            lab,
            "no-answers",
            &[Lab::SERVER, "answers would have to come in there", "wan0", ":0 pkts"],
        )?;
        ensure!(rule["rule"]["line"].as_u64().is_some(), "{rule:#}");
        Ok(())
    });
}

#[test]
fn nat_to_an_address_that_nobody_has_is_found() {
    let rules = format!("{OPEN}match out on wan0 inet from lan0:network nat-to 10.2.0.99\n");
    bed("doctor-nat", Links::Tap, &rules, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        sockets::connect(&lab.client, address(Lab::SERVER, 7), ONE_REPEAT)?.timed_out("translated")?;
        finds(lab, "one-way-nat", &["10.2.0.99", "ip addr add 10.2.0.99/32 dev wan0"]).map(|_| ())
    });
}

#[test]
fn a_neighbour_that_does_not_answer_is_found() {
    bed("doctor-neighbor", Links::Tap, OPEN, |lab| {
        let _ = lab.client.try_run("ping -n -c 3 -i 0.5 -W 1 10.2.0.77")?;
        // Its echo requests have no answers either.
        finds_among(lab, "neighbor", &["10.2.0.77 on wan0 does not answer ARP"]).map(|_| ())
    });
}

/// What the kernel calls by another name is not there for the dataplane: its routes go with it.
#[test]
fn a_host_interface_under_another_name_is_found() {
    bed("doctor-renamed", Links::Tap, OPEN, |lab| {
        for step in ["link set lan0 down", "link set lan0 name inside0", "link set inside0 up"] {
            lab.firewall.run(&format!("ip {step}"))?;
        }
        let _ = lab.client.try_run(&format!("ping -n -c 3 -i 0.3 -W 1 {}", Lab::SERVER))?;
        let words = ["lan0 is down and has no address", "port-down", "ip addr show lan0"];
        finds_among(lab, "link-down", &words).map(|_| ())
    });
}

/// The port has another name than the rules have for it.
#[test]
fn rules_for_an_interface_that_there_is_not_are_found() {
    let rules = "block drop all\npass in on inside0\npass out on wan0\n";
    bed("doctor-absent", Links::Tap, rules, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        ensure!(findings(lab)?.is_empty(), "nothing is blocked yet");
        sockets::connect(&lab.client, address(Lab::SERVER, 7), ONE_REPEAT)?
            .timed_out("no rule is for lan0")?;
        let words = ["a rule is for inside0", "there are lan0, wan0", "blocked in on it: tcp 10.1.0.2"];
        let found = finds(lab, "absent-interface", &words)?;
        ensure!(found["rule"]["line"] == 3, "{found:#}");
        // The cure is one.
        lab.rules(&rules.replace("inside0", "lan0"))?;
        sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("by its name").map(|_| ())
    });
}

#[test]
fn a_link_that_is_down_is_found() {
    bed("doctor-down", Links::AfPacket, OPEN, |lab| {
        lab.client.run(&format!("ping -n -c 1 -W 2 {}", Lab::SERVER))?;
        lab.server.run("ip link set eth-wan down")?;
        let _ = lab.client.try_run(&format!("ping -n -c 5 -i 0.3 -W 1 {}", Lab::SERVER))?;
        let words = ["wan0, which is down", "port-down", "icmp 10.1.0.2 > 10.2.0.2"];
        finds_among(lab, "link-down", &words).map(|_| ())
    });
}

/// Each of two routers takes the other one for the way to a network that is gone.
#[test]
fn packets_in_circles_are_found() {
    bed("doctor-circles", Links::Tap, "pass\n", |lab| {
        lab.server.run("sysctl -qw net.ipv4.ip_forward=1")?;
        lab.server.run(&format!("ip route add 10.9.0.0/24 via {}", Lab::OUTSIDE))?;
        lab.firewall.run(&format!("ip route add 10.9.0.0/24 via {}", Lab::SERVER))?;
        // Of an even number of hops the last one is the other router's.
        let _ = lab.client.try_run("ping -n -c 2 -i 0.3 -W 1 -t 63 10.9.0.1")?;
        let words = ["10.9.0.1 go in circles by wan0", Lab::SERVER, "blackhole"];
        finds_among(lab, "routing-loop", &words).map(|_| ())
    });
}

#[test]
fn a_state_from_the_middle_of_a_connection_is_found() {
    bed("doctor-middle", Links::Tap, "pass no state\n", |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        lab.rules("pass flags any\n")?;
        sockets::converse(&mut tcp)?;
        let found = finds(lab, "no-window-scaling", &["flags S/SA", "no wscale"])?;
        ensure!(found["rule"]["text"].as_str().is_some_and(|text| text.contains("flags any")), "{found:#}");
        Ok(())
    });
}

#[test]
fn a_connection_whose_both_ends_come_in_is_found() {
    let rules = "pass in proto tcp flags any\npass out no state\n";
    bed("doctor-direction", Links::Tap, rules, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        finds_among(lab, "direction", &["seen going in"]).map(|_| ())
    });
}

#[test]
fn a_limit_that_is_reached_is_found() {
    let rules = format!("set limit states 4\n{OPEN}");
    bed("doctor-limit", Links::Tap, &rules, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut open = Vec::new();
        for _ in 0..2 {
            let tcp = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?;
            open.push(tcp.succeeded("a connection within the limit")?);
        }
        sockets::connect(&lab.client, address(Lab::SERVER, 7), ONE_REPEAT)?.timed_out("one too many")?;
        finds(lab, "state-limit", &["4 states of 4", "set limit states"]).map(|_| ())
    });
}

#[test]
fn a_source_that_has_as_much_as_it_may_is_found() {
    let rules = "block drop all\npass in on lan0 proto tcp keep state (max-src-states 2)\npass out on wan0\n";
    bed("doctor-source", Links::Tap, rules, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut open = Vec::new();
        for _ in 0..2 {
            let tcp = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?;
            open.push(tcp.succeeded("a connection within the limit")?);
        }
        sockets::connect(&lab.client, address(Lab::SERVER, 7), ONE_REPEAT)?.timed_out("one too many")?;
        finds(lab, "source-limit", &["\"line\":3", "max-src-states 2", Lab::CLIENT]).map(|_| ())
    });
}

#[test]
fn a_sender_that_does_not_hear_of_a_narrow_path_is_found() {
    let shape = Shape { mtu: [1500, 1280], ..Links::AfPacket.into() };
    bed("doctor-mtu", shape, OPEN, |lab| {
        // It sends without regard to what it is told.
        let (client, server) = (Lab::CLIENT.parse()?, Lab::SERVER.parse()?);
        let large = Segment {
            from: (client, 5000),
            to: (server, 7),
            flags: TcpFlags::SYN,
            len: 1400,
            ..Segment::new("lan0")
        };
        let frame = large.frame(lab)?;
        for _ in 0..4 {
            frames::send(lab, &lab.client, "eth-lan", [frame.as_slice()])?;
            std::thread::sleep(Duration::from_millis(500));
        }
        finds(lab, "mtu", &["too large for wan0", "an MTU of 1280", "code 4"]).map(|_| ())
    });
}

/// The server answers by another way than it is asked by, from the first packet on or from one day to the next.
#[test]
fn states_bound_to_an_interface_on_an_asymmetric_path_are_found() {
    const PORT: u16 = 7;
    let rules = "set state-policy if-bound\nblock drop all\npass in on lan0\npass out on { wan0 wan1 }\n";
    let shape = Shape { uplink: true, ..Links::Tap.into() };
    bed("doctor-bound", shape, rules, |lab| {
        let _echo = Echo::start(&lab.server, PORT)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, PORT), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        ensure!(findings(lab)?.is_empty(), "the path is symmetric");
        lab.server.run(&format!("ip route replace {}/32 via 10.4.0.1 dev eth-up", Lab::CLIENT))?;
        sockets::is_dead(&mut tcp).context("what comes by wan1 has no state there")?;
        let found =
            finds_among(lab, "if-bound", &["comes by wan1", "bound to wan0", "set state-policy floating"])?;
        let finding = found.iter().find(|finding| finding["check"] == "if-bound").context("it was there")?;
        ensure!(finding["rule"]["line"] == 5, "{finding:#}");
        drop(tcp);
        done_with_states(lab)?;
        sockets::connect(&lab.client, address(Lab::SERVER, PORT), ONE_REPEAT)?.timed_out("a new one")?;
        finds_among(lab, "if-bound", &["answers come by wan1 and the state is bound to wan0"])?;
        // The cure is one.
        lab.rules(&rules.replace("if-bound", "floating"))?;
        done_with_states(lab)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, PORT), PATIENCE)?.succeeded("floating")?;
        sockets::converse(&mut tcp)
    });
}

fn done_with_states(lab: &Lab) -> Result<()> {
    let said = lab.tpctl("pfctl -F states")?;
    ensure!(said.ok(), "{}", said.text);
    Ok(())
}

/// A router behind sends back what it has no better way for: each packet comes again until it has no hop left.
#[test]
fn a_worker_without_time_left_is_found() {
    const ASTRAY: &str = "203.0.113.9";
    bed("doctor-overload", Links::Tap, "pass no state\n", |lab| {
        lab.server.run("sysctl -qw net.ipv4.ip_forward=1")?;
        lab.server.run(&format!("ip route add {ASTRAY}/32 via 10.2.0.1"))?;
        lab.firewall.run(&format!("ip route add {ASTRAY}/32 via {}", Lab::SERVER))?;
        let _flood = sockets::Flood::start(&lab.client, address(ASTRAY, 9))?;
        finds_among(lab, "worker-overload", &["worker 0 has no time left", "lcores"]).map(|_| ())
    });
}

#[test]
fn offload_to_a_card_that_is_none_is_found() {
    bed("doctor-offload", Links::AfPacket, OPEN, |lab| {
        lab.client.run("ethtool -K eth-lan tx on")?;
        let _echo = Echo::start(&lab.server, 7)?;
        let _ = sockets::connect(&lab.client, address(Lab::SERVER, 7), ONE_REPEAT)?;
        finds_among(lab, "offload", &["ethtool -K"]).map(|_| ())
    });
}

#[test]
fn segments_outside_of_the_window_are_found_and_explained() {
    bed("doctor-window", Links::Tap, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        let before = lab.drops()?;
        let port = tcp.local_addr()?.port();
        let (server, client) = (Lab::SERVER.parse()?, Lab::CLIENT.parse()?);
        let (next, expected) = sequence(lab, port)?;
        // A middlebox that moves the server's numbers by 100 MB.
        let seq = next.wrapping_add(100_000_000);
        let astray =
            Segment { from: (server, 7), to: (client, port), seq, ack: expected, ..Segment::new("wan0") };
        let astray = astray.frame(lab)?;
        for _ in 0..3 {
            frames::send(lab, &lab.server, "eth-wan", [astray.as_slice()])?;
        }
        lab.expect_drops(&before, &[("wan0", "state-mismatch", 3)])?;
        finds(lab, "window", &["(1) ends", "octets beyond the window", "sequence numbers"])?;
        let told = lab.tpctl("drops --reason state-mismatch")?.text;
        ensure!(told.contains("(1) ends") && told.contains("in on wan0: tcp 10.2.0.2:7 >"), "{told}");
        eprintln!("{told}");
        // The connection has not suffered.
        sockets::converse(&mut tcp)
    });
}

/// A middlebox takes the timestamps out of segments behind the handshake (RFC 7323 §3.2).
#[test]
fn segments_without_their_timestamps_are_found() {
    bed("doctor-stamps", Links::Tap, "match scrub (reassemble tcp)\npass\n", |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        let before = lab.drops()?;
        let port = tcp.local_addr()?.port();
        let (server, client) = (Lab::SERVER.parse()?, Lab::CLIENT.parse()?);
        let (seq, ack) = sequence(lab, port)?;
        let bare = Segment { from: (server, 7), to: (client, port), seq, ack, ..Segment::new("wan0") };
        let bare = bare.frame(lab)?;
        for _ in 0..3 {
            frames::send(lab, &lab.server, "eth-wan", [bare.as_slice()])?;
        }
        lab.expect_drops(&before, &[("wan0", "bad-timestamp", 3)])?;
        let words = ["10.2.0.2:7 sends timestamps to 10.1.0.2", "3 of the examples", "reassemble tcp"];
        let found = finds(lab, "timestamp", &words)?;
        ensure!(found["rule"]["line"].as_u64().is_some(), "{found:#}");
        sockets::converse(&mut tcp)
    });
}

#[test]
fn a_mismatch_is_logged_as_pf_logs_it_once_that_is_asked_for() {
    bed("doctor-loud", Links::Tap, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        let port = tcp.local_addr()?.port();
        let (server, client) = (Lab::SERVER.parse()?, Lab::CLIENT.parse()?);
        let (next, expected) = sequence(lab, port)?;
        let seq = next.wrapping_add(100_000_000);
        let astray =
            Segment { from: (server, 7), to: (client, port), seq, ack: expected, ..Segment::new("wan0") };
        let astray = astray.frame(lab)?;
        let send = || frames::send(lab, &lab.server, "eth-wan", [astray.as_slice()]);
        let logged = || lab.dataplane.said().contains("BAD state");
        let before = lab.drops()?;
        send()?;
        lab.expect_drops(&before, &[("wan0", "state-mismatch", 1)])?;
        ensure!(!logged(), "nobody asked for it");
        ensure!(lab.tpctl("pfctl -x loud")?.ok(), "-x loud");
        send()?;
        wait_until("the line", PATIENCE, logged)?;
        let said = lab.dataplane.said();
        let line = said.lines().find(|line| line.contains("BAD state")).unwrap_or_default();
        let ends = format!("wire: (0) 10.2.0.2:7 10.1.0.2:{port} stack: (0) -");
        for part in
            ["pf: BAD state: TCP out", &ends, "4:4 @", "dir=in,rev", "State failure on: 1         | 5"]
        {
            ensure!(line.contains(part), "{part} is missing in: {line}");
        }
        Ok(())
    });
}

/// What the firewall expects next of the server in the connection from this port, and of the client.
fn sequence(lab: &Lab, port: u16) -> Result<(u32, u32)> {
    let states = lab.show("states")?;
    let states = states.as_array().context("no states")?;
    let of_it = |state: &&Value| {
        state["source"]["end"]["port"] == port
            && state["direction"].as_str().is_some_and(|to| to.eq_ignore_ascii_case("out"))
    };
    let state = states.iter().find(of_it).with_context(|| format!("no state of port {port}: {states:#?}"))?;
    let number = |end: &str| state[end]["seqlo"].as_u64().and_then(|number| u32::try_from(number).ok());
    number("destination").zip(number("source")).context("a state without numbers")
}

/// A segment on its way to the firewall.
struct Segment {
    /// The interface that it arrives by.
    interface: &'static str,
    from: (IpAddr, u16),
    to: (IpAddr, u16),
    seq: u32,
    ack: u32,
    flags: TcpFlags,
    /// Octets of payload.
    len: usize,
}

impl Segment {
    const fn new(interface: &'static str) -> Self {
        let nobody = (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let flags = TcpFlags::ACK.union(TcpFlags::PSH);
        Self { interface, from: nobody, to: nobody, seq: 1, ack: 0, flags, len: 10 }
    }

    fn frame(&self, lab: &Lab) -> Result<Vec<u8>> {
        let to = Mac(lab.firewall.mac(self.interface)?);
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.from.0, self.to.0) else { bail!("not of IPv4") };
        let header = tcp::Repr {
            src_port: Port(self.from.1),
            dst_port: Port(self.to.1),
            seq: Seq(self.seq),
            ack: Seq(self.ack),
            flags: self.flags,
            window: 500,
            ..tcp::Repr::default()
        };
        let fault = |error: wire::Error| anyhow::anyhow!("{error:?}");
        let mut payload = vec![0; header.header_len() + self.len];
        let pseudo = Pseudo::of(self.from.0, self.to.0).context("one family")?;
        header.emit(&pseudo, &mut payload).map_err(fault)?;
        let ip = ipv4::Repr { dont_fragment: true, ..ipv4::Repr::new(src, dst, Proto::TCP, payload.len()) };
        let src = Mac([2, 0, 0, 0, 9, 9]);
        let link = ethernet::Repr { dst: to, src, tags: Tags::None, ether_type: EtherType::IPV4 };
        let mut frame = vec![0; link.len() + ip.header_len()];
        frame.extend(payload);
        ip.emit(&mut frame[link.len()..]).map_err(fault)?;
        link.emit(&mut frame).map_err(fault)?;
        Ok(frame)
    }
}
