//! Ports and their host interfaces.
//!
//! Overview: for each `[[port]]` the DPDK device, and for each routed one and each VLAN of it a TAP of the operator's name
//! through which the kernel takes part.
//! Life cycle: opened at the start, closed by dropping, when every queue is back; a device that goes away is closed and
//! opened again by the keeper; the TAPs vanish with the process, however it ends. Ownership: the main thread; only queues
//! go to workers.

use dpdk::port::{PortEvents, PortStats, Promiscuous, Rss};
use dpdk::{Device, Eal, Mempool, Port, PortConfig, Queues, RxQueue, TxQueue};
use engine::{InterfaceId, Source};
use wire::Mac;

use crate::config;
use crate::memory::{HOST_DESCRIPTORS, LINK_HEADER_MAX, WIRE_DESCRIPTORS};
use crate::outlet::{Outlet, Traffic};
use crate::span::Span;
use crate::vlan::Trunk;
use crate::worker::{Attachment, Side, Sides};

/// A port, open.
pub struct OpenPort {
    /// The device; none while it is gone.
    pub wire: Option<Wire>,
    /// How it spreads packets over workers: by the same key each time that it is opened.
    pub rss: Rss,
    /// The number of its own interface; those of its VLANs follow.
    pub first: InterfaceId,
    /// Its own interface, and those of its VLANs.
    pub interfaces: Vec<OpenInterface>,
}

/// The device of a port.
pub struct Wire {
    /// Its control side.
    pub port: Port,
    /// Those of the other queues, if each has a device of its own.
    pub others: Vec<Port>,
    /// What its driver tells, if it is the one to ask.
    pub events: Option<PortEvents>,
}

impl Wire {
    /// Stops it, once every queue is back.
    ///
    /// # Errors
    /// [`dpdk::Error::QueuesOut`] while some are not, else those of the driver.
    pub fn stop(&mut self) -> dpdk::Result<()> {
        let ports = std::iter::once(&mut self.port).chain(&mut self.others);
        let (back, out): (Vec<_>, Vec<_>) =
            ports.map(Port::stop).partition(|stopped| !matches!(stopped, Err(dpdk::Error::QueuesOut { .. })));
        out.into_iter().chain(back).collect()
    }

    /// The counters of all its queues; `None` if some are not to be had.
    pub fn stats(&self) -> Option<PortStats> {
        let mut sum = self.port.stats().ok()?;
        for other in &self.others {
            let PortStats {
                rx_packets,
                rx_bytes,
                rx_missed,
                rx_errors,
                rx_no_mbuf,
                tx_packets,
                tx_bytes,
                tx_errors,
            } = other.stats().ok()?;
            sum.rx_packets += rx_packets;
            sum.rx_bytes += rx_bytes;
            sum.rx_missed += rx_missed;
            sum.rx_errors += rx_errors;
            sum.rx_no_mbuf += rx_no_mbuf;
            sum.tx_packets += tx_packets;
            sum.tx_bytes += tx_bytes;
            sum.tx_errors += tx_errors;
        }
        Some(sum)
    }
}

/// What a worker is to do about a port, between two bursts.
#[derive(Debug)]
pub enum Order {
    /// Give its queues back: the device is leaving.
    GiveBack(InterfaceId),
    /// Use these queues: the device is there.
    Use {
        /// The port's own.
        interface: InterfaceId,
        /// To receive from, unless other workers do.
        rx: Option<RxQueue>,
        /// To send to.
        tx: TxQueue,
    },
    /// The link of a port without host interfaces is up, or down; of others the forwarding base tells.
    Carrier {
        /// The port's own.
        interface: InterfaceId,
        /// Whether it is up.
        up: bool,
    },
}

/// Orders of one worker that wait, with so many interfaces: to give queues back and to use others, and a link that flaps
/// while the worker is away.
pub const fn orders_max(interfaces: usize) -> usize {
    64 * interfaces + 1
}

/// Events of a driver that wait.
const EVENTS_MAX: usize = 64;

/// An interface, and its side towards the host if it has one, open.
pub struct OpenInterface {
    /// The operator's name for both.
    pub name: String,
    /// The Ethernet address that the firewall answers to there.
    pub mac: Mac,
    /// Largest IP datagram, in bytes.
    pub mtu: u16,
    /// The TAP of a routed one.
    pub host: Option<Port>,
}

/// Opens ports, and gives their queues out: to each worker its own.
pub struct Opener<'a> {
    eal: &'a Eal,
    pool: &'a Mempool,
    polling: Polling,
    /// By worker.
    attachments: Vec<Attachment>,
}

impl<'a> Opener<'a> {
    /// No port is open yet.
    pub fn new(eal: &'a Eal, pool: &'a Mempool, polling: Polling) -> Self {
        let attachments = (0..polling.workers).map(|_| Attachment::default()).collect();
        Self { eal, pool, polling, attachments }
    }

    /// Each worker's part of all ports.
    pub fn attachments(self) -> Vec<Attachment> {
        self.attachments
    }

    /// Opens a port and the host interfaces of itself and of its VLANs. Its interfaces get the next numbers.
    ///
    /// # Errors
    /// DPDK's, which say what to do.
    pub fn open(&mut self, port: &config::Port) -> dpdk::Result<OpenPort> {
        let first = self.attachments.first().map_or(0, |attachment| attachment.interfaces.len());
        let (wire, queues) = open_wire(self.eal, self.pool, port, self.polling, Rss::Symmetric)?;
        let mac = host_mac(&port.device, Mac(wire.port.mac()?));
        let rss = wire.port.rss_key().filter(|key| !key.is_empty());
        let rss = rss.map_or(Rss::Symmetric, |key| Rss::Key(key.to_vec()));
        let number = |at: usize| InterfaceId((first + at) as u16);
        let mut own = Some(sides(number(0), queues, frame_max(port), Source::Wire, &mut self.attachments));
        let mut interfaces = Vec::new();
        for (at, interface) in port.interfaces().enumerate() {
            let wires = match interface.vlan {
                None => own.take().unwrap_or_default(),
                Some(vlan) => self.vlan_sides(first, number(at), vlan),
            };
            interfaces.push(self.add(&interface, number(at), mac, wires)?);
        }
        let vlans = || port.vlans.iter().zip(1..).map(|(vlan, at)| (*vlan, number(at)));
        if !port.vlans.is_empty() {
            for attachment in &mut self.attachments {
                attachment.interfaces[first].trunk = Some(Box::new(Trunk::new(vlans())));
            }
        }
        Ok(OpenPort { wire: Some(wire), rss, first: number(0), interfaces })
    }

    /// Opens the host interface that an interface needs, and gives every worker both of its sides.
    fn add(
        &mut self,
        interface: &config::Interface<'_>,
        number: InterfaceId,
        mac: Mac,
        wires: Vec<Side>,
    ) -> dpdk::Result<OpenInterface> {
        let config::Interface { name, port, .. } = interface;
        let wanted = Wanted {
            mtu: port.mtu,
            descriptors: HOST_DESCRIPTORS,
            polling: self.polling,
            receivers: None,
            hears: Hears::Itself,
            rss: Rss::Symmetric,
        };
        let (host, hosts) = if port.is_hosted() {
            let device = host_device(number, name, mac)?;
            let mut host = Port::attach(self.eal, &device)?;
            let queues = start(&mut host, self.pool, &device, wanted)?;
            (Some(host), sides(number, queues, frame_max(port), Source::Host, &mut self.attachments))
        } else {
            (None, Vec::new())
        };
        let mut hosts = hosts.into_iter();
        for (worker, (attachment, wire)) in self.attachments.iter_mut().zip(wires).enumerate() {
            let span = Span::new(&port.span, worker as u16);
            attachment.interfaces.push(Sides { wire, host: hosts.next(), trunk: None, span });
        }
        Ok(OpenInterface { name: name.clone(), mac, mtu: port.mtu, host })
    }

    /// Each worker's part of the wire side of a VLAN, whose port's interface has the number `port`.
    fn vlan_sides(&self, port: usize, number: InterfaceId, vlan: u16) -> Vec<Side> {
        let side = |attachment: &Attachment| Side {
            rx: None,
            received: Traffic::default(),
            outlet: attachment.interfaces[port].wire.outlet.of_vlan(number, vlan),
        };
        self.attachments.iter().map(side).collect()
    }
}

/// The longest frame of a port.
fn frame_max(port: &config::Port) -> usize {
    usize::from(port.mtu + LINK_HEADER_MAX)
}

/// Opens the device of a port, for the first time or again; or its devices, each for a worker.
///
/// # Errors
/// DPDK's.
pub fn open_wire(
    eal: &Eal,
    pool: &Mempool,
    config: &config::Port,
    polling: Polling,
    rss: Rss,
) -> dpdk::Result<(Wire, Queues)> {
    let devices = config.devices(polling.workers)?;
    let [first, others @ ..] = &devices[..] else { unreachable!("a port is made of a device") };
    if others.is_empty() {
        return open_device(eal, pool, config, first, polling, rss);
    }
    let own = Polling { workers: 1, ..polling };
    let (mut wire, mut queues) = open_device(eal, pool, config, first, own, Rss::Off)?;
    for device in others {
        let (Wire { port, .. }, more) = open_device(eal, pool, config, device, own, Rss::Off)?;
        wire.others.push(port);
        queues.rx.extend(more.rx);
        queues.tx.extend(more.tx);
    }
    tracing::info!(port = config.name, devices = devices.len(), "a device for each worker's queue");
    Ok((wire, queues))
}

fn open_device(
    eal: &Eal,
    pool: &Mempool,
    config: &config::Port,
    device: &Device,
    polling: Polling,
    rss: Rss,
) -> dpdk::Result<(Wire, Queues)> {
    let mut port = Port::attach(eal, device)?;
    // Of a kernel's device the kernel tells more.
    let own = config.kernel_netdev().is_none() && !config.device.name().starts_with("net_tap");
    let events = if own { Some(port.events(EVENTS_MAX)?) } else { None };
    let wanted = Wanted {
        mtu: config.mtu,
        descriptors: WIRE_DESCRIPTORS,
        polling,
        receivers: config.queues.map(|queues| queues.min(polling.workers)),
        hears: match config.mode {
            config::Mode::Routed => Hears::Itself,
            config::Mode::Bridge => Hears::Everything,
            config::Mode::Span => Hears::Nothing,
        },
        rss,
    };
    let queues = start(&mut port, pool, device, wanted)?;
    Ok((Wire { port, others: Vec::new(), events }, queues))
}

/// Who polls ports, and whether they wait in between.
#[derive(Clone, Copy, Debug)]
pub struct Polling {
    /// Each has a transmit queue of its own on each port.
    pub workers: u16,
    /// Devices are to signal packets.
    pub signals: bool,
}

impl Polling {
    /// As configured.
    pub const fn of(config: &config::Dataplane) -> Self {
        Self { workers: config.workers(), signals: matches!(config.idle, config::Idle::Interrupt) }
    }
}

/// What a device is to be set up with.
struct Wanted {
    mtu: u16,
    /// Of each queue.
    descriptors: u16,
    polling: Polling,
    /// Workers with a receive queue; `None` for as many as the device has queues for.
    receivers: Option<u16>,
    hears: Hears,
    /// If several workers receive.
    rss: Rss,
}

/// What a device must receive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// What is sent to its own address.
    Itself,
    /// What is sent to any.
    Everything,
    /// Nothing: whatever its device receives is never fetched.
    Nothing,
}

fn start(port: &mut Port, pool: &Mempool, device: &Device, wanted: Wanted) -> dpdk::Result<Queues> {
    let Wanted { mtu, descriptors, polling: Polling { workers, signals }, receivers, hears, rss } = wanted;
    let mut config = PortConfig::new(workers);
    // Where a device has fewer, the first workers receive for all and hand over what is not theirs.
    config.rx_queues = match receivers {
        Some(receivers) => receivers,
        None => workers.min(port.info()?.max_rx_queues),
    };
    config.rss = if config.rx_queues > 1 { rss } else { Rss::Off };
    config.rx_descriptors = descriptors;
    config.tx_descriptors = descriptors;
    // Drivers that cannot change it may have the right one.
    config.mtu = (port.mtu()? != mtu).then_some(mtu);
    config.rx_interrupts = signals;
    let mut begin = |config: &PortConfig| {
        port.configure(config, std::slice::from_ref(pool))?;
        port.start()
    };
    let queues = match begin(&config) {
        Err(error) if signals => {
            tracing::warn!(%device, %error, "cannot signal packets: its workers look for them");
            config.rx_interrupts = false;
            begin(&config)?
        }
        begun => begun?,
    };
    if workers > 1 {
        let spread = spread(port);
        tracing::info!(%device, receiving = config.rx_queues, sending = workers, spread, "queues");
    }
    if hears == Hears::Nothing {
        return Ok(Queues { rx: Vec::new(), ..queues });
    }
    match (port.set_promiscuous(Promiscuous::On), hears) {
        // A pair that does not hear its stations talk to each other is no pair.
        (Err(error), Hears::Everything) => return Err(error),
        (Err(error), _) => {
            tracing::warn!(%device, %error, "not promiscuous: frames for the host interface's own address must arrive anyway");
        }
        (Ok(()), _) => {}
    }
    Ok(queues)
}

/// Each worker's part of this side of an interface, out of the queues of a device that sends frames of up to `frame_max`
/// bytes whole: a transmit queue for each, a receive queue as long as there are some.
pub fn sides(
    interface: InterfaceId,
    queues: Queues,
    frame_max: usize,
    side: Source,
    attachments: &mut [Attachment],
) -> Vec<Side> {
    let mut receivers = queues.rx.into_iter();
    let part = |(tx, attachment): (_, &mut Attachment)| Side {
        rx: receivers.next(),
        received: Traffic::default(),
        outlet: Outlet::new(interface, side, attachment.lines.add(tx), frame_max),
    };
    queues.tx.into_iter().zip(attachments).map(part).collect()
}

/// The device of a host interface. The driver is chosen by the beginning of the name.
fn host_device(number: InterfaceId, name: &str, mac: Mac) -> dpdk::Result<Device> {
    let ([a, b, c, d, e, f], number) = (mac.0, number.0);
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

/// Who decides which worker receives a packet, where several do. Whatever it is, a flow ends up with its owner.
pub fn spread(port: &Port) -> &'static str {
    if port.rss() { "by the device, under a key of its own" } else { "by whatever the driver does" }
}
