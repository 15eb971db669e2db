//! What the firewall dropped, by interface and reason.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result};
use serde_json::Value;

/// Drop counters that are not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops(BTreeMap<(String, String), u64>);

impl Drops {
    /// Of these interfaces, reasons and counts.
    pub fn of(counts: &[(&str, &str, u64)]) -> Self {
        let counts = counts.iter().filter(|(_, _, count)| *count > 0);
        Self(counts.map(|&(interface, reason, count)| ((interface.into(), reason.into()), count)).collect())
    }

    /// As `tpctl drops --json` prints them.
    ///
    /// # Errors
    /// They are not as expected.
    pub fn parse(json: &Value) -> Result<Self> {
        let mut drops = BTreeMap::new();
        for interface in json.as_array().context("drops are not a list")? {
            let name = interface["interface"].as_str().context("an interface without a name")?;
            for count in interface["reasons"].as_array().context("an interface without reasons")? {
                let reason = count["reason"].as_str().context("a count without a reason")?;
                let packets = count["packets"].as_u64().context("a reason without a count")?;
                if packets > 0 {
                    drops.insert((name.to_owned(), reason.to_owned()), packets);
                }
            }
        }
        Ok(Self(drops))
    }

    /// What was added since.
    pub fn since(&self, earlier: &Self) -> Self {
        let added = self.0.iter().filter_map(|(key, count)| {
            let before = earlier.0.get(key).copied().unwrap_or(0);
            (*count != before).then(|| (key.clone(), count - before))
        });
        Self(added.collect())
    }

    /// Of one reason, on all interfaces.
    pub fn of_reason(&self, reason: &str) -> u64 {
        self.0.iter().filter(|((_, of), _)| of == reason).map(|(_, count)| count).sum()
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for ((interface, reason), count) in &self.0 {
            write!(f, "{separator}{interface} {reason} {count}")?;
            separator = ", ";
        }
        Ok(())
    }
}
