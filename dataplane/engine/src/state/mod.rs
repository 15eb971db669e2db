//! Connections: keys, the index, records, classes, and the table that ties them together.

mod adjacency;
mod ahead;
mod alias;
mod class;
mod credit;
mod flood;
mod follow;
mod follow_linked;
mod gateway;
mod index;
mod key;
mod limit;
mod link;
mod lookup;
mod mappings;
mod numbering;
mod numbers;
mod record;
mod select;
mod sweep;
mod table;
mod terms;
mod tuples;
mod views;

pub(crate) use adjacency::{Adjacencies, Adjacency, Leg};
pub use ahead::{AREAS, Area};
pub(crate) use alias::News;
pub(crate) use class::{Class, Sketch};
pub(crate) use credit::Credits;
pub use credit::StatePool;
pub(crate) use follow::Moment;
pub(crate) use follow_linked::{Change, Way};
#[cfg(test)]
pub(crate) use index::Index;
pub(crate) use index::RecordId;
pub(crate) use key::{Family, Hashing, Key, KeyHash, Narrow, Side};
pub(crate) use limit::RuleLimit;
pub(crate) use link::Hit;
pub(crate) use lookup::{Found, Wanted};
pub use mappings::Mapping;
pub(crate) use numbering::Differences;
pub(crate) use record::Sixteenths;
pub use select::Selection;
pub(crate) use table::{Connections, Expiry, Full, NewRecord};
pub(crate) use tuples::{Tuples, Turned};
