//! What happens to a firewall, event by event, and what must hold meanwhile and behind it.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use engine::{Arrival, Created, Fate, InterfaceId, Shard, Source, Tick, WorkerId};
use ruleset::{Invalid, Reason, StateSelector};
use sim::firewall::{Firewall, Remains};
use sim::rng::Rng;
use sim::sketch::{Body, Sketch};
use sim::topology::{self, Routes, mac};
use wire::Af;
use wire::corpus::dissect;

use super::answer::{self, Manner};
use super::frame::{Change, Layout, apply};
use super::rules;

/// States that the firewall has room for.
const STATES: u32 = 64;
/// Frames that are remembered, to be answered and sent again.
const REMEMBERED: usize = 16;
/// The most copies of a packet, and the most fragments of the longest.
const COPIES_MAX: u64 = 8 * 64;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A frame arrives.
    Frame(Arrival, Vec<u8>, Vec<Change>),
    /// One of the last frames that left is answered.
    Answer(u8, Manner, Vec<Change>),
    /// The sender of one of the last frames that arrived goes on.
    Next(u8, Manner, Vec<Change>),
    /// One of the last frames that arrived comes again.
    Again(u8, Vec<Change>),
    /// Time passes, in nanoseconds.
    Wait(u64),
    /// The firewall looks for what has expired, among so many records.
    Sweep(u8),
    /// Other rules are committed.
    Load(Vec<String>),
    Reroute(Routes),
    /// All states are killed.
    Kill,
    /// All source nodes are forgotten.
    Forget,
    /// What waits for neighbours is given up.
    GiveUp,
}

/// A firewall, and all that happens to it.
#[derive(Clone, Debug)]
pub struct Story {
    pub seed: u64,
    pub workers: u16,
    /// So many frames arrive at once.
    pub burst: u8,
    pub rules: Vec<String>,
    pub events: Vec<Event>,
}

/// What a story showed, as numbers that are the same for the same.
pub type Sides = Vec<u64>;

struct Player {
    firewall: Firewall,
    rng: Rng,
    now: Tick,
    burst: usize,
    waiting: Vec<Vec<u8>>,
    waiting_at: Arrival,
    arrived: VecDeque<(Arrival, Vec<u8>)>,
    left: VecDeque<(Arrival, Vec<u8>)>,
    held: Vec<(Arrival, InterfaceId, Vec<u8>)>,
    last: u64,
    sides: Sides,
}

fn remember<T>(list: &mut VecDeque<T>, one: T) {
    if list.len() == REMEMBERED {
        list.pop_front();
    }
    list.push_back(one);
}

fn nth_last<T>(list: &VecDeque<T>, which: u8) -> Option<&T> {
    (!list.is_empty()).then(|| &list[list.len() - 1 - usize::from(which) % list.len()])
}

impl Story {
    /// Lets everything happen, checks what must hold, and returns what was to be seen.
    pub fn play(&self) -> Sides {
        let mut rng = Rng::new(self.seed);
        let fib = topology::fib_with_spans(Routes::Usual, 1);
        let mut firewall = Firewall::new(fib, self.workers, STATES, rng.fork());
        load(&mut firewall, &self.rules).expect("rules that the engine takes");
        let mut player = Player {
            firewall,
            rng,
            now: Tick::from_secs(1000),
            burst: self.burst.max(1).into(),
            waiting: Vec::new(),
            waiting_at: Arrival { interface: InterfaceId(0), source: Source::Wire },
            arrived: VecDeque::new(),
            left: VecDeque::new(),
            held: Vec::new(),
            last: 0,
            sides: Sides::new(),
        };
        for event in &self.events {
            player.happen(event);
        }
        player.flush();
        player.end();
        player.sides
    }
}

fn load(firewall: &mut Firewall, lines: &[String]) -> Result<(), Invalid> {
    firewall.load(&rules::compile(lines).expect("lines that make a ruleset"))
}

impl Player {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Frame(arrival, frame, changes) => self.arrive(*arrival, frame.clone(), changes),
            Event::Answer(which, manner, changes) => {
                self.flush();
                let Some((arrival, frame)) = nth_last(&self.left, *which) else { return };
                let (arrival, answer) = (*arrival, answer::back(frame, *manner));
                if let Some(answer) = answer {
                    self.arrive(arrival, answer, changes);
                }
            }
            Event::Next(which, manner, changes) => {
                let Some((arrival, frame)) = nth_last(&self.arrived, *which) else { return };
                let (arrival, next) = (*arrival, answer::next(frame, *manner));
                if let Some(next) = next {
                    self.arrive(arrival, next, changes);
                }
            }
            Event::Again(which, changes) => {
                let Some((arrival, frame)) = nth_last(&self.arrived, *which).cloned() else { return };
                self.arrive(arrival, frame, changes);
            }
            _ => {
                self.flush();
                self.change(event);
            }
        }
    }

    fn change(&mut self, event: &Event) {
        match event {
            Event::Wait(time) => self.now = self.now + Tick(*time),
            Event::Sweep(most) => {
                self.firewall.sweep(self.now, (*most).into());
                self.firewall.expire_fragments(self.now);
                self.firewall.expire_sources(self.now);
            }
            // Not everything may be asked of a transparent pair; the rules before stay then.
            Event::Load(lines) => {
                let loaded = load(&mut self.firewall, lines).is_ok();
                self.saw(loaded);
            }
            Event::Reroute(routes) => {
                let fib = topology::fib_with_spans(*routes, self.firewall.fib().epoch() + 1);
                self.firewall.set_fib(fib);
            }
            Event::Kill => _ = self.firewall.kill(&StateSelector::default()),
            Event::Forget => _ = self.firewall.forget_sources(self.now),
            Event::GiveUp => {
                for (arrival, leaving, mut frame) in core::mem::take(&mut self.held) {
                    let fate = self.firewall.give_up(self.now, arrival, leaving, &mut frame);
                    self.went(arrival, fate, frame);
                }
            }
            Event::Frame(..) | Event::Answer(..) | Event::Next(..) | Event::Again(..) => {}
        }
        self.check();
    }

    fn arrive(&mut self, arrival: Arrival, frame: Vec<u8>, changes: &[Change]) {
        if arrival != self.waiting_at {
            self.flush();
            self.waiting_at = arrival;
        }
        for mut frame in apply(changes, frame) {
            // Broadcasts stay broadcasts; all else is for the firewall, unless it is the firewall's own.
            let station = if arrival.source == Source::Wire { 1 } else { 2 };
            if frame.first().is_some_and(|octet| octet & 1 == 0)
                && let Some(to) = frame.first_chunk_mut::<6>()
            {
                *to = mac(arrival.interface, station).0;
            }
            remember(&mut self.arrived, (arrival, frame.clone()));
            self.waiting.push(frame);
            if self.waiting.len() == self.burst {
                self.flush();
            }
        }
    }

    /// What has come so far is decided, in one burst.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let (arrival, before) = (self.waiting_at, core::mem::take(&mut self.waiting));
        let mut frames = before.clone();
        let mut fates = vec![Fate::Drop(Reason::NoRules); frames.len()];
        let worker = WorkerId(self.rng.below(self.firewall.shards().len() as u64) as u16);
        self.firewall.burst(self.now, worker, arrival, &mut frames, &mut fates);
        for ((before, frame), fate) in before.into_iter().zip(frames).zip(fates) {
            self.judge(&before, &frame, fate);
            self.went(arrival, fate, frame);
        }
        for (fate, frame) in self.firewall.pieces() {
            self.went(arrival, fate, frame);
        }
        for (to, frame) in self.firewall.copies() {
            self.saw(("copy", to.0));
            assert!(frame.len() >= wire::ethernet::HEADER_LEN, "a copy is a frame: {frame:02x?}");
        }
        self.check();
    }

    /// What was whole and sound leaves so; what is dropped is as it was.
    fn judge(&self, before: &[u8], frame: &[u8], fate: Fate) {
        match fate {
            Fate::Transmit(_) | Fate::Host(_) | Fate::Hold { .. } if dissect(before).is_ok() => {
                let sound = dissect(frame);
                // Of a fragment's few octets an answer quotes all.
                let quoted = Layout::of(before).and_then(|of| before.get(of.network..of.end));
                let is_whole = sound.is_ok() || quoted.is_some_and(|quoted| frame.ends_with(quoted));
                assert!(is_whole, "{fate:?}: {sound:?}\nto {frame:02x?}");
            }
            Fate::Drop(reason) if before.get(12..14) != Some(&[0x81, 0]) => {
                assert_eq!(before, frame, "dropped for {reason}, and changed");
            }
            _ => {}
        }
    }

    fn went(&mut self, arrival: Arrival, fate: Fate, frame: Vec<u8>) {
        let proto = Layout::of(&frame).map(|layout| (layout.proto.0, layout.ipv4, layout.whole));
        let what = match fate {
            Fate::Transmit(_) => 1000,
            Fate::Host(_) => 1001,
            Fate::Hold { .. } => 1002,
            Fate::Kept => 1003,
            Fate::Drop(reason) => reason as u64,
            Fate::HandOff(_) | Fate::Place(_) | Fate::Lend(_) | Fate::Return(_) => {
                unreachable!("hand-offs were followed")
            }
        };
        let last = core::mem::replace(&mut self.last, what);
        self.saw((last, what, proto, arrival.source == Source::Host));
        match fate {
            Fate::Transmit(interface) => {
                remember(&mut self.left, (Arrival { interface, source: Source::Wire }, frame));
            }
            Fate::Host(interface) => {
                remember(&mut self.left, (Arrival { interface, source: Source::Host }, frame));
            }
            Fate::Hold { interface, .. } => self.held.push((arrival, interface, frame)),
            _ => {}
        }
    }

    fn saw(&mut self, what: impl Hash) {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        self.sides.push(hasher.finish());
    }

    fn created(&self, kind: Created) -> u64 {
        self.firewall.shards().iter().map(|shard| shard.counters().created(kind)).sum()
    }

    /// What must hold at any time.
    fn check(&self) {
        self.firewall.check_conservation();
        let ledger = self.firewall.ledger();
        let asked = ledger.received + ledger.from_host + ledger.pieces;
        let answers = self.created(Created::Rst) + self.created(Created::Icmp);
        assert!(answers <= asked, "{answers} answers to {asked} packets");
        let handshakes = self.created(Created::Handshake);
        assert!(handshakes <= 2 * asked, "{handshakes} segments of handshakes for {asked} packets");
        let copies = self.created(Created::Copy);
        assert!(copies <= COPIES_MAX * asked, "{copies} copies of {asked} packets");
        let count = |count: &dyn Fn(&Shard) -> u64| self.firewall.shards().iter().map(count).sum::<u64>();
        let (inserts, removals) =
            (count(&|shard| shard.counters().inserts), count(&|shard| shard.counters().removals));
        let Remains { states, half_open, .. } = self.firewall.remains();
        assert_eq!(inserts - removals, states, "{inserts} inserts, {removals} removals");
        assert!(half_open <= states && states <= STATES.into(), "{half_open} of {states} states");
        assert_eq!(self.firewall.states(self.now).len() as u64, states, "each is shown");
    }

    /// All time-outs pass; nothing is left, and there is room for as much as ever.
    fn end(&mut self) {
        for state in self.firewall.states(self.now) {
            self.saw((state.proto.0, state.source.state as u8, state.destination.state as u8));
        }
        for hits in self.firewall.shards().iter().map(|shard| *shard.counters().limits()).collect::<Vec<_>>()
        {
            self.saw(hits.map(|hits| hits > 0));
        }
        self.happen(&Event::GiveUp);
        self.forget();
        self.fill();
        self.forget();
    }

    fn forget(&mut self) {
        const LONGEST: Tick = Tick::from_secs(20 * 86_400);
        for _ in 0..3 {
            self.now = self.now + LONGEST;
            self.firewall.expire(self.now);
            for _ in 0..64 {
                self.now = self.now + Tick::from_secs(60);
                self.firewall.expire_fragments(self.now);
                self.firewall.expire_sources(self.now);
            }
        }
        assert_eq!(self.firewall.remains(), Remains::default(), "something is left");
        self.check();
    }

    /// Makes as many states as there is room for, each with another tuple for its answers.
    fn fill(&mut self) {
        let fib = topology::fib_with_spans(Routes::Usual, self.firewall.fib().epoch() + 1);
        self.firewall.set_fib(fib);
        let rules = ["match out on em1 inet nat-to 10.1.0.77".into(), "pass".into()];
        load(&mut self.firewall, &rules).expect("rules that the engine takes");
        let arrival = Arrival { interface: InterfaceId(0), source: Source::Wire };
        let [from, to] = [0, 1].map(|network| topology::address(Af::Inet, InterfaceId(network), 2));
        // In an index of a few buckets one tuple in millions finds no place; what another one finds was not lost.
        for port in 1..=STATES as u16 / 2 + 4 {
            let sketch = Sketch::new(from, to, Body::Udp { sport: port, dport: 53, len: 10 });
            let mut frame = sketch.frame(mac(arrival.interface, 2), mac(arrival.interface, 1));
            let _ = self.firewall.receive(self.now, arrival, &mut frame);
        }
        let (made, workers) = (self.firewall.remains().states, self.firewall.shards().len() as u64);
        // A worker that has none left to take may find some in the stocks of others.
        let least = if workers == 1 { u64::from(STATES) } else { u64::from(STATES) * 3 / 4 };
        assert!(made >= least, "room for {made} states of {STATES}, with {workers} workers");
    }
}
