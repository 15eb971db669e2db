//! What pfctl acts on: the running dataplane, or a scratch ruleset.

use std::path::Path;

use anyhow::bail;
use api::{Client, Counts, Filtering, Info, LogLevel, RuleUsage};
use pfconf::{Counters, Loaded};
use ruleset::{StateSelector, StateView};

use super::offline::Offline;
use crate::live::{self, Sockets};
use crate::time::now_unix_s;

/// The running dataplane, connected to at each question, or a scratch ruleset.
pub enum System<'a> {
    /// Where it answers.
    Live(&'a Sockets),
    /// A folder.
    Offline(Box<Offline>),
}

impl<'a> System<'a> {
    pub fn new(offline: Option<&Path>, sockets: &'a Sockets) -> anyhow::Result<Self> {
        match offline {
            Some(folder) => Ok(Self::Offline(Box::new(Offline::open(folder)?))),
            None => Ok(Self::Live(sockets)),
        }
    }

    /// What is loaded, with what each rule has done.
    pub fn loaded(&mut self) -> anyhow::Result<Loaded> {
        match self {
            Self::Live(sockets) => {
                let mut client = live::connect(sockets.dataplane())?;
                let Some(rules) = client.rules()? else { return Ok(Loaded::default()) };
                let counters = counters(&mut client, rules.generation)?;
                Ok(Loaded::of(&rules.ruleset, &counters))
            }
            Self::Offline(offline) => Ok(offline.loaded().clone()),
        }
    }

    /// Hands every state to `each`. A scratch ruleset has none.
    pub fn states(&mut self, each: impl FnMut(StateView)) -> anyhow::Result<()> {
        if let Self::Live(sockets) = self {
            live::connect(sockets.dataplane())?.states(each)?;
        }
        Ok(())
    }

    /// What `-si` shows.
    pub fn info(&mut self) -> anyhow::Result<Info> {
        match self {
            Self::Live(sockets) => Ok(live::connect(sockets.dataplane())?.info()?),
            Self::Offline(offline) => {
                let (filtering, since) = offline.filtering();
                let since_s = if since == 0 { 0 } else { now_unix_s().saturating_sub(since) };
                let level = offline.level().to_owned();
                Ok(Info { filtering, since_s, counted_s: since_s, level, ..Info::default() })
            }
        }
    }

    /// Removes the states that fit, and returns how many there were. A scratch ruleset has none.
    pub fn kill(&mut self, selector: &StateSelector) -> anyhow::Result<u64> {
        match self {
            Self::Live(sockets) => Ok(live::connect(sockets.dataplane())?.kill(selector)?),
            Self::Offline(_) => Ok(0),
        }
    }

    /// Switches filtering on or off; false if it was so.
    pub fn switch(&mut self, filtering: Filtering) -> anyhow::Result<bool> {
        match self {
            Self::Live(sockets) => Ok(live::connect(sockets.dataplane())?.switch(filtering)?),
            Self::Offline(offline) => offline.switch(filtering, now_unix_s()),
        }
    }

    /// Sets the level of messages.
    pub fn set_level(&mut self, level: LogLevel) -> anyhow::Result<()> {
        match self {
            Self::Live(sockets) => Ok(live::connect(sockets.dataplane())?.set_log_level(level)?),
            Self::Offline(offline) => offline.set_level(level.name()),
        }
    }

    /// Counts from zero. A scratch ruleset counts nothing but what its file says.
    pub fn clear(&mut self, counts: Counts) -> anyhow::Result<()> {
        match self {
            Self::Live(sockets) => Ok(live::connect(sockets.dataplane())?.clear(counts)?),
            Self::Offline(_) => Ok(()),
        }
    }

    /// The names of the interfaces that carry packets.
    pub fn interfaces(&mut self) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Live(sockets) => {
                let status = live::connect(sockets.dataplane())?.status()?;
                Ok(status.interfaces.into_iter().map(|interface| interface.name).collect())
            }
            Self::Offline(_) => Ok(Vec::new()),
        }
    }

    /// The scratch ruleset; the dataplane cannot do `what` yet.
    pub fn scratch(&mut self, what: &str) -> anyhow::Result<&mut Offline> {
        match self {
            Self::Offline(offline) => Ok(offline),
            Self::Live(_) => {
                bail!("{what} is not supported yet by the running dataplane; nothing was changed")
            }
        }
    }
}

/// What each rule of the live ruleset has done; nothing if another ruleset has become live meanwhile.
fn counters(client: &mut Client, generation: u64) -> anyhow::Result<Vec<Counters>> {
    let usage = client.usage()?.filter(|usage| usage.generation == generation);
    let one = |usage: &RuleUsage| Counters {
        evaluations: usage.evaluations,
        packets: usage.packets,
        bytes: usage.bytes,
        states: usage.states,
        ..Counters::default()
    };
    Ok(usage.map_or_else(Vec::new, |usage| usage.rules.iter().map(one).collect()))
}
