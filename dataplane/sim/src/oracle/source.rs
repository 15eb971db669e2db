//! Source tracking (pf.md 1, state options; 2.5), without nodes: what a source has is counted anew out of the states.

use core::net::IpAddr;
use std::collections::BTreeSet;

use ipnet::IpNet;
use ruleset::{Flush, Reason, Rule, SourceTracking, TableEntry, Tracking};

use super::Oracle;
use super::state::{State, StateId};

/// True if states of two rules count together for a source.
fn is_counted_with(own: (&SourceTracking, u64), other: (&SourceTracking, u64)) -> bool {
    match (own.0.track, other.0.track) {
        (Some(Tracking::Global), Some(Tracking::Global)) => true,
        (Some(Tracking::Rule), Some(Tracking::Rule)) => own.1 == other.1,
        _ => false,
    }
}

impl Oracle {
    fn counted_with(&self, tracking: &SourceTracking, identity: u64) -> impl Iterator<Item = &State> {
        self.states.iter().filter(move |state| {
            is_counted_with((tracking, identity), (&state.options.source, state.rule.identity))
        })
    }

    /// Whether a source may have one more state of a rule: "over = drop, src-limit".
    pub(super) fn admit_source(&self, rule: &Rule, source: IpAddr) -> Result<(), Reason> {
        let tracking = &rule.state_options.source;
        if tracking.track.is_none() {
            return Ok(());
        }
        let counted = || self.counted_with(tracking, rule.identity);
        let own = counted().filter(|state| state.source_address() == source).count();
        let sources: BTreeSet<IpAddr> = counted().map(State::source_address).collect();
        // A source that has none yet needs a node; one that has some must have few enough.
        let is_refused = match own {
            0 => tracking.max_nodes > 0 && sources.len() >= tracking.max_nodes as usize,
            own => tracking.max_states > 0 && own >= tracking.max_states as usize,
        };
        if is_refused { Err(Reason::SrcLimit) } else { Ok(()) }
    }

    /// The handshake of a state is completed (`pf_src_connlimit`).
    pub(super) fn connect(&mut self, id: StateId, now: u64) -> Result<(), Reason> {
        let state = self.state_mut(id);
        if state.options.source.track.is_none() || core::mem::replace(&mut state.connected, true) {
            return Ok(());
        }
        let (tracking, identity, source) =
            (state.options.source.clone(), state.rule.identity, state.source_address());
        let counted = self.counted_with(&tracking, identity);
        let connected = counted.filter(|state| state.connected && state.source_address() == source).count();
        let too_many = tracking.max_conn > 0 && connected > tracking.max_conn as usize;
        let too_fast = tracking
            .max_conn_rate
            .is_some_and(|rate| self.connection_rates.entry((identity, source)).or_default().add(rate, now));
        if !too_many && !too_fast {
            return Ok(());
        }
        // "insert source into table, kill its states (this rule / all), kill this state"
        let mut doomed = vec![id];
        if let Some(overload) = &tracking.overload {
            self.put_into_table(&overload.table, source);
            let of_source = self.states.iter().filter(|state| state.source_address() == source);
            let flushed = of_source.filter(|state| match overload.flush {
                Flush::No => false,
                Flush::Rule => state.rule.identity == identity,
                Flush::Global => true,
            });
            doomed.extend(flushed.map(|state| state.id));
        }
        for id in doomed {
            self.remove(id);
        }
        Err(Reason::SrcLimit)
    }

    /// A state has gone: a source that has none left of a rule begins anew (`src.track` is 0).
    pub(super) fn forget_rate(&mut self, gone: &State) {
        let of = |state: &State| (state.rule.identity, state.source_address());
        let last =
            !self.states.iter().any(|state| state.options.source.track.is_some() && of(state) == of(gone));
        if last {
            self.connection_rates.remove(&of(gone));
        }
    }

    fn put_into_table(&mut self, name: &str, source: IpAddr) {
        let table = self.rules.tables.iter_mut().find(|table| table.name == name);
        let entries = table.expect("a rule names it").entries.get_or_insert_default();
        let net = IpNet::from(source);
        entries.retain(|entry| entry.net != net);
        entries.push(TableEntry::new(false, net));
    }
}
