//! A machine's interfaces, read from what `ip -j addr` prints.

use std::net::{IpAddr, Ipv6Addr};

use ruleset::InterfacePart;
use serde::Deserialize;
use wire::Af;

/// Every interface of a machine.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    list: Vec<Interface>,
}

/// One interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub name: String,
    /// Groups beside the one that its name without the number is.
    group: Option<String>,
    pub loopback: bool,
    addresses: Vec<InterfaceAddress>,
}

#[derive(Clone, Debug)]
struct InterfaceAddress {
    address: IpAddr,
    prefix: u8,
    broadcast: Option<IpAddr>,
    peer: Option<IpAddr>,
}

impl InterfaceAddress {
    const fn describe(&self) -> DescribedAddress {
        let Self { address, prefix, broadcast: _, peer } = *self;
        DescribedAddress { address, prefix, peer }
    }
}

/// An interface, to be made elsewhere as it is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described<'a> {
    /// Its name.
    pub name: &'a str,
    /// The groups that it belongs to.
    pub groups: Vec<&'a str>,
    /// Its addresses.
    pub addresses: Vec<DescribedAddress>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescribedAddress {
    /// The address itself.
    pub address: IpAddr,
    /// The length of its network's prefix in bits.
    pub prefix: u8,
    /// The other end of the link, if it names one.
    pub peer: Option<IpAddr>,
}

/// An address found by an interface's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub address: IpAddr,
    pub prefix: u8,
    /// The interface that a link-local address belongs to.
    pub scope: Option<String>,
}

#[derive(Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    group: Option<String>,
    #[serde(default)]
    addr_info: Vec<AddressInfo>,
}

#[derive(Deserialize)]
struct AddressInfo {
    /// On a point-to-point link `local` is ours and `address` the peer's.
    local: Option<IpAddr>,
    address: Option<IpAddr>,
    prefixlen: Option<u8>,
    broadcast: Option<IpAddr>,
}

impl Interfaces {
    /// Reads the output of `ip -j addr`.
    ///
    /// # Errors
    /// Where the text is not of that form.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let links: Vec<Link> = serde_json::from_str(text)?;
        Ok(Self { list: links.into_iter().map(Interface::from_link).collect() })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|interface| interface.name.as_str())
    }

    /// Each of them but the loopback ones, in their order.
    pub fn described(&self) -> impl Iterator<Item = Described<'_>> {
        self.list.iter().filter(|interface| !interface.loopback).map(|interface| Described {
            name: &interface.name,
            groups: [Some(interface.driver()), interface.group.as_deref()].into_iter().flatten().collect(),
            addresses: interface.addresses.iter().map(InterfaceAddress::describe).collect(),
        })
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Interface> {
        self.list.iter().find(|interface| interface.name == name)
    }

    /// True if this is an interface, a group of some, or `self`.
    pub(crate) fn knows(&self, name: &str) -> bool {
        name == "self" || self.list.iter().any(|interface| interface.is(name))
    }

    /// The addresses that an interface, a group or `self` stands for.
    pub(crate) fn addresses(&self, name: &str, part: InterfacePart, no_alias: bool) -> Vec<Found> {
        let named = self.list.iter().filter(|interface| name == "self" || interface.is(name));
        named.flat_map(|interface| interface.parts(part, no_alias)).collect()
    }
}

impl Interface {
    fn from_link(link: Link) -> Self {
        let addresses = link.addr_info.into_iter().filter_map(|info| {
            let address = info.local.or(info.address)?;
            let bits = Af::of(&address).bits();
            Some(InterfaceAddress {
                address,
                prefix: info.prefixlen.unwrap_or(bits).min(bits),
                broadcast: info.broadcast,
                peer: info.local.and(info.address),
            })
        });
        let mut addresses: Vec<_> = addresses.collect();
        // pfctl lists an interface's IPv6 addresses first.
        addresses.sort_by_key(|entry| std::cmp::Reverse(Af::of(&entry.address)));
        Self {
            name: link.ifname,
            group: link.group.filter(|group| group != "default"),
            loopback: link.flags.iter().any(|flag| flag == "LOOPBACK"),
            addresses,
        }
    }

    /// The name without its number, which is a group.
    fn driver(&self) -> &str {
        self.name.trim_end_matches(|c: char| c.is_ascii_digit())
    }

    fn is(&self, name: &str) -> bool {
        self.name == name || self.driver() == name || self.group.as_deref() == Some(name)
    }

    fn parts(&self, part: InterfacePart, no_alias: bool) -> Vec<Found> {
        let mut seen = Vec::new();
        let mut found = Vec::new();
        for entry in &self.addresses {
            let af = Af::of(&entry.address);
            let link_local = is_link_local(&entry.address);
            if link_local && (no_alias || part == InterfacePart::Network) {
                continue;
            }
            if no_alias && seen.contains(&af) {
                continue;
            }
            let address = match part {
                InterfacePart::Own | InterfacePart::Network => Some(entry.address),
                InterfacePart::Broadcast => entry.broadcast,
                InterfacePart::Peer => entry.peer,
            };
            let Some(address) = address else { continue };
            seen.push(af);
            let prefix = if part == InterfacePart::Network { entry.prefix } else { af.bits() };
            let scope = link_local.then(|| self.name.clone());
            found.push(Found { address, prefix, scope });
        }
        found
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if Ipv6Addr::is_unicast_link_local(address))
}
