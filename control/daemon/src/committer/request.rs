//! What is asked of the committer, and what comes back.

use std::sync::mpsc::{SyncSender, TrySendError};

use api::control::{Applied, Apply, Operator, Origin, Problem, Revision, TableOutcome, TableRequest};
use tokio::sync::oneshot;

use crate::names::Names;
use crate::revisions::Record;

/// A request, and where its answer goes.
pub(super) struct Request {
    pub work: Work,
    pub reply: oneshot::Sender<Result<Reply, Failure>>,
}

/// The requests.
pub(super) enum Work {
    Apply(Box<Apply>, Origin),
    Confirm,
    Rollback(u64, Operator),
    Table(String, Box<TableRequest>),
    Load(u64),
    Refresh(Names),
    Look,
}

/// The answers.
#[derive(Debug)]
pub enum Reply {
    /// Rules are live.
    Applied(Applied),
    /// A revision was changed.
    Revision(Revision),
    /// A table was changed.
    Table(TableOutcome),
    /// A revision was read.
    Record(Box<Record>),
    /// It is done.
    Done,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The ruleset does not compile, or the dataplane refused it.
    #[error("{}", .0.error)]
    Refused(Box<Problem>),
    /// There is no such revision.
    #[error("{0}")]
    Unknown(String),
    /// Something else has to happen first.
    #[error("{0}")]
    Conflict(String),
    /// The dataplane cannot be reached, or too much is waiting.
    #[error("{0}")]
    Unavailable(String),
    /// The disk failed.
    #[error("{0}")]
    Disk(String),
}

impl Failure {
    /// A refusal that is a sentence and no list of findings.
    pub(super) fn refused(error: String) -> Self {
        Self::Refused(Box::new(Problem { error, ..Problem::default() }))
    }
}

/// Sends requests to the committer.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: SyncSender<Request>,
}

impl Handle {
    pub(super) fn new(requests: SyncSender<Request>) -> Self {
        Self { requests }
    }

    /// Makes a ruleset live.
    ///
    /// # Errors
    /// [`Failure`]: nothing changed.
    pub async fn apply(&self, apply: Apply, origin: Origin) -> Result<Applied, Failure> {
        match self.ask(Work::Apply(Box::new(apply), origin)).await? {
            Reply::Applied(applied) => Ok(applied),
            _ => Err(gone()),
        }
    }

    /// Confirms the revision that awaits it.
    ///
    /// # Errors
    /// [`Failure::Conflict`] if none does.
    pub async fn confirm(&self) -> Result<Revision, Failure> {
        match self.ask(Work::Confirm).await? {
            Reply::Revision(revision) => Ok(revision),
            _ => Err(gone()),
        }
    }

    /// Makes the rules of an older revision live.
    ///
    /// # Errors
    /// [`Failure`]: nothing changed.
    pub async fn rollback(&self, number: u64, operator: Operator) -> Result<Applied, Failure> {
        match self.ask(Work::Rollback(number, operator)).await? {
            Reply::Applied(applied) => Ok(applied),
            _ => Err(gone()),
        }
    }

    /// Changes a table.
    ///
    /// # Errors
    /// [`Failure`]: nothing changed.
    pub async fn change_table(&self, name: &str, request: TableRequest) -> Result<TableOutcome, Failure> {
        match self.ask(Work::Table(name.to_owned(), Box::new(request))).await? {
            Reply::Table(outcome) => Ok(outcome),
            _ => Err(gone()),
        }
    }

    /// Reads a revision.
    ///
    /// # Errors
    /// [`Failure::Unknown`], [`Failure::Disk`].
    pub async fn load(&self, number: u64) -> Result<Record, Failure> {
        match self.ask(Work::Load(number)).await? {
            Reply::Record(record) => Ok(*record),
            _ => Err(gone()),
        }
    }

    /// Has the dataplane be asked how it is now.
    ///
    /// # Errors
    /// [`Failure`]: it was not.
    pub async fn look(&self) -> Result<(), Failure> {
        self.ask(Work::Look).await.map(drop)
    }

    /// Has tables follow names to the addresses that were found. For threads that may wait.
    ///
    /// # Errors
    /// [`Failure`]: it is to be tried again.
    pub fn refresh(&self, found: Names) -> Result<(), Failure> {
        self.send(Work::Refresh(found))?.blocking_recv().unwrap_or_else(|_| Err(gone())).map(drop)
    }

    async fn ask(&self, work: Work) -> Result<Reply, Failure> {
        self.send(work)?.await.unwrap_or_else(|_| Err(gone()))
    }

    fn send(&self, work: Work) -> Result<oneshot::Receiver<Result<Reply, Failure>>, Failure> {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_send(Request { work, reply }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => {
                Err(Failure::Unavailable("too many changes are waiting; try again in a moment".into()))
            }
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

fn gone() -> Failure {
    Failure::Unavailable("turnpike-control is stopping; try again when it runs".into())
}
