//! A packet's way through the firewall: the IN hook, the router, the OUT hook.

use ruleset::{Direction, Reason};

use super::hook::{Hook, Lookup, Subject, sound};
use super::packet::{IpOptions, Packet};
use super::reply::Verdict;
use super::state::{State, StateId};
use super::track::{Forgot, Tracked};
use super::{InterfaceId, Oracle};

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// It arrived on this interface.
    Interface(InterfaceId),
    /// The firewall itself sends it.
    Host,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// It is forwarded through this interface.
    Interface(InterfaceId),
    /// It is for the firewall itself.
    Host,
    /// There is no route.
    Nowhere,
}

/// Why a way through the router ended before the second hook.
const fn routed(packet: &Packet, from: From, to: Onward) -> Result<Option<InterfaceId>, Reason> {
    match (from, to) {
        (_, Onward::Host) => Ok(None),
        // What the firewall sends itself is not forwarded: its time to live is not spent here.
        (From::Interface(_), Onward::Interface(_) | Onward::Nowhere) if packet.ttl <= 1 => Err(Reason::Ttl),
        (_, Onward::Nowhere) => Err(Reason::NoRoute),
        (_, Onward::Interface(out)) => Ok(Some(out)),
    }
}

impl Oracle {
    /// Where a packet to this destination goes, by the world's addresses and routes.
    pub fn onward(&self, packet: &Packet) -> Onward {
        if self.world.is_own(packet.destination) {
            return Onward::Host;
        }
        self.world.route(packet.destination).map_or(Onward::Nowhere, Onward::Interface)
    }

    /// Takes one packet through the firewall at `now` nanoseconds.
    pub fn forward(&mut self, packet: &Packet, from: From, to: Onward, now: u64) -> Verdict {
        if self.deviations.commit_once
            && let From::Interface(arrival) = from
            && let Some(verdict) = self.forward_pair(packet, arrival, to, now)
        {
            return verdict;
        }
        let mut tag = None;
        let mut made_in = None;
        if let From::Interface(interface) = from {
            let hook = Hook { direction: Direction::In, interface };
            let outcome = self.test(hook, packet, &mut tag, now);
            if outcome.verdict != Verdict::Pass {
                return outcome.verdict;
            }
            made_in = outcome.made;
        }
        let interface = match routed(packet, from, to) {
            Ok(Some(interface)) => interface,
            Ok(None) => return Verdict::Pass,
            Err(reason) => return Verdict::drop(reason),
        };
        let outcome = self.test(Hook { direction: Direction::Out, interface }, packet, &mut tag, now);
        if let (Some(one), Some(other)) = (made_in, outcome.made) {
            self.pair_if_alike(one, other);
        }
        outcome.verdict
    }

    /// Design A2: tracking is shared only by two states of one pass that are tracked alike.
    fn pair_if_alike(&mut self, one: StateId, other: StateId) {
        let sloppy = |id| self.state(id).is_some_and(|state| state.options.sloppy);
        // The second hook may have replaced what the first one made.
        if self.state(one).is_some() && sloppy(one) == sloppy(other) {
            self.pair(one, other);
        }
    }

    /// Design A3, for a packet that meets both states of a pair: check, then what could still end it, then commit both
    /// and count. `None` if that is not this packet's case; then nothing was changed.
    fn forward_pair(
        &mut self,
        packet: &Packet,
        arrival: InterfaceId,
        to: Onward,
        now: u64,
    ) -> Option<Verdict> {
        let from = From::Interface(arrival);
        let hook = Hook { direction: Direction::In, interface: arrival };
        if self.is_skipped(arrival) {
            return None;
        }
        let packet = &sound(packet).ok()?;
        let (first, subject) = self.hit(hook, packet, now)?;
        let second = self.partner(first, now)?;
        let state = self.state(first)?.clone();
        let after = match self.track(&state, hook, packet, subject, now) {
            Tracked::Fits(after) => after,
            Tracked::Refused { forgot, verdict, .. } => {
                if forgot == Forgot::Yes {
                    self.forget(first, hook.direction);
                    self.forget(second, hook.direction.reverse());
                }
                return Some(verdict);
            }
            Tracked::Reuse => return None,
        };
        if self.refuses_options(first, packet) {
            return Some(Verdict::drop(Reason::IpOption));
        }
        let interface = match routed(packet, from, to) {
            Ok(interface) => interface?,
            Err(reason) => return Some(Verdict::drop(reason)),
        };
        let out = Hook { direction: Direction::Out, interface };
        if self.is_skipped(interface) || self.hit(out, packet, now) != Some((second, subject)) {
            return None;
        }
        if self.refuses_options(second, packet) {
            return Some(Verdict::drop(Reason::IpOption));
        }
        self.commit_pair(first, second, after);
        self.state_mut(first).count(hook.direction, packet.length);
        self.state_mut(second).count(out.direction, packet.length);
        Some(Verdict::Pass)
    }

    fn hit(&mut self, hook: Hook, packet: &Packet, now: u64) -> Option<(StateId, Subject)> {
        match self.lookup(hook, packet, now) {
            Lookup::Hit(id, subject) => Some((id, subject)),
            Lookup::Miss | Lookup::Refused(_) => None,
        }
    }

    /// The other state of the pair, unless its time is over.
    fn partner(&self, id: StateId, now: u64) -> Option<StateId> {
        let partner = self.state(self.state(id)?.partner?)?;
        (!self.has_expired(partner, now)).then_some(partner.id)
    }

    fn refuses_options(&self, id: StateId, packet: &Packet) -> bool {
        packet.options == IpOptions::Present && self.state(id).is_some_and(|state| !state.allow_opts)
    }

    /// Takes the sender's sequence numbers away; `direction` is the packet's at that state's hook.
    fn forget(&mut self, id: StateId, direction: Direction) {
        let (sender, _) = self.state_mut(id).peers(direction);
        sender.forget_sequence();
    }

    /// Writes what tracking made of one state of a pair to both. One packet made both, so both have one source.
    fn commit_pair(&mut self, first: StateId, second: StateId, after: State) {
        self.keep(second, after.clone());
        self.keep(first, after);
    }
}
