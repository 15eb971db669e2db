//! How a ruleset becomes the live one: validated, compiled, published, and taken by the worker; or not at all.

use std::sync::Arc;
use std::time::Duration;

use engine::Root;
use engine::fib::Interface;
use ruleset::{Limit, Ruleset};

use crate::snapshot::Publisher;

/// How long a worker may take: it looks for new rules at every poll.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// The worker did not take it.
    #[error("the worker did not take the ruleset within {} s and keeps the one before; see the dataplane's log", PATIENCE.as_secs())]
    Stalled,
}

/// A ruleset that was committed.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its number.
    pub generation: u64,
    /// What the worker has.
    pub root: Arc<Root>,
}

/// Keeps the live ruleset.
#[derive(Debug)]
pub struct Rules {
    publisher: Publisher<Option<Arc<Root>>>,
    live: Option<Live>,
    max_states: u32,
}

impl Rules {
    /// No ruleset is live. `max_states` is what memory was taken for.
    pub fn new(publisher: Publisher<Option<Arc<Root>>>, max_states: u32) -> Self {
        Self { publisher, live: None, max_states }
    }

    /// The live one.
    pub fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// Makes a ruleset the live one and returns its number.
    ///
    /// # Errors
    /// A [`Refusal`]: nothing has changed.
    pub fn commit(&mut self, ruleset: &Ruleset, interfaces: &[Interface]) -> Result<u64, Refusal> {
        let wanted = ruleset.options.limits.get(Limit::States);
        if wanted > self.max_states {
            return Err(Refusal::Limit { wanted, possible: self.max_states });
        }
        let previous = self.live.as_ref().map(|live| live.root.as_ref());
        let root = Arc::new(Root::compile(ruleset, interfaces, previous)?);
        self.publisher.publish(Some(root.clone()), PATIENCE).map_err(|_| Refusal::Stalled)?;
        let generation = self.live.as_ref().map_or(0, |live| live.generation) + 1;
        self.live = Some(Live { generation, root });
        Ok(generation)
    }
}
