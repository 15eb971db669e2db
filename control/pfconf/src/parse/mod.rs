//! Tokens to statements, by recursive descent over the grammar of pf.conf(5).
//!
//! As in pfctl, an error ends its statement and reading goes on with the next line, so that one run reports several;
//! a syntax error right behind another one is a consequence of it and is not reported.

mod anchor;
mod early;
mod endpoint;
mod filter;
mod option;
mod queue;
mod redirect;
mod rule;
mod state;
mod table;

use crate::ast::{Spanned, Statement, StatementKind, Text};
use crate::diagnostic::{Diagnostics, Form};
use crate::dialect::Dialect;
use crate::host::Host;
use crate::lex::{self, Kind, Lexer, Token};
use crate::nearest;
use crate::source::Span;
use crate::unsupported;

use early::Stage;
pub(crate) use endpoint::{Modifiers, split_modifiers};
pub(crate) use option::RFC_NAT;
pub(crate) use rule::reply_by_policy;

/// The statement cannot be read further; what is wrong has been reported.
#[derive(Debug)]
pub(crate) struct Abort;

pub(crate) type Parsed<T> = Result<T, Abort>;

/// How deep lists and anchors may nest.
const NESTING: u32 = 32;
/// Tokens that must be read well before the next syntax error is worth reporting, as in yacc.
const QUIET_TOKENS: u32 = 3;

/// Where keywords of rules stand, for who has written them elsewhere (pf.conf(5) GRAMMAR).
const PLACES: &[(&str, &str)] = &[
    ("drop", "drop stands right behind block"),
    ("return", "return stands right behind block"),
    ("return-rst", "return-rst stands right behind block"),
    ("return-icmp", "return-icmp stands right behind block"),
    ("return-icmp6", "return-icmp6 stands right behind block"),
    ("in", "in stands right behind pass, block and its return, match, or the name of an anchor"),
    ("out", "out stands right behind pass, block and its return, match, or the name of an anchor"),
    ("log", "log stands behind in or out, in front of on"),
    ("quick", "quick stands behind in or out, in front of on"),
    ("on", "on stands behind in or out, log and quick, in front of inet and proto"),
    ("inet", "inet stands behind the interface, in front of proto"),
    ("inet6", "inet6 stands behind the interface, in front of proto"),
    ("proto", "proto stands behind the interface and inet or inet6, in front of from and to"),
    ("from", "from stands behind proto, in front of to"),
    ("to", "to stands behind from, in front of flags, keep state and what else a rule may say"),
    ("port", "port stands behind from or to: to any port 80, to port 80"),
    ("os", "os stands behind the host and port of from"),
];

/// Reads a whole file and those that it includes. Findings are added to `findings`, statements numbered from `order`.
pub(crate) fn parse(
    dialect: Dialect,
    host: &dyn Host,
    name: &str,
    text: &str,
    definitions: &[(String, String)],
    findings: Diagnostics,
    order: u32,
) -> (Text, Diagnostics) {
    let mut lexer = Lexer::new(dialect, host, name, text, definitions, findings);
    lexer.order = order;
    let require_order = dialect == Dialect::FreeBsd;
    let mut parser =
        Parser { lexer, quiet: 0, depth: 0, places: Vec::new(), require_order, stage: Stage::default() };
    let statements = parser.statements();
    (Text { statements, places: parser.places }, parser.lexer.findings)
}

pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// Tokens for which syntax errors are not reported.
    quiet: u32,
    depth: u32,
    places: Vec<Spanned<&'static str>>,
    /// FreeBSD wants statements in the order of [`Stage`], unless `set require-order no` says otherwise.
    require_order: bool,
    /// How far in that order reading has come.
    stage: Stage,
}

impl Parser<'_> {
    fn statements(&mut self) -> Vec<Statement> {
        let mut list = Vec::new();
        while self.lexer.peek().kind != Kind::End {
            if self.statement(&mut list, Self::top_level).is_err() {
                self.recover();
            }
        }
        list
    }

    /// One line: blank, `include`, or a statement.
    fn statement(
        &mut self,
        list: &mut Vec<Statement>,
        kind: fn(&mut Self) -> Parsed<StatementKind>,
    ) -> Parsed<()> {
        if self.accept_newline() {
            return Ok(());
        }
        self.lexer.order += 1;
        if self.at_keyword("include") {
            return self.include();
        }
        let first = self.lexer.peek().span;
        let kind = kind(self)?;
        let span = first.to(self.lexer.last().span);
        // The end of the line is read only now: a macro that was just defined must be known to what follows it.
        let line = self.lexer.peek().line;
        let ended = self.expect_newline();
        // pfctl obeys an option before it sees what follows it on the line.
        if ended.is_ok() || matches!(kind, StatementKind::Set(_)) {
            self.lexer.order += 1;
            list.push(Statement { kind, span, line, order: self.lexer.order });
        }
        ended
    }

    fn top_level(&mut self) -> Parsed<StatementKind> {
        let Kind::Keyword(word) = self.lexer.peek().kind else {
            return self.definition();
        };
        self.check_order(word)?;
        match word {
            "nat" | "rdr" | "binat" => self.early(),
            "no" | "scrub" if self.is_freebsd() => self.early(),
            "nat-anchor" | "rdr-anchor" | "binat-anchor" => self.anchor(),
            "set" => Ok(StatementKind::Set(self.set()?)),
            "pass" | "block" | "match" => Ok(StatementKind::Rule(Box::new(self.rule()?))),
            "anchor" => self.anchor(),
            "load" => self.load_anchor(),
            "antispoof" => self.antispoof(),
            "table" => self.table(),
            "queue" => self.queue(),
            _ => Err(self.syntax("a statement: pass, block, match, set, table, anchor, name = \"value\"")),
        }
    }

    /// `name = value …`.
    fn definition(&mut self) -> Parsed<StatementKind> {
        let name = self.text("a statement: pass, block, match, set, table, anchor, name = \"value\"")?;
        if let Some(why) = unsupported::word(&name.value).filter(|_| !self.at_symbol("=")) {
            return Err(self.fail(name.span, format!("{} is not supported: {why}", name.value), None));
        }
        self.symbol("=")?;
        let mut parts = vec![self.number_or_text("the macro's value")?.value];
        while matches!(self.lexer.peek().kind, Kind::Number(_) | Kind::Text(_)) {
            parts.push(self.number_or_text("the macro's value")?.value);
        }
        if name.value.contains(|c: char| c.is_ascii_whitespace()) {
            return Err(self.fail(name.span, "macro name cannot contain whitespace", None));
        }
        let text = parts.join(" ");
        self.lexer.define(&name.value, &text);
        Ok(StatementKind::Macro { name: name.value, text })
    }

    fn include(&mut self) -> Parsed<()> {
        self.lexer.next();
        let path = self.text("the name of a file")?;
        self.expect_newline()?;
        self.lexer.include(&path.value).map_err(|why| {
            let text = format!("failed to include file {}", path.value);
            self.fail(path.span, text, Some(&why))
        })
    }

    /// Leaves the line at fault.
    fn recover(&mut self) {
        self.depth = 0;
        self.quiet = QUIET_TOKENS;
        while !matches!(self.lexer.peek().kind, Kind::Newline | Kind::End) {
            self.lexer.next();
        }
        self.accept_newline();
    }

    // What is wrong.

    fn syntax(&mut self, expected: &str) -> Abort {
        let Token { kind, span, .. } = self.lexer.peek().clone();
        let form = match kind {
            _ if self.quiet > 0 => Form::Quiet,
            Kind::Reported => Form::Consequence,
            _ => Form::Placed,
        };
        if let (Kind::Text(word), Form::Placed) = (&kind, form)
            && let Some(why) = unsupported::word(word)
        {
            return self.fail(span, format!("{word} is not supported: {why}"), None);
        }
        let found = if matches!(kind, Kind::Newline | Kind::End) { ", but the line ends" } else { "" };
        let hint = match &kind {
            Kind::Text(word) => nearest::hint(word, lex::keywords(self.lexer.dialect), None),
            Kind::Keyword(word) => PLACES.iter().find(|(known, _)| known == word).map(|(_, at)| (*at).into()),
            _ => None,
        };
        let label = format!("expected {expected}{found}");
        self.lexer.report(form, span, "syntax error".into(), label, hint);
        Abort
    }

    /// What pfctl says in its own name before it names the place; people need not hear it.
    fn preface(&mut self, span: Span, text: &str) {
        self.lexer.report(Form::Preface, span, text.into(), String::new(), None);
    }

    fn fail(&mut self, span: Span, text: impl Into<String>, hint: Option<&str>) -> Abort {
        self.lexer.report(Form::Placed, span, text.into(), String::new(), hint.map(str::to_owned));
        Abort
    }

    /// Notes where a keyword stands, in case that the dataplane does not know it.
    fn mark(&mut self, keyword: &'static str) {
        let span = self.lexer.peek().span;
        self.places.push(Spanned { value: keyword, span });
    }

    fn is_freebsd(&self) -> bool {
        self.lexer.dialect == Dialect::FreeBsd
    }

    // Tokens.

    fn take(&mut self) -> Token {
        self.quiet = self.quiet.saturating_sub(1);
        self.lexer.next()
    }

    fn at_keyword(&mut self, word: &str) -> bool {
        matches!(self.lexer.peek().kind, Kind::Keyword(found) if found == word)
    }

    fn at_symbol(&mut self, symbol: &str) -> bool {
        matches!(self.lexer.peek().kind, Kind::Symbol(found) if found == symbol)
    }

    fn accept_keyword(&mut self, word: &str) -> bool {
        let here = self.at_keyword(word);
        if here {
            self.take();
        }
        here
    }

    fn accept_symbol(&mut self, symbol: &str) -> bool {
        let here = self.at_symbol(symbol);
        if here {
            self.take();
        }
        here
    }

    fn accept_newline(&mut self) -> bool {
        let here = self.lexer.peek().kind == Kind::Newline;
        if here {
            self.take();
        }
        here
    }

    fn skip_newlines(&mut self) {
        while self.accept_newline() {}
    }

    fn expect_newline(&mut self) -> Parsed<()> {
        match self.accept_newline() || self.lexer.peek().kind == Kind::End {
            true => Ok(()),
            false => Err(self.syntax("the end of the line")),
        }
    }

    fn symbol(&mut self, symbol: &str) -> Parsed<()> {
        match self.accept_symbol(symbol) {
            true => Ok(()),
            false => Err(self.syntax(&format!("'{symbol}'"))),
        }
    }

    fn keyword(&mut self, word: &str) -> Parsed<()> {
        match self.accept_keyword(word) {
            true => Ok(()),
            false => Err(self.syntax(&format!("'{word}'"))),
        }
    }

    fn text(&mut self, expected: &str) -> Parsed<Spanned<String>> {
        match &self.lexer.peek().kind {
            Kind::Text(_) => {
                let token = self.take();
                let Kind::Text(value) = token.kind else { return Err(Abort) };
                Ok(Spanned { value, span: token.span })
            }
            _ => Err(self.syntax(expected)),
        }
    }

    fn number(&mut self, expected: &str) -> Parsed<Spanned<i64>> {
        match self.lexer.peek().kind {
            Kind::Number(value) => Ok(Spanned { value, span: self.take().span }),
            _ => Err(self.syntax(expected)),
        }
    }

    /// A number that must fit, else pfctl's words for it.
    fn number_in<T: TryFrom<i64>>(&mut self, expected: &str, wrong: &str) -> Parsed<T> {
        let number = self.number(expected)?;
        T::try_from(number.value).map_err(|_| self.fail(number.span, wrong, None))
    }

    fn number_or_text(&mut self, expected: &str) -> Parsed<Spanned<String>> {
        match self.lexer.peek().kind {
            Kind::Number(number) => Ok(Spanned { value: number.to_string(), span: self.take().span }),
            _ => self.text(expected),
        }
    }

    /// One item, or a list of them in braces, in which lists may stand.
    fn items(&mut self, item: &mut dyn FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        if !self.at_symbol("{") {
            return item(self);
        }
        self.open_list()?;
        self.rest_of_list(item)
    }

    /// Braces with items, or without any.
    fn items_or_none(&mut self, item: &mut dyn FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.open_list()?;
        if self.accept_symbol("}") {
            self.depth -= 1;
            return Ok(());
        }
        self.rest_of_list(item)
    }

    fn open_list(&mut self) -> Parsed<()> {
        self.enter()?;
        self.take();
        self.skip_newlines();
        Ok(())
    }

    /// What follows the opening brace: commas may be left out, and a line ends anywhere.
    fn rest_of_list(&mut self, item: &mut dyn FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        loop {
            self.items(item)?;
            self.skip_newlines();
            let comma = self.accept_symbol(",");
            self.skip_newlines();
            if self.at_symbol("}") {
                if comma {
                    return Err(self.syntax("one more of the list behind its comma"));
                }
                self.take();
                self.depth -= 1;
                return Ok(());
            }
        }
    }

    /// Words up to the next keyword or symbol, as one text.
    fn words(&mut self, expected: &str) -> Parsed<Spanned<String>> {
        let mut words = self.text(expected)?;
        while let Kind::Text(_) = self.lexer.peek().kind {
            let more = self.text(expected)?;
            words.value = format!("{} {}", words.value, more.value);
            words.span = words.span.to(more.span);
        }
        Ok(words)
    }

    /// Refuses to nest deeper than is sane.
    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > NESTING {
            let span = self.lexer.peek().span;
            return Err(self.fail(span, format!("braces nest deeper than {NESTING}"), None));
        }
        Ok(())
    }
}
