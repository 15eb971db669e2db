//! What `set` changes, and what pfctl prints of it.

use ruleset::{InterfacePattern, LogLevel, Reassemble, StatePolicy};

use super::Expander;
use crate::ast::{InterfaceItem, InterfaceName, SetOption, Spanned, Syncookies};
use crate::config::{Echo, KEEP_COUNTERS};
use crate::diagnostic::Form;
use crate::parse::{Abort, Parsed};
use crate::print;

impl Expander<'_> {
    pub(super) fn option(&mut self, option: &SetOption) -> Parsed<()> {
        match option {
            SetOption::Skip(list) => return self.skip(list),
            SetOption::BlockPolicy(policy) => {
                self.block_policy = *policy;
                self.config.options.block_policy = *policy;
                self.echo(format!("set block-policy {}", print::policy_word(*policy)));
            }
            SetOption::StatePolicy(policy) => {
                self.state_policy = *policy;
                self.config.options.state_policy = *policy;
                let word = if *policy == StatePolicy::Floating { "floating" } else { "if-bound" };
                self.echo(format!("set state-policy {word}"));
            }
            SetOption::Reassemble { yes, no_df } => {
                self.config.options.reassemble = Reassemble { enabled: *yes, no_df: *no_df };
                let (yes, no_df) = (if *yes { "yes" } else { "no" }, if *no_df { "no-df" } else { "" });
                self.echo(format!("set reassemble {yes} {no_df}"));
            }
            SetOption::Limit(limit, most) => {
                self.config.options.limits.set(*limit, *most);
                self.echo(format!("set limit {limit} {most}"));
            }
            SetOption::Timeout(timeout, value) => {
                self.has_thresholds |= timeout.counts_states();
                self.config.options.timeouts.set(*timeout, *value);
                self.echo(format!("set timeout {timeout} {value}"));
            }
            SetOption::Optimization(profile) => {
                for (timeout, seconds) in profile.timeouts {
                    self.config.options.timeouts.set(*timeout, *seconds);
                }
                self.config.options.endpoint_independent = profile.endpoint_independent;
                self.echo(format!("set optimization {}", profile.name));
            }
            SetOption::RulesetOptimization(level) => self.config.optimize = Some(*level),
            SetOption::LogInterface(name) => {
                let word = match name.as_deref() {
                    None => "none".to_owned(),
                    Some("all") => {
                        self.unsupported("set loginterface all");
                        "all".to_owned()
                    }
                    Some(name) => print::word(name, self.config.dialect),
                };
                self.echo(format!("set loginterface {word}"));
                self.config.options.log_interface.clone_from(name);
            }
            SetOption::Fingerprints(file) => {
                self.echo(format!("set fingerprints {}", print::quoted(file)));
                self.fingerprints = Some((file.clone(), self.place.span));
            }
            SetOption::StateDefaults(options) => {
                if !self.state_defaults.is_empty() {
                    return Err(self.fail(self.place.span, "cannot redefine state-defaults", None));
                }
                self.state_defaults.clone_from(options);
            }
            SetOption::Syncookies(mode) => {
                self.echo(syncookies(*mode));
                self.config.options.syncookies = (*mode).into();
            }
            SetOption::HostId(id) => {
                self.echo(format!("set hostid 0x{id:08x}"));
                self.config.options.host_id = *id;
            }
            SetOption::Debug(level) => {
                self.echo(format!("set debug {level}"));
                self.config.options.debug = LogLevel::named(level);
            }
            SetOption::RequireOrder(yes) => {
                self.echo(format!("set require-order {}", if *yes { "yes" } else { "no" }));
            }
            SetOption::FailPolicy(policy) => {
                self.echo(format!("set fail-policy {}", print::policy_word(*policy)));
                self.config.options.fail_policy = *policy;
            }
            SetOption::KeepCounters => {
                self.config.options.keep_counters = true;
                self.config.places.push(Spanned { value: KEEP_COUNTERS, span: self.place.span });
            }
        }
        Ok(())
    }

    fn skip(&mut self, list: &[InterfaceItem]) -> Parsed<()> {
        let none = |item: &InterfaceItem| !item.negated && item.name == InterfaceName::Name("none".into());
        if list.is_empty() || matches!(list, [only] if none(only)) {
            self.config.options.skip.clear();
            self.echo("set skip on none".into());
            return Ok(());
        }
        let dialect = self.config.dialect;
        let (mut names, mut shown) = (Vec::new(), String::new());
        for item in list {
            let wrong = match &item.name {
                _ if item.negated => "skip on ! <interface> is not supported",
                InterfaceName::Domain(_) => "skip on rdomain <num> is not supported",
                InterfaceName::Any => "skip on any is not supported",
                InterfaceName::Name(name) => {
                    shown += &format!(" {}", print::word(name, dialect));
                    names.push(name.clone());
                    continue;
                }
            };
            self.complain(item.span, wrong, Some("name interfaces, or groups of them"));
        }
        if names.len() < list.len() {
            let span = self.place.span;
            self.report(Form::Consequence, span, "error setting skip interface(s)".into(), "", None);
            return Err(Abort);
        }
        self.echo(format!("set skip on {{{shown} }}"));
        for name in names {
            if !self.config.options.skip.contains(&name) {
                self.config.options.skip.push(name);
            }
        }
        Ok(())
    }

    fn echo(&mut self, line: String) {
        self.config.echo.push(Echo::Option { text: line, span: self.place.span });
    }
}

/// As it is written: without percentages, the words say none.
fn syncookies(mode: Syncookies) -> String {
    let words = match mode {
        Syncookies::Adaptive(None) => "adaptive".into(),
        mode => print::syncookies_words(mode.into()),
    };
    format!("set syncookies {words}")
}

impl From<Syncookies> for ruleset::Syncookies {
    fn from(mode: Syncookies) -> Self {
        match mode {
            Syncookies::Never => Self::Never,
            Syncookies::Always => Self::Always,
            Syncookies::Adaptive(None) => Self::ADAPTIVE,
            Syncookies::Adaptive(Some((start, end))) => Self::Adaptive { start, end },
        }
    }
}

/// The pattern of an interface list's item.
pub(super) fn pattern(name: &InterfaceName) -> Option<InterfacePattern> {
    match name {
        InterfaceName::Any => Some(InterfacePattern::Any),
        InterfaceName::Name(name) => Some(InterfacePattern::Name(name.clone())),
        InterfaceName::Domain(_) => None,
    }
}
