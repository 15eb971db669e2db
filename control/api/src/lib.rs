//! What control, tpctl and the dataplane say to each other.
//!
//! Overview: a client connects to the dataplane's Unix socket, both sides say [`Hello`], then the client sends
//! [`Request`]s and reads [`Response`]s, one after the other. Everything is a frame: a length of four bytes, little
//! endian, then so many bytes of postcard. [`Client`] is the blocking client; [`codec`] is what both sides frame with.
//!
//! [`control`] is the other API: that of turnpike-control, HTTP and JSON, with its client [`Control`].
//!
//! Life cycle: a connection serves any number of requests and ends when either side closes it. Ownership: the dataplane
//! trusts nothing that it reads. Bounds: [`codec::Limit`]; longer frames are refused before memory is taken for them.
#![forbid(unsafe_code)]

mod access;
mod client;
pub mod codec;
pub mod control;
mod distribution;
mod drops;
mod events;
mod flood;
mod kept;
pub mod lockout;
#[cfg(feature = "logging")]
pub mod logging;
mod message;
pub mod pflog;
mod route;
pub mod sessions;
mod settings;
mod trace;
mod usage;

pub use access::{Access, GROUP};
pub use client::{Client, Error};
pub use control::{Control, ControlError};
pub use distribution::{BURST_BOUNDS, Distribution, LATENCY_BOUNDS_NS};
pub use drops::{
    Clause, DropExample, DropQuery, DropReport, HookView, InterfaceDrops, Misfit, MisfitView, PacketView,
    PeerMet, ReasonCount, RuleDrops, SeenPacket, TcpView,
};
pub use events::{EventBatch, EventKind, EventQuery, EventView, ShortageView};
pub use flood::FloodStatus;
pub use kept::{FragmentStatus, LimitCount, SourceStatus};
pub use lockout::Cut;
pub use message::{
    Candidate, Conservation, Counts, CreatedCount, DeviceStatus, Filtering, Hello, Info, InterfaceInfo,
    InterfacePlace, InterfaceStatus, Judged, LinkStatus, LiveRules, Logged, MAGIC, PoolStatus, Request,
    RequestBody, Response, ResponseBody, Reviewed, Status, VERSION, WorkerStatus,
};
pub use route::{NeighborView, NextHopView, RouteKind, RouteTo, RouteView};
pub use ruleset::LogLevel;
pub use settings::{CONTROL_KEYS, IPFIX_KEYS, Key};
pub use trace::{
    HookTrace, Meeting, TRACE_COUNT_MAX, TRACE_SECONDS_MAX, TraceAsks, TraceEnds, TraceFate, TraceQuery,
    TraceTerm, TraceView,
};
pub use usage::{
    AddressCounts, EndpointMapping, Hooks, LiveUsage, MappingCount, Process, RuleUsage, Traffic, Verdicts,
};
