//! What pfctl acts on: the running dataplane, or a scratch ruleset.

use std::path::Path;

use api::control::{StateFilter, TableSummary};
use api::{Client, ControlError, Counts, Filtering, Info, LiveUsage, LogLevel, Logged, RuleUsage, Traffic};
use pfconf::{Counters, Inserter, Loaded, LoadedTable};
use ruleset::{Ruleset, SourceSelector, SourceView, StateSelector, StateView, Table, TableEntry};

use super::offline::Offline;
use crate::live::{self, Sockets};
use crate::session;
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
                let mut source = sockets.source()?;
                let Some(live) = source.ruleset()? else { return Ok(Loaded::default()) };
                let usage = source.usage()?.filter(|usage| usage.generation == live.generation);
                Ok(loaded(&live.ruleset, usage))
            }
            Self::Offline(offline) => Ok(offline.loaded().clone()),
        }
    }

    /// What is loaded, with what its tables hold as far as `detail` asks for it.
    pub fn loaded_with_tables(&mut self, detail: Detail) -> anyhow::Result<Loaded> {
        let mut loaded = self.loaded()?;
        let Self::Live(sockets) = self else { return Ok(loaded) };
        if sockets.is_direct() {
            if detail == Detail::Addresses {
                hold(&mut loaded, &mut live::connect(sockets.dataplane())?)?;
            }
            return Ok(loaded);
        }
        let control = sockets.control();
        for summary in control.tables()? {
            let table = match detail {
                Detail::Addresses => control.table(&summary.name)?,
                Detail::Names => known(&summary),
            };
            loaded.put_table(&summary.name, table);
        }
        Ok(loaded)
    }

    /// A table with its addresses, if there is one.
    pub fn table(&mut self, anchor: &str, name: &str) -> anyhow::Result<Option<LoadedTable>> {
        let sockets = match self {
            Self::Live(sockets) => *sockets,
            Self::Offline(offline) => return Ok(offline.loaded().table(anchor, name).cloned()),
        };
        let full_name = full_name(anchor, name);
        if sockets.is_direct() {
            let Some(mut table) = self.loaded()?.table(anchor, name).cloned() else { return Ok(None) };
            let mut client = live::connect(sockets.dataplane())?;
            table.hold(&entries(&mut client, &full_name)?, 0);
            if table.has_counters() {
                let counts = client.address_counts(&full_name)?;
                table.set_traffic(counts.iter().map(|counts| (counts.net, counts.numbers())).collect());
            }
            return Ok(Some(table));
        }
        match sockets.control().table(&full_name) {
            Ok(table) => Ok(Some(table)),
            Err(ControlError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands every state to `each`. A scratch ruleset has none.
    pub fn states(&mut self, each: impl FnMut(&StateView)) -> anyhow::Result<()> {
        if let Self::Live(sockets) = self {
            sockets.source()?.states(&StateFilter::default(), each)?;
        }
        Ok(())
    }

    /// What `-si` shows.
    pub fn info(&mut self) -> anyhow::Result<Info> {
        match self {
            Self::Live(sockets) => sockets.source()?.info(),
            Self::Offline(offline) => {
                let (filtering, since) = offline.filtering();
                let since_s = if since == 0 { 0 } else { now_unix_s().saturating_sub(since) };
                let level = offline.level().to_owned();
                let name = offline.loaded().options().log_interface.clone();
                let logged = name.map(|name| Logged { name, ..Logged::default() });
                let host_id = offline.loaded().options().host_id;
                Ok(Info { filtering, since_s, counted_s: since_s, level, host_id, logged, ..Info::default() })
            }
        }
    }

    /// Removes the states that fit, and returns how many there were. A scratch ruleset has none.
    pub fn kill(&mut self, selector: &StateSelector) -> anyhow::Result<u64> {
        match self {
            Self::Live(sockets) => sockets.source()?.kill(selector),
            Self::Offline(_) => Ok(0),
        }
    }

    /// Every source node, with traffic if that is wanted. A scratch ruleset has none.
    pub fn sources(&mut self, traffic: bool) -> anyhow::Result<Vec<SourceView>> {
        match self {
            Self::Live(sockets) => sockets.source()?.sources(traffic),
            Self::Offline(_) => Ok(Vec::new()),
        }
    }

    /// Has source nodes be forgotten that fit, and returns how many there were.
    pub fn forget_sources(&mut self, selector: &SourceSelector) -> anyhow::Result<u64> {
        match self {
            Self::Live(sockets) => sockets.source()?.forget_sources(selector),
            Self::Offline(_) => Ok(0),
        }
    }

    /// Switches filtering on or off, unless that cuts the operator off; false if it was so.
    pub fn switch(&mut self, filtering: Filtering, force: bool) -> anyhow::Result<bool> {
        match self {
            Self::Live(sockets) => {
                let done = sockets.source()?.switch(filtering, &session::operator(force))?;
                warn(done.warning.as_ref());
                Ok(done.changed)
            }
            Self::Offline(offline) => offline.switch(filtering, now_unix_s()),
        }
    }

    /// Sets the level of messages.
    pub fn set_level(&mut self, level: LogLevel) -> anyhow::Result<()> {
        match self {
            Self::Live(sockets) => sockets.source()?.set_log_level(level),
            Self::Offline(offline) => offline.set_level(level.name()),
        }
    }

    /// Counts from zero. A scratch ruleset counts nothing but what its file says.
    pub fn clear(&mut self, counts: Counts) -> anyhow::Result<()> {
        match self {
            Self::Live(sockets) => sockets.source()?.clear(counts),
            Self::Offline(_) => Ok(()),
        }
    }
}

/// Says what a change cuts off that was forced.
pub fn warn(what: Option<&String>) {
    if let Some(what) = what {
        eprintln!("warning: {what}");
    }
}

/// How much is to be known of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Which there are.
    Names,
    /// What they hold.
    Addresses,
}

/// A table of which only the summary is known.
fn known(summary: &TableSummary) -> LoadedTable {
    let TableSummary { name, persist, constant, counters, .. } = summary;
    LoadedTable::of(&Table {
        name: name.clone(),
        persist: *persist,
        constant: *constant,
        counters: *counters,
        ..Table::default()
    })
}

/// The name of an anchor's table among all.
pub fn full_name(anchor: &str, name: &str) -> String {
    match pfconf::anchor_path(anchor) {
        main if main.is_empty() => name.to_owned(),
        path => format!("{path}/{name}"),
    }
}

/// What a table of the dataplane holds.
pub fn entries(client: &mut Client, name: &str) -> anyhow::Result<Vec<TableEntry>> {
    let mut entries = Vec::new();
    client.entries(name, |entry| entries.push(entry))?;
    Ok(entries)
}

fn hold(loaded: &mut Loaded, client: &mut Client) -> anyhow::Result<()> {
    for anchor in loaded.anchors_below("") {
        let names: Vec<String> = loaded.table_names(&anchor).map(str::to_owned).collect();
        for name in names {
            let held = entries(client, &full_name(&anchor, &name))?;
            if let Some(table) = loaded.table_mut(&anchor, &name) {
                table.hold(&held, 0);
            }
        }
    }
    Ok(())
}

/// A live ruleset with what its rules have done; nothing is known of that if another has become live meanwhile.
fn loaded(ruleset: &Ruleset, usage: Option<LiveUsage>) -> Loaded {
    let one = |usage: &RuleUsage| {
        let RuleUsage { evaluations, incoming, outgoing, states, made, spent } = *usage;
        let Traffic { packets, bytes } = usage.in_all();
        let by_direction = Some([incoming, outgoing].map(|counted| (counted.packets, counted.bytes)));
        Counters { evaluations, packets, bytes, states, by_direction, states_made: Some(made), spent }
    };
    let counters: Vec<Counters> = usage.iter().flat_map(|usage| usage.rules.iter().map(one)).collect();
    let inserter = usage.map(|usage| Inserter { uid: usage.inserter.uid, pid: usage.inserter.pid });
    Loaded::of(ruleset, &counters, inserter)
}
