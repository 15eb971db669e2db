//! A table and the verbs of `pfctl -T`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use ipnet::IpNet;
use ruleset::{Table, TableEdit, TableEntry, ZeroCounts};
use serde::{Deserialize, Serialize};
use wire::Af;

use crate::config::{Member, TableDefinition};

/// A table with its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedTable {
    persist: bool,
    constant: bool,
    counters: bool,
    /// When its counters were set to zero, in seconds since 1970.
    cleared_unix_s: u64,
    #[serde(with = "stored")]
    members: Members,
    /// What the dataplane has counted, of a table with `counters` that was asked for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    traffic: BTreeMap<IpNet, AddressTraffic>,
}

/// What is counted for an address: packets and bytes that came in and that went out, of each those that were blocked and
/// those that passed.
pub type AddressTraffic = [[(u64, u64); 2]; 2];

/// In the order in which pf lists them: by family and address, of networks with one address the smallest first.
type Members = BTreeMap<(Af, IpAddr, Reverse<u8>), Held>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    negated: bool,
    weight: Option<NonZeroU16>,
    cleared_unix_s: u64,
}

impl Held {
    const fn of(entry: &TableEntry, cleared_unix_s: u64) -> Self {
        Self { negated: entry.negated, weight: entry.weight, cleared_unix_s }
    }
}

/// What a verb did about an address, and the letter that pfctl prints for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// Nothing.
    None,
    /// It is in the table.
    Match,
    /// It was added.
    Added,
    /// It was deleted.
    Deleted,
    /// It was negated, or is not any more.
    Changed,
    /// Its counters are zero.
    Cleared,
    /// It was given twice.
    Duplicate,
    /// It is negated in the table.
    NoMatch,
    /// It is in the table, but the other way: negated, or not.
    Conflict,
}

impl Feedback {
    /// What a letter of pfctl's stands for; a blank is nothing.
    pub const fn of_letter(letter: char) -> Option<Self> {
        Some(match letter {
            ' ' => Self::None,
            'M' => Self::Match,
            'A' => Self::Added,
            'D' => Self::Deleted,
            'C' => Self::Changed,
            'Z' => Self::Cleared,
            'X' => Self::Duplicate,
            'Y' => Self::Conflict,
            _ => return None,
        })
    }

    /// pfctl's letter.
    pub const fn letter(self) -> char {
        match self {
            Self::None | Self::NoMatch => ' ',
            Self::Match => 'M',
            Self::Added => 'A',
            Self::Deleted => 'D',
            Self::Changed => 'C',
            Self::Cleared => 'Z',
            Self::Duplicate => 'X',
            Self::Conflict => 'Y',
        }
    }
}

/// What a verb did.
#[derive(Clone, Debug, Default)]
pub struct TableChange {
    /// Each address that was given, in order; behind them those that `replace` deleted.
    pub each: Vec<(Member, Feedback)>,
    /// Addresses that were added.
    pub added: usize,
    /// Addresses that were deleted.
    pub deleted: usize,
    /// Addresses that were negated, or are not any more.
    pub changed: usize,
}

impl TableChange {
    /// The same change as the dataplane makes it.
    pub fn edit(&self, name: &str, verb: &TableVerb) -> TableEdit {
        let cleared =
            |(member, feedback): &(Member, Feedback)| (*feedback == Feedback::Cleared).then_some(member.net);
        let mut edit = TableEdit {
            name: name.to_owned(),
            clear: *verb == TableVerb::Flush,
            zero: match verb {
                TableVerb::Zero(members) if members.is_empty() => ZeroCounts::All,
                TableVerb::Zero(_) => ZeroCounts::Entries(self.each.iter().filter_map(cleared).collect()),
                _ => ZeroCounts::None,
            },
            ..TableEdit::default()
        };
        for (member, feedback) in &self.each {
            match feedback {
                Feedback::Added | Feedback::Changed => {
                    edit.add.push(member.entry());
                }
                Feedback::Deleted => edit.remove.push(member.net),
                _ => {}
            }
        }
        edit
    }
}

/// What is done to the addresses of a table (`pfctl -T`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableVerb {
    /// Remove all.
    Flush,
    /// Add what is not there.
    Add(Vec<Member>),
    /// Delete what is there.
    Delete(Vec<Member>),
    /// Hold these and no others.
    Replace(Vec<Member>),
    /// Set the counters of these to zero, or without any those of the table.
    Zero(Vec<Member>),
    /// Remove those whose counters were not set to zero for so many seconds.
    Expire(u64),
}

/// An address of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableRow {
    /// The address.
    pub member: Member,
    /// When its counters were set to zero, in seconds since 1970.
    pub cleared_unix_s: u64,
}

fn key(net: IpNet) -> (Af, IpAddr, Reverse<u8>) {
    (Af::of(&net.addr()), net.network(), Reverse(net.prefix_len()))
}

fn row((key, held): (&(Af, IpAddr, Reverse<u8>), &Held)) -> TableRow {
    // Keys are made from networks.
    let net = IpNet::new(key.1, key.2.0).unwrap_or(IpNet::from(key.1));
    let member = Member { negated: held.negated, net, weight: held.weight };
    TableRow { member, cleared_unix_s: held.cleared_unix_s }
}

impl LoadedTable {
    /// Without addresses, and staying without references.
    pub fn empty(unix_s: u64) -> Self {
        Self { persist: true, cleared_unix_s: unix_s, ..Self::default() }
    }

    /// As a ruleset defines it.
    pub fn of(table: &Table) -> Self {
        let members = table.entries.iter().flatten();
        let held = |entry: &TableEntry| Held::of(entry, 0);
        Self {
            persist: table.persist,
            constant: table.constant,
            counters: table.counters,
            cleared_unix_s: 0,
            members: members.map(|entry| (key(entry.net), held(entry))).collect(),
            traffic: BTreeMap::new(),
        }
    }

    /// Takes over a definition. What was in the table and stays keeps its weight; without a list all stays.
    pub(super) fn define(&mut self, table: &TableDefinition, unix_s: u64) {
        (self.persist, self.constant, self.counters) = (table.persist, table.constant, table.counters);
        self.cleared_unix_s = unix_s;
        let Some(members) = &table.members else { return };
        let mut defined = Members::new();
        for member in members {
            let known = self.members.get(&key(member.net)).copied();
            defined.entry(key(member.net)).or_insert(match known {
                Some(known) => Held { negated: member.negated, ..known },
                None => Held::of(&member.entry(), unix_s),
            });
        }
        self.members = defined;
    }

    /// The same table with what a definition says of it; `None` if it is so. A mere reference takes nothing away.
    pub fn attributes_of(&self, table: &Table) -> Option<Self> {
        let persist = table.persist || (table.entries.is_none() && self.persist);
        let same = (persist, table.constant, table.counters) == (self.persist, self.constant, self.counters);
        (!same).then(|| Self { persist, constant: table.constant, counters: table.counters, ..self.clone() })
    }

    /// Makes it hold these entries and no others. What was in the table and stays keeps its time.
    pub fn hold(&mut self, entries: &[TableEntry], unix_s: u64) {
        let before = std::mem::take(&mut self.members);
        for entry in entries {
            let time = before.get(&key(entry.net)).map_or(unix_s, |known| known.cleared_unix_s);
            let held = Held::of(entry, time);
            self.members.entry(key(entry.net)).or_insert(held);
        }
    }

    /// Makes a change as the dataplane does.
    pub fn amend(&mut self, edit: &TableEdit, unix_s: u64) {
        if edit.clear {
            self.members.clear();
        }
        for net in &edit.remove {
            self.members.remove(&key(*net));
        }
        for entry in &edit.add {
            let time = self.members.get(&key(entry.net)).map_or(unix_s, |known| known.cleared_unix_s);
            self.members.insert(key(entry.net), Held::of(entry, time));
        }
    }

    /// True if it holds these entries and no others.
    pub fn holds(&self, entries: &[TableEntry]) -> bool {
        let given: BTreeMap<_, Held> =
            entries.iter().map(|entry| (key(entry.net), Held::of(entry, 0))).collect();
        let same = |held: &Held| (held.negated, held.weight);
        given.len() == self.members.len()
            && given
                .iter()
                .zip(&self.members)
                .all(|((net, given), (own, held))| net == own && same(given) == same(held))
    }

    /// Does what a verb says.
    pub fn apply(&mut self, verb: &TableVerb, unix_s: u64) -> TableChange {
        match verb {
            TableVerb::Flush => TableChange { deleted: self.flush(), ..TableChange::default() },
            TableVerb::Add(members) => self.add(members, unix_s),
            TableVerb::Delete(members) => self.delete(members),
            TableVerb::Replace(members) => self.replace(members, unix_s),
            TableVerb::Zero(members) if members.is_empty() => {
                self.zero(unix_s);
                TableChange::default()
            }
            TableVerb::Zero(members) => self.zero_members(members, unix_s),
            TableVerb::Expire(seconds) => self.expire(*seconds, unix_s),
        }
    }

    /// True if it stays without references.
    pub fn persists(&self) -> bool {
        self.persist
    }

    /// `const`: only a load changes it.
    pub fn is_constant(&self) -> bool {
        self.constant
    }

    /// `counters`: it counts by address.
    pub fn has_counters(&self) -> bool {
        self.counters
    }

    /// When its counters were set to zero, in seconds since 1970.
    pub fn cleared_unix_s(&self) -> u64 {
        self.cleared_unix_s
    }

    /// Shows these counters with its addresses.
    pub fn set_traffic(&mut self, traffic: BTreeMap<IpNet, AddressTraffic>) {
        self.traffic = traffic;
    }

    /// What was counted for an address.
    pub fn traffic(&self, net: IpNet) -> AddressTraffic {
        self.traffic.get(&net).copied().unwrap_or_default()
    }

    pub(super) fn flags(&self) -> [(bool, char); 2] {
        [(self.constant, 'c'), (self.persist, 'p')]
    }

    /// How many addresses it has.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Its addresses, in pf's order.
    pub fn rows(&self) -> impl Iterator<Item = TableRow> {
        self.members.iter().map(row)
    }

    /// Adds what is not there.
    pub fn add(&mut self, given: &[Member], unix_s: u64) -> TableChange {
        let mut change = TableChange::default();
        let mut new = HashSet::new();
        for member in given {
            let known = self.members.get(&key(member.net)).filter(|_| !new.contains(&key(member.net)));
            let feedback = match known {
                Some(known) if known.negated != member.negated => Feedback::Conflict,
                Some(_) => Feedback::None,
                None if !new.insert(key(member.net)) => Feedback::Duplicate,
                None => {
                    self.members.insert(key(member.net), Held::of(&member.entry(), unix_s));
                    change.added += 1;
                    Feedback::Added
                }
            };
            change.each.push((*member, feedback));
        }
        change
    }

    /// Deletes what is there as it is given, negated or not.
    pub fn delete(&mut self, given: &[Member]) -> TableChange {
        let mut change = TableChange::default();
        let mut gone = HashSet::new();
        for member in given {
            let feedback = match self.members.get(&key(member.net)) {
                _ if gone.contains(&key(member.net)) => Feedback::Duplicate,
                None => Feedback::None,
                Some(known) if known.negated != member.negated => Feedback::Conflict,
                Some(_) => {
                    self.members.remove(&key(member.net));
                    gone.insert(key(member.net));
                    change.deleted += 1;
                    Feedback::Deleted
                }
            };
            change.each.push((*member, feedback));
        }
        change
    }

    /// Makes the table hold these addresses and no others.
    pub fn replace(&mut self, given: &[Member], unix_s: u64) -> TableChange {
        let mut change = TableChange::default();
        let mut seen = HashSet::new();
        for member in given {
            let known = self.members.get_mut(&key(member.net));
            let feedback = match known {
                _ if !seen.insert(key(member.net)) => Feedback::Duplicate,
                Some(known) if known.negated != member.negated => {
                    known.negated = member.negated;
                    change.changed += 1;
                    Feedback::Changed
                }
                Some(_) => Feedback::None,
                None => {
                    self.members.insert(key(member.net), Held::of(&member.entry(), unix_s));
                    change.added += 1;
                    Feedback::Added
                }
            };
            change.each.push((*member, feedback));
        }
        let gone: Vec<Member> =
            self.rows().map(|row| row.member).filter(|member| !seen.contains(&key(member.net))).collect();
        for member in gone {
            self.members.remove(&key(member.net));
            change.deleted += 1;
            change.each.push((member, Feedback::Deleted));
        }
        change
    }

    /// Removes every address, and returns how many there were.
    pub fn flush(&mut self) -> usize {
        std::mem::take(&mut self.members).len()
    }

    /// Removes the addresses whose counters have not been set to zero for longer than `seconds`.
    pub fn expire(&mut self, seconds: u64, unix_s: u64) -> TableChange {
        let old = |row: &TableRow| unix_s.saturating_sub(row.cleared_unix_s) > seconds;
        let old: Vec<Member> = self.rows().filter(old).map(|row| row.member).collect();
        self.delete(&old)
    }

    /// Sets the counters of the table and all its addresses to zero.
    pub fn zero(&mut self, unix_s: u64) {
        self.cleared_unix_s = unix_s;
        self.members.values_mut().for_each(|held| held.cleared_unix_s = unix_s);
    }

    /// Sets the counters of some addresses to zero.
    pub fn zero_members(&mut self, given: &[Member], unix_s: u64) -> TableChange {
        let mut change = TableChange::default();
        for member in given {
            let held = self.members.get_mut(&key(member.net)).filter(|held| held.negated == member.negated);
            let feedback = match held {
                Some(held) => {
                    held.cleared_unix_s = unix_s;
                    change.changed += 1;
                    Feedback::Cleared
                }
                None => Feedback::None,
            };
            change.each.push((*member, feedback));
        }
        change
    }

    /// True if an address is in the table.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.lookup(address).is_some_and(|member| !member.negated)
    }

    /// The entry that decides about an address: the longest prefix.
    pub fn lookup(&self, address: IpAddr) -> Option<Member> {
        let lengths = (0..=Af::of(&address).bits()).rev();
        let mut nets = lengths.filter_map(|length| IpNet::new(address, length).ok());
        nets.find_map(|net| self.members.get_key_value(&key(net))).map(|found| row(found).member)
    }
}

/// Addresses in a file: a list.
mod stored {
    use ipnet::IpNet;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use std::num::NonZeroU16;

    use super::{Held, Members, key, row};

    #[derive(Serialize, Deserialize)]
    struct Stored {
        net: IpNet,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negated: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<NonZeroU16>,
        cleared_unix_s: u64,
    }

    pub(super) fn serialize<S: Serializer>(members: &Members, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(members.iter().map(row).map(|row| Stored {
            net: row.member.net,
            negated: row.member.negated,
            weight: row.member.weight,
            cleared_unix_s: row.cleared_unix_s,
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Members, D::Error> {
        let list = Vec::<Stored>::deserialize(deserializer)?;
        let held = |stored: &Stored| Held {
            negated: stored.negated,
            weight: stored.weight,
            cleared_unix_s: stored.cleared_unix_s,
        };
        Ok(list.iter().map(|stored| (key(stored.net), held(stored))).collect())
    }
}
