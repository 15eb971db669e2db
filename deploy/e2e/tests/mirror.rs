//! Copies: what a rule mirrors appears on a span port exactly once, byte for byte as it was on the wire, whatever becomes of the
//! span port itself, and reaches a host as a router would send it there, from wire to wire.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, address};
use e2e::transfer::{ensure_same, random_file};
use e2e::{Capture, Lab, Links, Namespace, PATIENCE, Shape, Span, WebServer, bed, wait_until};

const RULES: &str = "block drop all\n\
    pass in on lan0\n\
    pass out on wan0\n\
    pass out on wan0 proto udp to port 53 dup-to @span0\n\
    pass out on wan0 proto tcp to port 80 dup-to @span0\n\
    pass out on span0\n";

fn spanned() -> Shape {
    Shape { span: Span::Tap, ..Links::Tap.into() }
}

/// The wire outside, and the span port.
fn captures(lab: &Lab, filter: &[&str]) -> Result<[Capture; 2]> {
    Ok([
        Capture::start(lab, &lab.server, "eth-wan", filter)?,
        Capture::start(lab, &lab.firewall, "eth-span", filter)?,
    ])
}

#[test]
fn g04_n_queries_and_n_answers_are_two_n_frames_on_the_span_port() {
    bed("mirror-udp", spanned(), RULES, |lab| {
        let _echo = Echo::start(&lab.server, 53)?;
        let [wire, span] = captures(lab, &["udp", "port", "53"])?;
        const QUERIES: usize = 20;
        for server in [Lab::SERVER, Lab::SERVER6] {
            for _ in 0..QUERIES {
                sockets::ask(&lab.client, address(server, 53), PATIENCE)?.succeeded("a query")?;
            }
        }
        let frames = wire.expect(4 * QUERIES)?;
        let copies = span.expect(4 * QUERIES)?;
        ensure!(frames.len() == 4 * QUERIES, "{} frames on the wire", frames.len());
        ensure!(copies == frames, "the span port had {} other frames", copies.len());
        lab.client.run(&format!("ping -n -c 2 -i 0.2 {}", Lab::SERVER))?;
        ensure!(span.frames()?.len() == copies.len(), "ping is not mirrored");
        wire.stop()?;
        span.stop()
    });
}

#[test]
fn g04_a_file_is_mirrored_whole_and_a_span_port_that_is_down_costs_it_nothing() {
    bed("mirror-tcp", spanned(), RULES, |lab| {
        let www = lab.folder.join("www");
        std::fs::create_dir(&www)?;
        let _web = WebServer::start(&lab.server, &www)?;
        let (sent, received) = (www.join("file"), lab.folder.join("received"));
        random_file(&sent, 2)?;
        let download = || -> Result<()> {
            let url = format!("http://{}/file", Lab::SERVER);
            lab.client.run(&format!("curl -sSf --max-time 60 -o {} {url}", received.display()))?;
            ensure_same(&sent, &received)
        };
        let [wire, span] = captures(lab, &["tcp", "port", "80"])?;
        download()?;
        let settled = || wire.frames().is_ok_and(|frames| Some(frames) == span.frames().ok());
        wait_until("the same frames on both", PATIENCE, settled)?;
        ensure!(wire.frames()?.len() > 100, "so few frames: {}", wire.frames()?.len());
        wire.stop()?;
        span.stop()?;
        let before = lab.drops()?;
        lab.firewall.run("ip link set eth-span down")?;
        download().context("with the span port down")?;
        let lost = lab.drops()?.since(&before);
        ensure!(lost.to_string().contains("span0"), "copies that were lost are counted: {lost}");
        ensure!(
            !lost.to_string().contains("lan0") && !lost.to_string().contains("wan0"),
            "only copies: {lost}"
        );
        Ok(())
    });
}

/// Four wires: what leaves by wan0, its copy to the host behind wan1, the copy of that on the span port, and one more to the
/// client, where a rule leads back to the first. The same under NAT.
#[test]
fn g04_nested_copies_reach_each_of_four_wires_once() {
    const CHAIN: &str = "block drop all\n\
        pass in on lan0\n\
        pass out on wan0\n\
        pass out on wan0 proto udp to port 53 dup-to 10.4.0.2@wan1\n\
        pass out on wan1 proto udp dup-to @span0\n\
        pass out on span0 proto udp dup-to 10.1.0.2\n\
        pass out on lan0 inet proto udp dup-to 10.4.0.2@wan1\n";
    const NAT: &str = "match out on wan0 inet nat-to (wan0)\n";
    for (name, is_translated) in [("mirror-chain", false), ("mirror-chain-nat", true)] {
        let rules = if is_translated { format!("{NAT}{CHAIN}") } else { CHAIN.to_owned() };
        bed(name, Shape { uplink: true, ..spanned() }, &rules, |lab| {
            let _echo = Echo::start(&lab.server, 53)?;
            // A probe that is the server itself answers nothing twice.
            lab.server.run("sysctl -qw net.ipv4.conf.eth-up.rp_filter=1")?;
            // The neighbour is known before the first copy is to wait for it.
            wait_until("the neighbour", PATIENCE, || {
                lab.firewall.run("ip neigh show dev wan1 10.4.0.2").is_ok_and(|said| said.contains("lladdr"))
            })?;
            let dns = ["ip", "and", "udp", "port", "53"];
            let wire = Capture::start(lab, &lab.server, "eth-wan", &dns)?;
            let second = Capture::start(lab, &lab.server, "eth-up", &dns)?;
            let span = Capture::start(lab, &lab.firewall, "eth-span", &dns)?;
            let mac = interface_mac(&lab.firewall, "lan0")?;
            let routed_in: Vec<&str> = dns.iter().copied().chain(["and", "ether", "src", &mac]).collect();
            let last = Capture::start(lab, &lab.client, "eth-lan", &routed_in)?;
            const QUERIES: usize = 20;
            for _ in 0..QUERIES {
                sockets::ask(&lab.client, address(Lab::SERVER, 53), PATIENCE)?.succeeded("a query")?;
            }
            let frames = wire.expect(2 * QUERIES)?;
            let copies = second.expect(2 * QUERIES)?;
            ensure!(frames.len() == 2 * QUERIES && copies.len() == 2 * QUERIES, "{} copies", copies.len());
            // What comes in is copied behind the hook that has translated it back.
            let compared = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
                let is_query = |frame: &&Vec<u8>| frame[36..38] == 53_u16.to_be_bytes();
                let all: Vec<Vec<u8>> =
                    frames.iter().filter(|frame| !is_translated || is_query(frame)).cloned().collect();
                datagrams(&all)
            };
            ensure!(compared(&copies) == compared(&frames), "other datagrams were copied");
            ensure!(span.expect(2 * QUERIES)? == copies, "the span port has the wire of wan1");
            // Answers themselves, and copies of both.
            let inside = last.expect(3 * QUERIES)?;
            ensure!(inside.len() == 3 * QUERIES, "{} inside", inside.len());
            for datagram in datagrams(&copies) {
                ensure!(datagrams(&inside).contains(&datagram), "one is missing inside");
            }
            for capture in [wire, second, span, last] {
                capture.stop()?;
            }
            Ok(())
        });
    }
}

fn interface_mac(of: &Namespace, interface: &str) -> Result<String> {
    let said = of.run(&format!("cat /sys/class/net/{interface}/address"))?;
    Ok(said.trim().to_owned())
}

/// What frames carry, without what a router changes: Ethernet addresses, the time to live, the header's checksum.
fn datagrams(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> =
        frames.iter().map(|frame| [&frame[14..22], &frame[23..24], &frame[26..]].concat()).collect();
    all.sort();
    all
}

/// A host that does not answer costs the original nothing, and what is lost is counted at the way to it.
#[test]
fn g04_a_host_that_is_not_there_costs_the_original_nothing() {
    const RULES: &str = "pass\npass out on wan0 inet proto tcp to port 80 dup-to 10.4.0.99@wan1\n";
    bed("mirror-gone", Shape { uplink: true, ..Links::Tap.into() }, RULES, |lab| {
        let www = lab.folder.join("www");
        std::fs::create_dir(&www)?;
        let _web = WebServer::start(&lab.server, &www)?;
        let (sent, received) = (www.join("file"), lab.folder.join("received"));
        random_file(&sent, 2)?;
        let before = lab.drops()?;
        let url = format!("http://{}/file", Lab::SERVER);
        lab.client.run(&format!("curl -sSf --max-time 60 -o {} {url}", received.display()))?;
        ensure_same(&sent, &received)?;
        wait_until("what waited to be given up", PATIENCE, || {
            lab.drops().is_ok_and(|drops| drops.since(&before).of_reason("no-neighbor") > 100)
        })?;
        let lost = lab.drops()?.since(&before);
        ensure!(lost.total() == lost.of_reason("no-neighbor"), "only copies: {lost}");
        ensure!(lost.to_string().contains("wan1"), "counted where they would have left: {lost}");
        Ok(())
    });
}

/// A collector inside, which copies reach by the firewall's own route, in ERSPAN's envelopes.
#[test]
fn g04_copies_reach_a_collector_in_their_envelopes() {
    const COLLECTOR: &str = "encapsulation = \"erspan\"\ncollector = \"10.1.0.2\"\nsession = 5\n";
    let shape = Shape { span: Span::Carried(COLLECTOR), ..Links::Tap.into() };
    bed("mirror-erspan", shape, RULES, |lab| {
        let _echo = Echo::start(&lab.server, 53)?;
        let wire = Capture::start(lab, &lab.server, "eth-wan", &["udp", "port", "53"])?;
        let collector = Capture::start(lab, &lab.client, "eth-lan", &["ip", "proto", "47"])?;
        const QUERIES: usize = 20;
        for server in [Lab::SERVER, Lab::SERVER6] {
            for _ in 0..QUERIES {
                sockets::ask(&lab.client, address(server, 53), PATIENCE)?.succeeded("a query")?;
            }
        }
        let frames = wire.expect(4 * QUERIES)?;
        let envelopes = collector.expect(4 * QUERIES)?;
        let headers = 14 + 20 + 16;
        let mut carried: Vec<Vec<u8>> =
            envelopes.iter().map(|envelope| envelope[headers..].to_vec()).collect();
        carried.sort();
        ensure!(carried == frames, "{} other frames of {}", carried.len(), frames.len());
        let read = format!("tcpdump -n -r {} -c 1", collector.file().display());
        let told = lab.client.run(&read)?;
        ensure!(told.contains("IP 10.1.0.1 > 10.1.0.2: GREv0, seq"), "{told}");
        wire.stop()?;
        collector.stop()
    });
}
