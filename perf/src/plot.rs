//! Plots of a report, as SVG.
//!
//! Overview: a chart has axes, a title and a legend; lines, steps and bars are drawn into it. Bounds: what is drawn
//! lies within the axes, which are chosen by what is drawn.

mod chart;

use crate::report::{Histogram, Report, Row};
use chart::{Chart, Scale, Style, short};

/// Cycles per packet, by what they are of.
const FLOORS: [(&str, &str); 3] =
    [("receive and send", "rx_tx"), ("rte_hash floor", "rte_hash_floor"), ("bucket floor", "bucket_floor")];
const GREYS: [&str; 3] = ["#bbbbbb", "#555555", "#888888"];
const COLOURS: [&str; 4] = ["#0b62a4", "#d1495b", "#2e933c", "#8d6cab"];

/// Every plot that there are figures for, by its name.
pub fn all(report: &Report, hz: u64) -> Vec<(&'static str, String)> {
    let plots =
        [("established", established(report)), ("setup", setup(report)), ("latency", latency(report, hz))];
    plots.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect()
}

type Points = Vec<(f64, f64)>;

/// The highest of some values, rounded up to what a scale ends with.
fn ceiling(values: impl Iterator<Item = f64>) -> f64 {
    let most = values.fold(0.0, f64::max);
    let step = 10_f64.powf(most.max(1.0).log10().floor()) / 2.0;
    (most / step).ceil() * step
}

/// Established forwarding and its floors over the number of connections.
fn established(report: &Report) -> Option<String> {
    let rows = |name: &'static str, proto: &'static str| {
        report.rows.iter().filter(move |row| row.name == name && row.proto == proto)
    };
    let mut lines: Vec<(String, Style, Points)> = Vec::new();
    for ((title, name), colour) in FLOORS.into_iter().zip(GREYS) {
        let points = rows("established", "tcp4")
            .filter_map(|row| Some((row.flows as f64, row.reference.named(name)?)))
            .collect();
        lines.push((title.to_owned(), Style::dashed(colour), points));
    }
    for (proto, colour) in ["tcp4", "udp4", "tcp6"].into_iter().zip(COLOURS) {
        let points = |name| rows(name, proto).map(|row| (row.flows as f64, row.cycles)).collect::<Points>();
        lines.push((format!("Turnpike, {}", traffic(proto)), Style::solid(colour), points("established")));
        let zipf = points("established_zipf");
        lines.push((format!("{}, Zipf", traffic(proto)), Style::dotted(colour), zipf));
    }
    lines.retain(|(.., points)| !points.is_empty());
    let flows = || lines.iter().flat_map(|(.., points)| points.iter().map(|point| point.0));
    let (least, most) = (flows().fold(f64::INFINITY, f64::min), flows().fold(0.0, f64::max));
    if most == 0.0 {
        return None;
    }
    let x = Scale::log(least, most.max(least * 1.1));
    let y = Scale::linear(ceiling(lines.iter().flat_map(|(.., points)| points.iter().map(|point| point.1))));
    let mut chart = Chart::new("Forwarding established connections, 64-byte frames", x, y);
    let mut counts: Vec<u64> = flows().map(|flows| flows as u64).collect();
    counts.sort_unstable();
    counts.dedup();
    chart.axes("connections", counts.iter().map(|count| (*count as f64, short(*count))), "cycles per packet");
    for (title, style, points) in &lines {
        chart.line(points, *style);
        chart.dots(points, *style);
        chart.legend(title, *style);
    }
    Some(chart.finish())
}

fn traffic(proto: &str) -> &'static str {
    match proto {
        "udp4" => "UDP",
        "tcp6" => "TCP over IPv6",
        _ => "TCP",
    }
}

/// What a new connection costs, by rules.
fn setup(report: &Report) -> Option<String> {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.name == "setup").collect();
    if rows.is_empty() {
        return None;
    }
    let y = Scale::linear(ceiling(rows.iter().map(|row| row.cycles)));
    let mut chart = Chart::new("A new connection: both hooks, two states", Scale::slots(rows.len()), y);
    let rules = |row: &Row| row.more.get("rules").map_or(0, |count| *count as u64);
    let labels = rows.iter().enumerate().map(|(slot, row)| (slot as f64 + 0.5, short(rules(row))));
    chart.axes("rules", labels, "cycles per connection");
    let parts = [("made", "open_cycles", COLOURS[0]), ("removed", "remove_cycles", COLOURS[1])];
    for (slot, row) in rows.iter().enumerate() {
        let mut bottom = 0.0;
        for (_, name, colour) in parts {
            let cycles = row.more.get(name).copied().unwrap_or_default();
            chart.bar(slot, bottom, bottom + cycles, colour);
            bottom += cycles;
        }
        chart.label(slot as f64 + 0.5, bottom, &format!("{bottom:.0}"));
    }
    for (title, _, colour) in parts {
        chart.legend(title, Style::solid(colour));
    }
    Some(chart.finish())
}

/// How long bursts take: the share of them that took longer.
fn latency(report: &Report, hz: u64) -> Option<String> {
    let named = |name: &str| report.histograms.iter().find(|histogram| histogram.name == name);
    let lines = [
        ("arithmetic as long", Style::dashed(GREYS[1]), named("burst_latency_machine")?),
        ("bursts of 64 packets", Style::solid(COLOURS[0]), named("burst_latency")?),
    ];
    let micros = |cycles: f64| cycles / hz as f64 * 1e6;
    let lines = lines.map(|(title, style, histogram)| (title, style, exceeding(histogram, micros)));
    let points = || lines.iter().flat_map(|(.., points)| points);
    let x = Scale::log(
        points().map(|point| point.0).fold(f64::INFINITY, f64::min),
        points().map(|point| point.0).fold(0.0, f64::max),
    );
    let least = points().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let y = Scale::log(10_f64.powf(least.log10().floor()), 1.0);
    let decades = |from: i32, to: i32| (from..=to).map(|power| 10_f64.powi(power));
    let ticks = decades(0, 7).filter(|micros| x.holds(*micros)).map(|micros| (micros, short(micros as u64)));
    let mut chart = Chart::new("How long a worker is busy with a burst", x, y);
    chart.axes("µs", ticks, "share of bursts that take longer");
    for (title, style, points) in &lines {
        chart.line(points, *style);
        chart.legend(title, *style);
    }
    Some(chart.finish())
}

/// What share of a histogram's values lies above each bound, as steps, without what is 0.
fn exceeding(histogram: &Histogram, scale: impl Fn(f64) -> f64) -> Points {
    let all: u64 = histogram.counts.iter().sum();
    let mut above = all;
    let mut points = Points::new();
    for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
        let before = above as f64 / all as f64;
        above -= count;
        points.push((scale(*bound), before));
        if above > 0 {
            points.push((scale(*bound), above as f64 / all as f64));
        }
    }
    points
}
