//! The one printer: rules, tables and queues as pfctl shows them, which is also the normal form of the language.

mod address;
mod more;
pub(crate) mod queue;
pub(crate) mod rule;
mod whole;
mod word;

use std::fmt::Write;

use ruleset::{
    BlockPolicy, Limit, Options, Reassemble, Rule, Syncookies, Table, TableEntry, Timeout,
    adaptive_thresholds,
};

pub(crate) use address::{Sizes, address_match, net};
pub use whole::print_ruleset;
pub(crate) use word::{quoted, word};

use crate::ast::Section;
use crate::config::{Anchor, Config, Echo, Entry, FullRule, Member};
use crate::dialect::Dialect;
use crate::parse::RFC_NAT;
use crate::path;

/// In which form rules are printed.
#[derive(Clone, Copy)]
pub(crate) struct Style<'a> {
    pub dialect: Dialect,
    /// Given for `pfctl -vv`.
    pub sizes: Option<&'a dyn Sizes>,
    /// `pfctl -P`: ports by name, which is FreeBSD's way without it.
    pub port_names: bool,
}

impl From<Dialect> for Style<'_> {
    fn from(dialect: Dialect) -> Self {
        Self { dialect, sizes: None, port_names: false }
    }
}

impl Style<'_> {
    fn word(self, name: &str) -> String {
        word::word(name, self.dialect)
    }

    fn table(self, name: &str) -> String {
        word::table(name, self.dialect)
    }

    fn is_freebsd(self) -> bool {
        self.dialect == Dialect::FreeBsd
    }

    fn names_ports(self) -> bool {
        self.is_freebsd() != self.port_names
    }
}

/// A rule in pfctl's normal form, without a newline.
pub fn print_rule(rule: &Rule) -> String {
    let full = FullRule::from(&local(rule));
    match &rule.call {
        Some(call) => rule::anchor_text(path::printed(&call.name), &full, Dialect::default().into()),
        None => rule::text(&full, Dialect::default().into()),
    }
}

/// A rule as it is written within its anchor: tables without the anchor's path.
pub(crate) fn local(rule: &Rule) -> Rule {
    let mut rule = rule.clone();
    for name in rule.tables_mut() {
        if let Some((_, own)) = name.rsplit_once('/') {
            *name = own.to_owned();
        }
    }
    rule
}

/// The value of `set reassemble`.
pub fn reassemble_words(option: Reassemble) -> &'static str {
    match (option.enabled, option.no_df) {
        (true, false) => "yes",
        (true, true) => "yes no-df",
        (false, false) => "no",
        (false, true) => "no no-df",
    }
}

/// The value of `set syncookies`.
pub fn syncookies_words(option: Syncookies) -> String {
    match option {
        Syncookies::Never => "never".into(),
        Syncookies::Always => "always".into(),
        Syncookies::Adaptive { start, end } => format!("adaptive (start {start}%, end {end}%)"),
    }
}

/// The value of `set block-policy` and `set fail-policy`.
pub const fn policy_word(option: BlockPolicy) -> &'static str {
    match option {
        BlockPolicy::Drop => "drop",
        BlockPolicy::Return => "return",
    }
}

/// What `set` lines make these options of those that hold when nothing is set; nothing where they are the same.
pub fn print_options(options: &Options) -> String {
    let mut plain = Options::default();
    let mut out = String::new();
    if options.endpoint_independent {
        out += "set optimization rfc-nat\n";
        RFC_NAT.iter().for_each(|(timeout, seconds)| plain.timeouts.set(*timeout, *seconds));
    }
    if options.block_policy != plain.block_policy {
        out += "set block-policy return\n";
    }
    if options.state_policy != plain.state_policy {
        out += "set state-policy if-bound\n";
    }
    if options.reassemble != plain.reassemble {
        let _ = writeln!(out, "set reassemble {}", reassemble_words(options.reassemble));
    }
    if options.syncookies != plain.syncookies {
        let _ = writeln!(out, "set syncookies {}", syncookies_words(options.syncookies));
    }
    if options.fail_policy != plain.fail_policy {
        let _ = writeln!(out, "set fail-policy {}", policy_word(options.fail_policy));
    }
    if options.keep_counters {
        out += "set keepcounters\n";
    }
    if let Some(level) = options.debug {
        let _ = writeln!(out, "set debug {}", level.name());
    }
    if options.host_id != 0 {
        let _ = writeln!(out, "set hostid 0x{:08x}", options.host_id);
    }
    let name = |name: &String| word::word(name, Dialect::default());
    if !options.skip.is_empty() {
        let names: Vec<String> = options.skip.iter().map(name).collect();
        let _ = writeln!(out, "set skip on {{ {} }}", names.join(" "));
    }
    if let Some(interface) = &options.log_interface {
        let _ = writeln!(out, "set loginterface {}", name(interface));
    }
    // The limits first: some time-outs begin as a part of them.
    for limit in Limit::ALL {
        let value = options.limits.get(limit);
        if value != plain.limits.get(limit) {
            let _ = writeln!(out, "set limit {} {value}", limit.name());
        }
    }
    // The thresholds of adaptive scaling follow from the limit, unless one of them is given.
    let thresholds = adaptive_thresholds(options.limits.get(Limit::States));
    let derived = thresholds.iter().all(|(one, states)| options.timeouts.get(*one) == *states);
    for timeout in Timeout::ALL {
        let value = options.timeouts.get(timeout);
        let implied = if timeout.counts_states() { derived } else { value == plain.timeouts.get(timeout) };
        if !implied {
            let _ = writeln!(out, "set timeout {} {value}", timeout.name());
        }
    }
    out
}

/// A table's definition in pfctl's normal form, with its entries and their weights, without a newline.
pub fn print_table(table: &Table) -> String {
    whole_table(table, Dialect::default())
}

/// The same in a dialect.
pub(crate) fn whole_table(table: &Table, dialect: Dialect) -> String {
    table_with(table, dialect, weighed)
}

/// As `pfctl -v` shows it: without weights.
pub(crate) fn table_text(table: &Table, dialect: Dialect) -> String {
    table_with(table, dialect, |entry| Member::from(*entry).to_string())
}

fn table_with(table: &Table, dialect: Dialect, text_of: fn(&TableEntry) -> String) -> String {
    let mut text = table_head(table, dialect);
    if let Some(entries) = &table.entries {
        text += " {";
        for entry in entries {
            let _ = write!(text, " {}", text_of(entry));
        }
        text += " }";
    }
    text
}

/// A table's name and attributes.
pub(crate) fn table_head(table: &Table, dialect: Dialect) -> String {
    let mut text = format!("table {}", word::table(&table.name, dialect));
    for (given, word) in [(table.constant, "const"), (table.persist, "persist"), (table.counters, "counters")]
    {
        if given {
            let _ = write!(text, " {word}");
        }
    }
    text
}

/// An entry of a table.
fn weighed(entry: &TableEntry) -> String {
    let weight = entry.weight.map_or_else(String::new, |weight| format!(" weight {weight}"));
    format!("{}{weight}", Member::from(*entry))
}

/// Whether rules are printed with their numbers (`pfctl -vv`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// `@0 pass all`.
    Shown,
    /// `pass all`.
    Hidden,
}

impl Config {
    /// What `pfctl -v` prints while it reads: macros, options and tables, in the order of the file.
    pub fn print_echo(&self) -> String {
        self.echo.iter().map(|line| format!("{}\n", line.text())).collect()
    }

    /// The tables of that, which are all that `pfctl -T load` reads.
    pub fn print_tables(&self) -> String {
        let tables = self.echo.iter().filter(|line| matches!(line, Echo::Table(_)));
        tables.map(|line| format!("{}\n", line.text())).collect()
    }

    /// Queues and rules, as `pfctl -nv` prints them once everything is read.
    pub fn print_rules(&self, numbers: Numbers) -> String {
        let mut out = String::new();
        // FreeBSD wants scrub rules in front of queues.
        let early = self.entries.iter().take_while(|entry| entry.section() == Some(Section::Scrub)).count();
        let early = if self.queues.is_empty() { 0 } else { early };
        self.print_entries(&self.entries[..early], 0, numbers, &mut out);
        for queue in &self.queues {
            let _ = writeln!(out, "{}", queue::text(queue, self.dialect.into()));
        }
        self.print_entries(&self.entries[early..], 0, numbers, &mut out);
        let called = |path: &str| {
            self.entries.iter().any(|entry| match entry {
                Entry::Anchor(anchor) => anchor.name.as_deref() == Some(path),
                Entry::Rule(_) => false,
            })
        };
        for (_, entries) in self.loaded.iter().filter(|(path, _)| !called(path)) {
            self.print_entries(entries, 0, numbers, &mut out);
        }
        out
    }

    fn print_entries(&self, entries: &[Entry], depth: usize, numbers: Numbers, out: &mut String) {
        let mut last: Option<&Anchor> = None;
        for (number, entry) in entries.iter().enumerate() {
            let indent = "  ".repeat(depth);
            out.push_str(&indent);
            if numbers == Numbers::Shown {
                let _ = write!(out, "@{number} ");
            }
            match entry {
                Entry::Rule(rule) => {
                    let _ = writeln!(out, "{}", rule::text(rule, self.dialect.into()));
                }
                Entry::Anchor(anchor) => {
                    out.push_str(&rule::anchor_text(
                        anchor.name.as_deref(),
                        &anchor.gate,
                        self.dialect.into(),
                    ));
                    // What has a name is called by it where its rules stand above.
                    let again = last.is_some_and(|last| anchor.is_called_again(last));
                    last = Some(anchor);
                    match self.anchor_entries(anchor, depth).filter(|_| !again) {
                        Some(entries) => {
                            out.push_str(" {\n");
                            self.print_entries(entries, depth + 1, numbers, out);
                            let _ = writeln!(out, "{indent}}}");
                        }
                        None => out.push('\n'),
                    }
                }
            }
        }
    }

    /// Rules in braces, or those that were loaded from a file.
    fn anchor_entries<'a>(&'a self, anchor: &'a Anchor, depth: usize) -> Option<&'a [Entry]> {
        if let Some(body) = &anchor.body {
            return Some(body);
        }
        let name = anchor.name.as_deref().filter(|_| depth == 0)?;
        self.loaded.iter().find(|(path, _)| path == name).map(|(_, entries)| entries.as_slice())
    }
}
