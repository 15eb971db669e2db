//! One worker's share of the firewall: its connections, and the path of a packet.
//!
//! Overview: [`Shard::process`] decides every frame of a burst. A frame from the wire goes through the IN hook, is routed,
//! and goes through the OUT hook; what is for the host meets the IN hook only, what the host sends the OUT hook only; what
//! crosses a transparent pair meets both ([`bridge`](crate::bridge)). The
//! state is checked at the hooks and committed once, when nothing can refuse the packet any more; the frame is rewritten
//! last, so that a refused packet is still as its sender sent it and can be turned into its answer.
//! Life cycle: made at the start with all its memory. Ownership: one worker.
//! Bounds: at most [`BURST`] frames a call; a frame is worked on once.

use ruleset::{Direction, Limit, Reason, StateView};

use crate::burst::{Preview, Stages};
use crate::challenge::Challenges;
use crate::counters::Counters;
use crate::entropy::{Draws, Entropy};
use crate::eval::{Root, RuleTotals, Tag};
use crate::fate::{Arrival, Created, Fate, Source, WorkerId};
use crate::fib::{Fib, Interface, InterfaceId};
use crate::frame::Frame;
use crate::gateway::Departure;
use crate::hook::{
    Answer, Flow, Hook, Passage, Passed, Routed, Stop, answer_without_room, flow_tuple, write_stamps,
};
use crate::limiter::Limiter;
use crate::log::{Log, LogRecord};
use crate::mirror::{Mirror, Origin};
use crate::normalize::Normalizer;
use crate::packet::{Packet, Transport};
use crate::parse::{Parsed, parse};
use crate::placement::Placement;
use crate::renumber::{Isn, Renumbered};
use crate::rewrite;
use crate::routing::{Out, Route, destination, gate_forwarding, is_martian, link_fate, link_of, route};
use crate::scrub::{self, Changes, USUAL_PRIORITY};
use crate::source::Sources;
use crate::state::{
    Adjacencies, Adjacency, Connections, Expiry, Hashing, Key, Selection, Sixteenths, StatePool,
};
use crate::synproxy::cookie::{self, Cookies};
use crate::tick::Tick;
use crate::trace::Tracer;
use crate::translate::{self, Budget, Searches, Shortages};
use crate::witness::{Blame, DropRecord, Seen, Witness};

/// The most frames that are processed at once.
pub const BURST: usize = 64;

/// What a burst is processed with: one moment, one ruleset, one forwarding base.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time of the burst.
    pub now: Tick,
    /// The committed ruleset; without one nothing is forwarded.
    pub root: Option<&'a Root>,
    /// Interfaces, routes, neighbours.
    pub fib: &'a Fib,
}

impl View<'_> {
    pub(crate) const fn sixteenths(&self) -> Sixteenths {
        Sixteenths::of(self.now)
    }

    pub(crate) fn expiry<'r>(&self, root: &'r Root) -> Expiry<'r> {
        Expiry { now: self.sixteenths(), options: &root.ruleset().options }
    }

    pub(crate) fn state_limit(&self) -> u32 {
        self.root.map_or(0, |root| root.ruleset().options.limits.get(Limit::States))
    }
}

/// What a shard is made with.
#[derive(Clone, Copy, Debug)]
pub struct ShardConfig {
    /// The worker that owns it.
    pub worker: WorkerId,
    /// How many workers there are.
    pub workers: u16,
    /// The most states it can hold itself, counted as pf counts them: two for a forwarded connection.
    pub max_states: u32,
    /// How many interfaces there are.
    pub interfaces: usize,
    /// The secret of the connection hash: drawn anew at each start, the same for all workers.
    pub key: [u64; 2],
}

/// One worker's share of the firewall.
#[derive(Debug)]
pub struct Shard {
    pub(crate) worker: WorkerId,
    pub(crate) hashing: Hashing,
    pub(crate) connections: Connections,
    pub(crate) adjacencies: Adjacencies,
    /// Taken for the time of a burst.
    pub(crate) stages: Option<Box<Stages>>,
    pub(crate) counters: Counters,
    pub(crate) rule_totals: RuleTotals,
    pub(crate) log: Log,
    pub(crate) witness: Witness,
    pub(crate) tracer: Tracer,
    pub(crate) mirror: Mirror,
    pub(crate) normalizer: Normalizer,
    pub(crate) ports_to_ask: Budget,
    pub(crate) searches: Searches,
    pub(crate) shortages: Shortages,
    /// How often who was answered.
    pub(crate) answers: Limiter,
    pub(crate) challenges: Challenges,
    pub(crate) draws: Draws,
    /// What initial sequence numbers are made with.
    pub(crate) isn: Isn,
    pub(crate) cookies: Cookies,
    pub(crate) placement: Placement,
    pub(crate) sources: Sources,
}

impl Shard {
    /// A shard without connections, whose states nobody else's count against; all memory is taken here.
    pub fn new(config: ShardConfig) -> Self {
        Self::sharing(config, StatePool::new(config.max_states, config.workers))
    }

    /// A shard without connections, whose states count against `pool` with those of the other workers; all memory is
    /// taken here.
    pub fn sharing(config: ShardConfig, pool: StatePool) -> Self {
        let (fragments, sources) = (pool.of_fragments(), Sources::new(&pool, config.key));
        Self {
            worker: config.worker,
            hashing: Hashing::new(config.key, config.workers),
            connections: Connections::new(config.max_states, config.worker.0, pool),
            adjacencies: Adjacencies::new(),
            stages: Some(Box::default()),
            counters: Counters::new(config.interfaces),
            rule_totals: RuleTotals::default(),
            log: Log::new(),
            witness: Witness::new(),
            tracer: Tracer::new(),
            mirror: Mirror::default(),
            normalizer: Normalizer::new(fragments),
            ports_to_ask: Budget::default(),
            searches: Searches::default(),
            shortages: Shortages::default(),
            answers: Limiter::default(),
            challenges: Challenges::default(),
            draws: Draws::default(),
            isn: Isn::new(config.key),
            cookies: Cookies::new(config.key),
            placement: Placement::default(),
            sources,
        }
    }

    /// Decides a burst that arrived at one place. Each frame is rewritten in place for its fate, in the order given.
    /// `frames` and `fates` are of the same length, at most [`BURST`].
    pub fn process<F: Frame, E: Entropy>(
        &mut self,
        view: &View<'_>,
        entropy: &mut E,
        arrival: Arrival,
        frames: &mut [F],
        fates: &mut [Fate],
    ) {
        debug_assert!(frames.len() == fates.len() && frames.len() <= BURST, "a burst and its fates");
        self.connections.look(view.state_limit(), view.now.secs() as u32);
        if let Some(end) = view.root.and_then(Root::flood_ends_at) {
            self.connections.tell_half_open(cookie::of(view.state_limit(), end));
        }
        self.connections.events.at(view.now);
        self.mirror.begin();
        self.ports_to_ask.begin_burst(view.now);
        self.draws.refill(entropy);
        if let (Some(root), Source::Wire) = (view.root, arrival.source)
            && let Some(own) = view.fib.interface(arrival.interface)
            && !root.skips(arrival.interface)
        {
            return self.process_plain(view, root, own, arrival, frames, fates);
        }
        for (frame, fate) in frames.iter_mut().zip(fates) {
            *fate = self.decide(view, arrival, frame, None);
        }
    }

    /// A random number.
    pub(crate) fn draw(&mut self) -> u64 {
        self.draws.next()
    }

    /// Decides a frame the long way, of whose connection something may be `known`.
    pub(crate) fn decide<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &mut F,
        known: Option<Preview>,
    ) -> Fate {
        match self.tracer.is_on() {
            false => self.decide_frame(view, arrival, frame, known),
            true => self.decide_traced(view, arrival, frame, known),
        }
    }

    #[inline]
    pub(crate) fn decide_frame<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &mut F,
        known: Option<Preview>,
    ) -> Fate {
        let Some(own) = view.fib.interface(arrival.interface) else {
            return self.discard(view, arrival, frame.bytes(), Reason::PortDown);
        };
        if let Some(bridge) = own.bridge() {
            return self.decide_bridged(view, arrival, own, bridge, frame, known);
        }
        if let Err(reason) = rewrite::untag(frame) {
            return self.discard(view, arrival, frame.bytes(), reason);
        }
        match parse(frame.bytes(), own.zone, frame.ip_checksum()) {
            Err(reason) => self.drop_unread(view, arrival, own, frame, reason),
            Ok(Parsed::NonIp(other)) => match link_fate(arrival, &other, destination(frame.bytes()), own.mac)
            {
                Ok(fate) => fate,
                Err(reason) => self.discard(view, arrival, frame.bytes(), reason),
            },
            Ok(Parsed::Ip(mut packet)) => self.decide_ip(view, arrival, own, frame, &mut packet, known),
        }
    }

    pub(crate) fn decide_ip<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        own: &Interface,
        frame: &mut F,
        packet: &mut Packet,
        known: Option<Preview>,
    ) -> Fate {
        if packet.transport == Transport::Fragment
            && let Some(fate) = self.normalize(view, arrival, own, frame, packet)
        {
            return fate;
        }
        self.ports_to_ask.begin_packet();
        let mut passage = match self.begin(view, arrival, packet, known) {
            Ok(passage) => passage,
            Err(reason) => {
                self.witness.note(view.now, reason, (arrival, arrival.interface), Seen::Packet(*packet));
                return self.drop(arrival, reason);
            }
        };
        let mark = self.mirror.mark();
        if view.root.is_some_and(Root::asks_priorities) {
            passage.priority = scrub::priority_of(frame);
        }
        let decided = match (arrival.source, own.bridge()) {
            (_, Some(bridge)) => self.carry(view, arrival.interface, bridge, frame, &mut passage),
            (Source::Wire, None) => self.take_in(view, arrival.interface, own, frame, &mut passage),
            (Source::Host, None) => self.let_out(view, arrival.interface, frame, &mut passage),
        };
        let fate = match decided {
            Ok(fate) if let Some(remade) = passage.remade => {
                self.finish_remade(view, arrival, &passage, &remade);
                fate
            }
            Ok(fate) if self.normalizer.concerns() => self.cut(view, arrival, frame, passage.packet, fate),
            Ok(fate) => fate,
            Err(Stop::HandOff(owner)) => self.hand_off(arrival, owner),
            Err(Stop::Place(owner)) => self.give_away(Fate::Place(owner)),
            Err(Stop::Lend(owner)) => self.give_away(Fate::Lend(owner)),
            Err(Stop::Exhausted) if let Some(fate) = self.pass_on(&passage) => fate,
            Err(Stop::Exhausted) => {
                self.note_shortage(view.now, &passage.packet.tuple);
                passage.restore();
                let answer =
                    view.root.map_or(Answer::Silence, |root| answer_without_room(root, passage.packet));
                self.refuse(view, arrival, frame, passage.packet, Reason::Translate, answer)
            }
            Err(Stop::Refused { reason, answer }) => {
                self.normalizer.stay_whole();
                let answer = passage.renumbered.as_told(answer);
                passage.restore();
                self.refuse(view, arrival, frame, passage.packet, reason, answer)
            }
        };
        match fate.handed() {
            None => self.count_crossed(&passage),
            // Who gets it copies it, and knows best why it goes no further.
            Some(_) => {
                self.counters.take_back(Created::Copy, self.mirror.take_back(mark));
                self.witness.blame = Blame::default();
            }
        }
        self.sources.release(view);
        fate
    }

    /// Everything that comes before the hooks: what no ruleset may accept, and the flow that the packet belongs to.
    #[inline(always)]
    fn begin<'p>(
        &self,
        view: &View<'_>,
        arrival: Arrival,
        packet: &'p mut Packet,
        known: Option<Preview>,
    ) -> Result<Passage<'p>, Reason> {
        if view.root.is_none() {
            return Err(Reason::NoRules);
        }
        if packet.tuple.src == packet.tuple.dst {
            return Err(Reason::Martian);
        }
        let Preview { flow, is_new } =
            known.unwrap_or_else(|| Preview { flow: self.flow(packet), is_new: false });
        debug_assert_eq!(flow, self.flow(packet), "who reads a packet quickly reads the same key");
        debug_assert!(!is_new || !self.connections.is_taken(&flow.key, flow.hash), "what is new is nobody's");
        Ok(Passage {
            packet,
            received_on: (arrival.source == Source::Wire).then_some(arrival.interface),
            flow,
            new: is_new,
            arrived: None,
            between: None,
            turned: false,
            turned_over: false,
            renumbered: Renumbered::default(),
            offered: None,
            remade: None,
            tag: Tag::default(),
            repaired: None,
            restamped: None,
            priority: USUAL_PRIORITY,
            changes: Changes::default(),
            gateway: None,
            routed: Routed::default(),
            copy_to: None,
            copied: false,
            crossed: [None; 2],
        })
    }

    pub(crate) fn flow(&self, packet: &Packet) -> Flow {
        let (key, sender) = Key::of(&flow_tuple(packet));
        Flow { key, hash: self.hashing.hash(&key), sender }
    }

    /// A packet that a port received: IN hook, route, OUT hook.
    fn take_in<F: Frame>(
        &mut self,
        view: &View<'_>,
        interface: InterfaceId,
        own: &Interface,
        frame: &mut F,
        passage: &mut Passage<'_>,
    ) -> Result<Fate, Stop> {
        let packet = &passage.packet;
        if !packet.group_frame && destination(frame.bytes()) != own.mac {
            return Err(Stop::silent(Reason::NotOurs));
        }
        if is_martian(packet) {
            return Err(Stop::silent(Reason::Martian));
        }
        let hook = Hook { direction: Direction::In, interface, frame: frame.bytes(), first: None };
        let entered = self.hook(view, passage, &hook)?;
        if passage.turned_over {
            return self.cross(view, own, frame, passage, &entered);
        }
        if passage.copy_to.is_some() {
            self.mirror(view, passage, Origin::arrived(interface), frame.bytes());
        }
        let guide = self.guide_behind(passage, &entered);
        let routed = route(view.fib, passage.packet, passage.flow.hash.0, guide);
        match routed.map_err(|stop| self.blame_table(passage, stop))? {
            Route::Host => {
                self.commit(view, passage, &entered);
                repair(frame, passage);
                Ok(Fate::Host(interface))
            }
            Route::Out(out) => self.forward(view, interface, frame, passage, &entered, out),
        }
    }

    /// A packet that the host sends: the kernel has routed it and written its Ethernet header.
    fn let_out<F: Frame>(
        &mut self,
        view: &View<'_>,
        interface: InterfaceId,
        frame: &mut F,
        passage: &mut Passage<'_>,
    ) -> Result<Fate, Stop> {
        let hook = Hook { direction: Direction::Out, interface, frame: frame.bytes(), first: None };
        let left = self.hook(view, passage, &hook)?;
        let Some(out) = self.turn_aside(view, passage, &Out::as_is(interface))? else {
            self.commit(view, passage, &left);
            repair(frame, passage);
            scrub::write(frame, passage, Direction::Out);
            if passage.copy_to.is_some() {
                self.mirror(view, passage, Origin::left(interface, None), frame.bytes());
            }
            return Ok(Fate::Transmit(interface));
        };
        let link = link_of(view, out.hop.interface)?;
        self.gate_size(passage.packet, &out.hop, link)?;
        self.commit(view, passage, &left);
        repair(frame, passage);
        scrub::write(frame, passage, Direction::Out);
        Ok(self.send_by(view, frame, passage, &out, link))
    }

    fn forward<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: InterfaceId,
        frame: &mut F,
        passage: &mut Passage<'_>,
        entered: &Passed,
        out: Out,
    ) -> Result<Fate, Stop> {
        gate_forwarding(passage.packet)?;
        let Departure { out, link, left } = self.leave(view, out, frame.bytes(), passage, entered)?;
        repair(frame, passage);
        rewrite::decrement_ttl(frame, passage.packet).map_err(Stop::silent)?;
        scrub::write(frame, passage, Direction::Out);
        let fate = self.send_by(view, frame, passage, &out, link);
        if let (Passed::State(_), Some(destination)) = (entered, out.mac) {
            let mtu = out.hop.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu));
            let adjacency = Adjacency::new(arrival, out.hop.interface, mtu, link.mac, destination);
            self.remember(view, passage, adjacency, entered, &left);
        }
        Ok(fate)
    }

    /// The way out of a packet that the IN hook let in: the link, the OUT hook, and behind the last gate, the MTU of the
    /// link and of the route, the commit.
    pub(crate) fn leave<'v>(
        &mut self,
        view: &View<'v>,
        mut out: Out,
        frame: &[u8],
        passage: &mut Passage<'_>,
        entered: &Passed,
    ) -> Result<Departure<'v>, Stop> {
        let mut link = link_of(view, out.hop.interface)?;
        let hook =
            Hook { direction: Direction::Out, interface: out.hop.interface, frame, first: Some(entered) };
        let left = self.hook(view, passage, &hook)?;
        if let Some(elsewhere) = self.turn_aside(view, passage, &out)? {
            out = elsewhere;
            link = link_of(view, out.hop.interface)?;
        }
        self.gate_size(passage.packet, &out.hop, link)?;
        self.commit_both(view, passage, entered, &left);
        Ok(Departure { out, link, left })
    }

    /// Looks for expired states among the next `most` records, and removes them. Returns how many states went.
    pub fn expire(&mut self, view: &View<'_>, most: usize) -> u64 {
        let Some(root) = view.root else { return 0 };
        self.connections.look(view.state_limit(), view.now.secs() as u32);
        self.connections.events.at(view.now);
        let removed = self.connections.sweep(most, &view.expiry(root), &self.hashing, &mut self.adjacencies);
        self.counters.removals += removed;
        removed
    }

    /// What was counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes memory for what the rules of `root` count and copy. To be called when a new root arrives, outside of any burst: the
    /// first burst that finds another root does it otherwise.
    pub fn adopt(&mut self, root: &Root) {
        self.rule_totals.adopt(root);
        self.mirror.adopt(root);
    }

    /// The next packet that a `log` rule recorded.
    pub fn take_log(&mut self) -> Option<LogRecord> {
        self.log.take()
    }

    /// How many packets were not recorded because the shell had not fetched the earlier ones.
    pub const fn log_lost(&self) -> u64 {
        self.log.lost
    }

    /// The next example of a dropped packet.
    #[inline]
    pub fn take_drop(&mut self) -> Option<DropRecord> {
        self.witness.take()
    }

    /// How many states there are, as pf counts them.
    pub const fn states(&self) -> u32 {
        self.connections.faces()
    }

    /// How many of them are TCP's whose first SYN is not acknowledged.
    pub const fn half_open(&self) -> u32 {
        self.connections.half_open()
    }

    /// How many records were ever used: as many as the sweep has to visit.
    pub const fn records(&self) -> usize {
        self.connections.records()
    }

    /// Shows the states of up to `most` records from `cursor` on, and moves it; `u32::MAX` is the end.
    pub fn dump(&self, view: &View<'_>, cursor: &mut u32, most: usize, sink: &mut dyn FnMut(StateView)) {
        let Some(root) = view.root else {
            *cursor = u32::MAX;
            return;
        };
        for number in self.connections.run(cursor, most) {
            self.connections.views(number, root, view.fib, &view.expiry(root), sink);
        }
    }

    /// Shows what states add to the timestamps of those that have made them, and of their peers, by the ids of the states, of
    /// those that look at timestamps; of an end of which nothing has passed, what was to be added to its last packet. Where two
    /// states are one record, one of them has it all.
    pub fn timestamp_offsets(&self, sink: &mut dyn FnMut(u64, [u32; 2])) {
        let mut cursor = 0;
        while cursor != u32::MAX {
            for number in self.connections.run(&mut cursor, usize::MAX) {
                self.connections.offsets(number, sink);
            }
        }
    }

    /// Removes the selected states of up to `most` records from `cursor` on, and moves it; `u32::MAX` is the end. Returns how
    /// many states went.
    pub fn kill(&mut self, cursor: &mut u32, most: usize, selection: &Selection) -> u64 {
        let mut removed = 0;
        for number in self.connections.run(cursor, most) {
            removed += u64::from(self.connections.kill(number, selection, &self.hashing));
        }
        self.counters.removals += removed;
        removed
    }
}

/// Writes into the frame what the hooks repaired of it, what they translated, and what the IN hook scrubs.
pub(crate) fn repair<F: Frame>(frame: &mut F, passage: &Passage<'_>) {
    if let Some(remade) = &passage.remade {
        return remade.write(frame, passage.packet);
    }
    if let Some(flags) = passage.repaired {
        rewrite::set_tcp_flags(frame, passage.packet, flags);
    }
    if let Some(arrived) = &passage.arrived {
        translate::rewrite(frame.bytes_mut(), arrived, passage.packet);
    }
    if let Some(stamps) = passage.restamped {
        write_stamps(frame, passage.packet, stamps);
    }
    scrub::write(frame, passage, Direction::In);
}
