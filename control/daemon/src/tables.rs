//! What tables hold, apart from what rulesets say that they begin with.
//!
//! Overview: [`Tables`] has the tables of the live ruleset and those that persist without it; `files` keeps them over a
//! restart. A ruleset's list replaces what a table holds, `{ }` empties it, and without a list it keeps what it holds
//! (pf.conf(5) TABLES).
//!
//! Life cycle: read at the start, changed by the committer alone. Ownership: values behind `Arc`, so that snapshots of a
//! table of a million addresses cost nothing; a change copies its table. Bounds: `set limit table-entries`, which the
//! dataplane enforces.

mod anchored;
mod files;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pfconf::LoadedTable;
use ruleset::{Ruleset, TableContents, TableEdit, TableEntry};
use tracing::error;

pub use anchored::{bind, plain};
use files::Files;

/// Tables by name.
pub type TableSet = BTreeMap<String, Arc<LoadedTable>>;

/// What the lists of a ruleset are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lists<'a> {
    /// It is loaded: they replace what tables hold.
    Loaded,
    /// A part of it is loaded: those of these tables do.
    LoadedFor(&'a [String]),
    /// It was live before, and tables may have changed since: they are for tables that nobody knows yet.
    Known,
}

/// Every table.
#[derive(Debug)]
pub struct Tables {
    held: Arc<TableSet>,
    files: Files,
}

/// Seconds since 1970.
pub fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Tables {
    /// Reads what the folder keeps, making it if need be.
    ///
    /// # Errors
    /// That the folder cannot be made or read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let (files, held) = Files::open(folder)?;
        Ok(Self { held: Arc::new(held), files })
    }

    /// What they hold.
    pub fn held(&self) -> &Arc<TableSet> {
        &self.held
    }

    /// What they hold once a ruleset is live.
    pub fn under(&self, ruleset: &Ruleset, lists: Lists<'_>) -> TableSet {
        under(&self.held, ruleset, lists)
    }

    /// Makes these the tables. What cannot be stored is live all the same, and said aloud.
    pub fn set(&mut self, next: TableSet) {
        for name in self.held.keys().filter(|name| !next.contains_key(*name)) {
            told(name, self.files.remove(name));
        }
        for (name, table) in &next {
            let is_old = self.held.get(name).is_some_and(|old| Arc::ptr_eq(old, table));
            if !is_old {
                told(name, self.files.write(name, table));
            }
        }
        self.held = Arc::new(next);
    }

    /// Makes a table hold what a verb made of it, and stores the change; `None` removes it.
    ///
    /// # Errors
    /// Those of the disk: the table is as it was.
    pub fn put(&mut self, name: &str, table: Option<LoadedTable>, edit: &TableEdit) -> io::Result<()> {
        let held = Arc::make_mut(&mut self.held);
        match table {
            None => {
                self.files.remove(name)?;
                held.remove(name);
            }
            Some(table) => {
                self.files.append(name, &table, edit)?;
                held.insert(name.to_owned(), Arc::new(table));
            }
        }
        Ok(())
    }
}

fn told(name: &str, stored: io::Result<()>) {
    if let Err(error) = stored {
        error!("what table <{name}> holds is live, but cannot be stored, and is lost at a restart: {error}");
    }
}

/// What tables that hold `held` hold once a ruleset is live.
pub fn under(held: &TableSet, ruleset: &Ruleset, lists: Lists<'_>) -> TableSet {
    let now = now_unix_s();
    let replaces = |name: &String| match lists {
        Lists::Loaded => true,
        Lists::LoadedFor(names) => names.contains(name),
        Lists::Known => false,
    };
    let mut next = TableSet::new();
    for defined in &ruleset.tables {
        let table = match held.get(&defined.name) {
            None => {
                let mut new = LoadedTable::of(defined);
                new.zero(now);
                Arc::new(new)
            }
            Some(known) => {
                let mut taken = known.attributes_of(defined);
                if let Some(entries) = defined.entries.as_ref().filter(|_| replaces(&defined.name))
                    && !known.holds(entries)
                {
                    taken.get_or_insert_with(|| LoadedTable::clone(known)).hold(entries, now);
                }
                taken.map_or_else(|| Arc::clone(known), Arc::new)
            }
        };
        next.insert(defined.name.clone(), table);
    }
    for (name, table) in held.iter().filter(|(_, table)| table.persists()) {
        next.entry(name.clone()).or_insert_with(|| Arc::clone(table));
    }
    next
}

/// What must be sent with a ruleset so that its tables hold `next`. A table that the live ruleset has, and that stays as it
/// is, is left out: the dataplane keeps it as it is, without building it anew. Without a `live` one nothing is relied on.
pub fn contents(
    ruleset: &Ruleset,
    next: &TableSet,
    live: Option<(&Ruleset, &TableSet)>,
) -> Vec<TableContents> {
    let kept = |name: &str, table: &Arc<LoadedTable>| {
        live.is_some_and(|(live, held)| {
            live.table(name).is_some() && held.get(name).is_some_and(|held| is_same(held, table))
        })
    };
    let mut contents = Vec::new();
    for table in &ruleset.tables {
        let Some(wanted) = next.get(&table.name) else { continue };
        let as_it_is = match &table.entries {
            Some(list) => wanted.holds(list),
            None => kept(&table.name, wanted),
        };
        if !as_it_is {
            contents.push(TableContents { name: table.name.clone(), entries: entries(wanted) });
        }
    }
    contents
}

/// True if two tables hold the same, whenever it was put there.
fn is_same(one: &Arc<LoadedTable>, other: &Arc<LoadedTable>) -> bool {
    let members = |table: &LoadedTable| table.rows().map(|row| row.member).collect::<Vec<_>>();
    Arc::ptr_eq(one, other) || members(one) == members(other)
}

/// What a table holds, as the dataplane takes it.
pub fn entries(table: &LoadedTable) -> Vec<TableEntry> {
    table.rows().map(|row| row.member.entry()).collect()
}
