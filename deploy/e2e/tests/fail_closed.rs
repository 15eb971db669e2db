//! Nothing is forwarded without rules, nor without a running dataplane, whatever the kernel is told to do; and a
//! dataplane that was killed does not keep the next one from starting.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::sockets::{self, Echo, SILENCE, Stream, address};
use e2e::{Lab, Links, PATIENCE, bed, program, wait_until};

const OPEN: &str = "pass\n";
/// How long a killed firewall is watched.
const WATCH: Duration = Duration::from_secs(3);
const EVERY: Duration = Duration::from_millis(10);

#[test]
fn nothing_passes_before_the_first_commit_over_tap_links() {
    bed("unruled-tap", Links::Tap, "", unruled);
}

#[test]
fn nothing_passes_before_the_first_commit_over_af_packet_links() {
    bed("unruled-afp", Links::AfPacket, "", unruled);
}

fn unruled(lab: &mut Lab) -> Result<()> {
    let outside = Echo::start(&lab.server, 7)?;
    let own = Echo::start(&lab.firewall, 7)?;
    let targets =
        [(Lab::SERVER, &outside), (Lab::SERVER6, &outside), (Lab::GATEWAY, &own), (Lab::GATEWAY6, &own)];
    let before = lab.drops()?;
    for (host, echo) in targets {
        let what = format!("{host} without rules");
        sockets::ask(&lab.client, address(host, 7), SILENCE)?.timed_out(&what)?;
        ensure!(echo.datagrams() == 0, "a packet came through to {what}");
    }
    // The firewall's own do not leave either.
    sockets::ask(&lab.firewall, address(Lab::SERVER, 7), SILENCE)?.timed_out("from the firewall")?;
    ensure!(outside.datagrams() == 0, "the firewall's own packet left without rules");
    let dropped = lab.drops()?.since(&before);
    ensure!(
        dropped.total() > 0 && dropped.total() == dropped.of_reason("no-rules"),
        "dropped without rules: {dropped}"
    );

    lab.rules(OPEN)?;
    for (host, _) in targets {
        sockets::ask(&lab.client, address(host, 7), PATIENCE)?.succeeded(host)?;
    }
    Ok(())
}

#[test]
fn a_killed_dataplane_forwards_nothing_over_tap_links() {
    bed("killed-tap", Links::Tap, OPEN, killed);
}

#[test]
fn a_killed_dataplane_forwards_nothing_over_af_packet_links() {
    bed("killed-afp", Links::AfPacket, OPEN, killed);
}

/// Kills the dataplane twice: started without and started with a kernel that is told to forward.
fn killed(lab: &mut Lab) -> Result<()> {
    let echo = Echo::start(&lab.server, 7)?;
    for round in ["forwarding set after the kill", "forwarding set before the start"] {
        let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), EVERY)?;
        wait_until("datagrams to be answered", PATIENCE, || stream.answered() > 20)?;
        lab.kill_dataplane()?;
        tell_kernel_to_forward(lab)?;
        // What was under way when the process died.
        std::thread::sleep(Duration::from_millis(100));
        let passed = echo.datagrams();
        std::thread::sleep(WATCH);
        let leaked = echo.datagrams() - passed;
        ensure!(leaked == 0, "{round}: {leaked} datagrams were forwarded without a dataplane");
        stream.abandon();

        leftovers_are_there(lab)?;
        lab.restart_dataplane().with_context(|| format!("{round}: restart"))?;
        sockets::ask(&lab.client, address(Lab::SERVER, 7), SILENCE)?.timed_out(round)?;
        ensure!(echo.datagrams() == passed, "{round}: forwarded after the restart, before a commit");
        lab.rules(OPEN)?;
        sockets::ask(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded(round)?;
        ensure!(echo.datagrams() == passed + 1, "{round}: the kernel forwards beside the dataplane");
    }
    Ok(())
}

/// As an operator's sysctl.conf might.
fn tell_kernel_to_forward(lab: &Lab) -> Result<()> {
    for family in ["ipv4", "ipv6"] {
        for scope in ["all", "default"] {
            lab.firewall.run(&format!("sysctl -qw net.{family}.conf.{scope}.forwarding=1"))?;
        }
    }
    lab.firewall.run("sysctl -qw net.ipv4.ip_forward=1").map(|_| ())
}

fn leftovers_are_there(lab: &Lab) -> Result<()> {
    for ending in ["sock", "lock", "counters"] {
        let path = lab.socket().with_extension(ending);
        ensure!(path.exists(), "{} did not outlive the kill: the restart proves nothing", path.display());
    }
    Ok(())
}

/// The worst case: veth links, which stay when the process goes, with addresses and routes of the kernel's own. Without
/// the dataplane's rules the kernel does forward here, which the last step shows.
#[test]
fn the_kernel_does_not_stand_in_for_a_killed_dataplane() {
    bed("stand-in", Links::AfPacket, OPEN, |lab| {
        let echo = Echo::start(&lab.server, 7)?;
        sockets::ask(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("before the kill")?;
        lab.kill_dataplane()?;
        tell_kernel_to_forward(lab)?;
        for (link, own) in [("p-lan0", Lab::GATEWAY), ("p-wan0", Lab::OUTSIDE)] {
            lab.firewall.run(&format!("ip addr add {own}/24 dev {link}"))?;
            lab.firewall.run(&format!("sysctl -qw net.ipv4.conf.{link}.forwarding=1"))?;
            lab.firewall.run(&format!("sysctl -qw net.ipv4.conf.{link}.arp_ignore=0"))?;
        }
        let stream = Stream::start(&lab.client, address(Lab::SERVER, 7), EVERY)?;
        std::thread::sleep(WATCH);
        let leaked = echo.datagrams() - 1;
        ensure!(leaked == 0, "{leaked} datagrams were forwarded by the kernel");

        while lab.firewall.try_run("ip rule del pref 100")?.ok() {}
        wait_until("the kernel to forward, once it may", PATIENCE, || echo.datagrams() > 1)?;
        stream.abandon();
        Ok(())
    });
}

#[test]
fn a_second_dataplane_is_refused_and_does_no_harm() {
    bed("second", Links::AfPacket, OPEN, |lab| {
        let _echo = Echo::start(&lab.server, 7)?;
        let mut tcp =
            sockets::connect(&lab.client, address(Lab::SERVER, 7), PATIENCE)?.succeeded("connect")?;
        let stream = Stream::start(&lab.client, address(Lab::SERVER6, 7), EVERY)?;
        wait_until("datagrams to be answered", PATIENCE, || stream.answered() > 20)?;

        let elsewhere = lab.folder.join("second.sock");
        for (socket, complaint) in [(lab.socket(), "another turnpike-dataplane serves"), (elsewhere, "lan0")]
        {
            let said = lab.firewall.try_run(&format!(
                "timeout 30 {} --config {} --socket {}",
                program("turnpike-dataplane")?.display(),
                lab.folder.join("turnpike.toml").display(),
                socket.display()
            ))?;
            ensure!(said.code == Some(1), "a second dataplane ended with {:?}: {}", said.code, said.text);
            ensure!(said.text.contains(complaint), "it does not say what is in its way: {}", said.text);
        }

        let (sent, answered) = stream.stop()?;
        ensure!(sent == answered, "{answered} of {sent} datagrams came back");
        sockets::converse(&mut tcp)?;
        ensure!(lab.tpctl("show status")?.ok(), "the first dataplane does not answer any more");
        ensure!(
            !lab.folder.join("second.counters").exists(),
            "the second dataplane left its counters behind"
        );
        Ok(())
    });
}
