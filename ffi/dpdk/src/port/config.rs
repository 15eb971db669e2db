//! What a port is asked for, and what its driver says of it.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};

/// What to set up on a port.
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// Receive queues, at least 1.
    pub rx_queues: u16,
    /// Transmit queues, at least 1. Some drivers want as many as receive queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue, rounded to what the driver offers.
    pub rx_descriptors: u16,
    /// Descriptors of each transmit queue, rounded to what the driver offers.
    pub tx_descriptors: u16,
    /// Payload of the longest frame in bytes; the device's own if `None`. That of the kernel's device behind `net_tap` or
    /// `net_af_packet` is the kernel's to set, if it is above 1500.
    pub mtu: Option<u16>,
    /// How the device spreads packets over the receive queues.
    pub rss: Rss,
    /// Whether the device verifies checksums, if it can.
    pub rx_checksum: RxChecksum,
    /// Whether receive queues can be waited for, if the device can; see [`super::RxQueue::signal`].
    pub rx_interrupts: bool,
}

impl PortConfig {
    /// So many queues in each direction, with spreading if there are several, 1024 descriptors, checksums verified if the
    /// device can.
    pub fn new(queues: u16) -> PortConfig {
        PortConfig {
            rx_queues: queues,
            tx_queues: queues,
            rx_descriptors: 1024,
            tx_descriptors: 1024,
            mtu: None,
            rss: if queues > 1 { Rss::Symmetric } else { Rss::Off },
            rx_checksum: RxChecksum::IfSupported,
            rx_interrupts: false,
        }
    }
}

/// Receive-side scaling: a hash of addresses and ports chooses the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rss {
    /// All packets to the first queue, or as the driver pleases.
    Off,
    /// A random key that hashes both directions of a flow alike. Unsupported devices go without; see
    /// [`super::Port::rss`].
    Symmetric,
    /// This key, of the length that the device wants ([`PortInfo::rss_key_bytes`]).
    Key(Vec<u8>),
}

/// Who verifies the checksums of received packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nobody: every [`crate::ChecksumStatus`] is `Unknown`.
    Off,
    /// The device, if it can. A paravirtual one is not asked: it would leave checksums unfilled.
    IfSupported,
}

/// What the driver says of a port.
#[derive(Debug, Clone)]
pub struct PortInfo {
    /// The driver, as `net_tap`.
    pub driver: String,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// Smallest and largest MTU in bytes.
    pub mtu_range: (u16, u16),
    /// Bytes of a hash key; 0 if the device takes none.
    pub rss_key_bytes: u8,
    /// Whether the device can spread by addresses or ports.
    pub rss: bool,
    /// Whether it reports link changes as events.
    pub link_events: bool,
}

/// Counters since the port was started or reset. The driver `net_af_packet` counts failed sends as sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received, without CRC.
    pub rx_bytes: u64,
    /// Packets that the device dropped because its queue was full.
    pub rx_missed: u64,
    /// Packets received damaged.
    pub rx_errors: u64,
    /// Packets dropped because the pool was exhausted.
    pub rx_no_mbuf: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes sent, without CRC.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// No carrier.
    Down,
    /// Carrier.
    Up {
        /// Mb/s; `None` if the driver does not know.
        speed_mbps: Option<u32>,
        /// Full or half duplex.
        duplex: Duplex,
    },
}

/// Whether both ends may send at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplex {
    /// They may.
    Full,
    /// They may not.
    Half,
}

/// Whether a driver that is asked to verify checksums delivers packets whose checksums are filled in. To a paravirtual device
/// the question means that its owner has no need of them: what the host or another guest sends arrives with the sum of the
/// pseudo-header alone ([`crate::ChecksumStatus::NotNeeded`]), and would go out on a wire like that.
pub(super) fn fills_checksums_in(driver: &CStr) -> bool {
    !driver.to_bytes().starts_with(b"net_virtio") && driver != c"net_vhost"
}

/// A key of `len` bytes whose Toeplitz hash is the same for both directions of a flow: the same 16 bits over and over,
/// since addresses and ports then meet the same part of the key whichever comes first. The 16 bits are random, so that the
/// queue of a flow cannot be computed from outside.
pub(super) fn symmetric_key(len: usize) -> io::Result<Vec<u8>> {
    let mut unit = [0_u8; 2];
    let mut random = File::open("/dev/urandom")?;
    // A unit with a period below its length hashes to few values; any other to 2^9 at least.
    while u16::from_be_bytes(unit).rotate_left(8) == u16::from_be_bytes(unit) {
        random.read_exact(&mut unit)?;
    }
    Ok(unit.iter().copied().cycle().take(len).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{fills_checksums_in, symmetric_key};

    /// The Toeplitz hash: for each bit of the input that is set, the 32 bits of the key that start there.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
        let window = |at: usize| (at..at + 32).fold(0, |word, i| word << 1 | u32::from(bit(key, i)));
        (0..input.len() * 8).filter(|at| bit(input, *at) == 1).fold(0, |hash, at| hash ^ window(at))
    }

    /// Source address, destination address, source port, destination port.
    fn input(source: [u8; 6], target: [u8; 6]) -> Vec<u8> {
        [&source[..4], &target[..4], &source[4..], &target[4..]].concat()
    }

    #[test]
    fn both_directions_hash_alike_and_flows_differ() {
        let key = symmetric_key(40).expect("/dev/urandom");
        assert_eq!(key.len(), 40);
        let keys: BTreeSet<_> = (0..8).map(|_| symmetric_key(40).expect("/dev/urandom")).collect();
        assert!(keys.len() > 1, "random");
        let client = |i: u32| {
            let [a, b, c, d] = i.wrapping_mul(0x9e37_79b1).to_be_bytes();
            [10, 0, a, b, c, d]
        };
        let server = [192, 0, 2, 1, 1, 187];
        let there: Vec<u32> = (0..256).map(|i| toeplitz(&key, &input(client(i), server))).collect();
        let back: Vec<u32> = (0..256).map(|i| toeplitz(&key, &input(server, client(i)))).collect();
        assert_eq!(there, back);
        let distinct: BTreeSet<_> = there.into_iter().collect();
        assert!(distinct.len() > 64, "{} hashes of 256 flows", distinct.len());
    }
    #[test]
    fn paravirtual_devices_are_not_asked_to_verify_checksums() {
        for driver in [c"net_virtio", c"net_virtio_user", c"net_vhost"] {
            assert!(!fills_checksums_in(driver), "{driver:?}");
        }
        for driver in [c"net_e1000_em", c"net_ixgbe", c"net_vmxnet3", c"net_tap"] {
            assert!(fills_checksums_in(driver), "{driver:?}");
        }
    }
}
