//! One of pf's states, and its key.
//!
//! Overview: pf keeps two of these for a forwarded connection, one made at the hook where it enters and one where it
//! leaves. Nothing is shared between them; a [`State::partner`] is only remembered for the deviation that needs it.

use core::net::IpAddr;

use ruleset::{Direction, PacketRate, PeerState, PeerView, StateOptions, StateView, Timeout, TupleEnd};
use wire::{Port, Proto, Seq};

use super::hook::Subject;
use super::translate::Ends;
use super::{Actions, Clock, InterfaceId, Packet};

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// pf's state id: the order of creation, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StateId(pub u64);

/// pf's state key (pf.md 2.1): the same for both directions of a connection, as seen at one place.
///
/// `near` is the source of packets that enter there and the destination of packets that leave there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The protocol.
    pub proto: Proto,
    /// The end on the outer side of the hook.
    pub near: TupleEnd,
    /// The end on the firewall's side of the hook.
    pub far: TupleEnd,
}

impl Key {
    /// The key of a packet between these ends, at a hook of `direction`.
    pub(super) const fn at(direction: Direction, proto: Proto, ends: Ends) -> Self {
        match direction {
            Direction::In => Self { proto, near: ends.source, far: ends.destination },
            Direction::Out => Self { proto, near: ends.destination, far: ends.source },
        }
    }

    /// The ends of a packet with this key at a hook of `direction`.
    pub(super) const fn ends(self, direction: Direction) -> Ends {
        match direction {
            Direction::In => Ends { source: self.near, destination: self.far },
            Direction::Out => Ends { source: self.far, destination: self.near },
        }
    }
}

/// An address and a port.
pub(super) const fn end(address: IpAddr, port: Port) -> TupleEnd {
    TupleEnd { address, port }
}

/// What pf knows of one end (`struct pf_state_peer`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// How far it has come.
    pub state: PeerState,
    /// The next sequence number expected from it.
    pub seqlo: Seq,
    /// The highest sequence number that its peer's window allows it.
    pub seqhi: Seq,
    /// The largest window that it announced, in units of its scale.
    pub max_win: u16,
    /// The scale that it announced; `None` is pf's 0 without `PF_WSCALE_FLAG`.
    pub wscale: Option<u8>,
    /// What is added to its numbers on the way to its peer (`modulate state`); 0 is nothing.
    pub seqdiff: u32,
    /// Whether a packet of it was tracked. pf has no such bit and asks whether `seqlo` is 0.
    pub seen: Seen,
}

/// Whether sequence numbers of an end are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// Not yet.
    #[default]
    No,
    /// They are.
    Yes,
}

impl Peer {
    /// An end in this state of which no sequence number is known (pf.md 2.3: 0, 1, 1).
    pub const fn unseen(state: PeerState) -> Self {
        Self { state, seqlo: Seq(0), seqhi: Seq(1), max_win: 1, wscale: None, seqdiff: 0, seen: Seen::No }
    }

    /// What a refused segment of the handshake does to its sender (pf.md 2.5, last paragraph).
    pub(super) const fn forget_sequence(&mut self) {
        self.seqlo = Seq(0);
        self.seqhi = Seq(1);
        self.max_win = 1;
        self.seen = Seen::No;
    }
}

/// The rule that made a state: its number in the ruleset of that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef {
    /// Which ruleset, counted from 0.
    pub generation: u32,
    /// The rule's number in it.
    pub number: usize,
    /// Its identity, which is stable over reloads.
    pub identity: u64,
}

/// One of pf's states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its id.
    pub id: StateId,
    /// The key that packets entering are looked up by.
    pub wire: Key,
    /// The key that packets leaving are looked up by; equal to `wire` without translation.
    pub stack: Key,
    /// What else the packet that made it was on its way: the firewall keeps those from other connections as long as it lasts.
    pub also: Option<Ends>,
    /// The interface that it is bound to; `None` if it floats.
    pub interface: Option<InterfaceId>,
    /// The hook at which it was made.
    pub direction: Direction,
    /// The rule that made it.
    pub rule: RuleRef,
    /// The rule's state options, as they were then.
    pub options: StateOptions,
    /// `allow-opts` of that rule.
    pub allow_opts: bool,
    /// `max-pkt-rate` of that rule.
    pub rate: Option<PacketRate>,
    /// What it changes of every packet.
    pub actions: Actions,
    /// The tag that it puts on every packet.
    pub tag: Option<String>,
    /// The sender of the packet that made it.
    pub source: Peer,
    /// The other end.
    pub destination: Peer,
    /// Timestamps and hops to live of both, in that order, if the rule reassembles TCP.
    pub clocks: Option<[Clock; 2]>,
    /// The id that the other side gives it ([`Oracle::learn`](super::Oracle::learn)).
    pub like: Option<u64>,
    /// The state at the other hook that the same packet made, of those that look at timestamps.
    pub sibling: Option<StateId>,
    /// Which time-out applies.
    pub class: Timeout,
    /// When it was last refreshed, in nanoseconds, rounded down to the oracle's granularity.
    pub last_seen: u64,
    /// When it was made, in nanoseconds.
    pub created: u64,
    /// Packets from the source, and from the destination.
    pub packets: [u64; 2],
    /// Their octets.
    pub bytes: [u64; 2],
    /// Its handshake was completed, and counts for its source.
    pub connected: bool,
    /// The state that the same packet made at its other hook, while the two were only ever changed together.
    pub partner: Option<StateId>,
}

impl State {
    /// The peers as a packet at a hook of `direction` sees them: its sender first (pf.md 2.5, `src` and `dst`).
    pub(super) const fn peers(&mut self, direction: Direction) -> (&mut Peer, &mut Peer) {
        match (self.direction, direction) {
            (Direction::In, Direction::In) | (Direction::Out, Direction::Out) => {
                (&mut self.source, &mut self.destination)
            }
            _ => (&mut self.destination, &mut self.source),
        }
    }

    /// Counts a packet that passed the hook (`pf_counters_inc`).
    pub(super) fn count(&mut self, direction: Direction, length: u32) {
        let way = usize::from(direction != self.direction);
        self.packets[way] += 1;
        self.bytes[way] += u64::from(length);
    }

    /// How its packets are tracked: sloppily, and looking at timestamps.
    pub(super) const fn manner(&self) -> (bool, bool) {
        (self.options.sloppy, self.actions.reassemble_tcp)
    }

    /// The key of packets in front of a hook of `direction`, and behind it.
    pub(super) const fn keys(&self, direction: Direction) -> [Key; 2] {
        match direction {
            Direction::In => [self.wire, self.stack],
            Direction::Out => [self.stack, self.wire],
        }
    }

    /// The ends of the packet that made it as it came to the firewall, and as it left.
    pub(super) fn ends_of_all(&self) -> [Ends; 2] {
        let [before, behind] = self.sides();
        match self.direction {
            Direction::In => [before, self.also.unwrap_or(behind)],
            Direction::Out => [self.also.unwrap_or(before), behind],
        }
    }

    /// True if packets between these ends, in either direction, are of its connection, wherever they are.
    pub(super) fn has(&self, ends: Ends) -> bool {
        let own = self.sides().into_iter().chain(self.also);
        // What comes from its receiver has no answers.
        let is_answered = ends.source.address != ends.destination.address;
        own.into_iter().any(|own| own == ends || is_answered && own.reverse() == ends)
    }

    /// The ends of the packet that made it, in front of its hook, and behind it.
    pub(super) fn sides(&self) -> [Ends; 2] {
        self.keys(self.direction).map(|key| key.ends(self.direction))
    }

    /// The ends of the packet that made it, behind its hook.
    pub(super) fn ends(&self) -> Ends {
        let [_, behind] = self.sides();
        behind
    }

    /// A packet of this state behind a hook of `direction`, if it is translated there.
    pub(super) fn turned(&self, direction: Direction, subject: Subject, packet: &Packet) -> Option<Packet> {
        let [before, behind] = self.keys(direction);
        let mut packet = (before != behind).then(|| packet.clone())?;
        let ends = behind.ends(direction);
        match subject {
            Subject::Own => packet.turn(ends),
            Subject::Quoted => packet.turn_quoted(ends.reverse()),
        }
        Some(packet)
    }

    /// Who sent the packet that made it.
    pub(super) fn source_address(&self) -> IpAddr {
        let [came, _] = self.sides();
        came.source.address
    }

    /// The state as pfctl prints it. Times are in nanoseconds; `rule` is its number in its ruleset, with that of the call of
    /// its anchor.
    pub(super) fn view(
        &self,
        interface: String,
        rule: Option<(u32, Option<u32>)>,
        now: u64,
        deadline: u64,
    ) -> StateView {
        let [came, behind] = self.sides();
        // pf prints the scale only if both ends announced one.
        let scaled = self.source.wscale.is_some() && self.destination.wscale.is_some();
        let peer = |[before, end]: [TupleEnd; 2], peer: &Peer, way: usize| PeerView {
            end,
            untranslated: (before != end).then_some(before),
            state: peer.state,
            seqlo: peer.seqlo.0,
            seqhi: peer.seqhi.0,
            // What was not seen has no numbers.
            seqdiff: if peer.seen == Seen::Yes { peer.seqdiff } else { 0 },
            wscale: peer.wscale.filter(|_| scaled),
            packets: self.packets[way],
            bytes: self.bytes[way],
        };
        StateView {
            interface,
            proto: self.wire.proto,
            direction: self.direction,
            route: None,
            rtable: ruleset::RoutingTable::MAIN,
            source: peer([came.source, behind.source], &self.source, 0),
            destination: peer([came.destination, behind.destination], &self.destination, 1),
            age_s: seconds(now.saturating_sub(self.created)),
            expires_in_s: seconds(deadline.saturating_sub(now)),
            rule: rule.map(|(number, _)| number),
            anchor: rule.and_then(|(_, anchor)| anchor),
            sloppy: self.options.sloppy,
            source_track: self.options.source.track.is_some(),
            sticky: false,
            id: self.id.0,
            creator: 0,
        }
    }
}

fn seconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds / SECOND).unwrap_or(u32::MAX)
}
