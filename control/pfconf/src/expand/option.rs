//! What `set` changes, and what pfctl prints of it.

use ruleset::{BlockPolicy, InterfacePattern, Reassemble, StatePolicy};

use super::Expander;
use crate::ast::{InterfaceName, SetOption, Syncookies};
use crate::config::Echo;
use crate::parse::Parsed;
use crate::print;

impl Expander<'_> {
    pub(super) fn option(&mut self, option: &SetOption) -> Parsed<()> {
        match option {
            SetOption::Skip(list) => {
                for item in list {
                    let name = match &item.name {
                        InterfaceName::Name(name) if !item.negated => name.clone(),
                        _ => return Err(self.fail(item.span, "invalid interface for skip", None)),
                    };
                    if !self.config.options.skip.contains(&name) {
                        self.config.options.skip.push(name);
                    }
                }
            }
            SetOption::BlockPolicy(policy) => {
                self.block_policy = *policy;
                self.config.options.block_policy = *policy;
                self.echo(format!("set block-policy {}", policy_word(*policy)));
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
                self.echo(format!("set optimization {}", profile.name));
            }
            SetOption::RulesetOptimization(level) => self.config.optimize = Some(*level),
            SetOption::LogInterface(name) => {
                let word =
                    name.as_deref().map_or("none".into(), |name| print::word(name, self.config.dialect));
                self.echo(format!("set loginterface {word}"));
                self.config.options.log_interface.clone_from(name);
            }
            SetOption::Fingerprints(file) => {
                self.echo(format!("set fingerprints {}", print::quoted(file)));
                self.fingerprints = Some((file.clone(), self.place.span));
            }
            SetOption::StateDefaults(options) => self.state_defaults.clone_from(options),
            SetOption::Syncookies(mode) => {
                self.echo(syncookies(*mode));
                self.config.options.syncookies = match *mode {
                    Syncookies::Never => ruleset::Syncookies::Never,
                    Syncookies::Always => ruleset::Syncookies::Always,
                    Syncookies::Adaptive(None) => ruleset::Syncookies::ADAPTIVE,
                    Syncookies::Adaptive(Some((start, end))) => ruleset::Syncookies::Adaptive { start, end },
                };
            }
            _ => self.refused_option(option),
        }
        Ok(())
    }

    /// Options that are read and printed, but that nothing obeys yet.
    fn refused_option(&mut self, option: &SetOption) {
        let keyword = match option {
            SetOption::HostId(id) => {
                self.echo(format!("set hostid 0x{id:08x}"));
                "set hostid"
            }
            SetOption::Debug(level) => {
                self.echo(format!("set debug {level}"));
                "set debug"
            }
            SetOption::RequireOrder(yes) => {
                self.echo(format!("set require-order {}", if *yes { "yes" } else { "no" }));
                return;
            }
            SetOption::FailPolicy(policy) => {
                self.echo(format!("set fail-policy {}", policy_word(*policy)));
                "set fail-policy"
            }
            SetOption::KeepCounters => "set keepcounters",
            _ => return,
        };
        self.unsupported(keyword);
    }

    fn echo(&mut self, line: String) {
        self.config.echo.push(Echo::Option { text: line, span: self.place.span });
    }
}

const fn policy_word(policy: BlockPolicy) -> &'static str {
    match policy {
        BlockPolicy::Drop => "drop",
        BlockPolicy::Return => "return",
    }
}

fn syncookies(mode: Syncookies) -> String {
    match mode {
        Syncookies::Never => "set syncookies never".into(),
        Syncookies::Always => "set syncookies always".into(),
        Syncookies::Adaptive(None) => "set syncookies adaptive".into(),
        Syncookies::Adaptive(Some((start, end))) => {
            format!("set syncookies adaptive (start {start}%, end {end}%)")
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
