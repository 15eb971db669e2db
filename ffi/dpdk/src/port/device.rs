//! How a device is named.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// A device by its bus, name and driver arguments. Parsed from `0000:01:00.0` or `net_tap0,iface=wan0`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Device {
    bus: Bus,
    name: String,
    args: String,
}

/// Where a device sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bus {
    /// A NIC, bound to vfio-pci or to a driver that shares it.
    Pci,
    /// Made by a driver in software.
    Virtual,
}

impl Device {
    /// Where it sits.
    pub fn bus(&self) -> Bus {
        self.bus
    }

    /// The PCI address with its domain, or the name of the virtual device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver arguments, without the first comma.
    pub fn args(&self) -> &str {
        &self.args
    }
}

impl Bus {
    pub(super) fn name(self) -> &'static str {
        match self {
            Bus::Pci => "pci",
            Bus::Virtual => "vdev",
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device, Error> {
        let (name, args) = text.split_once(',').unwrap_or((text, ""));
        let refused = || Error::Device(text.to_owned());
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(refused());
        }
        let args = args.to_owned();
        if let Some(name) = pci_address(name) {
            return Ok(Device { bus: Bus::Pci, name, args });
        }
        // Drivers of virtual devices are found by the prefix of the name: net_tap, net_af_packet, virtio_user.
        let driver = name.starts_with("net_") || name.starts_with("virtio_user") || name.starts_with("eth_");
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if !driver || !plain || name.len() >= dpdk_sys::RTE_ETH_NAME_MAX_LEN as usize {
            return Err(refused());
        }
        Ok(Device { bus: Bus::Virtual, name: name.to_owned(), args })
    }
}

/// `text` as domain:bus:device.function in lower case, domain 0 if it has none; None if it is no PCI address.
fn pci_address(text: &str) -> Option<String> {
    let (slot, function) = text.rsplit_once('.')?;
    let parts: Vec<&str> = slot.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [bus, device] => ("0000", bus, device),
        [domain, bus, device] => (domain, bus, device),
        _ => return None,
    };
    let hex = |digits: &str, len: usize| digits.len() == len && digits.bytes().all(|b| b.is_ascii_hexdigit());
    let function_ok = function.len() == 1 && matches!(function.as_bytes(), [b'0'..=b'7']);
    (hex(domain, 4) && hex(bus, 2) && hex(device, 2) && function_ok)
        .then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.args.is_empty() { Ok(()) } else { write!(f, ",{}", self.args) }
    }
}
