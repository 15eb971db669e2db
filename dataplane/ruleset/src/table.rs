//! Tables: sets of addresses, longest prefix first (pf.conf(5) TABLES).

use core::num::NonZeroU16;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TableEntry {
    /// `!`: addresses for which this is the longest match are not in the table.
    pub negated: bool,
    /// The host or network.
    pub net: IpNet,
    /// `weight`: how often each of its addresses has its turn in pools; once, if it is not given.
    #[serde(default)]
    pub weight: Option<NonZeroU16>,
}

impl TableEntry {
    /// An entry without a weight.
    pub const fn new(negated: bool, net: IpNet) -> Self {
        Self { negated, net, weight: None }
    }
}

/// A table and its contents at load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Its name, without the angle brackets; in an anchor, behind the anchor's path and `/`.
    pub name: String,
    /// `persist`: kept without references.
    pub persist: bool,
    /// `const`: not changed after load.
    pub constant: bool,
    /// `counters`: counted per address.
    pub counters: bool,
    /// Entries; `None` if no list was given, which keeps the contents of an existing table of this name.
    pub entries: Option<Vec<TableEntry>>,
}

/// What a table holds, whatever the ruleset says that it began with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableContents {
    /// The table's name.
    pub name: String,
    /// Its entries.
    pub entries: Vec<TableEntry>,
}

/// A change of a table that is live.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEdit {
    /// The table's name.
    pub name: String,
    /// All its entries go first.
    pub clear: bool,
    /// These go.
    pub remove: Vec<IpNet>,
    /// These come, in place of entries of the same network.
    pub add: Vec<TableEntry>,
    /// Then the counters of these are zero.
    pub zero: ZeroCounts,
}

/// Whose counters are set to zero, of the entries of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZeroCounts {
    /// Nobody's.
    #[default]
    None,
    /// Those of these entries.
    Entries(Vec<IpNet>),
    /// All.
    All,
}
