//! `modulate state` (pf.md 2.3, 2.5): what is added to the numbers of each end on the way to its peer, at one hook.
//!
//! What is added is random; it is learned from the other side's states ([`Oracle::learn`]), and everything else that is said
//! of numbers must follow from it.

use ruleset::{Direction, StateMode, StateView};
use wire::{Seq, TcpFlags};

use super::packet::{Packet, QuotedTransport, Transport};
use super::reply::{Reply, Verdict};
use super::state::{Seen, State};
use super::tcp::SeenBy;
use super::{Oracle, Tcp, tcp};

/// What stands for a number that the other side has not shown: of a packet that it refused.
const UNKNOWN: u32 = 0x5a5a_5a5a;

/// What a hook does to the numbers of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Is added to those of its sender.
    own: u32,
    /// Is taken from those of its receiver.
    other: u32,
}

impl Numbers {
    /// Of a packet at a hook of `direction`, by its state. Nothing acknowledges an end that was not seen.
    pub(super) fn of(state: &mut State, direction: Direction, seen_by: SeenBy) -> Self {
        let (src, dst) = state.peers(direction);
        let forgotten = seen_by == SeenBy::Bit && dst.seen == Seen::No;
        Self { own: src.seqdiff, other: if forgotten { 0 } else { dst.seqdiff } }
    }

    /// Changes a packet that passed the hook.
    pub(super) fn change(self, packet: &mut Packet, void_stays: bool) {
        match &mut packet.transport {
            Transport::Tcp(tcp) => {
                tcp.seq = tcp.seq.plus(self.own);
                if !void_stays || acknowledges(tcp) {
                    tcp.ack = tcp.ack.minus(self.other);
                }
            }
            Transport::Icmp(icmp) | Transport::Icmp6(icmp) => {
                // The quoted packet was sent by the end that the error goes to.
                if let Some(quoted) = &mut icmp.quoted
                    && let QuotedTransport::Tcp { seq, .. } = &mut quoted.transport
                {
                    *seq = seq.minus(self.other);
                }
            }
            Transport::Udp { .. } | Transport::Other(_) => {}
        }
    }

    /// An answer to a packet that this has changed, in its sender's numbers; `asked` is the packet as it came.
    pub(super) fn as_told(self, verdict: Verdict, asked: &Packet) -> Verdict {
        let Verdict::Drop { reason, reply: Some(reply) } = verdict else { return verdict };
        let Transport::Tcp(tcp) = &asked.transport else { return verdict };
        let reply = match reply {
            Reply::ChallengeAck { seq, ack } => {
                Reply::ChallengeAck { seq: seq.plus(self.other), ack: ack.minus(self.own) }
            }
            Reply::Rst { ack, flags, ttl, .. } if flags.contains(TcpFlags::ACK) => {
                Reply::Rst { seq: Seq(0), ack: ack.minus(self.own), flags, ttl }
            }
            Reply::Rst { ack, flags, ttl, .. } => Reply::Rst { seq: tcp.ack, ack, flags, ttl },
            icmp @ Reply::Icmp { .. } => icmp,
        };
        Verdict::Drop { reason, reply: Some(reply) }
    }
}

/// True if the acknowledgment field says something.
fn acknowledges(tcp: &Tcp) -> bool {
    tcp.flags.contains(TcpFlags::ACK) && !(tcp.flags.contains(TcpFlags::RST) && tcp.ack == Seq(0))
}

impl Oracle {
    /// The same state of the other side.
    pub(super) fn shown(&self, state: &State) -> Option<&StateView> {
        let ends = state.ends();
        let interface = self.bound_to(state);
        self.learned.states.iter().find(|view| {
            view.direction == state.direction
                && view.proto == state.wire.proto
                && (view.source.end, view.destination.end) == (ends.source, ends.destination)
                && view.interface == interface
        })
    }

    /// What was drawn for the source and the destination of a state.
    fn drawn(&self, state: &State) -> [u32; 2] {
        let same = self.shown(state);
        let known = |seqdiff: u32| if seqdiff == 0 { UNKNOWN } else { seqdiff };
        same.map_or([UNKNOWN; 2], |view| [view.source.seqdiff, view.destination.seqdiff].map(known))
    }

    /// "modulate and SYN only: src.seqdiff = iss - seq (0 -> 1)", of a state that this packet makes.
    pub(super) fn begin_modulation(&self, state: &mut State, mode: StateMode, packet: &Packet) {
        if let Transport::Tcp(segment) = &packet.transport
            && mode == StateMode::Modulate
            && tcp::opens(segment)
        {
            state.source.seqdiff = self.drawn(state)[0];
        }
    }

    /// "if dst.seqdiff && !src.seqdiff: src.seqdiff = random - seq (never 0)", of an end's first packet.
    pub(super) fn go_on_modulating(&self, state: &mut State, direction: Direction) {
        let drawn = self.drawn(state)[usize::from(direction != state.direction)];
        let (src, dst) = state.peers(direction);
        if src.seen == Seen::No && dst.seqdiff != 0 && src.seqdiff == 0 {
            src.seqdiff = drawn;
        }
    }
}
