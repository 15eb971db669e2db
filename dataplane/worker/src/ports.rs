//! Ports and their host interfaces.
//!
//! Overview: for each `[[port]]` the DPDK device, and a TAP of the operator's name through which the kernel takes part.
//! Life cycle: opened at the start, closed by dropping, when every queue is back; the TAPs vanish with the process,
//! however it ends. Ownership: the main thread; only queues go to workers.

use dpdk::port::{Promiscuous, Rss};
use dpdk::{Device, Eal, Mempool, Port, PortConfig, Queues};
use engine::InterfaceId;
use ruleset::Reason;
use wire::Mac;

use crate::config;
use crate::memory::{HOST_DESCRIPTORS, LINK_HEADER_MAX, WIRE_DESCRIPTORS};
use crate::outlet::{Outlet, Traffic};
use crate::worker::{Side, Sides};

/// A port and its host interface, open.
pub struct OpenPort {
    /// The operator's name for both.
    pub name: String,
    /// The Ethernet address that the firewall answers to there.
    pub mac: Mac,
    /// Largest IP datagram, in bytes.
    pub mtu: u16,
    /// The device.
    pub wire: Port,
    /// The TAP.
    pub host: Port,
}

/// Opens a port and its host interface, and gives their queues out, to each of `workers` its own.
///
/// # Errors
/// DPDK's, which say what to do.
pub fn open(
    eal: &Eal,
    pool: &Mempool,
    port: &config::Port,
    number: usize,
    workers: u16,
) -> dpdk::Result<(OpenPort, Vec<Sides>)> {
    let interface = InterfaceId(number as u16);
    let wanted = Wanted { mtu: port.mtu, descriptors: WIRE_DESCRIPTORS, workers, receivers: port.queues };
    let (wire, wire_queues) = start(eal, pool, &port.device, &wanted)?;
    let mac = host_mac(&port.device, Mac(wire.mac()?));
    let wanted = Wanted { descriptors: HOST_DESCRIPTORS, receivers: None, ..wanted };
    let (host, host_queues) = start(eal, pool, &host_device(number, &port.name, mac)?, &wanted)?;
    let frame_max = usize::from(port.mtu + LINK_HEADER_MAX);
    let wires = sides(interface, wire_queues, frame_max, Reason::TxFull);
    let hosts = sides(interface, host_queues, frame_max, Reason::HostFull);
    let both = wires.into_iter().zip(hosts).map(|(wire, host)| Sides { wire, host }).collect();
    Ok((OpenPort { name: port.name.clone(), mac, mtu: port.mtu, wire, host }, both))
}

/// What a device is to be set up with.
#[derive(Clone, Copy)]
struct Wanted {
    mtu: u16,
    /// Of each queue.
    descriptors: u16,
    /// Each has a transmit queue of its own.
    workers: u16,
    /// Workers with a receive queue; `None` for as many as the device has queues for.
    receivers: Option<u16>,
}

fn start(eal: &Eal, pool: &Mempool, device: &Device, wanted: &Wanted) -> dpdk::Result<(Port, Queues)> {
    let Wanted { mtu, descriptors, workers, receivers } = *wanted;
    let mut port = Port::attach(eal, device)?;
    let mut config = PortConfig::new(workers);
    // Where a device has fewer, the first workers receive for all and hand over what is not theirs.
    config.rx_queues = match receivers {
        Some(receivers) => receivers,
        None => workers.min(port.info()?.max_rx_queues),
    };
    config.rss = if config.rx_queues > 1 { Rss::Symmetric } else { Rss::Off };
    config.rx_descriptors = descriptors;
    config.tx_descriptors = descriptors;
    // Drivers that cannot change it may have the right one.
    config.mtu = (port.mtu()? != mtu).then_some(mtu);
    port.configure(&config, std::slice::from_ref(pool))?;
    let queues = port.start()?;
    if workers > 1 {
        let spread =
            if port.rss() { "by the device, under a key of its own" } else { "by whatever the driver does" };
        tracing::info!(%device, receiving = config.rx_queues, sending = workers, spread, "queues");
    }
    if let Err(error) = port.set_promiscuous(Promiscuous::On) {
        tracing::warn!(%device, %error, "not promiscuous: frames for the host interface's own address must arrive anyway");
    }
    Ok((port, queues))
}

/// Each worker's part of one side of an interface, out of the queues of a device that sends frames of up to `frame_max`
/// bytes whole: a transmit queue for each, a receive queue as long as there are some.
pub fn sides(interface: InterfaceId, queues: Queues, frame_max: usize, full: Reason) -> Vec<Side> {
    let mut receivers = queues.rx.into_iter();
    let side = |tx| Side {
        rx: receivers.next(),
        received: Traffic::default(),
        outlet: Outlet::new(interface, tx, frame_max, full),
    };
    queues.tx.into_iter().map(side).collect()
}

/// The device of a host interface. The driver is chosen by the beginning of the name.
fn host_device(number: usize, name: &str, mac: Mac) -> dpdk::Result<Device> {
    let [a, b, c, d, e, f] = mac.0;
    format!("net_tap_host_{number},iface={name},mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}").parse()
}

/// The Ethernet address of the host interface: the port's own, so that a NIC need not be promiscuous to hear it. The
/// address of a `net_tap` port is a special case: it belongs to the other end, a kernel interface that plays the
/// neighbour in test beds, so the firewall takes another that follows from it.
pub fn host_mac(device: &Device, port: Mac) -> Mac {
    let mut mac = port;
    if device.name().starts_with("net_tap") {
        mac.0[0] ^= 0x04;
    }
    if mac != port || port == Mac::default() {
        // Locally administered, and not a group.
        mac.0[0] = (mac.0[0] | 0x02) & !0x01;
    }
    mac
}
