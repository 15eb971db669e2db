//! What a ruleset asks of the machine: files that it includes, names that it resolves, interfaces and their addresses.

use std::io;
use std::net::IpAddr;

use crate::interfaces::Interfaces;

/// The machine, as the language sees it: an argument, so that a ruleset can be compiled anywhere.
pub trait Host {
    /// The interfaces, for names in place of addresses.
    fn interfaces(&self) -> &Interfaces;

    /// A file's text, for `include`, `load anchor` and `table … file`.
    ///
    /// # Errors
    /// What the system says.
    fn read(&self, path: &str) -> io::Result<String>;

    /// Every address of a DNS name; none if it is unknown.
    fn resolve(&self, name: &str) -> Vec<IpAddr>;
}

/// A machine without files and DNS: only `localhost` resolves.
#[derive(Clone, Copy, Debug)]
pub struct Isolated<'a>(pub &'a Interfaces);

impl Host for Isolated<'_> {
    fn interfaces(&self) -> &Interfaces {
        self.0
    }

    fn read(&self, _: &str) -> io::Result<String> {
        Err(io::Error::new(io::ErrorKind::NotFound, "No such file or directory"))
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        localhost(name)
    }
}

/// The addresses of `localhost` (RFC 6761 §6.3), none for any other name.
pub fn localhost(name: &str) -> Vec<IpAddr> {
    match name {
        "localhost" => {
            vec![IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)]
        }
        _ => Vec::new(),
    }
}
