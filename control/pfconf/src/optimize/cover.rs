//! Rules that match nothing which another rule of their block does not match.

use ruleset::{AddressMatch, AddressPattern, PortMatch, Rule};

use super::block::Candidate;

/// Removes rules that another one covers; of two equal ones the later.
pub(super) fn remove(block: &mut Vec<Candidate>) {
    let mut covered = vec![false; block.len()];
    for one in 0..block.len() {
        for other in one + 1..block.len() {
            if covered[one] {
                break;
            }
            if covered[other] || block[one].rest != block[other].rest {
                continue;
            }
            let [a, b] = [one, other].map(|number| &block[number].full.rule);
            if covers(a, b) {
                covered[other] = true;
            } else if covers(b, a) {
                covered[one] = true;
            }
        }
    }
    let mut covered = covered.into_iter();
    block.retain(|_| covered.next() == Some(false));
}

/// True if every packet that matches `part` matches `whole`, as far as this can be seen from the rules alone.
pub(crate) fn covers(whole: &Rule, part: &Rule) -> bool {
    fn wider<T: PartialEq>(whole: &Option<T>, part: &Option<T>) -> bool {
        whole.is_none() || whole == part
    }
    let interfaces = whole.interface == part.interface
        || whole.interface.is_none() && part.interface.as_ref().is_some_and(|interface| !interface.negated);
    interfaces
        && wider(&whole.direction, &part.direction)
        && wider(&whole.proto, &part.proto)
        && wider(&whole.flags, &part.flags)
        && wider(&whole.af, &part.af)
        && covers_port(whole.from.port, part.from.port)
        && covers_port(whole.to.port, part.to.port)
        && covers_address(&whole.from.address, &part.from.address)
        && covers_address(&whole.to.address, &part.to.address)
}

fn covers_port(whole: PortMatch, part: PortMatch) -> bool {
    whole == PortMatch::Any || whole == part
}

fn covers_address(whole: &AddressMatch, part: &AddressMatch) -> bool {
    if whole == part {
        return true;
    }
    match (&whole.pattern, &part.pattern) {
        _ if whole.negated || part.negated => false,
        (AddressPattern::Any, _) => true,
        (AddressPattern::Net(whole), AddressPattern::Net(part)) => whole.contains(part),
        _ => false,
    }
}
