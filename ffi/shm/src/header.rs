//! The head of the file: what it is, and the names.
//!
//! Fixed part, then for each block: its name, the number of its counters (u32), their names; a name is its length (u8) and
//! its bytes. Integers are in the machine's byte order, since both ends are on one machine; a file from another machine
//! fails at the magic number.

use std::path::Path;

use crate::error::{Error, Result};
use crate::layout::{BLOCK_ALIGN, BLOCKS_MAX, COUNTERS_MAX, Layout, NAME_BYTES_MAX};

const MAGIC: u64 = u64::from_ne_bytes(*b"counters");
/// Raised whenever the format changes.
const VERSION: u32 = 1;
/// Offsets of the fixed part.
const VERSION_AT: usize = 8;
const HEADER_BYTES_AT: usize = 12;
const GENERATION_AT: usize = 16;
const FILE_BYTES_AT: usize = 24;
const BLOCKS_AT: usize = 32;
/// Of everything in front of it and of the names.
const CHECKSUM_AT: usize = 40;
pub(crate) const FIXED_BYTES: usize = 48;
/// Longest header that the bounds of a layout allow.
pub(crate) const HEADER_BYTES_MAX: usize =
    FIXED_BYTES + BLOCKS_MAX * (NAME_BYTES_MAX + 5) + COUNTERS_MAX * (NAME_BYTES_MAX + 1);

/// What the head of a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) generation: u64,
    pub(crate) layout: Layout,
}

impl Header {
    /// The bytes of the header.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_BYTES];
        let name = |bytes: &mut Vec<u8>, name: &str| {
            bytes.push(u8::try_from(name.len()).expect("bounded by the layout"));
            bytes.extend(name.as_bytes());
        };
        for block in self.layout.blocks() {
            name(&mut bytes, block.name());
            let count = u32::try_from(block.counters().len()).expect("bounded by the layout");
            bytes.extend(count.to_ne_bytes());
            block.counters().iter().for_each(|counter| name(&mut bytes, counter));
        }
        let header_bytes = u32::try_from(bytes.len()).expect("bounded by the layout");
        let blocks = u64::try_from(self.layout.blocks().len()).expect("a small number");
        let file_bytes = u64::try_from(file_bytes(bytes.len(), &self.layout)).expect("a small number");
        bytes[..8].copy_from_slice(&MAGIC.to_ne_bytes());
        bytes[VERSION_AT..][..4].copy_from_slice(&VERSION.to_ne_bytes());
        bytes[HEADER_BYTES_AT..][..4].copy_from_slice(&header_bytes.to_ne_bytes());
        bytes[GENERATION_AT..][..8].copy_from_slice(&self.generation.to_ne_bytes());
        bytes[FILE_BYTES_AT..][..8].copy_from_slice(&file_bytes.to_ne_bytes());
        bytes[BLOCKS_AT..][..8].copy_from_slice(&blocks.to_ne_bytes());
        let sum = checksum(&bytes);
        bytes[CHECKSUM_AT..][..8].copy_from_slice(&sum.to_ne_bytes());
        bytes
    }

    /// Reads a header. `bytes` are the first of the file, at least [`FIXED_BYTES`] and the whole header if the file has
    /// as many; `len` is the length of the file.
    pub(crate) fn decode(bytes: &[u8], len: u64, path: &Path) -> Result<Header> {
        let truncated = |expected: u64| Error::Truncated { path: path.to_owned(), found: len, expected };
        let corrupt = |what| Error::Corrupt { path: path.to_owned(), what };
        let magic = bytes.get(..8).map(|_| u64_at(bytes, 0));
        if magic.is_some_and(|magic| magic != MAGIC) {
            return Err(Error::Foreign(path.to_owned()));
        }
        if bytes.len() < FIXED_BYTES {
            return Err(truncated(FIXED_BYTES as u64));
        }
        let found = u32_at(bytes, VERSION_AT);
        if found != VERSION {
            return Err(Error::Version { path: path.to_owned(), found, expected: VERSION });
        }
        let header_bytes = header_bytes(bytes).ok_or_else(|| corrupt("length of the header"))?;
        let header = bytes.get(..header_bytes).ok_or_else(|| truncated(header_bytes as u64))?;
        if checksum(header) != u64_at(header, CHECKSUM_AT) {
            return Err(corrupt("checksum of the header"));
        }
        let blocks = u64_at(header, BLOCKS_AT);
        let layout = decode_names(&header[FIXED_BYTES..], blocks).ok_or_else(|| corrupt("names"))?;
        let file_bytes = u64_at(header, FILE_BYTES_AT);
        if usize::try_from(file_bytes) != Ok(self::file_bytes(header_bytes, &layout)) {
            return Err(corrupt("length of the file"));
        }
        if len < file_bytes {
            return Err(truncated(file_bytes));
        }
        Ok(Header { generation: u64_at(header, GENERATION_AT), layout })
    }
}

/// The length of the header that starts with `fixed`, if it is possible.
pub(crate) fn header_bytes(fixed: &[u8]) -> Option<usize> {
    let bytes = u32_at(fixed, HEADER_BYTES_AT) as usize;
    (FIXED_BYTES..=HEADER_BYTES_MAX).contains(&bytes).then_some(bytes)
}

/// Where the first block starts.
pub(crate) fn data_offset(header_bytes: usize) -> usize {
    header_bytes.next_multiple_of(BLOCK_ALIGN)
}

fn file_bytes(header_bytes: usize, layout: &Layout) -> usize {
    data_offset(header_bytes) + layout.offsets().1
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// The layout that the names make, if they are well formed and nothing is left over.
fn decode_names(mut rest: &[u8], blocks: u64) -> Option<Layout> {
    let mut layout = Layout::new();
    for _ in 0..blocks {
        let name = take_name(&mut rest)?;
        let count = u32::from_ne_bytes(*rest.split_off(..4)?.as_array()?);
        let mut counters = Vec::new();
        for _ in 0..count {
            counters.push(take_name(&mut rest)?);
        }
        layout = layout.block(name, counters).ok()?;
    }
    rest.is_empty().then_some(layout)
}

fn take_name<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::from(*rest.split_off_first()?);
    std::str::from_utf8(rest.split_off(..len)?).ok()
}

/// FNV-1a, 64 bits, over the header without the checksum itself: against damage, not against forgery.
fn checksum(header: &[u8]) -> u64 {
    let covered = header[..CHECKSUM_AT].iter().chain(&header[FIXED_BYTES..]);
    covered.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
