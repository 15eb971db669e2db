//! The dataplane's socket: where rules come in and what is known goes out.
//!
//! Overview: [`server`] accepts clients and frames their requests, [`api::Access`] says who may, [`rules`] makes a ruleset the
//! live one, [`desk`] answers everything, [`journal`] passes on what `log` rules record. Ownership: plain threads, one for each client, none of them a worker's.
//! Bounds: [`server::CLIENTS_MAX`] clients; one large request at a time; every frame has a deadline.

pub mod desk;
pub mod journal;
mod routes;
pub mod rules;
pub mod server;
