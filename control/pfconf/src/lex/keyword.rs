//! The words that pf.conf(5) keeps for itself; anything else is a name.

use crate::dialect::Dialect;

/// Words of both dialects. Sorted, for binary search, as are the others.
#[rustfmt::skip]
const COMMON: &[&str] = &[
    "af-to", "all", "allow-opts", "anchor", "antispoof", "any", "bandwidth", "binat-to", "bitmask", "block",
    "block-policy", "burst", "code", "debug", "default", "divert-packet", "divert-reply", "divert-to", "drop",
    "dup-to", "endpoint-independent", "fail-policy", "file", "fingerprints", "flags", "floating", "flush",
    "for", "fragment", "from", "global", "group", "hostid", "icmp-type", "icmp6-type", "if-bound", "in",
    "include", "inet", "inet6", "keep", "keepcounters", "label", "limit", "load", "log", "loginterface",
    "map-e-portset", "match", "matches", "max", "max-mss", "max-pkt-rate", "max-src-conn", "max-src-conn-rate",
    "max-src-nodes", "max-src-states", "min", "min-ttl", "modulate", "nat-to", "no", "no-df", "no-route",
    "no-sync", "on", "once", "optimization", "os", "out", "overload", "parent", "pass", "pflow", "port",
    "port-block", "prio", "probability", "proto", "qlimit", "queue", "quick", "random", "random-id", "rdr-to",
    "reassemble", "received-on", "reply-to", "return", "return-icmp", "return-icmp6", "return-rst",
    "round-robin", "route", "route-to", "rtable", "rule", "ruleset-optimization", "scrub", "set", "skip",
    "sloppy", "source-hash", "source-track", "state", "state-defaults", "state-policy", "static-port",
    "sticky-address", "syncookies", "synproxy", "table", "tag", "tagged", "timeout", "to", "tos", "ttl",
    "urpf-failed", "user",
];

const OPENBSD: &[&str] = &["delay", "flows", "least-states", "quantum", "rdomain", "weight"];

#[rustfmt::skip]
const FREEBSD: &[&str] = &[
    "binat", "binat-anchor", "max-pkt-size", "nat", "nat-anchor", "rdr", "rdr-anchor", "require-order", "ridentifier", "set-tos",
];

const fn own(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::OpenBsd => OPENBSD,
        Dialect::FreeBsd => FREEBSD,
    }
}

/// The keyword that this word is.
pub(super) fn find(word: &str, dialect: Dialect) -> Option<&'static str> {
    let within = |words: &[&'static str]| words.binary_search(&word).ok().map(|at| words[at]);
    within(COMMON).or_else(|| within(own(dialect)))
}

/// Every keyword of a dialect.
pub(super) fn all(dialect: Dialect) -> impl Iterator<Item = &'static str> {
    COMMON.iter().chain(own(dialect)).copied()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_are_sorted() {
        assert!([super::COMMON, super::OPENBSD, super::FREEBSD].iter().all(|words| words.is_sorted()));
    }
}
