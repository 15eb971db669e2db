//! Changes of tables while the ruleset stays (`pfctl -T`).
//!
//! A change is made in the dataplane first, then stored; what cannot be stored is undone.

use std::sync::Arc;

use api::Candidate;
use api::control::{AddressFate, TableAction, TableOutcome, TableRequest};
use pfconf::{Isolated, LoadedTable, Member, TableChange, TableVerb};
use ruleset::{Limit, TableEdit, bounds};
use tracing::{error, info};

use super::attach::{COMMIT_PATIENCE, PATIENCE};
use super::{Committer, Failure};
use crate::tables::{self, TableSet, entries, now_unix_s};

type Result<T> = std::result::Result<T, Failure>;

impl Committer {
    /// Does what `pfctl -T` does.
    pub(super) fn change_table(&mut self, name: &str, request: &TableRequest) -> Result<TableOutcome> {
        check_name(name)?;
        self.require_dataplane()?;
        let held = self.tables.held().get(name).cloned();
        if held.as_ref().is_some_and(|table| table.is_constant()) && request.action != TableAction::Zero {
            return Err(Failure::refused(format!(
                "Operation not permitted: table <{name}> is const, change it in the ruleset"
            )));
        }
        let makes = matches!(request.action, TableAction::Add | TableAction::Replace);
        if held.is_none() && !makes {
            return Err(Failure::Unknown("Table does not exist.".into()));
        }
        let Some(verb) = self.verb(request)? else {
            return self.kill_table(name, held.as_deref(), request);
        };
        let now = now_unix_s();
        let mut table = held.as_deref().cloned().unwrap_or_else(|| LoadedTable::empty(now));
        let change = table.apply(&verb, now);
        let mut outcome = outcome(request, held.is_none(), &change);
        if !request.dry_run {
            let edit = change.edit(name, &verb);
            self.may_hold(name, &table)?;
            outcome.warning = self.guard_table(name, held.as_deref(), Some(&table), &request.operator)?;
            self.put_table(name, Some(table), held.as_deref(), &edit)?;
            info!(
                "table <{name}>: {} added, {} deleted, {} changed",
                change.added, change.deleted, change.changed
            );
        }
        Ok(outcome)
    }

    fn kill_table(
        &mut self,
        name: &str,
        held: Option<&LoadedTable>,
        request: &TableRequest,
    ) -> Result<TableOutcome> {
        let mut warning = None;
        if !request.dry_run {
            warning = self.guard_table(name, held, None, &request.operator)?;
            let edit = TableEdit { name: name.to_owned(), clear: true, ..TableEdit::default() };
            self.put_table(name, None, held, &edit)?;
            info!("table <{name}> is deleted");
        }
        let deleted = held.map_or(0, LoadedTable::len);
        Ok(TableOutcome { deleted, warning, ..TableOutcome::default() })
    }

    /// What is asked for, with its addresses read; `None` to remove the table.
    fn verb(&self, request: &TableRequest) -> Result<Option<TableVerb>> {
        let words = request.addresses.iter().map(String::as_str);
        let members: Vec<Member> = pfconf::members(&Isolated(&self.interfaces), words)
            .map_err(|error| Failure::refused(error.to_string()))?;
        let takes_none =
            matches!(request.action, TableAction::Kill | TableAction::Flush | TableAction::Expire);
        if takes_none && !members.is_empty() {
            return Err(Failure::refused("this verb takes no addresses".into()));
        }
        Ok(Some(match request.action {
            TableAction::Kill => return Ok(None),
            TableAction::Flush => TableVerb::Flush,
            TableAction::Add => TableVerb::Add(members),
            TableAction::Delete => TableVerb::Delete(members),
            TableAction::Replace => TableVerb::Replace(members),
            TableAction::Zero => TableVerb::Zero(members),
            TableAction::Expire => TableVerb::Expire(request.older_than_s),
        }))
    }

    /// Tables that no rule names count as well, though the dataplane never sees them.
    pub(super) fn may_hold(&self, name: &str, table: &LoadedTable) -> Result<()> {
        let others = self.tables.held().iter().filter(|(other, _)| *other != name);
        let count = others.map(|(_, table)| table.len()).sum::<usize>() + table.len();
        let limits = self.rules.as_ref().map(|rules| rules.options.limits.clone()).unwrap_or_default();
        let most = limits.get(Limit::TableEntries);
        if count > most as usize {
            return Err(Failure::refused(format!(
                "{count} addresses in tables, but at most {most} are possible; raise `set limit table-entries`"
            )));
        }
        let tables = self.tables.held().len() + usize::from(!self.tables.held().contains_key(name));
        let most = limits.get(Limit::Tables);
        if tables > most as usize {
            return Err(Failure::refused(format!(
                "{tables} tables, but at most {most} are possible; raise `set limit tables`"
            )));
        }
        Ok(())
    }

    /// Makes a table what it is to be, in the dataplane if its rules know it or are to know it, and on disk.
    pub(super) fn put_table(
        &mut self,
        name: &str,
        table: Option<LoadedTable>,
        before: Option<&LoadedTable>,
        edit: &TableEdit,
    ) -> Result<()> {
        if let Some(rebound) = self.rebound(name, table.as_ref()) {
            self.rebind(rebound)?;
            return self.tables.put(name, table, edit).map_err(|error| {
                Failure::Disk(format!(
                    "table <{name}> is changed until a restart, but cannot be stored: {error}"
                ))
            });
        }
        let is_live = self.rules.as_ref().is_some_and(|rules| rules.table(name).is_some());
        if is_live {
            self.edit_live(edit.clone())?;
        }
        let Err(error) = self.tables.put(name, table, edit) else { return Ok(()) };
        if is_live {
            let add = before.map(entries).unwrap_or_default();
            let undo = TableEdit { name: name.to_owned(), clear: true, add, ..TableEdit::default() };
            if let Err(why) = self.edit_live(undo) {
                error!("table <{name}> was changed and neither stored nor put back: {why}");
            }
        }
        Err(Failure::Disk(format!("cannot store table <{name}>: {error}; it is as it was")))
    }

    /// The live rules once those of an anchor mean a table that is made in theirs, or that of the main ruleset again when there
    /// is none any more; `None` if they stay what they are.
    pub(super) fn rebound(&self, name: &str, table: Option<&LoadedTable>) -> Option<Candidate> {
        let (live, held) = (self.rules.as_ref()?, self.tables.held());
        if !name.contains('/') || held.contains_key(name) == table.is_some() {
            return None;
        }
        let mut next = TableSet::clone(held);
        match table {
            Some(table) => drop(next.insert(name.to_owned(), Arc::new(table.clone()))),
            None => drop(next.remove(name)),
        }
        let mut ruleset = tables::plain(live);
        tables::bind(&mut ruleset, &next);
        if (&ruleset.rules, &ruleset.idle) == (&live.rules, &live.idle) {
            return None;
        }
        let contents = tables::contents(&ruleset, &next, Some((live, held)));
        Some(Candidate { ruleset, contents })
    }

    /// Makes these the live rules.
    fn rebind(&mut self, Candidate { ruleset, contents }: Candidate) -> Result<()> {
        match self.send(&ruleset, contents) {
            Ok(Ok(generation)) => {
                self.live = self.live.at(generation);
                self.rules = Some(Arc::new(ruleset));
                Ok(())
            }
            Ok(Err(why)) => Err(Failure::refused(why)),
            Err(error) => {
                self.lose(&error);
                Err(Failure::Unavailable(error.to_string()))
            }
        }
    }

    fn edit_live(&mut self, edit: TableEdit) -> Result<()> {
        let Some(client) = &mut self.client else {
            return Err(Failure::Unavailable("the dataplane is away".into()));
        };
        let edited = client
            .set_patience(COMMIT_PATIENCE)
            .and_then(|()| client.edit_tables(vec![edit]))
            .and_then(|()| client.set_patience(PATIENCE));
        match edited {
            Ok(()) => Ok(()),
            Err(api::Error::Refused(why)) => Err(Failure::refused(why)),
            Err(error) => {
                self.lose(&error);
                Err(Failure::Unavailable(error.to_string()))
            }
        }
    }
}

/// The name of a table, behind the path of its anchor if it is in one.
fn check_name(name: &str) -> Result<()> {
    let (path, own) = name.rsplit_once('/').map_or((None, name), |(path, own)| (Some(path), own));
    if own.is_empty() || own.len() > bounds::NAME_BYTES {
        return Err(Failure::refused("the name of the table is empty or too long".into()));
    }
    match path {
        Some(path) if path.len() > bounds::PATH_BYTES || path.split('/').any(str::is_empty) => {
            Err(Failure::refused(format!("'{path}' is not the path of an anchor")))
        }
        _ => Ok(()),
    }
}

fn outcome(request: &TableRequest, created: bool, change: &TableChange) -> TableOutcome {
    let given = match request.action {
        TableAction::Expire => change.each.len(),
        _ => request.addresses.len().max(change.each.len()),
    };
    let fate = |(member, feedback): &(Member, pfconf::Feedback)| AddressFate {
        address: member.to_string(),
        fate: feedback.letter(),
    };
    TableOutcome {
        created,
        given,
        added: change.added,
        deleted: change.deleted,
        changed: change.changed,
        each: if request.detail { change.each.iter().map(fate).collect() } else { Vec::new() },
        warning: None,
    }
}
