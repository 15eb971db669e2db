//! Routes as the kernel has them and as the dataplane forwards by them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Lab, wait_until};

/// A table: for each prefix what it says, its next hops in order.
type Table = BTreeMap<String, BTreeSet<String>>;

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The kernel's main tables, as far as the dataplane forwards by them.
fn kernel(lab: &Lab) -> Result<Table> {
    let mut best: BTreeMap<String, (u64, BTreeSet<String>)> = BTreeMap::new();
    for (family, default) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
        let said = lab.firewall.run(&format!("ip -j {family} route show table main"))?;
        let routes: Value = serde_json::from_str(&said).context("ip -j route")?;
        for route in array(&routes) {
            let destination = match text(route, "dst") {
                "default" => default.to_owned(),
                whole if whole.contains('/') => whole.to_owned(),
                host if family == "-4" => format!("{host}/32"),
                host => format!("{host}/128"),
            };
            // Every link has one of its own.
            if destination == "fe80::/64" {
                continue;
            }
            let metric = route["metric"].as_u64().unwrap_or(0);
            let hops = kernel_hops(route);
            let entry = best.entry(destination).or_insert_with(|| (metric, hops.clone()));
            if metric < entry.0 {
                *entry = (metric, hops);
            }
        }
    }
    Ok(best.into_iter().map(|(destination, (_, hops))| (destination, hops)).collect())
}

fn kernel_hops(route: &Value) -> BTreeSet<String> {
    let hop = |hop: &Value| {
        let via = hop["via"]["host"].as_str().unwrap_or_else(|| text(hop, "gateway"));
        format!("via {via} dev {}", text(hop, "dev"))
    };
    match (text(route, "type"), array(&route["nexthops"])) {
        (kind @ ("blackhole" | "unreachable" | "prohibit"), _) => BTreeSet::from([kind.to_owned()]),
        (_, []) => BTreeSet::from([hop(route)]),
        (_, hops) => hops.iter().map(hop).collect(),
    }
}

/// What the dataplane forwards by in its main table, without what is the host's own.
fn dataplane(lab: &Lab) -> Result<Table> {
    let routes = lab.show("routes")?;
    let mut table = Table::new();
    for route in array(&routes).iter().filter(|route| route["table"] == 0) {
        let kind = text(route, "kind");
        let hops = match kind {
            "host" | "broadcast" => continue,
            "forward" => array(&route["next_hops"])
                .iter()
                .map(|hop| format!("via {} dev {}", text(hop, "via"), text(hop, "interface")))
                .collect(),
            kind => BTreeSet::from([kind.to_owned()]),
        };
        let destination = text(route, "destination").to_owned();
        if destination != "fe80::/64" {
            table.insert(destination, hops);
        }
    }
    Ok(table)
}

/// Waits until the dataplane forwards by exactly the kernel's routes, and returns how many there are.
///
/// # Errors
/// They differ, also after `patience`: the first few differences.
pub fn expect_the_kernels(lab: &Lab, patience: Duration) -> Result<usize> {
    let mut differences = Vec::new();
    let mut count = 0;
    let same = wait_until("the kernel's routes", patience, || match (kernel(lab), dataplane(lab)) {
        (Ok(wanted), Ok(found)) => {
            count = wanted.len();
            let all: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
            differences = all
                .into_iter()
                .filter(|destination| wanted.get(*destination) != found.get(*destination))
                .take(5)
                .map(|one| format!("{one}: {:?}, not {:?}", found.get(one), wanted.get(one)))
                .collect();
            differences.is_empty()
        }
        (wanted, found) => {
            differences = [wanted.err(), found.err()].into_iter().flatten().map(|e| e.to_string()).collect();
            false
        }
    });
    ensure!(same.is_ok(), "after {patience:?} routes differ: {differences:#?}");
    Ok(count)
}
