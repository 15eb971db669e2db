//! The dataplane as a whole: how it starts, what it minds while it runs, and how it ends.
//!
//! Overview: [`Dataplane::start`] goes from what can be refused cheaply to what cannot be undone: claim, kernel rules that
//! keep it from forwarding, DPDK, ports, routes, worker, and the socket last: who can connect finds everything up.
//! [`Dataplane::mind`] waits for the end, and [`Dataplane::stop`] gives everything back and accounts for it.
//! Ownership: the main thread.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use dpdk::{Eal, LcoreTask, Mempool, TscClock};
use engine::{Shard, ShardConfig, Tick, WorkerId};
use shm::Segment;

use crate::claim::{Claim, beside};
use crate::config::Config;
use crate::control::desk::{Desk, Facts, colons};
use crate::control::journal::Journal;
use crate::control::rules::Rules;
use crate::control::server::Server;
use crate::mail::{Mail, mail};
use crate::memory;
use crate::netlink::event::Event;
use crate::netlink::guard::{self, Part};
use crate::netlink::model::InterfaceSpec;
use crate::netlink::service::{self, Service};
use crate::netlink::socket::{Requester, Table};
use crate::ports::{self, OpenPort};
use crate::random::{self, Random};
use crate::stall::{Report, Watch};
use crate::telemetry::{self, Sheet};
use crate::worker::{Parts, Sides, Worker};

/// How often the main thread looks at what it minds.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The running dataplane.
pub struct Dataplane {
    server: Server,
    routes: service::Running,
    worker: LcoreTask<Sheet>,
    stop: Arc<AtomicBool>,
    counters: Counters,
    ports: Vec<OpenPort>,
    pool: Mempool,
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
        let claim = Claim::take(socket)?;
        let mut kernel = Requester::open().context("cannot talk to the kernel's routing by netlink")?;
        refuse_taken_names(&mut kernel, config)?;
        seal(&mut kernel, config)?;

        let (cpu, eal) = start_eal(config, socket)?;
        let pool = Mempool::new(&eal, &memory::pool(&config.ports))?;
        let (ports, sides) = open_ports(&eal, &pool, config)?;
        bring_up(&mut kernel, &ports)?;

        let (service, fib) =
            Service::learn(ports.iter().map(spec).collect()).context("cannot learn the kernel's routes")?;
        let published = service.published();
        let counters = Counters::create(beside(socket, "counters"), &ports)?;
        let (mail, office) = mail(fib);
        let stop = Arc::new(AtomicBool::new(false));
        let parts = parts(config, &eal, pool.clone(), sides, mail, counters.writer()?)?;
        let clock = parts.clock;
        let worker = launch(&eal, parts, stop.clone())?;
        let routes = service.run(office.fibs, office.asks).context("no thread for netlink")?;

        let max_states = max_states(config);
        let facts = Facts {
            start: begin,
            devices: config.ports.iter().map(|port| port.device.to_string()).collect(),
            cpu,
            max_states,
            pools: vec![pool.clone()],
        };
        let rules = Rules::new(office.roots, max_states);
        let now = move || Tick(clock.now_nanos());
        let journal =
            Journal::start(vec![office.log], published.clone(), now).context("no thread for the log")?;
        let desk = Desk::new(rules, office.lister, counters.reader()?, published, journal, facts);
        let server = Server::start(socket, desk).with_context(|| {
            format!("cannot serve {}; run as root, or give another --socket", socket.display())
        })?;
        let took_ms = begin.elapsed().as_millis() as u64;
        tracing::info!(socket = %socket.display(), cpu, took_ms, "ready; nothing is forwarded until a ruleset is committed");
        Ok(Self { server, routes, worker, stop, counters, ports, pool, _claim: claim })
    }

    /// Minds the worker until `ended` says so.
    ///
    /// # Errors
    /// If the counters cannot be read.
    pub fn mind(&self, mut ended: impl FnMut() -> bool) -> Result<()> {
        let counters = self.counters.reader()?;
        let mut watch = Watch::new(Instant::now());
        while !ended() {
            std::thread::sleep(LOOK_EVERY);
            let Some(sheet) = counters.sheet(0) else { continue };
            match watch.look(sheet.worker.polls, Instant::now()) {
                Some(Report::Stalled) => {
                    tracing::error!(worker = 0, "the worker does not come back: nothing is forwarded")
                }
                Some(Report::Recovered(after)) => {
                    tracing::warn!(worker = 0, ?after, "the worker has come back")
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Stops everything, in the reverse order, and accounts for every packet and buffer.
    pub fn stop(self) -> End {
        self.server.stop();
        self.stop.store(true, Ordering::Relaxed);
        let (_lcore, sheet) = self.worker.join();
        self.routes.stop();
        // Drivers hold buffers until they are closed.
        drop(self.ports);
        let _ = std::fs::remove_file(&self.counters.path);
        let Ok(sheet) = sheet else {
            tracing::error!("the worker panicked");
            return End::Unaccounted;
        };
        account(&sheet, &self.pool)
    }
}

/// The segment of the counters.
struct Counters {
    path: PathBuf,
    segment: Segment,
    interfaces: usize,
}

impl Counters {
    fn create(path: PathBuf, ports: &[OpenPort]) -> Result<Self> {
        let names: Vec<String> = ports.iter().map(|port| port.name.clone()).collect();
        let segment = telemetry::create(&path, 1, &names)?;
        Ok(Self { path, segment, interfaces: names.len() })
    }

    fn writer(&self) -> Result<telemetry::Writer> {
        Ok(telemetry::Writer::new(&self.segment, 0)?)
    }

    fn reader(&self) -> Result<telemetry::Reader> {
        Ok(telemetry::Reader::open(&self.path, self.interfaces)?)
    }
}

/// Says what became of every packet and buffer.
fn account(sheet: &Sheet, pool: &Mempool) -> End {
    let sum = sheet.conservation();
    let leaked = pool.in_use();
    eprintln!(
        "conservation: rx {} + host_in {} + created {} + handoff_in {} = tx {} + punted {} + held {} + drops {} + \
         handoff_out {}: {}; buffers in use: {leaked}",
        sum.rx,
        sum.host_in,
        sum.created,
        sum.handoff_in,
        sum.tx,
        sum.punted,
        sum.held,
        sum.drops,
        sum.handoff_out,
        if sum.holds() { "holds" } else { "VIOLATED" },
    );
    if sum.holds() && leaked == 0 { End::Clean } else { End::Unaccounted }
}

/// A host interface's name must be free: TAP drivers would attach to what is there.
fn refuse_taken_names(kernel: &mut Requester, config: &Config) -> Result<()> {
    let links = kernel.dump(Table::Links).context("cannot list the kernel's links")?;
    let known =
        |name: &str| links.iter().any(|event| matches!(event, Event::Link(link) if link.name == name));
    for port in &config.ports {
        if known(&port.name) {
            bail!(
                "the kernel already has an interface {0}; give the port another name, or remove it (ip link del {0})",
                port.name
            );
        }
        if let Some(netdev) = port.kernel_netdev().filter(|netdev| !known(netdev)) {
            bail!("port {}: the kernel has no interface {netdev}; correct iface= in `device`", port.name);
        }
    }
    Ok(())
}

/// Keeps the kernel from forwarding, before there is anything to forward.
fn seal(kernel: &mut Requester, config: &Config) -> Result<()> {
    let netdevs = config.ports.iter().filter_map(|port| port.kernel_netdev());
    for link in config.ports.iter().map(|port| port.name.as_str()).chain(netdevs.clone()) {
        guard::seal(kernel, link).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => anyhow!("the right CAP_NET_ADMIN is missing; run as root"),
            _ => anyhow!("cannot make the rule that keeps the kernel from forwarding from {link}: {error}"),
        })?;
    }
    netdevs.for_each(|link| guard::settle(Part::PortDevice, link));
    Ok(())
}

fn start_eal(config: &Config, socket: &Path) -> Result<(u16, Eal)> {
    let allowed = affinity::get_thread_affinity()
        .map_err(|error| anyhow!("cannot learn which CPUs this process may use: {error}"))?;
    let (cpu, others) = memory::cpus(config.dataplane.lcores.as_deref(), &allowed)?;
    let source = memory::choose(
        config.dataplane.hugepages,
        config.dataplane.memory_mib,
        memory::free_hugepages_mib(),
    )?;
    // The same at each start, so that leftovers are found and used again, and different for each socket.
    let mut hasher = DefaultHasher::new();
    socket.hash(&mut hasher);
    let prefix = format!("turnpike-{:016x}", hasher.finish());
    tracing::info!(version = dpdk::version(), ?source, cpu, "starting DPDK");
    Ok((cpu, Eal::init(&memory::eal_args(config, source, cpu, &others, &prefix))?))
}

fn open_ports(eal: &Eal, pool: &Mempool, config: &Config) -> Result<(Vec<OpenPort>, Vec<Sides>)> {
    let mut ports = Vec::new();
    let mut sides = Vec::new();
    for (number, port) in config.ports.iter().enumerate() {
        let (open, side) = ports::open(eal, pool, port, number)
            .with_context(|| format!("cannot open port {}", port.name))?;
        tracing::info!(port = port.name, device = %port.device, mac = colons(open.mac), mtu = open.mtu, "port open");
        ports.push(open);
        sides.push(side);
    }
    Ok((ports, sides))
}

/// Sets the host interfaces up.
fn bring_up(kernel: &mut Requester, ports: &[OpenPort]) -> Result<()> {
    let links = kernel.dump(Table::Links).context("cannot list the kernel's links")?;
    for port in ports {
        let index = links.iter().find_map(|event| match event {
            Event::Link(link) if link.name == port.name => Some(link.index),
            _ => None,
        });
        let index = index.ok_or_else(|| anyhow!("the host interface {} did not appear", port.name))?;
        guard::settle(Part::HostInterface, &port.name);
        kernel
            .set_up(index, port.mtu)
            .with_context(|| format!("cannot set the host interface {} up", port.name))?;
    }
    Ok(())
}

fn spec(port: &OpenPort) -> InterfaceSpec {
    InterfaceSpec { name: port.name.clone(), mac: port.mac, mtu: port.mtu }
}

/// The most states: a forwarded connection counts as two (design: units are faces).
fn max_states(config: &Config) -> u32 {
    config.dataplane.max_connections.saturating_mul(2)
}

fn parts(
    config: &Config,
    eal: &Eal,
    pool: Mempool,
    interfaces: Vec<Sides>,
    mail: Mail,
    telemetry: telemetry::Writer,
) -> Result<Parts> {
    let no_randomness = "no randomness from the operating system";
    let max_states = max_states(config);
    let shard = Shard::new(ShardConfig {
        worker: WorkerId(0),
        workers: 1,
        max_states,
        interfaces: interfaces.len(),
        key: random::secret().context(no_randomness)?,
    });
    Ok(Parts {
        interfaces,
        shard,
        max_states,
        pool,
        clock: TscClock::new(eal),
        random: Random::new().context(no_randomness)?,
        mail,
        telemetry,
        idle: config.dataplane.idle,
    })
}

fn launch(eal: &Eal, parts: Parts, stop: Arc<AtomicBool>) -> Result<LcoreTask<Sheet>> {
    let lcore = eal.take_lcores().into_iter().next().ok_or_else(|| anyhow!("EAL has no worker lcore"))?;
    Ok(lcore.launch(move || Worker::new(parts).run(&stop))?)
}
