//! The dataplane as a whole: how it starts, what it minds while it runs, and how it ends.
//!
//! Overview: [`Dataplane::start`] goes from what can be refused cheaply to what cannot be undone: claim, kernel rules that
//! keep it from forwarding, DPDK, ports; then privileges go, and routes, workers and control follow. Who connects to the
//! socket is answered when everything is up.
//! [`Dataplane::mind`] waits for the end, and [`Dataplane::stop`] gives everything back and accounts for it.
//! Ownership: the main thread.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use dpdk::{Eal, LcoreTask, Mempool, TscClock};
use engine::fib::Bridge;
use engine::{InterfaceId, Shard, ShardConfig, StatePool, Tick, WorkerId};
use sd_notify::NotifyState;
use shm::Segment;

use crate::ahead::Quartermaster;
use crate::claim::{Claim, beside};
use crate::clock;
use crate::config::{self, Config, Idle, Mode};
use crate::control::desk::{Desk, Facts, colons};
use crate::control::journal::Journal;
use crate::control::rules::{PATIENCE, Rules};
use crate::control::server::{Bound, Server};
use crate::devices::Devices;
use crate::handoff;
use crate::keeper::Keeper;
use crate::mail::{Mail, mail};
use crate::memory;
use crate::netlink::event::{Event, Link};
use crate::netlink::guard::{self, Part};
use crate::netlink::model::{BridgeSpec, InterfaceSpec, Place};
use crate::netlink::service::{self, Service};
use crate::netlink::socket::{Requester, Table};
use crate::notify::{self, Watchdog};
use crate::ports::{OpenInterface, OpenPort, Opener, Polling};
use crate::privileges;
use crate::random::{self, Random};
use crate::stall::{Report, Watch};
use crate::telemetry::{self, Sheet};
use crate::worker::{Attachment, Parts, Worker};

/// How often the main thread looks at what it minds.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The running dataplane.
pub struct Dataplane {
    server: Server,
    routes: service::Running,
    workers: Vec<LcoreTask<Sheet>>,
    stop: Arc<AtomicBool>,
    counters: Counters,
    clock: TscClock,
    keeper: Keeper,
    pool: Mempool,
    /// At most so many buffers are with drivers for good.
    kept_by_drivers: u32,
    quartermaster: Quartermaster,
    _claim: Claim,
}

/// How the dataplane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every packet and every buffer is accounted for.
    Clean,
    /// Some are not: a bug.
    Unaccounted,
}

impl Dataplane {
    /// Starts everything, with `socket` for control.
    ///
    /// # Errors
    /// What is missing or in the way, and what to do about it. Nothing is left behind but the rules that keep the kernel
    /// from forwarding.
    pub fn start(config: &Config, socket: &Path) -> Result<Self> {
        let begin = Instant::now();
        privileges::prepare();
        privileges::leave_root(config)?;
        let claim = Claim::take(socket)?;
        let mut kernel = Requester::open().context("cannot talk to the kernel's routing by netlink")?;
        refuse_taken_names(&mut kernel, config)?;
        seal(&mut kernel, config)?;
        detach_leftovers(&mut kernel, config)?;

        let (cpus, eal) = start_eal(config, socket)?;
        let pool = Mempool::new(&eal, &memory::pool(&config.ports, config.dataplane.workers()))?;
        let (ports, attachments) = open_ports(&eal, &pool, config)?;
        bring_up(&mut kernel, config, &ports)?;
        let counters = Counters::create(beside(socket, "counters"), cpus.len(), &ports)?;
        let bound = Bound::bind(socket).with_context(|| {
            format!("cannot serve {}; run as root, or give another --socket", socket.display())
        })?;
        privileges::confine(config, &eal)?;

        let (service, fib) =
            Service::learn(specs(config, &ports)).context("cannot learn the kernel's routes")?;
        let published = service.published();
        let states = States::of(config);
        let (mails, office) = mail(fib, usize::from(config.dataplane.workers()), states.of_one);
        let stop = Arc::new(AtomicBool::new(false));
        let clock = TscClock::new(&eal);
        let credits = StatePool::new(states.in_all, config.dataplane.workers());
        let shards = Shards { states: &states, credits: &credits };
        let parts = parts(config, &shards, (&eal, clock), &pool, attachments, mails, &counters)?;
        let workers = launch(&eal, parts, &stop)?;
        let quartermaster = Quartermaster::start(office.edges).context("no thread for memory")?;
        let routes = service.run(office.fibs, office.asks).context("no thread for netlink")?;
        let keeper = Keeper::new(&eal, &pool, config, ports, office.orders, kernel)
            .context("cannot ask the kernel about the ports' devices")?;

        let facts = Facts {
            start: begin,
            devices: config.interfaces().map(|interface| interface.port.device.to_string()).collect(),
            cpus: cpus.clone(),
            states: credits.clone(),
            now: Box::new(move || Tick(clock.now_nanos())),
            pools: vec![pool.clone()],
            links: keeper.board(),
        };
        let rules = Rules::new(office.roots, credits, PATIENCE);
        let now = move || Tick(clock.now_nanos());
        let journal = Journal::start(office.logs, published.clone(), now).context("no thread for the log")?;
        let desk = Desk::new(rules, office.lister, counters.reader()?, published, journal, facts);
        let server = Server::start(bound, desk).context("no thread for control")?;
        let took_ms = begin.elapsed().as_millis() as u64;
        tracing::info!(socket = %socket.display(), ?cpus, took_ms, "ready; nothing is forwarded until a ruleset is committed");
        let kept_by_drivers = config.ports.iter().map(memory::kept_by_driver).sum::<u32>()
            * u32::from(config.dataplane.workers());
        Ok(Self {
            server,
            routes,
            workers,
            stop,
            counters,
            clock,
            keeper,
            pool,
            kept_by_drivers,
            quartermaster,
            _claim: claim,
        })
    }

    /// Minds the ports and the workers until `ended` says so, and tells systemd how they do.
    ///
    /// # Errors
    /// If the counters cannot be read, or it was called before.
    pub fn mind(&mut self, mut ended: impl FnMut() -> bool) -> Result<()> {
        let counters = self.counters.reader()?;
        let mut watches = vec![Watch::new(Instant::now()); self.workers.len()];
        let mut clocks = clock::Watch::new(clock::Reading::take(&self.clock));
        let mut watchdog = Watchdog::asked(Instant::now());
        notify::tell(&[NotifyState::Ready, NotifyState::Status(&self.summary(0))]);
        let mut devices = self.counters.devices(self.workers.len())?;
        while !ended() {
            if devices.is_due(Instant::now()) {
                devices.look(self.keeper.readings(), Instant::now());
            }
            std::thread::sleep(LOOK_EVERY);
            if let Some(report) = clocks.look(clock::Reading::take(&self.clock)) {
                tell(report);
            }
            self.keeper.look(Instant::now());
            let mut reports = 0;
            for (worker, watch) in watches.iter_mut().enumerate() {
                let Some(sheet) = counters.sheet(worker) else { continue };
                let Some(report) = watch.look(sheet.worker.polls, Instant::now()) else { continue };
                reports += 1;
                devices.note(worker, report);
                match report {
                    Report::Stalled => tracing::error!(
                        worker,
                        "the worker does not come back: nothing of its flows is forwarded"
                    ),
                    Report::Recovered(after) => tracing::warn!(worker, ?after, "the worker has come back"),
                }
            }
            let stalled = watches.iter().filter(|watch| watch.is_stalled()).count();
            if reports > 0 {
                notify::tell(&[NotifyState::Status(&self.summary(stalled))]);
            }
            if watchdog.is_due(stalled, Instant::now()) {
                notify::tell(&[NotifyState::Watchdog]);
            }
        }
        notify::tell(&[NotifyState::Stopping]);
        Ok(())
    }

    /// One line for `systemctl status`.
    fn summary(&self, stalled: usize) -> String {
        let (ports, workers) = (self.keeper.ports(), self.workers.len());
        match stalled {
            0 => format!("{workers} workers on {ports} ports"),
            _ => format!("{stalled} of {workers} workers do not come back"),
        }
    }

    /// Stops everything, in the reverse order, and accounts for every packet and buffer.
    pub fn stop(self) -> End {
        self.server.stop();
        drop(self.quartermaster);
        self.stop.store(true, Ordering::Relaxed);
        let ended: Result<Vec<Sheet>, _> = self.workers.into_iter().map(|worker| worker.join().1).collect();
        self.routes.stop();
        // Drivers hold buffers until they are closed.
        drop(self.keeper);
        let _ = std::fs::remove_file(&self.counters.path);
        let Ok(sheets) = ended else {
            tracing::error!("a worker panicked");
            return End::Unaccounted;
        };
        account(&sheets, &self.pool, self.kept_by_drivers)
    }
}

/// Logs what is wrong with the workers' clock.
fn tell(report: clock::Report) {
    match report {
        clock::Report::Jumped { by_ms } => tracing::error!(
            by_ms,
            "the CPU's time-stamp counter jumped against the kernel's clock: states expire earlier or later by as much"
        ),
        clock::Report::Drifts { ppm } => tracing::warn!(
            ppm,
            "the CPU's time-stamp counter runs at another rate than the kernel's clock: time-outs are as much shorter or longer"
        ),
    }
}

/// The segment of the counters.
struct Counters {
    path: PathBuf,
    segment: Segment,
    interfaces: usize,
}

impl Counters {
    fn create(path: PathBuf, workers: usize, ports: &[OpenPort]) -> Result<Self> {
        let names: Vec<String> = interfaces(ports).map(|interface| interface.name.clone()).collect();
        let segment = telemetry::create(&path, workers, &names)?;
        Ok(Self { path, segment, interfaces: names.len() })
    }

    fn writer(&self, worker: usize) -> Result<telemetry::Writer> {
        Ok(telemetry::Writer::new(&self.segment, worker)?)
    }

    fn devices(&self, workers: usize) -> Result<Devices> {
        let writer = telemetry::Writer::of_minutes(&self.segment)?;
        Ok(Devices::new(writer, self.interfaces, workers, Instant::now()))
    }

    fn reader(&self) -> Result<telemetry::Reader> {
        Ok(telemetry::Reader::open(&self.path, self.interfaces)?)
    }
}

/// Says what became of every packet and buffer.
fn account(sheets: &[Sheet], pool: &Mempool, kept_by_drivers: u32) -> End {
    let sum = Sheet::sum(sheets).conservation();
    let holds = sheets.iter().all(|sheet| sheet.conservation().holds()) && sum.handoff_in <= sum.handoff_out;
    let kept = pool.in_use().min(kept_by_drivers);
    let leaked = pool.in_use() - kept;
    eprintln!(
        "conservation: rx {} + host_in {} + created {} + handoff_in {} = tx {} + punted {} + held {} + joined {} + drops {} + \
         handoff_out {}: {}; buffers in use: {leaked}{}",
        sum.rx,
        sum.host_in,
        sum.created,
        sum.handoff_in,
        sum.tx,
        sum.punted,
        sum.held,
        sum.joined,
        sum.drops,
        sum.handoff_out,
        if holds { "holds" } else { "VIOLATED" },
        if kept > 0 { format!(", besides {kept} that drivers keep") } else { String::new() },
    );
    if holds && leaked == 0 { End::Clean } else { End::Unaccounted }
}

/// A host interface's name must be free: TAP drivers would attach to what is there.
fn refuse_taken_names(kernel: &mut Requester, config: &Config) -> Result<()> {
    let links = kernel.dump(Table::Links).context("cannot list the kernel's links")?;
    let known =
        |name: &str| links.iter().any(|event| matches!(event, Event::Link(link) if link.name == name));
    for interface in config.ports.iter().flat_map(config::Port::host_interfaces) {
        if known(&interface.name) {
            bail!(
                "the kernel already has an interface {0}; give the port another name, or remove it (ip link del {0})",
                interface.name
            );
        }
    }
    for port in &config.ports {
        if let Some(netdev) = port.kernel_netdev() {
            if !known(netdev) {
                bail!("port {}: the kernel has no interface {netdev}; correct iface= in `device`", port.name);
            }
            refuse_other_queues(port, netdev, config.dataplane.workers())?;
        }
    }
    Ok(())
}

/// `net_af_xdp` takes what arrives at the queues of the workers; another would lead past the firewall, into the kernel.
fn refuse_other_queues(port: &config::Port, netdev: &str, workers: u16) -> Result<()> {
    // Without sysfs nobody knows.
    let Some((rx, tx)) = kernel_queues(netdev).filter(|_| port.is_af_xdp()) else { return Ok(()) };
    if rx != usize::from(workers) || tx < usize::from(workers) {
        bail!(
            "port {}: {netdev} has {rx} receive and {tx} transmit queues, and net_af_xdp takes one of each for every worker: \
             {workers}; run ethtool -L {netdev} combined {workers} (a veth pair: rx {workers} tx {workers})",
            port.name
        );
    }
    Ok(())
}

/// How many receive and transmit queues a device of the kernel's has.
fn kernel_queues(netdev: &str) -> Option<(usize, usize)> {
    let queues = std::fs::read_dir(format!("/sys/class/net/{netdev}/queues")).ok()?.flatten();
    let names: Vec<String> = queues.map(|queue| queue.file_name().to_string_lossy().into_owned()).collect();
    let of = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
    Some((of("rx-"), of("tx-")))
}

/// Keeps the kernel from forwarding, before there is anything to forward.
fn seal(kernel: &mut Requester, config: &Config) -> Result<()> {
    let netdevs = config.ports.iter().filter_map(|port| port.kernel_netdev());
    let hosts = config.ports.iter().flat_map(config::Port::host_interfaces).map(|interface| interface.name);
    for link in hosts.chain(netdevs.clone().map(str::to_owned)) {
        guard::seal(kernel, &link).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => anyhow!("the right CAP_NET_ADMIN is missing; run as root"),
            _ => anyhow!("cannot make the rule that keeps the kernel from forwarding from {link}: {error}"),
        })?;
    }
    netdevs.for_each(|link| guard::settle(Part::PortDevice, link));
    Ok(())
}

/// The driver of `net_af_xdp` attaches a program to the kernel's device, which stays there when the process is killed and
/// leads packets to queues that nobody reads any more: the next process would use it as it is.
fn detach_leftovers(kernel: &mut Requester, config: &Config) -> Result<()> {
    for netdev in config.ports.iter().filter(|port| port.is_af_xdp()).filter_map(|port| port.kernel_netdev())
    {
        let links = kernel.dump(Table::Links).context("cannot list the kernel's links")?;
        if let Some(link) = link_of(&links, netdev) {
            kernel
                .detach_xdp(link.index)
                .with_context(|| format!("cannot take the XDP program off {netdev}"))?;
        }
    }
    Ok(())
}

fn start_eal(config: &Config, socket: &Path) -> Result<(Vec<u16>, Eal)> {
    let allowed = affinity::get_thread_affinity()
        .map_err(|error| anyhow!("cannot learn which CPUs this process may use: {error}"))?;
    let (cpus, others) = memory::cpus(config.dataplane.lcores.as_deref(), &allowed)?;
    let config::Dataplane { hugepages, memory_mib, .. } = config.dataplane;
    let source = memory::choose(hugepages, memory_mib, dpdk::free_hugepages_mib(), &config.ports)?;
    tracing::info!(version = dpdk::version(), ?source, ?cpus, "starting DPDK");
    let eal = Eal::init(&memory::eal_args(config, source, &cpus, &others, socket))?;
    Ok((cpus, eal))
}

/// The ports, and by worker its part of each.
fn open_ports(eal: &Eal, pool: &Mempool, config: &Config) -> Result<(Vec<OpenPort>, Vec<Attachment>)> {
    let mut opener = Opener::new(eal, pool, Polling::of(&config.dataplane));
    let mut ports = Vec::new();
    for port in &config.ports {
        let open = opener.open(port).with_context(|| format!("cannot open port {}", port.name))?;
        for OpenInterface { name, mac, mtu, .. } in &open.interfaces {
            tracing::info!(interface = name, device = %port.device, mac = colons(*mac), mtu, "interface open");
        }
        ports.push(open);
    }
    Ok((ports, opener.attachments()))
}

/// Every interface, by number.
fn interfaces(ports: &[OpenPort]) -> impl Iterator<Item = &OpenInterface> {
    ports.iter().flat_map(|port| &port.interfaces)
}

/// Sets the host interfaces up, and the MTU of the kernel's devices that ports are made of.
fn bring_up(kernel: &mut Requester, config: &Config, ports: &[OpenPort]) -> Result<()> {
    let links = kernel.dump(Table::Links).context("cannot list the kernel's links")?;
    let find = |name: &str| link_of(&links, name);
    for port in &config.ports {
        if let Some(link) = port.kernel_link().and_then(find).filter(|link| link.mtu != u32::from(port.mtu)) {
            kernel
                .set_mtu(link.index, port.mtu)
                .with_context(|| format!("cannot give {} an MTU of {} bytes", link.name, port.mtu))?;
        }
    }
    for interface in interfaces(ports).filter(|interface| interface.host.is_some()) {
        let index = find(&interface.name)
            .ok_or_else(|| anyhow!("the host interface {} did not appear", interface.name))?
            .index;
        guard::settle(Part::HostInterface, &interface.name);
        kernel
            .set_up(index, interface.mtu)
            .with_context(|| format!("cannot set the host interface {} up", interface.name))?;
    }
    Ok(())
}

/// What the kernel says of a link.
fn link_of<'a>(links: &'a [Event], name: &str) -> Option<&'a Link> {
    links.iter().find_map(|event| match event {
        Event::Link(link) if link.name == name => Some(link),
        _ => None,
    })
}

fn specs(config: &Config, ports: &[OpenPort]) -> Vec<InterfaceSpec> {
    let first = |port: usize| InterfaceId(interfaces(&ports[..port]).count() as u16);
    let place = |port: usize| match (config.bridge_of(port), config.ports[port].mode) {
        (Some((bridge, peer)), _) => Place::Bridged(BridgeSpec {
            name: bridge.name.clone(),
            bridge: Bridge { peer: first(peer), non_ip: bridge.non_ip },
        }),
        (None, Mode::Span) => Place::Span,
        (None, Mode::Routed | Mode::Bridge) => Place::Routed,
    };
    let spec = |port: usize, interface: &OpenInterface| InterfaceSpec {
        name: interface.name.clone(),
        mac: interface.mac,
        mtu: interface.mtu,
        place: place(port),
    };
    let each = |(number, port): (usize, &OpenPort)| {
        port.interfaces.iter().map(|interface| spec(number, interface)).collect::<Vec<_>>()
    };
    ports.iter().enumerate().flat_map(each).collect()
}

/// How many states there may be: a forwarded connection counts as two (design: units are faces).
struct States {
    in_all: u32,
    of_one: u32,
}

impl States {
    fn of(config: &Config) -> Self {
        let in_all = config.dataplane.max_connections.saturating_mul(2);
        Self { in_all, of_one: memory::states_of_one(in_all, config.dataplane.workers()) }
    }
}

/// What the shards of all workers share.
struct Shards<'a> {
    states: &'a States,
    credits: &'a StatePool,
}

/// What each worker is made of.
fn parts(
    config: &Config,
    shards: &Shards<'_>,
    (eal, clock): (&Eal, TscClock),
    pool: &Mempool,
    attachments: Vec<Attachment>,
    mails: Vec<Mail>,
    counters: &Counters,
) -> Result<Vec<Parts>> {
    let no_randomness = "no randomness from the operating system";
    let workers = config.dataplane.workers();
    // All find the same home for a flow.
    let key = random::secret().context(no_randomness)?;
    let mut rings =
        handoff::mesh(eal, "handoff", workers).context("cannot make the rings between workers")?;
    if config.dataplane.idle == Idle::Interrupt {
        handoff::hang_bells(&mut rings).context("cannot make what wakes workers")?;
    }
    let mut parts = Vec::new();
    for (worker, ((attachment, mail), handoff)) in (0..).zip(attachments.into_iter().zip(mails).zip(rings)) {
        let shard = ShardConfig {
            worker: WorkerId(worker),
            workers,
            max_states: shards.states.of_one,
            interfaces: attachment.interfaces.len(),
            key,
        };
        parts.push(Parts {
            attachment,
            shard: Shard::sharing(shard, shards.credits.clone()),
            pool: pool.clone(),
            clock,
            random: Random::new().context(no_randomness)?,
            handoff,
            mail,
            telemetry: counters.writer(usize::from(worker))?,
            idle: config.dataplane.idle,
        });
    }
    Ok(parts)
}

/// Starts the workers; if one cannot be started, none runs.
fn launch(eal: &Eal, parts: Vec<Parts>, stop: &Arc<AtomicBool>) -> Result<Vec<LcoreTask<Sheet>>> {
    let mut lcores = eal.take_lcores().into_iter();
    let filter = privileges::worker_filter()?;
    let mut launched = Vec::new();
    for parts in parts {
        let (flag, filter) = (stop.clone(), filter.clone());
        // Here, where drivers may complain aloud.
        let worker = Worker::new(parts);
        let task = lcores.next().ok_or_else(|| anyhow!("EAL has too few worker lcores")).and_then(|lcore| {
            Ok(lcore.launch(move || {
                privileges::confine_worker(&filter)
                    .expect("what is refused to the process was refused already");
                worker.run(&flag)
            })?)
        });
        // Dropping the others' tasks waits for their end.
        launched.push(task.inspect_err(|_| stop.store(true, Ordering::Relaxed))?);
    }
    Ok(launched)
}
