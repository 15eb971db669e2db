//! `tpctl pflog`: the packets that `log` rules record, as they happen.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use api::pflog::{self, LogEntry};
use clap::Args;
use ruleset::{Direction, Reason};

use crate::{live, output};

#[derive(Args)]
pub struct Arguments {
    /// Write pcap, as tcpdump -r reads it, to a file or, for -, to standard output: tpctl pflog -w - | tcpdump -ner -
    #[arg(short, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Line,
    Pcap,
}

/// Prints until it is ended, or until nobody reads any more.
pub fn run(arguments: &Arguments, socket: &Path) -> anyhow::Result<ExitCode> {
    let (form, out): (Form, Box<dyn Write>) = match &arguments.write {
        None => (Form::Line, Box::new(io::stdout().lock())),
        Some(path) if path.as_os_str() == "-" => (Form::Pcap, Box::new(io::stdout().lock())),
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            (Form::Pcap, Box::new(file))
        }
    };
    let client = live::connect(socket)?;
    let mut out = BufWriter::new(out);
    if form == Form::Pcap {
        out.write_all(&pflog::file_header()).context("cannot write the log")?;
    }
    let mut failure = None;
    client.logs(|entries| {
        let written = entries.iter().try_for_each(|entry| write_entry(&mut out, form, entry));
        // At once: whoever reads it wants to see what happens now.
        failure = written.and_then(|()| out.flush()).err();
        failure.is_none()
    })?;
    output::ended(failure, "the log")
}

fn write_entry(out: &mut dyn Write, form: Form, entry: &LogEntry) -> io::Result<()> {
    match form {
        Form::Line => writeln!(out, "{}", line(entry)),
        Form::Pcap => out.write_all(&pflog::record(entry)),
    }
}

/// An entry in tcpdump's words, its time in seconds since 1970-01-01 00:00 UTC.
fn line(entry: &LogEntry) -> String {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let rule = match entry.anchor {
        None => number(entry.rule),
        anchor => format!("{}.{}.{}", number(anchor), entry.ruleset, number(entry.rule)),
    };
    let reason = Reason::ALL.get(usize::from(entry.reason)).map_or("unknown", |reason| reason.name());
    let action = if entry.passed { "pass" } else { "block" };
    let direction = match entry.direction {
        Direction::In => "in",
        Direction::Out => "out",
    };
    format!(
        "{}.{:06} rule {rule}({reason}): {action} {direction} on {}: {} > {}: {}, length {}",
        entry.seconds,
        entry.nanoseconds / 1000,
        entry.interface,
        end(entry.source, entry.source_port),
        end(entry.destination, entry.destination_port),
        protocol(entry),
        entry.length,
    )
}

fn end(address: IpAddr, port: u16) -> String {
    if port == 0 { address.to_string() } else { format!("{address}.{port}") }
}

/// The protocol in the IP header: RFC 791 §3.1, RFC 8200 §3 (an extension header goes by its own number).
fn protocol(entry: &LogEntry) -> String {
    let place = if entry.source.is_ipv4() { 9 } else { 6 };
    match entry.bytes.get(place) {
        Some(1) => "icmp".into(),
        Some(6) => "tcp".into(),
        Some(17) => "udp".into(),
        Some(58) => "icmp6".into(),
        Some(number) => format!("proto {number}"),
        None => "truncated".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked() -> LogEntry {
        LogEntry {
            seconds: 1_700_000_000,
            nanoseconds: 1_999,
            interface: "lan0".into(),
            direction: Direction::In,
            passed: false,
            reason: 0,
            rule: Some(3),
            anchor: None,
            ruleset: String::new(),
            source: IpAddr::from([10, 2, 0, 2]),
            destination: IpAddr::from([10, 1, 0, 2]),
            source_port: 40_000,
            destination_port: 443,
            length: 60,
            bytes: vec![0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 6],
        }
    }

    #[test]
    fn an_entry_is_told_in_one_line() {
        assert_eq!(
            line(&blocked()),
            "1700000000.000001 rule 3(match): block in on lan0: 10.2.0.2.40000 > 10.1.0.2.443: tcp, length 60"
        );
        let anchored = LogEntry { anchor: Some(1), ruleset: "web".into(), ..blocked() };
        assert!(line(&anchored).contains(" rule 1.web.3(match): block"), "{}", line(&anchored));
        let source = "fe80::1".parse().unwrap();
        let destination = "ff02::1".parse().unwrap();
        let other = LogEntry {
            direction: Direction::Out,
            passed: true,
            reason: 8,
            rule: None,
            anchor: None,
            ruleset: String::new(),
            source,
            destination,
            source_port: 0,
            destination_port: 0,
            bytes: vec![0x60, 0, 0, 0, 0, 0, 58],
            ..blocked()
        };
        assert_eq!(
            line(&other),
            "1700000000.000001 rule -(ip-option): pass out on lan0: fe80::1 > ff02::1: icmp6, length 60"
        );
        let cut = LogEntry { bytes: vec![0x45], ..blocked() };
        assert!(line(&cut).ends_with(": truncated, length 60"));
    }
}
