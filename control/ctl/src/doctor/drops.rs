//! What dropped packets tell: windows that are not kept to, answers whose requests went elsewhere, limits, neighbours, paths that
//! are too narrow.

use std::collections::BTreeMap;

use api::{DropExample, InterfaceDrops, Misfit, PacketView};
use ruleset::{PeerState, Reason, RoutingTable, TupleEnd};

use super::Finding;
use super::snapshot::{Chart, Way, pair, reversed};
use super::states::{ends, in_table, of_table};

/// As often a flow must have been dropped for it to be more than an accident.
const OFTEN: usize = 2;

/// As often a sender must have sent what is too large for it not to have heard of it: an answer is under way meanwhile.
const STUBBORN: usize = 3;

pub fn check(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = windows(chart);
    findings.extend(timestamps(chart));
    findings.extend(answers_without_requests(chart));
    findings.extend(path_mtu(chart));
    findings.extend(limits(chart));
    findings.extend(neighbors(chart));
    findings.extend(unrouted(chart));
    findings
}

/// A flow and the packets of it that were dropped.
type Flows<'a> = BTreeMap<(String, String), Vec<(&'a DropExample, &'a PacketView)>>;

/// Examples by sender and receiver, those that `wanted` says, of flows that have at least so many.
fn flows<'a>(
    chart: &Chart<'a>,
    least: usize,
    wanted: impl Fn(&DropExample, &PacketView) -> bool,
) -> Flows<'a> {
    let mut flows = Flows::new();
    for (example, packet) in chart.dropped().filter(|(example, packet)| wanted(example, packet)) {
        let key = (packet.source.to_string(), packet.destination.to_string());
        flows.entry(key).or_default().push((example, packet));
    }
    flows.retain(|_, packets| packets.len() >= least);
    flows
}

/// Segments of established connections that lie outside their windows. A reset may be anybody's.
fn windows(chart: &Chart<'_>) -> Vec<Finding> {
    let misses = |example: &DropExample, _: &PacketView| {
        example.misfit.as_ref().is_some_and(|misfit| {
            let established = misfit.peers.iter().all(|peer| peer.state == PeerState::Established);
            let Misfit::Window { clauses, .. } = &misfit.kind else { return false };
            established && clauses.iter().any(|clause| matches!(clause.mark, '1'..='4'))
        })
    };
    let mut findings = Vec::new();
    for ((source, destination), packets) in flows(chart, OFTEN, misses) {
        let Some((example, misfit)) =
            packets.last().and_then(|(example, _)| Some((*example, example.misfit.as_ref()?)))
        else {
            continue;
        };
        let scaled = misfit.peers.iter().all(|peer| peer.wscale.is_some());
        let cure = if scaled {
            format!(
                "something between {source} and this firewall changes sequence numbers, or its stack ignores the window of \
                 {destination}: compare captures of both sides; until it is mended, `keep state (sloppy)` for these connections"
            )
        } else {
            "the state knows no window scaling: see that it is made by the SYN (`flags S/SA`) and sees both directions; an end \
             that does not scale itself may not be answered as if it did"
                .to_owned()
        };
        let what = format!("{source} sends to {destination} outside of the window");
        let seen = packets.len();
        findings.push(
            Finding::new("window", what)
                .rule(chart.blamed(example))
                .evidence(format!("{seen} of the examples are of it; the last: {}", packets[seen - 1].1))
                .evidence(format!("it {}", misfit.kind))
                .evidence(format!("wscale {}", if scaled { "known at both ends" } else { "not known" }))
                .cure(cure),
        );
    }
    Finding::few(findings, "flows")
}

/// Timestamps that their senders cannot have sent.
fn timestamps(chart: &Chart<'_>) -> Vec<Finding> {
    let misses = |example: &DropExample, _: &PacketView| {
        example.misfit.as_ref().is_some_and(|misfit| matches!(misfit.kind, Misfit::Timestamp { .. }))
    };
    let found = flows(chart, OFTEN, misses).into_iter().map(|((source, destination), packets)| {
        let (example, packet) = packets[packets.len() - 1];
        let why = example.misfit.as_ref().map_or_else(String::new, |misfit| misfit.kind.to_string());
        Finding::new("timestamp", format!("{source} sends timestamps to {destination} that it cannot have sent"))
            .rule(chart.blamed(example))
            .evidence(format!("{} of the examples are of it; the last: {packet}", packets.len()))
            .evidence(why)
            .cure(format!(
                "several hosts behind one address, or a middlebox that takes timestamps out of some segments, look like this: compare \
                 captures of both sides of {source}; until it is mended, leave `reassemble tcp` out of the rule's `scrub`"
            ))
    });
    Finding::few(found.collect(), "flows")
}

/// SYN|ACKs that were blocked: their SYNs did not come by here.
fn answers_without_requests(chart: &Chart<'_>) -> Vec<Finding> {
    let answers = |example: &DropExample, packet: &PacketView| {
        let answers = packet.tcp.as_ref().is_some_and(|tcp| {
            tcp.flags.contains('S') && tcp.flags.contains('A') && !tcp.flags.contains('R')
        });
        let key = (wire::Proto::TCP, pair(packet.source), pair(packet.destination));
        let known = chart.connections.contains_key(&reversed(key)) || has_wire(chart, packet);
        answers && example.reason == Reason::Match && !known
    };
    let mut findings = Vec::new();
    for ((source, destination), packets) in flows(chart, OFTEN, answers) {
        let (example, packet) = packets[packets.len() - 1];
        let there = match chart.way_to(packet.source.address) {
            Way::By { interface, .. } => {
                format!("; this firewall itself would reach {} by {interface}", packet.source.address)
            }
            Way::Host | Way::None => String::new(),
        };
        findings.push(
            Finding::new(
                "asymmetric-path",
                format!(
                    "{source} answers {destination} by {}, whose SYN did not come by here",
                    example.place()
                ),
            )
            .rule(chart.blamed(example))
            .evidence(format!("dropped on {}: {packet}", example.place()))
            .evidence(format!("no state of {destination} to {source}{there}"))
            .cure(format!(
                "have requests and answers routed by one firewall; where that cannot be, pass both with \
                     `pass … from {} flags any keep state (sloppy)`",
                packet.source.address
            )),
        );
    }
    Finding::few(findings, "connections")
}

/// Whether a state has these ends on the wire, either way.
fn has_wire(chart: &Chart<'_>, packet: &PacketView) -> bool {
    let (source, destination) = ends(packet);
    let pair = |one: TupleEnd, other: TupleEnd| {
        (one, other) == (source, destination) || (one, other) == (destination, source)
    };
    chart.snapshot.states.iter().any(|state| pair(state.source.end, state.destination.end))
}

/// Senders that do not hear that their packets are too large, and messages about it that are blocked.
fn path_mtu(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let large = |example: &DropExample, _: &PacketView| example.reason == Reason::TooBig;
    for ((source, destination), packets) in flows(chart, STUBBORN, large) {
        let (first, (last, packet)) = (packets[0].0, packets[packets.len() - 1]);
        if last.seconds.saturating_sub(first.seconds) == 0 {
            continue;
        }
        let (way, mtu) = match chart.way_to(packet.destination.address) {
            Way::By { interface, .. } => {
                let of = chart.snapshot.status.interfaces.iter().find(|known| known.name == interface);
                let mtu =
                    of.map_or_else(|| "a smaller MTU".to_owned(), |known| format!("an MTU of {}", known.mtu));
                (interface, mtu)
            }
            Way::Host | Way::None => (last.interface.clone(), "a smaller MTU".to_owned()),
        };
        findings.push(
            Finding::new("mtu", format!("{source} goes on to send to {destination} what is too large for {way}"))
                .rule(None)
                .evidence(format!("{} bytes, not to be fragmented, again and again; {way} has {mtu}", packet.length))
                .evidence("each was answered by an ICMP error, which its sender does not heed or does not get".to_owned())
                .cure(format!(
                    "let ICMP type 3 code 4 (IPv6: type 2) reach {}; or have TCP send less: lower the MTU on the sender's link, or \
                     announce it there",
                    packet.source.address
                )),
        );
    }
    let mut blocked = chart.dropped().filter(|(example, packet)| {
        let narrow = match packet.icmp {
            Some((3, 4)) => packet.proto == "icmp",
            Some((2, _)) => packet.proto != "icmp",
            _ => false,
        };
        narrow && example.reason == Reason::Match
    });
    if let Some((example, packet)) = blocked.next() {
        findings.push(
            Finding::new("mtu", format!("messages about the path's MTU are blocked on {}", example.place()))
                .rule(chart.blamed(example))
                .evidence(packet.to_string())
                .evidence("connections over that path stall as soon as they send full segments".to_owned())
                .cure("pass them: `pass inet proto icmp icmp-type unreach code needfrag`, `pass inet6 proto icmp6 icmp6-type toobig`; \
                       those about a connection with a state pass by themselves".to_owned()),
        );
    }
    Finding::few(findings, "flows")
}

/// Limits that were reached.
fn limits(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let status = &chart.snapshot.status;
    let cures = [
        (
            Reason::Memory,
            "state-limit",
            "no state could be made: `set limit states` is reached",
            "raise `set limit states` (and max_connections in turnpike.toml), or find who opens so many: tpctl states",
        ),
        (
            Reason::ShardFull,
            "state-limit",
            "no state could be made: the table of a worker is full",
            "raise max_connections in turnpike.toml",
        ),
        (
            Reason::StateLimit,
            "rule-limit",
            "no state could be made: `max` of a rule is reached",
            "raise `max` of the rule, or shorten its time-outs",
        ),
        (
            Reason::SrcLimit,
            "source-limit",
            "a source has as many states or connections as its rule lets it have",
            "raise the rule's max-src-states, max-src-conn or max-src-conn-rate, if the source is an honest one",
        ),
    ];
    for (reason, check, what, cure) in cures {
        let packets = count_of(&chart.snapshot.drops.interfaces, reason);
        if packets == 0 {
            continue;
        }
        let example = chart.dropped().filter(|(example, _)| example.reason == reason).last();
        let states = format!("{} states of {}", status.states, status.states_limit);
        let finding = Finding::new(check, what.to_owned())
            .rule(example.and_then(|(example, _)| chart.blamed(example)))
            .evidence(format!("{packets} packets were dropped for it, as {reason}; {states}"));
        let finding = match example {
            Some((_, packet)) => finding.evidence(format!("the last: {packet}")),
            None => finding,
        };
        findings.push(finding.cure(cure.to_owned()));
    }
    if findings.is_empty() && status.states_limit > 0 && status.states * 10 >= status.states_limit * 9 {
        findings.push(
            Finding::new("state-limit", "the state table is nearly full".to_owned())
                .evidence(format!("{} states of {}", status.states, status.states_limit))
                .cure(cures[0].3.to_owned()),
        );
    }
    findings
}

/// How many packets were dropped for a reason.
pub fn count_of(interfaces: &[InterfaceDrops], reason: Reason) -> u64 {
    let counts = interfaces.iter().flat_map(|drops| &drops.reasons);
    counts.filter(|count| count.reason == reason).map(|count| count.packets).sum()
}

/// Next hops that do not tell their Ethernet addresses.
fn neighbors(chart: &Chart<'_>) -> Vec<Finding> {
    let mut silent: BTreeMap<String, (Finding, usize)> = BTreeMap::new();
    for (example, packet) in chart.dropped().filter(|(example, _)| example.reason == Reason::NoNeighbor) {
        let target = packet.destination.address;
        let (interface, station) = match chart.way_to(target) {
            Way::By { interface, via } => (interface, via.unwrap_or(target)),
            Way::Host | Way::None => (example.interface.clone(), target),
        };
        // It has answered since.
        if chart.snapshot.neighbors.iter().any(|known| known.address == station) {
            continue;
        }
        let question = if station.is_ipv4() { "ARP" } else { "neighbour solicitations" };
        let finding = Finding::new("neighbor", format!("{station} on {interface} does not answer {question}"))
            .evidence(format!("packets waited for its Ethernet address in vain: {packet}"))
            .cure(format!(
                "see whether it is up, on this link and in this VLAN (ip neigh show dev {interface}; arping -I {interface} {station}), \
                 and whether the route to {target} is right (tpctl show route {target})"
            ));
        silent
            .entry(format!("{interface} {station}"))
            .and_modify(|(_, more)| *more += 1)
            .or_insert((finding, 0));
    }
    let findings = silent.into_values().map(|(finding, more)| finding.and_more(more, "packets")).collect();
    Finding::few(findings, "neighbours")
}

/// Destinations that there is no route to.
fn unrouted(chart: &Chart<'_>) -> Vec<Finding> {
    // Those of tables that lead nowhere at all are told of as such.
    let is_told = |table| table != RoutingTable::MAIN && !chart.has_routes(table);
    let nowhere = |example: &DropExample, packet: &PacketView| {
        let table = chart.table_by(example);
        example.reason == Reason::NoRoute
            && !is_told(table)
            && chart.way_in(table, packet.destination.address) == Way::None
    };
    let found = flows(chart, OFTEN, nowhere).into_values().map(|packets| {
        let (example, packet) = packets[packets.len() - 1];
        let (target, table) = (packet.destination.address, chart.table_by(example));
        Finding::new("no-route", format!("there is no route to {target}{}", in_table(table)))
            .rule(chart.blamed(example).filter(|_| table != RoutingTable::MAIN))
            .evidence(format!("dropped on {}: {packet}", example.place()))
            .and_dark(chart)
            .cure(format!(
                "add one (ip route add {target}{}), or see why the routing daemon has none",
                of_table(table)
            ))
    });
    Finding::few(found.collect(), "flows")
}
