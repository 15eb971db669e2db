//! Rules that would lock out whoever loads them.
//!
//! Overview: the dataplane says what the live rules and a candidate answer to the first packet of a connection to the box,
//! to a later one, and to the answer: what works now and would not any more is cut. Bounds: [`SESSIONS_MAX`] connections
//! are looked at.

use ruleset::{Direction, Flow, Moment, Rule, Ruleset, Ruling, SourceLine};

use crate::client::{Client, Error};
use crate::control::Session;
use crate::{Candidate, Judged};

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
        let one_family = |session: &&Session| session.client.is_ipv4() == session.server.is_ipv4();
        let sessions: Vec<Session> = sessions.iter().filter(one_family).copied().take(SESSIONS_MAX).collect();
        if sessions.is_empty() {
            return Ok(None);
        }
        let judged = client.judge(candidate, sessions.iter().flat_map(packets).collect())?;
        Ok(sessions
            .iter()
            .zip(judged.chunks(PER_SESSION))
            .find_map(|(session, judged)| Some(Self { session: *session, ruling: cut_by(judged)?.clone() })))
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
