//! Stations in VLANs. This kernel may have no VLAN interfaces of its own, so tags are made and read by a small switch.

use anyhow::{Context, Result};

use crate::{Daemon, Lab, Namespace, PATIENCE, wait_until};

const SWITCH: &str = include_str!("vlans.py");

/// A switch behind lan0 with a station in each of its VLANs.
#[derive(Debug)]
pub struct Vlans {
    /// By VLAN, in the order asked for.
    pub stations: Vec<Namespace>,
    // Ended by the namespace that it runs in.
    _switch: Daemon,
}

impl Vlans {
    /// The IPv4 and IPv6 addresses of a host in a VLAN: the firewall is host 1, the station host 2.
    pub fn addresses(vlan: u16, host: u8) -> [String; 2] {
        [format!("10.1.{vlan}.{host}"), format!("fd00:1:{vlan}::{host}")]
    }

    /// Starts the switch on the client's link, and gives each VLAN's station and the firewall their addresses there.
    ///
    /// # Errors
    /// python3 is missing, or a command failed.
    pub fn start(lab: &Lab, bed: &str, vlans: &[u16]) -> Result<Self> {
        let mut command = lab.client.command("python3");
        command.args(["-c", SWITCH, "eth-lan"]).args(vlans.iter().map(u16::to_string));
        let switch = Daemon::start(&mut command, &lab.folder.join("switch.log"))?;
        wait_until("the switch to be ready", PATIENCE, || switch.said().contains("ready"))
            .with_context(|| switch.said())?;
        let station = |vlan: &u16| Self::station(lab, bed, *vlan);
        let stations = vlans.iter().map(station).collect::<Result<_>>()?;
        Ok(Self { stations, _switch: switch })
    }

    fn station(lab: &Lab, bed: &str, vlan: u16) -> Result<Namespace> {
        let station = Namespace::create(&format!("{}-{bed}-vlan{vlan}", crate::PREFIX))?;
        lab.client.run(&format!("ip link set vlan{vlan} netns {}", station.name()))?;
        let ([own, own6], [gateway, gateway6]) = (Self::addresses(vlan, 2), Self::addresses(vlan, 1));
        station.run(&format!("ip addr add {own}/24 dev vlan{vlan}"))?;
        station.run(&format!("ip -6 addr add {own6}/64 dev vlan{vlan} nodad"))?;
        station.run(&format!("ip link set vlan{vlan} txqueuelen 10000 up"))?;
        station.run(&format!("ip route add default via {gateway}"))?;
        station.run(&format!("ip -6 route add default via {gateway6}"))?;
        lab.firewall.run(&format!("ip addr add {gateway}/24 dev lan0.{vlan}"))?;
        lab.firewall.run(&format!("ip -6 addr add {gateway6}/64 dev lan0.{vlan} nodad"))?;
        Ok(station)
    }
}
