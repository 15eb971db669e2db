//! What one rule cannot be, in pfctl's words and order.

use ruleset::{Action, BlockReply, PortMatch, RoutingKind, StateMode, Tracking};
use wire::{Af, Proto};

use super::Expander;
use super::rule::Job;
use crate::config::FullRule;

impl Expander<'_> {
    pub(super) fn check_rule(&mut self, job: &Job<'_>, full: &FullRule) {
        let faults = matching_faults(full).into_iter().chain(action_faults(full));
        for Fault { keyword, text, hint } in faults.flatten() {
            let span = self.config.place(keyword, job.statement.span);
            self.complain(span, text, hint);
        }
    }
}

/// What is wrong, with the keyword that is at fault.
struct Fault {
    keyword: &'static str,
    text: String,
    hint: Option<&'static str>,
}

fn fault(wrong: bool, keyword: &'static str, text: &str, hint: Option<&'static str>) -> Option<Fault> {
    wrong.then(|| Fault { keyword, text: text.to_owned(), hint })
}

/// Parts that only some protocols and families have.
fn matching_faults(full: &FullRule) -> Vec<Option<Fault>> {
    let rule = &full.rule;
    let proto = rule.proto;
    let tcp = proto == Some(Proto::TCP);
    let ports = tcp || proto == Some(Proto::UDP);
    let any_port = rule.from.port != PortMatch::Any || rule.to.port != PortMatch::Any;
    let of_icmp = matches!(proto, Some(Proto::ICMP | Proto::ICMP6));
    let icmp = if proto == Some(Proto::ICMP6) { "icmp6-type" } else { "icmp-type" };
    let name = if proto == Some(Proto::ICMP) { "icmp" } else { "icmp6" };
    let family = if rule.af == Some(Af::Inet) { "inet" } else { "inet6" };
    let mismatch = matches!(
        (proto, rule.af),
        (Some(Proto::ICMP), Some(Af::Inet6)) | (Some(Proto::ICMP6), Some(Af::Inet))
    );
    vec![
        fault(!tcp && rule.os.is_some(), "os", "os only applies to tcp", Some("add proto tcp")),
        fault(!ports && any_port, "port", "port only applies to tcp/udp", Some("add proto tcp or proto udp")),
        fault(!ports && full.extras.user.is_some(), "user", "user only applies to tcp/udp", None),
        fault(!ports && full.extras.group.is_some(), "group", "group only applies to tcp/udp", None),
        fault(!of_icmp && rule.icmp.is_some(), icmp, "icmp-type/code only applies to icmp", None),
        fault(
            rule.af.is_none() && rule.icmp.is_some(),
            icmp,
            "must indicate address family with icmp-type/code",
            Some("add inet or inet6"),
        ),
        fault(
            full.af_to.is_some() && rule.af == full.af_to,
            "af-to",
            "must indicate different address family with af-to",
            None,
        ),
        fault(
            mismatch,
            "proto",
            &format!("proto {name} doesn't match address family {family}"),
            Some("icmp is for inet, icmp6 for inet6"),
        ),
        fault(
            rule.allow_opts && rule.action != Action::Pass,
            "allow-opts",
            "allow-opts can only be specified for pass rules",
            None,
        ),
        fault(
            rule.fragment && (any_port || rule.flags.is_some() || rule.icmp.is_some()),
            "fragment",
            "fragments can be filtered only on IP header fields",
            Some("a fragment has no ports, flags or ICMP type"),
        ),
    ]
}

/// Parts that only some actions have.
fn action_faults(full: &FullRule) -> Vec<Option<Fault>> {
    let rule = &full.rule;
    let source = &rule.state_options.source;
    let state = match rule.state {
        StateMode::None => "no",
        StateMode::Keep => "keep",
        StateMode::Modulate => "modulate state",
        StateMode::Synproxy => "synproxy state",
    };
    let route = full.route.as_ref().map_or("", |(kind, _)| kind.word());
    let translates = full.early.is_none() && (full.nat.is_some() || full.rdr.is_some());
    vec![
        fault(
            source.overload.is_some() && source.max_conn == 0 && source.max_conn_rate.is_none(),
            "overload",
            "'overload' requires 'max-src-conn' or 'max-src-conn-rate'",
            None,
        ),
        fault(
            matches!(rule.action, Action::Block(BlockReply::Rst { .. })) && rule.proto != Some(Proto::TCP),
            "return-rst",
            "return-rst can only be applied to TCP rules",
            Some("add proto tcp, or use return for every protocol"),
        ),
        fault(
            source.max_nodes > 0 && source.track != Some(Tracking::Rule),
            "max-src-nodes",
            "max-src-nodes requires 'source-track rule'",
            None,
        ),
        fault(
            rule.action != Action::Pass && rule.state != StateMode::None,
            state,
            "keep state is great, but only for pass rules",
            None,
        ),
        fault(
            rule.state_options.sloppy && matches!(rule.state, StateMode::Modulate | StateMode::Synproxy),
            "sloppy",
            "sloppy state matching cannot be used with synproxy state or modulate state",
            None,
        ),
        fault(
            translates && rule.action != Action::Match && rule.state == StateMode::None,
            "nat-to",
            "nat-to and rdr-to require keep state",
            None,
        ),
        fault(
            translates && rule.direction.is_none(),
            "nat-to",
            "nat-to and rdr-to require a direction",
            Some("add in or out"),
        ),
        fault(
            // A rule without a state can copy what it passes itself.
            full.route.as_ref().is_some_and(|(kind, _)| {
                rule.state == StateMode::None
                    && match rule.action {
                        Action::Match => false,
                        Action::Pass => *kind != RoutingKind::Dup,
                        Action::Block(_) => true,
                    }
            }),
            route,
            "route-to, reply-to and dup-to require keep state",
            None,
        ),
        fault(
            rule.af == Some(Af::Inet6) && full.early.is_none() && (rule.scrub.no_df || rule.scrub.random_id),
            "scrub",
            "address family inet6 does not support scrub options no-df, random-id",
            Some("they are about fields of IPv4's header"),
        ),
        fault(
            rule.action == Action::Match && full.extras.divert.is_some(),
            "divert",
            "divert is not supported on match rules",
            None,
        ),
        fault(
            full.route.is_some() && rule.action != Action::Pass,
            route,
            match rule.action {
                Action::Match => "route-to, reply-to and dup-to are not supported on match rules",
                _ => "route-to, reply-to and dup-to are not supported on block rules",
            },
            Some("give it to the pass rule"),
        ),
    ]
}
