//! What waits for neighbours, and how it leaves or ends. Ownership: the worker's.

use dpdk::Mbuf;
use engine::{Fate, InterfaceId, Losses, Source, rewrite};
use ruleset::Reason;

use super::{Attachment, Parts, Worker, view};
use crate::frame::MbufFrame;
use crate::handoff::Note;
use crate::hold::Key;

/// What waits for a neighbour's Ethernet address.
pub(super) struct Held {
    pub mbuf: Mbuf,
    pub role: Role,
}

impl Held {
    /// Counts it as dropped for want of the neighbour.
    pub fn lose(&self, losses: &mut Losses<'_>) {
        let (at, frame) = (self.role.place(), self.mbuf.data());
        match self.role {
            Role::Packet(_) => losses.arrived(Note::of(&self.mbuf).arrival, at, Reason::NoNeighbor, frame),
            Role::Copy(_) | Role::Envelope { .. } => {
                losses.leaving((at, Source::Wire), Reason::NoNeighbor, frame);
            }
        }
    }
}

/// What it is that waits.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// A packet that leaves by this interface.
    Packet(InterfaceId),
    /// A copy for this span port of one that is given the same Ethernet header, or that leaves by this interface.
    Copy(InterfaceId),
    /// A copy for a span port, in an envelope that leaves by an interface.
    Envelope { of: InterfaceId, by: InterfaceId },
}

impl Role {
    /// The interface that its drop is counted at.
    pub const fn place(self) -> InterfaceId {
        match self {
            Self::Packet(at) | Self::Copy(at) | Self::Envelope { of: at, .. } => at,
        }
    }
}

impl Worker {
    /// Sends what waited for neighbours that the new forwarding base knows.
    #[cold]
    pub(super) fn release(&mut self) {
        let Parts { attachment, shard, mail, .. } = &mut self.parts;
        let fib = mail.fibs.get();
        let resolve = |key: &Key| {
            Some((fib.interface(key.interface)?.mac, fib.neighbor(key.interface, &key.next_hop)?))
        };
        self.hold.release(resolve, |_, (source, destination), Held { mut mbuf, role }| {
            rewrite::set_link(MbufFrame::of_one(&mut mbuf), source, destination);
            let mut losses = shard.losses(self.now);
            match role {
                Role::Packet(out) | Role::Envelope { by: out, .. } => {
                    let Attachment { interfaces, lines } = &mut *attachment;
                    interfaces[usize::from(out.0)].wire.outlet.push(mbuf, lines, &mut losses);
                }
                Role::Copy(to) => {
                    // It has waited once.
                    if let Some((_, held)) = attachment.send_copy(to, mbuf, fib, &mut losses) {
                        held.lose(&mut losses);
                    }
                }
            }
        });
    }

    /// Drops what waited for a neighbour too long, and tells those who sent it.
    pub(super) fn give_up(&mut self) {
        let Parts { attachment: Attachment { interfaces, lines }, shard, mail, .. } = &mut self.parts;
        let view = view(mail, self.now);
        self.hold.give_up(self.now, |_, Held { mut mbuf, role }| {
            let Role::Packet(out) = role else {
                // Nobody sent a copy.
                return Held { mbuf, role }.lose(&mut shard.losses(view.now));
            };
            let Note { arrival, .. } = Note::of(&mbuf);
            let frame = MbufFrame::of_one(&mut mbuf);
            if let Fate::Transmit(back) = shard.give_up(&view, arrival, out, frame) {
                interfaces[usize::from(back.0)].wire.outlet.push(mbuf, lines, &mut shard.losses(view.now));
            }
        });
    }
}
