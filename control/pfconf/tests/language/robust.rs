//! Broken and strange text: every outcome is an error with a place, or a ruleset that is valid and prints the same
//! again. Nothing panics, and nothing takes long.

use crate::machine::{interfaces, read};
use pfconf::{Colour, Diagnostics, Isolated, Numbers};

/// All rulesets that the dataplane accepts, and some that it does not know yet: over 200 lines.
fn long_file() -> String {
    let texts = [
        include_str!("../accepted/actions.conf"),
        include_str!("../accepted/af_to.conf"),
        include_str!("../accepted/hosts.conf"),
        include_str!("../accepted/icmp.conf"),
        include_str!("../accepted/interfaces.conf"),
        include_str!("../accepted/lines.conf"),
        include_str!("../accepted/macros.conf"),
        include_str!("../accepted/names.conf"),
        include_str!("../accepted/ports.conf"),
        include_str!("../accepted/settings.conf"),
        include_str!("../accepted/state.conf"),
        include_str!("../accepted/tables.conf"),
        include_str!("../accepted/home.conf"),
        include_str!("../accepted/anchors.conf"),
        include_str!("../printed/parameters.conf"),
        include_str!("../accepted/pools.conf"),
    ];
    texts.concat()
}

/// Numbers from a seed: the same text is broken in the same ways in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % sides
    }
}

/// `few` in the short run, `many` with `TURNPIKE_LONG`.
fn rounds(few: usize, many: usize) -> usize {
    if std::env::var_os("TURNPIKE_LONG").is_some() { many } else { few }
}

/// Reads a text; checks that every finding has a place, or that the ruleset prints the same again and is valid.
fn survives(text: &str) {
    let (config, findings) = read(text);
    for finding in findings.list() {
        let length = findings.sources().file(finding.span.file).text.len();
        assert!(finding.span.end as usize <= length, "{finding:?} points outside {text:?}");
    }
    if findings.has_errors() {
        assert!(!findings.render(Colour::Never).is_empty());
        return;
    }
    let shown = config.print_echo() + &config.print_rules(Numbers::Hidden);
    let (again, findings) = read(&shown);
    assert!(!findings.has_errors(), "{findings}\n{shown}\n--- from\n{text}");
    assert_eq!(again.print_echo() + &again.print_rules(Numbers::Hidden), shown, "from\n{text}");
    match config.lower() {
        Ok(ruleset) => assert_eq!(ruleset.validate(), Ok(())),
        Err(findings) => only_unsupported(&findings),
    }
}

fn only_unsupported(findings: &Diagnostics) {
    for finding in findings.list() {
        assert!(finding.text.contains("is not supported yet: "), "{}", finding.text);
    }
}

#[test]
fn every_truncation_is_refused_or_valid() {
    let text = long_file();
    assert!(text.lines().count() >= 200, "{} lines", text.lines().count());
    survives(&text);
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        survives(&text[..end]);
        // The last two lines alone as well: before a long file is valid as a whole, its end is rarely looked at.
        let first = text[..end].rfind('\n').map_or(0, |at| text[..at].rfind('\n').map_or(0, |at| at + 1));
        survives(&text[first..end]);
    }
}

#[test]
fn mutations_are_refused_or_valid() {
    let text = long_file().into_bytes();
    let mut dice = Dice(1);
    for _ in 0..rounds(10_000, 100_000) {
        let mut broken = text.clone();
        let at = dice.below(broken.len());
        match dice.below(4) {
            0 => broken[at] = dice.below(256) as u8,
            1 => broken[at] = b" \n\"'\\{}()<>!=,/#$-:.*0aA"[dice.below(24)],
            2 => drop(broken.remove(at)),
            _ => broken.insert(at, b" \n\"'\\{}()<>!=,/#$-:.*0aA"[dice.below(24)]),
        }
        // The mutated statement and its neighbours; the whole file once in a while.
        let whole = dice.below(50) == 0;
        let (first, last) =
            if whole { (0, broken.len()) } else { neighbourhood(&broken, at.min(broken.len() - 1)) };
        survives(&String::from_utf8_lossy(&broken[first..last]));
    }
}

/// From three lines before a byte to three behind it.
fn neighbourhood(text: &[u8], at: usize) -> (usize, usize) {
    let mut first = at;
    let mut last = at;
    for _ in 0..4 {
        first = text[..first].iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        last = text[last..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |more| last + more + 1);
    }
    (first, last)
}

#[test]
fn words_in_any_order_are_refused_or_valid() {
    let words: Vec<String> = long_file().split_whitespace().map(str::to_owned).collect();
    let mut dice = Dice(2);
    for _ in 0..rounds(20_000, 2_000_000) {
        let count = 1 + dice.below(12);
        let line: Vec<&str> = (0..count).map(|_| words[dice.below(words.len())].as_str()).collect();
        let verb = ["pass ", "block ", "match ", "set ", "table ", ""][dice.below(6)];
        survives(&format!("{verb}{}\n", line.join(" ")));
    }
}

#[test]
fn lists_whose_product_is_absurd_are_refused_before_they_are_multiplied() {
    let ports = (1..=200).map(|port| format!("{port} ")).collect::<String>();
    let hosts = (1..=200).map(|host| format!("192.0.2.{host} ")).collect::<String>();
    let text =
        format!("pass proto tcp from {{ {hosts} }} port {{ {ports} }} to {{ {hosts} }} port {{ {ports} }}\n");
    // 1.6 thousand million rules: no memory would hold them.
    let (config, findings) = read(&text);
    assert!(findings.to_string().contains("the ruleset expands to more than"), "{findings}");
    assert_eq!(config.print_rules(Numbers::Hidden), "");
}

#[test]
fn long_words_and_deep_nesting_are_refused() {
    let long = "a".repeat(9000);
    for text in [
        format!("pass from {long}\n"),
        format!("pass from \"{long}\"\n"),
        format!("x = \"{long}\"\n"),
        format!("pass in on {}\n", "{ ".repeat(100_000)),
        "anchor {\n".repeat(100_000),
    ] {
        let (_, findings) = read(&text);
        assert!(findings.has_errors());
    }
    let within = "a".repeat(8000);
    let (_, findings) = read(&format!("x = \"{within}\"\n"));
    assert!(!findings.has_errors(), "{findings}");
}

#[test]
fn findings_are_bounded() {
    let text = "pass bogus bogus bogus bogus\n".repeat(50_000);
    let (_, findings) = read(&text);
    assert_eq!(findings.list().len(), Diagnostics::MOST);
}

#[test]
fn as_many_rules_as_nobody_writes_by_hand_are_read() {
    let count = rounds(10_000, 100_000);
    let mut text = String::new();
    for number in 0..count {
        let (a, b) = (number / 250 % 250, number % 250);
        text += &format!(
            "pass in quick on wan0 proto tcp from 10.{a}.{b}.0/24 to 192.0.2.7 port {}\n",
            1 + number % 60000
        );
    }
    let interfaces = interfaces();
    let (config, findings) = pfconf::read(&Isolated(&interfaces), "pf.conf", &text, &[]);
    assert!(!findings.has_errors());
    let ruleset = config.lower().expect("plain rules");
    assert_eq!(ruleset.rules.len(), count);
}
