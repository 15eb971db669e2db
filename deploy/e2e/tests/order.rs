//! With two workers, answers of translated connections that arrive at the other one find their connection, and keep their
//! order (D9).

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, Result, ensure};
use e2e::sockets::{Datagrams, Echo, address};
use e2e::{Lab, Links, PATIENCE, bed, workers};

const RULES: &str = "block drop all\n\
    match out on wan0 inet from 10.1.0.0/24 nat-to 10.2.0.1 port 49152:65535\n\
    pass in on lan0\npass out on wan0\n";

/// Datagrams under way at once, of one flow.
const WINDOW: u32 = 32;
const WINDOWS: u32 = 50;
const FLOWS: usize = 16;

#[test]
fn d09_answers_to_translated_datagrams_keep_their_order_with_two_workers() {
    let Some(cpus) = workers::two_cpus() else { return };
    bed("order-two", Links::AfPacket, "", |lab| {
        workers::restart_with_two(lab, cpus)?;
        lab.rules(RULES)?;
        let _echo = Echo::start(&lab.server, 7)?;
        let (to, mut answers) = (address(Lab::SERVER, 7), 0);
        // Who waits for a neighbour's address, waits with few others.
        Datagrams::open(&lab.client, to, PATIENCE)?.ask()?;
        let before = lab.drops()?;
        for flow in 0..FLOWS {
            answers += lab
                .client
                .inside(|| in_order(to))
                .and_then(|found| found)
                .with_context(|| format!("flow {flow}"))?;
        }
        ensure!(answers == FLOWS as u64 * u64::from(WINDOW * WINDOWS), "{answers} answers");
        lab.expect_drops(&before, &[])?;
        // The kernel spreads packets by a hash of its own: answers came to either worker.
        for kept in workers::conservation(lab)? {
            let (out, into) = (&kept["handoff_out"], &kept["handoff_in"]);
            ensure!(out.as_u64() > Some(0) && into.as_u64() > Some(0), "no hand-off: {kept}");
        }
        Ok(())
    });
}

/// Sends numbered datagrams, a window at a time, and sees their echoes come in their order. Returns how many came.
fn in_order(to: SocketAddr) -> Result<u64> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answers = 0;
    for window in 0..WINDOWS {
        let numbers = window * WINDOW..(window + 1) * WINDOW;
        for number in numbers.clone() {
            socket.send(&number.to_be_bytes())?;
        }
        for number in numbers {
            let mut came = [0; 4];
            socket.recv(&mut came).with_context(|| format!("no answer to number {number}"))?;
            let came = u32::from_be_bytes(came);
            ensure!(came == number, "number {came} came in place of {number}");
            answers += 1;
        }
    }
    Ok(answers)
}
