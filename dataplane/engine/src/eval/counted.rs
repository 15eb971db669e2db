//! What is counted for each address of a table with `counters`.
//!
//! Overview: such a table has a row of counters for each entry, beside its tries; a packet is counted for the entry that
//! decides about its address, at each hook, by what the deciding rule does. As in pf, packets of states count for the rule
//! that made the state, so connections of such rules are never followed the short way; other tables cost nothing.
//! Life cycle: a row lives as long as its entry, over changes of the table and reloads. Ownership: workers add, control
//! threads read; whoever sets to zero puts new rows in place. Bounds: 64 bytes and a node for each entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use ruleset::{Direction, Lpm, ZeroCounts};
use wire::Af;

use super::filter::{Pattern, TrieTable};
use super::{Counted, Root, RuleSlot};
use crate::Address;
use crate::packet::Tuple;

/// What a rule does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Block,
    Pass,
}

/// What is counted for one address: by [`Direction`] of the hook, packets that were blocked and that passed.
pub type AddressCounts = [[Counted; 2]; 2];

/// Packets and bytes, by hook and [`Deed`].
#[derive(Debug, Default)]
struct Row([[[AtomicU64; 2]; 2]; 2]);

impl Row {
    fn add(&self, hook: Direction, deed: Deed, bytes: u32) {
        let [packets, sum] = &self.0[hook as usize][deed as usize];
        packets.fetch_add(1, Ordering::Relaxed);
        sum.fetch_add(bytes.into(), Ordering::Relaxed);
    }

    fn read(&self) -> AddressCounts {
        let read = |[packets, bytes]: &[AtomicU64; 2]| Counted {
            packets: packets.load(Ordering::Relaxed),
            bytes: bytes.load(Ordering::Relaxed),
        };
        self.0.each_ref().map(|hook| hook.each_ref().map(read))
    }
}

/// The rows of a table, by prefix.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    v4: Lpm<Arc<Row>>,
    v6: Lpm<Arc<Row>>,
}

impl Rows {
    pub fn new() -> Self {
        Self { v4: Lpm::new(Af::Inet), v6: Lpm::new(Af::Inet6) }
    }

    fn trie(&self, af: Af) -> &Lpm<Arc<Row>> {
        match af {
            Af::Inet => &self.v4,
            Af::Inet6 => &self.v6,
        }
    }

    fn trie_mut(&mut self, net: &IpNet) -> &mut Lpm<Arc<Row>> {
        match net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        }
    }

    /// Gives an entry a row, unless it has one: its own one in `before`, or one that is zero.
    pub fn add(&mut self, net: &IpNet, before: Option<&Self>) {
        let (address, length) = (Address::from(net.addr()).0, net.prefix_len());
        let trie = self.trie_mut(net);
        if trie.get(address, length).is_none() {
            let known = before.and_then(|rows| rows.trie(Af::of(&net.addr())).get(address, length));
            trie.insert(address, length, known.cloned().unwrap_or_default());
        }
    }

    pub fn remove(&mut self, net: &IpNet) {
        let (address, length) = (Address::from(net.addr()).0, net.prefix_len());
        self.trie_mut(net).remove(address, length);
    }

    pub fn zero(&mut self, zero: &ZeroCounts) {
        match zero {
            ZeroCounts::None => {}
            ZeroCounts::Entries(nets) => {
                for net in nets {
                    let (address, length) = (Address::from(net.addr()).0, net.prefix_len());
                    let trie = self.trie_mut(net);
                    if trie.get(address, length).is_some() {
                        trie.insert(address, length, Arc::default());
                    }
                }
            }
            ZeroCounts::All => {
                for trie in [&mut self.v4, &mut self.v6] {
                    let entries: Vec<(u128, u8)> =
                        trie.iter().map(|(address, length, _)| (address, length)).collect();
                    for (address, length) in entries {
                        trie.insert(address, length, Arc::default());
                    }
                }
            }
        }
    }

    pub fn tidy(&mut self) {
        self.v4.tidy();
        self.v6.tidy();
    }

    fn read(&self) -> impl Iterator<Item = (IpNet, AddressCounts)> {
        [Af::Inet, Af::Inet6].into_iter().flat_map(|af| {
            self.trie(af).iter().filter_map(move |(address, length, row)| {
                // A trie's lengths are those of its family.
                Some((IpNet::new(Address(address).to_ip(af), length).ok()?, row.read()))
            })
        })
    }
}

impl TrieTable {
    /// Counts a packet for the entry that decides about one of its addresses.
    fn count(&self, af: Af, address: Address, hook: Direction, deed: Deed, bytes: u32) {
        let row = self.rows.as_ref().and_then(|rows| rows.trie(af).lookup(address.0));
        if let Some(row) = row {
            row.add(hook, deed, bytes);
        }
    }
}

impl Root {
    /// Counts a packet for the addresses of the tables that a rule names. `tuple` is as the rule has it: from its source to
    /// its destination.
    #[cold]
    pub(crate) fn count_addresses(
        &self,
        slot: &RuleSlot,
        tuple: &Tuple,
        hook: Direction,
        deed: Deed,
        bytes: u32,
    ) {
        let Some(rule) = self.number_of(slot).and_then(|number| self.rules.get(number as usize)) else {
            return;
        };
        for (end, address) in [(&rule.from, tuple.src), (&rule.to, tuple.dst)] {
            if let Pattern::Table(number) = end.pattern {
                self.tables[number].count(tuple.af, address, hook, deed, bytes);
            }
        }
    }

    /// What is counted for each entry of a table, in no particular order: nothing for a table without `counters`. `None` if
    /// there is no such table.
    pub fn address_counts(&self, name: &str) -> Option<impl Iterator<Item = (IpNet, AddressCounts)>> {
        let number = self.ruleset.tables.iter().position(|table| table.name == name)?;
        Some(self.tables[number].rows.iter().flat_map(Rows::read))
    }
}
