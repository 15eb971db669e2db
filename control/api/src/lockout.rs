//! Changes that would lock out whoever makes them: of rules, of what their tables hold, of whether they are asked.
//!
//! Overview: the dataplane says what the live rules and a candidate answer to the first packet of a connection to the box,
//! to a later one, and to the answer: what works now and would not any more is cut. Bounds: `SESSIONS_MAX` connections
//! are looked at.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ruleset::{
    Direction, Flow, Moment, Rule, Ruleset, Ruling, SourceLine, StateView, TableContents, TupleEnd,
};

use crate::client::{Client, Error};
use crate::control::{Changed, Operator, Session};
use crate::{Candidate, Filtering, Judged};

/// Connections that are looked at.
const SESSIONS_MAX: usize = 64;

/// Packets that tell whether a connection lives: its first, a later one, and the answer.
const PER_SESSION: usize = 3;

/// A connection that a candidate would cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The connection.
    pub session: Session,
    /// What the candidate says to a packet of it.
    pub ruling: Ruling,
}

impl Candidate {
    /// These rules with this in one of their tables; the others keep what they hold.
    pub fn with_table(rules: &Ruleset, table: TableContents) -> Self {
        let mut ruleset = rules.clone();
        ruleset.tables.iter_mut().for_each(|table| table.entries = None);
        Self { ruleset, contents: vec![table] }
    }
}

impl Cut {
    /// The first of these connections that a candidate would cut.
    ///
    /// # Errors
    /// [`Error::Refused`] if the dataplane would not take the candidate, and those of the connection.
    pub fn find(
        client: &mut Client,
        candidate: Candidate,
        sessions: &[Session],
    ) -> Result<Option<Self>, Error> {
        let sessions = looked_at(sessions);
        if sessions.is_empty() {
            return Ok(None);
        }
        let judged = client.judge(candidate, sessions.iter().flat_map(packets).collect())?;
        Ok(first_cut(&sessions, &judged, |_, first| keeps(&first.live)))
    }

    /// The first of these connections that the live rules would cut by being asked again. One that has a state needs the rules
    /// for its first packet only.
    ///
    /// # Errors
    /// [`Error::Refused`] if no rules are live, and those of the connection.
    fn by_enabling(client: &mut Client, sessions: &[Session]) -> Result<Option<Self>, Error> {
        let sessions = looked_at(sessions);
        if sessions.is_empty() {
            return Ok(None);
        }
        let judged = client.judge_enabled(sessions.iter().flat_map(packets).collect())?;
        let are_asked = judged.iter().any(|judged| judged.live.is_some());
        if are_asked || first_cut(&sessions, &judged, |_, _| false).is_none() {
            return Ok(None);
        }
        let wanted: BTreeSet<Session> = sessions.iter().copied().collect();
        let mut known = BTreeSet::new();
        client.states(|state| known.extend(session_of(&state).filter(|session| wanted.contains(session))))?;
        Ok(first_cut(&sessions, &judged, |session, _| known.contains(session)))
    }

    /// What is to be said of it where it is forced.
    ///
    /// # Errors
    /// [`Error::Refused`] where it is not.
    pub fn allow(
        &self,
        rules: &Ruleset,
        force: bool,
        print: impl Fn(&Rule) -> String,
    ) -> Result<String, Error> {
        let what = self.sentence(rules, print);
        match force {
            true => Ok(what),
            false => Err(Error::Refused(format!("{what}; use --force if that is what you want"))),
        }
    }

    /// The rule that cuts it; `None` if none passes it.
    pub fn rule<'a>(&self, rules: &'a [Rule]) -> Option<&'a Rule> {
        self.ruling.rule.and_then(|number| rules.get(number as usize))
    }

    /// What would happen, and by which of the candidate's rules, which `print` writes.
    pub fn sentence(&self, rules: &Ruleset, print: impl Fn(&Rule) -> String) -> String {
        let Session { client, server } = self.session;
        let number = self.ruling.rule.map(|number| number as usize);
        let by =
            match number.and_then(|number| Some((rules.places().get(number)?.rule, &rules.rules[number]))) {
                Some((number, rule)) => {
                    let SourceLine { file, line } = &rule.source;
                    let anchor = match rules.path(rule) {
                        "" => String::new(),
                        path => format!(" of the anchor {path}"),
                    };
                    format!("rule @{number} {}{anchor} ({file}:{line})", print(rule))
                }
                None => "no rule that passes it".to_owned(),
            };
        format!("this would cut your own connection {client} -> {server} on {}: {by}", self.ruling.interface)
    }
}

fn packets(session: &Session) -> [Flow; PER_SESSION] {
    let Session { client, server } = *session;
    [
        Flow::tcp(client, server, Direction::In, Moment::First),
        Flow::tcp(client, server, Direction::In, Moment::Later),
        Flow::tcp(server, client, Direction::Out, Moment::Later),
    ]
}

/// Switches filtering on or off; on only if that cuts off none of the operator's connections, or if it is forced.
///
/// # Errors
/// [`Error::Refused`] if it would, or if no rules are live, and those of the connection.
pub fn switch(
    client: &mut Client,
    filtering: Filtering,
    operator: &Operator,
    print: impl Fn(&Rule) -> String,
) -> Result<Changed, Error> {
    let mut warning = None;
    if filtering == Filtering::On
        && let Some(cut) = Cut::by_enabling(client, &operator.sessions)?
        && let Some(live) = client.rules()?
    {
        warning = Some(cut.allow(&live.ruleset, operator.force, print)?);
    }
    Ok(Changed { changed: client.switch(filtering)?, warning })
}

fn looked_at(sessions: &[Session]) -> Vec<Session> {
    let one_family = |session: &&Session| session.client.is_ipv4() == session.server.is_ipv4();
    sessions.iter().filter(one_family).copied().take(SESSIONS_MAX).collect()
}

/// The connection that a state belongs to, if the box is its server.
fn session_of(state: &StateView) -> Option<Session> {
    let end = |TupleEnd { address, port }: TupleEnd| SocketAddr::new(address, port.0);
    let session = Session { client: end(state.source.end), server: end(state.destination.end) };
    let [first, ..] = packets(&session);
    (state.proto == first.proto && state.direction == first.direction).then_some(session)
}

/// The first session that is cut; `kept` tells of those that have states, from what is said to their first packets.
fn first_cut(
    sessions: &[Session],
    judged: &[Judged],
    kept: impl Fn(&Session, &Judged) -> bool,
) -> Option<Cut> {
    let mut each = sessions.iter().zip(judged.chunks(PER_SESSION));
    each.find_map(|(session, judged)| {
        let kept = kept(session, judged.first()?);
        Some(Cut { session: *session, ruling: cut_by(judged, kept)?.clone() })
    })
}

fn keeps(ruling: &Option<Ruling>) -> bool {
    ruling.as_ref().is_some_and(|ruling| ruling.keeps_state)
}

/// What the candidate says to the packet of a session that it would cut off; `kept` if the session has a state.
fn cut_by(judged: &[Judged], kept: bool) -> Option<&Ruling> {
    let [first, later, answer] = judged else { return None };
    let passes = |ruling: &Option<Ruling>| ruling.as_ref().is_none_or(|ruling| ruling.passes);
    let cuts = |judged: &&Judged| (kept || passes(&judged.live)) && !passes(&judged.candidate);
    // The session has a state, and a new one would get one: the rest of both passes by it.
    let asked: &[&Judged] = if kept && keeps(&first.candidate) { &[first] } else { &[first, later, answer] };
    asked.iter().copied().find(cuts)?.candidate.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruling(passes: bool) -> Option<Ruling> {
        Some(Ruling { passes, keeps_state: passes, rule: Some(3), interface: "lan0".into() })
    }

    fn session() -> Session {
        let end = |text: &str| text.parse().expect("an end");
        Session { client: end("192.0.2.7:40000"), server: end("192.0.2.254:22") }
    }

    /// What rules that are not asked yet will say to the packets of a session.
    fn enabled(packets: [bool; PER_SESSION]) -> Vec<Judged> {
        packets.into_iter().map(|passes| Judged { live: None, candidate: ruling(passes) }).collect()
    }

    #[test]
    fn a_session_without_a_state_needs_rules_for_all_its_packets() {
        for (packets, without, with) in [
            ([true, true, true], false, false),
            ([true, false, true], true, false),
            ([true, true, false], true, false),
            ([false, true, true], true, true),
        ] {
            let judged = enabled(packets);
            assert_eq!(first_cut(&[session()], &judged, |_, _| false).is_some(), without, "{packets:?}");
            assert_eq!(first_cut(&[session()], &judged, |_, _| true).is_some(), with, "{packets:?}");
        }
    }

    #[test]
    fn a_cut_that_is_not_forced_is_a_refusal() {
        let cut = Cut { session: session(), ruling: ruling(false).expect("one") };
        let rules = Ruleset { rules: vec![Rule::default(); 4], ..Ruleset::default() };
        let text = |force| cut.allow(&rules, force, |_| "block all".into());
        let said = text(true).expect("it is forced");
        assert!(said.contains("192.0.2.7:40000 -> 192.0.2.254:22 on lan0: rule @3 block all"), "{said}");
        let Err(Error::Refused(why)) = text(false) else { panic!("it is not forced") };
        assert!(why.starts_with(&said) && why.ends_with("use --force if that is what you want"), "{why}");
    }
}
