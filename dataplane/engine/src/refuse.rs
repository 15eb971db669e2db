//! The end of a packet that goes no further: it is counted under its reason, noted as an example of it, and turned into its
//! answer where one is due.
//!
//! Ownership: the shard. Bounds: an answer is built in the frame of the packet that it answers.

use ruleset::{BlockReply, Reason};
use wire::{Af, Proto};

use crate::fate::{Arrival, Created, Fate, Source};
use crate::fib::InterfaceId;
use crate::frame::Frame;
use crate::hook::Answer;
use crate::packet::{Packet, Transport};
use crate::parse::{Parsed, has_partial_checksum, parse};
use crate::renumber;
use crate::reply::{self, NoReply, Problem};
use crate::routing::endpoints;
use crate::shard::{Shard, View};
use crate::state::{Class, Key, RecordId, Side};
use crate::translate;
use crate::witness::{Misfit, RuleAt, Seen};

/// Why a dropped packet's sender is told nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unanswered {
    /// Nothing is to be said, or there is no address to say it from.
    Silence,
    /// The packet may not be answered.
    Refused(NoReply),
    /// Its sender has got enough answers.
    Enough,
}

impl Shard {
    /// Drops a packet that waited in vain for the next hop's Ethernet address on `leaving` ([`Fate::Hold`]), and turns it
    /// into its sender's answer: the host is unreachable (RFC 1812 §5.2.7.1), or the address is (RFC 4861 §7.2.2).
    pub fn give_up<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        leaving: InterfaceId,
        frame: &mut F,
    ) -> Fate {
        self.counters.drop_packet(leaving, Reason::NoNeighbor);
        let silence = Fate::Drop(Reason::NoNeighbor);
        let Some(own) = view.fib.interface(arrival.interface) else { return silence };
        let Ok(Parsed::Ip(mut packet)) = parse(frame.bytes(), own.zone, frame.ip_checksum()) else {
            return silence;
        };
        self.witness.note(view.now, Reason::NoNeighbor, (arrival, leaving), Seen::Packet(packet));
        // What it belonged to went through the hooks as a whole.
        if packet.transport == Transport::Fragment {
            return silence;
        }
        let (key, sender) = Key::of(&packet.tuple);
        let hash = self.hashing.hash(&key);
        let sent = self.connections.as_sent(&key, hash, sender);
        let sent = sent.map_or(packet.tuple, |(ends, sender)| ends.tuple(sender, packet.tuple));
        let (mut left, differences) = (packet, self.connections.differences_of(&key, hash, sender));
        if sent.af == packet.tuple.af {
            packet.tuple = sent;
        } else if self.take_back_family(frame, &mut packet, sent) {
            left = packet;
        } else {
            return silence;
        }
        renumber::take_back(&mut packet, differences);
        if packet != left {
            translate::rewrite(frame.bytes_mut(), &left, &packet);
        }
        let code = if packet.tuple.af == Af::Inet { 1 } else { 3 };
        let answer = Answer::Router(Problem::Unreachable { code });
        self.answer(view, arrival, frame, &packet, answer).unwrap_or(silence)
    }

    /// Drops a packet for a reason, and turns it into its answer where one is due.
    #[cold]
    pub(crate) fn refuse<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &mut F,
        packet: &Packet,
        reason: Reason,
        answer: Answer,
    ) -> Fate {
        if has_partial_checksum(frame.bytes(), packet) {
            self.counters.meet_partial_checksum(arrival.interface);
        }
        let answered = self.answer(view, arrival, frame, packet, answer);
        let reason = match answered {
            // As pf counts it where `block return` finds a damaged packet.
            Err(Unanswered::Refused(NoReply::Checksum)) if reason == Reason::Match => Reason::ProtoCksum,
            _ => reason,
        };
        self.witness.note(view.now, reason, (arrival, arrival.interface), Seen::Packet(*packet));
        let silence = self.drop(arrival, reason);
        answered.unwrap_or(silence)
    }

    /// Turns a packet that is dropped into its answer, and sends that back where the packet came from.
    fn answer<F: Frame>(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &mut F,
        packet: &Packet,
        answer: Answer,
    ) -> Result<Fate, Unanswered> {
        if answer == Answer::Silence {
            return Err(Unanswered::Silence);
        }
        // What the host is told costs nobody anything.
        let share = match arrival.source {
            Source::Host => None,
            // Nor is it held against a client that many others are behind the same address.
            Source::Wire if matches!(answer, Answer::SynAck { .. }) => None,
            Source::Wire => {
                let (to, random) = (&packet.tuple, self.draw());
                let share = self.answers.look(to.af, to.src, view.sixteenths(), random);
                if share.is_none() {
                    self.counters.withheld += 1;
                }
                Some(share.ok_or(Unanswered::Enough)?)
            }
        };
        let endpoints = endpoints(view.fib, arrival, packet);
        let own =
            || view.fib.interface(arrival.interface).and_then(|own| own.source_address(packet.tuple.af));
        let (kind, answered) = match answer {
            Answer::Silence => return Err(Unanswered::Silence),
            Answer::Abort => (Created::Rst, reply::abort(frame, packet, endpoints)),
            Answer::Rst { ttl } => (Created::Rst, reply::rst(frame, packet, endpoints, ttl)),
            Answer::RstWith(seq) => (Created::Rst, reply::rst_with(frame, packet, endpoints, seq, 0)),
            Answer::Challenge { seq, ack } => {
                (Created::Rst, reply::ack(frame, packet, endpoints, seq, ack, 0))
            }
            Answer::SynAck { seq, ack, mss } => {
                (Created::Handshake, reply::syn_ack(frame, packet, endpoints, seq, ack, mss))
            }
            Answer::Unreachable { code } => (
                Created::Icmp,
                reply::icmp_error(frame, packet, endpoints, None, Problem::Unreachable { code }),
            ),
            // A router without an address of the family has nothing to answer from.
            Answer::Router(problem) => match own() {
                Some(source) => {
                    (Created::Icmp, reply::icmp_error(frame, packet, endpoints, Some(source), problem))
                }
                None => return Err(Unanswered::Silence),
            },
        };
        answered.map_err(Unanswered::Refused)?;
        if let Some(share) = share {
            self.answers.take(share);
        }
        self.counters.create(kind, 1);
        Ok(match arrival.source {
            Source::Wire => Fate::Transmit(arrival.interface),
            Source::Host => Fate::Host(arrival.interface),
        })
    }

    /// Says which state a packet did not fit, of which it met the face at `side`.
    #[cold]
    pub(crate) fn blame_state(
        &mut self,
        view: &View<'_>,
        (side, sender): (Side, Side),
        record: RecordId,
        misfit: Misfit,
    ) {
        if self.witness.wants(view.now, misfit.reason()) {
            let met = self.connections.met(record, side, sender);
            self.witness.blame.misfit = met.map(|met| (met, misfit));
            let face = self.connections.face(record, side);
            self.witness.blame.rule = face.and_then(|class| rule_of(view, class));
        }
    }

    /// Drops a frame of which no packet could be made, or that is not IP.
    pub(crate) fn discard(
        &mut self,
        view: &View<'_>,
        arrival: Arrival,
        frame: &[u8],
        reason: Reason,
    ) -> Fate {
        self.witness.note_frame(view.now, reason, arrival, frame);
        self.drop(arrival, reason)
    }

    /// Counts a drop without an example.
    pub(crate) fn drop(&mut self, arrival: Arrival, reason: Reason) -> Fate {
        self.counters.drop_packet(arrival.interface, reason);
        self.tracer.drop_packet(reason);
        Fate::Drop(reason)
    }
}

/// The rule that made a face, if the live ruleset has it.
pub(crate) fn rule_of(view: &View<'_>, class: &Class) -> Option<RuleAt> {
    let root = view.root?;
    root.number_of(&class.rule).map(|number| RuleAt { epoch: root.epoch(), number })
}

/// What pf.conf(5) `block` tells the sender of this packet.
pub(crate) fn answer_to(reply: BlockReply, packet: &Packet) -> Answer {
    let unreachable = |code: Option<u8>| code.map_or(Answer::Silence, |code| Answer::Unreachable { code });
    let is_tcp = matches!(packet.transport, Transport::Tcp(_));
    match reply {
        BlockReply::Drop => Answer::Silence,
        BlockReply::Rst { ttl } if is_tcp => Answer::Rst { ttl },
        BlockReply::Rst { .. } => Answer::Silence,
        BlockReply::Return(_) if is_tcp => Answer::Rst { ttl: 0 },
        BlockReply::Return(_) if packet.tuple.proto == Proto::SCTP => Answer::Abort,
        BlockReply::Return(codes) => Answer::Unreachable {
            code: match packet.tuple.af {
                Af::Inet => codes.code,
                Af::Inet6 => codes.code6,
            },
        },
        BlockReply::Icmp { code, code6 } => match packet.tuple.af {
            Af::Inet => unreachable(code),
            Af::Inet6 => unreachable(code6),
        },
    }
}
