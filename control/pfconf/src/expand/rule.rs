//! What all rules of one statement have in common: checked once, before the lists are multiplied out.

use ruleset::{
    Action, Direction, FlagsMatch, PacketRate, RoutingKind, Rule, SourceTracking, StateMode, StateOptions,
    Tracking,
};
use wire::{Af, Proto};

use super::Expander;
use super::host::Node;
use crate::ast::{
    Divert, FilterOptions, FlagsSpec, Redirect, RuleAction, RuleStatement, StateOption, StateSpec,
};
use crate::config::{Entry, FullRule};
use crate::dialect::Dialect;
use crate::parse::{Abort, Parsed, reply_by_policy};

/// What pfctl says of `once` elsewhere.
pub(super) const ONCE: &str = "'once' only applies to pass/block rules";
/// The highest rate of connections: pf counts thousandths of them in 32 bits.
const RATE_MAX: u32 = u32::MAX / 1000;

/// A translation or route, its hosts resolved.
pub(super) struct Target<'a> {
    pub redirect: &'a Redirect,
    pub nodes: Vec<Node>,
}

/// A statement ready to be multiplied out.
pub(super) struct Job<'a> {
    pub statement: &'a RuleStatement,
    /// What every rule begins as.
    pub template: FullRule,
    pub sources: Vec<Node>,
    pub destinations: Vec<Node>,
    pub nat: Option<Target<'a>>,
    pub rdr: Option<Target<'a>>,
    pub route: Option<(RoutingKind, Target<'a>)>,
    /// An anchor's name and rules, if this is one.
    pub anchor: Option<(Option<String>, Option<Vec<Entry>>)>,
}

impl Expander<'_> {
    pub(super) fn rule(&mut self, statement: &RuleStatement, entries: &mut Vec<Entry>) -> Parsed<()> {
        self.check_statement(statement)?;
        let job = self.job(statement)?;
        self.product(&job, entries)
    }

    pub(super) fn job<'a>(&mut self, statement: &'a RuleStatement) -> Parsed<Job<'a>> {
        let options = &statement.options;
        let sources = self.hosts(&statement.from.hosts)?;
        let destinations = self.hosts(&statement.to.hosts)?;
        let nat = self.target(options.nat.as_ref())?;
        let rdr = self.target(options.rdr.as_ref())?;
        let route = match &options.route {
            Some((kind, redirect)) => self.target(Some(redirect))?.map(|target| (*kind, target)),
            None => None,
        };
        let mut template = self.template(statement)?;
        let af = &mut template.rule.af;
        decide_family(af, &sources);
        decide_family(af, &destinations);
        if options.af_to.is_none() {
            let pools = [nat.as_ref(), rdr.as_ref(), route.as_ref().map(|(_, target)| target)];
            for pool in pools.into_iter().flatten() {
                decide_family(af, &pool.nodes);
            }
        }
        self.check_divert(statement, &mut template)?;
        if options.af_to.is_some() && route.is_some() {
            let text = "af-to cannot be used together with route-to, reply-to, dup-to";
            return Err(self.fail(statement.span, text, None));
        }
        Ok(Job { statement, template, sources, destinations, nat, rdr, route, anchor: None })
    }

    fn target<'a>(&mut self, redirect: Option<&'a Redirect>) -> Parsed<Option<Target<'a>>> {
        match redirect {
            Some(redirect) => Ok(Some(Target { redirect, nodes: self.hosts(&redirect.hosts)? })),
            None => Ok(None),
        }
    }

    fn template(&mut self, statement: &RuleStatement) -> Parsed<FullRule> {
        let options = &statement.options;
        let extras = options.more.clone();
        let action = match statement.action {
            RuleAction::Pass => Action::Pass,
            RuleAction::Match | RuleAction::Early(_) => Action::Match,
            RuleAction::Block(reply) => Action::Block(reply.unwrap_or(reply_by_policy(self.block_policy))),
        };
        let (state, state_options) = self.state(statement, action)?;
        let flags = match options.flags {
            Some(FlagsSpec::Match(flags)) => Some(flags),
            Some(FlagsSpec::Any) => None,
            None if action == Action::Pass && state != StateMode::None && !options.fragment => {
                Some(FlagsMatch::SYN_ONLY)
            }
            None => None,
        };
        let rule = Rule {
            action,
            direction: statement.direction,
            log: statement.log,
            quick: statement.quick,
            af: statement.af,
            received_on: options.received_on.clone(),
            flags,
            tos: options.tos,
            prio: options.prio,
            packet_rate: options.packet_rate,
            probability: options.probability,
            state,
            state_options,
            fragment: options.fragment,
            allow_opts: options.allow_opts,
            scrub: options.scrub,
            set_tos: options.set_tos,
            set_prio: options.set_prio,
            ridentifier: options.ridentifier,
            once: options.once,
            rtable: options.rtable,
            source: self.source_line(),
            ..Rule::default()
        };
        let early = match statement.action {
            RuleAction::Early(early) => Some(early),
            _ => None,
        };
        Ok(FullRule {
            early,
            rule,
            extras,
            af_to: options.af_to,
            span: statement.span,
            ..FullRule::default()
        })
    }

    /// `keep state` is what `pass` does unless it says otherwise, with the options of `set state-defaults`.
    fn state(&mut self, statement: &RuleStatement, action: Action) -> Parsed<(StateMode, StateOptions)> {
        let defaults;
        let spec = match &statement.options.state {
            Some(spec) => spec,
            None if action == Action::Pass => {
                defaults = StateSpec { mode: StateMode::Keep, options: self.state_defaults.clone() };
                &defaults
            }
            None => return Ok((StateMode::None, StateOptions::default())),
        };
        let mut options = StateOptions::default();
        if spec.mode == StateMode::None {
            return Ok((StateMode::None, options));
        }
        for option in &spec.options {
            self.state_option(statement, option, &mut options)?;
        }
        options.policy.get_or_insert(self.state_policy);
        self.finish_tracking(statement, &mut options)?;
        Ok((spec.mode, options))
    }

    fn state_option(
        &mut self,
        statement: &RuleStatement,
        option: &StateOption,
        options: &mut StateOptions,
    ) -> Parsed<()> {
        if let Some(text) = out_of_bounds(option) {
            return Err(self.fail(statement.span, text, None));
        }
        let again = match option {
            StateOption::Max(most) => {
                once(&mut options.max, *most).then_some("state option 'max' multiple definitions")
            }
            StateOption::Policy(policy) => {
                options.policy.replace(*policy).map(|_| "state locking option: multiple definitions")
            }
            StateOption::NoSync => {
                set(&mut options.no_sync).then_some("state option 'sync' multiple definitions")
            }
            StateOption::Sloppy => {
                set(&mut options.sloppy).then_some("state sloppy option: multiple definitions")
            }
            StateOption::Pflow => {
                set(&mut options.pflow).then_some("state pflow option: multiple definitions")
            }
            StateOption::Timeout(timeout, value) => {
                if options.timeouts.iter().any(|(known, _)| known == timeout) {
                    let text = format!("state timeout {timeout} multiple definitions");
                    return Err(self.fail(statement.span, text, None));
                }
                options.timeouts.push((*timeout, *value));
                None
            }
            _ => tracking_option(option, &mut options.source),
        };
        match again {
            Some(text) => Err(self.fail(statement.span, text, None)),
            None => Ok(()),
        }
    }

    /// What no rule can say, whatever its lists hold.
    fn check_statement(&mut self, statement: &RuleStatement) -> Parsed<()> {
        let options = &statement.options;
        if options.once && statement.action == RuleAction::Match {
            let span = self.config.place("once", statement.span);
            return Err(self.fail(span, ONCE, None));
        }
        self.check_protocols(statement, "apply")?;
        if let Some((kind, _)) = &options.route
            && *kind != RoutingKind::Dup
            && statement.direction.is_none()
        {
            let span = self.config.place(kind.word(), statement.span);
            let text = "direction must be explicit with rules that specify routing";
            return Err(self.fail(span, text, Some("add in or out")));
        }
        self.check_queues_of(statement)
    }

    /// Refuses queues that are not defined above; FreeBSD has its own sort of them.
    fn check_queues_of(&mut self, statement: &RuleStatement) -> Parsed<()> {
        let Some((queue, second)) = &statement.options.more.set.queue else { return Ok(()) };
        let known = |name: &&String| self.config.queues.iter().any(|queue| queue.name == **name);
        let unknown = [Some(queue), second.as_ref()].into_iter().flatten().find(|name| !known(name));
        match unknown.filter(|_| self.config.dialect == Dialect::OpenBsd) {
            None => Ok(()),
            Some(name) => {
                let span = self.config.place("set queue", statement.span);
                Err(self.fail(span, format!("queue {name} is not defined"), None))
            }
        }
    }

    /// What the options of source tracking imply.
    fn finish_tracking(&mut self, statement: &RuleStatement, options: &mut StateOptions) -> Parsed<()> {
        let source = &mut options.source;
        let limits = [
            (source.max_nodes > 0, "max-src-nodes"),
            (source.max_conn > 0, "max-src-conn"),
            (source.max_conn_rate.is_some(), "max-src-conn-rate"),
        ];
        let first = limits.iter().find(|(given, _)| *given).map(|(_, name)| *name);
        if let (Some(Tracking::Global), Some(name)) = (source.track, first) {
            let text = format!("'{name}' is incompatible with 'source-track global'");
            return Err(self.fail(statement.span, text, None));
        }
        if source.track.is_none() && first.is_some() {
            source.track = Some(Tracking::Rule);
        }
        if source.track.is_none() && source.max_states > 0 {
            source.track = Some(Tracking::Global);
        }
        if let Some(PacketRate { seconds, .. }) = source.max_conn_rate {
            let track = ruleset::Timeout::SrcTrack;
            match options.timeouts.iter_mut().find(|(timeout, _)| *timeout == track) {
                Some((_, value)) => *value = seconds.max(*value),
                None => options.timeouts.push((track, seconds)),
            }
        }
        Ok(())
    }

    fn check_divert(&mut self, statement: &RuleStatement, template: &mut FullRule) -> Parsed<()> {
        // `binat-to` makes a rule of either direction. Deviation: pfctl makes one that it would not read again
        // (`tests/grammar/translation.conf`).
        let may_be = |direction| statement.options.binat || statement.direction == Some(direction);
        let text = match &template.extras.divert {
            Some(Divert::Reply) if may_be(Direction::In) => "divert-reply used with incoming rule",
            Some(Divert::To(..)) if may_be(Direction::Out) => "divert-to used with outgoing rule",
            Some(Divert::To(Some(address), _)) => {
                let family = Af::of(address);
                if template.rule.af.get_or_insert(family) == &family {
                    return Ok(());
                }
                "divert-to address family mismatch"
            }
            _ => return Ok(()),
        };
        let span = self.config.place("divert", statement.span);
        Err(self.fail(span, text, None))
    }

    /// `apply` is how pfctl says it: of rules and of anchors otherwise.
    pub(super) fn check_protocols(&mut self, statement: &RuleStatement, apply: &str) -> Parsed<()> {
        let tcp = statement.protocols.is_empty() || statement.protocols.contains(&Proto::TCP);
        let flags = matches!(statement.options.flags, Some(FlagsSpec::Match(_)));
        if tcp || !flags && statement.os.is_empty() {
            return Ok(());
        }
        if flags {
            let span = self.config.place("flags", statement.span);
            self.complain(span, "flags only apply to tcp", Some("add proto tcp, or leave flags out"));
        }
        if !statement.os.is_empty() {
            let span = self.config.place("os", statement.span);
            let text = format!("OS fingerprinting only {apply} to tcp");
            self.complain(span, text, Some("add proto tcp, or leave os out"));
        }
        Err(Abort)
    }
}

/// pfctl's words for a number that says nothing, or too much.
fn out_of_bounds(option: &StateOption) -> Option<String> {
    let zero = match option {
        StateOption::MaxSrcStates(0) => "max-src-states",
        StateOption::MaxSrcNodes(0) => "max-src-nodes",
        StateOption::MaxSrcConn(0) => "max-src-conn",
        StateOption::MaxSrcConnRate(PacketRate { packets: 0, .. } | PacketRate { seconds: 0, .. }) => {
            return Some("'max-src-conn-rate' values must be > 0".into());
        }
        StateOption::MaxSrcConnRate(PacketRate { packets, .. }) if *packets > RATE_MAX => {
            return Some(format!("'max-src-conn-rate' maximum rate must be < {RATE_MAX}"));
        }
        _ => return None,
    };
    Some(format!("'{zero}' must be > 0"))
}

/// Sets a number that may be given once; true if it was given before.
fn once(slot: &mut u32, value: u32) -> bool {
    let again = *slot != 0;
    *slot = value;
    again
}

fn set(slot: &mut bool) -> bool {
    std::mem::replace(slot, true)
}

/// Records an option of source tracking; pfctl's words if it was given before.
fn tracking_option(option: &StateOption, source: &mut SourceTracking) -> Option<&'static str> {
    match option {
        StateOption::SourceTrack(track) => {
            source.track.replace(*track).map(|_| "state option 'source-track' multiple definitions")
        }
        StateOption::MaxSrcStates(most) => once(&mut source.max_states, *most)
            .then_some("state option 'max-src-states' multiple definitions"),
        StateOption::MaxSrcNodes(most) => {
            once(&mut source.max_nodes, *most).then_some("state option 'max-src-nodes' multiple definitions")
        }
        StateOption::MaxSrcConn(most) => {
            once(&mut source.max_conn, *most).then_some("state option 'max-src-conn' multiple definitions")
        }
        StateOption::MaxSrcConnRate(rate) => source
            .max_conn_rate
            .replace(*rate)
            .map(|_| "state option 'max-src-conn-rate' multiple definitions"),
        StateOption::Overload(overload) => {
            source.overload.replace(overload.clone()).map(|_| "multiple 'overload' table definitions")
        }
        _ => None,
    }
}

/// A rule without `inet` or `inet6` gets the family that all addresses of a list have.
fn decide_family(af: &mut Option<Af>, nodes: &[Node]) {
    let mut families = nodes.iter().filter_map(|node| node.af);
    if af.is_none()
        && let Some(first) = families.next()
        && families.all(|family| family == first)
    {
        *af = Some(first);
    }
}

/// A rule without any of a statement's options, for rules that pfctl makes itself.
pub(super) fn plain_statement(action: RuleAction, span: crate::source::Span) -> RuleStatement {
    RuleStatement {
        action,
        direction: None,
        log: ruleset::LogOptions::default(),
        quick: false,
        interfaces: Vec::new(),
        af: None,
        protocols: Vec::new(),
        from: crate::ast::EndpointSpec::default(),
        os: Vec::new(),
        to: crate::ast::EndpointSpec::default(),
        options: FilterOptions::default(),
        span,
    }
}
