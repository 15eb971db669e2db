//! Which interfaces the operator needs to reach the machine: those of the default routes, and those that carry an SSH
//! session.
//!
//! sudo(8) drops SSH_CONNECTION from the environment, so that the kernel's list of connections is asked as well.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::inventory::Link;
use crate::tree::Tree;

/// sshd's port, beside the one that SSH_CONNECTION tells.
const SSH: u16 = 22;
/// `TCP_ESTABLISHED` of the kernel's lists.
const ESTABLISHED: &str = "01";

/// The interfaces, each with the reason.
pub struct Management {
    reasons: BTreeMap<String, String>,
}

impl Management {
    /// Finds them.
    pub fn find(tree: &Tree, links: &[Link]) -> Self {
        let mut found = Self { reasons: BTreeMap::new() };
        for interface in default_routes(tree) {
            found.protect(tree, &interface, &format!("the default route leads through {interface}"));
        }
        let told = std::env::var("SSH_CONNECTION").ok().and_then(|text| ssh_connection(&text));
        let port = told.map_or(SSH, |(_, port)| port);
        let ends = told.map(|(address, _)| address).into_iter().chain(sessions(tree, port));
        for address in ends {
            let has = |link: &&Link| link.addr_info.iter().any(|info| info.local == Some(address));
            if let Some(link) = links.iter().find(has) {
                found.protect(tree, &link.ifname, &format!("an SSH session ends at {address}"));
            }
        }
        found
    }

    /// Why an interface is needed; `None` if it is not.
    pub fn reason(&self, interface: &str) -> Option<String> {
        self.reasons.get(interface).cloned()
    }

    /// Notes an interface and those beneath it: the members of a bond or a bridge, the parent of a VLAN.
    fn protect(&mut self, tree: &Tree, interface: &str, reason: &str) {
        if self.reasons.contains_key(interface) {
            return;
        }
        self.reasons.insert(interface.to_owned(), reason.to_owned());
        for name in tree.names(&format!("/sys/class/net/{interface}")) {
            if let Some(lower) = name.strip_prefix("lower_") {
                self.protect(tree, lower, reason);
            }
        }
    }
}

/// The interfaces of the default routes, IPv4 and IPv6.
fn default_routes(tree: &Tree) -> Vec<String> {
    let ipv4 = tree.text("/proc/net/route").unwrap_or_default();
    let ipv4 = ipv4.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_default = fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000");
        is_default.then(|| fields[0].to_owned())
    });
    let ipv6 = tree.text("/proc/net/ipv6_route").unwrap_or_default();
    let ipv6 = ipv6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let zeros =
            |field: usize| fields.get(field).is_some_and(|text| text.bytes().all(|byte| byte == b'0'));
        // The kernel's own entry that rejects what has no route is on lo.
        let interface = fields.last().filter(|name| **name != "lo" && zeros(0) && zeros(1));
        interface.map(|name| (*name).to_owned())
    });
    ipv4.chain(ipv6).collect()
}

/// The machine's end of `client port server port`.
fn ssh_connection(text: &str) -> Option<(IpAddr, u16)> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// The machine's addresses at which established connections to a port end.
fn sessions(tree: &Tree, port: u16) -> Vec<IpAddr> {
    let lists = ["/proc/net/tcp", "/proc/net/tcp6"];
    let texts: Vec<String> = lists.iter().filter_map(|path| tree.text(path)).collect();
    let ends = texts.iter().flat_map(|text| text.lines()).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let end = fields.get(1).filter(|_| fields.get(3) == Some(&ESTABLISHED))?;
        let (address, local_port) = end.split_once(':')?;
        (u16::from_str_radix(local_port, 16) == Ok(port)).then(|| kernel_address(address))?
    });
    ends.filter(|address| !address.is_loopback()).collect()
}

/// An address as /proc/net/tcp writes it: words of 32 bits in network order, each printed as a number of this machine.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let words = text.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<[u8; 4]>>>()?.concat();
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_canonical()),
    }
}
