//! Rulesets of our own with what becomes of them: `accepted` load, `printed` are read and printed but refused for
//! loading, `refused` are refused, `freebsd` are of FreeBSD's dialect, `converted` are
//! written in the other one, `grammar` and `grammar-freebsd` go through all that can be written, construct by construct. Run with `TURNPIKE_BLESS=1` to write the outputs anew, then read the difference.

use std::fmt::Write;
use std::path::Path;

use crate::machine::{FILE, interfaces, read};
use pfconf::{Colour, Config, Diagnostics, Dialect, Interfaces, Isolated, Numbers};
use ruleset::{Rule, Ruleset};

/// Compares every `*.conf` of a folder with what `make` says of it.
fn each(folder: &str, make: fn(&str) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder exists");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let made = make(&std::fs::read_to_string(&path).expect("readable"));
        let kept = path.with_extension("out");
        if std::env::var_os("TURNPIKE_BLESS").is_some() {
            std::fs::write(&kept, &made).expect("writable");
        }
        let wanted = std::fs::read_to_string(&kept).unwrap_or_default();
        assert_eq!(made, wanted, "{}", path.display());
    }
}

fn printed(text: &str) -> String {
    let (config, findings) = read(text);
    assert!(!findings.has_errors(), "{findings}{text}");
    config.print_echo() + &config.print_rules(Numbers::Hidden)
}

#[test]
fn accepted_rulesets_load_and_print() {
    each("accepted", |text| {
        let shown = printed(text);
        let ruleset =
            pfconf::compile(text, &interfaces()).unwrap_or_else(|findings| panic!("{findings}\n{text}"));
        let rules: String = ruleset.rules.iter().map(|rule| pfconf::print_rule(rule) + "\n").collect();
        // Rules of anchors stand in braces and behind blanks.
        let braces = |line: &&str| *line != "}";
        let lines = shown.lines().map(|line| line.trim_start().trim_end_matches(" {"));
        let plain: String = lines.filter(braces).map(|line| format!("{line}\n")).collect();
        assert!(plain.ends_with(&rules), "what is loaded prints like what was read:\n{rules}");
        assert_eq!(printed(&shown), shown, "printing is a fixed point");
        shown
    });
}

#[test]
fn what_the_dataplane_cannot_do_is_printed_but_not_loaded() {
    each("printed", |text| {
        let mut shown = printed(text);
        assert_eq!(printed(&shown), shown, "printing is a fixed point");
        let refused = pfconf::compile(text, &interfaces()).expect_err("nothing here can be loaded");
        assert!(refused.has_errors());
        let _ = write!(shown, "--- refused for loading\n{refused}");
        shown
    });
}

/// What pfctl would say of each of a file's cases, which blank lines stand between: findings and what is printed, and what
/// the dataplane refuses. Each is read by itself.
fn cases(dialect: Dialect, text: &str) -> String {
    let interfaces = interfaces();
    let mut out = String::new();
    for case in text.split("\n\n") {
        let case = format!("{}\n", case.trim_matches('\n'));
        let read = |text: &str| pfconf::read_as(dialect, &Isolated(&interfaces), FILE, text, &[]);
        let print = |config: &Config| config.print_echo() + &config.print_rules(Numbers::Hidden);
        let (config, findings) = read(&case);
        let shown = print(&config);
        for line in case.lines() {
            let _ = writeln!(out, "> {line}");
        }
        let _ = write!(out, "{findings}{shown}");
        if !findings.has_errors() {
            let (again, findings) = read(&shown);
            assert!(!findings.has_errors(), "{findings}{shown}");
            assert_eq!(print(&again), shown, "printing is a fixed point");
            match config.lower() {
                Ok(ruleset) => comes_back_from_json(&ruleset, &interfaces, dialect),
                Err(refused) => drop(write!(out, "refused: {refused}")),
            }
        }
        out.push('\n');
    }
    out
}

/// A ruleset written as JSON is the same, and so is what is printed of it, where one text can say it.
fn comes_back_from_json(ruleset: &Ruleset, interfaces: &Interfaces, dialect: Dialect) {
    let json = serde_json::to_string(ruleset).expect("serialises");
    let back: Ruleset = serde_json::from_str(&json).expect("reads back");
    assert_eq!(&back, ruleset);
    let openbsd = dialect == Dialect::OpenBsd;
    let Some(text) = pfconf::print_ruleset(&back).ok().filter(|_| openbsd) else { return };
    let again = pfconf::compile(&text, interfaces).unwrap_or_else(|findings| panic!("{findings}{text}"));
    let plain = |rule: &Rule| Rule { source: ruleset::SourceLine::default(), ..rule.clone() };
    let rules = |ruleset: &Ruleset| -> Vec<Rule> { ruleset.rules.iter().map(plain).collect() };
    assert_eq!(rules(&again), rules(ruleset), "{text}");
    assert_eq!((&again.options, &again.tables), (&ruleset.options, &ruleset.tables), "{text}");
}

#[test]
fn each_construct_of_the_grammar_is_printed_or_refused_as_by_pfctl() {
    each("grammar", |text| cases(Dialect::OpenBsd, text));
}

#[test]
fn each_construct_of_freebsds_grammar_is_printed_or_refused_as_by_its_pfctl() {
    each("grammar-freebsd", |text| cases(Dialect::FreeBsd, text));
}

/// Reads a text in FreeBSD's dialect.
fn read_freebsd(text: &str) -> (Config, Diagnostics) {
    pfconf::read_as(Dialect::FreeBsd, &Isolated(&interfaces()), FILE, text, &[])
}

#[test]
fn rulesets_of_freebsd_are_detected_and_print_in_its_form() {
    each("freebsd", |text| {
        assert_eq!(Dialect::detect(&Isolated(&interfaces()), text, &[]), Dialect::FreeBsd, "{text}");
        let print = |text: &str| {
            let (config, findings) = read_freebsd(text);
            (config.print_echo() + &config.print_rules(Numbers::Hidden), findings)
        };
        let (mut shown, findings) = print(text);
        if findings.has_errors() {
            return format!("{findings}--- for people\n{}", findings.render(Colour::Never));
        }
        assert_eq!(print(&shown).0, shown, "printing is a fixed point");
        if let Err(refused) = pfconf::compile(text, &interfaces()) {
            let _ = write!(shown, "--- refused for loading\n{refused}");
        }
        shown
    });
}

#[test]
fn what_is_converted_is_read_in_the_other_dialect_and_the_rest_is_named() {
    each("converted", |text| {
        let interfaces = interfaces();
        let host = Isolated(&interfaces);
        let to = match Dialect::detect(&host, text, &[]) {
            Dialect::OpenBsd => Dialect::FreeBsd,
            Dialect::FreeBsd => Dialect::OpenBsd,
        };
        let (config, findings) = read(text);
        assert!(!findings.has_errors(), "{findings}");
        let (mut written, lost) = config.convert(to);
        let (again, findings) = pfconf::read_as(to, &host, FILE, &written, &[]);
        assert!(lost.has_errors() || !findings.has_errors(), "{findings}{written}");
        if !lost.has_errors() {
            assert_eq!(again.convert(to).0, written, "converting is a fixed point");
        }
        let _ = write!(written, "--- lost\n{lost}");
        written
    });
}

#[test]
fn wrong_rulesets_are_refused_with_the_place() {
    each("refused", |text| {
        let (_, findings) = read(text);
        assert!(findings.has_errors(), "accepted:\n{text}");
        assert!(pfconf::compile(text, &interfaces()).is_err());
        for finding in findings.list() {
            assert!(finding.line >= 1 && findings.sources().file(finding.file).name == FILE);
        }
        format!("{findings}--- for people\n{}", findings.render(Colour::Never))
    });
}
