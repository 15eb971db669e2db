//! What states tell: answers that do not come, connections with more states than they should have, scales that were missed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use api::{DropExample, HookView, PacketView};
use ruleset::{Direction, FlagsMatch, PeerState, Reason, RoutingTable, Rule, StateView, TupleEnd};
use wire::{Port, Proto, TcpFlags};

use super::Finding;
use super::snapshot::{Chart, End, Way, inner, pair, reversed};

/// Ports of UDP on which every request is answered: DNS, NTP, SNMP, IKE and its NAT traversal.
const ANSWERED: [Port; 5] = [Port(53), Port(123), Port(161), Port(500), Port(4500)];

/// As many questions that nobody answers are more than an accident.
const STUBBORN: usize = 3;

/// An answer that has not come in so many seconds does not come.
const SLOW_S: u32 = 2;

pub fn check(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = unanswered(chart);
    findings.extend(several(chart));
    findings.extend(bound(chart));
    findings.extend(unscaled(chart));
    findings
}

/// Requests that were repeated, and that nobody answers.
fn unanswered(chart: &Chart<'_>) -> Vec<Finding> {
    let mut groups: BTreeMap<String, (Finding, usize)> = BTreeMap::new();
    let alone = asked_again(chart);
    for states in chart.connections.values() {
        let wants = |state: &&&StateView| {
            awaits_answer(state) && (state.source.packets > 1 || alone.contains(&request_of(state)))
        };
        // What leaves says by which interface the answers should come; what only entered is for the host.
        let Some(state) = states.iter().filter(wants).max_by_key(|state| state.direction == Direction::Out)
        else {
            continue;
        };
        if states.iter().any(|state| state.destination.packets > 0) {
            continue;
        }
        let finding = silence(chart, state);
        let key = format!("{}{:?}{}", finding.check, finding.rule, state.destination.end);
        groups.entry(key).and_modify(|(_, more)| *more += 1).or_insert((finding, 0));
    }
    groups.into_values().map(|(finding, more)| finding.and_more(more, "connections")).collect()
}

/// Who asks whom for what.
type Request = (Proto, IpAddr, End);

fn request_of(state: &StateView) -> Request {
    (state.proto, state.source.end.address, pair(state.destination.end))
}

/// Datagrams that are asked again from another port each time, as resolvers do, and never answered.
fn asked_again(chart: &Chart<'_>) -> BTreeSet<Request> {
    let mut asked: BTreeMap<Request, (usize, bool)> = BTreeMap::new();
    let all = chart.snapshot.states.iter();
    for state in all.filter(|state| state.proto == Proto::UDP && state.direction == Direction::Out) {
        let (silent, answered) = asked.entry(request_of(state)).or_default();
        *silent += usize::from(awaits_answer(state) && state.age_s >= SLOW_S);
        *answered |= state.destination.packets > 0;
    }
    asked.retain(|_, (silent, answered)| *silent >= STUBBORN && !*answered);
    asked.into_keys().collect()
}

fn awaits_answer(state: &StateView) -> bool {
    state.destination.packets == 0
        && match state.proto {
            Proto::TCP => state.source.state == PeerState::SynSent,
            Proto::UDP => ANSWERED.contains(&state.destination.end.port),
            Proto::ICMP | Proto::ICMP6 => true,
            _ => false,
        }
}

/// Why a state has no answers.
fn silence(chart: &Chart<'_>, state: &StateView) -> Finding {
    let (source, destination) = (state.source.end, state.destination.end);
    let rule = chart.maker(state);
    let seen = evidence_of(state);
    if let Some((example, packet)) = chart.dropped().find(|(_, packet)| answers(packet, state)) {
        return stray(chart, state, example, packet);
    }
    if let Some(finding) = one_way_nat(chart, state) {
        return finding;
    }
    let finding = Finding::new("no-answers", format!("{destination} does not answer {source}")).rule(rule);
    // What `route-to` leads elsewhere goes to its gateway.
    let led = state.route.filter(|_| state.direction == Direction::Out);
    let table = if led.is_some() { RoutingTable::MAIN } else { chart.table_of(state) };
    match (state.direction, chart.way_in(table, led.unwrap_or(destination.address))) {
        (Direction::Out, Way::By { interface, via }) => {
            let over = via.map_or_else(String::new, |via| format!(", over {via}"));
            finding
                .evidence(seen)
                .evidence(format!("packets leave by {interface}{over}; answers would have to come in there, and none did"))
                .cure(format!(
                    "see on {interface} whether answers come (tcpdump -ni {interface} host {}): if none do, the host is down, or \
                     has no route back by this firewall; where they take another way on purpose, make the state with \
                     `keep state (sloppy)`",
                    destination.address
                ))
        }
        (Direction::In, Way::Host) | (Direction::Out, Way::Host) => finding
            .evidence(seen)
            .evidence("it is an address of the firewall's own host".to_owned())
            .cure("see whether a program of the host listens there (ss -lntup), and whether `out` rules and the host's own \
                   filter let its answers go".to_owned()),
        (_, Way::None) => finding
            .evidence(seen)
            .evidence(format!("there is no route to {}{}", destination.address, in_table(table)))
            .and_dark(chart)
            .cure(format!(
                "add the route (ip route add {}{}), or bring its interface back",
                destination.address,
                of_table(table)
            )),
        (Direction::In, Way::By { interface, .. }) => finding
            .evidence(seen)
            .evidence(format!("answers would have to come in on {interface}; no state was made for packets to go out there"))
            .cure(format!("let a rule keep state for them: `pass out on {interface}`, or none for `{interface}` to be skipped")),
    }
}

/// How a routing table is named, unless it is the main one.
pub fn in_table(table: RoutingTable) -> String {
    match table {
        RoutingTable::MAIN => String::new(),
        table => format!(" in routing table {table}"),
    }
}

/// As ip(8) wants it named.
pub fn of_table(table: RoutingTable) -> String {
    match table {
        RoutingTable::MAIN => String::new(),
        table => format!(" table {table}"),
    }
}

/// The answers do come, and are dropped.
fn stray(chart: &Chart<'_>, state: &StateView, example: &DropExample, packet: &PacketView) -> Finding {
    let (bound, reason) = (&state.interface, example.reason);
    let finding =
        Finding::new("answers-dropped", format!("answers to {} are dropped: {reason}", state.source.end))
            .rule(chart.blamed(example).or_else(|| chart.maker(state)))
            .evidence(evidence_of(state))
            .evidence(format!("dropped on {}: {packet}", example.place()));
    if *bound != "all" && bound != example.place() {
        return Finding { check: "if-bound", ..finding }.cure(format!(
            "answers come by {} and the state is bound to {bound}: leave out `if-bound` (set state-policy floating), or route \
             them back by {bound}",
            example.place()
        ));
    }
    if reason == Reason::NoRoute {
        let client = packet.destination.address;
        return finding.and_dark(chart).cure(format!(
            "there is no way back to {client}: add the route (ip route add {client}), or bring its interface back"
        ));
    }
    finding.cure("let the state or a rule have these packets; `tpctl drops` shows more of them".to_owned())
}

/// Whether a packet answers those that made a state. Echoes have no ports.
fn answers(packet: &PacketView, state: &StateView) -> bool {
    let (source, destination) = (state.source.end, state.destination.end);
    match packet.icmp {
        Some((kind, _)) => {
            matches!(state.proto, Proto::ICMP | Proto::ICMP6)
                && matches!(kind, 0 | 129)
                && packet.source.address == destination.address
                && packet.destination.address == source.address
        }
        None => ends(packet) == (destination, source),
    }
}

/// A translated connection whose answers cannot come.
fn one_way_nat(chart: &Chart<'_>, state: &StateView) -> Option<Finding> {
    let (source, destination) = (state.source.end, state.destination.end);
    let finding = |what: String| {
        Some(Finding::new("one-way-nat", what).rule(chart.maker(state)).evidence(evidence_of(state)))
    };
    if let (Direction::Out, Some(before)) = (state.direction, state.source.untranslated) {
        let way = match chart.way_in(chart.table_of(state), destination.address) {
            Way::By { interface, .. } => interface,
            Way::Host | Way::None => return None,
        };
        let what = format!("answers to {before}, translated to {source}, do not come back");
        let own = chart.is_own(source.address);
        let finding = finding(what)?;
        return Some(if own {
            finding.evidence(format!("{} is the firewall's own, packets leave by {way}", source.address)).cure(format!(
                "see on {way} whether answers come (tcpdump -ni {way} host {}); if they do not, the host is down, or filters \
                 {}",
                destination.address, source.address
            ))
        } else {
            finding.evidence(format!("{} is no address of this firewall, so that nobody on {way} finds it here", source.address)).cure(
                format!(
                    "give the address to the firewall (ip addr add {0}/32 dev {way}), have routers send it here, or translate to \
                     an address that it has: nat-to ({way})",
                    source.address
                ),
            )
        });
    }
    // Redirected by the one hook and, if it is forwarded, gone out by the other.
    let states = chart.connections.get(&inner(state))?;
    let entered = states.iter().find(|state| state.direction == Direction::In)?;
    let before = entered.destination.untranslated?;
    let link = chart.link_of(entered.source.end.address)?;
    if chart.link_of(destination.address) != Some(link) {
        return None;
    }
    finding(format!("{} answers {} past the firewall", destination.address, source))?
        .evidence(format!("{before} is redirected to {destination}, and both ends are in the network of {link}"))
        .cure(format!(
            "have the answers come back through the firewall: `match out on {link} from {link}:network to {} nat-to ({link})`",
            destination.address
        ))
        .into()
}

/// Connections that have a state for each direction, or more states than hooks.
fn several(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (own, states) in &chart.connections {
        let live =
            |state: &&&StateView| state.source.state.min(state.destination.state) < PeerState::FinWait2;
        for direction in [Direction::In, Direction::Out] {
            let same: Vec<&&StateView> =
                states.iter().filter(|state| state.direction == direction).filter(live).collect();
            if same.len() > 1 {
                findings.push(repeated(chart, &same));
            }
        }
        let other = chart.connections.get(&reversed(*own));
        // Both ends of one port may begin at once where there are no connections; each pair is met twice.
        if own.0 == Proto::TCP
            && own.1 < own.2
            && let Some(other) = other
        {
            findings.extend(opposed(chart, states, other));
        }
    }
    Finding::few(findings, "connections")
}

/// Several states at the same hook.
fn repeated(chart: &Chart<'_>, states: &[&&StateView]) -> Finding {
    let (source, destination) = (states[0].source.end, states[0].destination.end);
    let direction = word(states[0].direction);
    let places: Vec<&str> = states.iter().map(|state| state.interface.as_str()).collect();
    let bound = places.iter().all(|place| *place != "all");
    let check = if bound { "if-bound" } else { "several-states" };
    let what = format!("{source} to {destination} has {} states made {direction}", states.len());
    let finding = Finding::new(check, what).rule(chart.maker(states[0]));
    let finding = states.iter().fold(finding, |finding, state| finding.evidence(evidence_of(state)));
    finding.cure(if bound {
        format!(
            "its packets come by several interfaces ({}), and each state sees a part of them: leave out `if-bound` (set \
             state-policy floating), or have them routed one way",
            places.join(", ")
        )
    } else {
        "each sees a part of the packets: make the state with one rule, on its first packet".to_owned()
    })
}

/// A connection with a state for the packets of either end.
fn opposed(chart: &Chart<'_>, states: &[&StateView], others: &[&StateView]) -> Option<Finding> {
    let pair = states.iter().flat_map(|state| others.iter().map(move |other| (state, other)));
    let (one, other) = pair.min_by_key(|(one, other)| one.direction != other.direction)?;
    let (source, destination) = (one.source.end, one.destination.end);
    let same = one.direction == other.direction;
    let (check, what) = if same {
        let direction = word(one.direction);
        ("direction", format!("both ends of {source} and {destination} are seen going {direction}"))
    } else {
        ("several-states", format!("{source} and {destination} have a state for each direction"))
    };
    Some(
        Finding::new(check, what)
            .rule(chart.maker(other))
            .evidence(evidence_of(one))
            .evidence(evidence_of(other))
            .evidence(if one.destination.packets > 0 && other.destination.packets > 0 {
                "the one that an answer made has missed the SYN, and its window scaling".to_owned()
            } else {
                "each state sees one end only, so that neither can follow the windows".to_owned()
            })
            .cure(
                "keep state on the connection's first packet at both hooks: `pass out` with state where `pass in` has it, no \
                 `no state`, `set skip` or `flags any` on the way"
                    .to_owned(),
            ),
    )
}

/// States that are bound to an interface, and whose packets come by another.
fn bound(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (example, packet) in chart.dropped() {
        if !matches!(example.reason, Reason::Match | Reason::StateMismatch | Reason::StateInsert) {
            continue;
        }
        let (source, destination) = ends(packet);
        let of_it = |state: &&StateView| {
            let both = (state.source.end, state.destination.end);
            // Of the two states of a connection the one that the packet would have met at a hook of this direction.
            let met = match both {
                both if both == (source, destination) => state.direction,
                both if both == (destination, source) => state.direction.reverse(),
                _ => return false,
            };
            let is_elsewhere = |hook: &HookView| hook.direction == met && hook.interface != state.interface;
            state.interface != "all"
                // Answered by nobody, it is told by its silence.
                && state.destination.packets > 0
                && example.hook.as_ref().is_some_and(is_elsewhere)
        };
        let states = &chart.snapshot.states;
        // At the hook where another of its states is, that one is at fault.
        let elsewhere = |state: &&StateView| {
            let here = example.hook.as_ref().map(|hook| hook.interface.as_str());
            !states.iter().any(|other| inner(other) == inner(state) && Some(other.interface.as_str()) == here)
        };
        let Some(state) = states.iter().filter(of_it).find(elsewhere) else { continue };
        let what = format!(
            "{source} to {destination} comes by {}, and its state is bound to {}",
            example.place(),
            state.interface
        );
        findings.push(
            Finding::new("if-bound", what)
                .rule(chart.maker(state))
                .evidence(evidence_of(state))
                .evidence(format!("dropped on {}, {}: {packet}", example.place(), example.reason))
                .cure(format!(
                    "leave out `if-bound` (set state-policy floating), or route the packets by {}",
                    state.interface
                )),
        );
    }
    Finding::few(findings, "packets")
}

/// States that a rule made of packets in the middle of connections.
fn unscaled(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for state in &chart.snapshot.states {
        let unscaled = state.source.wscale.is_none() && state.destination.wscale.is_none();
        let both = state.source.packets > 0 && state.destination.packets > 0;
        let over = state.source.state.min(state.destination.state) >= PeerState::FinWait2;
        if state.proto != Proto::TCP
            || state.sloppy
            || !unscaled
            || !both
            || over
            || !chart.rule_of(state).is_some_and(picks_up)
        {
            continue;
        }
        let what = format!(
            "the state of {} to {} was made in the middle of the connection, without its window scaling",
            state.source.end, state.destination.end
        );
        findings.push(
            Finding::new("no-window-scaling", what)
                .rule(chart.maker(state))
                .evidence(evidence_of(state))
                .evidence("its rule does not ask for a SYN, and no end has a wscale: the windows that both ends announce count as if they \
                           were not scaled, and what goes beyond is dropped as state-mismatch".to_owned())
                .cure("let SYNs alone make states: leave out `flags any` (`flags S/SA` is the default); for a connection that is \
                       seen in parts only, `keep state (sloppy)`. States that are there: tpctl states kill".to_owned()),
        );
    }
    Finding::few(findings, "states")
}

/// Whether a rule makes states of other segments than those with SYN and without ACK.
fn picks_up(rule: &Rule) -> bool {
    let begins = |flags: FlagsMatch| {
        let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
        flags.set.contains(syn) && flags.mask.contains(ack) && !flags.set.contains(ack)
    };
    !rule.flags.is_some_and(begins)
}

/// Sender and receiver of a packet.
pub fn ends(packet: &PacketView) -> (TupleEnd, TupleEnd) {
    (packet.source, packet.destination)
}

/// A state with what pf shows of it, in one line.
pub fn evidence_of(state: &StateView) -> String {
    let line = state.to_string();
    let scales = match (state.proto, state.source.wscale, state.destination.wscale) {
        (Proto::TCP, Some(source), Some(destination)) => format!(", wscale {source}:{destination}"),
        (Proto::TCP, ..) => ", no wscale".to_owned(),
        _ => String::new(),
    };
    format!(
        "state {}, {}:{} pkts{scales}",
        line.split_whitespace().collect::<Vec<_>>().join(" "),
        state.source.packets,
        state.destination.packets
    )
}

pub const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}
