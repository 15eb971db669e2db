//! Development only: what proves the engine.
//!
//! Overview: `oracle` is pf as pf does it, to be compared with the engine; [`duel`] feeds both the same packets, which
//! [`traffic`] makes up, and compares verdicts, replies and states. [`network`] is the other half: real TCP stacks on
//! simulated links with a [`firewall`] in between and a virtual clock. Everything random comes from one seed, and
//! [`replay`] tells how to see a failure again. [`playback`] sends captured packets through a firewall, which the program
//! `sim --pcap-dir` does with all captures of a folder.
//!
//! Bounds: nothing here is in the product, and nothing in the product depends on it.
#![forbid(unsafe_code)]

pub mod capture;
pub mod duel;
pub mod firewall;
pub mod host;
pub mod link;
pub mod network;
pub mod oracle;
pub mod playback;
pub mod program;
pub mod replay;
pub mod rng;
pub mod sketch;
pub mod topology;
pub mod traffic;
