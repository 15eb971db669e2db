//! Tables that are made in anchors while rules are live.
//!
//! Overview: as in pf, a rule in an anchor means the anchor's own table of a name, and that of the main ruleset where the
//! anchor has none. A ruleset is compiled without knowing what `pfctl -a` has made since: [`bind`] leads its rules to those
//! tables, [`plain`] back.

use ruleset::{Rule, Ruleset, Table};

use super::TableSet;

/// The path of a table's anchor and its name there.
fn parts(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// Gives the rules of anchors those tables of their own that are `held` and that the ruleset does not define. True if there
/// were any that they name.
pub fn bind(ruleset: &mut Ruleset, held: &TableSet) -> bool {
    let mut bound = false;
    for full in held.keys().filter(|full| full.contains('/')) {
        if ruleset.table(full).is_some() {
            continue;
        }
        let (path, name) = parts(full);
        if rename(ruleset, path, name, full) {
            ruleset.tables.push(made(full.clone()));
            bound = true;
        }
    }
    bound
}

/// The ruleset as if no table had been made in an anchor.
pub fn plain(ruleset: &Ruleset) -> Ruleset {
    let mut plain = ruleset.clone();
    let is_made = |table: &Table| table.name.contains('/') && *table == made(table.name.clone());
    let (gone, kept) = plain.tables.into_iter().partition(is_made);
    plain.tables = kept;
    for Table { name: full, .. } in gone {
        let (path, name) = parts(&full);
        rename(&mut plain, path, &full, name);
    }
    plain
}

/// As a verb makes it: without a list, and staying without references.
fn made(name: String) -> Table {
    Table { name, persist: true, ..Table::default() }
}

/// Has the rules of an anchor name another table. False if none named the first.
fn rename(ruleset: &mut Ruleset, path: &str, from: &str, to: &str) -> bool {
    let places = (1..).zip(&ruleset.anchors).filter(|(_, known)| pfconf::table_owner(known) == path);
    let places: Vec<u32> = places.map(|(place, _)| place).collect();
    let within = |rule: &&mut Rule| places.contains(&rule.anchor);
    let rules = ruleset.rules.iter_mut().chain(&mut ruleset.idle).filter(within);
    let mut renamed = false;
    for table in rules.flat_map(Rule::tables_mut).filter(|table| *table == from) {
        to.clone_into(table);
        renamed = true;
    }
    renamed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pfconf::{Interfaces, LoadedTable};

    use super::*;

    const RULES: &str = "table <t> { 10.0.0.1 }\nblock from <t>\nanchor a {\n block from <t>\n pass proto tcp to <own> \
                         keep state (max-src-conn 9, overload <t>)\n}\nanchor b {\n block from <t>\n}\n";

    fn names(ruleset: &Ruleset) -> Vec<String> {
        ruleset.rules.iter().flat_map(|rule| rule.tables().cloned().collect::<Vec<_>>()).collect()
    }

    fn held(names: &[&str]) -> TableSet {
        names.iter().map(|name| ((*name).to_owned(), Arc::new(LoadedTable::empty(0)))).collect()
    }

    #[test]
    fn rules_are_led_to_the_tables_of_their_own_anchor_and_back() {
        let compiled = pfconf::compile(RULES, &Interfaces::default()).expect("rules");
        let mut bound = compiled.clone();
        assert!(!bind(&mut bound, &held(&["t", "c/t", "a/other", "a"])), "nobody names these");
        assert_eq!(bound, compiled);
        assert!(bind(&mut bound, &held(&["a/t"])));
        assert_eq!(names(&bound), ["t", "a/t", "own", "a/t", "t"]);
        assert_eq!(bound.validate(), Ok(()));
        assert!(!bind(&mut bound.clone(), &held(&["a/t"])), "they are already");
        assert_eq!(plain(&bound), compiled);
    }
}
