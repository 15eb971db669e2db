//! How a ruleset becomes the live one: validated, compiled, published, and taken by the workers; or not at all.
//!
//! Ownership: one thread at a time commits; others look at what is live without waiting for it. Bounds: two rulesets
//! exist, the live one and the one that is about to replace it or that it has replaced; a commit waits until there is no
//! third.

use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use api::{Candidate, Process};
use engine::fib::Interface;
use engine::{Filtering, Root, StatePool};
use ruleset::{Limit, TableEdit};

use crate::snapshot::Publisher;

/// How long workers may take: they look for new rules at every poll.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How often a commit looks whether an earlier ruleset is still in use.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Why a ruleset was refused. The one before is live.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is wrong, or asks for what this dataplane cannot do.
    #[error("{0}")]
    Invalid(#[from] ruleset::Invalid),
    /// Its limit on states is above what memory was taken for.
    #[error(
        "set limit states {wanted} is more than the {possible} that memory was taken for; raise max_connections in \
         turnpike.toml and restart the dataplane, or lower the limit"
    )]
    Limit {
        /// What the ruleset says.
        wanted: u32,
        /// What is possible.
        possible: u32,
    },
    /// Its limit on source nodes is above what memory was taken for.
    #[error(
        "set limit src-nodes {wanted} is more than the {possible} that memory was taken for; raise max_connections in \
         turnpike.toml and restart the dataplane, or lower the limit"
    )]
    SourceLimit {
        /// What the ruleset says.
        wanted: u32,
        /// What is possible.
        possible: u32,
    },
    /// A worker does not come for it.
    #[error(
        "worker {worker} did not come for the ruleset within {patience:?}, so that no worker has it and the one before \
         stays live; see the dataplane's log for why it does not come back, then apply again"
    )]
    Stalled {
        /// The first that did not.
        worker: usize,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The one before the live one is still read.
    #[error(
        "an earlier ruleset was still in use after {0:?}, and there may be only two; the live one stays; apply again when \
         nobody lists rules any more"
    )]
    InUse(Duration),
    /// There is nothing to change.
    #[error("no ruleset is live, and nothing is forwarded; load one first (tpctl apply FILE)")]
    NoRules,
}

/// A ruleset that was committed.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its number.
    pub generation: u64,
    /// What the workers have.
    pub root: Arc<Root>,
    /// Who committed it.
    pub inserter: Process,
}

/// Where the live ruleset is looked at, also while another is being committed. A clone is the same place.
#[derive(Clone, Debug, Default)]
pub struct Showcase(Arc<Mutex<Option<Live>>>);

impl Showcase {
    /// The live ruleset.
    pub fn live(&self) -> Option<Live> {
        self.0.lock().expect("no holder of this lock panics").clone()
    }

    /// Puts another there, and returns the one before.
    fn replace(&self, live: Live) -> Option<Live> {
        self.0.lock().expect("no holder of this lock panics").replace(live)
    }
}

/// Keeps the live ruleset.
#[derive(Debug)]
pub struct Rules {
    publisher: Publisher<Option<Arc<Root>>>,
    showcase: Showcase,
    /// Those that are not live, as long as somebody uses them.
    others: Vec<Weak<Root>>,
    most_alive: usize,
    states: StatePool,
    patience: Duration,
}

impl Rules {
    /// No ruleset is live. `states` is what memory was taken for; workers are given `patience` to come for a ruleset.
    pub fn new(publisher: Publisher<Option<Arc<Root>>>, states: StatePool, patience: Duration) -> Self {
        let showcase = Showcase::default();
        Self { publisher, showcase, others: Vec::new(), most_alive: 0, states, patience }
    }

    /// Where the live one is to be seen.
    pub fn showcase(&self) -> Showcase {
        self.showcase.clone()
    }

    /// Gives workers another time to come for a ruleset from now on.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The most rulesets that there were at once.
    pub fn most_alive(&self) -> usize {
        self.most_alive
    }

    /// Makes a ruleset the live one and returns its number. Whether it is asked stays as it was.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing has changed.
    pub fn commit(
        &mut self,
        candidate: &Candidate,
        interfaces: &[Interface],
        inserter: Process,
    ) -> Result<u64, Refusal> {
        self.wait_for_others()?;
        let previous = self.showcase.live();
        let before = previous.as_ref().map(|live| live.root.as_ref());
        let root = compile(candidate, interfaces, before, &self.states)?;
        let generation = previous.as_ref().map_or(0, |live| live.generation) + 1;
        self.publish(generation, root, previous, inserter)?;
        Ok(generation)
    }

    /// Changes tables of the live ruleset, all or none.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing has changed.
    pub fn edit_tables(&mut self, edits: &[TableEdit]) -> Result<(), Refusal> {
        self.wait_for_others()?;
        let live = self.showcase.live().ok_or(Refusal::NoRules)?;
        let root = live.root.with_tables(edits)?;
        self.republish(root, live)
    }

    /// Has the live rules asked, or everything passed without asking them. False if it was so.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing has changed.
    pub fn switch(&mut self, filtering: Filtering) -> Result<bool, Refusal> {
        self.wait_for_others()?;
        let live = self.showcase.live().ok_or(Refusal::NoRules)?;
        if live.root.filtering() == filtering {
            return Ok(false);
        }
        let root = live.root.switched(filtering);
        self.republish(root, live)?;
        Ok(true)
    }

    /// Puts a root in the place of the live one that has the same rules.
    fn republish(&mut self, root: Root, live: Live) -> Result<(), Refusal> {
        let (generation, inserter) = (live.generation, live.inserter);
        self.publish(generation, root, Some(live), inserter)
    }

    /// Puts a root in the place of the `previous` one, for all workers or for none.
    fn publish(
        &mut self,
        generation: u64,
        root: Root,
        previous: Option<Live>,
        inserter: Process,
    ) -> Result<(), Refusal> {
        let root = Arc::new(root);
        self.others.push(Arc::downgrade(&root));
        self.most_alive = self.most_alive.max(self.alive() + usize::from(previous.is_some()));
        let patience = self.patience;
        self.publisher
            .publish(Some(root.clone()), patience)
            .map_err(|stalled| Refusal::Stalled { worker: stalled.reader, patience })?;
        self.others.clear();
        self.others.extend(previous.map(|live| Arc::downgrade(&live.root)));
        self.showcase.replace(Live { generation, root, inserter });
        Ok(())
    }

    /// Waits until nobody uses a ruleset but the live one.
    fn wait_for_others(&mut self) -> Result<(), Refusal> {
        let deadline = Instant::now() + self.patience;
        loop {
            // Takes back what workers have returned.
            self.publisher.is_ready();
            if self.alive() == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Refusal::InUse(self.patience));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// How many rulesets are not live and still in use.
    fn alive(&mut self) -> usize {
        self.others.retain(|root| root.strong_count() > 0);
        self.others.len()
    }
}

/// A ruleset as workers would get it, after everything that could be wrong with it was looked for.
///
/// # Errors
/// A [`Refusal`].
pub fn compile(
    candidate: &Candidate,
    interfaces: &[Interface],
    previous: Option<&Root>,
    states: &StatePool,
) -> Result<Root, Refusal> {
    let Candidate { ruleset, contents } = candidate;
    let wanted = ruleset.options.limits.get(Limit::States);
    if wanted > states.most() {
        return Err(Refusal::Limit { wanted, possible: states.most() });
    }
    let (wanted, possible) = (ruleset.options.limits.get(Limit::SrcNodes), states.source_nodes_max());
    if wanted > possible {
        return Err(Refusal::SourceLimit { wanted, possible });
    }
    Ok(Root::compile_with(ruleset, interfaces, previous, contents)?)
}
