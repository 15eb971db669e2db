//! From a ruleset to a [`Root`]: names become numbers, addresses ranges.

mod translation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

use core::hash::Hasher;
use hashbrown::HashMap;
use ruleset::{
    Action, AddressPattern, Direction, Endpoint, Fingerprint, InterfaceMatch, InterfacePattern, Invalid,
    LogOptions, Options, PoolKind, Routing, RoutingKind, RoutingTable, Rule, Ruleset, SourceTracking,
    StateMode, StateOptions, StatePolicy, Syncookies, TIMEOUT_COUNT, TableContents, Timeout, Tracking,
    bounds,
};
use siphasher::sip::SipHasher13;
use wire::Af;

use super::classify::Classifier;
use super::filter::{EndFilter, Filter, Gate, Interfaces, Pattern, Turn};
use super::fingerprint::Fingerprints;
use super::redirected::Redirected;
use super::rest::{ReceivedOn, Rest};
use super::{Meter, Root, RuleSlot, Tag, Threshold, owner, tables};
use crate::dynamic::OfInterfaces;
use crate::fib::{Interface, InterfaceId, Role};
use crate::pool::{self, Addresses, Choice, Memory, Part, weight_of};
use crate::scrub::Scrubbing;
use crate::source::Tracker;
use crate::sources::{GLOBAL, Overlay};
use crate::state::RuleLimit;

/// Numbers for the names of one ruleset.
struct Names<'a> {
    interfaces: &'a [Interface],
    options: &'a Options,
    fingerprints: Option<&'a Fingerprints>,
    known: &'a [Fingerprint],
    tables: BTreeMap<&'a str, usize>,
    /// Tables with `counters`.
    counted: BTreeSet<&'a str>,
    tags: &'a BTreeMap<String, Tag>,
    /// Of tables that rules overload sources into.
    overlays: &'a BTreeMap<&'a str, Arc<Overlay>>,
}

impl Root {
    /// Compiles a ruleset for a dataplane with these interfaces, after validating it: the sender is never trusted.
    /// `previous` is the root that it will replace, if there is one: tables without a list keep what they hold there.
    /// Rules on interfaces that do not exist match nothing.
    ///
    /// # Errors
    /// What is wrong with the ruleset, or which of its rules asks for what this dataplane cannot do yet.
    pub fn compile(
        ruleset: &Ruleset,
        interfaces: &[Interface],
        previous: Option<&Self>,
    ) -> Result<Self, Invalid> {
        Self::compile_with(ruleset, interfaces, previous, &[])
    }

    /// As [`Root::compile`], with tables that hold what `contents` says, whatever list the ruleset has for them.
    ///
    /// # Errors
    /// As [`Root::compile`].
    pub fn compile_with(
        ruleset: &Ruleset,
        interfaces: &[Interface],
        previous: Option<&Self>,
        contents: &[TableContents],
    ) -> Result<Self, Invalid> {
        ruleset.validate()?;
        let epoch = previous.map_or(1, |previous| previous.epoch + 1);
        let tags = number_tags(&ruleset.rules, previous)?;
        let asks_os = ruleset.rules.iter().any(|rule| rule.os.is_some());
        let fingerprints = asks_os.then(|| Fingerprints::new(&ruleset.fingerprints));
        let overlays = tables::overlays(ruleset, previous);
        let names = Names {
            overlays: &overlays,
            interfaces,
            options: &ruleset.options,
            fingerprints: fingerprints.as_ref(),
            known: &ruleset.fingerprints,
            tables: ruleset
                .tables
                .iter()
                .enumerate()
                .map(|(number, table)| (table.name.as_str(), number))
                .collect(),
            counted: ruleset.tables.iter().filter(|table| table.counters).map(|table| &*table.name).collect(),
            tags: &tags,
        };
        let mut rules = Vec::with_capacity(ruleset.rules.len());
        for ((number, rule), caller) in ruleset.rules.iter().enumerate().zip(ruleset.callers()) {
            let place = || format!(" ({}:{})", rule.source.file, rule.source.line);
            let filter = names.filter(rule, ruleset.options.state_policy, serial(epoch, number));
            let filter = filter.map_err(|what| Invalid { rule: Some(number), place: place(), what })?;
            rules.push(Filter { caller: caller.unwrap_or(Gate::NONE), ..filter });
        }
        let skips = |interface: &Interface| ruleset.options.skip.iter().any(|name| interface.is_called(name));
        let mut numbers = HashMap::with_capacity(rules.len());
        for (number, rule) in (0..).zip(&rules) {
            numbers.entry(rule.slot.identity).or_insert(number);
        }
        let tables = tables::build(ruleset, previous, contents, &overlays)?;
        let maps = rules.iter().any(Filter::maps);
        let opens = ruleset.options.endpoint_independent && maps;
        Ok(Self {
            epoch,
            anchored: rules.iter().any(|rule| rule.gate.is_some() || rule.turn.hidden_by != 0),
            places: ruleset.places().into(),
            copies: rules.iter().any(|rule| rule.slot.routes == Some(RoutingKind::Dup)),
            bakes: ruleset.options.syncookies != Syncookies::Never,
            chance: ruleset.rules.iter().any(|rule| rule.probability.is_some()),
            plain: has_plain_options(&ruleset.options) && !opens,
            turns: !maps && rules.iter().any(|rule| rule.nearly_plain && !rule.plain),
            redirects: rules.iter().any(|rule| rule.nearly_plain && rule.redirects()),
            maps,
            opens,
            priorities: ruleset.rules.iter().any(|rule| rule.prio.is_some()),
            fingerprints: fingerprints.map(Arc::new),
            classifier: Arc::new(Classifier::new(&rules)),
            redirected: Redirected::of(&rules).map(Arc::new),
            edits: 0,
            rules: rules.into(),
            port_blocks: ruleset.port_blocks().into(),
            numbers: Arc::new(numbers),
            members: tables::members(ruleset, &tables),
            tables,
            skipped: interfaces.iter().map(skips).collect(),
            default_slot: Arc::new(slot(&Rule::default(), serial(epoch, u32::MAX as usize))),
            tags: Arc::new(tags),
            ruleset: Arc::new(ruleset.clone()),
            filtering: previous.map(|previous| previous.filtering).unwrap_or_default(),
        })
    }
}

fn serial(epoch: u32, number: usize) -> u64 {
    u64::from(epoch) << 32 | number as u64
}

/// Tags keep their numbers as long as the process runs, because states carry them across reloads.
fn number_tags(rules: &[Rule], previous: Option<&Root>) -> Result<BTreeMap<String, Tag>, Invalid> {
    let mut tags = previous.map(|previous| (*previous.tags).clone()).unwrap_or_default();
    for name in rules.iter().filter_map(|rule| rule.tag.as_ref()) {
        if tags.contains_key(name) {
            continue;
        }
        if tags.len() >= bounds::TAGS {
            let what = format!("more than {} different tags since the dataplane was started", bounds::TAGS);
            return Err(Invalid { rule: None, place: String::new(), what });
        }
        tags.insert(name.clone(), Tag((tags.len() + 1) as u16));
    }
    Ok(tags)
}

/// True if a rule asks nothing of a packet but what it is, and does nothing with it but what [`Decision`] says: all else is
/// as it is by default, whatever there may be.
///
/// [`Decision`]: super::Decision
fn is_plain(rule: &Rule) -> bool {
    let options = &rule.state_options;
    let plain = Rule {
        action: rule.action,
        direction: rule.direction,
        log: if rule.action == Action::Match { LogOptions::default() } else { rule.log },
        quick: rule.quick,
        interface: rule.interface.clone(),
        af: rule.af,
        proto: rule.proto,
        from: rule.from.clone(),
        to: rule.to.clone(),
        flags: rule.flags,
        icmp: rule.icmp,
        state: rule.state,
        state_options: StateOptions {
            policy: options.policy,
            sloppy: options.sloppy,
            no_sync: options.no_sync,
            pflow: options.pflow,
            timeouts: options.timeouts.clone(),
            ..StateOptions::default()
        },
        fragment: rule.fragment,
        allow_opts: rule.allow_opts,
        label: rule.label.clone(),
        more_labels: rule.more_labels.clone(),
        ridentifier: rule.ridentifier,
        first_match: rule.first_match,
        anchor: rule.anchor,
        call: rule.call.clone(),
        identity: rule.identity,
        source: rule.source.clone(),
        ..Rule::default()
    };
    *rule == plain
}

/// True if no option has a part in how connections begin, but for those that are known here.
fn has_plain_options(options: &Options) -> bool {
    let plain = Options {
        skip: options.skip.clone(),
        block_policy: options.block_policy,
        state_policy: options.state_policy,
        log_interface: options.log_interface.clone(),
        reassemble: options.reassemble,
        fail_policy: options.fail_policy,
        keep_counters: options.keep_counters,
        // Who translates nothing has nothing of it.
        endpoint_independent: options.endpoint_independent,
        debug: options.debug,
        host_id: options.host_id,
        timeouts: options.timeouts.clone(),
        limits: options.limits.clone(),
        ..Options::default()
    };
    *options == plain
}

fn slot(rule: &Rule, serial: u64) -> RuleSlot {
    let mut timeouts = [None; TIMEOUT_COUNT];
    for (timeout, seconds) in &rule.state_options.timeouts {
        // As in pf, a rule's time-out of 0 is none: the ruleset's holds.
        timeouts[*timeout as usize] = (*seconds != 0).then_some(*seconds);
    }
    let adaptive = timeouts[Timeout::AdaptiveStart as usize]
        .map(|start| (start, timeouts[Timeout::AdaptiveEnd as usize].unwrap_or(0)));
    // Where time-outs never shrink, nobody counts.
    let end = adaptive.filter(|(start, end)| start < end).map(|(_, end)| end);
    let limit = match (rule.state_options.max, end) {
        (0, None) => None,
        (0, Some(end)) => Some(RuleLimit::new(u32::MAX, serial).compared_with(end)),
        (max, end) => Some(RuleLimit::new(max, serial).compared_with(end.unwrap_or(max))),
    };
    RuleSlot {
        serial,
        identity: rule.identity,
        timeouts,
        sloppy: rule.state_options.sloppy,
        allow_opts: rule.allow_opts,
        log_all: rule.log.enabled && rule.log.all,
        copy_to: None,
        counts_addresses: false,
        routes: rule.routing.as_ref().map(|routing| routing.kind),
        labels: rule.labels().map(|label| label.as_str().into()).collect(),
        sources: None,
        adaptive,
        limit,
        meter: rule.packet_rate.and_then(Meter::new).map(Arc::new),
        retired: [const { [const { AtomicU64::new(0) }; 2] }; 2],
    }
}

/// What a rule may ask for in a ruleset, but not of this dataplane.
fn unsupported(rule: &Rule) -> Option<&'static str> {
    match () {
        () if rule.log.user => Some("log (user)"),
        () if rule.rdr.is_some() && rule.direction == Some(Direction::Out) => {
            Some("rdr-to of packets that leave: their route is chosen already")
        }
        () => None,
    }
}

/// `route-to` or `reply-to`.
fn is_routed(rule: &Rule) -> bool {
    rule.routing.as_ref().is_some_and(|routing| routing.kind != RoutingKind::Dup)
}

/// How one of several addresses is chosen.
fn choice(kind: Option<&PoolKind>, parts: &[Part]) -> Choice {
    match kind {
        Some(PoolKind::Random) => Choice::Random,
        Some(PoolKind::RoundRobin) => Choice::RoundRobin(AtomicU32::new(0)),
        Some(PoolKind::LeastStates) => Choice::LeastStates(AtomicU32::new(0)),
        Some(PoolKind::SourceHash([a, b, c, d])) => {
            let word = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
            Choice::SourceHash([word(*a, *b), word(*c, *d)])
        }
        None if matches!(parts, [Part { addresses: Addresses::Interfaces(_), .. }]) => {
            Choice::RoundRobin(AtomicU32::new(0))
        }
        None | Some(PoolKind::Bitmask) => Choice::Bitmask,
    }
}

impl Names<'_> {
    fn filter(&self, rule: &Rule, policy: StatePolicy, serial: u64) -> Result<Filter, String> {
        if let Some(what) = unsupported(rule) {
            return Err(format!("{what} is not supported yet"));
        }
        let copied = rule.routing.as_ref().filter(|routing| routing.kind == RoutingKind::Dup);
        let copy_to = copied.map(|copied| self.span(copied)).transpose()?.flatten();
        let is_bridged = self.is_bridged(rule.interface.as_ref());
        if rule.state == StateMode::Synproxy && is_bridged {
            return Err("synproxy state on a transparent pair, which has no addresses to answer from".into());
        }
        if rule.af_to.is_some() && is_bridged {
            return Err("af-to on a transparent pair, where nobody routes".into());
        }
        let (counts_addresses, sources) = (self.counts_addresses(rule), self.tracker(rule, serial));
        let slot = RuleSlot { copy_to, counts_addresses, sources, ..slot(rule, serial) };
        let rest = self.rest(rule, slot.meter.clone());
        let scrubbing = Scrubbing::of(rule);
        let translation = self.translation(rule, serial)?;
        let counts_nothing = !slot.counts_addresses && slot.adaptive.is_none();
        let turns = translation.as_ref().is_some_and(|translation| translation.is_at_once());
        let unturned = if turns { Rule { nat: None, rdr: None, ..rule.clone() } } else { rule.clone() };
        Ok(Filter {
            plain: is_plain(rule) && counts_nothing,
            nearly_plain: is_plain(&unturned) && counts_nothing,
            translation,
            scrubbing: (!scrubbing.is_nothing()).then(|| Box::new(scrubbing)),
            gateways: if copy_to.is_some() { None } else { self.gateways(rule, serial)? },
            action: rule.action,
            direction: rule.direction,
            quick: rule.quick,
            log: rule.log,
            interfaces: self.interfaces(rule.interface.as_ref()),
            af: rule.af,
            proto: rule.proto,
            from: self.end(&rule.from)?,
            to: self.end(&rule.to)?,
            flags: rule.flags,
            icmp: rule.icmp,
            fragment: rule.fragment,
            state: rule.state,
            // Its packets come and go by other interfaces than the routing table says, or by two that meet one state.
            if_bound: rule.state_options.policy.unwrap_or(policy) == StatePolicy::IfBound
                && !is_routed(rule)
                && rule.af_to.is_none(),
            tag: rule.tag.as_deref().and_then(|name| self.tags.get(name).copied()),
            table: rule.rtable.map(RoutingTable::canonical),
            rest: (!rest.is_empty()).then(|| Box::new(rest)),
            caller: Gate::NONE,
            turn: Turn::of(rule),
            gate: rule.call.as_ref().map(|call| Gate { end: call.end, quick: rule.quick && !call.wildcard }),
            slot: Arc::new(slot),
        })
    }

    fn rest(&self, rule: &Rule, meter: Option<Arc<Meter>>) -> Rest {
        let tag = |name: &str| self.tags.get(name).copied();
        Rest {
            tos: rule.tos,
            prio: rule.prio,
            os: rule.os.as_ref().zip(self.fingerprints).map(|(name, all)| all.named(name, self.known)),
            probability: rule.probability,
            tagged: rule.tagged.as_ref().map(|wanted| (tag(&wanted.name), wanted.negated)),
            received_on: rule
                .received_on
                .as_ref()
                .map(|wanted| ReceivedOn { on: self.interfaces(Some(wanted)), nowhere: wanted.negated }),
            meter,
            spent: rule.once.then(AtomicBool::default),
        }
    }

    /// `source-track`.
    fn tracker(&self, rule: &Rule, serial: u64) -> Option<Tracker> {
        let SourceTracking { track, max_states, max_nodes, max_conn, max_conn_rate, overload } =
            &rule.state_options.source;
        let owner = match (*track)? {
            Tracking::Rule => owner(rule.identity, serial),
            Tracking::Global => GLOBAL,
        };
        let overload = overload
            .as_ref()
            .and_then(|overload| Some((self.overlays.get(&*overload.table)?.clone(), overload.flush)));
        Some(Tracker {
            owner,
            max_states: *max_states,
            max_nodes: *max_nodes,
            max_conn: *max_conn,
            rate: max_conn_rate.and_then(Threshold::new),
            seconds: max_conn_rate.map_or(0, |rate| rate.seconds),
            overload,
        })
    }

    fn counts_addresses(&self, rule: &Rule) -> bool {
        [&rule.from, &rule.to].iter().any(|end| match &end.address.pattern {
            AddressPattern::Table(name) => self.counted.contains(name.as_str()),
            _ => false,
        })
    }

    /// The span port that takes copies; `None` if they go to hosts.
    fn span(&self, routing: &Routing) -> Result<Option<InterfaceId>, String> {
        for gateway in &routing.gateways {
            let Some(name) = gateway.interface.as_deref() else { continue };
            let (interface, number) = self.numbered(name, routing.kind)?;
            match (interface.role, routing.gateways.len()) {
                (Role::Span, 1) => return Ok(Some(number)),
                (Role::Span, _) => return Err(format!("dup-to @{name} and others: name one span port")),
                _ if gateway.address == AddressPattern::Any => {
                    return Err(format!(
                        "dup-to @{name}: {name} is not a span port (mode = \"span\" in turnpike.toml); name a host, as in dup-to HOST@{name}"
                    ));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    fn numbered(&self, name: &str, kind: RoutingKind) -> Result<(&Interface, InterfaceId), String> {
        let mut known = self.interfaces.iter().zip(0..);
        let (interface, number) = known
            .find(|(interface, _)| interface.name == *name)
            .ok_or_else(|| format!("{} @{name}: the dataplane has no port {name}", kind.word()))?;
        Ok((interface, InterfaceId(number)))
    }

    /// The gateways of `route-to` and `reply-to`, the hosts of `dup-to`.
    fn gateways(&self, rule: &Rule, serial: u64) -> Result<Option<Arc<pool::Pool>>, String> {
        let Some(routing) = &rule.routing else { return Ok(None) };
        let mut parts = Vec::with_capacity(routing.gateways.len());
        for gateway in &routing.gateways {
            let via = match &gateway.interface {
                None => None,
                Some(name) => match self.numbered(name, routing.kind)? {
                    (interface, number) if interface.role == Role::Routed => Some(number),
                    _ => return Err(format!("{} @{name}: nothing is routed by it", routing.kind.word())),
                },
            };
            parts.push(Part {
                addresses: self.addresses(&gateway.address)?,
                via,
                weight: weight_of(gateway.weight),
            });
        }
        let kind = routing.choice.as_ref();
        let patterns = routing.gateways.iter().map(|gateway| &gateway.address);
        Ok(Some(Arc::new(self.chosen((rule, serial), parts, kind, routing.sticky, patterns))))
    }

    /// A pool with what of it is remembered and counted.
    fn chosen<'p>(
        &self,
        (rule, serial): (&Rule, u64),
        parts: Vec<Part>,
        kind: Option<&PoolKind>,
        sticky: bool,
        patterns: impl Iterator<Item = &'p AddressPattern>,
    ) -> pool::Pool {
        let owner = owner(rule.identity, serial);
        let choice = choice(kind, &parts);
        // As in pf, rules that choose out of one table count its states together.
        let load = matches!(choice, Choice::LeastStates(_)).then(|| {
            let mut hash = SipHasher13::new();
            for pattern in patterns {
                match pattern {
                    AddressPattern::Table(name) => hash.write(name.as_bytes()),
                    _ => hash.write_u64(owner),
                }
            }
            hash.finish()
        });
        let timeouts = &rule.state_options.timeouts;
        let own = timeouts.iter().find(|(timeout, seconds)| *timeout == Timeout::SrcTrack && *seconds > 0);
        let memory = Memory { owner, lifetime: own.map(|(_, seconds)| *seconds), implied: false };
        let sticky = (sticky && !matches!(choice, Choice::Bitmask)).then_some(memory);
        pool::Pool { id: rule.identity as u32, parts, choice, sticky, load, mapping: None }
    }

    /// True if what a rule names are interfaces of transparent pairs alone.
    fn is_bridged(&self, wanted: Option<&InterfaceMatch>) -> bool {
        let Some(InterfaceMatch { negated: false, pattern: InterfacePattern::Name(name) }) = wanted else {
            return false;
        };
        let mut named = self.interfaces.iter().filter(|interface| interface.is_called(name)).peekable();
        named.peek().is_some() && named.all(|interface| interface.bridge().is_some())
    }

    fn interfaces(&self, wanted: Option<&InterfaceMatch>) -> Interfaces {
        let Some(wanted) = wanted else { return Interfaces::Every };
        let matches = |interface: &Interface| match &wanted.pattern {
            // No loopback interface is among the dataplane's.
            InterfacePattern::Any => true,
            InterfacePattern::Name(name) => interface.is_called(name),
        };
        Interfaces::Listed(
            self.interfaces.iter().map(|interface| matches(interface) != wanted.negated).collect(),
        )
    }

    fn addresses(&self, pattern: &AddressPattern) -> Result<Addresses, String> {
        Ok(match pattern {
            AddressPattern::Net(net) => Addresses::Net {
                first: net.network().into(),
                mask: net.netmask().into(),
                af: Af::of(&net.addr()),
            },
            pattern => match self.pattern(pattern)? {
                Pattern::Table(number) => Addresses::Table(number),
                Pattern::Interface(of) => Addresses::Interfaces(of),
                _ => return Err("a pool of this kind is not supported yet".into()),
            },
        })
    }

    /// The interfaces of this name or group; pf.conf(5): "self" is every interface.
    fn called(&self, name: &str) -> Vec<InterfaceId> {
        let known = self.interfaces.iter().zip(0..);
        let called = known.filter(|(interface, _)| name == "self" || interface.is_called(name));
        called.map(|(_, number)| InterfaceId(number)).collect()
    }

    fn end(&self, end: &Endpoint) -> Result<EndFilter, String> {
        Ok(EndFilter {
            negated: end.address.negated,
            pattern: self.pattern(&end.address.pattern)?,
            port: end.port,
        })
    }

    fn pattern(&self, pattern: &AddressPattern) -> Result<Pattern, String> {
        Ok(match pattern {
            AddressPattern::Any => Pattern::Any,
            AddressPattern::Net(net) => Pattern::Range(net.network().into(), net.broadcast().into()),
            AddressPattern::Masked { net, mask } => {
                Pattern::Masked { net: (*net).into(), mask: (*mask).into() }
            }
            AddressPattern::Range(first, last) => Pattern::Range((*first).into(), (*last).into()),
            AddressPattern::Table(name) => match self.tables.get(name.as_str()) {
                Some(number) => Pattern::Table(*number),
                None => return Err(format!("table <{name}> is not defined")),
            },
            AddressPattern::NoRoute => Pattern::NoRoute,
            AddressPattern::Interface { name, part, no_alias, prefix } => Pattern::Interface(OfInterfaces {
                interfaces: self.called(name),
                part: *part,
                no_alias: *no_alias,
                prefix: *prefix,
            }),
            AddressPattern::UrpfFailed => Pattern::UrpfFailed,
        })
    }
}
