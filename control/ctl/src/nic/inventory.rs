//! The network cards of the machine, as sysfs tells of them.

use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::management::Management;
use crate::machine::system_interfaces;
use crate::tree::Tree;

/// PCI's class of network controllers, the first byte of a device's class.
const NETWORK: &str = "0x02";

/// A PCI function that is a network card.
#[derive(Clone, Debug, Serialize)]
pub struct Nic {
    /// Its PCI address, as turnpike.toml names it.
    pub address: String,
    /// Vendor and device, in hexadecimal.
    pub id: String,
    /// The kernel driver that has it.
    pub driver: Option<String>,
    /// The NUMA node; `None` on machines that have but one.
    pub numa_node: Option<u32>,
    /// The unit in which the IOMMU protects it; `None` without an IOMMU.
    pub iommu_group: Option<String>,
    /// The kernel's interfaces of it.
    pub interfaces: Vec<Interface>,
    /// Why it is the management NIC, if it is.
    pub management: Option<String>,
}

/// A kernel interface of a card.
#[derive(Clone, Debug, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Option<String>,
    /// `up`, `down`, or what else the kernel says of it.
    pub link: String,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<String>,
}

/// Every card.
pub struct Inventory {
    /// In the order of their addresses.
    pub nics: Vec<Nic>,
}

/// What `ip -j addr` says of an interface.
#[derive(Deserialize)]
pub(super) struct Link {
    pub ifname: String,
    #[serde(default)]
    pub addr_info: Vec<Address>,
}

/// What it says of an address.
#[derive(Deserialize)]
pub(super) struct Address {
    pub local: Option<std::net::IpAddr>,
    prefixlen: Option<u8>,
}

impl Inventory {
    /// Looks at the machine. `interfaces` is a file to take its addresses from.
    ///
    /// # Errors
    /// The addresses cannot be read.
    pub fn take(tree: &Tree, interfaces: Option<&Path>) -> anyhow::Result<Self> {
        let links = links(tree, interfaces)?;
        let management = Management::find(tree, &links);
        let nics = tree.names("/sys/bus/pci/devices").into_iter();
        let nics = nics.filter_map(|address| nic(tree, address, &links, &management));
        Ok(Self { nics: nics.collect() })
    }
}

fn links(tree: &Tree, interfaces: Option<&Path>) -> anyhow::Result<Vec<Link>> {
    let (text, source) = match interfaces {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            (text, path.display().to_string())
        }
        None if tree.is_this_machine() => (system_interfaces()?, "ip -j addr".to_owned()),
        None => return Ok(Vec::new()),
    };
    serde_json::from_str(&text).with_context(|| format!("{source}: not of the form of ip -j addr"))
}

fn nic(tree: &Tree, address: String, links: &[Link], management: &Management) -> Option<Nic> {
    let at = format!("/sys/bus/pci/devices/{address}");
    let file = |name: &str| tree.text(&format!("{at}/{name}"));
    if !file("class")?.starts_with(NETWORK) {
        return None;
    }
    let hexadecimal = |name| file(name).unwrap_or_default().trim_start_matches("0x").to_owned();
    let interfaces: Vec<Interface> =
        interface_names(tree, &at).into_iter().map(|name| interface(tree, name, links)).collect();
    Some(Nic {
        id: format!("{}:{}", hexadecimal("vendor"), hexadecimal("device")),
        driver: tree.target_name(&format!("{at}/driver")),
        // The kernel writes -1 where there is one node.
        numa_node: file("numa_node").and_then(|node| node.parse().ok()),
        iommu_group: tree.target_name(&format!("{at}/iommu_group")),
        management: interfaces.iter().find_map(|interface| management.reason(&interface.name)),
        interfaces,
        address,
    })
}

/// A device's interfaces are in its folder `net`, or in that of a device within it: virtio's is one deeper.
fn interface_names(tree: &Tree, device: &str) -> Vec<String> {
    let own = tree.names(&format!("{device}/net"));
    if !own.is_empty() {
        return own;
    }
    let inner = tree.names(device).into_iter().filter(|name| name.starts_with("virtio"));
    inner.flat_map(|name| tree.names(&format!("{device}/{name}/net"))).collect()
}

fn interface(tree: &Tree, name: String, links: &[Link]) -> Interface {
    let file = |what: &str| tree.text(&format!("/sys/class/net/{name}/{what}"));
    let addresses = links.iter().filter(|link| link.ifname == name).flat_map(|link| &link.addr_info);
    let addresses = addresses.filter_map(|info| Some(format!("{}/{}", info.local?, info.prefixlen?)));
    Interface {
        mac: file("address"),
        link: file("operstate").unwrap_or_else(|| "unknown".into()),
        addresses: addresses.collect(),
        name,
    }
}
