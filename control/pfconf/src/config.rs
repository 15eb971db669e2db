//! A ruleset after macros and lists are expanded: everything that pf.conf(5) can say, ready to be printed or lowered.

use std::num::NonZeroU16;

use ipnet::IpNet;
use ruleset::{
    Action, AddressPattern, Direction, Fingerprint, Gateway, Options, PoolKind, PortSet, Routing,
    RoutingKind, Rule, StateMode, Table, TableEntry, Translating,
};
use serde::{Deserialize, Serialize};
use wire::{Af, Port};

use crate::ast::{Early, Extras, QueueStatement, Section, Spanned};
use crate::dialect::Dialect;
use crate::optimize::Optimize;
use crate::source::{SourceMap, Span};
use crate::{path, print};

/// A ruleset as it was written, expanded.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub(crate) dialect: Dialect,
    /// What `pfctl -v` prints while it reads: macros, options and tables, in the order of the file.
    pub(crate) echo: Vec<Echo>,
    pub(crate) options: Options,
    /// `set ruleset-optimization`.
    pub(crate) optimize: Option<Optimize>,
    pub(crate) tables: Vec<TableDefinition>,
    pub(crate) queues: Vec<QueueStatement>,
    pub(crate) entries: Vec<Entry>,
    /// Rules of `load anchor`, by the anchor's path.
    pub(crate) loaded: Vec<(String, Vec<Entry>)>,
    /// What anchors have for rulesets for translation, on the way to the dataplane.
    pub(crate) beside: Vec<Beside>,
    /// Statements that the dataplane does not know yet.
    pub(crate) unsupported: Vec<Spanned<&'static str>>,
    /// Where the keywords of rules stand, and [`KEEP_COUNTERS`].
    pub(crate) places: Vec<Spanned<&'static str>>,
    pub(crate) sources: SourceMap,
    /// What is known of operating systems, where rules ask.
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// The first of FreeBSD's `scrub` rules that puts fragments together.
    pub(crate) scrubs_fragments: Option<ruleset::Scrub>,
}

/// The option that nothing is printed of, among the [places](Config::places).
pub(crate) const KEEP_COUNTERS: &str = "set keepcounters";

/// A line that `pfctl -v` prints while it reads.
#[derive(Clone, Debug)]
pub(crate) enum Echo {
    Macro(String),
    Option { text: String, span: Span },
    Table(String),
}

impl Echo {
    pub(crate) fn text(&self) -> &str {
        let (Self::Macro(text) | Self::Option { text, .. } | Self::Table(text)) = self;
        text
    }
}

/// What an anchor has for one of FreeBSD's rulesets for translation.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    /// One of [`path::BESIDE`].
    pub tree: &'static str,
    /// The path of the anchor, from that of the configuration.
    pub anchor: String,
    pub entries: Vec<Entry>,
}

/// A place in the order of evaluation.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Rule(FullRule),
    Anchor(Anchor),
}

impl Entry {
    /// FreeBSD's rulesets in their order; the filter, which is all that OpenBSD has, comes last.
    pub(crate) fn stage(&self) -> (bool, Option<Section>) {
        let section = self.section();
        (section.is_none(), section)
    }

    /// The ruleset that it stands in; `None` for the filter.
    pub(crate) fn section(&self) -> Option<Section> {
        self.rule().section()
    }

    /// The rule, or what must match before an anchor is entered.
    pub(crate) fn rule(&self) -> &FullRule {
        let (Self::Rule(full) | Self::Anchor(Anchor { gate: full, .. })) = self;
        full
    }
}

impl FullRule {
    /// The ruleset that it stands in; `None` for the filter.
    pub(crate) fn section(&self) -> Option<Section> {
        self.early.map(|early| early.section)
    }
}

/// A rule, with the parts that the dataplane's form has no place for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct FullRule {
    /// Set if it stands before the filter; its action in `rule` says nothing then.
    pub early: Option<Early>,
    pub rule: Rule,
    pub extras: Extras,
    pub nat: Option<Pool>,
    pub rdr: Option<Pool>,
    pub af_to: Option<Af>,
    pub route: Option<(RoutingKind, Pool)>,
    #[serde(skip)]
    pub span: Span,
}

/// An anchor: what must match, and the rules in braces.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub name: Option<String>,
    pub gate: FullRule,
    pub body: Option<Vec<Entry>>,
}

impl Anchor {
    /// True if the rules in braces are those of the call before, of which the statement's lists made this one, too. Braces
    /// without a name are an anchor for each call.
    pub(crate) fn is_called_again(&self, before: &Self) -> bool {
        let same = self.gate.span == before.gate.span && self.name == before.name;
        same && self.name.is_some() && self.body.is_some()
    }
}

/// A table as it is defined.
#[derive(Clone, Debug, Default)]
pub(crate) struct TableDefinition {
    /// The path of the anchor that it is defined in, from that of the configuration.
    pub anchor: String,
    pub name: String,
    pub persist: bool,
    pub constant: bool,
    pub counters: bool,
    /// `None` if no list was given, which keeps the contents of an existing table of this name.
    pub members: Option<Vec<Member>>,
    pub span: Span,
}

impl TableDefinition {
    /// What tables that pfctl makes itself begin with.
    pub(crate) const AUTOMATIC: &'static str = "__automatic_";

    pub(crate) fn lower(&self) -> Table {
        let entries = |members: &Vec<Member>| members.iter().map(Member::entry).collect();
        Table {
            name: self.name.clone(),
            persist: self.persist,
            constant: self.constant,
            counters: self.counters,
            entries: self.members.as_ref().map(entries),
        }
    }
}

/// A host or network of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// `!`: addresses for which this is the longest match are not in the table.
    pub negated: bool,
    /// The host or network.
    pub net: IpNet,
    /// `weight n`, for pools.
    pub weight: Option<NonZeroU16>,
}

impl Member {
    /// As the dataplane has it.
    pub const fn entry(&self) -> TableEntry {
        let Self { negated, net, weight } = *self;
        TableEntry { negated, net, weight }
    }
}

impl From<TableEntry> for Member {
    fn from(TableEntry { negated, net, weight }: TableEntry) -> Self {
        Self { negated, net, weight }
    }
}

impl std::fmt::Display for Member {
    /// As pf.conf(5) has it: `!10.0.0.0/8`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, print::net(self.net))
    }
}

/// Where a translation or a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pool {
    /// One; in FreeBSD's dialect also several, of which OpenBSD makes a table.
    pub hosts: Vec<PoolHost>,
    /// First and last port; zeroes if none are given.
    pub ports: (u16, u16),
    pub kind: Option<PoolKind>,
    pub sticky: bool,
    pub static_port: bool,
    pub port_block: Option<u16>,
    pub endpoint_independent: bool,
    pub map_e: Option<PortSet>,
}

/// A host of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolHost {
    pub address: AddressPattern,
    /// `@interface`, or the interface of `(interface host)`.
    pub via: Option<String>,
    /// `weight n`, of one of several.
    #[serde(default)]
    pub weight: Option<NonZeroU16>,
}

impl Pool {
    /// As the dataplane has where packets, or their copies, are routed to.
    pub(crate) fn to_routing(&self, kind: RoutingKind) -> Routing {
        let gateway = |PoolHost { address, via, weight }: &PoolHost| Gateway {
            address: address.clone(),
            interface: via.clone(),
            weight: *weight,
        };
        let gateways = self.hosts.iter().map(gateway).collect();
        Routing { kind, gateways, choice: self.kind.clone(), sticky: self.sticky }
    }

    /// As the dataplane has the target of a translation, if it is one host, network, table or interface.
    pub(crate) fn to_target(&self) -> Option<ruleset::Pool> {
        let (first, last) = self.ports;
        Some(ruleset::Pool {
            address: self.only()?.address.clone(),
            kind: self.kind.clone(),
            sticky: self.sticky,
            ports: (self.ports != (0, 0)).then_some((Port(first), Port(last))),
            static_port: self.static_port,
            port_block: self.port_block,
            port_set: self.map_e,
            endpoint_independent: self.endpoint_independent,
        })
    }

    /// Its host, if it is one.
    pub(crate) fn only(&self) -> Option<&PoolHost> {
        match self.hosts.as_slice() {
            [host] => Some(host),
            _ => None,
        }
    }
}

impl PoolHost {
    /// A pool of it alone.
    fn alone(self) -> Pool {
        Pool {
            hosts: vec![self],
            ports: (0, 0),
            kind: None,
            sticky: false,
            static_port: false,
            port_block: None,
            endpoint_independent: false,
            map_e: None,
        }
    }
}

impl From<&Routing> for Pool {
    fn from(routing: &Routing) -> Self {
        let host = |Gateway { address, interface, weight }: &Gateway| PoolHost {
            address: address.clone(),
            via: interface.clone(),
            weight: *weight,
        };
        Self {
            hosts: routing.gateways.iter().map(host).collect(),
            ports: (0, 0),
            kind: routing.choice.clone(),
            sticky: routing.sticky,
            static_port: false,
            port_block: None,
            endpoint_independent: false,
            map_e: None,
        }
    }
}

impl From<&ruleset::Pool> for Pool {
    fn from(pool: &ruleset::Pool) -> Self {
        let (first, last) = pool.ports.map_or((0, 0), |(first, last)| (first.0, last.0));
        Self {
            ports: (first, last),
            kind: pool.kind.clone(),
            sticky: pool.sticky,
            static_port: pool.static_port,
            port_block: pool.port_block,
            endpoint_independent: pool.endpoint_independent,
            map_e: pool.port_set,
            ..PoolHost { address: pool.address.clone(), via: None, weight: None }.alone()
        }
    }
}

/// What makes a rule one of FreeBSD's rulesets for translation. The way in of `binat` stands for itself.
fn early_of(rule: &Rule) -> Option<Early> {
    let first = rule.first_match?;
    let section = match (first.ruleset, rule.direction) {
        (Translating::Nat, _) => Section::Nat,
        (Translating::Rdr, _) => Section::Rdr,
        (Translating::Binat, Some(Direction::Out)) => Section::Binat,
        (Translating::Binat, _) if rule.call.is_some() => Section::Binat,
        // What FreeBSD asks of each packet is asked of a connection.
        (Translating::Binat, _) | (Translating::Scrub, _) => return None,
    };
    Some(Early {
        section,
        exempt: first.exempt && rule.call.is_none(),
        pass: rule.quick && rule.call.is_none(),
    })
}

impl From<&Rule> for FullRule {
    /// What the dataplane has of a rule, with its pools where they are printed from.
    fn from(rule: &Rule) -> Self {
        let early = early_of(rule);
        let own = match early {
            None => rule.clone(),
            // What its ruleset implies is not said.
            Some(_) => Rule {
                direction: None,
                quick: rule.quick && rule.call.is_some(),
                action: Action::Match,
                state: StateMode::None,
                ..rule.clone()
            },
        };
        let nat = rule.nat.as_ref().map(Pool::from);
        // That a port stays is what `binat` means.
        let both_ways = early.is_some_and(|early| early.section == Section::Binat);
        let nat = nat.map(|nat| Pool { static_port: nat.static_port && !both_ways, ..nat });
        Self {
            early,
            rule: own,
            nat,
            rdr: rule.rdr.as_ref().map(Pool::from),
            af_to: rule.af_to,
            route: rule.routing.as_ref().map(|routing| (routing.kind, routing.into())),
            ..Self::default()
        }
    }
}

impl Config {
    /// A table of several addresses that stands in their place, as pfctl makes them, and the pattern that names it.
    pub(crate) fn automatic_table(&mut self, members: Vec<Member>) -> AddressPattern {
        let made = self.tables.iter().filter(|table| table.name.starts_with(TableDefinition::AUTOMATIC));
        let number = made.count();
        let text: String = members.iter().map(|member| format!("{member} ")).collect();
        let [hash, ..] = crate::hash::key_of_text(&text);
        let name = format!("{}{hash:08x}_{number}", TableDefinition::AUTOMATIC);
        let pattern = AddressPattern::Table(name.clone());
        let members = Some(members);
        self.tables.push(TableDefinition { name, constant: true, members, ..TableDefinition::default() });
        pattern
    }

    /// Defines the tables of another configuration, each in place of one of its name, in an anchor.
    pub fn define_tables(&mut self, other: &Self, anchor: &str) {
        for table in &other.tables {
            let anchor = path::join(&path::normal(anchor), &table.anchor);
            self.tables.retain(|own| (&own.anchor, &own.name) != (&anchor, &table.name));
            self.tables.push(TableDefinition { anchor, span: Span::default(), ..table.clone() });
        }
    }

    /// Has the options hold that hold where nothing is set.
    pub fn reset_options(&mut self) {
        self.options = Options::default();
    }

    /// Where a keyword stands in a statement, else the statement.
    pub(crate) fn place(&self, keyword: &str, within: Span) -> Span {
        let inside =
            |span: Span| span.file == within.file && within.start <= span.start && span.end <= within.end;
        let known = self.places.iter().find(|place| place.value == keyword && inside(place.span));
        known.map_or(within, |place| place.span)
    }
}
