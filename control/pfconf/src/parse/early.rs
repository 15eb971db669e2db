//! What FreeBSD's dialect has in front of the filter: `nat`, `rdr`, `binat`, `scrub`, the order of statements, and routes
//! that are named before the address family.

use ruleset::LogOptions;

use super::{Parsed, Parser};
use crate::ast::{
    Early, FilterOptions, HostItem, HostSpec, RuleAction, RuleStatement, Section, StatementKind,
};
use crate::lex::Kind;

const WORDS: &str = "nat, rdr, binat or scrub";

/// FreeBSD's order of statements. Macros, tables and `load anchor` may stand anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    #[default]
    Options,
    Normalization,
    Queueing,
    Translation,
    Filtering,
}

impl Stage {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "set" => Self::Options,
            "scrub" => Self::Normalization,
            "queue" => Self::Queueing,
            "nat" | "rdr" | "binat" | "nat-anchor" | "rdr-anchor" | "binat-anchor" => Self::Translation,
            "pass" | "block" | "match" | "anchor" | "antispoof" => Self::Filtering,
            _ => return None,
        })
    }
}

impl Parser<'_> {
    /// Refuses a statement that stands behind those of a later stage.
    pub(super) fn check_order(&mut self, word: &str) -> Parsed<()> {
        let Some(stage) = Stage::of(word).filter(|_| self.require_order) else { return Ok(()) };
        if stage < self.stage {
            let span = self.lexer.peek().span;
            let text =
                "Rules must be in order: options, ethernet, normalization, queueing, translation, filtering";
            return Err(self.fail(span, text, Some("move it up, or begin with: set require-order no")));
        }
        self.stage = stage;
        Ok(())
    }

    /// `[no] nat …`, `rdr …`, `binat …`, `scrub …`.
    pub(super) fn early(&mut self) -> Parsed<StatementKind> {
        let first = self.lexer.peek().span;
        let exempt = self.accept_keyword("no");
        let section = match self.lexer.peek().kind {
            Kind::Keyword(word) => Section::ALL.into_iter().find(|(_, known)| *known == word),
            _ => None,
        };
        let Some((section, word)) = section else { return Err(self.syntax(WORDS)) };
        if exempt {
            self.check_order(word)?;
        }
        self.mark(match section {
            Section::Scrub => word,
            Section::Rdr => "rdr-to",
            Section::Nat | Section::Binat => "nat-to",
        });
        self.take();
        let mut rule = match section {
            Section::Scrub => self.scrub_rule(exempt)?,
            _ => self.translation_rule(section, exempt)?,
        };
        rule.span = first.to(self.lexer.last().span);
        Ok(StatementKind::Rule(Box::new(rule)))
    }

    fn scrub_rule(&mut self, exempt: bool) -> Parsed<RuleStatement> {
        let direction = self.direction();
        let (log, quick) = self.log_quick()?;
        let action = RuleAction::Early(Early { section: Section::Scrub, exempt, pass: false });
        let mut rule = self.head(action, direction, log, quick)?;
        loop {
            if self.tag_option(&mut rule.options)? {
                continue;
            }
            let scrub = &mut rule.options.more.scrub;
            match self.lexer.peek().kind {
                Kind::Keyword("fragment") => {
                    self.take();
                    self.keyword("reassemble")?;
                    scrub.fragments_kept = false;
                }
                Kind::Keyword("no") => {
                    self.take();
                    self.keyword("fragment")?;
                    self.keyword("reassemble")?;
                    scrub.fragments_kept = true;
                }
                Kind::Keyword("set-tos") => {
                    self.take();
                    scrub.set_tos = Some(self.tos()?);
                }
                Kind::Keyword("no-df" | "random-id" | "min-ttl" | "max-mss" | "reassemble") => {
                    self.scrub_option(&mut rule.options)?;
                }
                _ => return Ok(rule),
            }
        }
    }

    fn translation_rule(&mut self, section: Section, exempt: bool) -> Parsed<RuleStatement> {
        let pass = self.accept_keyword("pass");
        let log = if pass { self.log()? } else { LogOptions::default() };
        let action = RuleAction::Early(Early { section, exempt, pass });
        let mut rule = self.head(action, None, log, false)?;
        while self.tag_option(&mut rule.options)? {}
        let span = self.lexer.peek().span;
        let arrow = self.accept_symbol("->");
        if exempt && arrow {
            return Err(self.fail(span, "translation rule with 'no' does not need '->'", None));
        }
        if !exempt && !arrow {
            return Err(self.fail(span, "translation rule requires '-> address'", None));
        }
        if arrow {
            let target = Some(self.redirect(section != Section::Binat, Self::host)?);
            match section {
                Section::Rdr => rule.options.rdr = target,
                _ => rule.options.nat = target,
            }
        }
        Ok(rule)
    }

    /// `tag`, `tagged`, `rtable`: all that may stand between the hosts and the arrow. False if there is none.
    fn tag_option(&mut self, options: &mut FilterOptions) -> Parsed<bool> {
        if self.accept_symbol("!") {
            self.negatable(options, true)?;
            return Ok(true);
        }
        match self.lexer.peek().kind {
            Kind::Keyword("tagged") => self.negatable(options, false)?,
            Kind::Keyword(word @ "tag") => self.name(word, options)?,
            Kind::Keyword("rtable") => {
                self.take();
                options.rtable = Some(self.routing_table()?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// FreeBSD names the route between the interface and the family.
    pub(super) fn early_route(&mut self, action: RuleAction, options: &mut FilterOptions) -> Parsed<()> {
        let Kind::Keyword(word @ ("route-to" | "reply-to" | "dup-to")) = self.lexer.peek().kind else {
            return Ok(());
        };
        if !self.is_freebsd() || matches!(action, RuleAction::Early(_)) {
            return Ok(());
        }
        self.mark(word);
        self.routing(word, options)
    }

    /// A route among the filter options, which is OpenBSD's place for it.
    pub(super) fn late_route(&mut self, word: &'static str, options: &mut FilterOptions) -> Parsed<()> {
        if !self.is_freebsd() {
            return self.routing(word, options);
        }
        let span = self.lexer.peek().span;
        let hint =
            format!("in FreeBSD's dialect it stands before the family: on em0 {word} (em1 10.0.0.1) inet");
        Err(self.fail(span, "syntax error", Some(&hint)))
    }

    /// `interface`, or `(interface host)`.
    pub(super) fn routed_host(&mut self) -> Parsed<HostItem> {
        let first = self.lexer.peek().span;
        let bracket = self.accept_symbol("(");
        let interface = self.text("an interface, or (interface host)")?;
        self.check_interface_name(&interface.value, interface.span)?;
        let mut item = match bracket {
            true => HostItem { via: Some(interface.value), ..self.host()? },
            false => HostItem {
                negated: false,
                host: HostSpec::Via(interface.value),
                weight: None,
                via: None,
                span: first,
            },
        };
        if bracket {
            self.symbol(")")?;
        }
        item.span = first.to(self.lexer.last().span);
        Ok(item)
    }
}
