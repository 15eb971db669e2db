//! Names in tables: resolved again and again, so that tables follow where the names lead.
//!
//! Overview: a ruleset keeps the addresses that its names had as it was applied; from then on a thread of its own asks the
//! resolver for all of them every so often and hands the answers to the committer, which changes what tables hold. A name
//! that cannot be resolved keeps its addresses. As in pf, rules that name hosts themselves keep what they were loaded with.
//!
//! Life cycle: [`Known`] is read at the start and stored at each change, so that a restart goes on from there. Ownership:
//! the committer alone changes it. Bounds: the names of the revisions that are kept.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use api::control::{Anchored, Sources};
use tracing::{error, warn};

use crate::Watch;
use crate::committer::{Failure, Handle};

/// The addresses of names.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// The addresses of the names of revisions, as they are known now.
#[derive(Debug)]
pub struct Known {
    path: PathBuf,
    by_revision: BTreeMap<u64, Names>,
}

impl Known {
    /// Reads what was stored; nothing is known if there is nothing, or if it is damaged.
    pub fn open(path: &Path) -> Self {
        let by_revision = match std::fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|damage| {
                error!("{}: {damage}; names are as they were when rules were applied", path.display());
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { path: path.to_owned(), by_revision }
    }

    /// The names of a revision: as they are known, or else as its sources have them.
    pub fn of(&self, revision: u64, sources: &Sources) -> Names {
        let mut names = recorded(sources);
        if let Some(known) = self.by_revision.get(&revision) {
            for (name, addresses) in &mut names {
                if let Some(known) = known.get(name) {
                    addresses.clone_from(known);
                }
            }
        }
        names
    }

    /// Keeps the names of a revision, and forgets those of revisions that are not `kept`.
    ///
    /// # Errors
    /// Those of the disk; they are known all the same.
    pub fn set(&mut self, revision: u64, names: &Names, kept: impl Fn(u64) -> bool) -> io::Result<()> {
        self.by_revision.insert(revision, names.clone());
        self.by_revision.retain(|number, _| *number == revision || kept(*number));
        let beside = self.path.with_extension("new");
        std::fs::write(&beside, serde_json::to_vec(&self.by_revision).expect("names have a JSON form"))?;
        std::fs::rename(&beside, &self.path)
    }
}

/// The names of sources, those of anchors too, that only a resolver knows.
fn recorded(sources: &Sources) -> Names {
    let anchors = sources.anchors.iter().flat_map(|anchored| &anchored.sources.names);
    let all = sources.names.iter().chain(anchors);
    let foreign = all.filter(|(name, _)| pfconf::localhost(name).is_empty());
    foreign.map(|(name, addresses)| (name.clone(), addresses.clone())).collect()
}

/// The same sources where names have these addresses.
pub fn with(sources: &Sources, names: &Names) -> Sources {
    let mut changed = sources.clone();
    let anchors = changed.anchors.iter_mut().map(|Anchored { sources, .. }| &mut sources.names);
    for (name, addresses) in std::iter::once(&mut changed.names).chain(anchors).flatten() {
        if let Some(known) = names.get(name) {
            addresses.clone_from(known);
        }
    }
    changed
}

/// Every address that the system's resolver has for a name.
pub fn resolve(name: &str) -> Vec<IpAddr> {
    let found = (name, 0).to_socket_addrs().into_iter().flatten();
    let mut addresses: Vec<IpAddr> = found.map(|socket| socket.ip()).collect();
    addresses.dedup();
    addresses
}

/// Starts the thread that asks for all names every `interval`. It ends with the committer.
///
/// # Errors
/// That a thread cannot be made.
pub fn start(
    committer: Handle,
    watch: Arc<Watch>,
    interval: Duration,
    resolve: impl Fn(&str) -> Vec<IpAddr> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let ask = move || {
        loop {
            thread::sleep(interval);
            let names = Arc::clone(&watch.get().names);
            if names.is_empty() {
                continue;
            }
            let found: Names = names.keys().map(|name| (name.clone(), resolve(name))).collect();
            match committer.refresh(found) {
                Ok(()) => {}
                Err(Failure::Unavailable(why)) if watch.get().problem.is_none() => {
                    warn!("names were resolved in vain: {why}");
                }
                Err(Failure::Unavailable(_)) => {}
                Err(failure) => error!("tables cannot follow their names: {failure}"),
            }
        }
    };
    thread::Builder::new().name("resolver".into()).spawn(ask)
}
