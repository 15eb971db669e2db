//! What one rule cannot be, in pfctl's words and order.

use ruleset::{Action, BlockReply, PortMatch, StateMode};
use wire::{Af, Proto};

use super::Expander;
use super::rule::Job;
use crate::ast::Tracking;
use crate::config::FullRule;

impl Expander<'_> {
    pub(super) fn check_rule(&mut self, job: &Job<'_>, full: &FullRule) {
        let span = job.statement.span;
        for (text, hint) in matching_faults(full).into_iter().chain(action_faults(full)).flatten() {
            self.complain(span, text, hint);
        }
    }
}

type Fault = Option<(String, Option<&'static str>)>;

fn fault(wrong: bool, text: &str, hint: Option<&'static str>) -> Fault {
    wrong.then(|| (text.to_owned(), hint))
}

/// Parts that only some protocols and families have.
fn matching_faults(full: &FullRule) -> Vec<Fault> {
    let rule = &full.rule;
    let proto = rule.proto;
    let tcp = proto == Some(Proto::TCP);
    let ports = tcp || proto == Some(Proto::UDP);
    let any_port = rule.from.port != PortMatch::Any || rule.to.port != PortMatch::Any;
    let icmp = matches!(proto, Some(Proto::ICMP | Proto::ICMP6));
    let name = if proto == Some(Proto::ICMP) { "icmp" } else { "icmp6" };
    let family = if rule.af == Some(Af::Inet) { "inet" } else { "inet6" };
    let mismatch = matches!(
        (proto, rule.af),
        (Some(Proto::ICMP), Some(Af::Inet6)) | (Some(Proto::ICMP6), Some(Af::Inet))
    );
    vec![
        fault(!tcp && full.extras.os.is_some(), "os only applies to tcp", Some("add proto tcp")),
        fault(!ports && any_port, "port only applies to tcp/udp", Some("add proto tcp or proto udp")),
        fault(
            !ports && (full.extras.user.is_some() || full.extras.group.is_some()),
            "user/group only applies to tcp/udp",
            None,
        ),
        fault(!icmp && rule.icmp.is_some(), "icmp-type/code only applies to icmp", None),
        fault(
            rule.af.is_none() && rule.icmp.is_some(),
            "must indicate address family with icmp-type/code",
            Some("add inet or inet6"),
        ),
        fault(
            full.af_to.is_some() && rule.af == full.af_to,
            "must indicate different address family with af-to",
            None,
        ),
        fault(
            mismatch,
            &format!("proto {name} doesn't match address family {family}"),
            Some("icmp is for inet, icmp6 for inet6"),
        ),
        fault(
            rule.allow_opts && rule.action != Action::Pass,
            "allow-opts can only be specified for pass rules",
            None,
        ),
        fault(
            rule.fragment && (any_port || rule.flags.is_some() || rule.icmp.is_some()),
            "fragments can be filtered only on IP header fields",
            Some("a fragment has no ports, flags or ICMP type"),
        ),
    ]
}

/// Parts that only some actions have.
fn action_faults(full: &FullRule) -> Vec<Fault> {
    let rule = &full.rule;
    let source = &full.extras.source;
    let translates = full.nat.is_some() || full.rdr.is_some();
    vec![
        fault(
            source.overload.is_some() && source.max_conn == 0 && source.max_conn_rate.is_none(),
            "'overload' requires 'max-src-conn' or 'max-src-conn-rate'",
            None,
        ),
        fault(
            matches!(rule.action, Action::Block(BlockReply::Rst { .. })) && rule.proto != Some(Proto::TCP),
            "return-rst can only be applied to TCP rules",
            Some("add proto tcp, or use return for every protocol"),
        ),
        fault(
            source.max_nodes > 0 && source.track != Some(Tracking::Rule),
            "max-src-nodes requires 'source-track rule'",
            None,
        ),
        fault(
            rule.action != Action::Pass && rule.state != StateMode::None,
            "keep state is great, but only for pass rules",
            None,
        ),
        fault(
            rule.state_options.sloppy && matches!(rule.state, StateMode::Modulate | StateMode::Synproxy),
            "sloppy state matching cannot be used with synproxy state or modulate state",
            None,
        ),
        fault(
            translates && rule.action != Action::Match && rule.state == StateMode::None,
            "nat-to and rdr-to require keep state",
            None,
        ),
        fault(
            translates && rule.direction.is_none(),
            "nat-to and rdr-to require a direction",
            Some("add in or out"),
        ),
        fault(
            full.route.is_some() && rule.direction.is_none(),
            "direction must be explicit with rules that specify routing",
            Some("add in or out"),
        ),
        fault(
            full.route.is_some() && rule.action == Action::Pass && rule.state == StateMode::None,
            "route-to, reply-to and dup-to require keep state",
            None,
        ),
    ]
}
