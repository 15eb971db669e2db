//! Apply, confirm, roll back.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use api::Candidate;
use api::control::{Anchored, Applied, Apply, Live, Operator, Origin, Part, Revision, Sources, Standing};
use pfconf::LoadedTable;
use ruleset::{Ruleset, Table, TableContents};
use tracing::{error, info, warn};

use super::{Before, Committer, Failure, HEARTBEAT, REVERT_AGAIN, SETTLE, Unconfirmed, unix_ms};
use crate::compile::{Compiled, compile, table_names, with_anchors};
use crate::revisions::{LoadError, Record};
use crate::tables::{Lists, TableSet, Tables};
use crate::{digest, policy, tables};

/// The longest that a confirmation may be awaited.
const CONFIRM_MAX_S: u32 = 86_400;

type Result<T> = std::result::Result<T, Failure>;

/// Which part of a ruleset is loaded anew, so that its tables hold what it lists for them.
enum Scope {
    Everything,
    /// What is in these anchors, or below them.
    Anchors(Vec<String>),
    /// These tables.
    Tables(Vec<String>),
}

impl Scope {
    /// What tables hold once the ruleset is live.
    fn tables(&self, tables: &Tables, ruleset: &Ruleset) -> TableSet {
        let below = |anchor: &String, name: &str| {
            name.strip_prefix(anchor.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        match self {
            Self::Everything => tables.under(ruleset, Lists::Loaded),
            Self::Tables(names) => tables.under(ruleset, Lists::LoadedFor(names)),
            Self::Anchors(anchors) => {
                let names = ruleset.tables.iter().map(|table| table.name.clone());
                let within = |name: &String| anchors.iter().any(|anchor| below(anchor, name));
                tables.under(ruleset, Lists::LoadedFor(&names.filter(within).collect::<Vec<_>>()))
            }
        }
    }
}

impl Committer {
    /// Makes a ruleset live and a revision of it.
    pub(super) fn apply(&mut self, apply: &Apply, origin: Origin) -> Result<Applied> {
        let done = self.require_dataplane().and_then(|()| self.may_apply(apply));
        let done = done.and_then(|()| self.whole(apply));
        let done = done.and_then(|(apply, scope)| self.transact(&apply, origin, &scope));
        match &done {
            Ok(applied) => info!("revision {} is live: generation {}", applied.revision, applied.generation),
            Err(failure) => {
                self.apply_failures += 1;
                warn!("the rules stay as they are: {failure}");
            }
        }
        done
    }

    /// Makes the rules of an older revision live, as a new revision. What awaits confirmation does so no longer.
    pub(super) fn rollback(&mut self, number: u64, operator: Operator) -> Result<Applied> {
        self.require_dataplane()?;
        let record = self.load(number)?;
        let (sources, comment) = (record.sources, record.revision.comment);
        let apply = Apply { sources, comment, operator, ..Apply::default() };
        let done = self.transact(&apply, Origin::Rollback { of: number }, &Scope::Everything);
        match &done {
            Ok(applied) => {
                warn!("rolled back to the rules of revision {number}, as revision {}", applied.revision);
                if let Some(pending) = self.pending.take() {
                    self.mark(pending.revision, Standing::Reverted);
                }
            }
            Err(failure) => {
                self.apply_failures += 1;
                warn!("cannot roll back to revision {number}: {failure}");
            }
        }
        done
    }

    /// Confirms the revision that awaits it.
    pub(super) fn confirm(&mut self) -> Result<Revision> {
        let Some(number) = self.pending.as_ref().map(|pending| pending.revision) else {
            return Err(Failure::Conflict("no revision awaits confirmation".into()));
        };
        self.store.amend(number, Standing::Confirmed).map_err(|error| Failure::Disk(error.to_string()))?;
        self.pending = None;
        info!("revision {number} is confirmed");
        match self.store.head(number) {
            Some(head) => Ok(head.revision.clone()),
            None => Err(Failure::Unknown(LoadError::Unknown(number).to_string())),
        }
    }

    /// Reads a revision.
    pub(super) fn load(&self, number: u64) -> Result<Record> {
        self.store.load(number).map_err(|error| match error {
            LoadError::Unknown(_) => Failure::Unknown(error.to_string()),
            _ => Failure::Disk(error.to_string()),
        })
    }

    /// A request for the whole ruleset: with what the live one has in anchors, or the live one with a part that is another;
    /// and which part that is.
    fn whole(&self, apply: &Apply) -> Result<(Apply, Scope)> {
        let is_main = apply.part == Part::Everything && apply.anchors.is_empty();
        let live = match self.live {
            Live::Revision { revision, .. } => match self.load(revision) {
                // What cannot be read is not needed where nothing is to be kept of it.
                Err(_) if is_main && !self.has_anchors() => None,
                live => Some(live?.sources),
            },
            Live::BuiltIn { .. } if apply.part != Part::Everything => Some(policy::sources()),
            _ => None,
        };
        let sources = &apply.sources;
        if is_main {
            let sources = with_anchors(sources.clone(), &live.unwrap_or_default(), &self.interfaces);
            return Ok((Apply { sources, ..apply.clone() }, Scope::Everything));
        }
        let Some(mut whole) = live else {
            return Err(Failure::Conflict("no revision is live: apply a main ruleset first".into()));
        };
        let is_path =
            |anchor: &String| !anchor.split('/').any(|name| name.is_empty() || name.starts_with('_'));
        if let Some(wrong) = apply.anchors.iter().find(|anchor| !is_path(anchor)) {
            return Err(Failure::refused(format!("'{wrong}' is not the path of an anchor")));
        }
        let loaded = |anchor: &String| Anchored { anchor: anchor.clone(), sources: sources.clone() };
        let scope = match apply.part {
            Part::Reset => {
                whole.reset = true;
                Scope::Tables(Vec::new())
            }
            Part::Everything => {
                let others = |known: &Anchored| !apply.anchors.contains(&known.anchor);
                whole.anchors.retain(others);
                whole.tables.retain(others);
                whole.anchors.extend(apply.anchors.iter().map(loaded));
                Scope::Anchors(apply.anchors.clone())
            }
            Part::Tables => {
                let main = [String::new()];
                let anchors = if apply.anchors.is_empty() { &main[..] } else { &apply.anchors };
                let mut names = Vec::new();
                for anchor in anchors {
                    names.extend(self.tables_of(sources, anchor)?);
                }
                // What is defined anew need not be kept.
                let is_needed = |known: &Anchored| {
                    self.tables_of(&known.sources, &known.anchor)
                        .is_ok_and(|known| known.iter().any(|name| !names.contains(name)))
                };
                whole.tables.retain(is_needed);
                whole.tables.extend(anchors.iter().map(loaded));
                Scope::Tables(names)
            }
        };
        Ok((Apply { sources: whole, anchors: Vec::new(), ..apply.clone() }, scope))
    }

    /// The names of the tables that sources define in an anchor.
    fn tables_of(&self, sources: &Sources, anchor: &str) -> Result<Vec<String>> {
        table_names(sources, anchor, &self.interfaces).map_err(|problem| Failure::Refused(Box::new(problem)))
    }

    /// True if the live ruleset may have something in anchors.
    fn has_anchors(&self) -> bool {
        let in_anchor = |table: &Table| table.name.contains('/');
        self.rules
            .as_ref()
            .is_none_or(|rules| !rules.anchors.is_empty() || rules.tables.iter().any(in_anchor))
    }

    fn may_apply(&self, apply: &Apply) -> Result<()> {
        if let Some(pending) = &self.pending {
            return Err(Failure::Conflict(format!(
                "revision {} awaits confirmation; confirm it or roll back first",
                pending.revision
            )));
        }
        match apply.confirm_s {
            Some(seconds) if seconds == 0 || seconds > CONFIRM_MAX_S => Err(Failure::refused(format!(
                "a confirmation within {seconds} s cannot be awaited; give 1 to {CONFIRM_MAX_S} s"
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn require_dataplane(&mut self) -> Result<()> {
        if self.client.is_none() {
            self.attach();
        }
        match (&self.client, &self.problem) {
            (Some(_), _) => Ok(()),
            (None, Some(problem)) => Err(Failure::Unavailable(problem.clone())),
            (None, None) => Err(Failure::Unavailable("the dataplane is away".into())),
        }
    }

    fn transact(&mut self, apply: &Apply, origin: Origin, scope: &Scope) -> Result<Applied> {
        let mut compiled = compile(&apply.sources, &self.interfaces)
            .map_err(|problem| Failure::Refused(Box::new(problem)))?;
        tables::bind(&mut compiled.ruleset, self.tables.held());
        let next = scope.tables(&self.tables, &compiled.ruleset);
        let contents = self.contents(&compiled.ruleset, &next);
        let candidate = Candidate { ruleset: compiled.ruleset.clone(), contents: contents.clone() };
        compiled.findings.extend(self.guard(apply, origin, candidate)?);
        let record = self.record(apply, origin, &compiled.ruleset);
        let number = record.revision.number;
        self.store.prepare(&record).map_err(|error| {
            Failure::Disk(format!("cannot store revision {number}: {error}; the rules were not loaded"))
        })?;
        let before = self.rules.clone().map(|rules| Before::Known(self.live, rules));
        let generation = self.commit(number, &compiled.ruleset, contents, before.as_ref())?;
        let overtaken = self.overtaken_by(&next);
        self.tables.set(next);
        self.live = Live::Revision { revision: number, generation };
        self.last_apply_unix_s = Some(unix_ms() / 1000);
        let Compiled { ruleset, findings } = compiled;
        let rules = ruleset.rules.len();
        self.rules = Some(Arc::new(ruleset));
        if let Some(seconds) = apply.confirm_s {
            let deadline = Instant::now() + Duration::from_secs(seconds.into());
            let before = before.unwrap_or(Before::Recorded(None));
            self.pending = Some(Unconfirmed { revision: number, deadline, before, overtaken });
            warn!("revision {number} has to be confirmed within {seconds} s, or the rules before it return");
        }
        Ok(Applied { revision: number, generation, confirm_s: apply.confirm_s, rules, findings })
    }

    fn record(&self, apply: &Apply, origin: Origin, ruleset: &Ruleset) -> Record {
        let now = unix_ms();
        let standing = match apply.confirm_s {
            Some(seconds) => Standing::Pending { deadline_unix_ms: now + u64::from(seconds) * 1000 },
            None => Standing::Confirmed,
        };
        let revision = Revision {
            number: self.store.next_number(),
            created_unix_s: now / 1000,
            origin,
            standing,
            comment: apply.comment.clone(),
            rules: ruleset.rules.len(),
        };
        Record {
            revision,
            digest: digest::of_ruleset(ruleset),
            previous: self.live.revision(),
            sources: apply.sources.clone(),
        }
    }

    /// Commits what was prepared as revision `number`, and publishes it.
    fn commit(
        &mut self,
        number: u64,
        ruleset: &Ruleset,
        contents: Vec<TableContents>,
        before: Option<&Before>,
    ) -> Result<u64> {
        let generation = match self.send(ruleset, contents) {
            Ok(Ok(generation)) => generation,
            Ok(Err(why)) => {
                self.store.discard();
                return Err(Failure::refused(why));
            }
            Err(error) => return self.settle(number, &error),
        };
        if let Err(error) = self.store.publish() {
            self.store.discard();
            self.undo(before);
            return Err(Failure::Disk(format!(
                "cannot store revision {number}: {error}; the rules before it are live"
            )));
        }
        Ok(generation)
    }

    /// The connection broke during the commit: what is live when the dataplane answers again tells whether it was done.
    fn settle(&mut self, number: u64, error: &api::Error) -> Result<u64> {
        self.lose(error);
        let end = Instant::now() + SETTLE;
        loop {
            self.attach();
            if self.client.is_some() || Instant::now() >= end {
                break;
            }
            thread::sleep(HEARTBEAT / 4);
        }
        match (&self.client, self.live) {
            (_, Live::Revision { revision, generation }) if revision == number => Ok(generation),
            (Some(_), live) => Err(Failure::Unavailable(format!(
                "the dataplane went away during the commit ({error}); live is {live:?}, not revision {number}"
            ))),
            (None, _) => Err(Failure::Unavailable(format!(
                "the dataplane went away during the commit ({error}) and is not back; whether revision {number} is live \
                 will be in the log of turnpike-control when it is"
            ))),
        }
    }

    /// Puts the rules back that were live before a commit that could not be stored.
    fn undo(&mut self, before: Option<&Before>) {
        let Some(Before::Known(live, rules)) = before else {
            error!("rules are live that could not be stored, and there were none before them");
            self.attach();
            return;
        };
        let contents = tables::contents(rules, self.tables.held(), None);
        match self.send(rules, contents).map_err(|error| error.to_string()).flatten() {
            Ok(generation) => self.live = live.at(generation),
            Err(why) => {
                error!("cannot put the rules back that were live before: {why}");
                self.attach();
            }
        }
    }

    /// The time for a confirmation is over: the rules before return.
    pub(super) fn revert(&mut self) {
        if self.client.is_none() {
            self.attach();
        }
        // Finding the dataplane without rules settles it as well.
        let Some(mut pending) = self.pending.take() else { return };
        error!(
            "revision {} was not confirmed in time: the rules before it return; states stay",
            pending.revision
        );
        match self.commit_before(&pending.before, &pending.overtaken) {
            Ok((live, rules)) => {
                self.live = live;
                self.rules = Some(rules);
                self.last_apply_unix_s = Some(unix_ms() / 1000);
                error!("revision {} is reverted: live is {live:?}", pending.revision);
                self.mark(pending.revision, Standing::Reverted);
            }
            Err(why) => {
                error!("revision {} could not be reverted yet: {why}", pending.revision);
                self.apply_failures += 1;
                pending.deadline = Instant::now() + REVERT_AGAIN;
                self.pending = Some(pending);
            }
        }
    }

    /// What tables hold that a change to `next` overtakes.
    fn overtaken_by(&self, next: &TableSet) -> TableSet {
        let changed = |(name, held): &(&String, &Arc<LoadedTable>)| {
            next.get(*name).is_none_or(|next| !Arc::ptr_eq(held, next))
        };
        let held = self.tables.held().iter().filter(changed);
        held.map(|(name, table)| (name.clone(), Arc::clone(table))).collect()
    }

    /// What has to be sent with a ruleset so that its tables hold `next`.
    fn contents(&self, ruleset: &Ruleset, next: &TableSet) -> Vec<TableContents> {
        let live = self.rules.as_deref().map(|live| (live, &**self.tables.held()));
        tables::contents(ruleset, next, live)
    }

    fn commit_before(
        &mut self,
        before: &Before,
        overtaken: &TableSet,
    ) -> std::result::Result<(Live, Arc<Ruleset>), String> {
        let (live, rules) = match before {
            Before::Known(live, rules) => (*live, Arc::clone(rules)),
            Before::Recorded(number) => self.recorded(*number)?,
        };
        // Tables that the reverted rules left alone stay as they are now.
        let mut held = TableSet::clone(self.tables.held());
        held.extend(overtaken.iter().map(|(name, table)| (name.clone(), Arc::clone(table))));
        let next = tables::under(&held, &rules, Lists::Known);
        let contents = tables::contents(&rules, &next, None);
        let generation = self.send(&rules, contents).map_err(|error| error.to_string()).flatten()?;
        self.tables.set(next);
        Ok((live.at(generation), rules))
    }

    /// The revision before, or whatever a boot would load.
    fn recorded(&self, number: Option<u64>) -> std::result::Result<(Live, Arc<Ruleset>), String> {
        let confirmed =
            self.store.newest_first().filter(|head| head.revision.standing == Standing::Confirmed);
        let numbers = number.into_iter().chain(confirmed.map(|head| head.revision.number));
        for number in numbers {
            if let Some(rules) = self.compile_revision(number) {
                return Ok((Live::Revision { revision: number, generation: 0 }, Arc::new(rules)));
            }
        }
        match compile(&policy::sources(), &self.interfaces) {
            Ok(compiled) => Ok((Live::BuiltIn { generation: 0 }, Arc::new(compiled.ruleset))),
            Err(problem) => Err(problem.error),
        }
    }

    fn mark(&mut self, number: u64, standing: Standing) {
        if let Err(error) = self.store.amend(number, standing) {
            error!("cannot note what became of revision {number}: {error}");
        }
    }
}
