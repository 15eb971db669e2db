//! A packet's way through the firewall: the IN hook, the router, the OUT hook.

use core::net::IpAddr;

use ruleset::{Direction, Reason};

use super::hook::{Hook, Outcome};
use super::packet::{Packet, Transport};
use super::reply::Verdict;
use super::state::{State, StateId};
use super::{InterfaceId, Oracle, PRIO_DEFAULT};

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
    /// It crosses a transparent pair and leaves by this interface, routed by nobody.
    Across(InterfaceId),
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
        (_, Onward::Interface(out) | Onward::Across(out)) => Ok(Some(out)),
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

    /// Where the last packet went that passed, and the address that it was routed to.
    pub const fn way(&self) -> (Onward, IpAddr) {
        self.way
    }

    /// Takes one packet through the firewall at `now` nanoseconds; `to` is where it goes unless it is translated first.
    pub fn forward(&mut self, packet: &Packet, from: From, to: Onward, now: u64) -> Verdict {
        self.change(&mut packet.clone(), from, to, now)
    }

    /// As [`Oracle::forward`]; a packet that passes becomes what is sent.
    pub fn change(&mut self, packet: &mut Packet, from: From, to: Onward, now: u64) -> Verdict {
        let last = self.last_id;
        self.doomed = None;
        let verdict = self.pass_through(packet, from, to, now);
        if let Some(hook) = self.doomed {
            self.refuse_late(hook, last);
            self.draw_as_sent(packet);
        }
        verdict
    }

    /// Removes what was made behind the last state, if the one of a hook is refused: a state that is tracked otherwise than the
    /// one behind it is on its own.
    fn refuse_late(&mut self, hook: Direction, last: u64) {
        let made: Vec<State> = self.states.iter().filter(|state| state.id.0 > last).cloned().collect();
        let alike = made.windows(2).all(|pair| pair[0].manner() == pair[1].manner());
        for state in
            made.into_iter().filter(|state| alike || hook == Direction::In || state.direction == hook)
        {
            self.remove(state.id);
        }
    }

    /// What is drawn at random of a packet whose states are gone is known by what it was sent with alone.
    fn draw_as_sent(&self, packet: &mut Packet) {
        if let (Transport::Tcp(tcp), Some(Packet { transport: Transport::Tcp(sent), .. })) =
            (&mut packet.transport, &self.learned.sent)
        {
            (tcp.seq, tcp.ack, tcp.stamps) = (sent.seq, sent.ack, sent.stamps);
        }
    }

    fn pass_through(&mut self, packet: &mut Packet, from: From, mut to: Onward, now: u64) -> Verdict {
        (self.speaker, self.prio, self.hops) = (from, PRIO_DEFAULT, packet.ttl);
        (self.came, self.entered) = (Some(packet.clone()), None);
        let mut tag = None;
        let (asked, told) = (packet.clone(), self.deviations.numbers_as_told);
        let mut entered = Outcome::from(Verdict::Pass);
        if let From::Interface(interface) = from {
            let hook = Hook { direction: Direction::In, interface };
            entered = self.test(hook, packet, &mut tag, now);
            if entered.verdict != Verdict::Pass {
                return entered.verdict;
            }
            let asked_for = packet.destination;
            entered.turn(packet);
            if packet.destination != asked_for && !matches!(to, Onward::Across(_)) {
                to = self.onward(packet);
            }
            self.entered = entered.met.as_ref().map(|met| (met.ends_of_all()[0], met.direction));
            self.restamp(packet, &entered, Direction::In);
            entered.actions.change(packet, &mut self.prio);
            entered.numbers.change(packet, told);
        }
        self.way = (to, packet.destination);
        let left = match routed(packet, from, to) {
            Ok(Some(interface)) => {
                self.test(Hook { direction: Direction::Out, interface }, packet, &mut tag, now)
            }
            Ok(None) => Verdict::Pass.into(),
            Err(reason) => Verdict::drop(reason).into(),
        };
        if left.verdict == Verdict::Pass {
            left.turn(packet);
            self.restamp(packet, &left, Direction::Out);
            packet.ttl -= u8::from(matches!((from, to), (From::Interface(_), Onward::Interface(_))));
            left.actions.change(packet, &mut self.prio);
            left.numbers.change(packet, told);
            self.settle(&entered, &left, to, now);
        } else if self.deviations.commit_once {
            self.take_back(entered.met);
        }
        if told { entered.numbers.as_told(left.verdict, &asked) } else { left.verdict }
    }

    /// States that are made remember what else their packet was.
    fn hold(&mut self, entered: &Outcome, left: &Outcome) {
        let Some(made) = left.made else { return };
        let first = entered.made.or(entered.met.as_ref().map(|met| met.id)).and_then(|id| self.state(id));
        if let Some([came, _]) = first.map(State::ends_of_all) {
            self.state_mut(made).also = Some(came);
        }
    }

    /// A packet got through: the states that it made or met at its hooks are a pair from now on, or still, or no more.
    fn settle(&mut self, entered: &Outcome, left: &Outcome, to: Onward, now: u64) {
        self.hold(entered, left);
        if let (Some(one), Some(other), Onward::Interface(out) | Onward::Across(out)) =
            (entered.made, left.made, to)
            && !self.is_behind_another(other, out, now)
        {
            self.pair_if_alike(one, other);
        }
        let met = |outcome: &Outcome| outcome.met.as_ref().map(|before| before.id);
        for (here, there) in [(met(entered), met(left)), (met(left), met(entered))] {
            let Some(id) = here.filter(|id| self.state(*id).is_some()) else { continue };
            if self.state(id).and_then(|state| state.partner) != there {
                self.part(id);
            }
        }
    }

    /// True if packets that follow the one that made a state on that interface meet another one, which is older.
    fn is_behind_another(&self, made: StateId, interface: InterfaceId, now: u64) -> bool {
        let state = self.state(made).expect("it was just made");
        let (hook, key) = (Hook { direction: state.direction, interface }, state.stack);
        let mut met = self.states.iter().filter(|other| self.is_met(other, hook, key));
        met.find(|other| !self.has_expired(other, now)).is_some_and(|other| other.id != made)
    }

    /// Design A2: tracking is shared only by two states of one pass that are tracked alike.
    fn pair_if_alike(&mut self, one: StateId, other: StateId) {
        let manner = |id| self.state(id).map(State::manner);
        // The second hook may have replaced what the first one made.
        if self.state(one).is_some() && manner(one) == manner(other) {
            self.pair(one, other);
            self.state_mut(one).also = self.state(other).map(State::ends);
            self.relate(one, other);
        }
    }

    /// Design A3: a packet died behind the hook that let it in; the state that it met there is as it was.
    fn take_back(&mut self, met: Option<State>) {
        let Some(before) = met.filter(|before| self.state(before.id).is_some()) else { return };
        let id = before.id;
        let (packets, bytes) = (before.packets, before.bytes);
        self.keep(id, before);
        let state = self.state_mut(id);
        (state.packets, state.bytes) = (packets, bytes);
    }
}
