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

/// The least that the RFCs ask of address translators: 5382 §5 (REQ-5) and 7857 §2.1, 4787 §4.3, 5508 §3.2.
pub(crate) const RFC_NAT: &[(Timeout, u32)] = &[
    (Timeout::TcpFirst, 4 * 60),
    (Timeout::TcpOpening, 4 * 60),
    (Timeout::TcpEstablished, (2 * 60 + 4) * 60),
    (Timeout::TcpClosing, 4 * 60),
    (Timeout::TcpFinwait, 4 * 60),
    (Timeout::TcpClosed, 4 * 60),
    (Timeout::UdpFirst, 5 * 60),
    (Timeout::UdpSingle, 5 * 60),
    (Timeout::UdpMultiple, 5 * 60),
    (Timeout::IcmpFirst, 60),
    (Timeout::IcmpError, 60),
];

static OPTIMIZATIONS: &[Optimization] = &[
    Optimization { name: "normal", timeouts: &[], endpoint_independent: false },
    Optimization { name: "high-latency", timeouts: SATELLITE, endpoint_independent: false },
    Optimization { name: "satellite", timeouts: SATELLITE, endpoint_independent: false },
    Optimization { name: "aggressive", timeouts: AGGRESSIVE, endpoint_independent: false },
    Optimization { name: "conservative", timeouts: CONSERVATIVE, endpoint_independent: false },
    Optimization { name: "rfc-nat", timeouts: RFC_NAT, endpoint_independent: true },
];

/// What else than time-outs may stand among the options of states.
const STATE_OPTIONS: &[&str] = &[
    "max",
    "max-src-states",
    "max-src-nodes",
    "max-src-conn",
    "max-src-conn-rate",
    "source-track",
    "overload",
    "sloppy",
    "if-bound",
    "floating",
    "no-sync",
    "pflow",
];

/// Whose time-out is set: the ruleset's, or that of a rule's states.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeoutOf {
    Setting,
    Rule,
}

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
            "skip" => match self.accept_keyword("on") {
                true => Ok(SetOption::Skip(self.interface_list()?)),
                false if matches!(self.lexer.peek().kind, Kind::Text(_)) => Err(self.syntax("'on'")),
                false => Ok(SetOption::Skip(Vec::new())),
            },
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
                if self.accept_keyword("all") {
                    return Ok(SetOption::LogInterface(Some("all".into())));
                }
                let name = self.text("an interface, a group or none")?;
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
        let (timeout, seconds) = self.timeout_value(TimeoutOf::Setting)?;
        Ok(SetOption::Timeout(timeout, seconds))
    }

    /// `name seconds`, also among a rule's state options.
    pub(super) fn timeout_value(&mut self, of: TimeoutOf) -> Parsed<(Timeout, u32)> {
        let name = self.text("the name of a time-out, such as tcp.established")?;
        let seconds = self.number_in("a number of seconds", "only positive values permitted")?;
        let known = match of {
            TimeoutOf::Setting => name.value.to_ascii_lowercase().parse(),
            TimeoutOf::Rule => name.value.parse(),
        };
        match known {
            Ok(timeout) => Ok((timeout, seconds)),
            Err(_) => {
                let wrong = match of {
                    TimeoutOf::Setting => "unknown timeout",
                    TimeoutOf::Rule => "illegal timeout name",
                };
                if of == TimeoutOf::Setting {
                    self.preface(name.span, "Bad timeout name.");
                }
                let text = format!("{wrong} {}", name.value);
                let known = format!("known are {}", Timeout::ALL.map(Timeout::name).join(", "));
                let options: &[&str] = if of == TimeoutOf::Rule { STATE_OPTIONS } else { &[] };
                let names = Timeout::ALL.map(Timeout::name).into_iter().chain(options.iter().copied());
                let hint = nearest::hint(&name.value, names, Some(&known));
                Err(self.fail(name.span, text, hint.as_deref()))
            }
        }
    }

    fn limit_setting(&mut self) -> Parsed<SetOption> {
        let name = self.text("the name of a limit, such as states")?;
        let most = self.number_in("a number of entries", "only positive values permitted")?;
        match name.value.to_ascii_lowercase().parse() {
            Ok(limit) => Ok(SetOption::Limit(limit, most)),
            Err(_) => {
                self.preface(name.span, "Bad pool name.");
                let text = format!("unable to set limit {} {most}", name.value);
                let known = format!("known are {}", Limit::ALL.map(Limit::name).join(", "));
                Err(self.fail(name.span, text, Some(&known)))
            }
        }
    }

    fn optimization(&mut self) -> Parsed<SetOption> {
        let name =
            self.text("a profile: normal, high-latency, satellite, aggressive, conservative or rfc-nat")?;
        match OPTIMIZATIONS.iter().find(|profile| profile.name.eq_ignore_ascii_case(&name.value)) {
            Some(profile) => Ok(SetOption::Optimization(profile)),
            None => {
                self.preface(name.span, "invalid state timeouts optimization");
                let text = format!("unknown optimization {}", name.value);
                Err(self.fail(
                    name.span,
                    text,
                    Some("known are normal, high-latency, satellite, aggressive, conservative, rfc-nat"),
                ))
            }
        }
    }

    fn ruleset_optimization(&mut self) -> Parsed<SetOption> {
        let name = self.words("none, basic or profile")?;
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
            "adaptive" => Syncookies::Adaptive(None),
            _ => {
                let text = "illegal value for syncookies";
                return Err(self.fail(mode.span, text, Some("known are never, always, adaptive")));
            }
        };
        let open = self.lexer.peek().span;
        let given = self.watermarks()?;
        match (mode, given) {
            (mode, None) => Ok(SetOption::Syncookies(mode)),
            (Syncookies::Adaptive(_), Some((start, end))) if end < start => {
                Ok(SetOption::Syncookies(Syncookies::Adaptive(given)))
            }
            (mode, Some(_)) => {
                let (why, hint) = match mode {
                    Syncookies::Adaptive(_) => {
                        ("start must be higher than end", "they end at fewer states than they start at")
                    }
                    _ => ("syncookies start/end only apply to adaptive", "leave them out, or say adaptive"),
                };
                self.preface(open, why);
                Err(self.fail(open, "error setting syncookies", Some(hint)))
            }
        }
    }

    /// `(start a%, end b%)`.
    fn watermarks(&mut self) -> Parsed<Option<(u8, u8)>> {
        if !self.accept_symbol("(") {
            return Ok(None);
        }
        let (mut start, mut end) = (None, None);
        loop {
            let name = self.text("start or end")?;
            let percent = self.text("a percentage")?;
            let value = percent.value.strip_suffix('%').and_then(|digits| digits.parse::<f64>().ok());
            let Some(value) = value.filter(|value| *value > 0.0 && *value <= 100.0) else {
                return Err(self.fail(percent.span, "illegal percentage value", Some("1% to 100%")));
            };
            match name.value.as_str() {
                "start" => start = Some(value as u8),
                "end" => end = Some(value as u8),
                _ => return Err(self.fail(name.span, "illegal syncookie option", Some("start or end"))),
            }
            self.accept_symbol(",");
            if self.accept_symbol(")") {
                break;
            }
        }
        // As in pf: a mark that is not given, or less than one percent, is the default, or half of the start.
        let start = start.filter(|start| *start > 0).unwrap_or(25);
        Ok(Some((start, end.filter(|end| *end > 0).unwrap_or(start / 2))))
    }
}
