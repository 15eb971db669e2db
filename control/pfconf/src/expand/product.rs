//! Lists to rules: every combination that makes sense becomes one rule, in pfctl's order.

use ruleset::{
    Action, AddressMatch, AddressPattern, BlockReply, Direction, Endpoint, IcmpMatch, InterfaceMatch,
    InterfacePattern, PortMatch, Rule, StateMode,
};
use wire::{Af, Proto};

use super::host::Node;
use super::rule::Job;
use super::{Expander, RULES, label, option};
use crate::ast::{FilterOptions, IcmpItem, IdMatch, InterfaceItem, InterfaceName, Redirect, Section};
use crate::config::{Anchor, Entry, FullRule, Pool, PoolHost};
use crate::diagnostic::Form;
use crate::dialect::Dialect;
use crate::parse::Parsed;

/// One item of each list.
struct Choice<'a> {
    interface: Option<&'a InterfaceItem>,
    proto: Option<Proto>,
    icmp: Option<IcmpItem>,
    from: &'a Node,
    from_port: PortMatch,
    os: Option<&'a String>,
    to: &'a Node,
    to_port: PortMatch,
    user: Option<IdMatch>,
    group: Option<IdMatch>,
}

/// The first and the last port of `nat-to` without any.
const NAT_PORTS: (u16, u16) = (50001, 65535);
/// How many lists a rule has.
const LISTS: usize = 10;

/// Positions in all lists: the last one turns fastest, an empty list has one position.
struct Odometer {
    lengths: [usize; LISTS],
    next: Option<[usize; LISTS]>,
}

impl Iterator for Odometer {
    type Item = [usize; LISTS];

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.next?;
        let turning = (0..LISTS).rev().find(|list| at[*list] + 1 < self.lengths[*list]);
        self.next = turning.map(|list| {
            let mut following = at;
            following[list] += 1;
            following[list + 1..].fill(0);
            following
        });
        Some(at)
    }
}

impl Job<'_> {
    fn lengths(&self) -> [usize; LISTS] {
        let statement = self.statement;
        [
            statement.interfaces.len(),
            statement.protocols.len(),
            statement.options.icmp.len(),
            self.sources.len(),
            statement.from.ports.len(),
            statement.os.len(),
            self.destinations.len(),
            statement.to.ports.len(),
            statement.options.users.len(),
            statement.options.groups.len(),
        ]
    }

    fn choice<'a>(&'a self, at: [usize; LISTS], any: &'a Node) -> Choice<'a> {
        let statement = self.statement;
        Choice {
            interface: statement.interfaces.get(at[0]),
            proto: statement.protocols.get(at[1]).copied(),
            icmp: statement.options.icmp.get(at[2]).copied(),
            from: self.sources.get(at[3]).unwrap_or(any),
            from_port: statement.from.ports.get(at[4]).copied().unwrap_or_default(),
            os: statement.os.get(at[5]),
            to: self.destinations.get(at[6]).unwrap_or(any),
            to_port: statement.to.ports.get(at[7]).copied().unwrap_or_default(),
            user: statement.options.users.get(at[8]).copied(),
            group: statement.options.groups.get(at[9]).copied(),
        }
    }
}

impl Expander<'_> {
    pub(super) fn product(&mut self, job: &Job<'_>, entries: &mut Vec<Entry>) -> Parsed<()> {
        self.check_size(job)?;
        let any = Node::default();
        let before = entries.len();
        for at in (Odometer { lengths: job.lengths(), next: Some([0; LISTS]) }) {
            self.combine(job, &job.choice(at, &any), entries)?;
        }
        if entries.len() == before {
            self.nothing_left(job);
        }
        Ok(())
    }

    /// Refuses lists whose product nobody can have meant, before any of it is made.
    fn check_size(&mut self, job: &Job<'_>) -> Parsed<()> {
        let body = job.anchor.as_ref().and_then(|(_, body)| body.as_ref());
        let each = 1 + body.map_or(0, |body| count(body));
        let product =
            job.lengths().iter().fold(each, |product, length| product.saturating_mul(*length.max(&1)));
        self.made = self.made.saturating_add(product);
        if self.made > RULES {
            let text = format!("the ruleset expands to more than {RULES} rules");
            return Err(self.fail(job.statement.span, text, Some("put addresses into a table")));
        }
        Ok(())
    }

    fn nothing_left(&mut self, job: &Job<'_>) {
        let explained = self.findings.list.last().is_some_and(|finding| finding.order == self.place.order);
        let form = if explained { Form::Consequence } else { Form::Placed };
        self.report(
            form,
            job.statement.span,
            "rule expands to no valid combination".into(),
            "no address of these lists is of the same family as the others",
            None,
        );
    }

    fn combine(&mut self, job: &Job<'_>, choice: &Choice<'_>, entries: &mut Vec<Entry>) -> Parsed<()> {
        let Some((af, interface)) = agree(job, choice) else { return Ok(()) };
        let mut full = job.template.clone();
        fill(&mut full, choice, af, interface);
        let number = match self.config.dialect {
            Dialect::OpenBsd => entries.len(),
            Dialect::FreeBsd => position(&full, &job.statement.options, entries),
        };
        let options = &job.statement.options;
        let mut labels = Vec::new();
        for label in &options.labels {
            labels.extend(self.expanded_name(&Some(label.clone()), &full.rule, number, "rule label")?);
        }
        let mut labels = labels.into_iter();
        full.rule.label = labels.next();
        full.rule.more_labels = labels.collect();
        full.rule.tag = self.expanded_name(&options.tag, &full.rule, number, "tag")?;
        if let Some((negated, name)) = &options.tagged {
            let name = self.expanded_name(&Some(name.clone()), &full.rule, number, "tag")?;
            full.rule.tagged = name.map(|name| ruleset::TagMatch { negated: *negated, name });
        }
        let errors_before = self.findings.list.len();
        self.check_masks(job, choice, &full.rule);
        self.check_icmp(job, choice, &full.rule);
        self.pools(job, choice, &mut full);
        self.check_rule(job, &full);
        if self.findings.list.len() > errors_before {
            self.report(
                Form::Consequence,
                job.statement.span,
                "skipping rule due to errors".into(),
                "",
                None,
            );
            return Ok(());
        }
        let inbound = options.binat.then(|| binat_inbound(&full)).flatten();
        if let Some((name, body)) = &job.anchor {
            let anchor = Anchor { name: name.clone(), gate: full, body: body.clone() };
            entries.push(Entry::Anchor(anchor));
        } else {
            entries.push(Entry::Rule(full));
            entries.extend(inbound.map(Entry::Rule));
        }
        Ok(())
    }

    fn expanded_name(
        &mut self,
        text: &Option<String>,
        rule: &Rule,
        number: usize,
        what: &str,
    ) -> Parsed<Option<String>> {
        let most = ruleset::bounds::NAME_BYTES;
        let name = label::expand(text, rule, number, self.config.dialect.into());
        if name.as_ref().is_some_and(|name| name.len() > most) {
            return Err(self.fail(self.place.span, format!("{what} too long (max {most} chars)"), None));
        }
        if name.as_ref().is_some_and(|name| name.ends_with('\\')) {
            return Err(self.fail(self.place.span, format!("{what} ends in a backslash"), None));
        }
        Ok(name)
    }

    fn check_masks(&mut self, job: &Job<'_>, choice: &Choice<'_>, rule: &Rule) {
        for node in [choice.from, choice.to] {
            if let AddressPattern::Interface { prefix: Some(prefix), .. } = &node.pattern
                && rule.af == Some(Af::Inet)
                && *prefix > 32
            {
                let text = format!("netmask {prefix} invalid for IPv4 address");
                self.complain(job.statement.span, text, None);
            }
            if node.via.is_some() {
                self.complain(job.statement.span, "@if syntax not permitted in from or to", None);
            }
        }
    }

    fn check_icmp(&mut self, job: &Job<'_>, choice: &Choice<'_>, rule: &Rule) {
        let Some(icmp) = choice.icmp else { return };
        let proto = if icmp.af == Af::Inet { Proto::ICMP } else { Proto::ICMP6 };
        if rule.proto != Some(proto) {
            let (keyword, hint) = match icmp.af {
                Af::Inet => ("icmp-type", "icmp-type needs inet proto icmp"),
                Af::Inet6 => ("icmp6-type", "icmp6-type needs inet6 proto icmp6"),
            };
            let span = self.config.place(keyword, job.statement.span);
            self.complain(span, "icmp-type mismatch", Some(hint));
        }
    }

    /// Where the rule translates to and routes to.
    fn pools(&mut self, job: &Job<'_>, choice: &Choice<'_>, full: &mut FullRule) {
        let af = full.af_to.or(full.rule.af);
        if let Some(target) = &job.nat {
            full.nat = self.pool(target, af, false).map(|pool| self.nat_ports(pool, target.redirect));
        }
        if let Some(target) = &job.rdr {
            let pool = self.pool(target, af, false);
            full.rdr =
                pool.and_then(|pool| self.rdr_ports(pool, target.redirect, choice.to_port, &full.rule));
        }
        if let Some((kind, target)) = &job.route {
            full.route = self.pool(target, full.rule.af, true).map(|pool| (*kind, pool));
        }
        if job.statement.options.binat {
            self.check_binat(job, full);
        }
        let binat = full.early.is_some_and(|early| early.section == Section::Binat);
        if binat && full.nat.as_ref().is_some_and(|pool| pool.only().is_none()) {
            self.complain(job.statement.span, "multiple binat ip addresses", Some("name one"));
        }
    }
}

/// The family and the interface on which both ends of a combination agree; `None` if they cannot.
fn agree(job: &Job<'_>, choice: &Choice<'_>) -> Option<(Option<Af>, Option<String>)> {
    let mut af = job.template.rule.af;
    for node in [choice.from, choice.to] {
        match (af, node.af) {
            (Some(known), Some(of)) if known != of => return None,
            (None, of) => af = of,
            _ => {}
        }
    }
    let named = match choice.interface.map(|item| &item.name) {
        Some(InterfaceName::Name(name)) => Some(name),
        _ => None,
    };
    let mut scope = None;
    for node in [choice.from, choice.to] {
        let Some(of) = &node.scope else { continue };
        if named.or(scope).is_some_and(|known| known != of) {
            return None;
        }
        scope = Some(of);
    }
    Some((af, scope.cloned()))
}

/// Puts one item of each list into a rule.
fn fill(full: &mut FullRule, choice: &Choice<'_>, af: Option<Af>, scope: Option<String>) {
    let rule = &mut full.rule;
    rule.af = af;
    rule.proto = choice.proto;
    rule.interface = match choice.interface {
        Some(item) => {
            option::pattern(&item.name).map(|pattern| InterfaceMatch { negated: item.negated, pattern })
        }
        None => scope.map(|name| InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name) }),
    };
    if let Some(InterfaceItem { negated, name: InterfaceName::Domain(domain), .. }) = choice.interface {
        full.extras.domain = Some((*negated, *domain));
    }
    rule.from = endpoint(choice.from, choice.from_port);
    rule.to = endpoint(choice.to, choice.to_port);
    full.extras.from_route.clone_from(&choice.from.route);
    full.extras.to_route.clone_from(&choice.to.route);
    rule.os = choice.os.cloned();
    full.extras.user = choice.user;
    full.extras.group = choice.group;
    rule.icmp = choice.icmp.map(|icmp| IcmpMatch { kind: icmp.kind, code: icmp.code });
    if let Action::Block(BlockReply::Icmp { code, code6 }) = &mut rule.action {
        // The code for the other family says nothing.
        match af {
            Some(Af::Inet) => *code6 = None,
            Some(Af::Inet6) => *code = None,
            None => {}
        }
    }
    if rule.proto.is_some_and(|proto| proto != Proto::TCP) {
        rule.flags = None;
        // As in pf: what only TCP can do is left out for the other protocols of a list.
        if matches!(rule.state, StateMode::Modulate | StateMode::Synproxy) {
            rule.state = StateMode::Keep;
        }
    }
}

fn endpoint(node: &Node, port: PortMatch) -> Endpoint {
    let pattern = match &node.pattern {
        // 0/0 says no more than the family.
        AddressPattern::Net(net) if net.prefix_len() == 0 && !node.negated => AddressPattern::Any,
        pattern => pattern.clone(),
    };
    Endpoint { address: AddressMatch { negated: node.negated, pattern }, port }
}

/// The second half of `binat-to`: what comes back to the translated address is led to the source.
pub(crate) fn binat_inbound(outbound: &FullRule) -> Option<FullRule> {
    let nat = outbound.nat.as_ref()?;
    let translated = nat.only()?;
    let mut inbound = outbound.clone();
    let rule = &mut inbound.rule;
    rule.direction = Some(Direction::In);
    rule.from = outbound.rule.to.clone();
    rule.to = Endpoint {
        address: AddressMatch { negated: false, pattern: translated.address.clone() },
        port: outbound.rule.from.port,
    };
    inbound.rdr = Some(Pool {
        hosts: vec![PoolHost {
            address: outbound.rule.from.address.pattern.clone(),
            via: None,
            weight: None,
        }],
        static_port: false,
        ..nat.clone()
    });
    inbound.nat = None;
    Some(inbound)
}

/// What `$nr` stands for: how many rules of the same of FreeBSD's rulesets come before; it is counted only if a name asks.
fn position(full: &FullRule, options: &FilterOptions, entries: &[Entry]) -> usize {
    let tagged = options.tagged.as_ref().map(|(_, name)| name);
    let mut names = options.labels.iter().chain(&options.tag).chain(tagged);
    match names.any(|name| name.contains("$nr")) {
        true => entries.iter().filter(|entry| entry.section() == full.section()).count(),
        false => entries.len(),
    }
}

/// Rules and anchors, with those in braces.
fn count(entries: &[Entry]) -> usize {
    let within = entries.iter().map(|entry| match entry {
        Entry::Rule(_) => 0,
        Entry::Anchor(anchor) => anchor.body.as_ref().map_or(0, |body| count(body)),
    });
    entries.len() + within.sum::<usize>()
}

impl Expander<'_> {
    fn nat_ports(&mut self, mut pool: Pool, redirect: &Redirect) -> Pool {
        use crate::ast::RedirectPort;
        let (text, hint) = match redirect.port {
            RedirectPort::Default => return pool,
            _ if pool.static_port => (
                "the 'static-port' option can't be used when specifying a port range",
                "leave one of them out",
            ),
            RedirectPort::One(port) => {
                pool.ports = (port.0, port.0);
                return pool;
            }
            // As in pf, what is so without being said is not said.
            RedirectPort::Range(first, last) if (first.0, last.0) == NAT_PORTS => return pool,
            RedirectPort::Range(first, last) if first <= last => {
                pool.ports = (first.0, last.0);
                return pool;
            }
            RedirectPort::Range(..) => ("invalid nat-to port range", "the lower port comes first"),
            RedirectPort::Offset(_) => ("nat-to does not know 'port a:*'", "give the last port"),
        };
        self.complain(redirect.span, text, Some(hint));
        pool
    }
}
