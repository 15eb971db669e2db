//! Rates as people write them.

use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};

use crate::profile::{Kind, Profile};

/// A rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// By the profile's unit: `100k`, `1.5M`.
    Count(f64),
    /// Of the line: `50%`.
    Percent(f64),
    /// Bits a second on the wire, preamble and gap included: `1Gbps`.
    Bits(f64),
}

impl FromStr for Rate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let rate = if let Some(number) = text.strip_suffix('%') {
            Self::Percent(scaled(number)?)
        } else if let Some(number) = text.strip_suffix("bps") {
            Self::Bits(scaled(number)?)
        } else {
            Self::Count(scaled(text)?)
        };
        Ok(rate)
    }
}

/// A positive number with k, M or G behind it.
fn scaled(text: &str) -> Result<f64> {
    let (number, factor) = match text.chars().last() {
        Some('k') => (&text[..text.len() - 1], 1e3),
        Some('M') => (&text[..text.len() - 1], 1e6),
        Some('G') => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let number: f64 =
        number.parse().with_context(|| format!("`{text}` is no number; try 100k, 50%, 1Gbps"))?;
    ensure!(number.is_finite() && number > 0.0, "`{text}`: a rate is above zero");
    Ok(number * factor)
}

impl Rate {
    /// By the profile's unit; `line` is the line's rate in bits a second, if it is known.
    ///
    /// # Errors
    /// A share of an unknown line, or bits of connections.
    pub fn of(self, profile: &Profile, line: Option<f64>) -> Result<f64> {
        let bits = match self {
            Self::Count(count) => return Ok(count),
            Self::Bits(bits) => bits,
            Self::Percent(percent) => {
                let line = line.context("the line's rate is unknown here; give it by --line-rate 10G")?;
                line * percent / 100.0
            }
        };
        ensure!(
            !matches!(profile.kind, Kind::Connections(_)),
            "{} counts connections; give a number of them a second",
            profile.name
        );
        Ok(bits / profile.wire_bits())
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use crate::profile::Profile;

    #[test]
    fn line_rate_is_the_one_in_every_book() {
        let of = |rate: &str, profile: &str| {
            let profile = Profile::find(profile).expect("built in");
            rate.parse::<Rate>().and_then(|rate| rate.of(&profile, Some(10e9)))
        };
        let close = |rate: &str, profile: &str, expected: f64| {
            let found = of(rate, profile).expect(rate);
            assert!((found - expected).abs() < 1.0, "{rate} of {profile}: {found}");
        };
        close("100%", "udp-64", 14_880_952.0);
        close("10Gbps", "udp-1518", 812_744.0);
        close("50%", "udp-64", 7_440_476.0);
        close("1.5k", "new-connections", 1_500.0);
        let refusal = |rate: &str, profile: &str| of(rate, profile).expect_err(rate).to_string();
        assert!(refusal("0", "udp-64").contains("above zero"));
        assert!(refusal("fast", "udp-64").contains("no number"));
        assert!(refusal("10%", "http-like").contains("counts connections"));
        let profile = Profile::find("udp-64").expect("built in");
        let unknown = Rate::Percent(1.0).of(&profile, None).expect_err("no line");
        assert!(unknown.to_string().contains("--line-rate"));
    }
}
