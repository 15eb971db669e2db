//! Flows that are placed at another worker than their home.
//!
//! Overview: only the home of a flow makes its states, unless it places the flow elsewhere: it keeps an alias, which leads
//! the flow's packets to the owner that it chose, and hands the first one over as [placed](Custody::placed), upon which the
//! owner judges it, and makes its states. Whoever has some of a flow's states owns it, and no worker but the home ever begins
//! one. So a home with too much to do is relieved of what begins ([`Shard::relieve`]); what it has stays. And what is
//! [translated](crate::translate) without a choice goes where its answers come to ([`Shard::place`]).
//!
//! Life cycle: an alias goes when the owner says that it has nothing of the flow: because the packet made no state, or because
//! the last one went. The owner says so once ([`Shard::release`]), and lets go of the record behind that; whatever it gets of
//! the flow afterwards it hands back to the home, which hears of the release before. So nothing needs to be acknowledged,
//! as long as a shell hands releases and packets from one worker to another in their order.
//!
//! Order: for relief a flow is never placed at the worker which its first packet came from, whose other packets of it may be on their
//! way to the home while it has the states already; so those that one queue receives stay in theirs.
//! Ownership: one shard. Bounds: [`HANDOFFS_MAX`] hand-offs of a packet; releases wait in the records that they are of, and up to
//! [`DECLINED_MAX`] of flows without a record.

use ruleset::Reason;

use crate::bridge::zone_of_frame;
use crate::entropy::Entropy;
use crate::eval::Root;
use crate::fate::{Arrival, Custody, Fate, HANDOFFS_MAX, WorkerId};
use crate::frame::Frame;
use crate::hook::{Flow, Hook, Passage, Passed, Stop, flow_tuple};
use crate::parse::{Parsed, parse};
use crate::shard::{BURST, Shard, View};
use crate::state::{Key, KeyHash};

/// Flows without a record whose release may wait.
const DECLINED_MAX: usize = 16 * BURST;

/// What a shard knows of flows that are not at home.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Where flows are placed that begin.
    relief: Option<WorkerId>,
    /// Of the burst under way.
    custody: Custody,
    /// Flows that were placed here and made no state.
    declined: Vec<Key>,
}

impl Placement {
    /// True if the burst under way was placed here.
    pub const fn is_placed(&self) -> bool {
        self.custody.placed
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self { relief: None, custody: Custody::default(), declined: Vec::with_capacity(DECLINED_MAX) }
    }
}

/// A flow of which its owner has nothing any more.
#[derive(Clone, Copy, Debug)]
pub struct Release {
    key: Key,
}

impl Shard {
    /// As [`process`](Self::process), for a burst that another worker received. To be called only while there
    /// [is room](Self::may_take_over) for what may come of it.
    pub fn take_over<F: Frame, E: Entropy>(
        &mut self,
        view: &View<'_>,
        entropy: &mut E,
        arrival: Arrival,
        custody: Custody,
        frames: &mut [F],
        fates: &mut [Fate],
    ) {
        self.placement.custody = custody;
        if custody.placed {
            for (frame, fate) in frames.chunks_mut(1).zip(fates.chunks_mut(1)) {
                let flow = self.flow_of(view, arrival, &frame[0]);
                self.process(view, entropy, arrival, frame, fate);
                if let Some((key, hash)) = flow
                    && !self.connections.knows(&key, hash)
                {
                    self.placement.declined.push(key);
                }
            }
        } else {
            self.process(view, entropy, arrival, frames, fates);
        }
        self.placement.custody = Custody::default();
    }

    /// True if a burst may be taken over.
    pub fn may_take_over(&self) -> bool {
        self.placement.declined.len() + BURST <= DECLINED_MAX
    }

    /// Has flows that begin be placed at another worker from now on, or no more. Those that are placed stay there.
    pub const fn relieve(&mut self, at: Option<WorkerId>) {
        self.placement.relief = at;
    }

    /// Flows of this home that are another worker's.
    pub const fn aliases(&self) -> u32 {
        self.connections.aliases()
    }

    /// The next flow of which nothing is here any more, and its home, which is to [`end`](Self::end) its alias. It is
    /// to get that before whatever is handed to it afterwards; then, [`released`](Self::released) goes on to the next.
    pub fn release(&self) -> Option<(WorkerId, Release)> {
        let key = self.placement.declined.last().copied().or_else(|| self.connections.leaving())?;
        Some((self.hashing.home(self.hashing.hash(&key)), Release { key }))
    }

    /// The flow's home knows it.
    pub fn released(&mut self) {
        if self.placement.declined.pop().is_none() {
            self.connections.let_go();
        }
    }

    /// Ends the alias of a flow, which is at home again.
    pub fn end(&mut self, release: &Release) {
        let ended = self.connections.remove_alias(&release.key, self.hashing.hash(&release.key));
        debug_assert!(ended, "a flow is released once");
    }

    /// A packet that was to be handed over, as placed or not, cannot be: it is counted as dropped, and its flow is at home
    /// again if it was placed.
    pub fn withdraw<F: Frame>(&mut self, view: &View<'_>, arrival: Arrival, frame: &F, placed: bool) {
        self.counters.handed_off -= 1;
        self.counters.drop_packet(arrival.interface, Reason::HandoffFull);
        if placed && let Some((key, hash)) = self.flow_of(view, arrival, frame) {
            self.counters.placed -= u64::from(self.connections.remove_alias(&key, hash));
        }
    }

    /// What identifies the connection of a packet that got as far as the hooks.
    #[cold]
    fn flow_of<F: Frame>(&self, view: &View<'_>, arrival: Arrival, frame: &F) -> Option<(Key, KeyHash)> {
        let zone = zone_of_frame(view.fib.interface(arrival.interface)?, frame.bytes());
        let Ok(Parsed::Ip(packet)) = parse(frame.bytes(), zone, frame.ip_checksum()) else { return None };
        let (key, _) = Key::of(&flow_tuple(&packet));
        Some((key, self.hashing.hash(&key)))
    }

    /// Hands a packet to the owner of its flow.
    #[inline]
    pub(crate) fn hand_off(&mut self, arrival: Arrival, owner: WorkerId) -> Fate {
        if self.placement.custody.handoffs >= HANDOFFS_MAX {
            return self.drop(arrival, Reason::HandoffLimit);
        }
        self.counters.handed_off += 1;
        Fate::HandOff(owner)
    }

    /// True if this worker may make states of a packet that has none at this hook.
    ///
    /// # Errors
    /// Whose it is, if it is another's.
    #[inline]
    pub(crate) fn claim(&mut self, root: &Root, passage: &Passage<'_>, hook: &Hook<'_>) -> Result<(), Stop> {
        let home = self.hashing.home(passage.flow.hash);
        match self.placement.relief {
            None if home == self.worker => Ok(()),
            relief => self.claim_anothers(root, passage, hook, home, relief),
        }
    }

    /// Gives the flow of a packet, as if it had made nothing here, to the worker where it can be translated: its home places
    /// it there, and whoever has it for relief hands it back to its home. `None` if it must stay: it has been handed on too often, has
    /// other states, or copies that would be made once more.
    #[cold]
    pub(crate) fn place(&mut self, passage: &Passage<'_>, hook: &Hook<'_>, owner: WorkerId) -> Option<Stop> {
        let Flow { key, hash, .. } = &passage.flow;
        let Custody { handoffs, placed, .. } = self.placement.custody;
        let home = self.hashing.home(*hash);
        let may_go = passage.new && handoffs < HANDOFFS_MAX && !passage.copied;
        if !may_go || owner == self.worker || (home != self.worker && !placed) {
            return None;
        }
        if let Some(Passed::Made(record)) = hook.first {
            self.counters.inserts -= 1;
            self.connections.take_back(*record, *hash);
        }
        if home != self.worker {
            return Some(Stop::HandOff(home));
        }
        self.connections.add_alias(key, *hash, owner).ok()?;
        self.counters.placed += 1;
        Some(Stop::Place(owner))
    }

    /// Another worker than this one, as it happens, but for the one that has just handed the burst over, if there are more.
    pub(crate) fn neighbor(&mut self) -> WorkerId {
        let workers = self.hashing.workers();
        let others = workers.saturating_sub(1).max(1);
        let step = (self.draw() % u64::from(others)) as u16;
        let at = |step: u16| WorkerId((self.worker.0 + 1 + step % others) % workers);
        if Some(at(step)) == self.placement.custody.from { at(step + 1) } else { at(step) }
    }

    #[cold]
    fn claim_anothers(
        &mut self,
        root: &Root,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        home: WorkerId,
        relief: Option<WorkerId>,
    ) -> Result<(), Stop> {
        let Flow { key, hash, .. } = &passage.flow;
        let Custody { from, handoffs, placed } = self.placement.custody;
        if home != self.worker {
            let is_own = placed || self.connections.knows(key, *hash);
            return if is_own { Ok(()) } else { Err(Stop::HandOff(home)) };
        }
        // What a rule without state has let in is not asked about again elsewhere.
        // What may be translated may be handed back from there, and on to a third worker.
        let most = if root.translates() { 1 } else { HANDOFFS_MAX };
        let begins = passage.new && hook.first.is_none() && handoffs < most;
        match relief {
            Some(owner) if begins && from != relief => {
                if self.connections.add_alias(key, *hash, owner).is_ok() {
                    self.counters.placed += 1;
                    return Err(Stop::Place(owner));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
