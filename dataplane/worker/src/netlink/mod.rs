//! What the kernel knows of links, addresses, routes and neighbours, as forwarding bases for the workers.
//!
//! Overview: [`event`] turns the kernel's messages into events, [`model`] applies them and builds an [`engine::fib::Fib`],
//! both pure; [`socket`] talks to the kernel, [`listeners`] asks it who listens on the host, [`service`] is the thread that ties
//! them together, and [`guard`] keeps the kernel from forwarding anything itself.
//!
//! Life cycle: subscribe, dump everything, then apply events as they come; when the kernel had to drop some, dump again.
//! Ownership: the service thread owns the model; workers only ever see finished snapshots. Bounds: the kernel's own tables
//! bound the model; a burst of events makes one snapshot.

pub mod event;
pub mod guard;
pub mod listeners;
pub mod model;
pub mod service;
pub mod socket;
