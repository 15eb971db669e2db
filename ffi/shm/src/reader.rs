//! The reading side.

use std::fs::{self, File, Metadata, TryLockError};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Result, io_error};
use crate::header::{self, FIXED_BYTES, Header};
use crate::layout::Layout;
use crate::map::{Access, Map};

/// A segment as another process writes it. Reading disturbs nobody.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    identity: Identity,
    header: Header,
    starts: Vec<usize>,
    map: Map,
}

/// What [`Reader::refresh`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The same segment as before.
    None,
    /// A new one: counters started from 0, and the layout may differ.
    Restarted,
}

impl Reader {
    /// Opens the segment at `path`. A file that is cut off, damaged, of another format or something else is refused.
    pub fn open(path: &Path) -> Result<Reader> {
        let mut file = File::open(path).map_err(io_error("open", path))?;
        let identity = file.metadata().map(|m| identity(&m)).map_err(io_error("examine", path))?;
        let header = read_header(&mut file, path)?;
        let first = header::data_offset(header.encode().len());
        let (starts, end) = header.layout.offsets();
        let map = Map::new(&file, first + end, Access::Read).map_err(io_error("map", path))?;
        Ok(Reader {
            path: path.to_owned(),
            file,
            identity,
            header,
            starts: starts.into_iter().map(|start| first + start).collect(),
            map,
        })
    }

    /// Opens the segment that is now under the path, if it is another one. Refused, and the old one kept, if it cannot be
    /// read.
    pub fn refresh(&mut self) -> Result<Change> {
        let metadata = fs::metadata(&self.path).map_err(io_error("examine", &self.path))?;
        if identity(&metadata) == self.identity {
            return Ok(Change::None);
        }
        *self = Reader::open(&self.path)?;
        Ok(Change::Restarted)
    }

    /// Whether the process that writes this segment lives.
    pub fn writer_lives(&self) -> Result<bool> {
        is_locked(&self.file).map_err(io_error("lock", &self.path))
    }

    /// Differs from that of any other segment under this path.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// The names, as the writer gave them.
    pub fn layout(&self) -> &Layout {
        &self.header.layout
    }

    /// The values of one block, in the order of the layout; none if there is no such block.
    pub fn block(&self, name: &str) -> Option<Vec<u64>> {
        self.layout().position(name).map(|index| self.values(index))
    }

    /// One value.
    pub fn value(&self, block: &str, counter: &str) -> Option<u64> {
        let index = self.layout().position(block)?;
        let position = self.layout().blocks()[index].position(counter)?;
        Some(self.values_at(index)[position].load(Ordering::Relaxed))
    }

    /// The sum of all counters of this name, one per block that has it; none if no block does. Wraps as counters do.
    pub fn sum(&self, counter: &str) -> Option<u64> {
        let blocks = self.layout().blocks().iter().enumerate();
        let values = blocks.filter_map(|(index, block)| {
            Some(self.values_at(index)[block.position(counter)?].load(Ordering::Relaxed))
        });
        values.reduce(u64::wrapping_add)
    }

    /// Every block with its values, in the order of the layout.
    pub fn blocks(&self) -> impl Iterator<Item = (&str, Vec<u64>)> {
        self.layout().blocks().iter().enumerate().map(|(index, block)| (block.name(), self.values(index)))
    }

    fn values(&self, index: usize) -> Vec<u64> {
        self.values_at(index).iter().map(|value| value.load(Ordering::Relaxed)).collect()
    }

    fn values_at(&self, index: usize) -> &[AtomicU64] {
        self.map.counters(self.starts[index], self.layout().blocks()[index].counters().len())
    }
}

/// Device and inode: which file is under a name.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Reads and checks the head of a file.
pub(crate) fn read_header(file: &mut File, path: &Path) -> Result<Header> {
    let len = file.metadata().map_err(io_error("examine", path))?.len();
    let mut bytes = read_up_to(file, FIXED_BYTES).map_err(io_error("read", path))?;
    if bytes.len() == FIXED_BYTES
        && let Some(header_bytes) = header::header_bytes(&bytes)
    {
        bytes = read_up_to(file, header_bytes).map_err(io_error("read", path))?;
    }
    Header::decode(&bytes, len, path)
}

/// The first `count` bytes, or all if there are fewer.
fn read_up_to(file: &mut File, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(count as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a writer holds the file. Readers ask with a shared lock, so that they do not take each other for a writer.
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    match file.try_lock_shared() {
        Ok(()) => file.unlock().map(|()| false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
