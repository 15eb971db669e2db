//! What the language knows and the dataplane does not: one table of keyword and reason, so that a ruleset that uses
//! one is refused with a sentence. Support for a keyword begins by removing its line.

#[rustfmt::skip]
pub(crate) const REASONS: &[(&str, &str)] = &[
    ("/ in a table's name", "it stands between an anchor and the table's name"),
    ("(interface:peer)", "the other ends of links are not known; name the address"),
    ("adaptive time-outs of a rule", "time-outs shrink for all rules alike: set timeout"),
    ("af-to", "packets cannot be made packets of the other family"),
    ("an interface without a gateway", "name the host that packets are sent to, too"),
    ("divert", "packets cannot be handed to programs"),
    ("dup-to", "copies are not routed; name the span port that takes them, as in dup-to @span0"),
    ("endpoint-independent", "a mapping is for one connection"),
    ("group", "forwarded packets belong to no account"),
    ("least-states", "states are not counted by address"),
    ("log (to pflogN)", "there is one log"),
    ("log (user)", "forwarded packets belong to no account"),
    ("map-e-portset", "ports are chosen from one range"),
    ("max-pkt-size", "the size of packets is not compared"),
    ("max-src-conn", "sources are not tracked"),
    ("max-src-conn-rate", "sources are not tracked"),
    ("max-src-nodes", "sources are not tracked"),
    ("max-src-states", "sources are not tracked"),
    ("on rdomain", "there is one routing domain"),
    ("overload", "sources are not tracked"),
    ("pflow", "flows are not exported"),
    ("queue", "packets are sent in the order in which they arrive"),
    ("rdr-to of packets that leave", "their route is chosen already; give it to a rule for in"),
    ("route", "routes have no labels"),
    ("rtable", "there is one routing table"),
    ("reassemble tcp", "timestamps of TCP are not compared"),
    ("several targets", "name one address, or a table of several"),
    ("set delay", "packets are sent as soon as they can be"),
    ("set queue", "packets are sent in the order in which they arrive"),
    ("set debug", "the level of messages is an option of the programs"),
    ("set fail-policy", "what is passed or dropped without a rule is fixed"),
    ("set hostid", "states are not shared between firewalls"),
    ("set keepcounters", "counters start at zero with each load"),
    ("source-track", "sources are not tracked"),
    ("sticky-address", "sources are not tracked"),
    ("weight", "every address of a pool is as good as another"),
    ("user", "forwarded packets belong to no account"),
];

/// Why the dataplane cannot do what a keyword of the table asks.
pub(crate) fn reason(keyword: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| *known == keyword);
    known.map_or("the dataplane does not know this keyword", |(_, reason)| reason)
}
