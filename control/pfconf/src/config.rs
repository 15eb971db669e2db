//! A ruleset after macros and lists are expanded: everything that pf.conf(5) can say, ready to be printed or lowered.

use ruleset::{AddressPattern, Options, Rule, Table};
use wire::Af;

use crate::ast::{Extras, PoolKind, QueueStatement, RouteKind, Spanned};
use crate::source::{SourceMap, Span};

/// A ruleset as it was written, expanded.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What `pfctl -v` prints while it reads: macros, options and tables, in the order of the file.
    pub(crate) echo: Vec<String>,
    pub(crate) options: Options,
    pub(crate) tables: Vec<Table>,
    pub(crate) queues: Vec<QueueStatement>,
    pub(crate) entries: Vec<Entry>,
    /// Rules of `load anchor`, by the anchor's path.
    pub(crate) loaded: Vec<(String, Vec<Entry>)>,
    /// Statements that the dataplane does not know yet.
    pub(crate) unsupported: Vec<Spanned<&'static str>>,
    /// Where the keywords of rules stand.
    pub(crate) places: Vec<Spanned<&'static str>>,
    pub(crate) sources: SourceMap,
}

/// A place in the order of evaluation.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Rule(FullRule),
    Anchor(Anchor),
}

/// A rule, with the parts that the dataplane's form has no place for.
#[derive(Clone, Debug, Default)]
pub(crate) struct FullRule {
    pub rule: Rule,
    pub extras: Extras,
    pub nat: Option<Pool>,
    pub rdr: Option<Pool>,
    pub af_to: Option<Af>,
    pub route: Option<(RouteKind, Pool)>,
    pub span: Span,
}

/// An anchor: what must match, and the rules in braces.
#[derive(Clone, Debug)]
pub(crate) struct Anchor {
    pub name: Option<String>,
    pub gate: FullRule,
    pub body: Option<Vec<Entry>>,
}

/// Where a translation or a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    pub address: AddressPattern,
    /// `@interface`.
    pub via: Option<String>,
    /// First and last port; zeroes if none are given.
    pub ports: (u16, u16),
    pub kind: Option<PoolKind>,
    pub sticky: bool,
    pub static_port: bool,
}

impl Config {
    /// Where a keyword stands in a statement, else the statement.
    pub(crate) fn place(&self, keyword: &str, within: Span) -> Span {
        let inside =
            |span: Span| span.file == within.file && within.start <= span.start && span.end <= within.end;
        let known = self.places.iter().find(|place| place.value == keyword && inside(place.span));
        known.map_or(within, |place| place.span)
    }
}
