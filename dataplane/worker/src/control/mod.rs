//! The dataplane's socket: where rules come in and what is known goes out.
//!
//! Overview: [`server`] accepts clients and frames their requests, [`api::Access`] says who may, [`rules`] makes a ruleset the
//! live one, [`desk`] answers everything, `change` does what else is asked, [`journal`] passes on
//! what `log` rules record, `drops` tells what was dropped, out of `history` and `examples`, `traces` what becomes of packets,
//! `listen` what happens to states, `sources` what sources have. Ownership: plain threads, one for each client, none of them a worker's.
//! Bounds: [`server::CLIENTS_MAX`] clients; one large request at a time; every frame has a deadline.

mod change;
pub mod desk;
mod drops;
mod examples;
mod history;
pub mod journal;
mod ledger;
mod listen;
pub mod readers;
mod routes;
pub mod rules;
pub mod server;
mod sources;
mod traces;
