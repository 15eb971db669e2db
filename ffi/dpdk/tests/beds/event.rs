use std::ffi::CStr;

use dpdk::port::{Link, PortEvent, PortEvents};
use dpdk::{Device, Port, PortConfig, Queues};

use crate::{Bed, refusal, wait_for};

/// A vhost device and the virtio device that plugs into it: the one driver pair that changes its link in software and
/// tells.
struct Pair {
    socket: String,
}

impl Pair {
    fn new() -> Pair {
        let file = format!("dpdk-beds-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(file).to_str().expect("a plain path").to_owned();
        let _ = std::fs::remove_file(&socket);
        Pair { socket }
    }

    fn vhost(&self, bed: &Bed) -> Port {
        let device: Device = format!("net_vhost0,iface={}", self.socket).parse().expect("a device");
        Port::attach(&bed.eal, &device).expect("a vhost device")
    }

    /// Plugs in. Dropping it unplugs.
    fn plug(&self, bed: &Bed) -> (Port, Queues) {
        let device: Device = format!("virtio_user0,path={}", self.socket).parse().expect("a device");
        started(bed, Port::attach(&bed.eal, &device).expect("a virtio device"))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn started(bed: &Bed, mut port: Port) -> (Port, Queues) {
    port.configure(&PortConfig::new(1), std::slice::from_ref(&bed.pool)).expect("one queue");
    let queues = port.start().expect("is configured");
    (port, queues)
}

/// Waits for a link state to be told.
fn told(events: &PortEvents, wanted: fn(Link) -> bool) {
    wait_for("a link event", || match events.try_next() {
        Some(PortEvent::Link(link)) if wanted(link) => Some(()),
        _ => None,
    });
}

pub fn link_changes_are_told(bed: &Bed) {
    let pair = Pair::new();
    let mut port = pair.vhost(bed);
    assert!(port.info().expect("answers").link_events);
    let events = port.events(16).expect("vhost tells");
    let (mut port, _queues) = started(bed, port);
    assert!(refusal(port.events(16)).contains("is configured; ask for its events before configuring it"));
    assert_eq!(events.try_next(), None);

    let plugged = pair.plug(bed);
    told(&events, |link| matches!(link, Link::Up { .. }));
    assert!(matches!(port.link().expect("answers"), Link::Up { .. }));
    drop(plugged);
    told(&events, |link| link == Link::Down);
    assert_eq!((port.link().expect("answers"), events.lost()), (Link::Down, 0));
}

/// What vfio does when a card's slot is to be emptied.
pub fn a_device_that_is_asked_back_is_told_of(bed: &Bed) {
    let ask_back = |name: &CStr| {
        // SAFETY: a C string.
        unsafe { dpdk_sys::rte_dev_event_callback_process(name.as_ptr(), dpdk_sys::RTE_DEV_EVENT_REMOVE) };
    };
    let pair = Pair::new();
    let mut port = pair.vhost(bed);
    let events = port.events(4).expect("vhost tells");
    ask_back(c"net_vhost1");
    assert_eq!(events.try_next(), None, "another device");
    ask_back(c"net_vhost0");
    assert_eq!((events.try_next(), events.try_next()), (Some(PortEvent::Removed), None));
    drop(port);
    ask_back(c"net_vhost0");
    assert_eq!(events.try_next(), None, "nobody listens any more");
}

pub fn what_does_not_fit_is_counted(bed: &Bed) {
    let pair = Pair::new();
    let mut port = pair.vhost(bed);
    drop(port.events(1).expect("vhost tells"));
    let events = port.events(1).expect("a second watch takes over");
    let running = started(bed, port);
    wait_for("a lost event", || {
        drop(pair.plug(bed));
        (events.lost() > 0).then_some(())
    });
    drop(running);
    assert!(matches!(events.try_next(), Some(PortEvent::Link(_))), "the first was kept");
    assert_eq!(events.try_next(), None, "and outlives its port");
}
