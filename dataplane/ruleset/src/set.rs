//! The ruleset as a whole, and what makes one valid.

use core::fmt;

use serde::{Deserialize, Serialize};
use wire::{Af, Proto};

use crate::{
    Action, AddressMatch, AddressPattern, Fingerprint, Limit, Options, PRIO_MAX, PortBlocks, PortMatch, Rule,
    StateMode, Syncookies, Table, UNKNOWN_OS, block, pool, routing, source,
};

/// The most of each thing that a ruleset may hold; what exceeds them is refused before anything is built.
pub mod bounds {
    /// Rules in one ruleset.
    pub const RULES: usize = 1 << 20;
    /// Calls of anchors within each other (pf's `PF_ANCHOR_STACK_MAX`).
    pub const DEPTH: usize = 64;
    /// Bytes in the path of an anchor (pf's `PATH_MAX`, less the NUL).
    pub const PATH_BYTES: usize = 1023;
    /// Bytes in a name: table, label, tag, interface (pf's limits are 32, 64, 64 and 16).
    pub const NAME_BYTES: usize = 63;
    /// Different tags in one ruleset; tags are numbered with 16 bits, 0 being none.
    pub const TAGS: usize = 65_534;
    /// Fingerprints of operating systems.
    pub const FINGERPRINTS: usize = 4096;
    /// Interfaces named in `set skip`.
    pub const SKIPPED: usize = 1024;
    /// Bytes in the name of an interface: Linux's limit.
    pub const INTERFACE_BYTES: usize = 15;
}

/// A whole ruleset: options, tables, and rules in the order of their evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// What `set` decided.
    pub options: Options,
    /// Tables by name, each name once.
    pub tables: Vec<Table>,
    /// The paths of the anchors whose rules are there.
    pub anchors: Vec<String>,
    /// What rules that ask for `os` know, in the order in which it is tried.
    pub fingerprints: Vec<Fingerprint>,
    /// Filter rules; the last one that matches decides, `quick` at once.
    pub rules: Vec<Rule>,
    /// Rules of anchors that nobody calls: kept to be listed, never evaluated.
    pub idle: Vec<Rule>,
}

/// What is wrong with a ruleset, and with which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The rule's number from 0, if one rule is at fault.
    pub rule: Option<usize>,
    /// The rule's place in its file, if known.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(number) => write!(f, "rule @{number}{}: {}", self.place, self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl core::error::Error for Invalid {}

impl Ruleset {
    /// The table of this name.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }

    /// Checks everything that the dataplane relies on, whoever sent the ruleset.
    ///
    /// # Errors
    /// The first fault found, in the order of the fields.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_sizes()?;
        self.validate_tables()?;
        self.validate_calls().map_err(|(number, what)| Invalid {
            rule: Some(number),
            place: place(&self.rules[number]),
            what,
        })?;
        for (number, rule) in self.rules.iter().enumerate() {
            self.validate_rule(rule).map_err(|what| Invalid {
                rule: Some(number),
                place: place(rule),
                what,
            })?;
        }
        block::among(&self.rules).map(|_| ()).map_err(|(number, other)| Invalid {
            rule: Some(number),
            place: place(&self.rules[number]),
            what: format!("its port blocks would be those of other sources, by rule @{other}: give each rule addresses of its own"),
        })
    }

    /// The blocks that its rules share ports out in; none of rules that are not valid.
    pub fn port_blocks(&self) -> Vec<PortBlocks> {
        block::among(&self.rules).unwrap_or_default()
    }

    fn validate_sizes(&self) -> Result<(), Invalid> {
        let too_many = |what: &str, count: usize, most: usize| Invalid {
            rule: None,
            place: String::new(),
            what: format!("{count} {what}, but at most {most} are possible"),
        };
        let rules = self.rules.len() + self.idle.len();
        if rules > bounds::RULES {
            return Err(too_many("rules", rules, bounds::RULES));
        }
        if self.options.skip.len() > bounds::SKIPPED {
            return Err(too_many("skipped interfaces", self.options.skip.len(), bounds::SKIPPED));
        }
        if let Syncookies::Adaptive { start, end } = self.options.syncookies
            && (start > 100 || end >= start)
        {
            let what = format!("syncookies adaptive from {start}% down to {end}% of the states");
            return Err(Invalid { rule: None, place: String::new(), what });
        }
        if self.fingerprints.len() > bounds::FINGERPRINTS {
            return Err(too_many("fingerprints", self.fingerprints.len(), bounds::FINGERPRINTS));
        }
        let tables = self.options.limits.get(Limit::Tables) as usize;
        if self.tables.len() > tables {
            return Err(too_many("tables", self.tables.len(), tables));
        }
        let anchors = self.options.limits.get(Limit::Anchors) as usize;
        if self.anchors.len() > anchors {
            return Err(too_many("anchors", self.anchors.len(), anchors));
        }
        if let Some(path) =
            self.anchors.iter().find(|path| path.is_empty() || path.len() > bounds::PATH_BYTES)
        {
            return Err(too_many("bytes in the path of an anchor", path.len(), bounds::PATH_BYTES));
        }
        let entries: usize =
            self.tables.iter().filter_map(|table| table.entries.as_ref()).map(Vec::len).sum();
        let most = self.options.limits.get(Limit::TableEntries) as usize;
        if entries > most {
            return Err(too_many("table entries (set limit table-entries)", entries, most));
        }
        let mut tags: Vec<&str> = self.rules.iter().filter_map(|rule| rule.tag.as_deref()).collect();
        tags.sort_unstable();
        tags.dedup();
        if tags.len() > bounds::TAGS {
            return Err(too_many("tags", tags.len(), bounds::TAGS));
        }
        Ok(())
    }

    fn validate_tables(&self) -> Result<(), Invalid> {
        let fault = |what: String| Invalid { rule: None, place: String::new(), what };
        let mut names: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(fault(format!("table <{}> is defined twice", pair[0])));
        }
        let is_name = |name: &str| {
            let (path, name) = name.rsplit_once('/').unwrap_or(("", name));
            !name.is_empty() && name.len() <= bounds::NAME_BYTES && path.len() <= bounds::PATH_BYTES
        };
        match names.iter().find(|name| !is_name(name)) {
            Some(name) => Err(fault(format!(
                "the table name '{name}' is empty or longer than {} bytes",
                bounds::NAME_BYTES
            ))),
            None => Ok(()),
        }
    }

    fn validate_rule(&self, rule: &Rule) -> Result<(), String> {
        for end in [&rule.from, &rule.to] {
            self.validate_address(rule.af, &end.address)?;
            let ported = matches!(rule.proto, Some(Proto::TCP | Proto::UDP | Proto::SCTP));
            if end.port != PortMatch::Any && !ported {
                return Err("port only applies to tcp/udp".into());
            }
        }
        validate_protocol(rule)?;
        pool::validate(rule)?;
        for pattern in rule.targets() {
            self.validate_table(pattern)?;
        }
        for name in rule.labels().chain(&rule.tag) {
            if name.is_empty() || name.len() > bounds::NAME_BYTES {
                return Err(format!(
                    "the name '{name}' is empty or longer than {} bytes",
                    bounds::NAME_BYTES
                ));
            }
        }
        if rule.action != Action::Pass && rule.state != StateMode::None {
            return Err("only pass rules keep state".into());
        }
        if let Some(os) = &rule.os {
            self.validate_os(rule, os)?;
        }
        let set = rule.set_prio.iter().flat_map(|set| [set.bulk, set.urgent]);
        if rule.prio.into_iter().chain(set).any(|prio| prio > PRIO_MAX) {
            return Err(format!("a priority is greater than {PRIO_MAX}"));
        }
        if let Some(routing) = &rule.routing {
            routing::validate(rule, routing)?;
        }
        source::validate(rule)?;
        if let Some(overload) = &rule.state_options.source.overload
            && self.table(&overload.table).is_none()
        {
            return Err(format!("table <{}> is not defined", overload.table));
        }
        if rule.once && rule.action == Action::Match {
            return Err("match rules do not end with the first match (once)".into());
        }
        Ok(())
    }

    fn validate_os(&self, rule: &Rule, os: &str) -> Result<(), String> {
        let is_known = os == UNKNOWN_OS || self.fingerprints.iter().any(|one| one.is_called(os));
        match rule.proto {
            Some(Proto::TCP) if is_known => Ok(()),
            Some(Proto::TCP) => Err(format!("there is no fingerprint of the operating system '{os}'")),
            _ => Err("os only applies to tcp".into()),
        }
    }

    fn validate_table(&self, pattern: &AddressPattern) -> Result<(), String> {
        match pattern {
            AddressPattern::Table(name) if self.table(name).is_none() => {
                Err(format!("table <{name}> is not defined"))
            }
            _ => Ok(()),
        }
    }

    fn validate_address(&self, af: Option<Af>, address: &AddressMatch) -> Result<(), String> {
        let family = match &address.pattern {
            AddressPattern::Any | AddressPattern::NoRoute | AddressPattern::UrpfFailed => return Ok(()),
            AddressPattern::Interface { .. } => return Ok(()),
            pattern @ AddressPattern::Table(_) => return self.validate_table(pattern),
            AddressPattern::Net(net) => Af::of(&net.addr()),
            AddressPattern::Masked { net, mask } if Af::of(net) == Af::of(mask) => Af::of(net),
            AddressPattern::Range(first, last) if Af::of(first) == Af::of(last) => {
                if first > last {
                    return Err(format!("the range {first} - {last} is empty"));
                }
                Af::of(first)
            }
            AddressPattern::Masked { .. } | AddressPattern::Range(..) => {
                return Err("the two addresses are of different families".into());
            }
        };
        match af {
            Some(af) if af == family => Ok(()),
            _ => Err("an address needs the rule to be of its family (inet or inet6)".into()),
        }
    }
}

fn validate_protocol(rule: &Rule) -> Result<(), String> {
    if rule.flags.is_some() && rule.proto.is_some_and(|proto| proto != Proto::TCP) {
        return Err("flags only applies to tcp".into());
    }
    if let Some(icmp) = rule.icmp {
        let family = match rule.proto {
            Some(Proto::ICMP) => Af::Inet,
            Some(Proto::ICMP6) => Af::Inet6,
            _ => return Err(format!("icmp-type {} without proto icmp or icmp6", icmp.kind)),
        };
        if rule.af.is_some_and(|af| af != family) {
            return Err("the icmp protocol doesn't match the address family".into());
        }
    }
    if matches!(rule.state, StateMode::Modulate | StateMode::Synproxy)
        && rule.proto.is_some_and(|proto| proto != Proto::TCP)
    {
        return Err("modulate and synproxy state only apply to tcp".into());
    }
    Ok(())
}

fn place(rule: &Rule) -> String {
    match rule.source.line {
        0 => String::new(),
        line => format!(" ({}:{line})", rule.source.file),
    }
}
