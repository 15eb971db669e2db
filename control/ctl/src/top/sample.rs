//! What is counted at a moment, and which states have counted the most since the one before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;
use std::time::Instant;

use api::{Client, InterfaceDrops, LiveUsage, Status};
use ruleset::StateView;

use super::Order;
use crate::live;

/// What a state has seen, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub id: u64,
    pub packets: u64,
    pub bytes: u64,
}

/// What is counted at a moment.
pub struct Sample {
    pub at: Instant,
    pub status: Status,
    pub usage: Option<LiveUsage>,
    pub drops: Vec<InterfaceDrops>,
    /// By id.
    pub states: Vec<Seen>,
}

impl Sample {
    /// Reads everything, and ranks states as it goes.
    #[expect(clippy::disallowed_methods, reason = "a command runs in real time")]
    pub fn take(socket: &Path, ranking: Option<Ranking<'_>>) -> anyhow::Result<(Self, Vec<Busy>)> {
        let mut client: Client = live::connect(socket)?;
        let (status, usage, drops) = (client.status()?, client.usage()?, client.drops()?);
        let at = Instant::now();
        let mut ranking = ranking.map(|ranking| ranking.until(at));
        let mut states = Vec::new();
        client.states(|state| {
            let seen = seen(&state);
            if let Some(ranking) = &mut ranking {
                ranking.consider(seen, state);
            }
            states.push(seen);
        })?;
        states.sort_unstable_by_key(|seen| seen.id);
        Ok((Self { at, status, usage, drops, states }, ranking.map_or_else(Vec::new, Ranking::ranked)))
    }
}

fn seen(state: &StateView) -> Seen {
    let (source, destination) = (&state.source, &state.destination);
    Seen {
        id: state.id,
        packets: source.packets + destination.packets,
        bytes: source.bytes + destination.bytes,
    }
}

/// A state, and what it has seen since the sample before.
#[derive(Clone, Debug)]
pub struct Busy {
    pub packets: u64,
    pub bytes: u64,
    pub state: StateView,
}

/// Orders by what counts, then by id, so that a tie does not flicker.
struct Ranked(u64, Reverse<u64>, Busy);

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ranked {}

/// The busiest states so far.
pub struct Ranking<'a> {
    before: &'a [Seen],
    since: Instant,
    /// Seconds since the sample before.
    passed: u64,
    order: Order,
    most: usize,
    /// The least busy on top.
    best: BinaryHeap<Reverse<Ranked>>,
}

impl<'a> Ranking<'a> {
    /// Of what was counted since a sample.
    pub fn new(before: &'a Sample, order: Order, most: usize) -> Self {
        Self { before: &before.states, since: before.at, passed: 0, order, most, best: BinaryHeap::new() }
    }

    fn until(self, now: Instant) -> Self {
        Self { passed: (now - self.since).as_secs(), ..self }
    }

    fn consider(&mut self, now: Seen, state: StateView) {
        let before = match self.before.binary_search_by_key(&now.id, |seen| seen.id) {
            Ok(at) => self.before[at],
            // Made since: all of it is new. What is older and was not there is not known.
            Err(_) if u64::from(state.age_s) <= self.passed + 1 => Seen::default(),
            Err(_) => return,
        };
        // One that has seen less than before is another one: the dataplane was started anew.
        let packets = now.packets.checked_sub(before.packets).unwrap_or(now.packets);
        let bytes = now.bytes.checked_sub(before.bytes).unwrap_or(now.bytes);
        let rank = match self.order {
            Order::Bytes => bytes,
            Order::Packets => packets,
        };
        let lowest = self.best.peek().filter(|_| self.best.len() >= self.most).map(|Reverse(lowest)| lowest);
        if rank == 0 || lowest.is_some_and(|lowest| (lowest.0, lowest.1) >= (rank, Reverse(now.id))) {
            return;
        }
        self.best.push(Reverse(Ranked(rank, Reverse(now.id), Busy { packets, bytes, state })));
        if self.best.len() > self.most {
            self.best.pop();
        }
    }

    fn ranked(self) -> Vec<Busy> {
        // The busiest first: what is turned around is in rising order.
        self.best.into_sorted_vec().into_iter().map(|Reverse(Ranked(_, _, busy))| busy).collect()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests of a command that runs in real time")]
mod tests {
    use super::*;

    fn state(id: u64, packets: u64, bytes: u64, age_s: u32) -> StateView {
        let peer = |packets: u64, bytes: u64| {
            serde_json::json!({
                "end": {"address": "10.0.0.1", "port": 1}, "untranslated": null, "state": "Established",
                "seqlo": 0, "seqhi": 0, "seqdiff": 0, "wscale": null, "packets": packets, "bytes": bytes,
            })
        };
        serde_json::from_value(serde_json::json!({
            "interface": "all", "proto": 6, "direction": "In", "route": null,
            "source": peer(packets, bytes), "destination": peer(0, 0),
            "age_s": age_s, "expires_in_s": 0, "rule": 0, "sloppy": false, "id": id,
        }))
        .expect("a state")
    }

    fn ranked(before: &[Seen], order: Order, most: usize, now: Vec<StateView>) -> Vec<(u64, u64, u64)> {
        let since = Instant::now();
        let mut ranking = Ranking { before, since, passed: 2, order, most, best: BinaryHeap::new() };
        for state in now {
            ranking.consider(seen(&state), state);
        }
        ranking.ranked().into_iter().map(|busy| (busy.state.id, busy.packets, busy.bytes)).collect()
    }

    #[test]
    fn the_busiest_states_are_those_that_have_seen_the_most_since() {
        let before = [Seen { id: 1, packets: 100, bytes: 9000 }, Seen { id: 3, packets: 10, bytes: 1000 }];
        let now = || {
            vec![
                state(1, 101, 9100, 60),
                state(3, 20, 1050, 60),
                // New; old, but not known; idle.
                state(5, 2, 3000, 1),
                state(7, 1000, 1_000_000, 60),
                state(9, 0, 0, 1),
            ]
        };
        assert_eq!(ranked(&before, Order::Bytes, 10, now()), [(5, 2, 3000), (1, 1, 100), (3, 10, 50)]);
        assert_eq!(ranked(&before, Order::Packets, 10, now()), [(3, 10, 50), (5, 2, 3000), (1, 1, 100)]);
        assert_eq!(ranked(&before, Order::Bytes, 1, now()), [(5, 2, 3000)]);
        assert_eq!(ranked(&before, Order::Bytes, 0, now()), []);
        // Numbers that go back are another state's.
        assert_eq!(ranked(&before, Order::Bytes, 1, vec![state(1, 5, 500, 60)]), [(1, 5, 500)]);
    }

    #[test]
    fn of_many_states_only_as_many_are_kept_as_are_shown() {
        let now = (0..100_000).map(|id| state(id, 1, id * 7919 % 100_003, 0)).collect();
        let best = ranked(&[], Order::Bytes, 3, now);
        let mut all: Vec<u64> = (0..100_000).map(|id| id * 7919 % 100_003).collect();
        all.sort_unstable_by_key(|bytes| Reverse(*bytes));
        assert_eq!(best.iter().map(|(_, _, bytes)| *bytes).collect::<Vec<_>>(), all[..3]);
    }
}
