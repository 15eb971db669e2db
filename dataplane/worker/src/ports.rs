//! Ports and their host interfaces.
//!
//! Overview: for each `[[port]]` the DPDK device, and a TAP of the operator's name through which the kernel takes part.
//! Life cycle: opened at the start, closed by dropping, when every queue is back; the TAPs vanish with the process,
//! however it ends. Ownership: the main thread; only queues go to workers.

use dpdk::port::Promiscuous;
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

/// Opens a port and its host interface, and gives their queues out.
///
/// # Errors
/// DPDK's, which say what to do.
pub fn open(
    eal: &Eal,
    pool: &Mempool,
    port: &config::Port,
    number: usize,
) -> dpdk::Result<(OpenPort, Sides)> {
    let interface = InterfaceId(number as u16);
    let (wire, wire_queues) = start(eal, pool, &port.device, port.mtu, WIRE_DESCRIPTORS)?;
    let mac = host_mac(&port.device, Mac(wire.mac()?));
    let (host, host_queues) =
        start(eal, pool, &host_device(number, &port.name, mac)?, port.mtu, HOST_DESCRIPTORS)?;
    let frame_max = usize::from(port.mtu + LINK_HEADER_MAX);
    let sides = Sides {
        wire: side(interface, wire_queues, frame_max, Reason::TxFull),
        host: side(interface, host_queues, frame_max, Reason::HostFull),
    };
    Ok((OpenPort { name: port.name.clone(), mac, mtu: port.mtu, wire, host }, sides))
}

fn start(
    eal: &Eal,
    pool: &Mempool,
    device: &Device,
    mtu: u16,
    descriptors: u16,
) -> dpdk::Result<(Port, Queues)> {
    let mut port = Port::attach(eal, device)?;
    let mut config = PortConfig::new(1);
    config.rx_descriptors = descriptors;
    config.tx_descriptors = descriptors;
    // Drivers that cannot change it may have the right one.
    config.mtu = (port.mtu()? != mtu).then_some(mtu);
    port.configure(&config, std::slice::from_ref(pool))?;
    let queues = port.start()?;
    if let Err(error) = port.set_promiscuous(Promiscuous::On) {
        tracing::warn!(%device, %error, "not promiscuous: frames for the host interface's own address must arrive anyway");
    }
    Ok((port, queues))
}

/// One side of an interface out of the queues of a device that sends frames of up to `frame_max` bytes whole.
pub fn side(interface: InterfaceId, mut queues: Queues, frame_max: usize, full: Reason) -> Side {
    let rx = queues.rx.remove(0);
    let tx = queues.tx.remove(0);
    Side { rx, received: Traffic::default(), outlet: Outlet::new(interface, tx, frame_max, full) }
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
