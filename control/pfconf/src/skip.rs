//! Skip steps, as `pfctl -g` shows them: how far a packet that fails one criterion of a rule may go ahead at once.

use crate::config::FullRule;

/// What rules are compared by, in pf's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Criterion {
    Interface,
    Direction,
    Domain,
    Family,
    Protocol,
    Source,
    Destination,
    SourcePort,
    DestinationPort,
}

impl Criterion {
    pub(crate) const COUNT: usize = 9;

    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Interface,
        Self::Direction,
        Self::Domain,
        Self::Family,
        Self::Protocol,
        Self::Source,
        Self::Destination,
        Self::SourcePort,
        Self::DestinationPort,
    ];

    /// pfctl's name for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Interface => "i",
            Self::Direction => "d",
            Self::Domain => "r",
            Self::Family => "f",
            Self::Protocol => "p",
            Self::Source => "sa",
            Self::Destination => "da",
            Self::SourcePort => "sp",
            Self::DestinationPort => "dp",
        }
    }

    /// True if two rules ask the same of a packet.
    pub(crate) fn same(self, one: &FullRule, other: &FullRule) -> bool {
        let (a, b) = (&one.rule, &other.rule);
        match self {
            Self::Interface => a.interface == b.interface,
            Self::Direction => a.direction == b.direction,
            // pf keeps one negation for the interface and the domain.
            Self::Domain => one.extras.domain == other.extras.domain && negated(one) == negated(other),
            Self::Family => a.af == b.af,
            Self::Protocol => a.proto == b.proto,
            Self::Source => {
                a.from.address == b.from.address && one.extras.from_route == other.extras.from_route
            }
            Self::Destination => a.to.address == b.to.address && one.extras.to_route == other.extras.to_route,
            Self::SourcePort => a.from.port == b.from.port,
            Self::DestinationPort => a.to.port == b.to.port,
        }
    }
}

fn negated(full: &FullRule) -> bool {
    full.rule.interface.as_ref().is_some_and(|interface| interface.negated)
        || full.extras.domain.is_some_and(|(negated, _)| negated)
}

/// For each rule and criterion the number of the first later rule that asks something else; `None` if there is none.
pub(crate) fn steps(rules: &[&FullRule]) -> Vec<[Option<usize>; Criterion::COUNT]> {
    let mut steps = vec![[None; Criterion::COUNT]; rules.len()];
    for number in (1..rules.len()).rev() {
        for (at, criterion) in Criterion::ALL.into_iter().enumerate() {
            steps[number - 1][at] = match criterion.same(rules[number - 1], rules[number]) {
                true => steps[number][at],
                false => Some(number),
            };
        }
    }
    steps
}
