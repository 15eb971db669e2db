//! End-to-end beds: a client and a server in network namespaces of their own, real Linux stacks and real tools on both,
//! and a running dataplane between them.
//!
//! Overview: a [`Lab`] is one bed, built on [`Namespace`]s and [`Daemon`]s; the demonstration (`deploy/run`) and every test
//! use it. Life cycle: whatever a lab made is gone when it is dropped, also after a panic; a lab that finds the remains of
//! an interrupted one removes them first. Ownership: one process a lab. Bounds: every wait has an end.
#![forbid(unsafe_code)]
// Beds live in real time: clocks and threads belong here.
#![allow(clippy::disallowed_methods)]

mod bed;
mod capture;
mod control;
mod daemon;
mod drops;
pub mod frames;
mod lab;
mod namespace;
mod programs;
mod prometheus;
pub mod relay;
pub mod routes;
mod server;
mod shape;
pub mod sockets;
pub mod transfer;
mod vlans;
pub mod workers;

pub use bed::{bed, bridged_bed};
pub use capture::Capture;
pub use control::{Control, Metrics};
pub use daemon::{Daemon, PATIENCE, wait_until};
pub use drops::Drops;
pub use lab::{Lab, Links, PREFIX, Ports};
pub use namespace::{Namespace, Output, run};
pub use programs::{installed, program, scratch};
pub use prometheus::Prometheus;
pub use server::WebServer;
pub use shape::{Shape, Span};
pub use vlans::Vlans;
