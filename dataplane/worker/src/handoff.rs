//! Packets on their way from the worker that received them to the one that owns their flow.
//!
//! Overview: a bounded ring leads from each worker to each other one. A packet goes as it arrived, with a [`Note`] of where
//! that was. Rings are first in, first out, and a worker takes what was handed to it after it has received its own and
//! before it looks anything up, so that the packets of a flow that one queue received stay in their order, and in that of
//! their queues when the NIC moves the flow to its owner's. Beside each ring goes what a worker tells another of flows
//! ([`Notice`]): who takes packets out of the ring reads after that, and before it decides them, what was said before they
//! were put in.
//! Life cycle: made at the start, between all workers; what a ring still holds at the end is freed with it.
//! Ownership: each end belongs to one worker. Bounds: [`RING`] packets on their way between two workers; what finds a full
//! ring is dropped with a reason, and nothing is processed elsewhere. `NOTICES` notices; others wait with who has them.

use std::io;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use dpdk::{Burst, Consumer, Eal, Mbuf, Producer, spsc};
use engine::{Arrival, Custody, Errand, HANDOFFS_MAX, InterfaceId, Notice, Shard, Source, View, WorkerId};

use crate::config::DEVICES_MAX;
use crate::frame::MbufFrame;
use crate::relief::Board;
use crate::wait::Bell;

/// Packets that a ring holds.
pub const RING: u32 = 512;
/// Notices on their way from one worker to another.
const NOTICES: usize = 512;

/// One worker's ends of the rings.
pub struct Handoff {
    /// To each worker, by number; none to itself.
    out: Vec<Option<Outbound>>,
    inlets: Vec<Inlet>,
    taken: u64,
    /// What workers tell each other of their load.
    board: Board,
    /// What this worker is woken by, where workers may wait.
    bell: Option<Arc<Bell>>,
}

/// From one worker.
struct Inlet {
    from: WorkerId,
    ring: Consumer,
    notices: Arc<ArrayQueue<Notice>>,
}

/// To one worker.
struct Outbound {
    ring: Producer,
    gathered: Burst,
    notices: Arc<ArrayQueue<Notice>>,
    /// What that worker is woken by, where workers may wait.
    bell: Option<Arc<Bell>>,
}

/// The rings between so many workers: the ends of each, by number. `name` begins the rings' names, which are unique in the
/// process; at most 10 bytes.
///
/// # Errors
/// DPDK's, if there is no memory.
pub fn mesh(eal: &Eal, name: &str, workers: u16) -> dpdk::Result<Vec<Handoff>> {
    let boards = Board::shared(workers).into_iter();
    let mut ends: Vec<Handoff> = boards.map(|board| Handoff { board, ..Handoff::alone() }).collect();
    for from in 0..workers {
        for to in 0..workers {
            if from == to {
                ends[usize::from(from)].out.push(None);
                continue;
            }
            let (ring, inlet) = spsc(eal, &format!("{name}-{from}-{to}"), RING)?;
            let notices = Arc::new(ArrayQueue::new(NOTICES));
            let outbound = Outbound { ring, gathered: Burst::new(), notices: notices.clone(), bell: None };
            ends[usize::from(from)].out.push(Some(outbound));
            ends[usize::from(to)].inlets.push(Inlet { from: WorkerId(from), ring: inlet, notices });
        }
    }
    Ok(ends)
}

/// Has the workers of a mesh woken by what is handed to them.
///
/// # Errors
/// The system's, if it has no descriptor left.
pub fn hang_bells(mesh: &mut [Handoff]) -> io::Result<()> {
    let bells = mesh.iter().map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>()?;
    for (end, own) in mesh.iter_mut().zip(&bells) {
        end.bell = Some(own.clone());
        for (out, bell) in end.out.iter_mut().zip(&bells) {
            if let Some(out) = out {
                out.bell = Some(bell.clone());
            }
        }
    }
    Ok(())
}

impl Handoff {
    /// The ends of a worker that is the only one: there are none.
    pub fn alone() -> Self {
        let board = Board::shared(1).remove(0);
        Self { out: Vec::new(), inlets: Vec::new(), taken: 0, board, bell: None }
    }

    /// What workers tell each other of their load.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// How many workers hand packets to this one.
    #[inline]
    pub const fn inlets(&self) -> usize {
        self.inlets.len()
    }

    /// What the worker is woken by, where it may wait.
    pub fn bell(&self) -> Option<Arc<Bell>> {
        self.bell.clone()
    }

    /// How many packets were taken over.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Gathers a packet for the worker that owns its flow; the shard has counted it as handed off. It goes at the next
    /// [`flush`](Self::flush), or before if the burst is full.
    #[inline]
    pub fn give(&mut self, to: WorkerId, note: Note, mut mbuf: Mbuf, shard: &mut Shard, view: &View<'_>) {
        note.write(&mut mbuf);
        let at = usize::from(to.0);
        if self.out.get(at).is_some_and(|out| out.as_ref().is_some_and(|out| out.gathered.is_full())) {
            self.flush(shard, view);
        }
        let Some(Some(out)) = self.out.get_mut(at) else {
            debug_assert!(false, "the owner of a flow is another worker");
            return refuse(mbuf, shard, view);
        };
        if let Err(mbuf) = out.gathered.push(mbuf) {
            refuse(mbuf, shard, view);
        }
    }

    /// Tells what the shard has to say, and puts behind that what was gathered into the rings. What does not fit is
    /// dropped: waiting would stall both workers.
    #[inline]
    pub fn flush(&mut self, shard: &mut Shard, view: &View<'_>) {
        self.tell(shard);
        for out in self.out.iter_mut().flatten() {
            out.flush(shard, view);
        }
    }

    /// Tells the other workers what the shard has to say.
    #[inline]
    pub fn tell(&mut self, shard: &mut Shard) {
        while let Some((to, notice)) = shard.notice()
            && let Some(Some(out)) = self.out.get(usize::from(to.0))
            && out.notices.push(notice).is_ok()
        {
            shard.noticed();
        }
    }

    /// Adds what another worker has handed over to the end of `burst`, first come first, as much as fits, and hears what it
    /// has to say. Returns how many.
    #[inline]
    pub fn take(&mut self, inlet: usize, burst: &mut Burst, shard: &mut Shard) -> usize {
        let count = self.inlets[inlet].ring.dequeue(burst);
        self.taken += count as u64;
        self.hear(inlet, shard);
        // All of it is in another CPU's cache: fetched together, it is waited for about once.
        burst.iter().for_each(Mbuf::prefetch);
        burst.iter().for_each(Mbuf::prefetch_data);
        count
    }

    /// Hears what another worker has to say.
    #[inline]
    pub fn hear(&self, inlet: usize, shard: &mut Shard) {
        let inlet = &self.inlets[inlet];
        if !inlet.notices.is_empty() {
            inlet.hear(shard);
        }
    }

    /// How packets of an inlet came here that have this note.
    #[inline]
    pub fn custody(&self, inlet: usize, note: Note) -> Custody {
        let Note { handoffs, errand, .. } = note;
        Custody { from: Some(self.inlets[inlet].from), handoffs, errand }
    }
}

impl Inlet {
    /// As much as there may be at a time.
    #[cold]
    fn hear(&self, shard: &mut Shard) {
        for notice in (0..NOTICES).map_while(|_| self.notices.pop()) {
            shard.hear(self.from, &notice);
        }
    }
}

impl Outbound {
    #[inline]
    fn flush(&mut self, shard: &mut Shard, view: &View<'_>) {
        if self.gathered.is_empty() {
            return;
        }
        self.ring.enqueue(&mut self.gathered);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        for mbuf in self.gathered.drain() {
            refuse(mbuf, shard, view);
        }
    }
}

/// A packet that was to be handed off was not: it is dropped instead.
#[cold]
fn refuse(mut mbuf: Mbuf, shard: &mut Shard, view: &View<'_>) {
    let Note { arrival, errand, .. } = Note::of(&mbuf);
    shard.withdraw(view, arrival, MbufFrame::of_one(&mut mbuf), errand);
}

/// What an mbuf says of its packet. The field is DPDK's for a like purpose, but tells neither every driver's ports nor, of
/// a copy, anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it arrived.
    pub arrival: Arrival,
    /// How often it was handed over to follow its flow.
    pub handoffs: u8,
    /// What it was handed over for.
    pub errand: Errand,
}

const _: () = assert!(HANDOFFS_MAX < 1 << 2 && DEVICES_MAX <= 1 << 11, "a note has 16 bits");

const ERRANDS: [Errand; 4] = [Errand::Follow, Errand::Begin, Errand::Lend, Errand::Return];

impl Note {
    /// Of a packet that nobody has handed over.
    pub const fn new(arrival: Arrival) -> Self {
        Self { arrival, handoffs: 0, errand: Errand::Follow }
    }

    /// Of the same packet, handed over again.
    #[must_use]
    pub fn handed(self, errand: Errand) -> Self {
        Self { handoffs: self.handoffs + u8::from(errand == Errand::Follow), errand, ..self }
    }

    /// Writes it into an mbuf.
    #[inline]
    pub fn write(self, mbuf: &mut Mbuf) {
        let Self { arrival: Arrival { interface, source }, handoffs, errand } = self;
        let rest = u16::from(handoffs) << 3 | (errand as u16) << 1 | u16::from(source == Source::Host);
        mbuf.set_port(interface.0 << 5 | rest);
    }

    /// As it was written.
    #[inline]
    pub fn of(mbuf: &Mbuf) -> Self {
        let noted = mbuf.port();
        let source = if noted & 1 == 0 { Source::Wire } else { Source::Host };
        let arrival = Arrival { interface: InterfaceId(noted >> 5), source };
        let errand = ERRANDS[usize::from(noted >> 1 & 3)];
        Self { arrival, handoffs: (noted >> 3 & 3) as u8, errand }
    }
}
