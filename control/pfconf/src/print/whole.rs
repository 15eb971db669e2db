//! A whole ruleset of the dataplane's form as a text that is read to the same ruleset.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;

use ruleset::{BlockPolicy, Ruleset, Table};

use super::{print_options, print_rule, print_table};
use crate::config::KEEP_COUNTERS;

/// The text of a ruleset.
///
/// # Errors
/// What one file cannot say: tables and rules that were loaded into anchors apart from it.
pub fn print_ruleset(ruleset: &Ruleset) -> Result<String, String> {
    if let Some(rule) = ruleset.idle.first() {
        return Err(format!("the anchor {} is not called, and has no place in one file", ruleset.path(rule)));
    }
    // Who sees one of them takes the file for FreeBSD's.
    let foreign = [
        (ruleset.options.fail_policy != BlockPolicy::default(), "set fail-policy"),
        (ruleset.options.keep_counters, KEEP_COUNTERS),
    ];
    if let Some((_, option)) = foreign.iter().find(|(used, _)| *used) {
        return Err(format!("{option} is FreeBSD's, and has no place in OpenBSD's form"));
    }
    let mut out = print_options(&ruleset.options);
    write_tables(ruleset, "", 0, &mut out);
    let mut written = BTreeSet::new();
    write_rules(ruleset, 0..ruleset.rules.len(), &mut written, 0, &mut out)?;
    let lost = ruleset.tables.iter().find(|table| {
        let path = anchor_of(table);
        !path.is_empty() && !written.contains(path)
    });
    match lost {
        None => Ok(out),
        Some(table) => Err(format!("the table <{}> of an anchor has no place in one file", table.name)),
    }
}

/// The path of the anchor that a table is of.
fn anchor_of(table: &Table) -> &str {
    table.name.rsplit_once('/').map_or("", |(path, _)| path)
}

/// The tables of one anchor.
fn write_tables(ruleset: &Ruleset, path: &str, depth: usize, out: &mut String) {
    for table in ruleset.tables.iter().filter(|table| anchor_of(table) == path) {
        let name = table.name.rsplit('/').next().unwrap_or_default().to_owned();
        let _ = writeln!(out, "{}{}", "\t".repeat(depth), print_table(&Table { name, ..table.clone() }));
    }
}

/// Rules with those of the anchors that they call, which stand in the braces of the first call.
fn write_rules<'a>(
    ruleset: &'a Ruleset,
    range: Range<usize>,
    written: &mut BTreeSet<&'a str>,
    depth: usize,
    out: &mut String,
) -> Result<(), String> {
    let mut number = range.start;
    while number < range.end {
        let rule = &ruleset.rules[number];
        let _ = write!(out, "{}{}", "\t".repeat(depth), print_rule(rule));
        number += 1;
        let Some(call) = &rule.call else {
            out.push('\n');
            continue;
        };
        let body = number..call.end as usize;
        number = body.end;
        if call.wildcard && !body.is_empty() {
            return Err(format!(
                "the anchors of {} were loaded apart, and have no place in one file",
                call.name
            ));
        }
        let path =
            ruleset.rules.get(body.start).filter(|_| !body.is_empty()).map(|first| ruleset.path(first));
        match path.filter(|path| written.insert(path)) {
            Some(path) => {
                out.push_str(" {\n");
                write_tables(ruleset, path, depth + 1, out);
                write_rules(ruleset, body, written, depth + 1, out)?;
                let _ = writeln!(out, "{}}}", "\t".repeat(depth));
            }
            // Braces without rules, which have no name, or an anchor that stands above already.
            None if call.name.starts_with('_') => out.push_str(" {\n}\n"),
            None => out.push('\n'),
        }
    }
    Ok(())
}
