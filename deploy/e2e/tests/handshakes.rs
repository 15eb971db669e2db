//! Handshakes and sequence numbers that the firewall changes, between real Linux stacks: files arrive whole, also where packets
//! are lost, and a flood of SYNs makes no states.

use std::io::ErrorKind;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, address};
use e2e::{Lab, Links, Namespace, PATIENCE, bed, frames, transfer, wait_until};
use wire::corpus::build;
use wire::ethernet::{self, Tags};
use wire::tcp::{OptionsBuf, Repr, TcpOption};
use wire::{EtherType, Mac, Port, Proto, Seq, TcpFlags, checksum, ipv4};

const PORT: u16 = 7;

/// One of fifty packets that come to a station is lost.
fn lose(station: &Namespace) -> Result<()> {
    station.run("nft add table inet loss")?;
    station.run("nft add chain inet loss in { type filter hook input priority 0 ; }")?;
    station.run("nft add rule inet loss in meta l4proto tcp numgen random mod 50 == 0 drop").map(|_| ())
}

/// Files up and down over IPv4 and IPv6, with loss on both sides.
fn carry(lab: &mut Lab) -> Result<()> {
    lose(&lab.client)?;
    lose(&lab.server)?;
    transfer::both_ways(lab, [Lab::SERVER, Lab::SERVER6], 10)?;
    let details = lab.tpctl("show states -v")?.text;
    ensure!(details.contains("](+"), "no number was changed:\n{details}");
    Ok(())
}

#[test]
fn a19_files_arrive_whole_under_other_numbers_with_selective_acknowledgments() {
    bed("modulate", Links::Tap, "pass\npass proto tcp modulate state\n", |lab| {
        let before = lab.drops()?;
        carry(lab)?;
        lab.expect_drops(&before, &[])
    });
}

/// The kernel drops what echoes a timestamp that it has not sent, and what is older than the last one.
#[test]
fn files_arrive_whole_with_timestamps_that_are_changed_and_compared() {
    bed("reassemble", Links::Tap, "match scrub (reassemble tcp)\npass\n", |lab| {
        let before = lab.drops()?;
        lose(&lab.client)?;
        lose(&lab.server)?;
        transfer::both_ways(lab, [Lab::SERVER, Lab::SERVER6], 10)?;
        for host in [&lab.client, &lab.server] {
            let refused = host.run("nstat -asz TcpExtPAWSEstab TcpExtPAWSActive")?;
            let none = refused.lines().filter(|line| line.starts_with("TcpExt"));
            let none = none.filter(|line| line.split_whitespace().nth(1) == Some("0")).count();
            ensure!(none == 2, "the kernel refused timestamps:\n{refused}");
        }
        lab.expect_drops(&before, &[])
    });
}

#[test]
fn a19_files_arrive_whole_behind_handshakes_that_are_completed_for_the_server() {
    bed("synproxy", Links::Tap, "pass\npass in on lan0 proto tcp synproxy state\n", |lab| {
        carry(lab)?;
        // A server that refuses has the client told.
        match sockets::connect(&lab.client, address(Lab::SERVER, 9), PATIENCE)?.outcome {
            Ok(mut stream) => ensure!(sockets::converse(&mut stream).is_err(), "nobody is there"),
            // Behind the handshake, but before the client looked.
            Err(error) => ensure!(error.kind() == ErrorKind::ConnectionReset, "{error}"),
        }
        // Over the host itself, too.
        let _echo = Echo::start(&lab.firewall, PORT)?;
        let mut own =
            sockets::connect(&lab.client, address("10.1.0.1", PORT), PATIENCE)?.succeeded("the firewall")?;
        sockets::converse(&mut own)
    });
}

/// SYNs from so many senders that nobody has ever heard of.
fn flood(lab: &Lab, syns: u32) -> Result<()> {
    let (src, dst) = (Mac(lab.client.mac("eth-lan")?), Mac(lab.firewall.mac("lan0")?));
    let server: Ipv4Addr = Lab::SERVER.parse()?;
    let frames: Vec<Vec<u8>> = (0..syns)
        .map(|number| {
            let source = Ipv4Addr::from_bits(0xc612_0000 + number);
            let mut options = OptionsBuf::EMPTY;
            options.push(&TcpOption::Mss(1460)).expect("it fits");
            let header = Repr {
                src_port: Port(1024 + (number % 50_000) as u16),
                dst_port: Port(PORT),
                seq: Seq(number.wrapping_mul(0x9e37_79b9)),
                flags: TcpFlags::SYN,
                window: 1000,
                options,
                ..Repr::default()
            };
            let segment = build::tcp(&checksum::Pseudo::V4(source, server), &header, &[]);
            let datagram = build::ipv4(&ipv4::Repr::new(source, server, Proto::TCP, segment.len()), &segment);
            let link = ethernet::Repr { dst, src, tags: Tags::None, ether_type: EtherType::IPV4 };
            let mut frame = vec![0; link.len()];
            frame.extend(datagram);
            link.emit(&mut frame).expect("the room is there");
            frame
        })
        .collect();
    let sent = frames::send(lab, &lab.client, "eth-lan", frames.iter().map(Vec::as_slice))?;
    ensure!(sent == u64::from(syns), "{sent} of {syns} frames were sent");
    Ok(())
}

fn count(lab: &Lab, name: &str) -> Result<u64> {
    let info = lab.tpctl("pfctl -si -v")?.text;
    let line = info.lines().find(|line| line.trim_start().starts_with(name)).context(info.clone())?;
    let number = line.trim_start().trim_start_matches(name).split_whitespace().next();
    number.and_then(|number| number.parse().ok()).with_context(|| line.to_owned())
}

/// E2. No state is made of a SYN nobody means, and whoever is there gets through.
#[test]
fn e02_a_flood_of_syns_makes_no_states_and_clients_connect() {
    const SYNS: u32 = 20_000;
    bed("syncookies", Links::Tap, "set syncookies always\npass\n", |lab| {
        let _echo = Echo::start(&lab.server, PORT)?;
        let before = lab.drops()?;
        for _ in 0..3 {
            flood(lab, SYNS)?;
            let mut stream =
                sockets::connect(&lab.client, address(Lab::SERVER, PORT), PATIENCE)?.succeeded("connect")?;
            sockets::converse(&mut stream)?;
        }
        let answered = || lab.drops().map_or(0, |drops| drops.since(&before).of_reason("synproxy"));
        wait_until("all SYNs to be answered", PATIENCE, || answered() > u64::from(SYNS))?;
        let states = lab.states()?;
        ensure!(!states.iter().any(|line| line.contains(" 198.")), "of the flood: {states:#?}");
        let [sent, validated] = [count(lab, "syncookies sent")?, count(lab, "syncookies validated")?];
        ensure!(validated == 3 && sent > u64::from(SYNS), "{sent} sent, {validated} validated");
        Ok(())
    });
}

/// E2. Adaptive: half-open states stay below the watermark, and the flood is told of.
#[test]
fn e02_adaptive_cookies_bound_what_a_flood_takes() {
    let rules = "set limit states 2000\nset syncookies adaptive (start 10%, end 5%)\npass\n";
    bed("adaptive", Links::Tap, rules, |lab| {
        let _echo = Echo::start(&lab.server, PORT)?;
        flood(lab, 10_000)?;
        let mut stream =
            sockets::connect(&lab.client, address(Lab::SERVER, PORT), PATIENCE)?.succeeded("connect")?;
        sockets::converse(&mut stream)?;
        let half_open = count(lab, "half-open tcp")?;
        ensure!((1..=400).contains(&half_open), "{half_open} half-open states");
        ensure!(count(lab, "synfloods detected")? == 1);
        ensure!(count(lab, "syncookies validated")? == 1);
        Ok(())
    });
}
