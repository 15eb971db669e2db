//! Flows that are another worker's than their home's, and tuples likewise.
//!
//! Overview: only the home of a flow makes its states, unless it places the flow elsewhere: it keeps an alias, which leads
//! the flow's packets to the owner that it chose, and hands the first one over ([`Errand::Begin`]), upon which the
//! owner judges it, and makes its states. Whoever has some of a flow's states owns it, and no worker but the home ever begins
//! one. So a home with too much to do is relieved of what begins ([`Shard::relieve`]); what it has stays. And where no port
//! is left for `nat-to` of those whose answers are the home's, other workers are asked in turn for one of theirs
//! ([`Errand::Lend`]). Whoever has none gives the packet back to the home: that looks for one itself if it was relieved and
//! has not yet, and else goes on to the next.
//!
//! What a connection was translated to is a tuple too. Where a port was chosen, its home is the owner; where there was no
//! choice (`rdr-to`, `binat-to`, `static-port`), its home is told, before the packet leaves that will be answered, and keeps an
//! alias for it likewise. If somebody has the tuple there already, the home refuses it, and the connection ends.
//!
//! Life cycle: an alias goes when the owner says that it has nothing of the flow: because the packet made no state, or because
//! the last one went. The owner says so once ([`Shard::notice`]), and lets go of the record or link behind that; whatever it
//! gets of the flow afterwards it hands back to the home, which hears of it before. So nothing needs to be acknowledged,
//! as long as a shell hands notices and packets from one worker to another in their order.
//!
//! Order: a flow is never placed at the worker which its first packet came from, whose other packets of it may be on their
//! way to the home while it has the states already; so those that one queue receives stay in theirs.
//! Ownership: one shard. Bounds: [`HANDOFFS_MAX`] hand-offs of a packet to follow its flow, and one round of all workers to begin
//! it; notices wait in the records and links that they are of, and up to [`OUTBOX_MAX`] others.
//!
//! Deviation: pf refuses a translation to a tuple that is in use before it forwards the first packet, this one behind it
//! where another worker is the tuple's home.

use ruleset::Reason;

use crate::bridge::zone_of_frame;
use crate::entropy::Entropy;
use crate::fate::{Arrival, Custody, Errand, Fate, HANDOFFS_MAX, WorkerId};
use crate::frame::Frame;
use crate::hook::{Flow, Hook, Passage, Stop, flow_tuple};
use crate::parse::{Parsed, parse};
use crate::shard::{BURST, Shard, View};
use crate::state::{Key, KeyHash, News};

/// Notices that may wait and are not of a record or link.
const OUTBOX_MAX: usize = 16 * BURST;

/// What a shard knows of flows that are not at home.
#[derive(Debug)]
pub(crate) struct Placement {
    /// Where flows are placed that begin.
    relief: Option<WorkerId>,
    /// Of the burst under way.
    custody: Custody,
    /// To whom, of flows that were placed here and made no state, and of tuples that were refused.
    outbox: Vec<(WorkerId, Notice)>,
}

impl Placement {
    /// True if the burst under way was placed here.
    pub const fn is_placed(&self) -> bool {
        matches!(self.custody.errand, Errand::Begin | Errand::Lend)
    }

    /// True if another worker received the burst under way.
    pub const fn is_handed_over(&self) -> bool {
        self.custody.from.is_some()
    }
}

impl Default for Placement {
    fn default() -> Self {
        Self { relief: None, custody: Custody::default(), outbox: Vec::with_capacity(OUTBOX_MAX) }
    }
}

/// What one worker tells another of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    key: Key,
    says: Says,
}

#[derive(Clone, Copy, Debug)]
enum Says {
    /// The owner to the home: a connection was translated to it.
    Linked,
    /// The owner to the home: nothing has it any more.
    Gone,
    /// The home to the owner: somebody else has it.
    Refused,
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
        if self.placement.is_placed() {
            for (frame, fate) in frames.chunks_mut(1).zip(fates.chunks_mut(1)) {
                let flow = self.flow_of(view, arrival, &frame[0]);
                self.process(view, entropy, arrival, frame, fate);
                if let Some((key, hash)) = flow
                    && !self.connections.knows(&key, hash)
                {
                    let home = self.hashing.home(hash);
                    self.placement.outbox.push((home, Notice { key, says: Says::Gone }));
                }
            }
        } else {
            self.process(view, entropy, arrival, frames, fates);
        }
        self.placement.custody = Custody::default();
    }

    /// True if a burst may be taken over.
    pub fn may_take_over(&self) -> bool {
        self.placement.outbox.len() + BURST <= OUTBOX_MAX
    }

    /// Has flows that begin be placed at another worker from now on, or no more. Those that are placed stay there.
    pub const fn relieve(&mut self, at: Option<WorkerId>) {
        self.placement.relief = at;
    }

    /// Flows of this home that are another worker's.
    pub const fn aliases(&self) -> u32 {
        self.connections.aliases()
    }

    /// The next notice, and whom it is for, who is to [`hear`](Self::hear) it before whatever is handed over afterwards, and
    /// before anything that was decided so far leaves; then, [`noticed`](Self::noticed) goes on to the one behind it.
    #[inline]
    pub fn notice(&mut self) -> Option<(WorkerId, Notice)> {
        if let Some(last) = self.placement.outbox.last() {
            return Some(*last);
        }
        let (key, says) = match self.connections.news()? {
            News::Linked(key) => (key, Says::Linked),
            News::Gone(key) => (key, Says::Gone),
        };
        Some((self.hashing.home(self.hashing.hash(&key)), Notice { key, says }))
    }

    /// The notice is on its way.
    pub fn noticed(&mut self) {
        if self.placement.outbox.pop().is_none() {
            self.connections.forget_news();
        }
    }

    /// Hears a notice of another worker.
    pub fn hear(&mut self, from: WorkerId, notice: &Notice) {
        let Notice { key, says } = notice;
        let hash = self.hashing.hash(key);
        match says {
            Says::Gone => _ = self.connections.remove_alias(key, hash, from),
            Says::Refused => {
                self.counters.removals += u64::from(self.connections.remove_refused(key, hash));
            }
            Says::Linked => {
                let is_free = match self.connections.owner(key, hash) {
                    Some(owner) => owner == from,
                    None => {
                        !self.connections.knows(key, hash)
                            && self.connections.add_alias(key, hash, from).is_ok()
                    }
                };
                // A refusal for which there is no room is none: the connection gets no answers, and ends by its time-out.
                if !is_free && self.placement.outbox.len() < OUTBOX_MAX {
                    self.placement.outbox.push((from, Notice { key: *key, says: Says::Refused }));
                }
            }
        }
    }

    /// A packet that was to be handed over cannot be: it is counted as dropped, and its flow is at home again if it was to
    /// begin elsewhere.
    pub fn withdraw<F: Frame>(&mut self, view: &View<'_>, arrival: Arrival, frame: &F, errand: Errand) {
        self.counters.handed_off -= 1;
        self.losses(view.now).arrived(arrival, arrival.interface, Reason::HandoffFull, frame.bytes());
        if matches!(errand, Errand::Begin | Errand::Lend)
            && let Some((key, hash)) = self.flow_of(view, arrival, frame)
            && let Some(owner) = self.connections.owner(&key, hash)
        {
            self.connections.remove_alias(&key, hash, owner);
            self.counters.placed -= 1;
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
        self.give_away(Fate::HandOff(owner))
    }

    /// True if this worker may make states of a packet that has none at this hook.
    ///
    /// # Errors
    /// Whose it is, if it is another's.
    #[inline]
    pub(crate) fn claim(&mut self, passage: &Passage<'_>, hook: &Hook<'_>) -> Result<(), Stop> {
        if self.is_at_home(passage.flow.hash) {
            return Ok(());
        }
        let home = self.hashing.home(passage.flow.hash);
        self.claim_anothers(passage, hook, home, self.placement.relief)
    }

    /// True if states of this hash are made by this worker, without a question to any other.
    #[inline]
    pub(crate) fn is_at_home(&self, hash: KeyHash) -> bool {
        let Placement { relief, custody, .. } = &self.placement;
        self.hashing.home(hash) == self.worker && relief.is_none() && custody.errand != Errand::Return
    }

    #[cold]
    fn claim_anothers(
        &mut self,
        passage: &Passage<'_>,
        hook: &Hook<'_>,
        home: WorkerId,
        relief: Option<WorkerId>,
    ) -> Result<(), Stop> {
        let Flow { key, hash, .. } = &passage.flow;
        let Custody { from, handoffs, errand } = self.placement.custody;
        if home != self.worker {
            let is_own = self.placement.is_placed() || self.connections.knows(key, *hash);
            return if is_own { Ok(()) } else { Err(Stop::HandOff(home)) };
        }
        // What a rule without state has let in is not asked about again elsewhere.
        // Nor is a datagram begun elsewhere that goes there in fragments, some of which may be lost on the way.
        let begins = passage.new && hook.first.is_none() && !self.normalizer.has_joined();
        match (errand, from, relief) {
            (Errand::Return, Some(from), _) if begins => {
                let next = self.behind(from).and_then(|next| self.place(key, *hash, next));
                Err(next.map_or(Stop::silent(Reason::Translate), Stop::Lend))
            }
            (Errand::Follow, _, Some(_)) if begins && from != relief && handoffs < HANDOFFS_MAX => relief
                .and_then(|at| self.place(key, *hash, at))
                .map_or(Ok(()), |owner| Err(Stop::Place(owner))),
            _ => Ok(()),
        }
    }

    /// Notes that a flow that has no states is to be `owner`'s.
    fn place(&mut self, key: &Key, hash: KeyHash, owner: WorkerId) -> Option<WorkerId> {
        self.connections.add_alias(key, hash, owner).ok()?;
        self.counters.placed += 1;
        Some(owner)
    }

    /// The worker behind another one, in a round of all but this one.
    fn behind(&self, worker: WorkerId) -> Option<WorkerId> {
        let next = WorkerId((worker.0 + 1) % self.hashing.workers());
        (next != self.worker).then_some(next)
    }

    /// A packet is handed over.
    pub(crate) const fn give_away(&mut self, fate: Fate) -> Fate {
        self.counters.handed_off += 1;
        fate
    }

    /// Passes the first packet of a flow on for which no port is left here: the home to the next worker of the round, others
    /// back to the home. What it has made here is undone. `None`: there is nobody else, the flow is not new, or the packet was
    /// copied on its way.
    #[cold]
    pub(crate) fn pass_on(&mut self, passage: &Passage<'_>) -> Option<Fate> {
        let Flow { key, hash, .. } = &passage.flow;
        let home = self.hashing.home(*hash);
        let errand = self.placement.custody.errand;
        let next = self.behind(self.worker);
        let goes = match (home == self.worker, errand) {
            // Nobody else can begin what was let in without a state.
            (true, errand) => errand != Errand::Return && next.is_some(),
            (false, _) => self.placement.is_placed(),
        };
        // Copies of it are made, and would be once more.
        if !goes || !passage.new || passage.copied || self.normalizer.has_joined() {
            return None;
        }
        let undone = self.connections.remove_all(key, *hash);
        self.counters.inserts -= u64::from(undone);
        let fate = match (home == self.worker, errand) {
            (true, _) => Fate::Lend(self.place(key, *hash, next?)?),
            (false, Errand::Lend) => Fate::Return(home),
            // The home has been relieved of it, and may have ports.
            (false, _) => Fate::HandOff(home),
        };
        Some(self.give_away(fate))
    }
}
