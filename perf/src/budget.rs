//! What is promised, and whether a measurement keeps it.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use crate::report::{Report, Row};

/// Everything that is promised.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Of measurements: ratios in one run, and cycles.
    #[serde(default, rename = "promise")]
    pub promises: Vec<Promise>,
    /// Of instructions.
    #[serde(default)]
    pub instructions: Vec<Ceiling>,
}

/// A promise about a row.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promise {
    /// The row's name.
    pub name: String,
    /// The row's traffic.
    pub proto: String,
    /// The row's connections; any number if absent.
    pub flows: Option<u64>,
    /// The row's rules; any number if absent.
    pub rules: Option<u64>,
    /// The row's workers; any number if absent.
    pub workers: Option<u64>,
    /// The figure that it is about: `cycles`, or another of the row's.
    #[serde(default = "cycles")]
    pub figure: String,
    /// The figure is divided by this reference of the same row, or by the same figure of the row of another traffic.
    pub over: Option<String>,
    /// It is no larger.
    pub at_most: Option<f64>,
    /// It is no smaller.
    pub at_least: Option<f64>,
}

/// A promise about instructions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ceiling {
    /// What is executed.
    pub scenario: String,
    /// Instructions for each packet or connection.
    pub at_most: f64,
}

fn cycles() -> String {
    "cycles".to_owned()
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// There is no such row, or it has no such figure.
    NotMeasured,
    /// The figure, and that it is as promised.
    Kept(f64),
    /// The figure, and by what share of the promise it misses it.
    Missed(f64, f64),
}

impl Budget {
    /// Reads a budget.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

impl Promise {
    /// What it is about, in words.
    pub fn subject(&self) -> String {
        let count = |number: Option<u64>, what| number.map(|number| format!(" {number} {what}"));
        let parts = [
            Some(format!("{} {}", self.name, self.proto)),
            count(self.flows, "connections"),
            count(self.rules, "rules"),
            count(self.workers, "workers"),
            Some(format!(": {}", self.figure)),
            self.over.as_ref().map(|over| format!(" ÷ {over}")),
        ];
        parts.into_iter().flatten().collect()
    }

    /// The bound, in words.
    pub fn bound(&self) -> String {
        let most = self.at_most.map(|most| format!("≤ {most}"));
        most.or_else(|| self.at_least.map(|least| format!("≥ {least}"))).unwrap_or_default()
    }

    fn is_about(&self, row: &Row, proto: &str) -> bool {
        let same = |wanted: Option<u64>, name: &str| {
            wanted.is_none_or(|wanted| row.more.get(name) == Some(&(wanted as f64)))
        };
        row.name == self.name
            && row.proto == proto
            && self.flows.is_none_or(|flows| flows == row.flows)
            && same(self.rules, "rules")
            && same(self.workers, "workers")
    }

    fn figure_of(&self, row: &Row) -> Option<f64> {
        if self.figure == "cycles" { Some(row.cycles) } else { row.more.get(&self.figure).copied() }
    }

    fn value(&self, report: &Report) -> Option<f64> {
        let row = report.rows.iter().find(|row| self.is_about(row, &self.proto))?;
        let figure = self.figure_of(row)?;
        let Some(over) = &self.over else { return Some(figure) };
        let reference = row.reference.named(over).or_else(|| {
            let other =
                report.rows.iter().find(|other| other.flows == row.flows && self.is_about(other, over))?;
            self.figure_of(other)
        });
        Some(figure / reference?)
    }

    /// Whether a measurement keeps it.
    pub fn judge(&self, report: &Report) -> Verdict {
        let Some(value) = self.value(report) else { return Verdict::NotMeasured };
        let missed = |excess: f64, bound: f64| if excess > 0.0 { excess / bound } else { 0.0 };
        let above = self.at_most.map_or(0.0, |most| missed(value - most, most));
        let below = self.at_least.map_or(0.0, |least| missed(least - value, least));
        let share = above.max(below);
        if share > 0.0 { Verdict::Missed(value, share) } else { Verdict::Kept(value) }
    }
}
