//! The list of states: lookup, insertion, limits, expiry.

use ruleset::{Direction, Limit, PeerState, Reason, Timeout};
use wire::Proto;

use super::hook::Hook;
use super::packet::Packet;
use super::state::{Key, SECOND, State, StateId};
use super::translate::Ends;
use super::{InterfaceId, Oracle, RuleRef};

impl Oracle {
    /// The state that a packet with this key meets at this hook (`pf_find_state`, pf.md 2.1): entering packets by the
    /// WIRE key, leaving ones by the STACK key; the first in order that floats or is bound to this interface.
    /// An expired state is none, and is removed (design A4: expiry is tested on every hit).
    pub(super) fn find(&mut self, hook: Hook, key: Key, now: u64) -> Option<StateId> {
        while let Some(state) = self.first_met(hook, key, now) {
            let id = state.id;
            if !self.has_expired(state, now) {
                return (!self.is_over_rate(id, hook, now)).then_some(id);
            }
            self.remove(id);
        }
        None
    }

    /// The first state of that key for packets at that hook, expired or not.
    fn first_met(&self, hook: Hook, key: Key, now: u64) -> Option<&State> {
        let met = || self.states.iter().filter(|state| self.is_met(state, hook, key));
        let stays = self.deviations.connections_stay_whole;
        let all_float = self.states.iter().all(|state| state.interface.is_none());
        let is_own = |state: &&State| {
            self.has_entered(state)
                && (all_float || state.interface.is_some())
                && !self.has_expired(state, now)
        };
        met().find(is_own).filter(|_| stays).or_else(|| met().next())
    }

    /// True if this is a state of that key for packets at that hook. What comes from its receiver is no answer to what goes there,
    /// but in its own connection: addresses do not tell which way it goes.
    pub(super) fn is_met(&self, state: &State, hook: Hook, key: Key) -> bool {
        let [own, _] = state.keys(hook.direction);
        let is_told = key.near.address != key.far.address
            || match self.entered {
                Some((_, Direction::Out)) => state.direction == Direction::In && self.has_entered(state),
                _ => state.direction == hook.direction,
            };
        own == key && is_told && serves(state.interface, hook.interface)
    }

    /// True if a state is of the connection as part of which the packet has come in.
    fn has_entered(&self, state: &State) -> bool {
        self.entered.is_some_and(|(began, _)| began == state.ends_of_all()[0])
    }

    /// "Also enforces max-pkt-rate for forward direction" (pf.md 2.1): over it, the packet has no state.
    fn is_over_rate(&mut self, id: StateId, hook: Hook, now: u64) -> bool {
        let State { direction, rate, rule, .. } = *self.state_mut(id);
        let Some(rate) = rate.filter(|_| direction == hook.direction) else { return false };
        self.rates.entry((rule.generation, rule.number)).or_default().add(rate, now)
    }

    /// The state of this id.
    pub fn state(&self, id: StateId) -> Option<&State> {
        self.states.iter().find(|state| state.id == id)
    }

    pub(super) fn state_mut(&mut self, id: StateId) -> &mut State {
        self.states.iter_mut().find(|state| state.id == id).expect("the id was just found")
    }

    /// Removes a state, as `pfctl -k id` does. The state that was made with it is on its own from now on.
    pub fn remove(&mut self, id: StateId) -> Option<State> {
        let place = self.states.iter().position(|state| state.id == id)?;
        self.part(id);
        let gone = self.states.remove(place);
        self.forget_rate(&gone);
        Some(gone)
    }

    /// The two states of a pair are no longer changed together.
    pub(super) fn part(&mut self, id: StateId) {
        if let Some(partner) = self.state_mut(id).partner.take() {
            self.state_mut(partner).partner = None;
        }
    }

    /// Remembers that one packet made both.
    pub(super) fn pair(&mut self, one: StateId, other: StateId) {
        self.state_mut(one).partner = Some(other);
        self.state_mut(other).partner = Some(one);
    }

    /// Adds a state under a new id (`pf_state_insert`, pf.md 2.3). It is public so that a test can make states that
    /// no packet of it would make; `id` and `partner` are overwritten.
    ///
    /// # Errors
    /// [`Reason::StateInsert`] if either key has a state already, on the same interface and direction; unless that is
    /// TCP with both ends in FIN_WAIT_2 or beyond, which is replaced.
    pub fn insert(&mut self, state: State, now: u64) -> Result<StateId, Reason> {
        let mut replaced = Vec::new();
        for other in &self.states {
            if !self.collides(other, &state) {
                continue;
            }
            let finished = other.wire.proto == Proto::TCP
                && other.source.state.min(other.destination.state) >= PeerState::FinWait2;
            if !finished && !self.has_expired(other, now) {
                return Err(Reason::StateInsert);
            }
            replaced.push(other.id);
        }
        for id in replaced {
            self.remove(id);
        }
        Ok(self.add(state))
    }

    /// Adds a state under a new id, whatever there is.
    pub(super) fn add(&mut self, state: State) -> StateId {
        self.last_id += 1;
        let id = StateId(self.last_id);
        let state = State { id, partner: None, ..state };
        // "list is sorted, if-bound states before floating"
        match state.interface {
            Some(_) => self.states.insert(0, state),
            None => self.states.push(state),
        }
        id
    }

    /// True if both states cannot be: either key of one is a key of the other, on the same interface and direction; with the
    /// deviation, if their packets have the same key in front of the hook.
    fn collides(&self, one: &State, other: &State) -> bool {
        let [front, other_front] = [one, other].map(|state| state.keys(state.direction)[0]);
        let either = one.wire == other.wire
            || one.stack == other.stack
            || one.wire == other.stack
            || one.stack == other.wire;
        let keys = if self.deviations.hidden_keys_may_collide { front == other_front } else { either };
        keys && one.interface == other.interface && one.direction == other.direction
    }

    /// True if a packet that becomes another at a hook becomes one of another state's, or if it leaves, as it came, as one whose
    /// answers are those to a translated packet.
    pub(super) fn is_in_the_way(&self, hook: Hook, came: &Packet, left: &Packet) -> bool {
        let (proto, came, left) = (came.transport.proto(), Ends::of(came), Ends::of(left));
        if came != left {
            return self.is_in_use(proto, left);
        }
        // What an answer has made began the other way.
        let is_translated =
            |[first, last]: [Ends; 2]| ![last, last.reverse()].contains(&first) && last == left;
        hook.direction == Direction::Out
            && self.came.as_ref().map(Ends::of) == Some(came)
            && self.states.iter().any(|state| state.wire.proto == proto && is_translated(state.ends_of_all()))
    }

    /// The states that this rule made.
    pub(super) fn states_of(&self, rule: RuleRef) -> u64 {
        let own =
            |state: &&State| state.rule.generation == rule.generation && state.rule.number == rule.number;
        self.states.iter().filter(own).count() as u64
    }

    /// True if `set limit states` allows no further state.
    pub(super) fn is_full(&self) -> bool {
        self.states.len() as u64 >= u64::from(self.rules.options.limits.get(Limit::States))
    }

    /// When a state expires if nothing refreshes it, in nanoseconds (`pf_state_expires`, pf.md 2.11); 0 is at once.
    pub fn deadline(&self, state: &State) -> u64 {
        let own = |wanted: Timeout| {
            let given = state.options.timeouts.iter().rev().find(|(timeout, _)| *timeout == wanted);
            given.map_or(0, |(_, value)| *value)
        };
        let default = |timeout| self.rules.options.timeouts.get(timeout);
        let timeout = u64::from(match own(state.class) {
            0 => default(state.class),
            given => given,
        });
        // "(start,end,n) = rule's adaptive values with rule.states_cur, else global with status.states"
        let (start, end, count) = match own(Timeout::AdaptiveStart) {
            0 => (default(Timeout::AdaptiveStart), default(Timeout::AdaptiveEnd), self.states.len() as u64),
            start => (start, own(Timeout::AdaptiveEnd), self.states_of(state.rule)),
        };
        let (start, end) = (u64::from(start), u64::from(end));
        let adapts = end > 0 && count > start && start < end;
        let scaled = match (adapts, count >= end) {
            (true, true) => return 0,
            (true, false) => timeout * (end - count) / (end - start),
            (false, _) => timeout,
        };
        state.last_seen + scaled * SECOND
    }

    /// True if the state's time is over.
    pub(super) fn has_expired(&self, state: &State, now: u64) -> bool {
        self.deadline(state) <= now
    }

    /// Removes every expired state, as pf's purge does in its own time; returns how many. Deadlines are those at the
    /// call: that states go does not give the others more time within it.
    pub fn purge(&mut self, now: u64) -> usize {
        let expired: Vec<StateId> =
            self.states.iter().filter(|state| self.has_expired(state, now)).map(|state| state.id).collect();
        for &id in &expired {
            self.remove(id);
        }
        expired.len()
    }

    /// `now` as states remember it.
    pub(super) const fn rounded(&self, now: u64) -> u64 {
        now - now % self.granularity
    }
}

/// True if a state bound like this serves packets on that interface.
fn serves(bound: Option<InterfaceId>, interface: InterfaceId) -> bool {
    bound.is_none_or(|bound| bound == interface)
}
