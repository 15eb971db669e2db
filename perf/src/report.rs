//! What was found, as JSON for programs and as tables for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::measure::Comparison;

/// What a figure is to be compared with: cycles per packet of the floors in the same run.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// What the connections are made of.
    pub proto: String,
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
    /// Whatever else a row of this name tells, each with its unit in its name.
    #[serde(flatten)]
    pub more: BTreeMap<String, f64>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Every figure.
    pub rows: Vec<Row>,
    /// How some figures are distributed.
    #[serde(default)]
    pub histograms: Vec<Histogram>,
}

/// How often a figure lay where.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// What was measured.
    pub name: String,
    /// The upper bounds of the steps, in cycles; each step is an eighth of a doubling.
    pub bounds: Vec<f64>,
    /// How often it lay in each.
    pub counts: Vec<u64>,
}

impl Histogram {
    /// Of values in order of size.
    pub fn of(name: &str, values: &[u64]) -> Self {
        let mut own = Self { name: name.to_owned(), ..Self::default() };
        let mut at = 0;
        for step in 0.. {
            if at == values.len() {
                return own;
            }
            let bound = (f64::from(step) / 8.0).exp2();
            let count = values[at..].partition_point(|value| (*value as f64) < bound);
            at += count;
            if count > 0 || !own.counts.is_empty() {
                own.bounds.push(rounded(bound, 1));
                own.counts.push(count as u64);
            }
        }
        own
    }
}

/// A figure to so many decimal places.
pub fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10_f64.powi(places);
    (value * scale).round() / scale
}

impl Reference {
    /// One of them by its name.
    pub fn named(&self, name: &str) -> Option<f64> {
        match name {
            "rx_tx" => self.rx_tx,
            "rte_hash_floor" => self.rte_hash_floor,
            "bucket_floor" => self.bucket_floor,
            "testpmd_macswap" => self.testpmd_macswap,
            _ => None,
        }
    }

    /// The floors of a comparison.
    pub fn of(comparison: &Comparison, testpmd_macswap: Option<f64>) -> Self {
        let cycles = |name| comparison.cycles(name).map(|cycles| rounded(cycles, 1));
        Self {
            rx_tx: cycles("rx_tx"),
            rte_hash_floor: cycles("rte_hash_floor"),
            bucket_floor: cycles("bucket_floor"),
            testpmd_macswap,
        }
    }
}

impl Row {
    /// The figure of one work of a comparison, under a name of its own.
    pub fn of(comparison: &Comparison, work: &str, name: &str, proto: &str, flows: u64) -> Self {
        let row = Self {
            name: name.to_owned(),
            proto: proto.to_owned(),
            flows,
            cycles: rounded(comparison.cycles(work).unwrap_or_default(), 1),
            reference: Reference::of(comparison, None),
            pairs: comparison.pairs(),
            spread: rounded(comparison.spread(work).unwrap_or_default(), 3),
            ..Self::default()
        };
        match comparison.ratio(work, "rte_hash_floor") {
            Some(ratio) => row.with("ratio_to_rte_hash", rounded(ratio, 3)),
            None => row,
        }
    }

    /// With one figure more.
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    fn cell(&self, name: &str, places: usize) -> String {
        cell(self.more.get(name).copied(), places)
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
    pub fn tables(&self, hz: u64) -> String {
        let sections = [
            self.established(hz),
            self.chosen(),
            self.setup(hz),
            self.workers(hz),
            self.handoff(),
            self.scaling(),
            self.reload(),
            self.latency(hz),
        ];
        sections.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }

    /// The rows whose name begins so.
    fn named<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(|row| names.iter().any(|name| row.name.starts_with(name)))
    }

    fn established(&self, hz: u64) -> Option<String> {
        const HEAD: [&str; 11] = [
            "what",
            "traffic",
            "connections",
            "cycles",
            "± %",
            "Mpps/core",
            "rx+tx",
            "bucket floor",
            "rte_hash floor",
            "÷ rte_hash",
            "B/connection",
        ];
        let rows = self.named(&["parse", "rx_tx", "established"]).map(|row| {
            vec![
                row.name.clone(),
                row.proto.clone(),
                row.flows.to_string(),
                format!("{:.1}", row.cycles),
                format!("{:.1}", row.spread * 100.0),
                format!("{:.2}", hz as f64 / row.cycles / 1e6),
                cell(row.reference.rx_tx, 1),
                cell(row.reference.bucket_floor, 1),
                cell(row.reference.rte_hash_floor, 1),
                row.cell("ratio_to_rte_hash", 2),
                row.cell("bytes_per_connection", 0),
            ]
        });
        section("Established connections, cycles per packet", &HEAD, rows)
    }

    fn chosen(&self) -> Option<String> {
        const HEAD: [&str; 7] =
            ["what", "traffic", "connections", "cycles", "± %", "at random", "throughput, share of that"];
        let rows = self.named(&["chosen"]).map(|row| {
            vec![
                row.name.clone(),
                row.proto.clone(),
                row.flows.to_string(),
                format!("{:.1}", row.cycles),
                format!("{:.1}", row.spread * 100.0),
                row.cell("uniform_cycles", 1),
                row.cell("throughput_of_uniform", 2),
            ]
        });
        section("Connections that an attacker has chosen, cycles per packet", &HEAD, rows)
    }

    fn setup(&self, hz: u64) -> Option<String> {
        const HEAD: [&str; 11] = [
            "what",
            "traffic",
            "rules",
            "connections",
            "made",
            "removed",
            "both",
            "± %",
            "million/s and core",
            "rate ÷ without",
            "compiled, ms",
        ];
        let rows = self.named(&["setup", "classbench"]).map(|row| {
            let ratio = row.more.get("rate_of_without").zip(row.more.get("rate_of_without_spread"));
            vec![
                row.name.clone(),
                row.proto.clone(),
                row.cell("rules", 0),
                row.flows.to_string(),
                row.cell("open_cycles", 0),
                row.cell("remove_cycles", 0),
                format!("{:.0}", row.cycles),
                format!("{:.1}", row.spread * 100.0),
                format!("{:.2}", hz as f64 / row.cycles / 1e6),
                ratio.map_or_else(|| cell(None, 0), |(of, spread)| format!("{of:.2} ± {:.2}", of * spread)),
                cell(row.more.get("compile_cycles").map(|cycles| cycles / hz as f64 * 1e3), 0),
            ]
        });
        section("New connections, cycles for each", &HEAD, rows)
    }
}

impl Report {
    fn workers(&self, hz: u64) -> Option<String> {
        const HEAD: [&str; 8] =
            ["what", "traffic", "connections", "cycles", "± %", "Mpps/core", "rings alone", "÷ plain"];
        let rows = self.named(&["worker", "dup_to", "translation"]).map(|row| {
            vec![
                row.name.clone(),
                row.proto.clone(),
                row.flows.to_string(),
                format!("{:.1}", row.cycles),
                format!("{:.1}", row.spread * 100.0),
                format!("{:.2}", hz as f64 / row.cycles / 1e6),
                row.cell("ring_rx_tx_cycles", 1),
                row.cell("ratio_to_without", 2),
            ]
        });
        section("A whole worker between rings, cycles per packet", &HEAD, rows)
    }

    fn handoff(&self) -> Option<String> {
        const HEAD: [&str; 6] = ["traffic", "connections", "at its owner", "giving", "taking over", "beyond"];
        let rows = self.named(&["handoff"]).map(|row| {
            vec![
                row.proto.clone(),
                row.flows.to_string(),
                row.cell("direct_cycles", 1),
                row.cell("giving_cycles", 1),
                row.cell("taking_cycles", 1),
                format!("{:.1} ± {:.1}", row.cycles, row.spread * row.cycles),
            ]
        });
        section("Hand-off from CPU to CPU, cycles per packet", &HEAD, rows)
    }

    fn scaling(&self) -> Option<String> {
        const HEAD: [&str; 7] =
            ["traffic", "connections", "workers", "cycles of each", "± %", "efficiency", "the machine's"];
        let rows = self.named(&["scaling"]).map(|row| {
            vec![
                row.proto.clone(),
                row.flows.to_string(),
                row.cell("workers", 0),
                format!("{:.1}", row.cycles),
                format!("{:.1}", row.spread * 100.0),
                row.cell("efficiency", 3),
                row.cell("machine_efficiency", 3),
            ]
        });
        section("Workers on CPUs of their own, cycles per packet", &HEAD, rows)
    }

    fn reload(&self) -> Option<String> {
        const HEAD: [&str; 8] = [
            "rules",
            "connections",
            "pause µs",
            "± %",
            "longest µs",
            "a burst after it µs",
            "lost",
            "compiling ms",
        ];
        let rows = self.named(&["reload"]).map(|row| {
            vec![
                row.cell("rules", 0),
                row.flows.to_string(),
                row.cell("pause_us", 2),
                format!("{:.0}", row.spread * 100.0),
                row.cell("pause_max_us", 2),
                row.cell("after_us", 2),
                row.cell("lost", 0),
                row.cell("compile_ms", 1),
            ]
        });
        section("A reload under traffic, for a worker", &HEAD, rows)
    }

    fn latency(&self, hz: u64) -> Option<String> {
        const HEAD: [&str; 7] = ["what", "traffic", "connections", "p50 µs", "p99 µs", "p99.9 µs", "max µs"];
        let rows = self.named(&["burst_latency"]).flat_map(|row| {
            let line = |what: &str, prefix: &str| {
                let time = |name: &str| {
                    let cycles = row.more.get(&format!("{prefix}{name}_cycles")).copied();
                    cell(cycles.map(|cycles| cycles / hz as f64 * 1e6), 2)
                };
                let head = [what.to_owned(), row.proto.clone(), row.flows.to_string()];
                head.into_iter().chain(["p50", "p99", "p999", "max"].map(time)).collect()
            };
            [line("bursts of 64", ""), line("arithmetic as long", "machine_")]
        });
        section("How long a burst takes", &HEAD, rows)
    }
}

/// A table with a heading; nothing without rows.
fn section(title: &str, head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Option<String> {
    let mut rows = rows.peekable();
    rows.peek()?;
    let mut text = format!("### {title}\n\n| {} |\n|{}\n", head.join(" | "), "-|".repeat(head.len()));
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    Some(text)
}

fn cell(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.places$}"))
}
