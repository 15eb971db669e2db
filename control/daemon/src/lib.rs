//! The control process: it compiles pf.conf, makes it live as one transaction, keeps revisions, and answers operators.
//!
//! Overview: [`committer`] is one thread that owns the dataplane's rules, its [`tables`] and the [`revisions`] on disk; every change goes
//! through it, one after the other, and what it knows is published as a [`View`]. [`server`] answers HTTP on a Unix socket
//! for `tpctl` and on TCP for Prometheus; what it asks of the dataplane itself goes through one [`collector`]. [`pflog`] keeps
//! what `log` rules record, [`ipfix`] exports states as flows.
//!
//! Life cycle: at the start, and whenever the dataplane comes back, it attaches to the live ruleset, or loads the last
//! good revision, or else the built-in [`policy`]. It may die at any time: the dataplane forwards on, and the next start
//! finds what is live. Ownership: the committer alone changes anything; everyone else reads snapshots. Bounds: clients,
//! bodies, waiting requests and listings at once are limited by the constants of [`server`] and [`committer`].
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "a shell: it has clocks and threads")]

pub mod collector;
pub mod committer;
pub mod compile;
pub mod difference;
pub mod digest;
pub mod ipfix;
mod listener;
pub mod metrics;
pub mod names;
pub mod pflog;
pub mod policy;
pub mod privileges;
pub mod revisions;
pub mod run;
pub mod server;
pub mod settings;
pub mod tables;
mod view;

pub use view::{View, Watch};
