//! `tpctl nat`: which addresses connections are translated to, and how many ports of each are in use.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::process::ExitCode;

use api::{InterfaceDrops, MappingCount};
use clap::Args;
use ruleset::Reason;
use serde::Serialize;
use wire::Proto;

use crate::live::Sockets;

#[derive(Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    addresses: Vec<OfAddress>,
    /// Packets dropped since the start for which no port or address was left.
    refused: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct OfAddress {
    address: IpAddr,
    /// Connections, each of which has a port or an identifier.
    connections: u64,
    tcp: u64,
    udp: u64,
    icmp: u64,
    other: u64,
}

impl Shown {
    fn new(mappings: &[MappingCount], drops: &[InterfaceDrops]) -> Self {
        let mut addresses: BTreeMap<IpAddr, OfAddress> = BTreeMap::new();
        for MappingCount { address, proto, connections } in mappings {
            let of = addresses.entry(*address).or_insert(OfAddress {
                address: *address,
                connections: 0,
                tcp: 0,
                udp: 0,
                icmp: 0,
                other: 0,
            });
            of.connections += connections;
            *match Proto(*proto) {
                Proto::TCP => &mut of.tcp,
                Proto::UDP => &mut of.udp,
                Proto::ICMP | Proto::ICMP6 => &mut of.icmp,
                _ => &mut of.other,
            } += connections;
        }
        let counts = drops.iter().flat_map(|at| &at.reasons);
        let refused =
            counts.filter(|count| count.reason == Reason::Translate).map(|count| count.packets).sum();
        Self { addresses: addresses.into_values().collect(), refused }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.addresses.is_empty() {
            writeln!(out, "no connection is translated to another source")?;
        } else {
            let [all, tcp, udp, icmp, other] = ["connections", "tcp", "udp", "icmp", "other"];
            writeln!(out, "{:<39} {all:>11} {tcp:>10} {udp:>10} {icmp:>10} {other:>10}", "address")?;
        }
        for OfAddress { address, connections, tcp, udp, icmp, other } in &self.addresses {
            let address = address.to_string();
            writeln!(out, "{address:<39} {connections:>11} {tcp:>10} {udp:>10} {icmp:>10} {other:>10}")?;
        }
        if self.refused > 0 {
            writeln!(
                out,
                "{} packets found no address or port since the start: tpctl drops --reason translate",
                self.refused
            )?;
        }
        Ok(())
    }
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let mut source = sockets.source()?;
    let shown = Shown::new(&source.mappings()?, &source.drops()?);
    let mut out = io::stdout().lock();
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &shown)?;
        writeln!(out)?;
    } else {
        shown.write(&mut out)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use api::ReasonCount;

    use super::*;

    fn mapping(address: &str, proto: u8, connections: u64) -> MappingCount {
        MappingCount { address: address.parse().expect("an address"), proto, connections }
    }

    #[test]
    fn addresses_have_a_line_each_and_exhaustion_is_told() {
        let mappings = [
            mapping("192.0.2.1", 1, 2),
            mapping("192.0.2.1", 6, 40_000),
            mapping("192.0.2.1", 47, 1),
            mapping("192.0.2.2", 17, 7),
        ];
        let drops = [InterfaceDrops {
            interface: "wan0".into(),
            reasons: vec![ReasonCount { reason: Reason::Translate, packets: 9 }],
        }];
        let mut text = Vec::new();
        Shown::new(&mappings, &drops).write(&mut text).expect("a Vec takes everything");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["192.0.2.1", "40003", "40000", "0", "2", "1"]);
        assert_eq!(lines[2], ["192.0.2.2", "7", "0", "7", "0", "0"]);
        assert!(text.contains("9 packets found no address or port"), "{text}");
        let mut none = Vec::new();
        Shown::new(&[], &[]).write(&mut none).expect("a Vec takes everything");
        assert_eq!(none, b"no connection is translated to another source\n");
    }
}
