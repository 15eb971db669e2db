//! The writing side.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::error::{Error, Result, io_error};
use crate::header::{self, Header};
use crate::layout::Layout;
use crate::map::{self, Access, Map};
use crate::reader;

/// Owner writes, group reads.
const MODE: u32 = 0o640;

/// A segment being written by this process. Lives on in its blocks.
#[derive(Debug)]
pub struct Segment {
    file: Arc<Locked>,
    header: Header,
    /// Where each block starts in the file.
    starts: Vec<usize>,
    taken: Mutex<Vec<bool>>,
}

/// The mapping, and the file whose lock says that its writer lives.
#[derive(Debug)]
struct Locked {
    map: Map,
    lock: File,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting has the file open until it runs its program.
        // What cannot be unlocked is unlocked when the process ends.
        _ = self.lock.unlock();
    }
}

impl Segment {
    /// Replaces the segment at `path`, all counters 0. Refused while another process writes it.
    pub fn create(path: &Path, layout: Layout) -> Result<Segment> {
        let beside = beside(path);
        let mut file = lock(&beside)?.ok_or_else(|| Error::InUse(path.to_owned()))?;
        let made = successor(path).and_then(|generation| {
            let header = Header { generation, layout };
            let map = fill(&mut file, &header, &beside)?;
            fs::rename(&beside, path).map_err(io_error("rename into place", path))?;
            Ok((header, map))
        });
        let (header, map) = made.inspect_err(|_| _ = fs::remove_file(&beside))?;
        let first = header::data_offset(header.encode().len());
        let starts = header.layout.offsets().0.into_iter().map(|start| first + start).collect();
        let taken = Mutex::new(vec![false; header.layout.blocks().len()]);
        Ok(Segment { file: Arc::new(Locked { map, lock: file }), header, starts, taken })
    }

    /// One above that of the segment it replaced; 1 if there was none.
    pub fn generation(&self) -> u64 {
        self.header.generation
    }

    /// Its names.
    pub fn layout(&self) -> &Layout {
        &self.header.layout
    }

    /// Gives the block to its one owner, until the end of the segment.
    pub fn take(&self, name: &str) -> Result<Block> {
        let index = self.layout().position(name).ok_or_else(|| Error::NoBlock(name.to_owned()))?;
        let mut taken = self.taken.lock().expect("no holder of this lock panics");
        if std::mem::replace(&mut taken[index], true) {
            return Err(Error::BlockTaken(name.to_owned()));
        }
        let len = self.layout().blocks()[index].counters().len();
        let counters = Counter::from_slice(self.file.map.counters(self.starts[index], len));
        Ok(Block { counters: NonNull::from(counters), _file: self.file.clone() })
    }
}

/// Where the new file is made, in the same folder so that it can be renamed.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Opens and locks the file at `path`, made if absent; none if another process holds it. The lock stays with the file under
/// its final name: of two that start at once, one goes on.
fn lock(path: &Path) -> Result<Option<File>> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = open.map_err(io_error("create", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(source)) => return Err(io_error("lock", path)(source)),
    }
    // Renamed between the opening and the locking, it would be in use by readers.
    let opened = file.metadata().map_err(io_error("examine", path))?;
    let current = fs::metadata(path).ok();
    Ok(current.is_some_and(|current| reader::identity(&current) == reader::identity(&opened)).then_some(file))
}

/// The generation after that of the file at `path`, which nobody may be writing.
fn successor(path: &Path) -> Result<u64> {
    let Ok(mut old) = File::open(path) else {
        return Ok(1);
    };
    if reader::is_locked(&old).map_err(io_error("lock", path))? {
        return Err(Error::InUse(path.to_owned()));
    }
    // What cannot be read is replaced all the same.
    Ok(reader::read_header(&mut old, path).map_or(1, |header| header.generation.wrapping_add(1)))
}

/// Writes and maps a new segment.
fn fill(file: &mut File, header: &Header, path: &Path) -> Result<Map> {
    let bytes = header.encode();
    let len = header::data_offset(bytes.len()) + header.layout.offsets().1;
    file.set_permissions(Permissions::from_mode(MODE)).map_err(io_error("set the mode of", path))?;
    // A leftover of a process that died here must leave no byte.
    file.set_len(0).map_err(io_error("empty", path))?;
    map::reserve(file, len).map_err(io_error("reserve space for", path))?;
    file.write_all(&bytes).map_err(io_error("write", path))?;
    Map::new(file, len, Access::ReadWrite).map_err(io_error("map", path))
}

/// The counters of one block, in the order of the layout. `Send`, not `Sync`, and each exists once: its owner is the only
/// writer.
#[derive(Debug)]
pub struct Block {
    /// In the mapping of `_file`.
    counters: NonNull<[Counter]>,
    _file: Arc<Locked>,
}

// SAFETY: the counters are atomics in memory that lives as long as the block.
unsafe impl Send for Block {}

impl Deref for Block {
    type Target = [Counter];

    #[inline]
    fn deref(&self) -> &[Counter] {
        // SAFETY: the mapping lives as long as the block.
        unsafe { self.counters.as_ref() }
    }
}

/// One counter, of which the caller is the only writer. Not `Sync`. A change costs one load and one store, without a
/// locked instruction.
#[derive(Debug)]
#[repr(transparent)]
pub struct Counter {
    value: AtomicU64,
    _one_thread: PhantomData<Cell<()>>,
}

impl Counter {
    fn from_slice(values: &[AtomicU64]) -> &[Counter] {
        // SAFETY: transparent over the atomic.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }

    /// Adds, wrapping around after 2^64.
    #[inline]
    pub fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    /// Stores a value, as of a gauge.
    #[inline]
    pub fn set(&self, value: u64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// What was stored last.
    #[inline]
    pub fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}
