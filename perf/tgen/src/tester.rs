//! The tester: two sides, the lcores that poll them, and trials.
//!
//! Life cycle: [`Tester::resolve`] once, then any number of trials. In a trial both sides send for its duration, and go on
//! receiving for a while, as packets may still be on their way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dpdk::{Lcore, TscClock};

use crate::flow::Role;
use crate::outcome::Outcome;
use crate::pace::SECOND;
use crate::profile::{Kind, Network, Profile};
use crate::side::Side;
use crate::traffic::{Load, Phase, Place, Trial};

/// How long a device under test has to tell its Ethernet address.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between the order to start and the start, in nanoseconds: both lcores must have got it.
const LEAD: u64 = 20_000_000;
/// How much longer than twice the time that it should take connections may take to open, in seconds.
const OPEN_PATIENCE: f64 = 5.0;
/// How long last acknowledgments may take when all connections are open, or closed, in nanoseconds.
const DONE_SETTLE: u64 = SECOND / 10;
/// Polls of a side after the end of sending, at least: more than empty any device's queue.
const SETTLE_POLLS: u64 = 1_000;
/// How often the thread that waits for lcores looks after them, and tells whoever watches.
pub const LOOKS_PER_SECOND: u64 = 50;

/// What the sides have counted so far, for those who watch.
#[derive(Debug, Default)]
pub struct Progress {
    sent: [AtomicU64; 2],
    received: [AtomicU64; 2],
}

impl Progress {
    /// Packets sent, and packets received, by both sides.
    pub fn totals(&self) -> (u64, u64) {
        let sum = |counts: &[AtomicU64; 2]| counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        (sum(&self.sent), sum(&self.received))
    }

    fn publish(&self, side: &mut Side) {
        let at = side.role() as usize;
        let tally = side.load().tally();
        self.sent[at].store(tally.sent, Ordering::Relaxed);
        self.received[at].store(tally.received, Ordering::Relaxed);
    }
}

/// What lcores and the thread that waits for them share.
#[derive(Clone, Debug, Default)]
struct Shared {
    progress: Arc<Progress>,
    /// The clients' side is done.
    done: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

/// Counts an lcore that works; also when it panics it is counted off.
struct Running(Arc<AtomicU64>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// How long before the servers the clients begin, and end, in nanoseconds: a stateful device passes only what a client began,
/// and may look up neighbours first.
const HEAD_START: u64 = 100_000_000;

/// When things happen, in nanoseconds of the clock.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    start: u64,
    /// Sending ends.
    stop: u64,
    /// Receiving ends so long after.
    settle: u64,
    /// Sending ends as soon as the clients' side is done.
    until_done: bool,
}

/// A tester.
#[derive(Debug)]
pub struct Tester {
    sides: Vec<Side>,
    lcores: Vec<Lcore>,
    clock: TscClock,
    settle: Duration,
    trials: u8,
    shared: Shared,
}

impl Tester {
    /// A tester with the sides of clients and servers, in this order, on one lcore or two. A trial receives for `settle`
    /// after its sending. `stop` ends a trial before its time.
    ///
    /// # Panics
    /// Without an lcore.
    pub fn new(
        sides: [Side; 2],
        mut lcores: Vec<Lcore>,
        clock: TscClock,
        settle: Duration,
        stop: Arc<AtomicBool>,
    ) -> Self {
        assert!(!lcores.is_empty(), "somebody must poll");
        lcores.truncate(sides.len());
        let shared = Shared { progress: Arc::default(), done: Arc::default(), stop };
        Self { sides: sides.into(), lcores, clock, settle, trials: 0, shared }
    }

    /// Finds the next hop of each side, and makes the loads of a profile.
    ///
    /// # Errors
    /// A device under test does not answer.
    pub fn resolve(&mut self, profile: &Profile, network: &Network) -> Result<()> {
        let end = self.clock.now_nanos() + PATIENCE.as_nanos() as u64;
        while self.clock.now_nanos() < end && !self.is_interrupted() {
            let now = self.clock.now_nanos();
            for side in &mut self.sides {
                side.look_for_gateway(now);
                side.poll(now, None);
            }
            if self.sides.iter().all(|side| side.gateway().is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        for side in &mut self.sides {
            let role = side.role();
            let Some(peer) = side.gateway() else {
                bail!(
                    "nobody answers for {}, the device under test on the {} side; is its link up and its address \
                     set? (--{}-peer MAC sends without asking)",
                    side.station().gateway(),
                    role_name(role),
                    role_name(role)
                );
            };
            let place = Place { role, own: side.station().mac(), peer };
            side.set_load(Load::new(profile, network, place)?);
        }
        Ok(())
    }

    /// What is counted in a trial that runs.
    pub fn progress(&self) -> Arc<Progress> {
        self.shared.progress.clone()
    }

    /// True if somebody wants an end.
    pub fn is_interrupted(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// What ends a trial before its time when it becomes true.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        self.shared.stop.clone()
    }

    /// Connections that clients have open.
    pub fn connections_open(&mut self) -> u32 {
        self.sides[0].load().open()
    }

    /// Gives up the sides, and the lcores back.
    pub fn into_lcores(self) -> Vec<Lcore> {
        self.lcores
    }

    /// Opens all connections that are to stay open, `rate` a second; nothing where the profile has none.
    ///
    /// # Errors
    /// Not all of them open.
    pub fn open(&mut self, profile: &Profile, rate: f64, watch: &mut dyn FnMut()) -> Result<()> {
        if !matches!(profile.kind, Kind::Established(_)) {
            return Ok(());
        }
        let seconds = 2.0 * f64::from(profile.flows) / rate + OPEN_PATIENCE;
        self.perform(Phase::Open, rate, seconds, watch)?;
        let open = self.connections_open();
        ensure!(
            open == profile.flows || self.is_interrupted(),
            "only {open} of {} connections could be opened at {rate} a second; does the device under test let them              pass, and has it room for them?",
            profile.flows
        );
        Ok(())
    }

    /// Closes what [`open`](Self::open) opened: else the device under test would remember it at the next start.
    ///
    /// # Errors
    /// An lcore cannot be started.
    pub fn close(&mut self, profile: &Profile, rate: f64, watch: &mut dyn FnMut()) -> Result<()> {
        if !matches!(profile.kind, Kind::Established(_)) {
            return Ok(());
        }
        // Whoever interrupts wants an end with order.
        let wanted = self.shared.stop.swap(false, Ordering::Relaxed);
        let seconds = 2.0 * f64::from(profile.flows) / rate + OPEN_PATIENCE;
        self.perform(Phase::Close, rate, seconds, watch)?;
        self.shared.stop.fetch_or(wanted, Ordering::Relaxed);
        Ok(())
    }

    /// Runs a trial: `rate` by the profile's unit, for `seconds`. `watch` is called some times a second.
    ///
    /// # Errors
    /// An lcore cannot be started.
    pub fn trial(&mut self, rate: f64, seconds: f64, watch: &mut dyn FnMut()) -> Result<Outcome> {
        self.perform(Phase::Send, rate, seconds, watch)
    }

    fn perform(&mut self, phase: Phase, rate: f64, seconds: f64, watch: &mut dyn FnMut()) -> Result<Outcome> {
        self.trials = self.trials.wrapping_add(1);
        self.shared.done.store(false, Ordering::Relaxed);
        for side in &mut self.sides {
            side.drain();
            side.load().begin(Trial { phase, number: self.trials, rate });
            self.shared.progress.publish(side);
        }
        let start = self.clock.now_nanos() + LEAD;
        let stop = start + (seconds * SECOND as f64) as u64;
        let until_done = phase != Phase::Send;
        let settle = if until_done { DONE_SETTLE } else { self.settle.as_nanos() as u64 };
        let schedule = Schedule { start, stop, settle, until_done };
        let stopped = self.run(schedule, watch)?;
        let ends = [0, 1].map(|at| {
            self.sides[at].settle(stopped - start);
            self.sides[at].load().tally().clone()
        });
        let interrupted = stopped < stop;
        Ok(Outcome { seconds: (stopped - start) as f64 / SECOND as f64, rate, ends, interrupted })
    }

    /// Lets the lcores poll the sides through a schedule: when sending ended.
    fn run(&mut self, schedule: Schedule, watch: &mut dyn FnMut()) -> Result<u64> {
        let each = self.sides.len() / self.lcores.len();
        let (clock, left) = (self.clock, Arc::new(AtomicU64::new(self.lcores.len() as u64)));
        let mut tasks = Vec::new();
        for lcore in self.lcores.drain(..) {
            let sides: Vec<Side> = self.sides.drain(..each).collect();
            let (shared, running) = (self.shared.clone(), Running(left.clone()));
            let work = move || {
                let _running = running;
                drive(sides, &clock, schedule, &shared)
            };
            tasks.push(lcore.launch(work).context("a trial cannot start")?);
        }
        while left.load(Ordering::Acquire) > 0 {
            std::thread::sleep(Duration::from_secs(1) / LOOKS_PER_SECOND as u32);
            watch();
        }
        let mut stopped = schedule.stop;
        for task in tasks {
            let (lcore, result) = task.join();
            self.lcores.push(lcore);
            let (sides, at) = result.map_err(|_| anyhow::anyhow!("an lcore panicked"))?;
            self.sides.extend(sides);
            stopped = stopped.min(at);
        }
        Ok(stopped.max(schedule.start))
    }
}

/// The name of a role in messages and options.
pub const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
    }
}

/// Polls sides through a schedule. Returns them, and when sending ended.
fn drive(
    mut sides: Vec<Side>,
    clock: &TscClock,
    mut schedule: Schedule,
    shared: &Shared,
) -> (Vec<Side>, u64) {
    let (mut sending, mut polls) = (true, 0);
    loop {
        let now = clock.now_nanos();
        let stop = shared.stop.load(Ordering::Relaxed) || shared.done.load(Ordering::Relaxed);
        if now < schedule.stop && stop {
            schedule.stop = now;
        }
        let mut busy = false;
        // Once more at the end itself, so that all that was planned is sent.
        let plan = |behind: u64| {
            sending.then(|| now.min(schedule.stop + behind).saturating_sub(schedule.start + behind))
        };
        let plans = [plan(0), plan(HEAD_START)];
        sending = now < schedule.stop + HEAD_START;
        for side in &mut sides {
            if side.poll(now, plans[side.role() as usize]) {
                busy = true;
                shared.progress.publish(side);
                if schedule.until_done && side.role() == Role::Client && side.load().is_done() {
                    shared.done.store(true, Ordering::Relaxed);
                }
            }
        }
        // By polls as well as by time: a thread that got no CPU for so long has not looked yet.
        polls += u64::from(!sending);
        if now >= schedule.stop + HEAD_START + schedule.settle && polls >= SETTLE_POLLS {
            return (sides, schedule.stop);
        }
        if !busy {
            // Where the device under test shares the CPU it gets on; a CPU of one's own is given back at once.
            std::thread::yield_now();
        }
    }
}
