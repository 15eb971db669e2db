//! Points in time.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a command runs in real time")]
pub fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `90`, `60s`, `5m`, `1h`.
pub fn seconds(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let number = digits.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|seconds| *seconds > 0).ok_or_else(|| "expected a time such as 60s or 5m".to_owned())
}

/// A span of time, in its two largest units: `3 d 4 h`, `5 min 10 s`.
pub fn words(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = units.iter().position(|(count, _)| *count > 0).unwrap_or(units.len() - 1);
    let shown: Vec<String> = (units[first..].iter().take(2))
        .filter(|(count, _)| *count > 0 || first + 1 == units.len())
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    shown.join(" ")
}

/// The time of day in UTC, with milliseconds: `13:07:59.250Z`.
pub fn clock(unix_s: u64, nanoseconds: u32) -> String {
    let (hours, minutes, seconds) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", nanoseconds / 1_000_000)
}

/// As ctime(3) writes it, in UTC: `Thu Jan  1 00:00:00 1970`.
pub fn ctime(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, seconds) = (unix_s / 86_400, unix_s % 86_400);
    let (year, month, day) = civil(days);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{} {} {day:>2} {clock} {year}", DAYS[(days % 7) as usize], MONTHS[month])
}

/// Year, month from 0, and day of the month, of a day counted from 1970-01-01.
fn civil(mut days: u64) -> (u64, usize, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month, days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(ctime(0), "Thu Jan  1 00:00:00 1970");
        assert_eq!(ctime(951_782_399), "Mon Feb 28 23:59:59 2000");
        assert_eq!(ctime(951_868_799), "Tue Feb 29 23:59:59 2000");
        assert_eq!(ctime(4_107_542_400), "Mon Mar  1 00:00:00 2100");
        assert_eq!(ctime(1_735_689_599), "Tue Dec 31 23:59:59 2024");
    }

    #[test]
    fn spans_are_told_in_two_units() {
        let told = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (310, "5 min 10 s"),
            (7_200, "2 h"),
            (273_600, "3 d 4 h"),
        ];
        for (seconds, words_of) in told {
            assert_eq!(words(seconds), words_of);
        }
        assert_eq!(seconds("90").ok().zip(seconds("2h").ok()), Some((90, 7_200)));
        for wrong in ["", "0", "m", "5d", "-1"] {
            assert!(seconds(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(clock(86_400 + 3_661, 250_999_999), "01:01:01.250Z");
    }
}
