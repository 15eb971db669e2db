//! What a ruleset says that its writer hardly means: warnings, for `tpctl check`.
//!
//! Overview: each ruleset is looked at by itself, with the calls around it. A finding is certain: where the rules alone do
//! not tell (groups, tables that change, anchors that are loaded later), nothing is said. Bounds: [`COMPARED`] rules of a
//! ruleset are compared in pairs.

use std::collections::BTreeSet;

use ruleset::{
    Action, AddressMatch, AddressPattern, Direction, FlagsMatch, PortMatch, RoutingTable, Rule, StateMode,
};
use wire::{Port, Proto, TcpFlags};

use crate::ast::{Extras, Scrub, SetActions};
use crate::config::{Config, Entry, FullRule};
use crate::diagnostic::{Diagnostic, Diagnostics, Form, Severity};
use crate::interfaces::Interfaces;
use crate::optimize::covers;

/// The most rules of a ruleset that are compared with each other.
const COMPARED: usize = 2048;

impl Config {
    /// Rules that never decide or never match, and states and their absence that break connections. `interfaces` are those
    /// that are known not to be groups, and `is_empty` knows of which routing tables there are no routes.
    pub fn lint(&self, interfaces: &Interfaces, is_empty: &dyn Fn(RoutingTable) -> bool) -> Diagnostics {
        let mut all = Vec::new();
        collect(&self.entries, &mut all);
        self.loaded.iter().for_each(|(_, entries)| collect(entries, &mut all));
        let lint = Lint {
            config: self,
            interfaces,
            is_empty,
            tags: all.iter().filter_map(|full| full.rule.tag.as_deref()).collect(),
            calls: calls_others(&self.entries),
        };
        let mut found = Vec::new();
        lint.ruleset(&self.entries, &mut Vec::new(), &mut found);
        for (_, entries) in &self.loaded {
            lint.ruleset(entries, &mut Vec::new(), &mut found);
        }
        found.sort_by_key(|(full, _)| (full.span.file, full.span.start));
        found.dedup_by(|a, b| a.0.span == b.0.span && a.1.text == b.1.text);
        let mut diagnostics = Diagnostics { sources: self.sources.clone(), list: Vec::new() };
        for (full, Said { text, hint }) in found {
            diagnostics.push(Diagnostic {
                severity: Severity::Warning,
                text,
                file: full.span.file,
                line: self.sources.line(full.span),
                span: full.span,
                label: String::new(),
                hint: Some(hint.to_owned()),
                form: Form::Placed,
                order: 0,
            });
        }
        diagnostics
    }
}

/// What is said of a rule.
struct Said {
    text: String,
    hint: &'static str,
}

impl Said {
    fn new(text: impl Into<String>, hint: &'static str) -> Self {
        Self { text: text.into(), hint }
    }
}

struct Lint<'a> {
    config: &'a Config,
    interfaces: &'a Interfaces,
    is_empty: &'a dyn Fn(RoutingTable) -> bool,
    /// Every tag that a rule sets.
    tags: BTreeSet<&'a str>,
    /// Rules that are not here may be asked as well.
    calls: bool,
}

impl<'a> Lint<'a> {
    fn ruleset(
        &self,
        entries: &'a [Entry],
        calls: &mut Vec<&'a FullRule>,
        found: &mut Vec<(&'a FullRule, Said)>,
    ) {
        let filter = entries.iter().filter(|entry| entry.section().is_none());
        let rules: Vec<&FullRule> =
            filter.filter(|entry| matches!(entry, Entry::Rule(_))).map(Entry::rule).collect();
        for (number, full) in rules.iter().copied().enumerate() {
            let alone =
                [self.never(full), middle(full), self.stateless(full, &rules), self.routed_nowhere(full)];
            let pairs = (number < COMPARED).then(|| self.hidden(number, &rules[..rules.len().min(COMPARED)]));
            let around = calls.iter().find_map(|call| self.contradicts(call, &full.rule));
            let said = alone.into_iter().flatten().chain(pairs.flatten()).chain(around);
            found.extend(said.map(|said| (full, said)));
        }
        for entry in entries {
            if let Entry::Anchor(anchor) = entry
                && anchor.gate.early.is_none()
            {
                let around = calls.iter().find_map(|call| self.contradicts(call, &anchor.gate.rule));
                let said = [self.never(&anchor.gate), self.routed_nowhere(&anchor.gate), around];
                let said = said.into_iter().flatten();
                found.extend(said.map(|said| (&anchor.gate, said)));
                calls.push(&anchor.gate);
                self.ruleset(anchor.body.as_deref().unwrap_or_default(), calls, found);
                calls.pop();
            }
        }
    }

    /// A rule that another one of its ruleset leaves nothing to decide.
    fn hidden(&self, number: usize, rules: &[&FullRule]) -> Option<Said> {
        let full = rules[number];
        let line = |other: &FullRule| {
            let (file, line) = (other.span.file, self.config.sources.line(other.span));
            match file == full.span.file {
                true => format!("line {line}"),
                false => format!("{}:{line}", self.config.sources.file(file).name),
            }
        };
        let hides = |other: &&&FullRule| other.span != full.span && decides(other) && hides(other, full);
        if let Some(before) = rules[..number].iter().filter(|other| other.rule.quick).find(hides) {
            let text = format!("this rule is never reached: {} is quick and matches all of it", line(before));
            return Some(Said::new(text, "put it in front of that rule, or remove it"));
        }
        if full.rule.action == Action::Match || full.rule.quick || full.rule.tag.is_some() {
            return None;
        }
        let behind = rules[number + 1..].iter().find(hides)?;
        let text = format!("this rule never decides: {} comes later and matches all of it", line(behind));
        Some(Said::new(text, "the last match decides: put it behind that rule, add quick, or remove it"))
    }

    /// A rule that no packet matches.
    fn never(&self, full: &FullRule) -> Option<Said> {
        let rule = &full.rule;
        for (word, end) in [("from", &rule.from), ("to", &rule.to)] {
            let address = &end.address;
            if is_empty(end.port) {
                return Some(Said::new(
                    format!("no port is within the range behind `{word}`"),
                    "a >< b leaves out both ends, a:b takes them in",
                ));
            }
            if let AddressPattern::Table(name) = &address.pattern
                && !address.negated
                && self.is_forever_empty(name)
            {
                let text = format!("no address is in the table <{name}>, which is const and empty");
                return Some(Said::new(text, "give it addresses, or leave const out"));
            }
        }
        let wanted = rule.tagged.as_ref().filter(|wanted| !wanted.negated);
        if let Some(wanted) = wanted.filter(|wanted| !self.calls && !self.tags.contains(wanted.name.as_str()))
        {
            return Some(Said::new(format!("no rule sets the tag {}", wanted.name), "set it with: tag"));
        }
        let on = named(rule).filter(|name| self.config.options.skip.iter().any(|skipped| skipped == name))?;
        Some(Said::new(format!("no rule is asked on {on}: set skip on {on}"), "remove one of the two"))
    }

    /// A rule whose routing table is not asked, or has no routes.
    fn routed_nowhere(&self, full: &FullRule) -> Option<Said> {
        let table = full.rule.rtable?.canonical();
        let blocks = matches!(full.rule.action, Action::Block(_));
        let what = match full.rule.direction {
            _ if blocks => "it blocks",
            Some(Direction::Out) => "leaves, which is routed already",
            _ if table != RoutingTable::MAIN && (self.is_empty)(table) => {
                let text =
                    format!("routing table {table} has no routes: what comes in by this rule is dropped");
                return Some(Said::new(text, "ip route add default via GATEWAY table NUMBER"));
            }
            _ => return None,
        };
        Some(Said::new(
            format!("rtable does nothing for what {what}"),
            "give it to a rule that passes what comes in",
        ))
    }

    fn is_forever_empty(&self, name: &str) -> bool {
        let mut named = self.config.tables.iter().filter(|table| table.name == name);
        named.any(|table| table.constant && table.members.as_ref().is_some_and(Vec::is_empty))
    }

    /// A rule that lets segments through without a state, where no rule lets their answers through.
    fn stateless(&self, full: &FullRule, rules: &[&FullRule]) -> Option<Said> {
        let rule = &full.rule;
        let direction = rule.direction?;
        let stateless = rule.action == Action::Pass && rule.state == StateMode::None;
        if self.calls || !stateless || rule.proto != Some(Proto::TCP) || rules.len() > COMPARED {
            return None;
        }
        let answer = Rule {
            direction: Some(direction.reverse()),
            from: rule.to.clone(),
            to: rule.from.clone(),
            flags: None,
            ..rule.clone()
        };
        let passes = |other: &&FullRule| {
            other.rule.action == Action::Pass
                && other.rule.flags != Some(FlagsMatch::SYN_ONLY)
                && self.may_meet(&other.rule, &answer)
        };
        let answers = FullRule { rule: answer.clone(), ..FullRule::default() };
        let blocks =
            |other: &&&FullRule| matches!(other.rule.action, Action::Block(_)) && hides(other, &answers);
        let block =
            rules.iter().find(blocks).filter(|_| !rules.iter().copied().any(|other| passes(&other)))?;
        let way = if direction == Direction::In { "out" } else { "in" };
        let line = self.config.sources.line(block.span);
        let text = format!("answers to what this rule passes without a state are blocked by line {line}");
        let hint = if way == "out" { "keep state, or pass them out" } else { "keep state, or pass them in" };
        Some(Said::new(text, hint))
    }

    /// False if no packet can match both, as far as this can be seen from the rules alone.
    fn may_meet(&self, a: &Rule, b: &Rule) -> bool {
        !apart(a.direction, b.direction)
            && !apart(a.af, b.af)
            && !apart(a.proto, b.proto)
            && !self.on_different_interfaces(a, b)
            && ports_meet(a.from.port, b.from.port)
            && ports_meet(a.to.port, b.to.port)
            && addresses_meet(&a.from.address, &b.from.address)
            && addresses_meet(&a.to.address, &b.to.address)
    }

    fn on_different_interfaces(&self, a: &Rule, b: &Rule) -> bool {
        let known = |rule| named(rule).filter(|name| self.interfaces.names().any(|known| known == *name));
        known(a).zip(known(b)).is_some_and(|(a, b)| a != b)
    }

    /// A rule that no packet matches which comes in by the call of its anchor.
    fn contradicts(&self, call: &FullRule, rule: &Rule) -> Option<Said> {
        let around = &call.rule;
        let what = match () {
            () if self.on_different_interfaces(around, rule) => "interface",
            () if apart(around.direction, rule.direction) => "direction",
            () if apart(around.af, rule.af) => "family",
            () if apart(around.proto, rule.proto) => "protocol",
            () => return None,
        };
        let line = self.config.sources.line(call.span);
        let text = format!("this rule is never reached: the anchor in line {line} is for another {what}");
        Some(Said::new(text, "move it out of the anchor, or say less there"))
    }
}

/// Every rule, those of anchors too.
fn collect<'a>(entries: &'a [Entry], rules: &mut Vec<&'a FullRule>) {
    for entry in entries {
        rules.push(entry.rule());
        if let Entry::Anchor(anchor) = entry {
            collect(anchor.body.as_deref().unwrap_or_default(), rules);
        }
    }
}

/// True if an anchor has rules that do not stand here, or may get some.
fn calls_others(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| match entry {
        Entry::Anchor(anchor) => {
            anchor.name.is_some() || calls_others(anchor.body.as_deref().unwrap_or_default())
        }
        Entry::Rule(_) => false,
    })
}

fn decides(full: &FullRule) -> bool {
    full.rule.action != Action::Match
}

/// True if every packet that matches `part` matches `whole`.
fn hides(whole: &FullRule, part: &FullRule) -> bool {
    let (rule, other) = (&whole.rule, &part.rule);
    // What makes a rule do more, and match no less.
    let asked = Extras { set: SetActions::default(), scrub: Scrub::default(), ..whole.extras.clone() };
    // A rule that keeps state leaves out replies of ICMP.
    let icmp = matches!(other.proto, None | Some(Proto::ICMP | Proto::ICMP6));
    let spares_replies = rule.state != StateMode::None && other.state == StateMode::None && icmp;
    asked == Extras::default()
        && rule.tagged.is_none()
        && !matches_sometimes(rule)
        && (rule.received_on.is_none() || rule.received_on == other.received_on)
        && (rule.tos.is_none() || rule.tos == other.tos)
        && (rule.prio.is_none() || rule.prio == other.prio)
        && (rule.os.is_none() || rule.os == other.os)
        && (rule.icmp.is_none() || rule.icmp == other.icmp)
        && (!rule.fragment || other.fragment)
        && !spares_replies
        && covers(rule, other)
}

/// True if a rule does not match all packets that are as it asks.
const fn matches_sometimes(rule: &Rule) -> bool {
    rule.probability.is_some() || rule.packet_rate.is_some() || rule.once
}

/// Rules that make states of what does not begin a connection.
fn middle(full: &FullRule) -> Option<Said> {
    let rule = &full.rule;
    let begins = rule.flags.is_some_and(|flags| {
        flags.set.contains(TcpFlags::SYN) && flags.mask.contains(TcpFlags::SYN.union(TcpFlags::ACK))
    });
    let tcp = matches!(rule.proto, None | Some(Proto::TCP));
    let keeps = rule.action == Action::Pass && rule.state != StateMode::None && !rule.state_options.sloppy;
    if !tcp || begins || !keeps {
        return None;
    }
    Some(Said::new(
        "this rule makes states of segments in the middle of connections, of which the scale of windows is not known",
        "leave flags out (S/SA), or keep state (sloppy)",
    ))
}

fn is_empty(port: PortMatch) -> bool {
    match port {
        PortMatch::Range(a, b) => a > b,
        PortMatch::Inside(a, b) => a.0.checked_add(1).is_none_or(|next| next >= b.0),
        PortMatch::Less(port) => port == Port(0),
        PortMatch::Greater(port) => port == Port(u16::MAX),
        _ => false,
    }
}

/// The interface or group that a rule is on.
fn named(rule: &Rule) -> Option<&str> {
    match &rule.interface {
        Some(on) if !on.negated => match &on.pattern {
            ruleset::InterfacePattern::Name(name) => Some(name),
            ruleset::InterfacePattern::Any => None,
        },
        _ => None,
    }
}

fn apart<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a != b)
}

fn ports_meet(a: PortMatch, b: PortMatch) -> bool {
    (0..=u16::MAX).map(Port).any(|port| a.accepts(port) && b.accepts(port))
}

fn addresses_meet(a: &AddressMatch, b: &AddressMatch) -> bool {
    match (&a.pattern, &b.pattern) {
        _ if a.negated || b.negated => true,
        (AddressPattern::Net(a), AddressPattern::Net(b)) => a.contains(b) || b.contains(a),
        _ => true,
    }
}
