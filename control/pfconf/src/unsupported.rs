//! What the language knows and the dataplane does not: one table of keyword and reason, so that a ruleset that uses
//! one is refused with a sentence. Support for a keyword begins by removing its line.

#[rustfmt::skip]
pub(crate) const REASONS: &[(&str, &str)] = &[
    ("/ in a table's name", "it stands between an anchor and the table's name"),
    ("af-to of match rules", "rules behind would see a packet of the other family; give it to the rule that passes it"),
    ("af-to of packets that leave", "they are routed already, as packets of their family; give it to a rule for in"),
    ("af-to to such a prefix", "RFC 6052 has a place for an IPv4 address behind /32, /40, /48, /56, /64 and /96"),
    ("af-to with sticky-address", "sources are remembered by family; use source-hash"),
    ("af-to with synproxy state", "handshakes are completed within one family; let the server's own side do it"),
    ("af-to without inet or inet6", "name the family that packets come in"),
    ("altq", "packets are sent in the order in which they arrive; mark them with set prio or set tos, and queue in the switch or router behind"),
    ("an interface without a gateway", "name the host that packets are sent to, too"),
    ("divert", "packets cannot be handed to programs; rdr-to the address and port of a proxy, or copy them with dup-to"),
    ("dnpipe", "rates are not shaped; max-pkt-rate refuses what comes too fast"),
    ("dnqueue", "rates are not shaped; max-pkt-rate refuses what comes too fast"),
    ("dup-to several ports", "name one, and the next in a rule for what leaves by it: pass out on span0 dup-to @span1"),
    ("ether", "frames are not told apart by Ethernet addresses; non_ip of a transparent pair says what passes without IP"),
    ("group", "workers see packets of the host on its interfaces, and no sockets; filter by port, or on the host: nftables, meta skgid"),
    ("log (to pflogN)", "there is one log; tell its records apart by label, or by rule number in tcpdump"),
    ("log (user)", "workers see packets of the host on its interfaces, and no sockets; leave (user) out"),
    ("max-pkt-size", "the size of packets is not compared; a smaller MTU of the interface refuses what is larger"),
    ("on rdomain", "there is one routing domain; name its interfaces, or a group of them, and choose a routing table with rtable"),
    ("pflow", "flows are not exported by rules; scrape the metrics, or copy packets to a probe with dup-to"),
    ("queue", "packets are sent in the order in which they arrive; mark them with set prio or set tos, and queue in the switch or router behind"),
    ("rdr-to of packets that leave", "their route is chosen already; give it to a rule for in"),
    ("route", "routes have no labels; use a table of these networks"),
    ("several targets", "name one address, or a table of several"),
    ("set delay", "packets are sent as soon as they can be; delay them in a test network by netem on a host behind"),
    ("set queue", "packets are sent in the order in which they arrive; mark them with set prio or set tos, and queue in the switch or router behind"),
    ("set loginterface all", "the counters of one interface or group are shown; pfctl -vvsI shows those of each"),
    ("user", "workers see packets of the host on its interfaces, and no sockets; filter by port, or on the host: nftables, meta skuid"),
];

/// Words of other pf.conf(5)s that are no keywords here: a syntax error with a reason.
const WORDS: &[&str] = &["altq", "dnpipe", "dnqueue", "ether"];

/// Why nothing begins with a word that is none of the language's.
pub(crate) fn word(word: &str) -> Option<&'static str> {
    WORDS.contains(&word).then(|| reason(word))
}

/// Why the dataplane cannot do what a keyword of the table asks.
pub(crate) fn reason(keyword: &str) -> &'static str {
    let known = REASONS.iter().find(|(known, _)| *known == keyword);
    known.map_or("the dataplane does not know this keyword", |(_, reason)| reason)
}
