//! Relief: where a worker with too much to do places the flows that begin with it.
//!
//! Overview: each worker measures what share of its time it is busy, and how many of its polls found a queue with more than
//! a burst, and publishes both once in a while; it reads what the others say, and [`choose`]s. Flows are placed elsewhere while
//! this worker has no time left and another has: what is established stays where it is. Between the loads at which that
//! begins and ends lies enough for it not to begin and end all the time.
//! Ownership: a worker's; the [`Board`] has a line of its own for each worker, which it alone writes. Bounds: one store and
//! as many loads as there are workers, every `PERIOD`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam::utils::CachePadded;
use engine::{Tick, WorkerId};

use crate::idle::Work;

/// Loads are measured for this long.
const PERIOD: Tick = Tick::from_millis(4);
/// A load is in parts of this.
const WHOLE: u64 = 1000;

/// What a worker has to do, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Of its time, what it spent in polls that found work.
    pub busy: u16,
    /// Of its polls, those that found a queue with more than a burst.
    pub backlog: u16,
}

/// Flows are placed elsewhere from this load on.
const FULL: Load = Load { busy: 950, backlog: 250 };
/// As long as there is this much to do.
const STILL_FULL: Load = Load { busy: 800, backlog: 50 };
/// A worker is chosen to take them up to this load.
const FREE: u16 = 600;
/// And goes on taking them up to this one.
const STILL_FREE: u16 = 800;

/// Where flows are placed that begin with worker `own`, of those with these loads; `now` is where they are placed so far.
pub fn choose(own: WorkerId, loads: &[Load], now: Option<WorkerId>) -> Option<WorkerId> {
    let load = |worker: WorkerId| loads.get(usize::from(worker.0)).copied().unwrap_or_default();
    let bound = if now.is_some() { STILL_FULL } else { FULL };
    if load(own).busy < bound.busy || load(own).backlog < bound.backlog {
        return None;
    }
    if let Some(now) = now.filter(|now| load(*now).busy <= STILL_FREE) {
        return Some(now);
    }
    let others = (0..).map(WorkerId).zip(loads).filter(|(worker, _)| *worker != own);
    let (worker, least) = others.min_by_key(|(_, load)| load.busy)?;
    (least.busy <= FREE).then_some(worker)
}

/// What all workers say of their load.
#[derive(Clone, Debug)]
pub struct Board {
    own: WorkerId,
    loads: Arc<[CachePadded<AtomicU32>]>,
}

impl Board {
    /// One for each worker, of as many.
    pub fn shared(workers: u16) -> Vec<Self> {
        let loads: Arc<[_]> = (0..workers).map(|_| CachePadded::default()).collect();
        (0..workers).map(|own| Self { own: WorkerId(own), loads: loads.clone() }).collect()
    }

    fn publish(&self, load: Load) {
        // Nothing else is ordered by it.
        let word = u32::from(load.busy) << 16 | u32::from(load.backlog);
        self.loads[usize::from(self.own.0)].store(word, Ordering::Relaxed);
    }

    fn read(&self, worker: usize) -> Load {
        let word = self.loads[worker].load(Ordering::Relaxed);
        Load { busy: (word >> 16) as u16, backlog: word as u16 }
    }
}

/// What one worker measures, and where its flows are placed.
pub struct Relief {
    board: Board,
    /// What the board says, as it was read last.
    loads: Vec<Load>,
    at: Option<WorkerId>,
    /// When this period began.
    since: Tick,
    /// The poll before this one, and whether it found work.
    last: (Tick, Work),
    busy_ns: u64,
    polls: u64,
    full: u64,
}

impl Relief {
    /// Of a worker that begins now.
    pub fn new(board: Board, now: Tick) -> Self {
        let loads = vec![Load::default(); board.loads.len()];
        let last = (now, Work::None);
        Self { board, loads, at: None, since: now, last, busy_ns: 0, polls: 0, full: 0 }
    }

    /// Notes a poll: when it began, whether it found work, and a queue with more than a burst. At the end of a period, returns
    /// where flows are placed in the next one.
    #[inline]
    pub fn note(&mut self, now: Tick, work: Work, full: bool) -> Option<Option<WorkerId>> {
        if self.loads.len() < 2 {
            return None;
        }
        let (before, found) = self.last;
        if found == Work::Done {
            self.busy_ns += (now - before).0;
        }
        self.polls += 1;
        self.full += u64::from(full);
        self.last = (now, work);
        (now - self.since >= PERIOD).then(|| self.end_period(now))
    }

    fn end_period(&mut self, now: Tick) -> Option<WorkerId> {
        let part = |of: u64, all: u64| (of.saturating_mul(WHOLE) / all.max(1)).min(WHOLE) as u16;
        let busy = part(self.busy_ns, (now - self.since).0);
        self.board.publish(Load { busy, backlog: part(self.full, self.polls) });
        (self.since, self.busy_ns, self.polls, self.full) = (now, 0, 0, 0);
        for (worker, load) in self.loads.iter_mut().enumerate() {
            *load = self.board.read(worker);
        }
        self.at = choose(self.board.own, &self.loads, self.at);
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn load(busy: u16, backlog: u16) -> Load {
        Load { busy, backlog }
    }

    const IDLE: Load = load(0, 0);
    const OVER: Load = load(1000, 900);

    fn chosen(loads: &[Load], now: Option<u16>) -> Option<u16> {
        choose(WorkerId(0), loads, now.map(WorkerId)).map(|worker| worker.0)
    }

    #[test]
    fn who_has_time_left_keeps_what_begins() {
        for own in [IDLE, load(1000, 0), load(1000, 249), load(949, 1000), load(500, 500)] {
            assert_eq!(chosen(&[own, IDLE], None), None, "{own:?}");
        }
        assert_eq!(chosen(&[load(950, 250), IDLE], None), Some(1));
    }

    #[test]
    fn the_least_busy_one_takes_it_if_it_can() {
        assert_eq!(chosen(&[OVER, load(300, 0), load(200, 0), load(400, 0)], None), Some(2));
        assert_eq!(chosen(&[OVER, load(600, 0), load(601, 0)], None), Some(1));
        assert_eq!(chosen(&[OVER, load(601, 0), OVER], None), None);
        assert_eq!(chosen(&[OVER], None), None, "there is nobody else");
        assert_eq!(choose(WorkerId(2), &[load(100, 0), IDLE, OVER], None), Some(WorkerId(1)));
    }

    #[test]
    fn it_ends_later_than_it_begins() {
        let between = load(850, 100);
        assert_eq!((chosen(&[between, IDLE], None), chosen(&[between, IDLE], Some(1))), (None, Some(1)));
        for ended in [load(799, 1000), load(1000, 49)] {
            assert_eq!(chosen(&[ended, IDLE], Some(1)), None);
        }
        // Who takes it goes on until it has enough itself.
        assert_eq!(chosen(&[OVER, load(800, 0), IDLE], Some(1)), Some(1));
        assert_eq!(chosen(&[OVER, load(801, 0), IDLE], Some(1)), Some(2));
        assert_eq!(chosen(&[OVER, load(801, 0), OVER], Some(1)), None);
    }

    #[test]
    fn loads_are_what_periods_were_and_are_published_once_in_each() {
        let mut boards = Board::shared(2).into_iter();
        let (own, other) = (boards.next().expect("two"), boards.next().expect("two"));
        let reader = other.clone();
        let mut relief = Relief::new(own, Tick::from_millis(100));
        let mut told = Vec::new();
        // Three of four milliseconds are busy, and one of four polls finds more than a burst.
        for poll in 1..=12 {
            let work = if poll % 4 == 3 { Work::None } else { Work::Done };
            told.extend(relief.note(Tick::from_millis(100 + poll), work, poll % 4 == 0));
        }
        assert_eq!(told, [None; 3]);
        assert_eq!(reader.read(0), load(750, 250));
        other.publish(load(100, 0));
        for poll in 13..=20 {
            told.extend(relief.note(Tick::from_millis(100 + poll), Work::Done, true));
        }
        assert_eq!(reader.read(0), load(1000, 1000));
        assert_eq!(told[3..], [Some(WorkerId(1)); 2], "the poll before the first of them found work, too");
    }

    #[test]
    fn a_worker_alone_measures_nothing() {
        let mut relief = Relief::new(Board::shared(1).remove(0), Tick(0));
        assert!((1..100).all(|poll| relief.note(Tick::from_millis(poll), Work::Done, true).is_none()));
    }
}
