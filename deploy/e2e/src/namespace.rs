//! Network namespaces, and commands inside them.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Daemon, PATIENCE, wait_until};

/// What a command said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output and standard error, one behind the other.
    pub text: String,
}

impl Output {
    /// True if it exited with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

fn output(command: &mut Command) -> Result<Output> {
    let told = format!("{command:?}");
    let done = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {told}"))?;
    let mut text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&done.stderr));
    Ok(Output { code: done.status.code(), text })
}

/// Runs a command line (words separated by spaces, no quoting) and fails if it does.
///
/// # Errors
/// What the command said.
pub fn run(line: &str) -> Result<String> {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().context("an empty command line")?);
    let done = output(command.args(words))?;
    if !done.ok() {
        bail!("`{line}` failed ({:?}): {}", done.code, done.text.trim());
    }
    Ok(done.text)
}

/// A network namespace; removed with everything in it when it is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    kept: bool,
}

impl Namespace {
    /// Makes a namespace with its loopback up and IPv6 addresses usable at once; one of the same name is removed first.
    ///
    /// # Errors
    /// Root is missing, or the kernel refuses.
    pub fn create(name: &str) -> Result<Self> {
        Self::remove(name);
        run(&format!("ip netns add {name}")).context("network namespaces need root")?;
        let namespace = Self { name: name.to_owned(), kept: false };
        namespace.run("ip link set lo up")?;
        // Beds do not wait a second for duplicate address detection.
        for scope in ["all", "default"] {
            namespace.run(&format!("sysctl -qw net.ipv6.conf.{scope}.accept_dad=0"))?;
            // Nor do they hear stations look for routers.
            namespace.run(&format!("sysctl -qw net.ipv6.conf.{scope}.router_solicitations=0"))?;
        }
        Ok(namespace)
    }

    /// Ends every process of a namespace, by force if it must be, and removes it; no effect if there is none.
    pub fn remove(name: &str) {
        let signal = |signal: &str| -> bool {
            let pids = run(&format!("ip netns pids {name}")).unwrap_or_default();
            for pid in pids.split_whitespace() {
                // It may be gone already.
                run(&format!("kill -{signal} {pid}")).ok();
            }
            pids.trim().is_empty()
        };
        // What does not end when it is asked to is ended below.
        signal("TERM");
        wait_until("the processes to end", Daemon::PATIENCE, || signal("0")).ok();
        signal("KILL");
        run(&format!("ip netns del {name}")).ok();
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Leaves it behind when it is dropped.
    pub const fn keep(&mut self) {
        self.kept = true;
    }

    /// A command to be run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command line inside and fails if it does.
    ///
    /// # Errors
    /// What the command said.
    pub fn run(&self, line: &str) -> Result<String> {
        run(&format!("ip netns exec {} {line}", self.name))
    }

    /// Pings so often, and has each echo request answered. One is sent at a time: behind the last of several, ping(8) waits for no
    /// longer than the interval between them.
    ///
    /// # Errors
    /// One is not answered; what ping said.
    pub fn ping(&self, times: usize, words: &str) -> Result<()> {
        (0..times).try_for_each(|_| self.run(&format!("ping -n -c 1 -W 30 {words}")).map(|_| ()))
    }

    /// Pings until ping says this.
    ///
    /// # Errors
    /// It does not; what it said last.
    pub fn wait_for_ping(&self, words: &str, expected: &str) -> Result<()> {
        self.ping_until(words, expected, |said| said.contains(expected))
    }

    /// Pings until ping says what is expected.
    ///
    /// # Errors
    /// It does not; what it said last.
    pub fn ping_until(&self, words: &str, what: &str, is_expected: impl Fn(&str) -> bool) -> Result<()> {
        let mut said = String::new();
        wait_until(what, PATIENCE, || {
            let done = self.try_run(&format!("ping -n -c 1 -W 1 {words}"));
            said = done.map_or_else(|error| error.to_string(), |done| done.text);
            is_expected(&said)
        })
        .with_context(|| format!("ping {words}:\n{said}"))
    }

    /// Runs a command line inside, however it ends.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn try_run(&self, line: &str) -> Result<Output> {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().context("an empty command line")?);
        output(command.args(words))
    }

    /// The Ethernet address of an interface inside.
    ///
    /// # Errors
    /// There is no such interface, or it has none.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let said = self.run(&format!("cat /sys/class/net/{interface}/address"))?;
        let octets = said.trim().split(':').map(|octet| u8::from_str_radix(octet, 16));
        let octets: Vec<u8> = octets.collect::<Result<_, _>>()?;
        octets.try_into().map_err(|_| anyhow!("{said} is no Ethernet address"))
    }

    /// Runs `work` on a thread of its own whose sockets are this namespace's, and waits for its result.
    ///
    /// # Errors
    /// The namespace cannot be entered, or `work` panicked.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = self.open()?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| enter(&namespace).map(|()| work()));
            thread.join().map_err(|_| anyhow!("a thread in {} panicked", self.name))?
        })
    }

    /// As [`inside`](Self::inside), without waiting.
    ///
    /// # Errors
    /// The namespace cannot be opened.
    pub fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.open()?;
        Ok(std::thread::spawn(move || enter(&namespace).map(|()| work())))
    }

    fn open(&self) -> Result<File> {
        let path = Path::new("/run/netns").join(&self.name);
        File::open(&path).with_context(|| format!("cannot open {}", path.display()))
    }
}

fn enter(namespace: &File) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a network namespace; run as root")
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if !self.kept {
            Self::remove(&self.name);
        }
    }
}
