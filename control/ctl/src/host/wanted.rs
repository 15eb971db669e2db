//! What a configuration wants of the machine.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::tree::{Tree, cpu_list, write_cpu_list};

/// Where the configuration is, unless another is named.
pub const CONFIG: &str = "/etc/turnpike/turnpike.toml";

/// turnpike.toml, as far as it asks something of the machine. Its own faults are the dataplane's to find
/// (`turnpike-dataplane --check`).
#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    dataplane: Dataplane,
    #[serde(default)]
    port: Vec<Port>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Dataplane {
    lcores: Option<Vec<u32>>,
    memory_mib: u64,
    hugepages: String,
}

/// As the dataplane has them.
impl Default for Dataplane {
    fn default() -> Self {
        Self { lcores: None, memory_mib: 256, hugepages: "auto".into() }
    }
}

#[derive(Deserialize)]
struct Port {
    #[serde(default)]
    device: String,
}

/// What is wanted.
#[derive(Debug)]
pub struct Wanted {
    /// Where that is written; `None` if nothing is, and defaults hold.
    source: Option<String>,
    /// CPUs of workers, in order.
    pub lcores: Vec<u32>,
    /// Memory for packets.
    pub memory_mib: u64,
    /// Whether it may come from hugepages.
    pub hugepages: bool,
    /// PCI addresses of ports.
    pub devices: Vec<String>,
}

impl Wanted {
    /// Reads the configuration; without one at its usual place, defaults hold.
    ///
    /// # Errors
    /// It cannot be read, or is not TOML of the right form.
    pub fn read(tree: &Tree, config: &Path) -> anyhow::Result<Self> {
        let usual = config == Path::new(CONFIG);
        let path = if usual { tree.path(CONFIG) } else { config.to_owned() };
        let (file, source) = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let file = toml::from_str(&text).with_context(|| path.display().to_string())?;
                (file, Some(path.display().to_string()))
            }
            Err(error) if usual && error.kind() == io::ErrorKind::NotFound => (File::default(), None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Self::of(tree, file, source)
    }

    fn of(tree: &Tree, file: File, source: Option<String>) -> anyhow::Result<Self> {
        let online = online(tree);
        let Some(last) = online.last() else {
            bail!("{}: no list of CPUs", tree.path(ONLINE).display());
        };
        // The dataplane's own choice: the last one.
        let mut lcores = file.dataplane.lcores.unwrap_or_else(|| vec![*last]);
        lcores.sort_unstable();
        let devices = file.port.into_iter().map(|port| port.device);
        Ok(Self {
            source,
            lcores,
            memory_mib: file.dataplane.memory_mib,
            hugepages: file.dataplane.hugepages != "off",
            devices: devices.filter(|device| is_pci(device)).collect(),
        })
    }

    /// Whether any port is a PCI device. Without a configuration that is what the machine is looked at for.
    pub fn is_for_pci(&self) -> bool {
        self.source.is_none() || !self.devices.is_empty()
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let source = self.source.as_deref().unwrap_or("the defaults");
        format!(
            "{source}: workers on CPU {}, {} MiB for packets, {} PCI devices",
            write_cpu_list(&self.lcores),
            self.memory_mib,
            self.devices.len()
        )
    }
}

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The CPUs that are online, in order.
pub fn online(tree: &Tree) -> Vec<u32> {
    cpu_list(&tree.text(ONLINE).unwrap_or_default())
}

/// `domain:bus:slot.function`, with or without the domain; anything else is a virtual device.
fn is_pci(device: &str) -> bool {
    let address = device.split(',').next().unwrap_or_default();
    let parts: Vec<&str> = address.split([':', '.']).collect();
    let hexadecimal = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    (3..=4).contains(&parts.len()) && parts.iter().all(hexadecimal)
}
