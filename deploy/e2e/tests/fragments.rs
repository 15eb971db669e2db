//! Datagrams in fragments between real Linux stacks: whole on both sides, through translation too.

use anyhow::{Context, Result, ensure};
use e2e::sockets::{Datagrams, Echo, address};
use e2e::{Lab, Links, PATIENCE, bed, wait_until};

const RULES: &str = "pass\n\
    match out on wan0 inet from lan0:network nat-to (wan0:0)\n\
    match out on wan0 inet6 from lan0:network nat-to (wan0:0)\n";
const PORT: u16 = 7;

/// Large datagrams there and back.
fn exchange(lab: &Lab, server: &str) -> Result<()> {
    lab.client.ping(2, server)?;
    for size in [4000, 60_000] {
        lab.client.ping(2, &format!("-s {size} {server}"))?;
    }
    let socket = Datagrams::open(&lab.client, address(server, PORT), PATIENCE)?;
    for size in [8192, 60_000] {
        ensure!(socket.echo(size).context("no answer")?, "{size} bytes came back as others");
    }
    Ok(())
}

#[test]
fn large_datagrams_arrive_whole_on_both_sides() {
    bed("fragments", Links::Tap, RULES, |lab| {
        let _echo = Echo::start(&lab.server, PORT)?;
        let before = lab.drops()?;
        for server in [Lab::SERVER, Lab::SERVER6] {
            exchange(lab, server).with_context(|| format!("with {server}"))?;
        }
        // For the host itself.
        for own in ["10.1.0.1", "fd00:1::1"] {
            lab.client.ping(2, &format!("-s 4000 {own}"))?;
        }
        // Behind a narrower link datagrams are cut anew (IPv4), or told to be too big once (IPv6).
        lab.firewall.run("ip link set wan0 mtu 1400")?;
        lab.server.run("ip link set eth-wan mtu 1400")?;
        exchange(lab, Lab::SERVER).context("by the narrower link")?;
        lab.client.ping(2, &format!("-M dont -s 1450 {}", Lab::SERVER))?;
        lab.expect_drops(&before, &[])?;
        wait_until("IPv6 to adapt", PATIENCE, || {
            lab.client.ping(2, &format!("-s 4000 {}", Lab::SERVER6)).is_ok()
        })?;
        let counts = &lab.show("status")?["fragments"];
        ensure!(counts["waiting"] == 0 && counts["inserts"].as_u64() > Some(20), "{counts}");
        Ok(())
    });
}
