//! From sources to the ruleset that the dataplane enforces, and from pf.conf on disk to sources.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use api::Status;
use api::control::{Anchored, Checked, Finding, Problem, Severity, Sources};
use ipnet::IpNet;
use pfconf::{Colour, Config, Diagnostics, Host, Interfaces, PlacedFinding, Recorder};
use ruleset::Ruleset;
use serde_json::{Value, json};

use crate::names;

/// A ruleset that may be committed.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The ruleset.
    pub ruleset: Ruleset,
    /// Warnings.
    pub findings: Vec<Finding>,
}

/// Compiles sources. Nothing but the arguments decides the outcome.
///
/// # Errors
/// The findings, errors among them.
pub fn compile(sources: &Sources, interfaces: &Interfaces) -> Result<Compiled, Problem> {
    let (mut config, mut findings) = read_recorded(sources, interfaces)?;
    if sources.reset {
        config.reset_options();
    }
    let mut anchors = Vec::new();
    for Anchored { anchor, sources } in &sources.anchors {
        let (config, more) = read_recorded(sources, interfaces)?;
        findings.extend(more);
        anchors.push((anchor.clone(), config));
    }
    for Anchored { anchor, sources } in &sources.tables {
        // What there is to say of the rest of them is no matter.
        let (defining, _) = read_recorded(sources, interfaces)?;
        match anchors.iter_mut().find(|(path, _)| path == anchor) {
            Some((_, own)) => own.define_tables(&defining, ""),
            None => config.define_tables(&defining, anchor),
        }
    }
    match config.lower_with(&anchors) {
        Ok(ruleset) => Ok(Compiled { ruleset, findings }),
        Err(findings) => Err(problem(&findings)),
    }
}

fn read_recorded(sources: &Sources, interfaces: &Interfaces) -> Result<(Config, Vec<Finding>), Problem> {
    let (config, findings) = read(&Recorded { sources, interfaces }, sources);
    if findings.has_errors() { Err(problem(&findings)) } else { Ok((config, list(&findings))) }
}

/// The names of the tables that sources define in an anchor, among all.
///
/// # Errors
/// The findings, errors among them.
pub fn table_names(sources: &Sources, anchor: &str, interfaces: &Interfaces) -> Result<Vec<String>, Problem> {
    let mut only = Config::default();
    only.define_tables(&read_recorded(sources, interfaces)?.0, anchor);
    Ok(only.tables().into_iter().map(|table| table.name).collect())
}

/// A new main ruleset with what was loaded into anchors of the live one, but for those that it has rules for itself.
pub fn with_anchors(sources: Sources, live: &Sources, interfaces: &Interfaces) -> Sources {
    let is_whole = !sources.anchors.is_empty() || !sources.tables.is_empty();
    if is_whole || (live.anchors.is_empty() && live.tables.is_empty()) {
        return sources;
    }
    let own = read(&Recorded { sources: &sources, interfaces }, &sources).0.anchors();
    let kept = |loaded: &[Anchored]| {
        let stays = |one: &&Anchored| !one.anchor.is_empty() && !own.contains(&one.anchor);
        loaded.iter().filter(stays).cloned().collect()
    };
    Sources { anchors: kept(&live.anchors), tables: kept(&live.tables), ..sources }
}

/// Whether sources would be loaded, and what there is to say about them.
pub fn check(sources: &Sources, interfaces: &Interfaces) -> Checked {
    match compile(sources, interfaces) {
        Ok(Compiled { ruleset, findings }) => {
            Checked { valid: true, rules: ruleset.rules.len(), tables: ruleset.tables.len(), findings }
        }
        Err(problem) => Checked { valid: false, rules: 0, tables: 0, findings: problem.diagnostics },
    }
}

/// Reads a file of this system, with everything that it needs.
///
/// # Errors
/// That the file cannot be read. What is wrong in it is found by [`compile`].
pub fn read_file(path: &Path, interfaces: &Interfaces) -> io::Result<Sources> {
    let text = String::from_utf8_lossy(&std::fs::read(path)?).into_owned();
    let mut sources = Sources { name: path.display().to_string(), text, ..Sources::default() };
    let system = System(interfaces);
    let recorder = Recorder::new(&system);
    read(&recorder, &sources);
    (sources.files, sources.names) = recorder.into_recorded();
    Ok(sources)
}

/// The dataplane's interfaces, and the kernel's loopback, in the form that pfconf reads.
pub fn interfaces_of(status: &Status) -> Interfaces {
    let address = |text: &String| -> Option<Value> {
        let net: IpNet = text.parse().ok()?;
        let broadcast = match net {
            IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
            _ => None,
        };
        Some(json!({ "local": net.addr(), "prefixlen": net.prefix_len(), "broadcast": broadcast }))
    };
    let links = status.interfaces.iter().map(|interface| {
        let addresses: Vec<Value> = interface.addresses.iter().filter_map(address).collect();
        json!({ "ifname": interface.name, "addr_info": addresses })
    });
    let loopback = json!({
        "ifname": "lo",
        "flags": ["LOOPBACK"],
        "addr_info": [{ "local": Ipv4Addr::LOCALHOST, "prefixlen": 8 }, { "local": "::1", "prefixlen": 128 }],
    });
    let list: Value = links.chain([loopback]).collect();
    Interfaces::from_json(&list.to_string()).expect("the form of ip -j addr")
}

fn read(host: &dyn Host, sources: &Sources) -> (Config, Diagnostics) {
    let Sources { name, text, definitions, dialect, .. } = sources;
    let dialect = match dialect {
        None => return pfconf::read(host, name, text, definitions),
        Some(api::control::Dialect::OpenBsd) => pfconf::Dialect::OpenBsd,
        Some(api::control::Dialect::FreeBsd) => pfconf::Dialect::FreeBsd,
    };
    pfconf::read_as(dialect, host, name, text, definitions)
}

fn list(findings: &Diagnostics) -> Vec<Finding> {
    let one = |finding: PlacedFinding<'_>| Finding {
        severity: match finding.severity {
            pfconf::Severity::Error => Severity::Error,
            pfconf::Severity::Warning => Severity::Warning,
        },
        file: finding.file.to_owned(),
        line: finding.line,
        column: finding.column,
        message: finding.message.to_owned(),
        expected: finding.expected.to_owned(),
        hint: finding.hint.map(str::to_owned),
    };
    findings.placed().map(one).collect()
}

fn problem(findings: &Diagnostics) -> Problem {
    let diagnostics = list(findings);
    let error = match diagnostics.iter().find(|finding| finding.severity == Severity::Error) {
        Some(first) => format!("{}:{}: {}", first.file, first.line, first.message),
        None => "the ruleset cannot be loaded".into(),
    };
    Problem { error, diagnostics, rendered: findings.render(Colour::Never) }
}

/// The machine as the sources recorded it.
struct Recorded<'a> {
    sources: &'a Sources,
    interfaces: &'a Interfaces,
}

impl Host for Recorded<'_> {
    fn interfaces(&self) -> &Interfaces {
        self.interfaces
    }

    fn read(&self, path: &str) -> io::Result<String> {
        self.sources.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        self.sources.names.get(name).cloned().unwrap_or_else(|| pfconf::localhost(name))
    }
}

/// This system.
struct System<'a>(&'a Interfaces);

impl Host for System<'_> {
    fn interfaces(&self) -> &Interfaces {
        self.0
    }

    fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned())
    }

    fn resolve(&self, name: &str) -> Vec<IpAddr> {
        let fixed = pfconf::localhost(name);
        if !fixed.is_empty() {
            return fixed;
        }
        names::resolve(name)
    }
}
