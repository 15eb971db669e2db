//! DPDK for the tester: memory, lcores and two ports.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dpdk::port::{Bus, Link, Promiscuous};
use dpdk::{
    Device, Eal, EalArgs, Lcore, LogLevel, Memory, Mempool, PoolConfig, Port, PortConfig, TscClock,
    free_hugepages_mib,
};
use wire::Mac;

use crate::end::End;

/// How long a port may take to have a link.
const LINK_PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors of each queue.
const DESCRIPTORS: u16 = 2048;
/// Buffers: descriptors of both ports in both directions, bursts in hand, and what drivers keep.
const BUFFERS: u32 = 16_383;
/// What a buffer and its administration take, in bytes, with something to spare.
const BUFFER_BYTES: u64 = 2_560;

/// What a tester runs on.
#[derive(Debug)]
pub struct Machine {
    /// The lcores that poll.
    pub lcores: Vec<Lcore>,
    /// The clock of all.
    pub clock: TscClock,
    pool: Mempool,
    eal: Eal,
}

/// A port and its end.
#[derive(Debug)]
pub struct Opened {
    /// Its queues.
    pub end: End,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Keeps the device.
    pub port: Port,
}

impl Machine {
    /// Sets DPDK up for these devices, with an lcore on each of `cpus`, and with hugepages if enough are free.
    ///
    /// # Errors
    /// What is missing.
    pub fn new(devices: &[Device; 2], cpus: &[usize]) -> Result<Self> {
        let [client, server] = devices;
        ensure!(client.name() != server.name(), "{} cannot be both ports: two are needed", client.name());
        let allowed = affinity::get_thread_affinity()
            .map_err(|error| anyhow::anyhow!("the CPUs of this process are unknown: {error}"))?;
        let cpus = match cpus {
            [] => vec![*allowed.last().context("no CPU")?],
            cpus => cpus.to_vec(),
        };
        for cpu in &cpus {
            ensure!(allowed.contains(cpu), "CPU {cpu} is not available; this process may use {allowed:?}");
        }
        let mib = ((u64::from(BUFFERS) * BUFFER_BYTES) >> 20) as u32 + 64;
        let memory = if free_hugepages_mib() >= u64::from(mib) {
            Memory::Hugepages { mib }
        } else {
            Memory::NoHuge { mib }
        };
        let mut args = EalArgs::new("turnpike-tgen", memory)
            .lcore(0, &allowed)
            .log_level(LogLevel::Error)
            .file_prefix(&format!("tgen-{}", std::process::id()));
        for (lcore, cpu) in (1..).zip(&cpus) {
            args = args.lcore(lcore, &[*cpu]);
        }
        for device in devices.iter().filter(|device| device.bus() == Bus::Pci) {
            args = args.allow_pci(&device.to_string());
        }
        let eal = Eal::init(&args)?;
        let pool = Mempool::new(&eal, &PoolConfig::new("tgen", BUFFERS))?;
        Ok(Self { lcores: eal.take_lcores(), clock: TscClock::new(&eal), pool, eal })
    }

    /// Opens a port.
    ///
    /// # Errors
    /// There is no such device, or it does not start.
    pub fn open(&self, device: &Device) -> Result<Opened> {
        let mut port = Port::attach(&self.eal, device)?;
        let mut config = PortConfig::new(1);
        (config.rx_descriptors, config.tx_descriptors) = (DESCRIPTORS, DESCRIPTORS);
        port.configure(&config, std::slice::from_ref(&self.pool))?;
        let mut queues = port.start()?;
        // Hosts behind the port have its address, but drivers may see that otherwise, and groups are asked for as well.
        port.set_promiscuous(Promiscuous::On).or_else(|_| port.set_all_multicast()).ok();
        let end = End::new(queues.rx.remove(0), queues.tx.remove(0), self.pool.clone());
        Ok(Opened { end, mac: Mac(port.mac()?), port })
    }
}

impl Opened {
    /// Waits for the port's link: its speed in bits a second, if it says so. The other port must be open as well, as both may
    /// be the ends of one cable.
    ///
    /// # Errors
    /// There is none.
    pub fn wait_for_link(&self) -> Result<Option<f64>> {
        let step = Duration::from_millis(50);
        let mut waited = Duration::ZERO;
        loop {
            match self.port.link()? {
                Link::Up { speed_mbps, .. } => return Ok(speed_mbps.map(|mbps| f64::from(mbps) * 1e6)),
                Link::Down if waited >= LINK_PATIENCE => bail!(
                    "{} has had no link for {LINK_PATIENCE:?}: is the cable plugged in, and the other end up?",
                    self.port.name()
                ),
                Link::Down => {
                    std::thread::sleep(step);
                    waited += step;
                }
            }
        }
    }
}
