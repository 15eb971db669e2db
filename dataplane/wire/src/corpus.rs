//! One frame of every kind, right and wrong ones: the common ground of all tests that need packets.
//!
//! Not part of the product: behind the feature `corpus`, and with allocation. Everything is built by the `emit`s of this
//! crate, between the documentation addresses of RFC 5737 and RFC 3849, and is the same in every run.
#![allow(clippy::expect_used, reason = "a corpus that cannot be built must stop the tests")]

extern crate alloc;

pub mod build;
mod dissect;
mod icmp;
mod ip;
mod link;
mod malformed;
mod transport;

use alloc::vec::Vec;

pub use dissect::{Dissected, Network, Upper, dissect};
pub use malformed::malformed;

/// A frame, and what is in it.
pub type Named = (&'static str, Vec<u8>);

/// One well-formed frame of every kind, each under its own name; [`dissect()`] accepts them all.
pub fn packets() -> Vec<Named> {
    [
        link::packets(),
        ip::ipv4_packets(),
        ip::ipv6_packets(),
        transport::packets(),
        icmp::packets4(),
        icmp::packets6(),
    ]
    .concat()
}
