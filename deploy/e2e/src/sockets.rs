//! Sockets of the stations: what an application sees, with errno and time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::{Namespace, PATIENCE};

/// How soon threads notice that they are to end.
const TICK: Duration = Duration::from_millis(50);

/// How long silence is listened to.
pub const SILENCE: Duration = Duration::from_secs(1);

/// How a connection attempt or a question ended, and after how long.
#[derive(Debug)]
pub struct Attempt<T> {
    /// What the application got.
    pub outcome: io::Result<T>,
    /// How long it took.
    pub took: Duration,
}

impl<T> Attempt<T> {
    fn of(work: impl FnOnce() -> io::Result<T>) -> Self {
        let begin = Instant::now();
        let outcome = work();
        Self { outcome, took: begin.elapsed() }
    }

    /// The value, if it succeeded.
    ///
    /// # Errors
    /// It failed; `what` says at what.
    pub fn succeeded(self, what: &str) -> Result<T> {
        let took = self.took;
        self.outcome.with_context(|| format!("{what}, after {took:?}"))
    }

    /// Checks that it ended with this errno. ECONNREFUSED is only ever an answer's; that it was the first packet which was
    /// answered is told by counters.
    ///
    /// # Errors
    /// Something else happened.
    pub fn failed_with(self, what: &str, errno: Errno) -> Result<()> {
        let Err(error) = self.outcome else { anyhow::bail!("{what} succeeded, {errno:?} was expected") };
        ensure!(
            error.raw_os_error() == Some(errno.raw_os_error()),
            "{what}: {error} after {:?}; {errno:?} was expected",
            self.took
        );
        Ok(())
    }

    /// Checks that there was no answer at all.
    ///
    /// # Errors
    /// Something else happened.
    pub fn timed_out(self, what: &str) -> Result<()> {
        let Err(error) = self.outcome else { anyhow::bail!("{what} succeeded, silence was expected") };
        let silent = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock);
        ensure!(silent, "{what}: {error}; silence was expected");
        Ok(())
    }
}

/// `10.2.0.2`, 80 or `fd00:2::2`, 80 as an address.
pub fn address(host: &str, port: u16) -> SocketAddr {
    SocketAddr::new(host.parse().expect("an IP address of the bed"), port)
}

/// Connects by TCP, waiting at most `patience`.
///
/// # Errors
/// The namespace cannot be entered.
pub fn connect(from: &Namespace, to: SocketAddr, patience: Duration) -> Result<Attempt<TcpStream>> {
    from.inside(|| Attempt::of(|| connected(to, patience)))
}

/// Waits inside of connect(2). Who polls for the end instead may read of an ICMP error that the connection has ended before he can
/// read how: Linux 6.18 does so to one of some thousand.
fn connected(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(patience))?;
    match rustix::net::connect(&socket, &to) {
        // socket(7), SO_SNDTIMEO.
        Err(Errno::INPROGRESS) => return Err(io::ErrorKind::TimedOut.into()),
        ended => ended?,
    }
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket.into())
}

/// Sends a datagram from a connected socket and waits at most `patience` for one back, or for an error.
///
/// # Errors
/// The namespace cannot be entered.
pub fn ask(from: &Namespace, to: SocketAddr, patience: Duration) -> Result<Attempt<usize>> {
    from.inside(|| Attempt::of(|| udp(to, patience)?.ask()))
}

/// The most bytes of a datagram.
const DATAGRAM_MAX: usize = 65_535;

/// A connected UDP socket.
#[derive(Debug)]
pub struct Datagrams(UdpSocket);

impl Datagrams {
    /// Opens one towards `to`.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the socket not be opened.
    pub fn open(from: &Namespace, to: SocketAddr, patience: Duration) -> Result<Self> {
        Ok(from.inside(|| udp(to, patience))??)
    }

    /// Sends a datagram and waits for one back, or for an error.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` if nothing came.
    pub fn ask(&self) -> io::Result<usize> {
        self.0.send(b"question")?;
        self.0.recv(&mut [0; 64])
    }

    /// Sends a datagram of `length` bytes and waits for one back. True if that is the same.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` if nothing came.
    pub fn echo(&self, length: usize) -> io::Result<bool> {
        let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        self.0.send(&sent)?;
        let mut back = vec![0; DATAGRAM_MAX];
        let count = self.0.recv(&mut back)?;
        Ok(back[..count] == sent)
    }

    /// Sends a datagram of `length` bytes.
    ///
    /// # Errors
    /// The socket's.
    pub fn send(&self, length: usize) -> io::Result<usize> {
        self.0.send(&vec![0; length])
    }

    /// Its own port.
    ///
    /// # Errors
    /// The socket's.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.0.local_addr()?.port())
    }
}

fn udp(to: SocketAddr, patience: Duration) -> io::Result<Datagrams> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    Ok(Datagrams(socket))
}

/// Says a line over an established connection and expects it back.
///
/// # Errors
/// The socket's, or another answer.
pub fn converse(stream: &mut TcpStream) -> Result<()> {
    say(stream, PATIENCE)
}

/// Says a line over a connection that is to be dead, and expects no answer.
///
/// # Errors
/// It is answered.
pub fn is_dead(stream: &mut TcpStream) -> Result<()> {
    ensure!(say(stream, SILENCE).is_err(), "an answer came over a connection that was to be dead");
    Ok(())
}

fn say(stream: &mut TcpStream, patience: Duration) -> Result<()> {
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"and on it goes")?;
    let mut answer = [0; 14];
    stream.read_exact(&mut answer).context("no answer over an established connection")?;
    ensure!(&answer == b"and on it goes", "another answer came back");
    Ok(())
}

/// Echoes on a port of a namespace, TCP and UDP, IPv4 and IPv6, until it is dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    datagrams: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Echo {
    /// Starts it; it listens when this returns.
    ///
    /// # Errors
    /// The port is taken, or the namespace cannot be entered.
    pub fn start(namespace: &Namespace, port: u16) -> Result<Self> {
        let bind = move || -> io::Result<(TcpListener, UdpSocket)> {
            Ok((TcpListener::bind(("::", port))?, UdpSocket::bind(("::", port))?))
        };
        let (listener, socket) =
            namespace.inside(bind)?.with_context(|| format!("cannot listen on port {port}"))?;
        let (stop, datagrams) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        listener.set_nonblocking(true)?;
        socket.set_read_timeout(Some(TICK))?;
        let (tcp_stop, udp_stop, counter) = (stop.clone(), stop.clone(), datagrams.clone());
        let threads = vec![
            std::thread::spawn(move || accept(&listener, &tcp_stop)),
            std::thread::spawn(move || answer(&socket, &udp_stop, &counter)),
        ];
        Ok(Self { stop, datagrams, threads })
    }

    /// How many datagrams came.
    pub fn datagrams(&self) -> u64 {
        self.datagrams.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It ends by itself; how does not matter any more.
            thread.join().ok();
        }
    }
}

fn accept(listener: &TcpListener, stop: &Arc<AtomicBool>) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                let stop = stop.clone();
                std::thread::spawn(move || echo(stream, &stop));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    Ok(())
}

fn echo(mut stream: TcpStream, stop: &AtomicBool) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TICK))?;
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => stream.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(socket: &UdpSocket, stop: &AtomicBool, counter: &AtomicU64) -> Result<()> {
    let mut buffer = vec![0; DATAGRAM_MAX];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((count, from)) = socket.recv_from(&mut buffer) {
            counter.fetch_add(1, Ordering::Relaxed);
            // Lost answers are the asker's to notice.
            socket.send_to(&buffer[..count], from).ok();
        }
    }
    Ok(())
}

/// Sends datagrams at an even pace until it is stopped, and counts the answers.
#[derive(Debug)]
pub struct Stream {
    tally: Arc<Tally>,
    thread: JoinHandle<Result<io::Result<()>>>,
}

#[derive(Debug, Default)]
struct Tally {
    stop: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
    delays: Mutex<Vec<Duration>>,
}

impl Stream {
    /// Of each datagram: when it was sent.
    pub const PAYLOAD_BYTES: usize = size_of::<u64>();

    /// Begins to send.
    ///
    /// # Errors
    /// The namespace cannot be opened.
    pub fn start(from: &Namespace, to: SocketAddr, every: Duration) -> Result<Self> {
        let tally = Arc::<Tally>::default();
        let shared = tally.clone();
        let thread = from.beside(move || stream(to, every, &shared))?;
        Ok(Self { tally, thread })
    }

    /// How many were answered so far.
    pub fn answered(&self) -> u64 {
        self.tally.answered.load(Ordering::Relaxed)
    }

    /// From sending to the answer, for each answer since this was last asked, sorted.
    pub fn take_delays(&self) -> Vec<Duration> {
        let mut delays =
            std::mem::take(&mut *self.tally.delays.lock().unwrap_or_else(PoisonError::into_inner));
        delays.sort_unstable();
        delays
    }

    /// Ends it, waits some seconds for answers that are still missing, and returns how many went out and came back.
    ///
    /// # Errors
    /// The socket's.
    pub fn stop(self) -> Result<(u64, u64)> {
        self.tally.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the sender panicked"))???;
        Ok((self.tally.sent.load(Ordering::Relaxed), self.tally.answered.load(Ordering::Relaxed)))
    }

    /// Ends it where no answer is expected, and returns how many went out.
    pub fn abandon(self) -> u64 {
        self.tally.stop.store(true, Ordering::Relaxed);
        self.tally.sent.load(Ordering::Relaxed)
    }
}

/// How long answers may take on a machine that is busy with other things.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

fn stream(to: SocketAddr, every: Duration, tally: &Tally) -> io::Result<()> {
    let Datagrams(socket) = udp(to, every)?;
    let start = Instant::now();
    while !tally.stop.load(Ordering::Relaxed) {
        if socket.send(&(start.elapsed().as_nanos() as u64).to_le_bytes()).is_ok() {
            tally.sent.fetch_add(1, Ordering::Relaxed);
        }
        count_answers(&socket, start, every, tally, |_| false)?;
    }
    count_answers(&socket, start, LAST_ANSWERS, tally, |tally| {
        tally.answered.load(Ordering::Relaxed) >= tally.sent.load(Ordering::Relaxed)
    })
}

/// Counts answers for so long, or until there are `enough`. Each says how long after `start` its question was sent.
fn count_answers(
    socket: &UdpSocket,
    start: Instant,
    patience: Duration,
    tally: &Tally,
    enough: impl Fn(&Tally) -> bool,
) -> io::Result<()> {
    let end = Instant::now() + patience;
    let mut sent = [0; Stream::PAYLOAD_BYTES];
    while !enough(tally) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        socket.set_read_timeout(Some(left))?;
        // An error is what an ICMP error told, or that time is over.
        if socket.recv(&mut sent).is_ok() {
            tally.answered.fetch_add(1, Ordering::Relaxed);
            let delay = start.elapsed().saturating_sub(Duration::from_nanos(u64::from_le_bytes(sent)));
            tally.delays.lock().unwrap_or_else(PoisonError::into_inner).push(delay);
        }
    }
    Ok(())
}

/// Datagrams of one flow, as fast as a thread can send them, until it is dropped.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Flood {
    /// Begins one from a namespace.
    ///
    /// # Errors
    /// The namespace cannot be entered, or has no socket.
    pub fn start(from: &Namespace, to: SocketAddr) -> Result<Self> {
        let socket = from.inside(|| udp(to, TICK))??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = from.beside(move || {
            while !stopped.load(Ordering::Relaxed) {
                // That nobody takes them, or that a queue is full, holds nothing up.
                let _ = socket.send(200);
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
