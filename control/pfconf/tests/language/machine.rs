//! A machine for rulesets to be read on.

use pfconf::{Config, Diagnostics, Interfaces, Isolated};

/// The name under which texts are read.
pub const FILE: &str = "pf.conf";

/// A loopback, an uplink with both families, a network, an empty interface, a point-to-point link.
pub fn interfaces() -> Interfaces {
    Interfaces::from_json(include_str!("../interfaces.json")).expect("of the form of ip -j addr")
}

/// Reads a text on that machine.
pub fn read(text: &str) -> (Config, Diagnostics) {
    pfconf::read(&Isolated(&interfaces()), FILE, text, &[])
}
