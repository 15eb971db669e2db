//! `set …` (pf.conf(5) OPTIONS).

use ruleset::{BlockPolicy, Limit, StatePolicy, Timeout};

use super::{Parsed, Parser};
use crate::ast::{Optimization, SetOption, Syncookies};
use crate::lex::Kind;
use crate::nearest;
use crate::optimize::UnknownLevel;

const AGGRESSIVE: &[(Timeout, u32)] = &[
    (Timeout::TcpFirst, 30),
    (Timeout::TcpOpening, 5),
    (Timeout::TcpEstablished, 5 * 60 * 60),
    (Timeout::TcpClosing, 60),
    (Timeout::TcpFinwait, 30),
    (Timeout::TcpClosed, 30),
    (Timeout::TcpTsdiff, 10),
];
const SATELLITE: &[(Timeout, u32)] = &[
    (Timeout::TcpFirst, 3 * 60),
    (Timeout::TcpOpening, 30 + 5),
    (Timeout::TcpEstablished, 24 * 60 * 60),
    (Timeout::TcpClosing, 15 * 60 + 5),
    (Timeout::TcpFinwait, 45 + 5),
    (Timeout::TcpClosed, 90 + 5),
    (Timeout::TcpTsdiff, 60),
];
const CONSERVATIVE: &[(Timeout, u32)] = &[
    (Timeout::TcpFirst, 60 * 60),
    (Timeout::TcpOpening, 15 * 60),
    (Timeout::TcpEstablished, 5 * 24 * 60 * 60),
    (Timeout::TcpClosing, 60 * 60),
    (Timeout::TcpFinwait, 10 * 60),
    (Timeout::TcpClosed, 3 * 60),
    (Timeout::TcpTsdiff, 60),
];

static OPTIMIZATIONS: &[Optimization] = &[
    Optimization { name: "normal", timeouts: &[] },
    Optimization { name: "high-latency", timeouts: SATELLITE },
    Optimization { name: "satellite", timeouts: SATELLITE },
    Optimization { name: "aggressive", timeouts: AGGRESSIVE },
    Optimization { name: "conservative", timeouts: CONSERVATIVE },
];

impl Parser<'_> {
    /// Behind this point each part of `{ … }` takes effect by itself, so the whole statement is a list.
    pub(super) fn set(&mut self) -> Parsed<Vec<SetOption>> {
        self.take();
        let Kind::Keyword(word) = self.lexer.peek().kind else {
            return Err(self.syntax("an option, such as skip, timeout, limit or block-policy"));
        };
        match word {
            "timeout" => return self.braced(Self::timeout_setting),
            "limit" => return self.braced(Self::limit_setting),
            _ => {}
        }
        Ok(vec![self.single_setting(word)?])
    }

    fn braced(&mut self, item: fn(&mut Self) -> Parsed<SetOption>) -> Parsed<Vec<SetOption>> {
        self.take();
        if self.lexer.peek().kind != Kind::Newline {
            let mut list = Vec::new();
            self.items(&mut |parser| {
                list.push(item(parser)?);
                Ok(())
            })?;
            return Ok(list);
        }
        Err(self.syntax("a name and a value, or a list of them in braces"))
    }

    fn single_setting(&mut self, word: &str) -> Parsed<SetOption> {
        self.take();
        match word {
            "skip" => {
                self.keyword("on")?;
                Ok(SetOption::Skip(self.interface_list()?))
            }
            "block-policy" => Ok(SetOption::BlockPolicy(self.drop_or_return()?)),
            "state-policy" => match self.accept_keyword("if-bound") {
                true => Ok(SetOption::StatePolicy(StatePolicy::IfBound)),
                false => {
                    self.keyword("floating")?;
                    Ok(SetOption::StatePolicy(StatePolicy::Floating))
                }
            },
            "optimization" => self.optimization(),
            "ruleset-optimization" => self.ruleset_optimization(),
            "state-defaults" => Ok(SetOption::StateDefaults(self.state_option_list()?)),
            "reassemble" => self.reassemble(),
            "loginterface" => {
                let name = self.text("an interface or none")?;
                Ok(SetOption::LogInterface((name.value != "none").then_some(name.value)))
            }
            "hostid" => self.host_id(),
            "debug" => self.debug_level(),
            "fingerprints" => Ok(SetOption::Fingerprints(self.text("the name of a file")?.value)),
            "syncookies" => self.syncookies(),
            "require-order" => {
                self.require_order = self.yes_or_no()?;
                Ok(SetOption::RequireOrder(self.require_order))
            }
            "fail-policy" => Ok(SetOption::FailPolicy(self.drop_or_return()?)),
            "keepcounters" => Ok(SetOption::KeepCounters),
            _ => Err(self.syntax("an option, such as skip, timeout, limit or block-policy")),
        }
    }

    fn drop_or_return(&mut self) -> Parsed<BlockPolicy> {
        if self.accept_keyword("drop") {
            return Ok(BlockPolicy::Drop);
        }
        self.keyword("return")?;
        Ok(BlockPolicy::Return)
    }

    fn timeout_setting(&mut self) -> Parsed<SetOption> {
        let (timeout, seconds) = self.timeout_value()?;
        Ok(SetOption::Timeout(timeout, seconds))
    }

    /// `name seconds`, also among a rule's state options.
    pub(super) fn timeout_value(&mut self) -> Parsed<(Timeout, u32)> {
        let name = self.text("the name of a time-out, such as tcp.established")?;
        let seconds = self.number_in("a number of seconds", "only positive values permitted")?;
        match name.value.parse() {
            Ok(timeout) => Ok((timeout, seconds)),
            Err(_) => {
                let text = format!("unknown timeout {}", name.value);
                let known = format!("known are {}", Timeout::ALL.map(Timeout::name).join(", "));
                let hint = nearest::hint(&name.value, Timeout::ALL.map(Timeout::name), Some(&known));
                Err(self.fail(name.span, text, hint.as_deref()))
            }
        }
    }

    fn limit_setting(&mut self) -> Parsed<SetOption> {
        let name = self.text("the name of a limit, such as states")?;
        let most = self.number_in("a number of entries", "only positive values permitted")?;
        match name.value.parse() {
            Ok(limit) => Ok(SetOption::Limit(limit, most)),
            Err(_) => {
                let text = format!("unable to set limit {} {most}", name.value);
                let known = format!("known are {}", Limit::ALL.map(Limit::name).join(", "));
                Err(self.fail(name.span, text, Some(&known)))
            }
        }
    }

    fn optimization(&mut self) -> Parsed<SetOption> {
        let name = self.text("a profile: normal, high-latency, satellite, aggressive or conservative")?;
        match OPTIMIZATIONS.iter().find(|profile| profile.name == name.value) {
            Some(profile) => Ok(SetOption::Optimization(profile)),
            None => {
                let text = format!("unknown optimization {}", name.value);
                Err(self.fail(
                    name.span,
                    text,
                    Some("known are normal, high-latency, satellite, aggressive, conservative"),
                ))
            }
        }
    }

    fn ruleset_optimization(&mut self) -> Parsed<SetOption> {
        let name = self.text("none, basic or profile")?;
        name.value.parse().map(SetOption::RulesetOptimization).map_err(|unknown: UnknownLevel| {
            let text = format!("unknown ruleset-optimization {}", name.value);
            self.fail(name.span, text, Some(&unknown.to_string()))
        })
    }

    fn yes_or_no(&mut self) -> Parsed<bool> {
        if self.accept_keyword("no") {
            return Ok(false);
        }
        let word = self.text("yes or no")?;
        if word.value != "yes" {
            let text = format!("invalid value '{}', expected 'yes' or 'no'", word.value);
            return Err(self.fail(word.span, text, None));
        }
        Ok(true)
    }

    fn reassemble(&mut self) -> Parsed<SetOption> {
        let yes = self.yes_or_no()?;
        Ok(SetOption::Reassemble { yes, no_df: self.accept_keyword("no-df") })
    }

    fn host_id(&mut self) -> Parsed<SetOption> {
        let number = self.number_or_text("a number")?;
        match crate::names::c_number(&number.value).and_then(|number| u32::try_from(number).ok()) {
            Some(0) => Err(self.fail(number.span, "hostid must be non-zero", None)),
            Some(id) => Ok(SetOption::HostId(id)),
            None => {
                let text = format!("invalid hostid {}", number.value);
                Err(self.fail(number.span, text, Some("a number of 32 bits, such as 0x00000001")))
            }
        }
    }

    fn debug_level(&mut self) -> Parsed<SetOption> {
        const LEVELS: &[&str] = &[
            "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "none", "urgent", "misc",
            "loud",
        ];
        if self.accept_keyword("debug") {
            return Ok(SetOption::Debug("debug".into()));
        }
        let level = self.text("a level: emerg, alert, crit, err, warning, notice, info or debug")?;
        if LEVELS.contains(&level.value.as_str()) {
            return Ok(SetOption::Debug(level.value));
        }
        let text = format!("unknown debug level \"{}\"", level.value);
        Err(self.fail(level.span, text, Some(&format!("known are {}", LEVELS.join(", ")))))
    }

    fn syncookies(&mut self) -> Parsed<SetOption> {
        let mode = self.text("never, always or adaptive")?;
        let mode = match mode.value.as_str() {
            "never" => Syncookies::Never,
            "always" => Syncookies::Always,
            "adaptive" => Syncookies::Adaptive(self.watermarks()?),
            _ => {
                let text = format!("illegal value for syncookies \"{}\"", mode.value);
                return Err(self.fail(mode.span, text, Some("known are never, always, adaptive")));
            }
        };
        Ok(SetOption::Syncookies(mode))
    }

    /// `(start a%, end b%)`.
    fn watermarks(&mut self) -> Parsed<Option<(u8, u8)>> {
        if !self.accept_symbol("(") {
            return Ok(None);
        }
        let mut marks = (25, 12);
        let open = self.lexer.peek().span;
        while !self.accept_symbol(")") {
            let name = self.text("start or end")?;
            let percent = self.text("a percentage")?;
            let value = percent.value.strip_suffix('%').and_then(|digits| digits.parse::<u8>().ok());
            let Some(value) = value.filter(|value| *value <= 100) else {
                return Err(self.fail(percent.span, "illegal percentage", None));
            };
            match name.value.as_str() {
                "start" => marks.0 = value,
                "end" => marks.1 = value,
                _ => return Err(self.fail(name.span, "illegal syncookie option", Some("start or end"))),
            }
            self.accept_symbol(",");
        }
        if marks.1 >= marks.0 {
            return Err(self.fail(open, "syncookies must end at fewer states than they start at", None));
        }
        Ok(Some(marks))
    }
}
