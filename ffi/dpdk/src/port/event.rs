//! What a device tells of its own accord.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use dpdk_sys::{rte_dev_event_type, rte_eth_event_type};

use super::Link;
use crate::eal::c_string;
use crate::error::{Call, Result, check};

/// Something happened to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortEvent {
    /// The link changed, to this state.
    Link(Link),
    /// The device was unplugged, or is asked back by the kernel, which waits for it: drop the port.
    Removed,
    /// The device wants to be stopped, configured and started again.
    ResetWanted,
    /// The driver mends an error. Until it says how that ended, no function of the control path may be called; bursts
    /// find nothing.
    Recovering,
    /// It has mended the error: the port works as before.
    Recovered,
    /// It could not: drop the port.
    RecoveryFailed,
}

/// Events of one port, kept in a bounded queue; see [`super::Port::events`]. Some drivers follow the link and tell nobody
/// (`net_tap`, although it says that it does): ask [`super::Port::link`] from time to time as well.
#[derive(Debug)]
pub struct PortEvents {
    queue: Receiver<PortEvent>,
    lost: Arc<AtomicU64>,
}

impl PortEvents {
    /// The oldest event not yet taken.
    pub fn try_next(&self) -> Option<PortEvent> {
        self.queue.try_recv().ok()
    }

    /// Events that found the queue full. After a loss, ask the port for its link.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// What the callback is given; lives until it is unregistered.
#[derive(Debug)]
struct Sink {
    queue: SyncSender<PortEvent>,
    lost: Arc<AtomicU64>,
}

impl Sink {
    /// Never waits.
    fn put(&self, event: PortEvent) {
        if self.queue.try_send(event).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A registration with EAL's interrupt thread, withdrawn by `Drop`.
#[derive(Debug)]
pub(super) struct Watch {
    port: u16,
    device: CString,
    sink: *mut Sink,
}

// SAFETY: `Sink` is Send and Sync, and only the interrupt thread and `drop` reach it.
unsafe impl Send for Watch {}
// SAFETY: as above.
unsafe impl Sync for Watch {}

/// The events watched.
const WATCHED: [rte_eth_event_type; 6] = [
    dpdk_sys::RTE_ETH_EVENT_INTR_LSC,
    dpdk_sys::RTE_ETH_EVENT_INTR_RMV,
    dpdk_sys::RTE_ETH_EVENT_INTR_RESET,
    dpdk_sys::RTE_ETH_EVENT_ERR_RECOVERING,
    dpdk_sys::RTE_ETH_EVENT_RECOVERY_SUCCESS,
    dpdk_sys::RTE_ETH_EVENT_RECOVERY_FAILED,
];

impl Watch {
    /// Registers with `port`, with a queue of `capacity` events.
    pub(super) fn new(port: u16, name: &str, capacity: usize) -> Result<(Watch, PortEvents)> {
        let (sender, receiver) = sync_channel(capacity.max(1));
        let lost = Arc::new(AtomicU64::new(0));
        let sink = Box::into_raw(Box::new(Sink { queue: sender, lost: lost.clone() }));
        // From here `Drop` frees the sink, and withdraws what was registered.
        let watch = Watch { port, device: c_string(name)?, sink };
        for event in WATCHED {
            // SAFETY: the sink outlives the registration.
            let ret = unsafe {
                dpdk_sys::rte_eth_dev_callback_register(port, event, Some(on_event), watch.sink.cast())
            };
            check(ret, Call::Watch, || name.to_owned())?;
        }
        // A driver tells of a device that is gone; that one is to go, the bus does (vfio).
        // SAFETY: a C string, which is copied; the sink outlives the registration.
        let ret = unsafe {
            dpdk_sys::rte_dev_event_callback_register(
                watch.device.as_ptr(),
                Some(on_device_event),
                watch.sink.cast(),
            )
        };
        check(ret, Call::Watch, || name.to_owned())?;
        Ok((watch, PortEvents { queue: receiver, lost }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for event in WATCHED {
            // SAFETY: a registration that is absent is ignored. EAGAIN: the callback runs right now.
            while unsafe {
                dpdk_sys::rte_eth_dev_callback_unregister(self.port, event, Some(on_event), self.sink.cast())
            } == -libc::EAGAIN
            {
                std::thread::yield_now();
            }
        }
        // SAFETY: as above.
        while unsafe {
            dpdk_sys::rte_dev_event_callback_unregister(
                self.device.as_ptr(),
                Some(on_device_event),
                self.sink.cast(),
            )
        } == -libc::EAGAIN
        {
            std::thread::yield_now();
        }
        // SAFETY: made by `new`, and no callback refers to it any more.
        drop(unsafe { Box::from_raw(self.sink) });
    }
}

/// Runs on EAL's interrupt thread, and never waits.
unsafe extern "C" fn on_event(
    port: u16,
    event: rte_eth_event_type,
    sink: *mut c_void,
    _ret_param: *mut c_void,
) -> c_int {
    // SAFETY: registered with a sink that lives until it is unregistered.
    let sink = unsafe { &*sink.cast::<Sink>() };
    let event = match event {
        dpdk_sys::RTE_ETH_EVENT_INTR_LSC => PortEvent::Link(link(port).unwrap_or(Link::Down)),
        dpdk_sys::RTE_ETH_EVENT_INTR_RMV => PortEvent::Removed,
        dpdk_sys::RTE_ETH_EVENT_ERR_RECOVERING => PortEvent::Recovering,
        dpdk_sys::RTE_ETH_EVENT_RECOVERY_SUCCESS => PortEvent::Recovered,
        dpdk_sys::RTE_ETH_EVENT_RECOVERY_FAILED => PortEvent::RecoveryFailed,
        _ => PortEvent::ResetWanted,
    };
    sink.put(event);
    0
}

/// The same, of what a bus tells. Nobody tells of a device that comes: it has no port yet.
unsafe extern "C" fn on_device_event(_name: *const c_char, event: rte_dev_event_type, sink: *mut c_void) {
    if event == dpdk_sys::RTE_DEV_EVENT_REMOVE {
        // SAFETY: registered with a sink that lives until it is unregistered.
        unsafe { &*sink.cast::<Sink>() }.put(PortEvent::Removed);
    }
}

/// The link of `port` as last seen by the driver, or a negative errno.
pub(super) fn link(port: u16) -> std::result::Result<Link, i32> {
    use super::Duplex;

    /// RTE_ETH_SPEED_NUM_NONE and RTE_ETH_SPEED_NUM_UNKNOWN.
    const NO_SPEEDS: [u32; 2] = [0, u32::MAX];

    let mut raw = dpdk_sys::dpdk_link::default();
    // SAFETY: writes the structure.
    let ret = unsafe { dpdk_sys::dpdk_link_get(port, &raw mut raw) };
    if ret < 0 {
        return Err(ret);
    }
    if raw.up == 0 {
        return Ok(Link::Down);
    }
    let speed_mbps = (!NO_SPEEDS.contains(&raw.speed_mbps)).then_some(raw.speed_mbps);
    let duplex = if raw.full_duplex == 0 { Duplex::Half } else { Duplex::Full };
    Ok(Link::Up { speed_mbps, duplex })
}
