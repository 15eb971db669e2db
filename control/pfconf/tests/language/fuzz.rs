//! Texts that grow out of each other: what shows a new side of the language is kept, and broken further. Everything that
//! is done with a text is done with each: it is read in both dialects, printed and read again, linted, optimized, converted,
//! lowered, written as JSON. Nothing may panic, and nothing may print what it does not read.
//!
//! `TURNPIKE_LONG` has it go on for an hour, `TURNPIKE_FUZZ_S` for so many seconds.

#![expect(clippy::disallowed_methods, reason = "it goes on for a time")]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pfconf::{Config, Dialect, Isolated, Loaded, Numbers, Optimize, Origin};

use crate::machine::{FILE, interfaces};
use crate::robust::Dice;

/// Texts in the short run.
const FEW: usize = 300;
/// The most texts that are kept, and their length.
const KEPT: usize = 30_000;
const BYTES: usize = 2000;

/// Numbers at which something ends, and what stands between words.
const EXTREMES: &[&str] = &[
    "0",
    "-1",
    "1",
    "31",
    "32",
    "33",
    "128",
    "129",
    "255",
    "256",
    "65535",
    "65536",
    "4294967295",
    "4294967296",
    "99999999999999999999",
    "0x10",
    "0x",
    "1%",
    "100%",
    "0.0000001%",
    "1e9",
    "::/0",
    "0/0",
    "!",
    "{",
    "}",
    "(",
    ")",
    "<",
    ">",
    "\"",
    "'",
    "\\",
    "#",
    "$x",
    "=",
    ",",
    "/",
    ":",
    "->",
    "><",
    "<>",
    "\n",
];

/// The texts of all goldens, each case of the grammar by itself.
fn seeds() -> Vec<String> {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut texts = Vec::new();
    let folders = ["accepted", "converted", "freebsd", "printed", "refused", "grammar", "grammar-freebsd"];
    for folder in folders {
        let mut files: Vec<_> = std::fs::read_dir(tests.join(folder))
            .expect("the folder exists")
            .map(|entry| entry.expect("readable").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
            .collect();
        files.sort();
        for file in files {
            let text = std::fs::read_to_string(file).expect("readable");
            match folder.starts_with("grammar") {
                true => texts.extend(text.split("\n\n").map(|case| format!("{case}\n"))),
                false => texts.push(text),
            }
        }
    }
    texts
}

/// One text out of others.
fn grown(texts: &[String], words: &[String], dice: &mut Dice) -> String {
    let text = &texts[dice.below(texts.len())];
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // Of a long text a part.
    let first = dice.below(lines.len().max(1));
    let count = 1 + dice.below(8);
    lines = lines.into_iter().skip(first).take(count).collect();
    for _ in 0..1 + dice.below(4) {
        change(&mut lines, texts, words, dice);
    }
    let mut text = lines.join("\n") + "\n";
    if text.len() > BYTES {
        let end = (0..=BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

fn change(lines: &mut Vec<String>, texts: &[String], words: &[String], dice: &mut Dice) {
    if lines.is_empty() {
        lines.push(String::new());
    }
    let at = dice.below(lines.len());
    let word = match dice.below(4) {
        0 => EXTREMES[dice.below(EXTREMES.len())].to_owned(),
        _ => words[dice.below(words.len())].clone(),
    };
    let mut parts: Vec<String> = lines[at].split(' ').map(str::to_owned).collect();
    let part = dice.below(parts.len());
    match dice.below(10) {
        0 => parts[part] = word,
        1 => parts.insert(part, word),
        2 => drop(parts.remove(part)),
        3 => parts[part] = format!("{{ {} {word} }}", parts[part]),
        4 => {
            let other = dice.below(parts.len());
            parts.swap(part, other);
        }
        5 => {
            let other = &texts[dice.below(texts.len())];
            let line = other.lines().nth(dice.below(4)).unwrap_or_default();
            return lines.insert(at, line.to_owned());
        }
        6 => {
            let other = dice.below(lines.len());
            return lines.swap(at, other);
        }
        7 => {
            lines.insert(at, format!("m = \"{}\"", parts[part]));
            parts[part] = "$m".into();
            lines[at + 1] = parts.join(" ");
            return;
        }
        8 => {
            lines.insert(at, "anchor a {".into());
            return lines.push("}".into());
        }
        _ => {
            let mut bytes = std::mem::take(&mut lines[at]).into_bytes();
            let byte = dice.below(bytes.len() + 1);
            match dice.below(2) {
                0 => bytes.insert(byte, dice.below(256) as u8),
                _ => bytes.truncate(byte),
            }
            lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            return;
        }
    }
    lines[at] = parts.join(" ");
}

/// Does everything that can be done with a text, and says what it looked like: which findings, else which words are printed.
fn put_through(dialect: Dialect, text: &str) -> String {
    let interfaces = interfaces();
    let host = Isolated(&interfaces);
    let read = |dialect, text: &str| pfconf::read_as(dialect, &host, FILE, text, &[]);
    let print = |config: &Config| config.print_echo() + &config.print_rules(Numbers::Hidden);
    let (mut config, findings) = read(dialect, text);
    if findings.has_errors() {
        return shape(&findings.to_string());
    }
    let shown = print(&config);
    let (again, findings) = read(dialect, &shown);
    assert!(!findings.has_errors(), "{findings}{shown}--- from\n{text}");
    assert_eq!(print(&again), shown, "--- from\n{text}");
    let _ = config.lint(&interfaces, &|table| table.0 > 3);
    let (other, other_dialect) = match dialect {
        Dialect::OpenBsd => (config.convert(Dialect::FreeBsd), Dialect::FreeBsd),
        Dialect::FreeBsd => (config.convert(Dialect::OpenBsd), Dialect::OpenBsd),
    };
    let (converted, _) = other;
    let _ = read(other_dialect, &converted);
    if let Ok(ruleset) = config.lower() {
        assert_eq!(ruleset.validate(), Ok(()), "{text}");
        let json = serde_json::to_string(&ruleset).expect("serialises");
        assert_eq!(serde_json::from_str::<ruleset::Ruleset>(&json).expect("reads back"), ruleset);
        let _ = pfconf::print_ruleset(&ruleset);
    }
    let mut loaded = Loaded::default();
    loaded.load(&config, "", Origin::default());
    let kept = serde_json::to_string(&loaded).expect("serialises");
    let back: Loaded = serde_json::from_str(&kept).expect("reads back");
    assert_eq!(serde_json::to_string(&back).expect("serialises"), kept);
    config.optimize(Some(Optimize::Basic));
    shape(&(shown + &print(&config)))
}

/// A text without names and numbers, each of its lines once.
fn shape(text: &str) -> String {
    let plain = |line: &str| -> String {
        let words =
            line.split_whitespace().filter(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut lines: Vec<String> = text.lines().map(plain).collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

fn seconds() -> Option<u64> {
    let given = std::env::var("TURNPIKE_FUZZ_S").ok().and_then(|text| text.parse().ok());
    given.or_else(|| std::env::var_os("TURNPIKE_LONG").map(|_| 3600))
}

#[test]
fn texts_that_grow_out_of_each_other_are_refused_or_valid() {
    let mut texts = seeds();
    let words: Vec<String> =
        texts.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    let mut known: HashSet<String> = HashSet::new();
    let began = Instant::now();
    let mut dice = Dice(seconds().map_or(7, |_| std::process::id().into()));
    let mut tried = 0;
    loop {
        let goes_on = match seconds() {
            None => tried < FEW,
            Some(seconds) => began.elapsed() < Duration::from_secs(seconds),
        };
        if !goes_on {
            break;
        }
        tried += 1;
        let text = grown(&texts, &words, &mut dice);
        for dialect in [Dialect::OpenBsd, Dialect::FreeBsd] {
            if known.insert(put_through(dialect, &text)) && texts.len() < KEPT {
                texts.push(text.clone());
            }
        }
    }
    println!("{tried} texts, {} sides of the language", known.len());
    assert!(known.len() > 50, "{} sides of the language", known.len());
}
