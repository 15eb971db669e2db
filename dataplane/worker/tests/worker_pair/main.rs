//! Two workers on the same ports, which are rings in this process: whichever queue a packet arrives at, the worker that
//! owns its flow forwards it, in order, and every packet and mbuf is accounted for.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

mod bed;
mod fragments;
mod handoff;
mod lists;
mod relief;
mod reload;
mod translation;
