//! `keep state` and its other forms, with their options (pf.conf(5) STATEFUL FILTERING).

use ruleset::{Flush, Overload, PacketRate, StateMode, StatePolicy, Timeout, Tracking};

use super::option::TimeoutOf;
use super::{Parsed, Parser};
use crate::ast::{FilterOptions, StateOption, StateSpec};
use crate::lex::Kind;

impl Parser<'_> {
    pub(super) fn state(&mut self, options: &mut FilterOptions) -> Parsed<()> {
        let token = self.take();
        if options.state.is_some() {
            return Err(self.fail(token.span, "modulate or keep cannot be redefined", None));
        }
        self.keyword("state")?;
        let mode = match token.kind {
            Kind::Keyword("keep") => StateMode::Keep,
            Kind::Keyword("modulate") => StateMode::Modulate,
            Kind::Keyword("synproxy") => StateMode::Synproxy,
            _ => {
                options.state = Some(StateSpec { mode: StateMode::None, options: Vec::new() });
                return Ok(());
            }
        };
        let mut list = Vec::new();
        if self.accept_symbol("(") {
            list = self.state_option_list()?;
            self.symbol(")")?;
        }
        options.state = Some(StateSpec { mode, options: list });
        Ok(())
    }

    pub(super) fn state_option_list(&mut self) -> Parsed<Vec<StateOption>> {
        let mut list = vec![self.state_option()?];
        loop {
            let comma = self.accept_symbol(",");
            let more = match self.lexer.peek().kind {
                Kind::Text(_) => true,
                Kind::Keyword(_) => true,
                _ => comma,
            };
            if !more {
                return Ok(list);
            }
            list.push(self.state_option()?);
        }
    }

    fn state_option(&mut self) -> Parsed<StateOption> {
        const EXPECTED: &str = "a state option, such as max, sloppy, if-bound or the name of a time-out";
        let word = match self.lexer.peek().kind {
            Kind::Keyword(word) => word,
            Kind::Text(_) => return self.state_timeout(),
            _ => return Err(self.syntax(EXPECTED)),
        };
        self.mark(word);
        self.take();
        Ok(match word {
            "max" => StateOption::Max(self.count()?),
            "no-sync" => StateOption::NoSync,
            "sloppy" => StateOption::Sloppy,
            "pflow" => StateOption::Pflow,
            "if-bound" => StateOption::Policy(StatePolicy::IfBound),
            "floating" => StateOption::Policy(StatePolicy::Floating),
            "max-src-states" => StateOption::MaxSrcStates(self.count()?),
            "max-src-nodes" => StateOption::MaxSrcNodes(self.count()?),
            "max-src-conn" => StateOption::MaxSrcConn(self.count()?),
            "max-src-conn-rate" => {
                let packets = self.count()?;
                self.symbol("/")?;
                StateOption::MaxSrcConnRate(PacketRate { packets, seconds: self.count()? })
            }
            "source-track" => {
                let global = self.accept_keyword("global");
                let rule = !global && self.accept_keyword("rule");
                StateOption::SourceTrack(if rule { Tracking::Rule } else { Tracking::Global })
            }
            "overload" => {
                let table = self.table_name()?.value;
                let flush = match (self.accept_keyword("flush"), self.accept_keyword("global")) {
                    (false, _) => Flush::No,
                    (true, false) => Flush::Rule,
                    (true, true) => Flush::Global,
                };
                StateOption::Overload(Overload { table, flush })
            }
            _ => return Err(self.syntax(EXPECTED)),
        })
    }

    fn state_timeout(&mut self) -> Parsed<StateOption> {
        let span = self.lexer.peek().span;
        let (timeout, seconds) = self.timeout_value(TimeoutOf::Rule)?;
        match timeout {
            Timeout::Frag | Timeout::Interval => {
                let hint = "it holds for the whole ruleset: set timeout";
                Err(self.fail(span, format!("illegal state timeout {timeout}"), Some(hint)))
            }
            _ => Ok(StateOption::Timeout(timeout, seconds)),
        }
    }

    fn count(&mut self) -> Parsed<u32> {
        self.number_in("a number", "only positive values permitted")
    }
}
