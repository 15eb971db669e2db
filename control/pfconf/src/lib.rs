//! The pf.conf(5) language: text to the ruleset that the dataplane enforces, and back to pfctl's normal form.
//!
//! Overview: [`read`] lexes (`lex`), parses (`parse`, into the `ast`) and expands (`expand`) a file into a [`Config`],
//! which holds everything that the language can say. [`Config::lower`] makes the dataplane's [`ruleset::Ruleset`] of it
//! and refuses by name what the dataplane does not know yet; the printer (`print`) shows it as pfctl does. Findings are
//! [`Diagnostics`], rendered in pfctl's words ([`std::fmt::Display`]) or for people ([`Diagnostics::render`]).
//!
//! A keyword is added in `lex/keyword.rs` and `parse`, gets its place in the `ast` and in `print`, and a line in
//! `unsupported.rs` until the dataplane obeys it: then its field moves from `ast::Extras` to [`ruleset::Rule`].
//!
//! Life cycle: pure functions from text to values; the machine (files, names, interfaces) is an argument, [`Host`].
//! Ownership: nothing is shared. Bounds: rules as in [`ruleset::bounds`], words of 8 kB, lists and anchors 32 deep,
//! includes 16 deep, [`Diagnostics::MOST`] findings.
#![forbid(unsafe_code)]

mod ast;
mod config;
mod convert;
mod diagnostic;
mod dialect;
mod expand;
mod fingerprint;
mod hash;
mod host;
mod interfaces;
mod lex;
mod lint;
mod loaded;
mod lower;
mod manual;
mod names;
mod nearest;
mod optimize;
mod parse;
mod path;
mod print;
mod skip;
mod source;
mod tree;
mod unsupported;

use ruleset::Ruleset;

pub use config::{Config, Member};
pub use diagnostic::{Colour, Diagnostic, Diagnostics, PlacedFinding, Severity};
pub use dialect::{Dialect, UnknownDialect};
pub use expand::{MemberError, members, read_members};
pub use fingerprint::{FINGERPRINTS, Fingerprints};
pub use host::{Host, Isolated, Recorder, localhost};
pub use interfaces::{Described, Interfaces};
pub use path::owner as table_owner;

pub use loaded::{
    AddressTraffic, Counters, Feedback, Inserter, Loaded, LoadedTable, Origin, RuleRow, RulesView, Scope,
    TableChange, TableRow, TableVerb, UnknownAnchor, print_members,
};
pub use manual::manual;
pub use optimize::{Optimize, UnknownLevel};
pub use print::{
    Numbers, policy_word, print_options, print_rule, print_ruleset, print_table, reassemble_words,
    syncookies_words,
};
pub use source::{SourceFile, SourceMap, Span};

/// Reads a ruleset in the dialect that [`Dialect::detect`] finds. `name` stands in findings; `definitions` are macros that
/// the text cannot change (`pfctl -D`).
///
/// The configuration is complete only if there are no errors among the findings; what `-v` prints while reading
/// ([`Config::print_echo`]) is there in any case, as with pfctl.
pub fn read(
    host: &dyn Host,
    name: &str,
    text: &str,
    definitions: &[(String, String)],
) -> (Config, Diagnostics) {
    read_as(Dialect::detect(host, text, definitions), host, name, text, definitions)
}

/// Reads a ruleset of a known dialect, as [`read`] does.
pub fn read_as(
    dialect: Dialect,
    host: &dyn Host,
    name: &str,
    text: &str,
    definitions: &[(String, String)],
) -> (Config, Diagnostics) {
    let (text, findings) = parse::parse(dialect, host, name, text, definitions, Diagnostics::default(), 0);
    expand::expand(dialect, host, text, findings, definitions)
}

/// The path of an anchor without what says nothing: `/` in front and at its end, `/*`.
pub fn anchor_path(anchor: &str) -> String {
    path::normal(anchor)
}

/// The number of a protocol, by its name or its number.
pub fn protocol_number(word: &str) -> Option<u8> {
    names::protocol_number(word).map(|proto| proto.0).or_else(|| word.parse().ok())
}

/// The number of a type of ICMP, by its name in pf.conf(5) or its number.
pub fn icmp_type(word: &str, af: wire::Af) -> Option<u8> {
    names::type_number(word, af).or_else(|| word.parse().ok())
}

/// The octet that a name of pf.conf(5) `tos`, or a number as C writes it, stands for.
pub fn type_of_service(word: &str) -> Option<u8> {
    names::tos_value(word)
}

/// Compiles a ruleset that stands by itself: no includes, no files, no names but `localhost`.
///
/// # Errors
/// Everything that is wrong with it, and every keyword that the dataplane does not know yet.
pub fn compile(text: &str, interfaces: &Interfaces) -> Result<Ruleset, Diagnostics> {
    let (config, findings) = read(&Isolated(interfaces), "pf.conf", text, &[]);
    if findings.has_errors() {
        return Err(findings);
    }
    config.lower()
}
