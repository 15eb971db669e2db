//! What was found, as JSON for programs and as a table for people.

use std::fmt::Write as _;

use serde::Serialize;

use crate::measure::Comparison;

/// What a figure is to be compared with: cycles per packet of the floors in the same run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Reference {
    /// Receive and send.
    pub rx_tx: Option<f64>,
    /// And `rte_hash_lookup_bulk` with an update of 64 bytes.
    pub rte_hash_floor: Option<f64>,
    /// Or a bucket and a state of a cache line each.
    pub bucket_floor: Option<f64>,
    /// `dpdk-testpmd` exchanging Ethernet addresses.
    pub testpmd_macswap: Option<f64>,
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub name: &'static str,
    /// What the connections are made of.
    pub proto: &'static str,
    /// How many there are.
    pub flows: u64,
    /// Median cycles per packet; per connection for `setup`.
    pub cycles: f64,
    /// What they compare with.
    pub reference: Reference,
    /// Rounds that count.
    pub pairs: usize,
    /// The distance between the quartiles, as a share of the median.
    pub spread: f64,
    /// Rules in the ruleset, for `setup`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<usize>,
    /// Memory that each connection takes, for `established`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_connection: Option<f64>,
    /// Median of the ratios to the `rte_hash` floor, round by round.
    #[serde(skip)]
    pub ratio: Option<f64>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Every figure.
    pub rows: Vec<Row>,
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Reference {
    /// The floors of a comparison.
    pub fn of(comparison: &Comparison, testpmd_macswap: Option<f64>) -> Self {
        let cycles = |name| comparison.cycles(name).map(rounded);
        Self {
            rx_tx: cycles("rx_tx"),
            rte_hash_floor: cycles("rte_hash_floor"),
            bucket_floor: cycles("bucket_floor"),
            testpmd_macswap,
        }
    }
}

impl Row {
    /// The figure of one work of a comparison.
    pub fn of(comparison: &Comparison, name: &'static str, proto: &'static str, flows: u64) -> Self {
        Self {
            name,
            proto,
            flows,
            cycles: rounded(comparison.cycles(name).unwrap_or_default()),
            reference: Reference::of(comparison, None),
            pairs: comparison.pairs(),
            spread: (comparison.spread(name).unwrap_or_default() * 1000.0).round() / 1000.0,
            rules: None,
            bytes_per_connection: None,
            ratio: comparison.ratio(name, "rte_hash_floor"),
        }
    }
}

impl Report {
    /// For programs.
    ///
    /// # Errors
    /// Never in practice: all of it is numbers and plain text.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// For people, in Markdown. `hz` is the counter's frequency.
    pub fn table(&self, hz: u64) -> String {
        let mut text = String::from(
            "| what | connections | rules | cycles | ± % | Mpps/core | rx+tx | bucket floor | rte_hash floor | ÷ rte_hash | \
             B/connection |\n|-|-|-|-|-|-|-|-|-|-|-|\n",
        );
        for row in &self.rows {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} {} | {} | {} | {:.0} | {:.1} | {:.2} | {} | {} | {} | {} | {} |",
                row.name,
                row.proto,
                row.flows,
                row.rules.map_or_else(|| "1".to_owned(), |rules| rules.to_string()),
                row.cycles,
                row.spread * 100.0,
                hz as f64 / row.cycles / 1e6,
                cell(row.reference.rx_tx, 0),
                cell(row.reference.bucket_floor, 0),
                cell(row.reference.rte_hash_floor, 0),
                cell(row.ratio, 2),
                cell(row.bytes_per_connection, 0),
            );
        }
        text
    }
}

fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}
