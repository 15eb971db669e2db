//! Expectations: what a packet is to come to, alone or behind others, and files of them.
//!
//! ```toml
//! rules = "home.conf"               # beside this file
//! interfaces = "home.json"          # what `ip -j addr` prints there; optional
//!
//! [[case]]
//! name = "answers come back"
//! after = ["out on wan0 tcp 192.0.2.1:1025 > 198.51.100.7:443 S"]
//! packet = "in on wan0 tcp 198.51.100.7:443 > 192.0.2.1:1025 SA"
//! expect = "pass"
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use pfconf::Dialect;
use serde::Deserialize;

use super::firewall::{Outcome, Verdict};

/// A file of expectations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The ruleset, relative to the file.
    pub rules: Option<PathBuf>,
    /// The machine's interfaces, relative to the file; without them only those that are named are there.
    pub interfaces: Option<PathBuf>,
    /// `openbsd` or `freebsd`; else what the rules use decides.
    pub dialect: Option<String>,
    /// Each with a firewall that has seen nothing.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// A packet, and what is expected of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about.
    pub name: String,
    /// Packets that come before, whatever becomes of them.
    #[serde(default)]
    pub after: Vec<String>,
    pub packet: String,
    pub expect: Option<Verdict>,
    /// What its sender is told: `none`, `rst`, or `icmp` with type and code.
    pub reply: Option<String>,
    /// Where `route-to` or `reply-to` sends it: `none`, or next hop and interface, as `192.0.2.1@wan0`.
    pub route: Option<String>,
    /// A state is made, or not.
    pub state: Option<bool>,
    /// Why it is dropped, by the name that counters have.
    pub reason: Option<String>,
    /// A rule that decides, as pfctl prints it; empty if none does.
    pub rule: Option<String>,
    /// A label of a rule that decides.
    pub label: Option<String>,
    /// A rule logs it, or not.
    pub log: Option<bool>,
}

impl Cases {
    /// Reads a file; what it names is found beside it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(name)?;
        let mut cases: Self = toml::from_str(&text).with_context(name)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for named in [&mut cases.rules, &mut cases.interfaces].into_iter().flatten() {
            *named = folder.join(&*named);
        }
        Ok(cases)
    }

    /// The dialect that the file asks for.
    pub fn dialect(&self) -> anyhow::Result<Option<Dialect>> {
        self.dialect
            .as_deref()
            .map(|name| name.parse().map_err(|error| anyhow::anyhow!("{error}")))
            .transpose()
    }
}

impl Case {
    /// Everything that came otherwise.
    pub fn missed(&self, outcome: &Outcome) -> Vec<String> {
        let mut missed = Vec::new();
        let mut compare = |what: &str, wanted: String, is: String| {
            if wanted != is {
                missed.push(format!("expected {what} {wanted}, but it is {is}"));
            }
        };
        if let Some(wanted) = self.expect {
            compare("the verdict", wanted.name().into(), outcome.verdict.name().into());
        }
        if let Some(wanted) = &self.reply {
            compare("the reply", wanted.clone(), outcome.reply.clone().unwrap_or_else(|| "none".into()));
        }
        if let Some(wanted) = &self.reason {
            compare("the reason", wanted.clone(), outcome.reason.unwrap_or("none").into());
        }
        if let Some(wanted) = &self.route {
            compare("the route", wanted.clone(), outcome.route.clone().unwrap_or_else(|| "none".into()));
        }
        let made = |made| if made { "made" } else { "not made" }.to_owned();
        if let Some(wanted) = self.state {
            compare("a state to be", made(wanted), made(!outcome.made.is_empty()));
        }
        let logged = |logged| if logged { "logged" } else { "not logged" }.to_owned();
        if let Some(wanted) = self.log {
            compare("it to be", logged(wanted), logged(outcome.logged));
        }
        let among = |of: Vec<&str>, wanted: &str| match of.is_empty() {
            true => wanted.is_empty(),
            false => of.contains(&wanted),
        };
        let texts: Vec<&str> = outcome.rules.iter().map(|rule| rule.text.as_str()).collect();
        let labels: Vec<&str> = outcome.rules.iter().filter_map(|rule| rule.label.as_deref()).collect();
        for (what, wanted, of) in [("rule", &self.rule, texts), ("label", &self.label, labels)] {
            if let Some(wanted) = wanted
                && !among(of.clone(), wanted)
            {
                missed.push(format!("expected the {what} `{wanted}`, but it is `{}`", of.join("` and `")));
            }
        }
        missed
    }
}
