//! `-k` and `-K`: states and source nodes that pfctl removes, and how it is told which.

use std::net::IpAddr;

use anyhow::{Context, bail, ensure};
use ipnet::IpNet;
use pfconf::Host;
use ruleset::{SourceSelector, StateSelector, TupleEnd};
use serde_json::json;
use wire::{Port, Proto};

use super::Arguments;
use super::system::System;
use crate::machine::Machine;

/// Words that say what the next `-k` is about.
const KINDS: [&str; 4] = ["label", "id", "key", "gateway"];

pub fn states(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(arguments.kill.len() <= 2, "can only specify -k twice");
    match arguments.kill.as_slice() {
        [word] if KINDS.contains(&word.as_str()) => bail!("no {word} specified"),
        [kind, which] if KINDS.contains(&kind.as_str()) => {
            let count = match selected(arguments, system, kind, which)? {
                Some(selector) => system.kill(&selector)?,
                None => 0,
            };
            arguments.tell(&format!("killed {count} states"), json!({ "states": count }));
        }
        hosts => {
            let pairs = Pairs::of(arguments, hosts)?;
            let mut count = 0;
            for (source, destination) in pairs.each() {
                let selector = StateSelector { source: Some(source), destination, ..bound(arguments) };
                count += system.kill(&selector)?;
            }
            let (sources, destinations) = pairs.counts();
            arguments.say(&format!(
                "killed {count} states from {sources} sources and {destinations} destinations"
            ));
        }
    }
    Ok(())
}

/// Those of a host; with a second one, those that lead their sources to it.
pub fn sources(arguments: &Arguments, system: &mut System<'_>) -> anyhow::Result<()> {
    ensure!(arguments.kill_sources.len() <= 2, "can only specify -K twice");
    let pairs = Pairs::of(arguments, &arguments.kill_sources)?;
    let mut count = 0;
    for (source, target) in pairs.each() {
        count += system.forget_sources(&SourceSelector { source: Some(source), target })?;
    }
    let (sources, destinations) = pairs.counts();
    arguments.tell(
        &format!("killed {count} src nodes from {sources} sources and {destinations} destinations"),
        json!({ "nodes": count, "sources": sources, "destinations": destinations }),
    );
    Ok(())
}

/// `-i`: only states that are bound to this interface.
fn bound(arguments: &Arguments) -> StateSelector {
    StateSelector { interface: arguments.interface.clone(), ..StateSelector::default() }
}

/// What a label, an id or a key selects; nothing for a gateway: no state has one.
fn selected(
    arguments: &Arguments,
    system: &mut System<'_>,
    kind: &str,
    which: &str,
) -> anyhow::Result<Option<StateSelector>> {
    let selector = bound(arguments);
    Ok(match kind {
        "label" => Some(StateSelector { label: Some(which.to_owned()), ..selector }),
        "id" => {
            let (id, creator) = id(which)?;
            // All states here are of one creator.
            let is_ours = creator == 0 || system.info()?.host_id == creator;
            is_ours.then_some(StateSelector { id: Some(id), ..selector })
        }
        "key" => Some(key(which, selector)?),
        _ => {
            let machine = arguments.machine()?;
            prefixes(&machine, which)?;
            None
        }
    })
}

/// `ID` or `ID/CREATOR`, in hexadecimal; the creator is 0 if it is not given.
fn id(which: &str) -> anyhow::Result<(u64, u32)> {
    let (id, creator) = which.split_once('/').unwrap_or((which, "0"));
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let parsed = number(id).zip(number(creator).and_then(|creator| u32::try_from(creator).ok()));
    parsed.with_context(|| format!("cannot parse id and creator ID: {which}"))
}

/// `tcp 10.0.0.1:80 <- 10.0.0.2:1234`, or `->`, as `-ss` prints it: what made the state stands at the arrow's tail.
fn key(text: &str, selector: StateSelector) -> anyhow::Result<StateSelector> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [proto, left, arrow, right] = words[..] else {
        bail!(
            "-k key expects 'protocol host1:port1 direction host2:port2' ({} words are given)",
            words.len()
        );
    };
    let proto = pfconf::protocol_number(proto).with_context(|| format!("invalid protocol: {proto}"))?;
    let (source, destination) = match arrow {
        "->" => (end(left)?, end(right)?),
        "<-" => (end(right)?, end(left)?),
        _ => bail!("invalid direction: {arrow}"),
    };
    Ok(StateSelector {
        proto: Some(Proto(proto)),
        source: Some(source.address.into()),
        source_port: Some(source.port),
        destination: Some(destination.address.into()),
        destination_port: Some(destination.port),
        ..selector
    })
}

/// `10.0.0.1:80`, `2001:db8::1[80]`, or an address without a port.
fn end(text: &str) -> anyhow::Result<TupleEnd> {
    let invalid = || format!("invalid host: {text}");
    if let Ok(address) = text.parse() {
        return Ok(TupleEnd { address, port: Port(0) });
    }
    let split = match text.strip_suffix(']') {
        Some(open) => open.split_once('['),
        None => text.rsplit_once(':'),
    };
    let (address, port) = split.with_context(invalid)?;
    Ok(TupleEnd {
        address: address.parse().with_context(invalid)?,
        port: Port(port.parse().with_context(invalid)?),
    })
}

/// Every source with every destination of its family; without a destination, with all of them.
struct Pairs {
    sources: Vec<IpNet>,
    destinations: Option<Vec<IpNet>>,
}

impl Pairs {
    fn of(arguments: &Arguments, hosts: &[String]) -> anyhow::Result<Self> {
        let machine = arguments.machine()?;
        let sources = hosts.first().map_or(Ok(Vec::new()), |host| prefixes(&machine, host))?;
        let destinations = hosts.get(1).map(|host| prefixes(&machine, host)).transpose()?;
        Ok(Self { sources, destinations })
    }

    fn each(&self) -> impl Iterator<Item = (IpNet, Option<IpNet>)> {
        self.sources.iter().flat_map(|source| {
            let with: Vec<Option<IpNet>> = match &self.destinations {
                None => vec![None],
                Some(_) => self.fitting(*source).map(Some).collect(),
            };
            with.into_iter().map(|destination| (*source, destination))
        })
    }

    fn fitting(&self, source: IpNet) -> impl Iterator<Item = IpNet> {
        let v4 = source.addr().is_ipv4();
        self.destinations.iter().flatten().copied().filter(move |net| net.addr().is_ipv4() == v4)
    }

    /// As pfctl counts: the sources, and the destinations of the last one's family.
    fn counts(&self) -> (usize, usize) {
        let destinations = self.sources.last().map_or(0, |source| self.fitting(*source).count());
        (self.sources.len(), destinations)
    }
}

/// An address, an address with a prefix length, or a name.
fn prefixes(machine: &Machine, text: &str) -> anyhow::Result<Vec<IpNet>> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    if let Ok(address) = address.parse::<IpAddr>() {
        let Some(length) = length else { return Ok(vec![address.into()]) };
        let net = length.parse().ok().and_then(|length| IpNet::new(address, length).ok());
        return Ok(vec![net.with_context(|| format!("prefix is invalid: {length}"))?]);
    }
    let found = if length.is_none() { machine.resolve(address) } else { Vec::new() };
    ensure!(!found.is_empty(), "getaddrinfo: {text}: no address associated with name");
    Ok(found.into_iter().map(IpNet::from).collect())
}
