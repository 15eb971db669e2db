//! A NIC that costs nothing but what every NIC costs the CPU: buffers.
//!
//! Overview: receiving is allocating a burst of mbufs and writing a frame into each, as a device would by DMA into cache;
//! sending is a `net_null` port, which frees. Bounds: one burst at a time.

use dpdk::{
    Burst, ChecksumStatus, Device, Eal, EalArgs, Lcore, LogLevel, Mbuf, Memory, Mempool, PoolConfig, Port,
    PortConfig, TscClock, TxQueue,
};

/// Packets in one burst: as the dataplane polls.
pub const BURST: usize = dpdk::BURST_MAX;

/// Where packets come from and go to.
pub struct Bed {
    pool: Mempool,
    tx: TxQueue,
    clock: TscClock,
    eal: Eal,
    lcores: Vec<Lcore>,
    _port: Port,
}

impl Bed {
    /// Sets DPDK up on `cpu`, and on `second` if there is one, with `mib` MiB of hugepages for its pools and tables.
    ///
    /// # Errors
    /// DPDK's, with advice.
    pub fn new(cpu: usize, second: Option<usize>, mib: u32) -> dpdk::Result<Self> {
        let args = EalArgs::new("perf", Memory::Hugepages { mib }).lcore(0, &[cpu]).arg("--in-memory");
        Self::of(second.iter().fold(args, |args, second| args.lcore(1, &[*second])))
    }

    /// Sets DPDK up in another way.
    ///
    /// # Errors
    /// DPDK's, with advice.
    pub fn of(args: EalArgs) -> dpdk::Result<Self> {
        let args = args.log_level(LogLevel::Error);
        let eal = Eal::init(&args)?;
        let pool = Mempool::new(&eal, &PoolConfig::new("packets", 8191))?;
        let mut port = Port::attach(&eal, &"net_null0".parse::<Device>()?)?;
        port.configure(&PortConfig::new(1), std::slice::from_ref(&pool))?;
        let mut queues = port.start()?;
        let tx = queues.tx.remove(0);
        let lcores = eal.take_lcores();
        Ok(Self { pool, tx, clock: TscClock::new(&eal), eal, lcores, _port: port })
    }

    /// The lcore of another CPU, once.
    pub fn take_lcore(&mut self) -> Option<Lcore> {
        self.lcores.pop()
    }

    /// DPDK's environment.
    pub const fn eal(&self) -> &Eal {
        &self.eal
    }

    /// Where mbufs come from.
    pub const fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// The clock that everything is measured by.
    pub const fn clock(&self) -> &TscClock {
        &self.clock
    }

    /// Receives a full burst, each frame written by `write`; the device says that their IPv4 checksums are good, as any
    /// NIC does.
    ///
    /// # Panics
    /// If mbufs were lost: a bug of what is measured.
    #[inline(always)]
    pub fn receive(&self, burst: &mut Burst, mut write: impl FnMut(&mut Mbuf)) {
        assert!(self.pool.alloc_burst(burst, BURST), "every mbuf is back before the next burst");
        for mbuf in burst.iter_mut() {
            write(mbuf);
            mbuf.set_ip_checksum(ChecksumStatus::Good);
        }
    }

    /// Sends a burst; what the device does not take is freed.
    #[inline(always)]
    pub fn send(&mut self, burst: &mut Burst) {
        self.tx.tx_burst(burst);
        burst.clear();
    }
}
