//! Tables of a root: how they are built, kept over a reload, and changed while the rules stay.
//!
//! Overview: a table is two tries, shared by every root that holds the same. Life cycle: built or edited by a control
//! thread, never by a worker. Bounds: the ruleset's limit `table-entries` on all tables together.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashSet;
use ipnet::IpNet;
use ruleset::{
    AddressPattern, Invalid, Limit, Lpm, Rule, Ruleset, Table, TableContents, TableEdit, TableEntry,
};
use wire::Af;

use super::Root;
use super::counted::Rows;
use super::filter::TrieTable;
use crate::Address;
use crate::pool::Members;
use crate::sources::Overlay;

impl Root {
    /// The same rules with other contents of some tables. Tables that are not named are shared.
    ///
    /// # Errors
    /// A table that the ruleset does not have, or more entries than its limit allows.
    pub fn with_tables(&self, edits: &[TableEdit]) -> Result<Self, Invalid> {
        let mut tables = self.tables.clone();
        for edit in edits {
            let Some(number) = self.ruleset.tables.iter().position(|table| table.name == edit.name) else {
                return Err(fault(format!("table <{}> is not defined", edit.name)));
            };
            tables[number] = Arc::new(tables[number].edited(edit));
        }
        check_entries(&self.ruleset, &tables)?;
        let members = members(&self.ruleset, &tables);
        Ok(Self { tables, members, edits: self.edits.wrapping_add(1), ..self.clone() })
    }

    /// The tables that rules overload sources into, by name.
    pub(crate) fn overlays(&self) -> impl Iterator<Item = (&str, &Arc<Overlay>)> {
        let tables = self.ruleset.tables.iter().zip(&self.tables);
        tables.filter_map(|(table, trie)| Some((table.name.as_str(), trie.overlay.as_ref()?)))
    }

    /// What a table holds, in no particular order; `None` if there is no such table.
    pub fn entries(&self, name: &str) -> Option<impl Iterator<Item = TableEntry>> {
        let number = self.ruleset.tables.iter().position(|table| table.name == name)?;
        Some(self.tables[number].entries())
    }
}

/// A ruleset's tables: what `contents` says, else the ruleset's own list, else what `previous` holds under the name.
pub(super) fn build(
    ruleset: &Ruleset,
    previous: Option<&Root>,
    contents: &[TableContents],
    overlays: &BTreeMap<&str, Arc<Overlay>>,
) -> Result<Vec<Arc<TrieTable>>, Invalid> {
    let build_one = |table: &Table| {
        let given = contents.iter().find(|given| given.name == table.name).map(|given| &given.entries);
        let before = previous.and_then(|previous| {
            let named = previous.ruleset.tables.iter().position(|old| old.name == table.name)?;
            previous.tables.get(named)
        });
        let rows = before.and_then(|before| before.rows.as_ref());
        let overlay = overlays.get(&*table.name).cloned();
        let trie = match (given.or(table.entries.as_ref()), before) {
            (Some(entries), _) => TrieTable::of(entries, table.counters, rows),
            (None, Some(before)) if before.rows.is_some() == table.counters => {
                if before.overlay.is_some() == overlay.is_some() {
                    return before.clone();
                }
                TrieTable::clone(before)
            }
            (None, Some(before)) => {
                let entries: Vec<TableEntry> = before.entries().collect();
                TrieTable::of(&entries, table.counters, rows)
            }
            (None, None) => TrieTable::of(&[], table.counters, None),
        };
        Arc::new(TrieTable { overlay, ..trie })
    };
    let tables: Vec<Arc<TrieTable>> = ruleset.tables.iter().map(build_one).collect();
    check_entries(ruleset, &tables)?;
    Ok(tables)
}

/// The overlays of the tables that rules overload sources into, those of `previous` under the same names: states that its rules
/// have made still do so.
pub(super) fn overlays<'a>(
    ruleset: &'a Ruleset,
    previous: Option<&'a Root>,
) -> BTreeMap<&'a str, Arc<Overlay>> {
    let overloads = |rule: &'a Rule| rule.state_options.source.overload.as_ref();
    let named = ruleset.rules.iter().filter_map(overloads).map(|overload| overload.table.as_str());
    let mut overlays: BTreeMap<&str, Arc<Overlay>> = named.map(|name| (name, Arc::default())).collect();
    overlays
        .extend(previous.into_iter().flat_map(Root::overlays).map(|(name, before)| (name, before.clone())));
    overlays
}

/// The addresses of the tables that pools name, one after the other.
pub(super) fn members(ruleset: &Ruleset, tables: &[Arc<TrieTable>]) -> Vec<Arc<Members>> {
    let targets = ruleset.rules.iter().flat_map(Rule::targets);
    let names: HashSet<&str> = targets
        .filter_map(|target| match target {
            AddressPattern::Table(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let of = |(table, trie): (&Table, &Arc<TrieTable>)| {
        let ranges = trie.entries().filter(|entry| !entry.negated).map(|entry| {
            let (first, last) = (entry.net.network(), entry.net.broadcast());
            (Af::of(&first), (first.into(), last.into()), entry.weight)
        });
        Arc::new(if names.contains(table.name.as_str()) { Members::of(ranges) } else { Members::default() })
    };
    ruleset.tables.iter().zip(tables).map(of).collect()
}

fn check_entries(ruleset: &Ruleset, tables: &[Arc<TrieTable>]) -> Result<(), Invalid> {
    let count: usize = tables.iter().map(|table| table.v4.len() + table.v6.len()).sum();
    let most = ruleset.options.limits.get(Limit::TableEntries);
    if count > most as usize {
        return Err(fault(format!(
            "{count} addresses in tables, but at most {most} are possible; raise `set limit table-entries`"
        )));
    }
    Ok(())
}

fn fault(what: String) -> Invalid {
    Invalid { rule: None, place: String::new(), what }
}

impl TrieTable {
    /// A table of these entries. Those that have rows of counters in `before` go on counting there.
    pub(super) fn of(entries: &[TableEntry], counters: bool, before: Option<&Rows>) -> Self {
        let rows = counters.then(Rows::new);
        let (v4, v6) = (Lpm::new(Af::Inet), Lpm::new(Af::Inet6));
        let mut tries = Self { v4, v6, weights: BTreeMap::new(), rows, overlay: None };
        // In order, so that what one insertion has brought into the caches serves the next one; of two entries of one
        // network the first holds.
        let mut sorted = entries.to_vec();
        sorted.sort_by_key(|entry| entry.net);
        sorted.dedup_by_key(|entry| entry.net);
        sorted.iter().for_each(|entry| tries.insert(entry, before));
        tries
    }

    fn edited(&self, edit: &TableEdit) -> Self {
        let mut tries = match edit.clear {
            true => Self { overlay: self.overlay.clone(), ..Self::of(&[], self.rows.is_some(), None) },
            false => self.clone(),
        };
        for net in &edit.remove {
            let length = net.prefix_len();
            tries.trie(net).remove(Address::from(net.addr()).0, length);
            tries.weights.remove(net);
            tries.rows.iter_mut().for_each(|rows| rows.remove(net));
        }
        edit.add.iter().for_each(|entry| tries.insert(entry, None));
        tries.v4.tidy();
        tries.v6.tidy();
        if let Some(rows) = &mut tries.rows {
            rows.zero(&edit.zero);
            rows.tidy();
        }
        tries
    }

    fn trie(&mut self, net: &IpNet) -> &mut Lpm<bool> {
        match net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        }
    }

    fn insert(&mut self, entry: &TableEntry, before: Option<&Rows>) {
        let address = Address::from(entry.net.addr());
        self.trie(&entry.net).insert(address.0, entry.net.prefix_len(), !entry.negated);
        match entry.weight {
            Some(weight) => self.weights.insert(entry.net, weight),
            None => self.weights.remove(&entry.net),
        };
        if let Some(rows) = &mut self.rows {
            rows.add(&entry.net, before);
        }
    }

    fn entries(&self) -> impl Iterator<Item = TableEntry> {
        let of = |af: Af| {
            move |(address, length, held): (u128, u8, &bool)| {
                // A trie's lengths are those of its family.
                let net = IpNet::new(Address(address).to_ip(af), length).ok()?;
                Some(TableEntry { negated: !held, net, weight: self.weights.get(&net).copied() })
            }
        };
        self.v4.iter().filter_map(of(Af::Inet)).chain(self.v6.iter().filter_map(of(Af::Inet6)))
    }
}
