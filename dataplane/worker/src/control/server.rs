//! Accepts clients and frames their requests.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use api::codec::{self, Limit, ReadError};
use api::{
    Access, EventBatch, EventQuery, Hello, Process, Request, RequestBody, Response, ResponseBody,
    TRACE_SECONDS_MAX, TraceQuery,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use super::desk::Desk;
use super::readers::READERS_MAX;
use super::routes;
use crate::dump::Stalled;

/// Clients at once; more are hung up on.
pub const CLIENTS_MAX: usize = 16;
/// A client that asks nothing for so long is hung up on.
const IDLE: Duration = Duration::from_secs(60);
/// Within this, a request that has begun must have arrived, and an answer been taken.
const FRAME: Duration = Duration::from_secs(20);
/// The reader of a log in which nothing appears hears this often that the dataplane is there.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// How often traces are sent.
const TRACE_EVERY: Duration = Duration::from_millis(20);
/// How often it is looked whether sources have exceeded limits, where rules put them into tables.
const OVERLOAD_EVERY: Duration = Duration::from_millis(1);
/// How often it is looked whether rules do.
const OVERLOADS_EVERY: Duration = Duration::from_millis(50);
/// Routes or neighbours in one message.
const SLICE: usize = 1024;
/// How soon every thread notices the end.
const TICK: Duration = Duration::from_millis(200);

/// What all clients share.
struct Shared {
    desk: Desk,
    access: Access,
    stop: AtomicBool,
    /// Held while a request larger than [`Limit::SMALL`] is read and worked on: there is memory for one.
    large: Mutex<()>,
}

/// The running server.
pub struct Server {
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
    overloader: JoinHandle<()>,
}

/// The socket, there for clients to connect to, who wait until it is served. Removed when it is dropped.
pub struct Bound {
    path: PathBuf,
    listener: UnixListener,
    access: Access,
}

impl Bound {
    /// Binds the socket, in place of one that nobody serves any more. The caller holds the claim on the path.
    ///
    /// # Errors
    /// Those of the socket and its file.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let bound = Self { path: path.to_owned(), listener, access: Access::load() };
        bound.listener.set_nonblocking(true)?;
        bound.access.protect(path)?;
        Ok(bound)
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket stays behind");
        }
    }
}

impl Server {
    /// Serves a socket.
    ///
    /// # Errors
    /// Those of the thread.
    pub fn start(bound: Bound, desk: Desk) -> io::Result<Self> {
        let access = bound.access.clone();
        let shared = Arc::new(Shared { desk, access, stop: AtomicBool::new(false), large: Mutex::new(()) });
        let acceptor = {
            let shared = shared.clone();
            thread::Builder::new().name("control".into()).spawn(move || accept(&bound.listener, &shared))?
        };
        let overloader = {
            let shared = shared.clone();
            thread::Builder::new().name("overload".into()).spawn(move || overload(&shared))?
        };
        Ok(Self { shared, acceptor, overloader })
    }

    /// Hangs up on every client, and waits for the end.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in [self.acceptor, self.overloader] {
            if thread.join().is_err() {
                tracing::error!("a control thread panicked");
            }
        }
    }
}

fn accept(listener: &UnixListener, shared: &Arc<Shared>) {
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        clients.retain(|client| !client.is_finished());
        shared.desk.tend(Instant::now());
        let Some(stream) = next_client(listener) else { continue };
        if clients.len() >= CLIENTS_MAX {
            tracing::warn!(clients = clients.len(), "too many clients: one was turned away");
            continue;
        }
        let shared = shared.clone();
        let client = thread::Builder::new().name("client".into()).spawn(move || serve(&stream, &shared));
        match client {
            Ok(client) => clients.push(client),
            Err(error) => tracing::error!(%error, "no thread for a client"),
        }
    }
    for client in clients {
        let _ = client.join();
    }
}

/// Puts sources into tables that have exceeded limits.
fn overload(shared: &Shared) {
    while !shared.stop.load(Ordering::Relaxed) {
        let pause = match shared.desk.overloads() {
            false => OVERLOADS_EVERY,
            true if shared.desk.overload() => OVERLOAD_EVERY,
            true => TICK,
        };
        thread::sleep(pause);
    }
}

/// Waits a little for a client.
fn next_client(listener: &UnixListener) -> Option<UnixStream> {
    if !happens(listener, PollFlags::IN, TICK).unwrap_or(false) {
        return None;
    }
    match listener.accept() {
        Ok((stream, _)) => Some(stream),
        Err(error) => {
            tracing::warn!(%error, "cannot accept a client");
            thread::sleep(TICK);
            None
        }
    }
}

/// A connection with a deadline, that also ends with the server.
struct Line<'a> {
    stream: &'a UnixStream,
    stop: &'a AtomicBool,
    deadline: Instant,
}

impl Line<'_> {
    fn patience(&mut self, patience: Duration) -> &mut Self {
        self.deadline = Instant::now() + patience;
        self
    }

    /// Repeats a call that waits at most a tick, until it is done or time is over.
    fn wait<T>(&self, mut call: impl FnMut(&UnixStream) -> io::Result<T>) -> io::Result<T> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the dataplane stops"));
            }
            if Instant::now() >= self.deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the other side took too long"));
            }
            match call(self.stream) {
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                    ) => {}
                result => return result,
            }
        }
    }
}

impl Read for Line<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(|mut stream| stream.read(buffer))
    }
}

impl Write for Line<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.wait(|mut stream| stream.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Serves one client to its end, and logs an end that is not its own.
fn serve(stream: &UnixStream, shared: &Shared) {
    let line = Line { stream, stop: &shared.stop, deadline: Instant::now() };
    match converse(line, stream, shared) {
        Ok(()) | Err(ReadError::Closed) => {}
        Err(error) => tracing::info!(%error, "hung up on a client"),
    }
}

fn converse(mut line: Line<'_>, stream: &UnixStream, shared: &Shared) -> Result<(), ReadError> {
    stream.set_read_timeout(Some(TICK))?;
    stream.set_write_timeout(Some(TICK))?;
    let (admitted, peer) = shared.access.admits_peer(stream)?;
    if !admitted {
        tracing::warn!(user = peer.uid, "a user who may not use the socket was turned away");
        return Ok(());
    }
    let hello: Hello = codec::read(line.patience(FRAME), Limit::HELLO)?;
    // Also to another version, so that it can say which one this is.
    codec::write(line.patience(FRAME), &Hello::OURS, Limit::HELLO)?;
    if hello != Hello::OURS {
        return Ok(());
    }
    loop {
        let length = codec::read_length(line.patience(IDLE))?;
        if let Err(error) = answer_one(&mut line, length, shared, peer) {
            // Where the next frame begins is not known any more.
            if matches!(error, ReadError::TooLong { .. } | ReadError::Malformed(_)) {
                refuse_connection(&mut line, error.to_string())?;
            }
            return Err(error);
        }
    }
}

fn answer_one(line: &mut Line<'_>, length: u32, shared: &Shared, peer: Process) -> Result<(), ReadError> {
    let _permit = (length > Limit::SMALL.0 && length <= Limit::REQUEST.0)
        .then(|| shared.large.lock().expect("no holder of this lock panics"));
    let Request { id, body } = codec::read_body(line.patience(FRAME), length, Limit::REQUEST)?;
    let (desk, user) = (&shared.desk, peer.uid);
    let body = match body {
        RequestBody::Commit(candidate) => desk.commit(&candidate, peer),
        RequestBody::Status => desk.status(),
        RequestBody::Drops => desk.drops(),
        RequestBody::DropReport(query) => desk.drop_report(&query),
        RequestBody::Rules => desk.rules(),
        RequestBody::Usage => desk.usage().unwrap_or_else(|Stalled| no_answer()),
        RequestBody::Mappings => desk.mappings().unwrap_or_else(|Stalled| no_answer()),
        RequestBody::EndpointMappings => {
            list(line, id, desk.endpoint_mappings(), ResponseBody::EndpointMappings)?
        }
        RequestBody::States => list_states(line, id, desk)?,
        RequestBody::Logs => stream_logs(line, id, desk)?,
        RequestBody::Trace(query) => stream_trace(line, id, desk, &query)?,
        RequestBody::Events(query) => stream_events(line, id, desk, query)?,
        RequestBody::Routes => list(line, id, routes::routes(&desk.fib()), ResponseBody::Routes)?,
        RequestBody::Neighbors => list(line, id, routes::neighbors(&desk.fib()), ResponseBody::Neighbors)?,
        RequestBody::RouteTo { address, table } => {
            ResponseBody::RouteTo(Box::new(routes::route_to(&desk.fib(), table, address)))
        }
        RequestBody::Tables(edits) => desk.edit_tables(&edits, user),
        RequestBody::Entries(table) => match desk.entries(&table) {
            Some(entries) => list(line, id, entries.into_iter(), ResponseBody::Entries)?,
            None => ResponseBody::Refused(format!("table <{table}> is not defined")),
        },
        RequestBody::AddressCounts(table) => match desk.address_counts(&table) {
            Some(counts) => list(line, id, counts.into_iter(), ResponseBody::AddressCounts)?,
            None => ResponseBody::Refused(format!("table <{table}> is not defined")),
        },
        RequestBody::Kill(selector) => desk.kill(&selector, user).unwrap_or_else(|Stalled| no_answer()),
        RequestBody::Sources { traffic } => match desk.sources(traffic) {
            Ok(sources) => list(line, id, sources.into_iter(), ResponseBody::Sources)?,
            Err(Stalled) => no_answer(),
        },
        RequestBody::ForgetSources(selector) => desk.forget_sources(&selector, user),
        RequestBody::Switch(filtering) => desk.switch(filtering, user),
        RequestBody::LogLevel(level) => desk.set_log_level(level, user),
        RequestBody::Clear(counts) => desk.clear(counts).unwrap_or_else(|Stalled| no_answer()),
        RequestBody::Info => desk.info(),
        RequestBody::Judge(candidate, flows) => desk.judge(&candidate, &flows),
        RequestBody::JudgeEnabled(flows) => desk.judge_enabled(&flows),
        RequestBody::Review(candidate) => desk.review(&candidate).unwrap_or_else(|Stalled| no_answer()),
    };
    send(line, id, body)
}

/// Sends the states a slice at a time, as fast as the client takes them. Returns what to say at the end.
fn list_states(line: &mut Line<'_>, id: u32, desk: &Desk) -> Result<ResponseBody, ReadError> {
    let mut cursor = 0;
    while cursor != u32::MAX {
        let Ok((states, next)) = desk.states(cursor) else {
            return Ok(no_answer());
        };
        cursor = next;
        if !states.is_empty() {
            send(line, id, ResponseBody::States(states))?;
        }
    }
    Ok(ResponseBody::Done)
}

/// Sends a listing a slice at a time. Returns what to say at the end.
fn list<T>(
    line: &mut Line<'_>,
    id: u32,
    mut all: impl Iterator<Item = T>,
    body: fn(Vec<T>) -> ResponseBody,
) -> Result<ResponseBody, ReadError> {
    loop {
        let slice: Vec<T> = all.by_ref().take(SLICE).collect();
        if slice.is_empty() {
            return Ok(ResponseBody::Done);
        }
        send(line, id, body(slice))?;
    }
}

/// Sends what is logged, until the client hangs up or asks for something else. Returns what to say if it may not begin.
fn stream_logs(line: &mut Line<'_>, id: u32, desk: &Desk) -> Result<ResponseBody, ReadError> {
    let Some(reader) = desk.logs() else {
        return Ok(ResponseBody::Refused(format!(
            "the log has {READERS_MAX} readers already; end one of them (tpctl pflog)"
        )));
    };
    send(line, id, ResponseBody::Logs(Vec::new()))?;
    let mut spoken = Instant::now();
    while !line.stop.load(Ordering::Relaxed) && !has_spoken(line.stream)? {
        let batch = reader.next(TICK);
        if batch.is_some() || spoken.elapsed() >= ALIVE_EVERY {
            spoken = Instant::now();
            send(line, id, ResponseBody::Logs(batch.map_or_else(Vec::new, |batch| batch.to_vec())))?;
        }
    }
    Err(ReadError::Closed)
}

/// Sends what happens to states, until the client hangs up or asks for something else. Returns what to say if it may not begin.
fn stream_events(
    line: &mut Line<'_>,
    id: u32,
    desk: &Desk,
    query: EventQuery,
) -> Result<ResponseBody, ReadError> {
    let listening = match desk.listen(query) {
        Ok(listening) => listening,
        Err(why) => return Ok(ResponseBody::Refused(why.to_string())),
    };
    send(line, id, ResponseBody::Events(EventBatch::default()))?;
    let mut spoken = Instant::now();
    while !line.stop.load(Ordering::Relaxed) && !has_spoken(line.stream)? {
        let batch = listening.next(TICK);
        if batch != EventBatch::default() || spoken.elapsed() >= ALIVE_EVERY {
            spoken = Instant::now();
            send(line, id, ResponseBody::Events(batch))?;
        }
    }
    Err(ReadError::Closed)
}

/// Sends traces of packets, until there are as many as were asked for, time is over, or the client hangs up or asks for
/// something else. Returns what to say at the end.
fn stream_trace(
    line: &mut Line<'_>,
    id: u32,
    desk: &Desk,
    query: &TraceQuery,
) -> Result<ResponseBody, ReadError> {
    let mut tracing = match desk.trace(query) {
        Ok(tracing) => tracing,
        Err(why) => return Ok(ResponseBody::Refused(why.to_string())),
    };
    send(line, id, ResponseBody::Traced(Vec::new()))?;
    let mut spoken = Instant::now();
    let end = spoken + Duration::from_secs(query.seconds.min(TRACE_SECONDS_MAX).into());
    while tracing.is_open() && Instant::now() < end && !line.stop.load(Ordering::Relaxed) {
        let traces = tracing.take();
        if !traces.is_empty() || spoken.elapsed() >= ALIVE_EVERY {
            spoken = Instant::now();
            send(line, id, ResponseBody::Traced(traces))?;
        } else if happens(line.stream, PollFlags::IN | PollFlags::RDHUP, TRACE_EVERY)? {
            return Err(ReadError::Closed);
        }
    }
    Ok(ResponseBody::Done)
}

/// Whether a client has sent something, or hung up.
fn has_spoken(stream: &UnixStream) -> io::Result<bool> {
    happens(stream, PollFlags::IN | PollFlags::RDHUP, Duration::ZERO)
}

/// Whether something of `what` happens to a descriptor within less than a second. A signal is nothing, and ends the waiting:
/// drivers use them (net_tap has SIGIO for each frame), and any thread may get them.
fn happens(of: &impl AsFd, what: PollFlags, patience: Duration) -> io::Result<bool> {
    let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
    match rustix::event::poll(&mut [PollFd::new(of, what)], Some(&patience)) {
        Err(Errno::INTR) => Ok(false),
        happened => Ok(happened? > 0),
    }
}

fn no_answer() -> ResponseBody {
    ResponseBody::Refused("the worker does not answer; see the dataplane's log".into())
}

fn send(line: &mut Line<'_>, id: u32, body: ResponseBody) -> Result<(), ReadError> {
    Ok(codec::write(line.patience(FRAME), &Response { id, body }, Limit::RESPONSE)?)
}

/// Says why the connection ends.
fn refuse_connection(line: &mut Line<'_>, why: String) -> Result<(), ReadError> {
    send(line, Response::CONNECTION, ResponseBody::Refused(why))
}
