//! A worker's counters, where other threads and processes may read them at any time.
//!
//! Overview: the worker keeps plain numbers and copies them into its block of the shared segment now and then, between two
//! polls, so that a copy is consistent: every packet received has its fate in it. Two sequence counters around the values
//! let a reader see whether it read through a copy, and read again.
//! Ownership: one block for each worker and one for the thread that minds them and the devices, each written by its owner
//! alone. Bounds: a copy costs one store per counter.

mod counts;
mod histogram;

use std::path::Path;
use std::sync::atomic::{Ordering, fence};

use api::{BURST_BOUNDS, Conservation, LATENCY_BOUNDS_NS};
use engine::{Counted, Created, Crossings, FragmentCounts, Shard};
use ruleset::{LIMIT_HITS, LimitHit, REASON_COUNT, Reason};
use shm::{Block, Layout, Segment};

use counts::Counts;
pub use counts::{DeviceCounts, InterfaceCounts, ProgressCounts, WorkerCounts};
pub use histogram::Histogram;

/// Attempts of a reader that a writer keeps interrupting.
const READ_ATTEMPTS: usize = 1000;

/// Everything that a worker counts, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Its own numbers.
    pub worker: WorkerCounts,
    /// Packets made, by kind.
    pub created: [u64; Created::ALL.len()],
    /// Packets received at once.
    pub bursts: Histogram<{ BURST_BOUNDS.len() }>,
    /// Nanoseconds from the reception of a burst to its end, of some.
    pub latency: Histogram<{ LATENCY_BOUNDS_NS.len() }>,
    /// How often limits were met.
    pub limits: [u64; LIMIT_HITS],
    /// Each interface's, by number.
    pub interfaces: Vec<InterfaceCounts>,
    /// What each interface's hooks let pass and blocked.
    pub crossings: Vec<Crossings>,
    /// Each interface's drops by reason.
    pub drops: Vec<[u64; REASON_COUNT]>,
}

impl Sheet {
    /// A sheet of zeros.
    pub fn new(interfaces: usize) -> Self {
        Self {
            worker: WorkerCounts::default(),
            created: [0; Created::ALL.len()],
            bursts: Histogram::new(&BURST_BOUNDS),
            latency: Histogram::new(&LATENCY_BOUNDS_NS),
            limits: [0; LIMIT_HITS],
            interfaces: vec![InterfaceCounts::default(); interfaces],
            crossings: vec![Crossings::default(); interfaces],
            drops: vec![[0; REASON_COUNT]; interfaces],
        }
    }

    /// Takes over what the shard counted.
    pub fn take_shard(&mut self, shard: &Shard) {
        let counters = shard.counters();
        self.worker.states = shard.states().into();
        self.worker.half_open = shard.half_open().into();
        self.worker.aliases = shard.aliases().into();
        self.worker.placed = counters.placed;
        self.worker.searches = counters.searches;
        self.worker.inserts = counters.inserts;
        self.worker.removals = counters.removals;
        self.worker.joined = counters.joined;
        self.worker.withheld = counters.withheld;
        self.worker.floods = counters.floods;
        self.worker.cookies_sent = counters.cookies_sent;
        self.worker.cookies_validated = counters.cookies_validated;
        let FragmentCounts { current, searches, inserts, removals } = shard.fragment_counts();
        self.worker.fragments = shard.fragments().into();
        self.worker.fragmented = current.into();
        self.worker.fragment_searches = searches;
        self.worker.fragment_inserts = inserts;
        self.worker.fragment_removals = removals;
        self.created = Created::ALL.map(|kind| counters.created(kind));
        self.limits = *counters.limits();
        self.worker.handoff_out = counters.handed_off;
        self.drops.copy_from_slice(counters.drops());
        self.crossings.copy_from_slice(counters.crossings());
        for (own, partial) in self.interfaces.iter_mut().zip(counters.partial_checksums()) {
            own.partial_checksums = *partial;
        }
    }

    /// What became of every packet.
    pub fn conservation(&self) -> Conservation {
        let sum = |of: fn(&InterfaceCounts) -> u64| self.interfaces.iter().map(of).sum();
        Conservation {
            rx: sum(|counts| counts.rx_packets),
            host_in: sum(|counts| counts.host_in_packets),
            created: self.created.iter().sum(),
            handoff_in: self.worker.handoff_in,
            tx: sum(|counts| counts.tx_packets),
            punted: sum(|counts| counts.punted_packets),
            held: self.worker.held,
            joined: self.worker.joined,
            drops: self.drops.iter().flatten().sum(),
            handoff_out: self.worker.handoff_out,
        }
    }

    /// What all workers counted together; nothing without workers.
    pub fn sum(sheets: &[Self]) -> Self {
        let mut sum = Self::new(sheets.first().map_or(0, |first| first.interfaces.len()));
        sheets.iter().for_each(|sheet| sum.add(sheet));
        sum
    }

    fn add(&mut self, other: &Self) {
        self.worker.add(&other.worker);
        self.created.iter_mut().zip(other.created).for_each(|(own, other)| *own += other);
        self.bursts.add(&other.bursts);
        self.latency.add(&other.latency);
        self.limits.iter_mut().zip(other.limits).for_each(|(own, other)| *own += other);
        for (own, other) in self.interfaces.iter_mut().zip(&other.interfaces) {
            own.add(other);
        }
        self.crossings.iter_mut().zip(&other.crossings).for_each(|(own, other)| *own += *other);
        for (own, other) in self.drops.iter_mut().flatten().zip(other.drops.iter().flatten()) {
            *own += other;
        }
    }

    fn names(interfaces: &[String]) -> Vec<String> {
        let blank = Self::new(0);
        let own = WorkerCounts::NAMES.iter().map(|name| (*name).to_owned());
        let created = Created::ALL.iter().map(|kind| format!("created.{}", kind.name()));
        let carried = interfaces.iter().flat_map(|interface| InterfaceCounts::names_of(interface));
        let crossed = interfaces.iter().flat_map(|interface| {
            Crossings::NAMES
                .iter()
                .flat_map(move |hook| ["packets", "bytes"].map(|unit| format!("{interface}.{hook}.{unit}")))
        });
        let dropped = interfaces.iter().flat_map(|interface| {
            Reason::ALL.iter().map(move |reason| format!("{interface}.drops.{}", reason.name()))
        });
        own.chain(created)
            .chain(blank.bursts.names_of("bursts"))
            .chain(blank.latency.names_of("latency_ns"))
            .chain(LimitHit::ALL.iter().map(|limit| format!("limits.{}", limit.metric())))
            .chain(carried)
            .chain(crossed)
            .chain(dropped)
            .collect()
    }

    fn from_values(values: &[u64], interfaces: usize) -> Option<Self> {
        let mut values = values.iter().copied();
        let worker = WorkerCounts::take(&mut values)?;
        let created = array_of(&mut values)?;
        let bursts = Histogram::take(&BURST_BOUNDS, &mut values)?;
        let latency = Histogram::take(&LATENCY_BOUNDS_NS, &mut values)?;
        let limits = array_of(&mut values)?;
        let carried = (0..interfaces).map(|_| InterfaceCounts::take(&mut values)).collect::<Option<_>>()?;
        let crossings = (0..interfaces).map(|_| crossings(&mut values)).collect::<Option<_>>()?;
        let drops = (0..interfaces).map(|_| array_of(&mut values)).collect::<Option<_>>()?;
        Some(Self { worker, created, bursts, latency, limits, interfaces: carried, crossings, drops })
    }
}

impl Values for Sheet {
    fn values(&self) -> impl Iterator<Item = u64> {
        let own = self.worker.values().chain(self.created).chain(self.bursts.values());
        let carried = self.interfaces.iter().flat_map(InterfaceCounts::values);
        let crossed = self.crossings.iter().flat_map(Crossings::cells);
        let crossed = crossed.flat_map(|Counted { packets, bytes }| [*packets, *bytes]);
        own.chain(self.latency.values())
            .chain(self.limits)
            .chain(carried)
            .chain(crossed)
            .chain(self.drops.iter().flatten().copied())
    }
}

/// What the thread that minds workers and devices counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minutes {
    /// Each interface's device's, by number.
    pub devices: Vec<DeviceCounts>,
    /// How each worker progresses.
    pub workers: Vec<ProgressCounts>,
}

impl Minutes {
    /// Minutes of nothing yet.
    pub fn new(interfaces: usize, workers: usize) -> Self {
        Self {
            devices: vec![DeviceCounts::default(); interfaces],
            workers: vec![ProgressCounts::default(); workers],
        }
    }

    fn names(interfaces: &[String], workers: usize) -> Vec<String> {
        let devices = interfaces.iter().flat_map(|interface| DeviceCounts::names_of(interface));
        let owners = (0..workers).map(block_name);
        devices.chain(owners.flat_map(|owner| ProgressCounts::names_of(&owner).collect::<Vec<_>>())).collect()
    }

    fn from_values(values: &[u64], interfaces: usize) -> Option<Self> {
        let mut values = values.iter().copied();
        let devices = (0..interfaces).map(|_| DeviceCounts::take(&mut values)).collect::<Option<_>>()?;
        let workers = std::iter::from_fn(|| ProgressCounts::take(&mut values)).collect();
        Some(Self { devices, workers })
    }
}

impl Values for Minutes {
    fn values(&self) -> impl Iterator<Item = u64> {
        let devices = self.devices.iter().flat_map(DeviceCounts::values);
        devices.chain(self.workers.iter().flat_map(ProgressCounts::values))
    }
}

/// What is copied into a block.
pub trait Values {
    /// The values, in the block's order.
    fn values(&self) -> impl Iterator<Item = u64>;
}

fn array_of<const COUNT: usize>(values: &mut impl Iterator<Item = u64>) -> Option<[u64; COUNT]> {
    let mut array = [0; COUNT];
    for place in &mut array {
        *place = values.next()?;
    }
    Some(array)
}

fn crossings(values: &mut impl Iterator<Item = u64>) -> Option<Crossings> {
    let mut cells = [Counted::default(); Crossings::CELLS];
    for cell in &mut cells {
        *cell = Counted { packets: values.next()?, bytes: values.next()? };
    }
    Some(Crossings::of(cells))
}

/// In front of the values and behind them: a copy has begun, and it has ended.
const BEGUN: &str = "copies_begun";
const ENDED: &str = "copies_ended";

fn block_name(worker: usize) -> String {
    format!("worker{worker}")
}

/// The block of [`Minutes`].
const MINUTES: &str = "minutes";

/// Makes the segment, with a block for each worker and one for the [`Minutes`].
///
/// # Errors
/// Those of the segment; a second process at the same path is one.
pub fn create(path: &Path, workers: usize, interfaces: &[String]) -> shm::Result<Segment> {
    let copied = |names: Vec<String>| [BEGUN.to_owned()].into_iter().chain(names).chain([ENDED.to_owned()]);
    let mut layout = Layout::new();
    for worker in 0..workers {
        layout = layout.block(&block_name(worker), copied(Sheet::names(interfaces)))?;
    }
    Segment::create(path, layout.block(MINUTES, copied(Minutes::names(interfaces, workers)))?)
}

/// The end of the one who counts.
#[derive(Debug)]
pub struct Writer {
    block: Block,
}

impl Writer {
    /// Takes the worker's block.
    ///
    /// # Errors
    /// If it was taken before.
    pub fn new(segment: &Segment, worker: usize) -> shm::Result<Self> {
        Ok(Self { block: segment.take(&block_name(worker))? })
    }

    /// Takes the block of the [`Minutes`].
    ///
    /// # Errors
    /// If it was taken before.
    pub fn of_minutes(segment: &Segment) -> shm::Result<Self> {
        Ok(Self { block: segment.take(MINUTES)? })
    }

    /// Copies the counters of the block's owner.
    pub fn copy(&mut self, sheet: &impl Values) {
        let [begun, values @ .., ended] = &self.block[..] else { return };
        let copy = begun.get().wrapping_add(1);
        begun.set(copy);
        fence(Ordering::Release);
        for (counter, value) in values.iter().zip(sheet.values()) {
            counter.set(value);
        }
        fence(Ordering::Release);
        ended.set(copy);
    }
}

/// The end of whoever wants to know.
#[derive(Debug)]
pub struct Reader {
    reader: shm::Reader,
    interfaces: usize,
}

impl Reader {
    /// Opens the segment.
    ///
    /// # Errors
    /// Those of the segment.
    pub fn open(path: &Path, interfaces: usize) -> shm::Result<Self> {
        Ok(Self { reader: shm::Reader::open(path)?, interfaces })
    }

    /// Every worker's sheet, each consistent; `None` as for [`sheet`](Self::sheet).
    pub fn sheets(&self, workers: usize) -> Option<Vec<Sheet>> {
        (0..workers).map(|worker| self.sheet(worker)).collect()
    }

    /// A consistent copy of a worker's sheet; `None` if there is no such worker, or if its copies never left the time to
    /// read one.
    pub fn sheet(&self, worker: usize) -> Option<Sheet> {
        Sheet::from_values(&self.values(&block_name(worker))?, self.interfaces)
    }

    /// A consistent copy of the minutes; `None` as for [`sheet`](Self::sheet).
    pub fn minutes(&self) -> Option<Minutes> {
        Minutes::from_values(&self.values(MINUTES)?, self.interfaces)
    }

    /// What lies between the two sequence counters, read while nobody wrote.
    fn values(&self, block: &str) -> Option<Vec<u64>> {
        for _ in 0..READ_ATTEMPTS {
            let ended = self.reader.value(block, ENDED)?;
            fence(Ordering::Acquire);
            let mut values = self.reader.block(block)?;
            fence(Ordering::Acquire);
            if self.reader.value(block, BEGUN)? == ended {
                values.pop()?;
                values.drain(..1);
                return Some(values);
            }
            std::thread::yield_now();
        }
        None
    }
}
