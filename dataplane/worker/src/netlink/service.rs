//! The thread that keeps the forwarding base as the kernel's tables are.
//!
//! Overview: a second thread only waits on the [`Monitor`] and passes on what it is told; this one applies it, asks the
//! kernel what workers want resolved and who listens on the host, and offers a new snapshot when something changed.
//! Bounds: 1024 events wait; when more come the kernel's buffer fills, then overflows, and everything is dumped
//! again. Making snapshots takes at most about half of the thread's time, however large they are.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded, never, select};
use engine::fib::{Fib, InterfaceId, Listener};

use super::event::{Event, KernelNeighbor};
use super::listeners::Listeners;
use super::model::{Effect, InterfaceSpec, Model};
use super::socket::{Monitor, Requester, Table, Told};
use crate::snapshot::Publisher;

/// Events between the two threads.
const TOLD_MAX: usize = 1024;

/// Questions of the workers that wait.
pub const ASKS_MAX: usize = 256;

/// The same neighbour is not asked for again within this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Neighbours whose last question is remembered; beyond it, old ones are forgotten.
const ASKED_MAX: usize = 4096;

/// Events that come this close together make one snapshot.
const SETTLE: Duration = Duration::from_millis(2);

/// Neighbours that were not confirmed for a while are looked for this often.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// What is known is compared with what the kernel knows this often, in case it told something that was not understood.
const AUDIT_EVERY: Duration = Duration::from_secs(60);

/// The host's listeners are asked for this often.
const LISTENERS_EVERY: Duration = Duration::from_secs(1);

/// An audit takes at most this part of the time.
const AUDIT_SHARE: u32 = 100;

/// What differs once may be a change that is on its way: it is looked at again after so long.
const AUDIT_AGAIN: Duration = Duration::from_secs(2);

/// A neighbour whose Ethernet address a worker wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The interface that it is on.
    pub interface: InterfaceId,
    /// Its address.
    pub address: IpAddr,
}

/// What others may see of the service.
#[derive(Debug)]
pub struct Published {
    latest: Mutex<Arc<Fib>>,
    overruns: AtomicU64,
    /// Gateways that rules name.
    watched: Mutex<Vec<Ask>>,
}

impl Published {
    /// What is seen before anything changes.
    pub fn new(fib: Arc<Fib>) -> Self {
        Self { latest: Mutex::new(fib), overruns: AtomicU64::new(0), watched: Mutex::default() }
    }

    /// The newest forwarding base; workers have it very soon.
    pub fn fib(&self) -> Arc<Fib> {
        self.latest.lock().expect("no holder of this lock panics").clone()
    }

    /// Has these gateways looked after, so that rules with several are told which of them do not answer.
    pub fn watch(&self, gateways: impl IntoIterator<Item = (InterfaceId, IpAddr)>) {
        let asks = gateways.into_iter().map(|(interface, address)| Ask { interface, address });
        *self.watched.lock().expect("no holder of this lock panics") = asks.collect();
    }

    fn watched(&self) -> Vec<Ask> {
        self.watched.lock().expect("no holder of this lock panics").clone()
    }

    /// How often the kernel had to drop messages.
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }
}

/// The service, told of changes from now on and with everything learnt once.
pub struct Service {
    model: Model,
    requester: Requester,
    told: Receiver<Told>,
    published: Arc<Published>,
    asked: HashMap<(u32, IpAddr), Instant>,
    /// `None` where the kernel cannot be asked.
    listeners: Option<Listeners>,
    /// Who listened last.
    listening: Vec<Listener>,
    epoch: u32,
}

/// The running service.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<()>,
    stop: Sender<()>,
}

impl Running {
    /// Ends the service and waits for its end.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the netlink thread panicked");
        }
    }
}

impl Service {
    /// Subscribes, then learns everything. Returns the first forwarding base with the service.
    ///
    /// # Errors
    /// Those of netlink, and of making a thread.
    pub fn learn(interfaces: Vec<InterfaceSpec>) -> io::Result<(Self, Arc<Fib>)> {
        let monitor = Monitor::subscribe()?;
        let (tell, told) = bounded(TOLD_MAX);
        // It waits in the kernel for ever, and ends with the process.
        std::thread::Builder::new().name("netlink-monitor".into()).spawn(move || listen(monitor, &tell))?;
        let mut model = Model::new(interfaces);
        let mut requester = Requester::open()?;
        learn_all(&mut model, &mut requester)?;
        let epoch = 1;
        let fib = Arc::new(model.fib(epoch));
        let published = Arc::new(Published::new(fib.clone()));
        let listeners = Listeners::open().inspect_err(not_asked).ok();
        let (asked, listening) = (HashMap::new(), Vec::new());
        let service = Self { model, requester, told, published, asked, listeners, listening, epoch };
        Ok((service, fib))
    }

    /// What others may see of it.
    pub fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// Runs it on a thread of its own.
    ///
    /// # Errors
    /// Those of making a thread.
    pub fn run(self, fibs: Publisher<Arc<Fib>>, asks: Receiver<Ask>) -> io::Result<Running> {
        let (stop, stopped) = bounded(0);
        let thread = std::thread::Builder::new().name("netlink".into()).spawn(move || {
            Loop { service: self, fibs, asks, stopped, change: Change::None, suspicious: false }.run()
        })?;
        Ok(Running { thread, stop })
    }

    fn resynchronise(&mut self) {
        if let Err(error) = learn_all(&mut self.model, &mut self.requester) {
            tracing::error!(%error, "cannot dump the kernel's tables; forwarding goes on with what was known");
        }
    }

    fn relearn_routes(&mut self) {
        match self.requester.dump(Table::Routes) {
            Ok(events) => {
                self.model.forget_routes();
                apply_all(&mut self.model, events);
            }
            Err(error) => tracing::error!(%error, "cannot dump the kernel's routes; the old ones hold"),
        }
    }

    /// True if the kernel's tables are not what is known of them.
    fn is_astray(&mut self) -> bool {
        let mut fresh = self.model.unlearnt();
        match learn_all(&mut fresh, &mut self.requester) {
            Ok(()) => self.model.differs(&fresh),
            Err(error) => {
                tracing::warn!(%error, "cannot compare with the kernel's tables");
                false
            }
        }
    }

    /// Asks who listens on the host; true if it is not who did before.
    fn relearn_listeners(&mut self) -> bool {
        let Some(asked) = &mut self.listeners else { return false };
        match asked.ask() {
            Ok(listening) if listening == self.listening => false,
            Ok(listening) => {
                self.listening = listening;
                true
            }
            Err(error) => {
                not_asked(&error);
                self.listeners = None;
                false
            }
        }
    }

    /// A snapshot of everything, or of what was known with others who listen: by that, nothing is forwarded elsewhere.
    fn snapshot(&mut self, change: Change) -> Arc<Fib> {
        let fib = match change {
            Change::Listeners => Fib::clone(&self.published.fib()),
            _ => {
                self.model.find_alternatives();
                self.epoch = self.epoch.wrapping_add(1);
                self.model.fib(self.epoch)
            }
        };
        let fib = Arc::new(fib.with_listeners(self.listening.iter().copied()));
        *self.published.latest.lock().expect("no holder of this lock panics") = fib.clone();
        fib
    }

    /// Asks the kernel for a neighbour, unless that was done a moment ago.
    fn resolve(&mut self, link: u32, address: IpAddr, now: Instant) {
        if self.asked.get(&(link, address)).is_some_and(|last| now - *last < ASK_AGAIN) {
            return;
        }
        if self.asked.len() >= ASKED_MAX {
            self.asked.retain(|_, last| now - *last < ASK_AGAIN);
        }
        self.asked.insert((link, address), now);
        if let Err(error) = self.requester.resolve(link, address) {
            tracing::debug!(%address, %error, "the kernel does not resolve this neighbour");
        }
    }

    /// The kernel sees no forwarded packet, so every neighbour looks unused to it and is forgotten in the end. Each that
    /// is not confirmed any more is confirmed again, as the kernel itself does with managed neighbours. Gateways that do not
    /// answer are asked until they do; those that rules name, also before they are used.
    fn refresh_neighbors(&mut self) -> Effect {
        let watched = self.published.watched();
        let place = |ask: Ask| Some((self.model.link_of(ask.interface)?, ask.address));
        let places: Vec<_> = watched.into_iter().filter_map(place).collect();
        let effect = self.model.watch(places);
        let now = Instant::now();
        let doubtful = self.model.silent().chain(self.model.wanted()).chain(self.model.stale());
        let doubtful: Vec<_> = doubtful.take(ASKED_MAX).collect();
        for (link, address) in doubtful {
            self.resolve(link, address, now);
        }
        effect
    }
}

fn listen(mut monitor: Monitor, tell: &Sender<Told>) {
    let mut gone = false;
    while !gone {
        if let Err(error) = monitor.wait(&mut |told| gone |= tell.send(told).is_err()) {
            tracing::error!(%error, "cannot hear of changes in the kernel's tables any more");
            return;
        }
    }
}

fn not_asked(error: &io::Error) {
    tracing::warn!(%error, "cannot ask the kernel who listens on the host; new sources may be given ports of listeners");
}

fn learn_all(model: &mut Model, requester: &mut Requester) -> io::Result<()> {
    let mut tables = Vec::new();
    for table in [Table::Links, Table::Addresses, Table::Routes, Table::Neighbors] {
        tables.push(requester.dump(table)?);
    }
    // Only now, so that a dump that fails leaves what was known.
    model.forget();
    for events in tables {
        apply_all(model, events);
    }
    Ok(())
}

/// Applies what was dumped, which is whole whatever its effects.
fn apply_all(model: &mut Model, events: Vec<Event>) {
    for event in events {
        let _ = model.apply(event);
    }
}

/// What has to be done before the next snapshot, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    None,
    Listeners,
    Applied,
    RoutesDoubtful,
    Overrun,
}

struct Loop {
    service: Service,
    fibs: Publisher<Arc<Fib>>,
    asks: Receiver<Ask>,
    stopped: Receiver<()>,
    change: Change,
    /// The last audit found a difference.
    suspicious: bool,
}

impl Loop {
    fn run(mut self) {
        let mut next_audit = Instant::now() + AUDIT_EVERY;
        let mut next_refresh = Instant::now() + REFRESH_EVERY;
        let mut next_listeners = Instant::now();
        let mut not_before = Instant::now();
        loop {
            let now = Instant::now();
            if now >= next_refresh {
                if self.service.refresh_neighbors() != Effect::Nothing {
                    self.change = self.change.max(Change::Applied);
                }
                next_refresh = now + REFRESH_EVERY;
            }
            if now >= next_listeners {
                if self.service.relearn_listeners() {
                    self.change = self.change.max(Change::Listeners);
                }
                next_listeners = now + LISTENERS_EVERY;
            }
            if self.change == Change::None && now >= next_audit {
                next_audit = self.audit();
            }
            if self.change != Change::None && now >= not_before {
                not_before = self.publish();
            }
            let idle = self.change == Change::None;
            let wake = if idle { next_refresh.min(next_listeners) } else { not_before.max(now + SETTLE) };
            if !self.wait(wake) {
                return;
            }
        }
    }

    /// Takes events and questions until there are no more or it is time; false when the service is to end.
    fn wait(&mut self, wake: Instant) -> bool {
        let told = self.service.told.clone();
        let asks = self.asks.clone();
        select! {
            recv(self.stopped) -> _ => return false,
            recv(told) -> told => match told {
                Ok(told) => self.take(told),
                // The monitor failed and said so.
                Err(_) => self.service.told = never(),
            },
            recv(asks) -> ask => match ask {
                Ok(ask) => self.ask(ask),
                Err(_) => self.asks = never(),
            },
            default(wake.saturating_duration_since(Instant::now())) => return true,
        }
        loop {
            match self.service.told.try_recv() {
                Ok(told) => self.take(told),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn take(&mut self, told: Told) {
        let change = match told {
            Told::Overrun => {
                self.service.published.overruns.fetch_add(1, Ordering::Relaxed);
                tracing::warn!("the kernel told more than could be read; learning everything again");
                Change::Overrun
            }
            Told::Event(event) => {
                // The question is answered: if the neighbour is lost again at once, it may be asked again at once.
                if let Event::Neighbor(KernelNeighbor { link, address, mac: Some(_), .. }) = &event {
                    self.service.asked.remove(&(*link, *address));
                }
                match self.service.model.apply(event) {
                    Effect::Nothing => Change::None,
                    Effect::Changed => Change::Applied,
                    Effect::RoutesDoubtful => Change::RoutesDoubtful,
                }
            }
        };
        self.change = self.change.max(change);
    }

    /// Compares what is known with the kernel's tables, and learns everything again if it differs twice. Returns when to
    /// do so again.
    fn audit(&mut self) -> Instant {
        let begin = Instant::now();
        let astray = self.service.is_astray();
        if astray && self.suspicious {
            tracing::error!("the kernel's tables are not what it told; learning everything again");
            self.change = Change::Overrun;
        }
        let end = Instant::now();
        let again = astray && !self.suspicious;
        self.suspicious = again;
        let pause = if again { AUDIT_AGAIN } else { AUDIT_EVERY };
        end + pause.max((end - begin) * AUDIT_SHARE)
    }

    fn ask(&mut self, ask: Ask) {
        if let Some(link) = self.service.model.link_of(ask.interface) {
            self.service.resolve(link, ask.address, Instant::now());
        }
    }

    /// Completes the model, makes a snapshot and offers it. Returns when the next one may be made.
    fn publish(&mut self) -> Instant {
        let begin = Instant::now();
        if !self.fibs.is_ready() {
            return begin + SETTLE;
        }
        match self.change {
            Change::Overrun => self.service.resynchronise(),
            Change::RoutesDoubtful => self.service.relearn_routes(),
            Change::Applied | Change::Listeners | Change::None => {}
        }
        let change = std::mem::replace(&mut self.change, Change::None);
        let fib = self.service.snapshot(change);
        tracing::debug!(epoch = fib.epoch(), "a new forwarding base");
        self.fibs.offer(fib);
        let end = Instant::now();
        end + (end - begin).max(SETTLE)
    }
}
