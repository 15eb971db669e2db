//! Which states are asked for, as the query of a URL says it.

use std::fmt::Write;

use ruleset::Reason;

use crate::DropQuery;

/// Which states are asked for: those that fit everything given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateFilter {
    /// Bound to this interface; floating states are on `all`.
    pub interface: Option<String>,
    /// Of this protocol, by number.
    pub proto: Option<u8>,
    /// With an end in this network or at this address.
    pub host: Option<String>,
    /// With an end at this port.
    pub port: Option<u16>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl StateFilter {
    /// The query, with its question mark if it is not empty.
    pub fn to_query(&self) -> String {
        written([
            ("interface", self.interface.clone()),
            ("proto", self.proto.map(|proto| proto.to_string())),
            ("host", self.host.clone()),
            ("port", self.port.map(|port| port.to_string())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ])
    }

    /// Reads a query, without the question mark.
    ///
    /// # Errors
    /// The parameter at fault, and what it must be.
    pub fn from_query(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for field in fields(query) {
            let (name, value) = field?;
            match name {
                "interface" => filter.interface = Some(value),
                "host" => filter.host = Some(value),
                "proto" => filter.proto = Some(number(name, &value)?),
                "port" => filter.port = Some(number(name, &value)?),
                "limit" => filter.limit = Some(number(name, &value)?),
                _ => {
                    return Err(format!(
                        "`{name}` is not a parameter; write interface, proto, host, port or limit"
                    ));
                }
            }
        }
        Ok(filter)
    }
}

/// What a report of drops is asked for, as a query with its question mark if it is not empty.
pub(super) fn of_drops(query: &DropQuery) -> String {
    written([
        ("since_s", query.since_s.map(|seconds| seconds.to_string())),
        ("reason", query.reason.map(|reason| reason.name().to_owned())),
    ])
}

/// Reads what a report of drops is asked for.
///
/// # Errors
/// The parameter at fault, and what it must be.
pub fn drops_of(query: &str) -> Result<DropQuery, String> {
    let mut asked = DropQuery::default();
    for field in fields(query) {
        match field? {
            ("since_s", value) => asked.since_s = Some(number("since_s", &value)?),
            ("reason", value) => {
                let known = Reason::ALL.into_iter().find(|reason| reason.name() == value);
                asked.reason = Some(known.ok_or_else(|| format!("`reason` is {value:?}, which is none"))?);
            }
            (name, _) => return Err(format!("`{name}` is not a parameter; write since_s or reason")),
        }
    }
    Ok(asked)
}

fn written<const COUNT: usize>(fields: [(&str, Option<String>); COUNT]) -> String {
    let mut query = String::new();
    for (name, value) in fields {
        let Some(value) = value else { continue };
        let separator = if query.is_empty() { '?' } else { '&' };
        let _ = write!(query, "{separator}{name}={}", escape(&value));
    }
    query
}

/// Names and values.
fn fields(query: &str) -> impl Iterator<Item = Result<(&str, String), String>> {
    query.split('&').filter(|field| !field.is_empty()).map(|field| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        let value = unescape(value).ok_or_else(|| format!("`{field}`: a broken escape"))?;
        Ok((name, value))
    })
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{name}` is {value:?}; it must be a number that fits"))
}

/// Percent-encoding (RFC 3986 §2.1) of everything but unreserved octets.
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(byte.into()),
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// The text that was escaped; `None` if it is broken.
pub fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_drops_survives_the_query() {
        let all = [
            DropQuery::default(),
            DropQuery { since_s: Some(90), reason: None },
            DropQuery { since_s: Some(1), reason: Some(Reason::StateMismatch) },
        ];
        for query in all {
            assert_eq!(drops_of(of_drops(&query).trim_start_matches('?')), Ok(query));
        }
        for wrong in ["since_s=x", "reason=none", "other=1", "reason=%9"] {
            assert!(drops_of(wrong).is_err(), "{wrong}");
        }
    }
}
