//! Threads that listen to the dataplane for as long as the process lives.
//!
//! Overview: a listener [connects](connect), and reads until that fails; then it waits, and comes back. Life cycle: from the
//! start of the process. Ownership: what a listener makes of what it hears is its own. Bounds: an attempt a second.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;
use std::{io, thread};

use api::Client;
use tracing::debug;

/// How long the dataplane may say nothing: it says every five seconds that it is there.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait for a dataplane that is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Starts a thread of this name that listens, again whenever that has ended.
///
/// # Errors
/// That a thread cannot be made.
pub fn start<E: Display>(
    name: &'static str,
    mut listen: impl FnMut() -> Result<(), E> + Send + 'static,
) -> io::Result<()> {
    let run = move || {
        loop {
            if let Err(error) = listen() {
                debug!("{name}: listening to the dataplane: {error}");
            }
            thread::sleep(AGAIN);
        }
    };
    thread::Builder::new().name(name.into()).spawn(run).map(|_| ())
}

/// A connection to the dataplane at `socket`, which ends if it is silent for too long.
///
/// # Errors
/// The client's.
pub fn connect(socket: &Path) -> Result<Client, api::Error> {
    Client::connect_within(socket, PATIENCE)
}
