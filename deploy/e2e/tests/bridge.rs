//! A transparent pair between two stations of one network: real traffic crosses it whole, what the rules refuse is answered
//! in the other station's name, tags stay, and nothing crosses without rules or without a dataplane.
#![allow(clippy::disallowed_methods, reason = "beds live in real time")]

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, SILENCE, address};
use e2e::{Daemon, Lab, Links, PATIENCE, bridged_bed, frames, transfer, wait_until};
use rustix::io::Errno;
use wire::checksum::Pseudo;
use wire::ethernet::{self, Tag, Tags};
use wire::{EtherType, Mac, Port, Proto, ipv4, udp};

const OPEN: &str = "block drop all\n\
    pass in on lan0 to { 10.3.0.3, fd00:3::3 }\n\
    pass out on wan0 to { 10.3.0.3, fd00:3::3 }\n";

#[test]
fn files_cross_a_pair_whole_over_tap_links() {
    bridged_bed("bridge-tap", Links::Tap, OPEN, transfers);
}

#[test]
fn files_cross_a_pair_whole_over_af_packet_links() {
    bridged_bed("bridge-afp", Links::AfPacket, OPEN, transfers);
}

fn transfers(lab: &mut Lab) -> Result<()> {
    let before = lab.drops()?;
    transfer::both_ways(lab, Lab::BRIDGED_SERVER, 8)?;
    // What the stations know of each other is each other's own address: there is nobody between them.
    let own = lab.server.run("cat /sys/class/net/eth-wan/address")?;
    let known = lab.client.run(&format!("ip neigh show {}", Lab::BRIDGED_SERVER[0]))?;
    ensure!(known.contains(own.trim()), "the server is {own}, the client knows {known}");
    no_part_of_the_kernel(lab)?;
    lab.expect_drops(&before, &[])
}

/// The host has no interface of either port, and `tpctl` says what they are.
fn no_part_of_the_kernel(lab: &Lab) -> Result<()> {
    let said = lab.tpctl("show status")?.text;
    for (port, peer) in [("lan0", "wan0"), ("wan0", "lan0")] {
        ensure!(
            !lab.firewall.try_run(&format!("ip link show {port}"))?.ok(),
            "the host has an interface {port}"
        );
        let line = said.lines().find(|line| line.starts_with(port)).context("a port is not shown")?;
        let told =
            line.contains(&format!("bridged to {peer}")) && line.contains(" up,") && !line.contains("host");
        ensure!(told, "it is shown as: {line}");
    }
    Ok(())
}

const REFUSING: &str = "block drop all\n\
    pass in on lan0\n\
    pass out on wan0 proto { tcp udp } to port 7\n\
    block return-rst in on lan0 proto tcp to port 81\n\
    block return-icmp in on lan0 inet proto udp to port 82\n\
    block return-icmp6 in on lan0 inet6 proto udp to port 82\n\
    block return out on wan0 proto { tcp udp } to port 83\n\
    block drop in on lan0 proto { tcp udp } to port 84\n";

#[test]
fn a_pair_shows_pfs_states_and_answers_what_it_refuses() {
    bridged_bed("bridge-refuse", Links::AfPacket, REFUSING, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let [client, _] = Lab::BRIDGED_CLIENT;
        let [server, _] = Lab::BRIDGED_SERVER;
        let mut tcp = sockets::connect(&lab.client, address(server, 7), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut tcp)?;
        let (client, port) = (format!("{client}:{}", tcp.local_addr()?.port()), format!("{server}:7"));
        lab.expect_states(&[
            format!("all tcp {port} <- {client} ESTABLISHED:ESTABLISHED"),
            format!("all tcp {client} -> {port} ESTABLISHED:ESTABLISHED"),
        ])?;
        for server in Lab::BRIDGED_SERVER {
            refusals(lab, server)?;
        }
        sockets::converse(&mut tcp)
    });
}

fn refusals(lab: &Lab, server: &str) -> Result<()> {
    let before = lab.drops()?;
    for port in [81, 83] {
        let attempt = sockets::connect(&lab.client, address(server, port), PATIENCE)?;
        attempt.failed_with(&format!("TCP to {server} port {port}"), Errno::CONNREFUSED)?;
    }
    for port in [82, 83] {
        let attempt = sockets::ask(&lab.client, address(server, port), PATIENCE)?;
        attempt.failed_with(&format!("UDP to {server} port {port}"), Errno::CONNREFUSED)?;
    }
    lab.expect_drops(&before, &[("lan0", "match", 4)])?;
    let before = lab.drops()?;
    sockets::ask(&lab.client, address(server, 84), SILENCE)?.timed_out("UDP, silently")?;
    lab.expect_drops(&before, &[("lan0", "match", 1)])
}

#[test]
fn tagged_frames_cross_a_pair_with_their_tags_by_the_rules() {
    let rules = "block drop all\npass in on br0 proto udp to port 9999\npass out on br0\n";
    bridged_bed("bridge-vlan", Links::AfPacket, rules, |lab| {
        let log = lab.folder.join("tcpdump.log");
        let mut command = lab.server.command("tcpdump");
        let capture = Daemon::start(command.args(["-nn", "-e", "-l", "-i", "eth-wan"]), &log)?;
        wait_until("tcpdump to listen", PATIENCE, || capture.said().contains("listening on"))?;
        let before = lab.drops()?;
        let vlan = |number: u16| Tags::One(Tag { tpid: EtherType::VLAN, tci: 0x6000 | number });
        // net_af_packet gives every outer tag the type 0x8100.
        let stacked = Tags::Two { outer: Tag { tpid: EtherType::QINQ, tci: 100 }, inner: Tag::vlan(200) };
        let sent = [
            datagram(vlan(5), 9999),
            datagram(stacked, 9999),
            datagram(vlan(5), 9998),
            plain(EtherType(0x88b5), Mac::BROADCAST),
            plain(EtherType::ARP, Mac::BROADCAST),
            plain(EtherType(0x88cc), Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e])),
        ];
        let count = frames::send(lab, &lab.client, "eth-lan", sent.iter().map(Vec::as_slice))?;
        ensure!(count == sent.len() as u64, "the kernel sent {count} frames");
        lab.expect_drops(
            &before,
            &[("lan0", "match", 1), ("lan0", "ether-type", 1), ("lan0", "link-scope", 1)],
        )?;
        for words in [&["vlan 5, p 3", ".9999: UDP"][..], &["vlan 100", "vlan 200", ".9999: UDP"], &["ARP"]] {
            let arrived = || capture.said().lines().any(|line| words.iter().all(|word| line.contains(word)));
            wait_until(&format!("{words:?} to arrive"), PATIENCE, arrived).with_context(|| capture.said())?;
        }
        let said = capture.said();
        ensure!(
            !said.contains("9998") && !said.contains("88b5") && !said.contains("LLDP"),
            "it arrived: {said}"
        );
        // Each tagged flow has the states of its own VLAN.
        ensure!(lab.states()?.len() == 4, "{:?}", lab.states()?);
        Ok(())
    });
}

/// A datagram from the client to the server.
fn datagram(tags: Tags, port: u16) -> Vec<u8> {
    const LEN: usize = 20;
    let [src, dst] =
        [Lab::BRIDGED_CLIENT[0], Lab::BRIDGED_SERVER[0]].map(|text| text.parse().expect("an address"));
    let link = ethernet::Repr { dst: Mac::BROADCAST, src: STRANGER, tags, ether_type: EtherType::IPV4 };
    let (l3, l4) = (link.len(), link.len() + ipv4::HEADER_LEN);
    let mut frame = vec![0; l4 + LEN];
    link.emit(&mut frame).expect("room for the link");
    ipv4::Repr::new(src, dst, Proto::UDP, LEN).emit(&mut frame[l3..]).expect("room for a header");
    let header = udp::Repr { src_port: Port(7), dst_port: Port(port), cover: udp::Cover::Checksum };
    header.emit(&Pseudo::V4(src, dst), &mut frame[l4..]).expect("room for a datagram");
    frame
}

const STRANGER: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// A frame of zeros.
fn plain(ether_type: EtherType, dst: Mac) -> Vec<u8> {
    let mut frame = vec![0; 60];
    let header = ethernet::Repr { dst, src: STRANGER, tags: Tags::None, ether_type };
    header.emit(&mut frame).expect("room for the link");
    frame
}

#[test]
fn nothing_crosses_a_pair_without_rules_nor_without_a_dataplane() {
    bridged_bed("bridge-closed", Links::AfPacket, "", |lab| {
        let echo = Echo::start(&lab.server, 7)?;
        let server = address(Lab::BRIDGED_SERVER[0], 7);
        let before = lab.drops()?;
        // Not even ARP crosses, so that the client has nobody to send its datagram to.
        sockets::ask(&lab.client, server, SILENCE)?.timed_out("without rules")?;
        let dropped = lab.drops()?.since(&before);
        ensure!(
            dropped.total() > 0 && dropped.total() == dropped.of_reason("no-rules"),
            "dropped: {dropped}"
        );
        ensure!(echo.datagrams() == 0, "a datagram crossed without rules");

        lab.rules(OPEN)?;
        sockets::ask(&lab.client, server, PATIENCE)?.succeeded("with rules")?;
        let crossed = echo.datagrams();
        lab.kill_dataplane()?;
        for link in ["p-lan0", "p-wan0"] {
            lab.firewall.run(&format!("sysctl -qw net.ipv4.conf.{link}.forwarding=1"))?;
        }
        sockets::ask(&lab.client, server, SILENCE)?.timed_out("without a dataplane")?;
        ensure!(echo.datagrams() == crossed, "a datagram crossed without a dataplane");

        lab.restart_dataplane()?;
        sockets::ask(&lab.client, server, SILENCE)?.timed_out("after the restart")?;
        lab.rules(OPEN)?;
        sockets::ask(&lab.client, server, PATIENCE)?.succeeded("with rules again").map(|_| ())
    });
}
