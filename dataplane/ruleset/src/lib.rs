//! The contract between the planes: what control compiles and the dataplane enforces.
//!
//! Overview: a [`Ruleset`] is an immutable value: ordered rules, tables, options, timeouts and limits, as pf.conf(5)
//! means them after macros and lists are expanded. Control builds it, sends it, and the dataplane validates it
//! ([`Ruleset::validate`]) before compiling its own lookup structures: it never trusts the sender.
//! This crate also holds the tables that both planes speak of: drop [`Reason`]s, [`Timeout`]s, [`Limit`]s, and
//! [`StateView`], a state as pfctl prints it.
//!
//! Life cycle: built at each load, shared by reference, never changed. Ownership: nobody mutates. Bounds: the constants
//! in [`bounds`].
#![forbid(unsafe_code)]

mod address;
mod anchor;
mod block;
mod fingerprint;
mod flow;
mod interface;
mod level;
mod limit;
mod lpm;

mod options;
mod pool;
mod port_set;
mod reason;
mod removal;
mod routing;
mod rule;
mod selector;
mod set;
mod source;

mod table;
mod timeout;
mod tunable;
mod view;

pub use address::{AddressMatch, AddressPattern, Endpoint, InterfacePart, PortMatch};
pub use anchor::{Call, RulePlace};
pub use block::{PortBlock, PortBlocks};
pub use fingerprint::{Fingerprint, NumberMatch, SynOption, SynShape, UNKNOWN_OS, WindowMatch};
pub use flow::{Flow, Moment, Ruling};
pub use interface::{InterfaceMatch, InterfacePattern};
pub use level::LogLevel;
pub use limit::{Limit, Limits};
pub use lpm::Lpm;

pub use options::{BlockPolicy, Options, Reassemble, StatePolicy, Syncookies};
pub use pool::{NAT64_LENGTHS, Pool, PoolKind};
pub use port_set::PortSet;
pub use reason::{REASON_COUNT, Reason};
pub use removal::Removal;
pub use routing::{Gateway, Routing, RoutingKind, RoutingTable};
pub use rule::{
    Action, BlockReply, Direction, FirstMatch, FlagsMatch, IcmpMatch, IcmpReply, LogOptions, PRIO_MAX,
    PacketRate, Rule, Scrub, SetPrio, SourceLine, StateMode, StateOptions, TagMatch, Translating,
};

pub use selector::StateSelector;
pub use set::{Invalid, Ruleset, bounds};
pub use source::{
    Flush, LIMIT_HITS, LimitHit, NodeKind, Overload, SourceSelector, SourceTracking, SourceView, Tracking,
};
pub use table::{Table, TableContents, TableEdit, TableEntry, ZeroCounts};
pub use timeout::{TIMEOUT_COUNT, Timeout, Timeouts, adaptive_thresholds};
pub use view::{PeerState, PeerView, StateView, TupleEnd, protocol_name};
