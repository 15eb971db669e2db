//! Measures the packet path beside its floors, without a NIC.
//!
//! Overview: a [`bed`] models a NIC: mbufs are allocated, filled with headers, worked on, sent and freed. What is done
//! between is either a [`floor`], the least that any stateful forwarder does, or the [`firewall`], the engine as the
//! dataplane runs it. [`measure`] takes both in turn and believes only what the machine's noise leaves comparable.
//! Life cycle: one process measures everything and exits. Ownership: one thread, pinned by EAL.
//! Bounds: memory by the largest number of connections asked for, about 500 bytes each.
#![forbid(unsafe_code)]

pub mod adversary;
pub mod appliance;
pub mod bed;
pub mod budget;
pub mod calibration;
pub mod classbench;
pub mod firewall;
pub mod floor;
pub mod flows;
pub mod instructions;
pub mod measure;
pub mod memory;
pub mod network;
pub mod pair;
pub mod plan;
pub mod plot;
pub mod report;
pub mod rules;
pub mod setup;
pub mod stages;
pub mod testpmd;
pub mod traffic;
pub mod whole;
