//! Hosts and networks in plain text: files of tables, and what `pfctl -T` is given.

use std::fmt;
use std::num::NonZeroU16;

use ruleset::AddressPattern;

use super::host::{self, TwoMasks};
use crate::config::Member;
use crate::host::Host;

/// Why a list of addresses cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberError {
    /// The word is neither an address nor the name of anything that has one.
    Unknown(String),
    /// A prefix length behind what already is a network.
    TwoMasks(String),
    /// `weight` without an address before it or a number from 1 to 65535 behind it.
    Weight,
}

impl fmt::Display for MemberError {
    /// pfctl's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(f, "no IP address found for {word}"),
            Self::TwoMasks(word) => write!(f, "{word}: {}", TwoMasks::TEXT),
            Self::Weight => f.write_str("weight must be a number from 1 to 65535 behind an address"),
        }
    }
}

impl std::error::Error for MemberError {}

/// Reads a file of hosts and networks: words, `!` before one negates it, `weight n` behind it, `#` begins a comment.
/// Names of interfaces and DNS names stand for all their addresses.
///
/// # Errors
/// The first word that is none of this.
pub fn read_members(host: &dyn Host, text: &str) -> Result<Vec<Member>, MemberError> {
    let words = text.lines().flat_map(|line| line.split('#').next().unwrap_or_default().split_whitespace());
    members(host, words)
}

/// The same for words of a command line.
///
/// # Errors
/// The first word that is none of this.
pub fn members<'a>(
    host: &dyn Host,
    words: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Member>, MemberError> {
    let mut members: Vec<Member> = Vec::new();
    let mut words = words.into_iter();
    let mut negated = false;
    // Where the addresses of the last word begin: `weight` is about all of them.
    let mut last = None;
    while let Some(word) = words.next() {
        if word == "weight" {
            let from: usize = last.take().ok_or(MemberError::Weight)?;
            let weight: Option<NonZeroU16> = words.next().and_then(|number| number.parse().ok());
            let weight = weight.ok_or(MemberError::Weight)?;
            members[from..].iter_mut().for_each(|member| member.weight = Some(weight));
            continue;
        }
        let bare = word.trim_start_matches('!');
        negated ^= (word.len() - bare.len()) % 2 == 1;
        if bare.is_empty() {
            continue;
        }
        last = Some(members.len());
        members.extend(named(host, bare)?.map(|net| Member { negated, net, weight: None }));
        negated = false;
    }
    Ok(members)
}

fn named(host: &dyn Host, word: &str) -> Result<impl Iterator<Item = ipnet::IpNet>, MemberError> {
    let nodes = host::lookup(host, word).map_err(|TwoMasks| MemberError::TwoMasks(word.to_owned()))?;
    if nodes.is_empty() {
        return Err(MemberError::Unknown(word.to_owned()));
    }
    Ok(nodes.into_iter().filter_map(|node| match node.pattern {
        AddressPattern::Net(net) => Some(net),
        _ => None,
    }))
}
