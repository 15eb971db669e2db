//! The one thread that changes rules: each change is compiled, committed and stored, or nothing happened.
//!
//! Overview: [`Handle`] sends it requests; between them it watches the dataplane (`attach`), and takes
//! rules back that were not confirmed in time.
//!
//! Life cycle of an apply: compile, write the revision beside the others (`Store::prepare`), commit, publish the file. If
//! the dataplane goes away in the middle, what is live when it can be asked again decides whether the revision exists.
//!
//! Ownership: it alone writes revisions and commits. Bounds: [`REQUESTS`] wait, more are turned away.

mod attach;
mod guard;
mod names;
mod request;
mod table;
mod transaction;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use api::Client;
use api::control::Live;
use pfconf::Interfaces;
use ruleset::Ruleset;
use tracing::error;

use names::Followed;
pub use request::{Failure, Handle, Reply};
use request::{Request, Work};

use crate::names::Known;
use crate::revisions::Store;
use crate::tables::{TableSet, Tables};
use crate::{View, Watch};

/// The most requests that wait.
pub const REQUESTS: usize = 16;

/// How often the dataplane is asked how it is, and how often it is looked for while it is away.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long to wait before another attempt to take rules back that the dataplane did not take.
const REVERT_AGAIN: Duration = Duration::from_secs(5);

/// What is said of the dataplane until it was asked for the first time: that nothing is known does not mean that nothing is
/// live.
const NOT_ASKED: &str =
    "turnpike-control has just been started and does not know yet what is live; try again in a moment";

/// How long an apply waits for the dataplane to come back if it went away during the commit.
const SETTLE: Duration = Duration::from_secs(5);

/// The committer, in its thread.
struct Committer {
    socket: PathBuf,
    store: Store,
    tables: Tables,
    known: Known,
    followed: Followed,
    watch: Arc<Watch>,
    client: Option<Client>,
    interfaces: Arc<Interfaces>,
    live: Live,
    rules: Option<Arc<Ruleset>>,
    /// How many sources the dataplane had put into tables when they were read last.
    overloads: u64,
    pending: Option<Unconfirmed>,
    problem: Option<String>,
    last_apply_unix_s: Option<u64>,
    apply_failures: u64,
    /// When the dataplane is looked at again.
    next_look: Instant,
    /// Since when it is away, and when that was last logged.
    away: Option<(Instant, Instant)>,
}

/// A revision that awaits confirmation, and what returns without it.
struct Unconfirmed {
    revision: u64,
    deadline: Instant,
    before: Before,
    /// What tables held that it has changed.
    overtaken: TableSet,
}

/// What was live before an unconfirmed revision.
enum Before {
    /// These rules.
    Known(Live, Arc<Ruleset>),
    /// This revision, or else whatever a boot would load: control was started since.
    Recorded(Option<u64>),
}

/// Starts the thread. It ends when every [`Handle`] is gone.
///
/// # Errors
/// That a thread cannot be made.
pub fn start(
    socket: PathBuf,
    store: Store,
    tables: Tables,
    known: Known,
    watch: Arc<Watch>,
) -> std::io::Result<(Handle, JoinHandle<()>)> {
    let (sender, receiver) = sync_channel(REQUESTS);
    let committer = Committer {
        socket,
        store,
        tables,
        known,
        followed: Followed::default(),
        watch,
        client: None,
        interfaces: Arc::default(),
        live: Live::None,
        rules: None,
        overloads: 0,
        pending: None,
        problem: Some(NOT_ASKED.into()),
        last_apply_unix_s: None,
        apply_failures: 0,
        next_look: Instant::now(),
        away: None,
    };
    committer.publish_view();
    let thread = thread::Builder::new().name("committer".into()).spawn(move || committer.run(&receiver))?;
    Ok((Handle::new(sender), thread))
}

impl Committer {
    fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let until = self.wake_up().saturating_duration_since(Instant::now());
            match requests.recv_timeout(until) {
                Ok(request) => self.serve(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tend();
        }
    }

    fn wake_up(&self) -> Instant {
        match &self.pending {
            Some(pending) => self.next_look.min(pending.deadline),
            None => self.next_look,
        }
    }

    /// What is due by the clock.
    fn tend(&mut self) {
        let now = Instant::now();
        if now >= self.next_look {
            self.look();
            self.next_look = Instant::now() + HEARTBEAT;
        }
        if self.pending.as_ref().is_some_and(|pending| now >= pending.deadline) {
            self.revert();
        }
        self.follow_names();
        self.publish_view();
    }

    fn serve(&mut self, request: Request) {
        // One who gave up waiting must not have the change made behind his back.
        if request.reply.is_closed() {
            return;
        }
        let reply = match request.work {
            Work::Apply(apply, origin) => self.apply(&apply, origin).map(Reply::Applied),
            Work::Confirm => self.confirm().map(Reply::Revision),
            Work::Rollback(number, operator) => self.rollback(number, operator).map(Reply::Applied),
            Work::Table(name, request) => {
                // It may hold sources that have exceeded limits since.
                self.look();
                self.change_table(&name, &request).map(Reply::Table)
            }
            Work::Look => {
                self.look();
                Ok(Reply::Done)
            }
            Work::Refresh(found) => self.refresh(&found).map(|()| Reply::Done),
            Work::Load(number) => self.load(number).map(|record| Reply::Record(Box::new(record))),
        };
        if let Err(Failure::Disk(what)) = &reply {
            error!("{what}");
        }
        self.follow_names();
        self.publish_view();
        let _ = request.reply.send(reply);
    }

    fn publish_view(&self) {
        self.watch.set(View {
            live: self.live,
            rules: self.rules.clone(),
            tables: Arc::clone(self.tables.held()),
            names: Arc::clone(self.names()),
            pending: self.pending.as_ref().map(|pending| (pending.revision, pending.deadline)),
            revisions: Arc::new(self.store.list()),
            interfaces: Arc::clone(&self.interfaces),
            problem: self.problem.clone(),
            last_apply_unix_s: self.last_apply_unix_s,
            apply_failures: self.apply_failures,
        });
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
