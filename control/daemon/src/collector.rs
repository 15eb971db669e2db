//! What the dataplane says of itself, asked for once for everybody who wants to know at about the same time.
//!
//! Ownership: one connection, used by one request at a time. Bounds: a reading serves for `FRESH`, however many ask; an
//! answer takes at most `PATIENCE`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Client, InterfaceDrops, LiveUsage, MappingCount, Status};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// How old a reading may be to serve again.
const FRESH: Duration = Duration::from_millis(250);

/// How long the dataplane may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the dataplane said.
#[derive(Clone, Debug)]
pub struct Reading {
    /// How it is.
    pub status: Status,
    /// What it dropped.
    pub drops: Vec<InterfaceDrops>,
    /// What the rules did, if there are any.
    pub usage: Option<LiveUsage>,
    /// How many connections are translated to each address.
    pub mappings: Vec<MappingCount>,
}

/// A reading, or why there is none.
pub type Outcome = Result<Arc<Reading>, Arc<str>>;

/// Asks the dataplane.
#[derive(Debug)]
pub struct Collector {
    socket: PathBuf,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    client: Option<Client>,
    taken: Option<(Instant, Outcome)>,
}

impl Collector {
    /// For the dataplane that listens at `socket`.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, last: Mutex::default() }
    }

    /// Has the next reader ask the dataplane, as something was changed.
    pub async fn forget(&self) {
        self.last.lock().await.taken = None;
    }

    /// A reading that is not older than `FRESH`, and not older than the last change.
    pub async fn read(&self) -> Outcome {
        let mut last = self.last.lock().await;
        if let Some((taken, outcome)) = &last.taken
            && taken.elapsed() < FRESH
        {
            return outcome.clone();
        }
        let (socket, client) = (self.socket.clone(), last.client.take());
        let asked = spawn_blocking(move || {
            // A connection that was idle may have been closed by a dataplane that is gone: a new one decides.
            client
                .and_then(|client| ask(client).ok())
                .map_or_else(|| ask(Client::connect_within(&socket, PATIENCE)?), Ok)
        });
        let outcome = match asked.await {
            Ok(Ok((client, reading))) => {
                last.client = Some(client);
                Ok(Arc::new(reading))
            }
            Ok(Err(error)) => Err(error.to_string().into()),
            Err(stopped) => Err(stopped.to_string().into()),
        };
        last.taken = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

fn ask(mut client: Client) -> Result<(Client, Reading), api::Error> {
    let reading = Reading {
        status: client.status()?,
        drops: client.drops()?,
        usage: client.usage()?,
        mappings: client.mappings()?,
    };
    Ok((client, reading))
}
