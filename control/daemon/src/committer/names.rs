//! Tables that follow the names in them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use pfconf::LoadedTable;
use ruleset::{Ruleset, TableEdit, TableEntry};
use tracing::{error, info, warn};

use super::{Committer, Failure};
use crate::compile::compile;
use crate::names::{self, Names};
use crate::tables::now_unix_s;

type Result<T> = std::result::Result<T, Failure>;

/// The names of the live revision.
#[derive(Debug, Default)]
pub(super) struct Followed {
    revision: Option<u64>,
    names: Arc<Names>,
    /// Those that could not be resolved at last.
    lost: BTreeSet<String>,
}

impl Committer {
    /// Takes note of the names of the live revision, if it is another than before.
    pub(super) fn follow_names(&mut self) {
        let live = self.live.revision();
        if self.followed.revision == live {
            return;
        }
        let names = live.map(|number| self.load(number).map(|record| self.known.of(number, &record.sources)));
        self.followed = Followed {
            revision: live,
            names: Arc::new(names.transpose().ok().flatten().unwrap_or_default()),
            lost: BTreeSet::new(),
        };
    }

    /// The addresses of names in tables of the live ruleset.
    pub(super) fn names(&self) -> &Arc<Names> {
        &self.followed.names
    }

    /// Has tables follow names to the addresses that were found now.
    pub(super) fn refresh(&mut self, found: &Names) -> Result<()> {
        let before = Arc::clone(&self.followed.names);
        let mut after = Names::clone(&before);
        for (name, addresses) in &mut after {
            let Some(new) = found.get(name) else { continue };
            if new.is_empty() {
                if self.followed.lost.insert(name.clone()) {
                    warn!("{name} cannot be resolved: tables keep its addresses");
                }
                continue;
            }
            if self.followed.lost.remove(name) {
                info!("{name} is resolved again");
            }
            let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
            if set(addresses) != set(new) {
                info!("{name} is {new:?} now, and was {addresses:?}");
                addresses.clone_from(new);
            }
        }
        let Some(number) = self.followed.revision.filter(|_| after != *before) else { return Ok(()) };
        self.require_dataplane()?;
        let sources = self.load(number)?.sources;
        let compiled = |names: &Names| compile(&names::with(&sources, names), &self.interfaces);
        let refused = |problem| Failure::Refused(Box::new(problem));
        let old = compiled(&before).map_err(refused)?.ruleset;
        let new = compiled(&after).map_err(refused)?.ruleset;
        for edit in edits(&old, &new) {
            self.follow(&edit)?;
        }
        self.followed.names = Arc::new(after);
        let kept = |number| self.store.head(number).is_some();
        if let Err(error) = self.known.set(number, &self.followed.names, kept) {
            error!(
                "the addresses of names cannot be stored, and are asked for anew after a restart: {error}"
            );
        }
        Ok(())
    }

    /// Changes a table as its names have changed. What operators have added or deleted stays so.
    fn follow(&mut self, edit: &TableEdit) -> Result<()> {
        let Some(held) = self.tables.held().get(&edit.name).cloned() else { return Ok(()) };
        let mut table = LoadedTable::clone(&held);
        table.amend(edit, now_unix_s());
        self.may_hold(&edit.name, &table)?;
        self.put_table(&edit.name, Some(table), Some(&held), edit)
    }
}

/// What changes the tables' lists of one ruleset into those of another.
fn edits(old: &Ruleset, new: &Ruleset) -> Vec<TableEdit> {
    // Of two entries of one network the first holds.
    let list = |entries: &Option<Vec<TableEntry>>| {
        let mut list = BTreeMap::new();
        for entry in entries.iter().flatten() {
            list.entry(entry.net).or_insert(*entry);
        }
        list
    };
    let pairs = new.tables.iter().filter_map(|table| Some((table, old.table(&table.name)?)));
    let changed = pairs.filter(|(table, before)| table.entries != before.entries);
    let edit = changed.map(|(table, before)| {
        let (after, before) = (list(&table.entries), list(&before.entries));
        let new = after.iter().filter(|(net, entry)| before.get(*net) != Some(*entry));
        TableEdit {
            name: table.name.clone(),
            remove: before.keys().filter(|net| !after.contains_key(*net)).copied().collect(),
            add: new.map(|(_, entry)| *entry).collect(),
            ..TableEdit::default()
        }
    });
    edit.filter(|edit| !edit.remove.is_empty() || !edit.add.is_empty()).collect()
}
