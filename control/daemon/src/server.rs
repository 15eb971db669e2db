//! HTTP: the API on the Unix socket, metrics and health on TCP.
//!
//! Overview: both listeners serve HTTP/1.1, one request for each connection; `api` and `scrape` say what the paths answer.
//! Life cycle: from the start to the end of the process. Bounds: [`API_CLIENTS`] and [`SCRAPERS`] are served at once and
//! more wait to be accepted; whoever is slow is cut off after [`API_PATIENCE`] or [`SCRAPE_PATIENCE`].

mod answer;
mod api;
mod scrape;
mod states;
mod tables;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::api::{Access, GROUP};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::collector::Collector;
use crate::committer::Handle;
use crate::{Watch, ipfix, pflog};
use answer::{AnswerBody, problem};

/// The most connections to the control socket that are served at once.
pub const API_CLIENTS: usize = 64;

/// The most connections to the metrics' port that are served at once.
pub const SCRAPERS: usize = 256;

/// The most connections to the metrics' port that wait to be accepted.
pub const SCRAPERS_WAITING: u32 = 1024;

/// How long a connection to the control socket may last.
pub const API_PATIENCE: Duration = Duration::from_secs(600);

/// How long a connection to the metrics' port may last.
pub const SCRAPE_PATIENCE: Duration = Duration::from_secs(15);

/// How long a request's head may take to arrive.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// After a failed accept: it would fail again at once (no descriptors left, for one).
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The longest request body, in bytes.
pub const BODY_BYTES: usize = 64 << 20;

/// Bodies that are read, and rulesets that are compared or listed, at once.
const HEAVY: usize = 4;

/// Listings of states at once.
const LISTINGS: usize = 4;

/// What every request may need.
#[derive(Debug)]
pub struct App {
    /// Changes rules.
    pub committer: Handle,
    /// What is live.
    pub watch: Arc<Watch>,
    /// Asks the dataplane.
    pub collector: Collector,
    /// The dataplane's socket, for listings.
    pub dataplane_socket: PathBuf,
    /// How many rules have series of their own.
    pub metrics_rules: usize,
    /// What keeps what the dataplane tells.
    pub writers: Writers,
    /// When the process was started.
    pub started: Instant,
    heavy: Arc<Semaphore>,
    listings: Arc<Semaphore>,
}

/// Threads that write down what the dataplane tells, and what each has written.
#[derive(Debug, Default)]
pub struct Writers {
    /// The packet log.
    pub pflog: Option<Arc<pflog::Counts>>,
    /// Flows.
    pub ipfix: Option<Arc<ipfix::Counts>>,
}

impl App {
    /// What is needed, and places for heavy work.
    pub fn new(
        committer: Handle,
        watch: Arc<Watch>,
        dataplane_socket: PathBuf,
        metrics_rules: usize,
        writers: Writers,
    ) -> Self {
        Self {
            committer,
            watch,
            collector: Collector::new(dataplane_socket.clone()),
            dataplane_socket,
            metrics_rules,
            writers,
            started: Instant::now(),
            heavy: Arc::new(Semaphore::new(HEAVY)),
            listings: Arc::new(Semaphore::new(LISTINGS)),
        }
    }

    /// Has the packet log closed and opened anew, after somebody moved it.
    pub fn reopen_pflog(&self) {
        if let Some(pflog) = &self.writers.pflog {
            pflog.reopen();
        }
    }
}

/// Serves the API.
pub async fn serve_api(listener: UnixListener, app: Arc<App>) {
    let places = Arc::new(Semaphore::new(API_CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some(stream) = accepted(listener.accept().await).await else { continue };
        // Read anew each time: a change of the group needs no restart.
        let peer = Access::load().admits_peer(&stream);
        let admitted = matches!(peer, Ok((true, _)));
        if !admitted {
            warn!("a client of the control socket was turned away: {peer:?}");
        }
        let app = Arc::clone(&app);
        let answer = move |request: Request<Incoming>| {
            let app = Arc::clone(&app);
            async move {
                match admitted {
                    true => api::answer(&app, request).await,
                    false => problem(403, &format!("run as root, or as a member of the group {GROUP}")),
                }
            }
        };
        tokio::spawn(async move {
            serve(stream, API_PATIENCE, answer).await;
            drop(place);
        });
    }
}

/// Serves metrics and health.
pub async fn serve_metrics(listener: TcpListener, app: Arc<App>) {
    let places = Arc::new(Semaphore::new(SCRAPERS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some(stream) = accepted(listener.accept().await).await else { continue };
        let app = Arc::clone(&app);
        let answer = move |request: Request<Incoming>| {
            let app = Arc::clone(&app);
            async move { scrape::answer(&app, &request).await }
        };
        tokio::spawn(async move {
            serve(stream, SCRAPE_PATIENCE, answer).await;
            drop(place);
        });
    }
}

async fn accepted<S, A>(accepted: io::Result<(S, A)>) -> Option<S> {
    match accepted {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            warn!("cannot accept a connection: {error}");
            sleep(ACCEPT_AGAIN).await;
            None
        }
    }
}

/// Serves one request.
async fn serve<S, F, A>(stream: S, patience: Duration, answer: A)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Response<AnswerBody>>,
    A: Fn(Request<Incoming>) -> F,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(patience, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a connection failed: {error}"),
        Err(_) => debug!("a connection took longer than {} s", patience.as_secs()),
    }
}
