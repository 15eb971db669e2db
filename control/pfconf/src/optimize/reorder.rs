//! The order with the longest skip steps that a block can have cheaply: rules that ask the same of a packet are put side
//! by side, the most frequent demand first, and so on within them.

use std::collections::HashMap;

use ruleset::AddressPattern;

use super::block::Candidate;
use crate::config::FullRule;
use crate::skip::Criterion;

/// What each rule demands, as numbers that are equal for equal demands; `None` where it demands nothing.
type Demands = Vec<[Option<u32>; Criterion::COUNT]>;

/// Puts a block in order.
pub(super) fn reorder(block: &mut Vec<Candidate>) {
    let demands = demands(block);
    let order = ordered((0..block.len()).collect(), &demands);
    let mut rules: Vec<Option<Candidate>> = std::mem::take(block).into_iter().map(Some).collect();
    block.extend(order.into_iter().filter_map(|number| rules[number].take()));
}

fn demands(block: &[Candidate]) -> Demands {
    let mut known: [HashMap<String, u32>; Criterion::COUNT] = Default::default();
    let numbered = |candidate: &Candidate| {
        let mut each = [None; Criterion::COUNT];
        for (at, criterion) in Criterion::ALL.into_iter().enumerate() {
            each[at] = demand(criterion, &candidate.full).map(|demand| {
                let next = known[at].len() as u32;
                *known[at].entry(demand).or_insert(next)
            });
        }
        each
    };
    block.iter().map(numbered).collect()
}

/// What a rule demands, in words.
fn demand(criterion: Criterion, full: &FullRule) -> Option<String> {
    let FullRule { rule, extras, .. } = full;
    let addressed = |end: &ruleset::Endpoint, route: &Option<String>| match &end.address.pattern {
        // pf finds nothing in common in `any` and in labels of routes.
        _ if route.is_some() => None,
        AddressPattern::Any => None,
        AddressPattern::Net(net) if net.addr().is_unspecified() => None,
        _ => Some(format!("{:?}", end.address)),
    };
    let port = |end: &ruleset::Endpoint| match end.port {
        ruleset::PortMatch::Any => None,
        port => Some(format!("{port:?}")),
    };
    match criterion {
        Criterion::Interface => rule.interface.as_ref().map(|interface| format!("{interface:?}")),
        Criterion::Direction => rule.direction.map(|direction| format!("{direction:?}")),
        Criterion::Domain => extras.domain.map(|domain| format!("{domain:?}")),
        Criterion::Family => rule.af.map(|af| format!("{af:?}")),
        Criterion::Protocol => rule.proto.map(|proto| format!("{proto:?}")),
        Criterion::Source => addressed(&rule.from, &extras.from_route),
        Criterion::Destination => addressed(&rule.to, &extras.to_route),
        Criterion::SourcePort => port(&rule.from),
        Criterion::DestinationPort => port(&rule.to),
    }
}

/// Rules that share a demand.
struct Peers {
    rules: Vec<usize>,
    /// How many of them have no place yet.
    left: usize,
}

/// The rules of a block by one criterion, the largest group first.
#[derive(Default)]
struct Ranking {
    groups: Vec<Peers>,
    /// The group of each demand.
    of: HashMap<u32, usize>,
    /// Groups in order of size.
    order: Vec<usize>,
}

impl Ranking {
    fn add(&mut self, demand: u32, rule: usize) {
        let group = *self.of.entry(demand).or_insert_with(|| {
            self.groups.push(Peers { rules: Vec::new(), left: 0 });
            self.order.push(self.groups.len() - 1);
            self.groups.len() - 1
        });
        self.groups[group].rules.push(rule);
        self.groups[group].left += 1;
        let mut at = self.place(group);
        while at > 0 && self.groups[self.order[at - 1]].left < self.groups[group].left {
            self.order.swap(at - 1, at);
            at -= 1;
        }
    }

    fn place(&self, group: usize) -> usize {
        self.order.iter().position(|known| *known == group).expect("every group has a place")
    }

    fn largest(&self) -> usize {
        self.order.first().map_or(0, |group| self.groups[*group].left)
    }

    /// Removes the largest group and returns its rules.
    fn take_largest(&mut self) -> Vec<usize> {
        let group = self.order.remove(0);
        std::mem::take(&mut self.groups[group].rules)
    }

    /// A rule of this demand has found its place by another criterion.
    fn placed(&mut self, demand: u32) {
        if self.largest() <= 1 {
            return;
        }
        let Some(group) = self.of.get(&demand).copied() else { return };
        self.groups[group].left -= 1;
        let mut at = self.place(group);
        while at + 1 < self.order.len()
            && self.groups[self.order[at + 1]].left > self.groups[self.order[at]].left
        {
            self.order.swap(at, at + 1);
            at += 1;
        }
    }
}

/// The rules in their new order. Groups of three and more come first, each ordered in itself; then pairs, then the rest
/// as it was written.
fn ordered(rules: Vec<usize>, demands: &Demands) -> Vec<usize> {
    let mut rankings: Vec<Ranking> = (0..Criterion::COUNT).map(|_| Ranking::default()).collect();
    for rule in &rules {
        for (ranking, demand) in rankings.iter_mut().zip(demands[*rule]) {
            if let Some(demand) = demand {
                ranking.add(demand, *rule);
            }
        }
    }
    // A demand that all have, or that none shares, orders nothing.
    rankings.iter_mut().filter(|ranking| ranking.largest() == rules.len()).for_each(|ranking| {
        *ranking = Ranking::default();
    });
    let mut placed: HashMap<usize, bool> = rules.iter().map(|rule| (*rule, false)).collect();
    let (mut ahead, mut own) = (Vec::new(), Vec::new());
    loop {
        let sizes = rankings.iter().map(Ranking::largest);
        // The first criterion of the largest size.
        let largest = sizes.enumerate().max_by_key(|(at, size)| (*size, std::cmp::Reverse(*at)));
        let Some((at, _)) = largest.filter(|(_, size)| *size > 1) else { break };
        let group: Vec<usize> =
            rankings[at].take_largest().into_iter().filter(|rule| !placed[rule]).collect();
        for rule in &group {
            placed.insert(*rule, true);
            for (other, ranking) in rankings.iter_mut().enumerate() {
                if let Some(demand) = demands[*rule][other].filter(|_| other != at) {
                    ranking.placed(demand);
                }
            }
        }
        match group.len() > 2 {
            true => ahead.extend(ordered(group, demands)),
            false => own.extend(group),
        }
    }
    own.extend(rules.into_iter().filter(|rule| !placed[rule]));
    ahead.extend(own);
    ahead
}
