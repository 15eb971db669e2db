//! Once warm, a shard allocates nothing: neither for packets that pass, nor for new states, nor for refusals and their
//! answers, nor for expiry.

use allocation_counter::measure;
use engine::{Arrival, Fate, Frame, NoRoom, Root, Shard, ShardConfig, Tick, View, WorkerId};
use ruleset::{Limit, Reason, Rule, Ruleset, StateMode, Syncookies};
use sim::replay::seeds;
use sim::rng::Rng;
use sim::sketch::{Body, Segment, Sketch};
use sim::topology::{self, mac};
use sim::traffic::rules::Variety;
use sim::traffic::{Generator, Step};
use wire::{Af, TcpFlags};

/// Room in front of and behind a frame, as a packet buffer has it.
const HEADROOM: usize = 128;
const SIZE: usize = 2048;

/// A frame in a buffer of its own, like an mbuf.
struct Buffer {
    octets: Box<[u8; SIZE]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn of(frame: &[u8]) -> Self {
        let mut octets = Box::new([0; SIZE]);
        let end = HEADROOM + frame.len();
        octets[HEADROOM..end].copy_from_slice(frame);
        Self { octets, start: HEADROOM, end }
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.octets[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.octets[self.start..self.end]
    }

    fn prepend(&mut self, count: usize) -> Result<(), NoRoom> {
        self.start = self.start.checked_sub(count).ok_or(NoRoom)?;
        Ok(())
    }

    fn trim_front(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    fn truncate(&mut self, length: usize) {
        self.end = self.end.min(self.start + length);
    }

    fn append(&mut self, count: usize) -> Result<(), NoRoom> {
        if self.end + count > SIZE {
            return Err(NoRoom);
        }
        self.end += count;
        Ok(())
    }
}

/// Something for a shard to do.
enum Task {
    Packet(Arrival, Buffer),
    Wait(u64),
    Sweep,
}

fn tasks(generator: &mut Generator, count: usize) -> Vec<Task> {
    let mut tasks = Vec::with_capacity(count);
    while tasks.len() < count {
        tasks.push(match generator.draw() {
            Step::Packet { arrival, sketch } => {
                generator.delivered();
                let frame = sketch.frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
                Task::Packet(arrival, Buffer::of(&frame))
            }
            Step::Wait(time) => Task::Wait(time),
            Step::Sweep => Task::Sweep,
            // Reloads are the business of another thread, and begin counters anew.
            Step::Load(_) | Step::Reroute(_) => continue,
        });
    }
    tasks
}

/// Does all tasks; returns how many packets it refused.
fn work(shard: &mut Shard, view: &mut View<'_>, entropy: &mut Rng, tasks: &mut [Task]) -> u64 {
    let before = shard.counters().dropped_in_all();
    for task in tasks {
        match task {
            Task::Packet(arrival, buffer) => {
                let mut fate = [Fate::Drop(Reason::NoRules)];
                shard.process(view, entropy, *arrival, core::slice::from_mut(buffer), &mut fate);
            }
            Task::Wait(time) => view.now = view.now + Tick(*time),
            Task::Sweep => {
                let _ = shard.expire(view, usize::MAX);
            }
        }
    }
    shard.counters().dropped_in_all() - before
}

#[test]
fn a_warm_shard_allocates_nothing() {
    let (mut refused, mut made) = (0, 0);
    for seed in seeds(1, 30) {
        let mut generator = Generator::new(Rng::new(seed), Variety::Full);
        let fib = topology::fib();
        let root = Root::compile(&generator.ruleset(), fib.interfaces(), None).expect("a ruleset");
        let mut shard = Shard::new(ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: 512,
            interfaces: fib.interfaces().len(),
            key: [1, 2],
        });
        let mut view = View { now: Tick::from_secs(1000), root: Some(&root), fib: &fib };
        let mut entropy = Rng::new(seed);
        let mut first = tasks(&mut generator, 20);
        let mut second = tasks(&mut generator, 3000);
        work(&mut shard, &mut view, &mut entropy, &mut first);
        let inserts = shard.counters().inserts;
        let counted = measure(|| refused += work(&mut shard, &mut view, &mut entropy, &mut second));
        assert_eq!(counted.count_total, 0, "seed {seed}: {} octets", counted.bytes_total);
        made += shard.counters().inserts - inserts;
    }
    assert!(refused > 1000 && made > 1000, "{refused} refused, {made} states made");
    assert_eq!(measure(|| drop(vec![1])).count_total, 1, "allocations are counted at all");
}

/// Ten times the table in SYNs of as many senders, into a table that takes them until it is full and into one that asks for
/// cookies: all memory that there is was taken before.
#[test]
fn e02_a_flood_of_ten_times_the_table_takes_no_memory() {
    const TABLE: u32 = 2000;
    for syncookies in [Syncookies::Never, Syncookies::ADAPTIVE, Syncookies::Always] {
        let mut rules =
            Ruleset { rules: vec![Rule { state: StateMode::Keep, ..Rule::default() }], ..Ruleset::default() };
        rules.options.limits.set(Limit::States, TABLE);
        rules.options.syncookies = syncookies;
        let fib = topology::fib();
        let root = Root::compile(&rules, fib.interfaces(), None).expect("a ruleset");
        let mut shard = Shard::new(ShardConfig {
            worker: WorkerId(0),
            workers: 1,
            max_states: TABLE,
            interfaces: fib.interfaces().len(),
            key: [1, 2],
        });
        let mut view = View { now: Tick::from_secs(1000), root: Some(&root), fib: &fib };
        let arrival = Arrival { interface: engine::InterfaceId(0), source: engine::Source::Wire };
        let dst = topology::address(Af::Inet, engine::InterfaceId(1), 2);
        let mut rng = Rng::new(7);
        let mut flood = |count: u32| -> Vec<Task> {
            let syn = |number: u32, rng: &mut Rng| {
                let src = std::net::Ipv4Addr::from_bits(0x6440_0000 | rng.next() as u32 >> 10);
                let segment = Segment {
                    sport: 1024 + number as u16 % 60_000,
                    dport: 80,
                    flags: TcpFlags::SYN,
                    ..Segment::default()
                };
                let frame = Sketch::new(src.into(), dst, Body::Tcp(segment));
                Buffer::of(&frame.frame(mac(arrival.interface, 2), mac(arrival.interface, 1)))
            };
            (0..count).map(|number| Task::Packet(arrival, syn(number, &mut rng))).collect()
        };
        let (mut first, mut second) = (flood(64), flood(10 * TABLE));
        let mut entropy = Rng::new(3);
        work(&mut shard, &mut view, &mut entropy, &mut first);
        let counted = measure(|| {
            work(&mut shard, &mut view, &mut entropy, &mut second);
        });
        assert_eq!(counted.count_total, 0, "{syncookies:?}: {} octets", counted.bytes_total);
        assert!(shard.states() <= TABLE, "{syncookies:?}: {} states", shard.states());
        let counters = shard.counters();
        assert!(
            counters.cookies_sent + counters.dropped(Reason::Memory) > 9 * u64::from(TABLE),
            "{syncookies:?}"
        );
    }
}
