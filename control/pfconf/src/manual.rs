//! The parts of the manual's page about the language that are tables here.

use std::fmt::Write;

use ruleset::{Limit, Timeout};

use crate::unsupported;

/// Name and text, as mdoc(7), of each part that the page has between `.\" begin NAME` and `.\" end NAME`.
pub fn manual() -> [(&'static str, String); 3] {
    let mut limits = String::new();
    for limit in Limit::ALL {
        item(&mut limits, limit.name(), limit.doc());
        let _ = writeln!(limits, "The default is {}.", limit.default_value());
    }
    let mut timeouts = String::new();
    for timeout in Timeout::ALL {
        item(&mut timeouts, timeout.name(), timeout.doc());
        let unit = if timeout.counts_states() { "" } else { " s" };
        let _ = writeln!(timeouts, "The default is {}{unit}.", timeout.default_value());
    }
    let mut unsupported = String::new();
    for (keyword, reason) in unsupported::REASONS {
        item(&mut unsupported, keyword, &format!("{reason}."));
    }
    [("limits", limits), ("timeouts", timeouts), ("unsupported", unsupported)]
}

fn item(out: &mut String, name: &str, text: &str) {
    let mut first = text.chars();
    let text: String = first.next().into_iter().flat_map(char::to_uppercase).chain(first).collect();
    let _ = writeln!(out, ".It Cm {}\n{text}", name.replace('(', "\\&(").replace('\'', "\\(aq"));
}
