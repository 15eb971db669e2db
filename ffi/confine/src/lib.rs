//! Gives up what a process does not need any more.
//!
//! **Overview.** Three steps, each of its own use: [`Account::assume`] makes the process another user's,
//! [`Capabilities::keep`] lowers a thread to the capabilities that it needs, and [`Filter`] ends the process when it
//! makes a system call that is not on its list.
//!
//! **Life cycle.** A process takes the first step before it has other threads, the others when it is ready to work.
//! Nothing here can be undone. What a thread starts later has what that thread has.
//!
//! **Ownership.** None: all state is the kernel's.
//!
//! **Bounds.** A filter has at most some hundred system calls; the kernel's own limit is 4096 instructions.
#![forbid(unsafe_code)]

mod account;
mod capability;
mod filter;
pub mod list;

pub use account::Account;
pub use capability::{Capabilities, Capability};
pub use filter::{Call, Filter};

use std::io;

/// Why something could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused.
    #[error("cannot {what}: {error}")]
    System {
        /// What was to be done.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Threads are already there, and would stay what they are.
    #[error("cannot become another user: {0} threads run already")]
    Threads(usize),
    /// The system calls cannot be limited.
    #[error("cannot limit the system calls of this process: {0}; the kernel must have CONFIG_SECCOMP_FILTER")]
    Filter(String),
}

/// What a thread is and may do, as the kernel tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its effective user.
    pub uid: u32,
    /// What it may do; its permitted ones too.
    pub capabilities: Capabilities,
    /// Whether system calls are limited.
    pub filtered: bool,
}

impl Standing {
    /// That of every thread of this process.
    ///
    /// # Errors
    /// /proc cannot be read.
    pub fn of_all_threads() -> Result<Vec<Self>, Error> {
        let failed = |error| Error::System { what: "read /proc/self/task", error };
        let mut standings = Vec::new();
        for thread in std::fs::read_dir("/proc/self/task").map_err(failed)? {
            match std::fs::read_to_string(thread.map_err(failed)?.path().join("status")) {
                Ok(text) => standings.push(Self::parse(&text)),
                // It ended in the meantime.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(standings)
    }

    /// From the text of /proc/PID/status. What is absent counts as the most that could be.
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim()
        };
        let mask = |name: &str| u64::from_str_radix(field(name), 16).unwrap_or(u64::MAX);
        Self {
            name: field("Name").to_owned(),
            uid: field("Uid").split_whitespace().nth(1).and_then(|uid| uid.parse().ok()).unwrap_or(0),
            capabilities: Capabilities::from_mask(mask("CapEff") | mask("CapPrm")),
            filtered: field("Seccomp") == "2",
        }
    }
}
