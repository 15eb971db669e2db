//! One hook: `pf_test` for a packet that enters or leaves an interface (pf.md 2.1 to 2.4).

use core::net::IpAddr;

use ruleset::{Action, Direction, PeerState, Reason, Rule, StateMode, StatePolicy, Timeout};
use wire::{Af, Port, Proto};

use super::icmp::{self, Mapping, OwnState};
use super::modulate::Numbers;
use super::packet::{Packet, Part, Quoted, QuotedPart, QuotedTransport, Transport};
use super::reply::Verdict;
use super::state::{Key, Peer, RuleRef, State, StateId, end};
use super::track::{Forgot, Tracked};
use super::translate::Ends;
use super::walk::Walk;
use super::{Actions, From, InterfaceId, IpOptions, Oracle, Tag, tcp};

/// A place where packets are filtered: a direction on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Entering or leaving the firewall.
    pub direction: Direction,
    /// Where.
    pub interface: InterfaceId,
}

/// What of a packet belongs to the state that was found for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The packet.
    Own,
    /// The packet that it quotes: it is an ICMP error.
    Quoted,
}

/// What the look-up of a packet's state ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// This state.
    Hit(StateId, Subject),
    /// No state: the rules decide.
    Miss,
    /// A state that the packet contradicts, or a packet that is looked up no further.
    Refused(Reason),
}

/// What a hook did.
pub(super) struct Outcome {
    pub verdict: Verdict,
    /// The state that it made.
    pub made: Option<StateId>,
    /// The state that it met, as it was before.
    pub met: Option<State>,
    /// The packet behind the hook, if that has translated it.
    pub turned: Option<Packet>,
    /// What is changed of the packet, if it passed.
    pub actions: Actions,
    /// And of its numbers.
    pub numbers: Numbers,
    /// The state that looks at its timestamps.
    pub stamped: Option<StateId>,
}

impl core::convert::From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        let (actions, numbers) = (Actions::default(), Numbers::default());
        Self { verdict, made: None, met: None, turned: None, actions, numbers, stamped: None }
    }
}

impl Outcome {
    /// Makes of a packet what it is behind the hook.
    pub fn turn(&self, packet: &mut Packet) {
        if let Some(turned) = &self.turned {
            packet.clone_from(turned);
        }
    }
}

impl Oracle {
    /// Filters one packet at one hook, at `now` nanoseconds. `tag` is the packet's tag, which stays with it.
    pub fn hook(&mut self, hook: Hook, packet: &Packet, tag: &mut Tag, now: u64) -> Verdict {
        let outcome = self.test(hook, packet, tag, now);
        if let Some(before) = &outcome.met {
            self.part(before.id);
        }
        outcome.verdict
    }

    pub(super) fn test(&mut self, hook: Hook, packet: &Packet, tag: &mut Tag, now: u64) -> Outcome {
        if self.is_skipped(hook.interface) {
            return Verdict::Pass.into();
        }
        let packet = match sound(packet) {
            Ok(packet) => packet,
            Err(reason) => return Verdict::drop(reason).into(),
        };
        match self.lookup(hook, &packet, now) {
            Lookup::Hit(id, subject) => self.with_state(id, subject, hook, &packet, tag, now),
            Lookup::Miss => self.evaluate(hook, &packet, tag, now),
            Lookup::Refused(reason) => Verdict::drop(reason).into(),
        }
    }

    /// `set skip on`.
    pub(super) fn is_skipped(&self, interface: InterfaceId) -> bool {
        let interface = self.world.interface(interface);
        self.rules.options.skip.iter().any(|name| interface.is_named(name))
    }

    /// The state that the packet concerns here.
    pub(super) fn lookup(&mut self, hook: Hook, packet: &Packet, now: u64) -> Lookup {
        // "handle fragments that aren't reassembled": by the rules alone.
        // And who does not know that another worker has a tuple does not know its states.
        if packet.part != Part::Whole || self.doomed.is_some() {
            return Lookup::Miss;
        }
        match packet.icmp() {
            Some(icmp) if icmp::is_error(packet.af(), icmp.kind) => self.lookup_quoted(hook, packet, now),
            Some(_) => self.lookup_query(hook, packet, now),
            None => match self.find(hook, own_key(hook, packet), now) {
                Some(id) => Lookup::Hit(id, Subject::Own),
                None => Lookup::Miss,
            },
        }
    }

    /// pf.md 2.8, queries: "direction must fit the creating direction".
    fn lookup_query(&mut self, hook: Hook, packet: &Packet, now: u64) -> Lookup {
        let key = own_key(hook, packet);
        let mapping = own_mapping(packet).expect("the caller found an ICMP header");
        let found = self.find(hook, key, now).or_else(|| {
            // A query to all nodes is answered by each from its own address.
            let all = icmp::all_nodes(packet.af(), packet.icmp()?, mapping.way)?;
            let (sport, dport) = mapping.ports();
            let ends = Ends { source: end(all, sport), destination: end(packet.destination, dport) };
            self.find(hook, Key::at(hook.direction, key.proto, ends), now)
        });
        match found {
            Some(id) if self.goes_wrong_way(id, hook.direction, mapping.way) => {
                Lookup::Refused(Reason::StateMismatch)
            }
            Some(id) => Lookup::Hit(id, Subject::Own),
            None => Lookup::Miss,
        }
    }

    /// True if a message that travels in `direction` does not go the way of that state.
    fn goes_wrong_way(&self, id: StateId, direction: Direction, way: icmp::Way) -> bool {
        let state = self.state(id).expect("the id was just found");
        let expected = if state.direction == direction { icmp::Way::Query } else { icmp::Way::Reply };
        !state.options.sloppy && way != expected
    }

    /// pf.md 2.8, errors: the quoted packet, reversed, names the flow.
    fn lookup_quoted(&mut self, hook: Hook, packet: &Packet, now: u64) -> Lookup {
        let quoted = packet.icmp().and_then(|icmp| icmp.quoted.as_ref());
        let flow = match quoted {
            None => Err(Reason::Short),
            Some(quoted) if quoted.part == QuotedPart::Later => Err(Reason::Fragment),
            // "outer dst must equal inner src" (CVE-2019-5598)
            Some(quoted) if quoted.source != packet.destination => Err(Reason::IcmpMismatch),
            Some(quoted) => quoted_flow(quoted).ok_or(Reason::Normalize).map(|flow| (quoted, flow)),
        };
        let (quoted, flow) = match flow {
            Ok(found) => found,
            Err(reason) if self.deviations.bad_quotes_dropped => return Lookup::Refused(reason),
            Err(_) => return Lookup::Miss,
        };
        let ends = Ends {
            source: end(quoted.source, flow.source),
            destination: end(quoted.destination, flow.destination),
        };
        // The quoted packet went the other way: its destination is where this one comes from.
        match self.find(hook, Key::at(hook.direction, flow.proto, ends.reverse()), now) {
            Some(id)
                if flow.way.is_some_and(|way| self.goes_wrong_way(id, hook.direction.reverse(), way)) =>
            {
                Lookup::Refused(Reason::StateMismatch)
            }
            Some(id) => Lookup::Hit(id, Subject::Quoted),
            None => Lookup::Miss,
        }
    }

    /// A packet that has a state: tracked, its options judged, counted (pf.md 2.4, and the end of 2.1).
    fn with_state(
        &mut self,
        id: StateId,
        subject: Subject,
        hook: Hook,
        packet: &Packet,
        tag: &mut Tag,
        now: u64,
    ) -> Outcome {
        let state = self.state(id).expect("the id was just found").clone();
        match self.track(&state, hook, packet, subject, now) {
            Tracked::Fits(after, completes) => {
                if completes && let Err(reason) = self.connect(id, now) {
                    return Verdict::drop(reason).into();
                }
                let numbers = Numbers::of(&mut after.clone(), hook.direction, self.seen_by());
                let refused = packet.options == IpOptions::Present && !state.allow_opts;
                // pf has changed the state already when it looks at the options.
                if !refused || !self.deviations.commit_once {
                    self.keep(id, after);
                }
                if refused {
                    return Verdict::drop(Reason::IpOption).into();
                }
                self.put_tag(id, tag);
                self.state_mut(id).count(hook.direction, packet.length);
                let actions = state.actions;
                let stamped = self.is_stamped(id, packet).then_some(id);
                let turned = state.turned(hook.direction, subject, packet);
                let verdict = Verdict::Pass;
                Outcome { verdict, made: None, met: Some(state), turned, actions, numbers, stamped }
            }
            Tracked::Refused { leaves, forgot, verdict } => {
                if !self.deviations.commit_once {
                    self.keep(id, leaves);
                } else if forgot == Forgot::Yes {
                    self.forget(id, hook.direction);
                    if let Some(partner) = state.partner {
                        self.forget(partner, hook.direction.reverse());
                    }
                }
                self.answerable(verdict, packet).into()
            }
            Tracked::Reuse => {
                self.remove(id);
                self.evaluate(hook, packet, tag, now)
            }
        }
    }

    /// Takes the sender's sequence numbers away; `direction` is the packet's at that state's hook. That the sender has
    /// said something is remembered.
    fn forget(&mut self, id: StateId, direction: Direction) {
        let (sender, _) = self.state_mut(id).peers(direction);
        sender.forget_sequence();
        sender.state = sender.state.max(PeerState::SynSent);
    }

    /// Writes what tracking changed back to the state.
    pub(super) fn keep(&mut self, id: StateId, after: State) {
        let state = self.state_mut(id);
        state.source = after.source;
        state.destination = after.destination;
        state.class = after.class;
        state.clocks = after.clocks;
        state.last_seen = after.last_seen;
    }

    /// The state's tag is put on every packet.
    pub(super) fn put_tag(&self, id: StateId, tag: &mut Tag) {
        if let Some(own) = self.state(id).and_then(|state| state.tag.as_ref()) {
            *tag = Some(own.clone());
        }
    }

    /// A packet without a state: the rules (`pf_test_rule`, pf.md 2.2).
    fn evaluate(&mut self, hook: Hook, packet: &Packet, tag: &mut Tag, now: u64) -> Outcome {
        let came = packet;
        let walk = self.walk(hook, came, tag, now);
        if let Some(reason) = walk.refused {
            return Verdict::drop(reason).into();
        }
        let rule = match walk.rule {
            Some(number) => self.rules.rules[number].clone(),
            None => Rule::default(),
        };
        if let Action::Block(form) = rule.action {
            return self.blocked(&walk.packet, form).into();
        }
        if walk.tag.is_some() {
            tag.clone_from(&walk.tag);
        }
        // "pass rule + options without allow-opts -> drop", before a state is made.
        if packet.options == IpOptions::Present && !rule.allow_opts {
            return Verdict::drop(Reason::IpOption).into();
        }
        let is_single = own_mapping(came).is_some_and(|mapping| mapping.own_state == OwnState::No);
        let stateful = rule.state != StateMode::None && came.part == Part::Whole && !is_single;
        let mut packet = walk.packet.clone();
        if let Err(reason) = self.translate(&rule, walk.chosen, &mut packet) {
            return Verdict::drop(reason).into();
        }
        if self.speaker == From::Host && stateful && Ends::of(&packet) == Ends::of(came) {
            self.step_aside(hook, walk.chosen, &mut packet);
        }
        let is_turned = Ends::of(&packet) != Ends::of(came);
        let turned = is_turned.then(|| packet.clone());
        let mut actions = walk.actions;
        actions.add(&rule);
        match walk.rule {
            Some(number) if stateful => match self.create((&rule, number), walk, hook, came, &packet, now) {
                Ok(id) => {
                    let seen_by = self.seen_by();
                    let numbers = Numbers::of(self.state_mut(id), hook.direction, seen_by);
                    let stamped = self.is_stamped(id, came).then_some(id);
                    Outcome {
                        verdict: Verdict::Pass,
                        made: Some(id),
                        met: None,
                        turned,
                        actions,
                        numbers,
                        stamped,
                    }
                }
                Err(reason) => Verdict::drop(reason).into(),
            },
            // Nothing could find its way back.
            _ if is_turned && !is_single => Verdict::drop(Reason::Translate).into(),
            _ => {
                if !self.deviations.matches_change_stateless {
                    actions = Actions::default();
                    actions.add(&rule);
                }
                Outcome { actions, turned, ..Verdict::Pass.into() }
            }
        }
    }

    /// pf.md 2.3.
    fn create(
        &mut self,
        (rule, number): (&Rule, usize),
        walk: Walk,
        hook: Hook,
        packet: &Packet,
        behind: &Packet,
        now: u64,
    ) -> Result<StateId, Reason> {
        let made_by = RuleRef { generation: self.generation, number, identity: rule.identity };
        self.admit_source(rule, packet.source)?;
        let max = u64::from(rule.state_options.max);
        if max > 0 && self.states_of(made_by) >= max {
            return Err(Reason::StateLimit);
        }
        let [came, left] = [packet, behind].map(|packet| own_key(hook, packet));
        if self.deviations.hidden_keys_may_collide && self.is_in_the_way(hook, packet, behind) {
            if !self.is_late(Reason::StateInsert) {
                return Err(Reason::StateInsert);
            }
            self.doomed = self.doomed.or(Some(hook.direction));
        }
        // pf has a reason for a rule's own limit only; that no state could be allocated is `memory`.
        if self.is_full() {
            return Err(Reason::Memory);
        }
        let policy = rule.state_options.policy.unwrap_or(self.rules.options.state_policy);
        let (wire, stack) = match hook.direction {
            Direction::In => (came, left),
            Direction::Out => (left, came),
        };
        let (source, destination, class) = first_peers(packet);
        let mut state = State {
            id: StateId(0),
            wire,
            stack,
            also: None,
            interface: (policy == StatePolicy::IfBound).then_some(hook.interface),
            direction: hook.direction,
            rule: made_by,
            options: rule.state_options.clone(),
            allow_opts: rule.allow_opts,
            rate: rule.packet_rate.filter(|rate| rate.packets > 0),
            actions: {
                let mut actions = walk.actions;
                actions.add(rule);
                actions
            },
            tag: walk.tag,
            source,
            destination,
            clocks: None,
            like: None,
            sibling: None,
            class,
            last_seen: self.rounded(now),
            created: now,
            packets: [0; 2],
            bytes: [0; 2],
            connected: false,
            partner: None,
        };
        state.count(hook.direction, packet.length);
        state.like = self.shown(&state).map(|view| view.id);
        self.begin_modulation(&mut state, rule.state, packet);
        self.begin_stamps(&mut state, packet, now);
        if self.doomed.is_some() { Ok(self.add(state)) } else { self.insert(state, now) }
    }
}

/// The peers of a new state, sender first, and its first time-out.
fn first_peers(packet: &Packet) -> (Peer, Peer, Timeout) {
    let single = (Peer::unseen(PeerState::Single), Peer::unseen(PeerState::NoTraffic));
    let none = Peer::unseen(PeerState::NoTraffic);
    match &packet.transport {
        Transport::Tcp(tcp) => (tcp::first_peer(tcp), Peer::unseen(PeerState::Closed), Timeout::TcpFirst),
        Transport::Udp { .. } => (single.0, single.1, Timeout::UdpFirst),
        Transport::Icmp(_) | Transport::Icmp6(_) => (none, none, Timeout::IcmpFirst),
        Transport::Other(_) => (single.0, single.1, Timeout::OtherFirst),
    }
}

/// What is filtered by no rule: TCP headers in two fragments, headers that nobody sends, and ICMP of
/// the other family (pf.md 1, Scrub; CVE-2009-0687).
fn sound(packet: &Packet) -> Result<Packet, Reason> {
    if packet.part == Part::WithinHeader {
        return Err(Reason::Fragment);
    }
    let mut sound = packet.clone();
    match (&packet.transport, packet.af()) {
        (Transport::Tcp(tcp), _) => {
            sound.transport = Transport::Tcp(tcp::normalize(tcp).map_err(|_| Reason::Normalize)?);
        }
        // pf counts a datagram to port 0 as too short.
        (Transport::Udp { destination_port: Port(0), .. }, _) => return Err(Reason::Short),
        (Transport::Icmp(_), Af::Inet6) | (Transport::Icmp6(_), Af::Inet) => return Err(Reason::Normalize),
        // "ND hop limit != 255 never forwarded": neighbours are not behind a router (RFC 4861 §6.1).
        (Transport::Icmp6(icmp), Af::Inet6) if matches!(icmp.kind, 133..=137) && packet.ttl != 255 => {
            return Err(Reason::Normalize);
        }
        _ => {}
    }
    Ok(sound)
}

fn own_mapping(packet: &Packet) -> Option<Mapping> {
    packet.icmp().map(|icmp| icmp::mapping(packet.af(), icmp.kind, icmp.id, icmp.target))
}

/// The key that the packet itself has at a hook.
fn own_key(hook: Hook, packet: &Packet) -> Key {
    Key::at(hook.direction, packet.transport.proto(), Ends::of(packet))
}

/// The flow of a quoted packet.
struct QuotedFlow {
    proto: Proto,
    source: Port,
    destination: Port,
    /// For ICMP: query or reply.
    way: Option<icmp::Way>,
}

/// The flow that a quoted packet belongs to; none for ICMP of the other family.
fn quoted_flow(quoted: &Quoted) -> Option<QuotedFlow> {
    let af = match quoted.source {
        IpAddr::V4(_) => Af::Inet,
        IpAddr::V6(_) => Af::Inet6,
    };
    let query = |proto, kind, id| {
        let mapping = icmp::mapping(af, kind, id, None);
        let (source, destination) = mapping.ports();
        QuotedFlow { proto, source, destination, way: Some(mapping.way) }
    };
    Some(match (quoted.transport, af) {
        (QuotedTransport::Tcp { source_port, destination_port, .. }, _) => {
            QuotedFlow { proto: Proto::TCP, source: source_port, destination: destination_port, way: None }
        }
        (QuotedTransport::Udp { source_port, destination_port }, _) => {
            QuotedFlow { proto: Proto::UDP, source: source_port, destination: destination_port, way: None }
        }
        (QuotedTransport::Icmp { kind, id }, Af::Inet) => query(Proto::ICMP, kind, id),
        (QuotedTransport::Icmp6 { kind, id }, Af::Inet6) => query(Proto::ICMP6, kind, id),
        (QuotedTransport::Icmp { .. } | QuotedTransport::Icmp6 { .. }, _) => return None,
        (QuotedTransport::Other(proto), _) => {
            QuotedFlow { proto, source: Port(0), destination: Port(0), way: None }
        }
    })
}
