//! The gateways that states remember (pf.conf(5) `route-to`, `reply-to`), each kept once.
//!
//! Overview: a class refers to its gateway by number, so that what remembers none pays nothing. Life cycle: a number is given
//! out again once no pair of classes has it and there is no other left. Ownership: one shard.
//! Bounds: [`GATEWAYS_MAX`]; a state that would need more is refused (reason `memory`).

use hashbrown::HashMap;

use crate::pool::Target;

/// The most gateways that the states of a shard have.
const GATEWAYS_MAX: usize = 4096;

/// The number of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GatewayId(pub(super) u16);

#[derive(Debug)]
struct Entry {
    gateway: Target,
    /// Pairs of classes that have it, once for each class.
    uses: u32,
}

/// All of a shard.
#[derive(Debug, Default)]
pub(super) struct Gateways {
    entries: Vec<Entry>,
    numbers: HashMap<Target, GatewayId>,
}

impl Gateways {
    /// The number of a gateway; `None` if there are too many. It is another's again, in the end, unless it is [used](Self::hold).
    pub fn number(&mut self, gateway: Target) -> Option<GatewayId> {
        if let Some(id) = self.numbers.get(&gateway) {
            return Some(*id);
        }
        let entry = Entry { gateway, uses: 0 };
        let at = if self.entries.len() < GATEWAYS_MAX {
            self.entries.push(entry);
            self.entries.len() - 1
        } else {
            let at = self.entries.iter().position(|entry| entry.uses == 0)?;
            self.numbers.remove(&self.entries[at].gateway);
            self.entries[at] = entry;
            at
        };
        let id = GatewayId(at as u16);
        self.numbers.insert(gateway, id);
        Some(id)
    }

    pub fn get(&self, id: GatewayId) -> Target {
        self.entries[usize::from(id.0)].gateway
    }

    /// One class more has it.
    pub fn hold(&mut self, id: GatewayId) {
        self.entries[usize::from(id.0)].uses += 1;
    }

    /// One class less has it.
    pub fn let_go(&mut self, id: GatewayId) {
        self.entries[usize::from(id.0)].uses -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Address;

    const fn gateway(number: u128) -> Target {
        Target { address: Address(number), via: None }
    }

    #[test]
    fn a_number_is_anothers_only_where_no_class_has_it_and_none_is_left() {
        let mut all = Gateways::default();
        let first = all.number(gateway(0)).expect("a number");
        all.hold(first);
        let second = all.number(gateway(1)).expect("a number");
        for number in 2..GATEWAYS_MAX as u128 {
            let id = all.number(gateway(number)).expect("a number");
            all.hold(id);
        }
        assert_eq!(all.number(gateway(0)), Some(first));
        assert_eq!(all.number(gateway(9999)), Some(second), "nobody had it");
        assert_eq!(all.get(second), gateway(9999));
        all.hold(second);
        assert_eq!(all.number(gateway(1)), None, "all are in use");
        all.let_go(first);
        assert_eq!(all.number(gateway(1)), Some(first));
        all.hold(first);
        assert_eq!(all.number(gateway(0)), None);
    }
}
