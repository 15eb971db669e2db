//! The firewall's own traffic: services on the firewall and clients on it, filtered by the same rules, refused as at once
//! as anybody else, and ARP, neighbour discovery and ping of the gateway.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, SILENCE, address};
use e2e::transfer::{ensure_same, random_file, url_host};
use e2e::{Lab, Links, Namespace, PATIENCE, WebServer, bed, wait_until};
use rustix::io::Errno;

const SERVICES: &str = "block drop all\n\
    pass in on lan0 proto tcp to { 10.1.0.1 10.2.0.1 fd00:1::1 fd00:2::1 } port { 7 80 }\n\
    block return-rst in on lan0 proto tcp to port 81\n\
    block return in on lan0 proto udp to port 82\n\
    pass in on lan0 inet proto icmp icmp-type echoreq\n\
    pass in on lan0 inet6 proto icmp6 icmp6-type echoreq\n";

#[test]
fn services_on_the_firewall_obey_in_rules_over_tap_links() {
    bed("services-tap", Links::Tap, SERVICES, services);
}

#[test]
fn services_on_the_firewall_obey_in_rules_over_af_packet_links() {
    bed("services-afp", Links::AfPacket, SERVICES, services);
}

fn services(lab: &mut Lab) -> Result<()> {
    let before = lab.drops()?;
    ping_gateway(lab)?;
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.firewall, &www)?;
    download(lab, &lab.client, &www, &[Lab::GATEWAY, Lab::GATEWAY6, Lab::OUTSIDE, Lab::OUTSIDE6])?;
    lab.expect_drops(&before, &[])?;

    let _echo = Echo::start(&lab.firewall, 7)?;
    let mut tcp = sockets::connect(&lab.client, address(Lab::GATEWAY, 7), PATIENCE)?.succeeded("connect")?;
    sockets::converse(&mut tcp)?;
    let port = tcp.local_addr()?.port();
    let line = format!("all tcp {}:7 <- {}:{port} ESTABLISHED:ESTABLISHED", Lab::GATEWAY, Lab::CLIENT);
    let states: Vec<String> = lab.states()?.iter().map(|line| words(line)).collect();
    let of_this = states.iter().filter(|state| state.contains(&format!(":{port} ")));
    ensure!(of_this.eq([&line]), "one state, as it only enters: {line}; found {states:#?}");

    for (gateway, rst, icmp) in [(Lab::GATEWAY, 81, 82), (Lab::GATEWAY6, 81, 82)] {
        let before = lab.drops()?;
        let attempt = sockets::connect(&lab.client, address(gateway, rst), PATIENCE)?;
        attempt.failed_with(&format!("TCP to {gateway} port {rst}"), Errno::CONNREFUSED)?;
        let attempt = sockets::ask(&lab.client, address(gateway, icmp), PATIENCE)?;
        attempt.failed_with(&format!("UDP to {gateway} port {icmp}"), Errno::CONNREFUSED)?;
        // A service is there, and nobody hears of it.
        sockets::ask(&lab.client, address(gateway, 7), SILENCE)?.timed_out("UDP, silently")?;
        lab.expect_drops(&before, &[("lan0", "match", 3)])?;
    }
    // An established connection goes on beside all that.
    sockets::converse(&mut tcp)
}

fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Answered once, by the firewall's own address, which the client learnt by ARP and neighbour discovery.
fn ping_gateway(lab: &Lab) -> Result<()> {
    for gateway in [Lab::GATEWAY, Lab::GATEWAY6] {
        lab.client.ping(3, gateway)?;
        let said = lab.client.run(&format!("ping -n -c 3 -i 0.2 -W 10 {gateway}"))?;
        ensure!(!said.contains("DUP"), "two answer for {gateway}: {said}");
        let known = lab.client.run(&format!("ip neigh show {gateway}"))?;
        let status = lab.show("status")?;
        let mac = status["interfaces"][0]["mac"].as_str().context("an interface without an address")?;
        ensure!(known.contains(mac), "the client knows {gateway} as {known}, not {mac}");
    }
    Ok(())
}

fn download(lab: &Lab, from: &Namespace, www: &std::path::Path, hosts: &[&str]) -> Result<()> {
    let (sent, received) = (www.join("file"), lab.folder.join("received"));
    random_file(&sent, 2)?;
    for host in hosts {
        let url = format!("http://{}/file", url_host(host));
        from.run(&format!("curl -sSf --max-time 30 -o {} {url}", received.display()))?;
        ensure_same(&sent, &received).with_context(|| url)?;
    }
    Ok(())
}

const LOCAL: &str = "block drop all\n\
    pass out on wan0 proto { tcp udp } to { 10.2.0.2 fd00:2::2 } port { 7 80 }\n\
    pass out on wan0 inet proto icmp icmp-type echoreq\n\
    pass out on wan0 inet6 proto icmp6 icmp6-type echoreq\n\
    block return-rst out on wan0 proto tcp to port 81\n\
    block return out on wan0 proto { tcp udp } to port 82\n\
    block return-icmp(host-unr) out on wan0 inet proto tcp to port 1001\n\
    block return-icmp(net-unr) out on wan0 inet proto tcp to port 1002\n\
    block return-icmp(port-unr) out on wan0 inet proto tcp to port 1003\n\
    block return-icmp(13) out on wan0 inet proto tcp to port 1013\n\
    block return-icmp6(noroute-unr) out on wan0 inet6 proto tcp to port 1001\n\
    block return-icmp6(1) out on wan0 inet6 proto tcp to port 1002\n\
    block return-icmp6(addr-unr) out on wan0 inet6 proto tcp to port 1003\n\
    block return-icmp6(4) out on wan0 inet6 proto tcp to port 1013\n";

#[test]
fn clients_on_the_firewall_obey_out_rules_over_tap_links() {
    bed("local-tap", Links::Tap, LOCAL, local);
}

#[test]
fn clients_on_the_firewall_obey_out_rules_over_af_packet_links() {
    bed("local-afp", Links::AfPacket, LOCAL, local);
}

fn local(lab: &mut Lab) -> Result<()> {
    let before = lab.drops()?;
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let _echo = Echo::start(&lab.server, 7)?;
    for server in [Lab::SERVER, Lab::SERVER6] {
        lab.firewall.run(&format!("ping -n -c 2 -i 0.2 -W 10 {server}"))?;
        sockets::ask(&lab.firewall, address(server, 7), PATIENCE)?.succeeded("UDP from the firewall")?;
    }
    download(lab, &lab.firewall, &www, &[Lab::SERVER, Lab::SERVER6])?;
    lab.expect_drops(&before, &[])?;
    refused_with_errno(lab)?;

    let before = lab.drops()?;
    sockets::ask(&lab.firewall, address(Lab::SERVER, 53), SILENCE)?.timed_out("UDP, silently")?;
    lab.expect_drops(&before, &[("wan0", "match", 1)])
}

/// A local client hears of a refusal before it can wait for anything, as the errno that its system makes of the answer
/// (tcp(7), icmp(7); RFC 1122 §4.2.3.9, RFC 4443 §3.1).
fn refused_with_errno(lab: &Lab) -> Result<()> {
    let table = [
        (Lab::SERVER, 81, Errno::CONNREFUSED),
        (Lab::SERVER, 82, Errno::CONNREFUSED),
        (Lab::SERVER, 1001, Errno::HOSTUNREACH),
        (Lab::SERVER, 1002, Errno::NETUNREACH),
        (Lab::SERVER, 1003, Errno::CONNREFUSED),
        (Lab::SERVER, 1013, Errno::HOSTUNREACH),
        (Lab::SERVER6, 81, Errno::CONNREFUSED),
        (Lab::SERVER6, 82, Errno::CONNREFUSED),
        (Lab::SERVER6, 1001, Errno::NETUNREACH),
        (Lab::SERVER6, 1002, Errno::ACCESS),
        (Lab::SERVER6, 1003, Errno::HOSTUNREACH),
        (Lab::SERVER6, 1013, Errno::CONNREFUSED),
    ];
    let before = lab.drops()?;
    for (server, port, errno) in table {
        let attempt = sockets::connect(&lab.firewall, address(server, port), PATIENCE)?;
        attempt.failed_with(&format!("the firewall's own TCP to {server} port {port}"), errno)?;
    }
    lab.expect_drops(&before, &[("wan0", "match", table.len() as u64)])?;
    for server in [Lab::SERVER, Lab::SERVER6] {
        let attempt = sockets::ask(&lab.firewall, address(server, 82), PATIENCE)?;
        attempt.failed_with(&format!("the firewall's own UDP to {server} port 82"), Errno::CONNREFUSED)?;
    }
    lab.expect_drops(&before, &[("wan0", "match", table.len() as u64 + 2)])
}

/// What a connected UDP socket on the firewall hears of each form of refusal: its system passes on what it takes for final
/// (Linux: `icmp_err_convert`, `icmpv6_err_convert`), and nothing of the rest, as if it were silence.
#[test]
fn b6_datagrams_of_the_firewall_hear_of_what_is_final() {
    let rules = "block drop all\n\
        block return out on wan0 proto udp to port 82\n\
        block return-icmp(host-unr) out on wan0 inet proto udp to port 1001\n\
        block return-icmp(net-unr) out on wan0 inet proto udp to port 1002\n\
        block return-icmp(port-unr) out on wan0 inet proto udp to port 1003\n\
        block return-icmp(13) out on wan0 inet proto udp to port 1013\n\
        block return-icmp6(noroute-unr) out on wan0 inet6 proto udp to port 1001\n\
        block return-icmp6(addr-unr) out on wan0 inet6 proto udp to port 1002\n\
        block return-icmp6(4) out on wan0 inet6 proto udp to port 1003\n\
        block return-icmp6(1) out on wan0 inet6 proto udp to port 1013\n";
    bed("local-datagrams", Links::Tap, rules, |lab| {
        let before = lab.drops()?;
        let table = [
            (Lab::SERVER, 82, Some(Errno::CONNREFUSED)),
            (Lab::SERVER, 1001, None),
            (Lab::SERVER, 1002, None),
            (Lab::SERVER, 1003, Some(Errno::CONNREFUSED)),
            (Lab::SERVER, 1013, Some(Errno::HOSTUNREACH)),
            (Lab::SERVER6, 82, Some(Errno::CONNREFUSED)),
            (Lab::SERVER6, 1001, None),
            (Lab::SERVER6, 1002, None),
            (Lab::SERVER6, 1003, Some(Errno::CONNREFUSED)),
            (Lab::SERVER6, 1013, Some(Errno::ACCESS)),
        ];
        for (server, port, errno) in table {
            let what = format!("the firewall's own UDP to {server} port {port}");
            let patience = if errno.is_some() { PATIENCE } else { SILENCE };
            let attempt = sockets::ask(&lab.firewall, address(server, port), patience)?;
            match errno {
                Some(errno) => attempt.failed_with(&what, errno)?,
                None => attempt.timed_out(&what)?,
            }
        }
        lab.expect_drops(&before, &[("wan0", "match", table.len() as u64)])
    });
}

/// What a program on the firewall sees of a connection that is open when its state is taken away and a rule blocks it:
/// after RST the connection is over; ICMP errors do not end one (RFC 1122 §4.2.3.9, RFC 5927), so that it goes on,
/// as after silence, once the rules let it.
#[test]
fn an_open_connection_of_the_firewall_ends_by_rst_alone() {
    // What comes in makes no state that would let the answer out.
    const OPEN: &str = "pass in no state\npass out flags any\n";
    bed("local-open", Links::Tap, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        for server in [Lab::SERVER, Lab::SERVER6] {
            let icmp = if server == Lab::SERVER { "return-icmp(host-unr)" } else { "return-icmp6(1)" };
            for (block, ends) in [("return-rst", true), (icmp, false), ("drop", false)] {
                let what = format!("{server}, block {block}");
                lab.rules(OPEN)?;
                let mut tcp =
                    sockets::connect(&lab.firewall, address(server, 7), PATIENCE)?.succeeded(&what)?;
                sockets::converse(&mut tcp)?;
                let af = if server == Lab::SERVER { "inet" } else { "inet6" };
                let rules = format!("{OPEN}block {block} out quick on wan0 {af} proto tcp to port 7\n");
                lab.rules(&rules)?;
                // Rules do not cut what has a state.
                sockets::converse(&mut tcp).context(what.clone())?;
                let before = lab.drops()?;
                let said = lab.tpctl("pfctl -F states")?;
                ensure!(said.code == Some(0), "{}", said.text);
                tcp.set_read_timeout(Some(if ends { PATIENCE } else { SILENCE }))?;
                let told = ask_again(&mut tcp);
                // Counters are shown a moment after what they count.
                wait_until("the refusal to be counted", PATIENCE, || {
                    lab.drops().is_ok_and(|drops| drops.since(&before).total() > 0)
                })?;
                let dropped = lab.drops()?.since(&before);
                let explained = dropped.total() == dropped.of_reason("match");
                ensure!(explained, "{what}: {told:?}, dropped: {dropped}");
                if ends {
                    ensure!(told == Some(ErrorKind::ConnectionReset), "{what}: {told:?}");
                } else {
                    ensure!(matches!(told, Some(ErrorKind::WouldBlock)), "{what}: {told:?}");
                    lab.rules(OPEN)?;
                    tcp.set_read_timeout(Some(PATIENCE))?;
                    let mut answer = [0; 8];
                    tcp.read_exact(&mut answer).with_context(|| format!("{what}, and passed again"))?;
                    ensure!(&answer == b"question", "{what}: {answer:?}");
                }
            }
        }
        Ok(())
    });
}

/// Says something over an open connection, and returns how waiting for an answer failed.
fn ask_again(tcp: &mut TcpStream) -> Option<ErrorKind> {
    let asked = tcp.write_all(b"question").and_then(|()| tcp.read_exact(&mut [0; 8]));
    asked.err().map(|error| error.kind())
}
