//! The kernel must never forward between the firewall's interfaces, whether the dataplane runs or not.
//!
//! Overview: a policy rule for each link that the firewall's packets can enter the kernel by (`ip rule … iif X
//! blackhole`), before the main table and behind the local one, drops whatever the kernel would route on, also with
//! `ip_forward=1` and after the dataplane was killed: rules belong to the namespace, not to the process, and hold for a
//! link of that name whenever it comes. What the host itself receives or sends is not routed on.
//!
//! A link that a port is made of (`net_af_packet`, `net_af_xdp`) is a different case: the kernel sees every frame that
//! the dataplane sees, with the firewall's Ethernet address. It must not answer in the firewall's place, so it gets no
//! part in ARP, IPv6 or IPv4 at all. It must have no addresses.

use std::io::{self, Write};
use std::path::Path;

use netlink_packet_route::AddressFamily;

use super::socket::{Made, Requester};

/// Preference of the rules: behind `local` (0), before everything that routes on; `main` is 32766.
pub const PRIORITY: u32 = 100;

/// What a link is to the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A host interface: the kernel's side of a port.
    HostInterface,
    /// The kernel's device that a port is made of.
    PortDevice,
}

/// Keeps the kernel from forwarding what comes in by the link of this name; harmless to repeat.
///
/// # Errors
/// If a rule cannot be made: without it the firewall would not fail closed.
pub fn seal(requester: &mut Requester, link: &str) -> io::Result<()> {
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        match requester.forbid_forwarding(link, family, PRIORITY) {
            Ok(Made::Now) => tracing::debug!(link, ?family, "the kernel will not forward from this link"),
            Ok(Made::Before) => {}
            // A kernel without IPv6 does not forward it.
            Err(error) if family == AddressFamily::Inet6 && !Path::new("/proc/net/if_inet6").exists() => {
                tracing::debug!(link, %error, "no IPv6 in this kernel");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Settings of ip-sysctl below /proc/sys/net, by family, for each part. The rules of [`seal`] are what holds; these make
/// `sysctl` tell the same story, and keep port devices silent.
const SETTINGS: &[(Part, &str, &str, &str)] = &[
    (Part::HostInterface, "ipv4", "forwarding", "0"),
    (Part::HostInterface, "ipv6", "forwarding", "0"),
    (Part::PortDevice, "ipv4", "forwarding", "0"),
    // Answers no ARP request, for none of the host's addresses.
    (Part::PortDevice, "ipv4", "arp_ignore", "8"),
    // No route leads out of a port device, so the strict check of RFC 3704 drops whatever would be for the host.
    (Part::PortDevice, "ipv4", "rp_filter", "1"),
    (Part::PortDevice, "ipv6", "disable_ipv6", "1"),
];

/// Applies the settings to a link that exists. Those that cannot be written, as in a container, are logged.
pub fn settle(part: Part, link: &str) {
    for (_, family, setting, value) in SETTINGS.iter().filter(|(of, ..)| *of == part) {
        let path = format!("/proc/sys/net/{family}/conf/{link}/{setting}");
        // Without making a file: that is not this process's to do once it runs.
        let opened = std::fs::OpenOptions::new().write(true).open(&path);
        match opened.and_then(|mut file| file.write_all(value.as_bytes())) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && *family == "ipv6" => {}
            Err(error) => tracing::warn!(path, value, %error, "cannot write this setting"),
        }
    }
}
