//! Rules that would lock out whoever loads them.
//!
//! Overview: the operator's own connections to the box come with the request. The dataplane says what the live rules and
//! the candidate answer to the first packet of such a connection, to a later one, and to the answer: what works now and
//! would not any more is refused, with the rule that blocks it. Rules that have to be confirmed are only warned of: those
//! before return by themselves.

use api::control::{Apply, Finding, Session, Severity};
use api::{Candidate, Judged};
use pfconf::print_rule;
use ruleset::{Direction, Flow, Moment, Rule, Ruling, TupleEnd};
use wire::{Port, Proto};

use super::{Committer, Failure};

/// Packets that tell whether a session lives: its first, a later one, and the answer.
const PER_SESSION: usize = 3;

/// Sessions that are looked at.
const SESSIONS_MAX: usize = 64;

impl Committer {
    /// Refuses a candidate that would cut the operator off; says so where that is allowed or undone by itself.
    pub(super) fn guard(&mut self, apply: &Apply, candidate: Candidate) -> Result<Vec<Finding>, Failure> {
        let operator = &apply.operator;
        let sessions: Vec<Session> = operator.sessions.iter().copied().take(SESSIONS_MAX).collect();
        let one_family = |session: &Session| session.client.is_ipv4() == session.server.is_ipv4();
        if sessions.is_empty() || !sessions.iter().all(one_family) {
            return Ok(Vec::new());
        }
        let Some(client) = &mut self.client else { return Ok(Vec::new()) };
        let rules = candidate.ruleset.rules.clone();
        let flows = sessions.iter().flat_map(packets).collect();
        let judged = match client.judge(candidate, flows) {
            Ok(judged) => judged,
            Err(api::Error::Refused(why)) => return Err(Failure::refused(why)),
            Err(error) => {
                self.lose(&error);
                return Err(Failure::Unavailable(error.to_string()));
            }
        };
        let cut = sessions.iter().zip(judged.chunks(PER_SESSION)).find_map(|(session, judged)| {
            let ruling = cut_by(judged)?;
            let rule = ruling.rule.and_then(|number| rules.get(number as usize));
            Some((sentence(session, ruling, rule), rule))
        });
        match cut {
            None => Ok(Vec::new()),
            Some((what, rule)) if operator.force || apply.confirm_s.is_some() => {
                Ok(vec![warning(what, &apply.sources.name, rule)])
            }
            Some((what, _)) => Err(Failure::refused(format!(
                "{what}; pass it, or use --confirm 60s, or --force if that is what you want"
            ))),
        }
    }
}

fn packets(session: &Session) -> [Flow; PER_SESSION] {
    let end = |address: std::net::SocketAddr| TupleEnd { address: address.ip(), port: Port(address.port()) };
    let flow = |direction, moment| {
        let (client, server) = (end(session.client), end(session.server));
        let (source, destination) = match direction {
            Direction::In => (client, server),
            Direction::Out => (server, client),
        };
        Flow { proto: Proto::TCP, source, destination, direction, interface: None, moment }
    };
    [
        flow(Direction::In, Moment::First),
        flow(Direction::In, Moment::Later),
        flow(Direction::Out, Moment::Later),
    ]
}

/// What the candidate says to the packet of a session that it would cut off.
fn cut_by(judged: &[Judged]) -> Option<&Ruling> {
    let [first, later, answer] = judged else { return None };
    let passes = |ruling: &Option<Ruling>| ruling.as_ref().is_none_or(|ruling| ruling.passes);
    let keeps = |ruling: &Option<Ruling>| ruling.as_ref().is_some_and(|ruling| ruling.keeps_state);
    let (kept, keeping) = (keeps(&first.live), keeps(&first.candidate));
    let cuts = |judged: &&Judged| (kept || passes(&judged.live)) && !passes(&judged.candidate);
    // The session has a state, and a new one would get one: the rest of both passes by it.
    let asked: &[&Judged] = if kept && keeping { &[first] } else { &[first, later, answer] };
    asked.iter().copied().find(cuts)?.candidate.as_ref()
}

fn sentence(session: &Session, ruling: &Ruling, rule: Option<&Rule>) -> String {
    let Session { client, server } = session;
    let by = match rule {
        Some(rule) => format!(
            "rule @{} {} ({}:{})",
            ruling.rule.unwrap_or_default(),
            print_rule(rule),
            rule.source.file,
            rule.source.line
        ),
        None => "no rule that passes it".to_owned(),
    };
    format!("this would cut your own connection {client} -> {server} on {}: {by}", ruling.interface)
}

fn warning(message: String, name: &str, rule: Option<&Rule>) -> Finding {
    let source = rule.map(|rule| &rule.source);
    Finding {
        severity: Severity::Warning,
        file: source.map_or_else(|| name.to_owned(), |source| source.file.to_string()),
        line: source.map_or(0, |source| source.line),
        column: 1,
        message,
        expected: String::new(),
        hint: None,
    }
}
