//! A traffic generator and tester on DPDK, for machines without TRex.
//!
//! Overview: a [`profile::Profile`] says what traffic is; [`tester::Tester`] sends it between two ports and counts what
//! comes back; a trial's [`outcome::Outcome`] is reported, or guides a search. Life cycle: ports are opened once, trials
//! follow each other. Ownership: each [`side::Side`] is polled by one lcore; nothing is shared but counters for progress.
//! Bounds: memory follows from the profile's flows; sending, receiving and counting allocate nothing.
#![forbid(unsafe_code)]

pub mod end;
pub mod export;
pub mod flow;
pub mod frame;
pub mod mark;
pub mod neighbor;
pub mod order;
pub mod outcome;
pub mod pace;
pub mod ports;
pub mod profile;
pub mod rate;
pub mod report;
pub mod search;
pub mod side;
pub mod tester;
pub mod traffic;
