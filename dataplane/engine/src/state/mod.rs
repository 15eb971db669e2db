//! Connections: keys, the index, records, classes, and the table that ties them together.

mod class;
mod index;
mod key;
mod record;
mod table;

pub(crate) use class::Class;
pub(crate) use index::RecordId;
pub(crate) use key::{Hashing, Key, KeyHash, Side};
pub(crate) use record::Sixteenths;
pub(crate) use table::{Connections, Expiry, Full, NewRecord};
