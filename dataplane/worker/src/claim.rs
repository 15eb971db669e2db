//! One dataplane for one socket: a lock that goes with the process, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// Why a socket's path cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process has it.
    #[error("another turnpike-dataplane serves {}; stop it, or give this one another --socket", .0.display())]
    Taken(PathBuf),
    /// The file cannot be made.
    #[error("cannot make {}: {error}; run as root, or give another --socket", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The right to serve a path.
#[derive(Debug)]
pub struct Claim {
    _lock: File,
}

impl Claim {
    /// Takes it, and makes the folder if it is absent. What a process that died has left does not matter.
    ///
    /// # Errors
    /// [`Error`].
    pub fn take(socket: &Path) -> Result<Self, Error> {
        if let Some(folder) = socket.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::Io { path: folder.to_owned(), error })?;
        }
        let path = beside(socket, "lock");
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = open.map_err(|error| Error::Io { path: path.clone(), error })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Taken(socket.to_owned())),
            Err(TryLockError::Error(error)) => Err(Error::Io { path, error }),
        }
    }
}

/// A file that goes with a socket: its path with another ending.
pub fn beside(socket: &Path, ending: &str) -> PathBuf {
    socket.with_extension(ending)
}
