//! A whole firewall without NICs: shards, rules and a forwarding base, with every frame accounted for.

use core::fmt::Write as _;
use std::collections::BTreeMap;

use engine::{
    Arrival, Created, Custody, Errand, Fate, Fib, Flushes, InterfaceId, Overloaded, Root, Selection, Shard,
    ShardConfig, Source, StatePool, Tick, View, WorkerId,
};
use ruleset::{Invalid, Reason, Ruleset, SourceSelector, StateSelector, StateView, TableEdit, TableEntry};

use crate::rng::Rng;
use crate::topology::{self, Routes};

/// What went in and what came out, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Received from wires.
    pub received: u64,
    /// Sent by the host.
    pub from_host: u64,
    /// Sent onto wires.
    pub transmitted: u64,
    /// Handed to the host.
    pub to_host: u64,
    /// Kept until a neighbour is known.
    pub held: u64,
    /// Given to another worker.
    pub handed_off: u64,
    /// Taken from another worker.
    pub taken_over: u64,
    /// Kept until the rest of their datagrams comes, or taken as pieces.
    pub kept: u64,
    /// What came out of those that were kept, frames of their own.
    pub pieces: u64,
    /// Copies that left, or wait for a neighbour.
    pub copies: u64,
    /// Ended by a drop.
    pub dropped: u64,
}

/// What there is in memory that packets have left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// States.
    pub states: u64,
    /// Those of TCP whose first SYN is not acknowledged.
    pub half_open: u64,
    /// Flows that are known to be another worker's.
    pub aliases: u64,
    /// Connections behind another address.
    pub mappings: u64,
    /// Fragments.
    pub fragments: u64,
    /// Nodes of sources.
    pub sources: u64,
}

/// Shards behind one another's hand-off, with what they share.
#[derive(Debug)]
pub struct Firewall {
    shards: Vec<Shard>,
    pool: StatePool,
    root: Option<Root>,
    fib: Fib,
    entropy: Rng,
    ledger: Ledger,
    pieces: Vec<(Fate, Vec<u8>)>,
    copies: Vec<(InterfaceId, Vec<u8>)>,
}

impl Firewall {
    /// A firewall of `workers` shards with room for `max_states` states each and in all, and no rules.
    pub fn new(fib: Fib, workers: u16, max_states: u32, mut entropy: Rng) -> Self {
        let key = [entropy.next(), entropy.next()];
        let interfaces = fib.interfaces().len();
        let pool = StatePool::new(max_states, workers);
        let shard = |worker| {
            let config = ShardConfig { worker: WorkerId(worker), workers, max_states, interfaces, key };
            Shard::sharing(config, pool.clone())
        };
        let shards = (0..workers).map(shard).collect();
        Self {
            shards,
            pool,
            root: None,
            fib,
            entropy,
            ledger: Ledger::default(),
            pieces: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Commits a ruleset; states stay.
    ///
    /// # Errors
    /// What is wrong with it; the old rules stay.
    pub fn load(&mut self, rules: &Ruleset) -> Result<(), Invalid> {
        self.root = Some(Root::compile(rules, self.fib.interfaces(), self.root.as_ref())?);
        Ok(())
    }

    /// Replaces the forwarding base by one of the usual topology with these routes.
    pub fn reroute(&mut self, routes: Routes) {
        self.set_fib(topology::fib_of(routes, self.fib.epoch() + 1));
    }

    /// Replaces the forwarding base by one of the same interfaces.
    pub fn set_fib(&mut self, fib: Fib) {
        self.fib = fib;
    }

    /// Interfaces, routes, neighbours.
    pub const fn fib(&self) -> &Fib {
        &self.fib
    }

    /// The shards, by worker.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Decides one frame that some worker receives, whichever the NIC happens to choose. Where there are several, some of them
    /// place what begins at another, now one and then the other.
    pub fn receive(&mut self, now: Tick, arrival: Arrival, frame: &mut Vec<u8>) -> Fate {
        if self.shards.len() > 1 && self.entropy.below(8) == 0 {
            self.relieve();
        }
        let worker = self.entropy.below(self.shards.len() as u64) as u16;
        let mut fate = [Fate::Drop(Reason::NoRules)];
        self.burst(now, WorkerId(worker), arrival, core::slice::from_mut(frame), &mut fate);
        fate[0]
    }

    /// Decides a burst that arrives at one worker, hand-offs included: no fate is a hand-off.
    ///
    /// # Panics
    /// If a frame is changed before it is handed on: a worker must not touch what is not its own.
    pub fn burst(
        &mut self,
        now: Tick,
        worker: WorkerId,
        arrival: Arrival,
        frames: &mut [Vec<u8>],
        fates: &mut [Fate],
    ) {
        match arrival.source {
            Source::Wire => self.ledger.received += frames.len() as u64,
            Source::Host => self.ledger.from_host += frames.len() as u64,
        }
        let before: Vec<Vec<u8>> = if self.shards.len() > 1 { frames.to_vec() } else { Vec::new() };
        self.process(now, worker, arrival, frames, fates);
        for at in 0..fates.len() {
            let mut custody = Custody { from: Some(worker), ..Custody::default() };
            while let Some((owner, errand)) = fates[at].handed() {
                let unchanged = frames[at] == before[at] || frames[at] == without_priority(&before[at]);
                assert!(unchanged, "a frame was changed by a worker that does not own it");
                self.ledger.handed_off += 1;
                self.ledger.taken_over += 1;
                custody.handoffs += u8::from(errand == Errand::Follow);
                custody.errand = errand;
                self.tell();
                self.take_over(now, owner, arrival, custody, &mut frames[at..=at], &mut fates[at..=at]);
                custody.from = Some(owner);
            }
            self.enter(fates[at]);
        }
        self.tell();
        for owner in 0..self.shards.len() {
            self.collect(now, WorkerId(owner as u16), 0);
        }
        self.tell();
        self.settle_overloads();
    }

    /// Puts sources that have exceeded limits into their tables, and removes the states that go with it.
    fn settle_overloads(&mut self) {
        let Some(root) = self.root.as_ref().filter(|root| root.overloads()) else { return };
        let found = root.overloaded();
        if found.is_empty() {
            return;
        }
        let edit = |one: &Overloaded| TableEdit {
            name: one.table.clone(),
            add: vec![TableEntry::new(false, one.source.into())],
            ..TableEdit::default()
        };
        let edits: Vec<TableEdit> = found.iter().map(edit).collect();
        self.root =
            Some(root.with_tables(&edits).expect("rules overload sources into tables that there are"));
        let flushes = Flushes::of(&found);
        for shard in &mut self.shards {
            let mut cursor = 0;
            while cursor != u32::MAX {
                shard.flush(&mut cursor, usize::MAX, &flushes);
            }
        }
        found.iter().for_each(Overloaded::settle);
        self.tell();
    }

    /// Takes what a worker has left of datagrams, and follows what of it is another's.
    fn collect(&mut self, now: Tick, from: WorkerId, handoffs: u8) {
        let mut pieces = Vec::new();
        self.shards[usize::from(from.0)].take_pieces(now, |piece, _| {
            pieces.push((piece.arrival, piece.fate, [piece.head, piece.rest].concat()));
        });
        for (arrival, mut fate, frame) in pieces {
            self.ledger.pieces += 1;
            let mut frame = [frame];
            if let Some((owner, errand)) = fate.handed() {
                self.ledger.handed_off += 1;
                self.ledger.taken_over += 1;
                let handoffs = handoffs + 1;
                let mut fates = [fate];
                let custody = Custody { from: Some(from), handoffs, errand };
                self.tell();
                self.take_over(now, owner, arrival, custody, &mut frame, &mut fates);
                self.enter(fates[0]);
                self.collect(now, owner, handoffs);
                [fate] = fates;
            } else {
                self.enter(fate);
            }
            let [frame] = frame;
            if !matches!(fate, Fate::Kept | Fate::Drop(_)) {
                self.pieces.push((fate, frame));
            }
        }
    }

    /// What frames have left of datagrams since this was asked, piece by piece.
    pub fn pieces(&mut self) -> Vec<(Fate, Vec<u8>)> {
        core::mem::take(&mut self.pieces)
    }

    /// The copies that frames have left since this was asked, and where each leaves.
    pub fn copies(&mut self) -> Vec<(InterfaceId, Vec<u8>)> {
        core::mem::take(&mut self.copies)
    }

    fn take_copies(&mut self, now: Tick, worker: WorkerId, frames: &[Vec<u8>]) {
        let Self { shards, copies, ledger, .. } = self;
        shards[usize::from(worker.0)].take_copies(now, frames, |alike, _| {
            let to = alike.to;
            alike.each(|head, rest| {
                ledger.copies += 1;
                copies.push((to, [head, rest].concat()));
            });
        });
    }

    /// Gives up a packet that waits for a neighbour ([`Fate::Hold`]), and says what becomes of it.
    pub fn give_up(
        &mut self,
        now: Tick,
        arrival: Arrival,
        leaving: InterfaceId,
        frame: &mut Vec<u8>,
    ) -> Fate {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        let worker = self.entropy.below(self.shards.len() as u64) as usize;
        let fate = self.shards[worker].give_up(&view, arrival, leaving, frame);
        self.ledger.held -= 1;
        self.enter(fate);
        fate
    }

    /// Removes the states that fit; returns how many went.
    pub fn kill(&mut self, selector: &StateSelector) -> u64 {
        let selection = Selection::new(selector, &self.fib);
        let (mut killed, mut cursor) = (0, 0);
        for shard in &mut self.shards {
            while cursor != u32::MAX {
                killed += shard.kill(&mut cursor, usize::MAX, &selection);
            }
            cursor = 0;
        }
        self.tell();
        killed
    }

    /// Has all source nodes be forgotten.
    pub fn forget_sources(&self, now: Tick) -> usize {
        self.pool.forget_sources(&SourceSelector::default(), now)
    }

    /// Frees the nodes of sources whose time is over, as many as a poll may.
    pub fn expire_sources(&mut self, now: Tick) {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        self.shards.iter_mut().for_each(|shard| shard.expire_sources(&view));
    }

    /// What there is in memory.
    pub fn remains(&self) -> Remains {
        let sum = |count: &dyn Fn(&Shard) -> u32| self.shards.iter().map(count).map(u64::from).sum();
        let mut mappings = 0;
        for shard in &self.shards {
            let mut cursor = 0;
            while !shard.mappings(self.root.as_ref(), &mut cursor, usize::MAX, |_| mappings += 1) {}
        }
        Remains {
            states: sum(&Shard::states),
            half_open: sum(&Shard::half_open),
            aliases: sum(&Shard::aliases),
            mappings,
            fragments: sum(&Shard::fragments),
            sources: self.pool.source_counts().current.into(),
        }
    }

    /// Gives up what waited too long for the rest of its datagram, as many datagrams as a poll may.
    pub fn expire_fragments(&mut self, now: Tick) {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        self.shards.iter_mut().for_each(|shard| shard.expire_fragments(&view));
    }

    /// Has each worker place flows that begin at another one from now on, or at none, as it happens.
    fn relieve(&mut self) {
        let workers = self.shards.len() as u64;
        for (own, shard) in self.shards.iter_mut().enumerate() {
            let at = self.entropy.below(workers + 1);
            shard.relieve((at < workers && at != own as u64).then_some(WorkerId(at as u16)));
        }
    }

    /// Tells workers what the others have to say, until nobody says anything.
    fn tell(&mut self) {
        for from in (0..self.shards.len()).chain(0..self.shards.len()) {
            while let Some((to, notice)) = self.shards[from].notice() {
                self.shards[usize::from(to.0)].hear(WorkerId(from as u16), &notice);
                self.shards[from].noticed();
            }
        }
    }

    fn take_over(
        &mut self,
        now: Tick,
        owner: WorkerId,
        arrival: Arrival,
        custody: Custody,
        frames: &mut [Vec<u8>],
        fates: &mut [Fate],
    ) {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        let shard = &mut self.shards[usize::from(owner.0)];
        shard.take_over(&view, &mut self.entropy, arrival, custody, frames, fates);
        self.take_copies(now, owner, frames);
    }

    fn process(
        &mut self,
        now: Tick,
        worker: WorkerId,
        arrival: Arrival,
        frames: &mut [Vec<u8>],
        fates: &mut [Fate],
    ) {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        self.shards[usize::from(worker.0)].process(&view, &mut self.entropy, arrival, frames, fates);
        self.take_copies(now, worker, frames);
    }

    fn enter(&mut self, fate: Fate) {
        let entry = match fate {
            Fate::Transmit(_) => &mut self.ledger.transmitted,
            Fate::Host(_) => &mut self.ledger.to_host,
            Fate::Hold { .. } => &mut self.ledger.held,
            Fate::Kept => &mut self.ledger.kept,
            Fate::Drop(_) => &mut self.ledger.dropped,
            Fate::HandOff(_) | Fate::Place(_) | Fate::Lend(_) | Fate::Return(_) => {
                unreachable!("hand-offs were followed")
            }
        };
        *entry += 1;
    }

    /// What went in and out.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Packets dropped for a reason, by all workers.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.shards.iter().map(|shard| shard.counters().dropped(reason)).sum()
    }

    /// Checks that every frame has exactly one fate and that the shards' counters agree.
    ///
    /// # Panics
    /// If not.
    pub fn check_conservation(&self) {
        let sum = |count: &dyn Fn(&Shard) -> u64| -> u64 { self.shards.iter().map(count).sum() };
        let drops = sum(&|shard| shard.counters().dropped_in_all());
        let created =
            sum(&|shard| Created::ALL.iter().map(|kind| shard.counters().created(*kind)).sum::<u64>());
        let joined = sum(&|shard| shard.counters().joined);
        let waiting = sum(&|shard| shard.fragments().into());
        let Ledger {
            received,
            from_host,
            transmitted,
            to_host,
            held,
            handed_off,
            taken_over,
            kept,
            pieces,
            copies,
            dropped,
        } = self.ledger;
        assert_eq!(
            received + from_host + created + taken_over,
            transmitted + copies + to_host + held + drops + handed_off + joined + waiting,
            "conservation: {:?}",
            self.ledger
        );
        // A packet that is answered in place is one drop and one creation, and leaves as its answer. One that is kept is
        // joined to others, waits, or is dropped later on; frames that come out of those were created. So were copies, of
        // which some are dropped.
        assert_eq!(
            drops + joined + waiting + pieces + copies,
            dropped + created + kept,
            "drop counters: {:?}",
            self.ledger
        );
        assert_eq!(sum(&|shard| shard.counters().handed_off), handed_off, "hand-off counters");
        // A flow that is not at home has states elsewhere. Of the two that are found by its tuples, of which there are three at most
        // (as it comes, behind the IN hook and behind the OUT hook), one may have ended.
        let aliases = sum(&|shard| shard.aliases().into());
        assert!(aliases <= 3 * sum(&|shard| shard.states().into()), "{aliases} aliases");
    }

    /// Lets every shard look for expired states once around; returns how many went.
    pub fn expire(&mut self, now: Tick) -> u64 {
        self.sweep(now, usize::MAX)
    }

    /// Lets every shard look for expired states among its next `most` records; returns how many went.
    pub fn sweep(&mut self, now: Tick, most: usize) -> u64 {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        let removed = self.shards.iter_mut().map(|shard| shard.expire(&view, most)).sum();
        self.tell();
        removed
    }

    /// How many flows were placed at another worker than their home.
    pub fn placed(&self) -> u64 {
        self.shards.iter().map(|shard| shard.counters().placed).sum()
    }

    /// Every state, shard by shard.
    pub fn states(&self, now: Tick) -> Vec<StateView> {
        let view = View { now, root: self.root.as_ref(), fib: &self.fib };
        let mut states = Vec::new();
        for shard in &self.shards {
            let mut cursor = 0;
            while cursor != u32::MAX {
                shard.dump(&view, &mut cursor, usize::MAX, &mut |state| states.push(state));
            }
        }
        states
    }

    /// What is added to timestamps ([`Shard::timestamp_offsets`]), by the ids of states.
    pub fn timestamp_offsets(&self) -> BTreeMap<u64, [u32; 2]> {
        let mut offsets = BTreeMap::new();
        for shard in &self.shards {
            shard.timestamp_offsets(&mut |state, added| {
                offsets.insert(state, added);
            });
        }
        offsets
    }

    /// Every state as `pfctl -ss -vv` prints it, in an order that does not depend on shards; without ids.
    pub fn dump(&self, now: Tick) -> String {
        Self::list(self.states(now))
    }

    /// As [`Self::dump`], without states in their last second. Of a flow may be two records, one of which has expired; a
    /// search removes that, the short way need not see it: it takes the record to which the tags in the buckets lead first,
    /// and those lie as each shard's own history had it. No packet is decided otherwise for that, and the next sweep removes it.
    pub fn dump_living(&self, now: Tick) -> String {
        Self::list(self.states(now).into_iter().filter(|state| state.expires_in_s > 0).collect())
    }

    fn list(mut states: Vec<StateView>) -> String {
        for state in &mut states {
            state.id = 0;
        }
        let mut lines: Vec<String> = states.iter().map(|state| format!("{state:#}")).collect();
        lines.sort_unstable();
        lines.iter().fold(String::new(), |mut text, line| {
            writeln!(text, "{line}").expect("a String takes everything");
            text
        })
    }
}

/// The frame's Ethernet destination.
///
/// # Panics
/// If it has none.
pub fn link_destination(frame: &[u8]) -> wire::Mac {
    wire::ethernet::Header::at(frame, 0).expect("an Ethernet header").dst()
}

/// A frame without the tag that only names a priority (IEEE 802.1Q), if it has one.
fn without_priority(frame: &[u8]) -> Vec<u8> {
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x81, 0, high, 0, ..] if high & 0x0f == 0 => {
            [&frame[..12], &frame[16..]].concat()
        }
        _ => frame.to_vec(),
    }
}
