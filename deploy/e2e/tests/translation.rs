//! Translation between real stacks: an inside that nobody outside has a route to, servers behind a redirection, ports that
//! run out, and errors that find their way back.

use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, SILENCE, address};
use e2e::{Lab, Links, Namespace, PATIENCE, Shape, bed, transfer};
use rustix::io::Errno;
use serde_json::Value;

/// The office behind the firewall's address.
const OFFICE: &str = "block drop all\n\
    match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
    match out on wan0 inet6 from lan0:network nat-to (wan0:0)\n\
    pass in on lan0\n\
    pass out on wan0\n";

/// Takes the way to the inside from the server: only who is translated hears from it.
fn hide_the_inside(lab: &Lab) -> Result<()> {
    lab.server.run("ip route del default")?;
    lab.server.run("ip -6 route del default").map(|_| ())
}

#[test]
fn an_office_goes_out_by_one_address_over_tap_links() {
    bed("nat-tap", Links::Tap, OFFICE, office);
}

#[test]
fn an_office_goes_out_by_one_address_over_af_packet_links() {
    bed("nat-afp", Links::AfPacket, OFFICE, office);
}

fn office(lab: &mut Lab) -> Result<()> {
    hide_the_inside(lab)?;
    let before = lab.drops()?;
    transfer::both_ways(lab, [Lab::SERVER, Lab::SERVER6], 4)?;
    lab.expect_drops(&before, &[])?;
    ensure!(lab.tpctl("pfctl -F states")?.ok());
    let _echo = Echo::start(&lab.server, 7)?;
    let mut tcp = sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
    sockets::converse(&mut tcp)?;
    let udp = Datagrams::open(&lab.client, address(Lab::SERVER6, 7), PATIENCE)?;
    udp.ask()?;
    let states = lab.states()?;
    let shown = |start: &str, end: &str| {
        let words = states.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let found = words.filter(|line| line.starts_with(start) && line.ends_with(end)).count();
        ensure!(found == 1, "{start} … {end}: {found} times in {states:#?}");
        Ok(())
    };
    let client = format!("{}:{}", Lab::CLIENT, tcp.local_addr()?.port());
    shown(
        &format!("all tcp {}:", Lab::OUTSIDE),
        &format!("({client}) -> {}:7 ESTABLISHED:ESTABLISHED", Lab::SERVER),
    )?;
    shown(&format!("all tcp {}:7 <- {client}", Lab::SERVER), "ESTABLISHED:ESTABLISHED")?;
    let client = format!("{}[{}]", Lab::CLIENT6, udp.port()?);
    shown(
        &format!("all udp {}[", Lab::OUTSIDE6),
        &format!("({client}) -> {}[7] MULTIPLE:SINGLE", Lab::SERVER6),
    )?;
    // A closed port: the server's error is about the firewall's address, and the client hears of its own.
    for server in [Lab::SERVER, Lab::SERVER6] {
        sockets::ask(&lab.client, address(server, 9), PATIENCE)?
            .failed_with("UDP to a closed port", Errno::CONNREFUSED)?;
    }
    // Nobody comes in by what is only there for answers.
    let _inside = Echo::start(&lab.client, 7)?;
    let before = lab.drops()?;
    sockets::ask(&lab.server, address(Lab::OUTSIDE, 7), SILENCE)?.timed_out("from outside")?;
    lab.expect_drops(&before, &[("wan0", "match", 1)])
}

#[test]
fn a_path_mtu_is_found_through_translation() {
    let shape = Shape { mtu: [1500, 1280], ..Links::AfPacket.into() };
    bed("nat-mtu", shape, OFFICE, |lab| {
        hide_the_inside(lab)?;
        let said = lab.client.try_run(&format!("ping -n -M do -s 1400 -c 2 -W 3 {}", Lab::SERVER))?;
        ensure!(said.text.contains("mtu = 1280") || said.text.contains("mtu=1280"), "{}", said.text);
        lab.client.run(&format!("ping -n -M do -s 1200 -c 2 -W 3 {}", Lab::SERVER)).map(|_| ())
    });
}

const SERVING: &str = "block drop all\n\
    pass in on wan0 inet proto tcp to (wan0) port 80 rdr-to 10.1.0.2 port 8080\n\
    pass in on wan0 inet proto udp to (wan0) port 5000:5009 rdr-to 10.1.0.2 port 8000:8009\n\
    pass in on lan0 inet proto tcp to 10.2.0.1 port 80 rdr-to 10.1.0.2 port 8080\n\
    match out on lan0 inet proto tcp from lan0:network nat-to (lan0:0)\n\
    pass out on lan0\n";

#[test]
fn servers_are_reached_by_the_address_of_the_firewall() {
    bed("rdr", Links::Tap, SERVING, |lab| {
        hide_the_inside(lab)?;
        let _web = Echo::start(&lab.client, 8080)?;
        let _names = Echo::start(&lab.client, 8003)?;
        let before = lab.drops()?;
        let mut outside = sockets::connect(&lab.server, address(Lab::OUTSIDE, 80), PATIENCE)?
            .succeeded("connect from outside")?;
        sockets::converse(&mut outside)?;
        sockets::ask(&lab.server, address(Lab::OUTSIDE, 5003), PATIENCE)?.succeeded("UDP from outside")?;
        // The server itself, and whoever is beside it, by the address that everybody uses.
        let mut beside = sockets::connect(&lab.client, address(Lab::OUTSIDE, 80), PATIENCE)?
            .succeeded("connect from inside")?;
        sockets::converse(&mut beside)?;
        lab.expect_drops(&before, &[])?;
        let states = lab.states()?;
        let port = outside.local_addr()?.port();
        let state = format!("all tcp {}:8080 ({}:80) <- {}:{port}", Lab::CLIENT, Lab::OUTSIDE, Lab::SERVER);
        ensure!(states.iter().any(|line| line.starts_with(&state)), "{state}: {states:#?}");
        let hairpin = format!("({}:{})", Lab::CLIENT, beside.local_addr()?.port());
        ensure!(states.iter().any(|line| line.contains(&hairpin)), "{hairpin}: {states:#?}");
        Ok(())
    });
}

/// Of document 001: each remote port has the whole range, whatever else is open; a connection more than that is refused, and
/// one that ends makes room for another.
#[test]
fn every_remote_port_has_the_whole_range() {
    const PORTS: usize = 8;
    let rules = "block drop all\n\
        match out on wan0 inet from 10.1.0.0/24 nat-to 10.2.0.1 port 50000:50007\n\
        pass in on lan0\npass out on wan0\n";
    bed("nat-ports", Links::Tap, rules, |lab| {
        hide_the_inside(lab)?;
        let _echoes = [Echo::start(&lab.server, 7)?, Echo::start(&lab.server, 8)?];
        let mut open: Vec<TcpStream> = Vec::new();
        for remote in [7, 8] {
            for number in 0..PORTS {
                let attempt = sockets::connect(&lab.client, address(Lab::SERVER, remote), PATIENCE)?;
                open.push(attempt.succeeded(&format!("connection {number} to port {remote}"))?);
            }
        }
        open.iter_mut().try_for_each(sockets::converse)?;
        let before = lab.drops()?;
        let patience = Duration::from_millis(500);
        sockets::connect(&lab.client, address(Lab::SERVER, 7), patience)?.timed_out("one more")?;
        lab.expect_drops(&before, &[("lan0", "translate", 1)])?;
        let told: Value = serde_json::from_str(&lab.tpctl("nat --json")?.text)?;
        let outside = &told["addresses"][0];
        ensure!(outside["address"] == Lab::OUTSIDE && outside["tcp"] == 2 * PORTS, "{told:#}");
        ensure!(told["refused"] == 1, "{told:#}");
        let last = open.pop().context("a connection")?;
        let killed = lab.tpctl(&format!("states kill --from {} --to {}", Lab::CLIENT, Lab::SERVER))?;
        ensure!(killed.ok(), "{}", killed.text);
        drop(last);
        sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("after that")?;
        Ok(())
    });
}

/// RFC 4787: whoever is asked sees one endpoint, as two STUN servers would, and whoever sends there reaches it.
#[test]
fn an_endpoint_inside_has_one_outside_that_everybody_reaches() {
    let rules = "set optimization rfc-nat\nblock drop all\n\
        match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
        pass in on lan0\npass out\n";
    bed("nat-endpoint", Links::Tap, rules, |lab| {
        hide_the_inside(lab)?;
        let open = |space: &Namespace, host: &str| -> Result<UdpSocket> {
            let socket = space.inside(|| UdpSocket::bind(address(host, 0)))??;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let inside = open(&lab.client, Lab::CLIENT)?;
        let servers = [open(&lab.server, Lab::SERVER)?, open(&lab.server, Lab::SERVER)?];
        let mut seen = Vec::new();
        for server in &servers {
            inside.send_to(b"who am I?", server.local_addr()?)?;
            seen.push(server.recv_from(&mut [0; 64])?.1);
        }
        ensure!(seen[0] == seen[1] && seen[0].ip() == address(Lab::OUTSIDE, 0).ip(), "{seen:?}");
        let stranger = open(&lab.server, Lab::SERVER)?;
        stranger.send_to(b"hello", seen[0])?;
        let (length, from) = inside.recv_from(&mut [0; 64])?;
        ensure!((length, from) == (5, stranger.local_addr()?), "{length} octets from {from}");
        let beside = open(&lab.client, Lab::CLIENT)?;
        beside.send_to(b"you there", seen[0])?;
        let (_, from) = inside.recv_from(&mut [0; 64])?;
        ensure!(from.ip() == seen[0].ip() && from != seen[0], "{from} is not the other's endpoint");
        inside.send_to(b"me too", from)?;
        ensure!(beside.recv_from(&mut [0; 64])? == (6, seen[0]), "an answer from elsewhere");
        let told: Value = serde_json::from_str(&lab.tpctl("nat --endpoints --json")?.text)?;
        let own = inside.local_addr()?.to_string();
        let mapping = told.as_array().and_then(|all| all.iter().find(|mapping| mapping["inside"] == own));
        ensure!(mapping.is_some_and(|mapping| mapping["outside"] == seen[0].to_string()), "{own}: {told:#}");
        Ok(())
    });
}
