//! Rules that differ in one address become one, with a table.

use ruleset::{AddressMatch, AddressPattern};

use super::block::{Candidate, addresses};
use crate::config::{Config, Echo, FullRule, Member};
use crate::print;

/// From how many addresses on a table is faster than rules.
const WORTHWHILE: usize = 6;

const SOURCE: usize = 0;
const DESTINATION: usize = 1;

/// A table in the making.
#[derive(Default)]
struct Draft {
    members: Vec<Member>,
    /// What it became, once a rule that names it has been written.
    pattern: Option<AddressPattern>,
}

/// Combines six and more rules. Fewer are left as they are.
pub(super) fn combine(block: &mut Vec<Candidate>, config: &mut Config) {
    let mut drafts: Vec<Draft> = Vec::new();
    // For each rule the drafts that its addresses are in: at most one of the two.
    let mut part_of: Vec<[Option<usize>; 2]> = vec![[None; 2]; block.len()];
    for one in 0..block.len() {
        for other in one + 1..block.len() {
            if part_of[other] != [None; 2] || block[one].rest != block[other].rest {
                continue;
            }
            let Some(end) = differing_end(&block[one].full, &block[other].full) else { continue };
            if part_of[one][1 - end].is_some() {
                continue;
            }
            let draft = *part_of[one][end].get_or_insert_with(|| {
                drafts.push(Draft { members: vec![member(&block[one].full, end)], pattern: None });
                drafts.len() - 1
            });
            drafts[draft].members.push(member(&block[other].full, end));
            part_of[other][end] = Some(draft);
        }
    }
    let mut number = 0;
    block.retain_mut(|candidate| {
        let drafted = part_of[number];
        number += 1;
        [SOURCE, DESTINATION].into_iter().all(|end| match drafted[end] {
            Some(draft) => written(&mut drafts[draft], candidate, end, config),
            None => true,
        })
    });
}

/// Puts a table in place of a rule's address, if it is worthwhile; false if another rule has it already, so that this
/// one is not needed any more.
fn written(draft: &mut Draft, candidate: &mut Candidate, end: usize, config: &mut Config) -> bool {
    if draft.members.len() < WORTHWHILE {
        return true;
    }
    if draft.pattern.is_some() {
        return false;
    }
    let pattern = config.automatic_table(draft.members.clone());
    if let Some(table) = config.tables.last() {
        let line = print::table_text(&table.lower(), config.dialect);
        config.echo.push(Echo::Table(line));
    }
    let rule = &mut candidate.full.rule;
    let address = if end == SOURCE { &mut rule.from.address } else { &mut rule.to.address };
    address.pattern = pattern.clone();
    draft.pattern = Some(pattern);
    true
}

/// The one end at which two rules name different hosts or networks, all else being equal. Negated ones are not
/// combined: `! a` or `! b` is everything, `! { a, b }` is not.
fn differing_end(one: &FullRule, other: &FullRule) -> Option<usize> {
    let (a, b) = (&one.rule, &other.rule);
    let alike = a.interface == b.interface
        && a.direction == b.direction
        && a.proto == b.proto
        && a.flags == b.flags
        && a.af == b.af
        && a.from.port == b.from.port
        && a.to.port == b.to.port;
    let [source, destination] = [SOURCE, DESTINATION].map(|end| (addresses(one)[end], addresses(other)[end]));
    let end = match (source.0 == source.1, destination.0 == destination.1) {
        (false, true) => SOURCE,
        (true, false) => DESTINATION,
        _ => return None,
    };
    let (first, second) = if end == SOURCE { source } else { destination };
    (alike && is_net(first) && is_net(second)).then_some(end)
}

fn is_net(address: &AddressMatch) -> bool {
    !address.negated && matches!(address.pattern, AddressPattern::Net(_))
}

fn member(full: &FullRule, end: usize) -> Member {
    match addresses(full)[end].pattern {
        AddressPattern::Net(net) => Member { negated: false, net, weight: None },
        _ => unreachable!("only networks are combined"),
    }
}
