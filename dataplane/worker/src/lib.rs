//! The DPDK shell around the engine: ports, host path, routes, workers, and the socket that control talks to.
#![deny(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the shell has clocks and threads; the engine has none")]

pub mod config;
pub mod netlink;
pub mod snapshot;
