//! A worker: one lcore, its shard, and its queues on every port.
//!
//! Overview: [`Worker::poll`] is the whole of it. Life cycle: made with everything it needs, launched on its lcore, ended
//! by a flag. Ownership: everything here belongs to the one thread; snapshots, questions and lists come and go by bounded
//! queues that it never waits for. Bounds: a burst from each side of each port per poll; within it no allocation, no
//! lock, and no system call but those of the drivers.

mod takeover;
mod waiting;
mod ways;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dpdk::{BURST_MAX, Burst, Mbuf, Mempool, RxQueue, TscClock};
use engine::{
    Arrival, BURST, COPIES_MAX, Custody, Errand, Fate, Fib, InterfaceId, Losses, Shard, Source, Tick,
    Unresolved, View,
};
use ruleset::Reason;
use wire::ethernet::TAG_LEN;

use crate::clock::Pace;
use crate::config::Idle;
use crate::copy::Buffers;
use crate::frame::MbufFrame;
use crate::handoff::{Handoff, Note};
use crate::hold::{Hold, Key};
use crate::idle::Work;
use crate::mail::Mail;
use crate::netlink::service::Ask;
use crate::outlet::{Lines, Outlet, Traffic};
use crate::ports::Order;
use crate::random::Random;
use crate::relief::Relief;
use crate::snapshot::Refreshed;
use crate::span::{Exit, Span};
use crate::telemetry::{Sheet, Writer};
use crate::vlan::Trunk;
use crate::wait::Pause;
use waiting::{Held, Role};
use ways::Ways;

const _: () = assert!(BURST_MAX == BURST, "the engine's bursts are those of the ports");

/// Most records looked at for expiry in one poll.
const SWEEP_PER_POLL_MAX: u64 = 512;
/// Every record is looked at for expiry about this often.
const SWEEP_PERIOD: Tick = Tick::from_secs(2);
/// Most pieces of the datagrams of a burst; as many as those of 64 KiB for each frame have at the MTU of Ethernet.
const PIECES_MAX: usize = 46 * BURST;
/// Counters are copied at most this often.
const COPY_EVERY: Tick = Tick::from_millis(1);
/// The time that packets spend here is measured of a burst at most this often.
const MEASURE_EVERY: Tick = Tick::from_millis(1);

/// One side of an interface: what comes from there, and what goes there.
pub struct Side {
    /// What comes; none if other workers receive for this one.
    pub rx: Option<RxQueue>,
    /// How much came.
    pub received: Traffic,
    /// What goes.
    pub outlet: Outlet,
}

impl Side {
    /// Adds what has come to `burst`, and returns how many frames.
    #[inline]
    fn receive(&mut self, burst: &mut Burst) -> usize {
        let Some(rx) = &mut self.rx else { return 0 };
        let count = rx.rx_burst(burst);
        if count > 0 {
            self.received.add(burst);
        }
        count
    }
}

/// An interface of this worker.
pub struct Sides {
    /// The port, or a VLAN of it.
    pub wire: Side,
    /// The host interface, of a routed port.
    pub host: Option<Side>,
    /// The VLANs of the port, if it has some: their frames come by its queue.
    pub trunk: Option<Box<Trunk>>,
    /// What form copies get that leave by it, if it is a span port that has one for them.
    pub span: Option<Box<Span>>,
}

/// A worker's part of all ports.
#[derive(Default)]
pub struct Attachment {
    /// Its interfaces, by number.
    pub interfaces: Vec<Sides>,
    /// Its transmit queues.
    pub lines: Lines,
}

impl Attachment {
    /// Sends a copy by an interface, a span port or another. Returns it if it waits for the next hop of the way to the collector.
    fn send_copy(
        &mut self,
        to: InterfaceId,
        mut mbuf: Mbuf,
        fib: &Fib,
        losses: &mut Losses<'_>,
    ) -> Option<(Key, Held)> {
        let Self { interfaces, lines } = self;
        let exit = match &mut interfaces[usize::from(to.0)].span {
            Some(span) => span.shape(&mut mbuf, fib),
            None => Ok(Exit::Port),
        };
        match exit {
            Ok(Exit::Port) => interfaces[usize::from(to.0)].wire.outlet.push(mbuf, lines, losses),
            Ok(Exit::Carried(by)) => interfaces[usize::from(by.0)].wire.outlet.push(mbuf, lines, losses),
            Ok(Exit::Waits(Unresolved { interface, next_hop })) => {
                let role = Role::Envelope { of: to, by: interface };
                return Some((Key { interface, next_hop }, Held { mbuf, role }));
            }
            Err(reason) => losses.leaving((to, Source::Wire), reason, mbuf.data()),
        }
        None
    }

    /// The queues that it receives from.
    pub fn receivers(&self) -> impl Iterator<Item = &RxQueue> {
        let sides = self.interfaces.iter().flat_map(|sides| [Some(&sides.wire), sides.host.as_ref()]);
        sides.flatten().filter_map(|side| side.rx.as_ref())
    }

    /// The queues that it receives from.
    pub fn receivers_mut(&mut self) -> impl Iterator<Item = &mut RxQueue> {
        let sides = self.interfaces.iter_mut().flat_map(|sides| [Some(&mut sides.wire), sides.host.as_mut()]);
        sides.flatten().filter_map(|side| side.rx.as_mut())
    }
}

impl Sides {
    fn of(&mut self, source: Source) -> Option<&mut Side> {
        match source {
            Source::Wire => Some(&mut self.wire),
            Source::Host => self.host.as_mut(),
        }
    }
}

/// What a worker is made of.
pub struct Parts {
    /// Its part of the ports.
    pub attachment: Attachment,
    /// Its connections.
    pub shard: Shard,
    /// Where packets are copied to that came in pieces.
    pub pool: Mempool,
    /// The clock.
    pub clock: TscClock,
    /// Its randomness.
    pub random: Random,
    /// Its ends of the rings to and from the other workers.
    pub handoff: Handoff,
    /// Its ends of the queues to other threads.
    pub mail: Mail,
    /// Where its counters are copied to.
    pub telemetry: Writer,
    /// What it does when there is nothing to do.
    pub idle: Idle,
}

/// How a burst came to this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// It received it.
    Received,
    /// Another worker received it.
    HandedOver,
}

/// A worker.
pub struct Worker {
    parts: Parts,
    hold: Hold<Held>,
    /// Copies of a burst whose originals wait for neighbours.
    waiting: Vec<(Key, Held)>,
    /// What a burst has left of datagrams.
    pieces: Vec<(Note, Fate, Mbuf)>,
    pause: Pause,
    relief: Relief,
    /// A queue had more than a burst in this poll.
    overfull: bool,
    /// By [`Origin`].
    bursts: [Burst; 2],
    fates: [Fate; BURST],
    sheet: Sheet,
    /// The time of this poll, and of those before that did something now and then.
    now: Tick,
    copied: Tick,
    swept: Tick,
    measured: Tick,
    /// When the burst was received whose time is being measured.
    stopwatch: Option<Tick>,
}

impl Worker {
    /// A worker that has not polled yet.
    pub fn new(parts: Parts) -> Self {
        let sheet = Sheet::new(parts.attachment.interfaces.len());
        let now = Tick(parts.clock.now_nanos());
        let pause = Pause::new(parts.idle, &parts.attachment, parts.handoff.bell());
        let relief = Relief::new(parts.handoff.board(), now);
        let mut worker = Self {
            parts,
            hold: Hold::new(),
            waiting: Vec::with_capacity(COPIES_MAX),
            pieces: Vec::with_capacity(PIECES_MAX),
            pause,
            relief,
            overfull: false,
            bursts: [Burst::new(), Burst::new()],
            fates: [Fate::Drop(Reason::NoRules); BURST],
            sheet,
            now,
            copied: now,
            swept: now,
            measured: now,
            stopwatch: None,
        };
        worker.follow_links();
        worker
    }

    /// Polls until `stop` is set, then gives back everything that it holds. Returns what it counted.
    pub fn run(mut self, stop: &AtomicBool) -> Sheet {
        let mut pace = Pace::default();
        let mut work = Work::None;
        while !stop.load(Ordering::Relaxed) {
            let begin = self.now;
            let found = self.poll(pace.time(self.parts.clock.now_nanos()));
            // From one poll to the next is the time of the first, and of the rest after it.
            let time = (self.now - begin).0;
            match std::mem::replace(&mut work, found) {
                Work::Done => self.sheet.worker.busy_ns += time,
                Work::None => self.sheet.worker.idle_ns += time,
            }
            let Parts { attachment, shard, .. } = &mut self.parts;
            self.pause.after(found, attachment, || sweep_part(shard.records()));
        }
        self.finish()
    }

    /// One poll: take what is new, forward a burst from each side of each interface, send, and give expired states and
    /// waiting packets a bounded slice of time.
    pub fn poll(&mut self, now: Tick) -> Work {
        self.now = now;
        self.overfull = false;
        let listing = self.take_news();
        let mut received = 0;
        for interface in 0..self.parts.attachment.interfaces.len() {
            let interface = InterfaceId(interface as u16);
            for source in [Source::Wire, Source::Host] {
                received += self.forward(Arrival { interface, source });
            }
        }
        self.give_up();
        self.flush();
        self.end_bursts();
        self.sweep();
        self.parts.mail.log.carry(&mut self.parts.shard);
        self.report();
        let work = if received > 0 || listing { Work::Done } else { Work::None };
        if let Some(at) = self.relief.note(now, work, self.overfull) {
            self.parts.shard.relieve(at);
        }
        work
    }

    /// New rules, a new forwarding base, orders about ports, and whoever wants a list of states. No burst is under way. True
    /// if a list is to be continued.
    fn take_news(&mut self) -> bool {
        if self.parts.mail.roots.refresh() == Refreshed::New
            && let Some(root) = self.parts.mail.roots.get()
        {
            self.parts.shard.adopt(root);
        }
        if self.parts.mail.fibs.refresh() == Refreshed::New {
            self.follow_links();
            self.release();
        }
        while let Ok(order) = self.parts.mail.orders.try_recv() {
            self.obey(order);
        }
        let Parts { mail: Mail { scribe, roots, fibs, .. }, shard, .. } = &mut self.parts;
        let view = View { now: self.now, root: roots.get().as_deref(), fib: fibs.get() };
        scribe.write(shard, &view)
    }

    /// Nothing leaves by a link that is down.
    #[cold]
    fn follow_links(&mut self) {
        let fib = self.parts.mail.fibs.get();
        let known = self.parts.attachment.interfaces.iter_mut().zip(fib.interfaces());
        for (sides, interface) in known.filter(|(sides, _)| sides.host.is_some()) {
            sides.wire.outlet.set_open(interface.up);
        }
    }

    /// Gives the queues of a port back, takes new ones, or hears of its link.
    #[cold]
    fn obey(&mut self, order: Order) {
        let Attachment { interfaces, lines } = &mut self.parts.attachment;
        let (interface, rx, tx) = match order {
            Order::Carrier { interface, up } => {
                return interfaces[usize::from(interface.0)].wire.outlet.set_open(up);
            }
            Order::GiveBack(interface) => (interface, None, None),
            Order::Use { interface, rx, tx } => (interface, rx, Some(tx)),
        };
        let wire = &mut interfaces[usize::from(interface.0)].wire;
        let former = std::mem::replace(&mut wire.rx, rx);
        lines.replace(wire.outlet.line(), tx);
        self.pause.exchange(former, usize::from(interface.0), &mut self.parts.attachment);
    }

    /// Receives a burst from one side, and forwards it behind what other workers have handed over.
    fn forward(&mut self, arrival: Arrival) -> usize {
        let sides = &mut self.parts.attachment.interfaces[usize::from(arrival.interface.0)];
        let Some(side) = sides.of(arrival.source) else { return 0 };
        let received = side.receive(&mut self.bursts[Origin::Received as usize]);
        if received > 0 {
            self.begin_burst(received);
        }
        self.overfull |= received == BURST_MAX;
        let taken = self.take_over();
        if received > 0 {
            match arrival.source {
                Source::Wire if self.sides(arrival.interface).trunk.is_some() => self.forward_sorted(arrival),
                _ => self.process(Origin::Received, arrival, Custody::default()),
            }
        }
        received + taken
    }

    fn sides(&mut self, interface: InterfaceId) -> &mut Sides {
        &mut self.parts.attachment.interfaces[usize::from(interface.0)]
    }

    /// Forwards what was received by a port with VLANs: what is its own, then each VLAN's.
    fn forward_sorted(&mut self, arrival: Arrival) {
        self.make_contiguous(Origin::Received, arrival);
        let Some(mut trunk) = self.sides(arrival.interface).trunk.take() else { return };
        trunk.sort(&mut self.bursts[Origin::Received as usize]);
        self.process(Origin::Received, arrival, Custody::default());
        while let Some((interface, burst)) = trunk.take() {
            // The port has counted them with their tags.
            self.sides(arrival.interface).wire.received.remove(&burst, TAG_LEN);
            self.sides(interface).wire.received.add(&burst);
            self.bursts[Origin::Received as usize] = burst;
            self.process(Origin::Received, Arrival { interface, source: Source::Wire }, Custody::default());
        }
        self.sides(arrival.interface).trunk = Some(trunk);
    }

    /// Counts a burst, and now and then begins to measure its time.
    #[inline]
    fn begin_burst(&mut self, received: usize) {
        self.sheet.bursts.observe(received as u64);
        if self.now - self.measured >= MEASURE_EVERY && self.stopwatch.is_none() {
            self.stopwatch = Some(Tick(self.parts.clock.now_nanos()));
        }
    }

    /// Every packet received in this poll is with a driver, or dropped, or waits by design.
    #[inline]
    fn end_bursts(&mut self) {
        if let Some(begin) = self.stopwatch.take() {
            self.measured = self.now;
            self.sheet.latency.observe((Tick(self.parts.clock.now_nanos()) - begin).0);
        }
    }

    /// Has the shard decide a burst that arrived at one place, and scatters it by fate.
    fn process(&mut self, origin: Origin, arrival: Arrival, custody: Custody) {
        self.make_contiguous(origin, arrival);
        let Parts { shard, mail, random, .. } = &mut self.parts;
        let view = view(mail, self.now);
        let frames = MbufFrame::of(&mut self.bursts[origin as usize]);
        let fates = &mut self.fates[..frames.len()];
        match origin {
            Origin::Received => shard.process(&view, random, arrival, frames, fates),
            Origin::HandedOver => shard.take_over(&view, random, arrival, custody, frames, fates),
        }
        let copies = shard.copies();
        if copies > 0 {
            self.mirror(origin, copies);
        }
        self.parts.handoff.tell(&mut self.parts.shard);
        self.scatter(origin, Note { arrival, handoffs: custody.handoffs, errand: Errand::Follow });
        if self.parts.shard.has_pieces() {
            self.send_pieces(custody);
        }
        for (key, held) in self.waiting.drain(..) {
            if let Err(held) = self.hold.keep(key, self.now, held) {
                held.lose(&mut self.parts.shard.losses(self.now));
            }
        }
    }

    /// Sends the copies that the burst has left, so many, while its frames are there. Those for span ports whose originals wait
    /// for a neighbour wait behind them; for hosts whose own next hop is not known, they have the kernel ask for it.
    #[inline(never)]
    fn mirror(&mut self, origin: Origin, copies: usize) {
        let Parts { attachment, shard, pool, random, mail, .. } = &mut self.parts;
        let waiting = &mut self.waiting;
        let mut buffers = Buffers::new(pool, copies);
        let frames = MbufFrame::of(&mut self.bursts[origin as usize]);
        let fib = mail.fibs.get();
        shard.take_copies(self.now, frames, |copies, losses| {
            let (to, of, unresolved) = (copies.to, copies.of, copies.unresolved);
            // What is routed to a host gets the tag of the way there as it leaves.
            let vlan = of.and_then(|of| attachment.interfaces[usize::from(of.0)].wire.outlet.vlan());
            copies.each(|head, rest| {
                let span = attachment.interfaces[usize::from(to.0)].span.as_mut();
                let filled = match span.filter(|span| span.samples()) {
                    None => buffers.fill(head, rest, vlan),
                    Some(span) => {
                        buffers.forgo();
                        if !span.takes(random) {
                            // Left out on purpose: of this nobody needs an example.
                            return losses.counters.drop_packet(to, Reason::Sample);
                        }
                        buffers.fill_alone(head, rest, vlan)
                    }
                };
                let Some(mbuf) = filled else {
                    let frame = if head.is_empty() { rest } else { head };
                    return losses.leaving((to, Source::Wire), Reason::NoBuffer, frame);
                };
                let asked = match unresolved {
                    None => attachment.send_copy(to, mbuf, fib, losses).map(|waits| (waits, true)),
                    Some(Unresolved { interface, next_hop }) => {
                        let held = Held { mbuf, role: Role::Copy(to) };
                        Some(((Key { interface, next_hop }, held), of.is_none()))
                    }
                };
                if let Some(((key, held), asks)) = asked {
                    if asks {
                        // If there is no room for the question, a later copy asks it.
                        let _ = mail.asks.try_send(Ask { interface: key.interface, address: key.next_hop });
                    }
                    waiting.push((key, held));
                }
            });
        });
    }

    #[inline]
    fn make_contiguous(&mut self, origin: Origin, arrival: Arrival) {
        if !self.bursts[origin as usize].iter().all(Mbuf::is_contiguous) {
            self.linearise(origin, arrival);
        }
    }

    /// Makes every packet of the burst contiguous; what has no room for it is dropped.
    #[cold]
    fn linearise(&mut self, origin: Origin, arrival: Arrival) {
        let burst = &mut self.bursts[origin as usize];
        let mut whole = Burst::new();
        for mut mbuf in burst.drain() {
            if mbuf.linearise(&self.parts.pool).is_err() {
                let mut losses = self.parts.shard.losses(self.now);
                losses.arrived(arrival, arrival.interface, Reason::NoBuffer, mbuf.data());
            } else if whole.push(mbuf).is_err() {
                unreachable!("as many as came out of a burst fit in one");
            }
        }
        *burst = whole;
    }

    fn scatter(&mut self, origin: Origin, note: Note) {
        let Parts { attachment, shard, mail, handoff, .. } = &mut self.parts;
        let view = view(mail, self.now);
        let (mut ways, mut handed_off) =
            (Ways { attachment, shard, handoff, hold: &mut self.hold, mail, view }, 0);
        for (mbuf, fate) in self.bursts[origin as usize].drain().zip(&self.fates) {
            handed_off += u64::from(ways.send(mbuf, *fate, note));
        }
        if origin == Origin::Received {
            self.sheet.interfaces[usize::from(note.arrival.interface.0)].handed_off_packets += handed_off;
        }
    }

    fn flush(&mut self) {
        let Parts { attachment: Attachment { interfaces, lines }, shard, handoff, mail, .. } =
            &mut self.parts;
        handoff.flush(shard, &view(mail, self.now));
        let mut losses = shard.losses(self.now);
        for sides in interfaces {
            sides.wire.outlet.flush(lines, &mut losses);
            if let Some(host) = &mut sides.host {
                host.outlet.flush(lines, &mut losses);
            }
        }
    }

    /// Looks for expired states among as many records as the time since the last sweep is worth.
    fn sweep(&mut self) {
        let Parts { shard, mail, .. } = &mut self.parts;
        shard.expire_fragments(&view(mail, self.now));
        shard.expire_sources(&view(mail, self.now));
        let passed = (self.now - self.swept).0.min(SWEEP_PERIOD.0);
        let due = passed * self.parts.shard.records() as u64 / SWEEP_PERIOD.0;
        if due == 0 {
            return;
        }
        self.swept = self.now;
        let Parts { shard, mail, .. } = &mut self.parts;
        shard.expire(&view(mail, self.now), due.min(SWEEP_PER_POLL_MAX) as usize);
    }

    fn report(&mut self) {
        self.sheet.worker.polls += 1;
        if self.now - self.copied >= COPY_EVERY {
            self.copied = self.now;
            self.account();
            self.parts.telemetry.copy(&self.sheet);
            self.parts.mail.edge.tell(&self.parts.shard.ahead());
        }
    }

    /// Brings the sheet up to date.
    fn account(&mut self) {
        let Parts { attachment: Attachment { interfaces, .. }, shard, .. } = &self.parts;
        self.sheet.take_shard(shard);
        self.sheet.worker.log_lost = shard.log_lost();
        self.sheet.worker.events_lost = shard.events_lost();
        self.sheet.worker.held = self.hold.len() as u64 + u64::from(shard.fragments());
        self.sheet.worker.handoff_in = self.parts.handoff.taken();
        for (counts, sides) in self.sheet.interfaces.iter_mut().zip(interfaces) {
            let Sides { wire, host, .. } = sides;
            (counts.rx_packets, counts.rx_bytes) = (wire.received.packets, wire.received.bytes);
            let sent = wire.outlet.sent();
            (counts.tx_packets, counts.tx_bytes) = (sent.packets, sent.bytes);
            let Some(host) = host else { continue };
            (counts.host_in_packets, counts.host_in_bytes) = (host.received.packets, host.received.bytes);
            let punted = host.outlet.sent();
            (counts.punted_packets, counts.punted_bytes) = (punted.packets, punted.bytes);
        }
    }

    /// Ends: what waits is dropped and counted, and every mbuf goes back.
    fn finish(mut self) -> Sheet {
        self.parts.shard.drop_fragments(self.now);
        let mut losses = self.parts.shard.losses(self.now);
        self.hold.clear(|_, held| held.lose(&mut losses));
        self.flush();
        self.account();
        self.parts.telemetry.copy(&self.sheet);
        self.sheet
    }
}

/// The time in which as many records are to be looked at for expiry as a poll may look at, of so many.
fn sweep_part(records: usize) -> Duration {
    Duration::from_nanos(SWEEP_PERIOD.0 * SWEEP_PER_POLL_MAX / records.max(1) as u64)
}

/// What a burst is decided with.
fn view(mail: &Mail, now: Tick) -> View<'_> {
    View { now, root: mail.roots.get().as_deref(), fib: mail.fibs.get() }
}
