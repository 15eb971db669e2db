//! `tpctl nat`: which addresses connections are translated to, how many ports of each are in use, and of each block of ports.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddrV4};
use std::process::ExitCode;

use anyhow::Context;
use api::{EndpointMapping, InterfaceDrops, MappingCount};
use clap::Args;
use ruleset::{PortBlock, Reason, Ruleset, protocol_name};
use serde::Serialize;
use wire::{Port, Proto};

use crate::live::Sockets;

#[derive(Args)]
pub struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Whose block of ports this one is in, as 192.0.2.1:4000
    #[arg(long, value_name = "ADDRESS:PORT")]
    who: Option<SocketAddrV4>,
    /// Every endpoint inside that has one outside, whoever it speaks to (endpoint-independent), and which that is
    #[arg(long, conflicts_with = "who")]
    endpoints: bool,
}

/// What is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Shown {
    addresses: Vec<OfAddress>,
    /// Blocks of ports that have connections, or have refused some.
    blocks: Vec<OfBlock>,
    /// Packets dropped since the start for which no port or address was left.
    refused: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct OfAddress {
    address: IpAddr,
    #[serde(flatten)]
    counts: OfProtocols,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct OfBlock {
    #[serde(flatten)]
    block: PortBlock,
    #[serde(flatten)]
    counts: OfProtocols,
    /// Packets of late that found no port left in it.
    exhausted: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct OfProtocols {
    /// Connections, each of which has a port or an identifier.
    connections: u64,
    tcp: u64,
    udp: u64,
    icmp: u64,
    other: u64,
}

impl OfProtocols {
    fn add(&mut self, proto: u8, connections: u64) {
        self.connections += connections;
        *match Proto(proto) {
            Proto::TCP => &mut self.tcp,
            Proto::UDP => &mut self.udp,
            Proto::ICMP | Proto::ICMP6 => &mut self.icmp,
            _ => &mut self.other,
        } += connections;
    }
}

/// The columns of counts.
impl fmt::Display for OfProtocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, tcp, udp, icmp, other } = self;
        write!(f, "{connections:>11} {tcp:>10} {udp:>10} {icmp:>10} {other:>10}")
    }
}

impl Shown {
    fn new(mappings: &[MappingCount], drops: &[InterfaceDrops]) -> Self {
        let mut addresses: BTreeMap<IpAddr, OfProtocols> = BTreeMap::new();
        let mut blocks: BTreeMap<PortBlock, OfBlock> = BTreeMap::new();
        for MappingCount { address, proto, connections, block, refused } in mappings {
            if *connections > 0 {
                addresses.entry(*address).or_default().add(*proto, *connections);
            }
            if let Some(block) = *block {
                let counts = OfProtocols::default();
                let of = blocks.entry(block).or_insert(OfBlock { block, counts, exhausted: 0 });
                of.counts.add(*proto, *connections);
                of.exhausted += refused;
            }
        }
        let counts = drops.iter().flat_map(|at| &at.reasons);
        let refused =
            counts.filter(|count| count.reason == Reason::Translate).map(|count| count.packets).sum();
        let addresses = addresses.into_iter().map(|(address, counts)| OfAddress { address, counts });
        Self { addresses: addresses.collect(), blocks: blocks.into_values().collect(), refused }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let [all, tcp, udp, icmp, other] = ["connections", "tcp", "udp", "icmp", "other"];
        let columns = format!("{all:>11} {tcp:>10} {udp:>10} {icmp:>10} {other:>10}");
        if self.addresses.is_empty() {
            writeln!(out, "no connection is translated to another source")?;
        } else {
            writeln!(out, "{:<39} {columns}", "address")?;
        }
        for OfAddress { address, counts } in &self.addresses {
            let address = address.to_string();
            writeln!(out, "{address:<39} {counts}")?;
        }
        if !self.blocks.is_empty() {
            writeln!(out, "{:<15} {:<15} {:<11} {columns} {:>9}", "source", "address", "ports", "exhausted")?;
        }
        for OfBlock { block: PortBlock { subscriber, address, first, last }, counts, exhausted } in
            &self.blocks
        {
            let (source, address) = (subscriber.to_string(), address.to_string());
            let ports = format!("{}:{}", first.0, last.0);
            writeln!(out, "{source:<15} {address:<15} {ports:<11} {counts} {exhausted:>9}")?;
        }
        if self.refused > 0 {
            let packets = if self.refused == 1 { "packet" } else { "packets" };
            writeln!(
                out,
                "{} {packets} found no address or port since the start: tpctl drops --reason translate",
                self.refused
            )?;
        }
        Ok(())
    }
}

/// Whose a port of an address is, which rules alone decide.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Holder {
    block: Option<PortBlock>,
}

impl Holder {
    fn among(ruleset: &Ruleset, asked: &SocketAddrV4) -> Self {
        let all = ruleset.port_blocks();
        Self { block: all.iter().find_map(|blocks| blocks.holder(*asked.ip(), Port(asked.port()))) }
    }

    fn write(&self, asked: &SocketAddrV4, out: &mut dyn Write) -> io::Result<()> {
        match &self.block {
            Some(PortBlock { subscriber, address, first, last }) => {
                writeln!(out, "{subscriber} has ports {} to {} of {address}", first.0, last.0)
            }
            None => writeln!(out, "no rule gives anybody a block that {asked} is in"),
        }
    }
}

/// The endpoints that have one outside, a line each.
fn write_endpoints(all: &[EndpointMapping], out: &mut dyn Write) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "no endpoint has one outside that does not depend on the remote end");
    }
    writeln!(out, "{:<8} {:<47} {:<47} {:>6}", "protocol", "inside", "outside", "states")?;
    for EndpointMapping { proto, inside, outside, states } in all {
        let proto = protocol_name(Proto(*proto)).map_or_else(|| proto.to_string(), str::to_owned);
        let (inside, outside) = (inside.to_string(), outside.to_string());
        writeln!(out, "{proto:<8} {inside:<47} {outside:<47} {states:>6}")?;
    }
    Ok(())
}

pub fn run(arguments: &Arguments, sockets: &Sockets) -> anyhow::Result<ExitCode> {
    let mut source = sockets.source()?;
    if let Some(asked) = &arguments.who {
        let live = source.ruleset()?.context("no ruleset is live")?;
        let holder = Holder::among(&live.ruleset, asked);
        let mut out = io::stdout().lock();
        match arguments.json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&holder)?)?,
            false => holder.write(asked, &mut out)?,
        }
        return Ok(if holder.block.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if arguments.endpoints {
        let mut all = source.endpoint_mappings()?;
        all.sort_unstable();
        let mut out = io::stdout().lock();
        match arguments.json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?,
            false => write_endpoints(&all, &mut out)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
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
        let address = address.parse().expect("an address");
        MappingCount { address, proto, connections, block: None, refused: 0 }
    }

    #[test]
    fn addresses_have_a_line_each_and_exhaustion_is_told() {
        let mappings = [
            mapping("192.0.2.1", 1, 2),
            mapping("192.0.2.1", 6, 40_000),
            mapping("192.0.2.1", 47, 1),
            mapping("192.0.2.2", 17, 7),
        ];
        let told = |packets| {
            let reasons = vec![ReasonCount { reason: Reason::Translate, packets }];
            let drops = [InterfaceDrops { interface: "wan0".into(), reasons }];
            let mut text = Vec::new();
            Shown::new(&mappings, &drops).write(&mut text).expect("a Vec takes everything");
            String::from_utf8(text).expect("text")
        };
        let text = told(9);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["192.0.2.1", "40003", "40000", "0", "2", "1"]);
        assert_eq!(lines[2], ["192.0.2.2", "7", "0", "7", "0", "0"]);
        assert!(text.contains("\n9 packets found no address or port"), "{text}");
        assert!(told(1).contains("\n1 packet found no address or port"));
        let mut none = Vec::new();
        Shown::new(&[], &[]).write(&mut none).expect("a Vec takes everything");
        assert_eq!(none, b"no connection is translated to another source\n");
    }

    #[test]
    fn blocks_have_a_line_each_with_what_they_refused() {
        let block = |last: u8, first| PortBlock {
            subscriber: IpAddr::from([10, 0, 0, last]),
            address: IpAddr::from([192, 0, 2, 1]),
            first: Port(first),
            last: Port(first + 511),
        };
        let of = |block, proto, connections, refused| MappingCount {
            block: Some(block),
            refused,
            ..mapping("192.0.2.1", proto, connections)
        };
        let mappings = [
            of(block(5, 1024), 6, 512, 30),
            of(block(5, 1024), 17, 8, 1),
            of(block(6, 1536), 17, 2, 0),
            // What was exhausted on the whole is no block's.
            MappingCount { refused: 7, ..mapping("192.0.2.9", 6, 0) },
        ];
        let mut text = Vec::new();
        Shown::new(&mappings, &[]).write(&mut text).expect("a Vec takes everything");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["192.0.2.1", "522", "512", "10", "0", "0"]);
        assert_eq!(lines[2].last(), Some(&"exhausted"));
        assert_eq!(lines[3], ["10.0.0.5", "192.0.2.1", "1024:1535", "520", "512", "8", "0", "0", "31"]);
        assert_eq!(lines[4], ["10.0.0.6", "192.0.2.1", "1536:2047", "2", "0", "2", "0", "0", "0"]);
        assert_eq!(lines.len(), 5);
        let json = serde_json::to_value(Shown::new(&mappings, &[])).expect("JSON");
        assert_eq!(
            (&json["blocks"][0]["subscriber"], &json["blocks"][0]["tcp"]),
            (&"10.0.0.5".into(), &512.into())
        );
    }

    #[test]
    fn endpoints_have_a_line_each() {
        let mapping = |proto, host: u8, port: u16| EndpointMapping {
            proto,
            inside: ([10, 0, 0, host], 4000).into(),
            outside: ([192, 0, 2, 1], port).into(),
            states: 2,
        };
        let mut text = Vec::new();
        write_endpoints(&[mapping(17, 5, 50_001), mapping(6, 6, 50_002)], &mut text)
            .expect("a Vec takes everything");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["udp", "10.0.0.5:4000", "192.0.2.1:50001", "2"]);
        assert_eq!(lines[2], ["tcp", "10.0.0.6:4000", "192.0.2.1:50002", "2"]);
        let mut none = Vec::new();
        write_endpoints(&[], &mut none).expect("a Vec takes everything");
        assert_eq!(none, b"no endpoint has one outside that does not depend on the remote end\n");
    }

    #[test]
    fn whose_a_port_is_is_known_without_a_log() {
        let rules = pfconf::compile(
            "match out on wan0 inet from 10.0.0.0/24 nat-to 192.0.2.0/31 port-block 504\npass\n",
            &pfconf::Interfaces::default(),
        )
        .expect("rules");
        let told = |asked: &str| {
            let asked = asked.parse().expect("an address and a port");
            let mut text = Vec::new();
            Holder::among(&rules, &asked).write(&asked, &mut text).expect("a Vec takes everything");
            String::from_utf8(text).expect("text")
        };
        assert_eq!(told("192.0.2.1:2000"), "10.0.0.129 has ports 1528 to 2031 of 192.0.2.1\n");
        assert_eq!(told("192.0.2.2:2000"), "no rule gives anybody a block that 192.0.2.2:2000 is in\n");
    }
}
