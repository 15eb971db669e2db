//! The machine that a ruleset is read on: its files, its names and its interfaces, or those of a description.

use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use pfconf::{Config, Diagnostics, Dialect, Host, Interfaces};
use ruleset::RoutingTable;

/// Files and names of this system, interfaces of this system or of a file.
pub struct Machine {
    interfaces: Interfaces,
    /// No name server is asked.
    numeric: bool,
    /// It is this system.
    here: bool,
}

impl Machine {
    /// With the interfaces of `file` (the output of `ip -j addr`), else with those of the system.
    pub fn new(file: Option<&PathBuf>) -> anyhow::Result<Self> {
        let (text, source) = match file {
            Some(path) => {
                let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
                (text, path.display().to_string())
            }
            None => (system_interfaces()?, "ip -j addr".to_owned()),
        };
        let interfaces = Interfaces::from_json(&text)
            .with_context(|| format!("{source}: not of the form of ip -j addr"))?;
        Ok(Self { interfaces, numeric: false, here: file.is_none() })
    }

    /// With no interfaces at all.
    pub fn without_interfaces() -> Self {
        Self { interfaces: Interfaces::default(), numeric: false, here: false }
    }

    /// The same, but that no host has a name, except for localhost.
    pub fn without_names(self) -> Self {
        Self { numeric: true, ..self }
    }

    /// True if it is known that a routing table has no routes: that of this system, asked by ip(8).
    pub fn lacks_routes(&self, table: RoutingTable) -> bool {
        let empty = |family: &str| {
            let arguments = ["-j", family, "route", "show", "table", &table.to_string()];
            let output = Command::new("ip").args(arguments).output().ok()?;
            // Who asks for a table that there is not is told so by failing.
            let routes = serde_json::from_slice::<Vec<serde_json::Value>>(&output.stdout);
            Some(routes.map_or(!output.status.success(), |routes| routes.is_empty()))
        };
        self.here && ["-4", "-6"].into_iter().all(|family| empty(family) == Some(true))
    }

    /// The interfaces.
    pub fn into_interfaces(self) -> Interfaces {
        self.interfaces
    }
}

/// What `ip -j addr` prints on this system.
pub fn system_interfaces() -> anyhow::Result<String> {
    let output = Command::new("ip")
        .args(["-j", "addr"])
        .output()
        .context("cannot ask ip(8) for the interfaces: install iproute2, or give --interfaces FILE")?;
    if !output.status.success() {
        bail!("ip -j addr: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Host for Machine {
    fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let fixed = pfconf::localhost(name);
        if !fixed.is_empty() || self.numeric {
            return fixed;
        }
        let found = (name, 0).to_socket_addrs();
        let mut addresses: Vec<IpAddr> = found.into_iter().flatten().map(|socket| socket.ip()).collect();
        addresses.dedup();
        addresses
    }
}

/// Reads a ruleset, in the dialect that it uses if none is given.
pub fn parse(
    host: &dyn Host,
    dialect: Option<Dialect>,
    name: &str,
    text: &str,
    definitions: &[(String, String)],
) -> (Config, Diagnostics) {
    match dialect {
        Some(dialect) => pfconf::read_as(dialect, host, name, text, definitions),
        None => pfconf::read(host, name, text, definitions),
    }
}

/// A ruleset's name in findings, and its text; `-` is standard input.
pub fn read_ruleset(path: &str) -> io::Result<(&str, String)> {
    if path != "-" {
        return Ok((path, String::from_utf8_lossy(&std::fs::read(path)?).into_owned()));
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(("stdin", String::from_utf8_lossy(&bytes).into_owned()))
}
