//! What other workers hand over. Ownership: the worker that takes it. Bounds: a full ring from each at a time.

use dpdk::{BURST_MAX, Burst};

use super::{Origin, Parts, Worker};
use crate::handoff::{self, Note};

/// The most bursts that are taken over from one worker at a time: a full ring.
const TAKE_OVER_MAX: u32 = handoff::RING.div_ceil(BURST_MAX as u32);

impl Worker {
    /// Forwards what other workers have handed over. Returns how many packets.
    pub(super) fn take_over(&mut self) -> usize {
        let mut taken = 0;
        for inlet in 0..self.parts.handoff.inlets() {
            for _ in 0..TAKE_OVER_MAX {
                let Parts { handoff, shard, .. } = &mut self.parts;
                if !shard.may_take_over() {
                    handoff.hear(inlet, shard);
                    break;
                }
                let mut incoming = Burst::new();
                let count = handoff.take(inlet, &mut incoming, shard);
                if count == 0 {
                    break;
                }
                taken += count;
                self.process_handed_over(inlet, incoming);
            }
        }
        taken
    }

    /// Forwards packets that arrived here and there, those next to each other together that came the same way.
    fn process_handed_over(&mut self, inlet: usize, mut incoming: Burst) {
        let Some(first) = incoming.first().map(Note::of) else { return };
        if incoming.iter().all(|mbuf| Note::of(mbuf) == first) {
            self.bursts[Origin::HandedOver as usize] = incoming;
            return self.process_noted(inlet, first);
        }
        let mut before = first;
        for mbuf in incoming.drain() {
            let note = Note::of(&mbuf);
            if note != before {
                self.process_noted(inlet, before);
            }
            before = note;
            if self.bursts[Origin::HandedOver as usize].push(mbuf).is_err() {
                unreachable!("as many as came out of a burst fit in one");
            }
        }
        self.process_noted(inlet, before);
    }

    fn process_noted(&mut self, inlet: usize, note: Note) {
        let custody = self.parts.handoff.custody(inlet, note);
        self.process(Origin::HandedOver, note.arrival, custody);
    }
}
