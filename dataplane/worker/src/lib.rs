//! The DPDK shell around the engine: ports, host path, routes, workers, and the socket that control talks to.
#![deny(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the shell has clocks and threads; the engine has none")]

pub mod ahead;
pub mod claim;
pub mod clock;
pub mod config;
pub mod control;
pub mod copy;
pub mod dataplane;
pub mod devices;
pub mod dump;
pub mod frame;
pub mod handoff;
pub mod hold;
pub mod idle;
pub mod keeper;
pub mod link;
pub mod log;
pub mod mail;
pub mod memory;
pub mod netlink;
pub mod notify;
pub mod outlet;
pub mod ports;
pub mod privileges;
pub mod random;
pub mod relief;
pub mod snapshot;
pub mod span;
pub mod stall;
pub mod telemetry;
pub mod verbosity;
pub mod vlan;
pub mod wait;
pub mod worker;
