//! Single-writer 64-bit counters in shared memory: one process counts with plain stores, others read at any time.
//!
//! **Overview.** A [`Segment`] is a file, mapped, of named [`Block`]s of named counters. The file describes itself: a
//! [`Reader`] needs no knowledge from build time.
//!
//! **Life cycle.** [`Segment::create`] writes a new file beside the old one and renames it into place, so that nobody sees
//! half of it, with a generation one above the old one's. The writer holds a lock on the file as long as it lives; a
//! reader notices a restart with [`Reader::refresh`] and a death with [`Reader::writer_lives`].
//!
//! **Ownership.** Each block is taken once and belongs to one thread; nothing else stores into it. Blocks share no cache
//! line. Counters are read one by one: a set of them is consistent when the writer pauses.
//!
//! **Bounds.** [`layout::BLOCKS_MAX`], [`layout::COUNTERS_MAX`], [`layout::NAME_BYTES_MAX`].

mod error;
mod header;
pub mod layout;
mod map;
mod reader;
mod segment;

pub use error::{Error, Result};
pub use layout::Layout;
pub use reader::{Change, Reader};
pub use segment::{Block, Counter, Segment};
