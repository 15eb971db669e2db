//! Memory shared through a file.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicU64;

/// Who may store into a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// A shared mapping of a whole file, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Map {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is only reached through atomics.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `len` bytes, which the file must have for as long as the mapping lives: files of this crate are
    /// replaced, never shortened.
    pub(crate) fn new(file: &File, len: usize, access: Access) -> io::Result<Map> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        // Faults are taken now, not in the middle of a burst.
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Map { start: NonNull::new(start.cast()).expect("mapped elsewhere than at 0"), len })
    }

    /// The `count` counters that start `at` bytes into the file.
    pub(crate) fn counters(&self, at: usize, count: usize) -> &[AtomicU64] {
        let bytes = count.checked_mul(size_of::<AtomicU64>()).and_then(|bytes| bytes.checked_add(at));
        assert!(bytes.is_some_and(|end| end <= self.len) && at.is_multiple_of(align_of::<AtomicU64>()));
        // SAFETY: within the mapping and aligned, as just checked; every process that maps the file uses atomics, and
        // loads are all that a read-only mapping is used for.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at).cast(), count) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: this mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Gives the file `len` bytes of zeroes, reserved: a store into a hole of a full file system would kill the process.
pub(crate) fn reserve(file: &File, len: usize) -> io::Result<()> {
    let len = libc::off_t::try_from(len).map_err(io::Error::other)?;
    // SAFETY: an open file.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
