//! A worker's counters, where other threads and processes may read them at any time.
//!
//! Overview: the worker keeps plain numbers and copies them into its block of the shared segment now and then, between two
//! polls, so that a copy is consistent: every packet received has its fate in it. Two sequence counters around the values
//! let a reader see whether it read through a copy, and read again.
//! Ownership: one block for each worker, written by it alone. Bounds: a copy costs one store per counter.

use std::path::Path;
use std::sync::atomic::{Ordering, fence};

use api::Conservation;
use engine::{Counters, Created};
use ruleset::{REASON_COUNT, Reason};
use shm::{Block, Layout, Segment};

/// Attempts of a reader that a writer keeps interrupting.
const READ_ATTEMPTS: usize = 1000;

macro_rules! counters {
    ($(#[$meta:meta])* $type:ident { $( $(#[$doc:meta])* $name:ident )* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $type {
            $( $(#[$doc])* pub $name: u64, )*
        }

        impl $type {
            /// The names, in order.
            const NAMES: &[&str] = &[ $( stringify!($name), )* ];

            fn values(&self) -> impl Iterator<Item = u64> {
                [ $( self.$name, )* ].into_iter()
            }

            fn take(values: &mut impl Iterator<Item = u64>) -> Option<Self> {
                Some(Self { $( $name: values.next()?, )* })
            }

            fn add(&mut self, other: &Self) {
                $( self.$name += other.$name; )*
            }
        }
    };
}

counters! {
    /// What a worker did.
    WorkerCounts {
        /// Polls.
        polls
        /// Nanoseconds in polls that found work.
        busy_ns
        /// Nanoseconds in polls that found none, and asleep.
        idle_ns
        /// States now, as pf counts them.
        states
        /// Lookups of states.
        searches
        /// States made.
        inserts
        /// States removed.
        removals
        /// RSTs made.
        created_rst
        /// ICMP errors made.
        created_icmp
        /// Copies made.
        created_copy
        /// Packets that `log` rules recorded in vain.
        log_lost
        /// Packets waiting for a neighbour now.
        held
        /// Packets from other workers.
        handoff_in
        /// Packets to other workers.
        handoff_out
    }
}

counters! {
    /// What one interface carried.
    InterfaceCounts {
        /// Frames from the wire.
        rx_packets
        /// Their bytes.
        rx_bytes
        /// Frames onto the wire.
        tx_packets
        /// Their bytes.
        tx_bytes
        /// Frames from the host.
        host_in_packets
        /// Their bytes.
        host_in_bytes
        /// Frames to the host.
        punted_packets
        /// Their bytes.
        punted_bytes
    }
}

/// Everything that a worker counts, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sheet {
    /// Its own numbers.
    pub worker: WorkerCounts,
    /// Each interface's, by number.
    pub interfaces: Vec<InterfaceCounts>,
    /// Each interface's drops by reason.
    pub drops: Vec<[u64; REASON_COUNT]>,
}

impl Sheet {
    /// A sheet of zeros.
    pub fn new(interfaces: usize) -> Self {
        Self {
            worker: WorkerCounts::default(),
            interfaces: vec![InterfaceCounts::default(); interfaces],
            drops: vec![[0; REASON_COUNT]; interfaces],
        }
    }

    /// Takes over what the shard counted.
    pub fn take_shard(&mut self, counters: &Counters, states: u32) {
        self.worker.states = states.into();
        self.worker.searches = counters.searches;
        self.worker.inserts = counters.inserts;
        self.worker.removals = counters.removals;
        self.worker.created_rst = counters.created(Created::Rst);
        self.worker.created_icmp = counters.created(Created::Icmp);
        self.worker.created_copy = counters.created(Created::Copy);
        self.worker.handoff_out = counters.handed_off;
        self.drops.copy_from_slice(counters.drops());
    }

    /// What became of every packet.
    pub fn conservation(&self) -> Conservation {
        let sum = |of: fn(&InterfaceCounts) -> u64| self.interfaces.iter().map(of).sum();
        Conservation {
            rx: sum(|counts| counts.rx_packets),
            host_in: sum(|counts| counts.host_in_packets),
            created: self.worker.created_rst + self.worker.created_icmp + self.worker.created_copy,
            handoff_in: self.worker.handoff_in,
            tx: sum(|counts| counts.tx_packets),
            punted: sum(|counts| counts.punted_packets),
            held: self.worker.held,
            drops: self.drops.iter().flatten().sum(),
            handoff_out: self.worker.handoff_out,
        }
    }

    /// What all workers counted together; `None` without workers.
    pub fn sum(sheets: &[Self]) -> Option<Self> {
        let (first, others) = sheets.split_first()?;
        let mut sum = first.clone();
        others.iter().for_each(|other| sum.add(other));
        Some(sum)
    }

    fn add(&mut self, other: &Self) {
        self.worker.add(&other.worker);
        for (own, other) in self.interfaces.iter_mut().zip(&other.interfaces) {
            own.add(other);
        }
        for (own, other) in self.drops.iter_mut().flatten().zip(other.drops.iter().flatten()) {
            *own += other;
        }
    }

    fn names(interfaces: &[String]) -> Vec<String> {
        let own = WorkerCounts::NAMES.iter().map(|name| (*name).to_owned());
        let carried = interfaces.iter().flat_map(|interface| {
            InterfaceCounts::NAMES.iter().map(move |name| format!("{interface}.{name}"))
        });
        let dropped = interfaces.iter().flat_map(|interface| {
            Reason::ALL.iter().map(move |reason| format!("{interface}.drops.{}", reason.name()))
        });
        own.chain(carried).chain(dropped).collect()
    }

    fn values(&self) -> impl Iterator<Item = u64> + '_ {
        let carried = self.interfaces.iter().flat_map(InterfaceCounts::values);
        self.worker.values().chain(carried).chain(self.drops.iter().flatten().copied())
    }

    fn from_values(values: &[u64], interfaces: usize) -> Option<Self> {
        let mut values = values.iter().copied();
        let worker = WorkerCounts::take(&mut values)?;
        let carried = (0..interfaces).map(|_| InterfaceCounts::take(&mut values)).collect::<Option<_>>()?;
        let drops = (0..interfaces).map(|_| drops_of(&mut values)).collect::<Option<_>>()?;
        Some(Self { worker, interfaces: carried, drops })
    }
}

fn drops_of(values: &mut impl Iterator<Item = u64>) -> Option<[u64; REASON_COUNT]> {
    let mut drops = [0; REASON_COUNT];
    for drop in &mut drops {
        *drop = values.next()?;
    }
    Some(drops)
}

/// In front of the values and behind them: a copy has begun, and it has ended.
const BEGUN: &str = "copies_begun";
const ENDED: &str = "copies_ended";

fn block_name(worker: usize) -> String {
    format!("worker{worker}")
}

/// Makes the segment, with a block for each worker.
///
/// # Errors
/// Those of the segment; a second process at the same path is one.
pub fn create(path: &Path, workers: usize, interfaces: &[String]) -> shm::Result<Segment> {
    let mut layout = Layout::new();
    for worker in 0..workers {
        let names = [BEGUN.to_owned()].into_iter().chain(Sheet::names(interfaces)).chain([ENDED.to_owned()]);
        layout = layout.block(&block_name(worker), names)?;
    }
    Segment::create(path, layout)
}

/// A worker's end.
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

    /// Copies the sheet.
    pub fn copy(&mut self, sheet: &Sheet) {
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
        let name = block_name(worker);
        for _ in 0..READ_ATTEMPTS {
            let ended = self.reader.value(&name, ENDED)?;
            fence(Ordering::Acquire);
            let values = self.reader.block(&name)?;
            fence(Ordering::Acquire);
            if self.reader.value(&name, BEGUN)? == ended {
                return Sheet::from_values(values.get(1..)?, self.interfaces);
            }
            std::thread::yield_now();
        }
        None
    }
}
