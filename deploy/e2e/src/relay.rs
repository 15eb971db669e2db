//! A bad cable between the client and the firewall. This kernel may have no `netem`, so frames are lost, held back and repeated
//! by a small relay.

use anyhow::{Context, Result};

use crate::{Daemon, Lab, Namespace, PATIENCE, wait_until};

const RELAY: &str = include_str!("relay.py");

/// What happens to frames, of a hundred, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// Lost.
    pub loss: f64,
    /// Overtaken by others.
    pub late: f64,
    /// Arriving twice.
    pub twice: f64,
}

/// The relay, and the station behind it, which has the client's address.
#[derive(Debug)]
pub struct Relay {
    /// In place of the lab's client.
    pub station: Namespace,
    // Ended by the namespace that it runs in.
    _relay: Daemon,
}

impl Relay {
    /// Puts the relay into the client's link.
    ///
    /// # Errors
    /// python3 is missing, or a command failed.
    pub fn start(lab: &Lab, bed: &str, impairment: Impairment) -> Result<Self> {
        // What carries the frames has nothing to say itself.
        lab.client.run("sysctl -qw net.ipv6.conf.eth-lan.disable_ipv6=1")?;
        lab.client.run("ip addr flush dev eth-lan")?;
        let Impairment { loss, late, twice } = impairment;
        let mut command = lab.client.command("python3");
        command
            .args(["-c", RELAY, "eth-lan", "eth-far"])
            .args([loss, late, twice, 7.0].map(|one| one.to_string()));
        let relay = Daemon::start(&mut command, &lab.folder.join("relay.log"))?;
        wait_until("the relay to be ready", PATIENCE, || relay.said().contains("ready"))
            .with_context(|| relay.said())?;
        let station = Namespace::create(&format!("{}-{bed}-far", crate::PREFIX))?;
        lab.client.run(&format!("ip link set eth-far netns {}", station.name()))?;
        station.run(&format!("ip addr add {}/24 dev eth-far", Lab::CLIENT))?;
        station.run(&format!("ip -6 addr add {}/64 dev eth-far nodad", Lab::CLIENT6))?;
        station.run("ip link set eth-far txqueuelen 10000 up")?;
        station.run(&format!("ip route add default via {}", Lab::GATEWAY))?;
        station.run(&format!("ip -6 route add default via {}", Lab::GATEWAY6))?;
        // The client's old address has another Ethernet address now.
        lab.firewall.run("ip neigh flush dev lan0")?;
        Ok(Self { station, _relay: relay })
    }

    /// TCP segments that the station has sent again.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn sent_again(&self) -> Result<u64> {
        let said = self.station.run("cat /proc/net/snmp")?;
        let mut lines = said.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(str::split_whitespace);
        let (names, values) = lines.next().zip(lines.next()).context("no counters of TCP")?;
        let again = names.zip(values).find(|(name, _)| *name == "RetransSegs");
        Ok(again.context("no counter of retransmissions")?.1.parse()?)
    }
}
