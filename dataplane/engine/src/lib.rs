//! pf itself, pure: packets, rules and states in, fates out.
//!
//! Overview: a [`Shard`] owns the connections of one worker. For each frame of a burst it parses the packet,
//! looks up its connection, tracks it or walks the rules, routes it, and decides its one [`Fate`]. Time ([`Tick`]), the
//! ruleset, the forwarding base and [`Entropy`] are arguments: nothing here reads a clock, a socket or a file, so every
//! run replays.
//!
//! Ownership: a shard is mutated by the one worker that owns it. Bounds: memory is taken when a shard is made; the packet
//! path does not allocate, block or panic.
#![deny(unsafe_code)]

mod address;
mod af_to;
mod bridge;
mod burst;
mod challenge;
mod counters;
mod crossings;
mod dynamic;
mod entropy;
mod eval;
pub mod events;
mod fate;
pub mod fib;
mod frame;
mod gateway;
mod hook;
mod intrinsics;
mod limiter;
mod log;
mod loss;
mod mirror;
mod normalize;
#[cfg(test)]
mod overload;
mod packet;
pub mod parse;
mod placement;
mod pool;
mod port_runs;
mod quick;
mod refuse;
mod renumber;
pub mod reply;
pub mod rewrite;
mod routing;
mod scrub;
mod shard;
mod source;
mod sources;
mod state;
mod synproxy;
mod tick;
pub mod trace;
pub mod track;
mod translate;
mod usage;
mod witness;
mod work;

pub use address::Address;
pub use counters::Counters;
pub use crossings::{Crossings, Verdict};
pub use entropy::Entropy;
pub use eval::{AddressCounts, Counted, Filtering, Root, RuleUsage};
pub use fate::{Arrival, Created, Custody, Errand, Fate, HANDOFFS_MAX, Source, WorkerId};
pub use fib::{Fib, InterfaceId};
pub use frame::{Frame, NoRoom, RxChecksum};
pub use log::LogRecord;
pub use loss::Losses;
pub use mirror::{COPIES_MAX, Copies, Unresolved};
pub use normalize::{FragmentCounts, Piece};
pub use packet::{Packet, Quoted, Transport, Tuple, Zone};
pub use parse::{NonIp, Parsed, parse};
pub use placement::Notice;
pub use shard::{BURST, Shard, ShardConfig, View};
pub use sources::{EndpointMapping, Flushes, NodeCounts, Overloaded};
pub use state::{AREAS, Area, Mapping, Selection, StatePool};
pub use tick::Tick;
pub use translate::Shortage;
pub use usage::UsageCursor;
pub use witness::{DropPlace, DropRecord, Head, Met, Misfit, RuleAt, Seen};
