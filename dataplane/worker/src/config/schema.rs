//! Every key of turnpike.toml, in one table: what errors, the manual and the decoder know of it.

pub use api::Key;
use api::{CONTROL_KEYS, IPFIX_KEYS};

/// A section of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// Whether it may appear many times, as `[[name]]`.
    pub repeated: bool,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// Its heading in the file.
    pub fn heading(&self) -> String {
        if self.repeated { format!("[[{}]]", self.name) } else { format!("[{}]", self.name) }
    }
}

/// `[dataplane]`.
pub(super) const DATAPLANE: Section = Section {
    name: "dataplane",
    repeated: false,
    keys: &[
        Key::new(
            "lcores",
            "a list of different CPU numbers, one for each worker, as [1, 2]",
            "the last CPU that the process may use",
        ),
        Key::new("memory_mib", "memory for packets and devices in MiB, 64 to 1048576", "256"),
        Key::new("hugepages", "\"auto\", \"require\" or \"off\"", "\"auto\""),
        Key::new("idle", "\"poll\", \"adaptive\" or \"interrupt\"", "\"poll\""),
        Key::new(
            "user",
            "a user of this system other than root",
            "turnpike-dataplane, or nobody where there is no such user",
        ),
        Key::new("max_connections", "a number of connections, 1024 to 1073741824", "131072"),
    ],
};

/// `[[port]]`.
pub(super) const PORT: Section = Section {
    name: "port",
    repeated: true,
    keys: &[
        Key::new(
            "name",
            "an interface name of 1 to 15 letters, digits, '-', '_' and '.', starting with a letter",
            "none",
        ),
        Key::new(
            "device",
            "a PCI address (\"0000:01:00.0\") or a virtual device (\"net_tap0,iface=tp0\")",
            "none",
        ),
        Key::new("mode", "\"routed\", \"bridge\" or \"span\"", "\"routed\""),
        Key::new("mtu", "the largest IP datagram in bytes, 1280 to 9600", "1500"),
        Key::new(
            "queues",
            "a number of receive queues, at most one for each worker",
            "one for each worker, as far as the device has them",
        ),
        Key::new("vlans", "a list of different VLAN numbers, 1 to 4094, as [10, 20]", "none"),
        Key::new("sample", "a number of frames of which one is copied, 1 to 1000000", "1"),
        Key::new("snap_bytes", "the most bytes of a frame that are copied, 64 to 9728", "all"),
        Key::new("tag", "the number of the VLAN that copies are tagged with, 1 to 4094", "none"),
        Key::new("encapsulation", "\"gre\" or \"erspan\"", "none"),
        Key::new("collector", "an IP address, where encapsulated copies go", "none"),
        Key::new(
            "source",
            "an IP address, where they come from",
            "that of the interface which they leave by",
        ),
        Key::new("session", "ERSPAN's number of the first worker's copies, 0 to 1023", "0"),
    ],
};

/// `[control]`: read by turnpike-control; the dataplane checks it and has no other use for it.
pub(super) const CONTROL: Section = Section { name: "control", repeated: false, keys: &CONTROL_KEYS };

/// `[ipfix]`: likewise.
pub(super) const IPFIX: Section = Section { name: "ipfix", repeated: false, keys: &IPFIX_KEYS };

/// `[[bridge]]`.
pub(super) const BRIDGE: Section = Section {
    name: "bridge",
    repeated: true,
    keys: &[
        Key::new(
            "name",
            "a name of 1 to 15 letters, digits, '-', '_' and '.', starting with a letter",
            "none",
        ),
        Key::new("ports", "a list of two different ports of mode \"bridge\"", "none"),
        Key::new("non_ip", "\"pass\" or \"block\"", "\"pass\""),
    ],
};

/// Every section.
pub const SECTIONS: [Section; 5] = [DATAPLANE, PORT, CONTROL, IPFIX, BRIDGE];
