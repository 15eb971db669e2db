//! Development only: what proves the engine.
//!
//! Overview: `oracle` is pf as pf does it, to be compared with the engine; [`duel`] feeds both the same packets, which
//! [`traffic`] makes up, and compares verdicts, replies and states. Everything random comes from one seed, and [`replay`]
//! tells how to see a failure again.
//!
//! Bounds: nothing here is in the product, and nothing in the product depends on it.
#![forbid(unsafe_code)]

pub mod duel;
pub mod firewall;
pub mod oracle;
pub mod replay;
pub mod rng;
pub mod sketch;
pub mod topology;
pub mod traffic;
