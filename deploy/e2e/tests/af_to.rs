//! Stations of one family that reach those of the other (`af-to`): real clients that have IPv6 alone and a web server that
//! has IPv4 alone, and the other way round.

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, address};
use e2e::{Lab, Links, PATIENCE, Shape, bed, transfer};
use rustix::io::Errno;

/// The server, by the well-known prefix.
const SERVER_OVER_IPV6: &str = "64:ff9b::a02:2";
/// By the address that is made one of IPv6.
const SERVER_OVER_IPV4: &str = "10.9.9.9";

/// Nothing passes but what is translated.
const NAT64: &str = "block drop all\n\
    pass in on lan0 inet6 from any to 64:ff9b::/96 af-to inet from (wan0:0)\n";

const NAT46: &str = "block drop all\n\
    pass in on lan0 inet from any to 10.9.9.9 af-to inet6 from (wan0:0) to fd00:2::2\n";

/// Takes a family from the client, and the other one from the server.
fn separate(lab: &Lab, from_client: u8) -> Result<()> {
    for (station, family) in [(&lab.client, from_client), (&lab.server, 10 - from_client)] {
        station.run(&format!("ip -{family} addr flush scope global"))?;
    }
    Ok(())
}

/// Files, pings, datagrams whole and in fragments, and a closed port, of a server by this address. One datagram of IPv4 that may
/// not be fragmented is too long over IPv6, upon which its sender, behind `its_port`, cuts what follows.
fn everything(lab: &Lab, server: &str, its_port: &str, longest: usize) -> Result<()> {
    let before = lab.drops()?;
    transfer::both_ways(lab, [server; 2], 4)?;
    let _echo = Echo::start(&lab.server, 7)?;
    let udp = Datagrams::open(&lab.client, address(server, 7), PATIENCE)?;
    for length in [1, 1200, 1460, longest] {
        let answered = (0..2).any(|_| udp.echo(length).unwrap_or(false));
        ensure!(answered, "a datagram of {length} octets is answered");
    }
    sockets::ask(&lab.client, address(server, 9), PATIENCE)?
        .failed_with("UDP to a closed port", Errno::CONNREFUSED)?;
    let mut tcp = sockets::connect(&lab.client, address(server, 7), PATIENCE)?.succeeded("connect")?;
    sockets::converse(&mut tcp)?;
    lab.expect_drops(&before, &[(its_port, "too-big", 1)])
}

/// The line of the state of a connection from a client by this address.
fn line(lab: &Lab, client: &str) -> Result<String> {
    let states = lab.states()?;
    let found = states.iter().find(|line| line.contains(client));
    let line = found.with_context(|| format!("{client}: {states:#?}"))?;
    Ok(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn ipv6_client(lab: &Lab, longest: usize) -> Result<()> {
    separate(lab, 4)?;
    everything(lab, SERVER_OVER_IPV6, "wan0", longest)?;
    let _echo = Echo::start(&lab.server, 7)?;
    let mut tcp =
        sockets::connect(&lab.client, address(SERVER_OVER_IPV6, 7), PATIENCE)?.succeeded("connect")?;
    sockets::converse(&mut tcp)?;
    let client = format!("({}[{}])", Lab::CLIENT6, tcp.local_addr()?.port());
    let (line, server) = (line(lab, &client)?, Lab::SERVER);
    ensure!(
        line.starts_with(&format!("all tcp {}:", Lab::OUTSIDE))
            && line.ends_with(&format!(
                "{client} -> {server}:7 ({SERVER_OVER_IPV6}[7]) ESTABLISHED:ESTABLISHED"
            )),
        "{line}"
    );
    Ok(())
}

fn ipv4_client(lab: &mut Lab) -> Result<()> {
    separate(lab, 6)?;
    everything(lab, SERVER_OVER_IPV4, "lan0", 4000)?;
    let _echo = Echo::start(&lab.server, 7)?;
    let mut tcp =
        sockets::connect(&lab.client, address(SERVER_OVER_IPV4, 7), PATIENCE)?.succeeded("connect")?;
    sockets::converse(&mut tcp)?;
    let client = format!("({}:{})", Lab::CLIENT, tcp.local_addr()?.port());
    let (line, server) = (line(lab, &client)?, Lab::SERVER6);
    ensure!(
        line.starts_with(&format!("all tcp {}[", Lab::OUTSIDE6))
            && line.ends_with(&format!(
                "{client} -> {server}[7] ({SERVER_OVER_IPV4}:7) ESTABLISHED:ESTABLISHED"
            )),
        "{line}"
    );
    Ok(())
}

#[test]
fn a_client_of_ipv6_reaches_a_server_of_ipv4_over_tap_links() {
    bed("nat64-tap", Links::Tap, NAT64, |lab| ipv6_client(lab, 4000));
}

#[test]
fn a_client_of_ipv6_reaches_a_server_of_ipv4_over_af_packet_links() {
    // The kernel puts fragments of IPv4 together that it gives to an af_packet socket.
    bed("nat64-afp", Links::AfPacket, NAT64, |lab| ipv6_client(lab, 1460));
}

#[test]
fn a_client_of_ipv4_reaches_a_server_of_ipv6() {
    bed("nat46", Links::Tap, NAT46, ipv4_client);
}

/// What the far link takes is found out by whoever sends, in terms of his own family.
#[test]
fn a_path_mtu_is_found_across_families() {
    let shape = |mtu| Shape { mtu: [1500, mtu], ..Links::AfPacket.into() };
    let asks = |lab: &Lab, to: &str, mtu: u16| -> Result<()> {
        let said = lab.client.try_run(&format!("ping -n -M do -s 1440 -c 2 -W 3 {to}"))?;
        ensure!(
            said.text.contains(&format!("mtu = {mtu}")) || said.text.contains(&format!("mtu={mtu}")),
            "{}",
            said.text
        );
        transfer::both_ways(lab, [to; 2], 1)
    };
    bed("nat64-mtu", shape(1400), NAT64, |lab| {
        separate(lab, 4)?;
        asks(lab, SERVER_OVER_IPV6, 1420)
    });
    bed("nat46-mtu", shape(1400), NAT46, |lab| {
        separate(lab, 6)?;
        asks(lab, SERVER_OVER_IPV4, 1380)
    });
}
