//! Finding the dataplane, and finding out what is live in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::control::{Live, Standing};
use api::{Client, LiveRules};
use ruleset::{Rule, Ruleset, TableContents};
use tracing::{debug, error, info, warn};

use super::{Before, Committer, Unconfirmed, unix_ms};
use crate::compile::{Compiled, compile, interfaces_of};
use crate::revisions::Head;
use crate::tables::{Lists, TableSet, now_unix_s};
use crate::{digest, policy, tables};

/// How long a commit may take, the building of the largest classifier included.
pub(super) const COMMIT_PATIENCE: Duration = Duration::from_secs(60);

/// How often it is said that the dataplane is still away.
const REMIND: Duration = Duration::from_secs(10);

/// How long an answer about the dataplane's state may take. A worker that stands still must not stop everything else.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

impl Committer {
    /// Asks the dataplane how it is, and attaches to it if that was not done or somebody else changed its rules.
    pub(super) fn look(&mut self) {
        let Some(client) = &mut self.client else { return self.attach() };
        match client.status() {
            Ok(status) => {
                self.interfaces = Arc::new(interfaces_of(&status));
                if status.generation != self.live.generation() {
                    warn!("the dataplane has rules of generation {} now", status.generation);
                    self.attach();
                } else if status.overloads != self.overloads
                    && let Err(error) = self.read_overloaded(status.overloads)
                {
                    self.lose(&error);
                }
            }
            // It is there, but cannot say at this moment.
            Err(api::Error::Refused(why)) => debug!("the dataplane's status: {why}"),
            Err(error) => self.lose(&error),
        }
    }

    /// Forgets a connection that failed.
    pub(super) fn lose(&mut self, error: &api::Error) {
        self.client = None;
        self.live = Live::None;
        self.rules = None;
        self.problem = Some(error.to_string());
        let now = Instant::now();
        match &mut self.away {
            None => {
                warn!("the dataplane is away: {error}");
                self.away = Some((now, now));
            }
            Some((since, said)) if now - *said >= REMIND => {
                warn!("the dataplane is away since {} s: {error}", (now - *since).as_secs());
                *said = now;
            }
            Some(_) => {}
        }
    }

    /// Connects if need be, and finds out what is live; loads rules if nothing is.
    pub(super) fn attach(&mut self) {
        if let Err(error) = self.try_attach() {
            self.lose(&error);
            return;
        }
        self.problem = None;
        if let Some((since, _)) = self.away.take() {
            info!("the dataplane is back after {} s", since.elapsed().as_secs());
        }
    }

    fn try_attach(&mut self) -> Result<(), api::Error> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => Client::connect_within(&self.socket, PATIENCE)?,
        };
        client.set_patience(PATIENCE)?;
        self.interfaces = Arc::new(interfaces_of(&client.status()?));
        let rules = client.rules()?;
        self.client = Some(client);
        match rules {
            Some(rules) => {
                self.read_tables(&rules.ruleset)?;
                self.adopt(rules);
                Ok(())
            }
            None => self.boot(),
        }
    }

    /// Recognises the live rules.
    fn adopt(&mut self, LiveRules { generation, ruleset }: LiveRules) {
        let live_digest = digest::of_ruleset(&ruleset);
        if self.store.unpublished().is_some_and(|head| head.digest == live_digest) {
            warn!("rules whose commit was interrupted are live: they are a revision now");
            if let Err(error) = self.store.publish() {
                error!("cannot store the live rules as a revision: {error}");
            }
        }
        let alike = |head: &&Head| head.digest == live_digest && head.revision.standing != Standing::Reverted;
        let head = self.store.newest_first().find(alike).cloned();
        self.live = match &head {
            Some(head) => Live::Revision { revision: head.revision.number, generation },
            None if self.is_built_in(&live_digest) => Live::BuiltIn { generation },
            None => Live::Foreign { generation },
        };
        self.rules = Some(Arc::new(ruleset));
        match self.live {
            Live::Foreign { .. } => warn!(
                "the rules of generation {generation} are none of the stored revisions; they are left as they are"
            ),
            live => info!("attached to the dataplane: {live:?}"),
        }
        self.resume(head.as_ref());
    }

    /// Takes over what the tables hold: each change was made there first. Tables that are as they were known stay so.
    fn read_tables(&mut self, ruleset: &Ruleset) -> Result<(), api::Error> {
        let Some(client) = &mut self.client else { return Ok(()) };
        let mut next = self.tables.under(ruleset, Lists::Known);
        for table in &ruleset.tables {
            let mut held = Vec::new();
            client.entries(&table.name, |entry| held.push(entry))?;
            if let Some(known) = next.get_mut(&table.name).filter(|known| !known.holds(&held)) {
                warn!(
                    "table <{}> is not as it was stored: it holds {} addresses now",
                    table.name,
                    held.len()
                );
                Arc::make_mut(known).hold(&held, now_unix_s());
            }
        }
        self.tables.set(next);
        Ok(())
    }

    /// Takes over the sources that the dataplane has put into tables since they were read: so many in all.
    fn read_overloaded(&mut self, overloads: u64) -> Result<(), api::Error> {
        let (Some(client), Some(rules)) = (&mut self.client, &self.rules) else { return Ok(()) };
        let overload = |rule: &Rule| rule.state_options.source.overload.clone();
        let names: BTreeSet<String> = rules.rules.iter().filter_map(overload).map(|own| own.table).collect();
        let mut next = TableSet::clone(self.tables.held());
        for name in names {
            let mut held = Vec::new();
            client.entries(&name, |entry| held.push(entry))?;
            if let Some(known) = next.get_mut(&name).filter(|known| !known.holds(&held)) {
                info!(
                    "table <{name}> holds {} addresses, with sources that have exceeded limits",
                    held.len()
                );
                Arc::make_mut(known).hold(&held, now_unix_s());
            }
        }
        self.tables.set(next);
        self.overloads = overloads;
        Ok(())
    }

    fn is_built_in(&self, live_digest: &str) -> bool {
        compile(&policy::sources(), &self.interfaces)
            .is_ok_and(|compiled| digest::of_ruleset(&compiled.ruleset) == live_digest)
    }

    /// Goes on waiting for a confirmation that was awaited before a restart, and settles those that cannot come any more.
    fn resume(&mut self, live: Option<&Head>) {
        let live_number = live.map(|head| head.revision.number);
        self.abandon_pending_but(live_number);
        let Some(Head { revision, previous, .. }) = live else { return };
        let Standing::Pending { deadline_unix_ms } = revision.standing else { return };
        if self.pending.is_some() {
            return;
        }
        let left = Duration::from_millis(deadline_unix_ms.saturating_sub(unix_ms()));
        warn!("revision {} awaits confirmation for {} s more", revision.number, left.as_secs());
        self.pending = Some(Unconfirmed {
            revision: revision.number,
            deadline: Instant::now() + left,
            before: Before::Recorded(*previous),
            overtaken: TableSet::new(),
        });
    }

    /// Marks every revision as reverted that awaits confirmation and is not live.
    fn abandon_pending_but(&mut self, live: Option<u64>) {
        let is_pending = |head: &&Head| matches!(head.revision.standing, Standing::Pending { .. });
        let numbers = self.store.newest_first().filter(is_pending).map(|head| head.revision.number);
        for number in numbers.filter(|number| Some(*number) != live).collect::<Vec<_>>() {
            error!("revision {number} was not confirmed, and is not live any more: the rules before it hold");
            self.pending = self.pending.take().filter(|pending| pending.revision != number);
            if let Err(error) = self.store.amend(number, Standing::Reverted) {
                error!("cannot mark revision {number} as reverted: {error}");
            }
        }
    }

    /// Loads rules into a dataplane that has none: the last good revision, or one before it, or the built-in policy.
    fn boot(&mut self) -> Result<(), api::Error> {
        self.live = Live::None;
        self.rules = None;
        self.store.discard();
        self.abandon_pending_but(None);
        let is_good = |head: &&Head| head.revision.standing == Standing::Confirmed;
        let good: Vec<u64> =
            self.store.newest_first().filter(is_good).map(|head| head.revision.number).collect();
        for number in good {
            let Some(ruleset) = self.compile_revision(number) else { continue };
            if let Some(generation) = self.commit_at_boot(&ruleset, &format!("revision {number}"))? {
                self.live = Live::Revision { revision: number, generation };
                self.rules = Some(Arc::new(ruleset));
                return Ok(());
            }
        }
        warn!(
            "there is no good revision: only management of the box itself is admitted until one is applied"
        );
        match compile(&policy::sources(), &self.interfaces) {
            Ok(compiled) => {
                if let Some(generation) = self.commit_at_boot(&compiled.ruleset, "the built-in policy")? {
                    self.live = Live::BuiltIn { generation };
                    self.rules = Some(Arc::new(compiled.ruleset));
                }
            }
            Err(problem) => error!("the built-in policy does not compile here: {}", problem.error),
        }
        Ok(())
    }

    /// A revision's ruleset; `None`, and the reason in the log, if it cannot be had.
    pub(super) fn compile_revision(&self, number: u64) -> Option<Ruleset> {
        let record = self.store.load(number).map_err(|error| error!("revision {number}: {error}")).ok()?;
        match compile(&record.sources, &self.interfaces) {
            Ok(Compiled { mut ruleset, .. }) => {
                tables::bind(&mut ruleset, self.tables.held());
                Some(ruleset)
            }
            Err(problem) => {
                error!("revision {number} does not compile any more: {}", problem.error);
                None
            }
        }
    }

    /// The generation, or `None` if the dataplane refused; an error if it went away.
    fn commit_at_boot(&mut self, ruleset: &Ruleset, what: &str) -> Result<Option<u64>, api::Error> {
        let next = self.tables.under(ruleset, Lists::Known);
        match self.send(ruleset, tables::contents(ruleset, &next, None))? {
            Ok(generation) => {
                self.tables.set(next);
                info!("loaded {what}: generation {generation}, {} rules", ruleset.rules.len());
                self.last_apply_unix_s = Some(unix_ms() / 1000);
                Ok(Some(generation))
            }
            Err(why) => {
                error!("the dataplane refuses {what}: {why}");
                self.apply_failures += 1;
                Ok(None)
            }
        }
    }

    /// Commits: the generation, or why the dataplane refused; an error if it went away, and then it is not known whether
    /// the ruleset is live.
    pub(super) fn send(
        &mut self,
        ruleset: &Ruleset,
        contents: Vec<TableContents>,
    ) -> Result<Result<u64, String>, api::Error> {
        let Some(client) = &mut self.client else {
            return Ok(Err(self.problem.clone().unwrap_or_else(|| "the dataplane is away".into())));
        };
        client.set_patience(COMMIT_PATIENCE)?;
        let committed = client.commit_with(ruleset, contents);
        client.set_patience(PATIENCE)?;
        match committed {
            Ok(generation) => Ok(Ok(generation)),
            Err(api::Error::Refused(why)) => Ok(Err(why)),
            Err(error) => Err(error),
        }
    }
}
