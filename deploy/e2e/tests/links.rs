//! What links are like: VLANs of a port, each with stations of its own, jumbo frames, and links whose MTUs differ.

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, SILENCE, address};
use e2e::transfer::{ensure_same, random_file, url_host};
use e2e::{Lab, Links, Namespace, PATIENCE, Shape, Vlans, WebServer, bed, frames, wait_until};
use rustix::io::Errno;

/// From VLAN 10 to VLAN 20, outside and to the firewall; nothing from VLAN 20.
const BETWEEN: &str = "block drop all\n\
    pass in on lan0.10\n\
    pass out on lan0.20 to { 10.1.20.2 fd00:1:20::2 }\n\
    pass out on wan0 to { 10.2.0.2 fd00:2::2 }\n\
    block return-rst in on lan0.10 proto tcp to port 81\n";

#[test]
fn vlans_are_interfaces_over_tap_links() {
    bed("vlans-tap", with_vlans(Links::Tap), BETWEEN, |lab| vlans(lab, "vlans-tap"));
}

#[test]
fn vlans_are_interfaces_over_af_packet_links() {
    bed("vlans-afp", with_vlans(Links::AfPacket), BETWEEN, |lab| vlans(lab, "vlans-afp"));
}

fn with_vlans(links: Links) -> Shape {
    Shape { vlans: vec![10, 20], ..links.into() }
}

fn vlans(lab: &mut Lab, bed: &str) -> Result<()> {
    let vlans = Vlans::start(lab, bed, &[10, 20])?;
    let [ten, twenty] = &vlans.stations[..] else { unreachable!("two were asked for") };
    let before = lab.drops()?;
    let untagged = carried(lab, "lan0")?;
    let gateways = Vlans::addresses(10, 1);
    let neighbors = Vlans::addresses(20, 2);
    for host in gateways.iter().chain(&neighbors).map(String::as_str).chain([Lab::SERVER, Lab::SERVER6]) {
        ten.run(&format!("ping -n -c 3 -i 0.2 -W 5 {host}"))?;
    }
    let [there, back] = [carried(lab, "lan0.10")?, carried(lab, "lan0.20")?];
    ten.run(&format!("ping -n -c 5 -i 0.2 -W 5 {}", neighbors[0]))?;
    // A neighbour may be asked for meanwhile.
    for (interface, counted) in [("lan0.10", there), ("lan0.20", back)] {
        let added = || -> Result<[u64; 2]> {
            let now = carried(lab, interface)?;
            Ok([now[0] - counted[0], now[1] - counted[1]])
        };
        wait_until("the pings to be counted", PATIENCE, || {
            added().is_ok_and(|added| added.iter().all(|count| *count >= 5))
        })?;
        let added = added()?;
        ensure!(added.iter().all(|count| (5..=8).contains(count)), "{interface}: {added:?} for 5 pings");
    }
    fetch(lab, ten, twenty, &neighbors)?;
    lab.expect_drops(&before, &[])?;

    let refused = sockets::connect(ten, address(&neighbors[0], 81), PATIENCE)?;
    refused.failed_with("TCP to port 81", Errno::CONNREFUSED)?;
    let _echo = Echo::start(ten, 7)?;
    for host in Vlans::addresses(10, 2) {
        sockets::ask(twenty, address(&host, 7), SILENCE)?.timed_out("UDP out of VLAN 20")?;
    }
    lab.expect_drops(&before, &[("lan0.10", "match", 1), ("lan0.20", "match", 2)])?;
    foreign_tags(lab)?;
    // The port itself carried what the client says untagged of itself, and none of the thousands of others.
    let now = carried(lab, "lan0")?;
    let added = [now[0] - untagged[0], now[1] - untagged[1]];
    ensure!(added.iter().all(|count| *count < 100), "{added:?} untagged frames");
    Ok(())
}

/// Frames that an interface received and sent.
fn carried(lab: &Lab, name: &str) -> Result<[u64; 2]> {
    let status = lab.show("status")?;
    let interfaces = status["interfaces"].as_array().context("status without interfaces")?;
    let own = interfaces.iter().find(|interface| interface["name"] == name);
    let own = own.with_context(|| format!("no interface {name} in {status:#}"))?;
    let count = |field: &str| own[field].as_u64().with_context(|| format!("{name} has no {field}"));
    Ok([count("rx_packets")?, count("tx_packets")?])
}

/// A file crosses from one VLAN to the other and back, by each of the server's addresses.
fn fetch(lab: &Lab, client: &Namespace, server: &Namespace, addresses: &[String]) -> Result<()> {
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(server, &www)?;
    let (sent, received) = (lab.folder.join("sent"), lab.folder.join("received"));
    random_file(&sent, 4)?;
    for host in addresses {
        let url = format!("http://{}/file", url_host(host));
        client.run(&format!("curl -sSf --max-time 60 -T {} {url}", sent.display()))?;
        ensure_same(&sent, &www.join("file")).context("upload")?;
        client.run(&format!("curl -sSf --max-time 60 -o {} {url}", received.display()))?;
        ensure_same(&sent, &received).context("download")?;
        std::fs::remove_file(www.join("file"))?;
    }
    Ok(())
}

/// Frames of a VLAN that the port does not have, and frames with two tags, reach nobody.
fn foreign_tags(lab: &Lab) -> Result<()> {
    let before = lab.drops()?;
    let frame = |tags: &[u16]| -> Vec<u8> {
        let tags = tags.iter().flat_map(|vlan| [[0x81, 0], vlan.to_be_bytes()].concat());
        [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9]]
            .concat()
            .into_iter()
            .chain(tags)
            .chain([8, 6])
            .chain([0; 46])
            .collect()
    };
    let foreign = [frame(&[30]), frame(&[30]), frame(&[10, 20])];
    let sent = frames::send(lab, &lab.client, "eth-lan", foreign.iter().map(Vec::as_slice))?;
    ensure!(sent == 3, "{sent} of 3 frames were sent");
    lab.expect_drops(&before, &[("lan0", "vlan", 2), ("lan0.10", "vlan", 1)])
}

const OPEN: &str = "pass\n";

#[test]
fn jumbo_frames_cross_tap_links() {
    bed("jumbo-tap", Shape { mtu: [9000; 2], ..Links::Tap.into() }, OPEN, jumbo);
}

#[test]
fn jumbo_frames_cross_af_packet_links() {
    bed("jumbo-afp", Shape { mtu: [9000; 2], ..Links::AfPacket.into() }, OPEN, jumbo);
}

fn jumbo(lab: &mut Lab) -> Result<()> {
    let before = lab.drops()?;
    // 8 bytes of ICMP and 20 or 40 of IP make 9000. The firewall itself answers as well, and asks.
    for (size, hosts) in [(8972, [Lab::SERVER, Lab::GATEWAY]), (8952, [Lab::SERVER6, Lab::GATEWAY6])] {
        for host in hosts {
            lab.client.run(&format!("ping -n -c 3 -i 0.2 -W 5 -M do -s {size} {host}"))?;
        }
    }
    lab.firewall.run(&format!("ping -n -c 3 -i 0.2 -W 5 -M do -s 8972 {}", Lab::CLIENT))?;
    fetch(lab, &lab.client, &lab.server, &[Lab::SERVER.to_owned(), Lab::SERVER6.to_owned()])?;
    lab.expect_drops(&before, &[])
}

#[test]
fn a_narrower_link_tells_its_mtu_over_tap_links() {
    bed("narrow-tap", Shape { mtu: [9000, 1500], ..Links::Tap.into() }, OPEN, narrower);
}

#[test]
fn a_narrower_link_tells_its_mtu_over_af_packet_links() {
    bed("narrow-afp", Shape { mtu: [9000, 1500], ..Links::AfPacket.into() }, OPEN, narrower);
}

/// The stations agree on segments of 8960 bytes, and the firewall's link to the server takes 1500.
fn narrower(lab: &mut Lab) -> Result<()> {
    lab.server.run("ip link set eth-wan mtu 9000")?;
    let before = lab.drops()?;
    let www = lab.folder.join("www");
    std::fs::create_dir(&www)?;
    let _web = WebServer::start(&lab.server, &www)?;
    let sent = lab.folder.join("sent");
    random_file(&sent, 2)?;
    for host in [Lab::SERVER, Lab::SERVER6] {
        let url = format!("http://{}/file", url_host(host));
        lab.client.run(&format!("curl -sSf --max-time 60 -T {} {url}", sent.display()))?;
        ensure_same(&sent, &www.join("file"))?;
        std::fs::remove_file(www.join("file"))?;
        let route = lab.client.run(&format!("ip route get {host}"))?;
        ensure!(route.contains("mtu 1500"), "the client did not learn the MTU: {route}");
    }
    let said = lab.client.try_run(&format!("ping -n -c 1 -W 5 -M do -s 8972 {}", Lab::SERVER))?;
    ensure!(said.text.contains("mtu=1500") || said.text.contains("mtu = 1500"), "{}", said.text);
    let dropped = lab.drops()?.since(&before);
    ensure!(dropped.total() > 0 && dropped.total() == dropped.of_reason("too-big"), "dropped: {dropped}");
    Ok(())
}

/// The driver cuts a frame that its ring has no room for and says nothing: it ends before its stated length does.
#[test]
fn g11_a_frame_that_the_ring_cuts_is_dropped() {
    bed("cut-afp", Links::AfPacket, OPEN, |lab| {
        // Larger than what turnpike.toml says, on both ends of the link.
        lab.client.run("ip link set eth-lan mtu 9000")?;
        lab.firewall.run("ip link set p-lan0 mtu 9000")?;
        lab.client.run(&format!("ping -n -c 1 -W 5 {}", Lab::SERVER))?;
        let before = lab.drops()?;
        for size in [2500, 8972] {
            let said = lab.client.try_run(&format!("ping -n -c 1 -W 1 -M do -s {size} {}", Lab::SERVER))?;
            ensure!(!said.ok(), "{size} bytes were answered: {}", said.text);
        }
        // Whole, and too large for the next link.
        lab.client.try_run(&format!("ping -n -c 1 -W 1 -M do -s 1800 {}", Lab::SERVER))?;
        lab.expect_drops(&before, &[("lan0", "short", 2), ("lan0", "too-big", 1)])?;
        lab.client.run(&format!("ping -n -c 1 -W 5 {}", Lab::SERVER))?;
        Ok(())
    });
}

/// A virtual link hands over what a host leaves for its card to complete. Nothing is dropped for it here, the far end does
/// that: who looks at the status is told.
#[test]
fn g07_checksums_that_nobody_completes_are_counted() {
    bed("partial", Links::AfPacket, OPEN, |lab| {
        let partial = |lab: &Lab| -> Result<u64> {
            let status = lab.show("status")?;
            status["interfaces"][0]["partial_checksums"].as_u64().context("it is not counted")
        };
        let _echo = Echo::start(&lab.server, 7)?;
        let server = address(Lab::SERVER, 7);
        drop(sockets::connect(&lab.client, server, PATIENCE)?.succeeded("with complete checksums")?);
        ensure!(partial(lab)? == 0, "complete checksums are counted");
        ensure!(!lab.tpctl("show status")?.text.contains("without a complete checksum"));
        lab.client.run("ethtool -K eth-lan tx on")?;
        sockets::connect(&lab.client, server, SILENCE)?.timed_out("the server takes none of it")?;
        wait_until("packets to be counted", PATIENCE, || partial(lab).is_ok_and(|count| count > 0))?;
        let said = lab.tpctl("show status")?.text;
        ensure!(
            said.contains("packets came without a complete checksum: switch the sender's offload off"),
            "{said}"
        );
        lab.client.run("ethtool -K eth-lan tx off")?;
        drop(sockets::connect(&lab.client, server, PATIENCE)?.succeeded("with complete checksums again")?);
        Ok(())
    });
}
