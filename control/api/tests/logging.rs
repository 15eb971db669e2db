//! Lines that repeat are bounded, and what was left out is told.
#![allow(clippy::disallowed_methods, reason = "tests of the shell have clocks")]

use std::time::{Duration, Instant};

use api::logging::{BURST, Format, Limit, Verdict, WINDOW};

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
