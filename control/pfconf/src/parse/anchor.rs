//! `anchor`, `load anchor` and `antispoof`.

use ruleset::{LogOptions, StateMode};

use super::{Parsed, Parser};
use crate::ast::{
    AnchorStatement, AntispoofInterface, AntispoofStatement, Early, InterfaceName, RuleAction, RuleStatement,
    Section, Statement, StatementKind,
};
use crate::lex::Kind;

impl Parser<'_> {
    pub(super) fn anchor(&mut self) -> Parsed<StatementKind> {
        let first = self.take();
        let early = match first.kind {
            Kind::Keyword(word) => Section::of(word),
            _ => None,
        };
        let first = first.span;
        let name = match self.lexer.peek().kind {
            Kind::Text(_) => Some(self.anchor_name()?),
            _ => None,
        };
        let mut rule = match early {
            None => {
                let direction = self.direction();
                let quick = self.accept_keyword("quick");
                self.match_part(RuleAction::Pass, direction, LogOptions::default(), quick)?
            }
            Some(section) => self.early_anchor(section)?,
        };
        rule.span = first.to(self.lexer.last().span);
        let body = match self.at_symbol("{") && early.is_none() {
            true => Some(self.anchor_body()?),
            false => None,
        };
        if !matches!(self.lexer.peek().kind, Kind::Newline | Kind::End) {
            return Err(self.syntax("an option of the anchor, '{' or the end of the line"));
        }
        if rule.options.state.as_ref().is_some_and(|state| state.mode != StateMode::None) {
            let text = "cannot specify state handling on anchors";
            return Err(self.fail(rule.span, text, Some("give the rules in the anchor their own")));
        }
        if name.is_none() && body.is_none() {
            let text = "anchors without explicit rules must specify a name";
            return Err(self.fail(rule.span, text, Some("anchor \"name\", or rules in braces")));
        }
        Ok(StatementKind::Anchor(Box::new(AnchorStatement { name, rule, body })))
    }

    /// What packets an anchor for translation is for: it has no options but a routing table.
    fn early_anchor(&mut self, section: Section) -> Parsed<RuleStatement> {
        let action = RuleAction::Early(Early { section, exempt: false, pass: false });
        let mut rule = self.head(action, None, LogOptions::default(), false)?;
        if self.accept_keyword("rtable") {
            rule.options.rtable = Some(self.routing_table()?);
        }
        Ok(rule)
    }

    fn anchor_name(&mut self) -> Parsed<String> {
        let name = self.text("the name of an anchor")?;
        if name.value.is_empty() {
            return Err(self.fail(name.span, "anchor name must not be empty", None));
        }
        if name.value.starts_with('_') || name.value.contains("/_") {
            let text = "anchor names beginning with '_' are reserved for internal use";
            return Err(self.fail(name.span, text, None));
        }
        if name.value.len() >= 1024 {
            return Err(self.fail(name.span, "anchor name is longer than 1023", None));
        }
        Ok(name.value)
    }

    fn anchor_body(&mut self) -> Parsed<Vec<Statement>> {
        self.enter()?;
        self.take();
        self.expect_newline()?;
        let mut list = Vec::new();
        while !self.accept_symbol("}") {
            if self.lexer.peek().kind == Kind::End {
                return Err(self.syntax("'}'"));
            }
            self.statement(&mut list, Self::anchored)?;
        }
        self.depth -= 1;
        Ok(list)
    }

    fn anchored(&mut self) -> Parsed<StatementKind> {
        match self.lexer.peek().kind {
            Kind::Keyword("pass" | "block" | "match") => Ok(StatementKind::Rule(Box::new(self.rule()?))),
            Kind::Keyword("anchor") => self.anchor(),
            Kind::Keyword("table") => self.table(),
            _ => Err(self.syntax("pass, block, match, anchor, table, include or '}'")),
        }
    }

    pub(super) fn load_anchor(&mut self) -> Parsed<StatementKind> {
        self.take();
        self.keyword("anchor")?;
        if self.at_keyword("from") {
            let span = self.lexer.peek().span;
            return Err(self.fail(span, "anchor name is missing", Some("load anchor name from \"file\"")));
        }
        let anchor = self.anchor_name()?;
        self.keyword("from")?;
        let file = self.words("the name of a file")?.value;
        Ok(StatementKind::LoadAnchor { anchor, file })
    }

    pub(super) fn antispoof(&mut self) -> Parsed<StatementKind> {
        let first = self.take().span;
        let (log, quick) = self.log_quick()?;
        self.keyword("for")?;
        let mut interfaces = Vec::new();
        self.items(&mut |parser| {
            if parser.at_symbol("!") {
                return Err(parser.syntax("an interface"));
            }
            let dynamic = parser.accept_symbol("(");
            let item = parser.interface()?;
            if dynamic {
                if let InterfaceName::Name(name) = &item.name {
                    parser.check_looked_up(name, item.span)?;
                }
                parser.symbol(")")?;
            }
            interfaces.push(AntispoofInterface { item, dynamic });
            Ok(())
        })?;
        let af = self.family();
        let mut labels = Vec::new();
        let mut rtable = None;
        loop {
            let span = self.lexer.peek().span;
            if self.accept_keyword("label") {
                self.check_labels(span, &labels)?;
                labels.push(self.text("a label")?.value);
            } else if self.accept_keyword("rtable") {
                rtable = Some(self.routing_table()?);
            } else {
                break;
            }
        }
        let span = first.to(self.lexer.last().span);
        Ok(StatementKind::Antispoof(Box::new(AntispoofStatement {
            log,
            quick,
            interfaces,
            af,
            labels,
            rtable,
            span,
        })))
    }
}
