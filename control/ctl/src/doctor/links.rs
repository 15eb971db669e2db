//! What interfaces and routes tell: links that are down, packets that go in circles, rules for interfaces that there are not.

use std::collections::BTreeSet;

use api::{DropExample, HookView, InterfaceStatus, PacketView, SeenPacket};
use ruleset::{
    Action, Direction, InterfaceMatch, InterfacePattern, Reason, RoutingTable, Rule, protocol_name,
};
use wire::Af;

use super::Finding;
use super::drops::count_of;
use super::snapshot::{Chart, Way};
use super::states::word;

pub fn check(chart: &Chart<'_>) -> Vec<Finding> {
    let mut findings = down(chart);
    findings.extend(circles(chart));
    findings.extend(absent(chart));
    findings.extend(empty_tables(chart));
    findings
}

/// Interfaces that packets were to leave by, and whose link is down.
fn down(chart: &Chart<'_>) -> Vec<Finding> {
    let snapshot = chart.snapshot;
    let packets = count_of(&snapshot.drops.interfaces, Reason::PortDown);
    let dark = snapshot.status.interfaces.iter().filter(|interface| !interface.up && packets > 0);
    let told = dark.filter_map(|interface| {
        let name = &interface.name;
        // The route is found to be dark where the packet arrives, or the queue where it leaves.
        let leads_there = |packet: &SeenPacket| match packet {
            SeenPacket::Packet(packet) => {
                matches!(chart.way_to(packet.destination.address), Way::By { interface, .. } if interface == *name)
            }
            SeenPacket::Frame { .. } => false,
        };
        let lost = |example: &&DropExample| {
            example.reason == Reason::PortDown && (example.interface == *name || leads_there(&example.packet))
        };
        let last = snapshot.drops.examples.iter().rev().find(lost)?;
        let finding = Finding::new("link-down", format!("packets are to leave by {name}, which is down"))
            .evidence(format!("{packets} packets were dropped for a link, as {}", Reason::PortDown))
            .evidence(format!("the last: {}", last.packet))
            .evidence(absence(interface));
        Some(finding.cure(format!(
            "see the cable, and the other end of {} (tpctl show interfaces; ip link set {name} up); where there is another way, have \
             a routing daemon, or a second route with a higher metric, take it while the link is down",
            interface.device
        )))
    });
    told.collect()
}

impl Finding {
    /// With the interfaces that routes may have gone with.
    pub fn and_dark(self, chart: &Chart<'_>) -> Self {
        let dark = chart.snapshot.status.interfaces.iter().filter(|interface| !interface.up);
        dark.fold(self, |finding, interface| finding.evidence(absence(interface)))
    }
}

/// What is seen of an interface that is down.
fn absence(interface: &InterfaceStatus) -> String {
    let name = &interface.name;
    let without = if interface.addresses.is_empty() { " and has no address" } else { "" };
    format!(
        "{name} is down{without}, and routes by it are gone: see whether its host interface is there, up, and still called so \
         (ip addr show {name})"
    )
}

/// Packets whose time to live ended here, on a way that leads back where they came from.
fn circles(chart: &Chart<'_>) -> Vec<Finding> {
    let mut told = BTreeSet::new();
    let mut findings = Vec::new();
    for (example, packet) in chart.dropped().filter(|(example, _)| example.reason == Reason::Ttl) {
        let target = packet.destination.address;
        let Way::By { interface, via } = chart.way_to(target) else { continue };
        if interface != example.place() || !told.insert(target) {
            continue;
        }
        let over = via.map_or_else(String::new, |via| format!(", over {via}"));
        let back = via.map_or_else(|| "its neighbour".to_owned(), |via| via.to_string());
        findings.push(
            Finding::new("routing-loop", format!("packets to {target} go in circles by {interface}"))
                .evidence(format!("their time to live ended here: {packet}"))
                .evidence(format!("they come by {interface}, and the route to {target} leads out by it{over}"))
                .cure(format!(
                    "compare the route here (tpctl show route {target}) with that of {back}, which sends them here: one of both is \
                     wrong, or the network is gone, and `ip route add blackhole` says so"
                )),
        );
    }
    Finding::few(findings, "destinations")
}

/// Rules for an interface that there is not, where packets are blocked on one that no rule is for.
fn absent(chart: &Chart<'_>) -> Vec<Finding> {
    let Some(rules) = chart.snapshot.rules.as_ref().map(|live| &live.rules) else { return Vec::new() };
    let known: Vec<&str> =
        chart.snapshot.status.interfaces.iter().map(|interface| interface.name.as_str()).collect();
    let named: BTreeSet<&str> = rules.iter().filter_map(name_of).collect();
    let blocked = chart.dropped().filter(|(example, _)| example.reason == Reason::Match);
    let strange = blocked.into_iter().find_map(|(example, packet)| {
        let hook = example.hook.as_ref().filter(|hook| !is_named(&hook.interface, &named))?;
        // One for no interface in particular is for all.
        let is_for_all = |rule: &Rule| name_of(rule).is_none() && passes_such(rule, hook, packet);
        (!rules.iter().any(is_for_all)).then_some((hook, packet))
    });
    let Some((hook, packet)) = strange else { return Vec::new() };
    let mut told = BTreeSet::new();
    let missing = (0..).zip(rules).filter_map(|(place, rule)| Some((place, name_of(rule)?)));
    // A name without a number is a group's, which may be empty.
    let missing = missing.filter(|(_, name)| {
        name.ends_with(|last: char| last.is_ascii_digit()) && !known.contains(name) && told.insert(*name)
    });
    let findings = missing.map(|(place, name)| {
        let (direction, interface) = (word(hook.direction), &hook.interface);
        Finding::new("absent-interface", format!("a rule is for {name}, and there is no such interface"))
            .rule(chart.rule_at(place))
            .evidence(format!("there are {}", known.join(", ")))
            .evidence(format!("no rule is for {interface}, and packets are blocked {direction} on it: {packet}"))
            .cure(format!(
                "have the rule name the interface that is meant, or the port be called {name} (`name` in turnpike.toml); names \
                 that the kernel gives do not count"
            ))
    });
    Finding::few(findings.collect(), "names")
}

/// Whether a rule is there to pass packets of such a protocol, by such a hook.
fn passes_such(rule: &Rule, hook: &HookView, packet: &PacketView) -> bool {
    let named = |proto| protocol_name(proto).map_or_else(|| proto.0.to_string(), str::to_owned);
    rule.action == Action::Pass
        && rule.direction.is_none_or(|direction| direction == hook.direction)
        && rule.af.is_none_or(|af| (af == Af::Inet) == packet.source.address.is_ipv4())
        && rule.proto.is_none_or(|proto| named(proto) == packet.proto)
}

/// Rules that have packets routed by a table without routes.
fn empty_tables(chart: &Chart<'_>) -> Vec<Finding> {
    let Some(rules) = chart.snapshot.rules.as_ref().map(|live| &live.rules) else { return Vec::new() };
    let mut told = BTreeSet::new();
    let named = (0..).zip(rules).filter_map(|(place, rule)| Some((place, routed_by(rule)?)));
    let empty = named.filter(|(_, table)| !chart.has_routes(*table) && told.insert(*table));
    let findings = empty.map(|(place, table)| {
        let what = format!("a rule has packets routed by table {table}, which has no routes");
        let refused = chart.dropped().find(|(example, _)| {
            example.reason == Reason::NoRoute && chart.table_by(example) == table
        });
        let finding = Finding::new("empty-rtable", what).rule(chart.rule_at(place));
        let finding = match refused {
            Some((example, packet)) => finding.evidence(format!("dropped on {}: {packet}", example.place())),
            None => finding.evidence(format!("what comes in by the rule is dropped, as {}", Reason::NoRoute)),
        };
        finding.and_dark(chart).cure(format!(
            "give it routes (ip route add default via GATEWAY table {table}); those of the main table are not asked besides"
        ))
    });
    Finding::few(findings.collect(), "tables")
}

/// The table that a rule has packets routed by, where it is not the main one and the rule's packets come in.
fn routed_by(rule: &Rule) -> Option<RoutingTable> {
    let enters = rule.direction != Some(Direction::Out) && !matches!(rule.action, Action::Block(_));
    rule.rtable.map(RoutingTable::canonical).filter(|table| enters && *table != RoutingTable::MAIN)
}

/// The interface or group that a rule is for.
fn name_of(rule: &Rule) -> Option<&str> {
    match &rule.interface {
        Some(InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name) }) => Some(name),
        _ => None,
    }
}

/// Whether rules are for an interface, by its name or by that of a group.
fn is_named(interface: &str, named: &BTreeSet<&str>) -> bool {
    let group = interface.trim_end_matches(|last: char| last.is_ascii_digit());
    named.contains(interface) || named.contains(group)
}
