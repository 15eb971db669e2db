//! Ethernet devices.
//!
//! **Life cycle.** [`Port::attach`] creates the device, [`Port::configure`] sets up queues, [`Port::start`] hands them
//! out, [`Port::stop`] wants them back. The device is closed and detached when the port and all its queues are dropped.

mod config;
mod device;
mod event;
mod queue;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use dpdk_sys::{rte_eth_conf, rte_eth_dev_info, rte_ring};

pub use config::{Duplex, Link, PortConfig, PortInfo, PortStats, Rss, RxChecksum};
pub use device::{Bus, Device};
pub use event::{PortEvent, PortEvents};
pub use queue::{Queues, RxQueue, Signal, Speaks, TxQueue};

use crate::eal::{Eal, c_string};
use crate::error::{Call, Errno, Error, Result, check};
use crate::mempool::Mempool;
use crate::ring::{Consumer, Producer, RingInner};
use event::Watch;

/// The most ports of a process, those of virtual devices included: a build constant of DPDK.
pub const PORTS_MAX: usize = dpdk_sys::RTE_MAX_ETHPORTS as usize;

/// The numbers of the ports that a [`Port`] stands for: each device has one.
static HELD: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// IEEE 802.1Q, tag protocol identifier and control information.
const VLAN_TAG_BYTES: u32 = 4;

/// The control side of an Ethernet device. Not `Sync`: drivers want one thread for control and statistics.
#[derive(Debug)]
pub struct Port {
    // Before `inner`: callbacks are withdrawn while the device exists.
    watch: Option<Watch>,
    inner: Arc<PortInner>,
    configured: Option<Configured>,
    _one_thread: PhantomData<Cell<()>>,
}

/// What `configure` set up.
#[derive(Debug, Clone)]
struct Configured {
    rx_queues: u16,
    tx_queues: u16,
    rss_key: Option<Vec<u8>>,
    /// An MTU that `net_tap` takes once it is started.
    tap_mtu: Option<u16>,
    /// How receive queues signal packets, if they were asked to.
    signals: Option<Speaks>,
}

/// The device itself, shared with its queues.
#[derive(Debug)]
struct PortInner {
    id: u16,
    name: String,
    started: AtomicBool,
    queues_out: AtomicUsize,
    /// What the device's queues point into: released after the device is closed, EAL last.
    pools: Mutex<Vec<Mempool>>,
    _rings: Vec<Arc<RingInner>>,
    _eal: Eal,
}

impl Port {
    /// Creates the device, or takes over what EAL found on the bus at its start ([`crate::EalArgs::allow_pci`]). It is
    /// given back on drop.
    pub fn attach(eal: &Eal, device: &Device) -> Result<Port> {
        let refused = |errno| Error::Refused { call: Call::Attach, subject: device.to_string(), errno };
        let (name, args) = (c_string(device.name())?, c_string(device.args())?);
        if let Some(id) = port_by_name(&name) {
            let taken = held().contains(&id);
            return if taken {
                Err(refused(Errno::new(libc::EEXIST)))
            } else {
                Ok(Port::new(eal, id, device.name(), Vec::new()))
            };
        }
        let bus = c_string(device.bus().name())?;
        // SAFETY: three C strings; EAL is initialised.
        let ret = unsafe { dpdk_sys::rte_eal_hotplug_add(bus.as_ptr(), name.as_ptr(), args.as_ptr()) };
        check(ret, Call::Attach, || device.to_string())?;
        let Some(id) = port_by_name(&name) else {
            // Probed, and not an Ethernet device.
            // SAFETY: two C strings, of the device just attached.
            unsafe { dpdk_sys::rte_eal_hotplug_remove(bus.as_ptr(), name.as_ptr()) };
            return Err(refused(Errno::new(libc::ENODEV)));
        };
        Ok(Port::new(eal, id, device.name(), Vec::new()))
    }

    /// A port in this process: it receives what is put into the producers of `rx`, and what it sends comes out of the
    /// consumers of `tx`; a queue for each. The name is unique, at most 50 bytes; DPDK calls the device `net_ring_NAME`.
    pub fn from_rings(eal: &Eal, name: &str, rx: Vec<Consumer>, tx: Vec<Producer>) -> Result<Port> {
        let c_name = c_string(name)?;
        let rings: Vec<Arc<RingInner>> =
            rx.into_iter().map(|end| end.ring).chain(tx.iter().map(|end| end.ring.clone())).collect();
        let mut pointers: Vec<*mut rte_ring> = rings.iter().map(|ring| ring.as_ptr()).collect();
        let (tx_pointers, rx_count) = (tx.len(), pointers.len() - tx.len());
        let (rx_list, tx_list) = pointers.split_at_mut(rx_count);
        // SAFETY: lists of live rings with their lengths; the port holds the rings, and the ends given up were their only
        // users.
        let ret = unsafe {
            dpdk_sys::rte_eth_from_rings(
                c_name.as_ptr(),
                rx_list.as_mut_ptr(),
                rx_count as u32,
                tx_list.as_mut_ptr(),
                tx_pointers as u32,
                0,
            )
        };
        if ret < 0 {
            // The function answers -1 and leaves the reason in rte_errno.
            return Err(Error::Refused {
                call: Call::Attach,
                subject: name.to_owned(),
                errno: Errno::last(),
            });
        }
        let id = u16::try_from(ret).expect("DPDK numbers its ports in 16 bits");
        Ok(Port::new(eal, id, name, rings))
    }

    fn new(eal: &Eal, id: u16, name: &str, rings: Vec<Arc<RingInner>>) -> Port {
        held().insert(id);
        let inner = PortInner {
            id,
            name: name.to_owned(),
            started: AtomicBool::new(false),
            queues_out: AtomicUsize::new(0),
            pools: Mutex::new(Vec::new()),
            _rings: rings,
            _eal: eal.clone(),
        };
        Port { watch: None, inner: Arc::new(inner), configured: None, _one_thread: PhantomData }
    }

    /// DPDK's number, as found in [`crate::Mbuf::port`].
    pub fn id(&self) -> u16 {
        self.inner.id
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What the driver offers.
    pub fn info(&self) -> Result<PortInfo> {
        let raw = self.inner.raw_info()?;
        // SAFETY: static data of the driver.
        let flags = unsafe { raw.dev_flags.as_ref() }.copied();
        Ok(PortInfo {
            driver: driver_name(&raw).to_string_lossy().into_owned(),
            max_rx_queues: raw.max_rx_queues,
            max_tx_queues: raw.max_tx_queues,
            mtu_range: (raw.min_mtu, raw.max_mtu),
            rss_key_bytes: raw.hash_key_size,
            rss: raw.flow_type_rss_offloads & rss_types() != 0,
            link_events: flags.unwrap_or(0) & dpdk_sys::DPDK_DEV_INTR_LSC != 0,
        })
    }

    /// Whether the device spreads packets over the receive queues as asked in [`Port::configure`].
    pub fn rss(&self) -> bool {
        self.rss_key().is_some()
    }

    /// The key by which it does so; empty if the device has one of its own.
    pub fn rss_key(&self) -> Option<&[u8]> {
        self.configured.as_ref()?.rss_key.as_deref()
    }

    /// The hardware address.
    pub fn mac(&self) -> Result<[u8; 6]> {
        let mut mac = dpdk_sys::rte_ether_addr::default();
        // SAFETY: writes the structure.
        let ret = unsafe { dpdk_sys::rte_eth_macaddr_get(self.inner.id, &raw mut mac) };
        self.check(ret, Call::Query)?;
        Ok(mac.addr_bytes)
    }

    /// The link, as the driver last saw it. Never waits.
    pub fn link(&self) -> Result<Link> {
        event::link(self.inner.id).map_err(|ret| self.refused(ret, Call::Query))
    }

    /// Payload of the longest frame, in bytes.
    pub fn mtu(&self) -> Result<u16> {
        let mut mtu = 0;
        // SAFETY: writes the number.
        let ret = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.inner.id, &raw mut mtu) };
        self.check(ret, Call::Query)?;
        Ok(mtu)
    }

    /// Counters of the device.
    pub fn stats(&self) -> Result<PortStats> {
        let mut raw = dpdk_sys::rte_eth_stats::default();
        // SAFETY: writes the structure.
        let ret = unsafe { dpdk_sys::rte_eth_stats_get(self.inner.id, &raw mut raw) };
        self.check(ret, Call::Query)?;
        Ok(PortStats {
            rx_packets: raw.ipackets,
            rx_bytes: raw.ibytes,
            rx_missed: raw.imissed,
            rx_errors: raw.ierrors,
            rx_no_mbuf: raw.rx_nombuf,
            tx_packets: raw.opackets,
            tx_bytes: raw.obytes,
            tx_errors: raw.oerrors,
        })
    }

    /// Receives frames for any destination, or only for its own.
    pub fn set_promiscuous(&mut self, filter: Promiscuous) -> Result<()> {
        // SAFETY: a valid port.
        let ret = unsafe {
            match filter {
                Promiscuous::On => dpdk_sys::rte_eth_promiscuous_enable(self.inner.id),
                Promiscuous::Off => dpdk_sys::rte_eth_promiscuous_disable(self.inner.id),
            }
        };
        self.check(ret, Call::SetFilter)
    }

    /// Receives frames for any multicast group. Promiscuous ports do anyway.
    pub fn set_all_multicast(&mut self) -> Result<()> {
        // SAFETY: a valid port.
        let ret = unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.inner.id) };
        self.check(ret, Call::SetFilter)
    }

    /// Begins to watch, with room for `capacity` events; before [`Port::configure`]. A second call ends the first watch.
    pub fn events(&mut self, capacity: usize) -> Result<PortEvents> {
        if self.configured.is_some() {
            let advice = "ask for its events before configuring it";
            return Err(Error::PortState { port: self.name().to_owned(), is: "configured", advice });
        }
        self.watch = None;
        let (watch, events) = Watch::new(self.inner.id, self.name(), capacity)?;
        self.watch = Some(watch);
        Ok(events)
    }

    /// Sets up queues whose packets come from `pools`: receive queue `i` takes them from pool `i` modulo their number.
    /// May be called again while the port is stopped.
    pub fn configure(&mut self, config: &PortConfig, pools: &[Mempool]) -> Result<()> {
        if self.inner.started.load(Ordering::Acquire) {
            let advice = "stop it before configuring it";
            return Err(Error::PortState { port: self.name().to_owned(), is: "started", advice });
        }
        assert!(!pools.is_empty(), "a port receives into at least one pool");
        let info = self.inner.raw_info()?;
        self.check_queues(config, &info)?;
        self.configured = None;
        let mut key = self.choose_rss_key(config, &info)?;
        // Whose driver wrongly says that it takes no such frame gets the MTU later, or has no use for it.
        let late = config.mtu.filter(|mtu| has_hidden_room(&info, *mtu));
        let config = &PortConfig { mtu: config.mtu.filter(|_| late.is_none()), ..config.clone() };
        let mut conf = device_config(config, &info, key.as_deref_mut(), self.watch.is_some());
        if self.needs_segments(config, pools)? {
            conf.rxmode.offloads |= dpdk_sys::DPDK_RX_OFFLOAD_SCATTER & info.rx_offload_capa;
            conf.txmode.offloads |= dpdk_sys::DPDK_TX_OFFLOAD_MULTI_SEGS & info.tx_offload_capa;
        }
        // SAFETY: a valid port and configuration; the key it points to lives until the end of this function, and the
        // driver copies it.
        let ret = unsafe {
            dpdk_sys::rte_eth_dev_configure(
                self.inner.id,
                config.rx_queues,
                config.tx_queues,
                &raw const conf,
            )
        };
        self.check(ret, Call::Configure)?;
        self.set_mtu(config.mtu)?;
        self.set_up_queues(config, pools)?;
        let tap_mtu = late.filter(|_| driver_name(&info) == c"net_tap");
        let (rx_queues, tx_queues) = (config.rx_queues, config.tx_queues);
        // A TAP's descriptor is the device's own, and readable as long as a frame waits.
        let speaks = if driver_name(&info) == c"net_tap" { Speaks::WhileTrue } else { Speaks::Once };
        let signals = config.rx_interrupts.then_some(speaks);
        self.configured = Some(Configured { rx_queues, tx_queues, rss_key: key, tap_mtu, signals });
        Ok(())
    }

    /// Whether the longest frame, with its headers and two VLAN tags, is longer than an mbuf. Segments are not asked for
    /// otherwise: they cost a driver its fast path.
    fn needs_segments(&self, config: &PortConfig, pools: &[Mempool]) -> Result<bool> {
        let mtu = config.mtu.map_or_else(|| self.mtu(), Ok)?;
        let overhead = dpdk_sys::RTE_ETHER_HDR_LEN + dpdk_sys::RTE_ETHER_CRC_LEN + 2 * VLAN_TAG_BYTES;
        Ok(pools.iter().any(|pool| u32::from(mtu) + overhead > u32::from(pool.frame_bytes())))
    }

    fn check_queues(&self, config: &PortConfig, info: &rte_eth_dev_info) -> Result<()> {
        let check = |direction, wanted, available| {
            if (1..=available).contains(&wanted) {
                return Ok(());
            }
            Err(Error::Queues { port: self.name().to_owned(), direction, wanted, available })
        };
        check("receive", config.rx_queues, info.max_rx_queues)?;
        check("transmit", config.tx_queues, info.max_tx_queues)
    }

    /// The hash key to use, none if there will be no spreading.
    fn choose_rss_key(&self, config: &PortConfig, info: &rte_eth_dev_info) -> Result<Option<Vec<u8>>> {
        let supported = info.flow_type_rss_offloads & rss_types() != 0;
        match &config.rss {
            Rss::Off => Ok(None),
            Rss::Symmetric if !supported => Ok(None),
            Rss::Symmetric => config::symmetric_key(info.hash_key_size.into())
                .map(Some)
                .map_err(|e| self.refused(e.raw_os_error().unwrap_or(libc::EIO), Call::Configure)),
            Rss::Key(key) if supported && key.len() == usize::from(info.hash_key_size) => {
                Ok(Some(key.clone()))
            }
            Rss::Key(_) => Err(self.refused(libc::EINVAL, Call::Configure)),
        }
    }

    fn set_mtu(&self, wanted: Option<u16>) -> Result<()> {
        match wanted {
            Some(mtu) if self.mtu()? != mtu => {
                // SAFETY: a valid port.
                let ret = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.inner.id, mtu) };
                self.check(ret, Call::SetMtu)
            }
            _ => Ok(()),
        }
    }

    fn set_up_queues(&self, config: &PortConfig, pools: &[Mempool]) -> Result<()> {
        let id = self.inner.id;
        let (mut rx_desc, mut tx_desc) = (config.rx_descriptors, config.tx_descriptors);
        // SAFETY: writes both numbers.
        let ret =
            unsafe { dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &raw mut rx_desc, &raw mut tx_desc) };
        self.check(ret, Call::Configure)?;
        // SAFETY: a valid port. Its socket, or -1, which means any.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(id) } as u32;
        // The device holds its pools from now on, also if a later step fails; the former ones until all are replaced.
        let mut held = self.inner.pools.lock().expect("no holder of this lock panics");
        held.extend_from_slice(pools);
        for (queue, pool) in (0..config.rx_queues).zip(pools.iter().cycle()) {
            // SAFETY: a queue below the number configured; the pool lives as long as the device.
            let ret = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(id, queue, rx_desc, socket, std::ptr::null(), pool.as_ptr())
            };
            self.check(ret, Call::SetupQueue)?;
        }
        for queue in 0..config.tx_queues {
            // SAFETY: a queue below the number configured.
            let ret =
                unsafe { dpdk_sys::rte_eth_tx_queue_setup(id, queue, tx_desc, socket, std::ptr::null()) };
            self.check(ret, Call::SetupQueue)?;
        }
        *held = pools.to_vec();
        Ok(())
    }

    /// Starts the device and hands out its queues.
    pub fn start(&mut self) -> Result<Queues> {
        let Some(configured) = &self.configured else {
            let advice = "configure it before starting it";
            return Err(Error::PortState { port: self.name().to_owned(), is: "not configured", advice });
        };
        if self.inner.started.load(Ordering::Acquire) {
            let advice = "use the queues of the first start, or stop it";
            return Err(Error::PortState { port: self.name().to_owned(), is: "started", advice });
        }
        // SAFETY: a valid port with all its queues set up.
        let ret = unsafe { dpdk_sys::rte_eth_dev_start(self.inner.id) };
        self.check(ret, Call::Start)?;
        self.inner.started.store(true, Ordering::Release);
        if let Some(mtu) = configured.tap_mtu {
            // SAFETY: a started port of this driver, whose queues nobody uses yet.
            let ret = unsafe { dpdk_sys::dpdk_tap_set_mtu(self.inner.id, mtu) };
            self.check(ret, Call::SetMtu)?;
        }
        Ok(Queues {
            rx: (0..configured.rx_queues)
                .map(|queue| RxQueue::new(&self.inner, queue, configured.signals))
                .collect(),
            tx: (0..configured.tx_queues).map(|queue| TxQueue::new(&self.inner, queue)).collect(),
        })
    }

    /// Stops the device, once every queue handle has been dropped. It can be started again.
    pub fn stop(&mut self) -> Result<()> {
        let queues = self.inner.queues_out.load(Ordering::Acquire);
        if queues > 0 {
            return Err(Error::QueuesOut { port: self.name().to_owned(), queues });
        }
        if !self.inner.started.load(Ordering::Acquire) {
            return Ok(());
        }
        // SAFETY: a valid port that nobody polls.
        let ret = unsafe { dpdk_sys::rte_eth_dev_stop(self.inner.id) };
        self.check(ret, Call::Stop)?;
        self.inner.started.store(false, Ordering::Release);
        Ok(())
    }

    fn check(&self, ret: i32, call: Call) -> Result<()> {
        check(ret, call, || self.name().to_owned()).map(drop)
    }

    fn refused(&self, errno: i32, call: Call) -> Error {
        Error::Refused { call, subject: self.name().to_owned(), errno: Errno::new(errno) }
    }
}

/// Which unicast destinations a port receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promiscuous {
    /// Any.
    On,
    /// Its own address.
    Off,
}

impl PortInner {
    fn raw_info(&self) -> Result<rte_eth_dev_info> {
        let mut info = rte_eth_dev_info::default();
        // SAFETY: writes the structure.
        let ret = unsafe { dpdk_sys::rte_eth_dev_info_get(self.id, &raw mut info) };
        check(ret, Call::Query, || self.name.clone())?;
        Ok(info)
    }

    fn queue_taken(&self) {
        self.queues_out.fetch_add(1, Ordering::Relaxed);
    }

    fn queue_returned(&self) {
        // Release, so that `stop` sees the end of the last burst.
        self.queues_out.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for PortInner {
    fn drop(&mut self) {
        // Until the end: the number may be another device's as soon as this one is gone.
        let mut held = held();
        let device = self.raw_info().map(|info| info.device);
        // SAFETY: no queue handle and no control handle is left, so nobody else uses the port. What fails here has
        // nobody to tell: the driver logs it.
        unsafe {
            if *self.started.get_mut() {
                dpdk_sys::rte_eth_dev_stop(self.id);
            }
            dpdk_sys::rte_eth_dev_close(self.id);
            if let Ok(device) = device
                && !device.is_null()
            {
                dpdk_sys::rte_dev_remove(device);
            }
        }
        held.remove(&self.id);
    }
}

fn held() -> MutexGuard<'static, BTreeSet<u16>> {
    HELD.lock().expect("no holder of this lock panics")
}

/// Whether a driver takes frames of this MTU although it says that it does not: `net_tap` and `net_af_packet` report
/// Ethernet's usual length, whatever the kernel's side has. It is the kernel's that counts.
fn has_hidden_room(info: &rte_eth_dev_info, mtu: u16) -> bool {
    let frame = u32::from(mtu) + dpdk_sys::RTE_ETHER_HDR_LEN + dpdk_sys::RTE_ETHER_CRC_LEN;
    frame > info.max_rx_pktlen && [c"net_tap", c"net_af_packet"].contains(&driver_name(info))
}

fn driver_name(info: &rte_eth_dev_info) -> &CStr {
    // SAFETY: static data of the driver.
    unsafe { CStr::from_ptr(info.driver_name) }
}

/// The hash functions to ask for: addresses and, where there are any, ports.
fn rss_types() -> u64 {
    dpdk_sys::DPDK_RSS_IP | dpdk_sys::DPDK_RSS_TCP | dpdk_sys::DPDK_RSS_UDP
}

fn port_by_name(name: &CString) -> Option<u16> {
    let mut id = 0;
    // SAFETY: a C string; writes the number.
    let ret = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    (ret == 0).then_some(id)
}

/// The structure for the driver: what is asked for, as far as it can.
fn device_config(
    config: &PortConfig,
    info: &rte_eth_dev_info,
    rss_key: Option<&mut [u8]>,
    watched: bool,
) -> rte_eth_conf {
    let mut conf = rte_eth_conf::default();
    if let Some(mtu) = config.mtu {
        conf.rxmode.mtu = mtu.into();
    }
    let mut offloads = 0;
    if config.rx_checksum == RxChecksum::IfSupported && config::fills_checksums_in(driver_name(info)) {
        offloads |= dpdk_sys::DPDK_RX_OFFLOAD_CHECKSUM;
    }
    if let Some(key) = rss_key {
        offloads |= dpdk_sys::DPDK_RX_OFFLOAD_RSS_HASH;
        conf.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
        let rss = &mut conf.rx_adv_conf.rss_conf;
        rss.rss_hf = rss_types() & info.flow_type_rss_offloads;
        if !key.is_empty() {
            rss.rss_key = key.as_mut_ptr();
            // The length was taken from hash_key_size, a byte.
            rss.rss_key_len = key.len() as u8;
        }
    }
    conf.rxmode.offloads = offloads & info.rx_offload_capa;
    // SAFETY: reads the driver's static flags, if it has any.
    let flags = unsafe { info.dev_flags.as_ref() }.copied().unwrap_or(0);
    let can = |flag| std::ffi::c_int::from(watched && flags & flag != 0);
    let (link_change, removal) = (can(dpdk_sys::DPDK_DEV_INTR_LSC), can(dpdk_sys::DPDK_DEV_INTR_RMV));
    // SAFETY: sets three bits of the structure.
    unsafe { dpdk_sys::dpdk_conf_set_intr(&raw mut conf, link_change, removal, config.rx_interrupts.into()) };
    conf
}
