//! Bytes ⇄ headers, and checksums.
//!
//! # Overview
//! One module per protocol, each with the same three things: `Header`, the fixed part as a table of typed fields over
//! borrowed bytes; a parsed view (`Frame`, `Packet`, `Segment`, `Datagram`, `Message`) whose `parse` is the door for
//! untrusted bytes; and `Repr`, an owned value with `emit`, where `parse(emit(x)) == x`. Byte order ends here.
//!
//! # Ownership
//! Views borrow the frame; nothing is copied, allocated or kept. Setters store one field. Where a checksum must follow,
//! the method is called `rewrite_…`, and says which checksum it carries along.
//!
//! # Bounds
//! No input makes this crate panic or read outside the slice that it was given: indexing, unwrapping and overflowing
//! arithmetic are compile errors below. Every loop ends after at most as many steps as there are octets, and the walk
//! over IPv6 extension headers after [`ipv6::EXTENSIONS_MAX`].
#![no_std]
#![forbid(unsafe_code)]
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod area;
pub mod arp;
pub mod checksum;
#[cfg(feature = "corpus")]
pub mod corpus;
mod error;
pub mod ethernet;
mod field;
mod fragment;
mod icmp;
pub mod icmp4;
pub mod icmp6;
mod ip_option;
pub mod ipv4;
pub mod ipv6;
pub mod quote;
pub mod sctp;
pub mod tcp;
mod types;
pub mod udp;

pub use checksum::Checksum;
pub use error::Error;
pub use fragment::Fragment;
pub use ip_option::IpOptions;
pub use types::{Af, EtherType, Mac, Port, Proto, Seq, TcpFlags};
