//! Where packet memory comes from, how much is needed, and on which CPUs to work.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;

use dpdk::{EalArgs, Memory, PoolConfig};

use crate::config::{Config, Hugepages, Port};
use crate::handoff;
use crate::hold::HELD_MAX;

/// Descriptors of each queue of a port, in each direction.
pub const WIRE_DESCRIPTORS: u16 = 1024;
/// Descriptors of each queue of a host interface, in each direction.
pub const HOST_DESCRIPTORS: u16 = 256;

/// Descriptors of each ring that `net_af_xdp` shares with the kernel, whatever it is asked for.
const XDP_DESCRIPTORS: u32 = 2048;

/// An Ethernet header with two tags.
pub const LINK_HEADER_MAX: u16 = 14 + 2 * 4;

/// What a device may put into a buffer at least.
const FRAME_BYTES_MIN: u16 = 2048;

/// Why the environment cannot be chosen.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// `hugepages = "require"` without enough of them.
    #[error(
        "{wanted} MiB of hugepages are required and {free} MiB are free; reserve more (sysctl vm.nr_hugepages={pages}), \
         lower memory_mib, or write hugepages = \"auto\""
    )]
    Hugepages {
        /// MiB wanted.
        wanted: u32,
        /// MiB free.
        free: u64,
        /// Pages of 2 MiB that would do.
        pages: u32,
    },
    /// A driver that takes for granted how buffers lie, beside cards, which want them otherwise.
    #[error(
        "net_af_xdp beside a network card needs hugepages; reserve them (sysctl vm.nr_hugepages={pages}) and write hugepages = \
         \"require\", or use net_af_packet"
    )]
    Mixed {
        /// Pages of 2 MiB that would do.
        pages: u32,
    },
    /// A CPU that the process may not use.
    #[error("CPU {cpu} of `lcores` is not available; this process may use {allowed:?}")]
    Cpu {
        /// The CPU.
        cpu: u16,
        /// Those that it may use.
        allowed: Vec<usize>,
    },
}

/// Where memory comes from. `free_mib` is what is free in hugepages.
///
/// # Errors
/// [`Error::Hugepages`] if they are required and too few, [`Error::Mixed`] if ports do not get along without them.
pub fn choose(policy: Hugepages, wanted: u32, free_mib: u64, ports: &[Port]) -> Result<Memory, Error> {
    let memory = source(policy, wanted, free_mib)?;
    // On small pages many buffers would lie beyond what net_af_xdp reaches; on large ones a few, once each.
    let is_mixed = ports.iter().any(Port::is_af_xdp) && ports.iter().any(is_card);
    match memory {
        Memory::NoHuge { .. } if is_mixed => Err(Error::Mixed { pages: wanted.div_ceil(2) }),
        _ => Ok(memory),
    }
}

fn source(policy: Hugepages, wanted: u32, free_mib: u64) -> Result<Memory, Error> {
    let enough = free_mib >= u64::from(wanted);
    match policy {
        Hugepages::Off => Ok(Memory::NoHuge { mib: wanted }),
        Hugepages::Auto | Hugepages::Require if enough => Ok(Memory::Hugepages { mib: wanted }),
        Hugepages::Require => Err(Error::Hugepages { wanted, free: free_mib, pages: wanted.div_ceil(2) }),
        Hugepages::Auto => {
            tracing::warn!(
                wanted_mib = wanted,
                free_mib,
                "too few free hugepages: running on ordinary memory, which is slower; reserve them with sysctl \
                 vm.nr_hugepages={}",
                wanted.div_ceil(2)
            );
            Ok(Memory::NoHuge { mib: wanted })
        }
    }
}

/// The workers' CPUs, and those for everything else, out of the `allowed` ones.
///
/// # Errors
/// [`Error::Cpu`].
pub fn cpus(lcores: Option<&[u16]>, allowed: &[usize]) -> Result<(Vec<u16>, Vec<usize>), Error> {
    let workers = match lcores {
        Some(lcores) => lcores.to_vec(),
        None => vec![allowed.last().map_or(0, |cpu| *cpu as u16)],
    };
    if let Some(cpu) = workers.iter().find(|cpu| lcores.is_some() && !allowed.contains(&usize::from(**cpu))) {
        return Err(Error::Cpu { cpu: *cpu, allowed: allowed.to_vec() });
    }
    let is_free = |cpu: &usize| workers.iter().all(|worker| usize::from(*worker) != *cpu);
    let others: Vec<usize> = allowed.iter().copied().filter(is_free).collect();
    Ok((workers, if others.is_empty() { allowed.to_vec() } else { others }))
}

/// Records that room is taken for at each of `workers`, when there may be `most` states in all: twice its share, which a keyed
/// hash of more than a few connections never fills before the whole is full, and of which a forwarded connection takes one
/// for its two states.
pub fn states_of_one(most: u32, workers: u16) -> u32 {
    let share = most.div_ceil(u32::from(workers.max(1)));
    // All workers' records have numbers of 32 bits.
    most.min(share.saturating_mul(2)).min((u32::MAX - 1) / u32::from(workers.max(1)))
}

/// EAL's arguments, with the lcores 1 and up for `workers`, and with a folder for run-time files below that of `socket`.
pub fn eal_args(
    config: &Config,
    memory: Memory,
    workers: &[u16],
    others: &[usize],
    socket: &Path,
) -> EalArgs {
    // The same at each start, so that leftovers are found and used again, and different for each socket.
    let mut hasher = DefaultHasher::new();
    socket.hash(&mut hasher);
    let mut args = EalArgs::new("turnpike-dataplane", memory)
        .lcore(0, others)
        .log_level(dpdk::LogLevel::Warning)
        // Complains aloud of what it does not need: traffic classes, secondary processes.
        .arg("--log-level=pmd.net.tap:critical")
        .file_prefix(&format!("turnpike-{:016x}", hasher.finish()));
    if let Some(folder) = socket.parent() {
        args = args.runtime_folder(folder);
    }
    for (lcore, cpu) in (1..).zip(workers) {
        args = args.lcore(lcore, &[usize::from(*cpu)]);
    }
    for port in config.ports.iter().filter(|port| is_card(port)) {
        args = args.allow_pci(&port.device.to_string());
    }
    args
}

/// The pool of packet buffers: enough for every descriptor, for what is held, for what is on its way between workers and
/// for what they have in hand.
pub fn pool(ports: &[Port], workers: u16) -> PoolConfig {
    // In each direction the descriptors, and a burst in hand.
    let side = |descriptors: u16| 2 * (u32::from(descriptors) + dpdk::BURST_MAX as u32);
    let interfaces = ports.iter().map(|port| port.interfaces().count()).sum::<usize>() as u32;
    // The wire side of a VLAN has its bursts, and its port's descriptors.
    let sides = ports.len() as u32 * side(WIRE_DESCRIPTORS) + interfaces * (side(HOST_DESCRIPTORS) + side(0));
    let workers = u32::from(workers);
    let kept: u32 = ports.iter().map(kept_by_driver).sum();
    let per_worker = sides + kept + HELD_MAX as u32 + 512 + (workers - 1) * handoff::RING;
    let wanted = workers * per_worker;
    // One less than a power of two wastes the least memory.
    let mut pool = PoolConfig::new("packets", wanted.next_power_of_two() - 1);
    pool.frame_bytes = ports.iter().map(frame_bytes).max().unwrap_or(FRAME_BYTES_MIN);
    pool.packed = ports.iter().any(Port::is_af_xdp) && !ports.iter().any(is_card);
    pool
}

/// Whether it is a network card, and no virtual device.
fn is_card(port: &Port) -> bool {
    port.device.bus() == dpdk::port::Bus::Pci
}

/// Buffers that a port's driver may keep for each worker for good, also when its device is closed: `net_af_xdp` leaves those
/// where they are that the kernel was to fill or to send.
pub fn kept_by_driver(port: &Port) -> u32 {
    if port.is_af_xdp() { 2 * XDP_DESCRIPTORS } else { 0 }
}

/// The longest frame that a port's driver may write into a buffer: `net_af_packet` copies what its ring holds, unchecked.
fn frame_bytes(port: &Port) -> u16 {
    let ring = port.argument("framesz").and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    FRAME_BYTES_MIN.max(port.mtu + LINK_HEADER_MAX).max(ring)
}
