//! Packets on their way from the worker that received them to the one that owns their flow.
//!
//! Overview: a bounded ring leads from each worker to each other one. A packet goes as it arrived, with a note of where
//! that was. Rings are first in, first out, and a worker takes what was handed to it after it has received its own and
//! before it looks anything up, so that the packets of a flow that one queue received stay in their order, and in that of
//! their queues when the NIC moves the flow to its owner's.
//! Life cycle: made at the start, between all workers; what a ring still holds at the end is freed with it.
//! Ownership: each end belongs to one worker. Bounds: [`RING`] packets on their way between two workers; what finds a full
//! ring is dropped with a reason, and nothing is processed elsewhere.

use std::io;
use std::sync::Arc;

use dpdk::{Burst, Consumer, Eal, Mbuf, Producer, spsc};
use engine::{Arrival, Counters, InterfaceId, Source, WorkerId};
use ruleset::Reason;

use crate::wait::Bell;

/// Packets that a ring holds.
pub const RING: u32 = 512;

/// One worker's ends of the rings.
pub struct Handoff {
    /// To each worker, by number; none to itself.
    out: Vec<Option<Outbound>>,
    inlets: Vec<Consumer>,
    taken: u64,
    /// What this worker is woken by, where workers may wait.
    bell: Option<Arc<Bell>>,
}

/// To one worker.
struct Outbound {
    ring: Producer,
    gathered: Burst,
    /// What that worker is woken by, where workers may wait.
    bell: Option<Arc<Bell>>,
}

/// The rings between so many workers: the ends of each, by number. `name` begins the rings' names, which are unique in the
/// process; at most 10 bytes.
///
/// # Errors
/// DPDK's, if there is no memory.
pub fn mesh(eal: &Eal, name: &str, workers: u16) -> dpdk::Result<Vec<Handoff>> {
    let mut ends: Vec<Handoff> = (0..workers).map(|_| Handoff::alone()).collect();
    for from in 0..workers {
        for to in 0..workers {
            if from == to {
                ends[usize::from(from)].out.push(None);
                continue;
            }
            let (ring, inlet) = spsc(eal, &format!("{name}-{from}-{to}"), RING)?;
            ends[usize::from(from)].out.push(Some(Outbound { ring, gathered: Burst::new(), bell: None }));
            ends[usize::from(to)].inlets.push(inlet);
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
    pub const fn alone() -> Self {
        Self { out: Vec::new(), inlets: Vec::new(), taken: 0, bell: None }
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
    pub fn give(&mut self, to: WorkerId, arrival: Arrival, mut mbuf: Mbuf, counters: &mut Counters) {
        note(&mut mbuf, arrival);
        let Some(Some(out)) = self.out.get_mut(usize::from(to.0)) else {
            debug_assert!(false, "the home of a flow is another worker");
            return refuse(&mbuf, counters);
        };
        if out.gathered.is_full() {
            out.flush(counters);
        }
        if let Err(mbuf) = out.gathered.push(mbuf) {
            refuse(&mbuf, counters);
        }
    }

    /// Puts what was gathered into the rings. What does not fit is dropped: waiting would stall both workers.
    #[inline]
    pub fn flush(&mut self, counters: &mut Counters) {
        for out in self.out.iter_mut().flatten() {
            out.flush(counters);
        }
    }

    /// Adds what another worker has handed over to the end of `burst`, first come first, as much as fits. Returns how many.
    #[inline]
    pub fn take(&mut self, inlet: usize, burst: &mut Burst) -> usize {
        let count = self.inlets[inlet].dequeue(burst);
        self.taken += count as u64;
        // All of it is in another CPU's cache: fetched together, it is waited for about once.
        burst.iter().for_each(Mbuf::prefetch);
        burst.iter().for_each(Mbuf::prefetch_data);
        count
    }
}

impl Outbound {
    #[inline]
    fn flush(&mut self, counters: &mut Counters) {
        if self.gathered.is_empty() {
            return;
        }
        self.ring.enqueue(&mut self.gathered);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        for mbuf in self.gathered.drain() {
            refuse(&mbuf, counters);
        }
    }
}

/// A packet that was to be handed off was not: it is dropped instead, and freed by whoever holds it.
#[cold]
fn refuse(mbuf: &Mbuf, counters: &mut Counters) {
    counters.handed_off -= 1;
    counters.drop_packet(arrival(mbuf).interface, Reason::HandoffFull);
}

/// Notes in the mbuf where the packet arrived. The field is DPDK's for the same purpose, but tells neither every
/// driver's ports nor, of a copy, anything.
#[inline]
pub fn note(mbuf: &mut Mbuf, arrival: Arrival) {
    debug_assert!(arrival.interface.0 <= u16::MAX >> 1, "interfaces are few");
    mbuf.set_port(arrival.interface.0 << 1 | u16::from(arrival.source == Source::Host));
}

/// Where a packet arrived, as it was noted.
#[inline]
pub fn arrival(mbuf: &Mbuf) -> Arrival {
    let noted = mbuf.port();
    let source = if noted & 1 == 0 { Source::Wire } else { Source::Host };
    Arrival { interface: InterfaceId(noted >> 1), source }
}
