//! More TCP connections than one process may have files, by several of these, each of which has a share.
//!
//! `connections serve PORT` accepts all that come and says `listening`; `connections open ADDRESS COUNT [reuse]` tries so many,
//! with SO_REUSEADDR if that is asked for, and says how many are open once each has succeeded or failed; so does `connections
//! attempt`, which does not wait for those that nobody answers before it tries more. Each keeps what it has until it is ended.
#![forbid(unsafe_code)]
// Beds live in real time.
#![allow(clippy::disallowed_methods)]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept, bind, connect, listen, socket_with, sockopt,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Attempts that are begun before it is looked whether others have ended: fewer than a link's queues hold.
const BATCH: usize = 128;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long nothing may happen before more is begun, where what waits may be answered by nobody.
const SILENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    have_all_files()?;
    match words[..] {
        ["serve", port] => serve(port.parse()?),
        [verb @ ("open" | "attempt"), to, count, ref option @ ..] => {
            let patience = (verb == "attempt").then_some(&SILENCE);
            open(to.parse()?, count.parse()?, *option == ["reuse"], patience)
        }
        _ => bail!("usage: connections serve PORT | connections (open | attempt) ADDRESS:PORT COUNT [reuse]"),
    }
}

/// As many open files as this process may have.
fn have_all_files() -> Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("the limit of open files")
}

fn say(text: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

fn tcp(flags: SocketFlags, reuse: bool) -> Result<OwnedFd> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, reuse)?;
    Ok(socket)
}

fn serve(port: u16) -> Result<()> {
    let listener = tcp(SocketFlags::empty(), true)?;
    bind(&listener, &SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))?;
    listen(&listener, BACKLOG)?;
    say("listening")?;
    let mut accepted = Vec::new();
    loop {
        accepted.push(accept(&listener)?);
    }
}

fn open(to: SocketAddr, count: usize, reuse: bool, patience: Option<&Timespec>) -> Result<()> {
    let (mut waiting, mut opened, mut begun) = (Vec::new(), Vec::new(), 0);
    while begun < count || !waiting.is_empty() {
        let batch = BATCH.min(count - begun);
        for _ in 0..batch {
            waiting.push(begin(to, reuse)?);
        }
        begun += batch;
        // The last ones are waited for, however long their ends take.
        settle(&mut waiting, &mut opened, patience.filter(|_| begun < count))?;
    }
    say(&format!("opened {} of {count}", opened.len()))?;
    loop {
        std::thread::park();
    }
}

fn begin(to: SocketAddr, reuse: bool) -> Result<OwnedFd> {
    let socket = tcp(SocketFlags::NONBLOCK, reuse)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error).context("this host's own kernel refuses"),
    }
}

/// Waits until none is waited for, or nothing happens for so long; those that have succeeded are open then.
fn settle(waiting: &mut Vec<OwnedFd>, opened: &mut Vec<OwnedFd>, patience: Option<&Timespec>) -> Result<()> {
    while !waiting.is_empty() {
        let mut asked: Vec<PollFd<'_>> =
            waiting.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
        if poll(&mut asked, patience)? == 0 {
            return Ok(());
        }
        let mut ended = asked.iter().map(|one| !one.revents().is_empty()).collect::<Vec<_>>().into_iter();
        let (done, rest) = std::mem::take(waiting).into_iter().partition(|_| ended.next() == Some(true));
        *waiting = rest;
        for socket in done {
            if sockopt::socket_error(&socket)?.is_ok() {
                opened.push(socket);
            }
        }
    }
    Ok(())
}
