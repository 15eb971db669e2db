//! Development only: what proves the engine.
//!
//! Overview: `oracle` is pf as pf does it, to be compared with the engine.
#![forbid(unsafe_code)]

pub mod oracle;
