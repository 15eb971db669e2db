//! Programs that run beside a bed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long what must come may take, on a machine that is busy with other things. Nothing is lost by waiting: whoever waits
/// goes on as soon as it is there. Whoever expects silence listens for less.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds, looking every 20 ms.
///
/// # Errors
/// It did not hold within `limit`; `what` says what was waited for.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            bail!("waited {limit:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A running program, with its output in a file; ended when it is dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Option<Child>,
    log: PathBuf,
}

impl Daemon {
    /// How long a program may take to end when it is asked to.
    pub const PATIENCE: Duration = Duration::from_secs(5);

    /// Starts a program whose output goes to `log`.
    ///
    /// # Errors
    /// It cannot be started, or the log not be written.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let told = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {told}"))?;
        Ok(Self { child: Some(child), log: log.to_owned() })
    }

    /// Its process number; `ip netns exec` replaces itself, so it is the program's own.
    ///
    /// # Panics
    /// It was kept or has been waited for.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running program").id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// True if it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends it a signal, by name.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn signal(&self, name: &str) -> Result<()> {
        crate::run(&format!("kill -{name} {}", self.pid())).map(|_| ())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It did not end within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        let child = self.child.as_mut().context("it was waited for already")?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("process {} did not end within {limit:?}", child.id());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets it run on when this value is dropped.
    pub fn keep(&mut self) {
        self.child = None;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            // By force only if it does not end by itself: the dataplane then gives back what it took of the system.
            self.signal("TERM").ok();
            self.wait(Self::PATIENCE).ok();
        }
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended.
            child.kill().ok();
            child.wait().ok();
        }
    }
}
