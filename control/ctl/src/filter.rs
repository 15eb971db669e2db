//! Filters of packets and of states: a few conditions, all of which must hold, in tcpdump's words: `host 10.1.0.2 and tcp port
//! 80`, `src net 10.0.0.0/8 and not port 53`, `on wan0 and icmp`.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use api::{TraceAsks, TraceEnds, TraceTerm};
use ipnet::IpNet;

/// The conditions that these words say.
pub fn terms(words: &[String]) -> anyhow::Result<Vec<TraceTerm>> {
    let text = words.join(" ");
    read(&text).with_context(|| format!("the filter `{text}`"))
}

fn read(text: &str) -> anyhow::Result<Vec<TraceTerm>> {
    let mut words = text.split_whitespace().peekable();
    let mut terms: Vec<TraceTerm> = Vec::new();
    while let Some(mut word) = words.next() {
        if word == "and" && !terms.is_empty() {
            word = words.next().context("expected a condition behind `and`")?;
        }
        let not = matches!(word, "not" | "!");
        if not {
            word = words.next().context("expected a condition behind `not`")?;
        }
        let ends = match word {
            "src" => TraceEnds::Source,
            "dst" => TraceEnds::Destination,
            _ => TraceEnds::Any,
        };
        if ends != TraceEnds::Any {
            word = words.next().context("expected host, net or port behind `src` and `dst`")?;
        }
        let mut value = |of: &str| words.next().with_context(|| format!("expected a value behind `{of}`"));
        let asks = match word {
            "host" => {
                let address: IpAddr = value(word)?.parse().context("`host` takes an address")?;
                TraceAsks::Net(address, if address.is_ipv4() { 32 } else { 128 })
            }
            "net" => {
                let net: IpNet = value(word)?.parse().context("`net` takes a network, as 10.0.0.0/8")?;
                TraceAsks::Net(net.addr(), net.prefix_len())
            }
            "port" => TraceAsks::Port(value(word)?.parse().context("`port` takes a number")?),
            _ if ends != TraceEnds::Any => {
                bail!("expected host, net or port behind `src` and `dst`, found `{word}`")
            }
            "on" => TraceAsks::Interface(value(word)?.to_owned()),
            "proto" => TraceAsks::Proto(protocol(value(word)?)?),
            "inet" | "ip" => TraceAsks::Inet,
            "inet6" | "ip6" => TraceAsks::Inet6,
            "or" => bail!("there is no `or`: all conditions must hold"),
            name => TraceAsks::Proto(protocol(name)?),
        };
        terms.push(TraceTerm { not, ends, asks });
    }
    ensure!(terms.len() <= 16, "at most 16 conditions");
    Ok(terms)
}

fn protocol(word: &str) -> anyhow::Result<u8> {
    let word = if word == "icmp6" { "ipv6-icmp" } else { word };
    pfconf::protocol_number(word).with_context(|| {
        format!("`{word}` is no condition; write host, net, port, on, inet, inet6 or a protocol, with src, dst or not before it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_read_as_tcpdump_reads_them() {
        let term = |ends, asks| TraceTerm { not: false, ends, asks };
        let host = TraceAsks::Net([10, 1, 0, 2].into(), 32);
        let any = TraceEnds::Any;
        let cases = [
            ("", vec![]),
            ("host 10.1.0.2", vec![term(any, host.clone())]),
            (
                "host 10.1.0.2 and tcp port 80",
                vec![term(any, host.clone()), term(any, TraceAsks::Proto(6)), term(any, TraceAsks::Port(80))],
            ),
            (
                "src net 10.0.0.0/8 and on wan0",
                vec![
                    term(TraceEnds::Source, TraceAsks::Net([10, 0, 0, 0].into(), 8)),
                    term(any, TraceAsks::Interface("wan0".into())),
                ],
            ),
            (
                "inet6 dst port 53 not icmp6",
                vec![
                    term(any, TraceAsks::Inet6),
                    term(TraceEnds::Destination, TraceAsks::Port(53)),
                    TraceTerm { not: true, ..term(any, TraceAsks::Proto(58)) },
                ],
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).unwrap(), expected, "{text:?}");
        }
        for wrong in [
            "host",
            "host x",
            "and",
            "port 80 or port 81",
            "src tcp",
            "net 10.0.0.0/64",
            "nonsense",
            "port 70000",
            "tcp and",
        ] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
