//! Links that flap, and devices that are removed and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Datagrams, Echo, address};
use e2e::{Lab, Links, bed, wait_until};

use crate::{PATIENCE, interface, long, wait_for_link};

const OPEN: &str = "pass\n";

/// Datagrams from the client to the server all the time, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn start(lab: &Lab) -> Result<Self> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let socket = Datagrams::open(&lab.client, address(Lab::SERVER, 9), PATIENCE)?;
        let (flag, count) = (stop.clone(), sent.clone());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                count.fetch_add(u64::from(socket.send(400).is_ok()), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self { stop, sent, thread: Some(thread) })
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Takes the server's end of the link down.
fn unplug(lab: &Lab) -> Result<()> {
    lab.server.run("ip link set eth-wan down").map(|_| ())
}

/// What the dataplane has dropped because a port was down.
fn port_down(lab: &Lab) -> Result<u64> {
    Ok(lab.drops()?.of_reason("port-down"))
}

#[test]
fn g05_a_flapping_link_is_followed_and_costs_no_state() {
    bed("flap", Links::AfPacket, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 9)?;
        let mut stream =
            sockets::connect(&lab.client, address(Lab::SERVER, 9), PATIENCE)?.succeeded("connecting")?;
        let load = Load::start(lab)?;
        sockets::converse(&mut stream)?;
        let before = lab.drops()?;
        for round in 0..if long() { 100 } else { 5 } {
            let dropped = port_down(lab)?;
            unplug(lab)?;
            let seen = wait_for_link(lab, "wan0", "down")?;
            ensure!(seen["link"]["cause"] == "no carrier", "round {round}: {seen}");
            // The kernel and its routing daemons see it too.
            let host = lab.firewall.run("ip -o link show wan0")?;
            ensure!(host.contains("NO-CARRIER"), "round {round}: {host}");
            wait_until("packets to find the port down", PATIENCE, || {
                port_down(lab).is_ok_and(|now| now > dropped)
            })?;
            lab.reconnect_server()?;
            wait_for_link(lab, "wan0", "up")?;
            lab.client.wait_for_ping(Lab::SERVER, " 0% packet loss")?;
        }
        drop(load);
        // The connection of before goes on, and only what had nowhere to go was dropped.
        sockets::converse(&mut stream).context("after the link had flapped")?;
        let lost = lab.drops()?.since(&before);
        let known: u64 = ["port-down", "no-neighbor", "no-route"].iter().map(|r| lost.of_reason(r)).sum();
        ensure!(lost.total() == known, "dropped: {lost}");
        let said = lab.tpctl("show status")?.text;
        ensure!(said.contains("wan0      up"), "{said}");
        let log = lab.dataplane.said();
        ensure!(log.contains("link down") && log.contains("no carrier") && log.contains("link up"), "{log}");
        Ok(())
    });
}

#[test]
fn g05_a_device_that_is_removed_and_comes_back_is_taken_up_again() {
    bed("device", Links::AfPacket, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 9)?;
        let mut stream =
            sockets::connect(&lab.client, address(Lab::SERVER, 9), PATIENCE)?.succeeded("connecting")?;
        let load = Load::start(lab)?;
        sockets::converse(&mut stream)?;
        for round in 0..if long() { 20 } else { 2 } {
            let carried = interface(lab, "wan0")?["tx_packets"].as_u64();
            lab.firewall.run("ip link del p-wan0")?;
            let seen = wait_for_link(lab, "wan0", "absent")?;
            ensure!(seen["link"]["cause"].as_str().is_some_and(|cause| cause.contains("gone")), "{seen}");
            let said = lab.tpctl("show status")?.text;
            ensure!(said.contains("wan0      down (the device is gone"), "round {round}: {said}");
            // The host interface stays, with its addresses; the other port works; packets are counted.
            let host = lab.firewall.run("ip -o addr show wan0")?;
            ensure!(host.contains(Lab::OUTSIDE), "round {round}: {host}");
            let (dropped, sent) = (port_down(lab)?, load.sent());
            lab.client.wait_for_ping(Lab::GATEWAY, " 0% packet loss")?;
            wait_until("packets to find no port", PATIENCE, || {
                load.sent() > sent && port_down(lab).is_ok_and(|now| now > dropped)
            })?;

            lab.replug_server()?;
            wait_for_link(lab, "wan0", "up")?;
            lab.client.wait_for_ping(Lab::SERVER, " 0% packet loss")?;
            lab.client.wait_for_ping(Lab::SERVER6, " 0% packet loss")?;
            // What was counted before the device went is still counted.
            ensure!(interface(lab, "wan0")?["tx_packets"].as_u64() > carried, "round {round}: {carried:?}");
        }
        drop(load);
        sockets::converse(&mut stream).context("after the device had been away")
    });
}
