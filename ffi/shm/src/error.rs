//! Why a segment cannot be made or read.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a segment cannot be made or read, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another process writes this segment.
    #[error("{} is being written by another process; stop that one, or choose another path", .0.display())]
    InUse(PathBuf),
    /// The file is something else.
    #[error("{} is not a counter segment; check the path", .0.display())]
    Foreign(PathBuf),
    /// Another release wrote the file.
    #[error("{} has format {found}, this release reads {expected}; run writer and reader of one release", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// The file is shorter than it says, or than any segment.
    #[error("{} is cut off at {found} bytes of {expected}; restart the process that writes it", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Its length.
        found: u64,
        /// The length it should have, as far as known.
        expected: u64,
    },
    /// The header contradicts itself.
    #[error("{} is damaged ({what}); restart the process that writes it", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        what: &'static str,
    },
    /// The layout asked for is out of bounds.
    #[error("bad layout: {0}")]
    Layout(String),
    /// No block of this name.
    #[error("the segment has no block {0:?}")]
    NoBlock(String),
    /// The block has an owner.
    #[error("the block {0:?} has been taken; each has one owner")]
    BlockTaken(String),
}

/// Says what was attempted on which file.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
