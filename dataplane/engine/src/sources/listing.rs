//! Source nodes as operators see and forget them (pfctl(8) `-sS`, `-K`).
//!
//! Ownership: for control threads; workers are not asked. Bounds: a walk over all places.

use core::net::IpAddr;

use ipnet::IpNet;
use ruleset::{NodeKind, SourceSelector, SourceView};

use super::{GLOBAL, Kind, NodeCounts, NodeState};
use crate::eval::{Root, Threshold};
use crate::state::StatePool;
use crate::tick::Tick;

impl StatePool {
    /// What happens to the source nodes of its shards.
    pub fn source_counts(&self) -> NodeCounts {
        self.nodes().counts()
    }

    /// The most source nodes that there is memory for.
    pub fn source_nodes_max(&self) -> u32 {
        self.nodes().most()
    }

    /// The source nodes, each with its place; packets and bytes are those of states that have gone.
    pub fn sources(&self, root: Option<&Root>, now: Tick) -> Vec<(u32, SourceView)> {
        let now = now.secs() as u32;
        let shown = |state: NodeState| Some((state.place, view(&state, root, now)?));
        self.nodes().each(now).filter_map(shown).collect()
    }

    /// Has source nodes be forgotten that fit, and returns how many there were. Their states live on, and count for nobody.
    pub fn forget_sources(&self, selector: &SourceSelector, now: Tick) -> usize {
        let contains = |net: &Option<IpNet>, address: Option<IpAddr>| {
            net.is_none_or(|net| address.is_some_and(|address| net.contains(&address)))
        };
        self.nodes().detach_each(now.secs() as u32, |state| {
            let address = |address: crate::Address| address.to_ip(state.key.af);
            contains(&selector.source, Some(address(state.key.address)))
                && contains(&selector.target, state.target.map(|target| address(target.address)))
        })
    }
}

fn view(state: &NodeState, root: Option<&Root>, now: u32) -> Option<SourceView> {
    let kind = match state.key.kind {
        Kind::Filter => NodeKind::Filter,
        Kind::Nat => NodeKind::Nat,
        Kind::Rdr => NodeKind::Rdr,
        Kind::Route => NodeKind::Route,
        Kind::Rule | Kind::Load | Kind::Inner | Kind::Outer => return None,
    };
    let owner = state.key.owner;
    let rule = root.filter(|_| owner != GLOBAL).and_then(|root| root.place_of_owner(owner));
    Some(SourceView {
        source: state.key.address.to_ip(state.key.af),
        kind,
        target: state.target.map(|target| target.address.to_ip(state.key.af)),
        states: state.states,
        connections: state.connections,
        rate_tenths: if state.seconds == 0 { 0 } else { Threshold::tenths(state.rate, state.seconds, now) },
        rate_s: state.seconds,
        age_s: now.saturating_sub(state.created),
        expires_in_s: state.expires.saturating_sub(now),
        packets: state.packets,
        bytes: state.bytes,
        rule: rule.map(|place| place.rule),
    })
}
