//! Keeps the ports: follows their links, closes devices that go away, and opens them again when they are back.
//!
//! Overview: [`Keeper::look`] sees what became of each device and does what [`crate::link`] says. What is seen of a
//! kernel's device (`net_af_packet`, `net_af_xdp`) is what the kernel says of it; of any other, what its driver says. The
//! carrier of the host interface follows, so that the kernel and routing daemons see the link as it is, and workers drop
//! what would leave by it as `port-down`. States and the host interface stay.
//!
//! Life cycle: from the start of the workers until their end. Ownership: the main thread, the only one to call a driver's
//! control path; workers give queues back and get new ones by bounded queues, between two bursts. Bounds: one question to
//! the kernel or the driver for each port and look.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use api::LinkStatus;
use crossbeam::channel::Sender;
use dpdk::port::{Bus, Duplex, Link as Carrier, PortEvent};
use dpdk::{Device, Eal, Error, Mempool};

use crate::config::{self, Config};
use crate::devices::Reading;
use crate::link::{Link, Seen, State, Step};
use crate::netlink::guard::{self, Part};
use crate::netlink::socket::Requester;
use crate::ports::{self, OpenPort, Order, Polling};

/// A device that is gone is looked for this often.
const LOOK_FOR_EVERY: Duration = Duration::from_secs(1);

/// What others may see of the links, by interface.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Vec<LinkStatus>>>);

impl Board {
    /// Every link.
    pub fn links(&self) -> Vec<LinkStatus> {
        self.0.lock().expect("no holder of this lock panics").clone()
    }

    fn show(&self, links: Vec<LinkStatus>) {
        *self.0.lock().expect("no holder of this lock panics") = links;
    }
}

/// Who knows how a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Witness {
    /// The kernel, whose device of this index it is.
    Kernel { index: u32 },
    /// The kernel, as long as the TAP is in this network namespace; elsewhere nobody.
    Tap,
    /// Its driver.
    Driver,
}

struct Kept {
    config: config::Port,
    open: OpenPort,
    witness: Witness,
    link: Link,
    speed_mbps: Option<u32>,
    changes: u64,
    /// The kernel's driver through which a card was opened (vfio-pci): without it, it is not back.
    driver: Option<OsString>,
    /// When a device that is gone is looked for again.
    look_for_at: Instant,
}

/// The keeper of the ports.
pub struct Keeper {
    /// To the workers, by number. In front of the ports: queues on their way are given back before devices are closed.
    orders: Vec<Sender<Order>>,
    ports: Vec<Kept>,
    kernel: Requester,
    board: Board,
    eal: Eal,
    pool: Mempool,
    polling: Polling,
}

impl Keeper {
    /// Keeps `ports`, which are open and were configured so, in this order.
    ///
    /// # Errors
    /// Those of netlink.
    pub fn new(
        eal: &Eal,
        pool: &Mempool,
        config: &Config,
        ports: Vec<OpenPort>,
        orders: Vec<Sender<Order>>,
        mut kernel: Requester,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let mut kept = Vec::new();
        for (port, open) in config.ports.iter().zip(ports) {
            let witness = witness(&mut kernel, port)?;
            kept.push(Kept {
                driver: driver(&port.device),
                config: port.clone(),
                open,
                witness,
                link: Link::new(),
                speed_mbps: None,
                changes: 0,
                look_for_at: now,
            });
        }
        let (eal, pool) = (eal.clone(), pool.clone());
        let polling = Polling::of(&config.dataplane);
        let keeper = Self { orders, ports: kept, kernel, board: Board::default(), eal, pool, polling };
        keeper.show();
        Ok(keeper)
    }

    /// What others may see of it.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// How many ports it keeps.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// What the device of each interface says of itself. A VLAN has the link of its port, and no counters of its own.
    pub fn readings(&self) -> impl Iterator<Item = Reading> + '_ {
        self.ports.iter().flat_map(|port| {
            let asked = port.open.wire.as_ref().filter(|_| port.link.may_ask());
            let stats = asked.and_then(ports::Wire::stats);
            let link = Some(port.carrier());
            let number = 0..port.open.interfaces.len();
            number.map(move |number| Reading { link, stats: stats.filter(|_| number == 0) })
        })
    }

    /// Looks at every port.
    pub fn look(&mut self, now: Instant) {
        let mut changed = false;
        for number in 0..self.ports.len() {
            for seen in self.sights(number) {
                changed |= self.take(number, seen);
            }
            let port = &self.ports[number];
            if port.link.state() == State::Absent && now >= port.look_for_at {
                self.ports[number].look_for_at = now + LOOK_FOR_EVERY;
                changed |= self.reopen(number);
            }
        }
        if changed {
            self.show();
        }
    }

    /// What is seen of a port now.
    fn sights(&mut self, number: usize) -> Vec<Seen> {
        let port = &mut self.ports[number];
        match port.link.state() {
            State::Absent => return Vec::new(),
            State::Leaving => return port.released().into_iter().collect(),
            State::Up | State::Down | State::Recovering => {}
        }
        match port.witness {
            Witness::Driver => port.told(),
            Witness::Kernel { .. } | Witness::Tap => {
                let name = port.config.argument("iface").unwrap_or_default();
                // A question that fails is asked again at the next look.
                self.kernel.link(name).map_or_else(|_| Vec::new(), |link| vec![seen_of(port.witness, link)])
            }
        }
    }

    /// Does what follows from what was seen; true if anything changed.
    fn take(&mut self, number: usize, seen: Seen) -> bool {
        let port = &mut self.ports[number];
        let before = port.link.state();
        let step = port.link.see(seen);
        let interface = port.open.first;
        match step {
            Step::Nothing => return port.link.state() != before,
            Step::TellUp | Step::TellDown => {}
            Step::TakeBack => tell(&self.orders, || Order::GiveBack(interface)),
            Step::Close => port.open.wire = None,
        }
        port.changes += 1;
        let up = step == Step::TellUp;
        for host in port.open.interfaces.iter().filter(|interface| interface.host.is_some()) {
            if let Err(error) = self.kernel.set_carrier(&host.name, up) {
                tracing::warn!(port = host.name, %error, "cannot change the carrier of the host interface");
            }
        }
        if !port.config.is_hosted() {
            tell(&self.orders, || Order::Carrier { interface, up });
        }
        let name = port.config.name.as_str();
        let device = port.config.device.to_string();
        match port.link.cause() {
            Some(cause) if step == Step::Close => {
                tracing::warn!(port = name, device, %cause, "device closed")
            }
            Some(cause) => tracing::warn!(port = name, device, %cause, "link down"),
            None => tracing::info!(port = name, device, speed_mbps = port.speed_mbps, "link up"),
        }
        true
    }

    /// Opens a device that is there again, as it was, and hands its queues out; true if it did.
    fn reopen(&mut self, number: usize) -> bool {
        let Self { orders, ports, kernel, eal, pool, polling, .. } = self;
        let port = &mut ports[number];
        let Ok(Some(witness)) = returned(kernel, port) else { return false };
        let opened = ports::open_wire(eal, pool, &port.config, *polling, port.open.rss.clone());
        let (wire, queues) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::warn!(port = port.config.name, %error, "the device is there and cannot be opened; trying again");
                return false;
            }
        };
        port.open.wire = Some(wire);
        port.witness = witness;
        let interface = port.open.first;
        let mut receivers = queues.rx.into_iter();
        for (worker, tx) in orders.iter().zip(queues.tx) {
            send(worker, Order::Use { interface, rx: receivers.next(), tx });
        }
        tracing::info!(port = port.config.name, device = %port.config.device, "the device is back");
        let _ = port.link.see(Seen::Opened);
        true
    }

    fn show(&self) {
        let view = |port: &Kept| LinkStatus {
            state: port.link.state().name().into(),
            cause: port.link.cause().map(|cause| cause.to_string()),
            speed_mbps: port.speed_mbps,
            changes: port.changes,
            spread: (port.open.wire.as_ref())
                .filter(|_| self.orders.len() > 1)
                .map(|wire| ports::spread(&wire.port).into()),
        };
        // A VLAN's link is its port's.
        let links = self.ports.iter().flat_map(|port| port.open.interfaces.iter().map(move |_| view(port)));
        self.board.show(links.collect());
    }
}

impl Kept {
    /// The link, as it was seen.
    const fn carrier(&self) -> Carrier {
        match self.link.state() {
            State::Up => Carrier::Up { speed_mbps: self.speed_mbps, duplex: Duplex::Full },
            _ => Carrier::Down,
        }
    }

    /// Whether every worker has given its queues back.
    fn released(&mut self) -> Option<Seen> {
        match self.open.wire.as_mut().map(ports::Wire::stop) {
            Some(Err(Error::QueuesOut { .. })) => None,
            // A driver whose device is gone may fail to stop it.
            _ => Some(Seen::Released),
        }
    }

    /// What the driver tells, and what it says if it is asked.
    fn told(&mut self) -> Vec<Seen> {
        let Some(wire) = &self.open.wire else { return Vec::new() };
        let mut seen = Vec::new();
        let mut link = self.link;
        while let Some(event) = wire.events.as_ref().and_then(|events| events.try_next()) {
            seen.extend(match event {
                // It may have changed since: it is asked below.
                PortEvent::Link(_) => None,
                PortEvent::Removed => Some(Seen::Removed),
                PortEvent::ResetWanted => Some(Seen::ResetWanted),
                PortEvent::Recovering => Some(Seen::Recovering),
                PortEvent::Recovered => Some(Seen::Recovered),
                PortEvent::RecoveryFailed => Some(Seen::RecoveryFailed),
            });
        }
        // Only if nothing of this forbids it.
        for seen in &seen {
            let _ = link.see(*seen);
        }
        if link.may_ask()
            && let Ok(carrier) = wire.port.link()
        {
            self.speed_mbps = match carrier {
                Carrier::Up { speed_mbps, .. } => speed_mbps,
                Carrier::Down => None,
            };
            seen.push(if carrier == Carrier::Down { Seen::NoCarrier } else { Seen::Carrier });
        }
        seen
    }
}

/// Gives each worker an order.
fn tell(workers: &[Sender<Order>], order: impl Fn() -> Order) {
    workers.iter().for_each(|worker| send(worker, order()));
}

/// Gives a worker an order. There is room, unless it has been away for very long.
fn send(worker: &Sender<Order>, order: Order) {
    if let Err(error) = worker.try_send(order) {
        tracing::error!(%error, "a worker does not take orders about its queues");
    }
}

/// What the kernel's answer about a device means.
fn seen_of(witness: Witness, link: Option<crate::netlink::event::Link>) -> Seen {
    match (witness, link) {
        (Witness::Kernel { index }, Some(link)) if link.index != index => Seen::Removed,
        (_, Some(link)) if link.up => Seen::Carrier,
        (_, Some(_)) => Seen::NoCarrier,
        (Witness::Kernel { .. }, None) => Seen::Removed,
        // In another network namespace.
        (_, None) => Seen::Carrier,
    }
}

/// Who knows how a port's device is.
fn witness(kernel: &mut Requester, config: &config::Port) -> io::Result<Witness> {
    if config.device.name().starts_with("net_tap") {
        return Ok(Witness::Tap);
    }
    let Some(netdev) = config.kernel_netdev() else { return Ok(Witness::Driver) };
    // One that vanishes this very moment has no index, and is seen to be gone.
    Ok(Witness::Kernel { index: kernel.link(netdev)?.map_or(0, |link| link.index) })
}

/// Who knows how a device is that may be back; `None` while it is not.
fn returned(kernel: &mut Requester, port: &Kept) -> io::Result<Option<Witness>> {
    let config = &port.config;
    if let Some(netdev) = config.kernel_netdev() {
        let Some(link) = kernel.link(netdev)? else { return Ok(None) };
        // The kernel's settings of a device went with it.
        guard::settle(Part::PortDevice, netdev);
        kernel.set_mtu(link.index, config.mtu)?;
        return Ok(Some(Witness::Kernel { index: link.index }));
    }
    let there = match config.device.bus() {
        // A card that is leaving loses its driver first; one that has come gets it, and then its owner.
        Bus::Pci => port.driver.is_some() && driver(&config.device) == port.driver && is_ours(&config.device),
        Bus::Virtual => true,
    };
    if there { witness(kernel, config).map(Some) } else { Ok(None) }
}

/// The kernel's driver of a card; `None` of what is none, or has none.
fn driver(device: &Device) -> Option<OsString> {
    let link = Path::new("/sys/bus/pci/devices").join(device.name()).join("driver");
    let target = std::fs::read_link(link).ok().filter(|_| device.bus() == Bus::Pci)?;
    target.file_name().map(OsStr::to_owned)
}

/// Whether this process may have a card, as far as vfio is concerned: udev changes the owner of a group once it is there.
fn is_ours(device: &Device) -> bool {
    let group = Path::new("/sys/bus/pci/devices").join(device.name()).join("iommu_group");
    let Some(number) =
        std::fs::read_link(group).ok().and_then(|group| group.file_name().map(OsStr::to_owned))
    else {
        return true;
    };
    let opened = File::options().read(true).write(true).open(Path::new("/dev/vfio").join(number));
    // A driver that is not vfio's has no group there, and one that is used with another card of it is busy.
    !opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
