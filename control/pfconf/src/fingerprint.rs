//! Files of operating systems' fingerprints (pf.os(5)).
//!
//! A line is `window:ttl:df:size:options:class:version:subtype:details`; `#` begins a comment. A version `3.0-3.4` or `5-7`
//! stands for each of them. Bounds: [`ruleset::bounds::FINGERPRINTS`] lines.

use ruleset::{Fingerprint, NumberMatch, SynOption, SynShape, WindowMatch, bounds};

/// Where the fingerprints are that hold without `set fingerprints`.
pub const FINGERPRINTS: &str = "/etc/turnpike/pf.os";

/// What is there: the file that the package installs.
pub(crate) const BUILT_IN: &str = include_str!("../../../deploy/packaging/etc/pf.os");

/// Fingerprints, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints(pub(crate) Vec<Fingerprint>);

impl Fingerprints {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn read(text: &str) -> Result<Self, (u32, String)> {
        read(text).map(Self).map_err(|fault| (fault.line, fault.what))
    }

    /// Those of the package.
    ///
    /// # Panics
    /// Never: they are read in a test.
    pub fn built_in() -> Self {
        Self(read(BUILT_IN).expect("a file without fault"))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Display for Fingerprints {
    /// The names of the systems, as `pfctl -s osfp` lists them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&listing(&self.0))
    }
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub line: u32,
    pub what: String,
}

/// Reads a file.
///
/// # Errors
/// The first line that is wrong.
pub(crate) fn read(text: &str) -> Result<Vec<Fingerprint>, Fault> {
    let mut all = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let Line { shape, class, version, subtype } =
            read_line(line).map_err(|what| Fault { line: number, what })?;
        let each = |version| Fingerprint {
            shape: shape.clone(),
            name: [class.to_owned(), version, subtype.to_owned()],
        };
        all.extend(versions(version).into_iter().map(each));
        if all.len() > bounds::FINGERPRINTS {
            let what = format!("more than {} fingerprints", bounds::FINGERPRINTS);
            return Err(Fault { line: number, what });
        }
    }
    Ok(all)
}

struct Line<'a> {
    shape: SynShape,
    class: &'a str,
    version: &'a str,
    subtype: &'a str,
}

fn read_line(line: &str) -> Result<Line<'_>, String> {
    let fields: Vec<&str> = line.split(':').map(str::trim).collect();
    let [window, ttl, dont_fragment, size, options, class, version, subtype, ..] = fields[..] else {
        return Err("a fingerprint has nine fields, with colons between".into());
    };
    if class.is_empty() {
        return Err("the class is missing".into());
    }
    let mut shape = SynShape {
        window: window_match(window)?,
        ttl: ttl.parse().map_err(|_| format!("'{ttl}' is no time to live"))?,
        dont_fragment: match dont_fragment {
            "0" => false,
            "1" => true,
            other => return Err(format!("'{other}' is neither 0 nor 1")),
        },
        size: number(size)?,
        options: Vec::new(),
        timestamp_zero: false,
        segment_size: NumberMatch::Equal(0),
        window_scale: NumberMatch::Equal(0),
    };
    if options != "." {
        let words = options.split([',', ' ']).filter(|word| !word.is_empty());
        words.into_iter().try_for_each(|word| option(word, &mut shape))?;
    }
    Ok(Line { shape, class, version, subtype })
}

fn option(word: &str, shape: &mut SynShape) -> Result<(), String> {
    let (letter, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
    let noted = match (letter, value) {
        ("N", "") => SynOption::NoOperation,
        ("S", "") => SynOption::SackPermitted,
        ("T", "") => SynOption::Timestamp,
        ("T", "0") => {
            shape.timestamp_zero = true;
            SynOption::Timestamp
        }
        ("M", value) => {
            shape.segment_size = number(value)?;
            SynOption::SegmentSize
        }
        ("W", value) => {
            shape.window_scale = number(value)?;
            SynOption::WindowScale
        }
        _ => return Err(format!("'{word}' is no option: they are M, W, T, S and N")),
    };
    shape.options.push(noted);
    Ok(())
}

fn window_match(word: &str) -> Result<WindowMatch, String> {
    let count = |digits: &str| digits.parse().map_err(|_| format!("'{word}' is no window"));
    Ok(match word.split_at_checked(1) {
        Some(("S", digits)) => WindowMatch::Segments(count(digits)?),
        Some(("T", digits)) => WindowMatch::Packets(count(digits)?),
        _ => WindowMatch::Number(number(word)?),
    })
}

fn number(word: &str) -> Result<NumberMatch, String> {
    let parse = |digits: &str| digits.parse().map_err(|_| format!("'{word}' is no number"));
    Ok(match word.strip_prefix('%') {
        _ if word == "*" => NumberMatch::Any,
        Some(digits) => NumberMatch::Multiple(parse(digits)?),
        None => NumberMatch::Equal(parse(word)?),
    })
}

/// `a.b-c`, `a.b-a.c` and `b-c` are all versions from `b` to `c`.
fn versions(written: &str) -> Vec<String> {
    let range = || {
        let (first, last) = written.split_once('-')?;
        let (major, first) = first.rsplit_once('.').map_or(("", first), |(major, first)| (major, first));
        let last = match last.rsplit_once('.') {
            Some((same, last)) if same == major && !major.is_empty() => last,
            Some(_) => return None,
            None => last,
        };
        let (first, last): (u8, u8) = (first.parse().ok()?, last.parse().ok()?);
        let dot = if major.is_empty() { "" } else { "." };
        (first <= last).then(|| (first..=last).map(|minor| format!("{major}{dot}{minor}")).collect())
    };
    range().unwrap_or_else(|| vec![written.to_owned()])
}

/// The names of systems as pfctl lists them: by class, version and subtype, each line once.
pub(crate) fn listing(known: &[Fingerprint]) -> String {
    let mut out = String::from("Class\tVersion\tSubtype(subversion)\n-----\t-------\t-------------------\n");
    let mut names: Vec<&[String; 3]> = known.iter().map(|one| &one.name).collect();
    names.sort();
    names.dedup();
    let mut last = ["", ""];
    for [class, version, subtype] in names {
        if last[0] != class {
            out += &format!("{class}\n");
            last = [class, ""];
        }
        if !version.is_empty() && last[1] != version {
            out += &format!("\t{version}\n");
            last[1] = version;
        }
        if !subtype.is_empty() {
            out += &format!("\t\t{subtype}\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_package_is_read() {
        let known = read(BUILT_IN).expect("no fault");
        for name in ["Linux", "FreeBSD", "OpenBSD", "Windows", "Windows 10", "MacOS"] {
            assert!(known.iter().any(|one| one.is_called(name)), "{name}");
        }
    }

    #[test]
    fn a_line_says_what_a_syn_looks_like() {
        let known =
            read("# Comment\n\n S44:64:1:60:M*,S,T0,N,W%7:X:2.1-3:sub: details # more\n").expect("no fault");
        let versions: Vec<&str> = known.iter().map(|one| one.name[1].as_str()).collect();
        assert_eq!(versions, ["2.1", "2.2", "2.3"]);
        let shape = &known[0].shape;
        assert_eq!((shape.window, shape.ttl, shape.dont_fragment), (WindowMatch::Segments(44), 64, true));
        assert_eq!((shape.size, shape.segment_size), (NumberMatch::Equal(60), NumberMatch::Any));
        assert_eq!((shape.window_scale, shape.timestamp_zero), (NumberMatch::Multiple(7), true));
        use SynOption::{NoOperation, SackPermitted, SegmentSize, Timestamp, WindowScale};
        assert_eq!(shape.options, [SegmentSize, SackPermitted, Timestamp, NoOperation, WindowScale]);
        assert_eq!(known[0].name[2], "sub");
    }

    #[test]
    fn faults_have_their_line() {
        for (line, what) in [
            ("1:2:3", "nine fields"),
            ("x:64:1:60:.:X:::", "no number"),
            ("Sx:64:1:60:.:X:::", "no window"),
            ("1:300:1:60:.:X:::", "time to live"),
            ("1:64:2:60:.:X:::", "neither"),
            ("1:64:1:60:Q:X:::", "no option"),
            ("1:64:1:60:M:X:::", "no number"),
            ("1:64:1:60:.::::", "class"),
        ] {
            let fault = read(&format!("\n{line}\n")).expect_err(line);
            assert!(fault.line == 2 && fault.what.contains(what), "{fault:?}");
        }
    }

    #[test]
    fn versions_are_ranges_only_within_one_major_one() {
        assert_eq!(versions("3.0-3.2"), ["3.0", "3.1", "3.2"]);
        assert_eq!(versions("5-7"), ["5", "6", "7"]);
        for written in ["", "3.0-4.0", "XP", "3.2-1", "2.4-x"] {
            assert_eq!(versions(written), [written]);
        }
    }

    #[test]
    fn names_are_listed_below_each_other() {
        let text = "1:64:1:60:.:B:2::\n1:64:1:60:.:A::\n2:64:1:60:.:B:1:x:\n3:64:1:60:.:B:1:y:\n";
        let text = text.replace(":A::", ":A:::");
        let listed = listing(&read(&text).expect("no fault"));
        assert_eq!(listed.split_once("----\n").expect("a head").1, "A\nB\n\t1\n\t\tx\n\t\ty\n\t2\n");
    }
}
