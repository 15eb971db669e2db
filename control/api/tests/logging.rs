//! Lines that repeat are bounded, and what was left out is told.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use api::logging::{self, BURST, EnvFilter, Format, Limit, Verdict, WINDOW};

/// Set in the process that logs.
const FLOOD: &str = "LOGGING_FLOOD";

#[test]
fn lines_from_one_place_are_bounded_and_others_are_not() {
    let mut limit = Limit::default();
    let begin = Instant::now();
    for _ in 0..BURST {
        assert_eq!(limit.judge("flood", begin), Verdict::Write { left_out: 0 });
    }
    for _ in 0..1000 {
        assert_eq!(limit.judge("flood", begin + WINDOW / 2), Verdict::LeaveOut);
    }
    assert_eq!(limit.judge("other", begin + WINDOW / 2), Verdict::Write { left_out: 0 });
    assert_eq!(limit.judge("flood", begin + WINDOW), Verdict::Write { left_out: 1000 });
    assert_eq!(limit.judge("flood", begin + WINDOW), Verdict::Write { left_out: 0 });
    // In a window, never more than a burst.
    let later = begin + 3 * WINDOW;
    let verdicts = (0..10_000).map(|n| limit.judge("flood", later + Duration::from_micros(n)));
    assert_eq!(verdicts.filter(|verdict| *verdict != Verdict::LeaveOut).count(), BURST as usize);
}

#[test]
fn formats_have_names_and_others_are_refused() {
    for name in ["auto", "journal", "text", "json"] {
        assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("json"));
}

/// The process of the test below; nothing if it is run by itself.
#[test]
fn flood() {
    if std::env::var_os(FLOOD).is_none() {
        return;
    }
    logging::start(EnvFilter::new("info"), Format::Json).unwrap();
    for round in 0..2 {
        for number in 0..1000 {
            tracing::warn!(round, number, "flood");
        }
        tracing::info!(round, "beside it");
        tracing::debug!("not asked for");
        // The bound on what repeats is in real time.
        sleep(WINDOW + Duration::from_millis(100));
    }
}

#[test]
fn a_flood_of_lines_is_cut_and_what_was_left_out_is_told() {
    let own = std::env::current_exe().unwrap();
    let done = Command::new(own).args(["--exact", "flood", "--nocapture"]).env(FLOOD, "1").output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    assert!(done.status.success(), "{said}");
    assert_eq!(of("flood").len(), 2 * BURST as usize, "{said}");
    assert_eq!(of("beside it").len(), 2, "{said}");
    assert!(of("not asked for").is_empty(), "{said}");
    let told = of("lines like the last one were left out");
    assert_eq!(told.len(), 1, "{said}");
    assert_eq!(told[0]["left_out"], 1000 - u64::from(BURST));
    assert_eq!(of("flood")[0]["number"], 0);
}
