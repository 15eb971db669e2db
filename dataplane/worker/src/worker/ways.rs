//! Where decided frames go, and the pieces of datagrams. Ownership: the worker's, for the time of a burst.

use dpdk::Mbuf;
use engine::{Custody, Errand, Fate, Frame, Piece, Shard, Source, View};
use ruleset::Reason;

use super::waiting::{Held, Role};
use super::{Attachment, Parts, Worker, view};
use crate::frame::MbufFrame;
use crate::handoff::{Handoff, Note};
use crate::hold::{Hold, Key};
use crate::mail::Mail;
use crate::netlink::service::Ask;

/// The ways that lead on from a worker.
pub(super) struct Ways<'w> {
    pub attachment: &'w mut Attachment,
    pub shard: &'w mut Shard,
    pub handoff: &'w mut Handoff,
    pub hold: &'w mut Hold<Held>,
    pub mail: &'w Mail,
    pub view: View<'w>,
}

impl Ways<'_> {
    /// Sends a frame where its fate says. True if that is another worker.
    #[inline(always)]
    pub fn send(&mut self, mut mbuf: Mbuf, fate: Fate, note: Note) -> bool {
        let Attachment { interfaces, lines } = &mut *self.attachment;
        let mut losses = self.shard.losses(self.view.now);
        match fate {
            Fate::Transmit(out) => {
                interfaces[usize::from(out.0)].wire.outlet.push(mbuf, lines, &mut losses);
            }
            Fate::Host(out) => match &mut interfaces[usize::from(out.0)].host {
                Some(host) => host.outlet.push(mbuf, lines, &mut losses),
                // Nothing that a bridged port receives is for the host.
                None => losses.leaving((out, Source::Host), Reason::PortDown, mbuf.data()),
            },
            Fate::Hold { interface, next_hop } => {
                // If there is no room for the question, a later packet asks it.
                let _ = self.mail.asks.try_send(Ask { interface, address: next_hop });
                Note::new(note.arrival).write(&mut mbuf);
                let held = Held { mbuf, role: Role::Packet(interface) };
                if let Err(held) = self.hold.keep(Key { interface, next_hop }, self.view.now, held) {
                    held.lose(&mut losses);
                }
            }
            Fate::HandOff(_) | Fate::Place(_) | Fate::Lend(_) | Fate::Return(_) => {
                let Some((worker, errand)) = fate.handed() else { return false };
                self.handoff.give(worker, note.handed(errand), mbuf, self.shard, &self.view);
                return true;
            }
            // The shard counted it, or has its bytes, and the mbuf is freed here.
            Fate::Drop(_) | Fate::Kept => {}
        }
        false
    }
}

impl Worker {
    /// Sends what a burst has left of datagrams.
    #[cold]
    #[inline(never)]
    pub(super) fn send_pieces(&mut self, custody: Custody) {
        let Parts { attachment, shard, mail, handoff, pool, .. } = &mut self.parts;
        let pieces = &mut self.pieces;
        shard.take_pieces(self.now, |Piece { arrival, fate, head, rest, priority_code }, losses| {
            let filled = |mut mbuf: Mbuf| {
                if let Some(code) = priority_code {
                    MbufFrame::of_one(&mut mbuf).set_priority_code(code);
                }
                mbuf.extend_from_slice(head).and_then(|()| mbuf.extend_from_slice(rest)).ok().map(|()| mbuf)
            };
            match pool.alloc().and_then(filled).filter(|_| pieces.len() < pieces.capacity()) {
                Some(mbuf) => {
                    let note = Note { arrival, handoffs: custody.handoffs, errand: Errand::Follow };
                    pieces.push((note, fate, mbuf));
                }
                None => {
                    losses.counters.handed_off -= u64::from(fate.handed().is_some());
                    losses.arrived(arrival, arrival.interface, Reason::NoBuffer, head);
                }
            }
        });
        let view = view(mail, self.now);
        let mut ways = Ways { attachment, shard, handoff, hold: &mut self.hold, mail, view };
        for (note, fate, mbuf) in self.pieces.drain(..) {
            ways.send(mbuf, fate, note);
        }
    }
}
