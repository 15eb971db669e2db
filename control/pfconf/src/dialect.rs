//! The two dialects of the language, and how a file is told to be of one of them.
//!
//! Overview: OpenBSD's is the native one. FreeBSD's has rulesets for translation and scrub that come before the filter, and
//! prints some parts in another form. The lexer, the parser and the printer ask the dialect where they differ; the `ast`
//! holds both.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostics;
use crate::host::Host;
use crate::lex::{Kind, Lexer};

/// Whose pf.conf(5) a ruleset is written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// OpenBSD's.
    #[default]
    OpenBsd,
    /// FreeBSD's.
    FreeBsd,
}

/// The word names no dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownDialect;

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(word: &str) -> Result<Self, UnknownDialect> {
        match word {
            "openbsd" => Ok(Self::OpenBsd),
            "freebsd" => Ok(Self::FreeBsd),
            _ => Err(UnknownDialect),
        }
    }
}

impl fmt::Display for UnknownDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("known are openbsd, freebsd")
    }
}

impl std::error::Error for UnknownDialect {}

impl Dialect {
    /// The dialect of a file: FreeBSD's if one of its statements exists there only, else OpenBSD's. Files that it includes
    /// are looked at, too.
    pub fn detect(host: &dyn Host, text: &str, definitions: &[(String, String)]) -> Self {
        let mut lexer = Lexer::new(Self::FreeBsd, host, "", text, definitions, Diagnostics::default());
        let mut statement = Vec::new();
        loop {
            match lexer.next().kind {
                Kind::Newline => {}
                Kind::End => return Self::OpenBsd,
                kind => {
                    statement.push(kind);
                    continue;
                }
            }
            if is_freebsd(&statement) {
                return Self::FreeBsd;
            }
            match &statement[..] {
                [Kind::Text(name), Kind::Symbol("="), value @ ..] => lexer.define(name, &plain(value)),
                // What cannot be read is reported when the file is parsed.
                [Kind::Keyword("include"), Kind::Text(path)] => drop(lexer.include(path)),
                _ => {}
            }
            statement.clear();
        }
    }
}

/// A macro's text.
fn plain(value: &[Kind]) -> String {
    let words: Vec<String> = value
        .iter()
        .filter_map(|kind| match kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Number(number) => Some(number.to_string()),
            _ => None,
        })
        .collect();
    words.join(" ")
}

/// True if only FreeBSD has such a statement.
fn is_freebsd(statement: &[Kind]) -> bool {
    const EARLY: &[&str] = &["scrub", "nat", "rdr", "binat"];
    let by_head = match statement {
        [_, Kind::Symbol("="), ..] => return false,
        [Kind::Keyword("no"), Kind::Keyword(word), ..] => EARLY.contains(word),
        [Kind::Keyword("set"), Kind::Keyword(word), ..] => {
            ["require-order", "fail-policy", "keepcounters"].contains(word)
        }
        [Kind::Keyword("nat-anchor" | "rdr-anchor" | "binat-anchor"), ..] => true,
        [Kind::Keyword(word), ..] => EARLY.contains(word),
        _ => false,
    };
    by_head || statement.windows(2).any(is_freebsd_option) || routes_early(statement)
}

fn is_freebsd_option(pair: &[Kind]) -> bool {
    matches!(pair, [Kind::Keyword("ridentifier" | "max-pkt-size"), Kind::Number(_)])
}

/// `route-to (interface host)` in front of the family, the protocol and the hosts.
fn routes_early(statement: &[Kind]) -> bool {
    let heads =
        |kind: &Kind| matches!(kind, Kind::Keyword("inet" | "inet6" | "proto" | "all" | "from" | "to"));
    let routes = |kind: &Kind| matches!(kind, Kind::Keyword("route-to" | "reply-to" | "dup-to"));
    let Some(at) = statement.iter().take_while(|kind| !heads(kind)).position(routes) else { return false };
    let rest = statement[at + 1..].iter().skip_while(|kind| **kind == Kind::Symbol("{"));
    let target: Vec<&Kind> = rest.take(3).collect();
    matches!(target[..], [Kind::Symbol("("), Kind::Text(_), last] if *last != Kind::Symbol(")"))
}
