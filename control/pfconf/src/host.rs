//! What a ruleset asks of the machine: files that it includes, names that it resolves, interfaces and their addresses.

use std::cell::RefCell;
use std::collections::BTreeMap;
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

/// A machine that keeps what it was asked for, so that the ruleset can be read again where neither its files nor its names
/// are known.
pub struct Recorder<'a> {
    host: &'a dyn Host,
    files: RefCell<BTreeMap<String, String>>,
    names: RefCell<BTreeMap<String, Vec<IpAddr>>>,
}

impl<'a> Recorder<'a> {
    /// Nothing is recorded yet.
    pub fn new(host: &'a dyn Host) -> Self {
        Self { host, files: RefCell::default(), names: RefCell::default() }
    }

    /// The texts of files, by path, and the addresses of names.
    pub fn into_recorded(self) -> (BTreeMap<String, String>, BTreeMap<String, Vec<IpAddr>>) {
        (self.files.into_inner(), self.names.into_inner())
    }
}

impl Host for Recorder<'_> {
    fn interfaces(&self) -> &Interfaces {
        self.host.interfaces()
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let text = self.host.read(path)?;
        self.files.borrow_mut().insert(path.to_owned(), text.clone());
        Ok(text)
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let addresses = self.host.resolve(name);
        self.names.borrow_mut().insert(name.to_owned(), addresses.clone());
        addresses
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
