//! DPDK's own forwarder beside ours: `dpdk-testpmd` exchanging Ethernet addresses between two `net_null` ports.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Cycles per packet of testpmd's `macswap` on these CPUs, the second of which forwards; `None` if there is no testpmd or
/// it does not say.
pub fn macswap(control: usize, forwarding: usize) -> Option<f64> {
    let lcores = format!("{control},{forwarding}");
    let main = control.to_string();
    let mut child = Command::new("dpdk-testpmd")
        .args([
            "-l",
            &lcores,
            "--main-lcore",
            &main,
            "--no-pci",
            "--no-telemetry",
            "--in-memory",
            "-m",
            "128",
        ])
        .args(["--vdev=net_null0", "--vdev=net_null1", "--log-level=3", "--", "-i", "--record-core-cycles"])
        .args(["--burst=64", "--nb-cores=1", "--total-num-mbufs=16384"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take()?;
    for (command, seconds) in [("set fwd macswap\nstart\n", 2), ("stop\n", 1), ("quit\n", 0)] {
        stdin.write_all(command.as_bytes()).ok()?;
        thread::sleep(Duration::from_secs(seconds));
    }
    let mut text = String::new();
    child.stdout.take()?.read_to_string(&mut text).ok()?;
    child.wait().ok()?;
    let figure = text.split("CPU cycles/packet=").nth(1)?;
    figure.split_whitespace().next()?.parse().ok()
}
